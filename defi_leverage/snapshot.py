"""The tables of one scan, and the one boundary where a protocol's integers become float64.

A snapshot is a set of pandas tables whose columns schema.csv lists. Amounts are whole tokens, prices USD, weights and
bonuses fractions. Everything downstream (graph, contagion, clusters) reads these tables and nothing else.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Self, TypeVar

import pandas as pd

from defi_leverage.errors import SnapshotError
from defi_leverage.fixed_point import RAY, WAD
from defi_leverage.perp_tables import funding_rate_rows, perp_market_rows, perp_rows
from defi_leverage.reading import (
    NO_CAP,
    AccountReading,
    AssetReading,
    BackingReading,
    ClaimsReading,
    LegReading,
    MarketReading,
    OwnerLink,
    RateCurve,
    Reading,
    market_prices,
)
from defi_leverage.schema import OPTIONAL_TABLES, check_tables, complete_table, load_schema

__all__ = ["Snapshot", "from_readings", "resolve_asset"]

_Prices = dict[str, tuple[float, str]]  # asset_id -> USD a whole token, and where that comes from
_Key = TypeVar("_Key")
_Table = dict[_Key, dict[str, Any]]  # rows by what makes them one


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Validated tables of one scan; see schema.csv for every column, its unit and meaning."""

    assets: pd.DataFrame
    feeds: pd.DataFrame
    venues: pd.DataFrame
    accounts: pd.DataFrame
    legs: pd.DataFrame
    backing: pd.DataFrame
    depth: pd.DataFrame
    rates: pd.DataFrame
    ownership: pd.DataFrame
    perps: pd.DataFrame
    perp_markets: pd.DataFrame
    coverage: pd.DataFrame

    @classmethod
    def from_tables(cls, tables: Mapping[str, pd.DataFrame]) -> Self:
        """Build and validate a snapshot from DataFrames with the schema's columns.

        Optional columns are filled from the schema's defaults. The tables feeds, backing, depth, rates, ownership,
        perps, perp_markets and coverage may be left out: without feeds every asset gets a market feed at its market
        price, under the asset's own identifier. Raises SnapshotError that names the table, the column, the rows and the
        remedy.
        """
        schema = load_schema()
        if unknown := sorted(set(tables) - set(schema)):
            raise SnapshotError(f"unknown table {', '.join(unknown)}; a snapshot has {', '.join(schema)}")
        if missing := [name for name in schema if name not in tables and name not in OPTIONAL_TABLES]:
            raise SnapshotError(
                f"missing table {', '.join(missing)}; only {', '.join(OPTIONAL_TABLES)} may be left out"
            )
        completed = {name: complete_table(name, frame) for name, frame in tables.items()}
        if "feeds" not in completed:
            feeds = completed["assets"][["asset_id", "price_usd"]]
            completed["feeds"] = complete_table("feeds", feeds.assign(feed_id=feeds["asset_id"]))
        for name in OPTIONAL_TABLES:
            if name not in completed:
                completed[name] = complete_table(name, _empty(schema[name]))
        check_tables(completed)
        return cls(**completed)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, in the schema's order."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def complete(self) -> bool:
        """Whether coverage knows of nothing that is missing."""
        return not bool((self.coverage["failed"] > 0).any() or (self.coverage["why"] != "").any())

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {len(frame)}" for name, frame in self.tables.items())
        return f"Snapshot({rows})"


def resolve_asset(snapshot: Snapshot, name: str) -> str:
    """The asset_id that `name` means: an asset_id, or a symbol (any case) that one asset has.

    Raises SnapshotError for a name that no asset, or more than one asset, has.
    """
    assets = snapshot.assets
    if (assets["asset_id"] == name).any():
        return name
    for symbols, wanted in ((assets["symbol"], name), (assets["symbol"].str.lower(), name.lower())):
        found = assets.loc[symbols == wanted, "asset_id"].tolist()
        if len(found) == 1:
            return str(found[0])
        if found:
            raise SnapshotError(f"asset {name!r} is ambiguous: {', '.join(found)}; name the asset_id")
    symbols_here = sorted(assets["symbol"].unique())
    near = get_close_matches(name, symbols_here, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise SnapshotError(f"no asset {name!r} in this snapshot; {meant}it has {', '.join(symbols_here[:30])}", name=name)


def from_readings(
    readings: Iterable[Reading],
    failures: Iterable[Mapping[str, Any]] = (),
    claims_readings: Iterable[ClaimsReading] = (),
    links: Iterable[OwnerLink] = (),
) -> Snapshot:
    """Turn integer readings into one snapshot; `failures` are coverage rows of venues that could not be read at all.

    `claims_readings`: what derived assets are claims on, which goes before what a venue's reader takes for it. `links`:
    who acts for owners of accounts, beside what readers found.

    An asset, feed or backing that several readings share is kept once. An asset's market price is the price of its
    first market feed, else of its first feed, and `price_source` names that feed. Depth is left empty: it does not come
    from a protocol. Raises SnapshotError where readings contradict each other.
    """
    assets: _Table[str] = {}
    feeds: _Table[str] = {}
    backing: _Table[tuple[str, str, str]] = {}
    claims = list(claims_readings)
    derived = {row.asset_id for item in claims for row in item.backing if row.kind != "minted_against"}
    venues: list[dict[str, Any]] = []
    rates: list[dict[str, Any]] = []
    accounts: list[dict[str, Any]] = []
    legs: list[dict[str, Any]] = []
    perps: list[dict[str, Any]] = []
    perp_markets: list[dict[str, Any]] = []
    coverage: list[dict[str, Any]] = []
    owners = dict.fromkeys(links)
    traded: set[str] = set()  # assets with the price of a market feed
    for reading in readings:
        owners |= dict.fromkeys(reading.links)
        _merge_feeds(feeds, reading)
        prices = {asset_id: (float(price), source) for asset_id, (price, source) in market_prices(reading).items()}
        fed = {feed.asset_id for feed in reading.feeds if feed.kind == "market"}
        for asset in reading.assets:
            if asset.asset_id not in assets:
                assets[asset.asset_id] = _asset_row(asset, reading.chain, *prices[asset.asset_id])
            elif asset.asset_id in fed - traded:  # an earlier venue only counts it at a price
                price, source = prices[asset.asset_id]
                assets[asset.asset_id] |= {"price_usd": price, "price_source": source}
        traded |= fed
        for claim in reading.backing:
            if claim.asset_id not in derived:
                row = _backing_row(claim, reading.venue.venue_id)
                backing.setdefault((claim.asset_id, claim.underlying_id, row["venue_id"]), row)
        decimals = {asset.asset_id: asset.decimals for asset in reading.assets}
        venues.append(_venue_row(reading, prices, decimals))
        rates.extend([*_rate_rows(reading, decimals), *funding_rate_rows(reading)])
        for account in reading.accounts:
            accounts.append(_account_row(reading, account))
            account_id = accounts[-1]["account_id"]
            legs.extend(_leg_row(account_id, leg, decimals) for leg in account.legs)
            perps.extend(perp_rows(account_id, account, prices, decimals))
        perp_markets.extend(perp_market_rows(reading, decimals))
        coverage.append(_coverage_row(reading, prices, decimals))
    _state_skew(coverage)
    for claims_reading in claims:
        _merge_claims(assets, backing, claims_reading)
        if claims_reading.gaps:
            coverage.append(_gaps_row(claims_reading))
    coverage.extend(_window_columns() | dict(failure) for failure in failures)
    rows = {"assets": list(assets.values()), "feeds": list(feeds.values()), "venues": venues, "accounts": accounts}
    rows |= {
        "ownership": [asdict(link) for link in owners],
        "legs": legs,
        "backing": list(backing.values()),
        "rates": rates,
        "coverage": coverage,
    }
    rows |= {"perps": perps, "perp_markets": perp_markets}
    schema = load_schema()
    return Snapshot.from_tables(
        {name: pd.DataFrame(table) if table else _empty(schema[name]) for name, table in rows.items()}
    )


def _merge_feeds(feeds: _Table[str], reading: Reading) -> None:
    for feed in reading.feeds:
        row = {
            "feed_id": feed.feed_id,
            "asset_id": feed.asset_id,
            "price_usd": feed.price_raw / feed.price_scale,
            "kind": feed.kind,
            "base_feed_id": feed.base_feed_id,
            "ratio": feed.ratio_raw / feed.ratio_scale,
            "source": feed.source,
        }
        known = feeds.setdefault(feed.feed_id, row)
        if known["price_usd"] != row["price_usd"]:
            raise SnapshotError(f"feed {feed.feed_id} is read twice with different prices; give each its own feed_id")
        if known["kind"] == "market":  # one venue may list the base of a ratio where another does not
            feeds[feed.feed_id] = row


def _merge_claims(assets: _Table[str], backing: _Table[tuple[str, str, str]], claims: ClaimsReading) -> None:
    """Add what lies behind the assets; one that a venue lists keeps its row, and takes the kind that is known now."""
    prices = {price.asset_id: price for price in claims.prices}
    for asset in claims.assets:
        if asset.asset_id in assets:
            assets[asset.asset_id]["kind"] = asset.kind
        else:
            price = prices[asset.asset_id]
            row = _asset_row(asset, claims.chain, price.price_raw / price.price_scale, price.source)
            assets[asset.asset_id] = row
    for claim in claims.backing:
        backing[claim.asset_id, claim.underlying_id, claim.venue_id] = _backing_row(claim)


def _empty(columns: Iterable[Any]) -> pd.DataFrame:
    return pd.DataFrame({column.name: [] for column in columns})


def _asset_row(asset: AssetReading, chain: str, price_usd: float, source: str) -> dict[str, Any]:
    return {
        "asset_id": asset.asset_id,
        "symbol": asset.symbol,
        "decimals": asset.decimals,
        "chain": _chain(asset.asset_id, chain),
        "kind": asset.kind,
        "price_usd": price_usd,
        "price_source": source,
    }


def _chain(asset_id: str, of_reading: str) -> str:
    """The chain that a CAIP-19 identifier names; none for an index, which every venue may follow."""
    chain, slash, _ = asset_id.partition("/")
    return "" if asset_id.startswith("index:") else chain if slash else of_reading


def _backing_row(claim: BackingReading, venue_id: str = "") -> dict[str, Any]:
    return {
        "asset_id": claim.asset_id,
        "underlying_id": claim.underlying_id,
        "units": claim.units_raw / claim.units_scale,
        "kind": claim.kind,
        "venue_id": claim.venue_id or (venue_id if claim.kind in ("deposited", "minted_against") else ""),
        "source": claim.source,
    }


def _venue_row(reading: Reading, prices: _Prices, decimals: Mapping[str, int]) -> dict[str, Any]:
    venue = reading.venue

    def total(name: str) -> float:
        if not reading.markets:  # of perps, nobody lends anything
            return math.nan
        amounts = ((market.asset_id, int(getattr(market, name))) for market in reading.markets)
        return math.fsum(raw / 10 ** decimals[asset] * prices[asset][0] for asset, raw in amounts)

    return {
        "venue_id": venue.venue_id,
        "protocol": venue.protocol,
        "name": venue.name,
        "chain": reading.chain,
        "address": venue.address,
        "revision": venue.revision,
        "health_rule": venue.health_rule,
        "liquidation_rule": venue.liquidation_rule,
        "liquidation_parameters": json.dumps(venue.liquidation_parameters, sort_keys=True),
        "supply_usd": total("supply_raw"),
        "borrow_usd": total("borrow_raw"),
        "cash_usd": total("cash_raw"),
        "deficit_usd": total("deficit_raw"),
    }


def _rate_rows(reading: Reading, decimals: Mapping[str, int]) -> list[dict[str, Any]]:
    """Rates and caps of the markets whose reader knows any of them."""

    def known(value: int | None, scale: int) -> float:
        return float("nan") if value is None else float("inf") if value == NO_CAP else value / scale

    return [
        {
            "venue_id": reading.venue.venue_id,
            "asset_id": market.asset_id,
            "supply_rate": known(market.supply_rate_ray, RAY),
            "borrow_rate": known(market.borrow_rate_ray, RAY),
            "supply_cap": known(market.supply_cap_raw, 10 ** decimals[market.asset_id]),
            "borrow_cap": known(market.borrow_cap_raw, 10 ** decimals[market.asset_id]),
            "utilisation": market.borrow_raw / market.supply_raw if market.supply_raw else float("nan"),
            **_curve_cells(market, 10 ** decimals[market.asset_id]),
        }
        for market in reading.markets
        if any(
            value is not None
            for value in (market.supply_rate_ray, market.borrow_rate_ray, market.supply_cap_raw, market.borrow_cap_raw)
        )
    ]


def _curve_cells(market: MarketReading, unit: int) -> dict[str, Any]:
    curve = market.curve or RateCurve("", {})

    def tokens(given: int | None, own: int) -> float:
        return (own if given is None else given) / unit

    return {
        "borrowed": tokens(curve.borrowed_raw, market.borrow_raw),
        "available": tokens(curve.available_raw, market.cash_raw),
        "supplied": float("nan") if curve.supplied_raw is None else curve.supplied_raw / unit,
        "pool": curve.pool,
        "rate_model": curve.model,
        "rate_parameters": json.dumps(
            {name: value / RAY for name, value in curve.parameters_ray.items()}, sort_keys=True
        ),
    }


def _account_row(reading: Reading, account: AccountReading) -> dict[str, Any]:
    venue = reading.venue
    raw = account.health_factor_raw
    factor = (
        float("nan") if raw is None else float("inf") if raw == venue.no_debt_raw else raw / venue.health_factor_scale
    )
    return {
        "account_id": f"{reading.chain}:{account.address}@{venue.venue_id.rsplit(':', 1)[-1]}",
        "owner": f"{reading.chain}:{account.owner or account.address}",
        "venue_id": venue.venue_id,
        "mode": account.mode,
        "health_factor": factor,
        "health_factor_raw": "" if raw is None else str(raw),
        "collateral_base_raw": str(account.collateral_base_raw),
        "debt_base_raw": str(account.debt_base_raw),
    }


def _leg_row(account_id: str, leg: LegReading, decimals: Mapping[str, int]) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "side": leg.side,
        "asset_id": leg.asset_id,
        "feed_id": leg.feed_id,
        "amount": leg.amount_raw / 10 ** decimals[leg.asset_id],
        "weight": leg.weight_wad / WAD,
        "liquidation_bonus": leg.liquidation_bonus_wad / WAD,
        "protocol_fee": leg.protocol_fee_wad / WAD,
        "amount_raw": str(leg.amount_raw),
    }


def _coverage_row(reading: Reading, prices: _Prices, decimals: Mapping[str, int]) -> dict[str, Any]:
    """What was found, read and set aside, and how much of the venue's totals no account holds."""
    attributed = {"collateral": 0.0, "debt": 0.0}
    for account in reading.accounts:
        for leg in account.legs:
            attributed[leg.side] += leg.amount_raw / 10 ** decimals[leg.asset_id] * prices[leg.asset_id][0]
    venue = _venue_row(reading, prices, decimals)
    return _block_columns(reading) | {
        "protocol": reading.venue.protocol,
        "venue_id": reading.venue.venue_id,
        "found": reading.found,
        "read": len(reading.accounts),
        "failed": len(reading.failed),
        "why": _why({**reading.gaps, **reading.failed}),
        "unattributed_supply_usd": venue["supply_usd"] - attributed["collateral"],
        "unattributed_borrow_usd": venue["borrow_usd"] - attributed["debt"],
    }


def _gaps_row(known: ClaimsReading) -> dict[str, Any]:
    """What is missing of the backing of a chain's assets; no accounts belong to it."""
    nothing = {"venue_id": "", "found": 0, "read": 0, "failed": 0}
    return _block_columns(known) | nothing | {"protocol": "backing", "why": _why(known.gaps)}


def _block_columns(reading: Reading | ClaimsReading) -> dict[str, Any]:
    return {
        "chain": reading.chain,
        "block": reading.block_number,
        "block_hash": reading.block_hash,
        "block_time": _utc(reading.block_timestamp),
        **_window_columns(reading.window if isinstance(reading, Reading) else None),
    }


def _window_columns(window: tuple[int, int] | None = None) -> dict[str, str]:
    start, end = map(_utc, window) if window else ("", "")
    return {"window_start": start, "window_end": end}


def _state_skew(coverage: list[dict[str, Any]]) -> None:
    """Add, to what was read over a time, how far that is from the blocks that the scan has, in seconds."""
    blocks = [datetime.fromisoformat(row["block_time"]) for row in coverage if not row["window_start"]]
    for row in coverage:
        ends = [datetime.fromisoformat(row[name]) for name in ("window_start", "window_end") if row[name]]
        apart = [abs((end - block).total_seconds()) for end in ends for block in blocks]
        row["skew_seconds"] = max(apart, default=math.nan)


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _why(gaps: Mapping[str, str]) -> str:
    reasons = [f"{name}: {why}" for name, why in gaps.items()]
    more = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
    return "; ".join(reasons[:5]) + more
