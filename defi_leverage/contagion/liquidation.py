"""Liquidation rules: how much of an account's debt a liquidator may repay at once. Plain functions, chosen by name.

A rule sees, for each account that is below 1, the debt leg and the collateral leg that the round picked (the largest by
value) and answers the USD of debt to repay. What is seized follows for all rules from `seize`: the repaid value plus
the bonus, capped by the collateral that is there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LIQUIDATION_RULES", "Liquidatable", "LiquidationRule", "aave_v3", "aave_v3_3", "full", "seize"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Liquidatable:
    """Accounts below 1, one element each. Values are USD at the feed prices of the round, the bonus a fraction."""

    health_factor: Array
    total_debt: Array
    debt: Array
    collateral: Array
    bonus: Array


def full(accounts: Liquidatable) -> Array:
    """The whole debt leg at once."""
    return accounts.debt


def aave_v3(accounts: Liquidatable, close_factor: float = 0.5, full_close_health_factor: float = 0.95) -> Array:
    """Half of the reserve's debt, all of it at HF <= 0.95.

    Source: Aave v3.0-3.2 LiquidationLogic, DEFAULT_LIQUIDATION_CLOSE_FACTOR and CLOSE_FACTOR_HF_THRESHOLD.
    """
    return accounts.debt * np.where(accounts.health_factor > full_close_health_factor, close_factor, 1.0)


def aave_v3_3(
    accounts: Liquidatable,
    close_factor: float = 0.5,
    full_close_health_factor: float = 0.95,
    full_close_below_usd: float = 2000.0,
    minimum_leftover_usd: float = 1000.0,
) -> Array:
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
    return np.where(partial, np.minimum(repaid, np.maximum(leaving, 0.0)), repaid)


LiquidationRule = Callable[..., Array]

LIQUIDATION_RULES: Mapping[str, LiquidationRule] = {"aave_v3": aave_v3, "aave_v3_3": aave_v3_3, "full": full}


def seize(repaid: Array, collateral: Array, bonus: Array) -> tuple[Array, Array]:
    """USD repaid and seized once the collateral caps them: seized = min(repaid * (1 + bonus), collateral).

    Where the collateral runs out, the repayment is scaled down to match. Source: Aave v3 LiquidationLogic,
    _calculateAvailableCollateralToLiquidate.
    """
    wanted = repaid * (1 + bonus)
    capped = wanted >= collateral
    return np.where(capped, collateral / (1 + bonus), repaid), np.where(capped, collateral, wanted)
