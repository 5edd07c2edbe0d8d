"""dYdX's reader against recorded subaccounts: equity and free collateral are the indexer's, to the printed digits.

The subaccounts are replies of the indexer of August 2024, as recorded in nautilus_trader's test data, tests/test_data/
dydx: http/subaccount.json and websocket/v4_accounts_subscribed_negative_initial_margin.json. Fields and the layout of
the market reply: Indexer API documentation, GetAddress and GetPerpetualMarkets.
"""

import copy
from fractions import Fraction
from typing import Any

import pytest

from defi_leverage.errors import ReaderError
from defi_leverage.health import account_health, liquidation_price_short
from defi_leverage.reading import Reading
from defi_leverage.snapshot import Snapshot, from_readings
from defi_leverage.venues_http import HttpVenue
from defi_leverage.venues_http.dydx import read_http
from tests.http_server import Venue, connect_venue, serve_venue

LONG = "dydx1kzsvkf2ghjqlysuffdkhcdctknl4rsvcx5hkm5"
BOTH = "dydx14zzueazeh0hj67cghhf9jypslcf9sh2n5k6art"
NOBODY = "dydx1" + "q" * 38


def position(ticker: str, side: str, size: str, entry: str, pnl: str) -> dict[str, Any]:
    return {
        "market": ticker,
        "status": "OPEN",
        "side": side,
        "size": size,
        "maxSize": size,
        "entryPrice": entry,
        "realizedPnl": "0",
        "createdAt": "2024-08-01T07:09:25.767Z",
        "createdAtHeight": "17933806",
        "sumOpen": "0.003",
        "sumClose": "0",
        "netFunding": "0",
        "unrealizedPnl": pnl,
        "closedAt": None,
        "exitPrice": None,
        "subaccountNumber": 0,
    }


def subaccount(
    address: str, number: int, usdc: tuple[str, str], equity: str, free: str, *positions: dict[str, Any]
) -> dict[str, Any]:
    cash = {"symbol": "USDC", "side": usdc[0], "size": usdc[1], "assetId": "0", "subaccountNumber": number}
    return {
        "address": address,
        "subaccountNumber": number,
        "equity": equity,
        "freeCollateral": free,
        "openPerpetualPositions": {item["market"]: item for item in positions},
        "assetPositions": {"USDC": cash},
        "marginEnabled": True,
        "updatedAtHeight": "17933806",
        "latestProcessedBlockHeight": "18164178",
    }


ONE = subaccount(
    LONG,
    0,
    ("LONG", "90.461932"),
    "99.206819554",
    "98.7695751763",
    position("ETH-USD", "LONG", "0.003", "3177.76666666666666666667", "-0.78841244600000000000001"),
)
TWO = subaccount(
    BOTH,
    0,
    ("SHORT", "5768.816478"),
    "304.384048054",
    "0.1986661447",
    position("BTC-USD", "LONG", "0.1036", "58308.13962472406181015453", "37.730816998587196467990692"),
    position("ETH-USD", "SHORT", "-0.002", "2618.8", "-0.015956066"),
)
ETH_ONE, ETH_TWO, BTC_TWO = "2914.962518", "2626.778033", "58672.3367"


def market(ticker: str, price: str | None) -> dict[str, Any]:
    return {
        "clobPairId": "0",
        "ticker": ticker,
        "status": "ACTIVE",
        "oraclePrice": price,
        "priceChange24H": "1189.34763",
        "volume24H": "224881682.4025",
        "trades24H": 65786,
        "nextFundingRate": "0.00003494207317073171",
        "initialMarginFraction": "0.05",
        "maintenanceMarginFraction": "0.03",
        "openInterest": "717.0347",
        "atomicResolution": -10,
        "quantumConversionExponent": -9,
        "tickSize": "1",
        "stepSize": "0.0001",
        "stepBaseQuantums": 1000000,
        "subticksPerTick": 100000,
        "marketType": "CROSS",
        "openInterestLowerCap": "0",
        "openInterestUpperCap": "0",
        "baseOpenInterest": "717.1169",
        "defaultFundingRate1H": "0",
    }


def indexer(subaccounts: list[dict[str, Any]], eth: str | None = ETH_TWO, **replace: Any) -> Venue:
    """The indexer with these subaccounts; `replace`: whole replies by path, its slash left out."""

    def reply(path: str, _body: Any) -> Any:
        if path.strip("/") in replace:
            return replace[path.strip("/")]
        if path == "/height":
            return {"height": "18164178", "time": "2026-01-14T13:23:15.000Z"}
        if path == "/perpetualMarkets":
            return {"markets": {"BTC-USD": market("BTC-USD", BTC_TWO), "ETH-USD": market("ETH-USD", eth)}}
        address = path.removeprefix("/addresses/")
        found = [item for item in subaccounts if item["address"] == address]
        return {"subaccounts": copy.deepcopy(found), "totalTradingRewards": "0"} if found else None

    return Venue(reply)


async def read(venue: Venue, *addresses: str, **options: Any) -> Reading:
    asked = HttpVenue("dydx", "dYdX", "mainnet", addresses or (LONG, BOTH), options)
    async with serve_venue(venue), connect_venue(venue) as api:
        (reading,) = await read_http(api, asked)
    return reading


def at_price(snapshot: Snapshot, ticker: str, price: float) -> Snapshot:
    feeds = snapshot.feeds.copy()
    feeds.loc[feeds["feed_id"].str.endswith(f":{ticker}"), "price_usd"] = price
    return Snapshot.from_tables(snapshot.tables | {"feeds": feeds})


@pytest.mark.parametrize(
    ("recorded", "eth", "notional"), [(ONE, ETH_ONE, "8.744887554"), (TWO, ETH_TWO, "6083.7076381871872")]
)
async def test_recorded_figures_to_their_digits(recorded: dict[str, Any], eth: str, notional: str) -> None:
    reading = await read(indexer([recorded], eth), recorded["address"])
    (account,) = reading.accounts
    equity, needed = Fraction(account.collateral_base_raw, 10**18), Fraction(account.debt_base_raw, 10**18)
    assert f"{float(equity):.9f}" == recorded["equity"]
    # the indexer tells what is left after initial margin at 5 %; maintenance is 3 % of the same notional
    assert float(needed) == pytest.approx(float(notional) * 0.03, rel=1e-9)
    assert f"{float(equity - needed * Fraction(5, 3)):.10f}" == recorded["freeCollateral"]
    health = account_health(from_readings([reading]))
    assert health["equity_usd"].iloc[0] == pytest.approx(float(recorded["equity"]), abs=1e-6)


async def test_health_is_one_at_the_liquidation_price_of_each_position() -> None:
    reading = await read(indexer([TWO]), BOTH)
    snapshot = from_readings([reading])
    (account,) = reading.accounts
    for ticker, perp in zip(("BTC-USD", "ETH-USD"), account.perps, strict=True):
        assert perp.liquidation_price_usd_wad is not None
        price = perp.liquidation_price_usd_wad / 1e18
        factor = account_health(at_price(snapshot, ticker, price))["health_factor"].iloc[0]
        assert factor == pytest.approx(1, abs=1e-12), ticker


async def test_the_documented_liquidation_price() -> None:
    """Documentation, Liquidations: 1000 USDC and 3 ETH short at 3000, maintenance 5 %: (1000 + 9000) / 3.15."""
    short = position("ETH-USD", "SHORT", "-3", "3000", "0")
    terms = market("ETH-USD", "3000") | {"maintenanceMarginFraction": "0.05"}
    account = subaccount(LONG, 0, ("LONG", "10000"), "1000", "0", short)
    venue = indexer([account], perpetualMarkets={"markets": {"ETH-USD": terms}})
    (perp,) = (await read(venue, LONG)).accounts[0].perps
    assert perp.liquidation_price_usd_wad is not None
    assert perp.liquidation_price_usd_wad / 1e18 == pytest.approx(10_000 / 3.15, rel=1e-15)
    assert perp.liquidation_price_usd_wad / 1e18 == pytest.approx(liquidation_price_short(3000, 3, 1000, 0.05))


async def test_tables_of_the_snapshot() -> None:
    isolated = subaccount(
        BOTH, 256, ("LONG", "90.461932"), "99.206819554", "0", *ONE["openPerpetualPositions"].values()
    )
    isolated["equity"] = "98.342266099"  # at the price of the second record
    isolated["openPerpetualPositions"]["ETH-USD"]["unrealizedPnl"] = "-1.652965901"
    empty = subaccount(BOTH, 127, ("LONG", "5"), "5", "5")
    snapshot = from_readings([await read(indexer([TWO, isolated, empty]), BOTH, NOBODY, insurance_fund_usd=2e7)])
    accounts = snapshot.accounts.set_index("account_id")
    chain = "cosmos:dydx-mainnet-1"
    assert accounts["mode"].to_dict() == {
        f"{chain}:{BOTH}/0@dydx": "cross",
        f"{chain}:{BOTH}/256@dydx": "isolated",
    }
    assert set(accounts["owner"]) == {f"{chain}:{BOTH}"}
    bitcoin = snapshot.perp_markets.set_index("asset_id").loc["index:BTC"]
    assert bitcoin["funding_rate"] == pytest.approx(0.00003494207317073171 * 8760)  # an hour's; longs pay
    assert bitcoin["open_interest_long"] == 717.1169
    assert bitcoin["insurance_fund_usd"] == 2e7
    assert bitcoin["auto_deleveraging"] == "pro_rata"
    coverage = snapshot.coverage.iloc[0]
    assert (coverage["found"], coverage["read"], coverage["failed"]) == (2, 2, 0)
    assert coverage["block"] == 18164178
    assert coverage["window_start"] == "2026-01-14T13:23:20Z"
    assert snapshot.complete
    perps = snapshot.perps.set_index(["account_id", "asset_id"])["size"]
    assert perps[f"{chain}:{BOTH}/0@dydx", "eip155:1/slip44:60"] == -0.002


async def test_equity_that_does_not_add_up_sets_the_subaccount_aside() -> None:
    wrong = copy.deepcopy(TWO) | {"equity": "304.39"}
    reading = await read(indexer([wrong]), BOTH)
    assert reading.accounts == ()
    assert "equity is 304.39, its cash and positions make it 304.384048054" in reading.failed[f"{BOTH}/0"]


async def test_an_asset_that_is_not_counted_sets_the_subaccount_aside() -> None:
    richer = copy.deepcopy(TWO)
    richer["assetPositions"]["TDAI"] = {"symbol": "TDAI", "side": "LONG", "size": "5", "assetId": "1"}
    reading = await read(indexer([richer]), BOTH)
    assert reading.failed == {f"{BOTH}/0": "it holds TDAI, which this version does not count as margin"}


async def test_a_market_without_a_price_sets_the_subaccount_aside() -> None:
    reading = await read(indexer([TWO], eth=None), BOTH)
    assert reading.failed == {f"{BOTH}/0": "ETH-USD has no oracle price"}


async def test_an_indexer_that_lags_is_told() -> None:
    venue = indexer([TWO], height={"height": "5", "time": "2026-01-14T13:20:20.000Z"})
    reading = await read(venue, BOTH)
    assert reading.gaps["indexer"] == (
        "its replies are 180 seconds behind this machine's clock; check that clock, or scan again later"
    )


async def test_a_price_that_moved_while_reading_is_told() -> None:
    reading = await read(indexer([TWO], eth="2700"), BOTH)
    assert list(reading.gaps) == ["ETH-USD"]


@pytest.mark.parametrize(
    ("path", "reply", "named"),
    [
        ("height", {"height": "5"}, "height: the field time is missing"),
        ("height", {"height": "5", "time": "yesterday"}, "the field time is 'yesterday'"),
        ("perpetualMarkets", {"market": {}}, "perpetualMarkets: the field markets is missing"),
        (
            "perpetualMarkets",
            {"markets": {"ETH-USD": {}}},
            "perpetualMarkets, ETH-USD: the field oraclePrice is missing",
        ),
        ("perpetualMarkets", {"markets": {}}, "BTC-USD: this market is not in perpetualMarkets"),
        (f"addresses/{BOTH}", {}, "the field subaccounts is missing"),
        (f"addresses/{BOTH}", {"subaccounts": [{}]}, "the field subaccountNumber is missing"),
    ],
)
async def test_a_changed_reply_is_one_error_that_names_the_field(path: str, reply: Any, named: str) -> None:
    with pytest.raises(ReaderError, match=named):
        await read(indexer([TWO], **{path: reply}), BOTH)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("size", "0", "the field size is 0 of an open position"),
        ("size", "-0.1036", "the field side is 'LONG' of a size of -0.1036"),
        ("side", "BUY", "the field side is 'BUY'"),
        ("entryPrice", None, "the field entryPrice is null"),
        ("unrealizedPnl", "NaN", "the field unrealizedPnl is 'NaN', not a number"),
    ],
)
async def test_a_position_that_makes_no_sense_is_one_error(name: str, value: Any, named: str) -> None:
    changed = copy.deepcopy(TWO)
    changed["openPerpetualPositions"]["BTC-USD"][name] = value
    with pytest.raises(ReaderError, match=named):
        await read(indexer([changed]), BOTH)
