"""What moves the price of a branch's collateral.

A branch's feed answers by one of three sources (`priceSource`), and goes from one to the next where oracles fail:

| source | price | kind |
|---|---|---|
| 0 primary | market oracles: ETH / USD; stETH / USD times wstETH's rate; the lower of rETH's market and rate | market |
| 1 ETHUSDxCanonical | ETH / USD times the token's exchange rate, at most the last good price | ratio of the ETH feed |
| 2 lastGoodPrice | the last one before the oracles failed, for good | fixed |

A feed that does not say its source (forks) is taken to follow the market. Source: liquity/bold MainnetPriceFeedBase,
CompositePriceFeed, WSTETHPriceFeed, RETHPriceFeed.
"""

from fractions import Fraction

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols._tokens import Token
from defi_leverage.questions import ask, ask_all
from defi_leverage.reading import FeedReading

__all__ = ["read_collateral_feed"]

_CANONICAL, _LAST_GOOD = 1, 2


async def read_collateral_feed(
    chain: Chain, price_feed: str, held: Token, weth: Token, price: int
) -> tuple[FeedReading, ...]:
    """The feed of the collateral, and the one of WETH where it is a ratio of that."""
    abi = load_abi("liquity_v2")
    asset_id = f"eip155:{chain.chain_id}/erc20:{held.address}"
    (source,) = await ask(chain, abi, [(price_feed, "priceSource", ())])
    told = {None: "price feed", 0: "primary oracle", 1: "ETH / USD times exchange rate", 2: "last good price"}
    shown = f"{told.get(source, f'source {source}')} of {price_feed}"
    raw, scale = price * 10**held.decimals, WAD * WAD
    feed_id = f"{asset_id}@{price_feed}"
    if source == _LAST_GOOD:
        return (FeedReading(feed_id, asset_id, raw, scale, "fixed", source=f"{shown}, which stands for good"),)
    if source == _CANONICAL and (base := await _eth_feed(chain, price_feed, weth)):
        ratio = Fraction(raw, scale) / Fraction(base.price_raw, base.price_scale)
        parts = ratio.numerator, ratio.denominator
        return FeedReading(feed_id, asset_id, raw, scale, "ratio", base.feed_id, *parts, shown), base
    note = ", taken to follow the market" if source else ""
    return (FeedReading(feed_id, asset_id, raw, scale, "market", source=f"{shown}{note}"),)


async def _eth_feed(chain: Chain, price_feed: str, weth: Token) -> FeedReading | None:
    abi = load_abi("liquity_v2")
    (oracle,) = await ask_all(chain, abi, [(price_feed, "ethUsdOracle", ())])
    if oracle is None or weth.problem:
        return None
    aggregator, _, decimals = oracle
    (answer,) = await ask(chain, abi, [(aggregator, "latestAnswer", ())])
    if not answer or answer < 0:
        return None
    asset_id = f"eip155:{chain.chain_id}/erc20:{weth.address}"
    return FeedReading(f"{asset_id}@{aggregator}", asset_id, answer, 10**decimals, source="ETH / USD")
