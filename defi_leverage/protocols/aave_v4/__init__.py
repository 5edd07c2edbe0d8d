"""Aave v4: every account of one spoke at one block.

A spoke decides what secures what; the hubs behind its reserves lend, to all their spokes, and bear the deficits that
liquidations leave. So a reserve's supply, debt, caps and deficit are the spoke's own, and its cash is all that the hub
has. Each position keeps the collateral factor, bonus and fee of the dynamic configuration under which it last acted;
its legs have those. The borrow rate is that of drawn debt, and follows what all spokes have drawn of the hub; an
account's risk premium comes on top of it. An asset that two hubs lend the spoke has no rate curve.

Collateral, debt and health factor are compared with getUserAccountData; an account that is not reproduced to the last
wei is set aside. Interfaces: ISpoke, IHub and IAaveOracle as in Aave's address book 4.68.1 (@aave-dao on npm), sources
in aave/aave-v4. Shares of tokenization spokes and position managers are not read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from defi_leverage.chain import Chain
from defi_leverage.dollar_symbols import USD_SYMBOLS
from defi_leverage.fixed_point import BPS, WAD
from defi_leverage.protocols import Progress, silence
from defi_leverage.protocols.aave_v3.price_feeds import read_feeds
from defi_leverage.protocols.aave_v4.accounts import Holder, find_candidates, read_holders
from defi_leverage.protocols.aave_v4.health import Totals, assess, debt_to_repay, mismatch
from defi_leverage.protocols.aave_v4.rate_curves import read_curves
from defi_leverage.protocols.aave_v4.spoke import PRICE_SCALE, Reserve, Spoke, find_spoke, read_reserves
from defi_leverage.reading import (
    AccountReading,
    AssetReading,
    Deployment,
    FeedReading,
    LegReading,
    MarketReading,
    RateCurve,
    Reading,
    VenueReading,
)

__all__ = ["read"]

_TOLERATED = 10**6  # a millionth of a reserve's supply or debt may be without an account
_BPS_WAD = WAD // BPS
_RAY_OF_VALUE = 10**27
_MINIMUM_LEFTOVER_USD = 1000.0  # LiquidationLogic.DUST_LIQUIDATION_THRESHOLD


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> Reading:
    """Every account of the spoke, at the chain's pinned block.

    Prices are the oracle's, in 1e-8 USD. A reserve that cannot be valued is in `gaps`, and the accounts that owe it or
    use it as collateral in `failed`. Raises ReaderError where the address is no spoke of Aave v4, ChainError where the
    chain does not answer.
    """
    tell = progress or silence
    spoke = await find_spoke(chain, deployment)
    reserves, gaps = await read_reserves(chain, spoke)
    tell("reserves", len(reserves), len(reserves))
    candidates = await find_candidates(chain, spoke, deployment.first_block, tell)
    holders = await read_holders(chain, spoke, reserves, candidates, tell)

    chain_name = f"eip155:{chain.chain_id}"
    valued = [reserve for reserve in reserves if not reserve.problem]
    asset_ids = {reserve.index: f"{chain_name}/erc20:{reserve.token.address}" for reserve in valued}
    feeds = _tell_apart(await read_feeds(chain, valued, asset_ids, PRICE_SCALE))
    curves = await read_curves(chain, {(r.hub, r.hub_asset): r.loans for r in valued if r.loans}, chain_name)
    by_index = {reserve.index: reserve for reserve in reserves}
    accounts: list[AccountReading] = []
    failed: dict[str, str] = {}
    for holder in holders:
        why = holder.fault or _unvalued(holder, by_index)
        if not why:
            totals = assess(holder, by_index)
            why = mismatch(holder, totals)
        if why:
            failed[holder.address] = why
        else:
            accounts.append(_account(holder, totals, by_index, feeds))
    gaps |= {f"{reserve.token.symbol} (reserve {reserve.index})": r for reserve in reserves if (r := reserve.problem)}
    return Reading(
        chain=chain_name,
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=_venue(spoke, deployment, chain_name),
        assets=_assets(valued, feeds),
        feeds=tuple(feeds.values()),
        backing=(),
        markets=_markets(valued, asset_ids, curves),
        accounts=tuple(accounts),
        found=len(holders),
        failed=failed,
        gaps=gaps | _suspended_liquidations(valued) | _missing_accounts(holders, valued, deployment),
    )


def _tell_apart(feeds: Mapping[int, FeedReading]) -> dict[int, FeedReading]:
    """A feed for each reserve: where several lend an asset at the same source, all but the first have their number.

    An account may have positions in several of them, each with terms of its own.
    """
    first: dict[str, int] = {}
    return {
        index: feed
        if first.setdefault(feed.feed_id, index) == index
        else replace(feed, feed_id=f"{feed.feed_id}#{index}")
        for index, feed in sorted(feeds.items())
    }


def _unvalued(holder: Holder, reserves: Mapping[int, Reserve]) -> str:
    """Why an account cannot be valued: it owes a reserve, or uses one, that could not be read."""
    for index, position in holder.positions.items():
        counts = position.drawn_shares or (position.is_collateral and position.factor and position.supplied)
        if counts and reserves[index].problem:
            return f"uses {reserves[index].token.symbol}: {reserves[index].problem}"
    return ""


def _account(
    holder: Holder, totals: Totals, reserves: Mapping[int, Reserve], feeds: Mapping[int, FeedReading]
) -> AccountReading:
    legs = []
    for index, position in sorted(holder.positions.items()):
        if index not in feeds:
            continue  # a mere supply of what cannot be valued
        asset_id, feed_id = feeds[index].asset_id, feeds[index].feed_id
        if position.supplied:
            counts = position.is_collateral and position.factor > 0
            legs.append(
                LegReading(
                    side="collateral",
                    asset_id=asset_id,
                    feed_id=feed_id,
                    amount_raw=position.supplied,
                    weight_wad=position.factor * _BPS_WAD if counts else 0,
                    liquidation_bonus_wad=(position.bonus - BPS) * _BPS_WAD if counts else 0,
                    protocol_fee_wad=position.fee * _BPS_WAD if counts else 0,
                )
            )
        if position.drawn_shares:
            legs.append(LegReading("debt", asset_id, feed_id, debt_to_repay(position, reserves[index]), WAD))
    return AccountReading(
        address=holder.address,
        mode="cross",
        health_factor_raw=totals.health_factor,
        collateral_base_raw=totals.collateral,
        debt_base_raw=-(-totals.debt_ray // _RAY_OF_VALUE),
        legs=tuple(legs),
    )


def _assets(reserves: Sequence[Reserve], feeds: Mapping[int, FeedReading]) -> tuple[AssetReading, ...]:
    """The reserves' tokens, each once: two hubs may lend a spoke the same one."""
    usd = {feeds[r.index].asset_id for r in reserves if r.token.symbol.lower() in USD_SYMBOLS}
    by_feed = {feed.feed_id: feed.asset_id for feed in feeds.values()}
    assets: dict[str, AssetReading] = {}
    for reserve in reserves:
        feed = feeds[reserve.index]
        kind = "usd" if feed.asset_id in usd else "token"
        if feed.kind == "ratio":
            is_dollar = by_feed[feed.base_feed_id] in usd
            kind = "pt" if reserve.token.symbol.startswith("PT-") else "vault_share" if is_dollar else "lst"
        assets.setdefault(feed.asset_id, AssetReading(feed.asset_id, reserve.token.symbol, reserve.decimals, kind))
    return tuple(assets.values())


def _markets(
    reserves: Sequence[Reserve], asset_ids: Mapping[int, str], curves: Mapping[tuple[str, int], RateCurve]
) -> tuple[MarketReading, ...]:
    """Totals by asset, where two hubs lend the same one added up; then rates are means, by amount, and caps sums."""
    by_asset: dict[str, list[Reserve]] = {}
    for reserve in reserves:
        by_asset.setdefault(asset_ids[reserve.index], []).append(reserve)
    return tuple(
        _market(asset_id, same, curves.get((same[0].hub, same[0].hub_asset)) if len(same) == 1 else None)
        for asset_id, same in by_asset.items()
    )


def _market(asset_id: str, same: Sequence[Reserve], curve: RateCurve | None) -> MarketReading:
    supply, borrow = sum(reserve.supply for reserve in same), sum(reserve.borrow for reserve in same)
    return MarketReading(
        asset_id=asset_id,
        supply_raw=supply,
        borrow_raw=borrow,
        cash_raw=sum(reserve.cash for reserve in same),
        deficit_raw=sum(reserve.deficit for reserve in same),
        supply_rate_ray=sum(r.supply_rate * r.supply for r in same) // supply if supply else same[0].supply_rate,
        borrow_rate_ray=sum(r.borrow_rate * r.borrow for r in same) // borrow if borrow else same[0].borrow_rate,
        supply_cap_raw=min(sum(reserve.supply_cap for reserve in same), 2**256 - 1),
        borrow_cap_raw=min(sum(reserve.borrow_cap for reserve in same), 2**256 - 1),
        curve=curve,
    )


def _suspended_liquidations(reserves: Sequence[Reserve]) -> dict[str, str]:
    """Reserves in use out of which nobody is liquidated now; the contagion engine liquidates their accounts anyway.

    Source: LiquidationLogic._validateLiquidationCall and Hub's checks of remove and restore.
    """
    return {
        f"liquidations of {reserve.token.symbol} (reserve {reserve.index})": f"{reserve.suspended}: until it ends "
        "nobody is liquidated out of this asset or of a debt in it; scenarios do so nevertheless"
        for reserve in reserves
        if reserve.suspended and (reserve.supply or reserve.borrow)
    }


def _missing_accounts(holders: Sequence[Holder], reserves: Sequence[Reserve], deployment: Deployment) -> dict[str, str]:
    """That accounts were not found, where what those that were have falls short of the spoke's totals."""
    rounding = 1 + len(holders)
    short = []
    for reserve in reserves:
        mine = [holder.positions[reserve.index] for holder in holders if reserve.index in holder.positions]
        held = sum(position.supplied for position in mine)
        owed = sum(debt_to_repay(position, reserve) for position in mine)
        for name, known, total in (("supply", held, reserve.supply), ("debt", owed, reserve.borrow)):
            if total - known > rounding + total // _TOLERATED:
                short.append(f"{1 - known / total:.2%} of the {reserve.token.symbol} {name}")
    if not short:
        return {}
    return {
        "accounts that no event names": f"they hold {', '.join(short[:3])}; first_block {deployment.first_block} is "
        "too late, or the endpoint keeps back logs"
    }


def _venue(spoke: Spoke, deployment: Deployment, chain_name: str) -> VenueReading:
    return VenueReading(
        venue_id=f"{chain_name}:{spoke.address}",
        protocol="aave_v4",
        name=deployment.name,
        address=spoke.address,
        revision=1,
        liquidation_rule="aave_v4",
        liquidation_parameters={
            "target_health_factor": spoke.target / WAD,
            "maximum_bonus_health_factor": spoke.maximum_bonus / WAD,
            "minimum_bonus_share": spoke.bonus_factor / BPS,
            "minimum_leftover_usd": _MINIMUM_LEFTOVER_USD,
        },
    )
