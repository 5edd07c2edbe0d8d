"""dYdX v4: perps of the dYdX chain, over its public indexer.

Every subaccount is a margin account of its own: numbers below 128 hold cross positions, from 128 on isolated ones, of
the parent whose number is the remainder by 128. Its cash is the USDC position, funding that is not settled yet already
in it (the indexer adds it), so that nothing is owed beside. Maintenance margin is a fixed fraction of the notional at
the oracle's price; only the initial margin grows with open interest, which liquidates nobody.

An account's equity must be its cash plus its positions, at the prices that its profits imply; else it is set aside.
The indexer tells no liquidation price; ours is the documentation's formula. The funding rate is an hour's, positive
where longs pay shorts. `insurance_fund_usd` states what the insurance fund holds, which the indexer does not tell.

Sources: docs.dydx.xyz, Indexer API (GetAddress, GetPerpetualMarkets, GetHeight), Margin, Liquidations (penalty of at
most 1.5 %, to the insurance fund), Contract loss mechanisms (deleveraging against offsetting positions chosen at
random: pro rata in expectation), Isolated positions; dydxprotocol/v4-chain, indexer/services/comlink: helpers.ts
(equity and margin), config.ts (100 requests in 10 seconds), postgres constants.ts (funding by the hour).
"""

from datetime import datetime
from fractions import Fraction
from typing import Any
from urllib.parse import quote

from defi_leverage.errors import ReaderError
from defi_leverage.http_api import Budget, HttpApi
from defi_leverage.protocols import Progress
from defi_leverage.reading import Reading
from defi_leverage.rpc import run_bounded
from defi_leverage.venues_http import HttpVenue, Network
from defi_leverage.venues_http._fields import entries, number, optional_number, record, text
from defi_leverage.venues_http._margin import Position, tiers
from defi_leverage.venues_http._readings import HOURS_A_YEAR, MarginAccount, Market, Pool, build_reading

__all__ = ["ADDRESS", "BUDGET", "NETWORKS", "OPTIONS", "parse_markets", "parse_subaccount", "read_http"]

NETWORKS = {
    "mainnet": Network("https://indexer.dydx.trade/v4", "cosmos:dydx-mainnet-1"),
    "testnet": Network("https://indexer.v4testnet.dydx.exchange/v4", "cosmos:dydx-testnet-4"),
}
BUDGET = Budget(100, 10)
ADDRESS = r"dydx1[02-9ac-hj-np-z]{38}"
OPTIONS = {"insurance_fund_usd": "amount"}

_PARENTS = 128
_USDC = "ibc:8E27BA2D5493AF5636760E354E46004562C46AB7EC0CC4C1CA14E9E20E2545B5"
_LIQUIDATION_FEE = 0.015
_STALE_SECONDS = 60
_MOVED = Fraction(1, 100)
_PRINTED = (Fraction(1, 10**5), Fraction(1, 10**9))


async def read_http(api: HttpApi, venue: HttpVenue, progress: Progress | None = None) -> tuple[Reading, ...]:
    """One reading of all subaccounts, with a position, of the listed addresses.

    Raises ReaderError where the indexer does not answer, or lacks a field.
    """
    start = api.now()
    height, time = _parse_height(await api.get("/height"))
    gaps = {}
    if start - time > _STALE_SECONDS:
        gaps["indexer"] = f"it is {start - time} seconds behind this machine's clock; scan again later"
    markets = parse_markets(await api.get("/perpetualMarkets"))
    accounts: list[MarginAccount] = []
    failed: dict[str, str] = {}
    done = 0

    async def read(address: str) -> None:
        nonlocal done
        where = f"addresses/{address}"
        reply = await api.get(f"/addresses/{quote(address)}", absent=True)
        for subaccount in [] if reply is None else entries(reply, "subaccounts", where):  # 404: it has none
            found = parse_subaccount(subaccount, address, markets, where)
            if isinstance(found, MarginAccount):
                accounts.append(found)
            elif found is not None:
                failed[found[0]] = found[1]
        done += 1
        if progress is not None:
            progress("accounts", done, len(venue.accounts))

    await run_bounded(read, venue.accounts, api.limits.in_flight)
    for account in accounts:
        for position in account.positions:
            if abs(position.mark / markets[position.coin].price - 1) > _MOVED:
                gaps[position.coin] = "its price moved by more than 1 % while accounts were read; scan again"
    held = frozenset(position.coin for account in accounts for position in account.positions)
    pool = _pool(venue, held, failed, gaps)
    accounts.sort(key=lambda account: account.name)
    return (build_reading(pool, markets, accounts, (start, api.now()), height),)


def _pool(venue: HttpVenue, listed: frozenset[str], failed: dict[str, str], gaps: dict[str, str]) -> Pool:
    fund = venue.options.get("insurance_fund_usd")
    chain = NETWORKS[venue.network].chain
    return Pool(
        protocol="dydx",
        name=venue.name,
        chain=chain,
        reference="dydx",
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
    return int(number(reply, "height", "height")), int(time.timestamp())


def parse_markets(reply: Any) -> dict[str, Market]:
    """The markets of a perpetualMarkets reply, by ticker. Raises ReaderError that names a field."""
    markets = {}
    for ticker, row in record(reply, "markets", "perpetualMarkets").items():
        where = f"perpetualMarkets, {ticker}"
        price = optional_number(row, "oraclePrice", where)
        initial = number(row, "initialMarginFraction", where)
        markets[ticker] = Market(
            coin=ticker,
            symbol=ticker.removesuffix("-USD"),
            price=Fraction(0) if price is None else price,
            # `openInterest` is the indexer's own sum, `baseOpenInterest` the protocol's; both in whole units.
            open_interest=optional_number(row, "baseOpenInterest", where),
            funding_rate=number(row, "nextFundingRate", where) * HOURS_A_YEAR,
            tiers=tiers([(Fraction(0), number(row, "maintenanceMarginFraction", where))]),
            maximum_leverage=1 / initial if initial else None,
        )
    return markets


def parse_subaccount(
    reply: Any, address: str, markets: dict[str, Market], where: str
) -> MarginAccount | tuple[str, str] | None:
    """A subaccount with positions, its name and why it is set aside, or None where it has no position.

    Raises ReaderError that names a field that is missing or no number.
    """
    index = int(number(reply, "subaccountNumber", where))
    name, where = f"{address}/{index}", f"{where}, subaccount {index}"
    shown = record(reply, "openPerpetualPositions", where)
    positions = tuple(_parse_position(ticker, row, markets, f"{where}, {ticker}") for ticker, row in shown.items())
    if not positions:
        return None
    if without := [position.coin for position in positions if markets[position.coin].price <= 0]:
        return name, f"{without[0]} has no oracle price"
    cash = _parse_cash(record(reply, "assetPositions", where), where)
    if isinstance(cash, str):
        return name, cash
    equity = number(reply, "equity", where)
    ours = cash + sum((position.signed_notional for position in positions), Fraction(0))
    if abs(ours - equity) > max(_PRINTED[0], _PRINTED[1] * abs(equity)):
        return name, f"equity is {float(equity)!r}, its cash and positions make it {float(ours)!r}"
    margin = equity - sum((position.unrealized_pnl for position in positions), Fraction(0))
    return MarginAccount(address, name, "isolated" if index >= _PARENTS else "cross", margin, positions)


def _parse_cash(assets: dict[str, Any], where: str) -> Fraction | str:
    """Signed USDC, or why it cannot be told: the protocol counts no other asset so far."""
    if others := [symbol for symbol in assets if symbol != "USDC"]:
        return f"it holds {others[0]}, which this version does not count as margin"
    if "USDC" not in assets:
        return Fraction(0)
    row = assets["USDC"]
    return _signed(row, f"{where}, USDC")


def _parse_position(ticker: str, row: Any, markets: dict[str, Market], where: str) -> Position:
    if ticker not in markets:
        raise ReaderError(f"{where}: this market is not in perpetualMarkets; scan again")
    size, entry = _signed(row, where), number(row, "entryPrice", where)
    if not size:
        raise ReaderError(f"{where}: the field size is 0 of an open position; update this package")
    pnl = number(row, "unrealizedPnl", where)
    return Position(ticker, size, entry + pnl / size, pnl, markets[ticker].tiers, entry)


def _signed(row: Any, where: str) -> Fraction:
    """The size, negative when short; the indexer signs the size of a position, of an asset it tells the side alone."""
    size, side = number(row, "size", where), text(row, "side", where)
    if side not in ("LONG", "SHORT") or (size < 0 and side == "LONG"):
        raise ReaderError(f"{where}: the field side is {side!r} of a size of {float(size)!r}; update this package")
    return abs(size) if side == "LONG" else -abs(size)
