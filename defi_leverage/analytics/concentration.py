"""Concentration: in how few hands the collateral and the debt of a venue or an asset are."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from defi_leverage.analytics.holdings import named_venues
from defi_leverage.graph.owners import identify_owners
from defi_leverage.health import leg_values
from defi_leverage.snapshot import Snapshot

__all__ = ["concentration_measures", "gini", "herfindahl", "owner_holdings", "top_share"]


def herfindahl(amounts: ArrayLike) -> float:
    """Herfindahl-Hirschman index: the sum of squared shares, 1/n where n hold the same, 1 where one has all.

    Amounts are at least 0, in any unit; nan where their sum is 0. Times 10,000 it is the index of the US Merger
    Guidelines (2010, section 5.3): shares of 30, 30, 20 and 20 % give 2,600. Hirschman (1964). Raises ValueError for an
    amount below 0.
    """
    size = _sizes(amounts)
    total = size.sum()
    return float(((size / total) ** 2).sum()) if total > 0 else float("nan")


def gini(amounts: ArrayLike) -> float:
    """Gini coefficient among those who hold: sum((2 i - n - 1) x_i) / (n sum(x)), x ascending, i from 1.

    0 where all hold the same, (n - 1) / n where one has all. Holders of nothing count if they are passed. nan where
    the sum is 0. Source: Dorfman, Review of Economics and Statistics 61 (1979). Raises ValueError for one below 0.
    """
    size = np.sort(_sizes(amounts))
    count, total = len(size), size.sum()
    rank = 2 * np.arange(1, count + 1) - count - 1
    return float((rank * size).sum() / (count * total)) if total > 0 else float("nan")


def top_share(amounts: ArrayLike, count: int = 10) -> float:
    """Share of the `count` largest in the sum; nan where that is 0. Raises ValueError for an amount below 0."""
    size = np.sort(_sizes(amounts))[::-1]
    total = size.sum()
    return float(size[:count].sum() / total) if total > 0 else float("nan")


def _sizes(amounts: ArrayLike) -> NDArray[np.float64]:
    size = np.asarray(amounts, float)
    if (size < 0).any():
        raise ValueError(f"amount {size.min()} is negative; concentration is of amounts of at least 0")
    return size


def owner_holdings(snapshot: Snapshot) -> pd.DataFrame:
    """USD by side, venue_id, asset_id and owner (`identify_owners`) at the oracles' prices, without empty ones.

    Sides are collateral (all that is supplied) and debt.
    """
    legs = snapshot.legs
    table = pd.DataFrame(
        {
            "side": legs["side"].to_numpy(object),
            "venue_id": legs["account_id"].map(snapshot.accounts.set_index("account_id")["venue_id"]).to_numpy(object),
            "asset_id": legs["asset_id"].to_numpy(object),
            "owner": legs["account_id"].map(identify_owners(snapshot)).to_numpy(object),
            "usd": leg_values(snapshot),
        }
    )
    found = table[table["usd"] > 0].groupby(["side", "venue_id", "asset_id", "owner"], as_index=False)["usd"].sum()
    return pd.DataFrame(found)


def concentration_measures(snapshot: Snapshot) -> pd.DataFrame:
    """One row a side (collateral or debt), and: all; a venue; an asset; an asset at a venue. The largest first.

    An empty venue_id or asset_id means all of them. Columns: side, venue_id, venue, asset_id, symbol, owners (those who
    hold any), usd, hhi (`herfindahl`), gini, top10_share, largest_share. Of owners, not of accounts: who splits a
    position is still one. Legs of margin accounts count by what they are: a perp's quote currency is a debt, too.
    """
    holdings = owner_holdings(snapshot)
    venues, symbols = (
        named_venues(snapshot),
        dict(zip(snapshot.assets["asset_id"], snapshot.assets["symbol"], strict=True)),
    )
    rows: list[dict[str, Any]] = []
    for by in (["side"], ["side", "venue_id"], ["side", "asset_id"], ["side", "venue_id", "asset_id"]):
        for key, group in holdings.groupby(by):
            named = {"venue_id": "", "asset_id": "", **dict(zip(by, map(str, key), strict=True))}
            sizes = group.groupby("owner")["usd"].sum().to_numpy(float)
            rows.append(
                named
                | {
                    "venue": venues.get(named["venue_id"], "all"),
                    "symbol": symbols.get(named["asset_id"], "all"),
                    "owners": len(sizes),
                    "usd": float(sizes.sum()),
                    "hhi": herfindahl(sizes),
                    "gini": gini(sizes),
                    "top10_share": top_share(sizes),
                    "largest_share": top_share(sizes, 1),
                }
            )
    columns = ["side", "venue_id", "venue", "asset_id", "symbol", "owners", "usd"]
    table = pd.DataFrame(rows, columns=[*columns, "hhi", "gini", "top10_share", "largest_share"])
    return table.sort_values(["side", "usd"], ascending=[True, False], kind="stable", ignore_index=True)
