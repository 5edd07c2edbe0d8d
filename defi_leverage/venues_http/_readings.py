"""From margin accounts to a Reading: positions become weighted legs, their coins assets, and their prices feeds.

A long is collateral of weight 1 - m and owes what it was bought for; a short owes its coin at weight 1 + m and holds
what it was sold for; margin is collateral of weight 1. So the health factor is 1 exactly where the account's value is
its maintenance margin. m is the maintenance margin ratio of the position's notional: exact at every price within the
first tier. In upper tiers m depends on the notional: an account of one position has m at its liquidation price, where
its health factor is 1 then, too; an account of several has m at the present notional, so that on which side of 1 it
stands is exact now, and where it crosses 1 is not, by the change of m on the way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from defi_leverage.dollar_symbols import USD_SYMBOLS
from defi_leverage.fixed_point import WAD
from defi_leverage.reading import (
    AccountReading,
    AssetReading,
    FeedReading,
    LegReading,
    PerpMarketReading,
    PerpReading,
    Reading,
    VenueReading,
)
from defi_leverage.venues_http._fields import scaled, to_wad
from defi_leverage.venues_http._margin import (
    Position,
    Tier,
    account_value,
    liquidation_price,
    maintenance_margin,
    maintenance_ratio,
)

__all__ = ["HOURS_A_YEAR", "MarginAccount", "Market", "Pool", "build_reading", "is_dollar", "moved_prices"]

HOURS_A_YEAR = 8760
_DECIMALS = 18
_MOVED = Fraction(1, 100)
_ETHER = "eip155:1/slip44:60"


@dataclass(frozen=True, slots=True)
class Market:
    """One perp market: its price, open interest of one side in whole units, a year's funding, and its terms.

    `index` names what it follows where `symbol`, which is to be read, does not tell it from all others.
    """

    coin: str
    symbol: str
    price: Fraction
    open_interest: Fraction | None
    funding_rate: Fraction | None
    tiers: tuple[Tier, ...]
    maximum_leverage: Fraction | None
    index: str = ""


@dataclass(frozen=True, slots=True)
class MarginAccount:
    """Positions that share one margin, in units of the pool's quote coin; `name` tells an owner's accounts apart."""

    owner: str
    name: str
    mode: Literal["cross", "isolated", "unified"]
    margin: Fraction
    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class Pool:
    """A venue: the margin accounts in one quote coin that one liquidation rule closes, and the markets it lists."""

    protocol: str
    name: str
    chain: str
    reference: str
    address: str
    quote_id: str
    quote_symbol: str
    liquidation_rule: str
    liquidation_parameters: dict[str, Any]
    auto_deleveraging: Literal["none", "queue", "pro_rata"]
    insurance_fund: Fraction | None
    listed: frozenset[str]
    failed: dict[str, str] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)

    @property
    def venue_id(self) -> str:
        """CAIP-10 in form: the chain, and a name there."""
        return f"{self.chain}:{self.reference}"


def build_reading(
    pool: Pool,
    markets: Mapping[str, Market],
    accounts: Iterable[MarginAccount],
    window: tuple[int, int],
    block: int = 0,
) -> Reading:
    """The reading of a pool: its accounts, what they hold, and the markets that it lists. `window` in UTC seconds."""
    accounts = list(accounts)
    held = {position.coin for account in accounts for position in account.positions}
    here = [markets[coin] for coin in sorted(held | pool.listed)]
    assets = {market.coin: _asset_id(market.index or market.symbol) for market in here}
    quote = AssetReading(
        pool.quote_id, pool.quote_symbol, _DECIMALS, "usd" if is_dollar(pool.quote_symbol) else "token"
    )
    feeds = [
        FeedReading(
            _feed_id(pool, market.coin),
            assets[market.coin],
            market.price.numerator,
            market.price.denominator,
            source=f"{pool.name}: mark price",
        )
        for market in here
    ]
    margin_feed = FeedReading(
        _feed_id(pool, pool.quote_symbol), pool.quote_id, 1, 1, "fixed", source=f"{pool.name}: margin counts at par"
    )
    return Reading(
        chain=pool.chain,
        block_number=block,
        block_hash="",
        block_timestamp=window[1],
        window=window,
        venue=VenueReading(
            venue_id=pool.venue_id,
            protocol=pool.protocol,
            name=pool.name,
            address=pool.address,
            revision=0,
            liquidation_rule=pool.liquidation_rule,
            liquidation_parameters=pool.liquidation_parameters,
        ),
        assets=(quote, *(_asset(assets[market.coin], market.symbol) for market in here)),
        feeds=(margin_feed, *feeds),
        backing=(),
        markets=(),
        accounts=tuple(_account(pool, account, assets) for account in accounts),
        found=len(accounts) + len(pool.failed),
        failed=dict(pool.failed),
        gaps=dict(pool.gaps),
        perp_markets=tuple(
            _perp_market(pool, market, assets[market.coin]) for market in here if market.coin in pool.listed
        ),
    )


def moved_prices(accounts: Iterable[MarginAccount], markets: Mapping[str, Market]) -> dict[str, str]:
    """Markets whose price moved by more than a hundredth while accounts were read, and what to say of it."""
    positions = [position for account in accounts for position in account.positions]
    moved = [p.coin for p in positions if abs(p.mark / markets[p.coin].price - 1) > _MOVED]
    return dict.fromkeys(moved, "its price moved by more than 1 % while accounts were read; scan again")


def _account(pool: Pool, account: MarginAccount, assets: Mapping[str, str]) -> AccountReading:
    value = account_value(account.margin, account.positions)
    legs, perps = [], []
    credit, owed = max(account.margin, Fraction(0)), max(-account.margin, Fraction(0))
    for position in account.positions:
        price = position.reported_liquidation_price or liquidation_price(value, account.positions, position)
        ratio = maintenance_ratio(position.tiers, _reference_notional(account.positions, position, price))
        long = position.size > 0
        legs.append(
            LegReading(
                "collateral" if long else "debt",
                assets[position.coin],
                _feed_id(pool, position.coin),
                scaled(abs(position.size), _DECIMALS),
                to_wad(1 - ratio if long else 1 + ratio),
            )
        )
        perps.append(
            PerpReading(
                asset_id=assets[position.coin],
                size_raw=scaled(position.size, _DECIMALS),
                entry_price_usd_wad=to_wad(position.entry_price),
                maintenance_ratio_wad=to_wad(ratio),
                liquidation_price_usd_wad=None if price is None else to_wad(price),
            )
        )
        if long:
            owed += position.entry_notional
        else:
            credit += position.entry_notional
    money = (pool.quote_id, _feed_id(pool, pool.quote_symbol))
    legs += [LegReading("collateral", *money, to_wad(credit), WAD)] if credit else []
    legs += [LegReading("debt", *money, to_wad(owed), WAD)] if owed else []
    needed = sum((maintenance_margin(p.tiers, abs(p.signed_notional)) for p in account.positions), Fraction(0))
    return AccountReading(
        address=account.name,
        mode=account.mode,
        health_factor_raw=None,
        collateral_base_raw=to_wad(value),
        debt_base_raw=to_wad(needed),
        legs=tuple(legs),
        owner=account.owner,
        perps=tuple(perps),
    )


def _reference_notional(positions: Sequence[Position], position: Position, price: Fraction | None) -> Fraction:
    at = price if len(positions) == 1 and price is not None else position.mark
    return abs(position.size) * at


def _perp_market(pool: Pool, market: Market, asset_id: str) -> PerpMarketReading:
    interest = None if market.open_interest is None else scaled(market.open_interest, _DECIMALS)
    return PerpMarketReading(
        asset_id=asset_id,
        open_interest_long_raw=interest,  # every contract has two sides
        open_interest_short_raw=interest,
        funding_rate_wad=None if market.funding_rate is None else to_wad(market.funding_rate),
        tiers=tuple((to_wad(tier.lower_bound), to_wad(tier.ratio), to_wad(-tier.deduction)) for tier in market.tiers),
        maximum_leverage_wad=None if market.maximum_leverage is None else to_wad(market.maximum_leverage),
        insurance_fund_usd_wad=None if pool.insurance_fund is None else to_wad(pool.insurance_fund),
        auto_deleveraging=pool.auto_deleveraging,
    )


def _asset_id(symbol: str) -> str:
    """Ether is the coin that chains have; everything else is the index that a perp follows, the same at every venue."""
    return _ETHER if symbol == "ETH" else f"index:{symbol}"


def _asset(asset_id: str, symbol: str) -> AssetReading:
    return AssetReading(asset_id, symbol, _DECIMALS, "token" if asset_id == _ETHER else "index")


def is_dollar(symbol: str) -> bool:
    """Whether a quote coin is meant to be worth a dollar, so that it may count at par."""
    return symbol.lower() in USD_SYMBOLS


def _feed_id(pool: Pool, coin: str) -> str:
    return f"{pool.venue_id}:{coin}"
