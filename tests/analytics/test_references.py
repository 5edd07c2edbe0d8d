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
    cppi_multiplier_bound,
    kelly_fraction,
    kelly_growth,
    volatility_target_leverage,
)
from defi_leverage.errors import ScenarioError
from tests.books import make_snapshot


def test_kelly_of_thorp() -> None:
    """m = 0.11, r = 0.06, s = 0.15, as Thorp takes the S&P 500: 0.05 / 0.0225, growth 0.06 + 0.05^2 / (2 * 0.0225)."""
    fraction = float(kelly_fraction(0.11, 0.06, 0.15))
    assert fraction == pytest.approx(2.2222, abs=1e-4)
    assert kelly_growth(fraction, 0.11, 0.06, 0.15) == pytest.approx(0.1156, abs=1e-4)
    assert kelly_growth(2 * fraction, 0.11, 0.06, 0.15) == pytest.approx(0.06)  # twice Kelly grows like cash
    assert math.isnan(float(kelly_fraction(0.1, 0.0, 0.0)))


@given(st.floats(-0.5, 0.5), st.floats(0.05, 2), st.floats(-3, 3))
def test_nothing_grows_faster_than_kelly(premium: float, volatility: float, fraction: float) -> None:
    best = kelly_fraction(premium, 0.0, volatility)
    assert kelly_growth(fraction, premium, 0.0, volatility) <= kelly_growth(best, premium, 0.0, volatility) + 1e-12


def test_volatility_target_by_hand() -> None:
    assert volatility_target_leverage(0.4, [0.8, 0.2]).tolist() == [0.5, 2]
    assert math.isnan(float(volatility_target_leverage(0.4, 0.0)))


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


def test_gap_probability_against_simulated_jumps() -> None:
    """Jumps twice a year, falls uniform in (0, 0.4): with m = 4, falls of 25 % or more come 0.75 times a year."""
    expected = float(cppi_gap_probability(2 * 0.15 / 0.4, 1.5))
    assert expected == pytest.approx(1 - math.exp(-1.125))
    random = np.random.default_rng(1)
    broken = [
        (cppi_cushion(1.0, 4, -random.uniform(0, 0.4, random.poisson(3))) < 0).any()  # 3 jumps in 1.5 years
        for _ in range(4000)
    ]
    assert np.mean(broken) == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 4000))
    assert cppi_gap_probability(0.0, 10) == 0


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
