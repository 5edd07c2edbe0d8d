"""How people write stress tests, in config.toml and on the command line alike: ranges, grids, bounds and windows.

ladder    WETH=-5%:-60%:-5%              first:last:step, every rung
          WETH,WBTC=-10%,-20%,-50%       both at once, a list of changes
grid      WETH=0%:-50%:-10% by wstETH=0%:-10%:-2%
reverse   bad_debt_share=1% along WETH=-1,WBTC=-0.8
window    5 Aug 2024, or two times: 2022-06-09 to 2022-06-16
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from defi_leverage.contagion.scenario import parse_change
from defi_leverage.errors import ScenarioError
from defi_leverage.stress.price_history import HISTORICAL_WINDOWS, Span

__all__ = ["Axis", "ReverseTarget", "parse_axis", "parse_grid", "parse_pairs", "parse_target", "parse_window"]

_MOST_CHANGES = 10_000
_DIGITS = 12  # a rung of -30 % is that, and not what adding -5 % six times gives


@dataclass(frozen=True, slots=True)
class Axis:
    """Assets (symbols, asset_ids, or 'feed:X' for an oracle) that change together, and each change, as fractions."""

    assets: tuple[str, ...]
    changes: tuple[float, ...]

    def __str__(self) -> str:
        return " + ".join(self.assets)


@dataclass(frozen=True, slots=True)
class ReverseTarget:
    """A bound of a measure, and the direction along which a shock that reaches it is sought (`reverse_stress_test`)."""

    measure: str
    bound: float
    direction: Mapping[str, float]

    def __str__(self) -> str:
        along = ", ".join(f"{asset}={change:g}" for asset, change in self.direction.items())
        return f"{self.measure}={self.bound:g} along {along}"


def parse_axis(text: str, default: str | None = None) -> Axis:
    """'WETH=-5%:-60%:-5%' or 'WETH,WBTC=-10%,-20%'; with a `default` range the changes may be left out.

    A range holds both ends where whole steps lead from one to the other. Raises ScenarioError that names the text.
    """
    names, equals, changes = text.rpartition("=")
    if not equals and default is not None:
        names, changes = text, default
    assets = tuple(name.strip() for name in names.split(","))
    if not all(assets) or not changes.strip():
        raise ScenarioError(
            f"{text!r}: write it as ASSET=FIRST:LAST:STEP or ASSET=CHANGE,CHANGE, such as WETH=-5%:-60%:-5%"
        )
    if len(set(assets)) < len(assets):
        raise ScenarioError(f"{text!r}: an asset is named twice; name it once")
    values: list[float] = []
    for part in changes.split(","):
        values += _range(part, text) if ":" in part else [parse_change(part, repr(text))]
    if len(set(values)) < len(values):
        raise ScenarioError(f"{text!r}: a change is given twice; give each once")
    return Axis(assets, tuple(values))


def _range(part: str, text: str) -> list[float]:
    pieces = part.split(":")
    if len(pieces) != 3:
        raise ScenarioError(f"{text!r}: {part!r} is not a range; write it as FIRST:LAST:STEP, such as -5%:-60%:-5%")
    first, last = (parse_change(piece, repr(text)) for piece in pieces[:2])
    step = parse_change(pieces[2], repr(text)) if pieces[2].strip() else 0.0
    if step == 0 or (last - first) / step < 0:
        raise ScenarioError(
            f"{text!r}: steps of {pieces[2].strip()!r} do not lead from {pieces[0]} to {pieces[1]}; correct the step"
        )
    count = math.floor((last - first) / step + 1e-9) + 1
    if count > _MOST_CHANGES:
        raise ScenarioError(f"{text!r}: {count:,} changes; use a larger step, {_MOST_CHANGES:,} are the most")
    return [round(first + number * step, _DIGITS) for number in range(count)]


def parse_grid(text: str) -> tuple[Axis, Axis]:
    """'WETH=0%:-50%:-10% by wstETH=0%,-5%': every pair of changes. Raises ScenarioError that names the text."""
    parts = re.split(r"\s+by\s+", text.strip())
    if len(parts) != 2:
        raise ScenarioError(f"{text!r}: write a grid as AXIS by AXIS, such as WETH=0%:-50%:-10% by wstETH=0%:-10%:-2%")
    first, second = parse_axis(parts[0]), parse_axis(parts[1])
    if both := sorted(set(first.assets) & set(second.assets)):
        raise ScenarioError(f"{text!r}: {', '.join(both)} is on both sides of the grid; name each asset once")
    return first, second


def parse_target(text: str) -> ReverseTarget:
    """'bad_debt_share=1% along WETH=-1,WBTC=-0.8'; an asset without a number falls by 1. Raises ScenarioError."""
    parts = re.split(r"\s+along\s+", text.strip())
    measure, equals, bound = parts[0].partition("=")
    try:
        value = float(bound.strip().removesuffix("%")) / (100 if bound.strip().endswith("%") else 1)
    except ValueError:
        value = math.nan
    if len(parts) != 2 or not equals or not value > 0:
        raise ScenarioError(
            f"{text!r}: write it as MEASURE=BOUND along ASSET,ASSET, such as bad_debt_usd=1e6 along WETH, "
            "or along WETH=-1,WBTC=-0.8"
        )
    direction: dict[str, float] = {}
    for part in parts[1].split(","):
        name, equals, change = part.rpartition("=")
        asset = (name if equals else part).strip()
        try:
            slope = float(change) if equals else -1.0
        except ValueError:
            slope = math.nan
        if not asset or asset in direction or not math.isfinite(slope):
            raise ScenarioError(
                f"{text!r}: {part.strip()!r} is no direction; write each asset once, as WETH or WETH=-0.8"
            )
        direction[asset] = slope
    return ReverseTarget(measure.strip(), value, direction)


def parse_window(text: str) -> "str | Span":
    """A name of HISTORICAL_WINDOWS, in any case, or 'START to END' in ISO 8601. Raises ScenarioError."""
    known = {name.lower(): name for name in HISTORICAL_WINDOWS}
    if text.strip().lower() in known:
        return known[text.strip().lower()]
    start, to, end = (part.strip() for part in text.partition(" to "))
    if not to or not start or not end:
        raise ScenarioError(f"no window {text!r}; there are {', '.join(HISTORICAL_WINDOWS)}, or write START to END")
    return start, end


def parse_pairs(texts: "tuple[str, ...] | list[str]", example: str) -> dict[str, str]:
    """'WETH=ETH' as {'WETH': 'ETH'}, for each text. Raises ScenarioError that names the text and shows the example."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.rpartition("="))
        if not equals or not name or not value or name in pairs:
            raise ScenarioError(f"{text!r}: write it as NAME=VALUE, each name once, such as {example}")
        pairs[name] = value
    return pairs
