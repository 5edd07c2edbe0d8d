"""What Hyperliquid's replies hold beyond the documentation's examples, as recorded, and accounts that are set aside.

Records: a vault's account of many positions, 6 October 2026, cut to its sums and one position, from gocryptotrader's
tests (websocketClearinghouseStateJSON); 477.867397 USD of isolated orders, the same day, tests of the Rust crate
df-hyperliquid-core; market contexts of 3 and 23 September 2026 (a delisted market, a dex of a builder), tests of two
public Rust clients.
"""

import copy
from fractions import Fraction
from typing import Any

import pytest
from aiohttp import web

from defi_leverage.errors import ReaderError
from defi_leverage.health import account_health
from defi_leverage.http_api import HttpLimits
from defi_leverage.snapshot import from_readings
from defi_leverage.venues_http._fields import agrees
from defi_leverage.venues_http._margin import Position, liquidation_price, tiers
from tests.protocols import hyperliquid_replies as replies
from tests.protocols.hyperliquid_replies import USER
from tests.protocols.test_hyperliquid import OTHER, at_price, exchange, read
from tests.rpc_server import http


def context(price: str, interest: str, funding: str) -> dict[str, Any]:
    return {"funding": funding, "openInterest": interest, "markPx": price, "oraclePx": price, "midPx": None}


# ----- what is recorded


def test_maintenance_margin_is_a_sum_of_parts_rounded_down() -> None:
    """Each position's is cut to a millionth: exactly so in a record of 14; a vault's of many is 75 millionths short."""
    parts = [
        Fraction(entry["position"]["positionValue"]) / (2 * entry["position"]["maxLeverage"])
        for entry in replies.RECORDED["assetPositions"]
        if entry["position"]["leverage"]["type"] == "cross"
    ]
    assert sum(int(part * 10**6) for part in parts) == Fraction("356978.709123") * 10**6
    ours, theirs = Fraction("4345291.885056") / 100, Fraction("43452.918775")  # 1 % of the vault's notional, at 50x
    assert agrees(ours, theirs, 100)
    assert not agrees(ours, theirs)
    assert not agrees(ours + Fraction("0.001"), theirs, 100)


def test_the_liquidation_price_of_a_short_among_many_positions() -> None:
    value, needed = Fraction("3155203.766062"), Fraction("43452.918775")
    net, notional = value - Fraction("3182148.254568"), Fraction("2527.94682")
    half = tiers([(Fraction(0), Fraction(1, 100))])  # the vault's 50x, where others have 3x
    size = Fraction("-103774.5")
    short = Position("SAGA", size, notional / -size, Fraction("-802.226337"), half, Fraction("0.01662"))
    rest = net + notional
    ratio = (needed - notional / 100) / abs(rest)
    others = Position("others", Fraction(-1), -rest, Fraction(0), tiers([(Fraction(0), ratio)]), -rest)
    ours = liquidation_price(value, [short, others], short)
    assert ours is not None
    assert float(ours) == pytest.approx(29.713170189, rel=1e-9)


async def test_the_margin_of_isolated_orders_is_no_contradiction() -> None:
    state = copy.deepcopy(replies.RECORDED)
    for name, value in (("accountValue", "8273054.440332"), ("totalMarginUsed", "1120864.681056")):
        state["marginSummary"][name] = value
    (reading,) = await read(exchange({(USER, ""): state}))
    assert reading.failed == {}
    cross = next(account for account in reading.accounts if account.mode == "cross")
    assert cross.collateral_base_raw == 8_259_027_075_462_000_400_000_000  # the orders' margin is none of its


async def test_sides_of_an_outcome_market_are_no_margin() -> None:
    """Their rows have no token. The record: 11.515057 USDC, of which 2.960586 are maintenance margin."""
    long = replies.position("BTC", "0.0028", "84588.1714286", "236.84688", "0.0", "81494.330198915", "11.5", 40)
    state = replies.state([long], "11.5", "-225.34688", "2.960586")
    metas = {"": replies.meta({"BTC": "84588.1714286"})}
    (reading,) = await read(exchange({(USER, ""): state}, "unifiedAccount", replies.OUTCOMES, metas))
    assert reading.failed == {}
    (account,) = reading.accounts
    assert account.collateral_base_raw == 11_515_057 * 10**12
    assert account.debt_base_raw == 2_960_586 * 10**12


async def test_a_delisted_market_and_one_of_a_builder() -> None:
    main = replies.meta({"BTC": "80639.0"})
    main[0]["universe"].append({"szDecimals": 1, "name": "MATIC", "maxLeverage": 20, "marginTableId": 20})
    main[0]["universe"][-1]["isDelisted"] = True
    main[1].append(context("0.37621", "0.0", "0.0") | {"premium": None, "impactPxs": None})
    xyz = [
        {
            "universe": [{"szDecimals": 3, "name": "test:TSLA", "maxLeverage": 20, "marginTableId": 20}],
            "marginTables": [],
            "collateralToken": 0,
        },
        [context("378.98", "120196.39", "0.00000625")],
    ]
    short = replies.position("test:TSLA", "-2.0", "380.0", "757.96", "2.04", "858.5365853659", "75.796", 20)
    states = {(USER, "test"): replies.state([short], "1002.04", "1760.0", "18.949")}
    _, reading = await read(exchange(states, metas={"": main, "test": xyz}))
    snapshot = from_readings([reading])
    market = snapshot.perp_markets.set_index("asset_id").loc["index:test:TSLA"]
    assert (market["open_interest_long"], market["open_interest_short"]) == (120196.39, 120196.39)
    assert market["funding_rate"] == pytest.approx(0.00000625 * 8760)
    assert market["maintenance_tiers"] == "[[0.0, 0.025, 0.0]]"
    assert account_health(at_price(snapshot, "test:TSLA", 1760 / 2.05))["health_factor"].iloc[0] == pytest.approx(1)


# ----- dexs


async def test_a_place_without_a_dex_is_not_the_exchange_again() -> None:
    def change(kind: str, reply: Any) -> Any:
        return [*reply, None] if kind == "perpDexs" else reply

    venue = exchange({(USER, ""): replies.RECORDED}, change=change)
    (reading,) = await read(venue)
    assert len(reading.accounts) == 3
    assert [body["type"] for _, body in venue.asked].count("clearinghouseState") == 1


@pytest.mark.parametrize("listed", [[], [{"name": "test"}]])
async def test_a_list_that_does_not_begin_with_the_exchange_is_an_error(listed: list[Any]) -> None:
    with pytest.raises(ReaderError, match="perpDexs: the first entry is not null"):
        await read(exchange({}, change=lambda kind, reply: listed if kind == "perpDexs" else reply))


async def test_nobody_is_looked_for_on_a_dex_without_markets() -> None:
    nothing = [{"universe": [], "marginTables": [], "collateralToken": 0}, []]
    venue = exchange({(USER, ""): replies.RECORDED}, metas={"": replies.meta(), "test": nothing})
    (reading,) = await read(venue)
    assert reading.failed == {}
    assert [body["dex"] for _, body in venue.asked if body["type"] == "clearinghouseState"] == [""]


async def test_a_market_of_which_nothing_is_told_sets_its_holders_aside() -> None:
    metas = {"": replies.meta({"ETH": "2985.9", "BTC": "80000.0"})}
    metas[""][1][0] = None
    (reading,) = await read(exchange({(USER, ""): replies.DOCUMENTED}, metas=metas))
    assert reading.failed == {f"{USER}/ETH": "ETH has no mark price"}


@pytest.mark.parametrize(("symbol", "read_accounts"), [("USDH", 1), ("USDE", 1), ("HYPE", 0)])
async def test_margin_that_is_no_dollar_sets_accounts_aside(symbol: str, read_accounts: int) -> None:
    def change(kind: str, reply: Any) -> Any:
        if kind == "spotMeta":
            reply["tokens"].append(reply["tokens"][0] | {"name": symbol, "index": 360, "tokenId": "0x360"})
        return reply

    metas = {"": replies.meta({"ETH": "2985.9"})}
    metas[""][0]["collateralToken"] = 360
    (reading,) = await read(exchange({(USER, ""): replies.DOCUMENTED}, metas=metas, change=change))
    assert len(reading.accounts) == read_accounts
    assert len(reading.failed) == 1 - read_accounts
    if reading.failed:
        why = "its margin is HYPE, whose price in dollars is not in the venue's replies"
        assert reading.failed == {f"{USER}/ETH": why}


# ----- unified accounts


@pytest.mark.parametrize(
    ("balance", "why"),
    [
        (
            replies.spot(replies.UNIFIED_TOTAL, "41000.0"),
            "tokenToAvailableAfterMaintenance is 41000.0, its balance and positions make it 41878.77635",
        ),
        ({"balances": []}, "spotClearinghouseState has no balance of the token 0, which is its margin"),
    ],
)
async def test_a_balance_that_is_not_borne_out_sets_the_account_aside(balance: dict[str, Any], why: str) -> None:
    metas = {"": replies.meta({"BTC": "83926.0"})}
    (reading,) = await read(exchange({(USER, ""): replies.UNIFIED}, "unifiedAccount", balance, metas))
    assert reading.accounts == ()
    assert reading.failed == {USER: why}


async def test_a_price_that_is_left_out_is_out_of_reach_or_something_else_backs_the_account() -> None:
    """A unified account taken for a standard one, whose large balance leaves its long no price of liquidation."""
    state = copy.deepcopy(replies.UNIFIED)
    state["assetPositions"][0]["position"]["liquidationPx"] = None
    metas = {"": replies.meta({"BTC": "83926.0"})}
    (reading,) = await read(exchange({(USER, ""): state}, "default", metas=metas))
    assert reading.accounts == ()
    assert reading.failed[USER].startswith("liquidationPx of BTC is null, its margin makes it 76380")
    (reading,) = await read(exchange({(USER, ""): state}, "unifiedAccount", "500000.0", metas))
    assert [account.collateral_base_raw for account in reading.accounts] == [500_000 * 10**18]
    assert reading.accounts[0].perps[0].liquidation_price_usd_wad is None


@pytest.mark.parametrize("left", ["41878.77635", "41880.0", "41850.0"])
async def test_what_a_balance_leaves_moves_with_the_price(left: str) -> None:
    metas = {"": replies.meta({"BTC": "83926.0"})}
    balance = replies.spot(replies.UNIFIED_TOTAL, left)
    (reading,) = await read(exchange({(USER, ""): replies.UNIFIED}, "unifiedAccount", balance, metas))
    assert len(reading.accounts) == 1


async def test_isolated_margin_is_not_counted_twice_in_a_unified_account() -> None:
    cross = replies.position("BTC", "1.0", "80000.0", "80000.0", "0.0", "71088.6075949367", "8000.0", 40)
    apart = replies.position("OP", "-100.0", "10.0", "1000.0", "0.0", "11.4285714286", "200.0", 10, "1200.0")
    state = replies.state([cross, apart], "8000.0", "-72000.0", "1000.0", "8200.0", ("8000.0", "8200.0"))
    metas = {"": replies.meta({"BTC": "80000.0", "OP": "10.0"})}
    balance = replies.spot("10000.0", "8800.0")  # less 200 isolated, less 1000 of maintenance
    (reading,) = await read(exchange({(USER, ""): state}, "unifiedAccount", balance, metas))
    assert reading.failed == {}
    equity = account_health(from_readings([reading]))["equity_usd"]
    assert equity.sum() == pytest.approx(10_000)
    assert sorted(equity) == pytest.approx([200, 9800])


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("maxLeverage", 0, "the field maxLeverage is 0, less than 1"),
        ("positionValue", "-100.02765", "the field positionValue is '-100.02765', less than 0"),
        ("liquidationPx", "-3.0", "the field liquidationPx is '-3.0', less than 0"),
    ],
)
async def test_a_figure_of_a_position_that_cannot_be_is_one_error(name: str, value: Any, named: str) -> None:
    state = copy.deepcopy(replies.DOCUMENTED)
    state["assetPositions"][0]["position"][name] = value
    with pytest.raises(ReaderError, match=f"clearinghouseState of {USER} on main, ETH: {named}"):
        await read(exchange({(USER, ""): state}))


async def test_a_market_that_cannot_be_is_one_error() -> None:
    metas = {"": replies.meta({"ETH": "2985.9"})}
    metas[""][0]["universe"][0]["maxLeverage"] = 0
    with pytest.raises(ReaderError, match="metaAndAssetCtxs of main: ETH: the field maxLeverage is 0, less than 1"):
        await read(exchange({(USER, ""): replies.DOCUMENTED}, metas=metas))


# ----- accounts of the list


async def test_an_agent_wallet_is_told_from_an_account_without_positions() -> None:
    idle = "0x" + "cd" * 20
    venue = exchange({(USER, ""): replies.RECORDED}, roles={OTHER: {"role": "agent", "data": {"user": USER}}})
    (reading,) = await read(venue, USER, OTHER, idle)
    why = f"it is an agent wallet, which holds nothing itself; list {USER}, for which it acts"
    assert reading.failed == {OTHER: why}
    assert (reading.found, len(reading.accounts)) == (4, 3)
    asked = [body["user"] for _, body in venue.asked if body["type"] == "userRole"]
    assert sorted(asked) == sorted([OTHER, idle])


async def test_roles_cost_no_more_than_a_few_minutes(caplog: pytest.LogCaptureFixture) -> None:
    venue = exchange({})
    await read(venue, *(f"0x{number:040x}" for number in range(53)))
    assert [body["type"] for _, body in venue.asked].count("userRole") == 50
    assert "3 empty accounts were not asked whether they are agent wallets" in caplog.text


async def test_a_role_that_is_not_told_costs_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    (reading,) = await read(exchange({(USER, ""): replies.RECORDED}, roles={OTHER: {}}), USER, OTHER)
    assert (len(reading.accounts), reading.failed) == (3, {})
    assert "userRole of" in caplog.text


async def test_what_is_wrong_with_one_account_does_not_cost_the_others() -> None:
    broken = copy.deepcopy(replies.RECORDED)
    del broken["crossMaintenanceMarginUsed"]
    (reading,) = await read(exchange({(USER, ""): replies.RECORDED, (OTHER, ""): broken}), USER, OTHER)
    assert len(reading.accounts) == 3
    assert list(reading.failed) == [OTHER]
    assert "the field crossMaintenanceMarginUsed is missing" in reading.failed[OTHER]
    assert not from_readings([reading]).complete


@pytest.mark.parametrize(("status", "ended"), [(422, False), (500, True), (429, True), (401, True)])
async def test_a_refusal_is_of_the_account_and_silence_of_the_venue(status: int, ended: bool) -> None:
    venue = exchange({(USER, ""): replies.RECORDED})

    async def refuse(request: web.Request, body: Any) -> web.StreamResponse | None:
        return await http(status)(request, body) if body.get("user") == OTHER else None

    venue.constant = refuse
    given = {"limits": HttpLimits(timeout=0.3, retries=1)}
    if ended:
        with pytest.raises(ReaderError, match=f"HTTP {status}"):
            await read(venue, USER, OTHER, given=given)
        return
    (reading,) = await read(venue, USER, OTHER, given=given)
    assert len(reading.accounts) == 3
    assert "HTTP 422" in reading.failed[OTHER]
    assert "secretkey" not in reading.failed[OTHER]


@pytest.mark.parametrize(("seconds", "gap"), [(59, None), (-61, "61 seconds behind"), (3600, "3600 seconds ahead of")])
async def test_replies_of_another_time_are_told(seconds: int, gap: str | None) -> None:
    now = 1_768_397_000.0
    (reading,) = await read(exchange({(USER, ""): replies.RECORDED}, clock=lambda: now + seconds))
    assert reading.gaps == ({} if gap is None else {"clock": reading.gaps["clock"]})
    assert gap is None or gap in reading.gaps["clock"]
