"""Cycles of borrowing legs, the largest first: the search behind structural loops.

A leg is a way to turn one asset (collateral) into another (debt), with a size. Between two legs of a cycle the borrowed
asset is converted into the next collateral, on the shortest way. A cycle passes no asset twice, on a leg or on a way,
so that no cycle is made of two others. Its size is that of its smallest leg.

Legs outside a strongly connected component are dropped. The others are added one by one, the largest first, and after
each the cycles through it are looked for among those before: so the cycles come in the order of their size, and a cap
cuts off the small ones, never the large. The search follows a leg only where so few more legs lead back to the start
as are left.
"""

from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

import networkx as nx

__all__ = ["Leg", "Search", "Ways", "find_ways", "search_cycles"]

Ways = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Borrowed asset -> collateral asset -> the way between them, both ends included; (asset,) where they are the same."""


class Leg(NamedTuple):
    """Collateral `source` on which `target` is borrowed."""

    source: str
    target: str
    usd: float
    name: Hashable = None


class Search(NamedTuple):
    """Cycles as indices of legs, by falling size; where it stopped early, the size down to which none is missing."""

    cycles: list[tuple[int, ...]]
    whole_down_to_usd: float  # 0 where every cycle within the bound was found
    reason: str  # why it stopped early, "" if it did not


def find_ways(
    conversions: "nx.DiGraph", sources: Sequence[str], targets: Sequence[str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """The shortest way from each borrowed asset to each collateral that it can be turned into.

    Of several as short the first in the graph's own order of edges.
    """
    wanted = set(targets)
    ways: dict[str, dict[str, tuple[str, ...]]] = {}
    for source in sources:
        found = nx.single_source_shortest_path(conversions, source) if source in conversions else {source: [source]}
        ways[source] = {target: tuple(way) for target, way in found.items() if target in wanted}
    return ways


def search_cycles(
    legs: Sequence[Leg], ways: Ways, most_legs: int, most_cycles: int, most_steps: int = 2_000_000
) -> Search:
    """Cycles of at most `most_legs` legs, the `most_cycles` largest of them.

    `most_steps` bounds the work: legs looked at, some microseconds each. What stopped the search early is in `reason`.
    Raises ValueError for a bound below 1. Time: linear in the steps, and in the legs times what lies within
    `most_legs` of each.
    """
    for name, bound in (("most_legs", most_legs), ("most_cycles", most_cycles), ("most_steps", most_steps)):
        if bound < 1:
            raise ValueError(f"{name}={bound} must be at least 1")
    order = sorted(_in_components(legs, ways), key=lambda at: (-legs[at].usd, legs[at].source, legs[at].target, at))
    search = _Search(legs, ways, most_legs, most_steps)
    cycles: list[tuple[int, ...]] = []
    for at in order:
        search.add(at)
        for cycle in search.through(at):
            if len(cycles) == most_cycles:
                return Search(cycles, legs[at].usd, f"there are more than {most_cycles} loops")
            cycles.append(cycle)
        if search.steps > most_steps:
            return Search(cycles, legs[at].usd, f"it took more than {most_steps} steps")
    return Search(cycles, 0.0, "")


def _in_components(legs: Sequence[Leg], ways: Ways) -> list[int]:
    """Legs that are on some cycle, if only on one that passes an asset twice."""
    graph = nx.DiGraph()
    graph.add_edges_from((("collateral", leg.source), ("debt", leg.target)) for leg in legs)
    graph.add_edges_from((("debt", source), ("collateral", target)) for source in ways for target in ways[source])
    component = {node: number for number, nodes in enumerate(nx.strongly_connected_components(graph)) for node in nodes}
    return [at for at, leg in enumerate(legs) if component["collateral", leg.source] == component["debt", leg.target]]


class _Search:
    """The legs added so far, and the search among them."""

    def __init__(self, legs: Sequence[Leg], ways: Ways, most_legs: int, most_steps: int) -> None:
        self.legs, self.ways, self.most_legs, self.most_steps = legs, ways, most_legs, most_steps
        self.steps = 0
        self.from_asset: dict[str, list[int]] = {}
        self.into_asset: dict[str, list[int]] = {}
        self.convertible: dict[str, list[str]] = {}  # collateral -> borrowed assets that can be turned into it
        for source, targets in ways.items():
            for target in targets:
                self.convertible.setdefault(target, []).append(source)

    def add(self, at: int) -> None:
        self.from_asset.setdefault(self.legs[at].source, []).append(at)
        self.into_asset.setdefault(self.legs[at].target, []).append(at)

    def through(self, first: int) -> Iterator[tuple[int, ...]]:
        """Cycles that start with this leg."""
        start, borrowed = self.legs[first].source, self.legs[first].target
        if start == borrowed:
            yield (first,)
            return
        needed = self._legs_needed(start)
        if needed.get(borrowed, self.most_legs) < self.most_legs:
            yield from self._extend([first], {start, borrowed}, needed)

    def _legs_needed(self, start: str) -> dict[str, int]:
        """Borrowed asset -> how many more legs it takes at least to come back to `start`."""
        needed = dict.fromkeys(self.convertible.get(start, ()), 0)
        needed[start] = 0
        waiting = deque(needed)
        while waiting:
            asset = waiting.popleft()
            if needed[asset] == self.most_legs - 1:
                break
            for at in self.into_asset.get(asset, ()):
                for before in self.convertible.get(self.legs[at].source, ()):
                    if before not in needed:
                        needed[before] = needed[asset] + 1
                        waiting.append(before)
        return needed

    def _extend(self, chosen: list[int], passed: set[str], needed: Mapping[str, int]) -> Iterator[tuple[int, ...]]:
        """Cycles that begin with the `chosen` legs, which passed these assets."""
        start, borrowed = self.legs[chosen[0]].source, self.legs[chosen[-1]].target
        left = self.most_legs - len(chosen)
        for collateral, way in self.ways[borrowed].items():
            between = way[1:-1]
            if collateral == start:
                if passed.isdisjoint(between):
                    yield tuple(chosen)
                continue
            if not left or (collateral in passed and collateral != borrowed) or not passed.isdisjoint(between):
                continue
            here = passed.union(way)
            for at in self.from_asset.get(collateral, ()):
                self.steps += 1
                if self.steps > self.most_steps:
                    return
                target = self.legs[at].target
                if target == start:
                    yield (*chosen, at)
                elif target not in here and needed.get(target, left) < left:
                    yield from self._extend([*chosen, at], here | {target}, needed)
