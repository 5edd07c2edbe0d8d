"""Figures of rate curves and of scope: what is drawn is what the tables say."""

from typing import Any

import pytest

from defi_leverage.analytics.rates import rates_after_withdrawal
from defi_leverage.analytics.scope import liquidation_scope
from defi_leverage.plots.rates import plot_rate_curves, plot_scope
from defi_leverage.store import load_snapshot
from defi_leverage.stress.scenario_sets import ladder


def test_points_before_and_after_lie_on_the_curve() -> None:
    markets = rates_after_withdrawal(load_snapshot("sample"), {"WETH": 0.3, "USDC": 0.3, "DAI": 0.1, "WBTC": 0.1})
    axes: Any = plot_rate_curves(markets, {markets["venue_id"].iloc[0]: "Named"}).axes[0]
    lines: Any = axes.get_lines()
    assert len(lines) == 3 * 6  # six markets of eight: a curve and two points each
    assert "2 smaller left out" in axes.get_title(loc="left")
    for number, row in enumerate(markets.head(6).to_dict("records")):
        before, after = (lines[3 * number + point].get_xydata()[0] for point in (1, 2))
        assert before.tolist() == [row["utilisation_before"], row["borrow_rate_before"]]
        assert after.tolist() == pytest.approx([row["utilisation_after"], row["borrow_rate_after"]])
    assert axes.get_legend().get_texts()[0].get_text().endswith(", Named")


def test_scope_has_two_lines_a_venue() -> None:
    venues = liquidation_scope(load_snapshot("sample"), ladder("WETH", [-0.1, -0.2])).venues
    axes = plot_scope(venues).axes[0]
    assert len(axes.get_lines()) == 2 * venues["venue_id"].nunique()
    assert [label.get_text() for label in axes.get_xticklabels()] == list(dict.fromkeys(venues["scenario"]))


def test_nothing_is_not_drawn() -> None:
    snapshot = load_snapshot("sample")
    markets = rates_after_withdrawal(snapshot, {"WETH": 0.3})
    with pytest.raises(ValueError, match="no market"):
        plot_rate_curves(markets.head(0))
    with pytest.raises(ValueError, match="no venue"):
        plot_scope(liquidation_scope(snapshot, ladder("WETH", [-0.1])).venues.head(0))
