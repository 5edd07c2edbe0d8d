"""The GMX v2 reader against a stand-in in the DataStore's true layout; its Solidity says what it imitates.

No registry has GMX's bytecode. The stand-in answers with the ABI of two releases of the Reader, and its liquidation
view is asked just above and below our liquidation prices.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ConfigError, ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import gmx_v2
from defi_leverage.protocols._perps import share_of_notional
from defi_leverage.protocols.gmx_v2.arithmetic import FLOAT, Position, State, Stored, Terms, View, assess
from defi_leverage.protocols.gmx_v2.keys import key, member_key
from defi_leverage.protocols.gmx_v2.markets import Sides, funding_rate
from defi_leverage.protocols.gmx_v2.positions import is_forced
from defi_leverage.protocols.gmx_v2.prices import parse_prices
from defi_leverage.protocols.gmx_v2.venue import Venue
from defi_leverage.reading import AccountReading, Deployment, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import transaction
from tests.devnet.protocols.gmx_v2 import HAND, SOL_USD
from tests.devnet.session import Devnet

pytestmark = pytest.mark.devnet("gmx_v2")
YEAR = 365 * 86_400
PRICES = "((uint256,uint256),(uint256,uint256),(uint256,uint256))"
VERDICT = (
    f"isPositionLiquidatable(address,address,bytes32,(address,address,address,address),{PRICES},bool,bool)",
    "(bool,string,(int256,int256,int256))",
)


@dataclass(frozen=True)
class Scene:
    """The devnet, what its builder tells, and the readings at the head by the builder's name of the market."""

    devnet: Devnet
    told: dict[str, Any]
    readings: tuple[Reading, ...]

    @property
    def by_name(self) -> dict[str, Reading]:
        names = {market["token"]: name for name, market in self.told["markets"].items()}
        return {names[reading.venue.address]: reading for reading in self.readings}

    def kinds(self, kind: str) -> set[str]:
        return {account["key"] for account in self.told["accounts"] if account["kind"] == kind}

    def prices(self, name: str) -> tuple[int, ...]:
        """Of the index, the long and the short token: 1e-30 USD of a raw unit, as the feeds answer."""
        eth, btc, usdc = 3_000 * 10**12, 90_000 * 10**22, 10**24
        index = {"BTC": btc, "SOL": SOL_USD * 10**21}.get(name, eth)
        return index, btc if name == "BTC" else eth, eth if name == "single" else usdc

    def verdict(self, name: str, of: str, prices: tuple[int, ...]) -> tuple[bool, int]:
        """Whether the contract would have the position liquidated at these prices, and its remaining collateral."""
        market = self.told["markets"][name]
        tokens = self.devnet.tokens
        pair = {"BTC": ("WBTC", "USDC"), "single": ("WETH", "WETH")}.get(name, ("WETH", "USDC"))
        props = (market["token"], market["index"], tokens[pair[0]], tokens[pair[1]])
        quoted = tuple((price, price) for price in prices)
        given = (self.told["store"], self.told["desk"], bytes.fromhex(of[2:]), props, quoted, True, True)
        is_liquidatable, _, info = self.devnet.call(self.told["readers"]["Reader22"], *VERDICT, *given)
        return is_liquidatable, info[0]


async def read(devnet: Devnet, **options: Any) -> tuple[Reading, ...]:
    told = devnet.description.protocols["gmx_v2"]
    plain = {
        "reader_contract": told["readers"]["Reader22"],
        "referral_storage": told["desk"],
        "prices": tuple(told["prices"]),
    }
    deployment = Deployment("gmx_v2", "GMX", told["store"], told["first_block"], plain | options)
    async with open_chain("devnet", devnet.chain_id, [devnet.url]) as chain:
        return await gmx_v2.read(chain, deployment)


@pytest.fixture
async def scene(devnet: Devnet) -> Scene:
    return Scene(devnet, devnet.description.protocols["gmx_v2"], await read(devnet))


@pytest.fixture
async def updated(devnet: Devnet) -> Scene:
    """A week later, with every market's funding and borrowing written in the very second of the reading."""
    bare = Scene(devnet, devnet.description.protocols["gmx_v2"], ())
    later = devnet.head()[1] + 7 * 86_400
    calls = [
        transaction(OWNER, bare.told["desk"], f"update(address,{PRICES})", market["token"], quoted)
        for name, market in bare.told["markets"].items()
        if name not in ("XRP", "swaps")
        for quoted in [tuple((price, price) for price in bare.prices(name))]
    ]
    devnet.send_many(calls, later)
    return replace(bare, readings=await read(devnet))


def health(account: AccountReading, prices: dict[str, Fraction]) -> tuple[Fraction, Fraction]:
    """Weighted collateral and debt, at a price of one raw unit for each asset."""
    sums = {"collateral": Fraction(0), "debt": Fraction(0)}
    for leg in account.legs:
        sums[leg.side] += leg.amount_raw * prices[leg.asset_id] * Fraction(leg.weight_wad, WAD)
    return sums["collateral"], sums["debt"]


def unit_prices(reading: Reading) -> dict[str, Fraction]:
    places = {asset.asset_id: asset.decimals for asset in reading.assets}
    return {f.asset_id: Fraction(f.price_raw, f.price_scale * 10 ** places[f.asset_id]) for f in reading.feeds}


def test_every_position_is_found_and_none_set_aside(scene: Scene) -> None:
    assert set(scene.by_name) == {"ETH", "BTC", "SOL", "single", "plain"}
    for name, reading in scene.by_name.items():
        opened = {account["key"]: account for account in scene.told["accounts"] if account["market"] == name}
        assert {account.address for account in reading.accounts} == opened.keys()
        assert (reading.failed, reading.found) == ({}, len(opened))
        for account in reading.accounts:
            made = opened[account.address]
            assert account.owner.lower() == made["owner"].lower()
            assert (account.perps[0].size_raw > 0) == made["is_long"]
    assert sum(reading.found for reading in scene.readings) >= 80


def test_a_long_solved_by_hand(scene: Scene) -> None:
    """10,000 USD of ETH at 3,000 on 2,000 USDC, 1 % to be kept, no fees: equity 1,900 above the margin of 100.

    The price may fall by 19 %, to 2,430; there the notional is 8,100, of which 100 is 1/81.
    """
    (account,) = scene.by_name["plain"].accounts
    (perp,) = account.perps
    assert account.address == scene.told["hand"]
    assert account.collateral_base_raw == pytest.approx(2_000 * WAD, abs=10**6)  # tokens are cut to whole raw units
    assert account.debt_base_raw == 100 * WAD
    assert perp.size_raw == HAND["size_usd"] * 10**18 // HAND["entry_usd"]
    assert (perp.entry_price_usd_wad or 0) / WAD == pytest.approx(3_000, rel=1e-15)
    assert perp.liquidation_price_usd_wad is not None
    assert perp.liquidation_price_usd_wad / WAD == pytest.approx(2_430, rel=1e-15)
    assert perp.maintenance_ratio_wad / WAD == pytest.approx(1 / 81, rel=1e-15)
    margin = next(leg for leg in account.legs if leg.weight_wad == WAD and leg.side == "collateral")
    assert margin.amount_raw == HAND["collateral"]
    collateral, debt = health(account, unit_prices(scene.by_name["plain"]))
    assert float(collateral / debt) == pytest.approx((10_000 * 80 / 81 + 2_000) / 10_000, rel=1e-14)


def test_equity_is_the_contract_s_once_fees_are_written(updated: Scene) -> None:
    """The view goes by written indices; a reading of the second before has the same fees, as they are due."""
    for name, reading in updated.by_name.items():
        for account in reading.accounts:
            _, remaining = updated.verdict(name, account.address, updated.prices(name))
            assert account.collateral_base_raw == remaining // 10**12


async def test_fees_are_due_before_they_are_written(devnet: Devnet, updated: Scene) -> None:
    head = devnet.head()[1]
    written = {account.address: account for reading in updated.readings for account in reading.accounts}
    before = devnet.description.protocols["gmx_v2"]
    await _at_the_same_second(devnet, before, head, written)


async def _at_the_same_second(
    devnet: Devnet, told: dict[str, Any], second: int, written: dict[str, AccountReading]
) -> None:
    devnet.mine(second + 30 * 86_400)
    pending = {account.address: account for reading in await read(devnet) for account in reading.accounts}
    grew = 0
    for address, account in pending.items():
        (now,), (then,) = account.perps, written[address].perps
        assert now.accrued_fees_usd_wad >= then.accrued_fees_usd_wad
        grew += now.accrued_fees_usd_wad > then.accrued_fees_usd_wad
    assert grew >= 80
    bare = Scene(devnet, told, ())
    calls = [
        transaction(OWNER, told["desk"], f"update(address,{PRICES})", market["token"], quoted)
        for name, market in told["markets"].items()
        if name not in ("XRP", "swaps")
        for quoted in [tuple((price, price) for price in bare.prices(name))]
    ]
    devnet.send_many(calls, second + 30 * 86_400 + 1)
    for reading in await read(devnet):
        for account in reading.accounts:
            (now,), (then,) = account.perps, pending[account.address].perps
            assert now.accrued_fees_usd_wad == pytest.approx(then.accrued_fees_usd_wad, rel=1e-5, abs=10**14)
            assert now.accrued_funding_usd_wad == pytest.approx(then.accrued_funding_usd_wad, rel=1e-5, abs=10**14)


def test_health_is_one_at_the_liquidation_price_and_the_contract_agrees(updated: Scene) -> None:
    """Longs and shorts, margin in dollars and in what the position follows: a millionth to either side of the price."""
    checked = {True: 0, False: 0}
    for name, reading in updated.by_name.items():
        quoted, index_id = unit_prices(reading), reading.perp_markets[0].asset_id
        decimals = next(asset.decimals for asset in reading.assets if asset.asset_id == index_id)
        for account in reading.accounts:
            (perp,) = account.perps
            at = perp.liquidation_price_usd_wad
            if at is None:
                continue
            collateral, debt = health(account, quoted | {index_id: Fraction(at, WAD * 10**decimals)})
            assert abs(collateral / debt - 1) < Fraction(1, 10**12)
            is_falling = perp.size_raw > 0
            raw = at * 10**12 // 10**decimals
            for factor, expected in ((10**6 - 1, is_falling), (10**6 + 1, not is_falling)):
                price = raw * factor // 10**6
                prices = (price, *updated.prices(name)[1:])
                if name in ("ETH", "plain"):
                    prices = (price, price, prices[2])
                elif name == "single":
                    prices = (price, price, price)
                assert updated.verdict(name, account.address, prices)[0] is expected
                moved = health(account, quoted | {index_id: Fraction(price, FLOAT)})
                assert (moved[0] < moved[1]) is expected
                checked[is_falling] += 1
    assert min(checked.values()) >= 50


def test_who_can_be_liquidated_now(updated: Scene) -> None:
    below = set()
    for name, reading in updated.by_name.items():
        for account in reading.accounts:
            collateral, debt = health(account, unit_prices(reading))
            assert (collateral < debt) is updated.verdict(name, account.address, updated.prices(name))[0]
            if collateral < debt:
                below.add(account.address)
    assert updated.kinds("under_water") <= below
    assert below & updated.kinds("steep")
    negative = {a.address for reading in updated.readings for a in reading.accounts if a.collateral_base_raw < 0}
    assert updated.kinds("under_water") <= negative < below


def test_legs_add_up_to_equity(scene: Scene) -> None:
    for name, reading in scene.by_name.items():
        places = {asset.asset_id: asset.decimals for asset in reading.assets}
        for account in reading.accounts:
            size = abs(account.perps[0].size_raw) * (account.perps[0].entry_price_usd_wad or 0) / WAD
            # The impact put off, a ten-thousandth here, is as at the liquidation price.
            slack = 1e-6 + 1e-4 * size / 10 ** places[account.perps[0].asset_id]
            prices, sums = unit_prices(reading), {"collateral": Fraction(0), "debt": Fraction(0)}
            for leg in account.legs:
                sums[leg.side] += leg.amount_raw * prices[leg.asset_id]
            off = float(sums["collateral"] - sums["debt"]) - account.collateral_base_raw / WAD
            if name == "single" and off > 0:
                continue  # the pool's cap cuts its profit
            price = prices[account.perps[0].asset_id] * WAD * 10 ** places[account.perps[0].asset_id]
            far = (account.perps[0].liquidation_price_usd_wad or 0) < price / 10  # the rest of its margin is a debt leg
            assert -account.debt_base_raw / WAD - 1e-6 < off < 1e-6 if far else abs(off) < slack


def test_funding_is_positive_where_longs_pay(scene: Scene) -> None:
    """30 % a year times the imbalance; receivers may claim, which is none of their margin."""
    reading = scene.by_name["ETH"]
    market = reading.perp_markets[0]
    store, token = scene.told["store"], scene.told["markets"]["ETH"]["token"]
    sides = []
    for side in (True, False):
        keys = [key("OPEN_INTEREST", token, scene.devnet.tokens[name], side) for name in ("WETH", "USDC")]
        sides.append(sum(scene.devnet.call(store, "getUint(bytes32)", "(uint256)", of)[0] for of in keys))
    long, short = sides
    assert long > short
    assert market.funding_rate_wad is not None
    assert market.funding_rate_wad / WAD == pytest.approx(0.3 * (long - short) / (long + short), rel=1e-9)
    owed = {True: 0, False: 0}
    for account in reading.accounts:
        (perp,) = account.perps
        owed[perp.size_raw > 0] += perp.accrued_funding_usd_wad
        if perp.size_raw > 0:
            assert perp.accrued_funding_usd_wad >= 0
    assert owed[True] > 0 > owed[False]
    assert owed[True] == pytest.approx(-owed[False], rel=0.3)  # some was due before the last shorts came


async def test_the_release_before(scene: Scene) -> None:
    """Release 2.1 has a shorter struct, no impact put off, and the factor of opening, which is twice as much."""
    old = {
        a.address: a
        for r in await read(scene.devnet, reader_contract=scene.told["readers"]["Reader21"])
        for a in r.accounts
    }
    new = {a.address: a for r in scene.readings for a in r.accounts}
    assert old.keys() == new.keys()
    for address, account in old.items():
        assert account.perps[0].size_raw == new[address].perps[0].size_raw
        assert account.collateral_base_raw >= new[address].collateral_base_raw
    large = [a for a in new.values() if a.debt_base_raw > 10 * WAD and a.address != scene.told["hand"]]
    assert all(old[a.address].debt_base_raw // 2 == pytest.approx(a.debt_base_raw, abs=1) for a in large)
    assert len(large) > 60
    assert sum(old[a.address].collateral_base_raw > a.collateral_base_raw for a in large) > 30


async def test_the_release_is_told_by_any_position_that_answers(scene: Scene) -> None:
    """At prices of 0 the view reverts, as it does for a position without size: another one tells."""
    told, tokens = scene.told, scene.devnet.tokens
    market = told["markets"]["plain"]
    props = (market["token"], market["index"], tokens["WETH"], tokens["USDC"])
    quoted = tuple((price, price) for price in scene.prices("plain"))
    sample = bytes.fromhex(told["hand"][2:])
    async with open_chain("devnet", scene.devnet.chain_id, [scene.devnet.url]) as chain:
        for name, is_later in (("Reader22", True), ("Reader21", False)):
            venue = Venue(told["store"], told["readers"][name], told["desk"])
            dead, alive = (sample, props, ((0, 0),) * 3), (sample, props, quoted)
            assert [await is_forced(chain, venue, of) for of in ([dead, alive], [dead], [])] == [is_later, False, False]


async def test_an_unknown_release_is_refused_account_by_account(scene: Scene) -> None:
    readings = await read(scene.devnet, reader_contract=scene.told["readers"]["ReaderNext"])
    failed = [why for reading in readings for why in reading.failed.values()]
    assert [account for reading in readings for account in reading.accounts] == []
    assert len(failed) >= 80
    assert set(failed) == {"the reader answers 68 words for a position; known are 62, 66, 67"}


def test_a_market_without_a_price_is_left_out_by_name(scene: Scene) -> None:
    (why,) = [why for name, why in scene.readings[0].gaps.items() if scene.told["markets"]["XRP"]["token"] in name]
    assert why.startswith("2 positions are left out")
    assert scene.told["names"]["XRP"] in why
    assert all("XRP" not in name for reading in scene.readings[1:] for name in reading.gaps)


async def test_stale_feeds_and_prices_of_the_configuration(scene: Scene) -> None:
    devnet, store = scene.devnet, scene.told["store"]
    without = await read(devnet, prices=())
    assert {r.venue.address for r in without} == {r.venue.address for r in scene.readings} - {
        scene.told["markets"]["SOL"]["token"]
    }
    btc = scene.told["names"]["BTC"]
    stale = key("PRICE_FEED_HEARTBEAT_DURATION", btc)
    devnet.transact(OWNER, store, "setUint(bytes32,uint256)", stale, 3_600)
    gaps = (await read(devnet))[0].gaps
    assert any("more than its heartbeat of 3600" in why for why in gaps.values())
    for text in (f"{btc}=90000", f"{btc.lower()}=90000@8"):  # the feed's multiplier tells the decimals too
        given = Scene(devnet, scene.told, await read(devnet, prices=(text, *scene.told["prices"]))).by_name["BTC"]
        source = next(f for f in given.feeds if f.asset_id == given.perp_markets[0].asset_id)
        assert (source.price_raw / source.price_scale, source.source) == (90_000, "price of the configuration")
        assert len(given.accounts) == len(scene.by_name["BTC"].accounts)
    for name in ("USDC", "WETH"):
        devnet.transact(OWNER, store, "setAddress(bytes32,address)", key("PRICE_FEED", devnet.tokens[name]), OWNER)
    with pytest.raises(ReaderError, match="no market has its prices"):
        await read(devnet, prices=())


async def test_auto_deleveraging_and_the_cap_on_profit_are_told(scene: Scene) -> None:
    single = scene.by_name["single"]
    assert sorted(single.gaps) == [
        "auto-deleveraging of longs of WETH [WETH-WETH]",
        "profit of 2 positions of WETH [WETH-WETH]",
    ]
    why = "auto-deleveraging of longs of WETH [WETH-WETH]"
    assert single.gaps[why].startswith("it is off, and a keeper may switch it on: their profit is ")
    assert single.gaps[why].endswith("% of the pool, allowed are 0.00 %")
    assert all("deleveraging" not in name for name in scene.by_name["ETH"].gaps)
    for name in ("single", "ETH"):
        at = key("IS_ADL_ENABLED", scene.told["markets"][name]["token"], True)
        scene.devnet.transact(OWNER, scene.told["store"], "setBool(bytes32,bool)", at, True)
    now = Scene(scene.devnet, scene.told, await read(scene.devnet)).by_name
    assert now["single"].gaps[why].startswith("it is on: their profit is ")
    assert now["ETH"].gaps["auto-deleveraging of longs of WETH [WETH-USDC]"].startswith("it is on, and closes nobody")


async def test_a_disabled_market_is_told(scene: Scene) -> None:
    """Its positions are read as before; nothing is carried out in it (BaseOrderUtils: getEnabledMarket)."""
    at = key("IS_MARKET_DISABLED", scene.told["markets"]["single"]["token"])
    scene.devnet.transact(OWNER, scene.told["store"], "setBool(bytes32,bool)", at, True)
    now = Scene(scene.devnet, scene.told, await read(scene.devnet)).by_name
    assert sorted(now["single"].gaps) == ["market WETH [WETH-WETH]", "profit of 2 positions of WETH [WETH-WETH]"]
    assert len(now["single"].accounts) == len(scene.by_name["single"].accounts)


async def test_a_saved_rate_against_the_larger_side(scene: Scene) -> None:
    """1e-9 a second that shorts pay, the smaller side: 3.1536 % of theirs a year since v2.2; before, of the longs'."""
    store, token = scene.told["store"], scene.told["markets"]["ETH"]["token"]
    at = key("SAVED_FUNDING_FACTOR_PER_SECOND", token)
    scene.devnet.transact(OWNER, store, "setInt(bytes32,int256)", at, -(10**21))
    now = Scene(scene.devnet, scene.told, await read(scene.devnet)).by_name["ETH"]
    assert now.perp_markets[0].funding_rate_wad == -31_536 * WAD // 10**6
    before = await read(scene.devnet, reader_contract=scene.told["readers"]["Reader21"])
    (old,) = [reading.perp_markets[0] for reading in before if reading.venue.address == token]
    sides = []
    for side in (True, False):
        keys = [key("OPEN_INTEREST", token, scene.devnet.tokens[name], side) for name in ("WETH", "USDC")]
        sides.append(sum(scene.devnet.call(store, "getUint(bytes32)", "(uint256)", of)[0] for of in keys))
    assert sides[0] > 1.1 * sides[1]
    assert (old.funding_rate_wad or 0) / WAD == pytest.approx(-0.031536 * sides[0] / sides[1], rel=1e-12)


def test_the_rate_of_those_who_pay() -> None:
    """GMX changelogs/v2.2.md: of the side paying, not of the larger. 200 long, 100 short, a second's factor 1e-30."""
    words, interest = [0] * 29, Sides(200, 100)
    words[15] = 1
    assert funding_rate(words, interest, True) == -YEAR
    assert funding_rate(words, interest, False) == -2 * YEAR
    words[14] = 1
    assert funding_rate(words, interest, True) == funding_rate(words, interest, False) == YEAR
    assert funding_rate(words, Sides(0, 100), True) == 0
    assert funding_rate(words[:15], interest, True) is None


def test_markets(scene: Scene) -> None:
    for name, reading in scene.by_name.items():
        market, sizes = reading.perp_markets[0], [account.perps[0].size_raw for account in reading.accounts]
        assert market.open_interest_long_raw == sum(size for size in sizes if size > 0)
        assert market.open_interest_short_raw == -sum(size for size in sizes if size < 0)
        assert market.maximum_leverage_wad == 100 * WAD
        ratio = WAD // 100 if name == "plain" else WAD // 200
        assert market.tiers == ((0, 0, 5 * WAD), (5 * WAD * WAD // ratio, ratio, 0))
        assert reading.venue.liquidation_parameters == {"liquidation_fee": 0.002, "deleverage": 0.0}


def test_the_engine_closes_who_the_contract_would(updated: Scene) -> None:
    snapshot = from_readings(updated.readings)
    assert len(snapshot.perps) == sum(len(reading.accounts) for reading in updated.readings)
    assert abs(snapshot.coverage["unattributed_supply_usd"]).max() < 100  # impact put off: a ten-thousandth
    assert abs(snapshot.coverage["unattributed_borrow_usd"]).max() < 100
    result = run_contagion(snapshot, Scenario("none", {}, sell_collateral=False, buy_debt=False))
    closed = {account.split(":")[2].split("@")[0] for account in result.liquidations["account_id"]}
    assert closed == {
        account.address
        for name, reading in updated.by_name.items()
        for account in reading.accounts
        if updated.verdict(name, account.address, updated.prices(name))[0]
    }


async def test_contracts_that_are_none(devnet: Devnet) -> None:
    with pytest.raises(ReaderError, match="has no reader_contract: give the Reader"):
        await read(devnet, reader_contract="")
    with pytest.raises(ReaderError, match="not all addresses"):
        await read(devnet, reader_contract="0x12")
    with pytest.raises(ReaderError, match="lists no markets"):
        await read(devnet, reader_contract=OWNER)


@pytest.mark.parametrize(
    "text", ["0x12=3", "WETH=3", "0x" + "1" * 40, "0x" + "1" * 40 + "=-3", "0x" + "1" * 40 + "=1@x"]
)
def test_a_price_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="write TOKEN=USD"):
        parse_prices((text,), "GMX")


def test_keys() -> None:
    """keccak256(abi.encode("POSITION_LIST")) spelled out, and a key of a market and a side."""
    word = (32).to_bytes(32, "big") + (13).to_bytes(32, "big") + b"POSITION_LIST".ljust(32, b"\0")
    assert key("POSITION_LIST") == keccak(word)
    market = "0x" + "ab" * 20
    tail = bytes(12) + b"\xab" * 20 + (1).to_bytes(32, "big")
    assert key("OPEN_INTEREST", market, True) == keccak(key("OPEN_INTEREST") + tail)
    assert member_key(bytes(32), "MARKET") == keccak(bytes(32) + key("MARKET"))


def made(
    is_long: bool,
    size: int,
    tokens: int,
    margin: int,
    fees: tuple[int, int, int],
    price: int,
    pending: int = 0,
    closing_impact: int = 0,
) -> Position:
    profit = (1 if is_long else -1) * (tokens * price - size)
    funding, borrowing, closing = fees
    return Position(
        b"",
        "",
        "",
        "",
        is_long,
        size,
        tokens,
        margin,
        pending,
        closing_impact,
        0,
        0,
        funding,
        0,
        0,
        borrowing,
        closing,
        profit,
        profit,
    )


@settings(max_examples=80)
@given(
    is_long=st.booleans(),
    is_index=st.booleans(),
    price=st.integers(10**12, 10**16),
    tokens=st.integers(10**15, 10**22),
    leverage=st.floats(0.3, 90),
    paid=st.floats(0.7, 1.4),
    fees=st.tuples(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12)),
    of_closing=st.floats(-0.007, 0.004),
    put_off=st.floats(-0.003, 0.003),
)
def test_health_is_one_at_exactly_the_liquidation_price(
    is_long: bool,
    is_index: bool,
    price: int,
    tokens: int,
    leverage: float,
    paid: float,
    fees: tuple[int, int, int],
    of_closing: float,
    put_off: float,
) -> None:
    """Any position: whatever is split off to a debt leg, the exact fractions meet at the price."""
    size = int(tokens * price * paid)
    of_margin = price if is_index else 10**18
    margin = int(size / leverage) // of_margin
    terms = Terms(FLOAT // 100, 5 * FLOAT, FLOAT // 200)
    put_off_tokens, closing = int(tokens * put_off), int(size * of_closing)
    position = made(is_long, size, tokens, margin, fees, price, put_off_tokens, closing)
    most = -(size // 200)

    def worth(at: Fraction, funding: int, borrowing: int) -> Fraction:
        quote = at if is_index else Fraction(of_margin)
        impact = max(min(closing + put_off_tokens * at, Fraction(0)), Fraction(most))
        profit = (1 if is_long else -1) * (tokens * at - size)
        return profit + (margin - funding) * quote + impact - (borrowing + fees[2]) * of_margin

    needed, remaining = max(5 * FLOAT, size // 100), int(worth(Fraction(price), 0, 0))
    view = View(remaining <= 0 or remaining < needed, remaining, 5 * FLOAT, size // 100)
    state = assess(position, terms, Stored(0, 0), view, price, of_margin, is_index)
    assert isinstance(state, State)
    assert state.equity_usd == worth(Fraction(price), *fees[:2])
    assert state.requirement_usd == needed
    if state.liquidation_price is None:
        return
    at = state.liquidation_price
    quote = at if is_index else Fraction(of_margin)
    weight = 1 + Fraction(state.ratio_wad, WAD) * (-1 if is_long else 1)
    collateral = margin * quote + (state.tokens * weight * at if is_long else size)
    debt = fees[0] * quote + state.costs_usd + state.due_usd + (size if is_long else state.tokens * weight * at)
    assert abs(collateral - debt) <= Fraction(debt, 10**15) + 1
    assert abs(worth(at, *fees[:2]) - needed) <= 1


def test_a_requirement_as_a_share_of_the_notional() -> None:
    """100 of 10 units at 50 is a fifth; far below the price the rest is a debt; without a price all of it is."""
    assert share_of_notional(10, Fraction(60), Fraction(50), Fraction(100)) == (WAD // 5, Fraction(0))
    ratio, due = share_of_notional(10, Fraction(1000), Fraction(10), Fraction(100))
    assert (ratio, due) == (WAD // 10, Fraction(90))
    assert share_of_notional(1, Fraction(1), Fraction(1), Fraction(100)) == (WAD // 2, Fraction(199, 2))
    assert share_of_notional(10, Fraction(1000), None, Fraction(100)) == (10**6, Fraction(100))  # 1e-12: no share


def test_a_view_that_is_not_reproduced_sets_the_position_aside() -> None:
    position, terms = made(True, 1_000 * FLOAT, 10**18, 10**18, (0, 0, 0), 10**15), Terms(0, 0, FLOAT // 100)
    right = View(False, 1_000 * FLOAT, 0, 0)
    assert isinstance(assess(position, terms, Stored(0, 0), right, 10**15, 10**15, True), State)
    for view, why in (
        (replace(right, remaining_usd=1_000 * FLOAT + 1), "impact"),
        (replace(right, remaining_usd=989 * FLOAT), "impact"),
        (replace(right, remaining_usd=991 * FLOAT), None),  # of before v2.2, cut in what the reader tells of it
        (replace(right, minimum_usd=1), "it must have"),
        (replace(right, is_liquidatable=True), "whether it can be liquidated"),
    ):
        found = assess(position, terms, Stored(0, 0), view, 10**15, 10**15, True)
        assert isinstance(found, State) if why is None else why in str(found)
    put_off = replace(position, pending_impact=-(10**16))  # 10 USD of it at 1,000, the most that counts
    for lost, is_right in ((10, True), (9, False), (0, False)):
        view = replace(right, remaining_usd=(1_000 - lost) * FLOAT)
        assert isinstance(assess(put_off, terms, Stored(0, 0), view, 10**15, 10**15, True), State) is is_right
    assert "profit" in str(assess(position, terms, Stored(0, 0), right, 10**15 + 1, 10**15, True))
