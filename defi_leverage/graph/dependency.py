"""The dependency graph: who and what depends on whose collateral.

A networkx MultiDiGraph whose nodes are assets, venues and accounts (or groups of them) and whose edges carry USD at the
oracle's feed prices. An edge points the way value goes round a loop: collateral asset -> venue (or account, or group)
-> borrowed asset -> what is made of it -> collateral asset. Each dollar is there once a level: `market` edges cover
every account of the snapshot, and so do `group` edges; `account` edges cover the accounts that are drawn. Sum one
level, never two.

Every attribute is a plain str, int or float. One without a finite value (the health factor without debt, the leverage
without equity) and empty text are left out, because readers of GraphML, GEXF and JSON disagree on them.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

import networkx as nx
import numpy as np
import pandas as pd

from defi_leverage.graph.account_groups import OTHERS, group_accounts
from defi_leverage.health import account_health, leg_values
from defi_leverage.snapshot import Snapshot

__all__ = ["build_graph", "node_name"]

_Edge = tuple[str, str, str, dict[str, Any]]
_KINDS = ("collateralises", "supplies", "borrows")
_ADDRESS = re.compile(r"(0x[0-9a-fA-F]{4})[0-9a-fA-F]{32}([0-9a-fA-F]{4})")


def node_name(kind: Literal["asset", "venue", "account", "group"], identifier: str) -> str:
    """The node of an asset_id, venue_id or account_id: 'asset:...', so that equal identifiers never meet in a node.

    A group's identifier is its venue and its two sets of assets, 'venue_id | asset_id asset_id | asset_id'.
    """
    return f"{kind}:{identifier}"


def build_graph(
    snapshot: Snapshot, accounts: "int | Literal['all', 'grouped']" = 50, groups: int = 1000
) -> nx.MultiDiGraph:
    """Dependency graph of a snapshot, with nodes for the `accounts` largest accounts by debt, then by supply.

    'all' draws every account, 0 none; 'grouped' draws the `groups` largest groups of accounts with the same venue,
    collateral and debts, and one group for the rest of each venue (see `group_accounts`).

    Nodes have `type` (asset, venue, account, group), `label`, their identifier, and USD totals of the whole snapshot.
    Edges have `kind`, `usd`, `level` (market, account, group), `asset_id` and, where there is one, `venue_id`; their
    key is also their `id`, 'source kind target', the same in every scan:

    - `collateralises`, `supplies`: asset -> venue, account or group, what does and what does not count as collateral
    - `borrows`: venue, account or group -> asset
    - `wraps`: underlying -> derived asset, with `backing` (wraps, staked, deposited, pooled). USD of the derived asset
      that accounts supply, shared among its underlyings by value
    - `mints`: venue -> asset that is a deposit there or is minted against collateral there (from the underlying where
      the venue is unknown), USD as for `wraps`

    Raises ValueError for a negative number of accounts or groups, or another word. Takes about 4 kB of memory an
    account or group drawn.
    """
    if isinstance(accounts, str) and accounts not in ("all", "grouped"):
        raise ValueError(f"accounts={accounts!r} must be 'all', 'grouped' or a number")
    legs = _value_legs(snapshot)
    # what networkx's readers of GraphML and GEXF set themselves, so that a graph that is read back is equal
    graph = nx.MultiDiGraph(mode="static", node_default={}, edge_default={})
    graph.add_nodes_from(_asset_nodes(snapshot, legs))
    graph.add_nodes_from(_venue_nodes(snapshot, legs))
    venue_names = snapshot.venues["venue_id"].to_numpy(object)
    market = legs.assign(holder=legs["venue"])
    if accounts == "grouped":
        found, group = group_accounts(snapshot, groups)
        names = (found["venue_id"] + " | " + found["collateral"] + " | " + found["debt"]).to_numpy(object)
        graph.add_nodes_from(_group_nodes(snapshot, found, names))
        graph.add_edges_from(_leg_edges(market, "venue", venue_names, found))
        graph.add_edges_from(_backing_edges(snapshot, legs))
        graph.add_edges_from(_leg_edges(legs.assign(holder=group[legs["account"]]), "group", names, found))
        return graph
    health = account_health(snapshot)
    drawn = _largest(health, accounts)
    graph.add_nodes_from(_account_nodes(snapshot, health.loc[drawn]))
    graph.add_edges_from(_leg_edges(market, "venue", venue_names, snapshot.accounts))
    graph.add_edges_from(_backing_edges(snapshot, legs))
    chosen = health.index.isin(drawn)
    own = legs[chosen[legs["account"]]]
    account_names = snapshot.accounts["account_id"].to_numpy(object)
    graph.add_edges_from(_leg_edges(own.assign(holder=own["account"]), "account", account_names, snapshot.accounts))
    return graph


def _largest(health: pd.DataFrame, accounts: "int | str") -> "pd.Index[str]":
    count = len(health) if isinstance(accounts, str) else accounts
    if count < 0:
        raise ValueError(f"accounts={accounts} must be 'all', 'grouped' or at least 0")
    if count == 0:
        return health.index[:0]
    size = health[["debt_usd", "supplied_usd"]]
    if count < len(size):  # sort only what can be among the largest
        floor = size["debt_usd"].nlargest(count).min()
        size = size[size["debt_usd"] >= floor]
    ordered = size.sort_index().sort_values(["debt_usd", "supplied_usd"], ascending=False, kind="stable")
    return ordered.index[:count]


def _value_legs(snapshot: Snapshot) -> pd.DataFrame:
    """Legs as (account and venue: rows of their tables, asset_id, kind of edge, usd); text as categories, for speed."""
    legs, accounts = snapshot.legs, snapshot.accounts
    account = pd.Index(accounts["account_id"]).get_indexer(pd.Index(legs["account_id"]))
    venue = pd.Index(snapshot.venues["venue_id"]).get_indexer(pd.Index(accounts["venue_id"]))
    kind = np.where(legs["side"] == "debt", 2, np.where(legs["weight"] > 0, 0, 1))
    return pd.DataFrame(
        {
            "account": account,
            "venue": venue[account],
            "asset_id": pd.Categorical(legs["asset_id"]),
            "kind": pd.Categorical.from_codes(kind, categories=pd.Index(_KINDS)),
            "usd": leg_values(snapshot),
        }
    )


def _leg_edges(
    legs: pd.DataFrame,
    holder: Literal["venue", "account", "group"],
    names: "np.ndarray[Any, np.dtype[np.object_]]",
    holders: pd.DataFrame,
) -> Iterator[_Edge]:
    """Edges between assets and the `holder` of each leg, a row of `names`, and of `holders` where it is no venue."""
    by = [legs["holder"], legs["asset_id"], legs["kind"]]
    sums = legs["usd"].groupby(by, observed=True).sum()
    # an account can have two legs of one asset, at two feeds
    single = legs[["holder", "asset_id", "kind", "account"]].drop_duplicates()
    counts = single.groupby(["holder", "asset_id", "kind"], observed=True).size().reindex(sums.index)
    venue_of = names if holder == "venue" else holders["venue_id"].to_numpy(object)
    level = "market" if holder == "venue" else holder
    for (row, asset_id, kind), usd, count in zip(sums.index, sums.tolist(), counts.tolist(), strict=True):
        ends = node_name("asset", asset_id), node_name(holder, names[row])
        attributes = {"kind": str(kind), "usd": float(usd), "level": level, "asset_id": asset_id}
        attributes["venue_id"] = venue_of[row]
        if holder != "account":
            attributes["accounts"] = int(count)
        source, target = reversed(ends) if kind == "borrows" else ends
        yield _edge(source, target, attributes)


def _edge(source: str, target: str, attributes: dict[str, Any]) -> _Edge:
    # the key is unique in the whole graph: GraphML has no other place for it than the edge's identifier
    key = f"{source} {attributes['kind']} {target}"
    return source, target, key, _plain({"id": key} | attributes)


def _backing_edges(snapshot: Snapshot, legs: pd.DataFrame) -> list[_Edge]:
    """Edges of the look-through; several rows for one pair are one edge."""
    held = legs[legs["kind"] != "borrows"].groupby("asset_id", observed=True)["usd"].sum()
    price = snapshot.assets.set_index("asset_id")["price_usd"]
    backing = snapshot.backing
    value = backing["units"] * backing["underlying_id"].map(price)
    # a minted coin is a claim on its venue's vaults, whatever is in them; the other kinds are claims on their parts
    minted = backing["kind"] == "minted_against"
    share = value / value.groupby([backing["asset_id"], minted]).transform("sum")
    usd = backing["asset_id"].map(dict(held)).fillna(0.0).astype(float) * share
    edges: dict[tuple[str, str, str], dict[str, Any]] = {}

    def add(source: str, kind: str, row: "dict[Any, Any]", dollars: float) -> None:
        target = node_name("asset", row["asset_id"])
        attributes = {"kind": kind, "usd": 0.0, "level": "market", "asset_id": row["asset_id"]}
        attributes |= {"backing": row["kind"], "venue_id": row["venue_id"]}
        edges.setdefault((source, target, kind), attributes)["usd"] += dollars

    for row, dollars, is_minted in zip(backing.to_dict("records"), usd.tolist(), minted.tolist(), strict=True):
        underlying = node_name("asset", row["underlying_id"])
        if not is_minted:
            add(underlying, "wraps", row, dollars)
        if is_minted or (row["kind"] == "deposited" and row["venue_id"]):
            add(node_name("venue", row["venue_id"]) if row["venue_id"] else underlying, "mints", row, dollars)
    return [_edge(source, target, attributes) for (source, target, _), attributes in edges.items()]


def _totals(legs: pd.DataFrame, key: str) -> pd.DataFrame:
    """USD by `key`: supplied, of which collateral, and borrowed."""
    sums = legs["usd"].groupby([legs[key], legs["kind"]], observed=True).sum().unstack(fill_value=0)
    sums = sums.reindex(columns=list(_KINDS), fill_value=0.0)
    return pd.DataFrame(
        {
            "supplied_usd": sums["collateralises"] + sums["supplies"],
            "collateral_usd": sums["collateralises"],
            "borrowed_usd": sums["borrows"],
        }
    )


def _asset_nodes(snapshot: Snapshot, legs: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    assets = snapshot.assets
    totals = _totals(legs, "asset_id").reindex(assets["asset_id"], fill_value=0.0)
    for row, sums in zip(assets.to_dict("records"), totals.to_dict("records"), strict=True):
        named = {name: row[name] for name in ("asset_id", "kind", "chain", "price_usd")}
        yield node_name("asset", row["asset_id"]), _plain({"type": "asset", "label": row["symbol"]} | named | sums)


def _venue_nodes(snapshot: Snapshot, legs: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    venues = snapshot.venues
    totals = _totals(legs, "venue").reindex(range(len(venues)), fill_value=0.0)
    found = snapshot.accounts["venue_id"].value_counts().reindex(venues["venue_id"], fill_value=0)
    totals["accounts"] = found.to_numpy()
    for row, sums in zip(venues.to_dict("records"), totals.to_dict("records"), strict=True):
        named = {name: row[name] for name in ("venue_id", "protocol", "chain", "liquidation_rule")}
        label = row["name"] or row["venue_id"]
        yield node_name("venue", row["venue_id"]), _plain({"type": "venue", "label": label} | named | sums)


def _account_nodes(snapshot: Snapshot, health: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    columns = ["supplied_usd", "collateral_usd", "debt_usd", "equity_usd", "health_factor", "leverage"]
    chosen = snapshot.accounts.set_index("account_id").loc[health.index]
    rows = zip(health.index, chosen.to_dict("records"), health[columns].to_dict("records"), strict=True)
    for account_id, row, figures in rows:
        named = {"account_id": account_id} | {name: row[name] for name in ("owner", "venue_id", "mode")}
        label = _ADDRESS.sub(r"\1…\2", account_id)
        yield node_name("account", account_id), _plain({"type": "account", "label": label} | named | figures)


def _group_nodes(
    snapshot: Snapshot, groups: pd.DataFrame, names: "np.ndarray[Any, np.dtype[np.object_]]"
) -> Iterator[tuple[str, dict[str, Any]]]:
    symbol = dict(zip(snapshot.assets["asset_id"], snapshot.assets["symbol"], strict=True))
    venues = snapshot.venues
    venue = dict(zip(venues["venue_id"], venues["name"].where(venues["name"] != "", venues["venue_id"]), strict=True))
    for name, row in zip(names, groups.to_dict("records"), strict=True):
        held, owed = (
            "+".join(symbol.get(asset, asset) for asset in row[side].split()) for side in ("collateral", "debt")
        )
        label = (
            f"others on {venue[row['venue_id']]}" if held == OTHERS else f"{held}/{owed} on {venue[row['venue_id']]}"
        )
        yield node_name("group", name), _plain({"type": "group", "label": label} | row)


def _plain(attributes: "dict[Any, Any]") -> dict[str, Any]:
    """Without what is empty or not finite, as plain Python types."""
    kept: dict[str, Any] = {}
    for name, value in attributes.items():
        if isinstance(value, str):
            if value:
                kept[str(name)] = value
        elif np.isfinite(value):
            kept[str(name)] = int(value) if isinstance(value, int | np.integer) else float(value)
    return kept
