"""What changed between two snapshots: clusters, loops, and accounts that crossed a health band."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from defi_leverage.clusters.ids import trace_clusters
from defi_leverage.clusters.ranking import cluster_members, find_clusters
from defi_leverage.graph.loops import find_loops
from defi_leverage.health import account_health
from defi_leverage.snapshot import Snapshot

__all__ = ["HEALTH_BANDS", "Comparison", "compare_accounts", "compare_rows", "compare_snapshots", "count_crossings"]

HEALTH_BANDS = (1.0, 1.05, 1.1, 1.25)
_ORDER = ("appeared", "vanished", "grew", "shrank", "steady")


class Comparison(NamedTuple):
    """Tables of two snapshots side by side.

    `clusters`: cluster_id, name, change, usd_before, usd_after (collateral of its accounts), growth, critical_before,
    critical_after; `lineage`: of `ids.trace_clusters`; `loops`: venue_id, collateral_asset_id, debt_asset_id,
    name, change, usd_before, usd_after (notional), growth; `accounts`: of `compare_accounts`; `bands`: of
    `count_crossings`.
    """

    clusters: pd.DataFrame
    lineage: pd.DataFrame
    loops: pd.DataFrame
    accounts: pd.DataFrame
    bands: pd.DataFrame


def compare_snapshots(
    before: Snapshot,
    after: Snapshot,
    *,
    threshold: float = 0.1,
    bands: Sequence[float] = HEALTH_BANDS,
    clusters: Mapping[str, Any] | None = None,
    previous: pd.DataFrame | None = None,
) -> Comparison:
    """Clusters and loops that appeared, grew, shrank or vanished, and accounts that crossed a health band.

    Grown or shrunk: by more than `threshold` of the USD before, at each snapshot's own prices, so that a rise of prices
    shows too. `bands`: ascending health factors between bands. `clusters`: arguments of `find_clusters` for both
    snapshots; `previous`: members of the clusters of `before`, where their identifiers are known already. Raises
    ValueError for a threshold that is not positive or bands that do not ascend, and what `find_clusters` raises.
    """
    if not threshold > 0:
        raise ValueError(f"threshold {threshold} must be above 0, such as 0.1 for 10 %")
    arguments = dict(clusters or {})
    old = find_clusters(before, **arguments, previous=previous)
    old_members = cluster_members(before, old)
    new = find_clusters(after, **arguments, previous=old_members)
    both = tuple(
        table[["cluster_id", "cluster", "collateral_usd", "critical_shock"]].rename(
            columns={"cluster": "name", "collateral_usd": "usd", "critical_shock": "critical"}
        )
        for table in (old, new)
    )
    loops = tuple(
        find_loops(snapshot)[["venue_id", "collateral_asset_id", "debt_asset_id", "loop", "notional_usd"]].rename(
            columns={"loop": "name", "notional_usd": "usd"}
        )
        for snapshot in (before, after)
    )
    accounts = compare_accounts(before, after, bands)
    return Comparison(
        clusters=compare_rows(both[0], both[1], ["cluster_id"], threshold),
        lineage=trace_clusters(old_members, cluster_members(after, new)),
        loops=compare_rows(loops[0], loops[1], ["venue_id", "collateral_asset_id", "debt_asset_id"], threshold),
        accounts=accounts[accounts["crossed"] != ""].reset_index(drop=True),
        bands=count_crossings(accounts, bands),
    )


def compare_rows(before: pd.DataFrame, after: pd.DataFrame, key: Sequence[str], threshold: float) -> pd.DataFrame:
    """Rows of two tables matched by `key`: what appeared, vanished, grew, shrank or is steady, the largest USD first.

    Both tables have the key, `name` and `usd`; any other column is there twice, _before and _after. growth: relative
    change of usd (nan where there was none).
    """
    table = before.merge(after, on=list(key), how="outer", suffixes=("_before", "_after"), indicator="side")
    side = table.pop("side").astype(str)
    table.insert(len(key), "name", table.pop("name_after").combine_first(table.pop("name_before")))
    table["usd_before"], table["usd_after"] = (table[name].fillna(0.0) for name in ("usd_before", "usd_after"))
    table["growth"] = table["usd_after"] / table["usd_before"].where(table["usd_before"] > 0) - 1
    limit = threshold * (1 + 1e-9)  # a growth of exactly the threshold must not depend on the last bit
    change = np.select(
        [side == "right_only", side == "left_only", table["growth"] > limit, table["growth"] < -limit],
        list(_ORDER[:4]),
        _ORDER[4],
    )
    table.insert(len(key) + 1, "change", change)
    size = table[["usd_before", "usd_after"]].max(axis=1)
    order = pd.DataFrame({"change": [_ORDER.index(name) for name in change], "size": -size})
    return table.loc[order.sort_values(["change", "size"], kind="stable").index].reset_index(drop=True)


def compare_accounts(before: Snapshot, after: Snapshot, bands: Sequence[float] = HEALTH_BANDS) -> pd.DataFrame:
    """Every account that had debt in either snapshot, by account_id, with its health band in both.

    Columns: account_id, venue_id, crossed ('worse', 'better', 'appeared', 'vanished', '' if the band is the same),
    band_before and band_after ('below 1', '1 to 1.05', ..., '1.25 and above'; 'absent' where it has no debt),
    health_factor_before, health_factor_after, debt_usd_before, debt_usd_after, negative_equity (after). Worse first,
    the largest debt first. At exactly an edge an account is in the band above it. Raises ValueError for bands that do
    not ascend.
    """
    edges = np.asarray(bands, float)
    if not len(edges) or not (np.diff(edges) > 0).all() or not (edges > 0).all():
        raise ValueError(f"bands {list(bands)} must be positive and ascend, such as {list(HEALTH_BANDS)}")
    names = _band_names(bands)
    sides = []
    for snapshot in (before, after):
        health = account_health(snapshot)
        health["venue_id"] = snapshot.accounts["venue_id"].to_numpy(object)
        sides.append(health.loc[health["debt_usd"] > 0, ["venue_id", "health_factor", "debt_usd", "equity_usd"]])
    table = sides[0].add_suffix("_before").join(sides[1].add_suffix("_after"), how="outer").rename_axis("account_id")
    table["venue_id"] = table["venue_id_after"].combine_first(table["venue_id_before"])
    place = {}
    for side in ("before", "after"):
        factor = table[f"health_factor_{side}"].to_numpy(float)
        place[side] = np.where(np.isnan(factor), -1, np.searchsorted(edges, factor, side="right"))
        table[f"band_{side}"] = [names[number] if number >= 0 else "absent" for number in place[side]]
        table[f"debt_usd_{side}"] = table[f"debt_usd_{side}"].fillna(0.0)
    left, right = place["before"], place["after"]
    kinds = ["appeared", "vanished", "worse", "better"]
    table["crossed"] = np.select([left < 0, right < 0, right < left, right > left], kinds, "")
    table["negative_equity"] = (table["equity_usd_after"] < 0).to_numpy(bool)
    rank = table["crossed"].map({"worse": 0, "better": 1, "appeared": 2, "vanished": 3, "": 4})
    size = -table[["debt_usd_before", "debt_usd_after"]].max(axis=1)
    order = pd.DataFrame({"rank": rank, "size": size}).sort_values(["rank", "size"], kind="stable").index
    columns = [
        "venue_id",
        "crossed",
        *(f"{name}_{side}" for name in ("band", "health_factor", "debt_usd") for side in ("before", "after")),
        "negative_equity",
    ]
    return table.loc[order, columns].reset_index()


def count_crossings(accounts: pd.DataFrame, bands: Sequence[float] = HEALTH_BANDS) -> pd.DataFrame:
    """How many accounts of `compare_accounts` went from which band (rows) to which (columns), 'absent' last."""
    names = [*_band_names(bands), "absent"]
    counts = pd.crosstab(accounts["band_before"], accounts["band_after"])
    return counts.reindex(index=names, columns=names, fill_value=0).astype(int)


def _band_names(bands: Sequence[float]) -> list[str]:
    edges = [f"{edge:g}" for edge in bands]
    inner = [f"{low} to {high}" for low, high in pairwise(edges)]
    return [f"below {edges[0]}", *inner, f"{edges[-1]} and above"]
