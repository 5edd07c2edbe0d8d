"""Draws of joint returns against theory: moments, rank correlation, tails, each within its Monte Carlo error."""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from defi_leverage.errors import ScenarioError
from defi_leverage.stress.monte_carlo import estimate_covariance, sample_returns
from defi_leverage.stress.price_history import align_prices, log_returns

INFINITE = float("inf")
NAMES = ["ETH", "BTC", "USD"]
DEVIATION = np.array([0.04, 0.03, 0.001])
CORRELATION = np.array([[1.0, 0.7, -0.2], [0.7, 1.0, 0.1], [-0.2, 0.1, 1.0]])
COVARIANCE = pd.DataFrame(CORRELATION * np.outer(DEVIATION, DEVIATION), NAMES, NAMES)
DRAWS = 200_000
ERRORS = 5  # standard errors that a fixed seed may be off: once in a million
DATA = Path(
    os.environ.get("DEFI_LEVERAGE_VALIDATION_DATA", str(Path(__file__).resolve().parents[3] / "shared" / "data"))
)


def draw(count: int = DRAWS, seed: int = 1, **arguments: float) -> NDArray[np.float64]:
    """Log returns, draws x assets."""
    returns = sample_returns(COVARIANCE, count, np.random.default_rng(seed), **arguments)  # type: ignore[arg-type]
    return np.asarray(np.log1p(returns.to_numpy(float)), float)


def two(correlation: float) -> pd.DataFrame:
    return pd.DataFrame([[1e-4, correlation * 1e-4], [correlation * 1e-4, 1e-4]], ["A", "B"], ["A", "B"])


@pytest.mark.parametrize("horizon", [1.0, 24.0])
def test_gaussian_moments_and_the_horizon(horizon: float) -> None:
    log = draw(horizon=horizon)
    deviation = DEVIATION * np.sqrt(horizon)
    assert (np.abs(log.mean(axis=0)) < ERRORS * deviation / np.sqrt(DRAWS)).all()
    np.testing.assert_allclose(log.std(axis=0), deviation, rtol=ERRORS / np.sqrt(2 * DRAWS))
    off = np.abs(np.corrcoef(log.T) - CORRELATION)
    assert (off <= ERRORS * (1 - CORRELATION**2) / np.sqrt(DRAWS) + 1e-12).all()


@pytest.mark.parametrize(("copula_dof", "marginal_dof"), [(INFINITE, 4.0), (3.0, INFINITE), (4.0, 2.5), (5.0, 5.0)])
def test_copula_and_marginals_are_chosen_apart(copula_dof: float, marginal_dof: float) -> None:
    """Marginals by the Kolmogorov-Smirnov distance; Kendall's tau of an elliptical copula is 2/pi * arcsin(rho).

    Lindskog, McNeil & Schmock (2003), 'Kendall's tau for elliptical distributions', theorem 2.
    """
    log = draw(40_000, copula_dof=copula_dof, marginal_dof=marginal_dof)
    for asset, deviation in enumerate(DEVIATION):
        if marginal_dof == INFINITE:
            expected = stats.norm(scale=deviation)
        else:
            expected = stats.t(marginal_dof, scale=deviation * np.sqrt((marginal_dof - 2) / marginal_dof))
        # 2.7 / sqrt(n) is passed once in a million (Kolmogorov's distribution).
        assert stats.kstest(log[:, asset], expected.cdf).statistic < 2.7 / np.sqrt(len(log))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        tau = stats.kendalltau(log[:, one], log[:, other]).statistic
        assert tau == pytest.approx(2 / np.pi * np.arcsin(CORRELATION[one, other]), abs=ERRORS / np.sqrt(len(log)))


def joint_tail(level: float, correlation: float, dof: float) -> float:
    """P(U1 < level | U2 < level) of the t or Gaussian copula, by integrating one conditional distribution."""
    if dof == INFINITE:
        bound = stats.norm.ppf(level)

        def density(x: float) -> float:
            return float(stats.norm.pdf(x) * stats.norm.cdf((bound - correlation * x) / np.sqrt(1 - correlation**2)))

    else:
        bound = stats.t.ppf(level, dof)

        def density(x: float) -> float:
            scale = np.sqrt((1 - correlation**2) * (dof + x * x) / (dof + 1))
            return float(stats.t.pdf(x, dof) * stats.t.cdf((bound - correlation * x) / scale, dof + 1))

    return float(integrate.quad(density, -np.inf, bound)[0]) / level


@pytest.mark.parametrize(
    ("dof", "correlation", "published"),
    [(2.0, 0.0, 0.18), (2.0, 0.5, 0.39), (4.0, 0.0, 0.08), (4.0, 0.5, 0.25), (10.0, 0.5, 0.08), (INFINITE, 0.5, 0.0)],
)
def test_tail_dependence(dof: float, correlation: float, published: float) -> None:
    """Both below their 1 % quantile, and in the limit the coefficient of McNeil, Frey & Embrechts (2005), table 5.1."""
    if dof < INFINITE:
        limit = 2 * stats.t.cdf(-np.sqrt((dof + 1) * (1 - correlation) / (1 + correlation)), dof + 1)
        assert limit == pytest.approx(published, abs=5e-3)
        assert joint_tail(1e-5, correlation, dof) == pytest.approx(limit, abs=0.02)
    level, expected = 0.01, joint_tail(0.01, correlation, dof)
    returns = sample_returns(two(correlation), DRAWS, np.random.default_rng(7), copula_dof=dof)
    log = np.log1p(returns.to_numpy(float))
    below = log < stats.norm.ppf(level) * 0.01
    both = float(below.all(axis=1).mean()) / level
    assert both == pytest.approx(expected, abs=ERRORS * np.sqrt(expected / level / DRAWS))


def test_the_same_seed_gives_the_same_draws_and_another_does_not() -> None:
    one, again, other = (draw(100, seed, copula_dof=4, marginal_dof=3) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert not (one == other).any()


def test_antithetic_draws_mirror_each_other() -> None:
    rng = np.random.default_rng(3)
    returns = sample_returns(COVARIANCE, 2000, rng, copula_dof=4, marginal_dof=5, antithetic=True)
    log = np.log1p(returns.to_numpy(float))
    np.testing.assert_allclose(log[1000:], -log[:1000], rtol=1e-9, atol=1e-15)
    assert len(np.unique(log[:1000, 0])) == 1000
    with pytest.raises(ScenarioError, match="even"):
        sample_returns(COVARIANCE, 3, rng, antithetic=True)


def test_a_table_of_draws() -> None:
    returns = sample_returns(COVARIANCE, 3, np.random.default_rng(1))
    assert list(returns.columns) == NAMES
    assert returns.index.name == "draw"
    assert list(returns.index) == [0, 1, 2]


@pytest.mark.parametrize(
    ("covariance", "arguments", "problem"),
    [
        (COVARIANCE, {"marginal_dof": 2.0}, "marginal_dof 2.0 must be above 2"),
        (COVARIANCE, {"copula_dof": 0.0}, "copula_dof 0.0 above 0"),
        (COVARIANCE, {"horizon": 0.0}, "horizon 0.0 positive"),
        (COVARIANCE, {"horizon": 1e8}, "leaves no price"),
        (COVARIANCE.iloc[:2], {}, "must be square"),
        (COVARIANCE * [1, 1, np.nan], {}, "finite"),
        (COVARIANCE * np.array([[1, 1, 1], [2, 1, 1], [1, 1, 1]]), {}, "symmetric"),
        (two(0.0) * 0, {}, "positive variances"),
        (two(1.0), {}, "not positive definite"),
        (two(1.5), {}, "not positive definite"),
    ],
)
def test_numbers_out_of_range_are_refused(covariance: pd.DataFrame, arguments: dict[str, float], problem: str) -> None:
    with pytest.raises(ScenarioError, match=problem):
        sample_returns(covariance, 100, np.random.default_rng(1), **arguments)  # type: ignore[arg-type]


def history(steps: int, seed: int = 2) -> pd.DataFrame:
    """Hourly prices whose log returns are the draws."""
    paths = np.exp(np.cumsum(draw(steps, seed), axis=0)) * [2000.0, 40000.0, 1.0]
    index = pd.date_range("2024-01-01", periods=steps, freq="h", tz="UTC")
    return pd.DataFrame(paths, index=index, columns=NAMES)


def test_the_sample_covariance() -> None:
    prices = history(500)
    estimate = estimate_covariance(prices, shrinkage="none")
    log = np.diff(np.log(prices.to_numpy(float)), axis=0)
    np.testing.assert_allclose(estimate.matrix, np.cov(log.T, ddof=0), rtol=1e-9)
    assert list(estimate.matrix.index) == list(estimate.matrix.columns) == NAMES
    assert (estimate.observations, estimate.dropped, estimate.shrinkage) == (499, 0, 0.0)
    assert estimate.step == pd.Timedelta("1h")
    prices.iloc[100, 1] = np.nan
    holed = estimate_covariance(prices, shrinkage="none")
    assert (holed.observations, holed.dropped) == (497, 2)


def ledoit_wolf(standard: NDArray[np.float64]) -> float:
    """Ledoit & Wolf (2004), section 3.3: b^2 / d^2, the estimated error of the sample over its distance to identity."""
    count, size = standard.shape
    sample = standard.T @ standard / count
    distance = ((sample - np.trace(sample) / size * np.eye(size)) ** 2).sum()
    error = sum(((np.outer(row, row) - sample) ** 2).sum() for row in standard) / count**2
    return float(min(error, distance) / distance)


def test_shrinkage_takes_correlations_towards_none_and_leaves_variances() -> None:
    pytest.importorskip("sklearn", reason="shrinkage needs the extra montecarlo")
    prices = history(40)
    log = np.diff(np.log(prices.to_numpy(float)), axis=0)
    standard = (log - log.mean(axis=0)) / log.std(axis=0)
    weight = ledoit_wolf(standard)
    assert 0.01 < weight < 1
    estimate = estimate_covariance(prices)
    assert estimate.shrinkage == pytest.approx(weight, rel=1e-9)
    np.testing.assert_allclose(np.diag(estimate.matrix), log.var(axis=0), rtol=1e-9)
    plain = estimate_covariance(prices, "none").matrix
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(estimate.matrix.to_numpy()[off], (1 - weight) * plain.to_numpy()[off], rtol=1e-9)


def test_what_gives_no_covariance_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    prices = history(50)
    with pytest.raises(ScenarioError, match="price of USD never moves"):
        estimate_covariance(prices.assign(USD=1.0))
    with pytest.raises(ScenarioError, match="unknown shrinkage 'more'"):
        estimate_covariance(prices, "more")
    with pytest.raises(ScenarioError, match="at least 2 steps"):
        estimate_covariance(prices.iloc[:2], "none")
    with pytest.raises(ScenarioError, match=r"missing in more than 2\.00%.*BTC"):
        estimate_covariance(prices.assign(BTC=prices["BTC"].where(np.arange(50) % 24 > 3)))
    monkeypatch.setitem(sys.modules, "sklearn.covariance", None)
    with pytest.raises(ScenarioError, match=r"pip install 'defi-leverage\[montecarlo\]'"):
        estimate_covariance(prices)


@pytest.mark.validation
def test_a_recorded_history_gives_back_its_own_correlations() -> None:
    """WETH, stETH and WBTC, 2022: draws of a day have the volatilities and rank correlations of the hours beneath."""
    folder = DATA / "prices"
    if not folder.exists():
        pytest.skip(f"{folder} is missing; set DEFI_LEVERAGE_VALIDATION_DATA to the folder that has it")
    names = ["WETH", "stETH", "WBTC"]
    table = pd.concat([pd.read_csv(folder / f"{name}_usd.csv") for name in names], ignore_index=True)
    prices = align_prices(table).loc["2022-01-01":"2022-12-31", names]
    estimate = estimate_covariance(prices, "none")
    assert estimate.observations > 0.98 * 365 * 24
    log = log_returns(prices)
    np.testing.assert_allclose(estimate.matrix, log.cov(ddof=0), rtol=1e-9)
    draws = sample_returns(estimate.matrix, DRAWS, np.random.default_rng(4), horizon=24, copula_dof=4)
    daily = np.log1p(draws.to_numpy(float))
    np.testing.assert_allclose(daily.std(axis=0), log.std() * np.sqrt(24), rtol=0.01)
    ranks = np.asarray(stats.spearmanr(daily).statistic, float)
    np.testing.assert_allclose(ranks, spearman_of_t(log.corr(), 4), atol=0.02)


def spearman_of_t(correlation: pd.DataFrame, dof: int) -> NDArray[np.float64]:
    """Rank correlation of the t copula with this parameter, from an independent sampler of scipy."""
    sample = stats.multivariate_t(shape=correlation.to_numpy(), df=dof, seed=9).rvs(50_000)
    return np.asarray(stats.spearmanr(sample).statistic, float)
