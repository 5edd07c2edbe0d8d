"""Positions of any origin, one leg a row in CSV or Parquet, as a snapshot."""

from pathlib import Path

import numpy as np
import pandas as pd

from defi_leverage.config import Config, load_config
from defi_leverage.market import apply_config
from defi_leverage.position_table import COLUMNS, Legs, read_legs
from defi_leverage.snapshot import Snapshot

__all__ = ["TEMPLATE", "import_positions"]

_FEED_KINDS = ["market", "fixed", "ratio"]  # by preference
_CAIP_19 = r"^([-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32})/"

TEMPLATE = (
    "\n".join(
        [
            "# One leg of a position a row. Lines that begin with # are passed over at the top of the file.",
            *(
                f"# {name}: {meaning}{'' if default is None else ' (optional)'}"
                for name, (default, meaning) in COLUMNS.items()
            ),
        ]
    )
    + """
account,venue,side,asset,amount,price_usd,weight,liquidation_bonus,kind,feed_kind,feed_base
alice,aave,collateral,wstETH,120,3600,0.955,0.01,lst,ratio,ETH
alice,aave,debt,ETH,110,3000,,,,,
bob,aave,collateral,ETH,50,3000,0.83,0.05,,,
bob,aave,debt,USDC,90000,1,,,usd,,
"""
)


def import_positions(path: "str | Path", config: Config | None = None) -> Snapshot:
    """The positions of a .csv or .parquet file, with the depth, backing and feeds of `config` (None: the default one).

    Asset identifiers are the file's, a venue is its own identifier, an account is 'account@venue'. An asset's market
    price is that of its market feed, else of whatever feed it has. Raises ImportFileError that names the line (of a
    Parquet file the row), the column, the value and the remedy.
    """
    legs = read_legs(Path(path))
    config = config or load_config()
    frame = legs.frame
    feeds = _feeds(legs, config)
    frame["account_id"] = frame["account"] + "@" + frame["venue"]
    frame["owner"] = frame["owner"].where(frame["owner"] != "", frame["account"])
    frame["protocol"] = frame["protocol"].where(frame["protocol"] != "", frame["venue"])
    frame["symbol"] = frame["symbol"].where(frame["symbol"] != "", frame["asset"])
    for keys, columns in (
        (["asset"], ["symbol", "decimals", "kind"]),
        (["venue"], ["protocol", "rule", "rule_parameters"]),
        (["account", "venue"], ["mode", "health_factor", "owner"]),
    ):
        for column in columns:
            legs.agree(keys, column, "make them the same")
    accounts = frame.drop_duplicates("account_id")
    venues = frame.drop_duplicates("venue")
    found = accounts.groupby("venue", sort=False).size().reindex(venues["venue"]).to_numpy()
    snapshot = Snapshot.from_tables(
        {
            "assets": _assets(frame, feeds),
            "feeds": feeds,
            "venues": pd.DataFrame(
                {
                    "venue_id": venues["venue"],
                    "protocol": venues["protocol"],
                    "name": venues["venue"],
                    "liquidation_rule": venues["rule"],
                    "liquidation_parameters": venues["rule_parameters"],
                }
            ),
            "accounts": accounts[["account_id", "owner", "mode", "health_factor"]].assign(venue_id=accounts["venue"]),
            "legs": frame[
                ["account_id", "side", "feed_id", "amount", "weight", "liquidation_bonus", "protocol_fee"]
            ].assign(asset_id=frame["asset"]),
            "coverage": pd.DataFrame(
                {"protocol": venues["protocol"], "venue_id": venues["venue"], "found": found, "read": found}
            ),
        }
    )
    return apply_config(snapshot, config)


def _feeds(legs: Legs, config: Config) -> pd.DataFrame:
    """One feed for each asset and kind (and base) of feed; adds the column feed_id to the legs."""
    frame = legs.frame
    is_ratio = frame["feed_kind"] == "ratio"
    assets = set(frame["asset"])
    backing = {row.asset: next((name for name in row.underlying if name in assets), "") for row in config.backing}
    base = frame["feed_base"].where(frame["feed_base"] != "", frame["asset"].map(backing).fillna(""))
    frame["feed_base"] = base.where(is_ratio, "").astype(object)
    legs.refuse(
        is_ratio & (frame["feed_base"] == ""),
        "feed_base",
        "names no asset for a ratio feed, nor does the backing in the configuration",
        "write the asset that the exchange rate counts in, such as ETH",
    )
    legs.refuse(is_ratio & (frame["feed_base"] == frame["asset"]), "feed_base", "is the asset itself", "name its base")
    suffix = (":ratio:" + frame["feed_base"]).where(is_ratio, ":" + frame["feed_kind"])
    frame["feed_id"] = frame["asset"].where(frame["feed_kind"] == "market", frame["asset"] + suffix)
    legs.agree(["asset", "feed_kind"], "price_usd", "an asset has one price a kind of feed")
    legs.agree(["feed_id"], "asset", "rename one of the assets")
    feeds = frame.drop_duplicates("feed_id")
    price = feeds.set_index("feed_id")["price_usd"]
    of_asset = _preferred(feeds, "feed_kind", "asset").set_index("asset")["feed_id"]
    legs.refuse(
        is_ratio & ~frame["feed_base"].isin(of_asset.index),
        "feed_base",
        "has no price in this file",
        "add a leg in it (its amount may be 0), or name another base",
    )
    base_id = feeds["feed_base"].map(of_asset).fillna("").astype(object)
    ratio = (feeds["feed_kind"] == "ratio").to_numpy()
    base_price = price.reindex(base_id).to_numpy()
    return pd.DataFrame(
        {
            "feed_id": feeds["feed_id"],
            "asset_id": feeds["asset"],
            "price_usd": feeds["price_usd"],
            "kind": feeds["feed_kind"],
            "base_feed_id": base_id.where(ratio, ""),
            "ratio": np.where(ratio, feeds["price_usd"] / base_price, 1.0),
            "source": legs.path.name,
        }
    )


def _preferred(feeds: pd.DataFrame, kind: str, asset: str) -> pd.DataFrame:
    """The feed that speaks for each asset: its market feed, else a fixed one, else a ratio."""
    return feeds.sort_values(kind, key=lambda kinds: kinds.map(_FEED_KINDS.index), kind="stable").drop_duplicates(asset)


def _assets(frame: pd.DataFrame, feeds: pd.DataFrame) -> pd.DataFrame:
    chosen = _preferred(feeds, "kind", "asset_id").set_index("asset_id")
    assets = frame.drop_duplicates("asset")
    return pd.DataFrame(
        {
            "asset_id": assets["asset"],
            "symbol": assets["symbol"],
            "decimals": assets["decimals"],
            "kind": assets["kind"],
            "chain": assets["asset"].str.extract(_CAIP_19, expand=False).fillna("").astype(object),
            "price_usd": chosen["price_usd"].reindex(assets["asset"]).to_numpy(),
            "price_source": "feed " + chosen["feed_id"].reindex(assets["asset"]).astype(object).to_numpy(),
        }
    )
