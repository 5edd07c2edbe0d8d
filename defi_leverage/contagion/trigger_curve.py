"""What is liquidatable at each of many prices of one asset, in one pass over the book.

A feed price is affine in one market price, so an account's margin is, and an account is below 1 on one side of one
price: it is added where it begins and summed up from there. Work grows with accounts plus prices, not their product.
"""

from typing import Any

import numpy as np

from defi_leverage.contagion.book import Book, Floats
from defi_leverage.contagion.compiled import compiled, parallel_range
from defi_leverage.contagion.engine import feed_prices, market_prices
from defi_leverage.contagion.kernels import LiquidatableTotals
from defi_leverage.contagion.layout import CompactBook

__all__ = ["feed_lines", "tally_along_price"]

_BLOCKS = 64  # parts of the book with sums of their own, added in their order whatever the number of threads
_ONE_BPS = 1e-4 * (1 + 1e-6)
_ROUNDED_UP = 1e-11  # `health.average_threshold_weighted` may add 1e-7 of a basis point


def feed_lines(book: Book, asset: int) -> tuple[Floats, Floats]:
    """Feed prices as level + slope * x, in USD, where x multiplies the own market price of `asset` (an index), before
    any sale; derived assets and ratio feeds follow.
    """
    gone, idle = np.zeros(len(book.price)), np.zeros(len(book.price))
    gone[asset] = -1.0
    level = feed_prices(book, market_prices(book, gone, idle))
    return level, feed_prices(book, market_prices(book, idle, idle)) - level


def tally_along_price(book: CompactBook, level: Floats, slope: Floats, multiple: Floats) -> LiquidatableTotals:
    """Accounts below 1, their debt and counted collateral (USD) at feed prices level + slope * multiple, one element a
    multiple; as `kernels.tally_liquidatable` at each of them. Raises ValueError unless multiples ascend.
    """
    if (np.diff(multiple) < 0).any():
        raise ValueError("multiples must ascend; sort them")
    points = len(multiple)
    # of every block: what begins at a point and goes on up, what goes on down, what stands at the point alone
    sums = np.zeros((_BLOCKS, 3, 5, points))
    _add(book, level, slope, np.ascontiguousarray(multiple, float), sums)
    up, down, alone = sums.sum(axis=0)
    total = np.cumsum(up, axis=1) + np.cumsum(down[:, ::-1], axis=1)[:, ::-1] + alone
    return LiquidatableTotals(
        np.rint(total[0]).astype(np.int64), total[1] + total[2] * multiple, total[3] + total[4] * multiple
    )


def _negative(level: float, slope: float, multiple: Any) -> Any:
    """The range of points, first to last + 1, at which level + slope * multiple < 0."""
    points = len(multiple)
    if slope == 0:
        return (0, points) if level < 0 else (0, 0)
    edge = np.searchsorted(multiple, -level / slope)
    if slope > 0:
        while edge < points and level + slope * multiple[edge] < 0:
            edge += 1
        while edge > 0 and level + slope * multiple[edge - 1] >= 0:
            edge -= 1
        return 0, edge
    while edge > 0 and level + slope * multiple[edge - 1] < 0:
        edge -= 1
    while edge < points and level + slope * multiple[edge] >= 0:
        edge += 1
    return edge, points


negative = compiled(_negative)


def _add_block(book: Any, first: int, last: int, level: Any, slope: Any, multiple: Any, sums: Any) -> None:
    points = len(multiple)
    for account in range(first, last):
        low, middle, high = book.start[account], book.split[account], book.start[account + 1]
        if middle == high:
            continue
        weighted, weighted_slope, debt, debt_slope = 0.0, 0.0, 0.0, 0.0
        term = np.zeros(5)  # 1, debt and its slope, counted collateral and its slope
        term[0] = 1.0
        for leg in range(low, high):
            kind = book.leg_class[leg]
            weight, feed = book.class_weight[kind], book.class_feed[kind]
            value, value_slope = book.amount[leg] * level[feed], book.amount[leg] * slope[feed]
            if leg >= middle:
                debt += value * weight
                debt_slope += value_slope * weight
                term[1] += value
                term[2] += value_slope
            elif weight > 0:
                weighted += value * weight
                weighted_slope += value_slope * weight
                term[3] += value
                term[4] += value_slope
        begin, end = negative(weighted - debt, weighted_slope - debt_slope, multiple)
        if book.averages[book.venue[account]]:
            bare, bare_slope = weighted - debt, weighted_slope - debt_slope
            begin, end = negative(bare + _ROUNDED_UP * term[3], bare_slope + _ROUNDED_UP * term[4], multiple)
            maybe, no_more = negative(bare - _ONE_BPS * term[3], bare_slope - _ONE_BPS * term[4], multiple)
            for point in range(maybe, no_more):
                if begin <= point < end:
                    continue
                counted = term[3] + term[4] * multiple[point]
                held = weighted + weighted_slope * multiple[point]
                average = np.floor(held * 1e4 / counted + 1e-7) * 1e-4 * counted if counted > 0 else 0.0
                if average < debt + debt_slope * multiple[point]:
                    sums[2, :, point] += term
        if begin < end:
            if end == points:
                sums[0, :, begin] += term
            else:
                sums[1, :, end - 1] += term


_add_one = compiled(_add_block, error_model="numpy")


def _add_all(book: Any, level: Any, slope: Any, multiple: Any, sums: Any) -> None:
    accounts, blocks = len(book.split), len(sums)
    for block in parallel_range(blocks):
        first, last = accounts * block // blocks, accounts * (block + 1) // blocks
        _add_one(book, first, last, level, slope, multiple, sums[block])


_add = compiled(_add_all, parallel=True)
