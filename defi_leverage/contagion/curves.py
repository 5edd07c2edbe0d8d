"""Price impact of markets that are known by their depth or by quotes: linear, square root, exponential, piecewise.

Everywhere X is the cumulative net sales of an asset in whole tokens (negative: net purchases), a float or an array.
A factor is the price after X over the price before: 1 at 0, never rising in X, positive, and the same by whatever path
X was reached. Proceeds are its integral from 0: what selling X pays (negative: what buying costs), in tokens at the
price before, without fee.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from sys import float_info
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defi_leverage.errors import ScenarioError

__all__ = [
    "Impact",
    "exponential",
    "exponential_impact",
    "linear",
    "linear_impact",
    "piecewise_impact",
    "positive",
    "positives",
    "square_root",
    "square_root_impact",
]

Array = NDArray[np.float64]
Numbers = Array | float


@dataclass(frozen=True, slots=True)
class Impact:
    """One market: `factor(X)`, `proceeds(X)`, and the X between which the market is known (`covers`).

    Outside `covers` both follow the rule that the model states, and whoever uses them should say so.
    """

    factor: Callable[[Numbers], Array]
    proceeds: Callable[[Numbers], Array]
    covers: tuple[float, float] = (-float("inf"), float("inf"))


def positive(name: str, value: Any) -> float:
    """`value` as a float. Raises ScenarioError that names it where it is no positive and finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= float_info.max:
        raise ScenarioError(f"{name} {value!r} must be positive and finite")
    return float(value)


def positives(name: str, values: Any, least: int) -> Array:
    """A list of at least `least` positive numbers as an array. Raises ScenarioError that names the element."""
    if not isinstance(values, (list, tuple)) or len(values) < least:
        raise ScenarioError(f"{name} {values!r} must be a list of at least {least} numbers")
    return np.array([positive(f"{name}[{position}]", value) for position, value in enumerate(values)])


def linear(net_sales: Numbers, depth: float, floor: float = 0.01) -> Array:
    """max(1 - X / depth, floor): every token moves the price alike, until value investors buy at the floor.

    Source: Kyle (1985), and the linear impact of Greenwood, Landier & Thesmar (2015); the floor after Cont & Schaanning
    (2017), who need one too, for no linear price stays positive.
    """
    return np.maximum(1 - np.asarray(net_sales, float) / depth, floor)


def _linear_proceeds(net_sales: Numbers, depth: float, floor: float) -> Array:
    sales = np.asarray(net_sales, float)
    sloping = np.minimum(sales, depth * (1 - floor))
    return np.asarray(sloping - sloping**2 / (2 * depth) + floor * (sales - sloping))


def linear_impact(depth: float, floor: float = 0.01) -> Impact:
    """`linear`, `depth` in tokens, known down to the floor (a share of the price before). Raises ScenarioError."""
    depth, floor = positive("depth", depth), positive("floor", floor)
    if floor >= 1:
        raise ScenarioError(f"floor {floor} must be below 1, the price before any sale")
    covers = (-float("inf"), depth * (1 - floor))
    parameters = {"depth": depth, "floor": floor}
    return Impact(partial(linear, **parameters), partial(_linear_proceeds, **parameters), covers)


def exponential(net_sales: Numbers, depth: float) -> Array:
    """exp(-X / depth): selling `depth` tokens lowers the price by a factor e.

    Source: Cifuentes, Ferrucci & Shin (2005), inverse demand p = exp(-alpha * sold), with alpha = 1 / depth.
    """
    with np.errstate(over="ignore"):  # purchases far beyond any market: inf
        return np.exp(-np.asarray(net_sales, float) / depth)


def _exponential_proceeds(net_sales: Numbers, depth: float) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(-depth * np.expm1(-np.asarray(net_sales, float) / depth))


def exponential_impact(depth: float) -> Impact:
    """`exponential`, `depth` in tokens. Raises ScenarioError."""
    depth = positive("depth", depth)
    return Impact(partial(exponential, depth=depth), partial(_exponential_proceeds, depth=depth))


def square_root(net_sales: Numbers, volatility: float, daily_volume: float, coefficient: float = 1.0) -> Array:
    """exp(-Y * sigma * sqrt(X / V)), for purchases its inverse: the square-root law for the logarithm of the price.

    `volatility` sigma of a day (a fraction), `daily_volume` V in tokens, `coefficient` Y of order 1. Source: Torre &
    Ferrari (1997); Toth et al. (2011), Phys. Rev. X 1, 021006: I = Y * sigma * sqrt(Q / V). The law holds for orders of
    up to about a tenth of V. Its slope at 0 is infinite: the first token sold always moves the price.
    """
    sales = np.asarray(net_sales, float)
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(-np.sign(sales) * coefficient * volatility * np.sqrt(np.abs(sales) / daily_volume)))


def _square_root_proceeds(net_sales: Numbers, volatility: float, daily_volume: float, coefficient: float) -> Array:
    """X * g(z) with z = sign(X) * Y * sigma * sqrt(|X| / V) and g(z) = 2 (1 - (1 + z) exp(-z)) / z^2."""
    sales = np.asarray(net_sales, float)
    z = np.sign(sales) * coefficient * volatility * np.sqrt(np.abs(sales) / daily_volume)
    near = np.abs(z) < 0.01  # the closed form cancels there; the series is exact to 1e-15
    far = np.where(near, 1.0, z)
    series = 1 - z * (2 / 3 - z * (1 / 4 - z * (1 / 15 - z * (1 / 72 - z / 420))))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(sales * np.where(near, series, 2 * (1 - (1 + far) * np.exp(-far)) / far**2))


def square_root_impact(volatility: float, daily_volume: float, coefficient: float = 1.0) -> Impact:
    """`square_root`, parameters as there. Raises ScenarioError."""
    parameters = {
        "volatility": positive("volatility", volatility),
        "daily_volume": positive("daily_volume", daily_volume),
        "coefficient": positive("coefficient", coefficient),
    }
    return Impact(partial(square_root, **parameters), partial(_square_root_proceeds, **parameters))


def piecewise_impact(sold: Sequence[float], factor: Sequence[float]) -> Impact:
    """The price `factor[i]` after `sold[i]` tokens; between these points its logarithm is linear in X.

    `sold` in any order, below 0 for purchases; (0, 1) is always a point. Beyond the last point the price goes on at the
    steepest average slope (of the logarithm) over any stretch that ends there, so that it is never held flat: outside
    `covers`, which spans the points. Where only sales or only purchases are given, the other side is their mirror
    image, factor(-X) = 1 / factor(X), and not covered. Raises ScenarioError where a point is given twice, where the
    factor is not positive, rises with sales, is not 1 at 0, or does not move at all.
    """
    points = _points(sold, factor)
    knots, logs = np.array([point[0] for point in points]), np.log([point[1] for point in points])
    covers = (float(knots[0]), float(knots[-1]))
    if covers[0] == 0:
        knots, logs = np.append(-knots[:0:-1], knots), np.append(-logs[:0:-1], logs)
    elif covers[1] == 0:
        knots, logs = np.append(knots, -knots[-2::-1]), np.append(logs, -logs[-2::-1])
    pieces, paid = _pieces(knots, logs)
    return Impact(partial(_pieces_factor, **pieces), partial(_pieces_proceeds, **pieces, paid=paid), covers)


def _points(sold: Any, factor: Any) -> list[tuple[float, float]]:
    """The checked points of a piecewise impact by rising X, with (0, 1)."""
    values = positives("factor", factor, 1)
    if not isinstance(sold, (list, tuple)) or len(sold) != len(values):
        raise ScenarioError(f"sold {sold!r} must be a list of as many numbers as factor: {len(values)}")
    for position, amount in enumerate(sold):
        if type(amount) not in (int, float) or amount != 0:  # positive but for its sign
            positive(f"the size of sold[{position}]", abs(amount) if type(amount) in (int, float) else amount)
    points = sorted({(0.0, 1.0), *zip(map(float, sold), values.tolist(), strict=True)})
    for (left, before), (right, after) in pairwise(points):
        if left == right:
            raise ScenarioError(f"sold has {left:g} with factors {before:g} and {after:g}; keep one (it is 1 at 0)")
        if after > before:
            raise ScenarioError(f"factor {after:g} at sold {right:g} is above {before:g} at {left:g}; it must not rise")
    return points


def _pieces(knots: Array, logs: Array) -> tuple[dict[str, Array], Array]:
    """A piece between any two knots and one beyond either end, each measured from its end that is nearer to 0.

    Also what has been paid there.
    """
    beyond = []
    for side, last in ((knots <= 0, 0), (knots >= 0, -1)):
        side[last] = False
        chords = (logs[side] - logs[last]) / (knots[side] - knots[last])
        beyond.append(float(chords.min(initial=0.0)))
    if 0.0 in beyond:
        raise ScenarioError("factor stays at 1: these points state no depth; add one that moves the price")
    zero = int(np.flatnonzero(knots == 0)[0])
    anchor = np.concatenate([np.arange(zero + 1), np.arange(zero, len(knots))])
    step = np.diff(knots)
    inner = np.diff(logs) / step
    outward = np.where(knots[1:] <= 0, -step, step)
    paid = step * np.exp(logs[anchor[1:-1]]) * _relative_exponential(inner * outward)
    total = np.concatenate([[0.0], np.cumsum(paid)])
    slope = np.concatenate([beyond[:1], inner, beyond[1:]])
    pieces = {"knots": knots, "start": knots[anchor], "log_factor": logs[anchor], "slope": slope}
    return pieces, (total - total[zero])[anchor]


def _relative_exponential(z: Array) -> Array:
    """(exp(z) - 1) / z, 1 at 0."""
    return np.divide(np.expm1(z), z, out=np.ones_like(z), where=z != 0)


def _pieces_factor(net_sales: Numbers, knots: Array, start: Array, log_factor: Array, slope: Array) -> Array:
    sales = np.asarray(net_sales, float)
    piece = np.searchsorted(knots, sales, side="right")
    with np.errstate(over="ignore"):
        return np.exp(log_factor[piece] + slope[piece] * (sales - start[piece]))


def _pieces_proceeds(
    net_sales: Numbers, knots: Array, start: Array, log_factor: Array, slope: Array, paid: Array
) -> Array:
    sales = np.asarray(net_sales, float)
    piece = np.searchsorted(knots, sales, side="right")
    step = sales - start[piece]
    with np.errstate(over="ignore"):
        here = step * np.exp(log_factor[piece]) * _relative_exponential(np.asarray(slope[piece] * step))
    return np.asarray(paid[piece] + here)
