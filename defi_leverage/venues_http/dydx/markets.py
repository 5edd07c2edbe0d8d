"""The markets of dYdX: prices, margin, open interest, funding, and how each is run.

Source of the initial margin: dydxprotocol/v4-chain, protocol/x/perpetuals/types/liquidity_tier.go.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from defi_leverage.errors import ReaderError
from defi_leverage.venues_http._fields import number, optional_number, record, text
from defi_leverage.venues_http._margin import tiers
from defi_leverage.venues_http._readings import HOURS_A_YEAR, Market

__all__ = ["Listed", "initial_margin_fraction", "parse_markets"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A market; ACTIVE or another status; whether it has a collateral pool of its own."""

    market: Market
    status: str
    isolated: bool


def parse_markets(reply: Any) -> dict[str, Listed]:
    """The markets of a perpetualMarkets reply, by ticker. Raises ReaderError that names a field."""
    rows = record(reply, "markets", "perpetualMarkets")
    return {ticker: _parse_market(ticker, row, f"perpetualMarkets, {ticker}") for ticker, row in rows.items()}


def _parse_market(ticker: str, row: Any, where: str) -> Listed:
    price = optional_number(row, "oraclePrice", where)
    # `openInterest` is the indexer's own sum, `baseOpenInterest` the protocol's; both of one side, in whole units.
    interest = optional_number(row, "baseOpenInterest", where, least=0)
    kind = text(row, "marketType", where)
    if kind not in ("CROSS", "ISOLATED"):
        raise ReaderError(f"{where}: the field marketType is {kind!r}, not CROSS or ISOLATED; update this package")
    base = number(row, "initialMarginFraction", where, least=0, most=1)
    names = ("openInterestLowerCap", "openInterestUpperCap")  # optional in the interface
    lower, upper = (optional_number(row, name, where) if name in row else None for name in names)
    open_notional = None if interest is None or price is None else interest * price
    initial = initial_margin_fraction(base, open_notional, lower, upper)
    base_asset = ticker.removesuffix("-USD")
    market = Market(
        coin=ticker,
        symbol=base_asset.split(",")[0],  # a token priced by one pool is SYMBOL,EXCHANGE,ADDRESS
        index=base_asset,
        price=Fraction(0) if price is None else price,
        open_interest=interest,
        funding_rate=number(row, "nextFundingRate", where) * HOURS_A_YEAR,
        tiers=tiers([(Fraction(0), number(row, "maintenanceMarginFraction", where, least=0, most=1))]),
        maximum_leverage=1 / initial if initial else None,
    )
    return Listed(market, text(row, "status", where), kind == "ISOLATED")


def initial_margin_fraction(
    base: Fraction, open_notional: Fraction | None, lower_cap: Fraction | None, upper_cap: Fraction | None
) -> Fraction | None:
    """What a new position needs, of its notional: `base` up to the lower cap of open interest, 1 from the upper cap on,
    and in between on a straight line. In USD; an upper cap of 0 is no cap. None where what decides is not known.
    """
    if upper_cap == 0:
        return base
    if open_notional is None or lower_cap is None or upper_cap is None:
        return None
    if open_notional >= upper_cap:
        return Fraction(1)
    scaled = max(open_notional - lower_cap, Fraction(0)) / (upper_cap - lower_cap) if upper_cap > lower_cap else 0
    return min(base + scaled * (1 - base), Fraction(1))
