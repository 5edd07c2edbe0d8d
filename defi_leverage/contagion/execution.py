"""One round's liquidations, carried out on the legs of a book.

There are two ways: one debt leg is repaid out of one collateral leg (`PAIR_RULES`), or a whole account is closed
(`ABSORB_RULES`). Both end in the same rows.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from defi_leverage.contagion.absorption import absorb
from defi_leverage.contagion.book import Book, Bools, Floats, Int32s, Ints
from defi_leverage.contagion.liquidation import ABSORB_RULES, seize
from defi_leverage.contagion.records import Liquidations, VenueState, join, select

if TYPE_CHECKING:
    from functools import partial

__all__ = ["liquidate", "liquidate_round", "write_off"]

_MANY = 100_000  # accounts whose rules take longer one by one than the compiler takes to load


def liquidate(book: Book, amount: Floats, feed_price: Floats, factors: Floats, below: Ints) -> Liquidations:
    """Liquidate the accounts `below` once, all at `feed_price`, and change `amount` (tokens a leg) in place.

    `factors`: health factor of every account. Accounts without collateral or debt are passed over. Venues have drawn
    on nothing yet.
    """
    state = VenueState.start(len(book.venue_ids))
    return liquidate_round(book, amount, feed_price, factors, below, state)[0]


def liquidate_round(
    book: Book,
    amount: Floats,
    feed_price: Floats,
    factors: Floats,
    below: Ints,
    state: VenueState,
    worthwhile: Callable[[Liquidations], Bools] | None = None,
) -> tuple[Liquidations, pd.DataFrame]:
    """The rows of one round, and its bad debt (account, leg, tokens); `amount` and `state` change in place. Step 4.

    `worthwhile` says which liquidations of one pair of legs are done (default: all); a venue that closes whole accounts
    does so by itself.
    """
    rule_of = [cast("partial[Any]", rule).func.__name__ for rule in book.rules]
    absorbing = np.array([name in ABSORB_RULES for name in rule_of], bool)[book.account_venue[below]]
    rows = _pairs(book, amount, feed_price, factors, below[~absorbing])
    if worthwhile is not None:
        rows = select(rows, worthwhile(rows))
    amount[rows.debt_leg] -= rows.repaid
    amount[rows.collateral_leg] -= rows.seized
    parts, written_off, busy = [rows], [], dict.fromkeys(ABSORB_RULES, 0.0)
    if absorbing.any():
        healthy = np.ones(len(book.account_ids), bool)
        healthy[below] = False
        closing = below[absorbing & _has_both(book, amount)[below]]
        for venue in np.unique(book.account_venue[closing]).tolist():
            account, name = closing[book.account_venue[closing] == venue], rule_of[venue]
            rows, bad, put_up = absorb(book, venue, amount, feed_price, factors, account, healthy, state, busy[name])
            busy[name] += put_up
            parts.append(rows)
            written_off.append(bad)
    written_off.append(write_off(book, amount, below))
    return join(parts), pd.concat(written_off, ignore_index=True) if len(written_off) > 1 else written_off[0]


def write_off(book: Book, amount: Floats, accounts: Ints) -> pd.DataFrame:
    """Bad debt: take the debt of those `accounts` that have no collateral left out of `amount`, and list it."""
    member = np.zeros(len(book.account_ids), bool)
    member[accounts] = True
    counts = ~book.is_debt & (book.weight > 0) & (amount > 0)
    member[book.leg_account[counts]] = False
    legs = np.flatnonzero(member[book.leg_account] & book.is_debt & (amount > 0))
    bad = pd.DataFrame({"account": book.leg_account[legs], "leg": legs, "amount": amount[legs]})
    amount[legs] = 0.0
    return bad


def _has_both(book: Book, amount: Floats) -> Bools:
    """By account: whether it has both debt and collateral that counts."""
    both = np.ones(len(book.account_ids), bool)
    for side in (book.is_debt, ~book.is_debt & (book.weight > 0)):
        some = np.zeros(len(both), bool)
        some[book.leg_account[side & (amount > 0)]] = True
        both &= some
    return both


def _pairs(book: Book, amount: Floats, feed_price: Floats, factors: Floats, below: Ints) -> Liquidations:
    """The largest debt leg of every account repaid out of its largest collateral leg, as the venue's rule says."""
    member = np.zeros(len(book.account_ids), bool)
    member[below] = True
    legs = np.flatnonzero(member[book.leg_account] & (amount > 0))
    value = amount[legs] * feed_price[book.leg_feed[legs]]
    debt_leg = _largest_leg(book, legs, value, book.is_debt[legs])
    collateral_leg = _largest_leg(book, legs, value, ~book.is_debt[legs] & (book.weight[legs] > 0))
    account = below[(debt_leg[below] >= 0) & (collateral_leg[below] >= 0)]
    debt_leg, collateral_leg = debt_leg[account], collateral_leg[account]
    debt_price, collateral_price = feed_price[book.leg_feed[debt_leg]], feed_price[book.leg_feed[collateral_leg]]
    debt_value, collateral_value = amount[debt_leg] * debt_price, amount[collateral_leg] * collateral_price
    of_debt = book.is_debt[legs]
    total_debt = np.bincount(book.leg_account[legs[of_debt]], weights=value[of_debt], minlength=len(member))[account]
    columns: Floats = np.stack(
        (
            factors[account],
            total_debt,
            debt_value,
            collateral_value,
            book.bonus[collateral_leg],
            book.weight[collateral_leg],
            book.fee[collateral_leg],
        )
    )
    repaid_usd, seized_usd, kept = _apply_rules(book, book.account_venue[account], columns)
    # What is closed whole must leave exactly nothing behind, not a rounding residue.
    repaid, seized = amount[debt_leg], amount[collateral_leg]
    np.divide(repaid_usd, debt_price, out=repaid, where=repaid_usd < debt_value)
    np.divide(seized_usd, collateral_price, out=seized, where=seized_usd < collateral_value)
    fee, none = seized * kept, np.zeros(account.size)
    return Liquidations(
        account=account,
        debt_leg=debt_leg,
        collateral_leg=collateral_leg,
        health_factor=factors[account],
        repaid=repaid,
        seized=seized,
        fee=fee,
        repaid_usd=repaid_usd,
        seized_usd=seized_usd,
        fee_usd=seized_usd * kept,
        sold=seized - fee,
        bought=repaid,
        moved=none,
        credit_usd=none,
    )


def _apply_rules(book: Book, venue: Int32s, columns: Floats) -> Floats:
    """USD repaid, USD seized and the share of it that the protocol keeps, 3 x accounts, from a rule's arguments."""
    if len(venue) >= _MANY:
        from defi_leverage.contagion.pair_kernels import apply_rules  # noqa: PLC0415 (a small run needs no compiler)

        return apply_rules(book.rules, venue, columns)
    out = np.empty((3, len(venue)))
    for row, (at, arguments) in enumerate(zip(venue.tolist(), columns.T.tolist(), strict=True)):
        repaid, bonus, kept = book.rules[at](*arguments)
        out[:, row] = *seize(repaid, arguments[2], arguments[3], bonus), kept
    return out


def _largest_leg(book: Book, legs: Ints, value: Floats, eligible: Bools) -> Ints:
    """The eligible leg of largest value of every account (-1: none); of equals, the first in canonical order."""
    chosen = np.full(len(book.account_ids), -1, np.int64)
    legs, value = legs[eligible], value[eligible]
    order = np.lexsort((-legs, value, book.leg_account[legs]))  # the last of an account wins
    chosen[book.leg_account[legs[order]]] = legs[order]
    return chosen
