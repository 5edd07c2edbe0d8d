"""Names of clusters that last from one scan to the next."""

import hashlib
from collections.abc import Mapping

import pandas as pd

__all__ = ["LINEAGE_COLUMNS", "keep_cluster_ids", "new_id", "trace_clusters"]

LINEAGE_COLUMNS = (
    "previous_id",
    "cluster_id",
    "overlap_usd",
    "share_of_previous",
    "share_of_current",
    "change",
)
_KEPT_SHARE = 0.5
_RELATED_SHARE = 0.1  # less of either cluster is a few accounts that moved, not a split or a merger


def keep_cluster_ids(members: pd.DataFrame, previous: pd.DataFrame | None = None) -> Mapping[str, str]:
    """Identifier of every cluster of `members`, by the name that it has there in `cluster_id`.

    `members`, `previous`: one row a cluster and account, columns cluster_id, account_id, collateral_usd (of the account
    today), such as `cluster_members` gives. The overlap of an old and a new cluster is the USD that stayed: the smaller
    of an account's two amounts, over the accounts that are in both. The largest overlap is taken first (ties: lowest
    identifiers), each cluster once; an old identifier is kept where the overlap is at least half of the old cluster's
    USD. Every other cluster gets a hash of its accounts, the same in every scan of the same accounts.
    """
    kept: dict[str, str] = {}
    taken: set[str] = set()
    if previous is not None:
        taken |= set(previous["cluster_id"])
        pairs = _overlaps(previous, members).sort_values(
            ["overlap_usd", "previous_id", "cluster_id"], ascending=[False, True, True]
        )
        given: set[str] = set()
        for row in pairs.to_dict("records"):
            old, new = str(row["previous_id"]), str(row["cluster_id"])
            if row["share_of_previous"] >= _KEPT_SHARE * (1 - 1e-12) and old not in given and new not in kept:
                kept[new] = old
                given.add(old)
    for name, group in members.groupby("cluster_id", sort=True):
        if (cluster := str(name)) not in kept:
            text, turn = "\n".join(sorted(group["account_id"])), 0
            while (fresh := new_id(text, turn)) in taken:
                turn += 1
            kept[cluster] = fresh
            taken.add(fresh)
    return kept


def trace_clusters(previous: pd.DataFrame, members: pd.DataFrame) -> pd.DataFrame:
    """Where the clusters of one scan went: one row a pair that shares USD, or a cluster without any counterpart.

    `previous`, `members`: as in `keep_cluster_ids`, with the identifiers that it gave. Columns LINEAGE_COLUMNS: the
    overlap in USD and as a share of either cluster; `change`: kept (the identifier goes on), split or merged (the old
    cluster went to several, or the new one comes from several, by at least a tenth of either side), moved (otherwise),
    appeared, vanished. A pair that keeps its identifier and also loses or gains a part is 'kept'; the part is a row of
    its own.
    """
    table = _overlaps(previous, members)
    related = (table["share_of_previous"] >= _RELATED_SHARE) | (table["share_of_current"] >= _RELATED_SHARE)
    several = table[related].groupby("previous_id")["cluster_id"].transform("size").reindex(table.index) > 1
    joined = table[related].groupby("cluster_id")["previous_id"].transform("size").reindex(table.index) > 1
    table["change"] = "moved"
    table.loc[joined, "change"] = "merged"
    table.loc[several, "change"] = "split"
    table.loc[table["previous_id"] == table["cluster_id"], "change"] = "kept"
    gone = sorted(set(previous["cluster_id"]) - set(table["previous_id"]))
    fresh = sorted(set(members["cluster_id"]) - set(table["cluster_id"]))
    alone = [(old, "", 0.0, 0.0, 0.0, "vanished") for old in gone]
    alone += [("", new, 0.0, 0.0, 0.0, "appeared") for new in fresh]
    rows = [*table.itertuples(index=False, name=None), *alone]
    return pd.DataFrame(rows, columns=list(LINEAGE_COLUMNS))


def _overlaps(previous: pd.DataFrame, members: pd.DataFrame) -> pd.DataFrame:
    columns = ["cluster_id", "account_id", "collateral_usd"]
    both = previous[columns].merge(members[columns], on="account_id", suffixes=("_before", "_after"))
    both["overlap_usd"] = both[["collateral_usd_before", "collateral_usd_after"]].min(axis=1)
    table = both.groupby(["cluster_id_before", "cluster_id_after"])["overlap_usd"].sum().reset_index()
    table = table.set_axis(["previous_id", "cluster_id", "overlap_usd"], axis=1)
    for share, side, other in (
        ("share_of_previous", "previous_id", previous),
        ("share_of_current", "cluster_id", members),
    ):
        whole = other.groupby("cluster_id")["collateral_usd"].sum()
        usd = table[side].map(whole).astype(float)
        table[share] = (table["overlap_usd"] / usd.where(usd > 0)).fillna(0.0)
    return table


def new_id(text: str, turn: int = 0) -> str:
    """An identifier made of a text; another one for another turn."""
    return "c" + hashlib.sha256(f"{turn}\n{text}".encode()).hexdigest()[:10]
