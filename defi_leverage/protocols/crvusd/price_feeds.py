"""USD prices of a market's two tokens, and what moves them.

A market knows one price: borrowed tokens for a collateral token. Where USD come from, and the kinds of feed:

| market | borrowed token | collateral |
|---|---|---|
| mints the stablecoin, or its oracle multiplies by the aggregator | fixed at 1 USD | the oracle's answer, in USD |
| lends the stablecoin at its own market price | market, at the aggregator's price | oracle times that |
| lends another token against the stablecoin | market, the stablecoin's over the oracle's | market, the aggregator's |

The aggregator is Curve's price of the stablecoin in USD, over its pools; it is found through the oracles of the same
factory. A market that none of these fits has no price in USD. Collateral that an oracle prices by a vault's
convertToAssets is a `ratio` of the vault's asset at the rest of that oracle; all other collateral follows its market
(of wstETH, Curve's oracles take the staking pool's price times the rate).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from defi_leverage.fixed_point import WAD
from defi_leverage.protocols._tokens import Token
from defi_leverage.protocols.crvusd.markets import Factory, Market
from defi_leverage.reading import FeedReading

__all__ = ["MarketFeeds", "StablecoinPrice", "find_stablecoin_price", "make_feeds"]


@dataclass(frozen=True, slots=True)
class StablecoinPrice:
    """USD for one stablecoin, wad, and the contract that says so."""

    value: int
    aggregator: str


@dataclass(frozen=True, slots=True)
class MarketFeeds:
    """Feeds of a market's tokens; `others` are referred to, or say a market price. `underlying`: of a ratio."""

    collateral: FeedReading
    borrowed: FeedReading
    others: tuple[FeedReading, ...] = ()
    underlying: Token | None = None


def find_stablecoin_price(markets: Sequence[Market]) -> StablecoinPrice | None:
    """The aggregator that the most debt relies on."""
    relying: dict[str, int] = {}
    value: dict[str, int] = {}
    for market in markets:
        if market.aggregator:
            relying[market.aggregator] = relying.get(market.aggregator, 0) + market.total_debt
            value[market.aggregator] = market.aggregated
    if not relying:
        return None
    chosen = max(sorted(relying), key=lambda aggregator: relying[aggregator])
    return StablecoinPrice(value[chosen], chosen)


def make_feeds(market: Market, factory: Factory, coin: StablecoinPrice | None, chain_name: str) -> MarketFeeds | str:
    """The feeds of a sound market, or why it has no price in USD."""
    asset_ids = f"{chain_name}/erc20:{market.collateral.address}", f"{chain_name}/erc20:{market.borrowed.address}"
    collateral_id, borrowed_id = asset_ids
    price = Fraction(market.price, WAD)
    coin_id = f"{chain_name}/erc20:{factory.stablecoin}"
    traded = None
    if coin is not None:
        traded = FeedReading(f"{coin_id}@{coin.aggregator}", coin_id, coin.value, WAD, source="Curve's aggregator")
    if market.borrowed.address == factory.stablecoin and (factory.mints or market.aggregator):
        note = "counted as a dollar by its market"
        borrowed = FeedReading(f"{borrowed_id}@{market.controller}", borrowed_id, 1, 1, "fixed", source=note)
        held, underlying = _collateral(market, collateral_id, price, chain_name)
        return MarketFeeds(held[0], borrowed, (*held[1:], *([traded] if traded else [])), underlying)
    if factory.stablecoin not in (market.collateral.address, market.borrowed.address):
        return "neither of its tokens is the factory's stablecoin: no price in USD"
    if traded is None or coin is None:
        return "no oracle of its factory names an aggregator: no price of the stablecoin in USD"
    dollar = Fraction(coin.value, WAD)
    if market.borrowed.address == factory.stablecoin:
        held, underlying = _collateral(market, collateral_id, price * dollar, chain_name)
        return MarketFeeds(held[0], traded, held[1:], underlying)
    source = f"Curve's aggregator over oracle {market.oracle}"
    return MarketFeeds(traded, _feed(f"{borrowed_id}@{market.oracle}", borrowed_id, dollar / price, source))


def _feed(feed_id: str, asset_id: str, price: Fraction, source: str) -> FeedReading:
    return FeedReading(feed_id, asset_id, price.numerator, price.denominator, source=source)


def _collateral(
    market: Market, asset_id: str, price: Fraction, chain_name: str
) -> tuple[tuple[FeedReading, ...], Token | None]:
    """The collateral's feed, and the one that it is a ratio of."""
    feed_id, source = f"{asset_id}@{market.oracle}", f"oracle {market.oracle}"
    if market.share_rate is None:
        return (_feed(feed_id, asset_id, price, source),), None
    underlying, assets = market.share_rate
    ratio = Fraction(assets, 10**underlying.decimals)
    base_id = f"{chain_name}/erc20:{underlying.address}"
    base = _feed(f"{base_id}@{market.oracle}", base_id, price / ratio, f"{source} without convertToAssets")
    parts = ratio.numerator, ratio.denominator
    return (
        FeedReading(
            feed_id, asset_id, price.numerator, price.denominator, "ratio", base.feed_id, *parts, "convertToAssets"
        ),
        base,
    ), underlying
