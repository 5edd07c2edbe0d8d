"""A stress test from what is asked to what is found: prices read, scenarios run, tables, figures, summary written."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from defi_leverage.config_scenarios import read_stress
from defi_leverage.errors import LeverageError
from defi_leverage.plots.stress import draw_stress
from defi_leverage.price_files import read_price_history
from defi_leverage.snapshot import Snapshot
from defi_leverage.store import encode_table, save_report
from defi_leverage.stress.plan import StressPlan
from defi_leverage.stress.report import StressReport
from defi_leverage.stress.run import run_plan
from defi_leverage.summary import plain

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["stress_test", "stress_to_files"]

log = logging.getLogger(__name__)


def stress_test(
    snapshot: Snapshot, progress: Callable[[str, int, int], None] | None = None, **asked: Any
) -> StressReport:
    """A stress test, written as [stress] of config.toml is: `ladders=["WETH=-5%:-60%:-5%"]`, `curves=["WETH"]`.

    Raises ConfigError for a key or value that is wrong, ImportFileError for a price file, and SnapshotError or
    ScenarioError for what does not fit the snapshot. `StressReport.tables` and `.summary()` are what it found.
    """
    plan = read_stress(asked, "stress_test")
    prices = read_price_history(plan.prices) if plan.needs_prices and plan.prices else None
    return run_plan(snapshot, plan, prices, progress)


def stress_to_files(
    snapshot: Snapshot,
    plan: StressPlan,
    folder: "str | Path",
    table_format: str = "parquet",
    progress: Callable[[str, int, int], None] | None = None,
    tolerant: bool = False,
) -> dict[str, Any]:
    """Run a plan and write its report into `folder`; returns the content of its summary.json, `files` with their paths.

    A KeyboardInterrupt ends the run, and what is finished is written (`interrupted` says so). `progress` and `tolerant`
    as in `run_plan`; `table_format`: parquet or csv. Raises as `read_price_history`, `run_plan` and `save_report` do.
    """
    prices = None
    refused = ""
    if plan.needs_prices and plan.prices is not None:
        try:
            prices = read_price_history(plan.prices)
        except LeverageError as error:
            if not tolerant:
                raise
            refused = str(error)
    report = run_plan(snapshot, plan, prices, progress, tolerant)
    if refused:
        report.refused["prices"] = refused
    found: dict[str, Any] = plain({**report.summary(), "plan": asdict(plan)})
    contents = {f"{name}.{table_format}": encode_table(table, table_format) for name, table in report.tables.items()}
    files = save_report(folder, found, contents | _figures(report))
    return found | {"files": [str(file) for file in files]}


def _figures(report: StressReport) -> dict[str, bytes]:
    try:
        return draw_stress(report)
    except (LeverageError, ValueError) as error:
        log.warning("no figures: %s", error)
        return {}
