"""dYdX v4: perps of the dYdX chain, over its public indexer.

Every subaccount is a margin account of its own: numbers below 128 hold cross positions, from 128 on isolated ones, of
the parent whose number is the remainder by 128. Its cash is the USDC position, funding that is not settled yet already
in it (the indexer adds it), so that nothing is owed beside. Maintenance margin is a fixed fraction of the notional at
the oracle's price; only the initial margin grows with open interest, which liquidates nobody.

The markets of type CROSS are one venue. Each of type ISOLATED is a venue of its own, with a collateral pool and an
insurance fund of its own: a subaccount that is in it can be in no other market.

An account's equity must be its cash plus its positions, at the prices that its profits imply; else it is set aside.
The indexer tells no liquidation price; ours is the documentation's formula. The funding rate is an hour's, positive
where longs pay shorts. `insurance_fund_usd` states what the insurance fund of the CROSS markets holds, which the
indexer does not tell. An address that the indexer refuses to show (compliance) is set aside.

Sources: docs.dydx.xyz, Indexer API (GetAddress, GetPerpetualMarkets, GetHeight), Margin, Liquidations (penalty of at
most 1.5 %, to the insurance fund), Contract loss mechanisms (deleveraging against offsetting positions chosen at
random: pro rata in expectation), Isolated positions, Isolated markets; dydxprotocol/v4-chain: release notes of v5.0.0
(an insurance fund for each isolated market), protocol/x/perpetuals/lib (margin), indexer/services/comlink: helpers.ts
(equity and margin), config.ts (100 requests in 10 seconds), rate-limit.ts (Retry-After in milliseconds),
compliance-check.ts (HTTP 403), postgres constants.ts (funding by the hour).
"""

from datetime import datetime
from fractions import Fraction
from typing import Any
from urllib.parse import quote

from defi_leverage.errors import ReaderError
from defi_leverage.http_api import Budget, HttpApi
from defi_leverage.protocols import Progress
from defi_leverage.reading import Reading
from defi_leverage.venues_http import HttpVenue, Network
from defi_leverage.venues_http._fields import entries, number, text
from defi_leverage.venues_http._listed import clock_gap, read_listed
from defi_leverage.venues_http._readings import MarginAccount, Pool, build_reading, moved_prices
from defi_leverage.venues_http.dydx.markets import parse_markets
from defi_leverage.venues_http.dydx.subaccounts import parse_subaccount

__all__ = ["ADDRESS", "BUDGET", "NETWORKS", "OPTIONS", "read_http"]

NETWORKS = {
    "mainnet": Network("https://indexer.dydx.trade/v4", "cosmos:dydx-mainnet-1"),
    "testnet": Network("https://indexer.v4testnet.dydx.exchange/v4", "cosmos:dydx-testnet-4"),
}
BUDGET = Budget(100, 10, retry_after_unit=1e-3)
ADDRESS = r"dydx1[02-9ac-hj-np-z]{38}"
OPTIONS = {"insurance_fund_usd": "amount"}

_USDC = "ibc:8E27BA2D5493AF5636760E354E46004562C46AB7EC0CC4C1CA14E9E20E2545B5"
_LIQUIDATION_FEE = 0.015


async def read_http(api: HttpApi, venue: HttpVenue, progress: Progress | None = None) -> tuple[Reading, ...]:
    """All subaccounts, with a position, of the listed addresses: a reading of those in CROSS markets, and one for each
    ISOLATED market that they are in.

    Raises ReaderError where the indexer does not answer, or lacks a field.
    """
    start = api.now()
    height, time = _parse_height(await api.get("/height"))
    gap = clock_gap(time, start)
    listed = parse_markets(await api.get("/perpetualMarkets"))
    markets = {ticker: item.market for ticker, item in listed.items()}
    accounts: list[MarginAccount] = []
    failed: dict[str, str] = {}

    async def read(address: str) -> None:
        where = f"addresses/{address}"
        reply = await api.get(f"/addresses/{quote(address)}", absent=True)
        for subaccount in [] if reply is None else entries(reply, "subaccounts", where):  # 404: it has none
            found = parse_subaccount(subaccount, address, markets, where)
            if isinstance(found, MarginAccount):
                accounts.append(found)
            elif found is not None:
                failed[found[0]] = found[1]

    failed |= await read_listed(api, venue, read, progress)
    window = (start, api.now())
    accounts.sort(key=lambda account: account.name)
    pools: dict[str, list[MarginAccount]] = {"": []}
    for account in accounts:
        pools.setdefault(next((p.coin for p in account.positions if listed[p.coin].isolated), ""), []).append(account)
    readings = []
    for isolated, members in sorted(pools.items()):
        held = frozenset(position.coin for account in members for position in account.positions)
        idle = [coin for coin in sorted(held) if listed[coin].status != "ACTIVE"]
        gaps = {coin: f"its status is {listed[coin].status}: positions in it cannot be sold" for coin in idle}
        gaps |= moved_prices(members, markets) | ({"indexer": gap} if gap else {})
        pool = _pool(venue, isolated, held, {} if isolated else failed, gaps)
        readings.append(build_reading(pool, markets, members, window, height))
    return tuple(readings)


def _pool(
    venue: HttpVenue, isolated: str, listed: frozenset[str], failed: dict[str, str], gaps: dict[str, str]
) -> Pool:
    """The CROSS markets' pool, or that of the market `isolated`, whose insurance fund nobody tells."""
    fund = None if isolated else venue.options.get("insurance_fund_usd")
    chain = NETWORKS[venue.network].chain
    return Pool(
        protocol="dydx",
        name=f"{venue.name} {isolated}".strip(),
        chain=chain,
        reference=f"dydx-{isolated}".removesuffix("-"),
        address="",
        quote_id=f"{chain}/{_USDC}",
        quote_symbol="USDC",
        liquidation_rule="perp_full",
        liquidation_parameters={
            "liquidation_fee": _LIQUIDATION_FEE,
            "pro_rata": 1.0,
            **({} if fund is None else {"insurance_fund_usd": float(fund)}),
        },
        auto_deleveraging="pro_rata",
        insurance_fund=None if fund is None else Fraction(fund),
        listed=listed,
        failed=failed,
        gaps=gaps,
    )


def _parse_height(reply: Any) -> tuple[int, int]:
    """The newest block that the indexer has seen, and its UTC seconds."""
    written = text(reply, "time", "height")
    try:
        time = datetime.fromisoformat(written)
    except ValueError:
        raise ReaderError(f"height: the field time is {written!r}, not an ISO 8601 time; update this package") from None
    return int(number(reply, "height", "height", least=0, most=2**53)), int(time.timestamp())
