"""Liquidation scope: which accounts, and what of their collateral, a venue could force closed at each size of a shock.

Two stages for each shock: `shock`, at the shocked prices before anybody has sold anything, and `cascade`, all that the
engine's rounds have taken below a health factor of 1 by their end, or liquidated on the way. Amounts of both are those
that the accounts have before the shock, at the shocked prices, so that the second stage always contains the first. An
account in scope may lose everything; how much of it one liquidation takes is the venue's close factor. Accounts with
debt and nothing to seize are bad debt already, and in no scope.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from defi_leverage.contagion.book import Book, Bools, Floats, compile_book
from defi_leverage.contagion.engine import (
    account_health_factors,
    frozen_feeds,
    resolve_shocks,
    run_contagion,
    with_grown_debt,
)
from defi_leverage.contagion.prices import feed_prices, market_prices
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot

__all__ = ["STAGES", "Scope", "liquidation_scope"]

STAGES = ("shock", "cascade")


class Scope(NamedTuple):
    """Tables by scenario and stage ('shock' or 'cascade'); USD at the shocked feed prices, shares are fractions.

    venues: scenario, stage, venue_id, accounts, collateral_usd, debt_usd, and share_of_accounts (with debt),
    share_of_collateral, share_of_debt of the venue; a row for every venue with debt, 0 where nobody is in scope.
    assets: scenario, stage, venue_id, asset_id, symbol, amount (tokens), collateral_usd, share_of_collateral (of that
    asset at the venue), largest first; only what is in scope.
    accounts: scenario, stage (the first in which it is), venue_id, account_id, health_factor (at the shocked prices),
    collateral_usd, debt_usd, largest debt first.
    converged: by scenario, whether its cascade came to an end.
    """

    venues: pd.DataFrame
    assets: pd.DataFrame
    accounts: pd.DataFrame
    converged: "pd.Series[bool]"


def liquidation_scope(snapshot: Snapshot, scenarios: Sequence[Scenario], book: Book | None = None) -> Scope:
    """What each venue could force closed in each scenario, before any sale and by the end of the cascade.

    `scenarios`: such as `stress.scenario_sets.ladder` makes, with different names; a `continuous` arrival and oracles
    that lag count in the cascade only. `book`: `compile_book(snapshot)` from an earlier call. Raises ScenarioError for
    no scenario or two of one name, and as `run_contagion`.
    """
    names = [scenario.name for scenario in scenarios]
    if not names or len(set(names)) < len(names):
        raise ScenarioError(f"scenarios: {', '.join(names) or 'none'}; give at least one, and each a name of its own")
    book = book or compile_book(snapshot)
    tables: dict[str, list[pd.DataFrame]] = {"venues": [], "assets": [], "accounts": []}
    converged = []
    for scenario in scenarios:
        grown = with_grown_debt(snapshot, scenario, book)
        shock, feed_shock = resolve_shocks(snapshot, scenario, book)
        market = market_prices(grown, shock, np.zeros(len(grown.price)), scenario.depth_multiplier)
        price = feed_prices(grown, market, feed_shock, frozen_feeds(snapshot, scenario, book))
        factors = account_health_factors(grown, grown.amount, price)
        seizable = _sum(grown, ~grown.is_debt & (grown.weight > 0), price) > 0
        result = run_contagion(snapshot, scenario, book)
        reached = result.health_after < 1
        reached |= np.isin(grown.account_ids, result.liquidations["account_id"].to_numpy(object))
        stages = {"shock": (factors < 1) & seizable, "cascade": ((factors < 1) | reached) & seizable}
        for stage, inside in stages.items():
            tables["venues"].append(_by_venue(grown, price, inside).assign(scenario=scenario.name, stage=stage))
            tables["assets"].append(_by_asset(grown, price, inside).assign(scenario=scenario.name, stage=stage))
        accounts = _by_account(grown, price, factors, stages["cascade"])
        first = stages["shock"][pd.Index(grown.account_ids).get_indexer(pd.Index(accounts["account_id"]))]
        tables["accounts"].append(accounts.assign(scenario=scenario.name, stage=np.where(first, *STAGES)))
        converged.append(result.converged)
    whole = {name: pd.concat(frames, ignore_index=True) for name, frames in tables.items()}
    for name, frame in whole.items():
        leading = ["scenario", "stage"]
        whole[name] = frame[[*leading, *(column for column in frame.columns if column not in leading)]]
    return Scope(**whole, converged=pd.Series(converged, index=pd.Index(names, name="scenario"), dtype=bool))


def _sum(book: Book, legs: Bools, price: Floats) -> Floats:
    """USD of the chosen legs by account."""
    value = np.where(legs, book.amount * price[book.leg_feed], 0.0)
    return np.bincount(book.leg_account, weights=value, minlength=len(book.account_ids)).astype(np.float64)


def _by_venue(book: Book, price: Floats, inside: Bools) -> pd.DataFrame:
    venues = len(book.venue_ids)

    def total(values: "Floats | Bools") -> Floats:
        return np.bincount(book.account_venue, weights=values.astype(float), minlength=venues).astype(np.float64)

    collateral, debt = _sum(book, ~book.is_debt & (book.weight > 0), price), _sum(book, book.is_debt, price)
    pairs = {
        "accounts": (total(inside), total(debt > 0)),
        "collateral": (total(collateral * inside), total(collateral)),
        "debt": (total(debt * inside), total(debt)),
    }
    found = pd.DataFrame(
        {
            "venue_id": book.venue_ids,
            "accounts": pairs["accounts"][0].astype(np.int64),
            "collateral_usd": pairs["collateral"][0],
            "debt_usd": pairs["debt"][0],
            **{f"share_of_{name}": _share(part, whole) for name, (part, whole) in pairs.items()},
        }
    )
    return found[pairs["debt"][1] > 0].reset_index(drop=True)


def _by_asset(book: Book, price: Floats, inside: Bools) -> pd.DataFrame:
    counts = ~book.is_debt & (book.weight > 0)
    legs = pd.DataFrame(
        {
            "venue_id": book.venue_ids[book.account_venue[book.leg_account]],
            "asset_id": book.asset_ids[book.leg_asset],
            "amount": book.amount,
            "collateral_usd": book.amount * price[book.leg_feed],
            "inside": inside[book.leg_account],
        }
    )[counts]
    keys = ["venue_id", "asset_id"]
    whole = legs.groupby(keys)["collateral_usd"].sum()
    found = legs[legs["inside"]].groupby(keys)[["amount", "collateral_usd"]].sum()
    found = found[found["amount"] > 0]
    found["share_of_collateral"] = _share(
        found["collateral_usd"].to_numpy(float), whole.reindex(found.index).to_numpy(float)
    )
    found = found.reset_index()
    symbols = dict(zip(book.asset_ids, book.symbols, strict=True))
    found.insert(2, "symbol", [symbols[asset_id] for asset_id in found["asset_id"]])
    return found.sort_values("collateral_usd", ascending=False, kind="stable", ignore_index=True)


def _by_account(book: Book, price: Floats, factors: Floats, inside: Bools) -> pd.DataFrame:
    collateral, debt = _sum(book, ~book.is_debt & (book.weight > 0), price), _sum(book, book.is_debt, price)
    found = pd.DataFrame(
        {
            "venue_id": book.venue_ids[book.account_venue],
            "account_id": book.account_ids,
            "health_factor": factors,
            "collateral_usd": collateral,
            "debt_usd": debt,
        }
    )[inside]
    return found.sort_values("debt_usd", ascending=False, kind="stable", ignore_index=True)


def _share(part: Floats, whole: Floats) -> Floats:
    ratio: Floats = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return ratio
