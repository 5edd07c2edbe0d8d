"""Dependency: how much of a market's liquidity is borrowed, and on whom its supply and its debt hang."""

from typing import Any

import numpy as np
import pandas as pd

from defi_leverage.analytics.concentration import owner_holdings, top_share
from defi_leverage.analytics.holdings import named_venues
from defi_leverage.analytics.lending import borrowed_share, lent_liquidity, perp_venues
from defi_leverage.snapshot import Snapshot

__all__ = ["DEPENDENCY_COLUMNS", "dependency_measures"]

DEPENDENCY_COLUMNS = (
    *("venue_id", "venue", "asset_id", "symbol", "supplied_usd", "borrowed_usd", "utilisation", "withdrawable_share"),
    "borrowed_share",
    *("suppliers", "largest_supplier", "largest_supplier_share", "top10_supplier_share", "largest_can_leave"),
    *("borrowers", "largest_borrower", "largest_borrower_share", "top10_borrower_share"),
)


def dependency_measures(snapshot: Snapshot) -> pd.DataFrame:
    """One row an asset that a venue lends or takes, the most borrowed first (DEPENDENCY_COLUMNS).

    - supplied_usd, borrowed_usd: of the accounts read, at the oracle's prices
    - utilisation: of the whole market, as its protocol counts it, from the table `rates`
    - withdrawable_share: of what is supplied to the pool that lends it, what is available now, from `rates` (1 -
      utilisation where it does not tell amounts)
    - borrowed_share: of the liquidity of the pool that lends it (`lent_liquidity`, `borrowed_share`), one rule for
      every protocol, while a utilisation may leave out reserves (Compound v2, Comet); nan where no pool lends it
    - suppliers, borrowers: owners (`identify_owners`); largest_*_share and top10_*_share: of what the accounts read
      supply and owe; nan where nobody does
    - largest_can_leave: whether what the largest supplier has is at most what is available, so that it alone could
      withdraw all at once; missing where neither that nor the utilisation is known

    Venues that lend nothing (perps) are left out.
    """
    lending = set(snapshot.venues.loc[snapshot.venues["borrow_usd"].notna(), "venue_id"])
    lending |= set(snapshot.rates.loc[snapshot.rates["utilisation"].notna(), "venue_id"])
    unknown = set(snapshot.venues["venue_id"]) - perp_venues(snapshot)  # of an import, nobody told totals
    holdings = owner_holdings(snapshot)
    holdings = holdings[holdings["venue_id"].isin(lending | unknown)]
    told = snapshot.rates.set_index(["venue_id", "asset_id"])["utilisation"].to_dict()
    supplied, available = _supplied_and_available(snapshot)
    pools = lent_liquidity(snapshot).set_index(["venue_id", "asset_id"])
    lent = dict(zip(pools.index, borrowed_share(pools["borrowed_usd"], pools["available_usd"]), strict=True))
    venues, symbols = named_venues(snapshot), snapshot.assets.set_index("asset_id")["symbol"]
    rows: list[dict[str, Any]] = []
    for (venue_id, asset_id), group in holdings.groupby(["venue_id", "asset_id"]):
        supply, debt = (group[group["side"] == side] for side in ("collateral", "debt"))
        used = float(told.get((venue_id, asset_id), np.nan))
        supplier, borrower = top_share(supply["usd"], 1), top_share(debt["usd"], 1)
        whole, left = supplied.get((venue_id, asset_id), np.nan), available.get((venue_id, asset_id), np.nan)
        withdrawable = min(left / whole, 1.0) if whole > 0 else max(1 - used, 0.0) if used >= 0 else np.nan
        room = left if whole > 0 else withdrawable * float(supply["usd"].sum())
        rows.append(
            {
                "venue_id": venue_id,
                "venue": venues[str(venue_id)],
                "asset_id": asset_id,
                "symbol": symbols[str(asset_id)],
                "supplied_usd": float(supply["usd"].sum()),
                "borrowed_usd": float(debt["usd"].sum()),
                "utilisation": used,
                "withdrawable_share": withdrawable,
                "borrowed_share": float(lent.get((venue_id, asset_id), np.nan)),
                "suppliers": len(supply),
                "largest_supplier": _largest(supply),
                "largest_supplier_share": supplier,
                "top10_supplier_share": top_share(supply["usd"]),
                "largest_can_leave": None if np.isnan(room) or supply.empty else bool(supply["usd"].max() <= room),
                "borrowers": len(debt),
                "largest_borrower": _largest(debt),
                "largest_borrower_share": borrower,
                "top10_borrower_share": top_share(debt["usd"]),
            }
        )
    table = pd.DataFrame(rows, columns=list(DEPENDENCY_COLUMNS))
    return table.sort_values(["borrowed_usd", "supplied_usd"], ascending=False, kind="stable", ignore_index=True)


def _supplied_and_available(snapshot: Snapshot) -> tuple[dict[Any, float], dict[Any, float]]:
    """By venue and asset what is supplied to the pool that lends it, and what of it can leave now, in USD."""
    rates = snapshot.rates.set_index(["venue_id", "asset_id"])
    price = rates.index.get_level_values("asset_id").map(snapshot.assets.set_index("asset_id")["price_usd"].to_dict())
    supplied = rates["supplied"].fillna(rates["borrowed"] + rates["available"])
    return (supplied * price).to_dict(), (rates["available"] * price).to_dict()


def _largest(holdings: pd.DataFrame) -> str:
    return str(holdings["owner"].iloc[int(np.argmax(holdings["usd"].to_numpy(float)))]) if len(holdings) else ""
