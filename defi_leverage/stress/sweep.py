"""Stress tests: many scenarios on one snapshot, one row each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from defi_leverage.contagion.book import Book, compile_book
from defi_leverage.contagion.engine import resolve_shocks, run_contagion
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

    `progress` is called with (finished, all) after each; `collect` keeps a table of each result, such as
    `functools.partial(loss_table, by="venue")`, for results themselves are too large to keep by the thousand.
    `book` may carry `compile_book(snapshot)` from an earlier call.
    A KeyboardInterrupt ends the run and returns what is finished. Raises SnapshotError or ScenarioError before the
    first run where any scenario names what the snapshot does not have.
    """
    asked = list(scenarios)
    book = book or compile_book(snapshot)
    check_names(snapshot, asked, book)
    finished: list[tuple[dict[str, object], pd.DataFrame]] = []
    try:
        for number, scenario in enumerate(asked):
            result = run_contagion(snapshot, scenario, book)
            kept = collect(result).assign(number=number, scenario=scenario.name) if collect else pd.DataFrame()
            finished.append(({"scenario": scenario.name, **scenario_outcome(result)}, kept))
            if progress is not None:
                progress(len(finished), len(asked))
    except KeyboardInterrupt:
        pass  # what is finished is returned, and `complete` says that it is not all
    table = pd.DataFrame([row for row, _ in finished], columns=["scenario", *OUTCOME_COLUMNS])
    table.index.name = "number"
    collected = [kept for _, kept in finished if len(kept)]
    return StressResult(table, len(asked), pd.concat(collected, ignore_index=True) if collected else pd.DataFrame())


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
    counts = book.is_debt | (book.weight > 0)
    value = np.where(book.is_debt, 1.0, -1.0) * result.amount * result.final_feed_price[book.leg_feed]
    owed_beyond = np.bincount(book.leg_account[counts], weights=value[counts], minlength=len(book.account_ids))
    bad_debt = float(summary["bad_debt_usd"])
    return {
        **{name: _flat(summary[name]) for name in OUTCOME_COLUMNS if name in summary},
        "bad_debt_share": bad_debt / debt_before if debt_before > 0 else 0.0,
        "insolvency_usd": bad_debt + float(np.maximum(owed_beyond, 0.0).sum()),
    }


def _flat(value: object) -> object:
    """A list of names as one text, for a cell of a table."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
