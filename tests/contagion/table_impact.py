"""Price impact for the judge: each model's price after X net sales from its definition, averages by integration.

Nothing here comes from the package: pools are walked range by range, invariants are solved by bisection, and what a
trade pays is the integral of the price. X may be an array. `parameters` are those of a row of the depth table.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ranges = list[list[float]]

_PANELS = 12
_NODES, _WEIGHTS = (np.asarray(part) for part in np.polynomial.legendre.leggauss(24))
# Nodes and weights of the panels of [0, 1], after t^2 (3 - 2 t), which takes the edge off a root at either end.
_T = ((np.arange(_PANELS)[:, None] + (_NODES + 1) / 2) / _PANELS).reshape(-1, 1)
_AT, _WEIGHT = _T**2 * (3 - 2 * _T), np.tile(_WEIGHTS, _PANELS)[:, None] * 3 * _T * (1 - _T) / _PANELS


def price_factor(model: str, parameters: dict[str, Any], sales: Array | float, depth_multiplier: float = 1.0) -> Array:
    """The price after `sales` tokens over the price before; inf where purchases take all that the market holds."""
    with np.errstate(over="ignore", divide="ignore"):
        return _MODELS[model](np.asarray(sales, float) / depth_multiplier, **parameters)


def paid(model: str, parameters: dict[str, Any], before: float, tokens: Array, depth_multiplier: float = 1.0) -> Array:
    """What selling `tokens` (negative: buying) after `before` pays, in tokens at the price before any sale.

    The integral of the price, but for `stableswap`, whose price falls off a cliff: there, what leaves the pool.
    """
    start, end = before / depth_multiplier, (before + tokens) / depth_multiplier
    low, high = np.minimum(start, end), np.maximum(start, end)
    if model == "stableswap":
        out = np.abs(_stableswap_paid(start, **parameters) - _stableswap_paid(end, **parameters))
        return np.asarray(np.where(tokens < 0, -out, out) * depth_multiplier)
    cuts = [-np.inf, *sorted(_kinks(model, parameters)), np.inf]
    total = np.zeros(len(tokens))
    with np.errstate(over="ignore", invalid="ignore"):
        for left, right in pairwise(cuts):
            a, b = np.clip(low, left, right), np.clip(high, left, right)
            height = price_factor(model, parameters, a + (b - a) * _AT)
            total += np.where(b > a, (b - a) * (_WEIGHT * height).sum(axis=0), 0.0)
        total = np.where(np.isinf(price_factor(model, parameters, low)), np.inf, total)
    return np.asarray(np.where(tokens < 0, -total, total) * depth_multiplier)


def _kinks(model: str, parameters: dict[str, Any]) -> list[float]:
    """The net sales at which the price has a bend, a jump or a root."""
    if model == "linear":
        return [parameters["depth"] * (1 - parameters.get("floor", 0.01))]
    if model == "square_root":
        return [0.0]
    if model == "piecewise":
        return [size for size, _ in _knots(**parameters)]
    if model == "uniswap_v3":
        return [0.0, *(tokens for tokens, *_ in _steps(**parameters, down=True)),
                *(-tokens for tokens, *_ in _steps(**parameters, down=False))]  # fmt: skip
    return []


def _linear(sales: Array, depth: float, floor: float = 0.01) -> Array:
    return np.maximum(1 - sales / depth, floor)


def _exponential(sales: Array, depth: float) -> Array:
    return np.exp(-sales / depth)


def _square_root(sales: Array, volatility: float, daily_volume: float, coefficient: float = 1.0) -> Array:
    fall = coefficient * volatility * np.sqrt(np.abs(sales) / daily_volume)
    return np.where(sales > 0, np.exp(-fall), np.exp(fall))


def _constant_product(sales: Array, reserve: float) -> Array:
    """x y = k: the price y / x is k / x^2."""
    left = reserve + sales
    return np.where(left > 0, reserve**2 / np.where(left > 0, left, 1.0) ** 2, np.inf)


def _knots(sold: list[float], factor: list[float]) -> list[tuple[float, float]]:
    """(net sales, log of the factor) with (0, 0), and the mirror image of a side that is not given."""
    points = {0.0: 0.0} | {float(size): math.log(value) for size, value in zip(sold, factor, strict=True)}
    if min(points) == 0 or max(points) == 0:
        points |= {-size: -value for size, value in points.items()}
    return sorted(points.items())


def _piecewise(sales: Array, sold: list[float], factor: list[float]) -> Array:
    knots = _knots(sold, factor)
    sizes, logs = np.array(knots).T
    result = np.interp(sales, sizes, logs)
    for end, beyond in ((-1, sales > sizes[-1]), (0, sales < sizes[0])):
        side = [(size, log) for size, log in knots if size * sizes[end] >= 0 and size != sizes[end]]
        steepest = min((logs[end] - log) / (sizes[end] - size) for size, log in side)
        result = np.where(beyond, logs[end] + steepest * (sales - sizes[end]), result)
    return np.asarray(np.exp(result))


def _steps(price: float, ranges: Ranges, down: bool) -> list[tuple[float, float, float, float]]:
    """Away from the price: (tokens traded by the end, root of the price at the start and end, liquidity) a range."""
    edges = sorted({price, *(row[0] for row in ranges), *(row[1] for row in ranges)})
    spans = list(pairwise(edges))
    spans = [span for span in spans[::-1] if span[1] <= price] if down else [span for span in spans if span[0] >= price]
    steps, tokens = [], 0.0
    for low, high in spans:
        liquidity = sum(row[2] for row in ranges if row[0] <= low and high <= row[1])
        if liquidity > 0:
            tokens += liquidity * (1 / math.sqrt(low) - 1 / math.sqrt(high))
            start, end = (high, low) if down else (low, high)
            steps.append((tokens, math.sqrt(start), math.sqrt(end), liquidity))
    return steps


def _uniswap_v3(sales: Array, price: float, ranges: Ranges) -> Array:
    """Range by range, 1 / sqrt(price) moves by tokens / liquidity; the last one sold into goes on."""
    result = np.full(sales.shape, math.sqrt(price))
    for down, size in ((True, sales), (False, -sales)):
        steps, gone = _steps(price, ranges, down), 0.0
        for number, (tokens, start, _, liquidity) in enumerate(steps):
            last = down and number == len(steps) - 1
            here = (size > gone) & ((size <= tokens) | last)
            moved = np.where(here, (size - gone) / liquidity, 0.0)
            result = np.where(here, 1 / (1 / start + (moved if down else -moved)), result)
            gone = tokens
        if not down:
            result = np.where(size >= gone, np.inf, result)
    return result**2 / price


def _bisect(rising: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Where a rising function of positive numbers is 0."""
    for _ in range(200):
        middle = np.sqrt(low) * np.sqrt(high)
        above = rising(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.sqrt(low) * np.sqrt(high)


def _stableswap_pool(
    sales: Array,
    balances: list[float],
    amplification: float,
    sold: int = 0,
    bought: int = 1,
    rates: list[float] | None = None,
) -> tuple[Array, Array, float]:
    """Balance of the bought coin and price -dy/dx after sales, as the pool counts, and what one token sold counts for.

    Invariant A n^n sum(x) + D = A n^n D + D^(n+1) / (n^n prod(x)); A() answers A n^(n-1). All balances count for 1.
    """
    count = len(balances)
    counted = np.array(balances) * np.array(rates or [1.0] * count)
    held, ann = counted / counted.sum(), amplification * count
    token = (rates[sold] if rates else 1.0) / float(counted.sum())
    rest = np.delete(held, [sold, bought])

    def product_term(d: Array, product: Array | float) -> Array:
        return np.asarray(d * (d / count) ** count / product)

    low, high = np.array([1e-9]), np.array([1 + 1e-9])
    d = _bisect(lambda d: ann * (d - 1) - d + product_term(d, held.prod()), low, high)
    x = held[sold] + np.asarray(sales) * token
    there = x > 0
    x = np.where(there, x, 1.0)

    def too_much(y: Array) -> Array:
        return np.asarray(ann * (x + y + (rest.sum() - d)) + d - product_term(d, x * y * rest.prod()))

    y = _bisect(too_much, np.full(x.shape, 1e-60), np.full(x.shape, 1e60))
    k = product_term(d, x * y * rest.prod())
    return np.where(there, y, np.inf), np.where(there, (ann + k / x) / (ann + k / y), np.inf), token


def _stableswap(sales: Array, **parameters: Any) -> Array:
    return _stableswap_pool(sales, **parameters)[1] / _stableswap_pool(np.zeros(1), **parameters)[1]


def _stableswap_paid(sales: Array | float, **parameters: Any) -> Array:
    _, price, token = _stableswap_pool(np.zeros(1), **parameters)
    return -_stableswap_pool(np.asarray(sales, float), **parameters)[0] / (price * token)


_MODELS: dict[str, Callable[..., Array]] = {
    "linear": _linear,
    "exponential": _exponential,
    "square_root": _square_root,
    "constant_product": _constant_product,
    "piecewise": _piecewise,
    "uniswap_v3": _uniswap_v3,
    "stableswap": _stableswap,
}
