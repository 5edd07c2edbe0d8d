"""Figures of a stress test: the figures in them are those of the report."""

import numpy as np
import pandas as pd
import pytest

from defi_leverage.plots.stress import draw_stress, plot_curve, plot_draws, plot_grid, plot_rungs
from defi_leverage.stress.notation import parse_axis, parse_grid
from defi_leverage.stress.plan import Draws, PriceSource, StressPlan
from defi_leverage.stress.run import run_plan
from tests.plots.test_overview import draw
from tests.stress.test_run import history, positions


def test_rungs_have_a_line_for_each_depth() -> None:
    rows = pd.DataFrame({"change": [-0.1, -0.2] * 2, "depth_multiplier": [1.0, 1.0, 0.5, 0.5]})
    rows = rows.assign(seized_usd=[1e6, 2e6, 3e6, 4e6], bad_debt_usd=[0, 1e3, 0, 2e3])
    figure = plot_rungs(rows, "$WETH$")
    text = draw(figure)
    assert all(part in text for part in ("The price of $WETH$ changes", "depth x1", "depth x0.5", "liquidated, USD"))
    upper = figure.axes[0]
    assert [np.asarray(line.get_xdata()).tolist() for line in upper.lines] == [[-20, -10], [-20, -10]]
    assert upper.xaxis_inverted()
    assert "depth x1" not in draw(plot_rungs(rows.iloc[:2], "WETH"))


def test_a_grid_writes_every_cell() -> None:
    cells = pd.DataFrame([(a, b) for a in (0.0, -0.5) for b in (0.0, -0.1)], columns=["change", "second_change"])
    text = draw(plot_grid(cells.assign(bad_debt_usd=[0.0, 1e3, 2e6, 3e9]), "WETH by $x$, depth x0.5"))
    for part in (
        "$0",
        "$1k",
        "$2M",
        "$3B",
        "-50 %",
        "-10 %",
        "change of WETH",
        "change of $x$",
        "Bad debt, USD, depth x0.5",
    ):
        assert part in text


def test_draws_show_their_measures() -> None:
    text = draw(plot_draws(pd.Series(np.arange(100.0) * 1e4), 0.95, "100 draws"))
    assert "VaR 0.95: $940k" in text
    assert "expected shortfall: $970k" in text
    draw(plot_draws(pd.Series(np.zeros(5)), 0.95, "nothing is ever lost"))


def test_a_curve_marks_today() -> None:
    report = run_plan(positions(), StressPlan(curves=(parse_axis("ETH=-50%:20%:10%"),)))
    text = draw(plot_curve(report.curves))
    assert "today: $2,000" in text
    assert "each price of ETH" in text


def test_every_part_of_a_report_is_drawn_where_it_is_whole() -> None:
    plan = StressPlan(
        ladders=(parse_axis("ETH=-10%,-20%"), parse_axis("ETH=-30%")),
        grids=(parse_grid("ETH=0%,-20% by USD=0%,1%"),),
        curves=(parse_axis("ETH=-10%,10%"),),
        prices=PriceSource(("given",)),
        draws=Draws(20, shrinkage="none"),
        depth_multipliers=(1.0, 0.5),
        losses=(),
    )
    figures = draw_stress(run_plan(positions(), plan, history()))
    assert list(figures) == [
        "ladder_1.png",
        "grid_1.png",
        "grid_2.png",
        "draws_1.png",
        "draws_2.png",
        "curve_1.png",
    ]
    assert all(content.startswith(b"\x89PNG") for content in figures.values())

    def stop(what: str, done: int, _: int) -> None:
        if (what, done) == ("draws", 25):
            raise KeyboardInterrupt

    assert "draws_2.png" not in draw_stress(run_plan(positions(), plan, history(), stop))


@pytest.mark.parametrize("stopped_after", [0, 1])
def test_a_report_of_almost_nothing_can_be_drawn(stopped_after: int) -> None:
    def stop(_: str, done: int, __: int) -> None:
        if done >= stopped_after:
            raise KeyboardInterrupt

    plan = StressPlan(ladders=(parse_axis("ETH=-10%:-30%:-10%"),), grids=(parse_grid("ETH=0%,-20% by USD=0%,1%"),))
    report = run_plan(positions(), plan, progress=stop)
    assert len(report.scenarios) == 1
    assert draw_stress(report) == {}
    assert report.summary()["finished"] == 1
