"""What a gTrade position is worth and when it is liquidated, in the contracts' integers and rounding.

Sources: gTrade v10 TradingCommonUtils (getLiqPnlThresholdP, getTotalTradeFeesCollateral), PairsStorageUtils
(pairSpreadP, with the trader's own in it), BorrowingFeesUtils (getTradeLiquidationPrice; the trade's limit caps the
closing spread, so that without one there is none, as npm @gainsnetwork/sdk 1.8.7 trade/liquidation has it too).
"""

from dataclasses import dataclass
from fractions import Fraction

from defi_leverage.protocols._perps import share_of_notional

__all__ = [
    "PRICE",
    "Held",
    "Limits",
    "State",
    "Terms",
    "Trade",
    "assess",
    "closing_fee",
    "closing_spread",
    "liquidation_price",
    "threshold",
]

PRICE = 10**10
_PERCENT = 10**12  # 1e10 is one per cent
_LEGACY_THRESHOLD = 90 * 10**10
_V9_2 = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """Terms of liquidation of a trade, kept from its opening: per cents times 1e10, leverages times 1000."""

    most_spread: int
    start_threshold: int
    end_threshold: int
    start_leverage: int
    end_leverage: int


@dataclass(frozen=True, slots=True)
class Trade:
    """An open trade: `collateral` in raw tokens, `leverage` times 1000, `open_price` times 1e10.

    `version`: of the contracts that opened it: 0 before v9.2, 1 from then on, 2 from v10 on. `size_tokens`: since v10
    what it counts for in its pair's open interest, 1e-18; its profit goes by its size at the price of its opening,
    which has the price impact of the skew on top.
    """

    trader: str
    index: int
    pair: int
    leverage: int
    is_long: bool
    collateral_index: int
    collateral: int
    open_price: int
    is_counter: bool
    version: int
    limits: Limits
    size_tokens: int = 0

    @property
    def size(self) -> int:
        """Position in raw collateral tokens, at the price of its opening."""
        return self.collateral * self.leverage // 1000


@dataclass(frozen=True, slots=True)
class Terms:
    """What closing costs: per cents times 1e10, a multiplier times 1000, the least size in raw collateral tokens.

    `spread`: of the pair and of the trader, for opening and closing together.
    """

    fee: int
    counter_multiplier: int
    least_size: int
    spread: int


@dataclass(frozen=True, slots=True)
class Held:
    """Of a trade, in raw collateral tokens: fees due (funding is negative where it is owed it), profit realised."""

    funding: int
    borrowing: int
    realised: int

    @property
    def owed(self) -> int:
        """What of the margin is gone."""
        return self.funding + self.borrowing - self.realised


@dataclass(frozen=True, slots=True)
class State:
    """A trade at the block's prices, in raw collateral tokens but for three.

    `closing`: fee and spread of closing. `units_wad`: 1e-18 units of the pair, a unit being worth its price in dollars.
    `ratio_wad` and `due_usd_wad` are the margin that must be left, as a share of the notional and as a debt;
    `liquidation_price` in dollars, None where no price does it.
    """

    profit: Fraction
    closing: Fraction
    equity: Fraction
    requirement: Fraction
    units_wad: int
    ratio_wad: int
    due_usd_wad: int
    liquidation_price: Fraction | None


def threshold(limits: Limits, leverage: int) -> int:
    """Loss at which a trade is liquidated, per cent of its margin times 1e10: falls from start to end leverage."""
    if not limits.most_spread:
        return _LEGACY_THRESHOLD
    if leverage <= limits.start_leverage:
        return limits.start_threshold
    if leverage >= limits.end_leverage:
        return limits.end_threshold
    fall = (leverage - limits.start_leverage) * (limits.start_threshold - limits.end_threshold)
    return limits.start_threshold - fall // (limits.end_leverage - limits.start_leverage)


def closing_fee(trade: Trade, terms: Terms) -> int:
    """Fee of closing in raw collateral tokens, without the trader's discount, as liquidation goes by it."""
    multiplier = terms.counter_multiplier if trade.is_counter else 1000
    return max(trade.size * multiplier, terms.least_size * 1000) * terms.fee // _PERCENT // 1000


def closing_spread(trade: Trade, spread: int) -> int:
    """Spread that the liquidation price has on it, per cent times 1e10: half, at most what the trade's limits allow."""
    return min(spread // 2, trade.limits.most_spread) if trade.version >= _V9_2 else 0


def liquidation_price(trade: Trade, owed: int, spread: int, unit: int) -> int:
    """Price times 1e10 at which the loss, with `owed` of fees, is the threshold; at least 0. `unit`: 1e18 / 1 token."""
    loss = trade.collateral * threshold(trade.limits, trade.leverage) * unit * 1000 // _PERCENT
    distance = trade.open_price * (loss - owed * unit * 1000)
    for divisor in (trade.collateral, trade.leverage, unit):
        distance = _cut(distance, divisor)
    distance -= trade.open_price * spread // _PERCENT
    return max(trade.open_price - distance if trade.is_long else trade.open_price + distance, 0)


def assess(
    trade: Trade, terms: Terms, held: Held, price: int, told: int, unit: int, collateral_usd: int
) -> State | str:
    """The trade's state, or why the contract's liquidation price `told` is not reproduced.

    `price` of the pair and `told` times 1e10; `unit`: 1e18 / one collateral token; `collateral_usd`: its price times
    1e8.
    """
    if not trade.open_price or not trade.size:
        return f"it has a size of {trade.size} at a price of {trade.open_price}"
    fee = closing_fee(trade, terms)
    spread = closing_spread(trade, terms.spread)
    own = liquidation_price(trade, held.owed + fee, spread, unit)
    if own != told:
        return f"its liquidation price is {own} by our arithmetic, {told} by the contract"
    sign = 1 if trade.is_long else -1
    size, opened = Fraction(trade.size), trade.open_price
    allowed = Fraction(trade.collateral * threshold(trade.limits, trade.leverage), _PERCENT)
    # What the contract's price leaves for it, to its cut; where there is no price, what it is.
    left = allowed - held.owed - sign * size * (opened - told) / opened
    closing = left if told else fee + size * spread / _PERCENT
    profit = sign * size * (price - opened) / opened
    requirement = trade.collateral - allowed
    in_usd = Fraction(unit * collateral_usd, 10**8)  # 1e-18 USD of a raw token
    units = int(size * in_usd * PRICE / opened)
    if not units:
        return f"its size of {trade.size} is dust"
    at = Fraction(told, PRICE) if told else None
    ratio, due = share_of_notional(units, Fraction(price, PRICE), at, requirement * in_usd)
    equity = trade.collateral - held.owed - closing + profit
    return State(profit, closing, equity, requirement, units, ratio, round(due), at)


def _cut(amount: int, divisor: int) -> int:
    """Division that cuts towards zero, as Solidity has it."""
    return amount // divisor if amount >= 0 else -(-amount // divisor)
