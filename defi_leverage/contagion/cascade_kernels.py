"""One round of liquidations for many scenarios at once: step 4 of the round, account by account.

Only accounts that a scenario has liquidated have amounts of their own in it (an entry). What cannot have fallen below 1
since it was last computed is passed over (`cascade_state.Drift`). The arithmetic is that of `engine`, operation by
operation, so that the same accounts are below 1 to the last bit.
"""

from typing import Any

import numpy as np

from defi_leverage.contagion.cascade_state import STRETCH
from defi_leverage.contagion.compiled import compiled, compiled_leaf, parallel_range
from defi_leverage.contagion.kernels import health_sums, most_legs
from defi_leverage.contagion.lanes import LANES, aligned_lanes, below, lowest_bit, lowest_ratio
from defi_leverage.contagion.layout import BLOCK
from defi_leverage.contagion.pair_kernels import pair_terms, seize

__all__ = ["add_stretches", "liquidate_round"]

_ROUNDING = 1 + 1e-9  # far above what sums of some legs may differ by
_SINGLE = 1 - 1e-6  # beyond what is lost to seven digits
_ANY = 1e30  # what an account stands whose health factor is infinite


def _write_off(book: Any, account: int, amount: Any, at: int, price: Any, bad: Any, totals: Any) -> bool:
    """Take out the debt of an account that has no collateral left; whether it has none."""
    low, middle, high = book.start[account], book.split[account], book.start[account + 1]
    for leg in range(low, middle):
        if amount[at + leg - low] > 0 and book.class_weight[book.leg_class[leg]] > 0:
            return False
    for leg in range(middle, high):
        kind = book.leg_class[leg]
        tokens = amount[at + leg - low]
        if tokens > 0:
            bad[book.venue[account], book.class_asset[kind]] += tokens
            totals[5] += tokens * price[book.leg_feed[leg]]
            amount[at + leg - low] = 0.0
    return True


write_off = compiled_leaf(_write_off)


def _liquidate(
    book: Any, account: int, amount: Any, at: int, price: Any, dry: bool, rules: Any, terms: Any,
    sold: Any, bought: Any, bad: Any, totals: Any,
) -> tuple[bool, float]:  # fmt: skip
    """Liquidate an account once if it is below 1, as `execution` does; its legs' amounts are from `at` on.

    Whether it was below 1, and its health factor afterwards, before thresholds are averaged and to nine digits; 0 where
    it is not known so well. If `dry`, it is counted and left alone. `price`: by feed.
    """
    low, middle, high = book.start[account], book.split[account], book.start[account + 1]
    collateral_leg, collateral, weighted_collateral, counted = -1, -1.0, 0.0, 0.0
    for leg in range(low, middle):
        weight, tokens = book.class_weight[book.leg_class[leg]], amount[at + leg - low]
        value = tokens * price[book.leg_feed[leg]]
        weighted_collateral += value * weight
        if weight > 0 and tokens > 0:
            counted += value
            collateral_leg, collateral = (leg, value) if value > collateral else (collateral_leg, collateral)
    debt_leg, debt, weighted_debt, total_debt = -1, -1.0, 0.0, 0.0
    for leg in range(middle, high):
        tokens = amount[at + leg - low]
        value = tokens * price[book.leg_feed[leg]]
        weighted_debt += value * book.class_weight[book.leg_class[leg]]
        total_debt += value
        debt_leg, debt = (leg, value) if tokens > 0 and value > debt else (debt_leg, debt)
    if not weighted_debt > 0:
        return False, np.inf
    venue, held = book.venue[account], weighted_collateral
    if book.averages[venue]:
        held = np.floor(held * 1e4 / counted + 1e-7) * 1e-4 * counted if counted > 0 else 0.0
    factor = held / weighted_debt
    if not factor < 1:
        return False, factor
    totals[0] += 1
    if dry or debt_leg < 0 or collateral_leg < 0:
        return True, 0.0
    debt_kind, collateral_kind = book.leg_class[debt_leg], book.leg_class[collateral_leg]
    debt_at, collateral_at = at + debt_leg - low, at + collateral_leg - low
    weight = book.class_weight[collateral_kind]
    wanted, bonus, kept = pair_terms(
        rules[venue], terms[venue], factor, total_debt, debt, collateral,
        book.class_bonus[collateral_kind], weight, book.class_fee[collateral_kind],
    )  # fmt: skip
    repaid_usd, seized_usd = seize(wanted, debt, collateral, bonus)
    # What is closed whole must leave exactly nothing behind, not a rounding residue.
    repaid, seized = amount[debt_at], amount[collateral_at]
    if repaid_usd < debt:
        repaid = repaid_usd / price[book.leg_feed[debt_leg]]
    if seized_usd < collateral:
        seized = seized_usd / price[book.leg_feed[collateral_leg]]
    if repaid_usd > 0 and weight * seized_usd > factor * book.class_weight[debt_kind] * repaid_usd * (1 + 1e-12):
        totals[6] += 1
    amount[debt_at] -= repaid
    amount[collateral_at] -= seized
    sold[book.class_asset[collateral_kind]] += seized - seized * kept
    bought[book.class_asset[debt_kind]] += repaid
    totals[2] += repaid_usd
    totals[3] += seized_usd
    totals[4] += seized_usd * kept
    if not amount[collateral_at] > 0 and write_off(book, account, amount, at, price, bad, totals):
        return True, np.inf
    left = weighted_debt - repaid_usd * book.class_weight[debt_kind]
    known = left > 1e-6 * weighted_debt
    return True, (weighted_collateral - seized_usd * weight) / left if known else 0.0


liquidate = compiled_leaf(_liquidate, error_model="numpy")


def _old_entries(
    book: Any, block: int, s: int, price: Any, drift: Any, keep: float, dry: bool, rules: Any, terms: Any, state: Any
) -> None:
    """Look again at the accounts that scenario s has liquidated before."""
    stands, accounts, places = state.entry_stands[s, block], state.entry_account[s, block], state.entry_at[s, block]
    amount, totals = state.amount[s, block], state.totals[s, block]
    sold, bought, bad = state.sold[s, block], state.bought[s, block], state.bad[s, block]
    for entry in range(state.entries[s, block]):
        account = accounts[entry]
        now = drift[book.signature[account]]
        if stands[entry] >= now:
            continue
        at = places[entry]
        _, left = liquidate(book, account, amount, at, price, dry, rules, terms, sold, bought, bad, totals)
        stands[entry] = left * now * keep


old_entries = compiled_leaf(_old_entries, error_model="numpy")


def _new_entry(
    book: Any, block: int, s: int, account: int, price: Any, drift: Any, keep: float, dry: bool, rules: Any,
    terms: Any, state: Any,
) -> bool:  # fmt: skip
    """Liquidate an account that is as in the book, if it is below 1 in scenario s; whether it is."""
    low, high = book.start[account], book.start[account + 1]
    totals, amount = state.totals[s, block], state.amount[s, block]
    at, entry = state.used[s, block], state.entries[s, block]
    for leg in range(low, high):
        amount[at + leg - low] = book.amount[leg]
    is_below, left = liquidate(
        book, account, amount, at, price, dry, rules, terms,
        state.sold[s, block], state.bought[s, block], state.bad[s, block], totals,
    )  # fmt: skip
    if is_below and not dry:
        state.used[s, block] += high - low
        state.entries[s, block] += 1
        state.entry_account[s, block, entry] = account
        state.entry_at[s, block, entry] = at
        state.entry_stands[s, block, entry] = left * drift[book.signature[account]] * keep
        totals[1] += 1
    return is_below


new_entry = compiled_leaf(_new_entry, error_model="numpy")


def _find_candidates(
    book: Any, first: int, last: int, price: Any, active: Any, reach: Any, slack: float, state: Any,
    scratch: Any, counted: Any, found: Any, many: Any,
) -> None:  # fmt: skip
    """Accounts that are as in the book and may be below 1: found[s, : many[s]] in scenario s. Sets what the others
    stand.
    """
    collateral, debt, value = scratch[0], scratch[1], scratch[2]
    one = np.uint64(1)
    many[:] = 0
    for place in range(first, last):
        account = book.order[place]
        now = reach[book.signature[account]]
        if state.stands[account] >= now:
            continue
        health_sums(book, account, price, collateral, debt, value, counted)
        whole = active & ~state.touched[account]
        rest = below(collateral, debt, (1 + slack) * _ROUNDING) & whole
        whole &= ~rest
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
    rules: Any, terms: Any, state: Any, scratch: Any, counted: Any, found: Any, many: Any,
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
        old_entries(book, block, s, shown[s], drift[s], keep, is_dry, rules, terms, state)
    for part in range(first, last, BLOCK):
        end = min(part + BLOCK, last)
        find_candidates(book, part, end, price, active, reach, slack, state, scratch, counted, found, many)
        for s in range(len(shown)):
            bit = one << np.uint64(s)
            is_dry = dry & bit != 0
            for number in range(many[s]):
                account = found[s, number]
                if not new_entry(book, block, s, account, shown[s], drift[s], keep, is_dry, rules, terms, state):
                    state.stands[account] = 0.0
                elif not is_dry:
                    state.touched[account] |= bit


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
        found, many = np.empty((LANES, BLOCK), np.int32), np.empty(LANES, np.int64)
        stretch(
            book, block, price, shown, active, dry, drift, reach, slack, rules, terms, state, aligned_lanes(3),
            counted, found, many,
        )  # fmt: skip


liquidate_round = compiled(_liquidate_round, parallel=True)


def _add_stretches(state: Any, totals: Any, sold: Any, bought: Any, bad: Any) -> None:
    """Add up the sums of the last round over stretches, in their order."""
    for s in parallel_range(len(totals)):
        for block in range(state.totals.shape[1]):
            if state.totals[s, block, 0] > 0:
                for place in range(totals.shape[1]):
                    totals[s, place] += state.totals[s, block, place]
                for asset in range(sold.shape[1]):
                    sold[s, asset] += state.sold[s, block, asset]
                    bought[s, asset] += state.bought[s, block, asset]
                    for venue in range(bad.shape[1]):
                        bad[s, venue, asset] += state.bad[s, block, venue, asset]


add_stretches = compiled(_add_stretches, parallel=True)
