"""Perpetual Protocol v2 (Curie): every cross-margin account of one ClearingHouse at one block.

Unrealized profit, margin requirement and account value are computed from positions, prices and balances and compared
with the contracts' own views; an account that is not reproduced is set aside. An account with orders (liquidity) is
read as what these hold at the block: as prices move they change, against their owner, which is not modelled, and
somebody has to cancel them before a liquidation. A liquidator picks one market and takes over half of the account's
notional in it; here half of each position is closed, which is the same where there is one market.

Signs: a pending funding payment is positive where the account owes it, as in `perps`; the funding rate is positive
where the market is above its index, and longs pay. Quote and settlement tokens count as one dollar, as in the
contracts. There is no auto-deleveraging: a liquidation that the insurance fund cannot cover reverts.
"""

from typing import Literal

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.dollar_symbols import USD_SYMBOLS
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import Progress, silence
from defi_leverage.protocols.perp_curie.accounts import assess_holder, find_candidates, read_holders
from defi_leverage.protocols.perp_curie.markets import (
    MILLION,
    Margin,
    Market,
    System,
    find_system,
    read_margins,
    read_markets,
)
from defi_leverage.questions import ask
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
_PART = 0.5
"""Of the account's notional, that a liquidation takes while the account has that much of its margin requirement."""
_SMALL_USD = 100.0
"""AccountBalance._MIN_PARTIAL_LIQUIDATE_POSITION_VALUE: a position up to this is taken whole."""


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> Reading:
    """Every account of the ClearingHouse at the deployment's address, at the chain's pinned block.

    A market that cannot be valued is in `gaps`, and the accounts in it in `failed`; open interest is then not known, as
    the contracts keep none. Raises ReaderError where the address is not such a ClearingHouse, ChainError where the
    chain does not answer.
    """
    tell = progress or silence
    system = await find_system(chain, deployment)
    markets = await read_markets(chain, system, deployment.first_block)
    tell("markets", 1, 1)
    candidates = await find_candidates(chain, system, deployment.first_block)
    tell("accounts", 0, len(candidates))
    holders = await read_holders(chain, system, candidates)
    tell("accounts", len(candidates), len(candidates))
    margins = await read_margins(chain, system, {token for holder in holders for token in holder.margin})
    chain_name = f"eip155:{chain.chain_id}"
    accounts: list[AccountReading] = []
    failed: dict[str, str] = {}
    for holder in holders:
        found = assess_holder(holder, system, markets, margins, chain_name)
        if isinstance(found, str):
            failed[holder.address] = found
        else:
            accounts.append(found)
    assets, feeds = _assets_and_feeds(system, markets, margins, chain_name)
    fund = None if system.insurance_fund is None else system.insurance_fund * 10 ** (18 - system.settlement.decimals)
    return Reading(
        chain=chain_name,
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=VenueReading(
            venue_id=f"{chain_name}:{system.clearing_house}",
            protocol="perp_curie",
            name=deployment.name,
            address=system.clearing_house,
            revision=0,
            liquidation_rule="perp_partial",
            liquidation_parameters={
                "close_fraction": _PART,
                "partial_above_usd": _SMALL_USD,
                "whole_below": _PART,
                "liquidation_fee": system.penalty_ratio / MILLION,
                "fund_share": 0.5,
                "fee_is_owed": 1.0,
                "haircut_margin": 1.0,
                "deleverage": 0.0,
                "insurance_fund_usd": max(fund or 0, 0) / WAD,
            },
        ),
        assets=assets,
        feeds=feeds,
        backing=(),
        markets=await _totals(chain, system, margins, accounts, chain_name),
        accounts=tuple(accounts),
        found=len(holders),
        failed=failed,
        gaps={f"{market.token.symbol} {base}": market.problem for base, market in markets.items() if market.problem},
        perp_markets=tuple(
            _perp_market(base, market, system, accounts, fund, chain_name, complete=not failed)
            for base, market in markets.items()
            if not market.problem
        ),
    )


def _assets_and_feeds(
    system: System, markets: dict[str, Market], margins: dict[str, Margin], chain_name: str
) -> tuple[tuple[AssetReading, ...], tuple[FeedReading, ...]]:
    assets, feeds = [], []
    for token in (system.quote, system.settlement):
        asset_id = f"{chain_name}/erc20:{token.address}"
        is_usd = token is system.quote or token.symbol.lower() in USD_SYMBOLS
        assets.append(AssetReading(asset_id, token.symbol, token.decimals, "usd" if is_usd else "token"))
        feed_id = f"{asset_id}@{system.clearing_house}"
        feeds.append(FeedReading(feed_id, asset_id, 1, 1, "fixed", source="counted as a dollar"))
    for base, market in markets.items():
        if not market.problem:
            asset_id = f"{chain_name}/erc20:{base}"
            assets.append(AssetReading(asset_id, market.token.symbol, market.token.decimals, "index"))
            feed_id = f"{asset_id}@{system.clearing_house}"
            source = "mark price" if market.is_open else "price of a market that is not open"
            kind: Literal["market", "fixed"] = "market" if market.is_open else "fixed"
            feeds.append(FeedReading(feed_id, asset_id, market.price, WAD, kind, source=source))
    for address, margin in margins.items():
        asset_id = f"{chain_name}/erc20:{address}"
        assets.append(AssetReading(asset_id, margin.token.symbol, margin.token.decimals))
        feed_id = f"{asset_id}@{system.clearing_house}"
        feeds.append(FeedReading(feed_id, asset_id, margin.price, margin.price_scale, source="CollateralManager"))
    return tuple(assets), tuple(feeds)


async def _totals(
    chain: Chain, system: System, margins: dict[str, Margin], accounts: list[AccountReading], chain_name: str
) -> tuple[MarketReading, ...]:
    """Tokens that the vault holds, and of virtual tokens what the accounts have of them."""
    held: dict[tuple[str, str], int] = {}
    for account in accounts:
        for leg in account.legs:
            held[leg.asset_id, leg.side] = held.get((leg.asset_id, leg.side), 0) + leg.amount_raw
    tokens = [system.settlement.address, *margins]
    balances = await ask(chain, load_abi("perp_curie"), [(token, "balanceOf", (system.vault,)) for token in tokens])
    real = {f"{chain_name}/erc20:{token}": balance or 0 for token, balance in zip(tokens, balances, strict=True)}
    virtual = sorted({asset_id for asset_id, _ in held} - set(real))
    return tuple(
        MarketReading(
            asset_id, real.get(asset_id, held.get((asset_id, "collateral"), 0)), borrowed, real.get(asset_id, 0)
        )
        for asset_id in (*real, *virtual)
        for borrowed in (held.get((asset_id, "debt"), 0),)
    )


def _perp_market(
    base: str,
    market: Market,
    system: System,
    accounts: list[AccountReading],
    fund: int | None,
    chain_name: str,
    *,
    complete: bool,
) -> PerpMarketReading:
    """Open interest is the sum of the accounts' positions, their liquidity included."""
    asset_id = f"{chain_name}/erc20:{base}"
    sizes = [perp.size_raw for account in accounts for perp in account.perps if perp.asset_id == asset_id]
    return PerpMarketReading(
        asset_id=asset_id,
        open_interest_long_raw=sum(size for size in sizes if size > 0) if complete else None,
        open_interest_short_raw=-sum(size for size in sizes if size < 0) if complete else None,
        funding_rate_wad=None if market.funding_rate is None else market.funding_rate * _DAYS,
        tiers=((0, system.maintenance_ratio * WAD // MILLION, 0),),
        maximum_leverage_wad=MILLION * WAD // system.initial_ratio if system.initial_ratio else None,
        insurance_fund_usd_wad=fund,
    )
