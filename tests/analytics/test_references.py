"""Kelly, volatility target and portfolio insurance: figures of the sources, and clusters against them."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defi_leverage.analytics.references import (
    cluster_references,
    cppi_cushion,
    cppi_exposure,
    cppi_gap_probability,
    cppi_gap_shortfall,
    cppi_multiplier_bound,
    falls_per_year,
    kelly_fraction,
    kelly_growth,
    volatility_target_leverage,
)
from defi_leverage.errors import ScenarioError
from tests.books import make_snapshot


def test_kelly_of_thorp() -> None:
    """Thorp (2006), example 7.2, the S&P 500: m = .11, s = .15, r = .06. He prints f* = 2.2 and growth .115, both with
    the last digit repeating, a standard deviation of .3 repeating, and .09875 for the growth without leverage.
    """
    fraction = float(kelly_fraction(0.11, 0.06, 0.15))
    assert fraction == pytest.approx(20 / 9, rel=1e-12)
    assert kelly_growth(fraction, 0.11, 0.06, 0.15) == pytest.approx(0.11 + 0.05 / 9, rel=1e-12)
    assert kelly_growth(1.0, 0.11, 0.06, 0.15) == pytest.approx(0.09875, rel=1e-12)
    assert kelly_growth(2 * fraction, 0.11, 0.06, 0.15) == pytest.approx(0.06)  # twice Kelly grows like cash
    # his standard deviation as the target asks for his leverage
    assert volatility_target_leverage(1 / 3, 0.15) == pytest.approx(fraction, rel=1e-12)
    assert math.isnan(float(kelly_fraction(0.1, 0.0, 0.0)))


def test_kelly_of_us_equities() -> None:
    """1926 to 2001: mu = .102, sigma = .203, r = .039 give 1.5288 (Ziemba & MacLean, Using the Kelly Criterion for
    Investing, in Stochastic Optimization Methods in Finance and Energy, Springer 2011, section 1.4, footnote 2).
    """
    assert kelly_fraction(0.102, 0.039, 0.203) == pytest.approx(1.5288, abs=5e-5)


@given(st.floats(-0.3, 0.3), st.floats(0.05, 2), st.floats(0, 2.5))
def test_a_fraction_c_of_kelly_has_c_times_2_less_c_of_its_growth(premium: float, volatility: float, c: float) -> None:
    """Thorp (2006), equation 7.6: half of Kelly keeps 3/4 of the growth above cash."""
    best = kelly_fraction(premium, 0.0, volatility)
    whole = float(kelly_growth(best, premium, 0.0, volatility))
    assert kelly_growth(c * best, premium, 0.0, volatility) == pytest.approx(c * (2 - c) * whole, rel=1e-9, abs=1e-12)


@given(st.floats(-0.5, 0.5), st.floats(0.05, 2), st.floats(-3, 3))
def test_nothing_grows_faster_than_kelly(premium: float, volatility: float, fraction: float) -> None:
    best = kelly_fraction(premium, 0.0, volatility)
    assert kelly_growth(fraction, premium, 0.0, volatility) <= kelly_growth(best, premium, 0.0, volatility) + 1e-12


def test_volatility_target_by_hand() -> None:
    """At that leverage a year of returns has the target as its volatility, whatever they are."""
    assert volatility_target_leverage(0.4, [0.8, 0.2]).tolist() == [0.5, 2]
    assert math.isnan(float(volatility_target_leverage(0.4, 0.0)))
    returns = np.random.default_rng(3).standard_t(3, 365) * 0.04
    leverage = volatility_target_leverage(0.1, returns.std() * math.sqrt(365))
    assert (leverage * returns).std() * math.sqrt(365) == pytest.approx(0.1, rel=1e-12)


def test_portfolio_insurance_by_hand() -> None:
    """100 with a floor of 80 and a multiplier of 5: all is exposed; a gap of 20 % takes exactly the cushion."""
    assert cppi_exposure([3, 5], 100, [80, 80]).tolist() == [60, 100]
    assert cppi_exposure(5, 79, 80) == 0
    assert cppi_multiplier_bound([0.2, 1.0]).tolist() == [5, 1]
    assert cppi_cushion(20, 5, -0.2) == 0
    assert 100 - 0.25 * cppi_exposure(5, 100, 80) - 80 == pytest.approx(float(cppi_cushion(20, 5, -0.25)))
    for gap in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="must be above 0 and at most 1"):
            cppi_multiplier_bound(gap)


def test_falls_by_hand() -> None:
    """With a mean log size of 1/2 a jump takes 20 % with probability (4/5)^2: 64 of 100. None takes everything."""
    assert falls_per_year([0.0, 0.2, 1.0, 2.0], 100, 0.5) == pytest.approx([100, 64, 0, 0])
    assert cppi_gap_probability([0.0, math.log(2)], 1.0) == pytest.approx([0, 0.5])
    assert cppi_gap_shortfall([5.0, 1.0], 0.25) == pytest.approx([4 * 0.25 / 1.25, math.nan], nan_ok=True)
    with pytest.raises(ValueError, match=r"mean_jump 0.0 must be above 0"):
        falls_per_year(0.2, 100, 0.0)


@pytest.mark.parametrize(("multiplier", "years"), [(4.0, 2.0), (8.0, 0.5)])
def test_gap_risk_against_simulated_insurance(multiplier: float, years: float) -> None:
    """A floor of 80, traded 2,000 times a year, on a price that diffuses and jumps ten times a year by 10 % on average.

    No closed form in it: the portfolio is traded at each step, and what breaks the floor is counted. Four standard
    errors, and 1 percentage point for what the price diffuses between two trades.
    """
    random, paths, steps = np.random.default_rng(1), 3000, int(2000 * years)
    value, loss = np.full(paths, 100.0), np.full(paths, np.nan)
    for _ in range(steps):
        jumps = random.poisson(10 / 2000, paths)
        sizes = np.where(jumps > 0, random.gamma(np.maximum(jumps, 1), 0.1), 0.0)
        moved = np.expm1(0.1 / 2000 + 0.3 * random.standard_normal(paths) / math.sqrt(2000) - sizes)
        before = value
        value = before + cppi_exposure(multiplier, before, 80.0) * moved
        newly = (value < 80) & np.isnan(loss)
        loss[newly] = (80 - value[newly]) / (before[newly] - 80)
    broken = ~np.isnan(loss)
    expected = float(cppi_gap_probability(falls_per_year(1 / multiplier, 10, 0.1), years))
    assert broken.mean() == pytest.approx(expected, abs=0.01 + 4 * math.sqrt(expected * (1 - expected) / paths))
    shortfall = float(cppi_gap_shortfall(multiplier, 0.1))
    error = loss[broken].std() / math.sqrt(broken.sum())
    assert loss[broken].mean() == pytest.approx(shortfall, abs=0.01 * multiplier + 4 * error)


@given(st.floats(1.01, 30), st.floats(0.01, 1))
def test_more_leverage_is_more_gap_risk(multiplier: float, mean_jump: float) -> None:
    low, high = falls_per_year([1 / multiplier, 1 / (2 * multiplier)], 10, mean_jump)
    assert low <= high <= 10
    first, second = cppi_gap_shortfall([multiplier, 2 * multiplier], mean_jump)
    assert 0 < first < second
    # at the multiplier whose bound is the fall, a jump of that size takes exactly the cushion
    assert cppi_cushion(1.0, cppi_multiplier_bound(1 / multiplier), -1 / multiplier) == pytest.approx(0, abs=1e-9)


CLUSTERS = pd.DataFrame(
    [
        ("c1", "ETH", "ETH", "fall", 4.0),
        ("c2", "ETH + BTC", "ETH, BTC", "fall, fall", 3.0),
        ("c3", "ETH + DAI up", "ETH, DAI", "fall, rise", 2.0),
        ("c4", "DAI up", "DAI", "rise", 2.0),
    ],
    columns=["cluster_id", "cluster", "assets", "directions", "leverage"],
)
BOOK = make_snapshot({"ETH": 2000.0, "BTC": 4e4, "DAI": 1.0}, [({"ETH": 1}, {"DAI": 5})])


def test_clusters_against_the_references() -> None:
    """Kelly of ETH is (0.22 - 0.04) / 0.36 = 0.5, a target of 30 % at 60 % is 0.5, and a gap of 25 % bounds at 4."""
    table = cluster_references(
        BOOK,
        CLUSTERS,
        {"ETH": 0.6, "BTC": 0.5},
        {"ETH": 0.22, "BTC": -0.1},
        risk_free_rate=0.04,
        target_volatility=0.3,
        gap=0.25,
    ).set_index("cluster_id")
    assert table["times_kelly"][["c1", "c2", "c3"]].tolist() == pytest.approx([8, 6, 4])
    assert table["times_target"]["c1"] == pytest.approx(8)
    assert table["times_gap"][["c1", "c2", "c3"]].tolist() == pytest.approx([1, 0.75, 0.5])
    assert table["symbol"].tolist() == ["ETH", "ETH", "ETH", ""]  # the most volatile of those that fall
    assert table.loc["c4", ["times_kelly", "times_target", "times_gap"]].isna().all()


def test_gap_risk_of_clusters() -> None:
    """Leverage 4 breaks at 25 %: (3/4)^2 of 8 jumps a year; what is lost beyond the equity is 3 * 0.5 / 1.5 of it."""
    table = cluster_references(BOOK, CLUSTERS, jumps_per_year=8, mean_jump=0.5).set_index("cluster_id")
    assert table["gap_probability"][["c1", "c3"]].tolist() == pytest.approx([1 - math.exp(-4.5), 1 - math.exp(-2)])
    assert table["gap_shortfall"]["c1"] == pytest.approx(1)
    assert table.loc["c4", ["gap_probability", "gap_shortfall"]].isna().all()  # of a rise
    assert cluster_references(BOOK, CLUSTERS, gap=0.2)["gap_probability"].isna().all()
    with pytest.raises(ScenarioError, match=r"jumps per year 8, mean jump nan: give both"):
        cluster_references(BOOK, CLUSTERS, jumps_per_year=8)
    with pytest.raises(ScenarioError, match=r"mean jump 0: at least 0 and above 0"):
        cluster_references(BOOK, CLUSTERS, jumps_per_year=8, mean_jump=0.0)


def test_what_is_not_given_or_not_warranted() -> None:
    table = cluster_references(BOOK, CLUSTERS, {"ETH": 0.6}).set_index("cluster_id")
    assert table[["times_kelly", "times_target", "times_gap"]].isna().all(axis=None)
    assert math.isnan(table["volatility"]["c2"])  # BTC may be the more volatile one
    falling = cluster_references(BOOK, CLUSTERS, {"ETH": 0.6}, {"ETH": -0.2}, risk_free_rate=0.0)
    assert falling["times_kelly"].iloc[0] == math.inf
    with pytest.raises(ScenarioError, match=r"gap 2 must be above 0"):
        cluster_references(BOOK, CLUSTERS, gap=2)
    with pytest.raises(ScenarioError, match=r"target volatility 0.0 must be above 0"):
        cluster_references(BOOK, CLUSTERS, target_volatility=0.0)
