"""What a chain does not tell, laid over a snapshot: depth, backing, kinds of feeds and yields from the configuration.

A row of the configuration names an asset by its asset_id or by its symbol, which means every asset of that symbol, each
with the underlying or quote of its own chain. Rows for assets that a snapshot does not have are passed over, so that
one general list serves every scan.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from defi_leverage.analytics.figures import Figures
from defi_leverage.analytics.rates import with_own_yields
from defi_leverage.config import BackingConfig, Config, DepthConfig, FeedConfig
from defi_leverage.contagion.impact import depth_parameters
from defi_leverage.errors import ConfigError
from defi_leverage.snapshot import Snapshot

__all__ = ["apply_config", "known_figures"]

log = logging.getLogger(__name__)

_Rows = list[dict[str, Any]]


def apply_config(snapshot: Snapshot, config: Config) -> Snapshot:
    """The snapshot with the configuration's depth, backing, feeds and own yields, validated again.

    Depth, feeds and yields replace what the snapshot says of the asset; backing is added where the snapshot has none,
    for what is read from a chain is exact. Raises ConfigError where a feed cannot be what the configuration says, and
    SnapshotError where the tables do not fit together.
    """
    tables = snapshot.tables
    tables["feeds"] = _override_feeds(snapshot, config.feeds)
    tables["backing"] = _extend(tables["backing"], _backing_rows(snapshot, config.backing))
    depth = _depth_rows(snapshot, config.depth)
    replaced = tables["depth"]["asset_id"].isin([row["asset_id"] for row in depth])
    tables["depth"] = _extend(tables["depth"][~replaced], depth)
    unused = _unused(snapshot, config)
    if unused:
        log.info("%s: the snapshot has no asset %s", config.path, ", ".join(unused))
    return with_own_yields(Snapshot.from_tables(tables), _by_asset_id(snapshot, config.own_yields))


def known_figures(snapshot: Snapshot, figures: Figures) -> Figures:
    """The figures with the asset_ids of the snapshot in place of the names in the configuration."""
    return replace(
        figures,
        volatility=_by_asset_id(snapshot, figures.volatility),
        expected_return=_by_asset_id(snapshot, figures.expected_return),
    )


def _by_asset_id(snapshot: Snapshot, named: Mapping[str, float]) -> dict[str, float]:
    """asset_id -> its figure; one that names the asset_id wins over one that names the symbol."""
    known = set(snapshot.assets["asset_id"])
    ordered = sorted(named, key=lambda name: name in known)
    return {asset_id: named[name] for name in ordered for asset_id in find_assets(snapshot.assets, name)}


def find_assets(assets: pd.DataFrame, name: str, chain: str | None = None) -> list[str]:
    """The asset_ids that `name` means, as asset_id or as symbol, on `chain` where one is given."""
    found = assets.loc[assets["asset_id"] == name, "asset_id"]
    if found.empty:
        here = (assets["symbol"] == name) & (True if chain is None else assets["chain"] == chain)
        found = assets.loc[here, "asset_id"]
    return [str(asset_id) for asset_id in found]


def _column(snapshot: Snapshot, name: str) -> dict[str, Any]:
    """asset_id -> the value of one column of the assets."""
    return dict(zip(snapshot.assets["asset_id"], snapshot.assets[name], strict=True))


def _extend(table: pd.DataFrame, rows: _Rows) -> pd.DataFrame:
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True) if rows else table


def _first(assets: pd.DataFrame, names: Iterable[str], chain: str) -> str | None:
    """The first of `names` that the snapshot has on `chain`."""
    return next((found[0] for name in names if (found := find_assets(assets, name, chain))), None)


def _by_asset(assets: pd.DataFrame, rows: "tuple[Any, ...]") -> Mapping[str, Any]:
    """asset_id -> its row; one that names the asset_id wins over one that names the symbol, else the last one."""
    named_id = set(assets["asset_id"])
    ordered = sorted(rows, key=lambda row: row.asset in named_id)
    return {asset_id: row for row in ordered for asset_id in find_assets(assets, row.asset)}


def _depth_rows(snapshot: Snapshot, rows: tuple[DepthConfig, ...]) -> _Rows:
    chain, price = _column(snapshot, "chain"), _column(snapshot, "price_usd")
    found = []
    for asset_id, row in _by_asset(snapshot.assets, rows).items():
        quote = _first(snapshot.assets, row.quote, chain[asset_id])
        parameters = row.parameters
        if row.depth_2pct_usd is not None:
            parameters = depth_parameters(row.model, row.depth_2pct_usd, price[asset_id])
        found.append(
            {
                "asset_id": asset_id,
                "quote": quote or "USD",  # also where the quote asset is not here: nothing to sell on
                "model": row.model,
                "parameters": json.dumps(dict(parameters or {})),
                "source": row.source,
            }
        )
    return found


def _backing_rows(snapshot: Snapshot, rows: tuple[BackingConfig, ...]) -> _Rows:
    chain, price = _column(snapshot, "chain"), _column(snapshot, "price_usd")
    known = set(snapshot.backing["asset_id"])
    found = []
    for asset_id, row in _by_asset(snapshot.assets, rows).items():
        underlying = _first(snapshot.assets, row.underlying, chain[asset_id])
        if underlying is None or underlying == asset_id or asset_id in known:
            continue
        units = price[asset_id] / price[underlying] if row.units is None else row.units
        source = row.source if row.units is not None else f"{row.source}, ratio of market prices"
        found.append(
            {
                "asset_id": asset_id,
                "underlying_id": underlying,
                "units": units,
                "kind": row.kind,
                "venue_id": "",
                "source": source,
            }
        )
    return found


def _override_feeds(snapshot: Snapshot, rows: tuple[FeedConfig, ...]) -> pd.DataFrame:
    feeds = snapshot.feeds.copy()
    chain = _column(snapshot, "chain")
    for asset_id, row in _by_asset(snapshot.assets, rows).items():
        own = feeds["asset_id"] == asset_id
        base_feed, ratio = "", pd.Series(1.0, index=feeds.index)
        if row.kind == "ratio":
            base = _first(snapshot.assets, row.base, chain[asset_id])
            candidates = snapshot.feeds[snapshot.feeds["asset_id"] == base].sort_values(["kind", "feed_id"])
            if base is None or base == asset_id or candidates.empty:
                named = ", ".join(row.base) or "nothing"
                raise ConfigError(
                    f"feeds: {row.asset} is to be a ratio feed on {named}, which has no feed of its own in this "
                    "snapshot; correct base"
                )
            # In the order fixed, market, ratio: what stands by itself before what stands on another.
            base_feed = str(candidates["feed_id"].iloc[0])
            ratio = feeds["price_usd"] / float(candidates["price_usd"].iloc[0])
        feeds.loc[own, "kind"] = row.kind
        feeds.loc[own, "base_feed_id"] = base_feed
        feeds.loc[own, "ratio"] = ratio[own]
    return feeds


def _unused(snapshot: Snapshot, config: Config) -> list[str]:
    rows: tuple[DepthConfig | BackingConfig | FeedConfig, ...] = (*config.depth, *config.backing, *config.feeds)
    named = {row.asset for row in rows} | set(config.own_yields)
    named |= set(config.measures.volatility) | set(config.measures.expected_return)
    return sorted(named - set(snapshot.assets["asset_id"]) - set(snapshot.assets["symbol"]))
