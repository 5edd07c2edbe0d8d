"""A market of Morpho Blue as a reading: its accounts with their legs, its totals, its assets and feeds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from defi_leverage.chain import Chain
from defi_leverage.dollar_symbols import USD_SYMBOLS
from defi_leverage.fixed_point import RAY, WAD, yearly_ray
from defi_leverage.protocols import without_figures
from defi_leverage.protocols.morpho_blue.arithmetic import (
    PRICE_SCALE,
    assets_down,
    assets_up,
    health_factor,
    incentive,
    yearly_rates,
)
from defi_leverage.protocols.morpho_blue.markets import Market, Token
from defi_leverage.protocols.morpho_blue.positions import Position
from defi_leverage.protocols.morpho_blue.price_feeds import MarketFeeds
from defi_leverage.reading import (
    AccountReading,
    AssetReading,
    BackingReading,
    Deployment,
    FeedReading,
    LegReading,
    MarketReading,
    RateCurve,
    Reading,
    VenueReading,
)

__all__ = ["Positions", "Scene", "add_fee_shares", "left_out_reading", "market_reading", "phantom_debt"]

_TOLERATED = 10**6  # a millionth of a market's shares may be without an account
_DEAD_COVER = 10  # a market is dead where its collateral is worth less than a tenth of its debt,
_DEAD_CASH = 1000  # and less than a thousandth of its supply is there to be withdrawn
_NEGLIGIBLE_USD = 100
_LIQUIDATION_PARAMETERS = {"cursor": 0.3, "maximum_incentive": 0.15}  # ConstantsLib

Positions = Mapping[str, Position | None]  # by owner; None where it cannot be read


@dataclass(frozen=True)
class Scene:
    """What all markets of the contract share. `leading`: by asset, the market feed that the most of it relies on."""

    chain: Chain
    deployment: Deployment
    morpho: str
    tokens: Mapping[str, Token]
    leading: Mapping[str, FeedReading]

    @property
    def chain_name(self) -> str:
        """CAIP-2 of the chain."""
        return f"eip155:{self.chain.chain_id}"


def add_fee_shares(positions: Positions, market: Market, recipient: str) -> Positions:
    """The positions with the shares that are due to the fee recipient."""
    known = positions.get(recipient, Position(0, 0, 0))
    if not market.fee_shares or known is None:
        return positions
    return {**positions, recipient: replace(known, supply_shares=known.supply_shares + market.fee_shares)}


def _debt(position: Position, market: Market) -> int:
    return assets_up(position.borrow_shares, market.totals.borrow, market.totals.borrow_shares)


def _worth(position: Position, market: Market) -> int:
    """The collateral in raw loan tokens, as Morpho._isHealthy values it."""
    return position.collateral * (market.price or 0) // PRICE_SCALE


def phantom_debt(market: Market, positions: Positions, feeds: MarketFeeds) -> str:
    """Why a market is dead: nearly all of its debt is covered by nothing, and its suppliers cannot leave."""
    assert feeds.loan is not None
    totals = market.totals
    known = [position for position in positions.values() if position]
    covered = sum(min(_debt(position, market), _worth(position, market)) for position in known)
    price = Fraction(feeds.loan.price_raw, feeds.loan.price_scale)
    owed_usd = price * totals.borrow / 10**market.loan.decimals
    if (
        owed_usd < _NEGLIGIBLE_USD
        or covered * _DEAD_COVER >= totals.borrow
        or (totals.supply - totals.borrow) * _DEAD_CASH >= totals.supply
    ):
        return ""
    return (
        f"dead, with phantom debt: of {float(owed_usd):,.0f} USD owed {covered / totals.borrow:.2%} is covered by "
        "collateral, and nothing can be withdrawn"
    )


def market_reading(scene: Scene, market: Market, feeds: MarketFeeds, positions: Positions) -> Reading:
    """The reading of one market that can be valued."""
    assert feeds.loan is not None
    own = [feed for feed in (feeds.loan, feeds.collateral, *feeds.others) if feed is not None]
    # The first market feed of an asset is its market price: the one that the most of it relies on.
    leading = [scene.leading[feed.asset_id] for feed in own if feed.asset_id in scene.leading]
    assets, backing = _assets(scene, feeds)
    totals, loan_id = market.totals, feeds.loan.asset_id
    cash = max(0, totals.supply - totals.borrow)
    curve = _curve_parameters(market)
    markets = [
        MarketReading(
            loan_id,
            totals.supply,
            totals.borrow,
            cash,
            0,
            *yearly_rates(totals, market.rate),
            curve=RateCurve("adaptive_curve", curve) if curve else None,
        )
    ]
    if feeds.collateral is not None:
        # The contract keeps no total of collateral, and lends none of it.
        collateral = sum(position.collateral for position in positions.values() if position)
        markets.append(MarketReading(feeds.collateral.asset_id, collateral, 0, collateral, 0, 0))
    return Reading(
        chain=scene.chain_name,
        block_number=scene.chain.block.number,
        block_hash=scene.chain.block.hash,
        block_timestamp=scene.chain.block.timestamp,
        venue=_venue(scene, f"{scene.morpho}/{market.key}", f"{scene.deployment.name} {market.name}"),
        assets=assets,
        feeds=tuple({feed.feed_id: feed for feed in (*leading, *own)}.values()),
        backing=backing,
        markets=tuple(markets),
        accounts=tuple(
            _account(owner, position, market, feeds) for owner, position in sorted(positions.items()) if position
        ),
        found=len(positions),
        failed={owner: "its position cannot be read" for owner, position in positions.items() if position is None},
        gaps=_missing_accounts(market, positions, scene.deployment),
    )


def _curve_parameters(market: Market) -> dict[str, int]:
    if market.rate_at_target is None:
        return {}
    return {"rate_at_target": yearly_ray(market.rate_at_target), "fee": market.totals.fee * (RAY // WAD)}


def _account(owner: str, position: Position, market: Market, feeds: MarketFeeds) -> AccountReading:
    assert feeds.loan is not None
    totals = market.totals
    debt = _debt(position, market)
    legs = []
    if position.collateral and feeds.collateral is not None:
        asset_id, feed_id = feeds.collateral.asset_id, feeds.collateral.feed_id
        legs.append(
            LegReading("collateral", asset_id, feed_id, position.collateral, market.lltv, incentive(market.lltv))
        )
    asset_id, feed_id = feeds.loan.asset_id, feeds.loan.feed_id
    if position.supply_shares:  # what is lent secures nothing
        supplied = assets_down(position.supply_shares, totals.supply, totals.supply_shares)
        legs.append(LegReading("collateral", asset_id, feed_id, supplied, 0))
    if debt:
        legs.append(LegReading("debt", asset_id, feed_id, debt, WAD))
    return AccountReading(
        address=owner,
        mode="isolated",
        health_factor_raw=health_factor(position.collateral, debt, market.price or 0, market.lltv),
        collateral_base_raw=_worth(position, market),
        debt_base_raw=debt,
        legs=tuple(legs),
    )


def _assets(scene: Scene, feeds: MarketFeeds) -> tuple[tuple[AssetReading, ...], tuple[BackingReading, ...]]:
    """The market's tokens and those behind them; a staked token with what its feed says it is a claim on."""
    assets: dict[str, AssetReading] = {}
    backing = []
    for feed in (feeds.loan, feeds.collateral, *feeds.others):
        if feed is None:
            continue
        token = scene.tokens[feed.asset_id.rsplit(":", 1)[1]]
        kind = "usd" if token.symbol.lower() in USD_SYMBOLS else "token"
        if feed.kind == "ratio":
            base = scene.tokens[feed.base_feed_id.split("@")[0].rsplit(":", 1)[1]]
            if (feed is feeds.collateral and feeds.is_discount) or token.symbol.startswith("PT-"):
                kind = "pt"
            elif base.symbol.lower() in USD_SYMBOLS:
                kind = "vault_share"
            else:
                kind = "lst"
                underlying = f"{scene.chain_name}/erc20:{base.address}"
                backing.append(
                    BackingReading(feed.asset_id, underlying, feed.ratio_raw, feed.ratio_scale, "staked", feed.source)
                )
        assets.setdefault(feed.asset_id, AssetReading(feed.asset_id, token.symbol, token.decimals, kind))
    return tuple(assets.values()), tuple(backing)


def _missing_accounts(market: Market, positions: Positions, deployment: Deployment) -> dict[str, str]:
    """That accounts were not found, where the shares of those that were fall short of the market's."""
    known = [position for position in positions.values() if position]
    pairs = (
        ("supply", sum(position.supply_shares for position in known), market.totals.supply_shares),
        ("debt", sum(position.borrow_shares for position in known), market.totals.borrow_shares),
    )
    short = [
        f"{1 - held / total:.2%} of the {name}" for name, held, total in pairs if (total - held) * _TOLERATED > total
    ]
    if not short:
        return {}
    return {
        "accounts that no event names": f"they hold {' and '.join(short)}; first_block {deployment.first_block} is too "
        "late, or the endpoint keeps back logs"
    }


def left_out_reading(scene: Scene, gaps: dict[str, str], failed: dict[str, str]) -> Reading:
    """What is missing of the whole contract: a reading without figures."""
    return without_figures(
        scene.chain, _venue(scene, scene.morpho, f"{scene.deployment.name}, markets left out"), gaps, failed
    )


def _venue(scene: Scene, reference: str, name: str) -> VenueReading:
    return VenueReading(
        venue_id=f"{scene.chain_name}:{reference}",
        protocol="morpho_blue",
        name=name,
        address=scene.morpho,
        revision=1,  # the contract cannot be changed
        liquidation_rule="morpho_blue",
        liquidation_parameters=_LIQUIDATION_PARAMETERS,
    )
