"""Losses, leave-one-out and the contagion matrix on two accounts whose whole story is solved by hand."""

import math

import networkx as nx
import numpy as np
import pytest

from defi_leverage.clusters.contagion_matrix import (
    EDGE_COLUMNS,
    contagion_edges,
    contagion_graph_edges,
    contagion_matrix,
)
from defi_leverage.clusters.leave_one_out import leave_one_out, reference_loss
from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.losses import account_losses, leave_alone, venue_losses
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.graph.dependency import build_graph
from defi_leverage.plots.contagion import plot_contagion
from defi_leverage.snapshot import Snapshot
from tests.books import Position, make_snapshot

PRICES = {"ETH": 2000.0, "USD": 1.0}
SHOCK = Scenario("ETH -10 %", {"ETH": -0.1})
SOLD = 152_000 / 1800  # ETH: a0 is liquidated at 1,800 USD, its whole debt at no bonus
PRICE = 1800 * math.exp(-SOLD / 1000)  # 1,654: what a1 is liquidated at
LOSS = 17_000 - 10 * PRICE


@pytest.fixture
def two() -> Snapshot:
    """a0 at v falls to its health factor by the shock alone; a1 at w only by a0's sale, and it is under water then."""
    return make_snapshot(
        PRICES,
        [({"ETH": 100.0}, {"USD": 152_000.0}), ({"ETH": 10.0}, {"USD": 17_000.0})],
        weights={"ETH": 0.95},
        bonus=0.0,
        depth={"ETH": 1000.0},
        venue_of=["v", "w"],
    )


@pytest.fixture
def snapshot(two: Snapshot) -> Snapshot:
    legs = two.legs.copy()
    legs.loc[(legs["account_id"] == "a0") & (legs["side"] == "collateral"), "weight"] = 0.8
    return Snapshot.from_tables(two.tables | {"legs": legs})


def test_the_losses_of_a_run_are_those_by_hand(snapshot: Snapshot) -> None:
    result = run_contagion(snapshot, SHOCK)
    assert result.liquidations["account_id"].tolist() == ["a0", "a1"]
    assert account_losses(result) == pytest.approx([0, LOSS])
    assert venue_losses(result).to_dict() == pytest.approx({"v": 0, "w": LOSS})


def test_who_is_left_alone_is_not_liquidated_and_still_lost(snapshot: Snapshot) -> None:
    book = compile_book(snapshot)
    without = run_contagion(snapshot, SHOCK, leave_alone(book, np.array([True, False])))
    assert without.liquidations.empty
    assert account_losses(without) == pytest.approx([0, 0])
    alone = run_contagion(snapshot, SHOCK, leave_alone(book, np.array([False, True])))
    assert alone.liquidations["account_id"].tolist() == ["a0"]
    assert account_losses(alone) == pytest.approx([0, LOSS])  # a shortfall at the market instead of bad debt


def test_debt_that_was_bad_before_is_no_loss_of_the_scenario() -> None:
    snapshot = make_snapshot(PRICES, [({}, {"USD": 500.0}), ({"ETH": 1.0}, {"USD": 1500.0})], bonus=0.0)
    assert account_losses(run_contagion(snapshot, Scenario(shocks={"ETH": -0.3}))) == pytest.approx([0, 100])
    book = compile_book(snapshot)
    without = run_contagion(snapshot, Scenario(shocks={"ETH": -0.3}), leave_alone(book, np.array([True, True])))
    assert account_losses(without) == pytest.approx([0, 100])


def test_what_vanishes_without_a_cluster(snapshot: Snapshot) -> None:
    """Without a0 nothing is lost, though it loses nothing itself; without a1 nothing either, for it is all its own."""
    book = compile_book(snapshot)
    hit, quiet = (reference_loss(run_contagion(snapshot, scenario, book)) for scenario in (SHOCK, Scenario("none")))
    table = leave_one_out(snapshot, {"sells": ["a0"], "loses": ["a1"], "nobody": []}, [hit, quiet], book)
    assert table.loc[["sells"]].to_numpy()[0] == pytest.approx([LOSS, 0, LOSS, 1])
    assert table.loc[["loses"]].to_numpy()[0] == pytest.approx([LOSS, LOSS, 0, 1])
    assert table.loc[["nobody"]].to_numpy()[0] == pytest.approx([LOSS, 0, 0, 0])
    nothing = leave_one_out(snapshot, {"sells": ["a0"]}, [quiet], book)
    assert np.isnan(nothing["leave_one_out_share"].iloc[0])


def test_rounding_is_neither_spillover_nor_loss() -> None:
    """ETH is not sold to those who lose on BTC; who is under water before, and is closed at no bonus, loses no more."""
    held = np.random.default_rng(0).uniform(1.0, 3.0, 60).tolist()
    eth: list[Position] = [({"ETH": tokens}, {"USD": tokens * 1500.0}) for tokens in held]
    btc: list[Position] = [({"BTC": tokens}, {"USD": tokens * 29_000.0}) for tokens in held]
    depth = {"ETH": 1000.0, "BTC": 300.0}
    prices = {"ETH": 1999.7, "USD": 0.9997, "BTC": 39_999.1}
    snapshot = make_snapshot(prices, [*eth, *btc], bonus=0.01, depth=depth)
    book = compile_book(snapshot)
    both = reference_loss(run_contagion(snapshot, Scenario(shocks={"ETH": -0.3, "BTC": -0.3}), book))
    row = leave_one_out(snapshot, {"ETH": [f"a{number}" for number in range(60)]}, [both], book).iloc[0]
    assert row["loss_usd"] > 1000
    assert row["spillover_usd"] == 0
    drowned: list[Position] = [({"ETH": tokens}, {"USD": tokens * 2345.6}) for tokens in held]
    under = make_snapshot(prices, drowned, bonus=0.0)
    book = compile_book(under)
    quiet = reference_loss(run_contagion(under, Scenario(), book))
    assert quiet.loss.sum() > 0
    assert np.isnan(
        leave_one_out(under, {"all": book.account_ids.tolist()}, [quiet], book)["leave_one_out_share"]
    ).all()


def test_the_contagion_matrix_by_hand(snapshot: Snapshot) -> None:
    matrix = contagion_matrix(snapshot, SHOCK)
    assert matrix.loc[["v"]].to_numpy()[0] == pytest.approx([0, LOSS])
    assert matrix.loc[["w"]].to_numpy()[0] == pytest.approx([0, 0])
    assert matrix.attrs["loss_usd"] == pytest.approx({"v": 0, "w": LOSS})
    seized = contagion_matrix(snapshot, SHOCK, "seized_usd")
    assert seized.to_numpy() == pytest.approx(np.array([[152_000, 10 * PRICE], [0, 10 * PRICE]]))
    final = PRICE * math.exp(-10 / 1000)
    value = contagion_matrix(snapshot, SHOCK, "collateral_loss_usd")
    # without w's sale the price ends where a0's sale left it, without v's nothing is sold at all
    assert value.loc[["w"]].to_numpy()[0] == pytest.approx([100 * (PRICE - final), 10 * (PRICE - final)])
    assert value.loc[["v"]].to_numpy()[0] == pytest.approx([100 * (1800 - final), 10 * (1800 - final)])
    with pytest.raises(ValueError, match="unknown measure 'usd'"):
        contagion_matrix(snapshot, SHOCK, "usd")  # type: ignore[arg-type]


def test_its_edges_join_the_graph(snapshot: Snapshot) -> None:
    edges = contagion_edges(contagion_matrix(snapshot, SHOCK))
    assert edges.columns.tolist() == list(EDGE_COLUMNS)
    assert edges.to_dict("records") == [
        {
            "source_venue_id": "v",
            "target_venue_id": "w",
            "usd": pytest.approx(LOSS),
            "share_of_target": pytest.approx(1),
        }
    ]
    graph = build_graph(snapshot)
    before = graph.number_of_edges()
    graph.add_edges_from(contagion_graph_edges(edges))
    assert graph.number_of_edges() == before + 1
    assert graph.edges["venue:v", "venue:w", "venue:v causes venue:w"]["level"] == "contagion"
    assert "\n".join(nx.generate_graphml(graph)).count("causes") >= 1
    assert contagion_edges(contagion_matrix(snapshot, Scenario("none"))).empty
    with pytest.raises(ValueError, match="minimum_usd -1"):
        contagion_edges(contagion_matrix(snapshot, SHOCK), -1)


def test_the_heat_map_shows_the_largest_venues(snapshot: Snapshot) -> None:
    matrix = contagion_matrix(snapshot, SHOCK)
    figure = plot_contagion(matrix, {"v": "Core", "w": "$Prime$"})
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["Core", "$Prime$"]
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(matrix.to_numpy())
    assert [text.get_text() for text in axes.texts] == [f"${LOSS:.3g}"]
    smaller = plot_contagion(matrix, venues=1)
    assert smaller.axes[0].get_title(loc="left") == "Contagion between venues (1 smaller left out)"
    with pytest.raises(ValueError, match="no venues"):
        plot_contagion(matrix.iloc[:0, :0])
