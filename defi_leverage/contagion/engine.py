"""The round engine: what a shock does, round by round, until nobody is left to liquidate.

A run goes through these steps:
1. The exogenous shock: market prices m = m0 * (1 + shock), feed prices (an oracle fault), depth multiplier.
2. Look-through: a derived asset's market price is its backing's value times its basis and (1 + its own shock), less the
   haircut from bad debt at the venue that issues it.
3. Feed prices from their kind: market follows the asset's market price, ratio follows its base feed, fixed stands
   still. Health factors.
4. Every account with HF < 1 is liquidated once, all at the same prices, by its venue's rule: the largest debt leg is
   repaid out of the largest collateral leg (ties: lowest asset_id). Debt that is left without any collateral is bad.
5. Seized collateral, less the protocol's fee, is sold and the repaid asset is bought; the cumulative net sales X move
   the market: m = m0 * (1 + shock) * impact(X). A sale for a quote asset sells that asset on.
6. Bad debt lowers the supply shares of its venue and asset pro rata.
7. Record; stop when a round liquidates nobody (converged) or after max_rounds (not converged, and reported so).
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.contagion.book import Book, Floats, Ints, compile_book
from defi_leverage.contagion.liquidation import Liquidatable, seize
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


@dataclass(frozen=True, slots=True)
class Liquidations:
    """What one round liquidates, one element an account: index of account and legs, tokens, USD at the feed prices."""

    account: Ints
    debt_leg: Ints
    collateral_leg: Ints
    health_factor: Floats
    repaid: Floats
    seized: Floats
    fee: Floats
    repaid_usd: Floats
    seized_usd: Floats
    fee_usd: Floats


@dataclass(slots=True)
class _State:
    """What changes from round to round: leg amounts, net sales by asset and bad debt by venue and asset, in tokens."""

    amount: Floats
    sales: Floats
    bad_debt: Floats
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
    state = _State(book.amount.copy(), np.zeros(len(book.price)), np.zeros((len(book.venue_ids), len(book.price))))
    initial_supply = _supply(book)
    base_health = account_health_factors(book, state.amount, book.feed_price)
    bad_before = _write_off(book, state.amount, np.flatnonzero(base_health < 1))

    def haircut() -> Floats:
        lost = np.divide(state.bad_debt, initial_supply, out=np.zeros_like(state.bad_debt), where=initial_supply > 0)
        return np.minimum(lost, 1.0)

    def prices_now() -> Floats:
        return market_prices(book, shock, state.sales, scenario.depth_multiplier, haircut())

    prices = [book.price, prices_now()]
    converged, exhausted = False, ()
    for _ in range(scenario.max_rounds):
        feeds = feed_prices(book, prices[-1], feed_shock)
        factors = account_health_factors(book, state.amount, feeds)
        below = np.flatnonzero(factors < 1)
        if not below.size:
            converged = True
            break
        done = liquidate(book, state.amount, feeds, factors, below)
        bad = _write_off(book, state.amount, below)
        bad["usd"] = bad["amount"].to_numpy() * feeds[book.leg_feed[bad["leg"].to_numpy()]]
        np.add.at(state.bad_debt, (book.account_venue[bad["account"]], book.leg_asset[bad["leg"]]), bad["amount"])
        state.sales += net_sales(book, done, prices[-1], scenario.sell_collateral, scenario.buy_debt)
        state.history.append((done, bad, feeds))
        following = prices_now()
        if not np.isfinite(following).all():
            exhausted = tuple(sorted(set(book.symbols[~np.isfinite(following)])))
            break
        prices.append(following)
    feeds = feed_prices(book, prices[-1], feed_shock)
    final_health = account_health_factors(book, state.amount, feeds)
    converged = not exhausted and (converged or not bool((final_health < 1).any()))
    return ContagionResult(
        scenario=scenario,
        converged=converged,
        exhausted=exhausted,
        book=book,
        price_path=np.array(prices),
        final_feed_price=feeds,
        amount=state.amount,
        net_sales=state.sales,
        haircut=haircut(),
        health_before=base_health,
        health_after=final_health,
        bad_before=bad_before,
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
        feeds = book.feed_ids == name
        if not feeds.any():
            feeds = book.feed_asset == asset_of[resolve_asset(snapshot, name)]
        if not feeds.any():
            raise ScenarioError(f"feed shock {name}: the asset has no feed in this snapshot")
        if feed_shock[feeds].any():
            twice = book.feed_ids[feeds & (feed_shock != 0)][0]
            raise ScenarioError(f"feed shock {name}: feed {twice} is shocked twice; give it one change")
        feed_shock[feeds] = change
    return shock, feed_shock


def market_prices(
    book: Book, shock: Floats, sales: Floats, depth_multiplier: float = 1.0, haircut: Floats | None = None
) -> Floats:
    """Market price of every asset, USD. Steps 1, 2, 5 and 6.

    `shock`: relative change by asset; `sales`: cumulative net tokens sold by asset; `haircut`: share of the supply
    lost, venues x assets. inf where purchases would take more than a pool holds.
    """
    own = (1 + shock) * impact_factors(book, sales, depth_multiplier)
    price: Floats = book.price * own
    for claim in book.claims:
        value = 0.0
        for base, units, venue in claim.backing:
            kept = 1.0 if haircut is None or venue < 0 else 1.0 - haircut[venue, base]
            value += units * price[base] * kept
        price[claim.asset] = book.price[claim.asset] * (value / claim.backing_value) * own[claim.asset]
    return price


def impact_factors(book: Book, sales: Floats, depth_multiplier: float = 1.0) -> Floats:
    """Factor on every asset's own price after cumulative net `sales` (tokens by asset): 1 where no market is known."""
    factor = np.ones(len(book.price))
    for market in book.markets:
        factor[market.asset] = market.factor(float(sales[market.asset]), depth_multiplier)
    return factor


def feed_prices(book: Book, market_price: Floats, feed_shock: Floats | None = None) -> Floats:
    """Oracle price of every feed, USD, at the given market prices (one an asset). Step 3."""
    fault = 1.0 if feed_shock is None else 1 + feed_shock
    relative = np.where(book.follows_market, market_price[book.feed_asset] / book.price[book.feed_asset], 1.0)
    price: Floats = book.feed_price * relative * fault
    for feed in book.ratio_feeds:
        base = book.feed_base[feed]
        price[feed] *= price[base] / book.feed_price[base]
    return price


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


def liquidate(book: Book, amount: Floats, feed_price: Floats, factors: Floats, below: Ints) -> Liquidations:
    """Liquidate the accounts `below` once, all at `feed_price`, and change `amount` (tokens a leg) in place. Step 4.

    `factors`: health factor of every account. Accounts without collateral or debt are passed over.
    """
    member = np.zeros(len(book.account_ids), bool)
    member[below] = True
    legs = np.flatnonzero(member[book.leg_account] & (amount > 0))
    value = amount[legs] * feed_price[book.leg_feed[legs]]
    debt_leg = _largest_leg(book, legs, value, book.is_debt[legs])
    collateral_leg = _largest_leg(book, legs, value, ~book.is_debt[legs] & (book.weight[legs] > 0))
    account = below[(debt_leg[below] >= 0) & (collateral_leg[below] >= 0)]
    debt_leg, collateral_leg = debt_leg[account], collateral_leg[account]
    debt_price, collateral_price = feed_price[book.leg_feed[debt_leg]], feed_price[book.leg_feed[collateral_leg]]
    debt_value, collateral_value = amount[debt_leg] * debt_price, amount[collateral_leg] * collateral_price
    of_debt = book.is_debt[legs]
    total_debt = np.bincount(book.leg_account[legs[of_debt]], weights=value[of_debt], minlength=len(member))[account]
    bonus = book.bonus[collateral_leg]
    wanted = np.zeros(account.size)
    for venue in np.unique(book.account_venue[account]):
        here = book.account_venue[account] == venue
        wanted[here] = book.rules[venue](
            Liquidatable(
                factors[account][here], total_debt[here], debt_value[here], collateral_value[here], bonus[here]
            )
        )
    repaid_usd, seized_usd = seize(np.minimum(wanted, debt_value), collateral_value, bonus)
    # What is closed whole must leave exactly nothing behind, not a rounding residue.
    repaid, seized = amount[debt_leg], amount[collateral_leg]
    np.divide(repaid_usd, debt_price, out=repaid, where=repaid_usd < debt_value)
    np.divide(seized_usd, collateral_price, out=seized, where=seized_usd < collateral_value)
    fee_share = book.fee[collateral_leg] * (bonus / (1 + bonus))
    amount[debt_leg] -= repaid
    amount[collateral_leg] -= seized
    return Liquidations(
        account,
        debt_leg,
        collateral_leg,
        factors[account],
        repaid,
        seized,
        seized * fee_share,
        repaid_usd,
        seized_usd,
        seized_usd * fee_share,
    )


def _largest_leg(book: Book, legs: Ints, value: Floats, eligible: NDArray[np.bool_]) -> Ints:
    """The eligible leg of largest value of every account (-1: none); of equals, the first in canonical order."""
    chosen = np.full(len(book.account_ids), -1, np.int64)
    legs, value = legs[eligible], value[eligible]
    order = np.lexsort((-legs, value, book.leg_account[legs]))  # the last of an account wins
    chosen[book.leg_account[legs[order]]] = legs[order]
    return chosen


def _write_off(book: Book, amount: Floats, accounts: Ints) -> pd.DataFrame:
    """Bad debt: take the debt of those `accounts` that have no collateral left out of `amount`, and list it."""
    member = np.zeros(len(book.account_ids), bool)
    member[accounts] = True
    counts = ~book.is_debt & (book.weight > 0) & (amount > 0)
    member[book.leg_account[counts]] = False
    legs = np.flatnonzero(member[book.leg_account] & book.is_debt & (amount > 0))
    bad = pd.DataFrame({"account": book.leg_account[legs], "leg": legs, "amount": amount[legs]})
    amount[legs] = 0.0
    return bad


def net_sales(
    book: Book, done: Liquidations, price: Floats, sell_collateral: bool = True, buy_debt: bool = True
) -> Floats:
    """Net tokens of every asset that reach its market from these liquidations, at market prices `price`. Step 5.

    What a sale pays out in is sold on, what a purchase is paid with is bought, along the book's routes.
    """
    assets = len(book.price)
    sold = np.bincount(book.leg_asset[done.collateral_leg], weights=done.seized - done.fee, minlength=assets)
    bought = np.bincount(book.leg_asset[done.debt_leg], weights=done.repaid, minlength=assets)
    flow = (sold * sell_collateral - bought * buy_debt).astype(np.float64)
    for asset, base, units in book.routes:
        if not np.isnan(units):
            flow[base] += flow[asset] * units
        elif price[base] > 0:  # what is worthless cannot fall further
            flow[base] += flow[asset] * (price[asset] / price[base])
    return flow


def _supply(book: Book) -> Floats:
    """Tokens supplied, venues x assets, before the shock."""
    supplied = np.zeros((len(book.venue_ids), len(book.price)))
    legs = ~book.is_debt
    np.add.at(supplied, (book.account_venue[book.leg_account[legs]], book.leg_asset[legs]), book.amount[legs])
    return supplied
