"""Nodes, triggers and the gains among them at any state; which nodes hang together.

A node is (asset index, direction: -1 a fall, 1 a rise); a trigger is a set of nodes that move at once, each by the same
fraction in its own direction.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

import networkx as nx
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from defi_leverage.clusters.crossings import CrossingBook
from defi_leverage.clusters.gain import (
    DIRECTIONS,
    branching_ratio,
    moving_assets,
    price_responses,
    signed_gains,
    step_back,
    step_on,
)
from defi_leverage.contagion.book import Book, Floats

__all__ = [
    "Node",
    "Trigger",
    "find_components",
    "name_nodes",
    "ratios_at",
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
    crossing: CrossingBook, band: float, largest: float, threshold: float, progress: Progress | None = None
) -> Iterator[list[Node]]:
    """Groups of nodes that hang together at some state which the move of one of them leads to.

    Every node in turn is moved by every size. Its gains there are those over the last band of its move; each node that
    they reach is measured over the band that comes next, and so on. The strongly connected component, of gains of at
    least `threshold`, that contains the node that moves is a group; groups that share a node are one.
    """
    book = crossing.book
    nodes = [(asset, sign) for sign in DIRECTIONS.values() for asset in moving_assets(book).tolist()]
    groups: nx.Graph = nx.Graph()
    for number, (asset, sign) in enumerate(nodes, start=1):
        path = np.array([shock_of(book, {asset: sign}, size) for size in search_sizes(band, largest, sign).tolist()])
        for rows in _follow(crossing, path[1:], {(asset, sign): path[:-1]}, band, threshold, inherited=True):
            reached = list(rows)
            tied = _columns(book, list(rows.values()), reached) >= threshold
            if not tied.any():
                continue
            label = connected_components(csr_array(tied), connection="strong")[1]
            group = np.flatnonzero(label == label[0])
            if len(group) > 1 or tied[0, 0]:
                groups.add_edges_from((reached[0], reached[member]) for member in group)
        if progress is not None:
            progress(number, len(nodes))
    yield from (sorted(part) for part in nx.connected_components(groups))


def triggers_of(nodes: list[Node]) -> list[Trigger]:
    """Each node alone, and all at once where they are several assets (an asset that is there twice falls)."""
    together = dict(sorted(nodes, key=lambda node: -node[1]))
    alone: list[Trigger] = [{asset: sign} for asset, sign in nodes]
    return [*alone, {asset: together[asset] for asset, _ in nodes}] if len(together) > 1 else alone


def ratios_at(crossing: CrossingBook, nodes: list[Node], trigger: Trigger, sizes: Floats, band: float) -> Floats:
    """Branching ratio among those of `nodes` that the trigger reaches, by gains above 0, where it has moved by a size.

    A node of the trigger is measured over the last band of its move (for a size below the band: over all of it, still
    per band), every other node over the band that comes next. At 1, what the last band has liquidated moves prices by
    as much again. Nodes that are not reached could sustain a move of their own, but this one does not set it off.
    """
    here = np.array([shock_of(crossing.book, trigger, size) for size in sizes.tolist()])
    earlier = {
        (asset, sign): np.array([step_back(shock, asset, sign * band) for shock in here])
        for asset, sign in nodes
        if trigger.get(asset) == sign
    }
    least = float(np.finfo(float).tiny)
    found = _follow(crossing, here, earlier, band, least, inherited=False, within=nodes)
    return np.array([branching_ratio(_columns(crossing.book, list(rows.values()), list(rows))) for rows in found])


def _follow(
    crossing: CrossingBook,
    here: Floats,
    earlier: Mapping[Node, Floats],
    band: float,
    least: float,
    *,
    inherited: bool,
    within: Collection[Node] | None = None,
) -> list[dict[Node, Floats]]:
    """Per state of `here`, gains by node: of those that move, and of every node that they lead to.

    `here`: relative changes of market prices, states x assets; `earlier`: the same one band of each node that moves
    before, from where that one is measured. What gains of at least `least` lead to is measured over the next band.
    All states take a step of the search together.
    """
    found: list[dict[Node, Floats]] = [{} for _ in here]
    steps = [
        (state, node, shocks[state], here[state]) for node, shocks in earlier.items() for state in range(len(here))
    ]
    count = here.shape[-1]
    while steps:
        before, after = (np.array([step[end] for step in steps]) for end in (2, 3))
        gains = signed_gains(price_responses(crossing, before, after, inherited=inherited), band)
        for (state, node, *_), row in zip(steps, gains, strict=True):
            found[state][node] = row
        led_to = {
            (state, (place % count, -1 if place < count else 1)): None  # in order, each once
            for (state, *_), row in zip(steps, gains, strict=True)
            for place in np.flatnonzero(row >= least).tolist()
        }
        steps = [
            (state, node, here[state], step_on(here[state], node[0], node[1] * band))
            for state, node in led_to
            if node not in found[state] and (within is None or node in within)
        ]
    return found


def _columns(book: Book, rows: list[Floats], nodes: list[Node]) -> Floats:
    """Gains of the nodes (rows) on each other, out of their gains on all."""
    count = len(book.price)
    return np.array(rows)[:, [asset if sign < 0 else count + asset for asset, sign in nodes]]


def name_nodes(book: Book, nodes: list[Node]) -> str:
    """Their symbols, ' up' behind those that rise: 'WETH + DAI up'."""
    return " + ".join(str(book.symbols[asset]) + (" up" if sign > 0 else "") for asset, sign in nodes)
