"""On-chain leverage-loop and contagion analyzer: the names a notebook uses.

    import defi_leverage as dl

    snapshot = dl.load_snapshot("sample")
    loops = dl.find_loops(snapshot)
    result = dl.run_contagion(snapshot, dl.Scenario("ETH -30 %", {"WETH": -0.3}))
    clusters = dl.find_clusters(snapshot)
    dl.export_graph(dl.build_graph(snapshot), "graph.graphml", "graphml")

Names load on first use, so that importing the package costs nothing until something is asked of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defi_leverage.analytics.concentration import concentration_measures
    from defi_leverage.analytics.decay import leverage_decay
    from defi_leverage.analytics.dependency import dependency_measures
    from defi_leverage.analytics.leverage_history import calibrate_leverage_cycle
    from defi_leverage.analytics.markets import market_measures, venue_measures
    from defi_leverage.analytics.positions import liquidation_prices, position_measures
    from defi_leverage.analytics.rates import loops_after_withdrawal, rates_after_withdrawal
    from defi_leverage.analytics.references import cluster_references
    from defi_leverage.analytics.scope import liquidation_scope
    from defi_leverage.clusters.compare import compare_snapshots
    from defi_leverage.clusters.contagion_matrix import contagion_matrix
    from defi_leverage.clusters.gain import gain_matrix
    from defi_leverage.clusters.ranking import cluster_members, find_clusters
    from defi_leverage.contagion.engine import run_contagion
    from defi_leverage.contagion.scenario import Scenario
    from defi_leverage.export import export_graph
    from defi_leverage.graph.dependency import build_graph
    from defi_leverage.graph.financed_collateral import trace_financed_collateral
    from defi_leverage.graph.look_through import look_through_leverage
    from defi_leverage.graph.loops import find_loops, loop_accounts
    from defi_leverage.graph.owners import identify_owners
    from defi_leverage.graph.structural_loops import find_structural_loops
    from defi_leverage.health import account_health
    from defi_leverage.history import load_history
    from defi_leverage.networks.shortfall import insolvency_at_market, lender_losses
    from defi_leverage.positions import import_positions
    from defi_leverage.snapshot import Snapshot
    from defi_leverage.store import load_snapshot, save_snapshot
    from defi_leverage.stress.liquidation_curve import liquidation_curve
    from defi_leverage.stress.market_shocks import historical_scenario
    from defi_leverage.stress.reverse import reverse_stress_test
    from defi_leverage.stress.risk import loss_table, risk_measures
    from defi_leverage.stress.scenario_sets import grid, ladder, with_depth
    from defi_leverage.stress.sweep import run_scenarios
    from defi_leverage.stress_job import stress_test
    from defi_leverage.synthetic import synthetic_book

__version__ = "0.1.0"

_HOME = {
    "Scenario": "contagion.scenario",
    "Snapshot": "snapshot",
    "account_health": "health",
    "build_graph": "graph.dependency",
    "calibrate_leverage_cycle": "analytics.leverage_history",
    "cluster_members": "clusters.ranking",
    "cluster_references": "analytics.references",
    "compare_snapshots": "clusters.compare",
    "concentration_measures": "analytics.concentration",
    "contagion_matrix": "clusters.contagion_matrix",
    "dependency_measures": "analytics.dependency",
    "export_graph": "export",
    "find_clusters": "clusters.ranking",
    "find_loops": "graph.loops",
    "find_structural_loops": "graph.structural_loops",
    "gain_matrix": "clusters.gain",
    "grid": "stress.scenario_sets",
    "historical_scenario": "stress.market_shocks",
    "identify_owners": "graph.owners",
    "import_positions": "positions",
    "insolvency_at_market": "networks.shortfall",
    "ladder": "stress.scenario_sets",
    "lender_losses": "networks.shortfall",
    "leverage_decay": "analytics.decay",
    "liquidation_curve": "stress.liquidation_curve",
    "liquidation_prices": "analytics.positions",
    "liquidation_scope": "analytics.scope",
    "load_history": "history",
    "load_snapshot": "store",
    "look_through_leverage": "graph.look_through",
    "loop_accounts": "graph.loops",
    "loops_after_withdrawal": "analytics.rates",
    "loss_table": "stress.risk",
    "market_measures": "analytics.markets",
    "position_measures": "analytics.positions",
    "rates_after_withdrawal": "analytics.rates",
    "reverse_stress_test": "stress.reverse",
    "risk_measures": "stress.risk",
    "run_contagion": "contagion.engine",
    "run_scenarios": "stress.sweep",
    "save_snapshot": "store",
    "stress_test": "stress_job",
    "synthetic_book": "synthetic",
    "trace_financed_collateral": "graph.financed_collateral",
    "venue_measures": "analytics.markets",
    "with_depth": "stress.scenario_sets",
}

__all__ = [
    "Scenario",
    "Snapshot",
    "__version__",
    "account_health",
    "build_graph",
    "calibrate_leverage_cycle",
    "cluster_members",
    "cluster_references",
    "compare_snapshots",
    "concentration_measures",
    "contagion_matrix",
    "dependency_measures",
    "export_graph",
    "find_clusters",
    "find_loops",
    "find_structural_loops",
    "gain_matrix",
    "grid",
    "historical_scenario",
    "identify_owners",
    "import_positions",
    "insolvency_at_market",
    "ladder",
    "lender_losses",
    "leverage_decay",
    "liquidation_curve",
    "liquidation_prices",
    "liquidation_scope",
    "load_history",
    "load_snapshot",
    "look_through_leverage",
    "loop_accounts",
    "loops_after_withdrawal",
    "loss_table",
    "market_measures",
    "position_measures",
    "rates_after_withdrawal",
    "reverse_stress_test",
    "risk_measures",
    "run_contagion",
    "run_scenarios",
    "save_snapshot",
    "stress_test",
    "synthetic_book",
    "trace_financed_collateral",
    "venue_measures",
    "with_depth",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
