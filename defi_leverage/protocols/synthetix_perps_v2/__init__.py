"""Synthetix PerpsV2: every market of a manager at one block, each a venue of its own, as margin is isolated.

Each account's remaining margin, accrued funding, liquidation price and whether it can be liquidated are computed from
its position and compared with the market's own views; an account that is not reproduced is set aside. All accounts have
a MarginTransferred event of the market's proxy.

Signs: the contract's funding rate is a day's and positive where longs pay shorts; what it calls accrued funding is
positive where the account receives it, ours (`perps`) where it owes it. sUSD counts as one dollar, as in the contract.

Not modelled: delayed orders, whose deposits are outside the margin until they are executed or cancelled; the limits on
price impact of a liquidation (maxLiquidationDelta, maxPD); that unrecorded funding moves with the price. A liquidated
position is closed against all SNX stakers, who keep what the keepers do not take and bear what the margin does not pay;
of an account whose equity is gone, the flagger's fee counts as far as it is a debt leg (below the minimum, above the
maximum; between them it is at most the maximum, some tens of dollars).
"""

from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import Progress, silence
from defi_leverage.protocols.synthetix_perps_v2.arithmetic import tiers
from defi_leverage.protocols.synthetix_perps_v2.markets import Manager, Market, find_manager, read_markets
from defi_leverage.protocols.synthetix_perps_v2.positions import (
    Asset,
    assess_holder,
    find_candidates,
    read_holders,
)
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

__all__ = ["read"]

_DAYS = 365


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> tuple[Reading, ...]:
    """One reading for each proxied market of the FuturesMarketManager, at the chain's pinned block.

    A market that cannot be valued is in `gaps` of the first one that can. Raises ReaderError where the address is not
    such a manager or no market of it can be valued, ChainError where the chain does not answer.
    """
    tell = progress or silence
    manager = await find_manager(chain, deployment)
    markets = await read_markets(chain, manager)
    tell("markets", 1, 1)
    valued = [market for market in markets if not market.problem]
    gaps = {f"{market.key} {market.address}": market.problem for market in markets if market.problem}
    if not valued:
        reasons = "; ".join(f"{name}: {why}" for name, why in gaps.items()) or "it has none"
        raise ReaderError(f"{manager.address}: no market can be valued ({reasons}). Take another block.")
    candidates = await find_candidates(chain, [market.address for market in valued], deployment.first_block)
    readings = []
    for place, market in enumerate(valued):
        tell("markets' accounts", place, len(valued))
        readings.append(await _read_market(chain, deployment, manager, market, candidates[market.address], gaps))
        gaps = {}
    tell("markets' accounts", len(valued), len(valued))
    return tuple(readings)


async def _read_market(
    chain: Chain,
    deployment: Deployment,
    manager: Manager,
    market: Market,
    candidates: list[str],
    gaps: dict[str, str],
) -> Reading:
    chain_name = f"eip155:{chain.chain_id}"
    index_id = f"{chain_name}/perp:{market.asset}"
    index = Asset(index_id, f"{index_id}@{manager.address}")
    susd_id = f"{chain_name}/erc20:{manager.susd}"
    susd = Asset(susd_id, f"{susd_id}@{manager.address}")
    holders = await read_holders(chain, market, candidates)
    accounts: list[AccountReading] = []
    failed: dict[str, str] = {}
    for holder in holders:
        found = assess_holder(holder, market, index, susd)
        if isinstance(found, str):
            failed[holder.address] = found
        else:
            accounts.append(found)
    in_susd = {
        side: sum(leg.amount_raw for a in accounts for leg in a.legs if (leg.side, leg.asset_id) == (side, susd_id))
        for side in ("collateral", "debt")
    }
    return Reading(
        chain=chain_name,
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=VenueReading(
            venue_id=f"{chain_name}:{market.address}",
            protocol="synthetix_perps_v2",
            name=f"{deployment.name} {market.key}",
            address=market.address,
            revision=0,
            liquidation_rule="perp_full",
            # Whatever margin is left goes to the keepers and the fee pool, nothing to the owner.
            liquidation_parameters={"liquidation_fee": 1.0, "deleverage": 0.0},
        ),
        assets=(
            AssetReading(index_id, market.asset, 18, "index"),
            AssetReading(susd_id, "sUSD", 18, "usd"),
        ),
        feeds=(
            FeedReading(index.feed_id, index_id, market.price, WAD, source=f"assetPrice of {market.address}"),
            FeedReading(susd.feed_id, susd_id, 1, 1, "fixed", source="counted as a dollar"),
        ),
        backing=(),
        markets=(
            MarketReading(index_id, market.long, market.short, 0),
            MarketReading(susd_id, in_susd["collateral"], in_susd["debt"], 0),
        ),
        accounts=tuple(accounts),
        found=len(holders),
        failed=failed,
        gaps=gaps,
        perp_markets=(
            PerpMarketReading(
                asset_id=index_id,
                open_interest_long_raw=market.long,
                open_interest_short_raw=market.short,
                funding_rate_wad=market.funding_rate * _DAYS,
                tiers=tuple((start, tier.ratio, tier.fixed) for start, tier in tiers(market.terms, 0)),
                maximum_leverage_wad=market.maximum_leverage,
            ),
        ),
    )
