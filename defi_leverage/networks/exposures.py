"""Suppliers' exposure: who bears the bad debt that a contagion run leaves at a venue."""

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from defi_leverage.health import leg_values
from defi_leverage.snapshot import Snapshot

__all__ = ["exposure_matrix", "spread_bad_debt", "supply_exposures"]

_POOL = ["venue_id", "asset_id"]
_SUPPLIED = ["supplied", "supplied_usd"]


def supply_exposures(snapshot: Snapshot) -> pd.DataFrame:
    """Who is exposed to which venue's bad debt: one row an owner, venue and asset that the owner supplies there.

    Columns: owner (the account_id where the owner is not known; a vault that is itself a venue has that venue's
    identifier), venue_id, asset_id, supplied (tokens), supplied_usd (at the oracle's feed prices), share (of all that
    accounts of this snapshot supply of the asset at the venue). Debt that turns bad falls on the suppliers of its asset
    by this share. Perpetual venues (rules perp_*) are left out: their collateral legs are positions, which nobody
    lends.
    """
    accounts = snapshot.accounts
    rule = accounts["venue_id"].map(snapshot.venues.set_index("venue_id")["liquidation_rule"])
    known = accounts.assign(owner=accounts["owner"].where(accounts["owner"] != "", accounts["account_id"]))
    known = known.loc[~rule.str.startswith("perp_").astype(bool), ["account_id", "owner", "venue_id"]]
    legs = snapshot.legs
    valued = legs[["account_id", "asset_id"]].assign(supplied=legs["amount"], supplied_usd=leg_values(snapshot))
    valued = valued[(legs["side"] == "collateral") & (legs["amount"] > 0)]
    table = valued.merge(known, on="account_id").groupby(["owner", *_POOL], as_index=False)[_SUPPLIED].sum()
    table["share"] = table["supplied"] / table.groupby(_POOL)["supplied"].transform("sum")
    return table


def spread_bad_debt(exposures: pd.DataFrame, bad_debt: pd.DataFrame) -> pd.DataFrame:
    """Spread bad debt on suppliers pro rata: owner, venue_id, asset_id, loss_usd, the largest loss first.

    `exposures`: of `supply_exposures`; `bad_debt`: columns venue_id, asset_id, amount (tokens), usd, as a contagion
    result has them. Nobody loses more tokens than supplied; what is left, and debt of an asset that nobody in the table
    supplies, is a row with the owner '' (holders of a minted coin, a reserve, accounts that were not read). The losses
    add up to the bad debt.
    """
    owed = bad_debt.groupby(_POOL, as_index=False)[["amount", "usd"]].sum()
    pools = exposures.groupby(_POOL, as_index=False)["supplied"].sum()
    owed = owed.merge(pools, on=_POOL, how="left").fillna({"supplied": 0.0})
    borne = np.divide(owed["supplied"], owed["amount"], out=np.ones(len(owed)), where=owed["amount"] > 0)
    owed["borne_usd"] = owed["usd"] * np.minimum(borne, 1.0)
    table = exposures.merge(owed[[*_POOL, "borne_usd"]], on=_POOL)
    table["loss_usd"] = table["share"] * table["borne_usd"]
    rest = owed.assign(owner="", loss_usd=owed["usd"] - owed["borne_usd"])
    columns = ["owner", *_POOL, "loss_usd"]
    table = pd.concat([table[columns], rest.loc[rest["loss_usd"] > 0, columns]], ignore_index=True)
    return table.sort_values(["loss_usd", *columns[:-1]], ascending=[False, True, True, True], ignore_index=True)


def exposure_matrix(exposures: pd.DataFrame) -> tuple[csr_array, "pd.Index[str]"]:
    """USD that each node (row) has at each venue (column), and the nodes: all owners and venues, sorted.

    `exposures`: of `supply_exposures`. A vault that supplies elsewhere and is a venue itself is one node, through which
    losses pass on. This is what `run_debtrank` takes; transposed, it is what the venues owe.
    """
    nodes = pd.Index(sorted({*exposures["owner"], *exposures["venue_id"]}))
    rows, columns = nodes.get_indexer(exposures["owner"]), nodes.get_indexer(exposures["venue_id"])
    usd = exposures["supplied_usd"].to_numpy(float)
    return csr_array((usd, (rows, columns)), shape=(len(nodes), len(nodes))), nodes
