"""The derived tables of a snapshot: what the measures, the rate channel and the scope of liquidations say of it.

Each is the table of one function of `analytics`, whose docstring says what its columns are. What a table needs beyond
the snapshot (`Figures`, scenarios, clusters) and is not given leaves columns open, or the table empty; nothing is made
up.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import partial

import pandas as pd

from defi_leverage.analytics.concentration import concentration_measures
from defi_leverage.analytics.decay import leverage_decay
from defi_leverage.analytics.dependency import dependency_measures
from defi_leverage.analytics.figures import Figures
from defi_leverage.analytics.leverage_cycle import LeverageCycle
from defi_leverage.analytics.leverage_history import fit_leverage_cycle, leverage_and_volatility
from defi_leverage.analytics.markets import market_measures, venue_measures
from defi_leverage.analytics.positions import liquidation_prices, position_measures
from defi_leverage.analytics.rates import loops_after_withdrawal, rates_after_withdrawal, withdrawable_assets
from defi_leverage.analytics.references import cluster_references
from defi_leverage.analytics.scope import liquidation_scope
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import LeverageError
from defi_leverage.snapshot import Snapshot

__all__ = ["MEASURES", "cycle_tables", "derive_measure", "derive_tables"]

log = logging.getLogger(__name__)

_OF_THE_SNAPSHOT: Mapping[str, Callable[[Snapshot], pd.DataFrame]] = {
    "venues": venue_measures,
    "markets": market_measures,
    "positions": position_measures,
    "concentration": concentration_measures,
    "dependency": dependency_measures,
}
MEASURES = (*_OF_THE_SNAPSHOT, "prices", "decay", "references")
"""Names of the tables that `derive_measure` makes."""


def derive_measure(
    snapshot: Snapshot, name: str, figures: Figures, find_clusters: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """The table `name` of MEASURES; `find_clusters` is asked for the clusters where they are needed (references)."""
    if name == "prices":
        return liquidation_prices(snapshot, figures.volatility, figures.horizon_days)
    if name == "decay":
        return leverage_decay(snapshot, figures.volatility)
    if name == "references":
        return cluster_references(
            snapshot,
            find_clusters(),
            figures.volatility,
            figures.expected_return,
            risk_free_rate=figures.risk_free_rate,
            target_volatility=figures.target_volatility,
            gap=figures.gap,
            jumps_per_year=figures.jumps_per_year,
            mean_jump=figures.mean_jump,
        )
    return _OF_THE_SNAPSHOT[name](snapshot)


def derive_tables(
    snapshot: Snapshot,
    figures: Figures,
    clusters: pd.DataFrame,
    scenarios: Iterable[Scenario] = (),
    tolerant: bool = False,
) -> dict[str, pd.DataFrame]:
    """Every derived table by name: those of MEASURES, rates, rate_loops, scope_venues, scope_assets, scope_accounts.

    rates and rate_loops: `rates_after_withdrawal` of every asset that some market lends along a known curve, all at
    once, and `loops_after_withdrawal`; none where no curve is known. scope_*: `liquidation_scope` of `scenarios`; none
    without any. Raises as these functions do; `tolerant`: what cannot be made is left out, and the log says why.
    """

    def rates() -> dict[str, pd.DataFrame]:
        withdrawn = dict.fromkeys(withdrawable_assets(snapshot), figures.withdrawal)
        if not withdrawn:
            return {}
        markets = rates_after_withdrawal(snapshot, withdrawn, figures.rate_days)
        return {"rates": markets, "rate_loops": loops_after_withdrawal(snapshot, markets, figures.rate_days)}

    def scope() -> dict[str, pd.DataFrame]:
        chosen = tuple(scenarios)
        found = liquidation_scope(snapshot, chosen)._asdict() if chosen else {}
        return {f"scope_{name}": table for name, table in found.items() if name != "converged"}

    def measure(name: str) -> dict[str, pd.DataFrame]:
        return {name: derive_measure(snapshot, name, figures, lambda: clusters)}

    tables: dict[str, pd.DataFrame] = {}
    makers: dict[str, Callable[[], dict[str, pd.DataFrame]]] = {name: partial(measure, name) for name in MEASURES}
    for name, make in (makers | {"rates": rates, "scope": scope}).items():
        try:
            tables |= make()
        except LeverageError as error:
            if not tolerant:
                raise
            log.warning("no table of %s: %s", name, error)
    return tables


def cycle_tables(history: Sequence[tuple[datetime, Snapshot]]) -> dict[str, pd.DataFrame]:
    """leverage_history, of `leverage_and_volatility`, and leverage_cycle, one row: `Calibration` and the model's s0.

    `history`: at least three snapshots in order of time. Raises SnapshotError as these functions do.
    """
    model = LeverageCycle()
    series = leverage_and_volatility(history, model.d)
    found = fit_leverage_cycle(series, model)
    fit = {item.name: getattr(found, item.name) for item in fields(found) if item.name != "model"}
    table = pd.DataFrame([fit | {"s0": model.s0}])
    return {"leverage_history": series.reset_index(), "leverage_cycle": table}
