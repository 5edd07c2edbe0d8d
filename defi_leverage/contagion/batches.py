"""Many scenarios at once, whatever their switches: those that share them run as one batch of cascades."""

from collections.abc import Sequence

import numpy as np

from defi_leverage.contagion.book import Book, compile_book
from defi_leverage.contagion.cascade_outcomes import Cascades, join_cascades
from defi_leverage.contagion.cascades import run_cascades
from defi_leverage.contagion.engine import frozen_feeds, resolve_shocks, with_grown_debt
from defi_leverage.contagion.layout import CompactBook, grow, lay_out
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot

__all__ = ["run_batch"]


def run_batch(
    snapshot: Snapshot,
    scenarios: Sequence[Scenario],
    book: Book | None = None,
    compact: CompactBook | None = None,
    *,
    keep_legs: bool = False,
) -> Cascades:
    """Run every scenario to its end, as `engine.run_contagion` would each; in the order given.

    `book`, `compact`: `compile_book(snapshot)` and `lay_out(book)` from earlier calls. Raises SnapshotError or
    ScenarioError where a scenario names what the snapshot does not have.
    """
    book = book or compile_book(snapshot)
    compact = compact or lay_out(book)
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, scenario in enumerate(scenarios):
        groups.setdefault(_switches(scenario), []).append(number)
    parts = [_run_group(snapshot, [scenarios[at] for at in of], book, compact, keep_legs) for of in groups.values()]
    if not parts:
        return run_cascades(book, compact, np.zeros((0, len(book.price))))
    return join_cascades(parts, np.concatenate(list(groups.values())))


def _switches(scenario: Scenario) -> tuple[object, ...]:
    """All that scenarios of one batch share: everything but shocks, depth and name."""
    return (
        scenario.sell_collateral,
        scenario.buy_debt,
        scenario.max_rounds,
        scenario.steps if scenario.arrival == "continuous" else 1,
        (scenario.liquidators, scenario.gas_usd if scenario.liquidators == "rational" else 0.0),
        tuple(sorted(scenario.rate_shocks.items())),
        scenario.stale_rounds,
        frozenset(scenario.frozen_feeds),
    )


def _run_group(
    snapshot: Snapshot, scenarios: Sequence[Scenario], book: Book, compact: CompactBook, keep_legs: bool
) -> Cascades:
    example = scenarios[0]
    resolved = [resolve_shocks(snapshot, scenario, book) for scenario in scenarios]
    grown = with_grown_debt(snapshot, example, book)
    return run_cascades(
        grown,
        compact if grown is book else grow(compact, grown),
        np.array([shock for shock, _ in resolved]),
        np.array([feed_shock for _, feed_shock in resolved]),
        np.array([scenario.depth_multiplier for scenario in scenarios]),
        switches=example,
        frozen=frozen_feeds(snapshot, example, book),
        keep_legs=keep_legs,
    )
