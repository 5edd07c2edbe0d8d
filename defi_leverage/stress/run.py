"""One stress test from its plan to its report: curves, every set of scenarios, measures of risk, reverse tests."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import ceil, log2

import pandas as pd

from defi_leverage.contagion.book import Book, compile_book
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import LeverageError
from defi_leverage.snapshot import Snapshot, resolve_asset
from defi_leverage.stress.liquidation_curve import liquidation_curve
from defi_leverage.stress.notation import Axis, ReverseTarget
from defi_leverage.stress.plan import ScenarioSet, StressPlan, plan_sets
from defi_leverage.stress.report import PLACE_COLUMNS, StressReport
from defi_leverage.stress.reverse import reverse_stress_test
from defi_leverage.stress.risk import loss_tables, risk_measures, value_at_risk_interval
from defi_leverage.stress.scenario_sets import combine_changes, shock_table
from defi_leverage.stress.sweep import OUTCOME_COLUMNS, check_names, run_scenarios

__all__ = ["run_plan"]

Tell = Callable[[str, int, int], None]
"""What is running, how much of it is done, and of how much."""


def run_plan(
    snapshot: Snapshot,
    plan: StressPlan,
    prices: pd.DataFrame | None = None,
    progress: Tell | None = None,
    tolerant: bool = False,
) -> StressReport:
    """Run a stress test; `prices` from `align_prices` where the plan needs them.

    A KeyboardInterrupt ends it, and what is finished is returned (`StressReport.interrupted`). What does not fit the
    snapshot raises SnapshotError or ScenarioError before anything runs, or, if `tolerant`, is passed over and named in
    `refused`. `progress` is told what is running, how much of it is done, and of how much.
    """
    report = StressReport(plan.confidence)
    tell: Tell = progress or (lambda *_: None)
    doing = "preparation"
    try:
        book = compile_book(snapshot)
        symbol = dict(zip(book.asset_ids, book.symbols, strict=True))
        report.toxic = [f"{symbol[asset]} at {venue}" for asset, venue in book.toxic_terms]
        sets, searches, curves = _fitting(snapshot, plan, prices, book, report.refused if tolerant else None)
        report.requested = sum(len(item.scenarios) for item in sets)
        doing = "liquidation curves"
        if curves:
            report.curves = pd.concat([_curve(snapshot, axis, book) for axis in curves], ignore_index=True)
        for doing, of_draws in (("scenarios", False), ("draws", True)):
            chosen = [item for item in sets if (item.kind == "draws") == of_draws]
            kept = plan.draws.losses if of_draws and plan.draws else plan.losses
            if _sweep(snapshot, chosen, kept, book, report, partial(tell, doing)):
                raise KeyboardInterrupt
        doing = "reverse stress tests"
        for target in searches:
            search = plan.search
            most = search.steps + 2 + ceil(log2(max(search.largest / search.steps / search.tolerance, 1)))
            report.reverse += reverse_stress_test(
                snapshot,
                target.direction,
                target.measure,
                target.bound,
                largest=search.largest,
                steps=search.steps,
                tolerance=search.tolerance,
                base=plan.base,
                progress=lambda done, what=f"reverse {target}", most=most: tell(what, done, most),  # type: ignore[misc]
            )
    except KeyboardInterrupt:
        report.interrupted = doing
    return report


def _fitting(
    snapshot: Snapshot, plan: StressPlan, prices: pd.DataFrame | None, book: Book, refused: dict[str, str] | None
) -> tuple[list[ScenarioSet], list[ReverseTarget], list[Axis]]:
    """The parts of a plan that fit the snapshot; others raise, or go into `refused` where there is one."""

    def fits(what: str, check: Callable[[], object]) -> bool:
        try:
            check()
        except LeverageError as error:
            if refused is None:
                raise
            refused[what] = str(error)
            return False
        return True

    def direction(target: ReverseTarget) -> Scenario:
        return combine_changes(plan.base, dict.fromkeys(target.direction, -0.1), str(target))

    sets: list[ScenarioSet] = []

    def add(make: Callable[[], ScenarioSet]) -> None:
        made = make()
        check_names(snapshot, made.scenarios, book)
        sets.append(made)

    for what, make in plan_sets(snapshot, plan, prices):
        fits(what, partial(add, make))
    searches = [
        target
        for target in plan.reverse
        if fits(f"reverse {target}", lambda target=target: check_names(snapshot, [direction(target)], book))  # type: ignore[misc]
    ]
    curves = [axis for axis in plan.curves if fits(f"curve {axis}", partial(resolve_asset, snapshot, axis.assets[0]))]
    return sets, searches, curves


def _curve(snapshot: Snapshot, axis: Axis, book: Book) -> pd.DataFrame:
    """The liquidation-at-price curve of one asset at changes of today's price."""
    asset_id = resolve_asset(snapshot, axis.assets[0])
    (asset,) = (book.asset_ids == asset_id).nonzero()[0]
    curve = liquidation_curve(snapshot, asset_id, [book.price[asset] * (1 + change) for change in axis.changes], book)
    curve.insert(0, "asset_id", asset_id)
    curve.insert(1, "symbol", str(book.symbols[asset]))
    return curve


def _sweep(
    snapshot: Snapshot,
    sets: Sequence[ScenarioSet],
    losses: Sequence[str],
    book: Book,
    report: StressReport,
    progress: Callable[[int, int], None],
) -> bool:
    """Run sets of scenarios into the report; whether the user stopped it."""
    scenarios = [scenario for item in sets for scenario in item.scenarios]
    if not scenarios:
        return False
    first = len(report.scenarios)
    venue_names = dict(zip(snapshot.venues["venue_id"], snapshot.venues["name"], strict=True))
    collect = partial(_losses, kinds=losses, venue_names=venue_names) if losses else None
    found = run_scenarios(snapshot, scenarios, progress, collect, book)
    places = pd.concat([item.places.assign(kind=item.kind, set=item.name) for item in sets], ignore_index=True)
    rows = pd.concat([places.iloc[: len(found.table)], found.table.reset_index(drop=True)], axis=1)
    rows["number"] = rows.index + first
    rows = rows.reindex(columns=[*PLACE_COLUMNS, *OUTCOME_COLUMNS])
    shocks = shock_table(scenarios[: len(rows)]).reset_index()
    shocks.insert(0, "number", rows["number"])
    if len(rows):
        report.scenarios = pd.concat([report.scenarios, rows], ignore_index=True) if first else rows
        report.shocks = pd.concat([report.shocks, shocks], ignore_index=True).fillna(0.0) if first else shocks
    if len(found.collected):
        kept = found.collected.assign(number=found.collected["number"] + first)
        kept = kept[["number", "scenario", *kept.columns.drop(["number", "scenario"])]]
        report.losses = pd.concat([report.losses, kept], ignore_index=True)
    # Measures of draws that are not all there would be those of another distribution.
    wanted = places[places["kind"] == "draws"].groupby("depth_multiplier", sort=False).size()
    measured = [
        _measures(draws, report.confidence)
        for depth, count in wanted.items()
        if len(draws := rows[(rows["kind"] == "draws") & (rows["depth_multiplier"] == depth)]) == count
    ]
    report.risk = pd.DataFrame(measured)
    return not found.complete


def _measures(draws: pd.DataFrame, confidence: float) -> dict[str, object]:
    low, high = value_at_risk_interval(draws["bad_debt_usd"], confidence)
    return {
        "set": draws["set"].iloc[0],
        "depth_multiplier": draws["depth_multiplier"].iloc[0],
        "confidence": confidence,
        **{str(name): value for name, value in risk_measures(draws, confidence).items()},
        "bad_debt_var_low_usd": low,
        "bad_debt_var_high_usd": high,
    }


def _losses(result: ContagionResult, kinds: Sequence[str], venue_names: Mapping[str, str]) -> pd.DataFrame:
    """The loss tables of one run in one table: `by`, `key`, the name of a venue or asset, and the losses."""
    tables = []
    for by, table in loss_tables(result, kinds).items():
        key = str(table.columns[0])
        keys = table[key].astype(str)
        names = table["symbol"] if by == "asset" else keys.map(venue_names) if by == "venue" else keys
        tables.append(table.assign(by=by, key=keys, name=names))
    losses = pd.concat(tables, ignore_index=True)
    return losses[["by", "key", "name", "accounts", "repaid_usd", "seized_usd", "bad_debt_usd"]]
