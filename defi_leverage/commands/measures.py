"""The command that measures leverage: positions, markets, venues, concentration, dependency, decay, references."""
# ruff: noqa: PLC0415 - each command imports what it needs, so that --help answers at once.

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defi_leverage.commands.options import (
    ConfigOption,
    JsonOption,
    SnapshotArgument,
    load_settings,
    open_snapshot,
    print_json,
)
from defi_leverage.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from defi_leverage.snapshot import Snapshot

__all__ = ["measures"]

_NAN = float("nan")


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


_DEFAULT = (Measure.venues, Measure.markets, Measure.positions, Measure.concentration, Measure.dependency)


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
    risk_free_rate: Annotated[float | None, typer.Option(help="Yearly, for Kelly: 0.04 is 4 %.")] = None,
    target_volatility: Annotated[float | None, typer.Option(help="Yearly, of equity, for references.")] = None,
    gap: Annotated[float | None, typer.Option(help="A fall within one step, for references: 0.2 is 20 %.")] = None,
    horizon_days: Annotated[float, typer.Option(min=0.001, help="Distances in prices are volatilities over this.")] = 1,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure leverage, headroom, margin, concentration, dependency, decay; what is not known is left open."""
    from defi_leverage.commands import console
    from defi_leverage.summary import plain

    wanted = tuple(dict.fromkeys(tables or _DEFAULT))
    sigma = _parse_figures("--volatility", volatilities)
    drift = _parse_figures("--expected-return", expected_returns)
    loaded = open_snapshot(snapshot)
    found: dict[str, Any] = {}
    for name in wanted:
        if name is Measure.references:
            given = {"risk_free_rate": risk_free_rate, "target_volatility": target_volatility, "gap": gap}
            figures = {key: _NAN if value is None else value for key, value in given.items()}
            found[name.value] = _references(loaded, load_settings(config).clusters, sigma, drift, figures)
        else:
            found[name.value] = _measure(loaded, name, sigma, horizon_days)
    found = plain(found)
    if not print_json(found, as_json):
        for key, rows in found.items():
            title, columns = console.MEASURES[key]
            console.print_table(title, columns, rows)


def derived_tables(snapshot: "Snapshot") -> dict[str, bytes]:
    """The measures that need nothing but the snapshot, as Parquet by name of the file."""
    import io

    files = {}
    for name in (item for item in Measure if item is not Measure.references):
        content = io.BytesIO()
        _measure(snapshot, name, {}, 1.0).to_parquet(content)
        files[f"{name.value}.parquet"] = content.getvalue()
    return files


def _measure(snapshot: "Snapshot", name: Measure, sigma: dict[str, float], horizon_days: float) -> "pd.DataFrame":
    from defi_leverage.analytics.concentration import concentration_measures
    from defi_leverage.analytics.decay import leverage_decay
    from defi_leverage.analytics.dependency import dependency_measures
    from defi_leverage.analytics.markets import market_measures, venue_measures
    from defi_leverage.analytics.positions import liquidation_prices, position_measures

    if name is Measure.prices:
        return liquidation_prices(snapshot, sigma, horizon_days)
    if name is Measure.decay:
        return leverage_decay(snapshot, sigma)
    plainly = {
        Measure.venues: venue_measures,
        Measure.markets: market_measures,
        Measure.positions: position_measures,
        Measure.concentration: concentration_measures,
        Measure.dependency: dependency_measures,
    }
    return plainly[name](snapshot)


def _references(
    snapshot: "Snapshot",
    cluster_settings: Mapping[str, Any],
    sigma: dict[str, float],
    drift: dict[str, float],
    figures: dict[str, float],
) -> "pd.DataFrame":
    from defi_leverage.analytics.references import cluster_references
    from defi_leverage.clusters.ranking import find_clusters

    clusters = find_clusters(snapshot, **cluster_settings)
    return cluster_references(snapshot, clusters, sigma, drift, **figures)


def _parse_figures(option: str, texts: Sequence[str] | None) -> dict[str, float]:
    """Figures of ASSET=0.6 or ASSET=60%. Raises ConfigError for another form, or an asset named twice."""
    figures: dict[str, float] = {}
    for text in texts or ():
        name, equals, figure = text.rpartition("=")
        name, figure = name.strip(), figure.strip()
        try:
            value = float(figure.removesuffix("%")) / (100 if figure.endswith("%") else 1)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise ConfigError(f"{option} {text!r}: write it as ASSET=FIGURE, such as WETH=0.6 or WETH=60%")
        if name in figures:
            raise ConfigError(f"{option} {text!r}: {name} is given twice; give it one figure")
        figures[name] = value
    return figures
