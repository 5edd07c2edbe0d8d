"""One round of liquidations for many scenarios at once: step 4 of the round, account by account.

Only accounts that a scenario has liquidated have amounts of their own in it (an entry). What cannot have fallen below 1
since it was last computed is passed over (`cascade_state.Drift`). The arithmetic is that of `engine`, operation by
operation, so that the same accounts are below 1 to the last bit.
"""

from typing import Any

import numpy as np

from defi_leverage.contagion.account_kernels import liquidate
from defi_leverage.contagion.cascade_state import STRETCH
from defi_leverage.contagion.compiled import compiled, compiled_leaf, parallel_range
from defi_leverage.contagion.kernels import health_sums, most_legs
from defi_leverage.contagion.lanes import LANES, aligned_lanes, below, fetch, lowest_bit, lowest_ratio
from defi_leverage.contagion.layout import BLOCK

__all__ = ["add_stretches", "liquidate_round"]

_ROUNDING = 1 + 1e-9  # far above what sums of some legs may differ by
_SINGLE = 1 - 1e-6  # beyond what is lost to seven digits
_ANY = 1e30  # what an account stands whose health factor is infinite


def _old_entries(
    book: Any, block: int, s: int, price: Any, drift: Any, keep: float, dry: bool, rules: Any, terms: Any, state: Any,
    later: Any,
) -> None:  # fmt: skip
    """Look again at the accounts that scenario s has liquidated before."""
    marks, accounts, places = state.entry_mark[s, block], state.entry_account[s, block], state.entry_at[s, block]
    amount, totals = state.amount[s, block], state.totals[s, block]
    sold, bought, bad = state.sold[s, block], state.bought[s, block], state.bad[s, block]
    for first in range(0, state.entries[s, block], BLOCK):
        waiting = 0
        for entry in range(first, min(first + BLOCK, state.entries[s, block])):
            if not marks[entry, 0] >= drift[int(marks[entry, 1])]:
                later[waiting] = entry
                waiting += 1
                account = accounts[entry]
                low = book.start[account]
                fetch(amount, places[entry])
                fetch(book.leg_feed, low)
                fetch(book.leg_class, low)
                fetch(book.venue, account)
        for number in range(waiting):
            entry = later[number]
            account, at = accounts[entry], places[entry]
            _, left = liquidate(book, account, amount, at, price, dry, rules, terms, sold, bought, bad, totals)
            marks[entry, 0] = left * drift[book.signature[account]] * keep


old_entries = compiled_leaf(_old_entries, error_model="numpy")


def _new_entries(
    book: Any, block: int, s: int, candidates: Any, price: Any, drift: Any, keep: float, dry: bool, rules: Any,
    terms: Any, state: Any,
) -> None:  # fmt: skip
    """Liquidate those candidates, accounts that are as in the book, that are below 1 in scenario s."""
    totals, amount = state.totals[s, block], state.amount[s, block]
    sold, bought, bad = state.sold[s, block], state.bought[s, block], state.bad[s, block]
    at, entry, bit = state.used[s, block], state.entries[s, block], np.uint64(1) << np.uint64(s)
    for account in candidates:
        low, high = book.start[account], book.start[account + 1]
        for leg in range(low, high):
            amount[at + leg - low] = book.amount[leg]
        is_below, left = liquidate(book, account, amount, at, price, dry, rules, terms, sold, bought, bad, totals)
        if not is_below:
            state.stands[account] = 0.0
        elif not dry:
            kind = book.signature[account]
            state.entry_account[s, block, entry] = account
            state.entry_at[s, block, entry] = at
            state.entry_mark[s, block, entry, 0] = left * drift[kind] * keep
            state.entry_mark[s, block, entry, 1] = kind
            state.touched[account] |= bit
            totals[1] += 1
            entry += 1
            at += high - low
    state.used[s, block], state.entries[s, block] = at, entry


new_entries = compiled_leaf(_new_entries, error_model="numpy")


def _find_candidates(
    book: Any, first: int, last: int, price: Any, active: Any, reach: Any, slack: float, state: Any,
    scratch: Any, counted: Any, later: Any, found: Any, many: Any,
) -> None:  # fmt: skip
    """Accounts that are as in the book and may be below 1: found[s, : many[s]] in scenario s. Sets what the others
    stand.
    """
    collateral, debt, value = scratch[0], scratch[1], scratch[2]
    one = np.uint64(1)
    many[:] = 0
    waiting = 0
    for place in range(first, last):
        account = book.order[place]
        if not state.stands[account] >= reach[book.signature[account]]:
            later[waiting] = account
            waiting += 1
            low = book.start[account]
            fetch(book.weighted, low)
            fetch(book.leg_feed, low)
            fetch(state.touched, account)
    for number in range(waiting):
        account = later[number]
        now = reach[book.signature[account]]
        health_sums(book, account, price, collateral, debt, value, counted)
        whole = active & ~state.touched[account]
        rest = below(collateral, debt, (1 + slack) * _ROUNDING) & whole
        whole &= ~rest
        if rest:
            low = book.start[account]
            fetch(book.amount, low)
            fetch(book.leg_class, low)
            fetch(book.venue, account)
        while rest:
            s = lowest_bit(rest)
            rest &= rest - one
            found[s, many[s]] = account
            many[s] += 1
        plain = 1e-20 < debt[lowest_bit(whole)] < 1e20 if whole else True  # within the range of seven digits
        stands = lowest_ratio(collateral, debt, whole) / (1 + slack) * now * _SINGLE if plain else 0.0
        state.stands[account] = min(stands, _ANY)


find_candidates = compiled_leaf(_find_candidates, error_model="numpy")


def _stretch(
    book: Any, block: int, price: Any, shown: Any, active: Any, dry: Any, drift: Any, reach: Any, slack: float,
    rules: Any, terms: Any, state: Any, scratch: Any, counted: Any, later: Any, found: Any, many: Any,
) -> None:  # fmt: skip
    for s in range(len(shown)):
        if state.totals[s, block, 0] > 0:
            state.sold[s, block], state.bought[s, block], state.bad[s, block] = 0.0, 0.0, 0.0
            state.totals[s, block] = 0.0
    first, last = block * STRETCH, min(len(book.split), (block + 1) * STRETCH)
    one, keep = np.uint64(1), (1 - slack) * _SINGLE
    rest = active
    while rest:
        s = lowest_bit(rest)
        rest &= rest - one
        is_dry = (dry >> np.uint64(s)) & one != 0
        old_entries(book, block, s, shown[s], drift[s], keep, is_dry, rules, terms, state, later)
    for part in range(first, last, BLOCK):
        end = min(part + BLOCK, last)
        find_candidates(book, part, end, price, active, reach, slack, state, scratch, counted, later, found, many)
        for s in range(len(shown)):
            if many[s]:
                is_dry = (dry >> np.uint64(s)) & one != 0
                new_entries(
                    book, block, s, found[s, : many[s]], shown[s], drift[s], keep, is_dry, rules, terms, state
                )  # fmt: skip


stretch = compiled_leaf(_stretch, error_model="numpy")


def _liquidate_round(
    book: Any, price: Any, shown: Any, active: Any, dry: Any, drift: Any, reach: Any, slack: float, rules: Any,
    terms: Any, state: Any,
) -> None:  # fmt: skip
    """One round of the scenarios whose bit is set in `active`, at feed prices `price` (a tile, USD) or `shown` (the
    same, scenarios x feeds).

    Where `dry` is set, accounts below 1 are counted and left alone. `drift`, `reach`, `slack`: those of
    `cascade_state.Drift`. Leaves the round's sums in sold, bought, bad and totals of `state`.
    """
    for block in parallel_range(state.entries.shape[1]):
        counted = np.empty(most_legs(book, block * STRETCH, min(len(book.split), (block + 1) * STRETCH)))
        later, found, many = np.empty(BLOCK, np.int32), np.empty((LANES, BLOCK), np.int32), np.empty(LANES, np.int64)
        stretch(
            book, block, price, shown, active, dry, drift, reach, slack, rules, terms, state, aligned_lanes(3),
            counted, later, found, many,
        )  # fmt: skip


liquidate_round = compiled(_liquidate_round, parallel=True)


def _add_stretches(state: Any, totals: Any, sold: Any, bought: Any, bad: Any) -> None:
    """Add up the sums of the last round over stretches, in their order."""
    for s in range(len(totals)):
        for block in range(state.totals.shape[1]):
            if state.totals[s, block, 0] > 0:
                for place in range(totals.shape[1]):
                    totals[s, place] += state.totals[s, block, place]
                for asset in range(sold.shape[1]):
                    sold[s, asset] += state.sold[s, block, asset]
                    bought[s, asset] += state.bought[s, block, asset]
                for venue in range(bad.shape[1]):
                    for asset in range(sold.shape[1]):
                        bad[s, venue, asset] += state.bad[s, block, venue, asset]


add_stretches = compiled(_add_stretches)
