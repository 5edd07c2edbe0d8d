"""The round engine: what a shock does, round by round, until nobody is left to liquidate.

A run goes through these steps:
1. The exogenous shock: market prices m = m0 * (1 + shock), at once (gap) or in steps (continuous), each once nobody is
   left to liquidate at the one before; feed prices (an oracle fault), depth multiplier, growth of debt.
2. Look-through: a derived asset's market price is its backing's value times its basis and (1 + its own shock), less the
   haircut from bad debt at the venue that issues it.
3. Feed prices from their kind: market follows the asset's market price, ratio follows its base feed, fixed stands
   still; a stale oracle shows what was some rounds ago. Health factors.
4. Every account with HF < 1 is liquidated once, all at the same prices, by its venue's rule: the largest debt leg is
   repaid out of the largest collateral leg (ties: lowest asset_id), or all its legs are closed. Debt that is left
   without any collateral is bad. Rational liquidators pass over what does not pay.
5. Seized collateral, less the protocol's fee, is sold and the repaid asset is bought; the cumulative net sales X move
   the market: m = m0 * (1 + shock) * impact(X). A sale for a quote asset sells that asset on.
6. Bad debt lowers the supply shares of its venue and asset pro rata.
7. Record; stop when a round liquidates nobody (converged) or after max_rounds (not converged, and reported so).
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.contagion.book import Book, Bools, Floats, compile_book
from defi_leverage.contagion.execution import liquidate, liquidate_round, write_off
from defi_leverage.contagion.incentives import profits
from defi_leverage.contagion.prices import feed_prices, impact_factors, market_prices, pass_on, supplied_tokens
from defi_leverage.contagion.records import Liquidations, VenueState
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.health import average_threshold_weighted, health_factor
from defi_leverage.snapshot import Snapshot, resolve_asset

__all__ = [
    "Liquidations",
    "account_health_factors",
    "feed_prices",
    "impact_factors",
    "liquidate",
    "market_prices",
    "net_sales",
    "run_contagion",
]


@dataclass(slots=True)
class _State:
    """What changes from round to round: leg amounts, net sales by asset and bad debt by venue and asset, in tokens;
    what venues drew on; steps of the shock that have arrived; market prices by round.
    """

    amount: Floats
    sales: Floats
    bad_debt: Floats
    venues: VenueState
    arrived: int
    prices: list[Floats]
    history: list[tuple[Liquidations, pd.DataFrame, Floats]] = field(default_factory=list)


def run_contagion(snapshot: Snapshot, scenario: Scenario, book: Book | None = None) -> ContagionResult:
    """Run one scenario to its end.

    `book` may carry `compile_book(snapshot)` from an earlier call. An account whose debt has no collateral before the
    shock is counted as bad debt that was there already, not as the scenario's. The run stops, not converged, where
    buying the repaid debt takes more of an asset than its pool holds (`exhausted` names it). Raises SnapshotError or
    ScenarioError where the scenario names what the snapshot does not have.
    """
    book = book or compile_book(snapshot)
    shock, feed_shock = resolve_shocks(snapshot, scenario, book)
    frozen = frozen_feeds(snapshot, scenario, book)
    base_health = account_health_factors(book, book.amount, book.feed_price)
    book = with_grown_debt(snapshot, scenario, book)
    depth, initial_supply, assets = scenario.depth_multiplier, supplied_tokens(book), len(book.price)
    venues, steps = len(book.venue_ids), scenario.steps if scenario.arrival == "continuous" else 1
    state = _State(
        amount=book.amount.copy(),
        sales=np.zeros(assets),
        bad_debt=np.zeros((venues, assets)),
        venues=VenueState.start(venues),
        arrived=1,
        prices=[book.price],
    )
    bad_before = write_off(book, state.amount, np.flatnonzero(base_health < 1))

    def haircut() -> Floats:
        lost = np.divide(state.bad_debt, initial_supply, out=np.zeros_like(state.bad_debt), where=initial_supply > 0)
        return np.minimum(lost, 1.0)

    def prices_now() -> Floats:
        return market_prices(book, shock * (state.arrived / steps), state.sales, depth, haircut())

    def feeds_now() -> Floats:
        seen = state.prices[max(0, len(state.prices) - 1 - scenario.stale_rounds)]
        return feed_prices(book, seen, feed_shock, frozen)

    def oracles_lag() -> bool:
        unseen = state.prices[-1 - scenario.stale_rounds :] if scenario.stale_rounds else []
        return any(not np.array_equal(price, state.prices[-1]) for price in unseen)

    def worthwhile(rows: Liquidations) -> Bools:
        selling, buying = scenario.sell_collateral, scenario.buy_debt
        return profits(book, rows, state.prices[-1], state.sales, depth, selling, buying) > scenario.gas_usd

    choose = worthwhile if scenario.liquidators == "rational" else None
    state.prices.append(prices_now())
    converged, exhausted = False, ()
    while len(state.history) < scenario.max_rounds:
        feeds = feeds_now()
        factors = account_health_factors(book, state.amount, feeds)
        below = np.flatnonzero(factors < 1)
        done, bad = liquidate_round(book, state.amount, feeds, factors, below, state.venues, choose)
        quiet = not done.account.size and not len(bad) and not oracles_lag()
        if quiet:
            if state.arrived == steps:
                converged = True
                break
            state.arrived += 1
        else:
            bad["usd"] = bad["amount"].to_numpy() * feeds[book.leg_feed[bad["leg"].to_numpy(np.int64)]]
            np.add.at(state.bad_debt, (book.account_venue[bad["account"]], book.leg_asset[bad["leg"]]), bad["amount"])
            state.sales += net_sales(book, done, state.prices[-1], scenario.sell_collateral, scenario.buy_debt)
            state.history.append((done, bad, feeds))
        following = prices_now()
        if not np.isfinite(following).all():
            exhausted = tuple(sorted(set(book.symbols[~np.isfinite(following)])))
            break
        if quiet:
            state.prices[-1] = following  # no round has seen the last step's prices
        else:
            state.prices.append(following)
    feeds = feeds_now()
    final_health = account_health_factors(book, state.amount, feeds)
    arrived = state.arrived == steps and not oracles_lag()
    return ContagionResult(
        scenario=scenario,
        converged=not exhausted and (converged or (arrived and not bool((final_health < 1).any()))),
        exhausted=exhausted,
        book=book,
        price_path=np.array(state.prices),
        shocked_price=market_prices(book, shock, np.zeros(assets), depth),
        final_feed_price=feeds,
        amount=state.amount,
        net_sales=state.sales,
        haircut=haircut(),
        health_before=base_health,
        health_after=final_health,
        bad_before=bad_before,
        venue_state=state.venues,
        rounds_recorded=tuple(state.history),
    )


def resolve_shocks(snapshot: Snapshot, scenario: Scenario, book: Book) -> tuple[Floats, Floats]:
    """Relative changes by asset and by feed, in the book's order."""
    asset_of = {asset_id: index for index, asset_id in enumerate(book.asset_ids)}
    shock, feed_shock = np.zeros(len(book.asset_ids)), np.zeros(len(book.feed_ids))
    for name, change in scenario.shocks.items():
        asset = asset_of[resolve_asset(snapshot, name)]
        if shock[asset]:
            raise ScenarioError(f"shock {name}: {book.asset_ids[asset]} is shocked twice; give it one change")
        shock[asset] = change
    for name, change in scenario.feed_shocks.items():
        feeds = _feeds_named(snapshot, book, name, "feed shock")
        if feed_shock[feeds].any():
            twice = book.feed_ids[feeds & (feed_shock != 0)][0]
            raise ScenarioError(f"feed shock {name}: feed {twice} is shocked twice; give it one change")
        feed_shock[feeds] = change
    return shock, feed_shock


def _feeds_named(snapshot: Snapshot, book: Book, name: str, what: str) -> Bools:
    """The feed of that name, or all feeds of the asset of that name."""
    feeds: Bools = book.feed_ids == name
    if not feeds.any():
        feeds = book.asset_ids[book.feed_asset] == resolve_asset(snapshot, name)
    if not feeds.any():
        raise ScenarioError(f"{what} {name}: the asset has no feed in this snapshot")
    return feeds


def frozen_feeds(snapshot: Snapshot, scenario: Scenario, book: Book) -> Bools | None:
    """Which feeds follow nothing, if any."""
    frozen = np.zeros(len(book.feed_ids), bool)
    for name in scenario.frozen_feeds:
        frozen |= _feeds_named(snapshot, book, name, "frozen feed")
    return frozen if frozen.any() else None


def with_grown_debt(snapshot: Snapshot, scenario: Scenario, book: Book) -> Book:
    """The book after the rate shocks: every debt in an asset has grown by its fraction."""
    if not scenario.rate_shocks:
        return book
    growth = np.ones(len(book.asset_ids))
    for name, change in scenario.rate_shocks.items():
        growth[book.asset_ids == resolve_asset(snapshot, name)] *= 1 + change
    return replace(book, amount=np.where(book.is_debt, book.amount * growth[book.leg_asset], book.amount))


def account_health_factors(book: Book, amount: Floats, feed_price: Floats) -> Floats:
    """Health factor of every account for the given leg amounts and feed prices; inf without debt."""
    accounts = len(book.account_ids)
    value = amount * feed_price[book.leg_feed]
    weighted = value * book.weight

    def total(chosen: NDArray[np.bool_], values: Floats) -> Floats:
        return np.bincount(book.leg_account[chosen], weights=values[chosen], minlength=accounts).astype(np.float64)

    collateral = total(~book.is_debt, weighted)
    if book.averages_threshold.any():
        counted = total(~book.is_debt & (book.weight > 0), value)
        collateral = np.where(book.averages_threshold, average_threshold_weighted(collateral, counted), collateral)
    return health_factor(collateral, total(book.is_debt, weighted))


def net_sales(
    book: Book, done: Liquidations, price: Floats, sell_collateral: bool = True, buy_debt: bool = True
) -> Floats:
    """Net tokens of every asset that reach its market from these liquidations, at market prices `price`. Step 5.

    What a sale pays out in is sold on, what a purchase is paid with is bought, along the book's routes.
    """
    assets = len(book.price)
    sold = np.bincount(book.leg_asset[done.collateral_leg], weights=done.sold, minlength=assets)
    bought = np.bincount(book.leg_asset[done.debt_leg], weights=done.bought, minlength=assets)
    return pass_on(book, (sold * sell_collateral - bought * buy_debt).astype(np.float64), price)
