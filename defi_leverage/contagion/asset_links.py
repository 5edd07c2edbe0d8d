"""What assets are to one another: claims on each other, their markets, and where a sale of one goes on to."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from graphlib import CycleError, TopologicalSorter

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.contagion.curves import Impact
from defi_leverage.contagion.impact import compile_impact, price_factor
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot

__all__ = ["Claim", "Market", "compile_claims", "compile_markets", "compile_routes", "order_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Claim:
    """A derived asset: its backing (asset index, units, issuing venue or -1), what that is worth in USD at the
    snapshot's prices, and whether it is, by way of others or directly, a claim on itself.
    """

    asset: int
    backing: tuple[tuple[int, float, int], ...]
    backing_value: float
    is_circular: bool = False


@dataclass(frozen=True, slots=True)
class Market:
    """Depth of one asset: the factor on its price after cumulative net sales, given a depth multiplier; the impact it
    comes from.
    """

    asset: int
    factor: Callable[[Floats | float, Floats | float], Floats]
    impact: Impact


def order_of(needs: dict[int, set[int]], symbols: pd.Series, what: str) -> list[int]:
    """Every item after what it needs. Raises ScenarioError that names a circle."""
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        cycle = " -> ".join(str(symbols[asset]) for asset in error.args[1])
        raise ScenarioError(f"{what} runs in a circle: {cycle}; remove one of these rows") from None


def compile_claims(
    snapshot: Snapshot, assets: pd.Index, venues: pd.Index, price: Floats
) -> tuple[tuple[Claim, ...], ...]:
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
    needs = nx.DiGraph([(asset, base) for asset, parts in sorted(rows.items()) for base, *_ in parts])
    whole = nx.condensation(needs)
    groups = []
    for component in reversed(list(nx.lexicographical_topological_sort(whole))):
        members = sorted(asset for asset in whole.nodes[component]["members"] if asset in rows)
        circular = len(members) > 1 or (members and needs.has_edge(members[0], members[0]))
        if circular and all(base in members for asset in members for base, *_ in rows[asset]):
            symbols = snapshot.assets.set_index("asset_id")["symbol"].reindex(assets[members])
            raise ScenarioError(
                f"backing runs in a circle with nothing behind it: {', '.join(symbols)}; remove one of its rows, or "
                "add what else they hold"
            )
        if members:
            groups.append(tuple(_claim(asset, rows[asset], price, bool(circular)) for asset in members))
    return tuple(groups)


def _claim(asset: int, parts: list[tuple[int, float, int]], price: Floats, is_circular: bool) -> Claim:
    value = float(sum(units * price[base] for base, units, _ in sorted(parts)))
    return Claim(asset, tuple(sorted(parts)), value, is_circular)


def _redeem(claims: list[Claim]) -> dict[int, tuple[tuple[int, float], ...]]:
    """What a unit of each is redeemed for; of claims on each other, what lies outside of them: (1 - U)^-1 * outside."""
    members = [claim.asset for claim in claims]
    bases = sorted({base for claim in claims for base, *_ in claim.backing} - set(members))
    within, outside = np.zeros((len(members), len(members))), np.zeros((len(members), len(bases)))
    for row, claim in enumerate(claims):
        for base, units, _ in claim.backing:
            if base in members:
                within[row, members.index(base)] += units
            else:
                outside[row, bases.index(base)] += units
    if within.any():
        outside[:] = np.linalg.solve(np.eye(len(members)) - within, outside)
    return {
        asset: tuple((base, units) for base, units in zip(bases, row.tolist(), strict=True) if units)
        for asset, row in zip(members, outside, strict=True)
    }


def compile_markets(snapshot: Snapshot, assets: pd.Index) -> tuple[Market, ...]:
    """The market of every row of depth. Raises ScenarioError that names the asset."""
    markets = []
    position = {asset_id: index for index, asset_id in enumerate(assets)}
    for row in snapshot.depth.to_dict("records"):
        try:
            impact = compile_impact(row["model"], json.loads(row["parameters"]))
        except ScenarioError as error:
            raise ScenarioError(f"depth of {row['asset_id']}: {error}", **error.attributes) from None
        markets.append(Market(position[row["asset_id"]], partial(price_factor, impact), impact))
    return tuple(markets)


def compile_routes(
    snapshot: Snapshot, assets: pd.Index, claim_groups: tuple[tuple[Claim, ...], ...]
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
    for group in claim_groups:
        redeemed = [claim for claim in group if assets[claim.asset] in redeemable and assets[claim.asset] not in quotes]
        passes_to |= _redeem(redeemed)
    symbols = snapshot.assets.set_index("asset_id")["symbol"].reindex(assets).reset_index(drop=True)
    needs = {asset: {base for base, _ in parts} for asset, parts in passes_to.items()}
    order = reversed(order_of(needs, symbols, "the quotes of depth"))
    return tuple((asset, base, units) for asset in order for base, units in passes_to.get(asset, ()))
