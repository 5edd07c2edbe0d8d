"""The gTrade reader against a stand-in with the diamond's true views; its Solidity says what it imitates.

No registry has gTrade's bytecode. The stand-in's liquidation price is written from the published formula.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ConfigError, ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import gains
from defi_leverage.protocols.gains.accounts import Quote, account_of
from defi_leverage.protocols.gains.arithmetic import (
    PRICE,
    Held,
    Limits,
    State,
    Terms,
    Trade,
    assess,
    closing_fee,
    liquidation_price,
    threshold,
)
from defi_leverage.protocols.gains.prices import parse_prices
from defi_leverage.protocols.gains.trades import find_trades
from defi_leverage.reading import AccountReading, Deployment, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import transaction
from tests.devnet.protocols.gains import LIMITS, PRICES
from tests.devnet.session import Devnet

pytestmark = pytest.mark.devnet("gains")
INPUT = (
    "getTradeLiquidationPrice((uint8,address,uint16,uint32,uint64,bool,uint256,uint256,int256,"
    "(uint40,uint40,uint40,uint24,uint24),uint64,bool,uint256,bool))"
)
FEES = "getTradePendingHoldingFeesCollateral(address,uint32,uint64)"
USD = {"USDC": 1, "WETH": 3_000, "DAI": 1}
PLACES = {"USDC": 6, "WETH": 18, "DAI": 18}


@dataclass(frozen=True)
class Scene:
    """The devnet, what its builder tells, and the readings at the head by collateral."""

    devnet: Devnet
    told: dict[str, Any]
    readings: dict[str, Reading]

    def accounts(self, *kinds: str) -> list[tuple[dict[str, Any], AccountReading]]:
        """What was opened and what was read, of these kinds."""
        read = {account.address: account for reading in self.readings.values() for account in reading.accounts}
        return [(made, read[made["address"]]) for made in self.told["accounts"] if made["kind"] in kinds]


async def read(devnet: Devnet, **options: Any) -> tuple[Reading, ...]:
    told = devnet.description.protocols["gains"]
    plain = {"prices": tuple(told["prices"])}
    deployment = Deployment("gains", "gTrade", told["diamond"], told["first_block"], plain | options)
    async with open_chain("devnet", devnet.chain_id, [devnet.url]) as chain:
        return await gains.read(chain, deployment)


@pytest.fixture
async def scene(devnet: Devnet) -> Scene:
    readings = {reading.venue.name.split()[-1]: reading for reading in await read(devnet)}
    return Scene(devnet, devnet.description.protocols["gains"], readings)


def health(account: AccountReading, prices: dict[str, Fraction]) -> tuple[Fraction, Fraction]:
    """Weighted collateral and debt, at a price of one raw unit for each asset."""
    sums = {"collateral": Fraction(0), "debt": Fraction(0)}
    for leg in account.legs:
        sums[leg.side] += leg.amount_raw * prices[leg.asset_id] * Fraction(leg.weight_wad, WAD)
    return sums["collateral"], sums["debt"]


def unit_prices(reading: Reading) -> dict[str, Fraction]:
    places = {asset.asset_id: asset.decimals for asset in reading.assets}
    return {f.asset_id: Fraction(f.price_raw, f.price_scale * 10 ** places[f.asset_id]) for f in reading.feeds}


def test_every_trade_is_found_and_none_set_aside(scene: Scene) -> None:
    assert set(scene.readings) == {"USDC", "WETH", "DAI"}
    for name, reading in scene.readings.items():
        opened = {
            made["address"]: made
            for made in scene.told["accounts"]
            if made["collateral"] == name and made["kind"] not in ("unpriced", "order")
        }
        assert {account.address for account in reading.accounts} == opened.keys()
        assert (reading.failed, reading.found) == ({}, len(opened))
        for account in reading.accounts:
            made = opened[account.address]
            assert account.owner.lower() == made["owner"].lower()
            assert (account.perps[0].size_raw > 0) == made["is_long"]
    assert sum(reading.found for reading in scene.readings.values()) == 47
    assert list(scene.readings["USDC"].gaps.values()) == [
        "1 trades are left out: DOGE/USD has no price: neither the configuration nor a feed of the pair says it"
    ]
    assert not scene.readings["WETH"].gaps


def test_a_long_solved_by_hand(scene: Scene) -> None:
    """Ten times 1,000 USDC at 160, 15 of it gone: a loss of 885 is left to the 90 %, 8.85 % of the price.

    145.84; there 62.5 units are 9,115, of which the 100 that must be left are 100/9115.
    """
    ((made, account),) = scene.accounts("hand")
    (perp,) = account.perps
    assert made["address"] == scene.told["hand"]
    assert account.collateral_base_raw == 985 * WAD
    assert account.debt_base_raw == 100 * WAD
    assert perp.size_raw == 625 * 10**17
    assert perp.entry_price_usd_wad == 160 * WAD
    assert perp.liquidation_price_usd_wad == 14_584 * WAD // 100
    assert perp.maintenance_ratio_wad == 100 * WAD // 9_115
    assert (perp.accrued_funding_usd_wad, perp.accrued_fees_usd_wad) == (0, 0)
    collateral, debt = health(account, unit_prices(scene.readings["USDC"]))
    assert float(collateral / debt) == pytest.approx((1_000 + 10_000 * (1 - 100 / 9_115)) / 10_015, rel=1e-14)


async def test_liquidation_prices_are_the_contract_s(scene: Scene) -> None:
    """Every trade's, written out again from terms known here, to the last unit; the account has the same."""
    async with open_chain("devnet", scene.devnet.chain_id, [scene.devnet.url]) as chain:
        trades, lost = await find_trades(chain, scene.told["diamond"])
    assert lost == {}
    read_of = {account.address: account for _, account in scene.accounts("crowd", "under_water", "hand")}
    for trade in trades:
        name = scene.told["collaterals"][trade.collateral_index - 1]
        pair = scene.told["pairs"][trade.pair]
        if pair not in PRICES:
            continue
        unit, price = 10 ** (18 - PLACES[name]), PRICES[pair] * PRICE
        due = scene.devnet.call(
            scene.told["diamond"], FEES, "(int256,uint256,uint256,int256)", trade.trader, trade.index, price
        )
        limits = trade.limits
        given = (
            *(trade.collateral_index, trade.trader, trade.pair, trade.index, trade.open_price, trade.is_long),
            *(trade.collateral, trade.leverage, 0),
            (
                limits.most_spread,
                limits.start_threshold,
                limits.end_threshold,
                limits.start_leverage,
                limits.end_leverage,
            ),
            *(price, trade.is_counter, WAD, False),
        )
        (contract,) = scene.devnet.call(scene.told["diamond"], INPUT, "(uint256)", given)
        is_free = pair == "EUR/JPY"
        terms = Terms(*(0, 1_000, 0, 0) if is_free else (6 * 10**8, 500, 1_500 * 10 ** PLACES[name] // USD[name], 0))
        spread = 0 if is_free or not trade.version else (2, 5)[trade.pair] * 10**8  # 0.15 % is cut to 0.05 %
        owed = sum(due[0][:3]) if isinstance(due[0], tuple) else sum(due[:3])
        owed += 15 * 10**6 if is_free else 0
        assert liquidation_price(trade, owed + closing_fee(trade, terms), spread, unit) == contract
        account = read_of.get(f"{trade.trader}-{trade.index}")
        if account is not None:  # orders are none
            assert account.perps[0].liquidation_price_usd_wad == contract * 10**8


def test_health_is_one_at_the_liquidation_price(scene: Scene) -> None:
    for made, account in scene.accounts("crowd", "under_water", "hand"):
        reading = scene.readings[made["collateral"]]
        (perp,), prices = account.perps, unit_prices(reading)
        assert perp.liquidation_price_usd_wad is not None
        prices[perp.asset_id] = Fraction(perp.liquidation_price_usd_wad, WAD * WAD)
        collateral, debt = health(account, prices)
        assert abs(collateral - debt) < Fraction(1, 10**6)  # a raw unit of USDC
        beyond = prices | {
            perp.asset_id: prices[perp.asset_id] * (Fraction(999, 1000) if made["is_long"] else Fraction(1001, 1000))
        }
        collateral, debt = health(account, beyond)
        assert collateral < debt


def test_equity_is_exact_where_the_collateral_s_price_moves(scene: Scene) -> None:
    """All of a trade's equity is in its collateral: at half the price of WETH it is half, and was the value told."""
    reading = scene.readings["WETH"]
    prices = unit_prices(reading)
    token = next(asset.asset_id for asset in reading.assets if asset.symbol == "WETH")
    halved = prices | {token: prices[token] / 2}
    for account in reading.accounts:
        due = Fraction(account.debt_base_raw - _in_ratio(account), WAD)  # a debt leg that nobody takes
        for at, share in ((prices, 1), (halved, 2)):
            signed = [
                (1 if leg.side == "collateral" else -1) * leg.amount_raw * at[leg.asset_id] for leg in account.legs
            ]
            assert abs(sum(signed) + due - Fraction(account.collateral_base_raw, share * WAD)) < Fraction(1, 10**9)


def _in_ratio(account: AccountReading) -> int:
    """What of the requirement is in the position leg's weight, at the liquidation price: wad USD."""
    (perp,) = account.perps
    ratio, at = perp.maintenance_ratio_wad, perp.liquidation_price_usd_wad or 0
    return abs(perp.size_raw) * at // WAD * ratio // WAD


async def test_signs_of_funding_and_fees(scene: Scene) -> None:
    """On BTC longs pay and shorts are paid 6e-9 a second, 18.9 % a year; on ETH it is the other way round."""
    fees = {
        made["address"]: (made, account.perps[0].accrued_funding_usd_wad, account.perps[0].accrued_fees_usd_wad)
        for made, account in scene.accounts("crowd")
    }
    for made, funding, others in fees.values():
        pays = made["is_long"] == (made["pair"] == "BTC/USD")
        assert others > 0
        assert funding == 0 if made["version"] < 2 else (funding > 0) == pays
    year = 6e-9 * 365 * 86_400
    for reading in scene.readings.values():
        names = {asset.asset_id: asset.symbol for asset in reading.assets}
        for market in reading.perp_markets:
            expected = {"BTC/USD": year, "ETH/USD": -year, "EUR/JPY": 0.0}[names[market.asset_id]]
            assert (market.funding_rate_wad or 0) / WAD == pytest.approx(expected, rel=1e-3)
            assert market.maximum_leverage_wad == 150 * WAD
    scene.devnet.mine(scene.devnet.head()[1] + 7 * 86_400)
    later = {account.address: account for reading in await read(scene.devnet) for account in reading.accounts}
    for address, (made, funding, _) in fees.items():
        grown = later[address].perps[0].accrued_funding_usd_wad - funding
        notional = abs(later[address].perps[0].size_raw) * PRICES[made["pair"]]
        sign = 1 if made["is_long"] == (made["pair"] == "BTC/USD") else -1
        expected = 0.0 if made["version"] < 2 else sign * 7 * 86_400 * 6e-9 * notional
        assert grown == pytest.approx(expected, rel=1e-2)


async def test_funding_that_is_switched_off(scene: Scene) -> None:
    """The diamond still answers with the last rate (FundingFeesUtils.getPairPendingAccFundingFees), which nobody pays.

    Of BTC in USDC alone: in the other collaterals it goes on.
    """
    diamond, btc = scene.told["diamond"], scene.told["pairs"].index("BTC/USD")
    call = (diamond, "stopFunding(uint8,uint16,uint64)", 1, btc, 90_000 * PRICE)
    scene.devnet.send_many([transaction(OWNER, *call)])
    rate = scene.devnet.call(
        diamond, "getPairPendingAccFundingFees(uint8,uint16,uint64)", "(int128,int128,int56)", 1, btc, PRICE
    )
    assert rate[2] == 6 * 10**11
    now = {reading.venue.name.split()[-1]: reading for reading in await read(scene.devnet)}
    for name, reading in now.items():
        names = {asset.asset_id: asset.symbol for asset in reading.assets}
        (found,) = [m.funding_rate_wad for m in reading.perp_markets if names[m.asset_id] == "BTC/USD"]
        assert found == (0 if name == "USDC" else 6 * 10**11 * 365 * 86_400 // 100)


async def test_open_interest_is_compared_in_tokens(scene: Scene) -> None:
    """BTC was opened with half a per cent of price impact of the skew, which is not in its tokens: no gap for that."""
    diamond, btc = scene.told["diamond"], scene.told["pairs"].index("BTC/USD")
    assert not [name for reading in scene.readings.values() for name in reading.gaps if "open interest" in name]
    scene.devnet.send_many([transaction(OWNER, diamond, "addOi(uint8,uint16,uint128)", 2, btc, WAD)])
    gaps = [name for reading in await read(scene.devnet) for name in reading.gaps if "open interest" in name]
    assert gaps == ["open interest of BTC/USD long in WETH"]


async def test_trading_that_is_paused(scene: Scene) -> None:
    """In close-only, liquidations go on (TradingCallbacksUtils: tradingActivatedOrCloseOnly)."""
    for state, is_told in ((1, False), (2, True)):
        call = (scene.told["diamond"], "setTradingActivated(uint8)", state)
        scene.devnet.send_many([transaction(OWNER, *call)])
        assert ("trading" in (await read(scene.devnet))[0].gaps) is is_told


def test_the_snapshot_and_who_is_liquidated(scene: Scene) -> None:
    """Those whose price is beyond their liquidation price, and nobody else; the vault is the insurance fund."""
    snapshot = from_readings(list(scene.readings.values()))
    assert len(snapshot.perps) == 47
    assert set(snapshot.perp_markets["insurance_fund_usd"]) == {2_000.0, 6_000_000.0}
    result = run_contagion(snapshot, Scenario("none", {}, sell_collateral=False, buy_debt=False))
    closed = {account.split(":")[2].split("@")[0] for account in result.liquidations["account_id"]}
    beyond = set()
    for made, account in scene.accounts("crowd", "under_water", "hand"):
        at = account.perps[0].liquidation_price_usd_wad or 0
        price = PRICES[made["pair"]] * WAD
        if price <= at if made["is_long"] else price >= at:
            beyond.add(account.address)
    assert {name.lower() for name in closed} == {name.lower() for name in beyond}
    assert {account.address for _, account in scene.accounts("under_water")} <= beyond
    assert len(beyond) < 40


async def test_contracts_and_prices_that_are_none(devnet: Devnet, scene: Scene) -> None:
    readings = await read(devnet, prices=("BTC=90000",))
    assert sum(reading.found for reading in readings) == sum(
        made["pair"] == "BTC/USD" for made in scene.told["accounts"]
    )
    assert "ETH/USD has no price" in " ".join(readings[0].gaps.values())
    devnet.send_many([transaction(OWNER, scene.told["diamond"], "setVersion(uint8)", 1)])
    with pytest.raises(ReaderError, match="not a gTrade diamond of release v10"):
        await read(devnet)


async def test_a_pair_s_own_feed(devnet: Devnet, scene: Scene) -> None:
    """BTC/USD names a feed, which stands in where the configuration has no price, for a day."""
    only = ("ETH=3000", "EUR/JPY=160")
    devnet.transact(OWNER, devnet.feeds["WBTC"], "setAnswer(int256)", 91_000 * 10**8)
    readings = await read(devnet, prices=only)
    assert sum(reading.found for reading in readings) == 47
    feeds = [feed for reading in readings for feed in reading.feeds if feed.source == f"feed {devnet.feeds['WBTC']}"]
    assert {Fraction(feed.price_raw, feed.price_scale) for feed in feeds} == {91_000}
    devnet.mine(devnet.head()[1] + 86_400 + 1)
    stale = await read(devnet, prices=only)
    assert "s old, more than a day" in " ".join(stale[0].gaps.values())
    assert sum(reading.found for reading in stale) < 47


@pytest.mark.parametrize("text", ["BTC", "=3", "BTC=-3", "BTC=x", "BTC=nan", "BTC=1e30"])
def test_a_price_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="write PAIR=PRICE"):
        parse_prices((text,), "gTrade")


def test_names_of_pairs() -> None:
    assert parse_prices(("btc=90000", "EUR/JPY=160.5"), "") == {
        "BTC/USD": 90_000 * PRICE,
        "EUR/JPY": 1_605 * PRICE // 10,
    }


@pytest.mark.parametrize(("leverage", "percent"), [(1, 90), (20, 90), (60, 82.5), (100, 75), (150, 75)])
def test_the_threshold_falls_with_leverage(leverage: int, percent: float) -> None:
    assert threshold(Limits(*LIMITS), leverage * 1000) == percent * 10**10
    assert threshold(Limits(0, *LIMITS[1:]), leverage * 1000) == 90 * 10**10  # of before v9.2


def made(is_long: bool, leverage: int, opened: int, collateral: int = 10**9, version: int = 2) -> Trade:
    return Trade(OWNER, 0, 0, leverage, is_long, 1, collateral, opened, False, version, Limits(*LIMITS))


@settings(max_examples=80)
@given(
    is_long=st.booleans(),
    leverage=st.integers(1_100, 150_000),
    opened=st.integers(10**8, 10**15),
    moved=st.floats(0.9, 1.1),
    funding=st.integers(-(10**8), 10**8),
    borrowing=st.integers(0, 10**8),
    spread=st.integers(0, 10**9),
)
def test_health_is_one_at_exactly_the_contract_s_price(
    is_long: bool, leverage: int, opened: int, moved: float, funding: int, borrowing: int, spread: int
) -> None:
    """Any trade of 1,000 USDC: legs balance at the price, to the cut of units, and lean the right way beside it."""
    trade, terms = made(is_long, leverage, opened), Terms(6 * 10**8, 1000, 0, spread)
    held, price = Held(funding, borrowing, 0), int(opened * moved)
    owed = held.owed + closing_fee(trade, terms)
    at = liquidation_price(trade, owed, min(spread // 2, LIMITS[0]), 10**12)
    quote = Quote(("index", ""), ("token", ""), ("usd", ""), 10**8, 6, price)
    account = account_of(trade, terms, (held, at), quote)
    assert isinstance(account, AccountReading)
    unit = {"token": Fraction(1, 10**6), "usd": Fraction(1, WAD)}
    for tilt, wanted in ((Fraction(0), 0), (Fraction(1, 1000), 1), (Fraction(-1, 1000), -1)):
        collateral, debt = health(account, unit | {"index": Fraction(at, PRICE * WAD) * (1 + tilt)})
        if wanted:
            assert (collateral > debt) == ((wanted > 0) == is_long)
        else:
            assert abs(collateral - debt) <= Fraction(1, 10**5)
    state = assess(trade, terms, held, at, at, 10**12, 10**8)
    assert isinstance(state, State)
    assert abs(state.equity - state.requirement) <= 1


def test_a_liquidation_price_that_is_not_reproduced_sets_the_trade_aside() -> None:
    trade, terms, held = made(True, 10_000, 100 * PRICE), Terms(0, 1000, 0, 4 * 10**8), Held(0, 0, 0)
    right = liquidation_price(trade, 0, 2 * 10**8, 10**12)
    assert right == 91 * PRICE + PRICE * 2 // 100  # 90 % over ten, and half of the spread of 0.04 %
    assert isinstance(assess(trade, terms, held, 100 * PRICE, right, 10**12, 10**8), State)
    for wrong in (right - 1, right + 1, 91 * PRICE):  # and without a spread
        assert "liquidation price" in str(assess(trade, terms, held, 100 * PRICE, wrong, 10**12, 10**8))
    old = replace(trade, version=0)
    assert "liquidation price" in str(assess(old, terms, held, 100 * PRICE, right, 10**12, 10**8))
    assert "size" in str(assess(replace(trade, collateral=0), terms, held, 100 * PRICE, right, 10**12, 10**8))
