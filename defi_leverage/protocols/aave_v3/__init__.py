"""Aave v3, releases 3.0 to 3.7, and its forks: every account of one market at one block.

Each account's collateral, debt and health factor are computed from raw balances and compared with the pool's own
getUserAccountData; an account that is not reproduced to the last wei is set aside, never reported with other figures.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from defi_leverage.chain import Chain
from defi_leverage.protocols import Progress
from defi_leverage.protocols.aave_v3.accounts import find_candidates, read_holders
from defi_leverage.protocols.aave_v3.health import (
    ARITHMETICS,
    Arithmetic,
    Holder,
    Market,
    assess,
    expected_arithmetic,
    mismatch,
)
from defi_leverage.protocols.aave_v3.pool import Pool, find_pool
from defi_leverage.protocols.aave_v3.price_feeds import read_feeds
from defi_leverage.protocols.aave_v3.reserves import Reserve, read_categories, read_reserves
from defi_leverage.reading import (
    AccountReading,
    AssetReading,
    BackingReading,
    Deployment,
    FeedReading,
    MarketReading,
    Reading,
    VenueReading,
)

__all__ = ["read"]

_TOLERATED = 1_000_000  # a millionth of a token's supply may be without an account
_USD_SYMBOLS = frozenset(
    "crvUSD DAI FDUSD FRAX GHO LUSD MAI PYUSD RLUSD sUSD TUSD USDA USDC USDC.e USDbC USDe USDG USDP USDS USDT USDT0 "
    "USD₮0 USDtb USD1 WXDAI xDAI".lower().split()
)


def _silence(stage: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> Reading:
    """Every account of the market behind a PoolAddressesProvider, at the chain's pinned block.

    Prices are the oracle's, in units of 1e-8 USD. A reserve that cannot be valued is in `gaps`; the accounts that use
    it as collateral or debt are in `failed`, and a mere supply of it has no leg. Balances that do not add up to the
    tokens' supplies are in `gaps`, too. Raises ReaderError where the address is not an Aave v3 market priced in USD,
    ChainError where the chain does not answer.
    """
    tell = progress or _silence
    pool = await find_pool(chain, deployment)
    tell("reserves", 0, 1)
    reserves, undescribed = await read_reserves(chain, pool)
    tell("reserves", 1, 1)
    candidates = await find_candidates(chain, pool, reserves, deployment.first_block, tell)
    holders = await read_holders(chain, pool, reserves, candidates, tell)

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
    accounts, failed, arithmetic = _assess_all(holders, market, pool)
    category_feeds = _category_feeds(accounts, market, valued, pool.price_scale)
    assets, backing = _assets(valued, feeds, chain_name)
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
        markets=tuple(MarketReading(asset_ids[r.index], r.supply, r.borrow, r.cash, r.deficit) for r in valued),
        accounts=tuple(accounts),
        found=len(holders),
        failed=failed,
        gaps=undescribed | _unvalued_reserves(reserves) | _missing_accounts(holders, valued, arithmetic, deployment),
    )


def _assess_all(
    holders: Sequence[Holder], market: Market, pool: Pool
) -> tuple[list[AccountReading], dict[str, str], Arithmetic]:
    """The accounts that we reproduce, why the others failed, and the arithmetic that reproduces the most."""
    first = expected_arithmetic(pool.revision)
    best: tuple[list[AccountReading], dict[str, str], Arithmetic] | None = None
    # Forks number their revisions as they like: where the expected arithmetic fails, another one may be theirs.
    for arithmetic in (first, *(other for other in ARITHMETICS if other is not first)):
        accounts, failed = [], {}
        for holder in holders:
            account = assess(holder, market, arithmetic)
            if why := holder.fault or _unvalued(holder, market) or mismatch(holder, account):
                failed[holder.address] = why
            else:
                accounts.append(account)
        if best is None or len(failed) < len(best[1]):
            best = accounts, failed, arithmetic
        if not any(why.startswith("not reproduced") for why in best[1].values()):
            break
    assert best is not None
    return best


def _unvalued(holder: Holder, market: Market) -> str:
    """Why an account cannot be valued: it uses a reserve, or is in a category, that could not be read."""
    for index, reserve in market.reserves.items():
        flags = holder.configuration >> 2 * index & 3
        owes = holder.debts.get(index) or holder.stable_debts.get(index)
        if reserve.problem and (flags or owes):
            return f"uses {reserve.symbol}: {reserve.problem}"
        if owes and not flags & 1:
            return f"owes {reserve.symbol}, which its configuration does not say"
    if holder.category and holder.category not in market.categories:
        return f"is in e-mode category {holder.category}, which the pool does not describe"
    return ""


def _unvalued_reserves(reserves: Sequence[Reserve]) -> dict[str, str]:
    """Why reserves cannot be valued, by symbol; a symbol that several reserves have gets its address."""
    symbols = [reserve.symbol for reserve in reserves]
    return {
        reserve.symbol if symbols.count(reserve.symbol) == 1 else f"{reserve.symbol} {reserve.asset}": reserve.problem
        for reserve in reserves
        if reserve.problem
    }


def _missing_accounts(
    holders: Sequence[Holder], reserves: Sequence[Reserve], arithmetic: Arithmetic, deployment: Deployment
) -> dict[str, str]:
    """That accounts were not found, where the balances of those that were fall short of what the tokens say there is.

    Scaled balances add up exactly. A total of stable debt compounds an average rate, and one of discounted debt knows
    no discounts: the first is within the tolerance, the second says nothing.
    """
    supplies, debts, stable_debts = Counter[int](), Counter[int](), Counter[int]()
    for holder in holders:
        supplies.update(holder.supplies)
        debts.update(holder.debts)
        stable_debts.update(holder.stable_debts)
    short = []
    for reserve in reserves:
        supply = arithmetic.collateral_amount(supplies[reserve.index], reserve.income)
        debt = arithmetic.debt_amount(debts[reserve.index], reserve.debt_index) + stable_debts[reserve.index]
        pairs = [("supply", supply, reserve.supply)]
        if not reserve.discounted:
            pairs.append(("debt", debt, reserve.borrow))
        for name, held, total in pairs:
            if total - held > 1 + total // _TOLERATED:
                short.append((1 - held / total, f"{reserve.symbol} {name}"))
    if not short:
        return {}
    largest = ", ".join(f"{share:.2%} of the {name}" for share, name in sorted(short, reverse=True)[:3])
    more = f" and parts of {len(short) - 3} more" if len(short) > 3 else ""
    return {
        "accounts that no event names": f"they hold {largest}{more}; first_block {deployment.first_block} is too late, "
        "or the endpoint keeps back logs"
    }


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


def _assets(
    reserves: Sequence[Reserve], feeds: dict[int, FeedReading], chain_name: str
) -> tuple[tuple[AssetReading, ...], tuple[BackingReading, ...]]:
    """The reserves' assets and aTokens, and what each derived one is a claim on."""
    usd = {feeds[reserve.index].asset_id for reserve in reserves if reserve.symbol.lower() in _USD_SYMBOLS}
    by_feed = {feed.feed_id: feed.asset_id for feed in feeds.values()}
    assets, backing = [], []
    for reserve in reserves:
        feed = feeds[reserve.index]
        kind = "usd" if feed.asset_id in usd else "token"
        if feed.kind == "ratio":
            base = by_feed[feed.base_feed_id]
            if reserve.symbol.startswith("PT-"):
                kind = "pt"
            elif base in usd:
                # The oracle's base of a yield-bearing dollar is often another dollar than the one it is a claim on.
                kind = "vault_share"
            else:
                kind = "lst"
                backing.append(
                    BackingReading(feed.asset_id, base, feed.ratio_raw, feed.ratio_scale, "staked", feed.source)
                )
        assets.append(AssetReading(feed.asset_id, reserve.symbol, reserve.decimals, kind))
        share = f"{chain_name}/erc20:{reserve.a_token}"
        assets.append(AssetReading(share, reserve.a_token_symbol, reserve.decimals, "supply_share"))
        # aTokens rebase: a unit of one is a unit of the underlying.
        backing.append(BackingReading(share, feed.asset_id, 1, 1, "deposited", "aToken"))
    return tuple(assets), tuple(backing)


def _liquidation_rule(pool: Pool) -> tuple[str, dict[str, float]]:
    """The rule and its constants, of LiquidationLogic.sol: 3.3 counts the whole debt, and leaves no dust."""
    parameters = {"close_factor": 0.5, "full_close_health_factor": 0.95}
    if not pool.has_deficit:
        return "aave_v3", parameters
    return "aave_v3_3", parameters | {"full_close_below_usd": 2000.0, "minimum_leftover_usd": 1000.0}
