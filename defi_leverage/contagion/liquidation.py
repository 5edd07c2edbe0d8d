"""Liquidation rules of lending markets, where one debt is repaid out of one collateral; and all rules by name.

Such a rule sees, for each account that is below 1, the debt leg and the collateral leg that the round picked (the
largest by value) and answers the terms: the USD of debt to repay, the bonus, and the share of what is seized that the
protocol keeps. What is seized follows for all of them from `seize`. Rules that close whole accounts are in
`absorb_rules` and `perp_rules`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defi_leverage.contagion.absorb_rules import comet, crvusd, liquity_v1, liquity_v2, maker
from defi_leverage.contagion.perp_rules import perp_full, perp_partial

__all__ = [
    "ABSORB_RULES",
    "LIQUIDATION_RULES",
    "PAIR_RULES",
    "Liquidatable",
    "LiquidationRule",
    "Terms",
    "aave_v2",
    "aave_v3",
    "aave_v3_3",
    "compound_v2",
    "euler_v2",
    "full",
    "morpho_blue",
    "seize",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Liquidatable:
    """Accounts below 1, one element each. Values are USD at the feed prices of the round.

    `debt`, `collateral`: the legs that were picked; `bonus`, `weight`, `fee` of that collateral leg: fractions.
    """

    health_factor: Array
    total_debt: Array
    debt: Array
    collateral: Array
    bonus: Array
    weight: Array
    fee: Array


class Terms(NamedTuple):
    """On what terms accounts are liquidated, one element each: USD of debt to repay, bonus, and the share of what is
    seized that the protocol keeps.
    """

    repaid: Array
    bonus: Array
    kept: Array


def _fee_on_bonus(accounts: Liquidatable, repaid: Array) -> Terms:
    """The leg's bonus, of which the protocol keeps the leg's fee (Aave v3 liquidationProtocolFee)."""
    return Terms(repaid, accounts.bonus, accounts.fee * (accounts.bonus / (1 + accounts.bonus)))


def full(accounts: Liquidatable) -> Terms:
    """The whole debt leg at once."""
    return _fee_on_bonus(accounts, accounts.debt)


def aave_v2(accounts: Liquidatable, close_factor: float = 0.5) -> Terms:
    """Half of the reserve's debt, however deep the account is.

    Source: Aave v2 LendingPoolCollateralManager, LIQUIDATION_CLOSE_FACTOR_PERCENT = 5000. There is no protocol fee in
    v2; a leg that names one is taken at its word.
    """
    return _fee_on_bonus(accounts, accounts.debt * close_factor)


def aave_v3(accounts: Liquidatable, close_factor: float = 0.5, full_close_health_factor: float = 0.95) -> Terms:
    """Half of the reserve's debt, all of it at HF <= 0.95.

    Source: Aave v3.0-3.2 LiquidationLogic, DEFAULT_LIQUIDATION_CLOSE_FACTOR and CLOSE_FACTOR_HF_THRESHOLD.
    """
    share = np.where(accounts.health_factor > full_close_health_factor, close_factor, 1.0)
    return _fee_on_bonus(accounts, accounts.debt * share)


def aave_v3_3(
    accounts: Liquidatable,
    close_factor: float = 0.5,
    full_close_health_factor: float = 0.95,
    full_close_below_usd: float = 2000.0,
    minimum_leftover_usd: float = 1000.0,
) -> Terms:
    """Half of the total debt; all of the leg at HF <= 0.95 or where its debt or collateral is under 2,000 USD.

    A liquidation that leaves some of both the debt and the collateral of the pair must leave at least 1,000 USD of each
    or it reverts, so the repayment is lowered until it does. Source: Aave v3.3 LiquidationLogic,
    MIN_BASE_MAX_CLOSE_FACTOR_THRESHOLD and MIN_LEFTOVER_BASE.
    """
    small = (accounts.debt < full_close_below_usd) | (accounts.collateral < full_close_below_usd)
    whole = small | (accounts.health_factor <= full_close_health_factor)
    repaid = np.where(whole, accounts.debt, np.minimum(accounts.debt, close_factor * accounts.total_debt))
    affordable = accounts.collateral / (1 + accounts.bonus)
    partial = (repaid < accounts.debt) & (repaid < affordable)
    leaving = np.minimum(accounts.debt - minimum_leftover_usd, affordable - minimum_leftover_usd / (1 + accounts.bonus))
    return _fee_on_bonus(accounts, np.where(partial, np.minimum(repaid, np.maximum(leaving, 0.0)), repaid))


def compound_v2(
    accounts: Liquidatable,
    close_factor: float = 0.5,
    liquidation_incentive: float = 0.08,
    protocol_share: float = 0.028,
) -> Terms:
    """A close factor of the borrow; of all that is seized (not only of the incentive) 2.8 % goes to the reserves.

    The incentive is the leg's bonus, or `liquidation_incentive` where the leg gives none. Source: Compound v2
    Comptroller.liquidateBorrowAllowed (closeFactorMantissa, 0.5e18 on mainnet), liquidateCalculateSeizeTokens
    (liquidationIncentiveMantissa, 1.08e18) and CToken.seizeInternal (protocolSeizeShareMantissa = 2.8e16).
    """
    bonus = np.where(accounts.bonus > 0, accounts.bonus, liquidation_incentive)
    return Terms(accounts.debt * close_factor, bonus, np.full_like(bonus, protocol_share))


def morpho_blue(accounts: Liquidatable, cursor: float = 0.3, maximum_incentive: float = 0.15) -> Terms:
    """All of the debt; incentive factor min(1.15, 1 / (1 - 0.3 * (1 - LLTV))), LLTV being the leg's weight.

    A leg that gives a bonus keeps it. There is no protocol fee. A debt that is left without collateral is bad at once,
    as for every rule here. Source: Morpho Blue Morpho.liquidate and ConstantsLib (LIQUIDATION_CURSOR,
    MAX_LIQUIDATION_INCENTIVE_FACTOR).
    """
    incentive = np.minimum(maximum_incentive, 1 / (1 - cursor * (1 - accounts.weight)) - 1)
    bonus = np.where(accounts.bonus > 0, accounts.bonus, np.maximum(incentive, 0.0))
    return Terms(accounts.debt, bonus, np.zeros_like(bonus))


def euler_v2(accounts: Liquidatable, maximum_discount: float = 0.15) -> Terms:
    """All of the debt, at a discount that grows with the violation: 1 - health factor, at most `maximum_discount`.

    Debt of d is worth d / (1 - discount) of collateral. On chain the liquidator takes the debt over, and is taken here
    to repay it out of the collateral at once. The leg's own bonus is not used. Source: Euler Vault Kit Liquidation.sol,
    calculateMaxLiquidation; the maximum is set per vault (maxLiquidationDiscount, 0.15 in Euler's own clusters).
    """
    kept_price = np.clip(accounts.health_factor, 1 - maximum_discount, 1.0)
    return Terms(accounts.debt, 1 / kept_price - 1, np.zeros_like(kept_price))


LiquidationRule = Callable[..., Any]

PAIR_RULES: Mapping[str, LiquidationRule] = {
    "aave_v3": aave_v3,
    "aave_v3_3": aave_v3_3,
    "aave_v2": aave_v2,
    "compound_v2": compound_v2,
    "morpho_blue": morpho_blue,
    "euler_v2": euler_v2,
    "full": full,
}
ABSORB_RULES: Mapping[str, LiquidationRule] = {
    "comet": comet,
    "maker": maker,
    "liquity_v1": liquity_v1,
    "liquity_v2": liquity_v2,
    "crvusd": crvusd,
    "perp_full": perp_full,
    "perp_partial": perp_partial,
}
LIQUIDATION_RULES: Mapping[str, LiquidationRule] = {**PAIR_RULES, **ABSORB_RULES}


def seize(repaid: Array, collateral: Array, bonus: Array) -> tuple[Array, Array]:
    """USD repaid and seized once the collateral caps them: seized = min(repaid * (1 + bonus), collateral).

    Where the collateral runs out, the repayment is scaled down to match. Source: Aave v3 LiquidationLogic,
    _calculateAvailableCollateralToLiquidate.
    """
    wanted = repaid * (1 + bonus)
    capped = wanted >= collateral
    return np.where(capped, collateral / (1 + bonus), repaid), np.where(capped, collateral, wanted)
