"""Whole cascades of many scenarios at once: `engine.run_contagion` without its tables."""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defi_leverage.contagion.book import Book, Bools, Floats, Ints
from defi_leverage.contagion.cascade_kernels import (
    DRIFTS,
    NEVER,
    RULES,
    STRETCH,
    TOTALS,
    UNKNOWN,
    State,
    liquidate_round,
)
from defi_leverage.contagion.lanes import LANES, tile_prices
from defi_leverage.contagion.layout import CompactBook
from defi_leverage.contagion.prices import feed_prices, market_prices, pass_on, supplied_tokens
from defi_leverage.errors import ScenarioError

__all__ = ["Cascades", "run_cascades"]

_FULL_DRIFT = 1e6  # beyond it everything is computed anew


@dataclass(frozen=True, slots=True)
class Cascades:
    """The ends of many runs; the first axis of every array is the scenario.

    rounds, converged, exhausted, accounts (how many were liquidated), and in USD at the feed prices of each round
    repaid, seized, protocol fees and bad debt. price: final market prices by asset. net_sales: tokens by asset.
    bad_debt: tokens by venue and asset. `legs`: if asked for, of every scenario the legs that may have changed (their
    number in the Book) and what is left of them, in tokens.
    """

    rounds: Ints
    converged: Bools
    exhausted: Bools
    accounts: Ints
    repaid_usd: Floats
    seized_usd: Floats
    protocol_fee_usd: Floats
    bad_debt_usd: Floats
    price: Floats
    net_sales: Floats
    bad_debt: Floats
    legs: tuple[tuple[Ints, Floats], ...] = ()


def run_cascades(
    book: Book,
    compact: CompactBook,
    shocks: Floats,
    feed_shocks: Floats | None = None,
    depth_multiplier: Floats | float = 1.0,
    *,
    sell_collateral: bool = True,
    buy_debt: bool = True,
    max_rounds: int = 200,
    keep_legs: bool = False,
) -> Cascades:
    """Run every scenario to its end. Prices, liquidations and stops are those of `engine.run_contagion`.

    `compact`: `lay_out(book)`. `shocks`: relative changes of market prices, scenarios x assets; `feed_shocks`: of
    oracles alone, scenarios x feeds; `depth_multiplier`: one for all or one a scenario. The same bits for any number of
    threads, and for a scenario alone or among others. Raises ScenarioError for a venue whose rule has no kernel.
    """
    count = len(shocks)
    feed_shocks = np.zeros((count, len(book.feed_ids))) if feed_shocks is None else feed_shocks
    depth = np.broadcast_to(np.asarray(depth_multiplier, float), (count,))
    width = -(-count // max(-(-count // LANES), 1))
    state = _reserve_state(compact, book, width)
    # Scenarios of like severity go together, because an account is passed over only in all of a batch at once.
    order = np.argsort(shocks.min(axis=1, initial=0.0), kind="stable")
    trades = float(sell_collateral), float(buy_debt)
    batches = [
        _run_batch(book, compact, state, shocks[at], feed_shocks[at], depth[at], trades, max_rounds, keep_legs)
        for at in np.split(order, range(width, count, width) if width else [])
    ]
    back = np.argsort(order)
    names = [field.name for field in fields(Cascades) if field.name != "legs"]
    joined = {name: np.concatenate([getattr(batch, name) for batch in batches])[back] for name in names}
    legs = [legs for batch in batches for legs in batch.legs]
    return Cascades(**joined, legs=tuple(legs[at] for at in back) if keep_legs else ())


def _run_batch(
    book: Book, compact: CompactBook, state: State, shocks: Floats, feed_shocks: Floats, depth: Floats,
    trades: tuple[float, float], max_rounds: int, keep_legs: bool,
) -> Cascades:  # fmt: skip
    count, assets, venues = len(shocks), len(book.price), len(book.venue_ids)
    rules, terms = _rule_tables(book)
    state = _begin(compact, book, state, count)
    supply = supplied_tokens(book)
    sales, bad_debt = np.zeros((count, assets)), np.zeros((count, venues, assets))
    totals = np.zeros((count, len(TOTALS)))
    rounds, exhausted = np.zeros(count, np.int64), np.zeros(count, bool)
    active, converged = np.ones(count, bool), np.zeros(count, bool)
    price = market_prices(book, shocks, sales, depth, None)
    feeds = feed_prices(book, price, feed_shocks)
    drift, reach, slack = np.ones(count), 1.0, _averaging_slack(compact)
    for number in range(max_rounds + 1):
        last = number == max_rounds
        for sums in (state.sold, state.bought, state.bad, state.totals):
            sums[:] = 0.0
        lanes = np.ones(LANES)
        lanes[:count] = drift
        mask = _bits(active)
        liquidate_round(
            compact,
            tile_prices(feeds.T)[0],
            mask,
            mask if last else np.uint64(0),
            lanes,
            reach,
            slack,
            rules,
            terms,
            state,
        )
        of_round = state.totals.sum(axis=1)
        below = of_round[:, 0] > 0
        converged |= active & ~below
        active &= below
        if last or not active.any():
            break
        rounds[active] += 1
        totals += of_round
        bad_debt += state.bad.sum(axis=1)
        flow = state.sold.sum(axis=1) * trades[0] - state.bought.sum(axis=1) * trades[1]
        sales += pass_on(book, flow, price)
        haircut = np.divide(bad_debt, supply, out=np.zeros_like(bad_debt), where=supply > 0)
        following = market_prices(book, shocks, sales, depth, np.minimum(haircut, 1.0))
        gone = active & ~np.isfinite(following).all(axis=1)
        exhausted |= gone
        active &= ~gone
        price = np.where(active[:, None], following, price)
        previous, feeds = feeds, feed_prices(book, price, feed_shocks)
        step = _drift(compact, previous, feeds)
        drift, reach = drift * step, reach * float(step[active].max(initial=0.0))
        if not (0 < reach < DRIFTS[-1]):
            reach = 1.0
            state.level[state.level != NEVER] = UNKNOWN
        for s in np.flatnonzero(~((drift > 1 / _FULL_DRIFT) & (drift < _FULL_DRIFT))):
            drift[s] = 1.0
            for block, entries in enumerate(state.entries[s]):
                stands = state.entry_stands[s, block, :entries]
                stands[np.isfinite(stands)] = 0.0
    accounts, *usd = totals.T[1:]
    repaid, seized, fee, bad = usd
    legs = tuple(_changed_legs(compact, state, s) for s in range(count)) if keep_legs else ()
    return Cascades(
        rounds, converged, exhausted, accounts.astype(np.int64), repaid, seized, fee, bad, price, sales, bad_debt, legs
    )


def _reserve_state(compact: CompactBook, book: Book, count: int) -> State:
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


def _begin(compact: CompactBook, book: Book, state: State, count: int) -> State:
    """`state` as it is before the first round of `count` scenarios."""
    # A debt that nothing secures is bad debt from before, not a scenario's: no rule can act on it.
    counts = ~book.is_debt & (book.weight > 0) & (book.amount > 0)
    secured = np.bincount(book.leg_account[counts], minlength=compact.accounts) > 0
    owes = compact.split < compact.start[1:]
    state.level[:] = np.where(secured & owes, UNKNOWN, NEVER)
    state.touched[:] = 0
    state.entries[:] = 0
    state.used[:] = 0
    whole = state._asdict()
    return state._replace(**{name: whole[name][:count] for name in State._fields[2:]})


def _reserve(shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """An array of which only the parts that are written take memory."""
    size = max(prod(shape), 1) * np.dtype(dtype).itemsize
    pages = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):  # else the first byte written to 2 MB takes all of it
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, dtype, prod(shape)).reshape(shape)


def _rule_tables(book: Book) -> tuple[Ints, Floats]:
    """Per venue: the place of its rule in RULES, and its parameters in the order of the rule's arguments."""
    kinds, terms = np.zeros(len(book.rules), np.int64), np.zeros((len(book.rules), 4))
    for venue, rule in enumerate(book.rules):
        function = rule.func  # type: ignore[attr-defined]
        if function.__name__ not in RULES:
            known = ", ".join(RULES)
            raise ScenarioError(
                f"venue {book.venue_ids[venue]}: {function.__name__} has no kernel ({known} have); use run_contagion"
            )
        kinds[venue] = RULES.index(function.__name__)
        parameters = dict(zip(_names(function)[1:], function.__defaults__ or (), strict=True))
        values = list((parameters | rule.keywords).values())  # type: ignore[attr-defined]
        terms[venue, : len(values)] = values
    return kinds, terms


def _names(function: object) -> Sequence[str]:
    code = function.__code__  # type: ignore[attr-defined]
    names: Sequence[str] = code.co_varnames[: code.co_argcount]
    return names


def _drift(compact: CompactBook, before: Floats, after: Floats) -> Floats:
    """By how much at most a health factor falls between two sets of feed prices: the largest rise of a debt's price
    over the largest fall of a collateral's.
    """
    moved = np.divide(after, before, out=np.ones_like(after), where=before > 0)
    owed = np.unique(compact.class_feed[compact.class_is_debt])
    held = np.unique(compact.class_feed[~compact.class_is_debt & (compact.class_weight > 0)])
    rise, fall = moved[:, owed].max(axis=1, initial=0.0), moved[:, held].min(axis=1, initial=np.inf)
    with np.errstate(divide="ignore"):
        step: Floats = np.divide(rise, fall) * (1 + 1e-12)
    return step


def _averaging_slack(compact: CompactBook) -> float:
    """Relative fall of a threshold that is rounded down to whole basis points, at most."""
    weights = compact.class_weight[~compact.class_is_debt & (compact.class_weight > 0)]
    return 1.001e-4 / float(weights.min()) if compact.averages.any() and weights.size else 1e-12


def _bits(chosen: Bools) -> np.uint64:
    return np.uint64(sum(1 << int(s) for s in np.flatnonzero(chosen)))


def _changed_legs(compact: CompactBook, state: State, s: int) -> tuple[Ints, Floats]:
    blocks = list(enumerate(state.entries[s]))
    touched = [state.entry_account[s, block, :entries] for block, entries in blocks]
    accounts = np.concatenate([np.zeros(0, np.int32), *touched])
    ranges = zip(compact.start[accounts], compact.start[accounts + 1], strict=True)
    legs = np.concatenate([np.zeros(0, np.int64), *(np.arange(*ends) for ends in ranges)])
    return legs, np.concatenate([np.zeros(0), *(state.amount[s, block, : state.used[s, block]] for block, _ in blocks)])
