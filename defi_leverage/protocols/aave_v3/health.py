"""Aave v3's own arithmetic of an account: legs, totals and health factor, to the last wei.

Source: GenericLogic.calculateUserAccountData of each release (aave/aave-v3-core 1.19.3 for 3.0, aave-dao/aave-v3-origin
from 3.1 on), followed line by line; the contracts themselves were run for 3.0, 3.2 and 3.6.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from defi_leverage.fixed_point import (
    BPS,
    WAD,
    mul_div_down,
    mul_div_up,
    percent_mul,
    ray_mul,
    ray_mul_ceil,
    ray_mul_floor,
    wad_div,
)
from defi_leverage.protocols.aave_v3.reserves import Category, Reserve
from defi_leverage.reading import AccountReading, LegReading

__all__ = ["ARITHMETICS", "NO_DEBT", "Arithmetic", "Holder", "Market", "assess", "expected_arithmetic", "mismatch"]

NO_DEBT = 2**256 - 1
BPS_WAD = WAD // BPS


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How one release rounds, and what counts as collateral."""

    release: str
    collateral_amount: Callable[[int, int], int]
    debt_amount: Callable[[int, int], int]
    debt_value: Callable[[int, int, int], int]
    averages_threshold: bool  # HF uses the average threshold, cut to whole basis points
    needs_threshold: bool  # an asset without a threshold of its own is no collateral, whatever the account enabled
    scaled: bool = True  # balances are scaled ones, which the amounts' functions multiply with an index

    @property
    def health_rule(self) -> str:
        """The rule's name in the snapshot's schema."""
        return "average_threshold_bps" if self.averages_threshold else "linear"


ARITHMETICS = (
    Arithmetic("3.0 to 3.3", ray_mul, ray_mul, mul_div_down, averages_threshold=True, needs_threshold=True),
    Arithmetic("3.4", ray_mul, ray_mul, mul_div_down, averages_threshold=False, needs_threshold=True),
    Arithmetic("3.5", ray_mul_floor, ray_mul_ceil, mul_div_up, averages_threshold=False, needs_threshold=True),
    Arithmetic("3.6", ray_mul_floor, ray_mul_ceil, mul_div_up, averages_threshold=False, needs_threshold=False),
)
_FIRST_REVISION = (0, 8, 9, 10)


def expected_arithmetic(revision: int) -> Arithmetic:
    """The arithmetic of an unmodified release with this POOL_REVISION."""
    return next(a for a, first in zip(ARITHMETICS[::-1], _FIRST_REVISION[::-1], strict=True) if revision >= first)


@dataclass(slots=True)
class Holder:
    """An account with a position: what the pool and the tokens say about it, undecoded.

    `configuration` has two bits a reserve: borrowing, and above it, used as collateral (UserConfiguration.sol).
    """

    address: str
    configuration: int
    supplies: dict[int, int] = field(default_factory=dict)  # reserve index -> aToken balance, scaled or not
    debts: dict[int, int] = field(default_factory=dict)  # reserve index -> variable debt balance, scaled or not
    stable_debts: dict[int, int] = field(default_factory=dict)
    category: int = 0
    reported: tuple[int, int, int] | None = None  # collateral, debt, health factor of getUserAccountData
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Market:
    """What every account of the market is valued with; `feed_ids` by reserve index."""

    reserves: Mapping[int, Reserve]
    categories: Mapping[int, Category]
    asset_ids: Mapping[int, str]
    feed_ids: Mapping[int, str]

    def category_feed_id(self, reserve: Reserve, category: Category) -> str:
        """The feed of a reserve priced by its e-mode category's own source (3.0 and 3.1)."""
        return f"{self.asset_ids[reserve.index]}@emode:{category.price_source}"


def assess(holder: Holder, market: Market, arithmetic: Arithmetic) -> AccountReading:
    """An account's legs, totals in the oracle's unit, and health factor as the protocol computes it.

    Positions in a reserve that cannot be valued have no leg. A supply that is not used as collateral has weight 0, and
    so have one worth less than a unit of the oracle's, which keeps no debt from being written off (3.3 and later), and
    a debt that the account's configuration does not know. Legs carry each asset's own threshold: where the release
    averages thresholds in whole basis points, a health factor computed from the legs is up to one basis point of the
    average threshold above `health_factor_raw`, which alone decides what can be liquidated.
    """
    category = market.categories.get(holder.category)
    collateral = debt = weighted = 0
    legs: list[LegReading] = []
    for index in sorted({*holder.supplies, *holder.debts, *holder.stable_debts}):
        reserve = market.reserves[index]
        if reserve.problem:
            continue
        member = category if category is not None and category.members >> index & 1 else None
        price, feed_id, unit = reserve.price, market.feed_ids[index], 10**reserve.decimals
        # Up to 3.1 a category's price applies by the asset's category, which is what `members` holds there.
        if member is not None and member.price:
            price, feed_id = member.price, market.category_feed_id(reserve, member)
        if scaled := holder.supplies.get(index, 0):
            amount = arithmetic.collateral_amount(scaled, reserve.income)
            limit = member.threshold_bps if member is not None else reserve.threshold_bps
            counts = holder.configuration >> 2 * index + 1 & 1
            if arithmetic.needs_threshold and not reserve.threshold_bps:
                counts = 0
            value = amount * price // unit if counts else 0
            collateral += value
            weighted += value * limit
            bonus = member.bonus_bps if member is not None else reserve.bonus_bps
            legs.append(
                LegReading(
                    side="collateral",
                    asset_id=market.asset_ids[index],
                    feed_id=feed_id,
                    amount_raw=amount,
                    weight_wad=limit * BPS_WAD if value else 0,
                    liquidation_bonus_wad=max(0, bonus - BPS) * BPS_WAD,
                    protocol_fee_wad=reserve.protocol_fee_bps * BPS_WAD,
                )
            )
        variable = holder.debts.get(index, 0)
        if not reserve.discounted:
            variable = arithmetic.debt_amount(variable, reserve.debt_index)
        owed = variable + holder.stable_debts.get(index, 0)
        if owed:
            counts = holder.configuration >> 2 * index & 1
            if counts:
                debt += arithmetic.debt_value(owed, price, unit)
            legs.append(LegReading("debt", market.asset_ids[index], feed_id, owed, WAD if counts else 0))
    return AccountReading(
        address=holder.address,
        mode=_mode(holder, market),
        health_factor_raw=_health_factor(collateral, weighted, debt, arithmetic),
        collateral_base_raw=collateral,
        debt_base_raw=debt,
        legs=tuple(legs),
    )


def _health_factor(collateral: int, weighted: int, debt: int, arithmetic: Arithmetic) -> int:
    if not debt:
        return NO_DEBT
    if arithmetic.averages_threshold:
        average_bps = weighted // collateral if collateral else 0
        return wad_div(percent_mul(collateral, average_bps), debt)
    return wad_div(weighted, debt) // BPS


def _mode(holder: Holder, market: Market) -> str:
    if holder.category:
        return f"emode:{holder.category}"
    collateral = [index for index in market.reserves if holder.configuration >> 2 * index + 1 & 1]
    isolated = len(collateral) == 1 and market.reserves[collateral[0]].debt_ceiling
    return "isolated" if isolated else "cross"


def mismatch(holder: Holder, account: AccountReading) -> str:
    """Where our figures differ from getUserAccountData; "" where they do not."""
    if holder.reported is None:
        return "getUserAccountData reverts"
    ours = (account.collateral_base_raw, account.debt_base_raw, account.health_factor_raw)
    names = ("collateral", "debt", "health factor")
    differences = [
        f"{name} {mine} is not {theirs}"
        for name, mine, theirs in zip(names, ours, holder.reported, strict=True)
        if mine != theirs
    ]
    return f"not reproduced: {', '.join(differences)} of getUserAccountData" if differences else ""
