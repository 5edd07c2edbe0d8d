"""How fast clusters are ranked: the time for a whole book, and ratios to the plain engine taken in one run.

python -m tests.benchmarks.bench_clusters [--accounts 100000] [--output out/bench_clusters.json]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from defi_leverage.clusters.crossings import prepare_crossings
from defi_leverage.clusters.gain import price_responses
from defi_leverage.clusters.leave_one_out import leave_one_out, reference_loss
from defi_leverage.clusters.ranking import find_clusters
from defi_leverage.clusters.search import search_sizes, shock_of
from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.lanes import LANES
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.synthetic import synthetic_book
from tests.benchmarks.bench import best_of
from tests.benchmarks.bench_graph import peak_gigabytes, seconds
from tests.clusters import plain_ranking

FALLING, PLAIN_PAIRS, SCENARIOS, SEED = "ETH", 8, 8, 1


def measure(accounts: int) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """The figures of out/bench_clusters.json, and the rows of the table."""
    snapshot = synthetic_book(accounts, SEED)
    book = compile_book(snapshot)
    crossing = prepare_crossings(book)
    asset = list(book.symbols).index(FALLING)
    path = np.array([shock_of(book, {asset: -1}, size) for size in search_sizes(0.01, 0.6)[: LANES + 1].tolist()])
    together = best_of(lambda: price_responses(crossing, path[:-1], path[1:], inherited=True), 3) / LANES
    few = path[:-1:PLAIN_PAIRS], path[1::PLAIN_PAIRS]
    plain, responses = seconds(lambda: plain_ranking.price_responses(crossing, *few, inherited=True))
    if not np.allclose(price_responses(crossing, *few, inherited=True), responses, rtol=1e-9, atol=1e-12):
        raise AssertionError("the two ways to take gains disagree")
    falls = [Scenario(shocks={FALLING: -fall}) for fall in np.linspace(0.1, 0.4, SCENARIOS).tolist()]
    references = [reference_loss(run_contagion(snapshot, scenario, book)) for scenario in falls]
    members = {"a tenth": book.account_ids[::10].tolist()}
    batch = best_of(lambda: leave_one_out(snapshot, members, references, book, crossing.compact), 2)
    one_by_one, _ = seconds(lambda: plain_ranking.leave_one_out(snapshot, members, references, book))
    whole, clusters = seconds(lambda: find_clusters(snapshot))
    figures = {
        "accounts": float(accounts),
        "clusters": float(len(clusters)),
        "ranking_seconds": whole,
        "gains_vs_plain": plain / len(responses) / together,
        "leave_one_out_vs_plain": one_by_one / batch,
        "peak_gigabytes": peak_gigabytes(),
    }
    rows = [
        (f"rank {len(clusters)} clusters", f"{whole:.1f} s"),
        ("gains between two states, of many", f"{together * 1e3:.2f} ms"),
        ("  faster than by the plain engine", f"{figures['gains_vs_plain']:.0f} times"),
        (f"one cluster left out of {SCENARIOS} scenarios", f"{batch:.2f} s"),
        ("  faster than by the plain engine", f"{figures['leave_one_out_vs_plain']:.1f} times"),
        ("peak resident size of all this", f"{figures['peak_gigabytes']:.2f} GB"),
    ]
    return figures, rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--output", type=Path, default=Path("out/bench_clusters.json"))
    options = parser.parse_args()
    console = Console()
    figures, rows = measure(options.accounts)
    table = Table(title=f"Clusters, {options.accounts:,} accounts")
    table.add_column("measured")
    table.add_column("", justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=2) + "\n")
    console.print(f"written to {options.output}")


if __name__ == "__main__":
    main()
