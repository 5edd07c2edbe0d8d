"""Readers: one module or package a protocol, found by its name.

A reader module has one public coroutine, `read`, of the type `Reader`. Where it needs more of a deployment than a root
address, a mapping `OPTIONS` says what: options and their kinds (`address`, `text` or `whole`), each may be left out.
Adding a protocol touches no other file.
"""

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from defi_leverage.abi import checksum_address
from defi_leverage.errors import ConfigError, ReaderError
from defi_leverage.reading import Deployment, Reading, VenueReading

if TYPE_CHECKING:
    from defi_leverage.chain import Chain

__all__ = [
    "DeploymentError",
    "Progress",
    "Reader",
    "deployment_error",
    "load_reader",
    "reader_names",
    "reader_options",
    "root_address",
    "root_contract",
    "silence",
    "without_figures",
]

Progress = Callable[[str, int, int], None]
"""Told (stage, done, total) as a reader goes on."""

DeploymentError = Callable[["Chain", Deployment, str], ReaderError]
"""`deployment_error` with a remedy put in."""


def deployment_error(chain: "Chain", deployment: Deployment, fault: str, remedy: str) -> ReaderError:
    """What is wrong with a deployment's address at the block (`fault`, a verb with its object), and what to give."""
    return ReaderError(
        f"{deployment.address} {fault} on {chain.name} at block {chain.block.number}. {remedy}",
        address=deployment.address,
        block=chain.block.number,
    )


def root_address(chain: "Chain", deployment: Deployment, error: DeploymentError) -> str:
    """The deployment's address, checksummed. Raises what `error` makes of its fault where it is none."""
    try:
        return checksum_address(deployment.address)
    except ValueError:
        raise error(chain, deployment, "is not an address") from None


async def root_contract(chain: "Chain", deployment: Deployment, error: DeploymentError) -> str:
    """The same where there is a contract. Raises what `error` makes of its fault where there is none at the block."""
    address = root_address(chain, deployment, error)
    if not await chain.code(address):
        raise error(chain, deployment, "has no code")
    return address


def without_figures(chain: "Chain", venue: VenueReading, gaps: dict[str, str], failed: dict[str, str]) -> Reading:
    """What is missing of a deployment whose markets are venues: a reading of `gaps` and `failed` alone."""
    return Reading(
        chain=f"eip155:{chain.chain_id}",
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=venue,
        assets=(),
        feeds=(),
        backing=(),
        markets=(),
        accounts=(),
        found=len(failed),
        failed=failed,
        gaps=gaps,
    )


def silence(stage: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""


class Reader(Protocol):
    """Reads one deployment at the chain's pinned block.

    Raises ReaderError where the deployment's contracts make no sense, ChainError where the chain does not answer. What
    goes wrong with single accounts or markets is in the reading's `failed` and `gaps`.
    """

    def __call__(
        self, chain: "Chain", deployment: Deployment, progress: Progress | None = None
    ) -> Awaitable[Reading | tuple[Reading, ...]]:
        """The reading of `deployment` at `chain.block`, or one for each of its markets where these are venues."""


def reader_names() -> tuple[str, ...]:
    """The protocols there is a reader for, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def load_reader(name: str) -> Reader:
    """The reader of a protocol. Raises ConfigError, with the names there are, for an unknown one."""
    reader: Reader = _module(name).read
    return reader


def reader_options(name: str) -> Mapping[str, str]:
    """The options that a protocol's reader takes, and the kind of each. Raises ConfigError for an unknown protocol."""
    return dict(getattr(_module(name), "OPTIONS", {}))


def _module(name: str) -> ModuleType:
    if name not in reader_names():
        raise ConfigError(f"There is no reader {name!r}. There are: {', '.join(reader_names())}.", name=name)
    return importlib.import_module(f"{__name__}.{name}")
