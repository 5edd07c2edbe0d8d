"""USD prices of the tokens of Morpho Blue's markets. The protocol itself knows none: each oracle is a mere quotient.

Markets are open to anybody, and so are their oracles. Where several price a token, the one counts that the most of that
very token relies on: what is lent through it, or lies under it as collateral.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Literal

from defi_leverage.protocols.morpho_blue.arithmetic import PRICE_SCALE
from defi_leverage.protocols.morpho_blue.markets import Market, Token
from defi_leverage.protocols.morpho_blue.oracles import Oracle, Part

__all__ = ["Side", "UsdPrice", "price_tokens", "quotient", "sides_of"]

_DOLLAR = "USD"
_Candidates = dict[str, dict[str, tuple[int, "UsdPrice"]]]


@dataclass(frozen=True, slots=True)
class UsdPrice:
    """USD for a whole token, and where that comes from. `market` is the id of the market whose oracle says so."""

    value: Fraction
    source: str
    market: bytes


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a market's oracle: the token, what its price is made of, and how much of it relies on that (raw)."""

    name: Literal["collateral", "loan"]
    token: Token
    parts: tuple[Part, ...]
    relying: int


def sides_of(market: Market, oracle: Oracle | None, collateral_raw: int) -> tuple[Side, ...]:
    """The loan side of a market and, where it has one, its collateral side."""
    loan = Side("loan", market.loan, oracle.loan if oracle else (), market.totals.borrow)
    if market.collateral is None:
        return (loan,)
    return loan, Side("collateral", market.collateral, oracle.collateral if oracle else (), collateral_raw)


def quotient(market: Market) -> Fraction:
    """Whole loan tokens for a whole collateral token, as the market's oracle answers."""
    assert market.price is not None
    assert market.collateral is not None
    return Fraction(market.price * 10**market.collateral.decimals, PRICE_SCALE * 10**market.loan.decimals)


def price_tokens(
    markets: Sequence[Market], oracles: Mapping[str, Oracle], collateral: Mapping[bytes, int]
) -> dict[str, UsdPrice]:
    """USD price by token address, in this order; a token that none of these reaches is left out.

    1. A feed in USD on the token's side of an oracle (times exchange rates).
    2. An oracle's quotient times, or under, the price of the market's other token, nearest first.
    3. An oracle that counts the token as a dollar, without any feed.
    `collateral` is the sum of collateral by market id, raw.
    """
    fed: _Candidates = {}
    counted: _Candidates = {}
    for market in markets:
        oracle = oracles.get(market.oracle)
        if oracle is None or oracle.unit != _DOLLAR:
            continue
        for side in sides_of(market, oracle, collateral.get(market.id, 0)):
            value = prod((part.value for part in side.parts), start=Fraction(1))
            has_feed = any(not part.is_rate for part in side.parts)
            shown = " * ".join(part.description or part.contract for part in side.parts) or "counted as a dollar"
            _add(fed if has_feed else counted, side, UsdPrice(value, shown, market.id))
    prices = _settle(fed, ())
    _spread(markets, collateral, prices)
    for token, price in _settle(counted, prices).items():
        prices[token] = price
    _spread(markets, collateral, prices)
    return prices


def _add(candidates: _Candidates, side: Side, price: UsdPrice) -> None:
    """One more that relies on this price."""
    by_source = candidates.setdefault(side.token.address, {})
    relying, first = by_source.get(price.source, (0, price))
    by_source[price.source] = (relying + side.relying, first)


def _settle(candidates: _Candidates, known: Collection[str]) -> dict[str, UsdPrice]:
    """For each token the price that the most of it relies on, ties by source."""
    return {
        token: max(sorted(by_source.items()), key=lambda item: item[1][0])[1][1]
        for token, by_source in candidates.items()
        if token not in known
    }


def _spread(markets: Sequence[Market], collateral: Mapping[bytes, int], prices: dict[str, UsdPrice]) -> None:
    """Price the tokens next to those that have a price, by the oracles between them, until none is left."""
    while True:
        candidates: _Candidates = {}
        for market in markets:
            if market.collateral is None or not market.price:
                continue
            loan, held = sides_of(market, None, collateral.get(market.id, 0))
            for side, other, rate in ((loan, held, 1 / quotient(market)), (held, loan, quotient(market))):
                if side.token.address not in prices and (price := prices.get(other.token.address)):
                    source = f"oracle {market.oracle} and {other.token.symbol} at {price.source}"
                    _add(candidates, side, UsdPrice(price.value * rate, source, market.id))
        if not candidates:
            return
        prices.update(_settle(candidates, prices))
