"""The smallest move that sets a group of nodes off, with what was tried to find it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defi_leverage.clusters.search import Node, Trigger, name_nodes, search_sizes, triggers_of
from defi_leverage.contagion.book import Book, Floats

__all__ = ["Threshold", "find_critical_shock", "remember", "search_threshold"]

Question = Callable[[Trigger, Floats], NDArray[Any]]


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
    ratios: Question,
    too_bad: Question,
    band: float,
    largest: float,
    tolerance: float,
) -> tuple[Trigger, Threshold]:
    """The trigger with the smallest critical move, of all `triggers_of` the nodes (the last of them if none has any).

    A move is critical where `ratios` (`search.ratios_at`) is at least 1, or where `too_bad` says that bad debt passes
    its bound; both are asked for many sizes at once, and should `remember`. Triggers that are equal within `tolerance`
    go to the simpler one.
    """
    candidates = triggers_of(nodes)
    best, nearest = candidates[-1], Threshold(float("nan"), float("nan"), "", "")
    searched = []
    for trigger in candidates:
        sizes = search_sizes(band, largest, min(trigger.values()))
        if nearest.cause:  # one step beyond what is already found is enough to see whether this one is nearer
            sizes = sizes[: int(np.searchsorted(sizes, nearest.size)) + 1]
        above_one = np.flatnonzero(ratios(trigger, sizes[1:]) >= 1)
        sizes = sizes[: above_one[0] + 2] if above_one.size else sizes
        too_bad(trigger, sizes)  # as one batch; the search below asks one by one

        def cause(size: float, trigger: Trigger = trigger) -> str:
            at = np.array([size])
            if size > 0 and ratios(trigger, at)[0] >= 1:
                return "branching ratio"
            return "bad debt" if too_bad(trigger, at)[0] else ""

        found = search_threshold(cause, sizes, tolerance, name_nodes(book, list(trigger.items())))
        searched.append(found.searched)
        if found.cause and not found.size >= nearest.size - tolerance:
            best, nearest = trigger, found
    return best, replace(nearest, searched="; ".join(searched))


def remember(question: Question) -> Question:
    """`question`, asked only once about each size of a trigger."""
    known: dict[tuple[tuple[Node, ...], float], Any] = {}

    def answer(trigger: Trigger, sizes: Floats) -> NDArray[Any]:
        keys = [(tuple(trigger.items()), size) for size in sizes.tolist()]
        if fresh := [key for key in keys if key not in known]:
            known.update(zip(fresh, question(trigger, np.array([size for _, size in fresh])), strict=True))
        return np.array([known[key] for key in keys])

    return answer


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
