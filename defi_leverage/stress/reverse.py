"""Reverse stress tests: the smallest shock that reaches a bound, with the certificate that it does.

A cascade's outcome need not grow with its shock (a short gains from a fall; what is liquidated early cannot go bad
later), so no search by bisection alone is sound. Sizes are tried upwards on a grid; the first one that reaches the
bound and the one before it bracket a crossing, which is then bisected. A crossing and its return between two
neighbours of the grid stay unseen: the step of the grid is part of the answer.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot
from defi_leverage.stress.scenario_sets import combine_changes
from defi_leverage.stress.sweep import scenario_outcome

__all__ = ["MEASURES", "ReverseStress", "reverse_stress_test"]

MEASURES = (
    "bad_debt_usd",
    "bad_debt_share",
    "insolvency_usd",
    "seized_usd",
    "repaid_usd",
    "accounts_liquidated",
    "amplification",
)

Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class ReverseStress:
    """The certificate of one direction.

    `direction`: change of each asset at size 1, its largest 1 or -1; `size`: the smallest size found that reaches the
    bound (nan if none did), `below`: the largest size under it that was tried and does not, at most `tolerance` away
    (nan where no shock is needed). `evaluations`: every size tried, with the measure, whether it reaches the bound and
    whether the cascade converged, by size; `step`: distance of the grid.
    """

    direction: Mapping[str, float]
    measure: str
    bound: float
    size: float
    below: float
    tolerance: float
    step: float
    evaluations: pd.DataFrame

    @property
    def reached(self) -> bool:
        """Whether any size tried reaches the bound."""
        return bool(np.isfinite(self.size))

    @property
    def shocks(self) -> dict[str, float]:
        """The shock at `size`, by asset; empty where the bound is out of reach."""
        return {name: change * self.size for name, change in self.direction.items()} if self.reached else {}

    @property
    def note(self) -> str:
        """What the certificate says, and what it cannot say."""
        tried, largest = len(self.evaluations), float(self.evaluations["size"].max())
        grid = f"on a grid of step {self.step:.3g} ({tried} cascades)"
        if not self.reached:
            return f"{self.measure} stays below {self.bound:.6g} at every size up to {largest:.3g} {grid}"
        if self.size == 0:
            return f"{self.measure} is at {self.bound:.6g} or above without any shock"
        both = self.evaluations.set_index("size").loc[[self.below, self.size]]
        values = both[self.measure].to_numpy(float)
        unfinished = "" if both["converged"].all() else "; a cascade of the bracket did not converge"
        return (
            f"{self.measure} first reaches {self.bound:.6g} between size {self.below:.6g} ({values[0]:.6g}) and "
            f"{self.size:.6g} ({values[1]:.6g}) {grid}; it need not grow with the shock, so a crossing that returns "
            f"within one step would stay unseen{unfinished}"
        )


def reverse_stress_test(
    snapshot: Snapshot,
    directions: "Mapping[str, float] | Iterable[Mapping[str, float]]",
    measure: str,
    bound: float,
    *,
    largest: float = 0.9,
    steps: int = 45,
    tolerance: float = 1e-4,
    base: Scenario | None = None,
    progress: Progress | None = None,
) -> list[ReverseStress]:
    """The smallest shock along each direction at which `measure` is at least `bound`; the smallest of all comes first.

    A direction gives the change of each asset in proportion, such as {'WETH': -1, 'WBTC': -0.8}; it is scaled so that
    its largest change is 1, and the size of a shock is that largest change, from 0 to `largest`. `measure`: one of
    MEASURES, as `scenario_outcome` defines them. `steps`: of the grid; `tolerance`: width of the final bracket.
    `base`: everything else of the scenario; `progress` is called with the number of cascades run. Raises ScenarioError
    for an unknown measure, a bound that is not positive and finite, or a direction without changes or down to no price.
    """
    if measure not in MEASURES:
        raise ScenarioError(f"unknown measure {measure!r}; use one of {', '.join(MEASURES)}")
    if not 0 < bound < np.inf:
        raise ScenarioError(f"bound {bound} of {measure} must be positive and finite")
    if steps < 1 or not tolerance >= 1e-9 or not 0 < largest < np.inf:
        raise ScenarioError(
            f"steps {steps} must be 1 or more, tolerance {tolerance} 1e-9 or more, largest {largest} > 0"
        )
    several = [directions] if isinstance(directions, Mapping) else list(directions)
    scaled = [_scaled(direction, largest) for direction in several]
    book = compile_book(snapshot)
    count = 0

    def outcome(direction: Mapping[str, float], size: float) -> dict[str, object]:
        nonlocal count
        shocks = {name: change * size for name, change in direction.items()}
        result = run_contagion(snapshot, combine_changes(base or Scenario(), shocks, f"size {size:.6g}"), book)
        count += 1
        if progress is not None:
            progress(count)
        row = scenario_outcome(result)
        return {"size": size, measure: float(row[measure]), "converged": row["converged"]}  # type: ignore[arg-type]

    found = [
        _search(partial(outcome, direction), direction, measure, bound, largest, steps, tolerance)
        for direction in scaled
    ]
    return sorted(found, key=lambda certificate: certificate.size if certificate.reached else np.inf)


def _scaled(direction: Mapping[str, float], largest: float) -> dict[str, float]:
    changes = {name: float(change) for name, change in direction.items()}
    most = max((abs(change) for change in changes.values()), default=0.0)
    if not 0 < most < np.inf:
        raise ScenarioError(f"direction {changes} must have at least one change, all finite")
    scaled = {name: change / most for name, change in changes.items() if change}
    if min(scaled.values()) * largest <= -1:
        raise ScenarioError(f"direction {changes}: at size {largest} it leaves no price; keep largest below 1")
    return scaled


def _search(
    outcome: Callable[[float], dict[str, object]],
    direction: Mapping[str, float],
    measure: str,
    bound: float,
    largest: float,
    steps: int,
    tolerance: float,
) -> ReverseStress:
    rows: list[dict[str, object]] = []

    def reaches(size: float) -> bool:
        row = outcome(size)
        value = row[measure]
        assert isinstance(value, float)
        rows.append(row | {"reached": value >= bound})  # an amplification of nan (nothing fell) reaches nothing
        return value >= bound

    below, size = float("nan"), float("nan")
    for candidate in np.linspace(0.0, largest, steps + 1).tolist():
        if reaches(candidate):
            size = candidate
            break
        below = candidate
    while size - below > tolerance:
        middle = (below + size) / 2
        if reaches(middle):
            size = middle
        else:
            below = middle
    evaluations = pd.DataFrame(rows).sort_values("size", ignore_index=True)
    if np.isnan(size):
        below = float("nan")
    return ReverseStress(direction, measure, bound, size, below, tolerance, largest / steps, evaluations)
