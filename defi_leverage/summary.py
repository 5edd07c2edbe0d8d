"""What the main job finds in a snapshot, as plain values: the content of summary.json, and of what people read.

USD at the oracle's feed prices. Leverage is never averaged: sums over sums, quantiles, and accounts without positive
equity counted apart.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import pandas as pd

from defi_leverage.clusters.ranking import find_clusters, gain_matrix
from defi_leverage.config import Config
from defi_leverage.contagion.batches import run_batch
from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import LeverageError
from defi_leverage.graph.loops import find_loops
from defi_leverage.health import account_health
from defi_leverage.plots.overview import plot_gain, plot_graph, plot_ladder, plot_leverage, plot_rounds, to_png
from defi_leverage.snapshot import Snapshot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["describe_leverage", "describe_scan", "describe_venues", "draw", "plain", "run_scenarios", "summarize"]

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
_FALLS = [step / 20 for step in range(13)]  # of the ladder: 0 to 60 %


def plain(value: Any) -> Any:
    """The value in types that JSON knows; a number that is missing or unbounded is None, a table a list of rows."""
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict("records")]
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def describe_venues(snapshot: Snapshot) -> list[dict[str, Any]]:
    """One row a line of coverage: venue, chain, block, accounts found, read and failed, USD supplied and borrowed.

    A venue that is at no block has the window of UTC time in which it was read, and how many seconds that is from the
    chains' blocks, at most.
    """
    health = account_health(snapshot)
    venue = snapshot.accounts["venue_id"].to_numpy()
    totals = health.groupby(venue)[["supplied_usd", "debt_usd"]].sum()
    names = dict(zip(snapshot.venues["venue_id"], snapshot.venues["name"], strict=True))
    rows = []
    for row in snapshot.coverage.to_dict("records"):
        sums = totals.loc[row["venue_id"]] if row["venue_id"] in totals.index else {}
        rows.append(
            {
                "venue": names.get(row["venue_id"]) or row["venue_id"] or row["protocol"],
                **{name: row[name] for name in ("venue_id", "protocol", "chain", "block", "block_time")},
                **{name: row[name] for name in ("window_start", "window_end")},
                "skew_seconds": None if math.isnan(row["skew_seconds"]) else float(row["skew_seconds"]),
                **{name: row[name] for name in ("found", "read", "failed", "why")},
                "supplied_usd": float(sums.get("supplied_usd", 0.0)),
                "debt_usd": float(sums.get("debt_usd", 0.0)),
            }
        )
    return rows


def describe_leverage(snapshot: Snapshot) -> dict[str, Any]:
    """Leverage (supplied / equity) and health factor of the borrowers with positive equity, as quantiles."""
    health = account_health(snapshot)
    borrowers = health[health["debt_usd"] > 0]
    solvent = borrowers[borrowers["equity_usd"] > 0]
    equity = float(solvent["equity_usd"].sum())

    def quantiles(column: str) -> dict[str, float | None]:
        values = solvent[column].to_numpy(float)
        return {
            f"p{share:.0%}"[:-1]: float(np.quantile(values, share)) if values.size else None for share in _QUANTILES
        }

    return {
        "accounts": len(health),
        "borrowers": len(borrowers),
        "without_debt": len(health) - len(borrowers),
        "negative_equity_accounts": len(borrowers) - len(solvent),
        "negative_equity_usd": float(borrowers["equity_usd"].clip(upper=0).sum()),
        "liquidatable_accounts": int((borrowers["health_factor"] < 1).sum()),
        "supplied_usd": float(health["supplied_usd"].sum()),
        "debt_usd": float(health["debt_usd"].sum()),
        "aggregate_leverage": float(solvent["supplied_usd"].sum()) / equity if equity > 0 else None,
        "leverage": quantiles("leverage"),
        "health_factor": quantiles("health_factor"),
    }


def describe_scan(snapshot: Snapshot, path: "Path | str") -> dict[str, Any]:
    """Where the snapshot is, whether anything is missing from it, its venues and its leverage."""
    return {
        "snapshot": str(path),
        "complete": snapshot.complete,
        "venues": describe_venues(snapshot),
        "leverage": describe_leverage(snapshot),
    }


def run_scenarios(
    snapshot: Snapshot, scenarios: Sequence[Scenario], progress: Progress | None = None
) -> Iterator[dict[str, Any]]:
    """The summary of each scenario in turn; one that does not fit the snapshot has its reason under `error`."""
    for number, scenario in enumerate(scenarios, start=1):
        try:
            found = run_contagion(snapshot, scenario).summary()
        except LeverageError as error:
            log.warning("scenario %s is not run: %s", scenario.name, error)
            found = {"scenario": scenario.name, "error": str(error)}
        yield found
        if progress is not None:
            progress("scenarios", number, len(scenarios))


def summarize(snapshot: Snapshot, path: "Path | str", config: Config, progress: Progress | None = None) -> Any:
    """The whole main job on one snapshot: scan, leverage, loops, scenarios, clusters, as plain values.

    A KeyboardInterrupt ends it: `interrupted` is what was running, scenarios are those that are finished, and loops or
    clusters that were not reached are None.
    """

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress("clusters", done, total)

    found: dict[str, Any] = {**describe_scan(snapshot, path), "interrupted": ""}
    found |= {"loops": None, "scenarios": [], "clusters": None, "stress": None}
    doing = "loops"
    try:
        found["loops"] = find_loops(snapshot)
        doing = "scenarios"
        for row in run_scenarios(snapshot, config.scenarios, progress):
            found["scenarios"].append(row)
        doing = "clusters"
        found["clusters"] = find_clusters(snapshot, **config.clusters, progress=tell)
    except KeyboardInterrupt:
        found["interrupted"] = doing
    return plain(found)


def draw(snapshot: Snapshot, graph: nx.MultiDiGraph, config: Config, found: Mapping[str, Any]) -> dict[str, bytes]:
    """The figures of what `summarize` found, as PNG by file name; none, and a line in the log, if that cannot be done.

    graph.png; leverage.png; gain.png, the largest gains at the clusters' peaks; rounds.png of the first scenario that
    shocks anything; ladder.png of the first asset whose market price a scenario shocks, where the stress test has drawn
    no ladder of its own.
    """
    try:
        return {name: to_png(figure) for name, figure in _figures(snapshot, graph, config, found)}
    except (LeverageError, ValueError) as error:
        log.warning("no figures: %s", error)
        return {}


def _figures(
    snapshot: Snapshot, graph: nx.MultiDiGraph, config: Config, found: Mapping[str, Any]
) -> "Iterator[tuple[str, Figure]]":
    yield "graph.png", plot_graph(graph)
    yield "leverage.png", plot_leverage(account_health(snapshot))
    book = compile_book(snapshot)
    symbols = dict(zip(snapshot.assets["asset_id"], snapshot.assets["symbol"], strict=True))
    states: list[dict[str, float]] = []  # for each cluster, the fall of its trigger at which it is least stable
    shown = set(snapshot.legs["asset_id"])
    for row in found["clusters"]:
        members = [asset for asset in row["assets"].split(", ") if asset in symbols]
        trigger = [asset for asset in members if symbols[asset] in row["trigger"].split(" + ")]
        states.append(dict.fromkeys(trigger, -row["peak_at"]))
        shown |= set(members)
    gains = [gain_matrix(snapshot, state, config.clusters.get("band", 0.01), book) for state in states or [{}]]
    largest = pd.DataFrame(np.max(gains, axis=0), gains[0].index, gains[0].columns)
    order = [asset for asset in largest.index if asset in shown]
    state = "each cluster at its peak" if states else "at today's prices"
    yield "gain.png", plot_gain(largest.loc[order, order], symbols, title=f"Gain through liquidations, {state}")
    shocking = [
        scenario
        for scenario, row in zip(config.scenarios, found["scenarios"], strict=True)
        if (scenario.shocks or scenario.feed_shocks) and "error" not in row
    ]
    for scenario in shocking[:1]:
        yield "rounds.png", plot_rounds(run_contagion(snapshot, scenario, book))
    drawn = [Path(file).name for file in (found["stress"] or {}).get("files", [])]
    for asset in [] if "ladder_1.png" in drawn else [name for scenario in shocking for name in scenario.shocks][:1]:
        rungs = run_batch(snapshot, [Scenario("", {asset: -fall}) for fall in _FALLS], book)
        ladder = pd.DataFrame({"fall": _FALLS, "seized_usd": rungs.seized_usd, "bad_debt_usd": rungs.bad_debt_usd})
        yield "ladder.png", plot_ladder(ladder, f"The market price of {symbols.get(asset, asset)} falls")
