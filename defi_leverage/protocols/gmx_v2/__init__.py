"""GMX v2 (synthetics): the positions of every market of one DataStore, each market a venue of its own.

A position is an account, named by its key: margin is isolated, and an owner may have four in one market. Positions come
from the DataStore's list, their fees, profit and margin from the Reader, with prices that we hand in (`prices`). Equity
and margin are compared with Reader.isPositionLiquidatable to the last unit; a position that is not reproduced is set
aside. Releases 2.1 and 2.2 of the Reader are told apart by what they answer (`layout`, `venue`); another is refused.

Signs: funding that a position owes is taken from its margin and is positive in `perps`; what it may claim is none of
its margin, and counts against that. A market's rate is that of the side that pays, positive where longs do.

Liquidity providers are the other side of all positions: they bear what margin does not pay, and there is no insurance
fund. Auto-deleveraging closes winners at the price of the market, and shares out no loss; `gaps` say where it is on.
Not modelled: that the impact of closing changes with open interest (and with the price, where a market balances
tokens), that the pool caps the profit of all longs or shorts, fees that are refunded from orders not yet executed. An
order closes with the impact up to MAX_POSITION_IMPACT_FACTOR, though liquidation is decided with less of it or none.
"""

from collections import defaultdict
from typing import Any

from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import Progress, silence
from defi_leverage.protocols.gmx_v2.arithmetic import FLOAT, Position, View
from defi_leverage.protocols.gmx_v2.markets import Market, leverage_wad, prices_of, read_markets
from defi_leverage.protocols.gmx_v2.positions import (
    Quote,
    assess_position,
    capped,
    find_positions,
    is_forced,
    name_of,
    read_positions,
)
from defi_leverage.protocols.gmx_v2.prices import PricedToken, parse_prices, read_prices
from defi_leverage.protocols.gmx_v2.venue import Venue, find_venue, list_markets
from defi_leverage.reading import (
    AccountReading,
    AssetReading,
    Deployment,
    FeedReading,
    MarketReading,
    PerpMarketReading,
    Reading,
    VenueReading,
)

__all__ = ["OPTIONS", "read"]

OPTIONS = {"reader_contract": "address", "referral_storage": "address", "prices": "texts"}
_USD_DECIMALS = 30
_TO_WAD = FLOAT // WAD


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> tuple[Reading, ...]:
    """One reading for each market whose three tokens have prices, at the chain's pinned block.

    A market without a price is in `gaps` of the first one that has them, with the number of its positions. Raises
    ConfigError for a price that is none, ReaderError where the contracts are not those of such a venue or no market
    has its prices, ChainError where the chain does not answer.
    """
    tell = progress or silence
    given = parse_prices(deployment.options.get("prices") or (), deployment.name)
    venue = find_venue(chain, deployment)
    listed = await list_markets(chain, venue)
    tokens = await read_prices(chain, venue.store, {token for market in listed for token in market[1:]}, given)
    positions = await find_positions(chain, venue)
    priced = [market for market in listed if not any(tokens[token].problem for token in market[1:])]
    unpriced = {market[0]: market for market in listed if market not in priced}
    gaps = {
        f"{_title(market, tokens)} {address}": _why_unpriced(market, tokens, list(positions.values()).count(address))
        for address, market in unpriced.items()
    }
    if not priced:
        raise ReaderError(
            f"{venue.store}: no market has its prices ({'; '.join(gaps.values())}). Write them as prices = "
            '["TOKEN=USD", ...] in the configuration.',
            address=venue.store,
        )
    samples = {at: of for of, at in positions.items() if at in {market[0] for market in priced}}
    forced = await is_forced(
        chain,
        venue,
        [
            (samples[market[0]], market, prices_of(*(tokens[token] for token in market[1:])))
            for market in priced
            if market[0] in samples
        ],
    )
    markets = {market.address: market for market in await read_markets(chain, venue, priced, tokens, forced)}
    tell("markets", len(markets), len(markets))
    told = await read_positions(
        chain, venue, {of: markets[at] for of, at in positions.items() if at in markets}, forced, tell
    )
    lost = {
        name_of(of): f"its market {at} is not listed" for of, at in positions.items() if at not in {*markets, *unpriced}
    }
    by_market: defaultdict[str, dict[bytes, Any]] = defaultdict(dict)
    for of, one in told.items():
        by_market[positions[of] or ""][of] = one
    readings = []
    for address, market in markets.items():
        readings.append(_reading(chain, deployment, venue, market, by_market[address], gaps, lost))
        gaps, lost = {}, {}
    return tuple(readings)


def _reading(
    chain: Chain,
    deployment: Deployment,
    venue: Venue,
    market: Market,
    told: "dict[bytes, tuple[Position, View] | str]",
    gaps: dict[str, str],
    lost: dict[str, str],
) -> Reading:
    chain_name = f"eip155:{chain.chain_id}"
    tokens = {token.address: token for token in (market.index, market.long, market.short)}
    ids = {address: _asset_id(chain_name, token) for address, token in tokens.items()}
    pairs = {address: (asset_id, f"{asset_id}@{venue.store}") for address, asset_id in ids.items()}
    dollar_id = f"{chain_name}/usd:{venue.store}"
    index_id = ids[market.index.address]  # what positions follow may be a margin token too: a feed of its own
    quote = Quote(pairs, (index_id, f"{index_id}@{market.address}"), (dollar_id, f"{dollar_id}@{venue.store}"))
    accounts: list[AccountReading] = []
    failed = dict(lost)
    for of, one in told.items():
        found = assess_position(one, market, quote)
        if isinstance(found, str):
            failed[name_of(of)] = found
        else:
            accounts.append(found)
    title = f"{market.index.symbol} [{market.long.symbol}-{market.short.symbol}]"
    return Reading(
        chain=chain_name,
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=VenueReading(
            venue_id=f"{chain_name}:{market.address}",
            protocol="gmx_v2",
            name=f"{deployment.name} {title}",
            address=market.address,
            revision=0,
            liquidation_rule="perp_full",
            liquidation_parameters={"liquidation_fee": market.liquidation_fee_factor / FLOAT, "deleverage": 0.0},
        ),
        assets=(
            *(
                AssetReading(ids[a], t.symbol, t.decimals, "token" if t.is_contract else "index")
                for a, t in tokens.items()
            ),
            AssetReading(dollar_id, "USD", _USD_DECIMALS, "usd"),
        ),
        feeds=(
            *(
                FeedReading(feed_id, asset_id, t.price * 10**t.decimals, FLOAT, source=t.source)
                for t, (asset_id, feed_id) in (
                    (market.index, quote.index),
                    *((token, pairs[address]) for address, token in market.tokens.items()),
                )
            ),
            FeedReading(quote.dollar[1], dollar_id, 1, 1, "fixed", source="the dollar itself"),
        ),
        backing=(),
        markets=_totals(market, accounts, ids, dollar_id),
        accounts=tuple(accounts),
        found=len(told) + len(lost),
        failed=failed,
        gaps=gaps | _market_gaps(market, list(told.values()), title),
        perp_markets=(
            PerpMarketReading(
                asset_id=quote.index[0],
                open_interest_long_raw=market.open_interest.long,
                open_interest_short_raw=market.open_interest.short,
                funding_rate_wad=None if market.funding_rate is None else market.funding_rate // _TO_WAD,
                tiers=_tiers(market),
                maximum_leverage_wad=leverage_wad(market.most_leverage_factor),
            ),
        ),
    )


def _totals(
    market: Market, accounts: list[AccountReading], ids: dict[str, str], dollar_id: str
) -> tuple[MarketReading, ...]:
    """Open interest and margin as the DataStore has them; what is owed in dollars and in funding, as accounts do."""

    def in_accounts(asset_id: str, side: str) -> int:
        legs = (leg for account in accounts for leg in account.legs if leg.weight_wad == WAD)
        return sum(leg.amount_raw for leg in legs if (leg.asset_id, leg.side) == (asset_id, side))

    index = market.index.address
    supply, borrow = {index: market.open_interest.long}, {index: market.open_interest.short}
    for token, amount in market.collateral.items():
        supply[token] = supply.get(token, 0) + amount
        borrow[token] = borrow.get(token, 0) + in_accounts(ids[token], "debt")
    return (
        *(MarketReading(ids[token], supply[token], borrow[token], market.pool.get(token, 0)) for token in supply),
        MarketReading(dollar_id, in_accounts(dollar_id, "collateral"), in_accounts(dollar_id, "debt"), 0),
    )


def _tiers(market: Market) -> tuple[tuple[int, int, int], ...]:
    """The least margin in dollars, and from where on the share of the position's size at entry is more."""
    ratio, least = market.terms.minimum_factor, market.terms.minimum_usd // _TO_WAD
    share = (least * FLOAT // ratio if ratio else 0, ratio // _TO_WAD, 0)
    return ((0, 0, least), share) if least and ratio else ((0, ratio // _TO_WAD, least),)


def _market_gaps(market: Market, told: "list[tuple[Position, View] | str]", title: str) -> dict[str, str]:
    gaps = {f"auto-deleveraging of {side} of {title}": why for side, why in market.adl.items()}
    if market.is_disabled:
        gaps[f"market {title}"] = "it is disabled: none of its orders is carried out, liquidations included"
    if cut := capped(told):
        gaps[f"profit of {cut} positions of {title}"] = "the pool's cap cuts it; legs have it uncut, equity has it cut"
    if market.funding_rate is None:
        gaps[f"funding rate of {title}"] = "the reader does not tell it"
    return gaps


def _asset_id(chain_name: str, token: PricedToken) -> str:
    return f"{chain_name}/{'erc20' if token.is_contract else 'perp'}:{token.address}"


def _title(market: tuple[str, str, str, str], tokens: dict[str, PricedToken]) -> str:
    index, long, short = (tokens[token].symbol for token in market[1:])
    return f"{index} [{long}-{short}]"


def _why_unpriced(market: tuple[str, str, str, str], tokens: dict[str, PricedToken], positions: int) -> str:
    problems = dict.fromkeys(tokens[token].problem for token in market[1:] if tokens[token].problem)
    return f"{positions} positions are left out: {'; '.join(problems)}"
