"""gTrade's liquidation price, written out from the contracts' source, and figures of its own SDK, as judges of ours.

The source is of v10: TradingCommonUtils.getLiqPnlThresholdP and getTotalTradeFeesCollateral, PairsStorageUtils,
PriceAggregatorUtils.getCollateralFromUsdNormalizedValue and the call of BorrowingFeesUtils.getTradeLiquidationPrice (as
the v10 audit quotes it); the function that is called is of v9.3, the last that is public, and the SDK has the same.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.protocols.gains.arithmetic import PRICE, Held, Limits, State, Terms, Trade, assess
from tests.devnet.build import OWNER

P_10 = 10**10


def cut(dividend: int, divisor: int) -> int:
    """Solidity's division of signed integers."""
    return dividend // divisor if (dividend < 0) == (divisor < 0) else -(-dividend // divisor)


def threshold(limits: Limits, leverage: int) -> int:
    if limits.most_spread == 0:
        return 90 * P_10
    if leverage <= limits.start_leverage:
        return limits.start_threshold
    if leverage >= limits.end_leverage:
        return limits.end_threshold
    return limits.start_threshold - (
        (leverage - limits.start_leverage) * (limits.start_threshold - limits.end_threshold)
    ) // (limits.end_leverage - limits.start_leverage)


def closing_fees(trade: Trade, fee_p: int, multiplier: int, least_usd: int, collateral_usd: int, delta: int) -> int:
    least = least_usd * 10**8 // collateral_usd // delta * 10**3
    adjusted = trade.collateral * trade.leverage // 10**3 * (multiplier if trade.is_counter else 10**3)
    return max(adjusted, least) * fee_p // P_10 // 100 // 10**3


def liquidation_price(trade: Trade, closing: int, holding: int, realised: int, spread_p: int, delta: int) -> int:
    fees = closing + cut((holding - realised) * 10**18, 10**18)
    negative_pnl = trade.collateral * threshold(trade.limits, trade.leverage) * delta * 10**3 // 100 // P_10
    distance = trade.open_price * (negative_pnl - fees * delta * 10**3)
    distance = cut(cut(cut(distance, trade.collateral), trade.leverage), delta)
    if trade.version >= 1:
        closing_spread = min(spread_p // 2, trade.limits.most_spread)
        distance -= trade.open_price * closing_spread // P_10 // 100
    price = trade.open_price - distance if trade.is_long else trade.open_price + distance
    return max(price, 0)


@settings(max_examples=150)
@given(
    is_long=st.booleans(),
    leverage=st.integers(1_100, 250_000),
    opened=st.integers(10**6, 10**16),
    collateral=st.integers(1, 10**6),
    decimals=st.sampled_from([6, 8, 18]),
    version=st.integers(0, 2),
    is_counter=st.booleans(),
    limits=st.sampled_from([Limits(0, 0, 0, 0, 0), Limits(5 * 10**8, 90 * P_10, 75 * P_10, 20_000, 100_000)]),
    fee_p=st.integers(0, 10**9),
    least=st.integers(0, 10**5),
    spread=st.integers(0, 5 * 10**9),
    shares=st.tuples(st.floats(-0.3, 0.3), st.floats(0, 0.3), st.floats(-0.3, 0.3)),
    collateral_usd=st.integers(10**7, 10**12),
)
def test_ours_is_the_contracts(
    is_long: bool,
    leverage: int,
    opened: int,
    collateral: int,
    decimals: int,
    version: int,
    is_counter: bool,
    limits: Limits,
    fee_p: int,
    least: int,
    spread: int,
    shares: tuple[float, float, float],
    collateral_usd: int,
) -> None:
    """Every trade whose price the judge answers is reproduced, to the last unit; one unit beside is none."""
    amount, delta = collateral * 10**decimals, 10 ** (18 - decimals)
    trade = Trade(OWNER, 0, 0, leverage, is_long, 1, amount, opened, is_counter, version, limits)
    funding, borrowing, realised = (int(amount * share) for share in shares)
    closing = closing_fees(trade, fee_p, 500, least * 10**18, collateral_usd, delta)
    told = liquidation_price(trade, closing, funding + borrowing, realised, spread, delta)
    terms = Terms(fee_p, 500, least * 10**18 * 10**8 // collateral_usd // delta, spread)
    held = Held(funding, borrowing, realised)
    state = assess(trade, terms, held, opened, told, delta, collateral_usd)
    assert isinstance(state, State)
    at = assess(trade, terms, held, told, told, delta, collateral_usd) if told else state
    assert isinstance(at, State)
    assert not told or at.equity == at.requirement
    assert "liquidation price" in str(assess(trade, terms, held, opened, told + 1, delta, collateral_usd))


LIMITED = Limits(5 * 10**8, 90 * P_10, 75 * P_10, 20_000, 100_000)


@pytest.mark.parametrize(
    ("trade", "terms", "paid", "price"),
    [
        # 900 of a loss, less 6 of closing and 6 paid, is 888 or 8.88 %; half of the spread of 0.04 % is 0.02.
        ((10, True, 1_000, 100, 2, LIMITED), (6 * 10**8, 1_500, 4 * 10**8), 6, 91.14),
        # At 60 times, half way, 82.5 % of 250 is 206.25; less 9 of 15,000 and 21.5 paid is 175.75, 1.17167 %; half of
        # the spread of 0.3 % is cut to 0.05 %: 60,000 times 1.12167 % is 673.
        ((60, False, 250, 60_000, 2, LIMITED), (6 * 10**8, 1_500, 30 * 10**8), 21.5, 60_673),
        # 75 % of 40 is 30, less 0.05 % of the least, 15,000, is 22.5, 0.375 %; less 0.01 %.
        ((150, True, 40, 1.25, 1, LIMITED), (5 * 10**8, 15_000, 2 * 10**8), 0, 1.2454375),
        # Of before v9.2, and of a trade without limits, there is no spread: 90 less 1.5 of 2,500 is 3.54 %.
        ((25, True, 100, 2_000, 0, Limits(0, 0, 0, 0, 0)), (6 * 10**8, 1_500, 10 * 10**8), 0, 1_929.2),
        ((25, True, 100, 2_000, 1, Limits(0, 0, 0, 0, 0)), (6 * 10**8, 1_500, 10 * 10**8), 0, 1_929.2),
    ],
)
def test_figures_of_the_sdk(
    trade: tuple[int, bool, int, float, int, Limits], terms: tuple[int, int, int], paid: float, price: float
) -> None:
    """What getLiquidationPrice of npm @gainsnetwork/sdk 1.8.7 answered to these, run once; collateral is USDC."""
    leverage, is_long, collateral, opened, version, limits = trade
    fee, least, spread = terms
    made = Trade(
        OWNER,
        0,
        0,
        leverage * 1_000,
        is_long,
        1,
        collateral * 10**6,
        int(opened * PRICE),
        False,
        version,
        limits,
    )
    held, told = Held(0, 0, -int(paid * 10**6)), round(price * PRICE)
    given_terms = Terms(fee, 1_000, least * 10**6, spread)
    assert isinstance(assess(made, given_terms, held, int(opened * PRICE), told, 10**12, 10**8), State)
