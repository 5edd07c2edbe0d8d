"""A snapshot compiled to arrays (compressed rows of legs by account): what the round engine works on.

Legs are in one canonical order (account, collateral before debt, asset, feed), so the order of a table's rows never
matters, and ties between legs of equal value fall to the lowest asset_id.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.contagion.asset_links import (
    Claim,
    Market,
    compile_claims,
    compile_markets,
    compile_routes,
    order_of,
)
from defi_leverage.contagion.liquidation import LIQUIDATION_RULES, venue_parameters
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot

__all__ = ["Book", "Claim", "Market", "compile_book"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]
Bools = NDArray[np.bool_]

_BY_ACCOUNT = ("account_ids", "account_venue", "averages_threshold", "start")
_BY_LEG = ("leg_account", "leg_asset", "leg_feed", "is_debt", "amount", "weight", "bonus", "fee")


@dataclass(frozen=True, slots=True)
class Book:
    """Read-only arrays of a snapshot. Accounts, assets, feeds and venues are sorted by identifier.

    Per account: account_venue, averages_threshold, bands (nan where it has none; empty where no venue has any); its
    legs are `start[a]` to `start[a + 1]`. Per leg: leg_account,
    leg_asset, leg_feed (indices), is_debt, amount (whole tokens), weight, bonus, fee (fractions).
    Per feed: feed_price (USD), feed_asset, feed_base (index or -1), follows_market; `ratio_feeds` in the order in which
    they can be valued. Per asset: price (USD). `claim_groups`: derived assets in the order in which they can be valued,
    those that are claims on each other together; `routes` in the order in which sales pass on: (asset, what a sale of
    it pays out in, units of that a token, or nan for what the market prices say).
    """

    account_ids: NDArray[np.object_]
    asset_ids: NDArray[np.object_]
    symbols: NDArray[np.object_]
    feed_ids: NDArray[np.object_]
    venue_ids: NDArray[np.object_]
    account_venue: Int32s
    averages_threshold: Bools
    start: Int32s
    leg_account: Int32s
    leg_asset: Int32s
    leg_feed: Int32s
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
    claim_groups: tuple[tuple[Claim, ...], ...]
    markets: tuple[Market, ...]
    routes: tuple[tuple[int, int, float], ...]
    rules: tuple[Callable[..., Any], ...]
    bands: Floats

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All derived assets, each after what it is a claim on (but for those that are claims on each other)."""
        return tuple(claim for group in self.claim_groups for claim in group)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays of accounts and legs; identifiers belong to the snapshot."""
        return sum(getattr(self, name).nbytes for name in (*_BY_ACCOUNT, *_BY_LEG))

    @property
    def toxic_terms(self) -> list[tuple[str, str]]:
        """(asset_id, venue_id) of collateral whose liquidation lowers an account's health from the threshold on.

        Repaying x for x * (1 + bonus) of collateral lowers the health factor where weight * (1 + bonus) exceeds it;
        above 1 that is so at any health factor at which an account is liquidated. Source: Warmuz, Chaudhary & Pinna,
        Toxic Liquidation Spirals (2022), arXiv 2212.07306 (LTV > 1 / (1 + i)).
        """
        toxic = ~self.is_debt & (self.weight > 0) & (self.weight * (1 + self.bonus) > 1 + 1e-12)
        venues = self.account_venue[self.leg_account[toxic]]
        pairs = np.unique(np.stack([self.leg_asset[toxic], venues]), axis=1)
        return [(str(self.asset_ids[asset]), str(self.venue_ids[venue])) for asset, venue in pairs.T]

    @property
    def missing_depth(self) -> Bools:
        """Per asset: whether selling it moves no price at all, for want of market depth."""
        reacts = np.zeros(len(self.price), bool)
        reacts[[market.asset for market in self.markets]] = True
        for asset, base, _ in reversed(self.routes):
            reacts[asset] |= reacts[base]
        return ~reacts


def compile_book(snapshot: Snapshot) -> Book:
    """Compile a snapshot, without a loop over its accounts or legs.

    Raises ScenarioError for an unknown rule or model, claims that have only each other behind them, a cycle in quotes,
    and 2^31 legs or more.
    """
    if len(snapshot.legs) >= 2**31:
        raise ScenarioError(f"{len(snapshot.legs)} legs do not fit 32-bit indices; split the snapshot by venue")
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
    start = np.zeros(len(accounts) + 1, np.int32)
    np.cumsum(np.bincount(leg_account, minlength=len(accounts)), out=start[1:])
    price = assets["price_usd"].to_numpy(float)
    feed_base = feed_index.get_indexer(pd.Index(feeds["base_feed_id"])).astype(np.int64)
    bases = {int(feed): {int(feed_base[feed])} for feed in np.flatnonzero(feeds["kind"] == "ratio")}
    claim_groups = compile_claims(snapshot, asset_index, venue_index, price)
    book = Book(
        account_ids=accounts["account_id"].to_numpy(object),
        asset_ids=assets["asset_id"].to_numpy(object),
        symbols=assets["symbol"].to_numpy(object),
        feed_ids=feeds["feed_id"].to_numpy(object),
        venue_ids=venues["venue_id"].to_numpy(object),
        account_venue=account_venue.astype(np.int32),
        averages_threshold=(venues["health_rule"] == "average_threshold_bps").to_numpy(bool)[account_venue],
        start=start,
        leg_account=leg_account[order].astype(np.int32),
        leg_asset=leg_asset[order].astype(np.int32),
        leg_feed=leg_feed[order].astype(np.int32),
        is_debt=is_debt[order],
        amount=legs["amount"].to_numpy(float)[order],
        weight=legs["weight"].to_numpy(float)[order],
        bonus=legs["liquidation_bonus"].to_numpy(float)[order],
        fee=legs["protocol_fee"].to_numpy(float)[order],
        feed_price=feeds["price_usd"].to_numpy(float),
        feed_asset=asset_index.get_indexer(feeds["asset_id"]).astype(np.int64),
        feed_base=feed_base,
        follows_market=(feeds["kind"] == "market").to_numpy(bool),
        ratio_feeds=tuple(feed for feed in order_of(bases, feeds["feed_id"], "base_feed_id") if feed in bases),
        price=price,
        claim_groups=claim_groups,
        markets=compile_markets(snapshot, asset_index),
        routes=compile_routes(snapshot, asset_index, claim_groups),
        rules=tuple(_compile_rule(row) for row in venues.to_dict("records")),
        bands=_bands(accounts["mode"], (venues["liquidation_rule"] == "crvusd").to_numpy(bool)[account_venue]),
    )
    for item in fields(Book):
        if isinstance(array := getattr(book, item.name), np.ndarray):
            array.flags.writeable = False
    return book


def _bands(mode: "pd.Series[str]", has_bands: Bools) -> Floats:
    """Per account N of its mode `bands:N`, at the venues that have bands; nan where it does not say."""
    if not has_bands.any():
        return np.zeros(0)
    found = np.full(len(mode), np.nan)
    text = mode[has_bands].astype(str).str.extract(r"^bands:(\d+(?:\.\d+)?)$", expand=False)
    found[has_bands] = text.astype(float).to_numpy()
    return found


_COUNTS = ("bands", "amplification", "target_health_factor")  # parameters that are neither fractions nor USD
_BELOW_ONE = ("auction_discount",)  # at 1 an auction would give the collateral away
_STEPS = ("close_factor", "close_fraction")  # at 0 a liquidation would do nothing, round after round


def _compile_rule(venue: dict[Any, Any]) -> Callable[..., Any]:
    name, parameters = venue["liquidation_rule"], json.loads(venue["liquidation_parameters"])
    if name not in LIQUIDATION_RULES:
        known = ", ".join(LIQUIDATION_RULES)
        raise ScenarioError(f"venue {venue['venue_id']}: unknown liquidation_rule {name!r}; this version knows {known}")
    rule = LIQUIDATION_RULES[name]
    known_parameters = set(venue_parameters(rule))
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
        elif key in _STEPS:
            wanted = "a fraction above 0, such as 0.5"
        elif key in _BELOW_ONE:
            wanted = "a fraction below 1, such as 0.1"
        if key == "amplification":
            wanted = "a number above 1, such as 100"
        if key == "bands":
            wanted = "a whole number of at least 1, such as 10"
        sane = type(value) in (int, float) and least <= value <= most and value < float("inf")
        edge = (key in _STEPS and not value) or (key in (*_BELOW_ONE, "amplification") and value == 1)
        if not sane or edge or (key == "bands" and value % 1):
            raise ScenarioError(f"venue {venue['venue_id']}: {key} {value!r} of {name} must be {wanted}")
    return partial(rule, **parameters)
