"""What a stress test is to consist of, and the sets of scenarios that it asks for on one snapshot."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot
from defi_leverage.stress.market_shocks import historical_scenario, market_shocks
from defi_leverage.stress.monte_carlo import estimate_covariance, sample_returns
from defi_leverage.stress.notation import Axis, ReverseTarget
from defi_leverage.stress.scenario_sets import grid, ladder, scenarios_of, with_depth

if TYPE_CHECKING:
    from defi_leverage.stress.price_history import Span

__all__ = ["Draws", "PriceSource", "ReverseSearch", "ScenarioSet", "StressPlan", "plan_sets"]


@dataclass(frozen=True, slots=True)
class PriceSource:
    """Where a price history comes from, and who takes whose returns.

    `files`: CSV or Parquet, long (timestamp, asset, price); `step` and `max_age` as in `align_prices`; `max_missing`
    as in `log_returns`; `assets`: the columns to use, all by default; `proxies`, `unmoved` as in `market_shocks`.
    """

    files: tuple[str, ...]
    step: str = "1h"
    max_age: str = "2h"
    max_missing: float = 0.02
    assets: tuple[str, ...] = ()
    proxies: dict[str, str] = field(default_factory=dict)
    unmoved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draws:
    """Monte Carlo draws of joint returns over `horizon` (such as '24h'); the rest as in `sample_returns`.

    `losses`: what loss tables are kept of the draws (see `StressPlan.losses`); of thousands they take time and room.
    """

    count: int
    seed: int = 1
    horizon: str = "24h"
    copula_dof: float = np.inf
    marginal_dof: float = np.inf
    shrinkage: str = "ledoit_wolf"
    antithetic: bool = False
    losses: tuple[str, ...] = ()

    def __str__(self) -> str:
        marginal = "normal" if np.isinf(self.marginal_dof) else f"Student-t ({self.marginal_dof:g})"
        copula = "Gaussian" if np.isinf(self.copula_dof) else f"Student-t ({self.copula_dof:g})"
        return f"{self.count:,} draws over {self.horizon}, {copula} copula, {marginal} log returns, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class ReverseSearch:
    """The grid and the width of the final bracket of `reverse_stress_test`."""

    largest: float = 0.9
    steps: int = 45
    tolerance: float = 1e-4


@dataclass(frozen=True, slots=True)
class StressPlan:
    """One stress test.

    `base` carries what all scenarios share (depth, liquidators, oracles, and shocks that are always there).
    `depth_multipliers`: each scenario runs at each of them, on top of the base's. `windows` of history and `draws` need
    `prices`; `window_at` as in `historical_scenario`. `curves`: liquidation-at-price curves of one asset each, at
    changes of its price. `losses`: which `loss_table` are kept of each scenario that is not a draw. `confidence`: of
    the risk measures of the draws.
    """

    base: Scenario = field(default_factory=lambda: Scenario("as it stands"))
    ladders: tuple[Axis, ...] = ()
    grids: tuple[tuple[Axis, Axis], ...] = ()
    depth_multipliers: tuple[float, ...] = (1.0,)
    windows: "tuple[str | Span, ...]" = ()
    window_at: str = "trough"
    prices: PriceSource | None = None
    draws: Draws | None = None
    reverse: tuple[ReverseTarget, ...] = ()
    search: ReverseSearch = field(default_factory=ReverseSearch)
    curves: tuple[Axis, ...] = ()
    confidence: float = 0.95
    losses: tuple[str, ...] = ("venue", "asset", "round")

    @property
    def empty(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.ladders or self.grids or self.windows or self.draws or self.reverse or self.curves)

    @property
    def needs_prices(self) -> bool:
        """Whether a price history is needed."""
        return bool(self.windows) or self.draws is not None


@dataclass(frozen=True, eq=False)
class ScenarioSet:
    """Scenarios that belong together. `kind`: ladder, grid, window or draws; `places`: a row each, with the depth
    multiplier and, of a ladder or grid, the `change` and `second_change` that make the scenario.
    """

    kind: str
    name: str
    scenarios: list[Scenario]
    places: pd.DataFrame


def plan_sets(
    snapshot: Snapshot, plan: StressPlan, prices: pd.DataFrame | None = None
) -> list[tuple[str, Callable[[], ScenarioSet]]]:
    """The sets of scenarios of a plan, in the order of its fields: what each is called, and what makes it.

    `prices` from `align_prices`. The same plan, snapshot and prices give the same scenarios. A maker raises
    ScenarioError or SnapshotError for what does not fit the snapshot or the prices.
    """
    makers: list[tuple[str, Callable[[], ScenarioSet]]] = [
        (f"ladder {axis}", partial(_ladder, axis, plan)) for axis in plan.ladders
    ]
    makers += [(f"grid {one} by {other}", partial(_grid, one, other, plan)) for one, other in plan.grids]
    makers += [
        (f"window {_label(window)}", partial(_window, snapshot, window, plan, prices)) for window in plan.windows
    ]
    if plan.draws is not None:
        makers.append(("draws", partial(_draws, snapshot, plan.draws, plan, prices)))
    return makers


def _ladder(axis: Axis, plan: StressPlan) -> ScenarioSet:
    made = ladder(axis.assets, axis.changes, plan.base)
    return _at_depths("ladder", str(axis), made, pd.DataFrame({"change": axis.changes}), plan)


def _grid(one: Axis, other: Axis, plan: StressPlan) -> ScenarioSet:
    made = grid(one.assets, one.changes, other.assets, other.changes, plan.base)
    pairs = [(first, second) for first in one.changes for second in other.changes]
    return _at_depths("grid", f"{one} by {other}", made, pd.DataFrame(pairs, columns=["change", "second_change"]), plan)


def _window(snapshot: Snapshot, window: "str | Span", plan: StressPlan, prices: pd.DataFrame | None) -> ScenarioSet:
    source, chosen = _chosen_prices(plan, prices)
    scenario = historical_scenario(
        snapshot, chosen, window, at=plan.window_at, proxies=source.proxies, unmoved=source.unmoved, base=plan.base
    )
    return _at_depths("window", _label(window), [scenario], pd.DataFrame(index=[0]), plan)


def _draws(snapshot: Snapshot, draws: Draws, plan: StressPlan, prices: pd.DataFrame | None) -> ScenarioSet:
    source, chosen = _chosen_prices(plan, prices)
    estimate = estimate_covariance(chosen, draws.shrinkage, source.max_missing)
    returns = sample_returns(
        estimate.matrix,
        draws.count,
        np.random.default_rng(draws.seed),
        horizon=_steps(draws.horizon, estimate.step),
        copula_dof=draws.copula_dof,
        marginal_dof=draws.marginal_dof,
        antithetic=draws.antithetic,
    )
    made = scenarios_of(market_shocks(snapshot, returns, proxies=source.proxies, unmoved=source.unmoved), plan.base)
    return _at_depths("draws", str(draws), made, pd.DataFrame(index=range(len(made))), plan)


def _chosen_prices(plan: StressPlan, prices: pd.DataFrame | None) -> tuple[PriceSource, pd.DataFrame]:
    if prices is None or plan.prices is None:
        raise ScenarioError("windows of history and draws need a price history; name its files as prices")
    wanted = list(plan.prices.assets or prices.columns)
    if unknown := [asset for asset in wanted if asset not in prices.columns]:
        raise ScenarioError(f"price history has no {', '.join(unknown)}; it has {', '.join(prices.columns)}")
    return plan.prices, prices[wanted]


def _label(window: "str | Span") -> str:
    return window if isinstance(window, str) else f"{window[0]} to {window[1]}"


def _at_depths(kind: str, name: str, scenarios: list[Scenario], places: pd.DataFrame, plan: StressPlan) -> ScenarioSet:
    """The scenarios at each depth multiplier, one multiplier after the other."""
    from_depth = [with_depth(scenarios, [factor]) if factor != 1 else scenarios for factor in plan.depth_multipliers]
    several = pd.concat(
        [places.assign(depth_multiplier=plan.base.depth_multiplier * factor) for factor in plan.depth_multipliers],
        ignore_index=True,
    )
    return ScenarioSet(kind, name, [scenario for made in from_depth for scenario in made], several)


def _steps(horizon: str, step: pd.Timedelta) -> float:
    try:
        return float(pd.Timedelta(horizon) / step)
    except ValueError:
        raise ScenarioError(f"horizon {horizon!r} is not a duration; write it as 24h or 7d") from None
