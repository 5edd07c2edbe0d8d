"""Scenarios and stress tests from tables of keys, whether config.toml or the command line wrote them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from defi_leverage.config_keys import DRAWS, PRICES, REVERSE_SEARCH, SCENARIO, STRESS
from defi_leverage.config_values import Key, is_number, nearest, read_table
from defi_leverage.contagion.scenario import Scenario, parse_change
from defi_leverage.errors import ConfigError, ScenarioError
from defi_leverage.stress.notation import Axis, ReverseTarget, parse_axis, parse_grid, parse_target, parse_window
from defi_leverage.stress.plan import Draws, PriceSource, ReverseSearch, StressPlan
from defi_leverage.stress.reverse import MEASURES

__all__ = ["read_scenario", "read_stress"]

Read = TypeVar("Read")

_CURVE = "-70%:30%:0.5%"  # where a curve is drawn unless its range is given
_ONLY_WITH = {"steps": ("arrival", "continuous"), "gas_usd": ("liquidators", "rational")}


def read_scenario(table: Any, where: str, name: str | None = None) -> Scenario:
    """One scenario from the keys of SCENARIO; changes are "-30%" or -0.3. `where` is what errors call it.

    `name` is that of a table without one; without either it is missing. Raises ConfigError.
    """
    values = _given(table, SCENARIO, f"{where}.")
    if "name" not in values:
        if name is None:
            raise ConfigError(f"{where}.name is missing; add it", key=f"{where}.name")
        values["name"] = name
    for key, (other, needed) in _ONLY_WITH.items():
        if key in values and values.get(other) != needed:
            raise ConfigError(f'{where}.{key} does nothing unless {other} is "{needed}"; set that, or leave {key} out')
    try:
        for kind in ("shocks", "feed_shocks", "rate_shocks"):
            if kind in values:
                values[kind] = {asset: _change(change, f"{kind}.{asset}") for asset, change in values[kind].items()}
        return Scenario(**values)
    except ScenarioError as error:
        raise ConfigError(f"{where}: {error}") from None


def _change(change: Any, where: str) -> float:
    if isinstance(change, str):
        return parse_change(change, where)
    if not is_number(change):
        raise ScenarioError(f'{where}: {change!r} is not a change; write it as "-30%" or -0.3')
    return float(change)


def read_stress(table: Any, where: str) -> StressPlan:
    """A stress test from the keys of STRESS; `where` is what errors call it. Raises ConfigError."""
    values = _given(table, STRESS, f"{where}.")
    parsers: dict[str, Callable[[str], Any]] = {
        "ladders": parse_axis,
        "grids": parse_grid,
        "windows": parse_window,
        "reverse": _target,
        "curves": _curve,
    }
    for key, parse in parsers.items():
        if key in values:
            values[key] = _parse_each(parse, values[key], f"{where}.{key}")
    if "base" in values:
        values["base"] = read_scenario(values["base"], f"{where}.base", StressPlan().base.name)
    for key, keys, make in (
        ("prices", PRICES, PriceSource),
        ("draws", DRAWS, Draws),
        ("reverse_search", REVERSE_SEARCH, ReverseSearch),
    ):
        if key in values:
            values[key] = make(**_given(values[key], keys, f"{where}.{key}."))
    if "reverse_search" in values:
        values["search"] = values.pop("reverse_search")
    plan = StressPlan(**values)
    if plan.needs_prices and plan.prices is None:
        needing = "draws" if plan.draws else "windows"
        raise ConfigError(f"{where}.{needing} needs a price history; name its files in {where}.prices.files")
    if plan.draws and plan.draws.marginal_dof <= 2:
        raise ConfigError(f"{where}.draws.marginal_dof = {plan.draws.marginal_dof:g}: must be above 2, or inf")
    return plan


def _given(table: Any, keys: Mapping[str, Key], where: str) -> dict[str, Any]:
    """The values that the table has, and no defaults."""
    return {name: value for name, value in read_table(table, keys, where).items() if value is not None}


def _parse_each(parse: Callable[[str], Read], texts: Iterable[str], where: str) -> tuple[Read, ...]:
    parsed = []
    for position, text in enumerate(texts, start=1):
        try:
            parsed.append(parse(text))
        except ScenarioError as error:
            raise ConfigError(f"{where}[{position}]: {error}") from None
    return tuple(parsed)


def _target(text: str) -> ReverseTarget:
    target = parse_target(text)
    if target.measure not in MEASURES:
        raise ScenarioError(f"{text!r}: no measure {target.measure!r}; {nearest(target.measure, MEASURES)}")
    return target


def _curve(text: str) -> Axis:
    axis = parse_axis(text, default=_CURVE)
    if len(axis.assets) > 1:
        raise ScenarioError(f"{text!r}: a curve is of one asset; write one for each")
    return axis
