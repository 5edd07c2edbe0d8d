"""What leverage costs to keep: interest, funding, and the drag of rebalancing to a constant leverage."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from defi_leverage.analytics.drivers import feed_drivers, resolve_by_driver
from defi_leverage.analytics.holdings import account_exposures, named_venues, open_positions
from defi_leverage.graph.carry import account_carry
from defi_leverage.health import leg_values
from defi_leverage.snapshot import Snapshot

__all__ = [
    "constant_leverage_return",
    "drifted_leverage",
    "funding_cost",
    "leverage_decay",
    "rebalancing_drag",
    "rebalancing_trade",
]

Array = NDArray[np.float64]


def rebalancing_drag(leverage: ArrayLike, volatility: ArrayLike) -> Array:
    """Growth of equity that constant leverage loses to volatility, 1/year: L (L - 1) sigma^2 / 2.

    Against L times the asset's log growth. 0 at leverage 0 and 1, negative between, positive for shorts (L < 0).
    Source: Cheng & Madhavan, Journal of Investment Management 7 (2009); Avellaneda & Zhang, SIAM J. Financial
    Mathematics 1 (2010). `volatility`: yearly, a fraction.
    """
    ratio, sigma = np.asarray(leverage, float), np.asarray(volatility, float)
    drag: Array = ratio * (ratio - 1) * sigma**2 / 2
    return drag


def constant_leverage_return(
    leverage: float, asset_return: float, volatility: float, years: float, borrow_rate: float = 0.0
) -> float:
    """Return of equity at constant leverage: (1 + R)^L exp((1 - L) b T - L (L - 1) sigma^2 T / 2) - 1.

    `asset_return` R over the whole time, `borrow_rate` b a year, compounded continuously. Rebalanced without cost or
    jumps. Source: Avellaneda & Zhang (2010), equation for constant rates.
    """
    drag = float(rebalancing_drag(leverage, volatility))
    growth = leverage * np.log1p(asset_return) + ((1 - leverage) * borrow_rate - drag) * years
    return float(np.expm1(growth))


def rebalancing_trade(leverage: ArrayLike, asset_return: ArrayLike, equity: ArrayLike) -> Array:
    """What holding leverage constant trades after a return r: L (L - 1) r E, in the unit of the equity before it.

    Positive: buys. Longs and shorts alike sell into a fall. Source: Cheng & Madhavan (2009).
    """
    ratio = np.asarray(leverage, float)
    trade: Array = ratio * (ratio - 1) * np.asarray(asset_return, float) * np.asarray(equity, float)
    return trade


def drifted_leverage(leverage: ArrayLike, asset_return: ArrayLike) -> Array:
    """Leverage after a return r and no trade: L (1 + r) / (1 + L r); nan where the equity is gone (1 + L r <= 0).

    Exposure over equity, both before the trade that holds leverage constant, of Cheng & Madhavan (2009).
    """
    ratio, change = np.broadcast_arrays(np.asarray(leverage, float), np.asarray(asset_return, float))
    equity = 1 + ratio * change
    drifted: Array = np.divide(ratio * (1 + change), equity, out=np.full(equity.shape, np.nan), where=equity > 0)
    return drifted


def funding_cost(leverage: ArrayLike, funding_rate: ArrayLike, long: ArrayLike = True) -> Array:
    """Share of the equity that a perp pays as funding, 1/year: L f of a long, -L f of a short (negative: it earns).

    `funding_rate` f: positive where longs pay shorts, 1/year, of the notional. Source: He, Manela, Ross & von Wachter,
    Fundamentals of Perpetual Futures (2022), arXiv 2212.06888.
    """
    cost: Array = np.asarray(leverage, float) * np.asarray(funding_rate, float)
    paid: Array = np.where(np.asarray(long, bool), cost, -cost)
    return paid


def leverage_decay(snapshot: Snapshot, volatilities: Mapping[str, float] | None = None) -> pd.DataFrame:
    """One row an account that owes or has a position, the largest exposure first; rates 1/year, shares of equity.

    account_id, venue_id, venue, exposure_usd, equity_usd, leverage.

    - net_carry: of a loan what supplies earn less what debts cost (`account_carry`); of an account with perp positions
      minus their funding at the rate of the table `perp_markets`, one for both sides (`funding_cost`); what its margin
      earns is not told, nor counted
    - driver: asset_id of the one asset that moves it (`feed_drivers`), '' where there is none or several;
      driver_leverage: net exposure to that over equity; rebalancing_drag: of holding that constant
    - decay: rebalancing_drag - net_carry, what the equity loses a year where prices end where they began;
      half_life_years: ln 2 / decay, inf where it does not lose

    `volatilities`: by symbol or asset_id, yearly. An asset of volatility 0 moves nothing; of several that move, the
    drag depends on correlations that are not given, so it is nan, as it is where a volatility or the equity is missing.
    Raises SnapshotError or ScenarioError as `resolve_by_driver`.
    """
    sigma = resolve_by_driver(snapshot, volatilities, "volatility")
    table = account_exposures(snapshot)
    driver, net = _single_driver(snapshot, {asset for asset, value in sigma.items() if value == 0})
    equity = table["equity_usd"].to_numpy(float)
    ratio = np.divide(net, equity, out=np.full(len(net), np.nan), where=equity > 0)
    # without a driver nothing moves: no drag; with several there is no figure (ratio is nan)
    volatility = np.where(driver == "", 0.0, pd.Series(driver, dtype=object).map(sigma).to_numpy(float))
    drag = rebalancing_drag(ratio, volatility) + 0.0  # no -0
    has_positions = table.index.isin(snapshot.perps["account_id"])
    interest = account_carry(snapshot)["net_carry"].to_numpy(float)
    carry = np.where(has_positions, -_funding_costs(snapshot, table["equity_usd"]), interest)
    decay = drag - carry
    life = np.divide(np.log(2), decay, out=np.where(np.isnan(decay), np.nan, np.inf), where=decay > 0)
    found = pd.DataFrame(
        {
            "venue_id": table["venue_id"],
            "venue": table["venue_id"].map(named_venues(snapshot)),
            **{name: table[name] for name in ("exposure_usd", "equity_usd", "leverage")},
            "net_carry": carry,
            "driver": driver,
            "driver_leverage": ratio,
            "rebalancing_drag": drag,
            "decay": decay,
            "half_life_years": life,
        },
        index=table.index,
    )[table["levered"]]
    return found.sort_values("exposure_usd", ascending=False, kind="stable").reset_index()


def _funding_costs(snapshot: Snapshot, equity_usd: "pd.Series[float]") -> Array:
    """Per account, as `equity_usd`: funding of all its positions; nan where a rate is missing, or without equity."""
    positions = open_positions(snapshot)
    keys = ["venue_id", "asset_id"]
    rate = positions[keys].merge(snapshot.perp_markets[[*keys, "funding_rate"]], on=keys, how="left")["funding_rate"]
    row = equity_usd.index.get_indexer(pd.Index(positions["account_id"]))
    equity = np.where(equity_usd > 0, equity_usd, np.nan)
    cost = funding_cost(positions["notional_usd"] / equity[row], rate.to_numpy(float), positions["size"] > 0)
    return np.bincount(row, cost, len(equity)).astype(np.float64)


def _single_driver(snapshot: Snapshot, still: set[str]) -> "tuple[NDArray[np.object_], Array]":
    """Per account: its only driver and USD net exposure to it; ('', 0) without any, ('', nan) with several."""
    legs = snapshot.legs
    account = pd.Index(snapshot.accounts["account_id"])
    value = leg_values(snapshot) * np.where(legs["side"] == "debt", -1.0, 1.0)
    by_leg = pd.DataFrame(
        {
            "row": account.get_indexer(legs["account_id"]),
            "driver": legs["feed_id"].map(feed_drivers(snapshot)).to_numpy(object),
            "usd": value,
        }
    )
    by_leg = by_leg[(by_leg["driver"] != "") & ~by_leg["driver"].isin(still) & (by_leg["usd"] != 0)]
    sums = by_leg.groupby(["row", "driver"], as_index=False)["usd"].sum()
    driver, net = np.full(len(account), "", object), np.zeros(len(account))
    rows = sums["row"].to_numpy(int)
    several = np.bincount(rows, minlength=len(account)) > 1
    driver[rows], net[rows] = sums["driver"].to_numpy(object), sums["usd"].to_numpy(float)
    driver[several], net[several] = "", np.nan
    return driver, net
