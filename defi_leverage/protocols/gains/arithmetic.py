"""What a gTrade position is worth and when it is liquidated, in the contracts' integers and rounding.

Sources: gTrade v10 TradingCommonUtils (getLiqPnlThresholdP, getTotalTradeFeesCollateral), BorrowingFeesUtils
(getTradeLiquidationPrice), and github.com/GainsNetwork-org/sdk 1.8.7 src/trade/liquidation for the closing spread.
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
    "liquidation_price",
    "threshold",
]

PRICE = 10**10
_PERCENT = 10**12  # 1e10 is one per cent
_LEGACY_THRESHOLD = 90 * 10**10
_V9_2 = 1
_ROUNDING = 2  # units of the price: two divisions that cut


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

    `version`: of the contracts that opened it: 0 before v9.2, 1 from then on, 2 from v10 on.
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

    @property
    def size(self) -> int:
        """Position in raw collateral tokens, at the price of its opening."""
        return self.collateral * self.leverage // 1000


@dataclass(frozen=True, slots=True)
class Terms:
    """What closing costs: per cents times 1e10, a multiplier times 1000, the least size in raw collateral tokens."""

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
    1e8. What the closing spread takes is what the contract's price says, between nothing and what the trade's limits
    allow: half of the pair's, and a trader's own on top.
    """
    if not trade.open_price or not trade.size:
        return f"it has a size of {trade.size} at a price of {trade.open_price}"
    fee = closing_fee(trade, terms)
    half = terms.spread // 2 if trade.version >= _V9_2 else 0
    most = (trade.limits.most_spread or terms.spread) if trade.version >= _V9_2 else 0
    bounds = [liquidation_price(trade, held.owed + fee, spread, unit) for spread in (0, most)]
    if not min(bounds) - _ROUNDING <= told <= max(bounds) + _ROUNDING:
        return f"its liquidation price is {sorted(bounds)} by our arithmetic, {told} by the contract"
    sign = 1 if trade.is_long else -1
    size, opened = Fraction(trade.size), trade.open_price
    allowed = Fraction(trade.collateral * threshold(trade.limits, trade.leverage), _PERCENT)
    if told:
        closing = allowed - held.owed - sign * size * (opened - told) / opened
    else:
        closing = fee + size * min(half, most) / _PERCENT
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
