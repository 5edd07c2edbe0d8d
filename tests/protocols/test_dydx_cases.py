"""dYdX's reader on what the indexer's source shows and its examples do not: refusals, isolated markets, statuses.

The isolated market is a record of nautilus_trader's test data (websocket/v4_markets_channel_data_v8.json): TRY-USD.
Source of the replies: dydxprotocol/v4-chain, indexer/services/comlink: rate-limit.ts, compliance-check.ts.
"""

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from defi_leverage.errors import ReaderError
from defi_leverage.health import account_health
from defi_leverage.reading import Reading
from defi_leverage.snapshot import from_readings
from defi_leverage.venues_http import HttpVenue
from defi_leverage.venues_http.dydx import BUDGET, read_http
from tests.http_server import Time, Venue, connect_venue, serve_venue
from tests.protocols.test_dydx import BOTH, BTC_TWO, ETH_TWO, LONG, TWO, indexer, market, position, subaccount
from tests.rpc_server import http

TRY = market("TRY-USD", "0.029") | {
    "initialMarginFraction": "0.01",
    "maintenanceMarginFraction": "0.005",
    "marketType": "ISOLATED",
    "openInterest": "1257800",
    "baseOpenInterest": "408800",
    "nextFundingRate": "0",
}
IN_TRY = subaccount(
    LONG, 128, ("SHORT", "190"), "100", "97.1", position("TRY-USD", "LONG", "10000", "0.028", "10")
)  # 290 USD of notional


def markets(**change: dict[str, Any]) -> dict[str, Any]:
    listed = {"BTC-USD": market("BTC-USD", BTC_TWO), "ETH-USD": market("ETH-USD", ETH_TWO), "TRY-USD": TRY}
    return {"markets": {ticker: row | change.get(ticker[:3], {}) for ticker, row in listed.items()}}


async def read_all(
    venue: Venue, *addresses: str, time: Time | None = None, given: dict[str, Any] | None = None, **options: Any
) -> tuple[Reading, ...]:
    asked = HttpVenue("dydx", "dYdX", "mainnet", addresses, options)
    async with serve_venue(venue), connect_venue(venue, time, **(given or {})) as api:
        return await read_http(api, asked)


def refuse(status: int, code: str, *addresses: str) -> Callable[..., Any]:
    async def answer(request: web.Request, body: Any) -> web.StreamResponse | None:
        hit = any(address in request.path for address in addresses)
        return await http(status, f'{{"errors":[{{"code":"{code}"}}]}}')(request, body) if hit else None

    return answer


async def test_too_many_requests_waits_milliseconds() -> None:
    """7342 seconds would be longer than it may wait; the indexer means 7.3."""
    time = Time()
    venue = indexer([TWO])
    venue.faults = [http(429, Retry_After="7342")]
    (reading,) = await read_all(venue, BOTH, time=time, given={"budget": BUDGET})
    assert len(reading.accounts) == 1
    assert time.naps[0] == pytest.approx(7.342)


async def test_an_address_that_is_not_shown_does_not_cost_the_others() -> None:
    venue = indexer([TWO])
    venue.constant = refuse(403, "COMPLIANCE_BLOCKED", LONG)
    (reading,) = await read_all(venue, LONG, BOTH)
    assert [account.owner for account in reading.accounts] == [BOTH]
    assert "HTTP 403" in reading.failed[LONG]
    assert "COMPLIANCE_BLOCKED" in reading.failed[LONG]
    assert reading.found == 2


async def test_a_country_that_is_not_served_is_one_error() -> None:
    venue = indexer([TWO])
    venue.constant = refuse(403, "GEOBLOCKED", LONG, BOTH)
    with pytest.raises(ReaderError, match=r"HTTP 403.*GEOBLOCKED"):
        await read_all(venue, LONG, BOTH)


async def test_an_isolated_market_is_a_venue_with_a_fund_of_its_own() -> None:
    venue = indexer([TWO, IN_TRY], perpetualMarkets=markets())
    readings = await read_all(venue, LONG, BOTH, insurance_fund_usd=2e7)
    chain = "cosmos:dydx-mainnet-1"
    assert [reading.venue.venue_id for reading in readings] == [f"{chain}:dydx", f"{chain}:dydx-TRY-USD"]
    cross, isolated = readings
    assert [account.address for account in cross.accounts] == [f"{BOTH}/0"]
    assert [account.address for account in isolated.accounts] == [f"{LONG}/128"]
    assert cross.venue.liquidation_parameters["insurance_fund_usd"] == 2e7
    assert "insurance_fund_usd" not in isolated.venue.liquidation_parameters
    snapshot = from_readings(readings)
    lira = snapshot.perp_markets.set_index("asset_id").loc["index:TRY"]
    assert lira["open_interest_long"] == 408800  # the protocol's, not what the indexer has counted
    assert lira.isna()["insurance_fund_usd"]
    assert snapshot.complete
    health = account_health(snapshot).filter(like="/128@", axis=0)
    assert health["equity_usd"].iloc[0] == pytest.approx(100)
    assert health["health_factor"].iloc[0] == pytest.approx((290 * 0.995 + 90) / 280)


async def test_nobody_in_it_leaves_no_venue_of_an_isolated_market() -> None:
    readings = await read_all(indexer([TWO], perpetualMarkets=markets()), BOTH)
    assert len(readings) == 1


@pytest.mark.parametrize("status", ["PAUSED", "FINAL_SETTLEMENT", "CANCEL_ONLY"])
async def test_a_market_that_does_not_trade_is_told(status: str) -> None:
    replies = markets(ETH={"status": status}, TRY={"status": status})
    (reading,) = await read_all(indexer([TWO], perpetualMarkets=replies), BOTH)
    assert reading.gaps == {"ETH-USD": f"its status is {status}: positions in it cannot be sold"}
    assert len(reading.accounts) == 1


@pytest.mark.parametrize(
    ("interest", "price", "lower", "upper", "leverage"),
    [
        ("408800", "0.029", "500000", "1000000", 100),  # as recorded: below the lower cap
        ("26250000", "0.029", "500000", "1000000", 1 / (0.01 + 0.99 * (761_250 - 500_000) / 500_000)),
        ("99000000", "0.029", "500000", "1000000", 1),
        ("99000000", "0.029", "0", "0", 100),  # no cap
        ("408800", "0.029", None, None, float("nan")),
    ],
)
async def test_the_most_leverage_falls_with_open_interest(
    interest: str, price: str, lower: str | None, upper: str | None, leverage: float
) -> None:
    terms: dict[str, Any] = {"baseOpenInterest": interest, "oraclePrice": price}
    terms |= {"openInterestLowerCap": lower, "openInterestUpperCap": upper}
    _, reading = await read_all(indexer([IN_TRY], perpetualMarkets=markets(TRY=terms)), LONG)
    (row,) = from_readings([reading]).perp_markets.to_dict("records")
    assert row["maximum_leverage"] == pytest.approx(leverage, nan_ok=True)
    assert row["maintenance_tiers"] == "[[0.0, 0.005, 0.0]]"  # what liquidates does not move with it


async def test_a_token_priced_by_one_pool_is_read_by_its_symbol() -> None:
    """Its ticker has the exchange and the address, too: base asset SYMBOL,EXCHANGE,ADDRESS."""
    ticker = "BUFFI,UNISWAP_V3,0X4C1B1302220D7DE5C22B495E78B72F2DD2457D45-USD"
    held = subaccount(LONG, 128, ("SHORT", "190"), "100", "97.1", position(ticker, "LONG", "10000", "0.028", "10"))
    listed = {"markets": {ticker: TRY | {"ticker": ticker}}}
    snapshot = from_readings(await read_all(indexer([held], perpetualMarkets=listed), LONG))
    assets = snapshot.assets.set_index("asset_id")["symbol"]
    assert assets[f"index:{ticker.removesuffix('-USD')}"] == "BUFFI"


async def test_an_indexer_ahead_of_this_clock_is_told() -> None:
    venue = indexer([TWO], height={"height": "5", "time": "2026-01-14T14:23:20.000Z"})
    (reading,) = await read_all(venue, BOTH)
    assert "3600 seconds ahead of this machine's clock" in reading.gaps["indexer"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"marketType": "SPOT"}, "the field marketType is 'SPOT', not CROSS or ISOLATED"),
        ({"marketType": None}, "the field marketType is None, not text"),
        ({"status": ""}, "the field status is '', not text"),
        ({"maintenanceMarginFraction": "1.2"}, "the field maintenanceMarginFraction is '1.2', more than 1"),
        ({"initialMarginFraction": "-0.05"}, "the field initialMarginFraction is '-0.05', less than 0"),
        ({"baseOpenInterest": "-1"}, "the field baseOpenInterest is '-1', less than 0"),
    ],
)
async def test_terms_that_make_no_sense_are_one_error(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ReaderError, match=f"perpetualMarkets, BTC-USD: {named}"):
        await read_all(indexer([TWO], perpetualMarkets=markets(BTC=change)), BOTH)


async def test_one_reply_that_makes_no_sense_does_not_cost_the_others() -> None:
    replies: dict[str, Any] = {f"addresses/{LONG}": {"subaccounts": [{}]}}
    venue = indexer([TWO], **replies)
    (reading,) = await read_all(venue, LONG, BOTH)
    assert len(reading.accounts) == 1
    assert "the field subaccountNumber is missing" in reading.failed[LONG]
