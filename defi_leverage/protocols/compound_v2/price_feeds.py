"""What the oracle of a Compound v2 comptroller makes of each price: the market's, a ratio to another one, or fixed.

Known are Compound's PriceOracle (getConfig), Venus' ResilientOracle (getOracle) with its ChainlinkOracle (`prices`) and
CorrelatedTokenOracle, and the Chainlink oracles of Benqi and Moonwell (getFeed, assetPrices). Of any other oracle every
price is taken to follow the market.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.protocols.compound_v2.comptroller import Comptroller
from defi_leverage.protocols.compound_v2.markets import Market
from defi_leverage.questions import NOBODY, decode, decode_all
from defi_leverage.reading import FeedReading

__all__ = ["read_feeds"]

_NATIVE = "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"  # NATIVE_TOKEN_ADDR of Venus' oracles
_MAIN = 0  # OracleRole.MAIN of the ResilientOracle
_OF_SOURCE = ("CORRELATED_TOKEN", "UNDERLYING_TOKEN", "getUnderlyingAmount", "INTERMEDIATE_ORACLE", "PT_ORACLE")


@dataclass(frozen=True, slots=True)
class _Source:
    """What is known of where a market's price comes from; `ratio`: raw units of `base` a whole underlying."""

    note: str
    is_fixed: bool = False
    base: str = ""
    ratio: int = 0


async def read_feeds(
    chain: Chain, comptroller: Comptroller, markets: Sequence[Market], asset_ids: Mapping[int, str]
) -> dict[int, FeedReading]:
    """The feed of each market, by the market's index; a second market of an underlying has a feed of its own.

    A ratio feed points at the feed of the market that holds what the ratio is to. Where none does, or where the oracle
    asks a market for the ratio (a one-jump or Pendle oracle), the feed is taken to follow the market, and its `source`
    says so.
    """
    sources = await _sources(chain, comptroller, markets)
    by_asset: dict[str, Market] = {}
    ids: dict[int, str] = {}
    for market in markets:
        asset_id = asset_ids[market.index]
        first = by_asset.setdefault(_token(market), market)
        ids[market.index] = f"{asset_id}@{comptroller.oracle}" + ("" if first is market else f":{market.address}")
    feeds = {}
    for market in markets:
        source = sources[market.index]
        kind: Literal["market", "ratio", "fixed"] = "fixed" if source.is_fixed else "market"
        base, note, ratio, scale = by_asset.get(source.base), source.note, 1, 1
        if source.base and base is None:
            note += f": a ratio to {source.base}, which no market holds: taken to follow the market"
        elif base is not None:
            explained = base.price * source.ratio // 10**market.asset_decimals
            if 0 < market.price <= explained:
                kind, ratio, scale = "ratio", source.ratio, 10**base.asset_decimals
                if market.price < explained:  # the oracle caps the ratio
                    ratio, scale = market.price * base.price_scale, base.price * market.price_scale
            else:
                note += f": not its ratio to {base.asset_symbol}: taken to follow the market"
        feeds[market.index] = FeedReading(
            feed_id=ids[market.index],
            asset_id=asset_ids[market.index],
            price_raw=market.price,
            price_scale=market.price_scale,
            kind=kind,
            base_feed_id=ids[base.index] if kind == "ratio" and base is not None else "",
            ratio_raw=ratio,
            ratio_scale=scale,
            source=note or comptroller.oracle,
        )
    return feeds


def _token(market: Market) -> str:
    return market.underlying or _NATIVE


async def _sources(chain: Chain, comptroller: Comptroller, markets: Sequence[Market]) -> dict[int, _Source]:
    abi, oracle = load_abi("compound_v2"), comptroller.oracle
    calls = []
    for market in markets:
        feed_symbol = market.asset_symbol if market.underlying else market.symbol
        calls += [
            (oracle, abi.encode("getConfig", market.address)),
            (oracle, abi.encode("getOracle", _token(market), _MAIN)),
            (oracle, abi.encode("getFeed", feed_symbol)),
            (oracle, abi.encode("assetPrices", _token(market))),
        ]
    answers = await chain.call(calls)
    found = {}
    for place, market in enumerate(markets):
        config, main, of_feed, direct = answers[4 * place : 4 * place + 4]
        found[market.index] = {
            "config": _decode_three("getConfig", config),
            "main": decode(abi, "getOracle", main),
            "feed": decode(abi, "getFeed", of_feed),
            "direct": decode(abi, "assetPrices", direct),
        }
    asked = [(market, found[market.index]["main"]) for market in markets]
    asked = [(market, main) for market, main in asked if main not in (None, NOBODY)]
    calls = []
    for market, main in asked:
        calls += [(main, abi.encode(name)) for name in _OF_SOURCE] + [(main, abi.encode("prices", _token(market)))]
    answers = await chain.call(calls)
    names = (*_OF_SOURCE, "prices")
    for place, (market, _) in enumerate(asked):
        of_main = answers[place * len(names) : (place + 1) * len(names)]
        found[market.index] |= {name: decode(abi, name, reply) for name, reply in zip(names, of_main, strict=True)}
    aggregators = sorted({feed for row in found.values() if (feed := _aggregator(row))})
    texts = await chain.call([(feed, abi.encode("description")) for feed in aggregators])
    known = zip(aggregators, texts, strict=True)
    descriptions = {feed: decode(abi, "description", text) or "" for feed, text in known}
    return {market.index: _source(market, found[market.index], descriptions) for market in markets}


def _aggregator(row: Mapping[str, Any]) -> str:
    feed = row["config"][1] if row["config"] else row["feed"]
    return "" if feed in (None, NOBODY) else feed


def _source(market: Market, row: Mapping[str, Any], descriptions: Mapping[str, str]) -> _Source:
    feed = _aggregator(row)
    text = f"{feed} {descriptions[feed]}".strip() if feed else ""
    if row["config"]:
        return _Source(text or "fixed price of the oracle", is_fixed=row["config"][2] > 0)
    if row["direct"] and (feed or row["main"] is None):
        return _Source("price set by the oracle's administrator", is_fixed=True)
    main = row["main"]
    if main in (None, NOBODY):
        return _Source(text)
    if row["CORRELATED_TOKEN"] != _token(market) or not row["getUnderlyingAmount"]:
        return _Source(main, is_fixed=bool(row["prices"]))
    if row["INTERMEDIATE_ORACLE"] or row["PT_ORACLE"]:
        return _Source(f"{main}: market ratio to {row['UNDERLYING_TOKEN']}")
    return _Source(main, base=row["UNDERLYING_TOKEN"], ratio=row["getUnderlyingAmount"])


def _decode_three(function: str, answer: bytes | None) -> tuple[Any, ...] | None:
    return decode_all(load_abi("compound_v2"), function, answer) if answer and len(answer) == 96 else None
