import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from defi_leverage.clusters.ranking import gain_matrix
from defi_leverage.config import load_config
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ConfigError
from defi_leverage.graph.dependency import build_graph
from defi_leverage.health import account_health
from defi_leverage.plots.overview import plot_gain, plot_graph, plot_ladder, plot_leverage, plot_rounds, to_png
from defi_leverage.snapshot import Snapshot
from defi_leverage.summary import draw as draw_all
from defi_leverage.summary import run_scenarios
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
    assert "95 % up to 2.0x" in text
    draw(plot_leverage(account_health(synthetic_book(0, seed=1))))


def test_the_ladder_has_a_panel_for_each_quantity() -> None:
    rows = pd.DataFrame({"fall": [0.2, 0.0, 0.4], "seized_usd": [2e6, 0, 9e6], "bad_debt_usd": [0, 0, 3e4]})
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


def test_odd_names_leave_room_for_the_figure() -> None:
    names = "\U0001f680" * 3 + "\n\tMOON", "x" * 300
    snapshot = make_snapshot(dict.fromkeys(names, 1.0), [({names[0]: 10}, {names[1]: 7.9})], venue_of=["v" * 200])
    scenario = Scenario("a long name\n" * 30, {names[0]: -0.5})
    figures = (
        plot_graph(build_graph(snapshot)),
        plot_rounds(run_contagion(snapshot, scenario)),
        plot_gain(pd.DataFrame(1.0, index=names, columns=names)),
    )
    for figure in figures:  # a layout that does not fit warns, and warnings fail
        assert to_png(figure).startswith(b"\x89PNG")


def test_labels_of_rounds_keep_apart_below_the_title() -> None:
    result = run_contagion(synthetic_book(2000, seed=2), Scenario("ETH", {"ETH": -0.2}))
    upper = plot_rounds(result).axes[0]
    ends = sorted(text.get_position()[1] for text in upper.texts)
    low, high = upper.get_ylim()
    assert len(ends) == 6
    assert all(above - below >= 0.05 * (high - low) for below, above in pairwise(ends))
    assert ends[-1] <= high
    assert any(
        "ETH, WETH" in text.get_text() for text in upper.texts
    )  # what is shocked is drawn, however little it fell


def job(snapshot: Snapshot, *scenarios: Scenario, stress: Sequence[str] = ()) -> dict[str, bytes]:
    config = replace(load_config(), scenarios=scenarios)
    clusters = [
        {"assets": "ETH, BTC", "trigger": "ETH", "peak_at": 0.1},
        {"assets": "UNI", "trigger": "UNI", "peak_at": 0},
    ]
    rows = list(run_scenarios(snapshot, scenarios))
    found = {"scenarios": rows, "clusters": clusters, "stress": {"files": stress} if stress else None}
    return draw_all(snapshot, build_graph(snapshot), config, found)


def test_the_figures_of_the_main_job() -> None:
    absent, shock = Scenario("absent", {"no such asset": -0.1}), Scenario("ETH -10 %", {"ETH": -0.1})
    always = {"graph.png", "leverage.png", "gain.png"}
    assert set(job(BOOK, Scenario("as it stands"), absent)) == always
    assert set(job(BOOK, Scenario("fault", {}, {"wstETH": -0.1}))) == always | {"rounds.png"}
    figures = job(BOOK, absent, shock)
    assert set(figures) == always | {"rounds.png", "ladder.png"}
    assert all(content.startswith(b"\x89PNG") for content in figures.values())
    drawn = ["out/stress/curve_1.png", "out/stress/ladder_1.png"]
    assert set(job(BOOK, shock, stress=drawn)) == always | {"rounds.png"}


def test_what_cannot_be_drawn_is_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    assert job(synthetic_book(0, seed=1)) == {}
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert job(BOOK) == {}
    first, second = (message for message in caplog.messages if message.startswith("no figures"))
    assert first.startswith("no figures: the graph has no collateral")
    assert second == "no figures: plots need matplotlib; install it with: pip install 'defi-leverage[plots]'"
