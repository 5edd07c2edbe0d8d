"""A book laid out for the kernels: legs by account in the canonical order, their terms coded in a small table."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.contagion.book import Book, Bools, Floats

__all__ = ["BLOCK", "CompactBook", "lay_out"]

BLOCK = 1024  # accounts a block: their legs stay in the second-level cache

Int32s = NDArray[np.int32]


class CompactBook(NamedTuple):
    """Some 50 bytes an account at 2.85 legs, however many terms a leg has.

    Per account: its legs are `start[a]` to `start[a + 1]`, collateral before `split[a]`, debt from there; `venue`;
    `order`, the accounts of every block of BLOCK by their numbers of legs, so that a loop over them does not surprise
    the processor. Per leg, in the order of the Book: `amount` (whole tokens) and `leg_class`, a row of the class table.
    Per class: asset, feed, side, weight, bonus, fee, as in the Book. Per venue: `averages`, whether it averages
    thresholds. `feeds` and `assets` are counts. A tuple, because that is what compiled code takes.
    """

    start: Int32s
    split: Int32s
    venue: Int32s
    order: Int32s
    leg_class: Int32s
    amount: Floats
    class_asset: Int32s
    class_feed: Int32s
    class_is_debt: Bools
    class_weight: Floats
    class_bonus: Floats
    class_fee: Floats
    averages: Bools
    feeds: int
    assets: int

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(value.nbytes for value in self if isinstance(value, np.ndarray))

    @property
    def accounts(self) -> int:
        """Number of accounts."""
        return len(self.split)


def lay_out(book: Book) -> CompactBook:
    """The compact form of a book, without a loop over its rows. Raises OverflowError beyond 2^31 legs."""
    accounts, legs = len(book.account_ids), len(book.amount)
    if legs >= 2**31:
        raise OverflowError(f"{legs} legs do not fit 32-bit indices; split the book by venue")
    start = np.zeros(accounts + 1, np.int32)
    np.cumsum(np.bincount(book.leg_account, minlength=accounts), out=start[1:])
    debts = np.bincount(book.leg_account[book.is_debt], minlength=accounts)
    held = np.diff(start) - debts
    number = np.arange(accounts)
    code = np.zeros(legs, np.int64)
    for term in (book.leg_asset, book.leg_feed, book.is_debt, book.weight, book.bonus, book.fee):
        of_term, values = pd.factorize(term, sort=True)
        code = pd.factorize(code * len(values) + of_term, sort=True)[0]
    classes = int(code.max(initial=-1)) + 1
    example = np.zeros(classes, np.int64)
    example[code] = np.arange(legs)
    averages = np.zeros(len(book.venue_ids), bool)
    averages[book.account_venue[book.averages_threshold]] = True
    return CompactBook(
        start=start,
        split=(start[1:] - debts).astype(np.int32),
        venue=book.account_venue.astype(np.int32),
        order=np.lexsort((number, held, debts, number // BLOCK)).astype(np.int32),
        leg_class=code.astype(np.int32),
        amount=book.amount.copy(),
        class_asset=book.leg_asset[example].astype(np.int32),
        class_feed=book.leg_feed[example].astype(np.int32),
        class_is_debt=book.is_debt[example],
        class_weight=book.weight[example],
        class_bonus=book.bonus[example],
        class_fee=book.fee[example],
        averages=averages,
        feeds=len(book.feed_ids),
        assets=len(book.asset_ids),
    )
