"""Accounts that the kernels leave out of their round, liquidated beside them by the plain engine's `liquidate_round`.

They are those of venues that close whole accounts, and all of them where liquidators are rational. Rounds are
synchronous, so that what the two parts sell, buy and lose only adds up.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from defi_leverage.contagion.book import Book, Bools, Floats, Ints
from defi_leverage.contagion.cascade_state import TOTALS
from defi_leverage.contagion.engine import account_health_factors
from defi_leverage.contagion.execution import liquidate_round, write_off
from defi_leverage.contagion.records import Liquidations, VenueState
from defi_leverage.contagion.result import count_toxic

__all__ = ["Apart", "restrict_book", "scenarios_at_once", "set_apart"]

_MEMORY = 2**28  # bytes of leg amounts, all scenarios of a batch together


@dataclass(frozen=True, slots=True)
class Apart:
    """A part of a book and what a batch of scenarios does to it; the first axis (or the list) is the scenario.

    legs: the places of its legs in the whole book; amount: tokens a leg; liquidated: by account.
    """

    book: Book
    legs: Ints
    amount: Floats
    venues: list[VenueState]
    liquidated: Bools

    def count_below(self, s: int, feed_price: Floats) -> int:
        """Accounts below 1 in scenario s."""
        return int((account_health_factors(self.book, self.amount[s], feed_price) < 1).sum())

    def liquidate(
        self, s: int, feed_price: Floats, worthwhile: Callable[[Book, Liquidations], Bools] | None
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """One round of scenario s: tokens sold and bought by asset, bad debt by venue and asset, and TOTALS."""
        book, amount = self.book, self.amount[s]
        factors = account_health_factors(book, amount, feed_price)
        below, assets = np.flatnonzero(factors < 1), len(book.price)
        choose = None if worthwhile is None else lambda rows: worthwhile(book, rows)
        done, bad = liquidate_round(book, amount, feed_price, factors, below, self.venues[s], choose)
        leg, tokens = bad["leg"].to_numpy(np.int64), bad["amount"].to_numpy(float)
        lost = np.zeros((len(book.venue_ids), assets))
        np.add.at(lost, (book.account_venue[book.leg_account[leg]], book.leg_asset[leg]), tokens)
        fresh = np.unique(done.account[~self.liquidated[s, done.account]])
        self.liquidated[s, fresh] = True
        totals = dict.fromkeys(TOTALS, 0.0) | {
            "events": float(done.account.size + len(bad)),
            "accounts": float(fresh.size),
            "repaid_usd": float(done.repaid_usd.sum()),
            "seized_usd": float(done.seized_usd.sum()),
            "protocol_fee_usd": float(done.fee_usd.sum()),
            "bad_debt_usd": float((tokens * feed_price[book.leg_feed[leg]]).sum()),
            "toxic": float(count_toxic(book, done)),
        }
        sold = np.bincount(book.leg_asset[done.collateral_leg], weights=done.sold, minlength=assets)
        bought = np.bincount(book.leg_asset[done.debt_leg], weights=done.bought, minlength=assets)
        return sold.astype(float), bought.astype(float), lost, np.array(list(totals.values()))

    def owed_beyond(self, s: int, feed_price: Floats) -> float:
        """USD that accounts owe beyond their collateral, over those that do."""
        book = self.book
        counts = book.is_debt | (book.weight > 0)
        value = np.where(book.is_debt, 1.0, -1.0) * self.amount[s] * feed_price[book.leg_feed]
        net = np.bincount(book.leg_account[counts], weights=value[counts], minlength=len(book.account_ids))
        return float(np.maximum(net, 0.0).sum())


def scenarios_at_once(legs: int, most: int) -> int:
    """How many scenarios of that many legs apart fit the memory that is set aside for them; at most `most`."""
    return max(1, min(most, _MEMORY // max(8 * legs, 1)))


def set_apart(book: Book, accounts: Bools, scenarios: int) -> Apart:
    """The chosen accounts as they are before the first round."""
    part = restrict_book(book, accounts)
    before = part.amount.copy()
    write_off(part, before, np.flatnonzero(account_health_factors(part, part.amount, part.feed_price) < 1))
    return Apart(
        book=part,
        legs=np.flatnonzero(accounts[book.leg_account]),
        amount=np.repeat(before[None], scenarios, axis=0),
        venues=[VenueState.start(len(book.venue_ids)) for _ in range(scenarios)],
        liquidated=np.zeros((scenarios, len(part.account_ids)), bool),
    )


def restrict_book(book: Book, accounts: Bools) -> Book:
    """The book of the chosen accounts alone; assets, feeds and venues stay."""
    legs = accounts[book.leg_account]
    count = np.diff(book.start)[accounts]
    return replace(
        book,
        account_ids=book.account_ids[accounts],
        account_venue=book.account_venue[accounts],
        averages_threshold=book.averages_threshold[accounts],
        start=np.append(0, np.cumsum(count)).astype(np.int32),
        leg_account=np.repeat(np.arange(count.size, dtype=np.int32), count),
        leg_asset=book.leg_asset[legs],
        leg_feed=book.leg_feed[legs],
        is_debt=book.is_debt[legs],
        amount=book.amount[legs],
        weight=book.weight[legs],
        bonus=book.bonus[legs],
        fee=book.fee[legs],
        bands=book.bands[accounts] if book.bands.size else book.bands,
    )
