"""What moves a leg's price: the one asset whose market its feed follows in the end, and how volatile that is."""

import math
from collections.abc import Mapping

import pandas as pd

from defi_leverage.errors import ScenarioError
from defi_leverage.graph.liquidation_axis import trace_feeds
from defi_leverage.graph.loops import find_families
from defi_leverage.snapshot import Snapshot, resolve_asset

__all__ = ["feed_drivers", "resolve_by_driver"]


def feed_drivers(snapshot: Snapshot) -> "pd.Series[str]":
    """By feed_id, the asset_id that moves it; '' for a feed that never moves.

    A ratio feed follows the feed that it multiplies; a market feed its asset, or what that is backed by in the end
    (`find_families`: with wstETH on stETH on ETH all three follow ETH). A dollar follows itself: that dollars swap at
    par does not make one coin's depeg the other's.
    """
    asset_of = dict(zip(snapshot.feeds["feed_id"], snapshot.feeds["asset_id"], strict=True))
    driver_of = _asset_drivers(snapshot)
    found = {
        feed_id: driver_of[asset_of[trace.chain[-1]]] if trace.moves else ""
        for feed_id, trace in trace_feeds(snapshot, find_families(snapshot)).items()
    }
    return pd.Series(found, dtype=object).rename_axis("feed_id")


def resolve_by_driver(snapshot: Snapshot, figures: Mapping[str, float] | None, field: str) -> dict[str, float]:
    """Figures given by symbol or asset_id, such as volatilities, by the asset_id that drives what they are about.

    Raises SnapshotError for a name that no single asset has, and ScenarioError that names `field` for a figure that is
    not finite, a volatility below 0, or two figures that differ for assets with one driver.
    """
    driver_of = _asset_drivers(snapshot)
    found: dict[str, float] = {}
    for name, given in (figures or {}).items():
        value = float(given)
        if not math.isfinite(value) or (field == "volatility" and value < 0):
            raise ScenarioError(f"{field} {name}={given}: write a yearly fraction, such as {name}=0.6 for 60 % a year")
        driver = driver_of[resolve_asset(snapshot, name)]
        if found.setdefault(driver, value) != value:
            raise ScenarioError(f"{field} {name}={given}: {driver}, which moves it, has {found[driver]}; give it once")
    return found


def _asset_drivers(snapshot: Snapshot) -> dict[str, str]:
    assets, found = set(snapshot.assets["asset_id"]), find_families(snapshot)
    return {str(asset): str(root if root in assets else asset) for asset, root in found.items()}
