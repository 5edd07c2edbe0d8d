"""Figures of a book: who borrows what against what, leverage, shock ladders, rounds and gains.

Each function takes the tables that the other modules make and returns a matplotlib Figure without any global state;
save it with `figure.savefig(path)`, or take its bytes from `to_png`. matplotlib comes with the extra
`defi-leverage[plots]`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
import pandas as pd

from defi_leverage.plots.style import (
    BAD,
    BLUE,
    COLOURS,
    GREY,
    INK,
    finish_axes,
    money,
    new_figure,
    shorten,
    to_png,
    write_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from defi_leverage.contagion.result import ContagionResult

__all__ = ["plot_gain", "plot_graph", "plot_ladder", "plot_leverage", "plot_rounds", "to_png"]

_LEAST_GAIN = 0.005  # what rounds to 0.00 is not written
_GAP = 0.03  # least distance of two labels of the graph, of the height of all collateral

_Flows = dict[tuple[str, str], float]  # (from, to): USD


def plot_graph(graph: nx.MultiDiGraph, assets: int = 12, venues: int = 6) -> "Figure":
    """What is collateral where, and what is borrowed against it: market-level USD from left to right.

    `graph`: from `build_graph`. The largest `assets` on each side and the largest `venues` are drawn, the rest
    together. Assets that turn into each other (wrapped, staked, or usd) share a colour: a colour on both sides of a
    venue is where leverage loops live. Raises ValueError for a graph without any collateral.
    """
    supplied, borrowed = _market_flows(graph, "collateralises"), _market_flows(graph, "borrows")
    if not supplied:
        raise ValueError("the graph has no collateral to draw; build it from a snapshot that has collateral legs")
    kept = _largest([_sums(supplied, 1), _sums(borrowed, 0)], venues)
    supplied = _fold(supplied, _largest([_sums(supplied, 0)], assets), kept)
    borrowed = _fold(borrowed, kept, _largest([_sums(borrowed, 1)], assets))
    into, out = _sums(supplied, 1), _sums(borrowed, 0)
    middle = {venue: max(into.get(venue, 0.0), out.get(venue, 0.0)) for venue in [*into, *out]}
    total = sum(into.values())
    columns = _centre([_stack(sums, total) for sums in (_sums(supplied, 0), middle, _sums(borrowed, 1))])
    figure = new_figure(11, 7)
    axes = figure.add_subplot()
    axes.set_axis_off()
    colour = _family_colours(graph)
    _draw_flows(axes, supplied, columns[0], columns[1], 0, total, colour)
    _draw_flows(axes, borrowed, columns[1], columns[2], 1, total, colour)
    label = {node: shorten(str(data.get("label", node))) for node, data in graph.nodes(data=True)}
    for x, column in enumerate(columns):
        for node, (bottom, height) in column.items():
            fill = INK if x == 1 else colour.get(node, GREY)
            axes.bar(x, height, 0.04, bottom, color=fill, zorder=3)
            text = label.get(node, node) if x == 1 else f"{label.get(node, node)}  {money(height * total)}"
            box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5} if x == 1 else None
            place, align = (x - 0.035, "right") if x == 0 else (x + 0.035, "left")
            axes.text(
                place,
                bottom + height / 2,
                text,
                ha=align,
                va="center",
                fontsize=9,
                color=INK,
                bbox=box,
                parse_math=False,
            )
    top = max(bottom + height for column in columns for bottom, height in column.values())
    for x, heading in enumerate(("collateral", "venue", "borrowed")):
        axes.text(x, top + 0.03, heading, ha="center", va="bottom", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlim(-0.4, 2.4)
    axes.set_ylim(-0.06, top + 0.1)
    sums = f"{money(total)} of collateral, {money(sum(out.values()))} borrowed"
    write_title(axes, f"Who borrows what against what: {sums}")
    note = "One colour: assets that turn into each other (wrapped, staked, or both usd). Grey: others."
    axes.text(-0.4, -0.02, note, va="top", fontsize=8, color=INK)
    return figure


def plot_leverage(health: pd.DataFrame) -> "Figure":
    """Share of borrowers, and of their debt, at or below a leverage (log scale), with the median and the 95 % quantile.

    `health`: from `account_health`. Accounts without positive equity have no leverage; the title counts them.
    """
    borrowers = health[health["debt_usd"] > 0]
    known = borrowers[borrowers["equity_usd"] > 0].sort_values("leverage")
    figure = new_figure(8, 4.5)
    axes = figure.add_subplot()
    leverage, debt = known["leverage"].to_numpy(float), known["debt_usd"].to_numpy(float)
    if len(known):
        shares = (0.5, 0.95)
        at = [float(np.quantile(leverage, share)) for share in shares]
        quantiles = ", ".join(
            f"{share:.0%}"[:-1] + f" % up to {value:.1f}x" for share, value in zip(shares, at, strict=True)
        )
        order = np.arange(1, len(known) + 1) / len(known)
        axes.step(leverage, order, where="post", color=BLUE, lw=2, label=f"accounts: {quantiles}")
        axes.step(
            leverage, debt.cumsum() / debt.sum(), where="post", color=BAD, lw=2, ls="--", label="their debt in USD"
        )
        axes.plot(at, shares, "o", color=BLUE)
        axes.legend(loc="best")
        axes.set_xscale("log")
        ticks = [tick for tick in (1, 1.5, 2, 3, 5, 10, 20, 50, 100, 1000, 10_000) if tick <= leverage.max() * 1.5]
        axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlim(
            1, max(1.5, min((tick for tick in ticks if tick >= leverage.max()), default=leverage.max() * 1.05))
        )
    whole = float(known["supplied_usd"].sum()) / float(known["equity_usd"].sum()) if len(known) else float("nan")
    under = len(borrowers) - len(known)
    title = f"Leverage of {len(borrowers):,} borrowers: {whole:.2f}x together"
    finish_axes(
        axes,
        title + (f", {under:,} without equity left out" if under else ""),
        "leverage (supplied / equity)",
        "share at or below",
    )
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    return figure


def plot_ladder(ladder: pd.DataFrame, title: str = "Shock ladder") -> "Figure":
    """USD liquidated and bad debt against the size of a fall.

    `ladder`: one row a shock with `fall` (fraction, 0.3 is a fall of 30 %) and what `ContagionResult.summary` calls
    `seized_usd` and `bad_debt_usd`. Bad debt is some orders smaller, so that each has its own panel.
    """
    rows = ladder.sort_values("fall")
    figure = new_figure(8, 5.5)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, column, colour, name in (
        (upper, "seized_usd", BLUE, "liquidated, USD"),
        (lower, "bad_debt_usd", BAD, "bad debt, USD"),
    ):
        fall, usd = rows["fall"].to_numpy(float) * 100, rows[column].to_numpy(float)
        axes.plot(fall, usd, color=colour, marker="o", ms=4, lw=2)
        axes.fill_between(fall, usd, color=colour, alpha=0.15)
        finish_axes(axes, title if axes is upper else "", "" if axes is upper else "fall of the price, %", name)
        axes.set_ylim(0, max(float(usd.max(initial=0)) * 1.1, 1))
        axes.yaxis.set_major_formatter(lambda value, _: money(value))
    figure.align_ylabels()
    return figure


def plot_rounds(result: "ContagionResult", assets: int = 6) -> "Figure":
    """Market prices round by round against those before the shock, and the USD seized in each round.

    The assets that are shocked, and of those held or owed the ones that fall most, `assets` lines together; assets
    that move alike share a line.
    """
    book, prices = result.book, result.prices
    change = (prices / prices.iloc[0] - 1) * 100
    named = {name.lower() for name in result.scenario.shocks}
    held = set(book.asset_ids[book.leg_asset])
    lines: dict[tuple[float, ...], list[str]] = {}
    first: set[tuple[float, ...]] = set()
    for asset_id, symbol in zip(book.asset_ids, book.symbols, strict=True):
        path = tuple(change[asset_id].round(4))
        shocked = asset_id.lower() in named or symbol.lower() in named
        if (shocked or asset_id in held) and any(path):
            lines.setdefault(path, []).append(str(symbol))
            first |= {path} if shocked else set()
    drawn = sorted(lines.items(), key=lambda line: (line[0] not in first, line[0][-1]))[:assets]
    drawn.sort(key=lambda line: line[0][-1])
    figure = new_figure(9, 6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for (path, _), colour in zip(drawn, np.resize(COLOURS, len(drawn)), strict=True):
        upper.plot(range(len(path)), path, color=colour, lw=2, marker="o", ms=3)
    low, high = upper.get_ylim()
    ends = _spread([path[-1] for path, _ in drawn], 0.06 * (high - low), high)
    for (path, names), end, colour in zip(drawn, ends, np.resize(COLOURS, len(drawn)), strict=True):
        shown = sorted(set(names), key=lambda name: (len(name), name))  # what others are made of has the shortest name
        name = ", ".join(map(shorten, shown[:3])) + (f" +{len(shown) - 3}" if len(shown) > 3 else "")
        at, text = upper.get_yaxis_transform(), f"{name}: {path[-1]:+.1f} %"
        upper.text(1.01, end, text, transform=at, va="center", fontsize=9, color=colour, parse_math=False)
    rounds = result.rounds
    lower.bar(rounds["round"], rounds["seized_usd"], color=GREY, width=0.6)
    lower.yaxis.set_major_formatter(lambda value, _: money(value))
    lower.xaxis.get_major_locator().set_params(integer=True)
    state = "ends" if result.converged else "does not end"
    title = (
        f"{shorten(result.scenario.name, 45)}: the cascade {state} after {len(rounds)} round{'s' * (len(rounds) != 1)}"
    )
    finish_axes(upper, title, "", "change of market price, %")
    finish_axes(lower, "", "round (0: before the shock; the last: final prices)", "seized, USD")
    figure.align_ylabels()
    return figure


def plot_gain(
    gain: pd.DataFrame,
    labels: "Mapping[str, str] | pd.Series[str] | None" = None,
    assets: int = 15,
    title: str = "Gain",
) -> "Figure":
    """Heat map of a gain matrix: how far the column's price follows a fall of the row's, through liquidations.

    `gain`: from `gain_matrix`; `labels`: asset_id -> what to write, such as the symbol; `title`: the state it belongs
    to. The `assets` with the largest gains are drawn. Gains of 1 and more sustain themselves; a rise shows as 0.
    """
    values = gain.clip(lower=0).to_numpy(float)
    columns = _strongest(values.max(axis=0), assets)
    rows = _strongest(values[:, columns].max(axis=1), assets)
    cells = values[np.ix_(rows, columns)]
    known = {} if labels is None else dict(labels)
    names = [shorten(known.get(str(asset), str(asset)), 16) for asset in gain.index]
    figure = new_figure(max(6.5, 3 + 0.6 * len(columns)), 2.6 + 0.45 * len(rows))
    axes = figure.add_subplot()
    # beyond 1 the size no longer matters: the fall sustains itself
    image = axes.imshow(cells, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), [names[column] for column in columns], parse_math=False)
    axes.tick_params("x", rotation=45)
    for label in axes.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), [names[row] for row in rows], parse_math=False)
    for row, column in np.argwhere(cells >= _LEAST_GAIN):
        ink = "black" if cells[row, column] > 0.45 else "white"
        text = f"{cells[row, column]:.2f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
    if cells.max(initial=0) < _LEAST_GAIN:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(
            0.5, 0.5, "no price follows another", transform=axes.transAxes, ha="center", va="center", color="white"
        )
    axes.set_xlabel("price that follows")
    axes.set_ylabel("price that falls")
    write_title(axes, title)
    figure.colorbar(image, ax=axes, extend="max", label="% for each 1 % of the fall")
    return figure


def _strongest(gains: "NDArray[np.float64]", count: int) -> "NDArray[np.int64]":
    """Where the largest gains are, largest first: what is not zero, but at least one."""
    order = np.argsort(-gains, kind="stable")[:count]
    return order[: max(1, int((gains[order] >= _LEAST_GAIN).sum()))]


def _market_flows(graph: nx.MultiDiGraph, kind: str) -> _Flows:
    flows: _Flows = {}
    for source, target, data in graph.edges(data=True):
        if data["level"] == "market" and data["kind"] == kind and data["usd"] > 0:
            flows[source, target] = flows.get((source, target), 0.0) + data["usd"]
    return flows


def _sums(flows: _Flows, end: int) -> dict[str, float]:
    """USD by source (0) or target (1), largest first."""
    sums: dict[str, float] = {}
    for ends, usd in flows.items():
        sums[ends[end]] = sums.get(ends[end], 0.0) + usd
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def _largest(sums: list[dict[str, float]], count: int) -> set[str]:
    """The `count` largest nodes; one fewer where the others have to share a place."""
    total: dict[str, float] = {}
    for part in sums:
        for node, usd in part.items():
            total[node] = total.get(node, 0.0) + usd
    ordered = sorted(total, key=lambda node: (-total[node], node))
    return set(ordered if len(ordered) <= count else ordered[: max(count - 1, 0)])


def _fold(flows: _Flows, sources: set[str], targets: set[str]) -> _Flows:
    """Flows with every node that is not kept as one node 'others'."""
    folded: _Flows = {}
    for (source, target), usd in flows.items():
        ends = source if source in sources else "others", target if target in targets else "others"
        folded[ends] = folded.get(ends, 0.0) + usd
    return folded


def _stack(sums: dict[str, float], total: float) -> dict[str, tuple[float, float]]:
    """(bottom, height) of each node, the largest on top, 'others' at the bottom, labels at least _GAP apart."""
    places: dict[str, tuple[float, float]] = {}
    bottom = 0.0
    for node in sorted(sums, key=lambda node: (node != "others", sums[node], node)):
        height = sums[node] / total
        room = max(height + 0.3 * _GAP, _GAP)
        places[node] = (bottom + (room - height) / 2, height)
        bottom += room
    return places


def _centre(columns: "list[dict[str, tuple[float, float]]]") -> "list[dict[str, tuple[float, float]]]":
    tops = [max((bottom + height for bottom, height in column.values()), default=0.0) for column in columns]
    return [
        {node: (bottom + (max(tops) - top) / 2, height) for node, (bottom, height) in column.items()}
        for column, top in zip(columns, tops, strict=True)
    ]


def _draw_flows(
    axes: "Axes",
    flows: _Flows,
    left: dict[str, tuple[float, float]],
    right: dict[str, tuple[float, float]],
    x: int,
    total: float,
    colour: Mapping[str, str],
) -> None:
    """Bands between two columns of nodes, as high as their USD, in the colour of their asset."""
    start = {node: bottom + height for node, (bottom, height) in left.items()}
    end = {node: bottom + height for node, (bottom, height) in right.items()}
    bend = (1 - np.cos(np.linspace(0, np.pi, 40))) / 2
    along = np.linspace(x + 0.02, x + 0.98, 40)
    order = {node: place[0] for node, place in (left | right).items()}
    for source, target in sorted(flows, key=lambda ends: (-order[ends[0]], -order[ends[1]], ends)):
        height = flows[source, target] / total
        high = start[source] + (end[target] - start[source]) * bend
        start[source] -= height
        end[target] -= height
        asset = source if x == 0 else target
        axes.fill_between(along, high - height, high, color=colour.get(asset, GREY), alpha=0.4, lw=0)


def _family_colours(graph: nx.MultiDiGraph) -> dict[str, str]:
    """One colour for the assets that turn into each other, the largest families first; the rest is grey."""
    turns = nx.Graph()
    for node, data in graph.nodes(data=True):
        if data["type"] == "asset":
            turns.add_edge(node, "usd") if data["kind"] == "usd" else turns.add_node(node)
    turns.add_edges_from(
        (source, target)
        for source, target, data in graph.edges(data=True)
        if data["kind"] == "wraps" and data["backing"] != "pooled"
    )
    usd = {node: data.get("supplied_usd", 0.0) + data.get("borrowed_usd", 0.0) for node, data in graph.nodes(data=True)}
    families = [sorted(family & set(usd)) for family in nx.connected_components(turns)]
    families.sort(key=lambda family: (-sum(usd[node] for node in family), family))
    return {node: colour for family, colour in zip(families, COLOURS, strict=False) for node in family}


def _spread(values: list[float], gap: float, top: float) -> list[float]:
    """Ascending positions of labels at least `gap` apart: moved up, and down from `top` where they would pass it."""
    spread: list[float] = []
    for value in values:
        spread.append(max(value, spread[-1] + gap) if spread else value)
    return [min(value, top - gap * above) for value, above in zip(spread, reversed(range(len(spread))), strict=True)]
