"""What moves the prices of a Comet: the kind of each feed.

Interfaces: contracts/pricefeeds of compound-finance/comet. `rate` is a contract that says of itself that it is an
exchange rate (see `morpho_blue.oracles`), or answers getRate or rsETHPrice; U is the unit of the prices (`price_unit`).

| feed | made of | kind |
|---|---|---|
| ConstantPriceFeed | a number | fixed in USD; U itself where the token is U (WETH at 1 ETH); else a ratio of U |
| ScalingPriceFeed, RateBased..., EzETH..., RsETH... | one feed or rate, rescaled | what that is |
| Multiplicative..., ...With4626Support, capped ones | a rate times a feed | ratio of what this feed prices here |
| | rates alone | ratio of U; in USD fixed: counted as a dollar |
| | two feeds | market |
| any other; WstETHPriceFeed, as stETH / ETH is a market | | market |

Where a ratio's base prices nothing here, the feed is taken to follow the market, and its `source` says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import one_line
from defi_leverage.native_coins import NATIVE_COINS
from defi_leverage.protocols.comet.market import PRICE_SCALE, Asset, Comet
from defi_leverage.protocols.comet.price_unit import Unit, find_unit
from defi_leverage.protocols.morpho_blue.oracles import is_exchange_rate
from defi_leverage.questions import probe
from defi_leverage.reading import AssetReading, Deployment, FeedReading

__all__ = ["Feeds", "Make", "read_feeds", "take_apart"]

_PARTS = ("priceFeedA", "priceFeedB", "underlyingPriceFeed", "assetToBaseAggregator", "BASE_TO_USD_AGGREGATOR")
_OUTER = ("description", "constantPrice", "getRatio", "rateProvider", *_PARTS)
_INNER = ("description", "constantPrice", "getRate", "rsETHPrice")
_LONGEST_DESCRIPTION = 80

_Answers = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Feeds:
    """The feed of each asset by offset; `others` are feeds, each with its asset, that these refer to."""

    by_offset: dict[int, FeedReading]
    others: tuple[tuple[AssetReading, FeedReading], ...] = ()


@dataclass(frozen=True, slots=True)
class Make:
    """What a feed is made of: the one feed in it that follows a market, "" where there is none, and rates or not."""

    text: str
    market: str
    has_rate: bool


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the feeds of a Comet share. `unit_feed_id`: of the feed of the unit itself, "" where it has none."""

    assets: Sequence[Asset]
    makes: Mapping[str, Make]
    unit: Unit
    chain_name: str
    unit_feed_id: str = ""


async def read_feeds(chain: Chain, deployment: Deployment, comet: Comet, chain_name: str) -> Feeds:
    """The feeds of the base asset and of the collaterals that have a price, in USD.

    Raises ReaderError where the unit of the prices has no price in USD, see `price_unit`.
    """
    abi = load_abi("comet")
    assets = [asset for asset in (comet.base, *comet.collaterals) if not asset.problem]
    outer = await probe(chain, abi, sorted({asset.feed for asset in assets}), _OUTER)
    parts = {found[name] for found in outer.values() for name in _PARTS if found[name]}
    inner = await probe(chain, abi, sorted(parts), _INNER)
    makes = {feed: take_apart(feed, found, inner) for feed, found in outer.items()}
    texts = [makes[asset.feed].text for asset in assets]
    unit = await find_unit(chain, deployment, texts[0], texts[1:])
    scene = _Scene(assets, makes, unit, chain_name)
    coin = None
    itself = next((asset for asset in assets if _is_unit(scene, asset)), None)
    reference, symbol = NATIVE_COINS.get(chain.chain_id, ("", ""))
    if itself is not None:
        scene = replace(scene, unit_feed_id=_feed_id(scene, itself))
    elif unit.feed and symbol.upper() == unit.symbol.upper():
        coin = AssetReading(f"{chain_name}/{reference}", symbol, 18)
        scene = replace(scene, unit_feed_id=f"{coin.asset_id}@{unit.feed}")
    found = {asset.offset: _feed(scene, asset) for asset in assets}
    if coin is None or all(feed.base_feed_id != scene.unit_feed_id for feed in found.values()):
        return Feeds(found)
    own = FeedReading(
        scene.unit_feed_id, coin.asset_id, unit.usd_raw, unit.usd_scale, source=f"{unit.symbol} / USD of {unit.feed}"
    )
    return Feeds(found, ((coin, own),))


def take_apart(feed: str, found: _Answers, inner: Mapping[str, _Answers]) -> Make:
    """What a feed is made of, by its own answers and by those of its parts."""
    text = one_line(str(found["description"] or ""))[:_LONGEST_DESCRIPTION]
    parts = [found[name] for name in _PARTS if found[name]]
    if not parts:
        is_rate = is_exchange_rate(text)
        return Make(text, "" if is_rate or found["constantPrice"] is not None else feed, is_rate)
    rates = [part for part in parts if _is_rate(inner[part])]
    markets = [part for part in parts if part not in rates and inner[part]["constantPrice"] is None]
    if len(markets) > 1:
        return Make(text, feed, has_rate=False)
    beside = found["rateProvider"] is not None or found["getRatio"] is not None
    return Make(text, markets[0] if markets else "", bool(rates) or beside)


def _is_rate(found: _Answers) -> bool:
    told = is_exchange_rate(one_line(str(found["description"] or "")))
    return told or found["getRate"] is not None or found["rsETHPrice"] is not None


def _feed(scene: _Scene, asset: Asset) -> FeedReading:
    make, unit = scene.makes[asset.feed], scene.unit
    kind: Literal["market", "ratio", "fixed"] = "market"
    base_id, base_price, note = "", 1, ""
    if make.market and make.has_rate:
        base = _priced_by(scene, make.market, asset)
        if base is None:
            note = f": a rate times {make.market}, which prices nothing here: taken to follow the market"
        else:
            kind, base_id, base_price = "ratio", _feed_id(scene, base), base.price
    elif not make.market and not unit.feed:
        kind, note = "fixed", ": counted as a dollar"
    elif not make.market and not _is_unit(scene, asset):
        if scene.unit_feed_id:
            kind, base_id, base_price = "ratio", scene.unit_feed_id, PRICE_SCALE
        else:
            note = f": counted in {unit.symbol}, taken to follow the market"
    return FeedReading(
        feed_id=_feed_id(scene, asset),
        asset_id=f"{scene.chain_name}/erc20:{asset.address}",
        price_raw=asset.price * unit.usd_raw,
        price_scale=PRICE_SCALE * unit.usd_scale,
        kind=kind,
        base_feed_id=base_id,
        ratio_raw=asset.price if base_id else 1,
        ratio_scale=base_price,
        source=(make.text or asset.feed) + (f" in USD by {unit.feed}" if unit.feed else "") + note,
    )


def _priced_by(scene: _Scene, feed: str, of: Asset) -> Asset | None:
    """The asset whose price is that feed's, by itself or rescaled."""
    for asset in scene.assets:
        make = scene.makes[asset.feed]
        if asset is not of and feed in (asset.feed, make.market) and make.market and not make.has_rate:
            return asset
    return None


def _is_unit(scene: _Scene, asset: Asset) -> bool:
    """Whether an asset is the unit of the prices itself, as WETH at 1 ETH is."""
    make, symbol = scene.makes[asset.feed], scene.unit.symbol.upper()
    named = asset.symbol.upper().partition(".")[0] in (symbol, f"W{symbol}")
    return bool(scene.unit.feed) and named and not make.market and not make.has_rate and asset.price == PRICE_SCALE


def _feed_id(scene: _Scene, asset: Asset) -> str:
    """The feed's own address, with that of the unit's feed where the price is its product with that."""
    by = f"*{scene.unit.feed}" if scene.unit.feed else ""
    return f"{scene.chain_name}/erc20:{asset.address}@{asset.feed}{by}"
