"""What lenders lose in a run, and runs in which some accounts are left alone.

A lender's loss is debt that nothing covers: bad debt that liquidations left behind, and what accounts that are still
there owe beyond the market value of their collateral. The second part is there whether or not an oracle has noticed:
under a fixed feed nobody is liquidated, and the whole loss is in it.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from defi_leverage.contagion.book import Book, Bools, Floats
from defi_leverage.contagion.result import ContagionResult

__all__ = ["account_losses", "account_shortfalls", "leave_alone", "venue_losses"]


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


def account_losses(result: ContagionResult) -> Floats:
    """USD that a run costs the lenders of every account, in the book's order.

    Bad debt (at the feed prices of its round) plus the shortfall at the final market prices, less the shortfall at the
    market prices before the shock; debt that had no collateral even then is no loss of the scenario. Below 0 where a
    rise, or an early liquidation, heals an account.
    """
    book = result.book
    bad = result.bad_debt
    of_account = pd.Index(book.account_ids).get_indexer(pd.Index(bad["account_id"]))
    loss = np.bincount(of_account, weights=bad["usd"].to_numpy(float), minlength=len(book.account_ids))
    start = book.amount.copy()
    start[result.bad_before["leg"].to_numpy(np.int64)] = 0.0
    before, after = (result.price_path[row][book.leg_asset] for row in (0, -1))
    change: Floats = account_shortfalls(book, result.amount, after) - account_shortfalls(book, start, before)
    return loss + change


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
