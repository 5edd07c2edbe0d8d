"""What moves the prices of Morpho Blue's markets: the kind of feed of each market's two tokens.

Only the quotient of the two matters to the market, and it is the oracle's to the last digit. Kinds, by what the side of
the oracle is made of (see `oracles`), the same for collateral and loan token:

| this side | the other side | kind |
|---|---|---|
| feeds | any | market: it follows the token's own market |
| feeds and exchange rates | any | ratio, of the token's feed that these feeds alone make; market where there is none |
| exchange rates, or nothing | no feed either | ratio, of the loan token's feed (wstETH/WETH: no depeg shows) |
| exchange rates, or nothing | feeds, in USD | fixed: counted as a dollar, whatever its market says |
| exchange rates, or nothing | feeds, in another unit | market: the token is that unit |

The loan token of a market without any feed follows its own market; so do both tokens of an oracle that is not taken
apart, and the feed's `source` says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Literal

from defi_leverage.protocols.morpho_blue.markets import Market, Token
from defi_leverage.protocols.morpho_blue.oracles import Oracle, Part
from defi_leverage.protocols.morpho_blue.usd_prices import Side, UsdPrice, quotient, sides_of
from defi_leverage.reading import FeedReading

__all__ = ["MarketFeeds", "find_leading_feeds", "make_feeds"]

_FARTHEST = 2  # a dollar price beyond this factor from the one that counts is an oracle's fault, or a trap
_Kind = Literal["market", "ratio", "fixed"]
_Alone = dict[tuple[str, tuple[str, ...]], list[tuple[Fraction, FeedReading]]]  # feeds alone -> tokens they price


@dataclass(frozen=True, slots=True)
class MarketFeeds:
    """The feeds of one market; `others` are feeds that these two refer to. `problem`: why there are none."""

    loan: FeedReading | None = None
    collateral: FeedReading | None = None
    others: tuple[FeedReading, ...] = ()
    is_discount: bool = False
    problem: str = ""


def make_feeds(
    markets: Sequence[Market],
    oracles: Mapping[str, Oracle],
    collateral: Mapping[bytes, int],
    usd: Mapping[str, UsdPrice],
    chain_name: str,
) -> dict[bytes, MarketFeeds]:
    """The feeds of each market, by its id, in USD."""
    alone: _Alone = {}
    found: dict[bytes, MarketFeeds] = {}
    # Those whose base is another market's feed come after that market.
    for mixed in (False, True):
        for market in markets:
            oracle = oracles.get(market.oracle)
            sides = sides_of(market, oracle, collateral.get(market.id, 0))
            if any(_is_mixed(side.parts) for side in sides) != mixed:
                continue
            feeds = _market_feeds(market, oracle, sides, usd, alone, chain_name)
            found[market.id] = feeds
            for side in sides:
                feed = feeds.loan if side.name == "loan" else feeds.collateral
                if oracle and feed and feed.kind == "market" and side.parts and not _is_mixed(side.parts):
                    alone.setdefault(_key(oracle, side.parts), []).append((_debt_usd(market, usd), feed))
    return found


def find_leading_feeds(
    markets: Sequence[Market], feeds: Mapping[bytes, MarketFeeds], usd: Mapping[str, UsdPrice], chain_name: str
) -> dict[str, FeedReading]:
    """By asset, the feed that its USD price comes from, where that follows the asset's market."""
    leading = {}
    by_id = {market.id: market for market in markets}
    for token, price in usd.items():
        own = feeds[price.market]
        feed = own.loan if by_id[price.market].loan.address == token else own.collateral
        if feed is not None and feed.kind == "market":
            leading[f"{chain_name}/erc20:{token}"] = feed
    return leading


def _market_feeds(
    market: Market,
    oracle: Oracle | None,
    sides: tuple[Side, ...],
    usd: Mapping[str, UsdPrice],
    alone: _Alone,
    chain_name: str,
) -> MarketFeeds:
    known = usd.get(market.loan.address)
    if known is None:
        return MarketFeeds(problem=f"no oracle of Morpho leads from {market.loan.symbol} to a price in USD")
    level, source = known.value, known.source
    if oracle and oracle.unit == "USD":
        level = prod((part.value for part in oracle.loan), start=Fraction(1))
        source = _describe(oracle.loan)
        if not known.value / _FARTHEST < level < known.value * _FARTHEST:
            told = f"{market.loan.symbol} at {float(level):.6g} USD, where it is {float(known.value):.6g}"
            return MarketFeeds(problem=f"its oracle has {told}")
    loan_kind, loan_base, note = _kind(sides[0], oracle, alone, chain_name)
    loan = _feed(market, market.loan, level, loan_kind, loan_base, f"{source}{note}", chain_name)
    if len(sides) == 1:
        return MarketFeeds(loan)
    kind, base, note = _kind(sides[1], oracle, alone, chain_name)
    if oracle and not _has_feed(oracle.collateral + oracle.loan):
        kind, base, note = "ratio", loan, ""
    source = _describe(sides[1].parts) if oracle else f"oracle {market.oracle}"
    held = _feed(market, sides[1].token, level * quotient(market), kind, base, f"{source}{note}", chain_name)
    others = {feed.feed_id: feed for feed in (loan_base, base) if feed is not None and feed is not loan}
    is_discount = any(part.is_discount for part in sides[1].parts)
    return MarketFeeds(loan, held, tuple(others.values()), is_discount)


def _kind(side: Side, oracle: Oracle | None, alone: _Alone, chain_name: str) -> tuple[_Kind, FeedReading | None, str]:
    """The kind of feed of one side, its base where it is a ratio, and what there is to say of it."""
    if oracle is None:
        note = "" if side.name == "loan" else ", which is not taken apart: taken to follow the market"
        return "market", None, note
    if _is_mixed(side.parts):
        priced = alone.get(_key(oracle, side.parts))
        base = max(priced, key=lambda item: item[0])[1] if priced else _underlying(side, oracle, chain_name)
        if base is not None:
            return "ratio", base, ""
        return "market", None, ": a rate times a feed that prices no other token here: taken to follow the market"
    if _has_feed(side.parts) or not _has_feed(oracle.collateral + oracle.loan):
        return "market", None, ""
    if oracle.unit == "USD":
        return "fixed", None, ": counted as a dollar"
    return "market", None, f": counted as {oracle.unit or 'the unit of its oracle'}, taken to follow the market"


def _underlying(side: Side, oracle: Oracle, chain_name: str) -> FeedReading | None:
    """The feed of what a vault's shares are a claim on, where the other factors are its price in USD."""
    vaults = [part for part in side.parts if part.is_rate]
    if len(vaults) != 1 or not vaults[0].underlying or oracle.unit != "USD":
        return None
    fed = [part for part in side.parts if not part.is_rate]
    price = prod((part.value for part in fed), start=Fraction(1))
    asset_id = f"{chain_name}/erc20:{vaults[0].underlying}"
    feed_id = f"{asset_id}@morpho_blue:{'*'.join(part.contract for part in fed)}"
    return FeedReading(feed_id, asset_id, price.numerator, price.denominator, "market", source=_describe(tuple(fed)))


def _debt_usd(market: Market, usd: Mapping[str, UsdPrice]) -> Fraction:
    """How much relies on the market's oracle: tokens that anybody can make in any number count for nothing."""
    known = usd.get(market.loan.address)
    return known.value * market.totals.borrow / 10**market.loan.decimals if known else Fraction(0)


def _feed(
    market: Market,
    token: Token,
    price: Fraction,
    kind: _Kind,
    base: FeedReading | None,
    source: str,
    chain_name: str,
) -> FeedReading:
    asset_id = f"{chain_name}/erc20:{token.address}"
    ratio = price / Fraction(base.price_raw, base.price_scale) if base else Fraction(1)
    return FeedReading(
        feed_id=f"{asset_id}@{market.key}",
        asset_id=asset_id,
        price_raw=price.numerator,
        price_scale=price.denominator,
        kind=kind,
        base_feed_id=base.feed_id if base else "",
        ratio_raw=ratio.numerator,
        ratio_scale=ratio.denominator,
        source=source,
    )


def _has_feed(parts: Sequence[Part]) -> bool:
    return any(not part.is_rate for part in parts)


def _is_mixed(parts: Sequence[Part]) -> bool:
    return _has_feed(parts) and any(part.is_rate for part in parts)


def _key(oracle: Oracle, parts: Sequence[Part]) -> tuple[str, tuple[str, ...]]:
    """What a side's feeds are, without its rates, and the unit they are in."""
    return oracle.unit, tuple(part.contract for part in parts if not part.is_rate)


def _describe(parts: Sequence[Part]) -> str:
    return " * ".join(part.description or part.contract for part in parts) or "no feed"
