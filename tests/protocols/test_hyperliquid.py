"""Hyperliquid's reader against documented and recorded replies: our figures are the venue's, to the printed digits."""

import copy
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ConfigError, ReaderError
from defi_leverage.health import account_health
from defi_leverage.http_api import Budget, HttpLimits
from defi_leverage.reading import Reading
from defi_leverage.snapshot import Snapshot, from_readings
from defi_leverage.venues_http import HttpVenue
from defi_leverage.venues_http._margin import Position, liquidation_price, maintenance_margin, tiers
from defi_leverage.venues_http._readings import MarginAccount, Market, Pool, build_reading
from defi_leverage.venues_http.hyperliquid import read_http
from defi_leverage.venues_http.hyperliquid.markets import WEIGHT
from tests.http_server import Time, Venue, connect_venue, serve_venue
from tests.protocols import hyperliquid_replies as replies
from tests.protocols.hyperliquid_replies import USER

OTHER = "0x" + "ab" * 20


def exchange(
    states: dict[tuple[str, str], Any],
    mode: str = "default",
    spot: str | dict[str, Any] = "0.0",
    metas: dict[str, Any] | None = None,
    change: Callable[[str, Any], Any] = lambda _kind, reply: reply,
    roles: dict[str, Any] | None = None,
    clock: Callable[[], float] | None = None,
) -> Venue:
    """The venue with these states by (user, dex), its clock at `clock`; `change` sees every reply before it is sent."""
    clock = clock or Time()
    documented = any(state is replies.DOCUMENTED for state in states.values())
    metas = metas or {"": replies.meta({"ETH": "2985.9"} if documented else None)}

    def reply(path: str, body: Any) -> Any:
        assert path == "/info"
        kind = body["type"]
        answers: dict[str, Callable[[], Any]] = {
            "perpDexs": lambda: [dex for dex in replies.PERP_DEXS if (dex or {"name": ""})["name"] in metas],
            "spotMeta": lambda: replies.SPOT_META,
            "metaAndAssetCtxs": lambda: metas[body["dex"]],
            "clearinghouseState": lambda: (
                states.get((body["user"], body["dex"]), replies.EMPTY) | {"time": int(clock() * 1000)}
            ),
            "userAbstraction": lambda: mode,
            "spotClearinghouseState": lambda: spot if isinstance(spot, dict) else replies.spot(spot),
            "userRole": lambda: (roles or {}).get(body["user"], {"role": "user"}),
        }
        return change(kind, copy.deepcopy(answers[kind]()))

    return Venue(reply)


async def read(
    venue: Venue, *users: str, time: Time | None = None, given: dict[str, Any] | None = None, **options: Any
) -> tuple[Reading, ...]:
    asked = HttpVenue("hyperliquid", "Hyperliquid", "mainnet", users or (USER,), options)
    async with serve_venue(venue), connect_venue(venue, time, **(given or {})) as api:
        return await read_http(api, asked)


def at_price(snapshot: Snapshot, coin: str, price: float) -> Snapshot:
    feeds = snapshot.feeds.copy()
    feeds.loc[feeds["feed_id"].str.endswith(f":{coin}"), "price_usd"] = price
    return Snapshot.from_tables(snapshot.tables | {"feeds": feeds})


async def test_the_documented_example_to_its_digits() -> None:
    (reading,) = await read(exchange({(USER, ""): replies.DOCUMENTED}))
    (account,) = reading.accounts  # 13104 USDC of cross margin without a position is no leverage
    assert (account.address, account.mode, account.owner) == (f"{USER}/ETH", "isolated", USER)
    assert account.collateral_base_raw == 4_967_826 * 10**12  # marginUsed 4.967826
    assert account.debt_base_raw == 1_000_276_500 * 10**9  # 1 % of 100.02765 at 50x
    (perp,) = account.perps
    assert perp.liquidation_price_usd_wad == 2_866_269_365_290 * 10**9
    snapshot = from_readings([reading])
    assert account_health(at_price(snapshot, "ETH", 2866.26936529))["health_factor"].iloc[0] == pytest.approx(1)
    assert account_health(snapshot)["equity_usd"].iloc[0] == pytest.approx(4.967826, abs=1e-6)


async def test_a_recorded_account_to_its_digits() -> None:
    (reading,) = await read(exchange({(USER, ""): replies.RECORDED}))
    assert reading.failed == {} == reading.gaps
    cross = next(account for account in reading.accounts if account.mode == "cross")
    assert cross.collateral_base_raw == 8_259_027_075_462_000_400_000_000
    assert cross.debt_base_raw / 1e18 == pytest.approx(356978.709123, abs=1e-5)
    assert {account.address for account in reading.accounts} == {USER, f"{USER}/MON", f"{USER}/MET"}
    snapshot = from_readings([reading])
    health = account_health(snapshot)
    assert health["equity_usd"].sum() == pytest.approx(8272576.5729350001, abs=1e-5)  # marginSummary.accountValue
    for entry in replies.RECORDED["assetPositions"]:
        shown = entry["position"]
        coin, price = shown["coin"], shown["liquidationPx"]
        if price is None:
            continue
        name = USER if shown["leverage"]["type"] == "cross" else f"{USER}/{coin}"
        factor = account_health(at_price(snapshot, coin, float(price)))["health_factor"]
        assert factor.filter(like=f"{name}@").iloc[0] == pytest.approx(1, abs=1e-9 + 1e-10 / float(price)), coin


async def test_liquidation_prices_of_the_record_are_our_own_formula() -> None:
    """Computed, not copied, to eleven digits; where the venue tells none, there is no positive one."""
    rows = [
        entry["position"]
        for entry in replies.RECORDED["assetPositions"]
        if "rawUsd" not in entry["position"]["leverage"]
    ]
    positions = [
        Position(
            row["coin"],
            Fraction(row["szi"]),
            Fraction(row["positionValue"]) / abs(Fraction(row["szi"])),
            Fraction(row["unrealizedPnl"]),
            tiers([(Fraction(0), Fraction(1, 2 * row["maxLeverage"]))]),
            Fraction(row["entryPx"]),
        )
        for row in rows
    ]
    for row, position in zip(rows, positions, strict=True):
        ours = liquidation_price(Fraction("8259027.0754620004"), positions, position)
        if row["liquidationPx"] is None:
            assert ours is None, row["coin"]
        else:
            assert ours is not None
            assert float(ours) == pytest.approx(float(row["liquidationPx"]), rel=1e-11), row["coin"]


async def test_tables_of_the_snapshot() -> None:
    (reading,) = await read(exchange({(USER, ""): replies.RECORDED}), insurance_fund_usd=1e6)
    snapshot = from_readings([reading])
    markets = snapshot.perp_markets.set_index("asset_id")
    assert markets.loc["index:BTC", "funding_rate"] == pytest.approx(0.0000125 * 8760)  # an hour's; longs pay
    assert markets.loc["index:BTC", "maintenance_tiers"] == "[[0.0, 0.0125, 0.0], [150000000.0, 0.025, -1875000.0]]"
    expected = {"open_interest_long": 688.11, "open_interest_short": 688.11, "maximum_leverage": 40}
    for name, value in (expected | {"insurance_fund_usd": 1e6}).items():
        assert markets.loc["index:BTC", name] == value, name
    perps = snapshot.perps.set_index("asset_id")
    assert perps.loc["eip155:1/slip44:60", "size"] == -45.7436  # ether is the coin that chains have
    assert perps.loc["index:SOL", "entry_price_usd"] == 144.1206
    assert perps.loc["index:SOL", "maintenance_ratio"] == 0.025
    assert snapshot.venues["liquidation_rule"].tolist() == ["perp_partial"]
    rates = snapshot.rates.set_index("asset_id")
    assert rates.loc["index:BTC", "supply_rate"] == pytest.approx(-0.1095)  # what a long earns
    assert snapshot.assets.set_index("asset_id").loc["eip155:1/slip44:60", "chain"] == "eip155:1"
    assert snapshot.complete


async def test_the_engine_liquidates_below_and_not_above_the_liquidation_price() -> None:
    (reading,) = await read(exchange({(USER, ""): replies.DOCUMENTED}))
    snapshot = from_readings([reading])
    for price, liquidated in ((2866.3, 0), (2866.2, 1)):
        scenario = Scenario("fall", {"ETH": price / 2985.9 - 1}, sell_collateral=False, buy_debt=False)
        assert run_contagion(snapshot, scenario).liquidations["account_id"].nunique() == liquidated


async def test_a_unified_account_has_its_spot_balance_as_margin() -> None:
    states = {(USER, ""): replies.UNIFIED}
    metas = {"": replies.meta({"BTC": "83926.0"})}
    (pool,) = await read(exchange(states, "unifiedAccount", replies.UNIFIED_TOTAL, metas))
    (account,) = pool.accounts
    assert (account.address, account.mode) == (USER, "unified")
    assert account.collateral_base_raw == 46_599_613_850 * 10**12  # not the 38252.7 of the dex
    snapshot = from_readings([pool])
    factor = account_health(at_price(snapshot, "BTC", 74501.802790436))["health_factor"].iloc[0]
    assert factor == pytest.approx(1, abs=1e-8)


async def test_a_unified_balance_backs_positions_on_every_dex() -> None:
    long = replies.position("BTC", "4.5", "81285.0", "377667.0", "11884.306507", "73747.8481012658", "37766.7", 40)
    short = replies.position("test:COIN1", "-10.0", "100.0", "1000.0", "0.0", "4407.5392857143", "100.0", 10)
    states = {
        (USER, ""): replies.state([long], "0.0", "0.0", "4720.8375"),
        (USER, "test"): replies.state([short], "0.0", "0.0", "50.0"),
    }
    metas = {"": replies.meta({"BTC": "83926.0"}), "test": replies.meta({"test:COIN1": "100.0"})}
    pool, other = await read(exchange(states, "unifiedAccount", "50000.0", metas))
    assert (other.accounts, [market.asset_id for market in other.perp_markets]) == ((), ["index:test:COIN1"])
    assert [market.asset_id for market in pool.perp_markets] == ["index:BTC"]
    assert from_readings([pool, other]).complete
    (account,) = pool.accounts
    assert [perp.asset_id for perp in account.perps] == ["index:BTC", "index:test:COIN1"]
    assert account.debt_base_raw == 4_770_837_500 * 10**12
    assert account_health(from_readings([pool]))["equity_usd"].iloc[0] == pytest.approx(50000)


async def test_a_unified_account_is_not_read_in_part() -> None:
    metas = {"": replies.meta({"BTC": "83926.0"})}
    venue = exchange({(USER, ""): replies.UNIFIED}, "unifiedAccount", replies.UNIFIED_TOTAL, metas)
    (reading,) = await read(venue, dexs=("main",))
    assert reading.failed == {USER: "its balance may back positions on other dexs; leave out the option dexs"}


async def test_the_same_replies_taken_for_a_standard_account_are_set_aside() -> None:
    metas = {"": replies.meta({"BTC": "83926.0"})}
    (reading,) = await read(exchange({(USER, ""): replies.UNIFIED}, "default", metas=metas))
    assert reading.accounts == ()
    assert "liquidationPx of BTC is 74501.802790436, its margin makes it 76380" in reading.failed[USER]
    assert reading.found == 1


@pytest.mark.parametrize("mode", ["portfolioMargin", "dexAbstraction", "aModeOfTomorrow"])
async def test_a_mode_whose_collateral_is_not_told_is_set_aside(mode: str) -> None:
    (reading,) = await read(exchange({(USER, ""): replies.RECORDED}, mode))
    assert reading.accounts == ()
    assert reading.failed == {USER: f"what backs an account in the mode {mode} is not in the venue's replies"}


async def test_a_dex_of_its_own_is_a_venue_of_its_own() -> None:
    mine = replies.position("test:COIN1", "-10.0", "100.0", "1000.0", "0.0", "1142.8571428571", "100.0", 10)
    states = {(USER, ""): replies.RECORDED, (USER, "test"): replies.state([mine], "11000.0", "12000.0", "50.0")}
    metas = {"": replies.meta(), "test": replies.meta({"test:COIN1": "100.0"})}
    readings = await read(exchange(states, metas=metas))
    assert [reading.venue.venue_id for reading in readings] == [
        "eip155:999:hyperliquid-main",
        "eip155:999:hyperliquid-test",
    ]
    snapshot = from_readings(readings)
    assert len(snapshot.accounts) == 4
    assert snapshot.accounts["owner"].unique().tolist() == [f"eip155:999:{USER}"]


async def test_only_the_dexs_asked_for() -> None:
    metas = {"": replies.meta(), "test": replies.meta({"test:COIN1": "100.0"})}
    venue = exchange({(USER, ""): replies.RECORDED}, metas=metas)
    await read(venue, dexs=("main",))
    assert {body.get("dex", "") for _, body in venue.asked} == {""}
    with pytest.raises(ConfigError, match="there is no dex 'xyz'; there are main, test"):
        await read(exchange({}, metas=metas), dexs=("xyz",))


def _without(*path: str) -> Callable[[str, Any], Any]:
    def change(kind: str, reply: Any) -> Any:
        if kind == "clearinghouseState":
            part = reply
            for name in path[:-1]:
                part = part["assetPositions"][0] if name == "assetPositions" else part[name]
            del part[path[-1]]
        return reply

    return change


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (("crossMarginSummary",), "crossMarginSummary is missing"),
        (("crossMaintenanceMarginUsed",), "crossMaintenanceMarginUsed is missing"),
        (("crossMarginSummary", "totalRawUsd"), "crossMarginSummary.totalRawUsd is missing"),
        (("assetPositions", "position", "szi"), "position.szi is missing"),
        (("assetPositions", "position", "liquidationPx"), "liquidationPx is missing"),
        (("assetPositions", "position", "leverage", "type"), "leverage.type is missing"),
        (("assetPositions", "position", "maxLeverage"), "maxLeverage is missing"),
    ],
)
async def test_a_missing_field_is_one_error_that_names_it(path: tuple[str, ...], named: str) -> None:
    with pytest.raises(ReaderError, match=f"clearinghouseState of {USER} on main.*{named}"):
        await read(exchange({(USER, ""): replies.RECORDED}, change=_without(*path)))


@pytest.mark.parametrize(
    ("kind", "changed", "named"),
    [
        ("perpDexs", {"dexs": []}, "the reply is .* not a list"),
        ("metaAndAssetCtxs", [{}], "1 parts"),
        ("metaAndAssetCtxs", [{"universe": [{}]}, []], "1 markets and 0 contexts"),
        (
            "metaAndAssetCtxs",
            [{"universe": [], "marginTables": [[50]]}, []],
            "the field marginTables has .*not an id and",
        ),
        ("spotMeta", {}, "tokens is missing"),
        ("spotMeta", {"tokens": []}, "collateralToken 0 is not in spotMeta"),
        ("clearinghouseState", None, "assetPositions is missing"),
        ("userAbstraction", {"mode": "default"}, "not text"),
    ],
)
async def test_a_changed_reply_is_one_error(kind: str, changed: Any, named: str) -> None:
    def change(asked: str, reply: Any) -> Any:
        return changed if asked == kind and changed is not None else {} if asked == kind else reply

    with pytest.raises(ReaderError, match=named):
        await read(exchange({(USER, ""): replies.RECORDED}, change=change))


@pytest.mark.parametrize("value", ["NaN", "", True, "1e999", [], "12,5"])
async def test_what_is_no_number_is_not_taken_for_one(value: Any) -> None:
    state = copy.deepcopy(replies.RECORDED)
    state["assetPositions"][0]["position"]["positionValue"] = value
    with pytest.raises(ReaderError, match=r"the field positionValue is .*, not a number"):
        await read(exchange({(USER, ""): state}))


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("crossMaintenanceMarginUsed",), "356979.0", "crossMaintenanceMarginUsed is 356979.0, its positions make it"),
        (("crossMarginSummary", "accountValue"), "8259028.0", "crossMarginSummary.accountValue"),
        (("marginSummary", "accountValue"), "8272577.9", "marginSummary.accountValue"),
    ],
)
async def test_figures_that_contradict_each_other_set_the_account_aside(
    path: tuple[str, ...], value: str, why: str
) -> None:
    state = copy.deepcopy(replies.RECORDED)
    part = state
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    (reading,) = await read(exchange({(USER, ""): state}))
    assert why in reading.failed[USER]
    assert len(reading.accounts) == 2  # the isolated positions bear themselves out
    assert reading.found == 3


async def test_a_price_that_moved_while_reading_is_told() -> None:
    metas = {"": replies.meta({"ETH": "2900.0"})}
    (reading,) = await read(exchange({(USER, ""): replies.DOCUMENTED}, metas=metas))
    assert "moved by more than 1 %" in reading.gaps["ETH"]
    assert not from_readings([reading]).complete


async def test_the_budget_of_weight_is_kept_in_every_minute() -> None:
    time, users = Time(), tuple(f"0x{number:040x}" for number in range(60))
    states = {(user, ""): replies.DOCUMENTED for user in users[:10]}
    spent: list[tuple[float, int]] = []

    def note(kind: str, reply: Any) -> Any:
        spent.append((time.now, WEIGHT.get(kind, 20)))
        return reply

    slow = {"budget": Budget(240, 60, heaviest=60), "limits": HttpLimits(in_flight=1)}
    await read(exchange(states, change=note, clock=time), *users, time=time, given=slow)
    assert sum(weight for _, weight in spent) == 3 * 20 + 60 * 2 + 10 * 20 + 50 * 60
    for start, _ in spent:
        assert sum(weight for at, weight in spent if start <= at < start + 60) <= 240


async def test_the_window_is_from_the_first_question_to_the_last_answer() -> None:
    time = Time()
    (reading,) = await read(exchange({(USER, ""): replies.DOCUMENTED}), time=time, given={"budget": Budget(120, 60)})
    assert reading.window == (int(Time().now), int(time.now))
    assert reading.window[1] > reading.window[0]
    coverage = from_readings([reading]).coverage.iloc[0]
    assert coverage["window_start"] == "2026-01-14T13:23:20Z"
    assert coverage["window_start"] < coverage["window_end"]
    assert coverage["block"] == 0


# ----- tiers


def _health(positions: list[Position], margin: Fraction, prices: dict[str, Fraction]) -> float:
    pool = Pool("hyperliquid", "H", "eip155:999", "h", "", "q", "USDC", "perp_full", {}, "queue", None, frozenset())
    markets = {p.coin: Market(p.coin, p.coin, prices[p.coin], None, None, p.tiers, None) for p in positions}
    account = MarginAccount("o", "a", "cross", margin, tuple(positions))
    reading = build_reading(pool, markets, [account], (0, 1))
    return float(account_health(from_readings([reading]))["health_factor"].iloc[0])


def _position(coin: str, size: Fraction, mark: Fraction, entry: Fraction) -> Position:
    terms = tiers(
        [(Fraction(0), Fraction(1, 50)), (Fraction(10_000), Fraction(1, 20)), (Fraction(50_000), Fraction(1, 6))]
    )
    return Position(coin, size, mark, size * (mark - entry), terms, entry)


def test_maintenance_margin_by_hand() -> None:
    """10 000 at 2 %, the next 40 000 at 5 %, what is above at 1/6: deductions 300 and 6133 1/3."""
    terms = _position("A", Fraction(1), Fraction(1), Fraction(1)).tiers
    assert [tier.deduction for tier in terms] == [0, 300, Fraction(18400, 3)]
    assert maintenance_margin(terms, Fraction(10_000)) == 200
    assert maintenance_margin(terms, Fraction(50_000)) == 2200
    assert maintenance_margin(terms, Fraction(80_000)) == 7200


_sizes = st.builds(lambda size, sign: Fraction(size) * sign, st.integers(1, 1000), st.sampled_from([1, -1]))


@settings(max_examples=40)
@given(_sizes, st.integers(50, 150), st.integers(1, 100_000))
def test_health_is_one_at_the_liquidation_price_in_every_tier(size: Fraction, entry: int, margin: int) -> None:
    position = _position("A", size, Fraction(100), Fraction(entry))
    value = margin + position.unrealized_pnl
    price = liquidation_price(value, [position], position)
    if price is None:
        assert size > 0  # a short has one always
        return
    needed = maintenance_margin(position.tiers, abs(size) * price)
    assert margin + size * (price - entry) == needed  # exactly
    assert _health([position], Fraction(margin), {"A": price}) == pytest.approx(1, abs=1e-9)


@settings(max_examples=25)
@given(st.lists(st.tuples(_sizes, st.integers(2, 50)), min_size=2, max_size=4), st.integers(1, 300_000))
def test_health_is_one_where_each_of_several_positions_is_liquidated(
    held: list[tuple[Fraction, int]], margin: int
) -> None:
    """Long and short under one margin, each with a ratio of its own: one price moves, the others stand still."""
    positions = [
        Position(str(n), size, Fraction(50), Fraction(0), tiers([(Fraction(0), Fraction(1, 2 * most))]), Fraction(50))
        for n, (size, most) in enumerate(held)
    ]
    for position in positions:
        price = liquidation_price(Fraction(margin), positions, position)
        if price is not None:
            prices = {p.coin: price if p is position else p.mark for p in positions}
            assert _health(positions, Fraction(margin), prices) == pytest.approx(1, abs=1e-9)
        else:
            assert position.size > 0 or _below_zero(margin, positions, position)


def _below_zero(margin: int, positions: list[Position], short: Position) -> bool:
    """Whether the account would be liquidated with the short's coin at nothing already."""
    others = sum(maintenance_margin(p.tiers, abs(p.signed_notional)) for p in positions if p is not short)
    return margin - short.signed_notional - others <= 0


@settings(max_examples=40)
@given(_sizes, _sizes, st.integers(-20_000, 100_000))
def test_several_positions_stand_on_the_right_side_of_one(one: Fraction, other: Fraction, margin: int) -> None:
    positions = [
        _position("A", one, Fraction(100), Fraction(100)),
        _position("B", other, Fraction(60), Fraction(60)),
    ]
    needed = sum(maintenance_margin(p.tiers, abs(p.signed_notional)) for p in positions)
    factor = _health(positions, Fraction(margin), {"A": Fraction(100), "B": Fraction(60)})
    if margin != needed:
        assert (factor < 1) == (margin < needed)
