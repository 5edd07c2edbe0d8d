"""Synthetix v3 perps: the accounts of one perps market system, cross-margined over its markets, as one venue.

Accounts are NFTs, all of them listed by their token. Their margin, positions, funding and interest are the contract's;
available and required margin are computed from them and compared with the contract's views, and an account that is not
reproduced is set aside. Prices come from oracle nodes: a stale one makes every view that needs it revert (ERC-7412
OracleDataRequired), which leaves the market out by name and sets aside the accounts with positions in it.

Signs: the contract's funding rate is a day's and positive where longs pay shorts; its accrued funding is positive where
the account receives it, ours (`perps`) where it owes it. snxUSD counts as a dollar. A liquidated account loses all its
margin; what it does not cover falls on the liquidity providers, who are the other side of every position. An account
that was flagged and gains since is closed all the same, so it has no health: it is set aside.

Sources: npm @synthetixio/perps-market 3.13.0, whose functions are those of the deployments on Base and Arbitrum (npm
@synthetixio/v3-contracts 8.10.0); Synthetixio/synthetix-v3 markets/perps-market, commits a5f2ecd, 564f3bf, 96b2ee9, for
what earlier releases do otherwise (`margin`). A system without debt() has none; where positions tell no interest there
is none. Not modelled: that a market lets only so much be liquidated in a window of time, so that the rest of an account
without margin is closed at later prices, in later blocks (the rule closes it at once); that the part of the keepers'
reward which is a share of the notional, and funding not yet recorded, move with the price; the reward where an account
is liquidated for a debt without a position.
"""

from collections.abc import Mapping

from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import Progress, silence
from defi_leverage.protocols.synthetix_v3_perps.accounts import Assets, assess_account, read_accounts, synths_held
from defi_leverage.protocols.synthetix_v3_perps.margin import Synth, read_margin
from defi_leverage.protocols.synthetix_v3_perps.system import Market, System, find_system, read_markets
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

OPTIONS = {"spot_market": "address"}
_DAYS = 365


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> Reading:
    """Every account of the perps market, at the chain's pinned block.

    Raises ReaderError where the address is no such system or none of its markets has a price, ChainError where the
    chain does not answer. Markets and synths without a price are in `gaps`.
    """
    tell = progress or silence
    system = await find_system(chain, deployment)
    markets = {market.id: market for market in await read_markets(chain, system)}
    tell("markets", len(markets), len(markets))
    if all(market.problem for market in markets.values()):
        reasons = "; ".join(dict.fromkeys(market.problem for market in markets.values()))
        raise ReaderError(f"{system.address}: no market has a price ({reasons}).", address=system.address)
    held = await read_accounts(chain, system, tell)
    synths, worths = await read_margin(chain, system, *synths_held(held))
    assets = _name_assets(chain, system, markets, synths)
    accounts: list[AccountReading] = []
    failed: dict[str, str] = {}
    for account in held:
        found = assess_account(account, markets, synths, worths, assets)
        if isinstance(found, str):
            failed[str(account.id)] = found
        else:
            accounts.append(found)
    gaps = {f"market {market.symbol}": market.problem for market in markets.values() if market.problem}
    gaps |= {f"synth {of}": why for of, why in synths.items() if isinstance(why, str)}
    priced = [market for market in markets.values() if not market.problem]
    known = [synth for synth in synths.values() if isinstance(synth, Synth)]
    return Reading(
        chain=f"eip155:{chain.chain_id}",
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=VenueReading(
            venue_id=f"eip155:{chain.chain_id}:{system.address}",
            protocol="synthetix_v3_perps",
            name=deployment.name,
            address=system.address,
            revision=0,
            liquidation_rule="perp_full",
            liquidation_parameters={"liquidation_fee": 1.0, "deleverage": 0.0, "haircut_margin": 1.0},
        ),
        assets=(
            AssetReading(assets.dollar[0], "snxUSD", 18, "usd"),
            *(AssetReading(assets.markets[market.id][0], market.symbol, 18, "index") for market in priced),
            *(AssetReading(assets.synths[synth.id][0], synth.symbol, 18) for synth in known),
        ),
        feeds=(
            FeedReading(assets.dollar[1], assets.dollar[0], 1, 1, "fixed", source="counted as a dollar"),
            *(_market_feed(assets.markets[market.id], market) for market in priced),
            *(
                FeedReading(
                    feed_id=assets.synths[synth.id][1],
                    asset_id=assets.synths[synth.id][0],
                    price_raw=synth.price,
                    price_scale=WAD,
                    source=f"spot market {system.spot}",
                )
                for synth in known
            ),
        ),
        backing=(),
        markets=_totals(priced, known, assets, accounts),
        accounts=tuple(accounts),
        found=len(held),
        failed=failed,
        gaps=gaps,
        perp_markets=tuple(
            PerpMarketReading(
                asset_id=assets.markets[market.id][0],
                open_interest_long_raw=market.long,
                open_interest_short_raw=market.short,
                funding_rate_wad=market.funding_rate * _DAYS,
                tiers=_tiers(market),
                maximum_leverage_wad=_most_leverage(market),
            )
            for market in priced
        ),
    )


def _name_assets(
    chain: Chain, system: System, markets: Mapping[int, Market], synths: Mapping[int, Synth | str]
) -> Assets:
    chain_name = f"eip155:{chain.chain_id}"

    def pair(asset_id: str) -> tuple[str, str]:
        return asset_id, f"{asset_id}@{system.address}"

    return Assets(
        dollar=pair(f"{chain_name}/usd:{system.address}"),
        markets={of: pair(f"{chain_name}/perp:{market.symbol}") for of, market in markets.items()},
        synths={
            of: pair(f"{chain_name}/erc20:{synth.address}") for of, synth in synths.items() if isinstance(synth, Synth)
        },
    )


def _market_feed(asset: tuple[str, str], market: Market) -> FeedReading:
    return FeedReading(asset[1], asset[0], market.price, WAD, source=f"index price of market {market.id}")


def _totals(
    markets: list[Market], synths: list[Synth], assets: Assets, accounts: list[AccountReading]
) -> tuple[MarketReading, ...]:
    """Open interest as the contract has it; margin and what is owed in dollars, as the accounts have it."""

    def in_accounts(asset_id: str, side: str) -> int:
        legs = (leg for account in accounts for leg in account.legs)
        return sum(leg.amount_raw for leg in legs if (leg.asset_id, leg.side) == (asset_id, side))

    dollar = assets.dollar[0]
    return (
        *(MarketReading(assets.markets[market.id][0], market.long, market.short, 0) for market in markets),
        *(
            MarketReading(synth_id, in_accounts(synth_id, "collateral"), 0, 0)
            for synth_id in (assets.synths[synth.id][0] for synth in synths)
        ),
        MarketReading(dollar, in_accounts(dollar, "collateral"), in_accounts(dollar, "debt"), 0),
    )


def _tiers(market: Market) -> tuple[tuple[int, int, int], ...]:
    """The least ratio and the margin on top; each position's own ratio grows with its size."""
    terms = market.terms
    return ((0, terms.least_initial_ratio * terms.maintenance_scalar // WAD, terms.position_margin),)


def _most_leverage(market: Market) -> int | None:
    least = market.terms.least_initial_ratio
    return WAD * WAD // least if least else None
