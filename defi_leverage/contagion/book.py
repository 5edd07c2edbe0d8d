"""A snapshot compiled to arrays: what the round engine works on.

Legs are in one canonical order (account, collateral before debt, asset, feed), so the order of a table's rows never
matters, and ties between legs of equal value fall to the lowest asset_id.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from graphlib import CycleError, TopologicalSorter
from inspect import signature
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.contagion.curves import Impact
from defi_leverage.contagion.impact import compile_impact, price_factor
from defi_leverage.contagion.liquidation import LIQUIDATION_RULES
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot

__all__ = ["Book", "Claim", "Market", "compile_book"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Claim:
    """A derived asset: its backing (asset index, units, issuing venue or -1), and what that is worth in USD at the
    snapshot's prices.
    """

    asset: int
    backing: tuple[tuple[int, float, int], ...]
    backing_value: float


@dataclass(frozen=True, slots=True)
class Market:
    """Depth of one asset: the factor on its price after cumulative net sales, given a depth multiplier; the impact it
    comes from.
    """

    asset: int
    factor: Callable[[Floats | float, Floats | float], Floats]
    impact: Impact


@dataclass(frozen=True, slots=True)
class Book:
    """Immutable arrays of a snapshot. Accounts, assets, feeds and venues are sorted by identifier.

    Per leg: leg_account, leg_asset, leg_feed (indices), is_debt, amount (whole tokens), weight, bonus, fee (fractions).
    Per feed: feed_price (USD), feed_asset, feed_base (index or -1), follows_market; `ratio_feeds` in the order in which
    they can be valued. Per asset: price (USD). `claims` in the
    order in which they can be valued; `routes` in the order in which sales pass on: (asset, what a sale of it pays out
    in, units of that a token, or nan for what the market prices say).
    """

    account_ids: NDArray[np.object_]
    asset_ids: NDArray[np.object_]
    symbols: NDArray[np.object_]
    feed_ids: NDArray[np.object_]
    venue_ids: NDArray[np.object_]
    account_venue: Ints
    averages_threshold: Bools
    leg_account: Ints
    leg_asset: Ints
    leg_feed: Ints
    is_debt: Bools
    amount: Floats
    weight: Floats
    bonus: Floats
    fee: Floats
    feed_price: Floats
    feed_asset: Ints
    feed_base: Ints
    follows_market: Bools
    ratio_feeds: tuple[int, ...]
    price: Floats
    claims: tuple[Claim, ...]
    markets: tuple[Market, ...]
    routes: tuple[tuple[int, int, float], ...]
    rules: tuple[Callable[..., Floats], ...]

    @property
    def missing_depth(self) -> Bools:
        """Per asset: whether selling it moves no price at all, for want of market depth."""
        reacts = np.zeros(len(self.price), bool)
        reacts[[market.asset for market in self.markets]] = True
        for asset, base, _ in reversed(self.routes):
            reacts[asset] |= reacts[base]
        return ~reacts


def compile_book(snapshot: Snapshot) -> Book:
    """Compile a snapshot. Raises ScenarioError for an unknown rule or model, or a cycle in backing or in quotes."""
    assets = snapshot.assets.sort_values("asset_id", ignore_index=True)
    feeds = snapshot.feeds.sort_values("feed_id", ignore_index=True)
    venues = snapshot.venues.sort_values("venue_id", ignore_index=True)
    accounts = snapshot.accounts.sort_values("account_id", ignore_index=True)
    asset_index, feed_index = pd.Index(assets["asset_id"]), pd.Index(feeds["feed_id"])
    venue_index, account_index = pd.Index(venues["venue_id"]), pd.Index(accounts["account_id"])
    legs = snapshot.legs
    leg_account = account_index.get_indexer(legs["account_id"])
    leg_asset = asset_index.get_indexer(legs["asset_id"])
    leg_feed = feed_index.get_indexer(legs["feed_id"])
    is_debt = (legs["side"] == "debt").to_numpy()
    order = np.lexsort((leg_feed, leg_asset, is_debt, leg_account))
    account_venue = venue_index.get_indexer(accounts["venue_id"])
    price = assets["price_usd"].to_numpy(float)
    feed_base = feed_index.get_indexer(pd.Index(feeds["base_feed_id"])).astype(np.int64)
    bases = {int(feed): {int(feed_base[feed])} for feed in np.flatnonzero(feeds["kind"] == "ratio")}
    claims = _compile_claims(snapshot, asset_index, venue_index, price)
    return Book(
        account_ids=accounts["account_id"].to_numpy(object),
        asset_ids=assets["asset_id"].to_numpy(object),
        symbols=assets["symbol"].to_numpy(object),
        feed_ids=feeds["feed_id"].to_numpy(object),
        venue_ids=venues["venue_id"].to_numpy(object),
        account_venue=account_venue.astype(np.int64),
        averages_threshold=(venues["health_rule"] == "average_threshold_bps").to_numpy(bool)[account_venue],
        leg_account=leg_account[order].astype(np.int64),
        leg_asset=leg_asset[order].astype(np.int64),
        leg_feed=leg_feed[order].astype(np.int64),
        is_debt=is_debt[order],
        amount=legs["amount"].to_numpy(float)[order],
        weight=legs["weight"].to_numpy(float)[order],
        bonus=legs["liquidation_bonus"].to_numpy(float)[order],
        fee=legs["protocol_fee"].to_numpy(float)[order],
        feed_price=feeds["price_usd"].to_numpy(float),
        feed_asset=asset_index.get_indexer(feeds["asset_id"]).astype(np.int64),
        feed_base=feed_base,
        follows_market=(feeds["kind"] == "market").to_numpy(bool),
        ratio_feeds=tuple(feed for feed in _order_of(bases, feeds["feed_id"], "base_feed_id") if feed in bases),
        price=price,
        claims=claims,
        markets=_compile_markets(snapshot, asset_index),
        routes=_compile_routes(snapshot, asset_index, claims),
        rules=tuple(_compile_rule(row) for row in venues.to_dict("records")),
    )


_COUNTS = ("bands", "amplification")  # parameters that are neither fractions nor USD


def _compile_rule(venue: dict[Any, Any]) -> Callable[..., Floats]:
    name, parameters = venue["liquidation_rule"], json.loads(venue["liquidation_parameters"])
    if name not in LIQUIDATION_RULES:
        known = ", ".join(LIQUIDATION_RULES)
        raise ScenarioError(f"venue {venue['venue_id']}: unknown liquidation_rule {name!r}; this version knows {known}")
    rule = LIQUIDATION_RULES[name]
    known_parameters = set(signature(rule).parameters) - {"accounts"}
    if unknown := sorted(set(parameters) - known_parameters):
        takes = ", ".join(sorted(known_parameters)) or "none"
        raise ScenarioError(
            f"venue {venue['venue_id']}: {name} has no parameter {', '.join(unknown)}; it takes {takes}"
        )
    for key, value in parameters.items():
        least, most, wanted = 0.0, 1.0, "a fraction, such as 0.5"
        if key.endswith("_usd"):
            most, wanted = float("inf"), "an amount of USD, such as 2000"
        elif key in _COUNTS:
            least, most, wanted = 1.0, float("inf"), "a number of at least 1, such as 10"
        if type(value) not in (int, float) or not least <= value <= most or value == float("inf"):
            raise ScenarioError(f"venue {venue['venue_id']}: {key} {value!r} of {name} must be {wanted}")
    return partial(rule, **parameters)


def _order_of(needs: dict[int, set[int]], symbols: pd.Series, what: str) -> list[int]:
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        cycle = " -> ".join(str(symbols[asset]) for asset in error.args[1])
        raise ScenarioError(f"{what} runs in a circle: {cycle}; remove one of these rows") from None


def _compile_claims(snapshot: Snapshot, assets: pd.Index, venues: pd.Index, price: Floats) -> tuple[Claim, ...]:
    """Derived assets in the order in which they can be valued, each with the value of its backing.

    A coin minted against collateral is a promise of its own price, not a share of that collateral: it is left out.
    """
    backing = snapshot.backing[snapshot.backing["kind"] != "minted_against"]
    rows: dict[int, list[tuple[int, float, int]]] = {}
    derived = assets.get_indexer(pd.Index(backing["asset_id"]))
    underlying = assets.get_indexer(pd.Index(backing["underlying_id"]))
    issuers = venues.get_indexer(pd.Index(backing["venue_id"]))
    for asset, base, units, issuer in zip(derived, underlying, backing["units"], issuers, strict=True):
        rows.setdefault(int(asset), []).append((int(base), float(units), int(issuer)))
    symbols = snapshot.assets.set_index("asset_id")["symbol"].reindex(assets).reset_index(drop=True)
    order = _order_of({asset: {base for base, *_ in parts} for asset, parts in rows.items()}, symbols, "backing")
    return tuple(
        Claim(
            asset,
            tuple(sorted(rows[asset])),
            float(sum(units * price[base] for base, units, _ in sorted(rows[asset]))),
        )
        for asset in order
        if asset in rows
    )


def _compile_markets(snapshot: Snapshot, assets: pd.Index) -> tuple[Market, ...]:
    markets = []
    position = {asset_id: index for index, asset_id in enumerate(assets)}
    for row in snapshot.depth.to_dict("records"):
        try:
            impact = compile_impact(row["model"], json.loads(row["parameters"]))
        except ScenarioError as error:
            raise ScenarioError(f"depth of {row['asset_id']}: {error}", **error.attributes) from None
        markets.append(Market(position[row["asset_id"]], partial(price_factor, impact), impact))
    return tuple(markets)


def _compile_routes(
    snapshot: Snapshot, assets: pd.Index, claims: tuple[Claim, ...]
) -> tuple[tuple[int, int, float], ...]:
    """Where a sale goes on to, in the order in which it does.

    A sale for a quote asset pays out in it, and that is sold on: wstETH sold for WETH to repay WETH leaves the ETH
    market alone. An asset without a market of its own that can be redeemed at once (wrapped, deposited) is sold as what
    it is a claim on.
    """
    position = {asset_id: index for index, asset_id in enumerate(assets)}
    quotes = {row["asset_id"]: row["quote"] for row in snapshot.depth.to_dict("records")}
    redeemable = set(snapshot.backing.loc[snapshot.backing["kind"].isin(["wraps", "deposited"]), "asset_id"])
    passes_to: dict[int, tuple[tuple[int, float], ...]] = {}
    for asset_id, quote in quotes.items():
        if quote == "USD":
            continue
        if quote not in position:
            raise ScenarioError(f"depth of {asset_id}: quote {quote!r} is no asset here; use an asset_id or USD")
        passes_to[position[asset_id]] = ((position[quote], float("nan")),)
    for claim in claims:
        if assets[claim.asset] in redeemable and assets[claim.asset] not in quotes:
            passes_to[claim.asset] = tuple((base, units) for base, units, _ in claim.backing)
    symbols = snapshot.assets.set_index("asset_id")["symbol"].reindex(assets).reset_index(drop=True)
    needs = {asset: {base for base, _ in parts} for asset, parts in passes_to.items()}
    order = reversed(_order_of(needs, symbols, "the quotes of depth"))
    return tuple((asset, base, units) for asset in order for base, units in passes_to.get(asset, ()))
