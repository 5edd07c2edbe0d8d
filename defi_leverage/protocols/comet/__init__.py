"""Comet (Compound III): every account of one deployment at one block.

One base asset is lent; collateral only secures loans of it. Balances carry the interest up to the block. Each account's
base balance, and whether it may be liquidated, are compared with the contract's own views, and an account that differs
is set aside. isLiquidatable itself goes by the indices as last stored, absorb() by those of its block: the health
factors here are absorb()'s, so that an account may be below 1 a little before the view says so.

Not modelled: paused actions (a market whose absorb is paused liquidates nobody); that Comet stops to sell what it has
seized once its reserves reach targetReserves; that collateral which counts nothing any more (a liquidate factor of 0)
is seized with the rest; the partial liquidations of CometWithPartialLiquidation.
"""

from defi_leverage.chain import Chain
from defi_leverage.protocols import Progress, silence
from defi_leverage.protocols.comet.accounts import find_candidates, read_holders
from defi_leverage.protocols.comet.market import find_comet
from defi_leverage.protocols.comet.price_feeds import read_feeds
from defi_leverage.protocols.comet.readings import (
    assess_all,
    asset_readings,
    gaps,
    liquidation_parameters,
    market_readings,
)
from defi_leverage.reading import Deployment, Reading, VenueReading

__all__ = ["OPTIONS", "read"]

OPTIONS = {"unit_usd_feed": "address"}
"""The Chainlink aggregator that prices in USD what the Comet's prices are in, needed where that is not USD itself."""


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> Reading:
    """Every account of the Comet at an address, at the chain's pinned block.

    Feeds' prices are USD; the accounts' totals are in the Comet's own unit, times 1e8. A collateral without a price is
    in `gaps`, and borrowers that hold some are in `failed`. Balances that do not add up to the contract's totals are
    in `gaps`, too. Raises ReaderError where the address is not a Comet, or its prices have no way to USD, ChainError
    where the chain does not answer.
    """
    tell = progress or silence
    tell("market", 0, 1)
    comet = await find_comet(chain, deployment)
    chain_name = f"eip155:{chain.chain_id}"
    feeds = await read_feeds(chain, deployment, comet, chain_name)
    tell("market", 1, 1)
    candidates = await find_candidates(chain, comet, deployment.first_block, tell)
    holders = await read_holders(chain, comet, candidates, tell)
    accounts, failed = assess_all(holders, comet, feeds)
    assets, backing = asset_readings(comet, feeds, chain_name)
    return Reading(
        chain=chain_name,
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=VenueReading(
            venue_id=f"{chain_name}:{comet.address}",
            protocol="comet",
            name=deployment.name,
            address=comet.address,
            revision=0,  # the contract does not say
            liquidation_rule="comet",
            liquidation_parameters=liquidation_parameters(comet, feeds.by_offset[comet.base.offset]),
        ),
        assets=assets,
        feeds=(*feeds.by_offset.values(), *(feed for _, feed in feeds.others)),
        backing=backing,
        markets=market_readings(comet, feeds),
        accounts=accounts,
        found=len(holders),
        failed=failed,
        gaps=gaps(comet, holders, deployment),
    )
