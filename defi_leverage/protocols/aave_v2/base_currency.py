"""What an Aave v2 oracle's prices are in, and how they become USD.

The first release counts in wei of WETH() (AaveOracle of npm @aave/protocol-v2 1.0.1, as on Ethereum); later ones say
BASE_CURRENCY(), zero for USD, and BASE_CURRENCY_UNIT() (contracts/misc/interfaces/IAaveOracle.sol of aave/protocol-v2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError, one_line
from defi_leverage.questions import NOBODY, ask, decode_symbol
from defi_leverage.reading import Deployment, FeedReading

__all__ = ["BaseCurrency", "find_base_currency", "in_usd"]

_WEI = 10**18


@dataclass(frozen=True, slots=True)
class BaseCurrency:
    """The oracle answers `unit` for one whole of it, which is worth `usd_raw / usd_scale` USD."""

    token: str  # its address; "" where the prices are USD
    symbol: str
    unit: int
    usd_raw: int = 1
    usd_scale: int = 1
    feed: str = ""


async def find_base_currency(chain: Chain, oracle: str, deployment: Deployment) -> BaseCurrency:
    """The oracle's base currency and its price in USD, that of the option `eth_usd_feed` where it is not USD itself.

    Raises ReaderError where the oracle does not say its base currency or does not price it at one, and where the feed
    is missing, does not answer, or prices something else.
    """
    abi = load_abi("aave_v2")
    token, unit, weth = await ask(
        chain, abi, [(oracle, name, ()) for name in ("BASE_CURRENCY", "BASE_CURRENCY_UNIT", "WETH")]
    )
    if token is not None and unit:
        if token == NOBODY:
            return BaseCurrency("", "USD", unit)
    elif weth in (None, NOBODY):
        raise ReaderError(
            f"the oracle {oracle} of {deployment.address} says neither BASE_CURRENCY() nor WETH(). This reader cannot "
            "tell what its prices are in: take the deployment out of the configuration.",
            address=deployment.address,
        )
    else:
        token, unit = weth, _WEI
    symbol = await _symbol(chain, token)
    (price,) = await ask(chain, load_abi("aave_v3"), [(oracle, "getAssetPrice", (token,))])
    if price != unit:
        raise ReaderError(
            f"the oracle {oracle} of {deployment.address} answers {price} for its own base currency {symbol}, not "
            f"{unit}. Its prices cannot be read: take the deployment out of the configuration.",
            address=deployment.address,
        )
    feed = deployment.options.get("eth_usd_feed")
    if not feed:
        raise ReaderError(
            f"the oracle {oracle} of {deployment.address} prices in {symbol}, and nothing says what that is worth in "
            f"USD. Add eth_usd_feed = the Chainlink aggregator of {symbol.removeprefix('W')} / USD to the deployment.",
            address=deployment.address,
        )
    usd_raw, usd_scale = await _usd_price(chain, checksum_address(feed), symbol)
    return BaseCurrency(token, symbol, unit, usd_raw, usd_scale, checksum_address(feed))


async def _symbol(chain: Chain, token: str) -> str:
    (answer,) = await chain.call([(token, load_abi("erc20").encode("symbol"))])
    return decode_symbol(answer) or token


async def _usd_price(chain: Chain, feed: str, symbol: str) -> tuple[int, int]:
    answer, description = await ask(
        chain, load_abi("price_feeds"), [(feed, "latestAnswer", ()), (feed, "description", ())]
    )
    (decimals,) = await ask(chain, load_abi("erc20"), [(feed, "decimals", ())])
    if answer is None or answer <= 0 or decimals is None:
        raise ReaderError(
            f"the feed {feed} answers no price. Correct eth_usd_feed: it must be a Chainlink aggregator.",
            address=feed,
        )
    pair = [_plain(side) for side in one_line(description or "").split("/")]
    if pair[0] and pair != [_plain(symbol), "USD"]:
        raise ReaderError(
            f"the feed {feed} is {one_line(description)!r}, but the market's oracle prices in {symbol}. Correct "
            f"eth_usd_feed: it must price {symbol} in USD.",
            address=feed,
        )
    return answer, 10**decimals


def _plain(symbol: str) -> str:
    """ETH of ETH, WETH and WETH.e."""
    return symbol.strip().upper().partition(".")[0].removeprefix("W")


def in_usd(feed: FeedReading, base: BaseCurrency, feeds: Mapping[int, FeedReading]) -> FeedReading:
    """A feed in the base currency as one in USD; `feeds` are all of the market's.

    A constant in the base currency is a ratio of that currency's own feed; where it is no reserve, none stands still.
    """
    if not base.token:
        return feed
    converted = replace(feed, price_raw=feed.price_raw * base.usd_raw, price_scale=feed.price_scale * base.usd_scale)
    if feed.asset_id.endswith(base.token):
        return replace(converted, source=f"base currency of the oracle, in USD by {base.feed}")
    if feed.kind != "fixed":
        return converted
    own = next((other for other in feeds.values() if other.asset_id.endswith(base.token)), None)
    if own is None:
        note = f"constant in {base.symbol}, which is no reserve: taken to follow the market"
        return replace(converted, kind="market", source=f"{feed.source}: {note}")
    return replace(
        converted, kind="ratio", base_feed_id=own.feed_id, ratio_raw=feed.price_raw, ratio_scale=own.price_raw
    )
