"""The accounts of a Synthetix v3 perps system: what each holds and owes, the contract's views, and their legs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import Progress
from defi_leverage.protocols._perps import words
from defi_leverage.protocols.synthetix_v3_perps.arithmetic import (
    liquidation_price,
    maintenance_ratio,
    margin_discount,
)
from defi_leverage.protocols.synthetix_v3_perps.margin import Held, Synth, Worth
from defi_leverage.protocols.synthetix_v3_perps.system import Market, System
from defi_leverage.questions import ask, ask_all
from defi_leverage.reading import AccountReading, LegReading, PerpReading

__all__ = ["Account", "Assets", "Position", "assess_account", "read_accounts", "synths_held"]

_USD = 0  # collateral id of snxUSD
_HALF = 2**255


@dataclass(frozen=True, slots=True)
class Position:
    """A position as the contract tells it: its whole profit, with funding (received is positive) and less interest."""

    profit: int
    funding: int
    size: int
    interest: int


@dataclass(slots=True)
class Account:
    """One account: `synths` are amounts; views of the contract, `margin` without discounts, are None where not told."""

    id: int
    owner: str
    usd: int = 0
    synths: dict[int, int] = field(default_factory=dict)
    positions: dict[int, Position | None] = field(default_factory=dict)
    debt: int = 0
    flagged: bool = False
    margin: int | None = None
    available: int | None = None
    required: tuple[int, int, int] | None = None
    can_liquidate: bool | None = None


@dataclass(frozen=True, slots=True)
class Assets:
    """Asset and feed of the dollar, of each market by its id, and of each synth by its id."""

    dollar: tuple[str, str]
    markets: Mapping[int, tuple[str, str]]
    synths: Mapping[int, tuple[str, str]]


async def read_accounts(chain: Chain, system: System, tell: Progress) -> list[Account]:
    """Every account of the NFT that has margin, a position or a debt, by its id."""
    abi, at = load_abi("synthetix_v3_perps"), system.address
    (count,) = await ask(chain, abi, [(system.accounts, "totalSupply", ())])
    listed = await ask(chain, abi, [(system.accounts, "tokenByIndex", (place,)) for place in range(count or 0)])
    ids = sorted({account for account in listed if account is not None})
    tell("accounts", 0, len(ids))
    held = await ask(chain, abi, [(at, "getAccountCollateralIds", (account,)) for account in ids])
    opened = await ask(chain, abi, [(at, "getAccountOpenPositions", (account,)) for account in ids])
    debts = await ask(chain, abi, [(at, "debt", (account,)) for account in ids])
    used = [
        (account, list(margin or ()), list(markets or ()), debt or 0)
        for account, margin, markets, debt in zip(ids, held, opened, debts, strict=True)
        if margin or markets or debt
    ]
    owners = await ask(chain, abi, [(system.accounts, "ownerOf", (account,)) for account, *_ in used])
    accounts = {
        account: Account(account, owner or "", debt=debt)
        for (account, _, _, debt), owner in zip(used, owners, strict=True)
    }
    amounts = [(account, collateral) for account, margin, _, _ in used for collateral in margin]
    answers = await ask(chain, abi, [(at, "getCollateralAmount", of) for of in amounts])
    for (account, of), amount in zip(amounts, answers, strict=True):
        if of == _USD:
            accounts[account].usd = amount or 0
        else:
            accounts[account].synths[of] = amount or 0
    places = [(account, market) for account, _, markets, _ in used for market in markets]
    replies = await chain.call([(at, abi.encode("getOpenPosition", *place)) for place in places])
    for (account, market), reply in zip(places, replies, strict=True):
        accounts[account].positions[market] = _position(reply)
    available = await ask(chain, abi, [(at, "getAvailableMargin", (account,)) for account in accounts])
    required = await ask_all(chain, abi, [(at, "getRequiredMargins", (account,)) for account in accounts])
    can = await ask(chain, abi, [(at, "canLiquidate", (account,)) for account in accounts])
    whole = await ask(chain, abi, [(at, "totalCollateralValue", (account,)) for account in accounts])
    (flagged,) = await ask(chain, abi, [(at, "flaggedAccounts", ())])
    for place, one in enumerate(accounts.values()):
        one.available, one.can_liquidate, one.margin = available[place], can[place], whole[place]
        one.flagged = one.id in (flagged or ())
        margins = required[place]
        one.required = None if margins is None else (margins[0], margins[1], margins[2])
    tell("accounts", len(ids), len(ids))
    return list(accounts.values())


def synths_held(accounts: Iterable[Account]) -> tuple[dict[Held, int], dict[int, int]]:
    """Amounts of synths by (account, synth), and what the contract says that an account's are worth together."""
    holders = [account for account in accounts if account.synths]
    amounts = {(account.id, of): amount for account in holders for of, amount in account.synths.items()}
    return amounts, {account.id: account.margin - account.usd for account in holders if account.margin is not None}


def assess_account(
    account: Account, markets: Mapping[int, Market], synths: Mapping[int, Synth | str], worths: Worth, assets: Assets
) -> AccountReading | str:
    """The account with its legs, or why it is set aside: margin and requirement must be the contract's to the last wei.

    Long S: collateral of weight 1 - m - i, its cost less funding owed in dollars; short S: debt of weight 1 + m + i. Of
    the notional m must be kept and i is owed as interest, which moves with the price; what it is now is owed in dollars
    of no weight. Synths are collateral at their discount. The account's debt and the reward of liquidation are owed in
    dollars. So are margins that do not grow with the price, which are margin of no weight as well: they stay its own.
    """
    legs: list[LegReading] = []
    side: Literal["collateral", "debt"]
    available, usd = account.usd - account.debt, {"collateral": account.usd, "debt": account.debt}
    for of, amount in account.synths.items():
        synth, worth = synths[of], worths.get((account.id, of))
        if isinstance(synth, str):
            return f"its margin in synth {of} cannot be valued: {synth}"
        if worth is None:
            return f"the spot market does not say what its {synth.symbol} is worth"
        counted = worth * (WAD - margin_discount(synth.discount, amount)) // WAD
        available += counted
        whole = max(amount * synth.price, 1)
        weight = (2 * counted * WAD * WAD + whole) // (2 * whole)
        legs.append(LegReading("collateral", *assets.synths[of], amount, min(weight, WAD), max(WAD - weight, 0)))
    required, interest, slopes = 0, 0, {}
    for of, position in account.positions.items():
        market = markets.get(of)
        if position is None or market is None or market.problem:
            why = market.problem if market and market.problem else "the contract does not tell it"
            return f"its position in {market.symbol if market else of}: {why}"
        size, ratio = abs(position.size), maintenance_ratio(market.terms, position.size)
        worth = size * market.price // WAD
        slope = ratio + position.interest * WAD // max(worth, 1)
        if slope >= WAD:
            return f"its maintenance margin and interest in {market.symbol} are more than its notional"
        slopes[of] = slope
        required += worth * ratio // WAD
        available += position.profit
        interest += position.interest
        long, gained = position.size > 0, position.profit + position.interest
        side, weight = ("collateral", WAD - slope) if long else ("debt", WAD + slope)
        legs.append(LegReading(side, *assets.markets[of], size, weight))
        cost = worth - gained if long else -(worth + gained)
        usd["debt" if cost > 0 else "collateral"] += abs(cost)
    kept = sum(markets[of].terms.position_margin for of in account.positions)
    problem = _mismatch(account, available, required + kept)
    if problem or account.required is None:
        return problem
    owed = usd["debt"] + kept + account.required[2]
    legs += [_dollars("collateral", usd["collateral"], kept, assets), _dollars("debt", owed, interest, assets)]
    spare = available - account.required[1]
    return AccountReading(
        address=str(account.id),
        mode="cross",
        health_factor_raw=None,
        collateral_base_raw=available,
        debt_base_raw=account.required[1],
        legs=tuple(leg for leg in legs if leg.amount_raw),
        owner=account.owner,
        perps=tuple(
            _perp(position, markets[of], assets.markets[of][0], slopes[of], spare)
            for of, position in account.positions.items()
            if position is not None
        ),
    )


def _mismatch(account: Account, available: int, required: int) -> str:
    """Why the contract's views are not reproduced, "" where they are; `required` is without the reward."""
    if account.available is None or account.required is None or account.can_liquidate is None:
        return "the contract does not tell its margins"
    _, told, reward = account.required
    if available != account.available:
        return f"its available margin is {available} by our arithmetic, {account.available} by the contract's"
    if required + reward != told:
        return f"its maintenance margin is {required + reward} by our arithmetic, {told} by the contract's"
    can = told > available
    if account.flagged and not can:
        return "it is flagged: what is left of its positions is closed, whatever they are worth by now"
    # without a position there is nothing to close; releases differ in what they say of a debt beyond the margin
    if account.can_liquidate != can and (account.positions or not can):
        return f"whether it can be liquidated: {account.can_liquidate} by the contract, not so by our arithmetic"
    return ""


def _dollars(side: Literal["collateral", "debt"], counted: int, beside: int, assets: Assets) -> LegReading:
    """Dollars of which a part is there, but does not count for health."""
    whole = counted + beside
    weight = WAD * counted // whole if whole else WAD
    return LegReading(side, *assets.dollar, whole, weight, WAD - weight if side == "collateral" else 0)


def _perp(position: Position, market: Market, asset_id: str, slope: int, spare: int) -> PerpReading:
    by_price = position.profit - position.funding + position.interest
    return PerpReading(
        asset_id=asset_id,
        size_raw=position.size,
        entry_price_usd_wad=market.price - by_price * WAD // position.size,
        maintenance_ratio_wad=maintenance_ratio(market.terms, position.size),
        accrued_funding_usd_wad=-position.funding,
        accrued_fees_usd_wad=position.interest,
        liquidation_price_usd_wad=liquidation_price(position.size, slope, market.price, spare),
    )


def _position(reply: bytes | None) -> Position | None:
    """getOpenPosition: profit, funding, size and, since interest is charged, the interest owed."""
    found = words(reply or b"")
    if len(found) not in (3, 4) or not found[2]:
        return None
    profit, funding, size = (word - 2 * _HALF if word >= _HALF else word for word in found[:3])
    return Position(profit, funding, size, found[3] if len(found) == 4 else 0)
