"""Small snapshots for tests: tables written in one line a position."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any

import pandas as pd
from hypothesis import strategies as st

from defi_leverage.snapshot import Snapshot

Position = tuple[Mapping[str, float], Mapping[str, float]]  # collateral and debt: symbol -> whole tokens


def make_snapshot(
    prices: Mapping[str, float],
    positions: Sequence[Position],
    *,
    weights: Mapping[str, float] | None = None,
    bonus: float = 0.05,
    fee: float = 0.0,
    depth: Mapping[str, float] | None = None,
    model: str = "exponential",
    quotes: Mapping[str, str] | None = None,
    backing: Mapping[str, tuple[str, float]] | None = None,
    ratio_feeds: bool = False,
    rule: str = "full",
    parameters: Mapping[str, Any] | None = None,
    venue_of: Sequence[str] | None = None,
) -> Snapshot:
    """Assets with one feed each; accounts a0, a1, ...; weights default to 0.8. Backed assets may have ratio feeds."""
    weights = weights or {}
    backing = backing or {}
    venue_names = list(venue_of) if venue_of is not None else ["v"] * len(positions)
    feeds = [
        {
            "feed_id": symbol,
            "asset_id": symbol,
            "price_usd": price,
            "kind": "ratio" if ratio_feeds and symbol in backing else "market",
            "base_feed_id": backing[symbol][0] if ratio_feeds and symbol in backing else "",
            "ratio": price / prices[backing[symbol][0]] if ratio_feeds and symbol in backing else 1.0,
        }
        for symbol, price in prices.items()
    ]
    legs = [
        {
            "account_id": f"a{number}",
            "side": side,
            "asset_id": symbol,
            "amount": amount,
            "weight": weights.get(symbol, 0.8) if side == "collateral" else 1.0,
            "liquidation_bonus": bonus if side == "collateral" else 0.0,
            "protocol_fee": fee if side == "collateral" else 0.0,
        }
        for number, (collateral, debt) in enumerate(positions)
        for side, amounts in (("collateral", collateral), ("debt", debt))
        for symbol, amount in amounts.items()
    ]
    parameter = {"exponential": "depth", "constant_product": "reserve"}[model]
    tables = {
        "assets": pd.DataFrame({"asset_id": list(prices), "symbol": list(prices), "price_usd": list(prices.values())}),
        "feeds": pd.DataFrame(feeds),
        "venues": pd.DataFrame(
            [
                {
                    "venue_id": venue,
                    "protocol": "test",
                    "name": venue,
                    "liquidation_rule": rule,
                    "liquidation_parameters": json.dumps(dict(parameters or {})),
                }
                for venue in sorted(set(venue_names))
            ]
        ),
        "accounts": pd.DataFrame(
            {"account_id": [f"a{number}" for number in range(len(positions))], "venue_id": venue_names}
        ),
        "legs": pd.DataFrame(legs),
    }
    if backing:
        tables["backing"] = pd.DataFrame(
            [
                {"asset_id": symbol, "underlying_id": base, "units": units, "kind": "staked"}
                for symbol, (base, units) in backing.items()
            ]
        )
    if depth:
        tables["depth"] = pd.DataFrame(
            [
                {
                    "asset_id": symbol,
                    "quote": (quotes or {}).get(symbol, "USD"),
                    "model": model,
                    "parameters": json.dumps({parameter: scale}),
                }
                for symbol, scale in depth.items()
            ]
        )
    return Snapshot.from_tables(tables)


def cell(frame: pd.DataFrame, row: object, column: str) -> float:
    """One number of a table."""
    return float(frame[column].loc[row])  # type: ignore[call-overload]


ASSETS = {"ETH": 2000.0, "BTC": 40000.0, "LST": 2300.0, "USD": 1.0}


@st.composite
def random_books(draw: st.DrawFn, healthy: bool = False) -> Snapshot:
    """Books of up to eight accounts over four assets, debt in any of them, some without debt, some below 1."""
    positions: list[Position] = []
    for _ in range(draw(st.integers(1, 8))):
        held = draw(st.lists(st.sampled_from(list(ASSETS)), min_size=1, max_size=3, unique=True))
        owed = draw(st.lists(st.sampled_from(list(ASSETS)), max_size=2, unique=True))
        # Legs of equal value whose prices move together would leave the choice between them to rounding.
        apart = {"ETH": 1.0, "BTC": 1.017, "LST": 1.033, "USD": 1.049}
        collateral = {asset: draw(st.floats(100, 1e6)) * apart[asset] / ASSETS[asset] for asset in held}
        capacity = sum(amount * ASSETS[asset] * 0.8 for asset, amount in collateral.items())
        uses = draw(st.floats(0.05, 0.99 if healthy else 1.4))
        debt = {asset: capacity * uses * part / ASSETS[asset] for asset, part in zip(owed, (0.61, 0.39), strict=False)}
        positions.append((collateral, debt))
    rule = draw(st.sampled_from(["full", "aave_v3", "aave_v3_3"]))
    return make_snapshot(
        ASSETS,
        positions,
        bonus=draw(st.sampled_from([0.0, 0.05, 0.1])),
        fee=draw(st.sampled_from([0.0, 0.1])),
        depth={"ETH": draw(st.floats(100, 1e5)), "BTC": draw(st.floats(10, 1e4)), "LST": draw(st.floats(100, 1e5))},
        model=draw(st.sampled_from(["exponential", "constant_product"])),
        quotes={"LST": "ETH"} if draw(st.booleans()) else None,
        backing={"LST": ("ETH", 1.15)},
        ratio_feeds=draw(st.booleans()),
        rule=rule,
        venue_of=[draw(st.sampled_from(["v", "w"])) for _ in positions],
    )


_WIDE_PRICES = {"ETH": 2000.0, "BTC": 4e4, "USD": 1.0, "LST": 2300.0, "WLST": 2500.0, "ALT": 5.0, "LP": 120.0}
_WIDE_PRICES |= {"aUSD": 1.0, "aWLST": 2500.0}
_RATIOS = [
    ("LST/rate", "LST", "ETH", 1.15),
    ("WLST/rate", "WLST", "LST/rate", 1.08),
    ("LP/rate", "LP", "ETH/mode", 0.06),
]
_DEPTH = {"ETH": 1e3, "BTC": 30.0, "USD": 1e7, "LST": 1e3, "WLST": 1e3, "ALT": 1e5, "LP": 1e4}


def wide_book(random: Random) -> Snapshot:
    """A book that uses all that the schema allows: feeds of every kind, chains of backing, quotes, shares, shorts."""
    return Snapshot.from_tables(wide_tables(random))


def wide_tables(random: Random) -> dict[str, pd.DataFrame]:
    """The tables of `wide_book`, without the columns that have defaults."""
    feeds: list[tuple[str, str, float, str, str, float]] = [
        (asset, asset, price, random.choice(["market", "market", "fixed"]), "", 1.0)
        for asset, price in _WIDE_PRICES.items()
    ]
    feeds.append(("ETH/mode", "ETH", 2000.6, "market", "", 1.0))
    price = {feed[0]: feed[2] for feed in feeds}
    for feed_id, asset, base, ratio in _RATIOS:
        price[feed_id] = price[base] * ratio
        feeds.append((feed_id, asset, price[feed_id], "ratio", base, ratio))
    backing = [
        ("LST", "ETH", 1.15, random.choice(["staked", "wraps"]), ""),
        ("WLST", "LST", 1.08, random.choice(["staked", "wraps"]), ""),
        ("aUSD", "USD", 1.0, "deposited", random.choice(["v", "w"])),
        ("aWLST", "WLST", 1.0, "deposited", "v"),
        ("LP", "ETH", 0.03, "pooled", ""),
        ("LP", "USD", 60.0, random.choice(["pooled", "deposited"]), random.choice(["", "w"])),
    ]
    quote_of = {"LST": ["ETH"], "WLST": ["ETH", "LST"], "ALT": ["ETH", "USD"]}
    depth = []
    for asset, scale in _DEPTH.items():
        model, parameter = random.choice([("exponential", "depth"), ("constant_product", "reserve")])
        parameters = json.dumps({parameter: scale * 10 ** random.uniform(-0.7, 1.5)})
        if random.random() < 0.7:
            depth.append((asset, random.choice(quote_of.get(asset, ["USD"])), model, parameters))
    accounts, legs = [], []
    for number in range(random.randint(1, 14)):
        account = f"a{number:02}"
        accounts.append((account, random.choice("vwx")))
        capacity = 100.0 * (random.random() < 0.2)
        for feed_id, asset, feed_price, *_ in random.sample(feeds, random.randint(0, 4)):
            usd, weight = 10 ** random.uniform(2.5, 6), random.choice([0.8, 0.75, 0.83, 0.95, 0.0])
            capacity += usd * weight
            bonus, fee = random.choice([0.0, 0.05, 0.1]), random.choice([0.0, 0.1, 0.5])
            legs.append((account, "collateral", asset, feed_id, usd / feed_price, weight, bonus, fee))
        use = random.choice([0.0, random.uniform(0.1, 0.6), random.uniform(0.85, 1.3)])
        for feed_id, asset, feed_price, *_ in random.sample(feeds, random.randint(0, 3)):
            usd, weight = capacity * use * random.uniform(0.1, 0.9), random.choice([1.0, 1.0, 1.1, 0.9])
            legs.append((account, "debt", asset, feed_id, usd / feed_price, weight, 0.0, 0.0))
    rules, health_rules = ["full", "aave_v3", "aave_v3_3"], ["linear", "average_threshold_bps"]
    venues = [(venue, "test", random.choice(rules), random.choice(health_rules)) for venue in "vwx"]
    columns = {
        "feeds": ("feed_id", "asset_id", "price_usd", "kind", "base_feed_id", "ratio"),
        "venues": ("venue_id", "protocol", "liquidation_rule", "health_rule"),
        "accounts": ("account_id", "venue_id"),
        "legs": ("account_id", "side", "asset_id", "feed_id", "amount", "weight", "liquidation_bonus", "protocol_fee"),
        "backing": ("asset_id", "underlying_id", "units", "kind", "venue_id"),
        "depth": ("asset_id", "quote", "model", "parameters"),
    }
    rows: dict[str, list[Any]] = {
        "feeds": feeds,
        "venues": venues,
        "accounts": accounts,
        "legs": legs,
        "backing": backing,
        "depth": depth,
    }
    tables = {name: pd.DataFrame(rows[name], columns=list(columns[name])) for name in rows}
    assets = pd.DataFrame({"asset_id": list(_WIDE_PRICES), "symbol": list(_WIDE_PRICES)})
    return tables | {"assets": assets.assign(price_usd=list(_WIDE_PRICES.values()))}


def dated(snapshot: Snapshot, time: datetime, *, complete: bool = True) -> Snapshot:
    """The snapshot as a scan of a block at that time; one that is not complete lost an account."""
    (row,) = snapshot.coverage.head(1).to_dict("records") or [{}]
    row |= {
        "venue_id": str(snapshot.venues["venue_id"].iloc[0]),
        "protocol": "test",
        "chain": "eip155:1",
        "block": int(time.timestamp()),
        "block_hash": "0x01",
        "block_time": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "found": len(snapshot.accounts) + (not complete),
        "read": len(snapshot.accounts),
        "failed": int(not complete),
        "why": "" if complete else "a test",
    }
    return Snapshot.from_tables(snapshot.tables | {"coverage": pd.DataFrame([row])})
