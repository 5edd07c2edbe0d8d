"""What accounts owe beyond their collateral at the end of a batch of cascades."""

from typing import Any

import numpy as np

from defi_leverage.contagion.book import Bools, Floats
from defi_leverage.contagion.cascade_state import STRETCH, State, scenario_bits
from defi_leverage.contagion.compiled import compiled, compiled_leaf, parallel_range
from defi_leverage.contagion.kernels import most_legs
from defi_leverage.contagion.lanes import LANES, aligned_lanes, lowest_bit, tile_prices, weighted_sum
from defi_leverage.contagion.layout import CompactBook

__all__ = ["owed_beyond"]


def owed_beyond(book: CompactBook, state: State, feed_price: Floats, chosen: Bools) -> Floats:
    """USD that accounts owe beyond their collateral, summed over those that do, in the chosen scenarios; 0 in others.

    `feed_price`: scenarios x feeds, USD. Accounts that the kernels leave out are not counted.
    """
    sums = np.zeros((state.entries.shape[1], LANES))
    sum_owed(book, tile_prices(feed_price.T)[0], scenario_bits(chosen), state, sums)
    total: Floats = sums.sum(axis=0)[: len(feed_price)]
    return total


def _add_owed(
    book: Any, block: int, price: Any, active: Any, state: Any, signed: Any, net: Any, into: Any,
) -> None:  # fmt: skip
    """into (LANES): USD that the accounts of a stretch owe beyond their collateral, over those that do."""
    one = np.uint64(1)
    for account in range(block * STRETCH, min(len(book.split), (block + 1) * STRETCH)):
        if np.isinf(state.stands[account]) and state.touched[account] == 0:
            continue
        low, middle, high = book.start[account], book.split[account], book.start[account + 1]
        for leg in range(low, high):
            counts = book.class_weight[book.leg_class[leg]] > 0
            signed[leg - low] = book.amount[leg] if leg >= middle else -book.amount[leg] if counts else 0.0
        weighted_sum(net, 0, high - low, signed, book.leg_feed[low:high], price)
        whole = active & ~state.touched[account]
        for s in range(LANES):
            if net[s] > 0 and (whole >> np.uint64(s)) & one != 0:
                into[s] += net[s]
    rest = active
    while rest:
        s = lowest_bit(rest)
        rest &= rest - one
        for entry in range(state.entries[s, block]):
            account, at = state.entry_account[s, block, entry], state.entry_at[s, block, entry]
            low, middle, beyond = book.start[account], book.split[account], 0.0
            for leg in range(low, book.start[account + 1]):
                value = state.amount[s, block, at + leg - low] * price[book.leg_feed[leg] * LANES + s]
                if leg >= middle:
                    beyond += value
                elif book.class_weight[book.leg_class[leg]] > 0:
                    beyond -= value
            into[s] += max(beyond, 0.0)


add_owed = compiled_leaf(_add_owed, error_model="numpy")


def _sum_owed(book: Any, price: Any, active: Any, state: Any, out: Any) -> None:
    """out (stretches x LANES): of the scenarios whose bit is set in `active`, USD that accounts owe beyond their
    collateral at feed prices `price` (a tile).
    """
    for block in parallel_range(len(out)):
        signed = np.empty(most_legs(book, block * STRETCH, min(len(book.split), (block + 1) * STRETCH)))
        add_owed(book, block, price, active, state, signed, aligned_lanes(1)[0], out[block])


sum_owed = compiled(_sum_owed, parallel=True)
