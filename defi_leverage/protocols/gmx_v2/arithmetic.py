"""What a GMX v2 position is worth and when it is liquidated, in the contracts' integers and rounding.

Money is 1e-30 USD; a price is that of one raw unit of its token. Sources: PositionUtils (getPositionPnlUsd,
isPositionLiquidatable), MarketUtils (getBorrowingFees, getFundingAmount) and Precision of gmx-io/gmx-synthetics. Of
v2.2 and later, where impact put off at opening counts and liquidation has a factor of its own, as they were deployed:
deployments/arbitrum/solcInputs/79ca35a0eb57a5a4e0af2a0fc5a1dbeb.json (commit ee721b7) and deployments/megaEth/
solcInputs/517e43fac4d7fdc0a1addef9e59d0b69.json (commit 99e5121). Of v2.1 contracts/position (commit 67923de).
"""

from dataclasses import dataclass
from fractions import Fraction

from defi_leverage.protocols._perps import share_of_notional

__all__ = ["FLOAT", "Position", "State", "Stored", "Terms", "View", "assess"]

FLOAT = 10**30
_PER_SIZE = 10**45  # FLOAT_PRECISION times its root


@dataclass(frozen=True, slots=True)
class Position:
    """A position with the fees that are due at the block, as Reader.getPositionInfoList tells it.

    Amounts are raw collateral tokens unless the name says otherwise; `closing_fee` is after discounts. In raw index
    tokens, `pending_impact` is the impact of its opening that is settled at its closing; `closing_impact_usd` is that
    of closing alone.
    """

    key: bytes
    account: str
    market: str
    collateral_token: str
    is_long: bool
    size_usd: int
    size_tokens: int
    collateral: int
    pending_impact: int
    closing_impact_usd: int
    borrowing_factor: int
    funding_per_size: int
    funding_fee: int
    claimable_long: int
    claimable_short: int
    borrowing_fee: int
    closing_fee: int
    profit_usd: int
    uncapped_profit_usd: int


@dataclass(frozen=True, slots=True)
class Terms:
    """A market's terms of liquidation: fractions times 1e30, and the least margin in USD."""

    minimum_factor: int
    minimum_usd: int
    most_impact_factor: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Indices of borrowing and funding as they were last written, which the liquidation view goes by."""

    borrowing_factor: int
    funding_per_size: int


@dataclass(frozen=True, slots=True)
class View:
    """What Reader.isPositionLiquidatable answers."""

    is_liquidatable: bool
    remaining_usd: int
    minimum_usd: int
    minimum_for_leverage_usd: int


@dataclass(frozen=True, slots=True)
class State:
    """A position at the block's prices. `costs_usd`: fees but funding, and the impact of closing, all owed.

    `tokens`: the index tokens that its worth moves with, those of the impact put off included where that is within the
    market's bounds; what is within them is so at the liquidation price.
    `ratio_wad` and `due_usd` are the requirement as a share of the notional and as a debt; `liquidation_price` is of
    one raw unit of the index token, all else unchanged, None where no price does it.
    """

    equity_usd: int
    requirement_usd: int
    impact_usd: int
    tokens: int
    costs_usd: int
    ratio_wad: int
    due_usd: int
    liquidation_price: Fraction | None


def assess(
    position: Position, terms: Terms, stored: Stored, view: View, index_price: int, price: int, is_index: bool
) -> State | str:
    """The position's state, or why the contract's view of it is not reproduced.

    `price`: of its collateral token; `is_index`: the collateral is the index token. Liquidation goes by the fees that
    are due, for an order first brings the market up to date; the view goes by those last written, and must agree to
    the last unit. Its impact of closing is the reader's, and what is put off on top, between what the market allows and
    nothing; where nothing can be put off it may be more: before v2.2 the reader cuts what it tells of it.
    """
    size, worth = position.size_usd, position.size_tokens * index_price
    profit = worth - size if position.is_long else size - worth
    if not position.size_tokens or profit != position.uncapped_profit_usd:
        return f"its profit is {profit} by our arithmetic, {position.uncapped_profit_usd} by the reader's"
    written = (
        size * (stored.borrowing_factor - position.borrowing_factor) // FLOAT // price,
        -(-size * (stored.funding_per_size - position.funding_per_size) // _PER_SIZE),
    )
    before = position.collateral * price + position.profit_usd - (position.closing_fee + sum(written)) * price
    impact = view.remaining_usd - before
    most = -(size * terms.most_impact_factor // FLOAT)
    told = _within(_impact_at(position, index_price), most)
    if impact != told and (position.pending_impact or not most <= impact <= told):
        return f"the impact of closing it is {told} by the reader, {impact} in its view"
    asked = (terms.minimum_usd, size * terms.minimum_factor // FLOAT)
    if asked != (view.minimum_usd, view.minimum_for_leverage_usd):
        return (
            f"it must have {asked} by our arithmetic, {view.minimum_usd, view.minimum_for_leverage_usd} by the reader"
        )
    requirement = max(asked)
    if view.is_liquidatable != (view.remaining_usd <= 0 or view.remaining_usd < requirement):
        return f"whether it can be liquidated: {view.is_liquidatable} by the reader, not so by our arithmetic"
    equity = before + impact - (position.borrowing_fee + position.funding_fee - sum(written)) * price
    fees = (position.closing_fee + position.borrowing_fee) * price
    margin = position.collateral - position.funding_fee
    sign = 1 if position.is_long else -1
    # The impact is closing + pending * price, at most nothing, at least `most`: one line at the price that counts.
    parts = [(0, impact)]
    if position.pending_impact:
        parts += [(0, 0), (position.pending_impact, position.closing_impact_usd), (0, most)]
    at, tokens, costs = None, position.size_tokens, fees - impact
    for pending, constant in parts:
        moving = position.size_tokens + sign * pending
        slope = sign * moving + (margin if is_index else 0)
        rest = -sign * size + (0 if is_index else margin * price) - fees + constant - requirement
        found = Fraction(-rest, slope) if slope else Fraction(0)
        assumed = constant + pending * found
        if moving > 0 and found > 0 and (len(parts) == 1 or assumed == _within(_impact_at(position, found), most)):
            at, tokens, costs = found, moving, fees - constant
            break
    ratio, due = share_of_notional(tokens, Fraction(index_price), at, Fraction(requirement))
    return State(equity, requirement, impact, tokens, costs, ratio, round(due), at)


def _impact_at(position: Position, price: "int | Fraction") -> "int | Fraction":
    return position.closing_impact_usd + position.pending_impact * price


def _within(impact: "int | Fraction", most: int) -> "int | Fraction":
    return max(min(impact, 0), most)
