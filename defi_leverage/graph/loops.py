"""Leverage loops: accounts whose debt buys more of their own collateral.

THE RULE. An account runs a loop if at least `minimum_share` of its collateral value (what counts as collateral, weight
above 0) is in one family of assets and at least `minimum_share` of its debt value is in the same family. The family of
an asset is the root that its backing leads to (wstETH -> stETH -> ETH, WETH -> ETH); all assets of kind `usd` and what
is made of them are one family, because they swap at par. An asset whose underlyings have different roots, such as an LP
token of two, is a family of its own, and a coin minted against collateral does not belong to that collateral's family.
The account is counted once, in the loop of its largest collateral asset and its largest debt asset of the family.

A loop is a cycle collateral asset > venue > debt asset > conversions > collateral asset that accounts really run; of
several ways back from the debt to the collateral the shortest is named. With 80 % this is the rule by which Lido's
analysis of Aave v2 (June 2023) chose its 271 looping accounts.
"""

import logging
from itertools import pairwise
from typing import NamedTuple, cast

import networkx as nx
import pandas as pd

from defi_leverage.graph.carry import account_carry
from defi_leverage.graph.liquidation_axis import liquidation_axis
from defi_leverage.health import account_health, fall_to_liquidation, leg_values
from defi_leverage.snapshot import Snapshot

__all__ = ["LOOP_COLUMNS", "find_families", "find_loops", "loop_accounts"]

log = logging.getLogger(__name__)

LOOP_COLUMNS = (
    "loop",
    "kind",
    "venue_id",
    "collateral_asset_id",
    "debt_asset_id",
    "path",
    "accounts",
    "notional_usd",
    "debt_usd",
    "supplied_usd",
    "equity_usd",
    "leverage",
    "leverage_p50",
    "leverage_p95",
    "leverage_max",
    "negative_equity_accounts",
    "lowest_health_factor",
    "debt_share_of_venue",
)
_PAIR = ["venue_id", "collateral_asset_id", "debt_asset_id"]
_USD = "USD at par"  # the node through which assets of kind usd swap; no identifier of an asset has blanks
_CONVERSIONS = ("staked", "pooled", "deposited", "wraps")  # the first of these on the way names the loop's kind
_ROUNDING = 1e-12  # a share of exactly the minimum must not fail on the last bit


_Node = tuple[str, str]  # asset or par, and its identifier
_PAR: _Node = ("par", _USD)


class _Cycle(NamedTuple):
    venue_id: str
    collateral_asset_id: str
    debt_asset_id: str
    kind: str
    path: tuple[str, ...]  # asset, venue, asset, ..., asset


def find_families(snapshot: Snapshot) -> "pd.Series[str]":
    """Family of every asset, by asset_id: its root asset_id, or 'USD at par' (see the rule above).

    Assets that back each other in a cycle are one family, named by the first of them; a warning is logged.
    """
    kind = dict(zip(snapshot.assets["asset_id"], snapshot.assets["kind"], strict=True))
    claims = nx.DiGraph()
    claims.add_nodes_from(sorted(kind))
    claims.add_edges_from(_claims(snapshot)[["asset_id", "underlying_id"]].itertuples(index=False, name=None))
    whole = nx.condensation(claims)
    family: dict[str, str] = {}
    for component in reversed(list(nx.topological_sort(whole))):  # underlyings before what is made of them
        members = sorted(whole.nodes[component]["members"])
        if len(members) > 1 or claims.has_edge(members[0], members[0]):
            log.warning("backing goes round in a circle: %s; taken as one family", " > ".join([*members, members[0]]))
        outside = {base for member in members for base in claims.successors(member)} - set(members)
        roots = {family[base] for base in outside}
        root = roots.pop() if len(roots) == 1 else members[0]
        family |= {member: _USD if kind[member] == "usd" else root for member in members}
    return pd.Series(family, dtype=object, name="family").rename_axis("asset_id")


def loop_accounts(snapshot: Snapshot, minimum_share: float = 0.8) -> pd.DataFrame:
    """One row an account that runs a loop, largest first (see the rule above).

    Columns: account_id, loop, venue_id, family, collateral_asset_id, debt_asset_id, share_of_collateral and
    share_of_debt (of the account's own, in the family), collateral_usd and debt_usd (of the family), supplied_usd,
    equity_usd, leverage (nan where equity is not positive), health_factor, fall_to_liquidation (fall of all its
    collateral against its debt that brings the health factor to 1); what can really move it (axis, axis_feed_id,
    move_to_liquidation: see `liquidation_axis`); its carry (supply_yield, borrow_rate, net_carry,
    break_even_borrow_rate, days_to_liquidation: see `account_carry`), nan where the snapshot has no rates. Raises
    ValueError for a share outside (0.5, 1]: at half or less an account could run two loops.
    """
    found = _members(snapshot, minimum_share)
    account = pd.Index(snapshot.accounts["account_id"]).get_indexer(pd.Index(found["account_id"]))
    for more in (liquidation_axis(snapshot, find_families(snapshot)), account_carry(snapshot)):
        found = pd.concat([found, more.iloc[account].reset_index(drop=True)], axis=1)
    return found


def _members(snapshot: Snapshot, minimum_share: float) -> pd.DataFrame:
    if not 0.5 < minimum_share <= 1:
        raise ValueError(f"minimum_share {minimum_share} must be above 0.5 and at most 1")
    legs = _value_legs(snapshot, find_families(snapshot))
    sides = {
        side: _main_family(legs[(legs["side"] == side) & (legs["weight"] > 0)], minimum_share)
        for side in ("collateral", "debt")
    }
    both = sides["collateral"].merge(sides["debt"], on=["account", "family"], suffixes=("_collateral", "_debt"))
    account = both["account"].to_numpy()
    chosen = snapshot.accounts.iloc[account]
    health = account_health(snapshot).iloc[account]
    found = pd.DataFrame(
        {
            "account_id": chosen["account_id"].to_numpy(object),
            "loop": "",
            "venue_id": chosen["venue_id"].to_numpy(object),
            "family": both["family"].to_numpy(object),
            "collateral_asset_id": both["asset_id_collateral"].to_numpy(object),
            "debt_asset_id": both["asset_id_debt"].to_numpy(object),
            "share_of_collateral": both["share_collateral"],
            "share_of_debt": both["share_debt"],
            "collateral_usd": both["usd_collateral"],
            "debt_usd": both["usd_debt"],
            **{
                name: health[name].to_numpy(float)
                for name in ("supplied_usd", "equity_usd", "leverage", "health_factor")
            },
            "fall_to_liquidation": fall_to_liquidation(health["health_factor"].to_numpy(float)),
        }
    )
    found["loop"] = _loop_names(snapshot, found)
    found = found.sort_values("account_id", ignore_index=True)
    return found.sort_values("collateral_usd", ascending=False, kind="stable", ignore_index=True)


def find_loops(snapshot: Snapshot, minimum_share: float = 0.8, length_bound: int = 12) -> pd.DataFrame:
    """One row a loop, with the accounts that run it (see the rule above), sorted by notional.

    Columns: loop (its name), kind (how the debt becomes the collateral: staked, pooled, deposited, wraps; `stable`
    where usd assets are swapped at par; `same_asset`), venue_id, collateral_asset_id, debt_asset_id, path, accounts,
    notional_usd and debt_usd (legs of the family), supplied_usd and equity_usd (of these accounts, all legs), leverage
    (sum of supplied over sum of equity, never a mean of leverages), leverage_p50, _p95, _max over accounts; leverage
    leaves out accounts without positive equity, which negative_equity_accounts counts; lowest_health_factor;
    debt_share_of_venue.

    `length_bound`: most steps of a cycle. Accounts whose loop is longer are logged as a warning and counted in the
    table's `attrs["notices"]`. Complexity: linear in the legs, and for each debt asset in the backing of its family.
    """
    members = _members(snapshot, minimum_share)
    cycles = _find_cycles(snapshot, members, length_bound)
    named = dict(zip(snapshot.assets["asset_id"], snapshot.assets["symbol"], strict=True)) | _venue_names(snapshot)
    venue_debt = _venue_debt(snapshot)
    rows, unplaced = [], 0
    for key, group in members.groupby(_PAIR):
        cycle = cycles.get(cast("tuple[str, str, str]", key))
        if cycle is None:
            unplaced += len(group)
            continue
        path = " > ".join(named.get(step, step) for step in cycle.path)
        rows.append(_loop_row(cycle, path, group, float(venue_debt[cycle.venue_id])))
    notices = [f"{unplaced} accounts loop in more than {length_bound} steps; raise length_bound to see them"]
    notices = notices if unplaced else []
    for notice in notices:
        log.warning("loops: %s", notice)
    loops = pd.DataFrame(rows, columns=list(LOOP_COLUMNS))
    loops = loops.sort_values(["notional_usd", "loop"], ascending=[False, True], ignore_index=True)
    loops.attrs["notices"] = notices
    return loops


def _loop_row(cycle: _Cycle, path: str, group: pd.DataFrame, venue_debt_usd: float) -> dict[str, object]:
    solvent = group[group["equity_usd"] > 0]
    equity = float(solvent["equity_usd"].sum())
    quantile = solvent["leverage"].quantile
    return {
        "loop": group["loop"].iloc[0],
        "kind": cycle.kind,
        "venue_id": cycle.venue_id,
        "collateral_asset_id": cycle.collateral_asset_id,
        "debt_asset_id": cycle.debt_asset_id,
        "path": path,
        "accounts": len(group),
        "notional_usd": float(group["collateral_usd"].sum()),
        "debt_usd": float(group["debt_usd"].sum()),
        "supplied_usd": float(group["supplied_usd"].sum()),
        "equity_usd": float(group["equity_usd"].sum()),
        "leverage": float(solvent["supplied_usd"].sum()) / equity if equity else float("nan"),
        "leverage_p50": float(quantile(0.5)),
        "leverage_p95": float(quantile(0.95)),
        "leverage_max": float(solvent["leverage"].max()),
        "negative_equity_accounts": len(group) - len(solvent),
        "lowest_health_factor": float(group["health_factor"].min()),
        "debt_share_of_venue": float(group["debt_usd"].sum()) / venue_debt_usd,
    }


def _claims(snapshot: Snapshot) -> pd.DataFrame:
    """Backing by which one asset turns into another; a minted coin is a debt against its collateral, not part of it."""
    backing = snapshot.backing
    return backing[backing["kind"].isin(_CONVERSIONS)]


def _value_legs(snapshot: Snapshot, family: "pd.Series[str]") -> pd.DataFrame:
    """Legs as (account: row of accounts, side, weight, asset_id, family, usd).

    Without what is no borrowed money: a perp position's legs, and what soft liquidation has turned into the coin owed.
    """
    legs = snapshot.legs
    venues = snapshot.venues.set_index("venue_id")
    venue = legs["account_id"].map(snapshot.accounts.set_index("account_id")["venue_id"])
    soft = legs[venue.map(venues["liquidation_rule"]) == "crvusd"]
    owed = pd.MultiIndex.from_frame(soft.loc[soft["side"] == "debt", ["account_id", "asset_id"]])
    of_owed = pd.MultiIndex.from_frame(soft[["account_id", "asset_id"]]).isin(owed)
    turned = legs.index.isin(soft.index[of_owed & (soft["side"] != "debt").to_numpy()])
    chosen = ~venue.isin(snapshot.perp_markets["venue_id"]).to_numpy() & ~turned
    valued = pd.DataFrame(
        {
            "account": pd.Index(snapshot.accounts["account_id"]).get_indexer(legs["account_id"]),
            "side": legs["side"],
            "weight": legs["weight"],
            "asset_id": legs["asset_id"],
            "family": legs["asset_id"].map(family),
            "usd": leg_values(snapshot),
        }
    )
    return valued[chosen]


def _main_family(legs: pd.DataFrame, minimum_share: float) -> pd.DataFrame:
    """Accounts with `minimum_share` of these legs' value in one family: that family, USD, share, largest asset."""
    legs = legs[legs["usd"] > 0]
    by_asset = legs.groupby(["account", "family", "asset_id"])["usd"].sum().reset_index()
    by_family = by_asset.groupby(["account", "family"])["usd"].sum().reset_index()
    share = by_family["usd"] / by_family.groupby("account")["usd"].transform("sum")
    main = by_family.assign(share=share)[share >= minimum_share - _ROUNDING]
    # groups are sorted by asset_id, so that a stable sort leaves the lowest first among equals
    largest: pd.DataFrame = by_asset.sort_values(by="usd", ascending=False, kind="stable")
    largest = largest.drop_duplicates(["account", "family"])[["account", "family", "asset_id"]]
    return main.merge(largest, on=["account", "family"])


def _venue_names(snapshot: Snapshot) -> dict[str, str]:
    venues = snapshot.venues
    return {venue: name or venue for venue, name in zip(venues["venue_id"], venues["name"], strict=True)}


def _venue_debt(snapshot: Snapshot) -> "pd.Series[float]":
    health = account_health(snapshot)
    venue = pd.Series(snapshot.accounts["venue_id"].to_numpy(object), index=health.index)
    return health["debt_usd"].groupby(venue).sum()


def _loop_names(snapshot: Snapshot, found: pd.DataFrame) -> "pd.Series[str]":
    """'wstETH/WETH on Core 3.0'; where two loops would share a name, with their identifiers behind it."""
    symbol = snapshot.assets.set_index("asset_id")["symbol"]
    pairs = found[_PAIR].drop_duplicates()
    of_collateral, of_debt = (pairs[f"{side}_asset_id"].map(symbol).astype(object) for side in ("collateral", "debt"))
    name = of_collateral + "/" + of_debt + " on " + pairs["venue_id"].map(_venue_names(snapshot)).astype(object)
    exact = " (" + pairs["collateral_asset_id"] + " / " + pairs["debt_asset_id"] + " on " + pairs["venue_id"] + ")"
    named = pairs.assign(loop=name.where(~name.duplicated(keep=False), name + exact))
    return found[_PAIR].merge(named, on=_PAIR, how="left")["loop"]


def _find_cycles(snapshot: Snapshot, members: pd.DataFrame, length_bound: int) -> dict[tuple[str, str, str], _Cycle]:
    """The shortest cycle of every (venue, collateral, debt) that accounts run, where it is within the bound.

    Every cycle here goes through one venue, so it is known but for the way back from debt to collateral: a shortest
    path. To enumerate cycles explodes as soon as a few LP tokens of one family connect its assets many times over.
    """
    conversions = _conversions(snapshot)
    cycles: dict[tuple[str, str, str], _Cycle] = {}
    links = members[[*_PAIR, "family"]].drop_duplicates()
    for key, pairs in links.groupby(["family", "debt_asset_id"]):
        family, debt_id = cast("tuple[str, str]", key)
        graph = conversions.get(family, nx.Graph())
        source = ("asset", debt_id)
        ways = nx.single_source_shortest_path(graph, source, length_bound - 2) if source in graph else {}
        for venue_id, asset_id in zip(pairs["venue_id"], pairs["collateral_asset_id"], strict=True):
            way = [source] if asset_id == debt_id and length_bound >= 2 else ways.get(("asset", asset_id))
            if way is not None:
                kinds = {graph.edges[step]["kind"] for step in pairwise(way)}
                path = (asset_id, venue_id, *(identifier for _, identifier in way))
                cycles[venue_id, asset_id, debt_id] = _Cycle(venue_id, asset_id, debt_id, _loop_kind(kinds), path)
    return cycles


def _conversions(snapshot: Snapshot) -> "dict[str, nx.Graph]":
    """By family, how its assets turn into each other: along backing, and at par between usd assets."""
    family = find_families(snapshot)
    edges: dict[str, list[tuple[_Node, _Node, str]]] = {}
    claims = _claims(snapshot)
    for asset_id, underlying_id, kind in zip(claims["asset_id"], claims["underlying_id"], claims["kind"], strict=True):
        if family[asset_id] == family[underlying_id]:
            ends: tuple[_Node, _Node] = ("asset", asset_id), ("asset", underlying_id)
            edges.setdefault(family[asset_id], []).append((min(ends), max(ends), kind))
    for asset_id in snapshot.assets.loc[snapshot.assets["kind"] == "usd", "asset_id"]:
        edges.setdefault(_USD, []).append((("asset", asset_id), _PAR, "stable"))
    graphs = {root: nx.Graph() for root in edges}
    for root, graph in graphs.items():
        # in order, so that of ways of equal length always the same is found, at par rather than through another token
        ordered = sorted(edges[root], key=lambda edge: (edge[1] != _PAR, edge))
        graph.add_edges_from((one, other, {"kind": kind}) for one, other, kind in ordered)
    return graphs


def _loop_kind(conversions: set[str]) -> str:
    return next((kind for kind in ("stable", *_CONVERSIONS) if kind in conversions), "same_asset")
