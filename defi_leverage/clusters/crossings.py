"""What the liquidations between two states of prices sell and buy, for many pairs of states at once.

One pass of the compiled round (`contagion.cascade_kernels`) a pair: those who are below 1 in its first state are marked
as having had their turn, so that of those below 1 in its second state only the others are liquidated.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defi_leverage.contagion.absorption import redistributes
from defi_leverage.contagion.apart import restrict_book, scenarios_at_once
from defi_leverage.contagion.book import Book, Bools, Floats, Ints
from defi_leverage.contagion.cascade_kernels import add_stretches, liquidate_round
from defi_leverage.contagion.cascade_state import (
    TOTALS,
    Drift,
    State,
    begin,
    fresh_stands,
    reserve_state,
    scenario_bits,
)
from defi_leverage.contagion.compiled import threads_for
from defi_leverage.contagion.engine import account_health_factors, liquidate
from defi_leverage.contagion.kernels import health_factors
from defi_leverage.contagion.lanes import LANES, tile_prices
from defi_leverage.contagion.layout import CompactBook, lay_out
from defi_leverage.contagion.pair_kernels import rule_tables

__all__ = ["CrossingBook", "crossing_flows", "prepare_crossings"]

_ROUNDING = 1e-9  # far above what sums of some legs may differ by

Bits = NDArray[np.uint64]


class CrossingBook(NamedTuple):
    """A book in which nobody was liquidated, with what every call of `crossing_flows` needs of it.

    `kinds`, `parameters`: `rule_tables`; `apart`: accounts at venues that close whole accounts, which the kernels leave
    out, and `part` the book of these alone; `takes_over`: venues whose healthy accounts take over what others lose;
    `stands`, `state`: of the round; `factors`: room for health factors.
    """

    book: Book
    compact: CompactBook
    kinds: Ints
    parameters: Floats
    apart: Bools
    part: Book
    takes_over: Bools
    stands: NDArray[np.float32]
    state: State
    factors: Floats


def prepare_crossings(book: Book) -> CrossingBook:
    """What is returned serves one caller at a time."""
    compact, (kinds, parameters) = lay_out(book), rule_tables(book.rules)
    apart = np.isin(book.account_venue, np.flatnonzero(kinds < 0))
    takes_over = np.array([redistributes(rule) for rule in book.rules], bool)
    width = scenarios_at_once(compact.accounts, LANES)
    return CrossingBook(
        book, compact, kinds, parameters, apart, restrict_book(book, apart), takes_over,
        fresh_stands(compact, book, apart), reserve_state(compact, book, width), np.empty(compact.accounts * width),
    )  # fmt: skip


def crossing_flows(crossing: CrossingBook, before: Floats, after: Floats) -> Floats:
    """Net tokens of every asset that liquidators sell, pairs x assets; below 0 what they buy.

    `before`, `after`: feed prices (USD, pairs x feeds). Those who are at 1 or more at the prices before and below 1 at
    those after are liquidated once, all at the latter, as `engine.liquidate` would: the same accounts to the last bit.
    """
    width = len(crossing.state.entries)
    after = np.ascontiguousarray(after)  # for another layout the kernels would be compiled again
    parts = [_flows(crossing, before[at : at + width], after[at : at + width]) for at in range(0, len(after), width)]
    return np.concatenate(parts) if parts else np.zeros((0, len(crossing.book.price)))


def _flows(crossing: CrossingBook, before: Floats, after: Floats) -> Floats:
    book, compact, count = crossing.book, crossing.compact, len(after)
    state, drift = begin(crossing.state, count, crossing.stands), Drift(compact, count)
    earlier = _below_one(crossing, before, drift.slack)
    state.touched[:] = earlier
    totals, bad = np.zeros((count, len(TOTALS))), np.zeros((count, len(book.venue_ids), len(book.price)))
    sold, bought = np.zeros((2, count, len(book.price)))
    with threads_for(state.entries.shape[1]):
        liquidate_round(
            compact, tile_prices(after.T)[0], after, scenario_bits(np.ones(count, bool)), np.uint64(0), drift.factor,
            drift.reach, drift.slack, crossing.kinds, crossing.parameters, state,
        )  # fmt: skip
    add_stretches(state, totals, sold, bought, bad)
    flows: Floats = sold - bought
    if crossing.apart.any():
        fallen = (_below_one(crossing, after, drift.slack) & ~earlier)[crossing.apart]
        for pair in range(count):
            accounts = np.flatnonzero(fallen >> np.uint64(pair) & np.uint64(1))
            if accounts.size:
                flows[pair] += _flow_apart(crossing, after[pair], accounts)
    return flows


def _flow_apart(crossing: CrossingBook, feed_price: Floats, accounts: Ints) -> Floats:
    """The same of chosen accounts of `part`, by the plain engine; of the others only those that have a say in it."""
    part = crossing.part
    chosen = np.zeros(len(part.account_ids), bool)
    chosen[accounts] = True
    concerned = crossing.takes_over & (np.bincount(part.account_venue[accounts], minlength=len(part.venue_ids)) > 0)
    kept = chosen | concerned[part.account_venue]
    few = restrict_book(part, kept)
    factors = account_health_factors(few, few.amount, feed_price)
    done = liquidate(few, few.amount.copy(), feed_price, factors, np.flatnonzero(chosen[kept]))
    sold, bought = (
        np.bincount(few.leg_asset[leg], weights=tokens, minlength=len(few.price))
        for leg, tokens in ((done.collateral_leg, done.sold), (done.debt_leg, done.bought))
    )
    return (sold - bought).astype(np.float64)


def _below_one(crossing: CrossingBook, feed_price: Floats, slack: float) -> Bits:
    """Per account, bit p: whether it is below 1 at the p-th prices (USD, prices x feeds), to the engine's last bit."""
    book, count = crossing.book, len(feed_price)
    room = crossing.factors[: crossing.compact.accounts * count].reshape(-1, count)
    factors = health_factors(crossing.compact, np.ascontiguousarray(feed_price.T), room)
    margin = slack + _ROUNDING
    bits, at_most = _bits(factors < 1 - margin), _bits(factors < 1 + margin)
    unsure = bits != at_most
    if unsure.any():  # the kernels' sums are the engine's but for their rounding
        part = restrict_book(book, unsure)
        exact = [account_health_factors(part, part.amount, price) < 1 for price in feed_price]
        bits[unsure] = _bits(np.array(exact).T)
    return bits


def _bits(flags: Bools) -> Bits:
    """A number a row of at most 64 flags."""
    packed = np.zeros((len(flags), 8), np.uint8)
    packed[:, : -(-flags.shape[1] // 8)] = np.packbits(flags, axis=1, bitorder="little")
    return packed.view("<u8")[:, 0].astype(np.uint64)
