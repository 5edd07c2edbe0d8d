"""Cited formulas of a leveraged position: health factor, loan-to-value, leverage, liquidation price.

Plain floats or numpy arrays in, the same out. Amounts are USD unless a name says otherwise; ratios are fractions.
Leverage is never averaged: `account_health` gives one row an account, and callers aggregate sums or take quantiles.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.snapshot import Snapshot

__all__ = [
    "account_health",
    "average_threshold_weighted",
    "fall_to_liquidation",
    "health_factor",
    "leg_values",
    "leverage",
    "liquidation_price_long",
    "liquidation_price_short",
    "loop_health_factor",
    "loop_leverage",
    "loop_leverage_limit",
    "ltv",
    "net_yield",
]

Array = NDArray[np.float64]


def health_factor(weighted_collateral_usd: "Array | float", weighted_debt_usd: "Array | float") -> Array:
    """Health factor: threshold-weighted collateral over debt; inf without debt.

    HF = sum(amount * price * liquidation_threshold) / sum(debt * price). Source: Aave v3 technical paper (2022),
    section 'Health Factor'. Liquidatable when strictly below 1.
    """
    collateral, debt = np.broadcast_arrays(
        np.asarray(weighted_collateral_usd, float), np.asarray(weighted_debt_usd, float)
    )
    ratio: Array = np.divide(collateral, debt, out=np.full(debt.shape, np.inf), where=debt > 0)
    return ratio


def ltv(collateral_usd: "Array | float", debt_usd: "Array | float") -> Array:
    """Loan-to-value: debt / collateral; inf for a debt without collateral, 0 where there is neither."""
    collateral, debt = np.broadcast_arrays(np.asarray(collateral_usd, float), np.asarray(debt_usd, float))
    bare = np.where(debt > 0, np.inf, 0.0)
    ratio: Array = np.divide(debt, collateral, out=bare, where=collateral > 0)
    return ratio


def leverage(collateral_usd: "Array | float", debt_usd: "Array | float") -> Array:
    """Leverage: assets / equity = C / (C - D); nan where equity is not positive (count such accounts apart)."""
    collateral, debt = np.broadcast_arrays(np.asarray(collateral_usd, float), np.asarray(debt_usd, float))
    equity = collateral - debt
    ratio: Array = np.divide(collateral, equity, out=np.full(equity.shape, np.nan), where=equity > 0)
    return ratio


def average_threshold_weighted(weighted_usd: Array, collateral_usd: Array) -> Array:
    """Threshold-weighted collateral where the protocol keeps the account's average threshold in whole basis points.

    floor(sum(value * threshold_bps) / sum(value)) * sum(value) / 1e4. Source: Aave v3 GenericLogic,
    calculateUserAccountData (integer division of avgLiquidationThreshold). Up to one basis point below the exact sum,
    which decides whether an account of several collaterals close to 1 can be liquidated.
    """
    average_bps = np.divide(
        weighted_usd * 1e4, collateral_usd, out=np.zeros_like(weighted_usd), where=collateral_usd > 0
    )
    # A single threshold must come back whole: float sums miss it by some 1e-12.
    floored: Array = np.floor(average_bps + 1e-7) * 1e-4 * collateral_usd
    return floored


def loop_leverage(loan_to_value: float, loops: int) -> float:
    """Leverage after `loops` turns of supply and borrow at one loan-to-value: (1 - l^(n+1)) / (1 - l).

    The geometric sum of re-supplied loans; see Heimbach & Huang, BIS Working Paper 1171 (2024). 0 <= l < 1.
    """
    if not 0 <= loan_to_value < 1:
        raise ValueError(f"loan_to_value {loan_to_value} must be in [0, 1)")
    return (1 - loan_to_value ** (loops + 1)) / (1 - loan_to_value)


def loop_leverage_limit(loan_to_value: float) -> float:
    """Leverage of endlessly many turns: 1 / (1 - l), the limit of `loop_leverage`."""
    return loop_leverage(loan_to_value, 0) / (1 - loan_to_value)


def loop_health_factor(liquidation_threshold: float, leverage_: float) -> float:
    """Health factor of a loop: HF = LT * L / (L - 1); inf at leverage 1."""
    return float(health_factor(liquidation_threshold * leverage_, leverage_ - 1))


def fall_to_liquidation(health_factor_: "Array | float") -> Array:
    """Fall of all collateral prices against the debt that brings HF to 1: 1 - 1/HF; negative where already below 1.

    1 where there is no debt (nothing short of worthless collateral matters) and -inf at HF 0.
    """
    factor = np.asarray(health_factor_, float)
    fall: Array = 1 - np.divide(1.0, factor, out=np.full(factor.shape, np.inf), where=factor > 0)
    return fall


def net_yield(leverage_: float, supply_yield: float, borrow_rate: float) -> float:
    """Carry on equity of a loop, a year: L * s - (L - 1) * b; zero at b = s * L / (L - 1)."""
    return leverage_ * supply_yield - (leverage_ - 1) * borrow_rate


def liquidation_price_long(entry_price: float, size: float, margin: float, maintenance_margin: float) -> float:
    """Liquidation price of a long perp: (p0 - c/q) / (1 - m), where equity = m * notional (Chitra 2025).

    `size` q in units, `margin` c in quote units, `maintenance_margin` m as a fraction of the notional.
    """
    return (entry_price - margin / size) / (1 - maintenance_margin)


def liquidation_price_short(entry_price: float, size: float, margin: float, maintenance_margin: float) -> float:
    """Liquidation price of a short perp: (p0 + c/q) / (1 + m), where equity = m * notional (Chitra 2025)."""
    return (entry_price + margin / size) / (1 + maintenance_margin)


def leg_values(snapshot: Snapshot) -> Array:
    """USD value of every leg at its feed's price, in the legs table's order; debts are positive too."""
    price = snapshot.legs["feed_id"].map(snapshot.feeds.set_index("feed_id")["price_usd"])
    value: Array = snapshot.legs["amount"].to_numpy(float) * price.to_numpy(float)
    return value


def account_health(snapshot: Snapshot) -> pd.DataFrame:
    """One row an account, in the accounts table's order, indexed by account_id, at the oracle's feed prices.

    Columns: supplied_usd (everything supplied), collateral_usd (what counts as collateral), weighted_collateral_usd,
    debt_usd, equity_usd (supplied - debt), health_factor (inf without debt), ltv (debt / collateral), leverage
    (supplied / equity, nan where equity is not positive).
    """
    legs, value = snapshot.legs, leg_values(snapshot)
    weight = legs["weight"].to_numpy(float)
    is_debt = (legs["side"] == "debt").to_numpy()
    account = pd.Index(snapshot.accounts["account_id"]).get_indexer(legs["account_id"])

    def total(amounts: Any) -> Array:
        return np.bincount(account, weights=amounts, minlength=len(snapshot.accounts)).astype(np.float64)

    supplied, debt = total(np.where(is_debt, 0, value)), total(np.where(is_debt, value, 0))
    collateral = total(np.where(~is_debt & (weight > 0), value, 0))
    weighted = total(np.where(is_debt, 0, value * weight))
    rule = snapshot.accounts["venue_id"].map(snapshot.venues.set_index("venue_id")["health_rule"])
    averaged = (rule == "average_threshold_bps").to_numpy()
    weighted = np.where(averaged, average_threshold_weighted(weighted, collateral), weighted)
    return pd.DataFrame(
        {
            "supplied_usd": supplied,
            "collateral_usd": collateral,
            "weighted_collateral_usd": weighted,
            "debt_usd": debt,
            "equity_usd": supplied - debt,
            "health_factor": health_factor(weighted, total(np.where(is_debt, value * weight, 0))),
            "ltv": ltv(collateral, debt),
            "leverage": leverage(supplied, debt),
        },
        index=pd.Index(snapshot.accounts["account_id"], name="account_id"),
    )
