"""One round of liquidations for many scenarios at once: step 4 of the round, account by account.

Only accounts that a scenario has liquidated have amounts of their own in it (an entry). What cannot have fallen below 1
since it was last computed is passed over: a health factor falls at most as far as the largest relative fall of a
collateral price and rise of a debt price since then (the drift) take it. The arithmetic is that of `engine`, operation
by operation, so that the same accounts are below 1 to the last bit.
"""

from typing import Any

import numpy as np

from defi_leverage.contagion.cascade_state import DRIFTS, STRETCH, UNKNOWN
from defi_leverage.contagion.compiled import compiled, compiled_leaf, parallel_range
from defi_leverage.contagion.kernels import health_sums
from defi_leverage.contagion.lanes import LANES, aligned_lanes, below, lowest_bit, weighted_sum
from defi_leverage.contagion.layout import BLOCK
from defi_leverage.contagion.pair_kernels import pair_terms, seize

__all__ = ["liquidate_round", "sum_owed_beyond"]

_ROUNDING = 1 + 1e-9  # far above what sums of some legs may differ by


def _health(book: Any, account: int, amount: Any, at: int, price: Any, s: int) -> float:
    """Health factor of one account with its legs' amounts from `at` on, in scenario s."""
    low, middle, high = book.start[account], book.split[account], book.start[account + 1]
    collateral, counted, debt = 0.0, 0.0, 0.0
    for leg in range(low, high):
        kind = book.leg_class[leg]
        value = amount[at + leg - low] * price[book.class_feed[kind] * LANES + s]
        if leg >= middle:
            debt += value * book.class_weight[kind]
        else:
            collateral += value * book.class_weight[kind]
            if book.class_weight[kind] > 0:
                counted += value
    if not debt > 0:
        return np.inf
    if book.averages[book.venue[account]]:
        collateral = np.floor(collateral * 1e4 / counted + 1e-7) * 1e-4 * counted if counted > 0 else 0.0
    factor: float = collateral / debt
    return factor


health = compiled_leaf(_health, error_model="numpy")


def _write_off(book: Any, account: int, amount: Any, at: int, price: Any, s: int, bad: Any, totals: Any) -> bool:
    """Take out the debt of an account that has no collateral left; whether it has none."""
    low, middle, high = book.start[account], book.split[account], book.start[account + 1]
    for leg in range(low, middle):
        if book.class_weight[book.leg_class[leg]] > 0 and amount[at + leg - low] > 0:
            return False
    for leg in range(middle, high):
        kind = book.leg_class[leg]
        tokens = amount[at + leg - low]
        if tokens > 0:
            bad[book.venue[account], book.class_asset[kind]] += tokens
            totals[5] += tokens * price[book.class_feed[kind] * LANES + s]
            amount[at + leg - low] = 0.0
    return True


write_off = compiled_leaf(_write_off)


def _liquidate(
    book: Any, account: int, factor: float, amount: Any, at: int, price: Any, s: int, rules: Any, terms: Any,
    sold: Any, bought: Any, bad: Any, totals: Any,
) -> float:  # fmt: skip
    """Liquidate one account once, as `engine.liquidate` and `engine._write_off` do.

    Its health factor afterwards, before thresholds are averaged and to nine digits; 0 where it is not known so well.
    """
    low, middle, high = book.start[account], book.split[account], book.start[account + 1]
    debt_leg, debt, collateral_leg, collateral, total_debt = -1, -1.0, -1, -1.0, 0.0
    weighted_collateral, weighted_debt = 0.0, 0.0
    for leg in range(low, high):
        kind = book.leg_class[leg]
        tokens = amount[at + leg - low]
        if not tokens > 0:
            continue
        value = tokens * price[book.class_feed[kind] * LANES + s]
        if leg >= middle:
            total_debt += value
            weighted_debt += value * book.class_weight[kind]
            if value > debt:
                debt_leg, debt = leg, value
        elif book.class_weight[kind] > 0:
            weighted_collateral += value * book.class_weight[kind]
            if value > collateral:
                collateral_leg, collateral = leg, value
    totals[0] += 1
    if debt_leg < 0 or collateral_leg < 0:
        return 0.0
    debt_kind, collateral_kind = book.leg_class[debt_leg], book.leg_class[collateral_leg]
    debt_at, collateral_at = at + debt_leg - low, at + collateral_leg - low
    venue, weight = book.venue[account], book.class_weight[collateral_kind]
    repaid_usd, bonus, kept = pair_terms(
        rules[venue], terms[venue], factor, total_debt, debt, collateral,
        book.class_bonus[collateral_kind], weight, book.class_fee[collateral_kind],
    )  # fmt: skip
    repaid_usd, seized_usd = seize(repaid_usd, debt, collateral, bonus)
    repaid, seized = amount[debt_at], amount[collateral_at]
    if repaid_usd < debt:
        repaid = repaid_usd / price[book.class_feed[debt_kind] * LANES + s]
    if seized_usd < collateral:
        seized = seized_usd / price[book.class_feed[collateral_kind] * LANES + s]
    lowering = factor * book.class_weight[debt_kind] * repaid_usd * (1 + 1e-12)
    if repaid_usd > 0 and weight * seized_usd > lowering:
        totals[6] += 1
    amount[debt_at] -= repaid
    amount[collateral_at] -= seized
    sold[book.class_asset[collateral_kind]] += seized - seized * kept
    bought[book.class_asset[debt_kind]] += repaid
    totals[2] += repaid_usd
    totals[3] += seized_usd
    totals[4] += seized_usd * kept
    if write_off(book, account, amount, at, price, s, bad, totals):
        return np.inf
    left = weighted_debt - repaid_usd * book.class_weight[debt_kind]
    known = left > 1e-6 * weighted_debt
    return (weighted_collateral - seized_usd * weight) / left if known else 0.0


liquidate = compiled_leaf(_liquidate, error_model="numpy")


def _old_entries(
    book: Any, block: int, s: int, price: Any, drift: float, slack: float, dry: bool, rules: Any, terms: Any, state: Any
) -> None:
    """Look again at the accounts that scenario s has liquidated before."""
    stands, accounts, places = state.entry_stands[s, block], state.entry_account[s, block], state.entry_at[s, block]
    amount, totals = state.amount[s, block], state.totals[s, block]
    sold, bought, bad = state.sold[s, block], state.bought[s, block], state.bad[s, block]
    for entry in range(state.entries[s, block]):
        if stands[entry] >= drift:
            continue
        account, at = accounts[entry], places[entry]
        factor = health(book, account, amount, at, price, s)
        if not factor < 1:
            stands[entry] = factor * drift * (1 - slack)
        elif dry:
            totals[0] += 1
        else:
            left = liquidate(book, account, factor, amount, at, price, s, rules, terms, sold, bought, bad, totals)
            stands[entry] = left * drift * (1 - slack) / _ROUNDING


old_entries = compiled_leaf(_old_entries, error_model="numpy")


def _new_entry(
    book: Any, block: int, s: int, account: int, price: Any, drift: float, slack: float, dry: bool,
    rules: Any, terms: Any,
    state: Any,
) -> bool:  # fmt: skip
    """Liquidate an account that is as in the book, if it is below 1 in scenario s; whether it is."""
    low, high = book.start[account], book.start[account + 1]
    factor = health(book, account, book.amount, low, price, s)
    if not factor < 1:
        return False
    totals = state.totals[s, block]
    if dry:
        totals[0] += 1
        return True
    at, entry = state.used[s, block], state.entries[s, block]
    amount = state.amount[s, block]
    for leg in range(low, high):
        amount[at + leg - low] = book.amount[leg]
    state.used[s, block] += high - low
    state.entries[s, block] += 1
    state.entry_account[s, block, entry] = account
    state.entry_at[s, block, entry] = at
    totals[1] += 1
    left = liquidate(
        book, account, factor, amount, at, price, s, rules, terms,
        state.sold[s, block], state.bought[s, block], state.bad[s, block], totals,
    )  # fmt: skip
    state.entry_stands[s, block, entry] = left * drift * (1 - slack) / _ROUNDING
    return True


new_entry = compiled_leaf(_new_entry, error_model="numpy")


def _find_candidates(
    book: Any, first: int, last: int, price: Any, active: Any, reach: float, needed: int, slack: float, state: Any,
    legs: Any, scratch: Any, found: Any, many: Any,
) -> None:  # fmt: skip
    """Accounts that are as in the book and may be below 1: found[s, : many[s]] in scenario s. Sets their level."""
    weighted, counted, row = legs
    collateral, debt, value = scratch[0], scratch[1], scratch[2]
    one = np.uint64(1)
    many[:] = 0
    for place in range(first, last):
        account = book.order[place]
        if state.level[account] >= needed:
            continue
        low = book.start[account]
        for leg in range(low, book.start[account + 1]):
            kind = book.leg_class[leg]
            weighted[leg - low] = book.amount[leg] * book.class_weight[kind]
            counted[leg - low] = book.amount[leg] if book.class_weight[kind] > 0 else 0.0
            row[leg - low] = book.class_feed[kind] * LANES
        health_sums(book, account, low, weighted, counted, row, price, collateral, debt, value)
        whole = active & ~state.touched[account]
        rest = below(collateral, debt, (1 + slack) * _ROUNDING) & whole
        whole &= ~rest
        while rest:
            s = lowest_bit(rest)
            rest &= rest - one
            found[s, many[s]] = account
            many[s] += 1
        stands, beyond = needed - 1, len(DRIFTS)
        while stands + 1 < beyond:
            middle = (stands + beyond) // 2
            if below(collateral, debt, DRIFTS[middle] / reach * (1 + slack) * _ROUNDING) & whole:
                beyond = middle
            else:
                stands = middle
        state.level[account] = stands if stands >= needed else UNKNOWN


find_candidates = compiled_leaf(_find_candidates, error_model="numpy")


def _stretch(
    book: Any, block: int, price: Any, active: Any, dry: Any, drift: Any, reach: float, slack: float, rules: Any,
    terms: Any, state: Any, legs: Any, scratch: Any, found: Any, many: Any,
) -> None:  # fmt: skip
    first, last = block * STRETCH, min(len(book.split), (block + 1) * STRETCH)
    one = np.uint64(1)
    rest = active
    while rest:
        s = lowest_bit(rest)
        rest &= rest - one
        is_dry = (dry >> np.uint64(s)) & one != 0
        old_entries(book, block, s, price, drift[s], slack, is_dry, rules, terms, state)
    needed = 0
    while needed < len(DRIFTS) and reach > DRIFTS[needed]:
        needed += 1
    for part in range(first, last, BLOCK):
        find_candidates(
            book,
            part,
            min(part + BLOCK, last),
            price,
            active,
            reach,
            needed,
            slack,
            state,
            legs,
            scratch,
            found,
            many,
        )
        for s in range(LANES):
            bit = one << np.uint64(s)
            for number in range(many[s]):
                account = found[s, number]
                if new_entry(
                    book,
                    block,
                    s,
                    account,
                    price,
                    drift[s],
                    slack,
                    dry & bit != 0,
                    rules,
                    terms,
                    state,
                ):
                    state.touched[account] |= bit & ~dry
                else:
                    state.level[account] = UNKNOWN


stretch = compiled_leaf(_stretch, error_model="numpy")


def _liquidate_round(
    book: Any, price: Any, active: Any, dry: Any, drift: Any, reach: float, slack: float, rules: Any, terms: Any,
    state: Any,
) -> None:  # fmt: skip
    """One round of the scenarios whose bit is set in `active`, at feed prices `price` (a tile, USD).

    Where `dry` is set, accounts below 1 are counted and left alone. `drift` (LANES): of every scenario, by how much a
    health factor may have fallen since its first round; `reach`: the same of all of them together. `slack`: by how
    much an averaged threshold may fall beyond that. Adds to sold, bought, bad and totals of `state`.
    """
    for block in parallel_range(state.entries.shape[1]):
        most = 1
        for account in range(block * STRETCH, min(len(book.split), (block + 1) * STRETCH)):
            most = max(most, book.start[account + 1] - book.start[account])
        legs = np.empty(most), np.empty(most), np.empty(most, np.int64)
        found = np.empty((LANES, BLOCK), np.int32)
        many = np.empty(LANES, np.int64)
        stretch(
            book,
            block,
            price,
            active,
            dry,
            drift,
            reach,
            slack,
            rules,
            terms,
            state,
            legs,
            aligned_lanes(3),
            found,
            many,
        )


liquidate_round = compiled(_liquidate_round, parallel=True)


def _owed_beyond(
    book: Any, block: int, price: Any, active: Any, never: int, state: Any, legs: Any, net: Any, into: Any,
) -> None:  # fmt: skip
    """into (LANES): USD that the accounts of a stretch owe beyond their collateral, over those that do."""
    first, last = block * STRETCH, min(len(book.split), (block + 1) * STRETCH)
    signed, row = legs
    one = np.uint64(1)
    for account in range(first, last):
        if state.level[account] == never:
            continue
        low, middle, high = book.start[account], book.split[account], book.start[account + 1]
        for leg in range(low, high):
            kind = book.leg_class[leg]
            counts = book.class_weight[kind] > 0
            signed[leg - low] = book.amount[leg] if leg >= middle else -book.amount[leg] if counts else 0.0
            row[leg - low] = book.class_feed[kind] * LANES
        weighted_sum(net, 0, high - low, signed, row, price)
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
            low, middle = book.start[account], book.split[account]
            beyond = 0.0
            for leg in range(low, book.start[account + 1]):
                kind = book.leg_class[leg]
                value = state.amount[s, block, at + leg - low] * price[book.class_feed[kind] * LANES + s]
                if leg >= middle:
                    beyond += value
                elif book.class_weight[kind] > 0:
                    beyond -= value
            into[s] += max(beyond, 0.0)


owed_beyond = compiled_leaf(_owed_beyond, error_model="numpy")


def _sum_owed_beyond(book: Any, price: Any, active: Any, never: int, state: Any, out: Any) -> None:
    """out (stretches x LANES): what accounts owe beyond their collateral, in USD at feed prices `price` (a tile)."""
    for block in parallel_range(len(out)):
        most = 1
        for account in range(block * STRETCH, min(len(book.split), (block + 1) * STRETCH)):
            most = max(most, book.start[account + 1] - book.start[account])
        legs = np.empty(most), np.empty(most, np.int64)
        owed_beyond(book, block, price, active, never, state, legs, aligned_lanes(1)[0], out[block])


sum_owed_beyond = compiled(_sum_owed_beyond, parallel=True)
