"""Stress tests: many scenarios on one snapshot, one row each."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from defi_leverage.contagion.batches import run_batch
from defi_leverage.contagion.book import Book, compile_book
from defi_leverage.contagion.engine import resolve_shocks, run_contagion
from defi_leverage.contagion.layout import lay_out
from defi_leverage.contagion.losses import account_shortfalls
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot, resolve_asset

__all__ = ["OUTCOME_COLUMNS", "StressResult", "check_names", "run_scenarios", "scenario_outcome"]

OUTCOME_COLUMNS = (
    "converged",
    "rounds",
    "accounts_liquidated",
    "repaid_usd",
    "seized_usd",
    "protocol_fee_usd",
    "bad_debt_usd",
    "bad_debt_share",
    "insolvency_usd",
    "amplification",
    "exhausted",
    "missing_depth",
    "beyond_range",
    "residual",
    "toxic_liquidations",
)

Progress = Callable[[int, int], None]
Collect = Callable[[ContagionResult], pd.DataFrame]


@dataclass(frozen=True, eq=False)
class StressResult:
    """Outcomes of scenarios, one row each in the order given: the name and OUTCOME_COLUMNS (see `scenario_outcome`).

    `requested`: scenarios that were asked for; after an interruption `table` has the finished ones only and
    `complete` is False. `collected`: what `collect` made of each result, with the scenario's number and name.
    """

    table: pd.DataFrame
    requested: int
    collected: pd.DataFrame

    @property
    def complete(self) -> bool:
        """Whether every scenario that was asked for is in the table."""
        return len(self.table) == self.requested


def run_scenarios(
    snapshot: Snapshot,
    scenarios: Iterable[Scenario],
    progress: Progress | None = None,
    collect: Collect | None = None,
    book: Book | None = None,
) -> StressResult:
    """Run every scenario on its own; the order makes no difference to any of them.

    `progress` is called with (finished, all) from time to time; `collect` keeps a table of each result, such as
    `functools.partial(loss_table, by="venue")`, for results themselves are too large to keep by the thousand.
    `book` may carry `compile_book(snapshot)` from an earlier call. Much work of which nothing is collected goes to the
    compiled engine (`contagion.batches`), whose figures are those of `run_contagion` to rounding (1e-9); the choice
    depends on the number of accounts and scenarios alone.
    A KeyboardInterrupt ends the run and returns the first scenarios, as far as they are finished. Raises SnapshotError
    or ScenarioError before the first run where any scenario names what the snapshot does not have.
    """
    asked = list(scenarios)
    book = book or compile_book(snapshot)
    check_names(snapshot, asked, book)
    in_batches = collect is None and len(asked) * len(book.account_ids) >= _WORTH_COMPILING
    parts = _run_in_batches(snapshot, asked, book) if in_batches else _run_singly(snapshot, asked, book, collect)
    rows: list[dict[str, object]] = []
    collected: list[pd.DataFrame] = []
    try:
        for row, kept in parts:
            if len(kept):
                collected.append(kept.assign(number=len(rows), scenario=asked[len(rows)].name))
            rows.append({"scenario": asked[len(rows)].name, **row})
            if progress is not None:
                progress(len(rows), len(asked))
    except KeyboardInterrupt:
        pass  # what is finished is returned, and `complete` says that it is not all
    table = pd.DataFrame(rows, columns=["scenario", *OUTCOME_COLUMNS])
    table.index.name = "number"
    return StressResult(table, len(asked), pd.concat(collected, ignore_index=True) if collected else pd.DataFrame())


_Part = tuple[dict[str, object], pd.DataFrame]
_WORTH_COMPILING = 2_000_000  # accounts times scenarios: some ten seconds of the plain engine, as long as compiling
_AT_ONCE = 256  # scenarios between two steps of progress


def _run_singly(
    snapshot: Snapshot, scenarios: Sequence[Scenario], book: Book, collect: Collect | None
) -> Iterator[_Part]:
    for scenario in scenarios:
        result = run_contagion(snapshot, scenario, book)
        yield scenario_outcome(result), collect(result) if collect else pd.DataFrame()


def _run_in_batches(snapshot: Snapshot, scenarios: Sequence[Scenario], book: Book) -> Iterator[_Part]:
    compact, nothing = lay_out(book), pd.DataFrame()
    for start in range(0, len(scenarios), _AT_ONCE):
        ends = run_batch(snapshot, scenarios[start : start + _AT_ONCE], book, compact)
        for at in range(len(ends.rounds)):
            row: dict[str, object] = {}
            for name in OUTCOME_COLUMNS:
                value = getattr(ends, name)[at]
                row[name] = ", ".join(sorted(set(book.symbols[value]))) if np.ndim(value) else value.item()
            yield row, nothing


def check_names(snapshot: Snapshot, scenarios: Iterable[Scenario], book: Book) -> None:
    """Raise SnapshotError or ScenarioError where a scenario names what the snapshot does not have.

    Each set of names is resolved once: thousands of draws shock the same assets.
    """
    seen: set[tuple[frozenset[str], ...]] = set()
    for scenario in scenarios:
        kinds = scenario.shocks, scenario.feed_shocks, scenario.rate_shocks, scenario.frozen_feeds
        names = tuple(map(frozenset, kinds))
        if names in seen:
            continue
        seen.add(names)
        shocks, feed_shocks, _, frozen = (dict.fromkeys(sorted(some), -0.5) for some in names)
        resolve_shocks(snapshot, replace(scenario, shocks=shocks, feed_shocks=feed_shocks), book)
        for name in frozen:  # one at a time: a feed may be frozen under two names
            resolve_shocks(snapshot, replace(scenario, shocks={}, feed_shocks={name: -0.5}), book)
        for name in scenario.rate_shocks:
            resolve_asset(snapshot, name)


def scenario_outcome(result: ContagionResult) -> dict[str, object]:
    """One run as a row: OUTCOME_COLUMNS. USD at the feed prices of each round.

    `bad_debt_share`: of all debt before the shock. `insolvency_usd`: bad debt, and what accounts that are still there
    owe beyond their collateral at the final feed prices, summed over the accounts that do (the net insolvent amount of
    Gauntlet's risk dashboards, risk.gauntlet.network/faq). `exhausted`, `missing_depth`, `beyond_range`: symbols,
    comma separated. The rest are those of `ContagionResult.summary`.
    """
    summary, book = result.summary(), result.book
    debt_before = float((book.amount * book.feed_price[book.leg_feed])[book.is_debt].sum())
    owed_beyond = account_shortfalls(book, result.amount, result.final_feed_price[book.leg_feed])
    bad_debt = float(summary["bad_debt_usd"])
    return {
        **{name: _flat(summary[name]) for name in OUTCOME_COLUMNS if name in summary},
        "bad_debt_share": bad_debt / debt_before if debt_before > 0 else 0.0,
        "insolvency_usd": bad_debt + float(owed_beyond.sum()),
    }


def _flat(value: object) -> object:
    """A list of names as one text, for a cell of a table."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
