import io
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from defi_leverage.clusters import gain_matrix
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ConfigError
from defi_leverage.graph import build_graph
from defi_leverage.health import account_health
from defi_leverage.plots import plot_gain, plot_graph, plot_ladder, plot_leverage, plot_rounds
from defi_leverage.synthetic import synthetic_book
from tests.books import make_snapshot

BOOK = synthetic_book(300, seed=1)


def draw(figure: Figure) -> str:
    """Render a figure and return all its text; fails where text cannot be drawn."""
    figure.savefig(io.BytesIO(), format="png")
    texts = [text.get_text() for text in figure.findobj(mpl.text.Text)]
    return "\n".join(texts)


def test_the_graph_names_assets_venues_and_dollars() -> None:
    text = draw(plot_graph(build_graph(BOOK)))
    for word in ("WETH", "wstETH", "USDC", "Core", "others", "of collateral", "borrowed"):
        assert word in text


def test_the_graph_folds_venues_and_refuses_an_empty_book() -> None:
    text = draw(plot_graph(build_graph(BOOK), assets=3, venues=2))
    assert "Core" in text
    assert "Isle" not in text
    with pytest.raises(ValueError, match="no collateral to draw"):
        plot_graph(build_graph(synthetic_book(0, seed=1)))


def test_leverage_counts_accounts_without_equity() -> None:
    snapshot = make_snapshot({"ETH": 100.0}, [({"ETH": 2}, {"ETH": 1}), ({"ETH": 1}, {"ETH": 2}), ({"ETH": 1}, {})])
    text = draw(plot_leverage(account_health(snapshot)))
    assert "Leverage of 2 borrowers: 2.00x together, 1 without equity left out" in text
    assert "95 % of accounts: 2.0x" in text
    draw(plot_leverage(account_health(synthetic_book(0, seed=1))))


def test_the_ladder_has_a_panel_for_each_quantity() -> None:
    rows = pd.DataFrame({"fall": [0.2, 0.0, 0.4], "liquidated_usd": [2e6, 0, 9e6], "bad_debt_usd": [0, 0, 3e4]})
    figure = plot_ladder(rows, "ETH falls")
    assert "$10k" in draw(figure) or "$20k" in draw(figure)
    assert np.array_equal(figure.axes[0].lines[0].get_xdata(), [0, 20, 40])


def test_rounds_show_prices_and_what_was_seized() -> None:
    result = run_contagion(BOOK, Scenario("ETH -30 %", {"ETH": -0.3}))
    text = draw(plot_rounds(result))
    assert f"after {len(result.rounds)} round" in text
    assert "ETH" in text
    draw(plot_rounds(run_contagion(BOOK, Scenario("nothing"))))


def test_gain_is_a_heat_map_of_what_is_not_zero() -> None:
    gain = pd.DataFrame([[0.5, 2.0, 0.0], [0.0, 0.1, -1.0], [0.0, 0.0, 0.0]], index=list("abc"), columns=list("abc"))
    text = draw(plot_gain(gain, {"a": "ETH"}))
    assert "2.00" in text
    assert "ETH" in text
    assert "c" not in text.split("\n")
    draw(plot_gain(gain * 0))
    draw(plot_gain(gain_matrix(BOOK)))


def test_names_are_never_read_as_formulas() -> None:
    snapshot = make_snapshot({"$\\frac": 1.0, "$US$": 1.0}, [({"$\\frac": 10}, {"$US$": 7.9})], venue_of=["$v_{$"])
    assert "$US$" in draw(plot_graph(build_graph(snapshot)))
    draw(plot_rounds(run_contagion(snapshot, Scenario("$\\x$", {"$\\frac": -0.5}))))
    draw(plot_gain(pd.DataFrame([[1.0]], index=["$\\frac"], columns=["$\\frac"])))


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"defi-leverage\[plots\]"):
        plot_leverage(account_health(BOOK))
