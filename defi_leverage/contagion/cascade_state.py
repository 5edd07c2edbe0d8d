"""What a batch of scenarios changes in a book, and what of it a round may pass over."""

import mmap
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defi_leverage.contagion.book import Book, Bools, Floats, Ints
from defi_leverage.contagion.lanes import LANES
from defi_leverage.contagion.layout import BLOCK, CompactBook

__all__ = [
    "DRIFTS",
    "NEVER",
    "STRETCH",
    "TOTALS",
    "UNKNOWN",
    "Drift",
    "State",
    "begin",
    "changed_legs",
    "reserve_state",
    "scenario_bits",
]

STRETCH = 8 * BLOCK  # accounts whose sums and entries are kept together; fixed, so that sums never depend on threads
DRIFTS = tuple(
    1 + 3 * (place / 31) ** 2 for place in range(32)
)  # what drift an account has been shown to stand, by its level
UNKNOWN, NEVER = -1, 127  # levels: not known to stand any drift; left out, or without debt that anything secures
TOTALS = ("events", "accounts", "repaid_usd", "seized_usd", "protocol_fee_usd", "bad_debt_usd", "toxic")
_FULL_DRIFT = 1e6  # beyond it everything is computed anew


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


def reserve_state(compact: CompactBook, book: Book, count: int) -> State:
    """Arrays large enough for any run of `count` scenarios."""
    stretches = -(-compact.accounts // STRETCH)
    edges = compact.start[np.minimum(np.arange(stretches + 1) * STRETCH, compact.accounts)]
    shape, legs = (count, stretches), int(np.diff(edges).max(initial=0))
    size = min(STRETCH, compact.accounts)
    assets, venues = len(book.price), len(book.venue_ids)
    return State(
        touched=np.zeros(compact.accounts, np.uint64),
        level=np.zeros(compact.accounts, np.int8),
        entries=np.zeros(shape, np.int32),
        entry_account=_reserve((*shape, size), np.int32),
        entry_at=_reserve((*shape, size), np.int32),
        entry_stands=_reserve((*shape, size), np.float64),
        amount=_reserve((*shape, legs), np.float64),
        used=np.zeros(shape, np.int32),
        sold=np.empty((*shape, assets)),
        bought=np.empty((*shape, assets)),
        bad=np.empty((*shape, venues, assets)),
        totals=np.empty((*shape, len(TOTALS))),
    )


def _reserve(shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """An array of which only the parts that are written take memory."""
    size = max(prod(shape), 1) * np.dtype(dtype).itemsize
    pages = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):  # else the first byte written to 2 MB takes all of it
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, dtype, prod(shape)).reshape(shape)


def begin(compact: CompactBook, book: Book, state: State, count: int, left_out: Bools) -> State:
    """`state` as it is before the first round of `count` scenarios; accounts `left_out` are never looked at."""
    # A debt that nothing secures is bad debt from before, not a scenario's: no rule can act on it.
    counts = ~book.is_debt & (book.weight > 0) & (book.amount > 0)
    secured = np.bincount(book.leg_account[counts], minlength=compact.accounts) > 0
    owes = compact.split < compact.start[1:]
    state.level[:] = np.where(secured & owes & ~left_out, UNKNOWN, NEVER)
    state.touched[:] = 0
    state.entries[:] = 0
    state.used[:] = 0
    whole = state._asdict()
    return state._replace(**{name: whole[name][:count] for name in State._fields[2:]})


class Drift:
    """How far health factors may have fallen: for every scenario since its first round (`factor`), and for all of them
    together (`reach`). `slack`: by how much an averaged threshold may fall beyond that.
    """

    def __init__(self, compact: CompactBook, scenarios: int) -> None:
        self.factor, self.reach = np.ones(scenarios), 1.0
        self._owed = np.unique(compact.class_feed[compact.class_is_debt])
        counted = ~compact.class_is_debt & (compact.class_weight > 0)
        self._held = np.unique(compact.class_feed[counted])
        weights = compact.class_weight[counted]
        # an averaged threshold is rounded down to whole basis points
        self.slack = 1.001e-4 / float(weights.min()) if compact.averages.any() and weights.size else 1e-12

    def move(self, state: State, before: Floats, after: Floats, active: Bools) -> None:
        """Feed prices (scenarios x feeds) have moved. A health factor falls at most by the largest rise of a debt's
        price over the largest fall of a collateral's.
        """
        moved = np.divide(after, before, out=np.ones_like(after), where=before > 0)
        rise = moved[:, self._owed].max(axis=1, initial=0.0)
        fall = moved[:, self._held].min(axis=1, initial=np.inf)
        with np.errstate(divide="ignore"):
            step: Floats = np.divide(rise, fall) * (1 + 1e-12)
        self.factor *= step
        self.reach *= float(step[active].max(initial=0.0))
        if not (0 < self.reach < DRIFTS[-1]):
            self.reach = 1.0
            state.level[state.level != NEVER] = UNKNOWN
        for s in np.flatnonzero(~((self.factor > 1 / _FULL_DRIFT) & (self.factor < _FULL_DRIFT))):
            self.factor[s] = 1.0
            for block, entries in enumerate(state.entries[s]):
                stands = state.entry_stands[s, block, :entries]
                stands[np.isfinite(stands)] = 0.0

    @property
    def lanes(self) -> Floats:
        """`factor`, padded to LANES."""
        padded = np.ones(LANES)
        padded[: len(self.factor)] = self.factor
        return padded


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
