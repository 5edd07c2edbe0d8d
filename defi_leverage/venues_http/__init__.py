"""Readers of venues that are not on a chain that can be asked: one module or package a protocol, found by its name.

Such a venue answers over HTTP, at no block: a reading says in what time it was taken (`window`). A module has

- `read_http`, a coroutine of the type `HttpReader`;
- `NETWORKS`, the networks it knows by name: the URL used by default, and the CAIP-2 chain;
- `BUDGET`, the weight of requests that the venue allows one IP address;
- `ADDRESS`, the pattern of one account, and `OPTIONS`, what a configuration may add, as `protocols` has it.

Adding one touches no other file.
"""

import importlib
import pkgutil
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

from defi_leverage.errors import ConfigError
from defi_leverage.http_api import Budget, HttpApi
from defi_leverage.protocols import Progress
from defi_leverage.reading import Reading

__all__ = ["HttpReader", "HttpVenue", "Network", "load_http_reader", "venue_interface", "venue_names"]


@dataclass(frozen=True, slots=True)
class Network:
    """Where a venue answers, and the CAIP-2 chain that its accounts are on."""

    url: str
    chain: str


@dataclass(frozen=True, slots=True)
class HttpVenue:
    """What a reader is asked to read: the accounts of a user's list at one venue."""

    protocol: str
    name: str
    network: str
    accounts: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


class HttpReader(Protocol):
    """Reads the listed accounts, and the venue's markets that they are in.

    Raises ReaderError where the venue does not answer, or answers what makes no sense. What goes wrong with single
    accounts is in the reading's `failed`.
    """

    def __call__(
        self, api: HttpApi, venue: HttpVenue, progress: Progress | None = None
    ) -> Awaitable[tuple[Reading, ...]]:
        """One reading for each margin pool that is a venue of its own."""


def venue_names() -> tuple[str, ...]:
    """The venues there is a reader for, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def venue_interface(name: str) -> tuple[Mapping[str, Network], Budget, str, Mapping[str, str]]:
    """A venue's networks, budget, account pattern and options. Raises ConfigError for an unknown one."""
    module = _module(name)
    return module.NETWORKS, module.BUDGET, module.ADDRESS, module.OPTIONS


def load_http_reader(name: str) -> HttpReader:
    """The reader of a venue. Raises ConfigError, with the names there are, for an unknown one."""
    reader: HttpReader = _module(name).read_http
    return reader


def _module(name: str) -> ModuleType:
    if name not in venue_names():
        raise ConfigError(f"There is no venue {name!r}. There are: {', '.join(venue_names())}.", name=name)
    return importlib.import_module(f"{__name__}.{name}")
