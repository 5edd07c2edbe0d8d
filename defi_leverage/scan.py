"""The pipeline from a configuration to a snapshot, composed once: chains, readers, backing, tables, market.

A deployment whose contracts make no sense becomes a row of `coverage` and leaves the scan incomplete; a chain that does
not answer ends the scan, for part of a chain at one block is no snapshot of it. A venue over HTTP is at no block: it is
read while the chains are, and one that does not answer is a row of `coverage`, too.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from defi_leverage.backing import read_backing
from defi_leverage.chain import Chain, open_chain
from defi_leverage.config import ChainConfig, Config, HttpVenueConfig, expand_urls
from defi_leverage.config_http import expand_url, venue_to_read
from defi_leverage.errors import ConfigError, ReaderError
from defi_leverage.http_api import open_http
from defi_leverage.market import apply_config
from defi_leverage.owner_links import read_owner_links
from defi_leverage.protocols import load_reader
from defi_leverage.reading import ClaimsReading, Deployment, OwnerLink, Reading
from defi_leverage.snapshot import Snapshot, from_readings
from defi_leverage.store import SAMPLE, load_snapshot
from defi_leverage.venues_http import HttpVenue, load_http_reader

__all__ = ["Progress", "read_chains", "scan"]

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Told (what, done, total) as a scan goes on."""

_Failure = dict[str, Any]


def scan(config: Config, block: int | str | None = None, progress: Progress | None = None) -> Snapshot:
    """The snapshot of the configured source at `block` (a number, latest or finalized; None: the configured one).

    Raises ConfigError for a configuration that cannot be scanned, ChainError where a chain does not answer, ReaderError
    where no deployment at all could be read.
    """
    if config.source == SAMPLE:
        if block is not None:
            raise ConfigError(
                f"block {block} cannot be read from the embedded sample; leave --block out, or configure "
                f'source = "chains" in {config.path}'
            )
        return apply_config(load_snapshot(SAMPLE), config)
    reading = read_chains(config, config.block if block is None else block, progress)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return apply_config(asyncio.run(reading), config)
    with ThreadPoolExecutor(1) as thread:  # called from a notebook, whose loop is running already
        return apply_config(thread.submit(asyncio.run, reading).result(), config)


async def read_chains(config: Config, block: int | str, progress: Progress | None = None) -> Snapshot:
    """What the configured chains tell at `block`, each pinned once, and other venues now. Raises as `scan` does."""
    if isinstance(block, int) and len(config.chains) > 1:
        raise ConfigError(f"block {block} cannot be meant for {len(config.chains)} chains; use finalized or latest")
    urls = {chain.name: expand_urls(chain) for chain in config.chains}  # before anything is read
    venues = [(venue, expand_url(venue), venue_to_read(venue)) for venue in config.venues]
    found = await _all(
        [
            _read_chain(chain, urls[chain.name], block, config.read_backing, config.read_owners, progress)
            for chain in config.chains
        ]
        + [_read_venue(venue, url, asked, progress) for venue, url, asked in venues]
    )
    results = [result for chain_results in found for result in chain_results]
    readings = [result for result in results if isinstance(result, Reading)]
    claims = [result for result in results if isinstance(result, ClaimsReading)]
    links = [result for result in results if isinstance(result, OwnerLink)]
    failures = [result for result in results if not isinstance(result, Reading | ClaimsReading | OwnerLink)]
    if not readings:
        raise ReaderError("nothing could be read: " + "; ".join(failure["why"] for failure in failures))
    snapshot = from_readings(readings, failures, claims, links)
    skewed = snapshot.coverage.dropna(subset="skew_seconds")
    for venue_id, seconds in zip(skewed["venue_id"], skewed["skew_seconds"], strict=True):
        log.warning("%s: read up to %.0f seconds away from a chain's block", venue_id, seconds)
    return snapshot


async def _read_chain(
    chain_config: ChainConfig,
    urls: tuple[str, ...],
    block: int | str,
    with_backing: bool,
    with_owners: bool,
    progress: Progress | None,
) -> "list[Reading | ClaimsReading | OwnerLink | _Failure]":
    async with open_chain(chain_config.name, chain_config.chain_id, urls, block) as chain:
        log.info("%s: block %d, %s", chain.name, chain.block.number, chain.block.hash)
        found = await _all([_read_deployment(chain, item, progress) for item in chain_config.deployments])
        results = [result for of_deployment in found for result in of_deployment]
        readings = [result for result in results if isinstance(result, Reading)]
        if with_backing and readings:
            results.append(await read_backing(chain, readings, _stages(progress, f"{chain.name} backing")))
        if with_owners and readings:
            results.extend(await _read_owners(chain, readings, _stages(progress, f"{chain.name} owners")))
        await chain.confirm()
        return results


async def _read_owners(chain: Chain, readings: Sequence[Reading], tell: Progress) -> tuple[OwnerLink, ...]:
    """Who acts for the owners of accounts that are contracts."""
    addresses = sorted({account.owner or account.address for reading in readings for account in reading.accounts})
    tell("who controls them", 0, len(addresses))
    links = await read_owner_links(chain, addresses)
    tell("who controls them", len(addresses), len(addresses))
    return links


def _stages(progress: Progress | None, where: str) -> Progress:
    """`progress`, told of the stages of one part of the scan."""

    def tell(stage: str, done: int, total: int) -> None:
        if progress is not None:
            progress(f"{where}: {stage}", done, total)

    return tell


async def _read_deployment(
    chain: Chain, deployment: Deployment, progress: Progress | None
) -> "tuple[Reading | _Failure, ...]":
    where = f"{chain.name} {deployment.protocol} {deployment.name}"
    try:
        found = await load_reader(deployment.protocol)(chain, deployment, _stages(progress, where))
    except ReaderError as error:
        log.warning("%s: %s", where, error)
        failure = {
            "protocol": deployment.protocol,
            "chain": f"eip155:{chain.chain_id}",
            "venue_id": "",
            "block": chain.block.number,
            "block_hash": chain.block.hash,
            "block_time": datetime.fromtimestamp(chain.block.timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "found": 0,
            "read": 0,
            "failed": 0,
            "why": f"{deployment.name} at {deployment.address}: {error}",
        }
        return (failure,)
    readings = found if isinstance(found, tuple) else (found,)
    accounts = sum(reading.found for reading in readings)
    log.info("%s: %d accounts found, %d read", where, accounts, sum(len(reading.accounts) for reading in readings))
    return readings


async def _read_venue(
    config: HttpVenueConfig, url: str, venue: HttpVenue, progress: Progress | None
) -> "tuple[Reading | _Failure, ...]":
    try:
        async with open_http(config.name, url, config.budget) as api:
            readings = await load_http_reader(config.protocol)(api, venue, _stages(progress, config.name))
            log.info("%s: %d requests, %d asked again", config.name, api.stats.requests, api.stats.retries)
    except ReaderError as error:
        log.warning("%s: %s", config.name, error)
        nothing = {"venue_id": "", "chain": "", "block_hash": "", "block_time": "", "block": 0}
        counts = {"found": 0, "read": 0, "failed": 0}
        return (nothing | counts | {"protocol": config.protocol, "why": f"{config.name}: {error}"},)
    accounts = sum(reading.found for reading in readings)
    log.info("%s: %d accounts found, %d read", config.name, accounts, sum(len(item.accounts) for item in readings))
    return readings


async def _all(work: "list[Any]") -> list[Any]:
    """The results of all coroutines; the first error cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
