"""Drag, carry and decay: figures of the sources, a simulated path, and accounts by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.analytics.decay import (
    constant_leverage_return,
    drifted_leverage,
    funding_cost,
    leverage_decay,
    rebalancing_drag,
    rebalancing_trade,
)
from defi_leverage.analytics.references import kelly_growth
from defi_leverage.snapshot import Snapshot
from tests.analytics.perp_book import perp_snapshot
from tests.books import make_snapshot


def test_leverage_after_a_return_and_the_trade_that_holds_it() -> None:
    """L = 3, r = -10 %: L' = 3.857143, and 60 of every 100 of equity are sold (SCIENCE figures, Cheng & Madhavan)."""
    assert drifted_leverage(3, -0.1) == pytest.approx(3.857143, abs=1e-6)
    assert rebalancing_trade(3, -0.1, 100) == pytest.approx(-60)
    assert rebalancing_trade(-2, -0.1, 100) == pytest.approx(-60)  # a short sells into a fall, too
    assert math.isnan(float(drifted_leverage(3, -0.34)))
    left, held = 100 - 30, 300 * 0.9 + float(rebalancing_trade(3, -0.1, 100))
    assert held / left == pytest.approx(3)


def test_drag_by_hand() -> None:
    assert rebalancing_drag([2, 3, 1, 0, -1, 0.5], 0.8) == pytest.approx([0.64, 1.92, 0, 0, 0.64, -0.08])
    assert constant_leverage_return(2, 0.0, 0.8, 1.0) == pytest.approx(math.exp(-0.64) - 1)
    assert constant_leverage_return(1, 0.25, 0.8, 3.0, borrow_rate=0.1) == pytest.approx(0.25)
    assert constant_leverage_return(3, 0.1, 0.0, 2.0, borrow_rate=0.05) == pytest.approx(1.1**3 * math.exp(-0.2) - 1)


@pytest.mark.parametrize("leverage", [2.0, 3.0, -1.0])
def test_the_drag_is_what_a_rebalanced_path_loses(leverage: float) -> None:
    """A price that goes up and down by one step, 20,000 times a year: volatility 60 %, and it ends where it began."""
    steps = 20_000
    step = 0.6 / math.sqrt(steps)
    growth = np.log1p(leverage * np.expm1([step, -step])).sum() * steps / 2
    assert math.expm1(growth) == pytest.approx(constant_leverage_return(leverage, 0.0, 0.6, 1.0), rel=1e-3)


@given(leverage=st.floats(-2, 4), drift=st.floats(-0.5, 0.5), volatility=st.floats(0.05, 0.8), years=st.floats(0.1, 2))
@settings(max_examples=40)
def test_the_mean_over_a_lognormal_price_is_exact(
    leverage: float, drift: float, volatility: float, years: float
) -> None:
    """E[S_T / S_0] = exp(mu T), so that equity held at L earns exp((L mu + (1 - L) b) T) on average, whatever the
    volatility: the drag is just what the convexity of (S_T / S_0)^L gives. Avellaneda & Zhang (2010), lognormal case.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    price = np.exp((drift - volatility**2 / 2) * years + volatility * math.sqrt(years) * nodes)
    earned = [constant_leverage_return(leverage, move - 1, volatility, years, borrow_rate=0.05) for move in price]
    mean = float(np.dot(weights, earned) / weights.sum())
    assert 1 + mean == pytest.approx(math.exp((leverage * drift + (1 - leverage) * 0.05) * years), rel=1e-9)


@given(leverage=st.floats(-2, 4), drift=st.floats(-0.5, 0.5), volatility=st.floats(0.05, 2), rate=st.floats(-0.1, 0.2))
@settings(max_examples=40)
def test_growth_less_the_drag_is_the_growth_of_kelly(
    leverage: float, drift: float, volatility: float, rate: float
) -> None:
    """L times the asset's log growth, less interest on what is borrowed, less the drag: Thorp (2006), section 7."""
    unlevered = float(kelly_growth(1.0, drift, rate, volatility))
    growth = leverage * unlevered - (leverage - 1) * rate - float(rebalancing_drag(leverage, volatility))
    assert growth == pytest.approx(float(kelly_growth(leverage, drift, rate, volatility)), rel=1e-9, abs=1e-12)


@given(leverage=st.floats(-3, 5), move=st.floats(-0.15, 0.15))
def test_trading_brings_the_drifted_leverage_back(leverage: float, move: float) -> None:
    equity = 1 + leverage * move
    held = float(drifted_leverage(leverage, move)) * equity + float(rebalancing_trade(leverage, move, 1.0))
    assert held == pytest.approx(leverage * equity, rel=1e-9, abs=1e-12)


def test_the_trade_by_hand() -> None:
    """L (L - 1) for funds of 2, 3, -1, -2 and -3 times an index: all trade with the index, and none offsets another."""
    assert rebalancing_trade([2, 3, -1, -2, -3], 0.01, 100).tolist() == pytest.approx([2, 6, 2, 6, 12])


def test_funding_by_side() -> None:
    """Positive funding: longs pay shorts."""
    assert funding_cost([5.0, 5.0], 0.1, [True, False]).tolist() == [0.5, -0.5]


def lent(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["venue_id", "asset_id", "supply_rate", "borrow_rate"])


def test_an_account_by_hand() -> None:
    """3x ETH for dollars: supplies earn 2 %, debt costs 5 %; carry 3 * 2 - 2 * 5 = -4 %; drag 3 * 2 * 0.36 / 2."""
    made = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [({"ETH": 3}, {"USD": 4000}), ({"ETH": 1}, {"ETH": 0.5})])
    rates = lent(("v", "ETH", 0.02, 0.02), ("v", "USD", 0.0, 0.05))
    book = Snapshot.from_tables(made.tables | {"rates": rates})
    row = leverage_decay(book, {"ETH": 0.6, "USD": 0}).set_index("account_id").loc["a0"]
    assert (row["driver"], row["driver_leverage"]) == ("ETH", pytest.approx(3))
    assert row["net_carry"] == pytest.approx(-0.04)
    assert row["rebalancing_drag"] == pytest.approx(1.08)
    assert row["decay"] == pytest.approx(1.12)
    assert row["half_life_years"] == pytest.approx(math.log(2) / 1.12)
    hedged = leverage_decay(book, {"ETH": 0.6, "USD": 0}).set_index("account_id").loc["a1"]
    assert (hedged["driver_leverage"], hedged["rebalancing_drag"]) == (1, 0)  # it is leveraged against itself only


def test_what_is_not_given_is_missing() -> None:
    made = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [({"ETH": 3}, {"USD": 4000}), ({"ETH": 1}, {"USD": 2100})])
    two_drivers = leverage_decay(made, {"ETH": 0.6, "USD": 0.1}).iloc[0]
    assert two_drivers["driver"] == ""
    assert two_drivers[["driver_leverage", "rebalancing_drag", "net_carry", "decay", "half_life_years"]].isna().all()
    no_volatility = leverage_decay(made, {"USD": 0}).iloc[0]
    assert no_volatility["driver_leverage"] == pytest.approx(3)
    assert math.isnan(no_volatility["rebalancing_drag"])
    no_equity = leverage_decay(made, {"ETH": 0.6, "USD": 0}).set_index("account_id").loc["a1"]
    assert no_equity[["leverage", "driver_leverage", "rebalancing_drag"]].isna().all()


def test_funding_is_the_carry_of_a_perp() -> None:
    """Funding of 10 %: the long of leverage 9.5 pays 95 % of its equity a year, the short of 1.5 earns 15 %."""
    table = leverage_decay(perp_snapshot(0.1, insolvent=True), {"X": 1.0}).set_index("account_id")
    assert table["net_carry"][["D", "C"]].tolist() == pytest.approx([-0.95, 0.15])
    assert table["driver_leverage"][["D", "C"]].tolist() == pytest.approx([9.5, -1.5])
    assert table["rebalancing_drag"]["C"] == pytest.approx(-1.5 * -2.5 / 2)
    assert table["decay"]["C"] == pytest.approx(1.875 - 0.15)
    assert math.isnan(table["net_carry"]["E"])  # without equity
    assert leverage_decay(perp_snapshot(math.nan), {"X": 1.0})["net_carry"].isna().all()
