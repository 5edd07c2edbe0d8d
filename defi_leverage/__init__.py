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
    from defi_leverage.clusters import find_clusters, gain_matrix
    from defi_leverage.contagion.engine import run_contagion
    from defi_leverage.contagion.scenario import Scenario
    from defi_leverage.export import export_graph
    from defi_leverage.financed_collateral import trace_financed_collateral
    from defi_leverage.graph import build_graph
    from defi_leverage.health import account_health
    from defi_leverage.look_through import look_through_leverage
    from defi_leverage.loops import find_loops, loop_accounts
    from defi_leverage.owners import identify_owners
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
    from defi_leverage.structural_loops import find_structural_loops
    from defi_leverage.synthetic import synthetic_book

__version__ = "0.1.0"

_HOME = {
    "Scenario": "contagion.scenario",
    "Snapshot": "snapshot",
    "account_health": "health",
    "build_graph": "graph",
    "export_graph": "export",
    "find_clusters": "clusters",
    "find_loops": "loops",
    "find_structural_loops": "structural_loops",
    "gain_matrix": "clusters",
    "grid": "stress.scenario_sets",
    "historical_scenario": "stress.market_shocks",
    "identify_owners": "owners",
    "import_positions": "positions",
    "ladder": "stress.scenario_sets",
    "liquidation_curve": "stress.liquidation_curve",
    "load_snapshot": "store",
    "look_through_leverage": "look_through",
    "loop_accounts": "loops",
    "loss_table": "stress.risk",
    "reverse_stress_test": "stress.reverse",
    "risk_measures": "stress.risk",
    "run_contagion": "contagion.engine",
    "run_scenarios": "stress.sweep",
    "save_snapshot": "store",
    "stress_test": "stress_job",
    "synthetic_book": "synthetic",
    "trace_financed_collateral": "financed_collateral",
    "with_depth": "stress.scenario_sets",
}

__all__ = [
    "Scenario",
    "Snapshot",
    "__version__",
    "account_health",
    "build_graph",
    "export_graph",
    "find_clusters",
    "find_loops",
    "find_structural_loops",
    "gain_matrix",
    "grid",
    "historical_scenario",
    "identify_owners",
    "import_positions",
    "ladder",
    "liquidation_curve",
    "load_snapshot",
    "look_through_leverage",
    "loop_accounts",
    "loss_table",
    "reverse_stress_test",
    "risk_measures",
    "run_contagion",
    "run_scenarios",
    "save_snapshot",
    "stress_test",
    "synthetic_book",
    "trace_financed_collateral",
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
