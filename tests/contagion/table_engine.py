"""The round engine on plain tables: the judge of the engines, obvious and unoptimised.

It works on the snapshot's DataFrames with merges, group-bys and assignments, and shares no formula with the package:
price impact is in `table_impact`, liquidation rules in `table_rules`, what they do to the legs in `table_liquidation`,
and the seven steps of the round are here. Accounts at venues that liquidate pairs of legs are columns, without a loop
over accounts; venues that close whole accounts are loops.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot
from tests.contagion.table_impact import paid, price_factor
from tests.contagion.table_liquidation import absorb_accounts, health_factors, liquidate_pairs, write_off
from tests.contagion.table_rules import DEFAULTS

Prices = dict[str, float]
Row = dict[str, Any]


@dataclass
class Tables:
    """The snapshot's tables, legs numbered and in canonical order, with what they refer to merged in."""

    assets: pd.DataFrame
    feeds: pd.DataFrame
    venues: dict[str, tuple[str, dict[str, float]]]
    legs: pd.DataFrame
    backing: dict[str, list[Row]]
    depth: dict[str, Row]
    redeemable: frozenset[str]


@dataclass
class Outcome:
    """What the judge found. `closest`: how near, relatively, a decision was: a health factor to 1, a profit to its bar,
    a price to what a stale oracle shows. Below some 1e-9 rounding decides, and such a run judges nothing.
    """

    converged: bool = False
    exhausted: tuple[str, ...] = ()
    rounds: list[dict[str, float]] = field(default_factory=list)
    prices: Prices = field(default_factory=dict)
    legs: pd.DataFrame = field(default_factory=pd.DataFrame)
    net_sales: dict[str, float] = field(default_factory=dict)
    drawn: dict[str, float] = field(default_factory=dict)
    levied: dict[str, float] = field(default_factory=dict)
    liquidated: set[str] = field(default_factory=set)
    closest: float = math.inf


def tables_of(snapshot: Snapshot) -> Tables:
    """The tables that every scenario on this snapshot starts from."""
    venues = snapshot.venues.sort_values("venue_id")
    accounts = snapshot.accounts[["account_id", "venue_id", "mode"]].merge(
        venues[["venue_id", "health_rule"]], on="venue_id"
    )
    legs = snapshot.legs.merge(accounts, on="account_id")
    legs["is_debt"], legs["averages"] = legs["side"] == "debt", legs["health_rule"] == "average_threshold_bps"
    legs = legs.sort_values(["account_id", "is_debt", "asset_id", "feed_id"], kind="stable", ignore_index=True)
    for name in ("account_id", "venue_id", "asset_id", "feed_id"):
        legs[name] = legs[name].astype("category")
    backing: dict[str, list[Row]] = {}
    for row in _rows(snapshot.backing.sort_values(["underlying_id", "venue_id"])):
        if row["kind"] != "minted_against":  # a promise of its own price, not a share of what is behind it
            backing.setdefault(row["asset_id"], []).append(row)
    depth = {row["asset_id"]: row | {"parameters": json.loads(row["parameters"])}
             for row in _rows(snapshot.depth)}  # fmt: skip
    redeems = snapshot.backing[snapshot.backing["kind"].isin(["wraps", "deposited"])]["asset_id"]
    return Tables(
        assets=snapshot.assets.set_index("asset_id"),
        feeds=snapshot.feeds.set_index("feed_id", drop=False),
        venues={
            row["venue_id"]: (
                row["liquidation_rule"],
                DEFAULTS[row["liquidation_rule"]] | json.loads(row["liquidation_parameters"]),
            )
            for row in _rows(venues)
        },
        legs=legs,
        backing=backing,
        depth=depth,
        redeemable=frozenset(asset for asset in redeems if asset in backing and asset not in depth),
    )


def run_tables(snapshot: Snapshot, scenario: Scenario, tables: Tables | None = None) -> Outcome:
    """One scenario, by the seven steps of the round. `tables` may carry `tables_of(snapshot)`."""
    t = tables or tables_of(snapshot)
    out = Outcome(drawn=dict.fromkeys(t.venues, 0.0), levied=dict.fromkeys(t.venues, 0.0))
    shock = {_asset(t, name): change for name, change in scenario.shocks.items()}
    fault = {feed: change for name, change in scenario.feed_shocks.items() for feed in _feeds(t, name)}
    frozen = {feed for name in scenario.frozen_feeds for feed in _feeds(t, name)}
    growth = {_asset(t, name): 1 + change for name, change in scenario.rate_shocks.items()}
    sales = dict.fromkeys(t.assets.index, 0.0)
    lost: dict[tuple[str, str], float] = {}
    supplied = t.legs[~t.legs["is_debt"]].groupby(["venue_id", "asset_id"], observed=True)["amount"].sum().to_dict()

    legs = t.legs
    before = health_factors(legs, dict(t.feeds["price_usd"]))
    if growth:
        grown = legs["asset_id"].astype(object).map(growth).fillna(1.0).where(legs["is_debt"], 1.0)
        legs = legs.assign(amount=legs["amount"] * grown)
    legs = legs.assign(initial=legs["amount"])
    legs, _ = write_off(legs, before.index[before < 1])

    def prices_now() -> Prices:
        arrived_shock = {asset: change * arrived / steps for asset, change in shock.items()}
        kept = {
            place: max(0.0, float(1 - gone / supplied[place])) for place, gone in lost.items() if supplied.get(place)
        }
        return market_prices(t, arrived_shock, sales, scenario.depth_multiplier, kept)

    def feeds_now() -> Prices:
        return feed_prices(t, seen[max(0, len(seen) - 1 - stale)], fault, frozen)

    def oracles_lag() -> bool:
        last = np.array(list(seen[-1].values()))
        off = [np.abs(np.array(list(prices.values())) - last) / last.clip(1e-300) for prices in seen[-1 - stale : -1]]
        moved = float(np.max(off, initial=0.0))
        recent = out.rounds[-stale:] if stale else []
        if moved > 0 or any(row["accounts"] for row in recent):
            out.closest = min(out.closest, moved)  # trades that move a price by its rounding, or not: is that news?
        return moved > 0

    stale = scenario.stale_rounds
    arrived, steps = 1, scenario.steps if scenario.arrival == "continuous" else 1
    seen = [_start_prices(t)]
    seen.append(prices_now())
    while len(out.rounds) < scenario.max_rounds:
        price = feeds_now()
        health = health_factors(legs, price)
        out.closest = min(out.closest, float((health - 1).abs().min()))
        worthwhile = _profit_test(t, scenario, seen[-1], sales, out) if scenario.liquidators == "rational" else None
        legs, done = liquidate_pairs(t.venues, legs, price, health, worthwhile)
        legs, closed = absorb_accounts(t.venues, legs, price, health, out.drawn, out.levied)
        legs, written_off = write_off(legs, health.index[health < 1])
        done = pd.concat([done, closed], ignore_index=True)
        bad = pd.concat([closed.loc[closed["lost"] > 0, ["leg", "lost"]], written_off], ignore_index=True)
        quiet = done.empty and bad.empty and not oracles_lag()
        if quiet and arrived == steps:
            out.converged = True
            break
        if quiet:
            arrived += 1
        else:
            bad = bad.join(legs[["venue_id", "asset_id", "feed_id"]], on="leg")
            for venue, asset, tokens in zip(bad["venue_id"], bad["asset_id"], bad["lost"], strict=True):
                lost[venue, asset] = lost.get((venue, asset), 0.0) + tokens
            traded = done["sold"] * scenario.sell_collateral - done["bought"] * scenario.buy_debt
            own = traded.groupby(legs["asset_id"].astype(object).reindex(done["leg"]).to_numpy()).sum()
            for asset, tokens in pass_on(t, dict(own), seen[-1]).items():
                sales[asset] += tokens
            out.liquidated |= set(done["account_id"])
            out.rounds.append(
                {
                    "accounts": done["account_id"].nunique(),
                    "repaid_usd": done["repaid_usd"].sum(),
                    "seized_usd": done["seized_usd"].sum(),
                    "protocol_fee_usd": done["fee_usd"].sum(),
                    "bad_debt_usd": (bad["lost"] * bad["feed_id"].map(price).astype(float)).sum(),
                }
            )
        following = prices_now()
        if not all(math.isfinite(value) for value in following.values()):
            gone = [asset for asset, value in following.items() if not math.isfinite(value)]
            out.exhausted = tuple(sorted(set(t.assets.loc[gone, "symbol"])))
            break
        if quiet:
            seen[-1] = following  # no round has seen the last step's prices
        else:
            seen.append(following)
    health = health_factors(legs, feeds_now())
    out.closest = min(out.closest, float((health - 1).abs().min()))
    if not out.converged and not out.exhausted:
        out.converged = arrived == steps and not oracles_lag() and not (health < 1).any()
    out.prices, out.legs, out.net_sales = seen[-1], legs, sales
    return out


def _profit_test(
    t: Tables, scenario: Scenario, market: Prices, sales: Prices, out: Outcome
) -> Callable[[pd.DataFrame], pd.Series]:
    """Whether what the seized collateral fetches exceeds what the repaid debt costs, each alone in the market."""

    def value(asset_of: pd.Series, tokens: pd.Series, traded: bool) -> pd.Series:
        usd = tokens.abs() * asset_of.map(market).astype(float)
        for asset, row in t.depth.items():
            here = asset_of == asset
            if traded and here.any():
                terms = row["model"], row["parameters"]
                at, depth = sales[asset], scenario.depth_multiplier
                total = paid(*terms, at, tokens[here].to_numpy(), depth)
                with np.errstate(invalid="ignore", divide="ignore"):
                    usd[here] = market[asset] / price_factor(*terms, at, depth) * np.abs(total)
        return usd

    def worthwhile(pairs: pd.DataFrame) -> pd.Series:
        fetched = value(pairs["asset_id"], pairs["sold"], scenario.sell_collateral)
        cost = value(pairs["asset_id_debt"], -pairs["repaid"], scenario.buy_debt)
        profit = (fetched - cost).fillna(-math.inf)
        # What rounding leaves of a profit is a small part of what the market has seen, and of a dollar.
        scale = 1 + fetched + cost + scenario.gas_usd + sum(abs(sales[asset]) * market[asset] for asset in t.depth)
        off = ((profit - scenario.gas_usd).abs() / scale).min()
        out.closest = min(out.closest, float(off))
        return profit > scenario.gas_usd

    return worthwhile


def _start_prices(t: Tables) -> Prices:
    return {str(asset): float(price) for asset, price in t.assets["price_usd"].items()}


def _rows(table: pd.DataFrame) -> list[Row]:
    return [{str(column): value for column, value in row.items()} for row in table.to_dict("records")]


def _asset(t: Tables, name: str) -> str:
    """The asset_id of an asset_id or a symbol."""
    if name in t.assets.index:
        return name
    (found,) = t.assets.index[t.assets["symbol"].str.lower() == name.lower()]
    return str(found)


def _feeds(t: Tables, name: str) -> list[str]:
    """The feed of that name, or all feeds of the asset of that name."""
    return [name] if name in t.feeds.index else list(t.feeds.index[t.feeds["asset_id"] == _asset(t, name)])


def market_prices(
    t: Tables, shock: Prices, sales: Prices, depth_multiplier: float, kept: dict[tuple[str, str], float]
) -> Prices:
    """Steps 1, 2, 5 and 6. `kept`: what bad debt leaves of supply, by venue and asset."""
    start = _start_prices(t)
    own = {asset: 1 + shock.get(asset, 0.0) for asset in start}
    for asset, market in t.depth.items():
        own[asset] *= price_factor(market["model"], market["parameters"], sales[asset], depth_multiplier).item()
    price = {asset: 0.0 if asset in t.backing else start[asset] * own[asset] for asset in start}
    for _ in range(100_000):  # claims on claims settle after as many steps as they are deep, circles in the limit
        following = dict(price)
        for asset, parts in t.backing.items():
            now = sum(
                row["units"] * price[row["underlying_id"]] * kept.get((row["venue_id"], row["underlying_id"]), 1.0)
                for row in parts
            )
            then = sum(row["units"] * start[row["underlying_id"]] for row in parts)
            value = start[asset] * (now / then) * own[asset]
            following[asset] = value if value < 1e30 else math.inf  # worth more than anything
        settled = all(math.isclose(following[asset], price[asset], rel_tol=1e-15) for asset in t.backing)
        price = following
        if settled:
            break
    return price


def feed_prices(t: Tables, market: Prices, fault: Prices, frozen: set[str]) -> Prices:
    """Step 3, each feed by its kind."""
    feeds = {row["feed_id"]: row for row in _rows(t.feeds)}
    start = t.assets["price_usd"]

    def price(feed_id: str) -> float:
        feed = feeds[feed_id]
        moved = 1.0
        if feed["kind"] == "market" and feed_id not in frozen:
            moved = market[feed["asset_id"]] / start[feed["asset_id"]]
        elif feed["kind"] == "ratio" and feed_id not in frozen:
            moved = price(feed["base_feed_id"]) / feeds[feed["base_feed_id"]]["price_usd"]
        return float(feed["price_usd"] * moved * (1 + fault.get(feed_id, 0.0)))

    return {feed_id: price(feed_id) for feed_id in feeds}


def pass_on(t: Tables, own: Prices, price: Prices) -> Prices:
    """Step 5: tokens that reach each market; what a sale pays out in, or a redeemed claim is on, is sold on."""
    total, moving = dict(own), dict(own)
    for _ in range(10_000):  # circles of claims pass on less and less
        following: Prices = {}
        for asset, tokens in moving.items():
            if asset in t.redeemable:
                onward = [(row["underlying_id"], tokens * row["units"]) for row in t.backing[asset]]
            elif asset in t.depth and t.depth[asset]["quote"] != "USD" and price[t.depth[asset]["quote"]] > 0:
                quote = t.depth[asset]["quote"]
                onward = [(quote, tokens * price[asset] / price[quote])]
            else:
                onward = []
            for base, amount in onward:
                following[base] = following.get(base, 0.0) + amount
        for asset, tokens in following.items():
            total[asset] = total.get(asset, 0.0) + tokens
        moving = following
        if all(abs(tokens) <= 1e-18 * abs(total[asset]) for asset, tokens in moving.items()):
            break
    return total
