"""Makers of scenarios: ladders, grids, depth multipliers, and a table of shocks to scenarios and back.

A change is relative and signed everywhere, as in `Scenario.shocks`: -0.3 is a fall of 30 %. A name with the prefix
'feed:' shocks an oracle alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError

__all__ = [
    "combine_changes",
    "grid",
    "ladder",
    "scenarios_of",
    "shock_table",
    "with_depth",
]

_FEED_PREFIX = "feed:"


def combine_changes(base: Scenario, changes: Mapping[str, float], name: str) -> Scenario:
    """`base` under another name, with `changes` on top: 'feed:X' is an oracle fault, any other name a market shock.

    Raises ScenarioError where `base` shocks one of them already.
    """
    shocks, feed_shocks = dict(base.shocks), dict(base.feed_shocks)
    for target, change in changes.items():
        kind, key = (
            (feed_shocks, target.removeprefix(_FEED_PREFIX)) if target.startswith(_FEED_PREFIX) else (shocks, target)
        )
        if key in kind:
            raise ScenarioError(f"{target} is shocked twice, by the base scenario and on top of it; give it one change")
        kind[key] = float(change)
    return replace(base, name=name, shocks=shocks, feed_shocks=feed_shocks)


def ladder(assets: "str | Sequence[str]", changes: Iterable[float], base: Scenario | None = None) -> list[Scenario]:
    """One scenario a rung: all `assets` change by the same fraction at once, such as -0.1, -0.2, -0.3.

    `base` carries everything else (depth, selling, rounds).
    """
    names = [assets] if isinstance(assets, str) else list(assets)
    start = base or Scenario()
    label = " + ".join(names)
    return [combine_changes(start, dict.fromkeys(names, change), f"{label} {_percent(change)}") for change in changes]


def grid(
    first: "str | Sequence[str]",
    first_changes: Iterable[float],
    second: "str | Sequence[str]",
    second_changes: Iterable[float],
    base: Scenario | None = None,
) -> list[Scenario]:
    """Every pair of changes of two assets, or groups of assets that change together; the second varies fastest.

    Raises ScenarioError for one asset on both sides.
    """
    ones, others = ([side] if isinstance(side, str) else list(side) for side in (first, second))
    if both := sorted(set(ones) & set(others)):
        raise ScenarioError(f"{', '.join(both)} is shocked twice by each pair of the grid; name two assets")
    start, inner, (one_label, other_label) = base or Scenario(), list(second_changes), map(" + ".join, (ones, others))
    return [
        combine_changes(
            start,
            dict.fromkeys(ones, one) | dict.fromkeys(others, other),
            f"{one_label} {_percent(one)}, {other_label} {_percent(other)}",
        )
        for one in first_changes
        for other in inner
    ]


def with_depth(scenarios: Iterable[Scenario], multipliers: Iterable[float]) -> list[Scenario]:
    """Every scenario at every depth multiplier (0.5: half of the liquidity has left), on top of its own."""
    factors = list(multipliers)
    return [
        replace(
            scenario, name=f"{scenario.name}, depth x{factor:g}", depth_multiplier=scenario.depth_multiplier * factor
        )
        for scenario in scenarios
        for factor in factors
    ]


def scenarios_of(shocks: pd.DataFrame, base: Scenario | None = None) -> list[Scenario]:
    """One scenario a row of a table of shocks: scenarios x assets, relative changes; the row's label is its name.

    Zeros are left out. A label of an index with a name goes with it: 'draw 7'.
    """
    start = base or Scenario()
    prefix = f"{shocks.index.name} " if shocks.index.name else ""
    names = [str(column) for column in shocks.columns]
    return [
        combine_changes(
            start, {name: change for name, change in zip(names, row, strict=True) if change}, prefix + str(label)
        )
        for label, row in zip(shocks.index, shocks.to_numpy(float), strict=True)
    ]


def shock_table(scenarios: Sequence[Scenario]) -> pd.DataFrame:
    """The shocks of scenarios as a table, scenarios x assets and feeds ('feed:X'), 0 where one is not shocked."""
    rows = [
        {**scenario.shocks, **{f"{_FEED_PREFIX}{name}": change for name, change in scenario.feed_shocks.items()}}
        for scenario in scenarios
    ]
    index = pd.Index([scenario.name for scenario in scenarios], name="scenario")
    return pd.DataFrame(rows, index=index, dtype=float).fillna(0.0)


def _percent(change: float) -> str:
    return f"{change * 100:+.6g} %"
