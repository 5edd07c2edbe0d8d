"""Aave v4's own arithmetic of an account, to the last wei.

Source: Spoke._processUserAccountData, UserPositionUtils and SpokeUtils.toValue of aave/aave-v4 in the release that
Aave's address book 4.68.1 names (debt in ray, totalDebtValueRay).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from defi_leverage.fixed_point import BPS, RAY, WAD, mul_div_down, mul_div_up
from defi_leverage.protocols.aave_v4.accounts import Holder, Position
from defi_leverage.protocols.aave_v4.spoke import Reserve

__all__ = ["NO_DEBT", "Totals", "assess", "debt_ray", "debt_to_repay", "mismatch"]

NO_DEBT = 2**256 - 1
_BPS_WAD = WAD // BPS


@dataclass(frozen=True, slots=True)
class Totals:
    """Collateral that counts (1e26 is a dollar), debt (1e53 is a dollar) and the health factor in wad."""

    collateral: int
    debt_ray: int
    health_factor: int


def debt_ray(position: Position, reserve: Reserve) -> int:
    """What a position owes in raw units times 1e27: drawn debt and premium (UserPositionUtils.getDebtComponents)."""
    return position.drawn_shares * reserve.drawn_index + _premium_ray(position, reserve)


def debt_to_repay(position: Position, reserve: Reserve) -> int:
    """Raw units that repay a position: both parts rounded up (getUserTotalDebt)."""
    drawn = mul_div_up(position.drawn_shares, reserve.drawn_index, RAY)
    return drawn + mul_div_up(_premium_ray(position, reserve), 1, RAY)


def assess(holder: Holder, reserves: Mapping[int, Reserve]) -> Totals:
    """The account's totals; collateral counts by the factor of the account's own configuration."""
    collateral = weighted = owed = 0
    for index, position in holder.positions.items():
        reserve = reserves[index]
        if position.is_collateral and position.factor:
            worth = position.supplied * reserve.scale
            collateral += worth
            weighted += worth * position.factor
        if position.drawn_shares:
            owed += debt_ray(position, reserve) * reserve.scale
    health = mul_div_down(weighted * _BPS_WAD, RAY, owed) if owed else NO_DEBT
    return Totals(collateral, owed, health)


def mismatch(holder: Holder, totals: Totals) -> str:
    """Why the spoke's own view is not what we compute; "" where it is."""
    if holder.reported is None:
        return "the spoke does not answer getUserAccountData"
    ours = (totals.collateral, totals.debt_ray, totals.health_factor)
    if ours == holder.reported:
        return ""
    pairs = zip(("collateral", "debt", "health factor"), ours, holder.reported, strict=True)
    return "not reproduced: " + ", ".join(f"{name} {a}, spoke {b}" for name, a, b in pairs if a != b)


def _premium_ray(position: Position, reserve: Reserve) -> int:
    return position.premium_shares * reserve.drawn_index - position.premium_offset
