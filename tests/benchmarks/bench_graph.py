"""How fast graphs, structural loops and look-through leverage are: times, and ratios taken in one run.

python -m tests.benchmarks.bench_graph [--accounts 1000000] [--output out/bench_graph.json]
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from rich.console import Console
from rich.table import Table

from defi_leverage.graph.dependency import build_graph
from defi_leverage.graph.financed_collateral import trace_financed_collateral
from defi_leverage.graph.look_through import look_through_leverage
from defi_leverage.graph.loop_search import Leg, find_ways, search_cycles
from defi_leverage.graph.structural_loops import find_structural_loops
from defi_leverage.synthetic import synthetic_book

ASSETS, LEGS, LONGEST, LARGEST, SEED = 1000, 5000, 6, 1000, 1


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long it takes, and what it gives."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def peak_gigabytes() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def measure_search() -> tuple[dict[str, float], list[tuple[str, str]]]:
    """All cycles of a random graph by both, which must be the same; and the largest of a graph full of them."""
    random = np.random.default_rng(SEED)
    graph = nx.gnm_random_graph(ASSETS, LEGS, seed=SEED, directed=True)
    legs = [Leg(str(one), str(other), float(random.random())) for one, other in graph.edges]
    ways = find_ways(nx.DiGraph(), sorted({leg.target for leg in legs}), sorted({leg.source for leg in legs}))
    ours, search = seconds(lambda: search_cycles(legs, ways, LONGEST, 10**9, 10**9))
    theirs, cycles = seconds(lambda: list(nx.simple_cycles(graph, length_bound=LONGEST)))
    if {frozenset(legs[at].source for at in cycle) for cycle in search.cycles} != {
        frozenset(map(str, cycle)) for cycle in cycles
    }:
        raise AssertionError("the two searches disagree")
    capped, _ = seconds(lambda: search_cycles(legs, ways, 2 * LONGEST, LARGEST))
    figures = {
        "loops": float(len(cycles)),
        "search_seconds": ours,
        "networkx_seconds": theirs,
        "search_vs_networkx": theirs / ours,
        "largest_seconds": capped,
    }
    rows = [
        (f"all {len(cycles):,} cycles of at most {LONGEST} legs, {ASSETS:,} assets, {LEGS:,} legs", f"{ours:.2f} s"),
        ("  networkx.simple_cycles on the same graph", f"{theirs:.2f} s"),
        ("  faster than networkx", f"{theirs / ours:.1f} times"),
        (f"the {LARGEST:,} largest of at most {2 * LONGEST} legs", f"{capped:.2f} s"),
    ]
    return figures, rows


def measure_book(accounts: int) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """What is done with a book of many accounts."""
    made, book = seconds(lambda: synthetic_book(accounts, SEED))
    before = peak_gigabytes()
    work: list[tuple[str, str, Callable[[], object]]] = [
        ("grouped_graph_seconds", "graph, accounts in groups", lambda: build_graph(book, "grouped")),
        ("top_graph_seconds", "graph, the 50 largest accounts", lambda: build_graph(book, 50)),
        ("structural_loops_seconds", "structural loops of at most 3 legs", lambda: find_structural_loops(book, 3)),
        (
            "look_through_seconds",
            "look-through leverage of every account",
            lambda: look_through_leverage(book, "account"),
        ),
        ("financed_seconds", "debt-financed collateral", lambda: trace_financed_collateral(book)),
    ]
    figures = {"accounts": float(accounts), "book_peak_gigabytes": before}
    rows = [("make the book", f"{made:.2f} s, {before:.2f} GB")]
    for name, label, task in work:
        figures[name], _ = seconds(task)
        rows.append((label, f"{figures[name]:.2f} s"))
    figures["peak_gigabytes"] = peak_gigabytes()
    rows.append(("peak resident size of all this (target below 2 GB)", f"{figures['peak_gigabytes']:.2f} GB"))
    return figures, rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path, default=Path("out/bench_graph.json"))
    options = parser.parse_args()
    console = Console()
    figures: dict[str, float] = {}
    measured = [measure_search(), measure_book(options.accounts)]
    table = Table(title=f"Graph and loops, {options.accounts:,} accounts")
    table.add_column("measured")
    table.add_column("", justify="right")
    for found, rows in measured:
        figures |= found
        for row in rows:
            table.add_row(*row)
    console.print(table)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=2) + "\n")
    console.print(f"written to {options.output}")


if __name__ == "__main__":
    main()
