"""A made-up book of lending accounts of any size, for experiments, examples and benchmarks.

The shape follows public descriptions of lending markets: few very large and many small accounts, health factors that
crowd just above 1, borrowers of stablecoins against ETH, e-mode loopers, shorts, suppliers without debt. The assets
carry the names and roughly the prices of real ones; no account is real. Nothing here is calibrated to one date.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.snapshot import Snapshot

__all__ = ["synthetic_book"]

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]

# symbol, kind, USD price (of an underived asset), underlying, units of it, backing kind, issuing venue, liquidation
# threshold, liquidation bonus, what a sale pays out ("": no market of its own, it is redeemed), depth of the market as
# a multiple of what the book holds or owes of the asset
_ASSETS: tuple[tuple[str, str, float, str, float, str, str, float, float, str, float], ...] = (
    ("ETH", "token", 3000.0, "", 1, "", "", 0, 0, "USD", 3),
    ("WETH", "token", 0, "ETH", 1, "wraps", "", 0.83, 0.05, "", 0),
    ("stETH", "lst", 0, "ETH", 1, "staked", "", 0, 0, "WETH", 1),
    ("wstETH", "lst", 0, "stETH", 1.21, "wraps", "", 0.81, 0.06, "WETH", 1),
    ("rETH", "lst", 0, "ETH", 1.13, "staked", "", 0.79, 0.075, "WETH", 1),
    ("cbETH", "lst", 0, "ETH", 1.09, "staked", "", 0.79, 0.075, "WETH", 1),
    ("eETH", "lst", 0, "ETH", 1, "staked", "", 0, 0, "WETH", 1),
    ("weETH", "lst", 0, "eETH", 1.06, "wraps", "", 0.80, 0.07, "WETH", 1),
    ("ezETH", "lst", 0, "ETH", 1.04, "staked", "", 0.75, 0.075, "WETH", 0.8),
    ("rsETH", "lst", 0, "ETH", 1.05, "staked", "", 0.75, 0.075, "WETH", 0.8),
    ("osETH", "lst", 0, "ETH", 1.04, "staked", "", 0.75, 0.075, "WETH", 0.8),
    ("BTC", "token", 80000.0, "", 1, "", "", 0, 0, "USD", 4),
    ("WBTC", "token", 0, "BTC", 1, "wraps", "", 0.78, 0.05, "", 0),
    ("cbBTC", "token", 0, "BTC", 1, "wraps", "", 0.78, 0.065, "", 0),
    ("tBTC", "token", 0, "BTC", 1, "wraps", "", 0.76, 0.075, "", 0),
    ("LBTC", "lst", 0, "BTC", 1, "staked", "", 0.75, 0.085, "WBTC", 0.8),
    ("USDC", "usd", 1.0, "", 1, "", "", 0.78, 0.045, "USD", 40),
    ("USDT", "usd", 1.0, "", 1, "", "", 0.78, 0.045, "USD", 40),
    ("DAI", "usd", 1.0, "", 1, "", "", 0.77, 0.05, "USDC", 30),
    ("USDS", "usd", 1.0, "", 1, "", "", 0.75, 0.05, "USDC", 30),
    ("GHO", "usd", 0.999, "", 1, "", "", 0, 0, "USDC", 20),
    ("crvUSD", "usd", 0.999, "", 1, "", "", 0, 0, "USDC", 20),
    ("PYUSD", "usd", 1.0, "", 1, "", "", 0.75, 0.05, "USDC", 20),
    ("USDe", "usd", 0.9995, "", 1, "", "", 0.75, 0.085, "USDT", 10),
    ("sUSDe", "vault_share", 0, "USDe", 1.17, "deposited", "", 0.75, 0.085, "USDT", 4),
    ("sDAI", "vault_share", 0, "DAI", 1.12, "deposited", "", 0.78, 0.05, "", 0),
    ("PT-sUSDe", "pt", 0, "USDe", 0.965, "wraps", "", 0.72, 0.09, "USDT", 3),
    ("aUSDC", "supply_share", 0, "USDC", 1, "deposited", "core", 0.76, 0.05, "", 0),
    ("aWETH", "supply_share", 0, "WETH", 1, "deposited", "core", 0.80, 0.06, "", 0),
    ("LINK", "token", 15.0, "", 1, "", "", 0.71, 0.07, "USD", 2),
    ("AAVE", "token", 160.0, "", 1, "", "", 0.73, 0.075, "USD", 2),
    ("UNI", "token", 8.0, "", 1, "", "", 0.65, 0.10, "USD", 2),
    ("CRV", "token", 0.6, "", 1, "", "", 0.55, 0.10, "USD", 1),
    ("MKR", "token", 1500.0, "", 1, "", "", 0.65, 0.085, "USD", 1),
    ("LDO", "token", 1.1, "", 1, "", "", 0.50, 0.09, "USD", 1),
    ("BAL", "token", 1.4, "", 1, "", "", 0.57, 0.083, "USD", 0.6),
)
_SYMBOLS = [row[0] for row in _ASSETS]
_AT = {symbol: number for number, symbol in enumerate(_SYMBOLS)}

# venue, share of accounts, what its thresholds are of those above
_VENUES = (("core", 0.62, 1.0), ("prime", 0.18, 0.98), ("frontier", 0.13, 0.94), ("isle", 0.07, 0.90))
_RULE = {"close_factor": 0.5, "full_close_health_factor": 0.95}
_PROTOCOL_FEE = 0.1
_EMODES = {"emode:1": (0.95, 0.01), "emode:2": (0.93, 0.02), "emode:3": (0.93, 0.02)}  # threshold, bonus
_UNCOUNTED = 0.05  # share of further supplied legs that their owner does not use as collateral
_NEAREST = 5e-4  # no account starts closer above health factor 1 than this, far beyond rounding

_ETH: dict[str, float] = {"WETH": 30, "wstETH": 22, "weETH": 8, "rETH": 4, "cbETH": 3, "aWETH": 1}
_BTC: dict[str, float] = {"WBTC": 16, "cbBTC": 7, "tBTC": 2, "LBTC": 1}
_ALTS: dict[str, float] = {"LINK": 6, "AAVE": 6, "UNI": 3, "CRV": 2, "MKR": 2, "LDO": 1, "BAL": 1}
_STABLES: dict[str, float] = {"USDC": 40, "USDT": 30, "DAI": 10, "USDS": 4, "PYUSD": 2}
_MINTED: dict[str, float] = {"GHO": 7, "crvUSD": 3}
_YIELDING: dict[str, float] = {"sUSDe": 5, "sDAI": 4, "USDe": 3, "aUSDC": 2}


@dataclass(frozen=True, slots=True)
class _Archetype:
    """One way to use a lending market."""

    share: float
    mode: str
    collaterals: Mapping[str, float]
    collateral_counts: tuple[float, ...]  # chance of 1, 2, ... assets
    debts: Mapping[str, float]
    debt_counts: tuple[float, ...]
    near: float  # share with a health factor within some percent of 1
    near_scale: float
    far_median: float  # median of health factor - 1 of the others


_ARCHETYPES = (
    _Archetype(0.22, "cross", _ETH | _BTC | _ALTS | _STABLES | _YIELDING, (0.40, 0.36, 0.24), {}, (), 0, 1, 1),
    _Archetype(
        0.40, "cross", _ETH | _BTC | _ALTS, (0.32, 0.35, 0.33), _STABLES | _MINTED, (0.53, 0.47), 0.3, 0.12, 0.8
    ),
    _Archetype(
        0.10,
        "emode:1",
        {"wstETH": 50, "weETH": 25, "rETH": 5, "cbETH": 4, "ezETH": 5, "rsETH": 6, "osETH": 2, "WETH": 3},
        (0.88, 0.12),
        {"WETH": 97, "wstETH": 3},
        (0.97, 0.03),
        0.7,
        0.04,
        0.12,
    ),
    _Archetype(
        0.04,
        "emode:2",
        {"sUSDe": 45, "PT-sUSDe": 25, "USDe": 10, "sDAI": 10, "USDC": 10},
        (0.8, 0.2),
        {"USDC": 45, "USDT": 40, "DAI": 10, "GHO": 5},
        (0.8, 0.2),
        0.7,
        0.03,
        0.1,
    ),
    _Archetype(0.01, "emode:3", {"LBTC": 60, "cbBTC": 20, "tBTC": 20}, (0.9, 0.1), {"WBTC": 1}, (1,), 0.5, 0.05, 0.15),
    _Archetype(
        0.09, "cross", _STABLES | _YIELDING, (0.7, 0.3), {"WETH": 60, "WBTC": 20} | _ALTS, (0.75, 0.25), 0.3, 0.15, 0.7
    ),
    _Archetype(
        0.14,
        "cross",
        _ETH | _BTC | _ALTS | _STABLES,
        (0.05, 0.15, 0.35, 0.45),
        _STABLES | {"WETH": 20, "WBTC": 5},
        (0.1, 0.45, 0.45),
        0.3,
        0.12,
        0.8,
    ),
)


def synthetic_book(
    accounts: int, seed: int, *, liquidatable_share: float = 0.0, median_usd: float = 3000.0
) -> Snapshot:
    """A made-up book of `accounts` accounts with about 2.85 legs each, the same for the same arguments.

    Four venues with the aave_v3 liquidation rule, 36 assets (derived ones with a ratio feed and backing), depth in
    proportion to the book so that a large and a small book react alike. Supplied USD an account is lognormal around
    `median_usd` with a Pareto tail. `liquidatable_share` of the borrowers start with a health factor in [0.9, 1);
    all others start above 1. Raises ValueError for a negative count or a share outside [0, 1].
    """
    if accounts < 0 or not 0 <= liquidatable_share <= 1 or median_usd <= 0:
        raise ValueError(f"{accounts=} must be >= 0, {liquidatable_share=} in [0, 1], {median_usd=} positive")
    random = np.random.default_rng(seed)
    archetype = random.choice(len(_ARCHETYPES), size=accounts, p=[kind.share for kind in _ARCHETYPES])
    venue = random.choice(len(_VENUES), size=accounts, p=[share for _, share, _ in _VENUES])
    price = _prices()
    supplied, owed = _draw_side(random, archetype, "collateral"), _draw_side(random, archetype, "debt")
    collateral = _collateral(random, supplied, archetype, venue, _sizes(random, accounts, median_usd))
    capacity = np.bincount(collateral["account"], collateral["usd"] * collateral["weight"], minlength=accounts)
    debt_usd = capacity / _health_factors(random, archetype, liquidatable_share)
    owed["usd"] = owed["share"] * debt_usd[owed["account"]]
    owed = owed.assign(is_debt=True, weight=1.0, liquidation_bonus=0.0, protocol_fee=0.0)
    legs = pd.concat([collateral, owed], ignore_index=True).sort_values("account", kind="stable", ignore_index=True)
    legs["amount"] = legs["usd"] / price[legs["asset"]]
    total = np.bincount(owed["account"], owed["usd"], minlength=accounts)
    health = np.divide(capacity, total, out=np.full(accounts, np.inf), where=total > 0)
    return Snapshot.from_tables(_tables(random, legs, archetype, venue, price, health))


def _prices() -> _Floats:
    """USD price of each asset; a derived one is worth its backing (every underlying stands before what it backs)."""
    price = np.zeros(len(_ASSETS))
    for number, (_, _, given, underlying, units, *_) in enumerate(_ASSETS):
        price[number] = price[_AT[underlying]] * units if underlying else given
    return price


def _sizes(random: np.random.Generator, accounts: int, median_usd: float) -> _Floats:
    """Supplied USD an account: a lognormal body and a Pareto tail (alpha 1.2) for the largest half percent."""
    body = median_usd * np.exp(random.normal(0, 2.0, accounts))
    tail = 300 * median_usd * (1 + random.pareto(1.2, accounts))
    return np.minimum(np.where(random.random(accounts) < 0.005, tail, body), 1e6 * median_usd)


def _health_factors(random: np.random.Generator, archetype: _Ints, liquidatable_share: float) -> _Floats:
    """Target health factors: an exponential crowd just above 1 and a lognormal rest."""
    near, scale, far = np.array([(kind.near, kind.near_scale, kind.far_median) for kind in _ARCHETYPES]).T[:, archetype]
    count = len(archetype)
    close = random.exponential(scale)
    wide = far * np.exp(random.normal(0, 0.7, count))
    above = 1 + _NEAREST + np.where(random.random(count) < near, close, wide)
    return np.where(random.random(count) < liquidatable_share, random.uniform(0.9, 1 - _NEAREST, count), above)


def _draw_side(random: np.random.Generator, archetype: _Ints, side: str) -> pd.DataFrame:
    """Rows (account, asset, share, first) of one side: which assets each account holds, and its share in each."""
    parts: list[tuple[_Ints, _Ints, _Floats, NDArray[np.bool_]]] = []
    for number, kind in enumerate(_ARCHETYPES):
        pool, counts = (
            (kind.collaterals, kind.collateral_counts) if side == "collateral" else (kind.debts, kind.debt_counts)
        )
        members = np.flatnonzero(archetype == number)
        if not pool or not members.size:
            continue
        chance = np.array(list(pool.values()), float)
        assets = np.array([_AT[symbol] for symbol in pool])
        drawn = random.choice(assets, size=(members.size, len(counts)), p=chance / chance.sum())
        wanted = random.choice(len(counts), size=members.size, p=np.array(counts) / sum(counts))
        held = np.arange(len(counts)) <= wanted[:, None]
        for slot in range(1, len(counts)):  # an asset drawn twice is held once
            held[:, slot] &= (drawn[:, slot : slot + 1] != drawn[:, :slot]).all(axis=1)
        share = random.exponential(1.0, drawn.shape) * held + 1e-3 * held
        share[:, 0] += 1.0
        share /= share.sum(axis=1, keepdims=True)
        row, slot_at = np.nonzero(held)
        parts.append((members[row], drawn[held], share[held], slot_at == 0))
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool))
    columns = [np.concatenate(part) for part in zip(empty, *parts, strict=True)]
    return pd.DataFrame(dict(zip(("account", "asset", "share", "first"), columns, strict=True)))


def _collateral(
    random: np.random.Generator, supplied: pd.DataFrame, archetype: _Ints, venue: _Ints, sizes: _Floats
) -> pd.DataFrame:
    """The supplied legs with USD, weight and bonus; an e-mode lifts the threshold of all its archetype supplies."""
    threshold, bonus = (np.array([row[column] for row in _ASSETS]) for column in (7, 8))
    account, asset = supplied["account"].to_numpy(), supplied["asset"].to_numpy()
    emode = np.array([_EMODES.get(kind.mode, (0, 0)) for kind in _ARCHETYPES])[archetype[account]]
    scale = np.array([scale for _, _, scale in _VENUES])[venue[account]]
    plain = np.round(threshold[asset] * scale, 4)
    counted = supplied["first"].to_numpy() | (random.random(len(supplied)) >= _UNCOUNTED)
    weight = np.where(emode[:, 0] > 0, emode[:, 0], plain) * counted
    return supplied.assign(
        is_debt=False,
        usd=supplied["share"] * sizes[account],
        weight=weight,
        liquidation_bonus=np.where(emode[:, 0] > 0, emode[:, 1], bonus[asset]),
        protocol_fee=_PROTOCOL_FEE,
    )


def _tables(
    random: np.random.Generator, legs: pd.DataFrame, archetype: _Ints, venue: _Ints, price: _Floats, health: _Floats
) -> dict[str, pd.DataFrame]:
    """The schema's tables from integer-coded legs."""
    names = np.array([name for name, *_ in _VENUES], dtype=object)
    count = len(archetype)
    number = np.arange(count)
    # one owner in ten also owns the account before, where that is at another venue
    again = np.append(False, venue[1:] != venue[:-1])[:count] & (random.random(count) < 0.1)
    owner = [f"owner-{index:07d}" for index in np.where(again, number - 1, number).tolist()]
    home = names[venue]
    ids = np.array([f"{who}@{where}" for who, where in zip(owner, home, strict=True)], dtype=object)
    modes = np.array([kind.mode for kind in _ARCHETYPES], dtype=object)
    # text stays Python strings: pandas would copy each column to Arrow and the schema back again
    texts = {"account_id": ids, "owner": owner, "venue_id": home, "mode": modes[archetype]}
    accounts = pd.DataFrame(texts, dtype=object).assign(health_factor=health)
    feed_ids = np.array([_feed_id(row) for row in _ASSETS], dtype=object)
    symbols = np.array(_SYMBOLS, dtype=object)
    at, asset = legs["account"].to_numpy(), legs["asset"].to_numpy()
    is_debt = legs["is_debt"].to_numpy(bool)
    side = np.where(is_debt, np.array("debt", object), np.array("collateral", object))
    texts = {"account_id": ids[at], "side": side, "asset_id": symbols[asset], "feed_id": feed_ids[asset]}
    leg_rows = pd.DataFrame(texts, dtype=object).join(legs[["amount", "weight", "liquidation_bonus", "protocol_fee"]])
    usd = legs["usd"].to_numpy(float)
    supply, borrow = (np.bincount(venue[at[rows]], usd[rows], len(names)) for rows in (~is_debt, is_debt))
    venues = pd.DataFrame({"venue_id": names, "protocol": "synthetic", "name": [str(name).title() for name in names]})
    venues = venues.assign(liquidation_rule="aave_v3", liquidation_parameters=json.dumps(_RULE, sort_keys=True))
    venues = venues.assign(
        supply_usd=supply, borrow_usd=borrow, cash_usd=np.maximum(supply - borrow, 0), deficit_usd=0.0
    )
    in_venue = np.bincount(venue, minlength=len(names))
    coverage = pd.DataFrame({"protocol": "synthetic", "venue_id": names, "found": in_venue, "read": in_venue})
    amount = legs["amount"].to_numpy(float)
    held, owed = (np.bincount(asset[rows], amount[rows], len(_ASSETS)) for rows in (~is_debt, is_debt))
    return {"venues": venues, "accounts": accounts, "legs": leg_rows, "coverage": coverage} | _market(
        price, np.maximum(held, owed)
    )


def _feed_id(row: tuple[Any, ...]) -> str:
    return f"{row[0]}/{row[3]} rate" if row[3] else f"{row[0]}/USD"


def _root(symbol: str) -> tuple[str, float]:
    """What an asset is in the end a claim on, and how many units of it."""
    units = 1.0
    while underlying := _ASSETS[_AT[symbol]][3]:
        units *= _ASSETS[_AT[symbol]][4]
        symbol = underlying
    return symbol, units


def _market(price: _Floats, size: _Floats) -> dict[str, pd.DataFrame]:
    """Assets, feeds, backing and depth; `size` is what the book holds or owes of each asset, in tokens."""
    assets, feeds, backing, depth = [], [], [], []
    size = size.copy()
    for number in reversed(range(len(_ASSETS))):  # what is redeemed is sold as its underlying
        _, _, _, underlying, units, *_, quote, _ = _ASSETS[number]
        if not quote:
            size[_AT[underlying]] += units * size[number]
    for row, usd, tokens in zip(_ASSETS, price.tolist(), size.tolist(), strict=True):
        symbol, kind, _, underlying, units, claim, issuer, _, _, quote, liquid = row
        assets.append(
            {"asset_id": symbol, "symbol": symbol, "kind": kind, "price_usd": usd, "price_source": "synthetic"}
        )
        feed: dict[str, Any] = {"feed_id": _feed_id(row), "asset_id": symbol, "price_usd": usd}
        if underlying:
            root, ratio = _root(symbol)
            feed |= {"kind": "ratio", "base_feed_id": f"{root}/USD", "ratio": ratio}
            backing.append(
                {"asset_id": symbol, "underlying_id": underlying, "units": units, "kind": claim, "venue_id": issuer}
            )
        feeds.append({"kind": "market", "base_feed_id": "", "ratio": 1.0} | feed)
        if quote:
            # against another token in pools, against USD on order books
            model, parameter = ("exponential", "depth") if quote == "USD" else ("constant_product", "reserve")
            parameters = json.dumps({parameter: max(liquid * tokens, 1e5 / usd)})
            depth.append({"asset_id": symbol, "quote": quote, "model": model, "parameters": parameters})
    tables = {"assets": assets, "feeds": feeds, "backing": backing, "depth": depth}
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    return frames | {"depth": frames["depth"].assign(source="synthetic")}
