"""Risk measures of simulated losses, and who bears them: value at risk, expected shortfall, loss tables.

Losses are positive USD. A scenario counts with its weight (a probability up to scale), all alike by default.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.contagion.result import ContagionResult
from defi_leverage.errors import ScenarioError

__all__ = [
    "expected_shortfall",
    "loss_table",
    "loss_tables",
    "risk_measures",
    "value_at_risk",
    "value_at_risk_interval",
]

Floats = NDArray[np.float64]

_LOSS_KEYS = {"venue": "venue_id", "asset": "asset_id", "account": "account_id", "round": "round"}
_LEVEL_ROUNDING = 1e-12  # 19 of 20 equal weights are the level 0.95, though their sum may miss it by rounding


def value_at_risk(losses: Any, confidence: float = 0.95, weights: Any = None) -> float:
    """The smallest loss that is exceeded with a probability of at most 1 - `confidence`.

    VaR_a = inf { l : P(L <= l) >= a }, the lower quantile. Source: McNeil, Frey & Embrechts (2015), 'Quantitative Risk
    Management', definition 2.8. Not subadditive: that of two books together may exceed the sum of theirs. Raises
    ScenarioError for losses or weights that are not finite, weights below zero or all zero, or a confidence outside
    (0, 1).
    """
    loss, level = _distribution(losses, confidence, weights)
    return float(loss[np.searchsorted(level, confidence - _LEVEL_ROUNDING)])


def expected_shortfall(losses: Any, confidence: float = 0.95, weights: Any = None) -> float:
    """Mean of the worst 1 - `confidence` of outcomes, an outcome on the edge counted in part.

    ES_a = (E[L; L > VaR_a] + VaR_a * (P(L <= VaR_a) - a)) / (1 - a) = the mean of VaR_u over u in (a, 1). Source:
    Acerbi & Tasche (2002), 'On the coherence of expected shortfall', proposition 3.2. Coherent, and at least VaR_a.
    Raises as `value_at_risk` does.
    """
    loss, level = _distribution(losses, confidence, weights)
    edge = int(np.searchsorted(level, confidence - _LEVEL_ROUNDING))
    beyond = np.diff(level[edge:])
    tail = float(loss[edge + 1 :] @ beyond) + loss[edge] * max(level[edge] - confidence, 0.0)
    return max(float(tail / (1 - confidence)), float(loss[edge]))


def value_at_risk_interval(losses: Any, confidence: float = 0.95, level: float = 0.95) -> tuple[float, float]:
    """Bounds that hold the true VaR of independent, equally likely draws with a probability of at least `level`.

    Order statistics at quantiles of the binomial distribution, whatever the losses' distribution. Source: Hahn &
    Meeker (1991), 'Statistical Intervals', section 5.2. inf above where the draws are too few to bound it. Raises as
    `value_at_risk` does.
    """
    from scipy import stats  # noqa: PLC0415 - takes a second, which measures without an interval need not wait for

    loss, _ = _distribution(losses, confidence, None)
    if not 0 < level < 1:
        raise ScenarioError(f"level {level} must be between 0 and 1")
    count, outside = len(loss), (1 - level) / 2
    lower = int(stats.binom.ppf(outside, count, confidence))
    upper = int(stats.binom.ppf(1 - outside, count, confidence)) + 1
    return (float(loss[lower - 1]) if lower >= 1 else -np.inf, float(loss[upper - 1]) if upper <= count else np.inf)


def risk_measures(table: pd.DataFrame, confidence: float = 0.95, weights: Any = None) -> "pd.Series[float]":
    """The measures of a stress table (`run_scenarios`), by name; USD.

    value_at_risk_usd and liquidations_at_risk_usd are VaR and LaR as the DeFi risk industry reports them at a
    confidence of 0.95: that percentile over simulations of the net insolvent amount (`insolvency_usd`) and of the
    amount liquidated (`seized_usd`). Source: Gauntlet, risk.gauntlet.network/faq, and 'VaR Deepdive' (28 January
    2022). Beside them VaR, expected shortfall, mean and worst of bad debt; scenarios, and how many of them did not
    converge: their losses are in the figures as far as they had come.
    """
    bad_debt = table["bad_debt_usd"]
    mass = _weights(weights, len(table))
    return pd.Series(
        {
            "value_at_risk_usd": value_at_risk(table["insolvency_usd"], confidence, weights),
            "liquidations_at_risk_usd": value_at_risk(table["seized_usd"], confidence, weights),
            "bad_debt_var_usd": value_at_risk(bad_debt, confidence, weights),
            "bad_debt_es_usd": expected_shortfall(bad_debt, confidence, weights),
            "bad_debt_mean_usd": float(bad_debt.to_numpy(float) @ mass),
            "bad_debt_worst_usd": float(bad_debt.max()),
            "scenarios": float(len(table)),
            "not_converged": float((~table["converged"].astype(bool)).sum()),
        }
    )


def loss_table(result: ContagionResult, by: str) -> pd.DataFrame:
    """Losses of one run by 'venue', 'asset', 'account' or 'round': one row each that has any, the largest first.

    Columns: the key, accounts (liquidated), repaid_usd, seized_usd, bad_debt_usd; USD at the feed prices of each round.
    By asset, repaid and bad debt are of the asset that was owed, seized of the collateral, and accounts those that had
    it seized; a column symbol is added. By round the order is the rounds'. Raises ScenarioError for another `by`.
    """
    return loss_tables(result, [by])[by]


def loss_tables(result: ContagionResult, kinds: Sequence[str]) -> dict[str, pd.DataFrame]:
    """`loss_table` by each of `kinds`: cheaper than one after the other."""
    if unknown := [by for by in kinds if by not in _LOSS_KEYS]:
        raise ScenarioError(f"by {unknown[0]!r}: use one of {', '.join(_LOSS_KEYS)}")
    liquidations, bad_debt = result.liquidations, result.bad_debt
    return {by: _loss_table(result, liquidations, bad_debt, by) for by in kinds}


def _loss_table(result: ContagionResult, liquidations: pd.DataFrame, bad_debt: pd.DataFrame, by: str) -> pd.DataFrame:
    key = _LOSS_KEYS[by]
    owed, seized = ("debt_asset_id", "collateral_asset_id") if by == "asset" else (key, key)
    table = pd.DataFrame(
        {
            "accounts": liquidations.groupby(seized)["account_id"].nunique(),
            "repaid_usd": liquidations.groupby(owed)["repaid_usd"].sum(),
            "seized_usd": liquidations.groupby(seized)["seized_usd"].sum(),
            "bad_debt_usd": bad_debt.groupby(key)["usd"].sum(),
        }
    ).astype(float)
    table = table.fillna(0.0).astype({"accounts": int}).rename_axis(key).reset_index()
    if by == "asset":
        table.insert(1, "symbol", table[key].map(dict(zip(result.book.asset_ids, result.book.symbols, strict=True))))
    if by == "round":
        return table.sort_values(key, ignore_index=True)
    return table.sort_values(["bad_debt_usd", "seized_usd", key], ascending=[False, False, True], ignore_index=True)


def _distribution(losses: Any, confidence: float, weights: Any) -> tuple[Floats, Floats]:
    """Losses in rising order, and the probability of a loss up to each."""
    loss = np.asarray(losses, float)
    if loss.ndim != 1 or not loss.size or not np.isfinite(loss).all():
        raise ScenarioError("losses must be a list of finite numbers, at least one")
    if not 0 < confidence < 1:
        raise ScenarioError(f"confidence {confidence} must be between 0 and 1, such as 0.95")
    mass = _weights(weights, loss.size)
    order = np.argsort(loss, kind="stable")
    level = np.cumsum(mass[order])
    level[-1] = 1.0
    return loss[order], level


def _weights(weights: Any, count: int) -> Floats:
    mass = np.ones(count) if weights is None else np.asarray(weights, float)
    if mass.shape != (count,) or not np.isfinite(mass).all() or (mass < 0).any() or not mass.sum() > 0:
        raise ScenarioError("weights must be one a loss, finite, not negative and not all zero")
    shares: Floats = mass / mass.sum()
    return shares
