"""The accounts of a PerpsV2 market: who has margin in it, what the market says of them, and their weighted legs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from defi_leverage.abi import address_in, load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols.synthetix_perps_v2.arithmetic import Position, assess, tier_at_liquidation, times
from defi_leverage.protocols.synthetix_perps_v2.markets import Market
from defi_leverage.questions import ask, ask_all
from defi_leverage.reading import AccountReading, LegReading, PerpReading

__all__ = ["Asset", "Holder", "assess_holder", "find_candidates", "read_holders"]

_VIEWS = ("remainingMargin", "accruedFunding", "liquidationPrice", "canLiquidate")


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset of a market, and the feed of it."""

    asset_id: str
    feed_id: str


@dataclass(frozen=True, slots=True)
class Holder:
    """An account in one market: its position, funding per token since it was modified, and the market's four views.

    `position` None: it cannot be read.
    """

    address: str
    position: Position | None
    funding_per_unit: int = 0
    views: tuple[Any, ...] = ()


async def find_candidates(chain: Chain, markets: Sequence[str], first_block: int) -> dict[str, list[str]]:
    """Market -> every account that ever moved margin into it or out of it: nobody has a position without."""
    topic = load_abi("synthetix_perps_v2").topic("MarginTransferred")
    found: dict[str, set[str]] = {market: set() for market in markets}
    for log in await chain.logs(list(markets), [[topic]], first_block):
        if len(log.topics) == 2:
            found[log.address].add(address_in(log.topics[1]))
    return {market: sorted(accounts) for market, accounts in found.items()}


async def read_holders(chain: Chain, market: Market, candidates: Sequence[str]) -> list[Holder]:
    """The candidates with a position or margin, in their order."""
    abi = load_abi("synthetix_perps_v2")
    answers = await ask(chain, abi, [(market.address, "positions", (account,)) for account in candidates])
    positions: dict[str, Position | None] = {}
    for account, answer in zip(candidates, answers, strict=True):
        if answer is None or answer[2] or answer[4]:
            _, index, margin, price, size = answer or (0, 0, 0, 0, 0)
            positions[account] = None if answer is None else Position(margin, price, size, index)
    held = [account for account, position in positions.items() if position]
    indices = sorted({position.funding_index for position in positions.values() if position})
    entries = await ask(chain, abi, [(market.address, "fundingSequence", (index,)) for index in indices])
    funding = dict(zip(indices, entries, strict=True))
    views = await ask_all(chain, abi, [(market.address, view, (account,)) for account in held for view in _VIEWS])
    told = {account: tuple(views[len(_VIEWS) * place :][: len(_VIEWS)]) for place, account in enumerate(held)}
    return [
        Holder(account, None)
        if position is None or funding[position.funding_index] is None
        else Holder(account, position, _since(market, position, funding), told[account])
        for account, position in positions.items()
    ]


def _since(market: Market, position: Position, funding: dict[int, int]) -> int:
    return market.next_funding - funding[position.funding_index] if position.funding_index else 0


def assess_holder(holder: Holder, market: Market, index: Asset, susd: Asset) -> AccountReading | str:
    """The account with its legs, or why it is set aside: it is compared with all four views, to the last wei.

    A long of size S entered at E: collateral S of weight 1 - m, debt S*E; a short: collateral S*E, debt S of weight
    1 + m; margin and funding received are collateral, funding owed and the fixed fees of liquidation debt, in sUSD.
    """
    position = holder.position
    if position is None:
        return "its position cannot be read"
    state = assess(position, market.terms, market.price, holder.funding_per_unit)
    ours = (max(state.equity, 0), state.funding, state.liquidation_price, state.can_liquidate)
    told = tuple(view[0] if view else None for view in holder.views)
    for name, own, reported in zip(_VIEWS, ours, told, strict=True):
        if own != reported:
            return f"its {name} is {own} by our arithmetic, {reported} by the market's"
    usd = {"collateral": position.margin + max(state.funding, 0), "debt": max(-state.funding, 0)}
    legs, perps = [], []
    size = abs(position.size)
    if size:
        tier = tier_at_liquidation(position, market.terms, state.funding)
        if tier.ratio >= WAD:
            return "its maintenance margin is more than its notional"
        long = position.size > 0
        side, weight = ("collateral", WAD - tier.ratio) if long else ("debt", WAD + tier.ratio)
        legs.append(LegReading("collateral" if long else "debt", index.asset_id, index.feed_id, size, weight))
        usd["debt" if side == "collateral" else "collateral"] += times(size, position.last_price)
        usd["debt"] += tier.fixed
        perps.append(
            PerpReading(
                asset_id=index.asset_id,
                size_raw=position.size,
                entry_price_usd_wad=position.last_price,
                maintenance_ratio_wad=tier.ratio,
                accrued_funding_usd_wad=-state.funding,
                liquidation_price_usd_wad=state.liquidation_price or None,
            )
        )
    if usd["collateral"]:
        legs.append(LegReading("collateral", susd.asset_id, susd.feed_id, usd["collateral"], WAD))
    if usd["debt"]:
        legs.append(LegReading("debt", susd.asset_id, susd.feed_id, usd["debt"], WAD))
    return AccountReading(
        address=holder.address,
        mode="isolated",
        health_factor_raw=None,
        collateral_base_raw=state.equity,
        debt_base_raw=state.requirement,
        legs=tuple(legs),
        perps=tuple(perps),
    )
