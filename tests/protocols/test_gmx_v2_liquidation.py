"""GMX v2's liquidation check, written out from the contracts' source, as a judge of our arithmetic.

The source is that which was compiled for deployment, gmx-io/gmx-synthetics deployments/megaEth/solcInputs/
517e43fac4d7fdc0a1addef9e59d0b69.json (commit 99e5121): PositionUtils.isPositionLiquidatable and getPositionPnlUsd,
PositionPricingUtils.getPositionFees, MarketUtils.getCappedPnl, getBorrowingFees, getFundingAmount and
capPositiveImpactUsdByMaxPositionImpact. Its least prices are its largest here, as the reader hands them in. The impact
of closing is given, as no part of it is ours.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.fixed_point import WAD
from defi_leverage.protocols.gmx_v2.arithmetic import Position, State, Stored, Terms, View, assess

ONE = 10**30
PERCENT = ONE // 100


@dataclass(frozen=True)
class Book:
    """What the DataStore has of a position and its market. `pool_tokens`: of what a profit is paid in."""

    is_long: bool
    size_usd: int
    size_tokens: int
    collateral: int
    pending_impact: int
    borrowing_factor: int
    funding_per_size: int
    cumulative_borrowing: int
    latest_funding: int
    position_fee_factor: int
    discount_factor: int
    closing_impact: int
    gain_factor: int
    loss_factor: int
    impact_factor: int
    minimum_usd: int
    minimum_factor: int
    pool_tokens: int
    profit_factor: int


def apply_factor(value: int, factor: int) -> int:
    return value * factor // ONE


def round_up(dividend: int, divisor: int) -> int:
    return (dividend + divisor - 1) // divisor


def pnl(book: Book, index_price: int, pool_price: int) -> tuple[int, int]:
    """getPositionPnlUsd of the whole position, which is all of its side's open interest; cut and uncut."""
    value = book.size_tokens * index_price
    total = value - book.size_usd if book.is_long else book.size_usd - value
    uncapped = total
    if total > 0:
        pool_usd, pool_pnl = book.pool_tokens * pool_price, total
        capped = min(pool_pnl, apply_factor(pool_usd, book.profit_factor))
        if capped != pool_pnl and capped > 0 and pool_pnl > 0:
            total = total * capped // pool_pnl
    return total, uncapped


def closing_impact(book: Book) -> int:
    if book.closing_impact < 0:
        return book.closing_impact
    return min(book.closing_impact, apply_factor(book.size_usd, min(book.gain_factor, book.loss_factor)))


def fees(book: Book, price: int) -> tuple[int, int, int]:
    """Of closing after the discount, of borrowing, of funding: collateral tokens."""
    position_fee = apply_factor(book.size_usd, book.position_fee_factor) // price
    borrowing_usd = apply_factor(book.size_usd, book.cumulative_borrowing - book.borrowing_factor)
    funding = round_up(book.size_usd * (book.latest_funding - book.funding_per_size), 10**45)
    return position_fee - apply_factor(position_fee, book.discount_factor), borrowing_usd // price, funding


def check(book: Book, index_price: int, price: int, pool_price: int) -> View:
    """isPositionLiquidatable(shouldValidateMinCollateralUsd: true, forLiquidation: true)."""
    collateral_usd = book.collateral * price
    impact = closing_impact(book) + book.pending_impact * index_price
    impact = 0 if impact >= 0 else max(impact, -apply_factor(book.size_usd, book.impact_factor))
    cost_usd = sum(fees(book, price)) * price
    remaining = collateral_usd + pnl(book, index_price, pool_price)[0] + impact - cost_usd
    for_leverage = apply_factor(book.size_usd, book.minimum_factor)
    is_liquidatable = remaining < book.minimum_usd or remaining <= 0 or remaining < for_leverage
    return View(is_liquidatable, remaining, book.minimum_usd, for_leverage)


def told(book: Book, due: Book, index_price: int, price: int, pool_price: int) -> Position:
    """Reader.getPositionInfoList: fees as they are due, the rest as the DataStore has it."""
    closing, borrowing, funding = fees(due, price)
    cut, uncut = pnl(book, index_price, pool_price)
    return Position(
        key=b"",
        account="",
        market="",
        collateral_token="",
        is_long=book.is_long,
        size_usd=book.size_usd,
        size_tokens=book.size_tokens,
        collateral=book.collateral,
        pending_impact=book.pending_impact,
        closing_impact_usd=closing_impact(book),
        borrowing_factor=book.borrowing_factor,
        funding_per_size=book.funding_per_size,
        funding_fee=funding,
        claimable_long=0,
        claimable_short=0,
        borrowing_fee=borrowing,
        closing_fee=closing,
        profit_usd=cut,
        uncapped_profit_usd=uncut,
    )


def judged(book: Book, due: Book, index_price: int, price: int, pool_price: int, is_index: bool) -> State | str:
    return assess(
        told(book, due, index_price, price, pool_price),
        Terms(book.minimum_factor, book.minimum_usd, book.impact_factor),
        Stored(book.cumulative_borrowing, book.latest_funding),
        check(book, index_price, price, pool_price),
        index_price,
        price,
        is_index,
    )


@settings(max_examples=150)
@given(
    is_long=st.booleans(),
    is_index=st.booleans(),
    index_price=st.integers(10**12, 10**16),
    tokens=st.integers(10**20, 10**24),
    paid=st.floats(0.8, 1.25),
    leverage=st.floats(1.3, 90),
    put_off=st.floats(-0.004, 0.004),
    closing=st.floats(-0.01, 0.01),
    most=st.sampled_from([0, PERCENT // 2, PERCENT]),
    grown=st.tuples(st.floats(0, 0.01), st.floats(0, 0.01)),
    due=st.tuples(st.floats(0, 0.01), st.floats(0, 0.01)),
    fee=st.floats(0, 0.001),
    profit_factor=st.sampled_from([9 * ONE // 10, PERCENT // 100]),
)
def test_ours_is_the_contracts(
    is_long: bool,
    is_index: bool,
    index_price: int,
    tokens: int,
    paid: float,
    leverage: float,
    put_off: float,
    closing: float,
    most: int,
    grown: tuple[float, float],
    due: tuple[float, float],
    fee: float,
    profit_factor: int,
) -> None:
    """The view is reproduced, equity is what the check leaves once fees are written, and it turns at our price."""
    size = int(tokens * index_price * paid)
    price = index_price if is_index else 10**24  # 1 USD of a token with 6 decimals
    per_size = size * 10**15 // price // max(size // ONE, 1)  # what takes all of the size, in tokens times 1e45 a size
    book = Book(
        is_long=is_long,
        size_usd=size,
        size_tokens=tokens,
        collateral=int(size / leverage) // price + 1,
        pending_impact=int(tokens * put_off),
        borrowing_factor=10**28,
        funding_per_size=10**40,
        cumulative_borrowing=10**28 + int(grown[0] * ONE),
        latest_funding=10**40 + int(grown[1] * per_size),
        position_fee_factor=int(fee * ONE),
        discount_factor=ONE // 10,
        closing_impact=int(size * closing),
        gain_factor=PERCENT // 2,
        loss_factor=PERCENT // 2,
        impact_factor=most,
        minimum_usd=ONE,
        minimum_factor=PERCENT // 2,
        pool_tokens=10 * tokens * max(index_price // price, 1),
        profit_factor=profit_factor,
    )
    at_block = replace(
        book,
        cumulative_borrowing=book.cumulative_borrowing + int(due[0] * ONE),
        latest_funding=book.latest_funding + int(due[1] * per_size),
    )
    pool_price = price
    state = judged(book, at_block, index_price, price, pool_price, is_index)
    assert isinstance(state, State)
    now = check(at_block, index_price, price, pool_price)
    assert state.equity_usd == now.remaining_usd
    assert state.requirement_usd == max(now.minimum_usd, now.minimum_for_leverage_usd)
    at = state.liquidation_price
    wide = replace(at_block, profit_factor=10**9 * ONE)  # legs have a profit that the pool does not cut
    if at is None:
        far = 1 if is_long else index_price * 10**6
        assert check(wide, far, far if is_index else price, price).is_liquidatable is now.is_liquidatable
        return
    for tilt, falls in ((Fraction(999_999, 10**6), True), (Fraction(1_000_001, 10**6), False)):
        there = int(at * tilt)
        found = check(wide, there, there if is_index else price, price)
        assert found.is_liquidatable is (falls == is_long)


def test_the_contracts_own_example() -> None:
    """GMX test/exchange/LiquidationOrder.ts, "Liquidate someone in profit": 300 of profit and 4,000 of margin are less
    than the 4,500 that 1 % of 450,000 is. 30,000 SOL from 15 to 15.01; 5,000 USDC fell to 0.80. No fees, no impact.

    They would be enough at 15 + 500 / 30,000 = 15.01667.
    """
    book = Book(
        is_long=True,
        size_usd=450_000 * ONE,
        size_tokens=30_000 * 10**18,
        collateral=5_000 * 10**6,
        pending_impact=0,
        borrowing_factor=0,
        funding_per_size=0,
        cumulative_borrowing=0,
        latest_funding=0,
        position_fee_factor=0,
        discount_factor=0,
        closing_impact=0,
        gain_factor=0,
        loss_factor=0,
        impact_factor=0,
        minimum_usd=ONE,
        minimum_factor=PERCENT,
        pool_tokens=1_000 * 10**18,
        profit_factor=ONE // 2,
    )
    sol, usdc, weth = 1_501 * 10**10, 8 * 10**23, 4_000 * 10**12
    view = check(book, sol, usdc, weth)
    assert (view.is_liquidatable, view.remaining_usd, view.minimum_for_leverage_usd) == (True, 4_300 * ONE, 4_500 * ONE)
    state = judged(book, book, sol, usdc, weth, False)
    assert isinstance(state, State)
    assert (state.equity_usd, state.requirement_usd) == (4_300 * ONE, 4_500 * ONE)
    assert state.liquidation_price == Fraction(15 * 10**12) + Fraction(500 * ONE, 30_000 * 10**18)


@pytest.mark.parametrize("surplus", [0.001, 0.02, 0.1])
def test_a_short_whose_margin_is_what_it_follows(surplus: float) -> None:
    """With more of the token as margin than it is short, no price liquidates it, however high: health stays above 1."""
    tokens, price = 10**18, 3 * 10**15
    book = Book(
        is_long=False,
        size_usd=tokens * price,
        size_tokens=tokens,
        collateral=int(tokens * (1 + surplus)),
        pending_impact=0,
        borrowing_factor=0,
        funding_per_size=0,
        cumulative_borrowing=0,
        latest_funding=0,
        position_fee_factor=0,
        discount_factor=0,
        closing_impact=0,
        gain_factor=0,
        loss_factor=0,
        impact_factor=0,
        minimum_usd=ONE,
        minimum_factor=PERCENT,
        pool_tokens=100 * tokens,
        profit_factor=ONE,
    )
    state = judged(book, book, price, price, price, True)
    assert isinstance(state, State)
    assert state.liquidation_price is None
    weight = 1 + Fraction(state.ratio_wad, WAD)
    assert float(weight) > 1  # by which the engine knows that the leg is a position's
    for factor in (Fraction(1, 1_000), 1, 30, 10**4):
        there = price * factor
        assert not check(book, int(there), int(there), price).is_liquidatable
        collateral = book.collateral * there + book.size_usd
        assert collateral >= book.size_tokens * weight * there + state.costs_usd + state.due_usd
