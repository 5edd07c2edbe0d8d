"""One account liquidated once in one scenario: step 4 of the round, compiled.

The arithmetic is that of `engine` and `execution`, operation by operation, so that the same accounts are below 1 to the
last bit.
"""

from typing import Any

import numpy as np

from defi_leverage.contagion.compiled import compiled_leaf
from defi_leverage.contagion.pair_kernels import pair_terms, seize

__all__ = ["liquidate"]


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
