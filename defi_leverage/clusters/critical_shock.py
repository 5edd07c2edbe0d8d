"""The smallest move that sets a group of nodes off, with what was tried to find it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from defi_leverage.clusters.search import Node, Trigger, name_nodes, search_sizes, triggers_of
from defi_leverage.contagion.book import Book, Bools, Floats

__all__ = ["Threshold", "find_critical_shock", "search_threshold"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """The smallest size found at which there is a cause, and the largest one tried below it without; nan, '' if none.

    `searched`: what was tried, in words.
    """

    size: float
    below: float
    cause: str
    searched: str


def find_critical_shock(
    book: Book,
    nodes: list[Node],
    ratio: Callable[[Trigger, float], float],
    too_bad: Callable[[Trigger, Floats], Bools],
    band: float,
    largest: float,
    tolerance: float,
) -> tuple[Trigger, Threshold]:
    """The trigger with the smallest critical move, of all `triggers_of` the nodes (the last of them if none has any).

    A move is critical where `ratio` (`search.ratio_at`) is at least 1, or where `too_bad`, asked for many sizes
    at once, says that bad debt passes its bound. Triggers that are equal within `tolerance` go to the simpler one.
    """
    candidates = triggers_of(nodes)
    best, nearest = candidates[-1], Threshold(float("nan"), float("nan"), "", "")
    searched = []
    for trigger in candidates:
        sizes = search_sizes(band, largest, min(trigger.values()))
        if nearest.cause:  # one step beyond what is already found is enough to see whether this one is nearer
            sizes = sizes[: int(np.searchsorted(sizes, nearest.size)) + 1]
        known = dict(zip(sizes.tolist(), too_bad(trigger, sizes).tolist(), strict=True))

        def cause(size: float, trigger: Trigger = trigger, known: dict[float, bool] = known) -> str:
            if size > 0 and ratio(trigger, size) >= 1:
                return "branching ratio"
            bad = known[size] if size in known else bool(too_bad(trigger, np.array([size]))[0])
            return "bad debt" if bad else ""

        found = search_threshold(cause, sizes, tolerance, name_nodes(book, list(trigger.items())))
        searched.append(found.searched)
        if found.cause and not found.size >= nearest.size - tolerance:
            best, nearest = trigger, found
    return best, replace(nearest, searched="; ".join(searched))


def search_threshold(cause: Callable[[float], str], sizes: Floats, tolerance: float, name: str) -> Threshold:
    """The smallest size with a cause: the first of `sizes` that has one, bracketed with the one before, bisected.

    A cause that comes and goes between two neighbours of `sizes` stays unseen; within the bracket one crossing is found
    to `tolerance`.
    """
    below = float("nan")
    for candidate in sizes.tolist():
        if found := cause(candidate):
            size = candidate
            while size - below > tolerance:
                middle = (below + size) / 2
                if middle_found := cause(middle):
                    size, found = middle, middle_found
                else:
                    below = middle
            return Threshold(size, below, found, f"{name}: first reached between {below:.6g} and {size:.6g}")
        below = candidate
    most = float(sizes[-1]) if len(sizes) else 0.0
    return Threshold(float("nan"), float("nan"), "", f"{name}: not reached at {len(sizes)} sizes up to {most:.6g}")
