"""Systemic leverage clusters: which assets bring each other down by liquidation, and how small a move sets it off.

There is no standard definition of such a cluster; this one is ours. Nodes are assets that move one way (a fall, or a
rise that liquidates those who owe the asset), tied by their gains (`gain`). A cluster is a strongly connected component
of the nodes whose gain reaches a threshold, at some state that the move of one of them leads to. Its branching ratio is
the Perron root of its block of gains, in which a derived asset moves only by what it gains or loses against its backing
(else one fall of ETH would count again as the fall of all that is made of it): at 1 or more, a move sustains itself.
Its critical shock is the smallest move, of one of its nodes (the trigger) or of all of them together, that takes the
branching ratio to 1 or bad debt past a bound.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from defi_leverage.clusters.critical_shock import find_critical_shock, remember
from defi_leverage.clusters.crossings import CrossingBook, prepare_crossings
from defi_leverage.clusters.gain import branching_ratio, check_share, gain_matrix, signed_gain_matrix
from defi_leverage.clusters.ids import keep_cluster_ids, new_id
from defi_leverage.clusters.leave_one_out import LEAVE_ONE_OUT_COLUMNS, ReferenceLoss, leave_one_out, reference_loss
from defi_leverage.clusters.profile import MEMBER_COLUMNS, account_holdings, describe_members, list_members
from defi_leverage.clusters.search import (
    Node,
    Trigger,
    find_components,
    name_nodes,
    ratios_at,
    search_sizes,
    shock_of,
)
from defi_leverage.contagion.book import Book, Bools, Floats, compile_book
from defi_leverage.contagion.cascades import run_cascades
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot

__all__ = [
    "CLUSTER_COLUMNS",
    "branching_ratio",
    "cluster_members",
    "find_clusters",
    "gain_matrix",
    "signed_gain_matrix",
]

CLUSTER_COLUMNS = (
    "rank",
    "cluster_id",
    "cluster",
    "assets",
    "directions",
    "venues",
    "critical_shock",
    "critical_by",
    "trigger",
    "searched",
    "branching_ratio",
    "peak_branching_ratio",
    "peak_at",
    "amplification",
    "forced_sales_usd",
    "bad_debt_usd",
    "accounts",
    "hhi",
    "top10_share",
    "top_accounts",
    "collateral_usd",
    "debt_usd",
    "equity_usd",
    "leverage",
    "look_through_leverage",
    "negative_equity_accounts",
    *LEAVE_ONE_OUT_COLUMNS,
    "reference_shocks",
)

Progress = Callable[[int, int], None]


def find_clusters(
    snapshot: Snapshot,
    *,
    threshold: float = 0.05,
    band: float = 0.01,
    largest_fall: float = 0.6,
    reference_fall: float = 0.3,
    bad_debt_share: float = 0.01,
    tolerance: float = 1e-4,
    previous: pd.DataFrame | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Systemic leverage clusters, ranked by critical shock (smallest first), then by forced sales.

    `threshold`: gains below it do not tie nodes together; `band`: width of the finite difference, and step of the
    search; `largest_fall`: how deep states are searched, and how high for rises; `bad_debt_share`: the bound on bad
    debt, as a share of all debt, whose passing is critical too; `tolerance`: width of the bracket of a critical shock;
    `previous`: `cluster_members` of an earlier scan, whose identifiers live on (`ids.keep_cluster_ids`).
    `search.find_components` says which nodes belong together.

    One row a cluster (CLUSTER_COLUMNS). `assets` and `directions` (fall or rise) of its nodes. `critical_shock`: the
    size of the move, a positive fraction, nan if none up to `largest_fall`; `critical_by` 'branching ratio' or 'bad
    debt'; `trigger` the assets that move, ' up' behind those that rise; `searched`: what was tried, with the bracket;
    a crossing that returns within one step stays unseen. `branching_ratio` (`search.ratios_at`) over the first
    band of the trigger's move, `peak_branching_ratio` over the one that begins at the size `peak_at`. After a move of
    the trigger by `reference_fall` (`reference_shocks`, JSON by asset_id): amplification, forced sales (USD of seized
    collateral), bad debt (USD), and of the accounts that it liquidates what `describe_members` and `leave_one_out` say;
    the reference set of the latter is this move of every cluster's trigger. Raises ScenarioError for a threshold that
    is not positive, or a band or fall outside (0, 1).
    """
    if not threshold > 0:
        raise ScenarioError(f"threshold {threshold} must be above 0")
    for name, value in (("band", band), ("largest_fall", largest_fall), ("reference_fall", reference_fall)):
        check_share(name, value)
    if band < 1e-4:
        raise ScenarioError(f"band {band} is below 0.0001; the search takes {largest_fall / band:,.0f} steps an asset")
    if not tolerance >= 1e-9:
        raise ScenarioError(f"tolerance {tolerance} must be at least 1e-9")
    book, holdings = compile_book(snapshot), account_holdings(snapshot)
    crossing = prepare_crossings(book)
    found = [
        _describe(snapshot, crossing, holdings, nodes, band, largest_fall, reference_fall, bad_debt_share, tolerance)
        for nodes in find_components(crossing, band, largest_fall, threshold, progress)
    ]
    rows = [row for row, _, _ in found]
    table = pd.DataFrame(rows, columns=[name for name in CLUSTER_COLUMNS if name != "rank"])
    if rows:
        members = {str(place): part for place, (_, part, _) in enumerate(found)}
        accounts = {name: part["account_id"].tolist() for name, part in members.items()}
        left_out = leave_one_out(snapshot, accounts, [loss for *_, loss in found], book, crossing.compact)
        table[list(LEAVE_ONE_OUT_COLUMNS)] = left_out.to_numpy(float)
        ids = keep_cluster_ids(_join(members), previous)
        names = (table["assets"] + table["directions"]).tolist()  # of a cluster whose reference move reaches nobody
        table["cluster_id"] = [ids.get(place) or new_id(name) for place, name in zip(members, names, strict=True)]
    table = table.sort_values(
        ["critical_shock", "forced_sales_usd", "cluster"], ascending=[True, False, True], ignore_index=True
    )
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def cluster_members(snapshot: Snapshot, clusters: pd.DataFrame) -> pd.DataFrame:
    """The accounts of every cluster: cluster_id and MEMBER_COLUMNS, one row a cluster and account.

    `clusters`: of `find_clusters` on the same snapshot. This table is what a later scan takes as `previous`.
    """
    book, holdings, found = compile_book(snapshot), account_holdings(snapshot), {}
    for row in clusters.to_dict("records"):
        result = run_contagion(snapshot, Scenario("cluster", json.loads(row["reference_shocks"])), book)
        found[str(row["cluster_id"])] = list_members(result, holdings)
    return _join(found)


def _join(members: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    parts = [part.assign(cluster_id=name) for name, part in members.items() if len(part)]
    columns = ["cluster_id", *MEMBER_COLUMNS]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _describe(
    snapshot: Snapshot,
    crossing: CrossingBook,
    holdings: pd.DataFrame,
    nodes: list[Node],
    band: float,
    largest: float,
    reference: float,
    bad_debt_share: float,
    tolerance: float,
) -> tuple[dict[str, Any], pd.DataFrame, ReferenceLoss]:
    """A cluster's row, its accounts, and the losses of its reference run."""
    book = crossing.book
    supplied = _supplied_usd(book)
    nodes = sorted(nodes, key=lambda node: (-supplied[node[0]], node))
    all_debt = float((book.amount * book.feed_price[book.leg_feed])[book.is_debt].sum())

    def too_bad(trigger: Trigger, sizes: Floats) -> Bools:
        shocks = np.array([shock_of(book, trigger, size) for size in sizes.tolist()])
        return run_cascades(book, crossing.compact, shocks).bad_debt_usd > bad_debt_share * all_debt

    ratios = remember(lambda trigger, sizes: ratios_at(crossing, nodes, trigger, sizes, band))
    trigger, found = find_critical_shock(book, nodes, ratios, remember(too_bad), band, largest, tolerance)
    sizes = search_sizes(band, largest, min(trigger.values()))
    ratio = ratios(trigger, sizes[1:])
    peak = int(np.argmax(ratio))
    shocks = {str(book.asset_ids[asset]): sign * reference for asset, sign in trigger.items()}
    result = run_contagion(snapshot, Scenario("cluster", shocks), book)
    members = list_members(result, holdings)
    venues = sorted(set(members["venue_id"]))
    names = dict(zip(snapshot.venues["venue_id"], snapshot.venues["name"], strict=True))
    venue_names = [names[venue] or venue for venue in venues]
    return (
        {
            "cluster": f"{name_nodes(book, nodes)} on {', '.join(venue_names) or 'no venue'}",
            "assets": ", ".join(str(book.asset_ids[asset]) for asset, _ in nodes),
            "directions": ", ".join("fall" if sign < 0 else "rise" for _, sign in nodes),
            "venues": ", ".join(venues),
            "critical_shock": found.size,
            "critical_by": found.cause,
            "trigger": name_nodes(book, list(trigger.items())),
            "searched": found.searched,
            "branching_ratio": float(ratio[0]),
            "peak_branching_ratio": float(ratio[peak]),
            "peak_at": float(sizes[peak]),
            "amplification": result.amplification,
            "forced_sales_usd": float(result.liquidations["seized_usd"].sum()),
            "bad_debt_usd": float(result.summary()["bad_debt_usd"]),
            **describe_members(members),
            "reference_shocks": json.dumps(shocks, sort_keys=True),
        },
        members,
        reference_loss(result),
    )


def _supplied_usd(book: Book) -> Floats:
    legs = ~book.is_debt
    value = (book.amount * book.feed_price[book.leg_feed])[legs]
    return np.bincount(book.leg_asset[legs], weights=value, minlength=len(book.price)).astype(np.float64)
