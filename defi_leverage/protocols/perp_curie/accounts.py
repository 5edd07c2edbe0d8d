"""The accounts of Curie: who has margin or a position, what the contracts say of them, and their weighted legs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from defi_leverage.abi import address_in, load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols.perp_curie.markets import MILLION, Margin, Market, System
from defi_leverage.questions import ask, ask_all
from defi_leverage.reading import AccountReading, LegReading, PerpReading

__all__ = ["Holder", "Holding", "assess_holder", "find_candidates", "read_holders"]

_OF_ACCOUNT = 5


@dataclass(frozen=True, slots=True)
class Holding:
    """A position in one market, orders included (1e-18): size, quote paid (negative) or got, funding owed, fees due."""

    size: int
    notional: int
    funding: int
    fees: int


@dataclass(slots=True)
class Holder:
    """An account: settlement tokens and other margin (raw), profit not yet settled, and what the contracts report."""

    address: str
    balance: int = 0
    realized: int = 0
    holdings: dict[str, Holding] = field(default_factory=dict)
    margin: dict[str, int] = field(default_factory=dict)
    value: int = 0
    requirement: int = 0
    unrealized: int = 0
    fault: str = ""


async def find_candidates(chain: Chain, system: System, first_block: int) -> list[str]:
    """Everybody who was ever given margin, traded, or made a market: there is no other way to hold anything.

    Trades and liquidity are logged by the ClearingHouse, before 2022 by Exchange and OrderBook.
    """
    abi = load_abi("perp_curie")
    at = {abi.topic("Deposited"): 2, abi.topic("PositionChanged"): 1, abi.topic("LiquidityChanged"): 1}
    contracts = [system.clearing_house, system.exchange, system.order_book, system.vault]
    logs = await chain.logs(contracts, [list(at)], first_block)
    return sorted({address_in(log.topics[at[log.topics[0]]]) for log in logs})


async def read_holders(chain: Chain, system: System, candidates: Sequence[str]) -> list[Holder]:
    """The candidates that have anything, in their order."""
    abi = load_abi("perp_curie")
    questions = [
        question
        for account in candidates
        for question in (
            (system.vault, "getBalance", (account,)),
            (system.vault, "getCollateralTokens", (account,)),
            (system.account_balance, "getBaseTokens", (account,)),
            (system.clearing_house, "getAccountValue", (account,)),
            (system.account_balance, "getMarginRequirementForLiquidation", (account,)),
        )
    ]
    answers = await ask(chain, abi, questions)
    profits = await ask_all(
        chain, abi, [(system.account_balance, "getPnlAndPendingFee", (account,)) for account in candidates]
    )
    holders: list[Holder] = []
    pairs: list[tuple[Holder, str]] = []
    margins: list[tuple[Holder, str]] = []
    for place, account in enumerate(candidates):
        balance, tokens, bases, value, requirement = answers[_OF_ACCOUNT * place :][:_OF_ACCOUNT]
        profit = profits[place]
        if None in (balance, tokens, bases, value, requirement) or profit is None:
            holders.append(Holder(account, fault="its account cannot be read: one of its markets may have no price"))
        elif balance or tokens or bases or any(profit):
            holder = Holder(account, balance, profit[0], value=value, requirement=requirement, unrealized=profit[1])
            holders.append(holder)
            pairs += [(holder, base) for base in bases]
            margins += [(holder, token) for token in tokens]
    amounts = await ask(
        chain, abi, [(system.vault, "getBalanceByToken", (holder.address, token)) for holder, token in margins]
    )
    for (holder, token), amount in zip(margins, amounts, strict=True):
        holder.margin[token] = amount or 0
    await _read_holdings(chain, system, pairs)
    return holders


async def _read_holdings(chain: Chain, system: System, pairs: Sequence[tuple[Holder, str]]) -> None:
    abi = load_abi("perp_curie")
    views = ((system.account_balance, "getTotalPositionSize"), (system.account_balance, "getTotalOpenNotional"))
    asked = (*views, (system.exchange, "getPendingFundingPayment"))
    answers = iter(
        await ask(chain, abi, [(to, name, (holder.address, base)) for holder, base in pairs for to, name in asked])
    )
    name = "getTotalTokenAmountInPoolAndPendingFee"
    pools = await ask_all(
        chain, abi, [(system.order_book, name, (holder.address, base, False)) for holder, base in pairs]
    )
    for (holder, base), pool in zip(pairs, pools, strict=True):
        size, notional, funding = (next(answers) for _ in asked)
        if None in (size, notional, funding) or pool is None:
            holder.fault = "one of its positions cannot be read"
        else:
            holder.holdings[base] = Holding(size, notional, funding, pool[1])


def assess_holder(
    holder: Holder, system: System, markets: Mapping[str, Market], margins: Mapping[str, Margin], chain_name: str
) -> AccountReading | str:
    """The account with its legs, or why it is set aside: profit, margin requirement and value must be the contracts'.

    A long of S with quote -Q: collateral S of weight 1 - m, debt Q; a short: collateral Q, debt S of weight 1 + m, all
    in one account. Liquidity is what it holds at the block's prices. Settlement tokens are collateral, or debt where
    their balance is negative; funding, fees and profit not yet settled are in the quote token.
    """
    if holder.fault:
        return holder.fault
    for base in holder.holdings:
        if base not in markets or markets[base].problem:
            return f"has a position in {base}: {markets[base].problem if base in markets else 'no market'}"
    if missing := sorted(set(holder.margin) - set(margins)):
        return f"has margin in {', '.join(missing)}, of which no price is known"
    values = {base: _cut(held.size * markets[base].price, WAD) for base, held in holder.holdings.items()}
    unrealized = sum(values.values()) + sum(held.notional for held in holder.holdings.values())
    requirement = sum(map(abs, values.values())) * system.maintenance_ratio // MILLION
    scale = 10 ** (18 - system.settlement.decimals)
    funding = sum(held.funding for held in holder.holdings.values())
    fees = sum(held.fees for held in holder.holdings.values())
    haircut = sum(_counted(margins[token], amount) for token, amount in holder.margin.items())
    value = haircut + holder.balance * scale + fees - funding + holder.realized + unrealized
    told = (holder.unrealized, holder.requirement, holder.value)
    for name, ours, theirs in zip(
        ("profit", "requirement", "value"), (unrealized, requirement, value // scale * scale), told, strict=True
    ):
        if ours != theirs:
            return f"its {name} is {ours} by our arithmetic, {theirs} by the contracts'"
    return AccountReading(
        address=holder.address,
        mode="cross",
        health_factor_raw=None,
        collateral_base_raw=value,
        debt_base_raw=requirement,
        legs=tuple(_legs(holder, system, margins, chain_name)),
        perps=tuple(_perps(holder, system, markets, value - requirement, chain_name)),
    )


def _cut(value: int, scale: int) -> int:
    """value / scale, cut towards zero."""
    return value // scale if value >= 0 else -(-value // scale)


def _counted(margin: Margin, amount: int) -> int:
    """What a token counts for (Vault._getNonSettlementTokenValue): its value times the collateral ratio."""
    decimals = margin.token.decimals
    whole = amount * 10 ** (18 - decimals) if decimals <= 18 else amount
    value = whole * margin.price // margin.price_scale
    return (value if decimals <= 18 else value // 10 ** (decimals - 18)) * margin.ratio // MILLION


def _legs(holder: Holder, system: System, margins: Mapping[str, Margin], chain_name: str) -> list[LegReading]:
    legs = []
    ratio = system.maintenance_ratio * WAD // MILLION
    quote = {"collateral": max(holder.realized, 0), "debt": max(-holder.realized, 0)}
    for base, held in holder.holdings.items():
        quote["collateral"] += held.fees + max(held.notional, 0) + max(-held.funding, 0)
        quote["debt"] += max(-held.notional, 0) + max(held.funding, 0)
        if held.size > 0:
            legs.append(_leg("collateral", base, held.size, system, chain_name, WAD - ratio))
        elif held.size < 0:
            legs.append(_leg("debt", base, -held.size, system, chain_name, WAD + ratio))
    for token, amount in holder.margin.items():
        margin = margins[token]
        bonus = margin.discount * WAD // (MILLION - margin.discount)
        weight = margin.ratio * WAD // MILLION
        legs.append(_leg("collateral", token, amount, system, chain_name, weight, bonus))
    if holder.balance:
        side = "collateral" if holder.balance > 0 else "debt"
        legs.append(_leg(side, system.settlement.address, abs(holder.balance), system, chain_name))
    legs += [_leg(side, system.quote.address, amount, system, chain_name) for side, amount in quote.items() if amount]
    return legs


def _leg(
    side: Any, token: str, amount: int, system: System, chain_name: str, weight: int = WAD, bonus: int = 0
) -> LegReading:
    asset_id = f"{chain_name}/erc20:{token}"
    return LegReading(side, asset_id, f"{asset_id}@{system.clearing_house}", amount, weight, bonus)


def _perps(
    holder: Holder, system: System, markets: Mapping[str, Market], above: int, chain_name: str
) -> list[PerpReading]:
    """The positions; `above`: what the account's value is above its margin requirement.

    Liquidation price: where that is nothing, all else unchanged (PerpPortal.getLiquidationPrice of Curie's periphery).
    """
    found = []
    for base, held in holder.holdings.items():
        if not held.size:
            continue
        ratio = system.maintenance_ratio if held.size < 0 else -system.maintenance_ratio
        liquidation = markets[base].price - above * WAD * MILLION // (held.size * (MILLION + ratio))
        entry = -held.notional * WAD // held.size
        found.append(
            PerpReading(
                asset_id=f"{chain_name}/erc20:{base}",
                size_raw=held.size,
                entry_price_usd_wad=entry if entry > 0 else None,
                maintenance_ratio_wad=system.maintenance_ratio * WAD // MILLION,
                accrued_funding_usd_wad=held.funding,
                accrued_fees_usd_wad=-held.fees,
                liquidation_price_usd_wad=liquidation if liquidation > 0 else None,
            )
        )
    return found
