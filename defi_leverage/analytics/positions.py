"""Position leverage: how much is carried, how much could be, and how far prices are from liquidation."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from defi_leverage.analytics.drivers import feed_drivers, resolve_by_driver
from defi_leverage.analytics.holdings import account_exposures, named_venues, open_positions
from defi_leverage.errors import ScenarioError
from defi_leverage.health import account_health, fall_to_liquidation, leg_values
from defi_leverage.snapshot import Snapshot

__all__ = [
    "distance_in_volatilities",
    "leverage_headroom",
    "liquidation_move",
    "liquidation_prices",
    "maximum_leverage",
    "position_measures",
]

Array = NDArray[np.float64]
_DAYS = 365


def maximum_leverage(liquidation_threshold: ArrayLike) -> Array:
    """Leverage at which the health factor is 1: 1 / (1 - LT); inf at LT 1.

    From HF = LT L / (L - 1) (Heimbach & Huang, BIS Working Paper 1171, 2024). Of a perp with maintenance margin m,
    LT = 1 - m gives 1 / m. Raises ValueError for a threshold outside [0, 1].
    """
    threshold = np.asarray(liquidation_threshold, float)
    if not ((threshold >= 0) & (threshold <= 1)).all():
        raise ValueError(f"liquidation_threshold {liquidation_threshold!r} must be in [0, 1]")
    limit: Array = np.divide(1.0, 1 - threshold, out=np.full(threshold.shape, np.inf), where=threshold < 1)
    return limit


def leverage_headroom(leverage: ArrayLike, maximum: ArrayLike) -> Array:
    """Share of the maximum leverage that is unused: 1 - L / L_max; 0 at the limit, negative beyond it."""
    headroom: Array = 1 - np.asarray(leverage, float) / np.asarray(maximum, float)
    return headroom


def liquidation_move(excess_usd: ArrayLike, exposure_usd: ArrayLike) -> Array:
    """Relative move x of one asset, all else unchanged, that brings the health factor to 1: excess + x * exposure = 0.

    `excess_usd`: weighted collateral less weighted debt; `exposure_usd`: the part of that in the asset (negative when
    short). nan without exposure, and where the price would have to fall to 0 or below. Of a perp, p (1 + x) is the
    liquidation price (p0 - c/q) / (1 - m), or (p0 + c/q) / (1 + m) when short (Chitra, arXiv 2512.01112, 2025).
    """
    excess, exposure = np.broadcast_arrays(np.asarray(excess_usd, float), np.asarray(exposure_usd, float))
    move = np.divide(-excess, exposure, out=np.full(excess.shape, np.nan), where=exposure != 0)
    return np.where(move > -1, move, np.nan)


def distance_in_volatilities(move: ArrayLike, volatility: ArrayLike, years: float) -> Array:
    """How many standard deviations of the log price over `years` a relative move is: |ln(1 + x)| / (sigma sqrt(T)).

    Distance to default without drift (Merton, Journal of Finance 29, 1974; Crosbie & Bohn, Moody's KMV, 2003), in the
    price rather than in the value of the firm. `volatility`: yearly, a fraction; inf at 0. Raises ValueError for a
    horizon that is not positive.
    """
    if not years > 0:
        raise ValueError(f"years {years} must be above 0")
    size, scale = np.broadcast_arrays(
        np.abs(np.log1p(np.asarray(move, float))), np.asarray(volatility, float) * np.sqrt(years)
    )
    unmoved = np.where(np.isnan(size), np.nan, np.where(size > 0, np.inf, 0.0))
    distance: Array = np.divide(size, scale, out=unmoved, where=scale != 0)
    return distance


def position_measures(snapshot: Snapshot) -> pd.DataFrame:
    """One row an account that owes or has a perp position, the largest exposure first.

    account_id, venue_id, venue; exposure_usd, debt_usd, equity_usd, leverage (`account_exposures`); maximum_leverage:
    exposure over the equity at which the health factor is 1, which is 1 / (1 - LT) of a loan; headroom
    (`leverage_headroom`; nan where equity is not positive); health_factor; fall_to_liquidation: fall of all collateral
    against all debt, 1 - 1 / HF.
    """
    table = account_exposures(snapshot)
    table = table[table["levered"]]
    exposure, required = (table[name].to_numpy(float) for name in ("exposure_usd", "required_equity_usd"))
    # required is a difference of sums: what rounding leaves of it is no requirement
    bound = required > 1e-12 * exposure
    most = np.divide(exposure, required, out=np.where(exposure > 0, np.inf, np.nan), where=bound)
    found = pd.DataFrame(
        {
            "venue_id": table["venue_id"],
            "venue": table["venue_id"].map(named_venues(snapshot)),
            **{name: table[name] for name in ("exposure_usd", "debt_usd", "equity_usd", "leverage")},
            "maximum_leverage": most,
            "headroom": leverage_headroom(table["leverage"].to_numpy(float), most),
            "health_factor": table["health_factor"],
            "fall_to_liquidation": fall_to_liquidation(table["health_factor"].to_numpy(float)),
        }
    )
    largest: pd.DataFrame = found.sort_values("exposure_usd", ascending=False, kind="stable").reset_index()
    return largest


def liquidation_prices(
    snapshot: Snapshot, volatilities: Mapping[str, float] | None = None, horizon_days: float = 1.0
) -> pd.DataFrame:
    """One row an account that owes and an asset that moves it, the nearest first: see `liquidation_move`.

    An asset moves all legs that follow it (`feed_drivers`): where collateral and debt follow ETH, both move. Columns:
    account_id, venue_id, venue, asset_id, symbol; exposure_usd (net, by weight); direction (fall or rise: what hurts);
    move_to_liquidation and liquidation_price_usd, at which the health factor is 1, all else unchanged (of an account
    below 1 already, at which it would be again); venue_liquidation_price_usd, the venue's own figure for a perp;
    volatility, as given; distance: volatilities over `horizon_days` (`distance_in_volatilities`), 0 at or below health
    factor 1. What is not reached, or not given, is nan.

    `volatilities`: by symbol or asset_id, yearly. Raises SnapshotError or ScenarioError as `resolve_by_driver`, and
    ScenarioError for a horizon that is not positive and finite.
    """
    if not 0 < horizon_days < np.inf:
        raise ScenarioError(f"horizon_days {horizon_days:g} must be above 0 and finite, such as 1")
    sigma = resolve_by_driver(snapshot, volatilities, "volatility")
    table = _driver_exposures(snapshot)
    excess = table["excess_usd"].to_numpy(float)
    move = liquidation_move(excess, table["exposure_usd"].to_numpy(float))
    price = _driver_prices(snapshot, table)
    volatility = table["asset_id"].map(sigma).to_numpy(float)
    distance = distance_in_volatilities(move, volatility, horizon_days / _DAYS)
    keys = ["account_id", "asset_id"]
    known = snapshot.perps[[*keys, "liquidation_price_usd"]].drop_duplicates(keys)
    found = pd.DataFrame(
        {
            "account_id": table["account_id"],
            "venue_id": table["venue_id"],
            "venue": table["venue_id"].map(named_venues(snapshot)),
            "asset_id": table["asset_id"],
            "symbol": table["asset_id"].map(snapshot.assets.set_index("asset_id")["symbol"]),
            "exposure_usd": table["exposure_usd"],
            "direction": np.where(table["exposure_usd"] > 0, "fall", "rise"),
            "move_to_liquidation": move,
            "liquidation_price_usd": price * (1 + move),
            "venue_liquidation_price_usd": table[keys].merge(known, on=keys, how="left")["liquidation_price_usd"],
            "volatility": volatility,
            "distance": np.where((excess <= 0) & ~np.isnan(volatility), 0.0, distance),
        }
    )
    nearness = np.where(excess <= 0, 0.0, np.abs(np.log1p(move)))
    order = np.argsort(np.where(np.isnan(nearness), np.inf, nearness), kind="stable")
    return found.iloc[order].reset_index(drop=True)


def _driver_exposures(snapshot: Snapshot) -> pd.DataFrame:
    """Per account that owes, and asset that moves it: what of the weighted excess is in that asset."""
    legs, health = snapshot.legs, account_health(snapshot)
    account = pd.Index(snapshot.accounts["account_id"])
    row, owed = account.get_indexer(legs["account_id"]), (legs["side"] == "debt").to_numpy()
    weighted = leg_values(snapshot) * legs["weight"].to_numpy(float)
    collateral, debt = (np.bincount(row[of], weighted[of], len(account)) for of in (~owed, owed))
    # where a protocol rounds the average threshold, all of the collateral counts by as much less
    counted = health["weighted_collateral_usd"].to_numpy(float)
    rounding = np.divide(counted, collateral, out=np.ones(len(account)), where=collateral > 0)
    signed = np.where(owed, -weighted, weighted * rounding[row])
    by_leg = pd.DataFrame({"row": row, "asset_id": legs["feed_id"].map(feed_drivers(snapshot)), "exposure_usd": signed})
    by_leg = by_leg[(by_leg["asset_id"] != "") & (health["debt_usd"].to_numpy(float)[row] > 0)]
    found = pd.DataFrame(by_leg.groupby(["row", "asset_id"], as_index=False)["exposure_usd"].sum())
    found = found[found["exposure_usd"] != 0].reset_index(drop=True)
    at = found["row"].to_numpy(int)
    return found.assign(
        account_id=account[at].to_numpy(object),
        venue_id=snapshot.accounts["venue_id"].to_numpy(object)[at],
        excess_usd=(counted - debt)[at],
    )


def _driver_prices(snapshot: Snapshot, table: pd.DataFrame) -> Array:
    """USD of the asset: where the account has a position in it, at that venue's mark; else its market price."""
    keys = ["account_id", "asset_id"]
    marked = open_positions(snapshot)[[*keys, "price_usd"]].drop_duplicates(keys)
    mark = table[keys].merge(marked, on=keys, how="left")["price_usd"].to_numpy(float)
    market = table["asset_id"].map(snapshot.assets.set_index("asset_id")["price_usd"]).to_numpy(float)
    return np.where(np.isnan(mark), market, mark)
