"""Fixtures shared by every test."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.devnet.fetch import is_fetched
from tests.devnet.protocols import in_order
from tests.devnet.session import Devnet, DevnetNotFetchedError, open_devnet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The same examples in every run; HYPOTHESIS_PROFILE=search looks for new ones.
hypothesis.settings.register_profile("repeat", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


@pytest.fixture(scope="session")
def devnet_processes() -> Iterator[Callable[..., Devnet]]:
    """Running devnets by the protocols that they have beside Aave, each started when first asked for."""
    if not is_fetched():
        pytest.fail(str(DevnetNotFetchedError()), pytrace=False)
    started: dict[tuple[str, ...], Devnet] = {}
    with ExitStack() as stack:

        def running(*protocols: str) -> Devnet:
            names = in_order(protocols)
            if names not in started:
                started[names] = stack.enter_context(open_devnet(protocols=names))
            return started[names]

        yield running


@pytest.fixture(scope="session")
def devnet_process(devnet_processes: Callable[..., Devnet]) -> Devnet:
    """One running devnet for the whole test session (one for each xdist worker). Tests take ``devnet`` instead."""
    return devnet_processes()


@pytest.fixture
def devnet(request: pytest.FixtureRequest, devnet_processes: Callable[..., Devnet]) -> Iterator[Devnet]:
    """The devnet as it was built, with the protocols that the test's marker ``devnet(...)`` names.

    What a test does to it is undone after the test.
    """
    marker = request.node.get_closest_marker("devnet")
    running = devnet_processes(*(marker.args if marker is not None else ()))
    snapshot = running.snapshot()
    yield running
    running.revert(snapshot)


@pytest.fixture
def devnet_url(devnet: Devnet) -> str:
    """JSON-RPC address of the devnet as it was built."""
    return devnet.url
