"""What an account of Synthetix v3 perps must keep and what its margin counts for, in the contracts' integers.

All figures are 1e-18, cut towards zero as DecimalMath does. Sources: Synthetixio/synthetix-v3 markets/perps-market
storage/PerpsMarketConfiguration.sol (calculateRequiredMargins), PerpsCollateralConfiguration.sol (valueInUsd),
PerpsAccount.sol (getAvailableMargin, getAccountRequiredMargins, isEligibleForLiquidation).
"""

from dataclasses import dataclass

from defi_leverage.fixed_point import WAD

__all__ = ["Discount", "MarginTerms", "liquidation_price", "maintenance_ratio", "margin_discount"]


@dataclass(frozen=True, slots=True)
class MarginTerms:
    """A market's terms of margin: ratios of the notional, and USD on top of each position."""

    skew_scale: int
    initial_ratio: int
    least_initial_ratio: int
    maintenance_scalar: int
    position_margin: int


@dataclass(frozen=True, slots=True)
class Discount:
    """What is taken off a synth's value as margin: it grows with the amount, between two bounds."""

    skew_scale: int
    scalar: int
    least: int
    most: int


def maintenance_ratio(terms: MarginTerms, size: int) -> int:
    """Maintenance margin over notional of a position of this size, either sign; it grows with the size."""
    impact = abs(size) * WAD // terms.skew_scale if terms.skew_scale else 0
    initial = impact * terms.initial_ratio // WAD + terms.least_initial_ratio
    return initial * terms.maintenance_scalar // WAD


def margin_discount(discount: Discount, amount: int) -> int:
    """The fraction by which an amount of the synth counts for less; the contract calls the least its upper limit."""
    if not discount.skew_scale:
        return 0
    impact = amount * WAD // discount.skew_scale * discount.scalar // WAD
    return max(min(impact, discount.most), discount.least)


def liquidation_price(size: int, ratio: int, price: int, spare: int) -> int | None:
    """The price of one market at which nothing is to spare, all else unchanged; None where no price does it.

    `ratio`: of the notional, what must be kept and what is owed as interest, both of which move with the price.
    `spare`: USD that the account has beyond what it must keep, now.
    """
    slope = size * WAD - abs(size) * ratio  # of what is to spare, per unit of price, times 1e36
    at = price - spare * WAD * WAD // slope
    return at if at > 0 else None
