"""Health factors of a whole book under many scenarios at once, in one pass over its legs.

Accounts are cut into blocks of fixed size that threads share out; within a block the innermost loop runs over
scenarios, whose prices stay in the processor's cache. Sums are formed a block at a time and added in the order of
blocks, so a result is the same, bit for bit, for any number of threads.
"""

from typing import Any

import numpy as np

from defi_leverage.contagion.book import Floats, Ints
from defi_leverage.contagion.compiled import compiled, compiled_leaf, parallel_range, threads_for
from defi_leverage.contagion.lanes import (
    LANES,
    add_bits,
    aligned_lanes,
    below,
    sums_below,
    tile_prices,
    weighted_sum,
)
from defi_leverage.contagion.layout import BLOCK, CompactBook

__all__ = ["count_liquidatable", "health_factors", "health_sums", "most_legs"]


def health_factors(book: CompactBook, feed_price: Floats, out: Floats | None = None) -> Floats:
    """Health factors, accounts x scenarios, at `feed_price` (USD, feeds x scenarios); inf without debt.

    As `engine.account_health_factors`, to rounding. `out` may carry the array to fill. Raises ValueError for prices of
    another number of feeds; so do the other functions here.
    """
    _check(book, feed_price)
    result = np.empty((book.accounts, feed_price.shape[1])) if out is None else out
    with threads_for(-(-book.accounts // BLOCK)):
        _fill(book, tile_prices(feed_price), result)
    return result


def count_liquidatable(book: CompactBook, feed_price: Floats) -> Ints:
    """How many accounts are below health factor 1 in every scenario (USD, feeds x scenarios)."""
    _check(book, feed_price)
    tiles = tile_prices(feed_price)
    counts = np.zeros((-(-book.accounts // BLOCK), len(tiles), LANES), np.int64)
    with threads_for(len(counts)):
        _count(book, tiles, counts)
    total: Ints = counts.sum(axis=0).ravel()[: feed_price.shape[1]]
    return total


def _check(book: CompactBook, feed_price: Floats) -> None:
    if feed_price.ndim != 2 or len(feed_price) != book.feeds:
        raise ValueError(f"feed_price has shape {feed_price.shape}; give {book.feeds} feeds x scenarios")


def _health_sums(
    book: Any, account: int, price: Any, collateral: Any, debt: Any, value: Any, counted: Any,
) -> None:  # fmt: skip
    """Weighted collateral and debt of an account in every scenario of a tile.

    Threshold-weighted collateral follows `health.average_threshold_weighted` where the venue averages. `value` (lanes)
    and `counted` (as many as it has legs) are scratch.
    """
    low, middle, high = book.start[account], book.split[account], book.start[account + 1]
    weighted_sum(debt, middle, high, book.weighted, book.leg_feed, price)
    weighted_sum(collateral, low, middle, book.weighted, book.leg_feed, price)
    if book.averages[book.venue[account]]:
        for leg in range(low, middle):
            counted[leg - low] = book.amount[leg] if book.class_weight[book.leg_class[leg]] > 0 else 0.0
        weighted_sum(value, 0, middle - low, counted, book.leg_feed[low:middle], price)
        for s in range(LANES):
            whole = value[s]
            collateral[s] = np.floor(collateral[s] * 1e4 / whole + 1e-7) * 1e-4 * whole if whole > 0 else 0.0


health_sums = compiled_leaf(_health_sums, error_model="numpy")


def _most_legs(book: Any, first: int, last: int) -> int:
    """The largest number of legs of an account from first to last, at least 1."""
    most = 1
    for account in range(first, last):
        most = max(most, book.start[account + 1] - book.start[account])
    return most


most_legs = compiled_leaf(_most_legs)


def _fill_block(
    book: Any, first: int, last: int, price: Any, scratch: Any, counted: Any, out: Any, offset: int,
) -> None:  # fmt: skip
    collateral, debt, value = scratch[0], scratch[1], scratch[2]
    lanes = min(LANES, out.shape[1] - offset)
    for place in range(first, last):
        account = book.order[place]
        if book.split[account] == book.start[account + 1]:
            out[account, offset : offset + lanes] = np.inf
            continue
        health_sums(book, account, price, collateral, debt, value, counted)
        for s in range(LANES):
            value[s] = collateral[s] / debt[s] if debt[s] > 0 else np.inf
        for s in range(lanes):
            out[account, offset + s] = value[s]


fill_block = compiled_leaf(_fill_block, error_model="numpy")


def _fill_all(book: Any, tiles: Any, out: Any) -> None:
    for block in parallel_range(-(-len(book.split) // BLOCK)):
        first, last = block * BLOCK, min(len(book.split), (block + 1) * BLOCK)
        scratch, counted = aligned_lanes(3), np.empty(most_legs(book, first, last))
        for tile in range(len(tiles)):
            fill_block(book, first, last, tiles[tile], scratch, counted, out, tile * LANES)


_fill = compiled(_fill_all, parallel=True)


def _count_block(
    book: Any, first: int, last: int, price: Any, scratch: Any, counted: Any, count: Any,
) -> None:  # fmt: skip
    collateral, debt, value = scratch[0], scratch[1], scratch[2]
    for place in range(first, last):
        account = book.order[place]
        low, middle, high = book.start[account], book.split[account], book.start[account + 1]
        if middle == high:
            continue
        if book.averages[book.venue[account]]:
            health_sums(book, account, price, collateral, debt, value, counted)
            mask = below(collateral, debt, 1.0)
        else:
            mask = sums_below(low, middle, high, book.weighted, book.leg_feed, price)
        if mask:
            add_bits(count, mask)


count_block = compiled_leaf(_count_block, error_model="numpy")


def _count_all(book: Any, tiles: Any, counts: Any) -> None:
    for block in parallel_range(-(-len(book.split) // BLOCK)):
        first, last = block * BLOCK, min(len(book.split), (block + 1) * BLOCK)
        scratch, counted = aligned_lanes(3), np.empty(most_legs(book, first, last))
        for tile in range(len(tiles)):
            count_block(book, first, last, tiles[tile], scratch, counted, counts[block, tile])


_count = compiled(_count_all, parallel=True)
