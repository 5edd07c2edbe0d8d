"""A subaccount of dYdX as the indexer shows it: its cash, its positions, and whether they bear its equity out."""

from fractions import Fraction
from typing import Any

from defi_leverage.errors import ReaderError
from defi_leverage.venues_http._fields import agrees, number, record, text
from defi_leverage.venues_http._margin import Position
from defi_leverage.venues_http._readings import MarginAccount, Market

__all__ = ["parse_subaccount"]

_PARENTS = 128


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
    if not agrees(ours, equity):
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
