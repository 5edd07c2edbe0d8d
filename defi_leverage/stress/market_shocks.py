"""Market moves as shocks: joint returns of history or of a model, in the terms of one snapshot's scenarios.

The engine moves a derived asset by the change of its basis, on top of what its backing does; prices and models give the
return of the asset itself. The difference is taken here, and what nothing moves is named rather than left out.
"""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np
import pandas as pd

from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError, SnapshotError
from defi_leverage.snapshot import Snapshot, resolve_asset
from defi_leverage.stress.price_history import Span, window_returns
from defi_leverage.stress.scenario_sets import combine_changes

__all__ = ["historical_scenario", "market_shocks"]

_ROUNDING = 1e-12  # a basis that changes by less has not changed


def market_shocks(
    snapshot: Snapshot,
    returns: pd.DataFrame,
    *,
    proxies: Mapping[str, str] | None = None,
    unmoved: Sequence[str] = (),
) -> pd.DataFrame:
    """What joint market returns are as shocks of this snapshot: a row each, a column an asset_id.

    `returns`: moments or draws x names, simple returns of market prices; a column is an asset's symbol or asset_id.
    `proxies`: asset -> the column whose returns it takes (WETH -> ETH); `unmoved`: assets that stand still. The shock
    of a derived asset is the change of its basis, (1 + its return) / (change of its backing's value) - 1: stETH at
    -26 % while ETH loses 20 % is a shock of -7.5 %. A derived asset without returns keeps its basis. Raises
    ScenarioError that names the columns no asset takes, the assets of the snapshot that nothing moves, and returns
    that are missing or leave no price.
    """
    own, _ = _factors(snapshot, returns, dict(proxies or {}), unmoved)
    return own.loc[:, (own != 1).any()] - 1


def historical_scenario(
    snapshot: Snapshot,
    prices: pd.DataFrame,
    window: "str | Span",
    *,
    assets: Sequence[str] | None = None,
    at: str = "trough",
    proxies: Mapping[str, str] | None = None,
    unmoved: Sequence[str] = (),
    base: Scenario | None = None,
) -> Scenario:
    """What a window of history did to market prices, as one joint shock of one moment.

    `prices` from `align_prices`; `window` a name of HISTORICAL_WINDOWS or its two ends; `assets`: columns of `prices`
    to use, all by default; `at`: 'trough' takes the hour at which all collateral of the snapshot is worth least,
    'end' the window's last. (Each asset's lowest price at its own hour would be a shock that never was.)
    `proxies` and `unmoved` as in `market_shocks`. Raises ScenarioError where a price is missing, by name.
    """
    if at not in ("trough", "end"):
        raise ScenarioError(f"at {at!r}: use 'trough' or 'end'")
    returns = window_returns(prices, window, assets)
    own, market = _factors(snapshot, returns, dict(proxies or {}), unmoved)
    moment = returns.index[-1]
    if at == "trough":
        collateral = snapshot.legs[(snapshot.legs["side"] == "collateral") & (snapshot.legs["weight"] > 0)]
        tokens = collateral.groupby("asset_id")["amount"].sum()
        usd = tokens * snapshot.assets.set_index("asset_id")["price_usd"].reindex(tokens.index)
        moment = (market[usd.index] @ usd).idxmin()
    changes = own.loc[moment] - 1
    label = window if isinstance(window, str) else f"{window[0]} to {window[1]}"
    name = f"{label}, by {moment:%Y-%m-%d %H:%M} UTC"
    return combine_changes(base or Scenario(), {str(asset): float(c) for asset, c in changes.items() if c}, name)


def _factors(
    snapshot: Snapshot, returns: pd.DataFrame, proxies: dict[str, str], unmoved: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Factors rows x asset_ids: on each asset's own price or basis, and on its market price."""
    backing = {str(asset): rows for asset, rows in snapshot.backing.groupby("asset_id")}
    column_of = _columns_by_asset(snapshot, returns, proxies, unmoved, backing)
    values = np.column_stack([returns.to_numpy(float), np.zeros(len(returns))])  # the last for what stands still
    bad = (~np.isfinite(values) | (values <= -1)).any(axis=0)
    if bad.any():
        raise ScenarioError(
            f"returns of {', '.join(map(str, returns.columns[bad[:-1]]))} are missing, or leave no price; each must be "
            "finite and above -1"
        )
    price = snapshot.assets.set_index("asset_id")["price_usd"]
    own = pd.DataFrame(1.0, index=returns.index, columns=price.index)
    for asset, column in column_of.items():
        own[asset] += values[:, column]
    market = own.copy()
    needs = {asset: set(rows["underlying_id"]) for asset, rows in backing.items()}
    try:
        order = [asset for asset in TopologicalSorter(needs).static_order() if asset in backing]
    except CycleError as error:
        raise ScenarioError(f"backing runs in a circle: {' -> '.join(error.args[1])}; remove one of its rows") from None
    for asset in order:
        bases = backing[asset]["underlying_id"]
        worth = backing[asset]["units"].to_numpy(float) * price[bases].to_numpy(float)
        follows = market[bases].to_numpy() @ (worth / worth.sum())
        if asset in column_of:
            basis = market[asset] / follows
            own[asset] = basis.where((basis - 1).abs() >= _ROUNDING, 1.0)
        else:
            market[asset] = follows
    return own, market


def _columns_by_asset(
    snapshot: Snapshot,
    returns: pd.DataFrame,
    proxies: dict[str, str],
    unmoved: Sequence[str],
    backing: Mapping[str, pd.DataFrame],
) -> dict[str, int]:
    """asset_id -> column of `returns`, -1 for what stands still; refuses what would be passed over silently."""
    columns = {str(column): index for index, column in enumerate(returns.columns)}
    if unknown := sorted(set(proxies.values()) - set(columns)):
        raise ScenarioError(f"proxies: no returns of {', '.join(unknown)}; there are {', '.join(columns)}")
    taken = {resolve_asset(snapshot, name): columns[column] for name, column in proxies.items()}
    still = {resolve_asset(snapshot, name) for name in unmoved}
    for column, index in columns.items():
        try:
            taken.setdefault(resolve_asset(snapshot, column), index)
        except SnapshotError as error:
            if index not in taken.values():
                raise ScenarioError(
                    f"returns of {column}: {error}; drop the column, or name in proxies what takes it"
                ) from None
    symbol = snapshot.assets.set_index("asset_id")["symbol"]
    if both := sorted(still & set(taken)):
        raise ScenarioError(f"{', '.join(symbol[both])} have returns and are named in unmoved; choose one")
    needed = list(dict.fromkeys(snapshot.legs["asset_id"]))
    for asset in needed:  # grows by what its members are made of
        if asset in backing:
            needed += [base for base in backing[asset]["underlying_id"] if base not in needed]
    if idle := sorted(set(needed) - set(backing) - set(taken) - still):
        raise ScenarioError(
            f"no returns of {', '.join(symbol[idle])}: bring their prices, name what moves them in proxies, "
            "or name them in unmoved",
            assets=idle,
        )
    return taken | dict.fromkeys(still, -1)
