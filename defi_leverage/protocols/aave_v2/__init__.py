"""Aave v2 and its forks: every account of one market at one block.

Totals and health factors are in the oracle's base currency, as the pool has them: wei of ETH, or USD. An account whose
figures differ from the pool's own getUserAccountData is set aside. The arithmetic of an account is that of Aave v3.0
without e-mode (see `aave_v3.health`), and so are the bits of a configuration; liquidations repay up to half of a
reserve's debt, stable and variable, and the protocol keeps nothing of the bonus (LendingPoolCollateralManager).
"""

from defi_leverage.chain import Chain
from defi_leverage.fixed_point import mul_div_down
from defi_leverage.protocols import Progress, silence
from defi_leverage.protocols.aave_v2.base_currency import find_base_currency, in_usd
from defi_leverage.protocols.aave_v2.price_feeds import read_feeds_in_base
from defi_leverage.protocols.aave_v2.reserves import find_pool, read_reserves
from defi_leverage.protocols.aave_v3.accounts import Openings, find_candidates, read_holders
from defi_leverage.protocols.aave_v3.health import Arithmetic, Market
from defi_leverage.protocols.aave_v3.readings import (
    assess_all,
    asset_readings,
    market_readings,
    missing_accounts,
    unvalued_reserves,
)
from defi_leverage.reading import Deployment, Reading, VenueReading

__all__ = ["OPTIONS", "read"]

OPTIONS = {"eth_usd_feed": "address"}
"""The Chainlink aggregator that prices the base currency in USD, needed where that is not USD itself."""

_OPENINGS = Openings("aave_v2", supplies=("Deposit",), borrows=("Borrow",))


def _as_held(balance: int, _index: int) -> int:
    """The amount of a balance that its token has multiplied with the index already."""
    return balance


# What balanceOf answers is what the pool counts. The aTokens of stETH and AMPL rebase in ways of their own.
_ARITHMETIC = Arithmetic(
    "2", _as_held, _as_held, mul_div_down, averages_threshold=True, needs_threshold=True, scaled=False
)


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> Reading:
    """Every account of the market behind a LendingPoolAddressesProvider, at the chain's pinned block.

    Feeds' prices are USD: where the oracle's base currency is another one, times the option `eth_usd_feed`. A reserve
    that cannot be valued is in `gaps`; the accounts that use it are in `failed`. Raises ReaderError where the address
    is not an Aave v2 market or its base currency has no USD price, ChainError where the chain does not answer.
    """
    tell = progress or silence
    pool = await find_pool(chain, deployment)
    base = await find_base_currency(chain, pool.oracle, deployment)
    tell("reserves", 0, 1)
    reserves, undescribed = await read_reserves(chain, pool)
    tell("reserves", 1, 1)
    candidates = await find_candidates(chain, pool.address, reserves, _OPENINGS, deployment.first_block, tell)
    holders = await read_holders(chain, pool.address, reserves, candidates, tell, scaled=False, has_categories=False)

    chain_name = f"eip155:{chain.chain_id}"
    valued = [reserve for reserve in reserves if not reserve.problem]
    asset_ids = {reserve.index: f"{chain_name}/erc20:{reserve.asset}" for reserve in valued}
    feeds = await read_feeds_in_base(chain, valued, asset_ids, base)
    assets, backing = asset_readings(valued, feeds, chain_name)
    market = Market(
        reserves={reserve.index: reserve for reserve in reserves},
        categories={},
        asset_ids=asset_ids,
        feed_ids={index: feed.feed_id for index, feed in feeds.items()},
    )
    accounts, failed, _ = assess_all(holders, market, (_ARITHMETIC,))
    return Reading(
        chain=chain_name,
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=VenueReading(
            venue_id=f"{chain_name}:{pool.address}",
            protocol="aave_v2",
            name=deployment.name,
            address=deployment.address,
            revision=pool.revision,
            liquidation_rule="aave_v2",
            health_rule=_ARITHMETIC.health_rule,
            liquidation_parameters={"close_factor": 0.5},
        ),
        assets=assets,
        feeds=tuple(in_usd(feed, base, feeds) for feed in feeds.values()),
        backing=backing,
        markets=market_readings(valued, asset_ids),
        accounts=tuple(accounts),
        found=len(holders),
        failed=failed,
        gaps=undescribed | unvalued_reserves(reserves) | missing_accounts(holders, valued, _ARITHMETIC, deployment),
    )
