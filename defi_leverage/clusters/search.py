"""Nodes, triggers and the gains among them at any state; which nodes hang together.

A node is (asset index, direction: -1 a fall, 1 a rise); a trigger is a set of nodes that move at once, each by the same
fraction in its own direction.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

import networkx as nx
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from defi_leverage.clusters.gain import (
    DIRECTIONS,
    PriceState,
    branching_ratio,
    moving_assets,
    price_response,
    signed_gains,
    state_after,
    states_along,
    step_back,
    step_on,
)
from defi_leverage.contagion.book import Book, Floats
from defi_leverage.contagion.layout import CompactBook

__all__ = [
    "Node",
    "Trigger",
    "find_components",
    "name_nodes",
    "ratio_at",
    "search_sizes",
    "shock_of",
    "triggers_of",
]

Node = tuple[int, int]
Trigger = Mapping[int, int]  # asset -> direction
Progress = Callable[[int, int], None]


def shock_of(book: Book, trigger: Trigger, size: float) -> Floats:
    """Relative change of every market price where the trigger moves by `size`, a fraction."""
    shock = np.zeros(len(book.price))
    for asset, sign in trigger.items():
        shock[asset] = sign * size
    return shock


def search_sizes(band: float, largest: float, sign: int = -1) -> Floats:
    """Sizes from 0 to `largest` whose neighbours are one relative `band` apart, so that bands meet without a gap."""
    steps = int(np.log1p(sign * largest) / np.log1p(sign * band) * (1 + 1e-9))
    sizes = np.asarray(sign * ((1 + sign * band) ** np.arange(steps + 1) - 1), np.float64)
    return sizes if largest - sizes[-1] <= 1e-9 else np.append(sizes, largest)


def find_components(
    book: Book, compact: CompactBook, band: float, largest: float, threshold: float, progress: Progress | None = None
) -> Iterator[list[Node]]:
    """Groups of nodes that hang together at some state which the move of one of them leads to.

    Every node in turn is moved by every size. Its gains there are those over the last band of its move; each node that
    they reach is measured over the band that comes next, and so on. The strongly connected component, of gains of at
    least `threshold`, that contains the node that moves is a group; groups that share a node are one.
    """
    assets = moving_assets(book).tolist()
    grids = {sign: search_sizes(band, largest, sign) for sign in DIRECTIONS.values()}
    steps, done = len(assets) * sum(len(grid) - 1 for grid in grids.values()), 0
    groups: nx.Graph = nx.Graph()
    for node in ((asset, sign) for sign in grids for asset in assets):
        path = states_along(book, compact, [shock_of(book, dict([node]), size) for size in grids[node[1]].tolist()])
        before = next(path)
        for after in path:
            own = signed_gains(price_response(book, before, after, inherited=True), band)
            reached = list(_follow(book, after, {node: own}, band, threshold, inherited=True).items())
            tied = _columns(book, [row for _, row in reached], [to for to, _ in reached]) >= threshold
            label = connected_components(csr_array(tied), connection="strong")[1]
            group = np.flatnonzero(label == label[0])
            if len(group) > 1 or tied[0, 0]:
                groups.add_edges_from((node, reached[member][0]) for member in group)
            before, done = after, done + 1
            if progress is not None:
                progress(done, steps)
    yield from (sorted(part) for part in nx.connected_components(groups))


def triggers_of(nodes: list[Node]) -> list[Trigger]:
    """Each node alone, and all at once where they are several assets (an asset that is there twice falls)."""
    together = dict(sorted(nodes, key=lambda node: -node[1]))
    alone: list[Trigger] = [{asset: sign} for asset, sign in nodes]
    return [*alone, {asset: together[asset] for asset, _ in nodes}] if len(together) > 1 else alone


def ratio_at(book: Book, nodes: list[Node], trigger: Trigger, size: float, band: float) -> float:
    """Branching ratio among those of `nodes` that the trigger reaches, by gains above 0, where it has moved by `size`.

    A node of the trigger is measured over the last band of its move (for a size below the band: over all of it, still
    per band), every other node over the band that comes next. At 1, what the last band has liquidated moves prices by
    as much again. Nodes that are not reached could sustain a move of their own, but this one does not set it off.
    """
    here, rows = state_after(book, shock_of(book, trigger, size)), {}
    for asset, sign in nodes:
        if trigger.get(asset) == sign:
            earlier = state_after(book, step_back(here.shock, asset, sign * band))
            rows[asset, sign] = signed_gains(price_response(book, earlier, here, inherited=False), band)
    rows = _follow(book, here, rows, band, float(np.finfo(float).tiny), inherited=False, within=nodes)
    return branching_ratio(_columns(book, list(rows.values()), list(rows)))


def _follow(
    book: Book,
    here: PriceState,
    rows: Mapping[Node, Floats],
    band: float,
    least: float,
    *,
    inherited: bool,
    within: Collection[Node] | None = None,
) -> dict[Node, Floats]:
    """`rows`, and those of every node that they lead to by gains of at least `least`, over the next band."""
    found, waiting, count = dict(rows), list(rows), len(book.price)
    while waiting:
        for place in np.flatnonzero(found[waiting.pop()] >= least).tolist():
            node = (place, -1) if place < count else (place - count, 1)
            if node not in found and (within is None or node in within):
                further = state_after(book, step_on(here.shock, node[0], node[1] * band))
                found[node] = signed_gains(price_response(book, here, further, inherited=inherited), band)
                waiting.append(node)
    return found


def _columns(book: Book, rows: list[Floats], nodes: list[Node]) -> Floats:
    """Gains of the nodes (rows) on each other, out of their gains on all."""
    count = len(book.price)
    return np.array(rows)[:, [asset if sign < 0 else count + asset for asset, sign in nodes]]


def name_nodes(book: Book, nodes: list[Node]) -> str:
    """Their symbols, ' up' behind those that rise: 'WETH + DAI up'."""
    return " + ".join(str(book.symbols[asset]) + (" up" if sign > 0 else "") for asset, sign in nodes)
