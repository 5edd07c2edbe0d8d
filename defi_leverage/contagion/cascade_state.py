"""What a batch of scenarios changes in a book, and what of it a round may pass over."""

import mmap
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defi_leverage.contagion.book import Book, Bools, Floats, Ints
from defi_leverage.contagion.compiled import compiled
from defi_leverage.contagion.lanes import lowest_bit
from defi_leverage.contagion.layout import BLOCK, GROUPS, CompactBook

__all__ = [
    "STRETCH",
    "TOTALS",
    "Drift",
    "State",
    "begin",
    "changed_legs",
    "fresh_stands",
    "reserve_state",
    "scenario_bits",
]

STRETCH = 16 * BLOCK  # accounts whose sums and entries are kept together; fixed, so that sums never depend on threads
TOTALS = ("events", "accounts", "repaid_usd", "seized_usd", "protocol_fee_usd", "bad_debt_usd", "toxic")
_FULL_DRIFT = 1e6  # beyond it everything is computed anew


class State(NamedTuple):
    """What a batch of at most LANES scenarios changes; S of them, B stretches of accounts.

    touched: bit s of an account, whether it has an entry in scenario s. stands: the reach (see `Drift`) that an account
    is known to stand in all scenarios where it is as in the book; inf if it is left out, or without debt that anything
    secures. entries (S, B): how many entries; entry_account, entry_at (its amounts in `amount`), entry_mark (the drift
    it stands, and its account's signature) by (S, B, entry); amount (S, B, tokens a leg); used (S, B).
    sold, bought (S, B, assets) and bad (S, B, venues, assets): tokens of this round; totals (S, B, TOTALS).
    """

    touched: NDArray[np.uint64]
    stands: NDArray[np.float32]
    entries: NDArray[np.int32]
    entry_account: NDArray[np.int32]
    entry_at: NDArray[np.int32]
    entry_mark: NDArray[np.float32]
    amount: Floats
    used: NDArray[np.int32]
    sold: Floats
    bought: Floats
    bad: Floats
    totals: Floats


def reserve_state(compact: CompactBook, book: Book, count: int) -> State:
    """Arrays large enough for any run of `count` scenarios."""
    stretches = -(-compact.accounts // STRETCH)
    edges = compact.start[np.minimum(np.arange(stretches + 1) * STRETCH, compact.accounts)]
    shape, legs = (count, stretches), int(np.diff(edges).max(initial=0))
    size = min(STRETCH, compact.accounts)
    assets, venues = len(book.price), len(book.venue_ids)
    return State(
        touched=np.zeros(compact.accounts, np.uint64),
        stands=np.zeros(compact.accounts, np.float32),
        entries=np.zeros(shape, np.int32),
        entry_account=_reserve((*shape, size), np.int32),
        entry_at=_reserve((*shape, size), np.int32),
        entry_mark=_reserve((*shape, size, 2), np.float32),
        amount=_reserve((*shape, legs), np.float64),
        used=np.zeros(shape, np.int32),
        sold=np.zeros((*shape, assets)),
        bought=np.zeros((*shape, assets)),
        bad=np.zeros((*shape, venues, assets)),
        totals=np.zeros((*shape, len(TOTALS))),
    )


def _reserve(shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """An array of which only the parts that are written take memory."""
    size = max(prod(shape), 1) * np.dtype(dtype).itemsize
    pages = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):  # else the first byte written to 2 MB takes all of it
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, dtype, prod(shape)).reshape(shape)


def fresh_stands(compact: CompactBook, book: Book, left_out: Bools) -> NDArray[np.float32]:
    """`State.stands` before the first round; accounts `left_out` are never looked at."""
    # A debt that nothing secures is bad debt from before, not a scenario's: no rule can act on it.
    counts = ~book.is_debt & (book.weight > 0) & (book.amount > 0)
    secured = np.bincount(book.leg_account[counts], minlength=compact.accounts) > 0
    owes = compact.split < compact.start[1:]
    return np.where(secured & owes & ~left_out, np.float32(0.0), np.float32(np.inf))


def begin(state: State, count: int, stands: NDArray[np.float32]) -> State:
    """`state` as it is before the first round of `count` scenarios."""
    state.stands[:] = stands
    state.touched[:] = 0
    state.entries[:] = 0
    state.used[:] = 0
    whole = state._asdict()
    return state._replace(**{name: whole[name][:count] for name in State._fields[2:]})


class Drift:
    """How far health factors may have fallen, by kind of account (`CompactBook.signature`).

    A health factor falls at most by the largest rise of the price of a debt over the largest fall of that of a
    collateral. `factor` (scenarios x kinds): in every scenario since its first round; `reach` (kinds): in all of them
    together. `slack`: by how much an averaged threshold may fall beyond that.
    """

    def __init__(self, compact: CompactBook, scenarios: int) -> None:
        self.factor, self.reach = np.ones((scenarios, len(compact.held))), np.ones(len(compact.held))
        self._compact = compact
        counted = ~compact.class_is_debt & (compact.class_weight > 0)
        self._held, self._owed = (_by_group(compact, classes) for classes in (counted, compact.class_is_debt))
        averaged = np.repeat(compact.averages[compact.venue], np.diff(compact.start))
        counted &= np.bincount(compact.leg_class, averaged, len(counted)) > 0
        weights = compact.class_weight[counted]
        # an averaged threshold is rounded down to whole basis points
        self.slack = 1.001e-4 / float(weights.min()) if compact.averages.any() and weights.size else 1e-12

    def move(self, state: State, before: Floats, after: Floats, active: Bools) -> None:
        """Feed prices (scenarios x feeds) have moved."""
        moved = np.divide(after, before, out=np.where(after > 0, np.inf, 1.0), where=before > 0)
        fall, rise = np.full((len(moved), GROUPS), np.inf), np.zeros((len(moved), GROUPS))
        for bound, feeds_of, extreme in ((fall, self._held, np.minimum), (rise, self._owed, np.maximum)):
            for group, feeds in feeds_of:
                bound[:, group] = extreme.reduce(moved[:, feeds], axis=1)
        step = np.ones_like(self.factor)
        steps_by_kind(self._compact.held, self._compact.owed, fall, rise, active, step)
        self.factor *= step
        self.reach *= step[active].max(axis=0, initial=0.0)
        lost = ~((self.reach > 1 / _FULL_DRIFT) & (self.reach < _FULL_DRIFT))
        if lost.any():
            self.reach[lost] = 1.0
            state.stands[lost[self._compact.signature] & np.isfinite(state.stands)] = 0.0
        for s in np.flatnonzero(active & ~((self.factor > 1 / _FULL_DRIFT) & (self.factor < _FULL_DRIFT)).all(axis=1)):
            self.factor[s] = 1.0
            for block, entries in enumerate(state.entries[s]):
                stands = state.entry_mark[s, block, :entries, 0]
                stands[np.isfinite(stands)] = 0.0


def _by_group(compact: CompactBook, classes: Bools) -> list[tuple[int, Ints]]:
    """The feeds of these classes of legs, by group."""
    feeds = np.unique(compact.class_feed[classes])
    groups = compact.feed_group[feeds]
    return [(int(group), feeds[groups == group].astype(np.int64)) for group in np.unique(groups)]


def _steps_by_kind(held: Any, owed: Any, fall: Any, rise: Any, active: Any, step: Any) -> None:
    """step (scenarios x kinds): the largest rise over the largest fall, of the groups that a kind owes and holds."""
    one = np.uint64(1)
    for s in range(len(step)):
        if not active[s]:
            continue
        for kind in range(len(held)):
            low, high, rest = np.inf, 0.0, held[kind]
            while rest:
                low = min(low, fall[s, lowest_bit(rest)])
                rest &= rest - one
            rest = owed[kind]
            while rest:
                high = max(high, rise[s, lowest_bit(rest)])
                rest &= rest - one
            step[s, kind] = (high / low if high > 0 and low < np.inf else 1.0) * (1 + 1e-12)


steps_by_kind = compiled(_steps_by_kind, error_model="numpy")


def scenario_bits(chosen: Bools) -> np.uint64:
    """The chosen scenarios as bits of a number."""
    return np.uint64(sum(1 << int(s) for s in np.flatnonzero(chosen)))


def changed_legs(compact: CompactBook, state: State, s: int) -> tuple[Ints, Floats]:
    """The legs of scenario s that may have changed, and what is left of them."""
    blocks = list(enumerate(state.entries[s]))
    touched = [state.entry_account[s, block, :entries] for block, entries in blocks]
    accounts = np.concatenate([np.zeros(0, np.int32), *touched])
    ranges = zip(compact.start[accounts], compact.start[accounts + 1], strict=True)
    legs = np.concatenate([np.zeros(0, np.int64), *(np.arange(*ends) for ends in ranges)])
    return legs, np.concatenate([np.zeros(0), *(state.amount[s, block, : state.used[s, block]] for block, _ in blocks)])
