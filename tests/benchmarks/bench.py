"""`make bench`: the engine's speed as ratios taken in one run, because absolute times say more of the machine.

python -m tests.benchmarks.bench [--accounts 1000000] [--output out/bench.json]
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import scipy.sparse
from rich.console import Console
from rich.table import Table

from defi_leverage.contagion.book import Book, Floats, compile_book
from defi_leverage.contagion.cascades import run_cascades
from defi_leverage.contagion.kernels import count_liquidatable, health_factors
from defi_leverage.contagion.layout import CompactBook, lay_out
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot
from defi_leverage.stress.liquidation_curve import liquidation_curve
from defi_leverage.synthetic import synthetic_book
from tests.benchmarks.padding import pad_book
from tests.contagion.table_engine import run_tables, tables_of

SCENARIOS, CASCADES, REFERENCES, PRICES, SEED = 64, 100, 2, 1000, 1
SHOCKED = ("ETH", "BTC", "LINK", "AAVE", "CRV")
FALLS = (0.01, 0.10)  # of the assets above, drawn one by one
HARD_FALLS = (0.01, 0.30)


def best_of(work: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of some runs, after one that compiles and warms up."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def triad_bandwidth(elements: int = 10_000_000) -> float:
    """Bytes a second of a = b + 3 c over arrays beyond the caches (McCalpin's STREAM triad), all threads."""

    @numba.njit(parallel=True)
    def triad(a: Floats, b: Floats, c: Floats) -> None:
        for i in numba.prange(len(a)):
            a[i] = b[i] + 3.0 * c[i]

    a, b, c = np.zeros(elements), np.ones(elements), np.ones(elements)
    return 24 * elements / best_of(lambda: triad(a, b, c), 10)


def draw_shocks(book: Book, count: int, falls: tuple[float, float]) -> Floats:
    """Independent falls of five assets, scenarios x assets."""
    shocks = np.zeros((count, len(book.price)))
    shocked = [list(book.symbols).index(symbol) for symbol in SHOCKED]
    shocks[:, shocked] = -np.random.default_rng(SEED).uniform(*falls, (count, len(SHOCKED)))
    return shocks


def draw_prices(book: Book) -> Floats:
    """Feed prices of SCENARIOS scenarios, each feed down by up to 40 %."""
    return book.feed_price[:, None] * np.random.default_rng(SEED).uniform(0.6, 1, (len(book.feed_price), SCENARIOS))


def scipy_times(book: Book, prices: Floats) -> tuple[float, float]:
    """Seconds a scenario of the two CSR products: one scenario at a time, and all as columns of one matrix."""
    weighted, shape = book.amount * book.weight, (len(book.account_ids), len(book.feed_ids))
    collateral, debt = (
        scipy.sparse.csr_matrix((weighted[legs], (book.leg_account[legs], book.leg_feed[legs])), shape=shape)
        for legs in (~book.is_debt, book.is_debt)
    )
    one = np.ascontiguousarray(prices[:, 0])
    single = best_of(lambda: (collateral @ one, debt @ one))
    columns = best_of(lambda: collateral @ prices, 2) + best_of(lambda: debt @ prices, 2)
    return single, columns / prices.shape[1]


def measure_matrix(compact: CompactBook, prices: Floats) -> float:
    """Seconds a scenario of writing all health factors into memory that is there."""
    out = np.empty((compact.accounts, SCENARIOS))
    return best_of(lambda: health_factors(compact, prices, out)) / SCENARIOS


def measure_cascades(book: Book, compact: CompactBook, falls: tuple[float, float]) -> tuple[float, float]:
    """Seconds a scenario-round (the last one, which finds nobody, counts) and mean rounds a scenario."""
    shocks = draw_shocks(book, CASCADES, falls)
    rounds = run_cascades(book, compact, shocks).rounds
    return best_of(lambda: run_cascades(book, compact, shocks), 3) / (rounds.sum() + CASCADES), float(rounds.mean())


def measure_reference(snapshot: Snapshot) -> tuple[float, float]:
    """Seconds a scenario-round of the pandas engine in the tests, its tables made before, and of `run_cascades`."""
    book, tables = compile_book(snapshot), tables_of(snapshot)
    symbols, seconds, rounds = list(book.symbols), 0.0, 0
    for row in draw_shocks(book, CASCADES, FALLS)[:REFERENCES]:
        scenario = Scenario(shocks={symbol: float(row[symbols.index(symbol)]) for symbol in SHOCKED}, max_rounds=5)
        began = time.perf_counter()
        outcome = run_tables(snapshot, scenario, tables)
        seconds += time.perf_counter() - began
        rounds += len(outcome.rounds) + 1
    return seconds / rounds, measure_cascades(book, lay_out(book), FALLS)[0]


def measure_curve(snapshot: Snapshot, book: Book) -> float:
    """Seconds of a liquidation-at-price curve; `snapshot` is any of the same assets."""
    today = float(book.price[list(book.symbols).index("ETH")])
    prices = (today * np.linspace(0.3, 1.2, PRICES)).tolist()
    return best_of(lambda: liquidation_curve(snapshot, "ETH", prices, book), 2)


def measure(accounts: int) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The figures of out/bench.json, and the rows of the table."""
    began = time.perf_counter()
    snapshot = synthetic_book(accounts, SEED)
    made = time.perf_counter()
    plain = compile_book(snapshot)
    compiled = time.perf_counter()
    del snapshot
    book = pad_book(plain, 64)
    curve = measure_curve(synthetic_book(10, SEED), plain)
    plain_bytes = plain.nbytes
    del plain
    laid = time.perf_counter()
    compact = lay_out(book)
    lay = time.perf_counter() - laid
    prices = draw_prices(book)
    single, columns = scipy_times(book, prices)
    health = best_of(lambda: count_liquidatable(compact, prices)) / SCENARIOS
    matrix = measure_matrix(compact, prices)
    moving = compact.health_nbytes / triad_bandwidth()
    cascade, rounds = measure_cascades(book, compact, FALLS)
    hard, hard_rounds = measure_cascades(book, compact, HARD_FALLS)
    small = synthetic_book(accounts // 10, SEED)
    reference, cascade_there = measure_reference(small)
    figures = {
        "health_factor_vs_scipy": single / health,
        "health_factor_vs_scipy_columns": columns / health,
        "health_factor_vs_stream": health / moving,
        "cascade_round_vs_health_factor": cascade / health,
        "cascade_round_vs_health_factor_hard": hard / health,
        "cascade_vs_reference": reference / cascade_there,
        "accounts": compact.accounts,
        "legs": len(compact.amount),
        "bytes_per_account": plain_bytes / compact.accounts,
        "kernel_bytes_per_account": compact.nbytes / compact.accounts,
        "health_bytes_per_account": compact.health_nbytes / compact.accounts,
        "mean_rounds": rounds,
        "threads": numba.get_num_threads(),
    }
    rows = [
        ("make the snapshot / compile / lay out", f"{made - began:.2f} / {compiled - made:.2f} / {lay:.2f} s"),
        ("bytes an account: book / laid out / of it for health factors",
         " / ".join(f"{figures[name + '_per_account']:.0f}" for name in ("bytes", "kernel_bytes", "health_bytes"))),
        ("moving the last of these once at STREAM triad's speed", f"{moving * 1e3:.3f} ms"),
        ("health factors, counting those below 1, a scenario", f"{health * 1e3:.3f} ms"),
        ("  writing the whole matrix", f"{matrix * 1e3:.3f} ms"),
        ("scipy CSR products, a scenario: alone / as one of 64 columns",
         f"{single * 1e3:.2f} / {columns * 1e3:.2f} ms"),
        ("  faster than scipy (target 20)",
         f"{figures['health_factor_vs_scipy']:.1f} / {figures['health_factor_vs_scipy_columns']:.1f} times"),
        ("  share of moving the book (target at most 0.35)", f"{figures['health_factor_vs_stream']:.2f}"),
        (f"liquidation-at-price curve, {PRICES} prices", f"{curve * 1e3:.1f} ms"),
        (f"cascades, a scenario-round ({rounds:.1f} rounds; falls of 1-10 %)", f"{cascade * 1e3:.2f} ms"),
        ("  health-factor times (target at most 5)", f"{figures['cascade_round_vs_health_factor']:.1f}"),
        (f"  the same with falls of 1-30 % ({hard_rounds:.1f} rounds)", f"{hard / health:.1f}"),
        ("  faster than the pandas engine, a tenth of the book (target 50)",
         f"{figures['cascade_vs_reference']:.0f} times"),
    ]  # fmt: skip
    return figures, rows


def scaling(console: Console, largest: int) -> list[dict[str, float]]:
    """Times from 10^4 accounts up to `largest`; nanoseconds an account should stay the same."""
    table = Table(title="Growth with the book (nanoseconds an account)")
    for name in ("accounts", "health factor, a scenario", "cascade, a scenario-round", "curve of 1,000 prices"):
        table.add_column(name, justify="right")
    rows = []
    for accounts in (size for size in (10_000, 100_000, 1_000_000) if size <= largest):
        book = compile_book(synthetic_book(accounts, SEED))
        compact, prices = lay_out(book), draw_prices(book)
        times = (
            best_of(lambda: count_liquidatable(compact, prices), 10) / SCENARIOS,  # noqa: B023
            measure_cascades(book, compact, FALLS)[0],
            measure_curve(synthetic_book(10, SEED), book),
        )
        each = [seconds / accounts * 1e9 for seconds in times]
        table.add_row(f"{accounts:,}", *(f"{value:.2f}" for value in each))
        rows.append(dict(zip(("accounts", "health", "cascade_round", "curve"), (accounts, *each), strict=True)))
    console.print(table)
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path, default=Path("out/bench.json"))
    options = parser.parse_args()
    console = Console()
    figures, rows = measure(options.accounts)
    table = Table(title=f"{figures['accounts']:,} accounts, {figures['legs']:,} legs, {figures['threads']} threads")
    table.add_column("measured")
    table.add_column("", justify="right")
    figures["scaling_ns_per_account"] = scaling(console, options.accounts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    figures["peak_rss_bytes"] = peak
    for row in (*rows, ("peak resident size of all this (target below 2 GB)", f"{peak / 1e9:.2f} GB")):
        table.add_row(*row)
    console.print(table)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=2) + "\n")
    console.print(f"written to {options.output}")


if __name__ == "__main__":
    main()
