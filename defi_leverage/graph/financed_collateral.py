"""Debt-financed collateral: how much of a market's collateral its owners borrowed, there or elsewhere.

Traced by owner: what an owner borrowed of one family of assets (an asset, what is made of it, and any dollar for
another; see `find_families`) and has as collateral of the same family is financed by that debt, up to the smaller of
the two; it is spread over the owner's collateral and debts of the family by value. Money has no marks: this is the
most that can have gone that way, no proof that it did.
"""

import numpy as np
import pandas as pd

from defi_leverage.graph.loops import find_families
from defi_leverage.graph.owners import identify_owners
from defi_leverage.health import leg_values
from defi_leverage.snapshot import Snapshot

__all__ = ["FINANCED_COLUMNS", "financing_flows", "trace_financed_collateral"]

FINANCED_COLUMNS = (
    "venue_id",
    "asset_id",
    "collateral_usd",
    "financed_usd",
    "financed_here_usd",
    "financed_share",
    "owners",
)


def trace_financed_collateral(snapshot: Snapshot, owners: "pd.Series[str] | None" = None) -> pd.DataFrame:
    """One row a venue and asset that is collateral there, the most financed first.

    `owners`: account_id -> owner, by default as `identify_owners` gives it. Columns: venue_id, asset_id, collateral_usd
    (all of it, weight above 0), financed_usd (of that what its owners borrowed), financed_here_usd (of that what they
    borrowed at the same venue), financed_share (of collateral_usd), owners (who financed a part of theirs).
    """
    sides, flows = _trace(snapshot, owners)
    held = sides.groupby(["venue_id", "asset_id"])["usd"].sum()
    flows = flows.assign(here=flows["usd"].where(flows["venue_id"] == flows["source_venue_id"], 0.0))
    grouped = flows.groupby(["venue_id", "asset_id"])
    found = grouped[["usd", "here"]].sum().reindex(held.index, fill_value=0.0)
    table = pd.DataFrame(
        {
            "collateral_usd": held,
            "financed_usd": found["usd"],
            "financed_here_usd": found["here"],
            "financed_share": np.divide(found["usd"], held, out=np.zeros(len(held)), where=held > 0),
            "owners": grouped["owner"].nunique().reindex(held.index, fill_value=0),
        }
    ).reset_index()
    order = ["financed_usd", "collateral_usd", "venue_id", "asset_id"]
    return table[list(FINANCED_COLUMNS)].sort_values(order, ascending=[False, False, True, True], ignore_index=True)


def financing_flows(snapshot: Snapshot, owners: "pd.Series[str] | None" = None) -> pd.DataFrame:
    """Where it was borrowed: source_venue_id, source_asset_id, venue_id, asset_id, usd, owners; the largest first.

    The USD of all rows are those of `trace_financed_collateral`; rows between two venues are debt of one that is
    collateral of another.
    """
    keys = ["source_venue_id", "source_asset_id", "venue_id", "asset_id"]
    grouped = _trace(snapshot, owners)[1].groupby(keys)
    table = grouped.agg(usd=("usd", "sum"), owners=("owner", "nunique")).reset_index()
    return table.sort_values(["usd", *keys], ascending=[False, *[True] * len(keys)], ignore_index=True)


def _trace(snapshot: Snapshot, owners: "pd.Series[str] | None") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Collateral by owner, venue and asset; and from it back to the owner's debts of the family."""
    accounts, legs = snapshot.accounts, snapshot.legs
    owner = accounts["account_id"].map(identify_owners(snapshot) if owners is None else owners)
    owner = owner.fillna(accounts["account_id"])
    at = pd.Index(accounts["account_id"]).get_indexer(pd.Index(legs["account_id"]))
    asset, assets = pd.factorize(legs["asset_id"], sort=True)
    family = pd.factorize(find_families(snapshot).reindex(assets))[0]
    rows = pd.DataFrame(
        {
            "owner": pd.factorize(owner)[0][at],
            "venue": pd.factorize(accounts["venue_id"], sort=True)[0][at],
            "asset": asset,
            "family": family[asset],
            "usd": leg_values(snapshot),
        }
    )
    counts = ((legs["weight"] > 0) & (rows["usd"] > 0)).to_numpy()
    is_debt = (legs["side"] == "debt").to_numpy()
    keys, whole = ["owner", "family", "venue", "asset"], ["owner", "family"]
    sides = [rows[counts & side].groupby(keys, as_index=False)["usd"].sum() for side in (~is_debt, is_debt)]
    for side in sides:
        side["total"] = side.groupby(whole)["usd"].transform("sum")
    flows = sides[0].merge(sides[1], on=whole, suffixes=("", "_owed"))
    # c/C of the collateral and d/D of the debt, of the smaller of C and D
    flows["usd"] *= flows["usd_owed"] / np.maximum(flows["total"], flows["total_owed"])
    venues = np.asarray(pd.factorize(accounts["venue_id"], sort=True)[1], object)
    names = np.asarray(assets, object)
    return sides[0].assign(venue_id=venues[sides[0]["venue"]], asset_id=names[sides[0]["asset"]]), flows.assign(
        venue_id=venues[flows["venue"]],
        asset_id=names[flows["asset"]],
        source_venue_id=venues[flows["venue_owed"]],
        source_asset_id=names[flows["asset_owed"]],
    )
