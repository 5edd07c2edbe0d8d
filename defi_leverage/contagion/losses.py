"""What lenders lose in a run, and runs in which some accounts are left alone.

A lender's loss is debt that nothing covers: bad debt that liquidations left behind, and what accounts that are still
there owe beyond the market value of their collateral. The second part is there whether or not an oracle has noticed:
under a fixed feed nobody is liquidated, and the whole loss is in it.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from defi_leverage.contagion.book import Book, Bools, Floats, Ints
from defi_leverage.contagion.result import ContagionResult

__all__ = ["account_losses", "account_shortfalls", "leave_alone", "shortfall_changes", "venue_losses"]


def account_shortfalls(book: Book, amount: Floats, leg_price: Floats) -> Floats:
    """USD that every account owes beyond its collateral, 0 where that covers it.

    `amount`: tokens a leg; `leg_price`: USD a token of each leg, at feeds or at the market. Only what counts as
    collateral (weight above 0) can be seized and counts. Accounts are never netted against each other.
    """
    value = np.where(book.is_debt, 1.0, -1.0) * amount * leg_price
    counts = book.is_debt | (book.weight > 0)
    beyond = np.bincount(book.leg_account[counts], weights=value[counts], minlength=len(book.account_ids))
    short: Floats = np.maximum(beyond, 0.0)
    return short


def shortfall_changes(book: Book, amount: Floats, price: Floats, already_bad: Ints) -> Floats:
    """USD by which the shortfall of every account at market prices has grown since before the shock.

    `book`: as the run started; `amount`: tokens a leg at its end; `price`: market prices by asset at its end, USD;
    `already_bad`: debt that had no collateral before the shock (legs), which is no loss of the scenario.
    """
    start, end = book.amount.copy(), amount.copy()
    start[already_bad], end[already_bad] = 0.0, 0.0
    before = account_shortfalls(book, start, book.price[book.leg_asset])
    change: Floats = account_shortfalls(book, end, price[book.leg_asset]) - before
    return change


def account_losses(result: ContagionResult) -> Floats:
    """USD that a run costs the lenders of every account, in the book's order.

    Bad debt (at the feed prices of its round) plus the shortfall at the final market prices, less the shortfall at the
    market prices before the shock (`shortfall_changes`). Below 0 where a rise, or an early liquidation, heals an
    account.
    """
    book = result.book
    loss = np.zeros(len(book.account_ids))
    for _, bad, _ in result.rounds_recorded:
        np.add.at(loss, bad["account"].to_numpy(np.int64), bad["usd"].to_numpy(float))
    already_bad = result.bad_before["leg"].to_numpy(np.int64)
    return loss + shortfall_changes(book, result.amount, result.price_path[-1], already_bad)


def venue_losses(result: ContagionResult) -> "pd.Series[float]":
    """USD that a run costs the lenders of every venue, by venue_id: the sum of `account_losses`."""
    book = result.book
    usd = np.bincount(book.account_venue, weights=account_losses(result), minlength=len(book.venue_ids))
    return pd.Series(usd, index=pd.Index(book.venue_ids, name="venue_id"), name="loss_usd")


def leave_alone(book: Book, accounts: Bools) -> Book:
    """The book in which these accounts (a flag an account) are never liquidated, whatever happens.

    Their debt counts nothing in their health factor, which is infinite; what they hold and owe stays where it is, so
    that the supply of a venue and the losses of its lenders are still taken on all of it.
    """
    return replace(book, weight=np.where(accounts[book.leg_account] & book.is_debt, 0.0, book.weight))
