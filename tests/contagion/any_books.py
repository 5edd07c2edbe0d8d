"""Random books and scenarios that use everything the engine has: rules, impact models, kinds of account, switches."""

import json
import math
from random import Random
from typing import Any

import pandas as pd

from defi_leverage.contagion.impact import IMPACT_MODELS
from defi_leverage.contagion.liquidation import LIQUIDATION_RULES
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot
from tests.books import wide_tables

_USD = [0.0, 1e3, 1e5, 1e7]
_PERP: dict[str, list[float]] = {"liquidation_fee": [0.01], "insurance_fund_usd": _USD, "pro_rata": [0.0, 0.5]}
_NO_LEVY: dict[str, list[float]] = {"deleverage": [0.0], "haircut_margin": [0.0, 1.0]}
PARAMETERS: dict[str, dict[str, list[float]]] = {
    "full": {},
    "aave_v2": {"close_factor": [0.3, 1.0]},
    "aave_v3": {"close_factor": [0.3, 1.0], "full_close_health_factor": [0.0, 0.9]},
    "aave_v3_3": {
        "close_factor": [0.3, 1.0],
        "full_close_health_factor": [0.0, 0.9],
        "full_close_below_usd": [0.0, 2e4],
        "minimum_leftover_usd": [5e3, 5e4],
    },
    "compound_v2": {"close_factor": [0.3, 1.0], "liquidation_incentive": [0.1], "protocol_share": [0.0, 0.05]},
    "morpho_blue": {"cursor": [0.1], "maximum_incentive": [0.03]},
    "euler_v2": {"maximum_discount": [0.03, 0.3]},
    "aave_v4": {
        "target_health_factor": [1.02, 1.2],
        "maximum_bonus_health_factor": [0.95],
        "minimum_bonus_share": [0.5],
        "minimum_leftover_usd": [0.0, 5e3],
    },
    "fluid": {"absorb_ratio": [0.9]},
    "comet": {"liquidation_factor": [0.85], "store_front_price_factor": [0.0, 1.0], "reserves_usd": _USD},
    "maker": {
        "liquidation_penalty": [0.05],
        "hole_usd": [1e4, 1e6],
        "global_hole_usd": [1e4, 1e5, 1e6],
        "dust_usd": [5e3],
        "auction_discount": [0.1],
        "surplus_usd": _USD,
    },
    "liquity_v1": {"stability_pool_usd": _USD, "gas_compensation": [0.0]},
    "liquity_v2": {"stability_pool_usd": _USD, "pool_penalty": [0.1], "redistribution_penalty": [0.2]},
    "crvusd": {"bands": [4, 1], "amplification": [20], "liquidation_discount": [0.09], "jump": [0.5, 1.0]},
    "perp_full": _PERP,
    "perp_partial": _PERP
    | {
        "close_fraction": [0.5],
        "partial_above_usd": [1e3],
        "whole_below": [0.0, 0.5],
        "fund_share": [0.5],
        "fee_is_owed": [0.0, 1.0],
    },
}
_VENUES = "vwxyz"
_SCALES = {"ETH": 1e3, "BTC": 30.0, "USD": 1e7, "LST": 1e3, "WLST": 1e3, "ALT": 1e5, "LP": 1e4}


def any_book(random: Random, rules: list[str] | None = None) -> Snapshot:
    """The assets and accounts of `books.wide_book` and more: any rule at any of five venues, any impact model, claims
    on each other, and accounts that the rules are made for. `rules`: of the venues, in turn (default: drawn).
    """
    tables = wide_tables(random)
    names = [rules[place % len(rules)] if rules else random.choice(list(LIQUIDATION_RULES)) for place in range(5)]
    venues = [
        {
            "venue_id": venue,
            "protocol": "test",
            "liquidation_rule": rule,
            "liquidation_parameters": json.dumps(_parameters(random, rule)),
            "health_rule": random.choice(["linear", "linear", "average_threshold_bps"]),
        }
        for venue, rule in zip(_VENUES, names, strict=True)
    ]
    made, legs = _accounts(random, dict(zip(_VENUES, names, strict=True)), tables["feeds"])
    kept = tables["accounts"]["account_id"].isin(random.sample(list(tables["accounts"]["account_id"]), 1))
    odd = tables["accounts"].assign(mode="cross")[kept | (random.random() < 0.5)]
    wide_legs = tables["legs"][tables["legs"]["account_id"].isin(odd["account_id"])]
    tables["venues"] = pd.DataFrame(venues)
    tables["accounts"] = pd.concat([odd, made], ignore_index=True)
    tables["legs"] = pd.concat([wide_legs, legs], ignore_index=True)
    if random.random() < 0.3:
        tables["assets"], tables["feeds"], tables["backing"] = _with_circle(random, tables)
    tables["depth"] = pd.DataFrame(_depth(random), columns=["asset_id", "quote", "model", "parameters"])
    return Snapshot.from_tables(tables)


def _parameters(random: Random, rule: str) -> dict[str, float]:
    """Some of the rule's parameters; the others take their defaults."""
    chosen = dict(PARAMETERS[rule])
    if rule.startswith("perp") and random.random() < 0.4:
        chosen |= _NO_LEVY
    drawn = {name: random.choice(values) for name, values in chosen.items() if random.random() < 0.6}
    if drawn.get("haircut_margin"):  # who is deleveraged tells positions by their weights alone
        drawn["deleverage"] = 0.0
    return drawn


def _accounts(random: Random, rules: dict[str, str], feeds: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Up to sixteen accounts, each of one kind; at some venues of the kind that the rule is made for."""
    price = dict(zip(feeds["feed_id"], feeds["price_usd"], strict=True))
    asset_of = dict(zip(feeds["feed_id"], feeds["asset_id"], strict=True))
    accounts: list[dict[str, str]] = []
    legs: list[dict[str, Any]] = []
    for number in range(random.randint(4, 16)):
        account, venue = f"b{number:02}", random.choice(_VENUES)
        mode = random.choice(["cross", "bands:5", "bands:6.5", "bands:0"]) if rules[venue] == "crvusd" else "cross"
        accounts.append({"account_id": account, "venue_id": venue, "mode": mode})
        kind = random.choice(["borrower", "short", "loop", "trove", "many", "dust", "lender", "bare"])
        if rules[venue].startswith("perp"):
            kind = "perp"
        elif rules[venue].startswith("liquity") or rules[venue] == "crvusd":
            kind = random.choice(["trove", "trove", "half sold" if rules[venue] == "crvusd" else kind])
        for side, feed, usd, weight in _legs_of(random, kind, list(price)):
            terms = {"liquidation_bonus": random.choice([0.0, 0.05]), "protocol_fee": random.choice([0.0, 0.1])}
            none = dict.fromkeys(terms, 0.0)
            legs.append(
                {"account_id": account, "side": side, "asset_id": asset_of[feed], "feed_id": feed}
                | {"amount": usd / price[feed], "weight": weight}
                | (terms if side == "collateral" else none)
            )
    return pd.DataFrame(accounts), pd.DataFrame(legs)


def _legs_of(random: Random, kind: str, feeds: list[str]) -> list[tuple[str, str, float, float]]:
    """(side, feed, USD, weight) of one account."""
    size, factor = 10 ** random.uniform(3, 6.5), random.choice([random.uniform(1.001, 1.15), random.uniform(0.9, 2)])
    if kind == "perp":
        ratio, leverage = random.choice([0.02, 0.05]), random.uniform(3, 25)
        position, entry = random.choice(["ETH", "BTC"]), random.uniform(0.97, 1.03)
        sides = [("collateral", position, size, 1 - ratio), ("debt", "USD", size * entry, 1.0)]
        if random.random() < 0.5:
            sides = [("debt", position, size, 1 + ratio), ("collateral", "USD", size * entry, 1.0)]
        return [*sides, ("collateral", random.choice(["aUSD", "ETH/mode"]), size / leverage, 1.0)]
    if kind == "many":
        held, owed = random.sample(feeds, random.choice([2, 8])), random.sample(feeds, random.choice([3, 12]))
        values = [size * random.uniform(0.2, 1) for _ in held]
        debt = 0.8 * sum(values) / factor
        return [
            *(("collateral", feed, usd, 0.8) for feed, usd in zip(held, values, strict=True)),
            *(("debt", feed, debt / len(owed) * random.uniform(0.9, 1.1), 1.0) for feed in owed),
        ]
    if kind == "half sold":
        sold = random.uniform(0.1, 0.6) * size
        debt = sold + (size - sold) * 0.9 / factor
        return [("collateral", "ETH", size - sold, 0.9), ("collateral", "USD", sold, 1.0), ("debt", "USD", debt, 1.0)]
    if kind == "dust":
        size *= 10 ** random.uniform(-22, -4)
    if kind == "lender":
        return [("collateral", random.choice(feeds), size, 0.8)]
    if kind == "bare":
        return [("debt", random.choice(feeds), size, 1.0)]
    ends: dict[str, tuple[str, str, float]] = {
        "borrower": (random.choice(["ETH", "BTC", "ALT", "LP"]), "USD", 0.8),
        "short": ("USD", random.choice(["ETH", "BTC"]), 0.8),
        "loop": (random.choice(["LST", "WLST", "LST/rate", "WLST/rate"]), "ETH", 0.95),
        "trove": ("ETH", "USD", 1 / 1.1),
        "dust": ("ETH", "USD", 0.8),
    }
    of_collateral, of_debt, weight = ends[kind]
    return [("collateral", of_collateral, size, weight), ("debt", of_debt, size * weight / factor, 1.0)]


def _with_circle(random: Random, tables: dict[str, pd.DataFrame]) -> list[pd.DataFrame]:
    """Two vault shares that hold each other and ETH; one is priced by a feed."""
    one, other = random.uniform(0, 0.5), random.uniform(0, 0.5)
    kinds = [random.choice(["deposited", "pooled"]) for _ in range(2)]
    issuer = random.choice(["", "v"])
    backing = [("P", "Q", one, kinds[0], issuer), ("P", "ETH", 0.1, kinds[0], issuer)]
    backing += [("Q", "P", other, kinds[1], ""), ("Q", "ETH", 0.05, kinds[1], "")]
    solved = (0.1 + one * 0.05) / (1 - one * other)
    prices = {"P": 2000 * solved * random.uniform(0.95, 1.05), "Q": 2000 * (0.05 + other * solved)}
    assets = pd.DataFrame({"asset_id": list(prices), "symbol": list(prices), "price_usd": list(prices.values())})
    feed = pd.DataFrame([{"feed_id": "P", "asset_id": "P", "price_usd": prices["P"], "kind": "market"}])
    feed[["base_feed_id", "ratio"]] = "", 1.0
    rows = pd.DataFrame(backing, columns=["asset_id", "underlying_id", "units", "kind", "venue_id"])
    debtors = tables["legs"]["feed_id"] == "ALT"  # some now hold, or owe, the vault share instead
    tables["legs"].loc[debtors, ["asset_id", "feed_id"]] = "P"
    tables["legs"].loc[debtors, "amount"] *= 5.0 / prices["P"]
    return [
        pd.concat([tables[name], more], ignore_index=True)
        for name, more in (("assets", assets), ("feeds", feed), ("backing", rows))
    ]


def _depth(random: Random) -> list[tuple[str, str, str, str]]:
    quote_of = {"LST": ["ETH"], "WLST": ["ETH", "LST"], "ALT": ["ETH", "USD"]}
    rows = []
    for asset, scale in _SCALES.items():
        if random.random() < 0.7:
            model = random.choice(list(IMPACT_MODELS))
            parameters = market_parameters(random, model, scale * 10 ** random.uniform(-1.2, 1.0))
            rows.append((asset, random.choice(quote_of.get(asset, ["USD"])), model, json.dumps(parameters)))
    return rows


def market_parameters(random: Random, model: str, tokens: float) -> dict[str, Any]:
    """Parameters of a market that some `tokens` move by a large part of its price."""
    if model == "square_root":
        return {"volatility": random.uniform(0.02, 0.2), "daily_volume": tokens}
    if model == "constant_product":
        return {"reserve": tokens}
    if model == "uniswap_v3":
        price = 10 ** random.uniform(-2, 2)
        deep = tokens * math.sqrt(price)
        ranges = [[0.7, 1.4, 5 * deep], [0.9, 1.05, 9 * deep], [0.2, 0.5, 2 * deep], [1.6, 4.0, deep]]
        return {"price": price, "ranges": [[low * price, high * price, depth] for low, high, depth in ranges]}
    if model == "stableswap":
        coins = random.choice([2, 3])
        return {
            "balances": [tokens * random.uniform(0.5, 2) for _ in range(coins)],
            "amplification": random.choice([5, 100, 1000]),
            "rates": [random.uniform(1, 1.2) for _ in range(coins)],
        }
    if model == "piecewise":
        sold = [0.1, 0.5, 1.0] if random.random() < 0.5 else [-0.7, -0.1, 0.2, 0.6]
        factor = [0.99, 0.9, 0.7] if len(sold) == 3 else [1.6, 1.02, 0.97, 0.8]
        return {"sold": [part * tokens for part in sold], "factor": factor}
    return {"depth": tokens * (10 if model == "linear" else 1)}


def any_scenario(random: Random, snapshot: Snapshot) -> Scenario:
    """Shocks to some assets, and some of the switches."""
    assets, feeds = list(snapshot.assets["asset_id"]), list(snapshot.feeds["feed_id"])

    def some(names: list[str], chance: float, low: float, high: float) -> dict[str, float]:
        return {name: random.uniform(low, high) for name in names if random.random() < chance}

    shocks = some(assets, 0.2, -0.4, 0.3) | {"ETH": random.uniform(-0.4, 0.1)}
    return Scenario(
        "any",
        shocks,
        some(feeds, random.choice([0.0, 0.1]), -0.2, 0.2),
        depth_multiplier=random.choice([0.3, 1.0, 1.0]),
        sell_collateral=random.random() < 0.8,
        buy_debt=random.random() < 0.7,
        max_rounds=random.choice([1, 4, 12, 12]),
        arrival=random.choice(["gap", "gap", "continuous"]),
        steps=random.choice([2, 3]),
        liquidators=random.choice(["all", "all", "rational"]),
        gas_usd=random.choice([0.0, 50.0]),
        rate_shocks=some(assets, random.choice([0.0, 0.0, 0.2]), 0.0, 0.2),
        stale_rounds=random.choice([0, 0, 0, 1, 2]),
        frozen_feeds=[feed for feed in feeds if random.random() < random.choice([0.0, 0.0, 0.1])],
    )
