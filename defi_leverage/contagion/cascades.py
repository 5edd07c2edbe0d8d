"""Whole cascades of many scenarios at once: `engine.run_contagion` without its tables."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defi_leverage.contagion.apart import Apart, scenarios_at_once, set_apart
from defi_leverage.contagion.book import Book, Bools, Floats, Ints
from defi_leverage.contagion.cascade_kernels import add_stretches, liquidate_round
from defi_leverage.contagion.cascade_outcomes import Cascades, amplification, join_cascades, largest_change
from defi_leverage.contagion.cascade_state import (
    TOTALS,
    Drift,
    State,
    begin,
    changed_legs,
    fresh_stands,
    reserve_state,
    scenario_bits,
)
from defi_leverage.contagion.compiled import threads_for
from defi_leverage.contagion.incentives import profits
from defi_leverage.contagion.insolvency import owed_beyond
from defi_leverage.contagion.lanes import LANES, tile_prices
from defi_leverage.contagion.layout import CompactBook
from defi_leverage.contagion.pair_kernels import rule_tables
from defi_leverage.contagion.prices import beyond_range, feed_prices, market_prices, pass_on, supplied_tokens
from defi_leverage.contagion.records import Liquidations
from defi_leverage.contagion.scenario import Scenario

__all__ = ["run_cascades"]


def run_cascades(
    book: Book,
    compact: CompactBook,
    shocks: Floats,
    feed_shocks: Floats | None = None,
    depth_multiplier: Floats | float = 1.0,
    *,
    switches: Scenario | None = None,
    frozen: Bools | None = None,
    keep_legs: bool = False,
) -> Cascades:
    """Run every scenario to its end. Prices, liquidations and stops are those of `engine.run_contagion`.

    `compact`: `lay_out(book)`. `shocks`: relative changes of market prices, scenarios x assets; `feed_shocks`: of
    oracles alone, scenarios x feeds; `depth_multiplier`: one for all or one a scenario. `switches`: a scenario whose
    sell_collateral, buy_debt, max_rounds, arrival, steps, liquidators, gas_usd and stale_rounds hold for all; `frozen`:
    feeds that follow nothing. Growth of debt is in the book that is given. The same bits for any number of threads, and
    for a scenario alone or among others. Venues that close whole accounts, and all venues where liquidators are
    rational, are liquidated by the plain engine's functions, at its speed and one scenario at a time.
    """
    count, switches = len(shocks), switches or Scenario()
    feed_shocks = np.zeros((count, len(book.feed_ids))) if feed_shocks is None else feed_shocks
    depth = np.broadcast_to(np.asarray(depth_multiplier, float), (count,))
    kinds, parameters = rule_tables(book.rules)
    apart = np.isin(book.account_venue, np.flatnonzero(kinds < 0)) | (switches.liquidators == "rational")
    most = scenarios_at_once(int(apart[book.leg_account].sum()), LANES)
    width = -(-count // max(-(-count // most), 1))
    tokens = np.bincount(book.leg_feed, weights=book.amount * book.is_debt, minlength=len(book.feed_ids))
    setting = _Setting(
        book, compact, switches, frozen, kinds, parameters, apart, fresh_stands(compact, book, apart),
        supplied_tokens(book), float(tokens @ book.feed_price), keep_legs,
    )  # fmt: skip
    state = reserve_state(compact, book, width)
    # Scenarios of like severity go together, because an account is passed over only in all of a batch at once.
    order = np.argsort(shocks.min(axis=1, initial=0.0), kind="stable")
    with threads_for(state.entries.shape[1]):
        batches = [
            _run_batch(setting, state, shocks[at], feed_shocks[at], depth[at])
            for at in np.split(order, range(width, count, width) if width else [])
        ]
    return join_cascades(batches, order)


class _Setting(NamedTuple):
    """What all batches share. `kinds`, `parameters`: `rule_tables`; `apart`: accounts that are not in the kernels;
    `stands`: `fresh_stands`; `supply`: `supplied_tokens`; `debt_usd`: all debt before the shock.
    """

    book: Book
    compact: CompactBook
    switches: Scenario
    frozen: Bools | None
    kinds: Ints
    parameters: Floats
    apart: Bools
    stands: NDArray[np.float32]
    supply: Floats
    debt_usd: float
    keep_legs: bool


def _run_batch(setting: _Setting, state: State, shocks: Floats, feed_shocks: Floats, depth: Floats) -> Cascades:
    book, compact, switches = setting.book, setting.compact, setting.switches
    count, assets, venues = len(shocks), len(book.price), len(book.venue_ids)
    selling, buying = float(switches.sell_collateral), float(switches.buy_debt)
    steps = switches.steps if switches.arrival == "continuous" else 1
    stale = switches.stale_rounds
    state = begin(state, count, setting.stands)
    apart = set_apart(book, setting.apart, count) if setting.apart.any() else None
    supply = setting.supply
    sales, traded = np.zeros((count, assets)), np.zeros((count, assets), bool)
    bad_debt, totals = np.zeros((count, venues, assets)), np.zeros((count, len(TOTALS)))
    exhausted, rounds = np.zeros((count, assets), bool), np.zeros(count, np.int64)
    active, converged, arrived = np.ones(count, bool), np.zeros(count, bool), np.ones(count, np.int64)
    drift = Drift(compact, count)

    def prices_now() -> Floats:
        lost = np.divide(bad_debt, supply, out=np.zeros_like(bad_debt), where=supply > 0)
        return market_prices(book, shocks * (arrived / steps)[:, None], sales, depth, np.minimum(lost, 1.0))

    # The latest market prices of every scenario, as many as its oracles or the residual need; the last in force.
    path = np.repeat(np.broadcast_to(book.price, (count, assets))[None], max(stale, 1) + 1, axis=0)
    path[-1] = prices_now()
    feeds = feed_prices(book, path[-1 - stale], feed_shocks, setting.frozen)
    while active.any():
        last = active & (rounds == switches.max_rounds)
        market = path[-1], sales, depth
        of_round, sold, bought, bad = _liquidate(setting, state, apart, drift, feeds, active, last, market)
        lag = (path[-1 - stale :] != path[-1]).any(axis=(0, 2))
        quiet = active & (of_round[:, 0] == 0) & ~lag
        finished = arrived == steps
        converged |= quiet & finished
        active &= ~last & ~(quiet & finished)
        quiet &= active
        arrived[quiet] += 1
        acting = active & ~quiet
        rounds += acting
        totals[acting] += of_round[acting]
        bad_debt[acting] += bad[acting]
        traded |= acting[:, None] & ((sold * selling > 0) | (bought * buying > 0))
        sales[acting] += pass_on(book, sold * selling - bought * buying, path[-1])[acting]
        following = prices_now()
        gone = active[:, None] & ~np.isfinite(following)
        exhausted |= gone
        active &= ~gone.any(axis=1)
        moved = active & acting
        path[:-1, moved] = path[1:, moved]
        path[-1, active] = following[active]  # no round has seen the last prices of those that were quiet
        before, shown = feeds, feed_prices(book, path[-1 - stale], feed_shocks, setting.frozen)
        feeds = np.where(active[:, None], shown, before)
        drift.move(state, before, feeds, active)
    shocked = market_prices(book, shocks, np.zeros((count, assets)), depth)
    return Cascades(
        rounds=rounds,
        converged=converged,
        residual=np.where(converged, 0.0, largest_change(path[-2], path[-1])),
        accounts_liquidated=totals[:, 1].astype(np.int64),
        toxic_liquidations=totals[:, 6].astype(np.int64),
        repaid_usd=totals[:, 2],
        seized_usd=totals[:, 3],
        protocol_fee_usd=totals[:, 4],
        bad_debt_usd=totals[:, 5],
        bad_debt_share=totals[:, 5] / setting.debt_usd if setting.debt_usd > 0 else np.zeros(count),
        insolvency_usd=totals[:, 5] + _owed_beyond(setting, state, apart, feeds, converged),
        amplification=amplification(book, supply.sum(axis=0), shocked, path[-1]),
        exhausted=exhausted,
        missing_depth=traded & book.missing_depth,
        beyond_range=beyond_range(book, sales, depth),
        price=path[-1].copy(),
        net_sales=sales,
        buffer_drawn_usd=np.array([venue.drawn for venue in apart.venues]) if apart else np.zeros((count, venues)),
        deleveraged_usd=np.array([venue.levied for venue in apart.venues]) if apart else np.zeros((count, venues)),
        bad_debt=bad_debt,
        legs=tuple(_changed_legs(compact, state, apart, s) for s in range(count)) if setting.keep_legs else (),
    )


def _liquidate(
    setting: _Setting, state: State, apart: Apart | None, drift: Drift, feeds: Floats, active: Bools, last: Bools,
    market: tuple[Floats, Floats, Floats],
) -> tuple[Floats, Floats, Floats, Floats]:  # fmt: skip
    """One round of the `active` scenarios: TOTALS, tokens sold and bought by asset, bad debt by venue and asset.

    Of those that are through with their `last` round, accounts below 1 are counted as events and left alone. `market`:
    market prices, cumulative net sales and depth multipliers by scenario.
    """
    book, count = setting.book, len(feeds)
    assets, venues = len(book.price), len(book.venue_ids)
    totals, sold, bought = np.zeros((count, len(TOTALS))), np.zeros((count, assets)), np.zeros((count, assets))
    bad = np.zeros((count, venues, assets))
    if not setting.apart.all():
        liquidate_round(
            setting.compact, tile_prices(feeds.T)[0], feeds, scenario_bits(active), scenario_bits(last), drift.factor,
            drift.reach, drift.slack, setting.kinds, setting.parameters, state,
        )  # fmt: skip
        add_stretches(state, totals, sold, bought, bad)
    if apart is None:
        return totals, sold, bought, bad
    for s in np.flatnonzero(active).tolist():
        if last[s]:
            totals[s, 0] += apart.count_below(s, feeds[s])
            continue
        worthwhile = _profit_test(setting.switches, *(of_all[s] for of_all in market))
        parts = apart.liquidate(s, feeds[s], worthwhile)
        for whole, part in zip((sold, bought, bad, totals), parts, strict=True):
            whole[s] += part
    return totals, sold, bought, bad


def _profit_test(
    switches: Scenario, price: Floats, sales: Floats, depth: float
) -> Callable[[Book, Liquidations], Bools] | None:
    """What rational liquidators ask of each row."""
    if switches.liquidators != "rational":
        return None

    def worthwhile(book: Book, rows: Liquidations) -> Bools:
        earned = profits(book, rows, price, sales, depth, switches.sell_collateral, switches.buy_debt)
        return earned > switches.gas_usd

    return worthwhile


def _owed_beyond(setting: _Setting, state: State, apart: Apart | None, feeds: Floats, converged: Bools) -> Floats:
    """USD that accounts which are still there owe beyond their collateral, by scenario."""
    compact, count = setting.compact, len(feeds)
    owed = np.zeros(count)
    debts = compact.class_is_debt
    plain = (compact.class_weight[~debts] <= 1).all() and (compact.class_weight[debts] >= 1).all()
    open_ended = ~converged if plain else np.ones(count, bool)  # else nobody is below 1, and so nobody insolvent
    if open_ended.any() and not setting.apart.all():
        owed += owed_beyond(compact, state, feeds, open_ended)
    if apart:
        owed += [apart.owed_beyond(s, feeds[s]) for s in range(count)]
    return owed


def _changed_legs(compact: CompactBook, state: State, apart: Apart | None, s: int) -> tuple[Ints, Floats]:
    legs, amount = changed_legs(compact, state, s)
    return (np.append(legs, apart.legs), np.append(amount, apart.amount[s])) if apart else (legs, amount)
