"""What every reader keeps to, whatever it reads: one contract, run on all of the devnet's protocols at once.

A reader joins with the `reads` of its protocol in tests/devnet/protocols; one that no deployment asks for fails here.
"""

import json
from collections import defaultdict
from functools import cache
from inspect import iscoroutinefunction, signature
from pathlib import Path

import numpy as np
import pytest

from defi_leverage.chain import open_chain
from defi_leverage.config import load_config
from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.liquidation import LIQUIDATION_RULES, venue_parameters
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.health import account_health
from defi_leverage.protocols import load_reader, reader_names, reader_options
from defi_leverage.reading import Reading
from defi_leverage.snapshot import Snapshot, from_readings
from tests.devnet.protocols import PROTOCOLS
from tests.devnet.session import Devnet

pytestmark = pytest.mark.devnet(*PROTOCOLS)

REVERTS = "0x5f5ffd"  # PUSH0 PUSH0 REVERT
WITHOUT_HEALTH_FACTOR = {"gains", "gmx_v2", "perp_curie", "synthetix_perps_v2", "synthetix_v3_perps"}  # margin accounts
NOT_LINEAR = {"crvusd"}  # health comes from bands; the legs are 1 where the price meets the uppermost
LEAST_DEBT_USD = 1.0  # below, one unit of the protocol's own rounding is more than the tolerance
NOTHING_LEFT = {"liquity_v1", "liquity_v2"}  # a deployment there is one market, on that feed
UNITS = 3  # by which a protocol's integer totals may be rounded down, one for each of a few legs


async def read_all(devnet: Devnet, folder: Path, only: str = "") -> dict[str, list[Reading]]:
    """The readings of every deployment on the devnet, or of one reader's, at the head, by reader."""
    path = folder / "devnet.toml"
    path.write_text(devnet.config())
    found: dict[str, list[Reading]] = defaultdict(list)
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        for deployment in load_config(path).chains[0].deployments:
            if only in ("", deployment.protocol):
                read = await load_reader(deployment.protocol)(chain, deployment)
                found[deployment.protocol] += read if isinstance(read, tuple) else (read,)
    return found


@pytest.fixture
async def everything(devnet: Devnet, tmp_path: Path) -> dict[str, list[Reading]]:
    if not _READ:  # the chain is the same for every test that has not changed it
        _READ.update(await read_all(devnet, tmp_path))
    return _READ


_READ: dict[str, list[Reading]] = {}


@cache
def snapshot_of(name: str) -> Snapshot:
    return from_readings(_READ[name])


def test_every_reader_is_here(everything: dict[str, list[Reading]]) -> None:
    assert set(everything) == set(reader_names())


@pytest.mark.parametrize("name", reader_names())
def test_a_reader_has_the_signature(name: str) -> None:
    read = load_reader(name)
    assert iscoroutinefunction(read)
    chain, deployment, progress = signature(read).parameters.values()
    assert [chain.name, deployment.name, progress.name] == ["chain", "deployment", "progress"]
    assert progress.default is None
    assert set(reader_options(name).values()) <= {"address", "text", "texts", "whole"}


NAMES = reader_names()


@pytest.mark.parametrize("name", NAMES)
def test_identifiers_are_unique_and_known(name: str, everything: dict[str, list[Reading]]) -> None:
    readings = everything[name]
    venues = [reading.venue.venue_id for reading in readings]
    assert len(set(venues)) == len(venues) >= 1
    assert sum(len(reading.accounts) for reading in readings) >= 20
    for reading in readings:
        assets = [asset.asset_id for asset in reading.assets]
        feeds = {feed.feed_id: feed for feed in reading.feeds}
        addresses = [account.address for account in reading.accounts]
        for identifiers in (assets, addresses, [market.asset_id for market in reading.markets]):
            assert len(set(identifiers)) == len(identifiers)
        assert len(feeds) == len(reading.feeds)
        assert {feed.asset_id for feed in reading.feeds} <= set(assets)
        assert {feed.base_feed_id for feed in reading.feeds if feed.kind == "ratio"} <= set(feeds)
        assert {market.asset_id for market in reading.markets} <= set(assets)
        for account in reading.accounts:
            legs = [(leg.side, leg.asset_id, leg.feed_id) for leg in account.legs]
            assert len(set(legs)) == len(legs), account.address
            assert {leg.asset_id for leg in account.legs} <= set(assets)
            assert {leg.feed_id for leg in account.legs} <= set(feeds)
            assert {perp.asset_id for perp in account.perps} <= set(assets)


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_in_sensible_ranges(name: str, everything: dict[str, list[Reading]]) -> None:
    for reading in everything[name]:
        for feed in reading.feeds:
            assert feed.price_raw > 0
            assert feed.price_scale > 0
            assert feed.ratio_raw > 0
        for market in reading.markets:
            assert min(market.supply_raw, market.borrow_raw, market.cash_raw, market.deficit_raw) >= 0
        for account in reading.accounts:
            for leg in account.legs:
                assert leg.amount_raw >= 0
                assert 0 <= leg.liquidation_bonus_wad <= WAD // 2
                assert 0 <= leg.protocol_fee_wad <= WAD
                # A short's maintenance margin is in the weight of its debt; interest on a perp that moves with its
                # price is in the weight of the position, and is owed in dollars that count for nothing more.
                debt = (0, 2 * WAD) if account.perps else (WAD, WAD)
                low, high = (0, WAD) if leg.side == "collateral" else debt
                assert low <= leg.weight_wad <= high


@pytest.mark.parametrize("name", NAMES)
def test_coverage_adds_up(name: str, everything: dict[str, list[Reading]]) -> None:
    for reading in everything[name]:
        assert reading.found == len(reading.accounts) + len(reading.failed)
        assert not reading.failed.keys() & {account.address for account in reading.accounts}
        assert all(why.strip() for why in [*reading.failed.values(), *reading.gaps.values()])
        if not reading.accounts and reading.failed:
            assert reading.gaps


@pytest.mark.parametrize("name", NAMES)
def test_the_rule_is_known_and_compiles(name: str, everything: dict[str, list[Reading]]) -> None:
    for reading in everything[name]:
        takes = venue_parameters(LIQUIDATION_RULES[reading.venue.liquidation_rule])
        assert json.loads(json.dumps(reading.venue.liquidation_parameters)) == reading.venue.liquidation_parameters
        assert reading.venue.liquidation_parameters.keys() <= takes.keys()
    book = compile_book(snapshot_of(name))
    assert len(book.rules) == len(everything[name])
    assert len(book.amount) == sum(len(a.legs) for reading in everything[name] for a in reading.accounts)


@pytest.mark.parametrize("name", NAMES)
def test_health_of_the_tables_is_what_the_protocol_reports(name: str, everything: dict[str, list[Reading]]) -> None:
    """To 1e-9 and a few units of the protocol's own integers, for everyone who owes more than dust."""
    accounts, ours = snapshot_of(name).accounts, account_health(snapshot_of(name))
    theirs = accounts["health_factor"].to_numpy(float)
    if name in WITHOUT_HEALTH_FACTOR:
        assert np.isnan(theirs).all()
        return
    assert not np.isnan(theirs).any()
    factor, debt = ours["health_factor"].to_numpy(), ours["debt_usd"].to_numpy()
    owes = (debt > LEAST_DEBT_USD) & (theirs > 0)
    assert owes.sum() >= 20
    unit = UNITS / np.array([float(raw) or np.inf for raw in accounts["debt_base_raw"]])
    off = np.abs(factor[owes] / theirs[owes] - 1) > 1e-9 + unit[owes]
    if name in NOT_LINEAR:
        assert (factor[owes & (theirs < 1)] < 1).all()  # whom the protocol would liquidate, the tables would, too
    else:
        assert not off.any(), accounts.loc[owes, "account_id"][off].tolist()


@pytest.mark.parametrize("name", NAMES)
async def test_a_feed_that_reverts_does_not_sink_the_scan(
    name: str, devnet: Devnet, everything: dict[str, list[Reading]], tmp_path: Path
) -> None:
    """WBTC's or, where there is none, WETH's feed: its markets are named, nothing is priced at nothing."""
    symbols = {asset.symbol for reading in everything[name] for asset in reading.assets}
    symbol = "WBTC" if "WBTC" in symbols else "WETH"
    devnet.rpc("anvil_setCode", devnet.feeds[symbol], REVERTS)
    devnet.mine()
    token = devnet.tokens[symbol].lower()
    try:
        found = (await read_all(devnet, tmp_path, name))[name]
    except ReaderError:  # nothing is left to read: the scan has a row of coverage that says why
        assert name in NOTHING_LEFT
        return
    why = " ".join(f"{key}: {text}" for r in found for key, text in [*r.gaps.items(), *r.failed.items()])
    assert all(feed.price_raw > 0 for reading in found for feed in reading.feeds)
    before, after = (
        {(r.venue.venue_id, f.feed_id) for r in rs for f in r.feeds if token in f.asset_id.lower()}
        for rs in (everything[name], found)
    )
    if before - after:
        assert why
    for reading in found:
        assert reading.found == len(reading.accounts) + len(reading.failed)
    if found and any(reading.assets for reading in found):
        compile_book(from_readings(found))
