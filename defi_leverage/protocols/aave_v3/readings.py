"""What the accounts and reserves of an Aave market become in a reading, and what of them is missing."""

from collections import Counter
from collections.abc import Mapping, Sequence

from defi_leverage.dollar_symbols import USD_SYMBOLS
from defi_leverage.fixed_point import BPS, RAY
from defi_leverage.protocols.aave_v3.health import Arithmetic, Holder, Market, assess, mismatch
from defi_leverage.protocols.aave_v3.reserves import Reserve
from defi_leverage.reading import (
    AccountReading,
    AssetReading,
    BackingReading,
    Deployment,
    FeedReading,
    MarketReading,
    RateCurve,
)

__all__ = [
    "assess_all",
    "asset_readings",
    "market_readings",
    "missing_accounts",
    "suspended_liquidations",
    "unvalued_reserves",
]

_TOLERATED = 1_000_000  # a millionth of a token's supply may be without an account


def assess_all(
    holders: Sequence[Holder], market: Market, arithmetics: Sequence[Arithmetic]
) -> tuple[list[AccountReading], dict[str, str], Arithmetic]:
    """The accounts that we reproduce, why the others failed, and the arithmetic that reproduces the most.

    `arithmetics`: the expected one first, then others: forks number their revisions as they like.
    """
    best: tuple[list[AccountReading], dict[str, str], Arithmetic] | None = None
    for arithmetic in arithmetics:
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


def unvalued_reserves(reserves: Sequence[Reserve]) -> dict[str, str]:
    """Why reserves cannot be valued, by symbol; a symbol that several reserves have gets its address."""
    return {_name(reserve, reserves): reserve.problem for reserve in reserves if reserve.problem}


def _name(reserve: Reserve, reserves: Sequence[Reserve]) -> str:
    alone = [other.symbol for other in reserves].count(reserve.symbol) == 1
    return reserve.symbol if alone else f"{reserve.symbol} {reserve.asset}"


def suspended_liquidations(reserves: Sequence[Reserve], timestamp: int) -> dict[str, str]:
    """Reserves in use out of which nobody is liquidated now: paused ones, and those in a grace period after a pause.

    The contagion engine liquidates their accounts all the same. Source: ValidationLogic.validateLiquidationCall.
    """
    found = {}
    for reserve in reserves:
        if not (reserve.supply or reserve.borrow) or not (reserve.is_paused or reserve.grace_until >= timestamp):
            continue
        hours = (reserve.grace_until - timestamp) / 3600
        why = (
            "the reserve is paused" if reserve.is_paused else f"it is in a grace period for another {hours:,.1f} hours"
        )
        found[f"liquidations of {_name(reserve, reserves)}"] = (
            f"{why}: nobody is liquidated out of it or for a debt in it, though scenarios do so"
        )
    return found


def missing_accounts(
    holders: Sequence[Holder], reserves: Sequence[Reserve], arithmetic: Arithmetic, deployment: Deployment
) -> dict[str, str]:
    """That accounts were not found, where the balances of those that were fall short of what the tokens say there is.

    Scaled balances add up exactly, others to half a unit each. A total of stable debt compounds an average rate, and
    one of discounted debt knows no discounts: the first is within the tolerance, the second says nothing.
    """
    rounding = 1 if arithmetic.scaled else 1 + len(holders) // 2
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
            if total - held > rounding + total // _TOLERATED:
                short.append((1 - held / total, f"{reserve.symbol} {name}"))
    if not short:
        return {}
    largest = ", ".join(f"{share:.2%} of the {name}" for share, name in sorted(short, reverse=True)[:3])
    more = f" and parts of {len(short) - 3} more" if len(short) > 3 else ""
    return {
        "accounts that no event names": f"they hold {largest}{more}; first_block {deployment.first_block} is too late, "
        "or the endpoint keeps back logs"
    }


def asset_readings(
    reserves: Sequence[Reserve], feeds: dict[int, FeedReading], chain_name: str
) -> tuple[tuple[AssetReading, ...], tuple[BackingReading, ...]]:
    """The reserves' assets and aTokens, and what each derived one is a claim on."""
    usd = {feeds[reserve.index].asset_id for reserve in reserves if reserve.symbol.lower() in USD_SYMBOLS}
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


def market_readings(reserves: Sequence[Reserve], asset_ids: Mapping[int, str]) -> tuple[MarketReading, ...]:
    """Totals, yearly rates and caps of the reserves; the borrow rate is that of variable debt."""
    return tuple(
        MarketReading(
            asset_id=asset_ids[reserve.index],
            supply_raw=reserve.supply,
            borrow_raw=reserve.borrow,
            cash_raw=reserve.cash,
            deficit_raw=reserve.deficit,
            supply_rate_ray=reserve.supply_rate,
            borrow_rate_ray=reserve.borrow_rate,
            supply_cap_raw=reserve.supply_cap,
            borrow_cap_raw=reserve.borrow_cap,
            curve=_curve(reserve),
        )
        for reserve in reserves
    )


def _curve(reserve: Reserve) -> RateCurve | None:
    if reserve.curve is None:
        return None
    named = dict(zip(("optimal", "base", "slope1", "slope2"), reserve.curve, strict=True))
    if reserve.borrow and (unbacked := reserve.deficit + reserve.unbacked):
        named["unbacked_share"] = unbacked * RAY // reserve.borrow
    if reserve.stable_borrow:
        if reserve.stable_rate is None:  # what suppliers get cannot be told
            return RateCurve("kinked", named)
        named["stable_share"] = reserve.stable_borrow * RAY // reserve.borrow
        named["stable_rate"] = reserve.stable_rate
    return RateCurve("kinked", named | {"fee": reserve.reserve_factor_bps * RAY // BPS})
