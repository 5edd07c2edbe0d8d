"""Morpho Blue's own arithmetic on integers: shares, interest due, health, incentive.

Sources: morpho-org/morpho-blue 1.0.0, SharesMathLib, MathLib, ConstantsLib, Morpho._accrueInterest, Morpho._isHealthy
and Morpho.liquidate. Amounts in a token's raw units, rates in wad a second, `_down` and `_up` are the rounding.
"""

from dataclasses import dataclass, replace

from defi_leverage.fixed_point import WAD, mul_div_down, mul_div_up, yearly_ray

__all__ = [
    "NO_DEBT",
    "PRICE_SCALE",
    "Totals",
    "accrue",
    "assets_down",
    "assets_up",
    "compound",
    "health_factor",
    "incentive",
    "max_debt",
    "yearly_rates",
]

NO_DEBT = 2**256 - 1
PRICE_SCALE = 10**36  # ORACLE_PRICE_SCALE
_VIRTUAL_SHARES, _VIRTUAL_ASSETS = 10**6, 1
_CURSOR, _LARGEST_INCENTIVE = 3 * WAD // 10, 115 * WAD // 100


@dataclass(frozen=True, slots=True)
class Totals:
    """A market's state: raw amounts of the loan token, shares, UTC seconds, and the fee on interest in wad."""

    supply: int
    supply_shares: int
    borrow: int
    borrow_shares: int
    last_update: int
    fee: int


def assets_down(shares: int, total: int, total_shares: int) -> int:
    """What supply shares are worth (SharesMathLib.toAssetsDown)."""
    return mul_div_down(shares, total + _VIRTUAL_ASSETS, total_shares + _VIRTUAL_SHARES)


def assets_up(shares: int, total: int, total_shares: int) -> int:
    """What borrow shares owe (SharesMathLib.toAssetsUp); it may exceed the market's total by one."""
    return mul_div_up(shares, total + _VIRTUAL_ASSETS, total_shares + _VIRTUAL_SHARES)


def compound(rate: int, seconds: int) -> int:
    """e^(rate * seconds) - 1 in wad, by its first three terms (MathLib.wTaylorCompounded)."""
    first = rate * seconds
    second = mul_div_down(first, first, 2 * WAD)
    return first + second + mul_div_down(second, first, 3 * WAD)


def accrue(totals: Totals, rate: int, timestamp: int) -> tuple[Totals, int]:
    """The state with the interest due at `timestamp`, and the supply shares that the fee recipient gets for it."""
    seconds = timestamp - totals.last_update
    if seconds <= 0:
        return totals, 0
    interest = mul_div_down(totals.borrow, compound(rate, seconds), WAD)
    supply = totals.supply + interest
    fee = mul_div_down(interest, totals.fee, WAD)
    fee_shares = mul_div_down(fee, totals.supply_shares + _VIRTUAL_SHARES, supply - fee + _VIRTUAL_ASSETS)
    accrued = replace(
        totals,
        supply=supply,
        supply_shares=totals.supply_shares + fee_shares,
        borrow=totals.borrow + interest,
        last_update=timestamp,
    )
    return accrued, fee_shares


def yearly_rates(totals: Totals, rate: int) -> tuple[int, int]:
    """What suppliers earn and borrowers pay a year, compounded without pause, in ray.

    `rate`: of borrowing, in wad a second; of AdaptiveCurveIrm it is the mean since the market's last update, which is
    what a transaction of the block would charge. Suppliers share it, less the fee, over all that is supplied (blue-sdk,
    MarketUtils.getSupplyRate).
    """
    borrow = yearly_ray(rate)
    earned = mul_div_down(borrow, totals.borrow, totals.supply) if totals.supply else 0
    return mul_div_down(earned, WAD - totals.fee, WAD), borrow


def max_debt(collateral: int, price: int, lltv: int) -> int:
    """The most that a position may owe (Morpho._isHealthy): below it the position may be liquidated."""
    return mul_div_down(mul_div_down(collateral, price, PRICE_SCALE), lltv, WAD)


def health_factor(collateral: int, debt: int, price: int, lltv: int) -> int:
    """`max_debt` over debt in wad, rounded down: below 1 exactly where Morpho calls the position unhealthy.

    The contract answers no health factor, only that comparison; the quotient is that of Morpho's own SDK (blue-sdk,
    MarketUtils.getHealthFactor).
    """
    return mul_div_down(max_debt(collateral, price, lltv), WAD, debt) if debt else NO_DEBT


def incentive(lltv: int) -> int:
    """Collateral seized beyond what it repays, in wad: min(1.15, 1 / (1 - 0.3 * (1 - LLTV))) - 1 (Morpho.liquidate)."""
    factor = mul_div_down(WAD, WAD, WAD - mul_div_down(_CURSOR, WAD - lltv, WAD))
    return min(_LARGEST_INCENTIVE, factor) - WAD
