"""The command that measures leverage: positions, markets, venues, concentration, dependency, decay, references."""
# ruff: noqa: PLC0415 - each command imports what it needs, so that --help answers at once.

import logging
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defi_leverage.commands.options import (
    ConfigOption,
    JsonOption,
    SnapshotArgument,
    load_settings,
    open_snapshot,
    parse_figures,
    print_json,
)
from defi_leverage.errors import SnapshotError

if TYPE_CHECKING:
    from defi_leverage.config import Config
    from defi_leverage.snapshot import Snapshot

__all__ = ["derived_files", "measures"]


class Measure(StrEnum):
    """The tables of measures."""

    venues = "venues"
    markets = "markets"
    positions = "positions"
    prices = "prices"
    concentration = "concentration"
    dependency = "dependency"
    decay = "decay"
    references = "references"


log = logging.getLogger(__name__)

_DEFAULT = (Measure.venues, Measure.markets, Measure.positions, Measure.concentration, Measure.dependency)


def _share_option(help: str) -> Any:
    """An option that takes 4% for 0.04."""

    def parse(given: str) -> float:
        from defi_leverage.config_values import fraction

        try:
            return fraction(given)
        except ValueError as error:
            raise typer.BadParameter(f"{given!r} {error}") from None

    return typer.Option(help=help, parser=parse, metavar="SHARE")


def measures(
    snapshot: SnapshotArgument,
    tables: Annotated[
        list[Measure] | None, typer.Option("--table", help="Repeatable. Default: those that need no further figures.")
    ] = None,
    volatilities: Annotated[
        list[str] | None,
        typer.Option("--volatility", metavar="ASSET=0.6", help="Yearly; 0.6 or 60%. For prices, decay, references."),
    ] = None,
    expected_returns: Annotated[
        list[str] | None,
        typer.Option(
            "--expected-return", metavar="ASSET=0.2", help="Yearly drift of the price. For references (Kelly)."
        ),
    ] = None,
    risk_free_rate: Annotated[float | None, _share_option("Yearly, for Kelly: 4% or 0.04.")] = None,
    target_volatility: Annotated[float | None, _share_option("Yearly, of equity, for references.")] = None,
    gap: Annotated[float | None, _share_option("A fall within one step, for references: 20% or 0.2.")] = None,
    jumps_per_year: Annotated[float | None, typer.Option(help="Jumps down, for references (gap risk).")] = None,
    mean_jump: Annotated[float | None, _share_option("Mean of their log size: 3% or 0.03.")] = None,
    horizon_days: Annotated[
        float | None, typer.Option(min=0.001, help="Distances in prices are volatilities over this. Default: 1.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure leverage, headroom, margin, concentration, dependency, decay; what is not known is left open.

    Figures that are not given here are those of the part measures of the configuration.
    """
    from defi_leverage.clusters.ranking import find_clusters
    from defi_leverage.commands import console
    from defi_leverage.derived_tables import derive_measure
    from defi_leverage.market import known_figures
    from defi_leverage.summary import plain

    wanted = tuple(dict.fromkeys(tables or _DEFAULT))
    settings = load_settings(config)
    loaded = open_snapshot(snapshot)
    configured = known_figures(loaded, settings.measures)
    given: dict[str, Any] = {
        "volatility": _overridden(loaded, configured.volatility, "volatility", volatilities),
        "expected_return": _overridden(loaded, configured.expected_return, "expected return", expected_returns),
        "risk_free_rate": risk_free_rate,
        "target_volatility": target_volatility,
        "gap": gap,
        "jumps_per_year": jumps_per_year,
        "mean_jump": mean_jump,
        "horizon_days": horizon_days,
    }
    figures = replace(configured, **{name: value for name, value in given.items() if value is not None})
    clusters = partial(find_clusters, loaded, **settings.clusters)
    found: dict[str, Any] = {item.value: derive_measure(loaded, item.value, figures, clusters) for item in wanted}
    found = plain(found)
    if not print_json(found, as_json):
        for key, rows in found.items():
            title, columns = console.MEASURES[key]
            console.print_table(title, columns, rows)


def _overridden(
    snapshot: "Snapshot", configured: Mapping[str, float], field: str, texts: list[str] | None
) -> Mapping[str, float]:
    """The configured figures, in place of them those of the command line for what the same asset moves."""
    from defi_leverage.analytics.drivers import resolve_by_driver

    given = resolve_by_driver(snapshot, parse_figures(f"--{field.replace(' ', '-')}", texts), field)
    return {**resolve_by_driver(snapshot, configured, field), **given} if given else configured


def derived_files(snapshot: "Snapshot", settings: "Config", found: Mapping[str, Any], folder: Path) -> dict[str, bytes]:
    """Every derived table as Parquet by name of the file; `found` is what `summarize` found, `folder` has the scans.

    Figures are those of [measures] in the configuration, scenarios those that fit the snapshot. A table that cannot be
    made is left out, and the log says why.
    """
    import pandas as pd

    from defi_leverage.analytics.leverage_history import LEAST_SNAPSHOTS
    from defi_leverage.clusters.ranking import CLUSTER_COLUMNS
    from defi_leverage.derived_tables import cycle_tables, derive_tables
    from defi_leverage.history import load_history
    from defi_leverage.market import known_figures
    from defi_leverage.store import encode_table

    rows = zip(settings.scenarios, found["scenarios"], strict=True)
    fitting = [scenario for scenario, row in rows if "error" not in row]
    clusters = pd.DataFrame(found["clusters"], columns=list(CLUSTER_COLUMNS)).astype({"leverage": float})
    figures = known_figures(snapshot, settings.measures)
    tables = derive_tables(snapshot, figures, clusters, fitting, tolerant=True)
    try:
        history = load_history(folder, figures.history)
        tables |= cycle_tables(history) if len(history) >= LEAST_SNAPSHOTS else {}
    except SnapshotError as error:  # an old scan that is damaged must not cost the new one its tables
        log.warning("no leverage cycle: %s", error)
    return {f"{name}.parquet": encode_table(table, "parquet") for name, table in tables.items()}
