"""Fixtures shared by every test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.devnet.fetch import is_fetched
from tests.devnet.session import Devnet, DevnetNotFetchedError, open_devnet

if TYPE_CHECKING:
    from collections.abc import Iterator

# The same examples in every run; HYPOTHESIS_PROFILE=search looks for new ones.
hypothesis.settings.register_profile("repeat", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


@pytest.fixture(scope="session")
def devnet_process() -> Iterator[Devnet]:
    """One running devnet for the whole test session (one for each xdist worker). Tests take ``devnet`` instead."""
    if not is_fetched():
        pytest.fail(str(DevnetNotFetchedError()), pytrace=False)
    with open_devnet() as running:
        yield running


@pytest.fixture
def devnet(devnet_process: Devnet) -> Iterator[Devnet]:
    """The devnet as it was built; what a test does to it is undone after the test."""
    snapshot = devnet_process.snapshot()
    yield devnet_process
    devnet_process.revert(snapshot)


@pytest.fixture
def devnet_url(devnet: Devnet) -> str:
    """JSON-RPC address of the devnet as it was built."""
    return devnet.url
