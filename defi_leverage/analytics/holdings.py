"""What every account carries, in the terms that lending and perps share: exposure, equity, and the equity it needs.

Health factors are linear in prices, so one rule holds for both: the health factor is 1 exactly where the equity equals
the required equity, sum of collateral * (1 - weight) + sum of debt * (weight - 1). Of a loan that is (1 - LT) of the
collateral, of a perp its maintenance margin.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.health import account_health, leg_values
from defi_leverage.snapshot import Snapshot

__all__ = ["account_exposures", "named_venues", "open_positions", "sum_over_sum"]

Array = NDArray[np.float64]


def sum_over_sum(above: "Array | pd.Series[float]", below: "Array | pd.Series[float]") -> float:
    """Sum over sum: how leverage and margin ratios aggregate, for their mean has no meaning; nan over nothing."""
    whole = float(np.sum(below))
    return float(np.sum(above)) / whole if whole > 0 else float("nan")


def named_venues(snapshot: Snapshot) -> dict[str, str]:
    """The name of every venue by venue_id; its identifier where it has none."""
    venues = snapshot.venues
    return {venue: name or venue for venue, name in zip(venues["venue_id"], venues["name"], strict=True)}


def open_positions(snapshot: Snapshot) -> pd.DataFrame:
    """One row a perp position: account_id, venue_id, asset_id, size (tokens), price_usd, notional_usd.

    The price is that of the feed of the account's own leg in the asset, for two venues may mark one index differently;
    without such a leg it is the asset's market price.
    """
    perps, legs = snapshot.perps, snapshot.legs
    keys = ["account_id", "asset_id"]
    fed = legs[[*keys, "feed_id"]].drop_duplicates(keys)
    feed = perps[keys].merge(fed, on=keys, how="left")["feed_id"]
    market = perps["asset_id"].map(snapshot.assets.set_index("asset_id")["price_usd"]).to_numpy(float)
    at_feed = feed.map(snapshot.feeds.set_index("feed_id")["price_usd"]).to_numpy(float)
    price = np.where(np.isnan(at_feed), market, at_feed)
    return pd.DataFrame(
        {
            "account_id": perps["account_id"].to_numpy(object),
            "venue_id": perps["account_id"].map(snapshot.accounts.set_index("account_id")["venue_id"]).to_numpy(object),
            "asset_id": perps["asset_id"].to_numpy(object),
            "size": perps["size"].to_numpy(float),
            "price_usd": price,
            "notional_usd": np.abs(perps["size"].to_numpy(float)) * price,
        }
    )


def account_exposures(snapshot: Snapshot) -> pd.DataFrame:
    """One row an account, in the accounts table's order, indexed by account_id; USD at the oracles' prices.

    venue_id; supplied_usd, debt_usd, equity_usd, health_factor of `account_health`; exposure_usd, the notional of its
    perp positions, or of an account without any, all that it supplies; required_equity_usd, the equity at which its
    health factor is 1 (see above); leverage, exposure over equity, nan where equity is not positive (count such
    accounts apart); levered, whether it owes or has a position.
    """
    health = account_health(snapshot)
    legs = snapshot.legs
    account = pd.Index(snapshot.accounts["account_id"])
    owed = (legs["side"] == "debt").to_numpy()
    weighted = (leg_values(snapshot) * legs["weight"].to_numpy(float))[owed]
    weighted_debt = np.bincount(account.get_indexer(legs["account_id"])[owed], weighted, len(account))
    positions = open_positions(snapshot)
    row = account.get_indexer(positions["account_id"])
    notional = np.bincount(row, positions["notional_usd"], len(account)).astype(np.float64)
    equity = health["equity_usd"].to_numpy(float)
    exposure = np.where(notional > 0, notional, health["supplied_usd"].to_numpy(float))
    excess = health["weighted_collateral_usd"].to_numpy(float) - weighted_debt
    return pd.DataFrame(
        {
            "venue_id": snapshot.accounts["venue_id"].to_numpy(object),
            "supplied_usd": health["supplied_usd"].to_numpy(float),
            "debt_usd": health["debt_usd"].to_numpy(float),
            "equity_usd": equity,
            "health_factor": health["health_factor"].to_numpy(float),
            "exposure_usd": exposure,
            "required_equity_usd": equity - excess,
            "leverage": np.divide(exposure, equity, out=np.full(len(equity), np.nan), where=equity > 0),
            "levered": (health["debt_usd"].to_numpy(float) > 0) | (notional > 0),
        },
        index=health.index,
    )
