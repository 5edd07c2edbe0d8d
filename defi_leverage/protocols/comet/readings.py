"""What the accounts and assets of a Comet become in a reading, and what of them is missing."""

from collections import Counter
from collections.abc import Mapping, Sequence

from defi_leverage.dollar_symbols import USD_SYMBOLS
from defi_leverage.fixed_point import WAD, yearly_ray
from defi_leverage.protocols.comet.accounts import Holder
from defi_leverage.protocols.comet.arithmetic import Totals, health_factor, present_value
from defi_leverage.protocols.comet.market import Asset, Comet
from defi_leverage.protocols.comet.price_feeds import Feeds
from defi_leverage.reading import (
    NO_CAP,
    AccountReading,
    AssetReading,
    BackingReading,
    Deployment,
    FeedReading,
    LegReading,
    MarketReading,
    RateCurve,
)

__all__ = ["assess_all", "asset_readings", "gaps", "liquidation_parameters", "market_readings"]


def assess_all(
    holders: Sequence[Holder], comet: Comet, feeds: Feeds
) -> tuple[tuple[AccountReading, ...], dict[str, str]]:
    """The accounts that we reproduce, and why the others failed.

    Reproduced: the base balance is the contract's to the last unit, and so is its verdict, which it gives by the
    stored indices. The figures of the reading are with the interest up to the block, by which absorb() decides.
    """
    accounts, failed = [], {}
    for holder in holders:
        if why := holder.fault or _unvalued(holder, comet) or _mismatch(holder, comet):
            failed[holder.address] = why
        else:
            accounts.append(_account(holder, comet, feeds))
    return tuple(accounts), failed


def _unvalued(holder: Holder, comet: Comet) -> str:
    """Why a borrower's collateral cannot be valued. What secures nothing (of others, or of factor 0) has no leg."""
    held = [comet.collaterals[at] for at in holder.collateral]
    broken = [asset for asset in held if asset.problem and asset.liquidate_factor]
    return f"uses {broken[0].symbol}: {broken[0].problem}" if broken and holder.principal < 0 else ""


def _mismatch(holder: Holder, comet: Comet) -> str:
    balance = present_value(holder.principal, comet.totals)
    if balance != holder.balance:
        return f"has a base balance of {holder.balance} to the contract, and of {balance} to us"
    if holder.principal >= 0:
        return ""
    if holder.liquidatable is None:
        return "isLiquidatable reverts"
    weighted, debt = _liquidity(holder, comet, comet.stored)
    if (weighted < debt) != holder.liquidatable:
        return f"isLiquidatable is {holder.liquidatable} to the contract; to us it has {weighted} against {debt}"
    return ""


def _liquidity(holder: Holder, comet: Comet, totals: Totals) -> tuple[int, int]:
    """Weighted collateral and debt as isLiquidatable sums them: each product is rounded down by itself."""
    weighted = sum(
        asset.value(amount) * asset.liquidate_factor // WAD
        for asset, amount in ((comet.collaterals[at], amount) for at, amount in holder.collateral.items())
    )
    return weighted, comet.base.value(max(0, -present_value(holder.principal, totals)))


def _account(holder: Holder, comet: Comet, feeds: Feeds) -> AccountReading:
    balance = present_value(holder.principal, comet.totals)
    legs = []
    worth = 0
    for at, amount in sorted(holder.collateral.items()):
        asset, feed = comet.collaterals[at], feeds.by_offset.get(at)
        if feed is not None:
            worth += asset.value(amount)
            legs.append(
                LegReading("collateral", feed.asset_id, feed.feed_id, amount, asset.liquidate_factor, asset.bonus)
            )
    base = feeds.by_offset[comet.base.offset]
    if balance > 0:  # what is lent secures nothing
        legs.append(LegReading("collateral", base.asset_id, base.feed_id, balance, 0))
    elif balance < 0:
        legs.append(LegReading("debt", base.asset_id, base.feed_id, -balance, WAD))
    weighted, debt = _liquidity(holder, comet, comet.totals)
    return AccountReading(
        address=holder.address,
        mode="cross",
        health_factor_raw=health_factor(weighted, debt),
        collateral_base_raw=worth,
        debt_base_raw=debt,
        legs=tuple(legs),
    )


def asset_readings(
    comet: Comet, feeds: Feeds, chain_name: str
) -> tuple[tuple[AssetReading, ...], tuple[BackingReading, ...]]:
    """The assets with a price and Comet's own token, and what each derived one is a claim on."""
    base = feeds.by_offset[comet.base.offset]
    by_feed: dict[str, FeedReading] = {feed.feed_id: feed for feed in feeds.by_offset.values()}
    by_feed |= {feed.feed_id: feed for _, feed in feeds.others}
    symbols = {base.asset_id: comet.base.symbol} | {
        feeds.by_offset[asset.offset].asset_id: asset.symbol
        for asset in comet.collaterals
        if asset.offset in feeds.by_offset
    }
    assets: list[AssetReading] = [asset for asset, _ in feeds.others]
    backing: list[BackingReading] = []
    for asset in (comet.base, *comet.collaterals):
        feed = feeds.by_offset.get(asset.offset)
        if feed is None:
            continue
        kind = "usd" if asset.symbol.lower() in USD_SYMBOLS else "token"
        if feed.kind == "ratio":
            under = by_feed[feed.base_feed_id].asset_id
            if symbols.get(under, "").lower() in USD_SYMBOLS:
                kind = "vault_share"
            elif kind == "token":
                kind = "lst"
                backing.append(
                    BackingReading(feed.asset_id, under, feed.ratio_raw, feed.ratio_scale, "staked", feed.source)
                )
        assets.append(AssetReading(feed.asset_id, asset.symbol, asset.decimals, kind))
    # Comet's own token rebases: a unit of it is a unit of the base asset.
    share = f"{chain_name}/erc20:{comet.address}"
    assets.append(AssetReading(share, comet.symbol, comet.base.decimals, "supply_share"))
    backing.append(BackingReading(share, base.asset_id, 1, 1, "deposited", "Comet"))
    return tuple(assets), tuple(backing)


def market_readings(comet: Comet, feeds: Feeds) -> tuple[MarketReading, ...]:
    """Totals, yearly rates and caps: of the base asset, and of the collaterals, which are never lent.

    The deficit is what the reserves are below zero: base tokens that suppliers are owed and nobody owes.
    """
    supplied, borrowed = (
        present_value(comet.totals.supply, comet.totals),
        present_value(-comet.totals.borrow, comet.totals),
    )
    base = MarketReading(
        asset_id=feeds.by_offset[comet.base.offset].asset_id,
        supply_raw=supplied,
        borrow_raw=-borrowed,
        cash_raw=comet.cash,
        deficit_raw=max(0, -comet.reserves),
        supply_rate_ray=yearly_ray(comet.supply_rate),
        borrow_rate_ray=yearly_ray(comet.borrow_rate),
        supply_cap_raw=NO_CAP,
        borrow_cap_raw=NO_CAP,
        curve=RateCurve("jump", comet.curve, supplied) if comet.curve else None,
    )
    return (
        base,
        *(
            MarketReading(feeds.by_offset[at].asset_id, asset.total, 0, asset.total, 0, 0, None, asset.cap, 0)
            for at, asset in _priced(comet, feeds).items()
        ),
    )


def _priced(comet: Comet, feeds: Feeds) -> Mapping[int, Asset]:
    return {asset.offset: asset for asset in comet.collaterals if asset.offset in feeds.by_offset}


def gaps(comet: Comet, holders: Sequence[Holder], deployment: Deployment) -> dict[str, str]:
    """Collaterals that cannot be valued, and that accounts were not found: principals and collateral add up exactly."""
    symbols = [asset.symbol for asset in comet.collaterals]
    found = {
        asset.symbol if symbols.count(asset.symbol) == 1 else f"{asset.symbol} {asset.address}": asset.problem
        for asset in comet.collaterals
        if asset.problem
    }
    held: Counter[int] = Counter()
    for holder in holders:
        held.update(holder.collateral)
    totals = [
        (f"{comet.base.symbol} supply", sum(max(0, holder.principal) for holder in holders), comet.stored.supply),
        (f"{comet.base.symbol} debt", sum(max(0, -holder.principal) for holder in holders), comet.stored.borrow),
        *((f"{asset.symbol} supply", held[asset.offset], asset.total) for asset in comet.collaterals),
    ]
    short = sorted(((1 - mine / total, name) for name, mine, total in totals if mine < total), reverse=True)
    if short:
        largest = ", ".join(f"{share:.2%} of the {name}" for share, name in short[:3])
        more = f" and parts of {len(short) - 3} more" if len(short) > 3 else ""
        found["accounts that no event names"] = (
            f"they hold {largest}{more}; first_block {deployment.first_block} is too late, or the endpoint keeps back "
            "logs"
        )
    return found


def liquidation_parameters(comet: Comet, base: FeedReading) -> dict[str, float]:
    """Of the rule `comet`. A leg without a bonus is one whose whole value is credited, or that does not count."""
    price = base.price_raw / base.price_scale
    return {
        "liquidation_factor": 1.0,
        "store_front_price_factor": comet.store_front_factor / WAD,
        "reserves_usd": max(0, comet.reserves) / 10**comet.base.decimals * price,
    }
