"""The keys of config.toml as data: how each is read, and its default."""

from collections.abc import Mapping
from pathlib import Path

from defi_leverage import config_values as read
from defi_leverage.config_values import Key
from defi_leverage.contagion.impact import IMPACT_MODELS

__all__ = [
    "CHAIN",
    "CLUSTERS",
    "DEPLOYMENT",
    "DRAWS",
    "HTTP_VENUE",
    "MEASURES",
    "OPTION_KINDS",
    "PRICES",
    "REVERSE_SEARCH",
    "ROOT",
    "ROWS",
    "SCENARIO",
    "STRESS",
]

_BACKING_KINDS = ("wraps", "staked", "deposited", "pooled", "minted_against")
_FEED_KINDS = ("market", "ratio", "fixed")

_assets = read.texts('["ETH", "WETH"]')
_shocks = read.table('{ WETH = "-20%" }')

ROOT = {
    "source": Key(read.one_of("sample", "chains"), "sample"),
    "output": Key(read.path, Path("out")),
    "block": Key(read.block, "finalized"),
    "read_backing": Key(read.flag, True),
    "read_owners": Key(read.flag, True),
    "chains": Key(read.table("[chains.ethereum]"), {}, secret=True),
    "venues": Key(read.table("[[venues.hyperliquid]]"), {}, secret=True),
    "depth": Key(lambda rows: rows, []),
    "backing": Key(lambda rows: rows, []),
    "feeds": Key(lambda rows: rows, []),
    "scenarios": Key(lambda rows: rows, []),
    "stress": Key(lambda table: table, {}),
    "clusters": Key(lambda table: table, {}),
    "measures": Key(lambda table: table, {}),
    "own_yields": Key(read.fractions('{ wstETH = "3%" }'), {}),
}
CHAIN: Mapping[str, Key] = {
    "chain_id": Key(read.whole(1)),
    "rpc_urls": Key(read.texts('["https://rpc.example.com"]'), secret=True),
    "deployments": Key(read.texts('["aave_v3 Core"]'), ()),
}
DEPLOYMENT: Mapping[str, Key] = {
    "name": Key(read.text),
    "address": Key(read.address),
    "first_block": Key(read.whole(0)),
}
OPTION_KINDS: Mapping[str, Key] = {  # of a reader's OPTIONS
    "address": Key(read.address, None),
    "text": Key(read.text, None),
    "whole": Key(read.whole(0), None),
    "amount": Key(read.number(0, inclusive=True), None),
    "texts": Key(read.texts('["main"]'), None),
}
HTTP_VENUE: Mapping[str, Key] = {  # of a venue that is not on a chain; url None: the network's own
    "name": Key(read.text),
    "network": Key(read.text, "mainnet"),
    "url": Key(read.text, None, secret=True),
    "accounts": Key(read.texts('["0x..."]'), ()),
    "accounts_file": Key(read.path, None),
    "budget": Key(read.number(0), None),
}
ROWS: Mapping[str, Mapping[str, Key]] = {
    "depth": {
        "asset": Key(read.text),
        "quote": Key(_assets, ()),
        "model": Key(read.one_of(*IMPACT_MODELS), "exponential"),
        "depth_2pct_usd": Key(read.number(0), None),
        "parameters": Key(read.parameters, None),
        "source": Key(read.text, "configuration"),
    },
    "backing": {
        "asset": Key(read.text),
        "underlying": Key(_assets),
        "units": Key(read.number(0), None),
        "kind": Key(read.one_of(*_BACKING_KINDS)),
        "source": Key(read.text, "configuration"),
    },
    "feeds": {"asset": Key(read.text), "kind": Key(read.one_of(*_FEED_KINDS)), "base": Key(_assets, ())},
}
SCENARIO: Mapping[str, Key] = {  # what is left out is as `Scenario` has it
    "name": Key(read.text, None),
    "shocks": Key(_shocks, None),
    "feed_shocks": Key(_shocks, None),
    "depth_multiplier": Key(read.number(0), None),
    "sell_collateral": Key(read.flag, None),
    "buy_debt": Key(read.flag, None),
    "max_rounds": Key(read.whole(1), None),
    "arrival": Key(read.one_of("gap", "continuous"), None),
    "steps": Key(read.whole(1), None),
    "liquidators": Key(read.one_of("all", "rational"), None),
    "gas_usd": Key(read.number(0, inclusive=True), None),
    "rate_shocks": Key(_shocks, None),
    "stale_rounds": Key(read.whole(0), None),
    "frozen_feeds": Key(_assets, None),
}
CLUSTERS: Mapping[str, Key] = {  # the defaults are those of find_clusters
    "threshold": Key(read.number(0), None),
    "band": Key(read.fall, None),
    "largest_fall": Key(read.fall, None),
    "reference_fall": Key(read.fall, None),
    "bad_debt_share": Key(read.number(0), None),
}
MEASURES: Mapping[str, Key] = {  # what is left out is as `Figures` has it
    "volatility": Key(read.fractions('{ WETH = "60%" }', 0), None),
    "expected_return": Key(read.fractions('{ WETH = "20%" }'), None),
    "risk_free_rate": Key(read.fraction, None),
    "target_volatility": Key(read.positive_fraction, None),
    "gap": Key(read.fall, None),
    "jumps_per_year": Key(read.number(0), None),
    "mean_jump": Key(read.positive_fraction, None),
    "horizon_days": Key(read.number(0), None),
    "withdrawal": Key(read.share, None),
    "rate_days": Key(read.number(0), None),
    "history": Key(read.whole(0), None),
}
_losses = read.some_of("venue", "asset", "account", "round")
STRESS: Mapping[str, Key] = {  # what is left out is as `StressPlan` has it; the same for the tables in it
    "ladders": Key(read.texts('["WETH=-5%:-60%:-5%"]'), None),
    "grids": Key(read.texts('["WETH=0%:-50%:-10% by wstETH=0%:-10%:-2%"]'), None),
    "depth_multipliers": Key(read.numbers(0), None),
    "windows": Key(read.texts('["5 Aug 2024"]'), None),
    "window_at": Key(read.one_of("trough", "end"), None),
    "reverse": Key(read.texts('["bad_debt_share=1% along WETH"]'), None),
    "curves": Key(read.texts('["WETH"]'), None),
    "confidence": Key(read.fall, None),
    "losses": Key(_losses, None),
    "base": Key(lambda table: table, None),
    "prices": Key(lambda table: table, None),
    "draws": Key(lambda table: table, None),
    "reverse_search": Key(lambda table: table, None),
}
PRICES: Mapping[str, Key] = {
    "files": Key(read.texts('["prices.csv"]')),
    "step": Key(read.duration, None),
    "max_age": Key(read.duration, None),
    "max_missing": Key(read.number(0, inclusive=True), None),
    "assets": Key(_assets, None),
    "proxies": Key(read.text_table('{ WETH = "ETH" }'), None),
    "unmoved": Key(_assets, None),
}
DRAWS: Mapping[str, Key] = {
    "count": Key(read.whole(1)),
    "seed": Key(read.whole(0), None),
    "horizon": Key(read.duration, None),
    "copula_dof": Key(read.degrees_of_freedom, None),
    "marginal_dof": Key(read.degrees_of_freedom, None),
    "shrinkage": Key(read.one_of("ledoit_wolf", "none"), None),
    "antithetic": Key(read.flag, None),
    "losses": Key(_losses, None),
}
REVERSE_SEARCH: Mapping[str, Key] = {
    "largest": Key(read.fall, None),
    "steps": Key(read.whole(1), None),
    "tolerance": Key(read.number(0), None),
}
