"""Health factors of a whole book under many scenarios at once, in one pass over its legs.

Accounts are cut into blocks of fixed size that threads share out; within a block the innermost loop runs over
scenarios, whose prices stay in the processor's cache. Sums are formed a block at a time and added in the order of
blocks, so a result is the same, bit for bit, for any number of threads.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defi_leverage.contagion.book import Floats, Ints
from defi_leverage.contagion.compiled import compiled, compiled_leaf, parallel_range
from defi_leverage.contagion.lanes import LANES, aligned_lanes, below, lowest_bit, tile_prices, weighted_sum
from defi_leverage.contagion.layout import BLOCK, CompactBook

__all__ = [
    "LiquidatableTotals",
    "count_liquidatable",
    "find_liquidatable",
    "health_factors",
    "tally_liquidatable",
    "worst_health_factors",
]


@dataclass(frozen=True, slots=True)
class LiquidatableTotals:
    """Accounts below 1, one element a scenario: how many, their debt and their counted collateral, USD at the feeds."""

    accounts: Ints
    debt_usd: Floats
    collateral_usd: Floats


def health_factors(book: CompactBook, feed_price: Floats, out: Floats | None = None) -> Floats:
    """Health factors, accounts x scenarios, at `feed_price` (USD, feeds x scenarios); inf without debt.

    As `engine.account_health_factors`, to rounding. `out` may carry the array to fill. Raises ValueError for prices of
    another number of feeds; so do the other functions here.
    """
    _check(book, feed_price)
    result = np.empty((book.accounts, feed_price.shape[1])) if out is None else out
    _fill(book, tile_prices(feed_price), result)
    return result


def worst_health_factors(book: CompactBook, feed_price: Floats) -> Floats:
    """The lowest health factor of every account over all scenarios (USD, feeds x scenarios); inf without debt."""
    _check(book, feed_price)
    worst = np.full(book.accounts, np.inf)
    _lowest(book, tile_prices(feed_price), feed_price.shape[1], worst)
    return worst


def count_liquidatable(book: CompactBook, feed_price: Floats) -> Ints:
    """How many accounts are below health factor 1 in every scenario (USD, feeds x scenarios)."""
    _check(book, feed_price)
    tiles = tile_prices(feed_price)
    counts = np.zeros((-(-book.accounts // BLOCK), len(tiles), LANES))
    _count(book, tiles, counts)
    total: Ints = counts.sum(axis=0).ravel()[: feed_price.shape[1]].astype(np.int64)
    return total


def tally_liquidatable(book: CompactBook, feed_price: Floats) -> LiquidatableTotals:
    """What is below health factor 1 in every scenario (USD, feeds x scenarios), without a matrix of health factors."""
    _check(book, feed_price)
    tiles = tile_prices(feed_price)
    sums = np.zeros((-(-book.accounts // BLOCK), len(tiles), 3, LANES))
    _tally(book, tiles, sums)
    accounts, debt, collateral = (sums[:, :, kind].sum(axis=0).ravel()[: feed_price.shape[1]] for kind in range(3))
    return LiquidatableTotals(accounts.astype(np.int64), debt, collateral)


def find_liquidatable(book: CompactBook, feed_price: Floats) -> list[NDArray[np.int32]]:
    """The accounts below health factor 1 in every scenario (USD, feeds x scenarios), ascending: whom a first round
    liquidates.
    """
    _check(book, feed_price)
    tiles, scenarios = tile_prices(feed_price), feed_price.shape[1]
    counts = np.zeros((-(-book.accounts // BLOCK), len(tiles) * LANES), np.int64)
    _list(book, tiles, scenarios, counts, False, np.zeros(0, np.int32))
    ends = np.cumsum(counts.T).reshape(counts.shape[::-1]).T
    found = np.empty(int(ends.max(initial=0)), np.int32)
    _list(book, tiles, scenarios, ends - counts, True, found)
    last = ends[-1, :scenarios] if len(ends) else np.zeros(scenarios, np.int64)
    return [np.sort(part) for part in np.split(found, last[:-1])] if scenarios else []


def _check(book: CompactBook, feed_price: Floats) -> None:
    if feed_price.ndim != 2 or len(feed_price) != book.feeds:
        raise ValueError(f"feed_price has shape {feed_price.shape}; give {book.feeds} feeds x scenarios")


def _decode(book: Any, first: int, last: int, weighted: Any, counted: Any, row: Any) -> None:
    """Per leg of accounts first to last: amount * weight, the amount where it counts, and where its prices start."""
    low = book.start[first]
    for leg in range(low, book.start[last]):
        kind = book.leg_class[leg]
        amount, weight = book.amount[leg], book.class_weight[kind]
        weighted[leg - low] = amount * weight
        counted[leg - low] = amount if weight > 0 else 0.0
        row[leg - low] = book.class_feed[kind] * LANES


decode = compiled_leaf(_decode)


def _health_sums(
    book: Any, account: int, base: int, weighted: Any, counted: Any, row: Any, price: Any, collateral: Any, debt: Any,
    value: Any,
) -> None:  # fmt: skip
    """Weighted collateral and debt of an account in every scenario of a tile; decoded legs begin at leg `base`.

    Threshold-weighted collateral follows `health.average_threshold_weighted` where the venue averages. `value` is
    scratch.
    """
    low, middle, high = book.start[account] - base, book.split[account] - base, book.start[account + 1] - base
    weighted_sum(debt, middle, high, weighted, row, price)
    weighted_sum(collateral, low, middle, weighted, row, price)
    if book.averages[book.venue[account]]:
        weighted_sum(value, low, middle, counted, row, price)
        for s in range(LANES):
            whole = value[s]
            collateral[s] = np.floor(collateral[s] * 1e4 / whole + 1e-7) * 1e-4 * whole if whole > 0 else 0.0


health_sums = compiled_leaf(_health_sums, error_model="numpy")


def _fill_block(
    book: Any, first: int, last: int, legs: Any, price: Any, scratch: Any, out: Any, offset: int,
) -> None:  # fmt: skip
    weighted, counted, row = legs
    collateral, debt, value = scratch[0], scratch[1], scratch[2]
    base = book.start[first]
    lanes = min(LANES, out.shape[1] - offset)
    out[first:last, offset : offset + lanes] = np.inf
    for place in range(first, last):
        account = book.order[place]
        if book.split[account] == book.start[account + 1]:
            continue
        health_sums(book, account, base, weighted, counted, row, price, collateral, debt, value)
        for s in range(LANES):
            value[s] = collateral[s] / debt[s] if debt[s] > 0 else np.inf
        for s in range(lanes):
            out[account, offset + s] = value[s]


fill_block = compiled_leaf(_fill_block, error_model="numpy")


def _fill_all(book: Any, tiles: Any, out: Any) -> None:
    for block in parallel_range(-(-len(book.split) // BLOCK)):
        first, last = block * BLOCK, min(len(book.split), (block + 1) * BLOCK)
        count = book.start[last] - book.start[first]
        legs = np.empty(count), np.empty(count), np.empty(count, np.int64)
        decode(book, first, last, legs[0], legs[1], legs[2])
        scratch = aligned_lanes(3)
        for tile in range(len(tiles)):
            fill_block(book, first, last, legs, tiles[tile], scratch, out, tile * LANES)


_fill = compiled(_fill_all, parallel=True)


def _lowest_block(
    book: Any, first: int, last: int, legs: Any, price: Any, scratch: Any, lanes: int, worst: Any,
) -> None:  # fmt: skip
    weighted, counted, row = legs
    collateral, debt, value = scratch[0], scratch[1], scratch[2]
    base = book.start[first]
    for place in range(first, last):
        account = book.order[place]
        if book.split[account] == book.start[account + 1]:
            continue
        health_sums(book, account, base, weighted, counted, row, price, collateral, debt, value)
        for s in range(LANES):
            value[s] = collateral[s] / debt[s] if debt[s] > 0 else np.inf
        lowest = worst[account]
        for s in range(min(LANES, lanes)):
            lowest = min(lowest, value[s])
        worst[account] = lowest


lowest_block = compiled_leaf(_lowest_block, error_model="numpy")


def _lowest_all(book: Any, tiles: Any, scenarios: int, worst: Any) -> None:
    for block in parallel_range(-(-len(book.split) // BLOCK)):
        first, last = block * BLOCK, min(len(book.split), (block + 1) * BLOCK)
        count = book.start[last] - book.start[first]
        legs = np.empty(count), np.empty(count), np.empty(count, np.int64)
        decode(book, first, last, legs[0], legs[1], legs[2])
        scratch = aligned_lanes(3)
        for tile in range(len(tiles)):
            lowest_block(book, first, last, legs, tiles[tile], scratch, scenarios - tile * LANES, worst)


_lowest = compiled(_lowest_all, parallel=True)


def _count_block(
    book: Any, first: int, last: int, legs: Any, price: Any, scratch: Any, into: Any,
) -> None:  # fmt: skip
    weighted, counted, row = legs
    collateral, debt, value = scratch[0], scratch[1], scratch[2]
    base = book.start[first]
    count = scratch[3]
    count[:] = 0.0
    for place in range(first, last):
        account = book.order[place]
        if book.split[account] == book.start[account + 1]:
            continue
        health_sums(book, account, base, weighted, counted, row, price, collateral, debt, value)
        if below(collateral, debt, 1.0):
            for s in range(LANES):
                count[s] += 1.0 if collateral[s] < debt[s] else 0.0
    for s in range(LANES):
        into[s] = count[s]


count_block = compiled_leaf(_count_block, error_model="numpy")


def _count_all(book: Any, tiles: Any, counts: Any) -> None:
    for block in parallel_range(-(-len(book.split) // BLOCK)):
        first, last = block * BLOCK, min(len(book.split), (block + 1) * BLOCK)
        count = book.start[last] - book.start[first]
        legs = np.empty(count), np.empty(count), np.empty(count, np.int64)
        decode(book, first, last, legs[0], legs[1], legs[2])
        scratch = aligned_lanes(4)
        for tile in range(len(tiles)):
            count_block(book, first, last, legs, tiles[tile], scratch, counts[block, tile])


_count = compiled(_count_all, parallel=True)


def _tally_block(
    book: Any, first: int, last: int, legs: Any, price: Any, scratch: Any, into: Any,
) -> None:  # fmt: skip
    """into, 3 x LANES: accounts below 1, their debt and their counted collateral."""
    weighted, counted, row = legs
    collateral, debt, value = scratch[0], scratch[1], scratch[2]
    base = book.start[first]
    amount = book.amount[base : book.start[last]]
    here, count, owed, held = scratch[3], scratch[4], scratch[5], scratch[6]
    scratch[4:] = 0.0
    for place in range(first, last):
        account = book.order[place]
        if book.split[account] == book.start[account + 1]:
            continue
        health_sums(book, account, base, weighted, counted, row, price, collateral, debt, value)
        if below(collateral, debt, 1.0):
            for s in range(LANES):
                here[s] = 1.0 if collateral[s] < debt[s] else 0.0
            low, middle, high = book.start[account] - base, book.split[account] - base, book.start[account + 1] - base
            weighted_sum(debt, middle, high, amount, row, price)
            weighted_sum(collateral, low, middle, counted, row, price)
            for s in range(LANES):
                count[s] += here[s]
            for s in range(LANES):
                owed[s] += debt[s] * here[s]
            for s in range(LANES):
                held[s] += collateral[s] * here[s]
    for s in range(LANES):
        into[0, s], into[1, s], into[2, s] = count[s], owed[s], held[s]


tally_block = compiled_leaf(_tally_block, error_model="numpy")


def _tally_all(book: Any, tiles: Any, sums: Any) -> None:
    for block in parallel_range(-(-len(book.split) // BLOCK)):
        first, last = block * BLOCK, min(len(book.split), (block + 1) * BLOCK)
        count = book.start[last] - book.start[first]
        legs = np.empty(count), np.empty(count), np.empty(count, np.int64)
        decode(book, first, last, legs[0], legs[1], legs[2])
        scratch = aligned_lanes(7)
        for tile in range(len(tiles)):
            tally_block(book, first, last, legs, tiles[tile], scratch, sums[block, tile])


_tally = compiled(_tally_all, parallel=True)


def _list_block(
    book: Any, first: int, last: int, legs: Any, price: Any, scratch: Any, lanes: int, ends: Any, write: bool,
    found: Any,
) -> None:  # fmt: skip
    """Advance `ends`, one a scenario, past every account below 1, which goes to `found` there if `write`."""
    weighted, counted, row = legs
    collateral, debt, value = scratch[0], scratch[1], scratch[2]
    base = book.start[first]
    for place in range(first, last):
        account = book.order[place]
        if book.split[account] == book.start[account + 1]:
            continue
        health_sums(book, account, base, weighted, counted, row, price, collateral, debt, value)
        mask = below(collateral, debt, 1.0)
        while mask:
            s = lowest_bit(mask)
            mask &= mask - np.uint64(1)
            if s < lanes:
                if write:
                    found[ends[s]] = account
                ends[s] += 1


list_block = compiled_leaf(_list_block, error_model="numpy")


def _list_all(book: Any, tiles: Any, scenarios: int, ends: Any, write: bool, found: Any) -> None:
    for block in parallel_range(-(-len(book.split) // BLOCK)):
        first, last = block * BLOCK, min(len(book.split), (block + 1) * BLOCK)
        count = book.start[last] - book.start[first]
        legs = np.empty(count), np.empty(count), np.empty(count, np.int64)
        decode(book, first, last, legs[0], legs[1], legs[2])
        scratch = aligned_lanes(3)
        for tile in range(len(tiles)):
            list_block(
                book,
                first,
                last,
                legs,
                tiles[tile],
                scratch,
                scenarios - tile * LANES,
                ends[block, tile * LANES : (tile + 1) * LANES],
                write,
                found,
            )


_list = compiled(_list_all, parallel=True)
