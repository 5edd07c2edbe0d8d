"""Comet's own arithmetic on integers: indices, balances, values, health.

Source: compound-finance/comet, CometCore.sol, Comet.sol, CometWithExtendedAssetList.sol. Balances are principals times
an index in 1e15, rates are in wad a second, factors in wad; everything is rounded down, towards zero.
"""

from dataclasses import dataclass, replace

from defi_leverage.fixed_point import WAD, mul_div_down

__all__ = ["INDEX_SCALE", "NO_DEBT", "Totals", "accrue", "health_factor", "present_value"]

INDEX_SCALE = 10**15  # BASE_INDEX_SCALE
NO_DEBT = 2**256 - 1


@dataclass(frozen=True, slots=True)
class Totals:
    """Of the base asset: indices in 1e15, principals supplied and borrowed, UTC seconds of the last accrual."""

    supply_index: int
    borrow_index: int
    supply: int
    borrow: int
    last_accrual: int


def present_value(principal: int, totals: Totals) -> int:
    """Raw base tokens that a principal stands for: below zero where they are owed (presentValue)."""
    if principal < 0:
        return -mul_div_down(-principal, totals.borrow_index, INDEX_SCALE)
    return mul_div_down(principal, totals.supply_index, INDEX_SCALE)


def accrue(totals: Totals, supply_rate: int, borrow_rate: int, timestamp: int) -> Totals:
    """The totals with the interest due at `timestamp` (accruedInterestIndices): simple interest since the last accrual.

    The rates are those of the stored totals' utilisation.
    """
    seconds = max(0, timestamp - totals.last_accrual)
    return replace(
        totals,
        supply_index=totals.supply_index + mul_div_down(totals.supply_index, supply_rate * seconds, WAD),
        borrow_index=totals.borrow_index + mul_div_down(totals.borrow_index, borrow_rate * seconds, WAD),
        last_accrual=max(timestamp, totals.last_accrual),
    )


def health_factor(weighted: int, debt: int) -> int:
    """Weighted collateral over debt in wad, rounded down; both as isLiquidatable sums them, in units of its prices.

    The contract answers no health factor, only whether the one is less than the other: exactly then this is below 1. A
    debt that rounds to a value of nothing is none to the contract.
    """
    return mul_div_down(weighted, WAD, debt) if debt else NO_DEBT
