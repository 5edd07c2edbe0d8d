"""Aave v3, releases 3.0 to 3.7, and its forks: every account of one market at one block.

Each account's collateral, debt and health factor are computed from raw balances and compared with the pool's own
getUserAccountData; an account that is not reproduced to the last wei is set aside, never reported with other figures.
"""

from collections.abc import Iterable, Sequence

from defi_leverage.chain import Chain
from defi_leverage.protocols import Progress, silence
from defi_leverage.protocols.aave_v3.accounts import Openings, find_candidates, read_holders
from defi_leverage.protocols.aave_v3.health import ARITHMETICS, Market, expected_arithmetic
from defi_leverage.protocols.aave_v3.pool import Pool, find_pool
from defi_leverage.protocols.aave_v3.price_feeds import read_feeds
from defi_leverage.protocols.aave_v3.readings import (
    assess_all,
    asset_readings,
    market_readings,
    missing_accounts,
    suspended_liquidations,
    unvalued_reserves,
)
from defi_leverage.protocols.aave_v3.reserves import Reserve, read_categories, read_reserves
from defi_leverage.reading import AccountReading, Deployment, FeedReading, Reading, VenueReading

__all__ = ["read"]

_OPENINGS = Openings("aave_v3", supplies=("Supply", "MintUnbacked"), borrows=("Borrow",))


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> Reading:
    """Every account of the market behind a PoolAddressesProvider, at the chain's pinned block.

    Prices are the oracle's, in units of 1e-8 USD. A reserve that cannot be valued is in `gaps`; the accounts that use
    it as collateral or debt are in `failed`, and a mere supply of it has no leg. Balances that do not add up to the
    tokens' supplies are in `gaps`, too, and so is a reserve that is paused or in a grace period. Raises ReaderError
    where the address is not an Aave v3 market priced in USD, ChainError where the chain does not answer.
    """
    tell = progress or silence
    pool = await find_pool(chain, deployment)
    tell("reserves", 0, 1)
    reserves, undescribed = await read_reserves(chain, pool)
    tell("reserves", 1, 1)
    candidates = await find_candidates(chain, pool.address, reserves, _OPENINGS, deployment.first_block, tell)
    holders = await read_holders(chain, pool.address, reserves, candidates, tell)

    chain_name = f"eip155:{chain.chain_id}"
    valued = [reserve for reserve in reserves if not reserve.problem]
    asset_ids = {reserve.index: f"{chain_name}/erc20:{reserve.asset}" for reserve in valued}
    feeds = await read_feeds(chain, valued, asset_ids, pool.price_scale)
    categories = await read_categories(chain, pool, reserves, {holder.category for holder in holders})
    market = Market(
        reserves={reserve.index: reserve for reserve in reserves},
        categories=categories,
        asset_ids=asset_ids,
        feed_ids={index: feed.feed_id for index, feed in feeds.items()},
    )
    first = expected_arithmetic(pool.revision)
    arithmetics = (first, *(other for other in ARITHMETICS if other is not first))
    accounts, failed, arithmetic = assess_all(holders, market, arithmetics)
    category_feeds = _category_feeds(accounts, market, valued, pool.price_scale)
    assets, backing = asset_readings(valued, feeds, chain_name)
    rule, parameters = _liquidation_rule(pool)
    return Reading(
        chain=chain_name,
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=VenueReading(
            venue_id=f"{chain_name}:{pool.address}",
            protocol="aave_v3",
            name=deployment.name,
            address=deployment.address,
            revision=pool.revision,
            liquidation_rule=rule,
            health_rule=arithmetic.health_rule,
            liquidation_parameters=parameters,
        ),
        assets=assets,
        feeds=(*feeds.values(), *category_feeds),
        backing=backing,
        markets=market_readings(valued, asset_ids),
        accounts=tuple(accounts),
        found=len(holders),
        failed=failed,
        gaps=undescribed
        | unvalued_reserves(reserves)
        | suspended_liquidations(reserves, chain.block.timestamp)
        | missing_accounts(holders, valued, arithmetic, deployment),
    )


def _category_feeds(
    accounts: Iterable[AccountReading], market: Market, reserves: Sequence[Reserve], price_scale: int
) -> list[FeedReading]:
    """The feeds of e-mode categories with a price source of their own, as far as a leg uses them (3.0 and 3.1)."""
    used = {leg.feed_id for account in accounts for leg in account.legs} - set(market.feed_ids.values())
    pairs = [(category, reserve) for category in market.categories.values() for reserve in reserves]
    found = {
        market.category_feed_id(reserve, category): FeedReading(
            feed_id=market.category_feed_id(reserve, category),
            asset_id=market.asset_ids[reserve.index],
            price_raw=category.price,
            price_scale=price_scale,
            source=f"price source of e-mode category {category.index}",
        )
        for category, reserve in pairs
        if category.price and category.members >> reserve.index & 1
    }
    return [feed for feed_id, feed in found.items() if feed_id in used]


def _liquidation_rule(pool: Pool) -> tuple[str, dict[str, float]]:
    """The rule and its constants, of LiquidationLogic.sol: 3.3 counts the whole debt, and leaves no dust."""
    parameters = {"close_factor": 0.5, "full_close_health_factor": 0.95}
    if not pool.has_deficit:
        return "aave_v3", parameters
    return "aave_v3_3", parameters | {"full_close_below_usd": 2000.0, "minimum_leftover_usd": 1000.0}
