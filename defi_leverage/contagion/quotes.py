"""Market depth from quotes: recorded sizes and prices -> parameters of the piecewise impact."""

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import nnls

from defi_leverage.contagion.curves import Array
from defi_leverage.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["impact_from_quotes"]

_LEAST_FACTOR = 1e-6  # where further tokens fetch nothing


def impact_from_quotes(sizes: "Sequence[float] | Array", prices: "Sequence[float] | Array") -> dict[str, Any]:
    """`sold` and `factor` of `piecewise_impact` from quotes: average price for `sizes` tokens (negative: bought).

    Sizes in any order, repeated ones too, at least two different ones a side; the other side may be left out. A quote
    is an average over all tokens of its size, a factor the price of the last one. So the average price of each cell
    between two sizes, never rising with sales, is fitted to the quotes by non-negative least squares (Lawson & Hanson
    1974), in which noise evens out; through the cells goes a curve that pays in each what was fitted, as long as that
    leaves it falling. It is relative to where it meets 0, on either side by itself: a spread is no impact.

    Quotes of different moments must first be divided by the price of their moment. Sizes that are far apart leave the
    curve between them open; a factor of 1.5 is close enough for a pool with ranges. Raises ScenarioError where the
    numbers are not usable or show no fall.
    """
    size, price = np.asarray(sizes, float), np.asarray(prices, float)
    if size.ndim != 1 or size.shape != price.shape or not size.size:
        raise ScenarioError(f"sizes {size.shape} and prices {price.shape} must be two lists of equal length")
    unusable = ~np.isfinite(size) | (size == 0) | ~np.isfinite(price) | (price <= 0)
    if unusable.any():
        first = int(np.flatnonzero(unusable)[0])
        raise ScenarioError(f"quote {first}: size {size[first]}, price {price[first]}; sizes are not 0, prices above 0")
    points: list[tuple[float, float]] = []
    for bought in (True, False):
        side = size < 0 if bought else size > 0
        if side.any():
            edges, cells = _cells(np.abs(size[side]), price[side], bought)
            if bought:
                edges, cells = -edges[::-1], cells[::-1]
            sold, factor = _curve(edges, cells)
            factor = np.maximum(factor / factor[sold == 0], _LEAST_FACTOR)
            points += [point for point in zip(sold.tolist(), factor.tolist(), strict=True) if point[0] != 0]
    return {"sold": [point[0] for point in points], "factor": [point[1] for point in points]}


def _cells(size: Array, price: Array, rising: bool) -> tuple[Array, Array]:
    """Edges of the cells (sizes from 0, positive) and the average price in each, for one side of a market."""
    ends = np.unique(size)
    share = np.minimum(size[:, None], ends) / size[:, None]  # of a quote's tokens, those up to each size
    scale = float(price.max())
    if rising:  # a constant, and what each size adds from there on
        steps, _ = nnls(np.hstack([np.ones((len(size), 1)), 1 - share[:, :-1]]), price / scale)
        average = np.cumsum(steps)
    else:  # what each size still has and the next one has not
        steps, _ = nnls(share, price / scale)
        average = np.cumsum(steps[::-1])[::-1]
    new = np.append(True, np.abs(np.diff(average)) > 1e-9 * average[0])
    if average[0] <= 0 or new.sum() < 2:
        raise ScenarioError("the quotes show no fall of the price with size; add larger ones")
    return np.append(np.append(0.0, ends[:-1])[new], ends[-1]), average[new]


def _curve(edges: Array, average: Array) -> tuple[Array, Array]:
    """Points of a falling curve with the given averages between edges: at each edge and in the middle between two.

    The edges lie on the line between the middles of their cells; the two ends go on from there, the higher one along
    the line, the lower one along its logarithm, which keeps it positive.
    """
    width = np.diff(edges)
    inner = (average[:-1] * width[1:] + average[1:] * width[:-1]) / (width[1:] + width[:-1])
    at_edge = np.concatenate([[2 * average[0] - inner[0]], inner, [average[-1] ** 2 / inner[-1]]])
    middle = np.clip(2 * average - (at_edge[:-1] + at_edge[1:]) / 2, at_edge[1:], at_edge[:-1])
    order = np.argsort(np.append(edges, edges[:-1] + width / 2), kind="stable")
    return np.append(edges, edges[:-1] + width / 2)[order], np.append(at_edge, middle)[order]
