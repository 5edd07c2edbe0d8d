"""What a protocol reader returns: plain integers in the protocol's own units, at one block.

Nothing here is a float. `snapshot.from_readings` is the one place where these integers become float64 tables. A scaled
integer is a pair: `price_raw / price_scale` is USD, `amount_raw / 10**decimals` is whole tokens, `*_wad` is a fraction
times 1e18.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from defi_leverage.fixed_point import WAD

Side = Literal["collateral", "debt"]
NO_CAP = 2**256 - 1
"""The cap of a market without one."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a reader is asked to read: a protocol's root contract and the block from which its events begin."""

    protocol: str
    name: str
    address: str
    first_block: int
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the protocol's reader asks for beyond these, see `protocols.reader_options`."""


@dataclass(frozen=True, slots=True)
class AssetReading:
    """A token. `asset_id` is CAIP-19; `kind` is one of the kinds in the snapshot's schema."""

    asset_id: str
    symbol: str
    decimals: int
    kind: str = "token"


@dataclass(frozen=True, slots=True)
class FeedReading:
    """An oracle price. A `ratio` feed is `ratio_raw / ratio_scale` times the price of `base_feed_id`."""

    feed_id: str
    asset_id: str
    price_raw: int
    price_scale: int
    kind: Literal["market", "ratio", "fixed"] = "market"
    base_feed_id: str = ""
    ratio_raw: int = 1
    ratio_scale: int = 1
    source: str = ""


@dataclass(frozen=True, slots=True)
class BackingReading:
    """One whole `asset_id` is a claim on `units_raw / units_scale` whole `underlying_id`.

    `venue_id`: who owes it; "" is the venue of the reading, where the kind is deposited or minted_against.
    """

    asset_id: str
    underlying_id: str
    units_raw: int
    units_scale: int
    kind: str
    source: str = ""
    venue_id: str = ""


@dataclass(frozen=True, slots=True)
class RateCurve:
    """How a market's borrow rate follows utilisation: `model`, a name in `analytics.rate_curves`, and its parameters.

    `parameters_ray`: yearly rates and fractions, times 1e27. The curve's utilisation is borrowed / supplied. Amounts in
    the asset's raw units; those that are None are the market's own, and supplied is then borrowed and available
    together. `pool` names the pool whose liquidity the market lends along with others, which then has its amounts here.
    """

    model: str
    parameters_ray: Mapping[str, int]
    supplied_raw: int | None = None
    borrowed_raw: int | None = None
    available_raw: int | None = None
    pool: str = ""


@dataclass(frozen=True, slots=True)
class MarketReading:
    """Totals and caps of one asset at the venue, in the asset's raw units, and its yearly rates times 1e27.

    Rates as the protocol compounds them at every moment: an APR of Aave is one. A rate or cap of None is not known; the
    cap of a market that has none is NO_CAP. `curve`: how the borrow rate follows utilisation; None where it is not
    known.
    """

    asset_id: str
    supply_raw: int
    borrow_raw: int
    cash_raw: int
    deficit_raw: int = 0
    supply_rate_ray: int | None = None
    borrow_rate_ray: int | None = None
    supply_cap_raw: int | None = None
    borrow_cap_raw: int | None = None
    curve: RateCurve | None = None


@dataclass(frozen=True, slots=True)
class LegReading:
    """One side of one position. Weight 0 is a supply that does not count as collateral."""

    side: Side
    asset_id: str
    feed_id: str
    amount_raw: int
    weight_wad: int
    liquidation_bonus_wad: int = 0
    protocol_fee_wad: int = 0


@dataclass(frozen=True, slots=True)
class PerpReading:
    """A position in one perp market: its size in the asset's raw units, negative when short; money in 1e-18 USD.

    `accrued_funding_usd_wad` and `accrued_fees_usd_wad`: what it owes since they were last settled, negative where it
    is owed. A price of None is not known, or there is none.
    """

    asset_id: str
    size_raw: int
    entry_price_usd_wad: int | None
    maintenance_ratio_wad: int
    accrued_funding_usd_wad: int = 0
    accrued_fees_usd_wad: int = 0
    liquidation_price_usd_wad: int | None = None


@dataclass(frozen=True, slots=True)
class AccountReading:
    """One account at one venue, with the health factor and totals as the protocol itself reports them.

    `owner`: the address that it belongs to, where an owner may have several accounts, which then are not addresses. A
    venue without a health factor (perps) has None; the totals of a margin account are, in 1e-18 USD, its equity and the
    margin below which it is liquidated.
    """

    address: str
    mode: str
    health_factor_raw: int | None
    collateral_base_raw: int
    debt_base_raw: int
    legs: tuple[LegReading, ...]
    owner: str = ""
    perps: tuple[PerpReading, ...] = ()


@dataclass(frozen=True, slots=True)
class PerpMarketReading:
    """A perp market: open interest of both sides in the asset's raw units, and the terms of its positions.

    `funding_rate_wad` is a year's funding as a fraction of the notional, at the pace of the block, positive where longs
    pay shorts. `tiers` of maintenance margin: from a notional (1e-18 USD), a ratio (wad) and an amount on top (1e-18
    USD). None is not known.
    """

    asset_id: str
    open_interest_long_raw: int | None
    open_interest_short_raw: int | None
    funding_rate_wad: int | None
    tiers: tuple[tuple[int, int, int], ...] = ()
    maximum_leverage_wad: int | None = None
    insurance_fund_usd_wad: int | None = None
    auto_deleveraging: Literal["none", "queue", "pro_rata"] = "none"


@dataclass(frozen=True, slots=True)
class VenueReading:
    """One deployment of a protocol. `health_factor_scale` is the protocol's 1.0, `no_debt_raw` its 'no debt'."""

    venue_id: str
    protocol: str
    name: str
    address: str
    revision: int
    liquidation_rule: str
    health_rule: str = "linear"
    liquidation_parameters: dict[str, Any] = field(default_factory=dict)
    health_factor_scale: int = WAD
    no_debt_raw: int = 2**256 - 1


@dataclass(frozen=True, slots=True)
class OwnerLink:
    """Who acts for an owner of accounts, both CAIP-10; `kind` is one of the kinds in the snapshot's schema."""

    owner: str
    controller: str
    kind: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything one reader found at one block. `failed` maps an account to why it was set aside."""

    chain: str
    block_number: int
    block_hash: str
    block_timestamp: int
    venue: VenueReading
    assets: tuple[AssetReading, ...]
    feeds: tuple[FeedReading, ...]
    backing: tuple[BackingReading, ...]
    markets: tuple[MarketReading, ...]
    accounts: tuple[AccountReading, ...]
    found: int
    failed: dict[str, str] = field(default_factory=dict)
    links: tuple[OwnerLink, ...] = ()
    gaps: dict[str, str] = field(default_factory=dict)
    """What else is missing, by name, with the reason: markets left out whole, accounts that were not found."""
    perp_markets: tuple[PerpMarketReading, ...] = ()
    window: tuple[int, int] | None = None
    """UTC seconds of the first question and the last answer, of a venue that cannot be asked at a block."""


@dataclass(frozen=True, slots=True)
class PriceReading:
    """USD price of a whole token: `price_raw / price_scale`, and where it comes from."""

    asset_id: str
    price_raw: int
    price_scale: int
    source: str


@dataclass(frozen=True, slots=True)
class ClaimsReading:
    """What the derived assets of one chain are claims on, at one block.

    `assets` are the underlyings that no venue lists, each with its price in `prices`, and assets of a venue of which
    more is known now (their kind). `gaps` say, by name, what looks like a claim and was not read, and why.
    """

    chain: str
    block_number: int
    block_hash: str
    block_timestamp: int
    assets: tuple[AssetReading, ...] = ()
    prices: tuple[PriceReading, ...] = ()
    backing: tuple[BackingReading, ...] = ()
    gaps: dict[str, str] = field(default_factory=dict)


def market_prices(reading: Reading) -> dict[str, tuple[Fraction, str]]:
    """USD price and its source of each asset: its market feed, else any feed, else what it is a claim on."""
    prices: dict[str, tuple[Fraction, str]] = {}
    for feed in sorted(reading.feeds, key=lambda feed: feed.kind != "market"):
        prices.setdefault(feed.asset_id, (Fraction(feed.price_raw, feed.price_scale), f"oracle {feed.feed_id}"))
    for claim in reading.backing:
        if claim.asset_id not in prices and claim.underlying_id in prices:
            price = prices[claim.underlying_id][0] * Fraction(claim.units_raw, claim.units_scale)
            prices[claim.asset_id] = (price, f"backing {claim.underlying_id}")
    return prices
