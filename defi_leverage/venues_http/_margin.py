"""Maintenance margin of perp positions, in tiers, and the price at which it is the account's value. Exact fractions.

Sources: Hyperliquid documentation, Margin tiers (maintenance_margin = notional * rate - deduction, continuous in the
notional) and Liquidations (liq_price = price - side * margin_available / position_size / (1 - l * side), with the
tier of the position's value at the liquidation price); dYdX documentation, Liquidations
(p' = (e - s p) / (|s| MMF - s)). The two are the same line; a single tier makes it so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Position", "Tier", "account_value", "liquidation_price", "maintenance_margin", "maintenance_ratio", "tiers"]


@dataclass(frozen=True, slots=True)
class Tier:
    """From a notional in USD on: maintenance margin is `ratio` of it less `deduction` USD."""

    lower_bound: Fraction
    ratio: Fraction
    deduction: Fraction


@dataclass(frozen=True, slots=True)
class Position:
    """One position: signed size in whole units, mark price and signed profit in USD, and its tiers."""

    coin: str
    size: Fraction
    mark: Fraction
    unrealized_pnl: Fraction
    tiers: tuple[Tier, ...]
    entry_price: Fraction
    reported_liquidation_price: Fraction | None = None

    @property
    def signed_notional(self) -> Fraction:
        """Size times mark price: negative when short."""
        return self.size * self.mark

    @property
    def entry_notional(self) -> Fraction:
        """What the size was bought, or sold, for; never negative."""
        return abs(self.signed_notional - self.unrealized_pnl)


def tiers(bounds_and_ratios: Sequence[tuple[Fraction, Fraction]]) -> tuple[Tier, ...]:
    """Tiers from the notional from which each ratio applies; the deductions make the margin continuous.

    deduction(0) = 0; deduction(n) = deduction(n - 1) + lower_bound(n) * (ratio(n) - ratio(n - 1)).
    """
    found: list[Tier] = []
    for bound, ratio in sorted(bounds_and_ratios):
        last = found[-1] if found else Tier(Fraction(0), ratio, Fraction(0))
        found.append(Tier(bound, ratio, last.deduction + bound * (ratio - last.ratio)))
    return tuple(found)


def maintenance_margin(of: Sequence[Tier], notional: Fraction) -> Fraction:
    """USD of maintenance margin at a notional of at least 0."""
    tier = [tier for tier in of if tier.lower_bound <= notional][-1]
    return notional * tier.ratio - tier.deduction


def maintenance_ratio(of: Sequence[Tier], notional: Fraction) -> Fraction:
    """Maintenance margin over notional: the ratio of the first tier, and between the tiers' above it."""
    return maintenance_margin(of, notional) / notional if notional > 0 else of[0].ratio


def account_value(margin: Fraction, positions: Sequence[Position]) -> Fraction:
    """Margin plus the profit of all positions."""
    return margin + sum((position.unrealized_pnl for position in positions), Fraction(0))


def liquidation_price(value: Fraction, positions: Sequence[Position], position: Position) -> Fraction | None:
    """The price of one position's coin at which the account's value is its maintenance margin, all else unchanged.

    `value`: the account's value now; `positions`: all that share it. None where no positive price does that.
    """
    others = sum(
        (maintenance_margin(p.tiers, abs(p.signed_notional)) for p in positions if p is not position), Fraction(0)
    )
    cash = value - position.signed_notional - others  # what the account is worth with the coin at zero
    size = position.size
    found = []
    for index, tier in enumerate(position.tiers):
        slope = tier.ratio * abs(size) - size
        if slope == 0:
            continue
        price = (cash + tier.deduction) / slope
        notional = abs(size) * price
        above = position.tiers[index + 1].lower_bound if index + 1 < len(position.tiers) else None
        if price > 0 and tier.lower_bound <= notional and (above is None or notional < above):
            found.append(price)
    return min(found, key=lambda price: abs(price - position.mark), default=None)
