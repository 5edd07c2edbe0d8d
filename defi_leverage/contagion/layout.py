"""A book laid out for the kernels: legs by account in the canonical order, their terms coded in a small table."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.contagion.book import Book, Bools, Floats, Int32s, Ints

__all__ = ["BLOCK", "GROUPS", "CompactBook", "grow", "lay_out"]

BLOCK = 1024  # accounts a block: their legs stay in the second-level cache
_SIGNATURES = 4096  # kinds of account that are told apart, at most
GROUPS = 64  # of feeds, at most: the bits of a number


class CompactBook(NamedTuple):
    """Some 90 bytes an account at 2.85 legs, however many terms a leg has; health factors read half of them.

    Per account: its legs are `start[a]` to `start[a + 1]`, collateral before `split[a]`, debt from there; `venue`;
    `order`, the accounts of every block of BLOCK by their numbers of legs, so that a loop over them does not surprise
    the processor; `signature`, a row of `held` and `owed`. Per leg, in the order of the Book: `amount` (whole tokens),
    `weighted` (times its weight), `leg_feed` and `leg_class`, a row of the class table. Per class: asset, feed, side,
    weight, bonus, fee, as in the Book. Per venue: `averages`, whether it averages thresholds. `feeds` and `assets` are
    counts.

    Feeds fall into groups by the asset that theirs is in the end a claim on (`feed_group`), and accounts into kinds by
    the groups of what they hold and owe (`held`, `owed`: a bit a group). A kind may name more groups than an account of
    it has. A tuple, because that is what compiled code takes.
    """

    start: Int32s
    split: Int32s
    venue: Int32s
    order: Int32s
    signature: NDArray[np.uint16]
    amount: Floats
    weighted: Floats
    leg_feed: Int32s
    leg_class: Int32s
    class_asset: Int32s
    class_feed: Int32s
    class_is_debt: Bools
    class_weight: Floats
    class_bonus: Floats
    class_fee: Floats
    averages: Bools
    feed_group: Ints
    held: NDArray[np.uint64]
    owed: NDArray[np.uint64]
    feeds: int
    assets: int

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(value.nbytes for value in self if isinstance(value, np.ndarray))

    @property
    def health_nbytes(self) -> int:
        """Bytes that computing health factors reads: compressed rows of weighted amounts and their feeds."""
        return sum(part.nbytes for part in (self.start, self.split, self.order, self.weighted, self.leg_feed))

    @property
    def accounts(self) -> int:
        """Number of accounts."""
        return len(self.split)


def lay_out(book: Book) -> CompactBook:
    """The compact form of a book, without a loop over its rows."""
    debts = np.bincount(book.leg_account[book.is_debt], minlength=len(book.account_ids))
    supplied = np.diff(book.start) - debts
    number = np.arange(len(debts))
    code = _codes(book.leg_asset, book.leg_feed, book.is_debt, book.weight, book.bonus, book.fee)
    example = np.zeros(int(code.max(initial=-1)) + 1, np.int64)
    example[code] = np.arange(len(code))
    averages = np.zeros(len(book.venue_ids), bool)
    averages[book.account_venue[book.averages_threshold]] = True
    feed_group = _feed_groups(book)
    signature, (held_groups, owed_groups) = _signatures(book, feed_group)
    return CompactBook(
        start=book.start.copy(),  # the kernels' arrays are not read-only, for each kind is compiled for itself
        split=(book.start[1:] - debts).astype(np.int32),
        venue=book.account_venue.astype(np.int32),
        order=np.lexsort((number, supplied, debts, number // BLOCK)).astype(np.int32),
        signature=signature,
        amount=book.amount.copy(),
        weighted=book.amount * book.weight,
        leg_feed=book.leg_feed.astype(np.int32),
        leg_class=code.astype(np.int32),
        class_asset=book.leg_asset[example].astype(np.int32),
        class_feed=book.leg_feed[example].astype(np.int32),
        class_is_debt=book.is_debt[example],
        class_weight=book.weight[example],
        class_bonus=book.bonus[example],
        class_fee=book.fee[example],
        averages=averages,
        feed_group=feed_group,
        held=held_groups,
        owed=owed_groups,
        feeds=len(book.feed_ids),
        assets=len(book.asset_ids),
    )


def grow(compact: CompactBook, book: Book) -> CompactBook:
    """`compact` with the amounts of `book`, which is otherwise the one it was laid out from."""
    return compact._replace(amount=book.amount.copy(), weighted=book.amount * book.weight)


def _codes(*terms: NDArray[np.generic]) -> Ints:
    """One number a row, the same where all terms are."""
    code = np.zeros(len(terms[0]), np.int64)
    for term in terms:
        of_term, values = pd.factorize(term, sort=True)
        code = pd.factorize(code * len(values) + of_term, sort=True)[0]
    return code


def _feed_groups(book: Book) -> Ints:
    """Per feed, a number for what its asset is in the end a claim on; feeds that stand still are a group."""
    root = np.arange(len(book.price))
    for claim in book.claims:
        root[claim.asset] = root[max(claim.backing, key=lambda part: part[1] * book.price[part[0]])[0]]
    still = ~book.follows_market
    still[list(book.ratio_feeds)] = False
    group = np.where(still, -1, root[book.feed_asset])
    return np.minimum(pd.factorize(group)[0], GROUPS - 1).astype(np.int64)


def _signatures(book: Book, feed_group: Ints) -> tuple[NDArray[np.uint16], list[NDArray[np.uint64]]]:
    """Per account its kind; by kind the groups that it holds, and that it owes. The rarest kinds share one."""
    accounts, bit = len(book.account_ids), np.uint64(1) << feed_group.astype(np.uint64)
    counts = book.is_debt | (book.weight > 0)
    of_leg = np.where(counts, bit[book.leg_feed], np.uint64(0))
    masks = []
    for side in (~book.is_debt, book.is_debt):
        mask = np.zeros(accounts + 1, np.uint64)
        np.bitwise_or.at(mask, np.where(side, book.leg_account, accounts), of_leg)
        masks.append(mask[:accounts])
    code = _codes(*masks)
    kinds, example, number = np.unique(code, return_index=True, return_counts=True)
    kept = np.argsort(-number, kind="stable")[: _SIGNATURES - 1]
    place = np.full(len(kinds), len(kept))
    place[kept] = np.arange(len(kept))
    every = np.bitwise_or.reduce(bit, initial=np.uint64(0))
    return place[code].astype(np.uint16), [np.append(mask[example[kept]], every) for mask in masks]
