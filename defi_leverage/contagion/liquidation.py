"""Liquidation rules of lending markets, where one debt is repaid out of one collateral; and all rules by name.

Such a rule is a plain function of numbers, for one account that is below 1 and the debt leg and collateral leg that the
round picked (the largest by value), all in USD at the feed prices of the round:

    rule(health_factor, total_debt, debt, collateral, bonus, weight, fee, *venue parameters) -> Terms

`total_debt` is that of the account, `debt` and `collateral` that of the legs, `bonus`, `weight` and `fee` the fractions
of the collateral leg. The leg caps what is repaid; what is seized follows for all of them from `seize`. Both engines
apply these functions: `execution` account by account, `pair_kernels` compiled. Rules that close whole accounts are in
`absorb_rules` and `perp_rules`.
"""

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from math import floor, inf
from typing import Any, NamedTuple

from defi_leverage.contagion.absorb_rules import comet, crvusd, liquity_v1, liquity_v2, maker
from defi_leverage.contagion.perp_rules import perp_full, perp_partial

__all__ = [
    "ABSORB_RULES",
    "LIQUIDATION_RULES",
    "PAIR_RULES",
    "LiquidationRule",
    "Terms",
    "aave_v2",
    "aave_v3",
    "aave_v3_3",
    "aave_v4",
    "compound_v2",
    "euler_v2",
    "fluid",
    "full",
    "morpho_blue",
    "seize",
    "venue_parameters",
]

# ruff: noqa: ARG001 (all rules take the same arguments)


class Terms(NamedTuple):
    """On what terms an account is liquidated: USD of debt to repay, bonus, and the share of what is seized that the
    protocol keeps.
    """

    repaid: float
    bonus: float
    kept: float


LiquidationRule = Callable[..., Any]


def full(
    health_factor: float, total_debt: float, debt: float, collateral: float, bonus: float, weight: float, fee: float
) -> Terms:
    """The whole debt leg at once."""
    return Terms(debt, bonus, fee * (bonus / (1 + bonus)))


def aave_v2(
    health_factor: float,
    total_debt: float,
    debt: float,
    collateral: float,
    bonus: float,
    weight: float,
    fee: float,
    close_factor: float = 0.5,
) -> Terms:
    """Half of the reserve's debt, however deep the account is.

    Source: Aave v2 LendingPoolCollateralManager, LIQUIDATION_CLOSE_FACTOR_PERCENT = 5000. There is no protocol fee in
    v2; a leg that names one is taken at its word.
    """
    return Terms(debt * close_factor, bonus, fee * (bonus / (1 + bonus)))


def aave_v3(
    health_factor: float,
    total_debt: float,
    debt: float,
    collateral: float,
    bonus: float,
    weight: float,
    fee: float,
    close_factor: float = 0.5,
    full_close_health_factor: float = 0.95,
) -> Terms:
    """Half of the reserve's debt, all of it at HF <= 0.95; the protocol keeps the leg's fee, a share of the bonus.

    Source: Aave v3.0-3.2 LiquidationLogic, DEFAULT_LIQUIDATION_CLOSE_FACTOR, CLOSE_FACTOR_HF_THRESHOLD and
    liquidationProtocolFee.
    """
    share = close_factor if health_factor > full_close_health_factor else 1.0
    return Terms(debt * share, bonus, fee * (bonus / (1 + bonus)))


def aave_v3_3(
    health_factor: float,
    total_debt: float,
    debt: float,
    collateral: float,
    bonus: float,
    weight: float,
    fee: float,
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
    kept = fee * (bonus / (1 + bonus))
    small = debt < full_close_below_usd or collateral < full_close_below_usd
    if small or health_factor <= full_close_health_factor:
        return Terms(debt, bonus, kept)
    repaid, affordable = min(debt, close_factor * total_debt), collateral / (1 + bonus)
    if repaid < debt and repaid < affordable:
        leaving = min(debt - minimum_leftover_usd, affordable - minimum_leftover_usd / (1 + bonus))
        repaid = min(repaid, max(leaving, 0.0))
    return Terms(repaid, bonus, kept)


def compound_v2(
    health_factor: float,
    total_debt: float,
    debt: float,
    collateral: float,
    bonus: float,
    weight: float,
    fee: float,
    close_factor: float = 0.5,
    liquidation_incentive: float = 0.08,
    protocol_share: float = 0.028,
) -> Terms:
    """A close factor of the borrow; of all that is seized (not only of the incentive) 2.8 % goes to the reserves.

    The incentive is the leg's bonus, or `liquidation_incentive` where the leg gives none. A leg that gives a fee, as a
    share of the incentive, has it kept instead of `protocol_share`. Source: Compound v2
    Comptroller.liquidateBorrowAllowed (closeFactorMantissa, 0.5e18 on mainnet), liquidateCalculateSeizeTokens
    (liquidationIncentiveMantissa, 1.08e18) and CToken.seizeInternal (protocolSeizeShareMantissa = 2.8e16); Venus
    Liquidator._splitLiquidationIncentive for a share of the incentive.
    """
    incentive = bonus if bonus > 0 else liquidation_incentive
    return Terms(debt * close_factor, incentive, fee * (incentive / (1 + incentive)) if fee > 0 else protocol_share)


def morpho_blue(
    health_factor: float,
    total_debt: float,
    debt: float,
    collateral: float,
    bonus: float,
    weight: float,
    fee: float,
    cursor: float = 0.3,
    maximum_incentive: float = 0.15,
) -> Terms:
    """All of the debt; incentive factor min(1.15, 1 / (1 - 0.3 * (1 - LLTV))), LLTV being the leg's weight.

    A leg that gives a bonus keeps it. There is no protocol fee. A debt that is left without collateral is bad at once,
    as for every rule here. Source: Morpho Blue Morpho.liquidate and ConstantsLib (LIQUIDATION_CURSOR,
    MAX_LIQUIDATION_INCENTIVE_FACTOR).
    """
    if bonus > 0:
        return Terms(debt, bonus, 0.0)
    return Terms(debt, max(min(maximum_incentive, 1 / (1 - cursor * (1 - weight)) - 1), 0.0), 0.0)


def euler_v2(
    health_factor: float,
    total_debt: float,
    debt: float,
    collateral: float,
    bonus: float,
    weight: float,
    fee: float,
    maximum_discount: float = 0.15,
) -> Terms:
    """All of the debt, at a discount that grows with the violation: 1 - health factor, at most `maximum_discount`.

    Debt of d is worth d / (1 - discount) of collateral. On chain the liquidator takes the debt over, and is taken here
    to repay it out of the collateral at once. The leg's own bonus is not used. Source: Euler Vault Kit Liquidation.sol,
    calculateMaxLiquidation; the maximum is set per vault (maxLiquidationDiscount, 0.15 in Euler's own clusters).
    """
    kept_price = min(max(health_factor, 1 - maximum_discount), 1.0)
    return Terms(debt, 1 / kept_price - 1 if kept_price > 0 else inf, 0.0)


def aave_v4(
    health_factor: float,
    total_debt: float,
    debt: float,
    collateral: float,
    bonus: float,
    weight: float,
    fee: float,
    target_health_factor: float = 1.05,
    maximum_bonus_health_factor: float = 0.9,
    minimum_bonus_share: float = 0.9,
    minimum_leftover_usd: float = 1000.0,
) -> Terms:
    """As much debt as brings the account back to a target health factor, at a bonus that grows as health falls.

    The bonus is the leg's at `maximum_bonus_health_factor` or below, and from there on a straight line to
    `minimum_bonus_share` of it at 1, cut to whole basis points. Repaying x of the debt D lifts health h to t where
    h D - (1 + bonus) weight x = t (D - x). What would leave less than 1,000 USD of the pair's debt repays all of it,
    and what would leave less of its collateral takes all of that. The parameters are a spoke's own
    (getLiquidationConfig); the defaults are an example. Source: Aave v4 LiquidationLogic, calculateLiquidationBonus,
    _calculateDebtToTargetHealthFactor and DUST_LIQUIDATION_THRESHOLD.
    """
    if health_factor > maximum_bonus_health_factor:
        least = floor(bonus * minimum_bonus_share * 1e4 + 1e-6)
        share = (1 - health_factor) / (1 - maximum_bonus_health_factor)
        bonus = (least + floor((bonus * 1e4 - least) * share + 1e-6)) / 1e4
    kept = fee * (bonus / (1 + bonus))
    spare = target_health_factor - (1 + bonus) * weight
    repaid = debt
    if spare > 0:
        repaid = min(debt, total_debt * max(target_health_factor - health_factor, 0.0) / spare)
    if debt - repaid < minimum_leftover_usd:
        repaid = debt
    left = collateral - repaid * (1 + bonus)
    if repaid < debt and 0 < left < minimum_leftover_usd:
        repaid = min(debt, collateral)  # more than all of the collateral is worth, which caps it
    return Terms(repaid, bonus, kept)


def fluid(
    health_factor: float,
    total_debt: float,
    debt: float,
    collateral: float,
    bonus: float,
    weight: float,
    fee: float,
    absorb_ratio: float = 0.95,
) -> Terms:
    """As much debt as brings the position back to its threshold, which is the leg's weight; no more is ever on offer.

    At a debt over collateral of `absorb_ratio` (the vault's liquidationMaxLimit) or above the vault absorbs the
    position whole, and liquidators repay all of its debt; collateral that is left is the vault's there, and stays with
    the account here. Liquidators take from the top ticks down, which at one set of prices comes to the same for each
    position. Source: Fluid's vault, liquidate and absorb (Instadapp/fluid-contracts-public, vaultT1/coreModule).
    """
    spare = 1 - (1 + bonus) * weight
    if weight >= health_factor * absorb_ratio or spare <= 0:
        return Terms(debt, bonus, 0.0)
    return Terms(min(debt, debt * max(1 - health_factor, 0.0) / spare), bonus, 0.0)


PAIR_RULES: Mapping[str, Callable[..., Terms]] = {
    "aave_v3": aave_v3,
    "aave_v3_3": aave_v3_3,
    "aave_v2": aave_v2,
    "compound_v2": compound_v2,
    "morpho_blue": morpho_blue,
    "euler_v2": euler_v2,
    "aave_v4": aave_v4,
    "fluid": fluid,
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


def venue_parameters(rule: LiquidationRule) -> dict[str, float]:
    """The parameters of a rule that a venue may set, with their defaults, in the order of its arguments."""
    taken = signature(rule).parameters.items()
    return {name: parameter.default for name, parameter in taken if parameter.default is not Parameter.empty}


def seize(repaid: float, debt: float, collateral: float, bonus: float) -> tuple[float, float]:
    """USD repaid and seized: seized = repaid * (1 + bonus), capped by what there is of the collateral.

    The repayment is at most the debt; where the collateral runs out, it is scaled down to match. Source: Aave v3
    LiquidationLogic, _calculateAvailableCollateralToLiquidate.
    """
    repaid = min(repaid, debt)
    wanted = repaid * (1 + bonus)
    if wanted >= collateral:
        return collateral / (1 + bonus), collateral
    return repaid, wanted
