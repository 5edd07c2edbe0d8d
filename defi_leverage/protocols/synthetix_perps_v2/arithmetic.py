"""What a PerpsV2 position is worth and when it is liquidated, in the contracts' integers and rounding.

All figures are 1e-18: of tokens, of sUSD, of one. Source: Synthetix PerpsV2MarketBase and PerpsV2MarketViews (2.102):
_marginPlusProfitFunding, _liquidationFee, _liquidationMargin, _liquidationPremium, _canLiquidate,
_approxLiquidationPrice; SignedSafeDecimalMath cuts towards zero.
"""

from dataclasses import dataclass
from fractions import Fraction

from defi_leverage.fixed_point import WAD

__all__ = ["Position", "State", "Terms", "Tier", "assess", "tier_at_liquidation", "tiers"]


@dataclass(frozen=True, slots=True)
class Terms:
    """A market's parameters of liquidation, and those that all markets share."""

    buffer_ratio: int
    premium_multiplier: int
    skew_scale: int
    fee_ratio: int
    minimum_fee: int
    maximum_fee: int
    keeper_fee: int


@dataclass(frozen=True, slots=True)
class Position:
    """A position as it was last modified: margin, price and index of funding then; `size` is negative when short."""

    margin: int
    last_price: int
    size: int
    funding_index: int


@dataclass(frozen=True, slots=True)
class State:
    """A position at the block's price. Funding is positive where the account receives it; equity may be negative."""

    funding: int
    equity: int
    requirement: int
    can_liquidate: bool
    liquidation_price: int


@dataclass(frozen=True, slots=True)
class Tier:
    """Maintenance margin as it changes with the price: `ratio` of the notional, and `fixed` on top."""

    ratio: int
    fixed: int


def times(left: int, right: int) -> int:
    """left * right of two wads, cut towards zero (multiplyDecimal)."""
    product = left * right
    return product // WAD if product >= 0 else -(-product // WAD)


def over(left: int, right: int) -> int:
    """left / right of two wads, cut towards zero (divideDecimal)."""
    quotient = abs(left) * WAD // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def assess(position: Position, terms: Terms, price: int, funding_per_unit: int) -> State:
    """The position at a price; `funding_per_unit` is sUSD for a token since it was last modified, positive received.

    `requirement` is what equity must exceed: the premium and the margin of liquidation together.
    """
    size = position.size
    funding = times(size, funding_per_unit)
    equity = position.margin + times(size, price - position.last_price) + funding
    if not size:
        return State(funding, equity, 0, can_liquidate=False, liquidation_price=0)
    notional = times(abs(size), price)
    premium = times(times(over(abs(size), terms.skew_scale), notional), terms.premium_multiplier)
    fee = max(min(times(notional, terms.fee_ratio), terms.maximum_fee), terms.minimum_fee)
    margin = times(notional, terms.buffer_ratio) + fee + terms.keeper_fee
    at = position.last_price + over(margin - (position.margin - premium), size) - funding_per_unit
    return State(
        funding=funding,
        equity=equity,
        requirement=premium + margin,
        can_liquidate=max(equity - premium, 0) <= margin,
        liquidation_price=max(at, 0),
    )


def tiers(terms: Terms, size: int) -> tuple[tuple[int, Tier], ...]:
    """(notional from which it applies, tier): the flagger's fee has a minimum, is a share, and has a maximum."""
    base = terms.buffer_ratio + times(over(abs(size), terms.skew_scale), terms.premium_multiplier)
    least = Tier(base, terms.keeper_fee + terms.minimum_fee)
    if terms.maximum_fee <= terms.minimum_fee or not terms.fee_ratio:
        return ((0, least),)
    share, most = Tier(base + terms.fee_ratio, terms.keeper_fee), Tier(base, terms.keeper_fee + terms.maximum_fee)
    return (
        (0, least),
        (over(terms.minimum_fee, terms.fee_ratio), share),
        (over(terms.maximum_fee, terms.fee_ratio), most),
    )


def tier_at_liquidation(position: Position, terms: Terms, funding: int) -> Tier:
    """The tier in force where equity equals the requirement.

    With the tier of that price, and no other, a health factor is below 1 at exactly the prices at which the position
    can be liquidated: equity less requirement changes its sign at one price only.
    """
    found = tiers(terms, position.size)
    size, long = abs(position.size), position.size > 0
    for place, (start, tier) in enumerate(found):
        entry = Fraction(size * position.last_price, WAD)
        if long:
            notional = (entry - position.margin - funding + tier.fixed) / (1 - Fraction(tier.ratio, WAD))
        else:
            notional = (entry + position.margin + funding - tier.fixed) / (1 + Fraction(tier.ratio, WAD))
        end = found[place + 1][0] if place + 1 < len(found) else None
        if (notional >= start or not place) and (end is None or notional < end):
            return tier
    return found[-1][1]
