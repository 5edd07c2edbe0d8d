"""One round of liquidations for many scenarios at once: step 4 of the round, account by account.

Only accounts that a scenario has liquidated have amounts of their own in it (an entry). What cannot have fallen below 1
since it was last computed is passed over: a health factor falls at most as far as the largest relative fall of a
collateral price and rise of a debt price since then (the drift) take it. The arithmetic is that of `engine`, operation
by operation, so that the same accounts are below 1 to the last bit.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defi_leverage.contagion.compiled import compiled, compiled_leaf, parallel_range
from defi_leverage.contagion.kernels import health_sums
from defi_leverage.contagion.lanes import LANES, aligned_lanes, below, lowest_bit
from defi_leverage.contagion.layout import BLOCK

__all__ = ["DRIFTS", "NEVER", "RULES", "STRETCH", "TOTALS", "UNKNOWN", "State", "liquidate_round"]

Floats = NDArray[np.float64]

STRETCH = 8 * BLOCK  # accounts whose sums and entries are kept together; fixed, so that sums never depend on threads
DRIFTS = tuple(
    1 + 3 * (place / 31) ** 2 for place in range(32)
)  # what drift an account has been shown to stand, by its level
UNKNOWN, NEVER = -1, 127  # levels: not known to stand any drift; without debt that anything secures
RULES = ("full", "aave_v3", "aave_v3_3")
TOTALS = ("liquidations", "accounts", "repaid_usd", "seized_usd", "protocol_fee_usd", "bad_debt_usd")
_CLOSE = 1e-5  # beyond the rounding of a health factor to float32
_ROUNDING = 1 + 1e-9  # far above what sums of some legs may differ by


class State(NamedTuple):
    """What a batch of at most LANES scenarios changes; S of them, B stretches of accounts.

    touched: bit s of an account, whether it has an entry in scenario s. level: place in DRIFTS of an account in the
    scenarios where it is as in the book. entries (S, B): how many entries; entry_account, entry_at (its amounts in
    `amount`), entry_stands (the drift it stands) by (S, B, entry); amount (S, B, tokens a leg); used (S, B).
    sold, bought (S, B, assets) and bad (S, B, venues, assets): tokens of this round; totals (S, B, TOTALS).
    """

    touched: NDArray[np.uint64]
    level: NDArray[np.int8]
    entries: NDArray[np.int32]
    entry_account: NDArray[np.int32]
    entry_at: NDArray[np.int32]
    entry_stands: Floats
    amount: Floats
    used: NDArray[np.int32]
    sold: Floats
    bought: Floats
    bad: Floats
    totals: Floats


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


def _repayment(
    rule: int, terms: Any, factor: float, total_debt: float, debt: float, collateral: float, bonus: float
) -> float:
    """USD of debt to repay: the rules of `liquidation`, by their place in RULES, with their parameters in order."""
    if rule == 0:
        return debt
    if rule == 1:
        return debt * (terms[0] if factor > terms[1] else 1.0)
    if debt < terms[2] or collateral < terms[2] or factor <= terms[1]:
        return debt
    repaid: float = min(debt, terms[0] * total_debt)
    affordable = collateral / (1 + bonus)
    if repaid < debt and repaid < affordable:
        leaving = min(debt - terms[3], affordable - terms[3] / (1 + bonus))
        repaid = min(repaid, max(leaving, 0.0))
    return repaid


repayment = compiled_leaf(_repayment)


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
    bonus, venue = book.class_bonus[collateral_kind], book.venue[account]
    repaid_usd = min(repayment(rules[venue], terms[venue], factor, total_debt, debt, collateral, bonus), debt)
    seized_usd = repaid_usd * (1 + bonus)
    if seized_usd >= collateral:
        repaid_usd, seized_usd = collateral / (1 + bonus), collateral
    repaid, seized = amount[debt_at], amount[collateral_at]
    if repaid_usd < debt:
        repaid = repaid_usd / price[book.class_feed[debt_kind] * LANES + s]
    if seized_usd < collateral:
        seized = seized_usd / price[book.class_feed[collateral_kind] * LANES + s]
    fee_share = book.class_fee[collateral_kind] * (bonus / (1 + bonus))
    amount[debt_at] -= repaid
    amount[collateral_at] -= seized
    sold[book.class_asset[collateral_kind]] += seized - seized * fee_share
    bought[book.class_asset[debt_kind]] += repaid
    totals[2] += repaid_usd
    totals[3] += seized_usd
    totals[4] += seized_usd * fee_share
    if write_off(book, account, amount, at, price, s, bad, totals):
        return np.inf
    left = weighted_debt - repaid_usd * book.class_weight[debt_kind]
    known = left > 1e-6 * weighted_debt
    return (weighted_collateral - seized_usd * book.class_weight[collateral_kind]) / left if known else 0.0


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
    book: Any, block: int, s: int, account: int, factor: float, price: Any, drift: float, slack: float, dry: bool,
    rules: Any, terms: Any,
    state: Any,
) -> bool:  # fmt: skip
    """Liquidate an account that is as in the book, if it is below 1 in scenario s; whether it is.

    `factor`, its health factor to seven digits, is computed to the last where it decides.
    """
    low, high = book.start[account], book.start[account + 1]
    venue = book.venue[account]
    if book.averages[venue] or abs(factor - 1) < _CLOSE or abs(factor - terms[venue, 1]) < _CLOSE:
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
    legs: Any, scratch: Any, found: Any, factors: Any, many: Any,
) -> None:  # fmt: skip
    """Accounts that are as in the book and may be below 1: found[s, : many[s]] in scenario s, with their health factors
    to seven digits. Sets their level.
    """
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
            factors[s, many[s]] = collateral[s] / debt[s]
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
    terms: Any, state: Any, legs: Any, scratch: Any, found: Any, factors: Any, many: Any,
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
            factors,
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
                    factors[s, number],
                    price,
                    drift[s],
                    slack,
                    dry & bit != 0,
                    rules,
                    terms,
                    state,
                ):
                    state.touched[account] |= bit
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
        found, factors = np.empty((LANES, BLOCK), np.int32), np.empty((LANES, BLOCK), np.float32)
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
            factors,
            many,
        )


liquidate_round = compiled(_liquidate_round, parallel=True)
