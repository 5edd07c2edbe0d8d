"""The Synthetix v3 perps reader against the contracts themselves, release 3.13.0 compiled from npm.

Selectors and results of the ABI file were compared with npm @synthetixio/v3-contracts 8.10.0 (Base and Arbitrum).
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import synthetix_v3_perps
from defi_leverage.protocols.synthetix_v3_perps.accounts import Account, Assets, Position, assess_account
from defi_leverage.protocols.synthetix_v3_perps.arithmetic import (
    Discount,
    MarginTerms,
    liquidation_price,
    maintenance_ratio,
    margin_discount,
)
from defi_leverage.protocols.synthetix_v3_perps.margin import Synth, likelier, read_margin
from defi_leverage.protocols.synthetix_v3_perps.system import Market, System
from defi_leverage.reading import AccountReading, Deployment, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.protocols.synthetix_v3_perps import MARKETS, order
from tests.devnet.session import Devnet
from tests.devnet.tokens import set_answer

pytestmark = pytest.mark.devnet("synthetix_v3_perps")
DAY = 86_400
KEEPER = "0x00000000000000000000000000000000000A11Ce"
REWARD = 2 * WAD


@dataclass(frozen=True)
class Scene:
    """The devnet, what its builder tells, and the reading at the head."""

    devnet: Devnet
    told: dict[str, Any]
    reading: Reading

    def view(self, signature: str, returns: str, *given: Any) -> Any:
        found = self.devnet.call(self.told["perps"], signature, returns, *given)
        return found[0] if len(found) == 1 else found

    def kind(self, kind: str) -> set[str]:
        return {str(account["id"]) for account in self.told["accounts"] if account["kind"] == kind}

    @property
    def accounts(self) -> dict[str, AccountReading]:
        return {account.address: account for account in self.reading.accounts}

    def prices(self) -> dict[str, Fraction]:
        return {feed.asset_id: Fraction(feed.price_raw, feed.price_scale) for feed in self.reading.feeds}


async def read(devnet: Devnet, **changes: Any) -> Reading:
    told = devnet.description.protocols["synthetix_v3_perps"]
    options = {"spot_market": told["spot"]} | changes
    address = str(options.pop("address", told["perps"]))
    async with open_chain("devnet", devnet.chain_id, [devnet.url]) as chain:
        return await synthetix_v3_perps.read(
            chain, Deployment("synthetix_v3_perps", "Synthetix", address, told["first_block"], options)
        )


@pytest.fixture
async def scene(devnet: Devnet) -> Scene:
    return Scene(devnet, devnet.description.protocols["synthetix_v3_perps"], await read(devnet))


def record_funding(scene: Scene) -> None:
    """Settle a small order in both markets, which writes the funding that has come to be due."""
    (idle,) = [account for account in scene.told["accounts"] if account["kind"] == "idle"]
    for market in ("ETH", "BTC"):
        for step in order(scene.told["perps"], idle["owner"], KEEPER, idle["id"], market, WAD // 1_000):
            scene.devnet.send_many([step])


def health(account: AccountReading, prices: dict[str, Fraction]) -> tuple[Fraction, Fraction]:
    """Weighted collateral and debt in 1e-18 USD."""
    sums = {"collateral": Fraction(0), "debt": Fraction(0)}
    for leg in account.legs:
        sums[leg.side] += leg.amount_raw * prices[leg.asset_id] * Fraction(leg.weight_wad, WAD)
    return sums["collateral"], sums["debt"]


def test_every_account_is_found_and_only_the_stale_one_set_aside(scene: Scene) -> None:
    empty, stale = scene.kind("empty"), scene.kind("stale")
    assert set(scene.accounts) == {str(a["id"]) for a in scene.told["accounts"]} - empty - stale
    assert len(scene.accounts) >= 60
    assert set(scene.reading.failed) == stale
    assert all("its position in OLD" in why and "OracleDataRequired" in why for why in scene.reading.failed.values())
    assert list(scene.reading.gaps) == ["market OLD"]
    owners = {str(account["id"]): account["owner"] for account in scene.told["accounts"]}
    assert all(account.owner.lower() == owners[account.address].lower() for account in scene.reading.accounts)


def test_margins_are_the_contract_s_to_the_wei(scene: Scene) -> None:
    for account in scene.reading.accounts:
        available = scene.view("getAvailableMargin(uint128)", "(int256)", int(account.address))
        _, required, _ = scene.view("getRequiredMargins(uint128)", "(uint256,uint256,uint256)", int(account.address))
        assert (account.collateral_base_raw, account.debt_base_raw) == (available, required)


def test_health_is_below_one_where_the_contract_liquidates(scene: Scene) -> None:
    below = set()
    for account in scene.reading.accounts:
        collateral, debt = health(account, scene.prices())
        if account.perps:
            assert (collateral < debt) is scene.view("canLiquidate(uint128)", "(bool)", int(account.address))
            if collateral < debt:
                below.add(account.address)
    assert scene.kind("under_water") <= below
    assert below & scene.kind("steep")
    assert len(below) < 30


def test_what_is_to_spare_is_collateral_less_debt(scene: Scene) -> None:
    for account in scene.reading.accounts:
        collateral, debt = health(account, scene.prices())
        spare = account.collateral_base_raw - account.debt_base_raw
        assert abs(collateral - debt - spare) < 10 + collateral / 10**17


def test_margin_that_must_be_kept_is_not_owed(scene: Scene) -> None:
    """At full prices what an account has is its margin, less the keepers' reward; discounts and ratios aside."""
    for account in scene.reading.accounts:
        prices, sums = scene.prices(), {"collateral": Fraction(0), "debt": Fraction(0)}
        for leg in account.legs:
            sums[leg.side] += leg.amount_raw * prices[leg.asset_id]
        of = int(account.address)
        whole = scene.view("totalCollateralValue(uint128)", "(uint256)", of) - scene.view(
            "debt(uint128)", "(uint256)", of
        )
        reward = scene.view("getRequiredMargins(uint128)", "(uint256,uint256,uint256)", of)[2]
        profit = sum(
            scene.view("getOpenPosition(uint128,uint128)", "(int256,int256,int128,uint256)", of, market)[0]
            for market in scene.view("getAccountOpenPositions(uint128)", "(uint256[])", of)
        )
        assert abs(sums["collateral"] - sums["debt"] - (whole + profit - reward)) < 10


def test_an_account_solved_by_hand(scene: Scene) -> None:
    """Two ETH on 1,000 snxUSD, the last order of all: filled at 3,000 and the mean of the skew over 1,000,000.

    3 % + 2/1,000,000 * 2 %, times 60 %, is 1.8 % and a little. To be kept: that of 6,000, the flag reward of 0.05 %,
    and the costs of flagging with one price and of liquidating, 0.5 and 0.25: 111.75 in all. The order cost two basis
    points, as shorts prevail, a reward of 1 and the cost of settling, 0.2.
    """
    account = scene.accounts[str(scene.told["hand"])]
    (perp,) = account.perps
    ratio = (3 * WAD // 100 + 4 * 10**10) * 60 // 100
    assert perp.maintenance_ratio_wad == ratio == 18_000_024_000_000_000
    assert account.debt_base_raw == 6_000 * ratio + 3 * WAD + 3 * WAD // 4
    skew = scene.view("getMarketSummary(uint128)", "(int256,uint256,uint256,int256,int256,uint256)", MARKETS["ETH"].id)[
        0
    ]
    filled = 3_000 * (1 + (skew / WAD - 1) / 1_000_000)
    assert skew < 0
    assert perp.entry_price_usd_wad is not None
    assert perp.entry_price_usd_wad / WAD == pytest.approx(filled, rel=1e-12)
    usd = 1_000 - 2 * filled * 0.0002 - 1.2 - (perp.accrued_funding_usd_wad + perp.accrued_fees_usd_wad) / WAD
    assert account.collateral_base_raw / WAD == pytest.approx(usd + 2 * (3_000 - filled), rel=1e-12)
    assert perp.liquidation_price_usd_wad is not None
    interest = perp.accrued_fees_usd_wad / WAD  # which grows with the price, as what must be kept
    by_hand = (2 * filled + 3.75 - usd - interest) / (2 * (1 - ratio / WAD) - interest / 3_000)
    assert perp.liquidation_price_usd_wad / WAD == pytest.approx(by_hand, rel=1e-12)


def test_margin_in_a_synth_counts_at_its_discount(scene: Scene) -> None:
    """900 sETH: 900 of 100,000 times 3 is 2.7 %, off the price; a sale's fee of 0.1 % does not count."""
    account = scene.accounts[next(iter(scene.kind("hedged")))]
    leg = next(leg for leg in account.legs if leg.asset_id.endswith(scene.told["synths"]["sETH"]))
    assert (leg.amount_raw, leg.weight_wad, leg.liquidation_bonus_wad) == (900 * WAD, 973 * 10**15, 27 * 10**15)
    assert scene.prices()[leg.asset_id] == Fraction(3_000)
    small = next(
        leg
        for account in scene.reading.accounts
        if account.address in scene.kind("idle")
        for leg in account.legs
        if leg.asset_id.endswith(scene.told["synths"]["sETH"])
    )
    assert small.weight_wad == 99 * 10**16  # at least 1 %


def test_debts_beyond_the_snxusd(scene: Scene) -> None:
    """An ETH sold at 3,000 and bought back at 6,000 on margin of one sETH: 3,000 and two orders' fees are owed."""
    debtor, owing = (scene.accounts[next(iter(scene.kind(kind)))] for kind in ("debtor", "owing"))
    synth, owed = debtor.legs
    assert (synth.side, synth.amount_raw, synth.weight_wad) == ("collateral", WAD, 99 * 10**16)
    assert owed.side == "debt"
    assert owed.amount_raw == scene.view("debt(uint128)", "(uint256)", int(debtor.address))
    assert 3_000 < owed.amount_raw / WAD < 3_010
    assert (debtor.collateral_base_raw, debtor.debt_base_raw) == (2_970 * WAD - owed.amount_raw, 0)
    for view in ("canLiquidate(uint128)", "canLiquidateMarginOnly(uint128)"):
        assert scene.view(view, "(bool)", int(debtor.address))
    assert scene.view("debt(uint128)", "(uint256)", int(owing.address)) > 300 * WAD
    assert owing.perps


async def test_a_flagged_account_is_set_aside_once_it_has_recovered(scene: Scene) -> None:
    """210 of its 700 ETH were closed, its margin seized; the rest is closed even where it gains: it has no health."""
    (flagged,) = scene.kind("flagged")
    (perp,) = scene.accounts[flagged].perps
    assert perp.size_raw == 490 * WAD
    scene.devnet.set_price("WETH", 3_300)
    reading = await read(scene.devnet)
    assert "it is flagged" in reading.failed[flagged]
    available = scene.view("getAvailableMargin(uint128)", "(int256)", int(flagged))
    assert available > scene.view("getRequiredMargins(uint128)", "(uint256,uint256,uint256)", int(flagged))[1]
    assert scene.view("canLiquidate(uint128)", "(bool)", int(flagged))


async def test_health_is_one_at_the_liquidation_price_and_the_contract_agrees(scene: Scene) -> None:
    """Single and several markets: the price is moved on chain to either side, funding written just before.

    A hundred-thousandth is what the block's own funding may be; where the reward of liquidation is more than its least,
    it moves with the price, and two thousandths are asked for.
    """
    devnet, feeds, checked = scene.devnet, {"ETH": "WETH", "BTC": "WBTC"}, {1: 0, -1: 0}
    record_funding(scene)
    now = Scene(devnet, scene.told, await read(devnet))
    for account in now.reading.accounts:
        if any("erc20" in leg.asset_id for leg in account.legs) or account.address in scene.kind("flagged"):
            continue  # the synth's price would move too; who is flagged stays so
        for perp in account.perps:
            at = perp.liquidation_price_usd_wad
            if at is None:
                continue
            moved = now.prices() | {perp.asset_id: Fraction(at, WAD)}
            collateral, debt = health(account, moved)
            assert abs(collateral / debt - 1) < Fraction(1, 10**12)
            if not Fraction(1, 3) < moved[perp.asset_id] / now.prices()[perp.asset_id] < 3:
                continue
            notional = sum(abs(held.size_raw) * moved[held.asset_id] for held in account.perps)
            step = 1e-5 if notional / 2000 <= REWARD else 2e-3
            side, before = (1 if perp.size_raw > 0 else -1), devnet.snapshot()
            for factor in (1 - step, 1 + step):
                devnet.set_price(feeds[perp.asset_id.rpartition(":")[2]], at / WAD * factor)
                expected = (factor < 1) == (side > 0)
                assert now.view("canLiquidate(uint128)", "(bool)", int(account.address)) is expected
            devnet.revert(before)
            checked[side] += 1
    assert min(checked.values()) >= 8


def test_funding_is_positive_where_longs_pay(scene: Scene) -> None:
    """The contract's rate is a day's; its accrued funding is positive where the account gets it."""
    rates = {}
    for market in scene.reading.perp_markets:
        name = market.asset_id.rpartition(":")[2]
        rate = scene.view("currentFundingRate(uint128)", "(int256)", MARKETS[name].id)
        assert market.funding_rate_wad == 365 * rate
        rates[name] = rate
    assert rates["BTC"] < 0 < rates["ETH"]
    paid = {1: 0, -1: 0}
    for account in scene.reading.accounts:
        for perp in account.perps:
            name = perp.asset_id.rpartition(":")[2]
            told = scene.view(
                "getOpenPosition(uint128,uint128)",
                "(int256,int256,int128,uint256)",
                int(account.address),
                MARKETS[name].id,
            )
            assert (-perp.accrued_funding_usd_wad, perp.size_raw, perp.accrued_fees_usd_wad) == told[1:]
            if name == "ETH":
                paid[1 if perp.size_raw > 0 else -1] += perp.accrued_funding_usd_wad
    assert paid[1] > 0 > paid[-1]


async def test_funding_and_interest_accrue(scene: Scene) -> None:
    """Longs go on to pay in ETH, shorts in BTC."""
    devnet = scene.devnet
    devnet.mine(devnet.head()[1] + 10 * DAY)
    later = {account.address: account for account in (await read(devnet)).accounts}
    for address, account in scene.accounts.items():
        for now, then in zip(later[address].perps, account.perps, strict=True):
            assert now.accrued_fees_usd_wad > then.accrued_fees_usd_wad
            owes_more = now.accrued_funding_usd_wad > then.accrued_funding_usd_wad
            assert owes_more is ((now.size_raw > 0) is now.asset_id.endswith("ETH"))


def test_open_interest_is_the_contract_s(scene: Scene) -> None:
    for market in scene.reading.perp_markets:
        sizes = [p.size_raw for a in scene.reading.accounts for p in a.perps if p.asset_id == market.asset_id]
        assert market.open_interest_long_raw == sum(size for size in sizes if size > 0)
        assert market.open_interest_short_raw == -sum(size for size in sizes if size < 0)
        assert market.maximum_leverage_wad == WAD * WAD // (3 * WAD // 100)
    eth, btc = (market.tiers for market in scene.reading.perp_markets)
    assert (eth, btc) == (((0, 18 * WAD // 1000, 0),), ((0, 18 * WAD // 1000, 25 * WAD),))


async def test_a_price_that_comes_back(scene: Scene) -> None:
    scene.devnet.send_many([set_answer(OWNER, scene.told["old_feed"], 4)], scene.devnet.head()[1] + 12)
    reading = await read(scene.devnet)
    assert (reading.failed, reading.gaps) == ({}, {})
    assert scene.kind("stale") <= {account.address for account in reading.accounts}


async def test_without_a_spot_market_synths_cannot_be_valued(scene: Scene) -> None:
    reading = await read(scene.devnet, spot_market="")
    assert sorted(reading.gaps) == ["market OLD", "synth 1", "synth 2"]
    plain = {a.address for a in scene.reading.accounts if all("erc20" not in leg.asset_id for leg in a.legs)}
    assert {account.address for account in reading.accounts} == plain
    assert any("give the spot market" in why for why in reading.failed.values())


async def test_a_release_that_counts_what_a_sale_would_pay(scene: Scene) -> None:
    """As until commit 96b2ee9, told by the sums: the spot market's own quotes, with its skew and its fee of 0.1 %."""
    amounts = {(1, 1): WAD, (1, 2): WAD, (2, 1): 3 * WAD}
    quotes = {
        (account, of): scene.devnet.call(
            scene.told["spot"], "quoteSellExactIn(uint128,uint256,uint8)", "(uint256)", of, amount, 0
        )[0]
        for (account, of), amount in amounts.items()
    }
    system = System(scene.told["perps"], scene.told["token"], scene.told["spot"])
    async with open_chain("devnet", scene.devnet.chain_id, [scene.devnet.url]) as chain:
        by_sale, worth = await read_margin(chain, system, amounts, {1: quotes[1, 1] + quotes[1, 2], 2: quotes[2, 1]})
        by_price, _ = await read_margin(chain, system, amounts, {1: 3_001 * WAD, 2: 9_000 * WAD})
    assert worth == quotes
    assert [synth.price for synth in by_sale.values() if isinstance(synth, Synth)] == [quotes[1, 1], quotes[1, 2]]
    assert quotes[1, 2] == 999 * 10**15
    assert quotes[1, 1] != 3_000 * WAD
    assert [synth.price for synth in by_price.values() if isinstance(synth, Synth)] == [3_000 * WAD, WAD]


async def test_contracts_that_are_none(devnet: Devnet) -> None:
    with pytest.raises(ReaderError, match="names no token of its accounts"):
        await read(devnet, address=OWNER)
    with pytest.raises(ReaderError, match="is not an address"):
        await read(devnet, address="0x12")
    feeds = [devnet.feeds[name] for name in ("WETH", "WBTC")]
    devnet.send_many([set_answer(OWNER, feed, 0) for feed in feeds], devnet.head()[1] + 12)
    with pytest.raises(ReaderError, match="no market has a price"):
        await read(devnet)


def test_the_engine_closes_who_the_contract_would(scene: Scene) -> None:
    snapshot = from_readings([scene.reading])
    assert len(snapshot.perps) == sum(len(account.perps) for account in scene.reading.accounts)
    result = run_contagion(snapshot, Scenario("none", {}, sell_collateral=False, buy_debt=False))
    closed = {account.split(":")[2].split("@")[0] for account in result.liquidations["account_id"]}
    can = {a.address for a in scene.reading.accounts if scene.view("canLiquidate(uint128)", "(bool)", int(a.address))}
    assert closed == can


def test_ratios_and_discounts_by_hand() -> None:
    terms = MarginTerms(1_000 * WAD, WAD // 2, WAD // 50, WAD // 2, 0)
    assert maintenance_ratio(terms, -100 * WAD) == (WAD // 20 + WAD // 50) // 2  # 10 % of the scale, half of it, + 2 %
    assert maintenance_ratio(MarginTerms(0, WAD, WAD // 50, WAD // 2, 0), WAD) == WAD // 100
    discount = Discount(1_000 * WAD, 2 * WAD, WAD // 100, WAD // 5)
    assert [margin_discount(discount, amount * WAD) for amount in (1, 50, 900)] == [WAD // 100, WAD // 10, WAD // 5]
    assert margin_discount(Discount(0, 2 * WAD, WAD // 100, WAD // 5), WAD) == 0


def test_the_contract_s_own_sums_tell_how_it_values_synths() -> None:
    """Two accounts, one with two synths: 30 and 8, or a thousandth less where a sale is what counts."""
    by_price: dict[tuple[int, int], int | None] = {(1, 1): 10_000, (1, 2): 20_000, (2, 1): 8_000}
    by_sale = {held: None if usd is None else usd * 999 // 1_000 for held, usd in by_price.items()}
    assert likelier(by_price, by_sale, {1: 30_000, 2: 8_000})
    assert not likelier(by_price, by_sale, {1: 29_970, 2: 7_992})
    assert likelier(by_price, by_sale | {(1, 2): None}, {1: 29_970})


def test_liquidation_prices_by_hand() -> None:
    """One unit at 100 with 20 to spare and 5 %: a long at 100 - 20/0.95, a short at 100 + 20/1.05."""
    assert (liquidation_price(WAD, WAD // 20, 100 * WAD, 20 * WAD) or 0) / WAD == pytest.approx(100 - 20 / 0.95)
    assert (liquidation_price(-WAD, WAD // 20, 100 * WAD, 20 * WAD) or 0) / WAD == pytest.approx(100 + 20 / 1.05)
    assert liquidation_price(WAD, WAD // 20, 100 * WAD, 200 * WAD) is None


MARKET = Market(1, "ONE", 0, 0, 0, 0, MarginTerms(10_000 * WAD, WAD // 10, WAD // 50, WAD // 2, 7 * WAD))
ASSETS = Assets(("usd", "usd"), {1: ("one", "one"), 2: ("two", "two")}, {9: ("synth", "synth")})
sizes = st.integers(-(10**22), 10**22).filter(lambda size: abs(size) > 10**9)


def told(account: Account, markets: dict[int, Market], counted: int) -> Account:
    """The account with the contract's views of it."""
    positions = {of: position for of, position in account.positions.items() if position is not None}
    account.available = account.usd + counted - account.debt + sum(p.profit for p in positions.values())
    margins = [
        abs(p.size) * markets[of].price // WAD * maintenance_ratio(markets[of].terms, p.size) // WAD
        + markets[of].terms.position_margin
        for of, p in positions.items()
    ]
    account.required = (0, sum(margins) + REWARD, REWARD)
    account.can_liquidate = account.required[1] > account.available
    return account


@settings(max_examples=80)
@given(
    first=sizes,
    second=sizes,
    prices=st.tuples(st.integers(10**15, 10**23), st.integers(10**15, 10**23)),
    profits=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    leverage=st.floats(0.5, 60),
    synth=st.integers(1, 10**24),
)
def test_health_is_one_at_exactly_the_liquidation_price(
    first: int,
    second: int,
    prices: tuple[int, int],
    profits: tuple[float, float],
    leverage: float,
    synth: int,
) -> None:
    """Any cross-margined account, at the liquidation price of either market: what is due is what there is."""
    markets = {of: Market(of, str(of), price, 0, 0, 0, MARKET.terms) for of, price in zip((1, 2), prices, strict=True)}
    worths = [abs(size) * price // WAD for size, price in zip((first, second), prices, strict=True)]
    positions: dict[int, Position | None] = {
        of: Position(int(worth * part), worth // 1000, size, worth // 2000)
        for of, size, worth, part in zip((1, 2), (first, second), worths, profits, strict=True)
    }
    account = Account(5, "0x1", int(sum(worths) / leverage), {9: synth}, positions, sum(worths) // 5000)
    discount = Discount(10**24, 3 * WAD, WAD // 100, WAD // 10)
    priced = Synth(9, "0x9", "nine", 3 * WAD, discount)
    counted = 3 * synth * (WAD - margin_discount(discount, synth)) // WAD
    found = assess_account(told(account, markets, counted), markets, {9: priced}, {(5, 9): 3 * synth}, ASSETS)
    if isinstance(found, str):
        assert "are more than its notional" in found
        return
    for perp, of in zip(found.perps, (1, 2), strict=True):
        at = perp.liquidation_price_usd_wad
        if at is None:
            continue
        quoted = {"usd": Fraction(1), "synth": Fraction(3)}
        quoted |= {
            f"{'one' if m == 1 else 'two'}": Fraction(price, WAD) for m, price in zip((1, 2), prices, strict=True)
        }
        quoted[perp.asset_id] = Fraction(at, WAD)
        collateral, debt = health(found, quoted)
        assert abs(collateral - debt) <= abs(perp.size_raw) // WAD + debt / 10**15 + 20
        assert of in positions


def test_a_view_that_is_not_reproduced_sets_the_account_aside() -> None:
    markets = {1: Market(1, "ONE", 100 * WAD, 0, 0, 0, MARKET.terms)}
    position = Position(5 * WAD, 0, 10 * WAD, 0)

    def account(**views: Any) -> Account:
        whole = told(Account(5, "0x1", 500 * WAD, {}, {1: position}), markets, 0)
        for name, value in views.items():
            setattr(whole, name, value)
        return whole

    assert isinstance(assess_account(account(), markets, {}, {}, ASSETS), AccountReading)
    for views, why in (
        ({"available": 505 * WAD + 1}, "available margin"),
        ({"required": (0, 1, REWARD)}, "maintenance margin"),
        ({"can_liquidate": True}, "can be liquidated"),
        ({"available": None}, "does not tell its margins"),
        ({"positions": {1: None}}, "the contract does not tell it"),
        ({"synths": {9: 1}}, "cannot be valued: gone"),
        ({"flagged": True}, "it is flagged"),
    ):
        assert why in str(assess_account(account(**views), markets, {9: "gone"}, {}, ASSETS))
