"""Monte Carlo: joint market returns drawn from a copula over a covariance that a price history gives.

Dependence and marginals are chosen apart, each by one number of degrees of freedom: infinity is the Gaussian copula and
the lognormal price, a finite number the Student-t copula (joint extremes) and Student-t log returns (fat tails).
"""

from dataclasses import dataclass
from importlib import import_module

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from defi_leverage.errors import ScenarioError
from defi_leverage.stress.price_history import log_returns

__all__ = ["CovarianceEstimate", "estimate_covariance", "sample_returns"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CovarianceEstimate:
    """Covariance of log returns over one step of a price history (assets x assets), and what it rests on.

    `shrinkage`: weight of the identity in the correlation, 0 to 1; `dropped`: steps left out for want of a price.
    """

    matrix: pd.DataFrame
    step: pd.Timedelta
    observations: int
    dropped: int
    shrinkage: float


def estimate_covariance(
    prices: pd.DataFrame, shrinkage: str = "ledoit_wolf", max_missing: float = 0.02
) -> CovarianceEstimate:
    """Covariance of log returns, with its correlations shrunk towards none.

    `prices` from `align_prices`; `shrinkage`: 'ledoit_wolf' (Ledoit & Wolf 2004, 'A well-conditioned estimator for
    large-dimensional covariance matrices') or 'none'. The estimator, scikit-learn's (the extra `montecarlo`), shrinks
    towards a multiple of the identity; it is given standardised returns, for otherwise the variance of ether would be
    shrunk into that of a stablecoin. Raises ScenarioError for missing prices (see `log_returns`), an asset whose price
    never moves, or scikit-learn not installed.
    """
    returns = log_returns(prices, max_missing)
    if len(returns) < 2:
        raise ScenarioError(f"a covariance needs at least 2 steps with prices of every asset, not {len(returns)}")
    values = returns.to_numpy(float)
    deviation = values.std(axis=0)
    if still := [str(column) for column, size in zip(returns.columns, deviation, strict=True) if not size > 0]:
        raise ScenarioError(f"the price of {', '.join(still)} never moves; leave it out, and name it as unmoved")
    standard = (values - values.mean(axis=0)) / deviation
    if shrinkage == "none":
        correlation, weight = standard.T @ standard / len(standard), 0.0
    elif shrinkage == "ledoit_wolf":
        correlation, weight = _shrunk_correlation(standard)
    else:
        raise ScenarioError(f"unknown shrinkage {shrinkage!r}; use ledoit_wolf or none")
    return CovarianceEstimate(
        matrix=pd.DataFrame(correlation * np.outer(deviation, deviation), returns.columns, returns.columns),
        step=prices.index[1] - prices.index[0],
        observations=len(returns),
        dropped=len(prices) - 1 - len(returns),
        shrinkage=weight,
    )


def _shrunk_correlation(standard: Floats) -> tuple[Floats, float]:
    try:
        estimators = import_module("sklearn.covariance")
    except ImportError:
        raise ScenarioError(
            "shrinkage needs scikit-learn: pip install 'defi-leverage[montecarlo]', or use shrinkage='none'"
        ) from None
    fitted = estimators.LedoitWolf(assume_centered=True).fit(standard)
    return np.asarray(fitted.covariance_, float), float(fitted.shrinkage_)


def sample_returns(
    covariance: pd.DataFrame,
    count: int,
    rng: np.random.Generator,
    *,
    horizon: float = 1.0,
    copula_dof: float = np.inf,
    marginal_dof: float = np.inf,
    antithetic: bool = False,
) -> pd.DataFrame:
    """`count` draws of joint simple returns: draws x assets, fractions above -1.

    `covariance`: of log returns over one step (assets x assets); `horizon`: steps, over which it grows in proportion
    (returns of different steps taken as independent). `copula_dof`: degrees of freedom of the Student-t copula,
    infinity for the Gaussian one (Demarta & McNeil 2005, 'The t copula and related copulas'; the correlation of the
    covariance is the copula's parameter). `marginal_dof`: of Student-t log returns scaled to their variance, infinity
    for normal ones (lognormal prices); above 2. Log returns have mean zero: no drift is assumed. `antithetic`: every
    second half mirrors the first; `count` is then even. The same `rng` state gives the same draws. Raises
    ScenarioError for a matrix that is no positive definite covariance or a number out of range.
    """
    if not marginal_dof > 2 or not copula_dof > 0:
        raise ScenarioError(
            f"marginal_dof {marginal_dof} must be above 2 (below, the variance is infinite), "
            f"copula_dof {copula_dof} above 0"
        )
    if count < 1 or not 0 < horizon < np.inf or (antithetic and count % 2):
        raise ScenarioError(
            f"count {count} must be at least 1, and even for antithetic draws; horizon {horizon} positive and finite"
        )
    deviation, root = _deviation_and_root(covariance)
    fresh = count // 2 if antithetic else count
    normal = rng.standard_normal((fresh, len(deviation)))
    mixing = rng.chisquare(copula_dof, fresh) / copula_dof if np.isfinite(copula_dof) else np.ones(fresh)
    if antithetic:
        normal, mixing = np.concatenate([normal, -normal]), np.concatenate([mixing, mixing])
    # einsum, for a product of BLAS may depend on its number of threads.
    dependent = np.einsum("sk,ak->sa", normal, root) / np.sqrt(mixing)[:, None]
    with np.errstate(over="ignore"):  # refused below
        change = np.expm1(_marginal(dependent, copula_dof, marginal_dof) * deviation * np.sqrt(horizon))
    if (change <= -1).any() or not np.isfinite(change).all():
        raise ScenarioError(
            "a draw leaves no price, or an endless one: shorten the horizon or raise marginal_dof",
            assets=[str(name) for name in covariance.columns[((change <= -1) | ~np.isfinite(change)).any(axis=0)]],
        )
    return pd.DataFrame(change, index=pd.RangeIndex(count, name="draw"), columns=covariance.columns)


def _deviation_and_root(covariance: pd.DataFrame) -> tuple[Floats, Floats]:
    """Standard deviations, and the Cholesky root of the correlation."""
    matrix = covariance.to_numpy(float)
    square = matrix.shape[0] == matrix.shape[1] and list(covariance.index) == list(covariance.columns)
    if not square or not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, rtol=1e-9, atol=0):
        raise ScenarioError("covariance must be square, finite and symmetric, with the same assets on both sides")
    variance = np.diag(matrix)
    if not (variance > 0).all():
        raise ScenarioError("covariance must have positive variances; leave out what does not move")
    deviation = np.sqrt(variance)
    try:
        return deviation, np.linalg.cholesky(matrix / np.outer(deviation, deviation))
    except np.linalg.LinAlgError:
        raise ScenarioError(
            "covariance is not positive definite: shrink it, or let one of two assets that move as one be the "
            "other's proxy"
        ) from None


def _marginal(dependent: Floats, copula_dof: float, marginal_dof: float) -> Floats:
    """Standardised log returns (variance 1) at the copula's quantiles, both symmetric around zero.

    Taken in the lower tail and mirrored: a probability near 1 has lost the digits that one near 0 keeps.
    """
    if copula_dof == marginal_dof == np.inf:
        return dependent
    below = -np.abs(dependent)
    level = special.stdtr(copula_dof, below) if np.isfinite(copula_dof) else special.ndtr(below)
    if np.isfinite(marginal_dof):
        size = special.stdtrit(marginal_dof, level) * np.sqrt((marginal_dof - 2) / marginal_dof)
    else:
        size = special.ndtri(level)
    return np.asarray(-np.sign(dependent) * size, float)
