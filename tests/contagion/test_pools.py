"""Automated market makers against published swaps, the invariants themselves and each other."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq

from defi_leverage.contagion.impact import average_price_factor, compile_impact, price_factor
from defi_leverage.contagion.pools import constant_product, uniswap_v3_parameters

# ----- Uniswap v3: swaps without fee in the tests of the Uniswap V3 Development Book (milestones 1 and 3), executed on
# its contracts: pools of ETH (token0) and USDC, 18 decimals both; every range has 1 ETH and 5000 USDC at most.

Q96 = 2**96
TICKS = {4000: 82944, 4545: 84222, 4999: 85174, 5000: 85176, 5001: 85178, 5500: 86129, 6250: 87407}
SQRT_PRICE_AT_5000 = 5602223755577321903022134995689  # of its tick


def test_uniswap_v3_one_range() -> None:
    """42 USDC buy 0.008396714242162444 ETH and move sqrt(P) to 5604469350942327889444743441197 (milestone 1)."""
    before, after = 5602277097478614198912276234240, 5604469350942327889444743441197
    ranges = [(TICKS[4545], TICKS[5500], 1517882343751509868544)]
    pool = uniswap_v3_parameters(before, ranges, (18, 18))
    impact = compile_impact("uniswap_v3", pool)
    bought = 0.008396714242162444
    assert price_factor(impact, -bought) == pytest.approx((after / before) ** 2, rel=1e-13)
    assert bought * pool["price"] * average_price_factor(impact, -bought) == pytest.approx(42, rel=1e-12)


def liquidity_raw(low: int, high: int) -> int:
    """What 1 ETH and 5000 USDC at most make of a range (LiquidityMath.getLiquidityForAmounts)."""
    a, b, now = (1.0001 ** (TICKS[price] / 2) for price in (low, high, 5000))
    of_eth = 1 / (1 / max(a, min(now, b)) - 1 / b) if now < b else np.inf
    of_usdc = 5000 / (min(b, max(now, a)) - a) if now > a else np.inf
    return int(min(of_eth, of_usdc) * 1e18)


@pytest.mark.parametrize(
    ("ranges", "eth", "usdc", "sqrt_price_after"),
    [
        ([(4545, 5500)], -0.008396874645169943, 42, 5604415652688968742392013927525),
        ([(4545, 5500)], 0.01337, 66.807123823853842027, 5598737223630966236662554421688),
        ([(4545, 5500), (4545, 5500)], -0.008398516982770993, 42, 5603319704133145322707074461607),
        ([(4545, 5500), (4545, 5500)], 0.01337, 66.827918929906650442, 5600479946976371527693873969480),
        ([(4545, 5500), (5500, 6250)], -1.820694594787485635, 10000, 6190476002219365604851182401841),
        ([(4545, 5500), (4000, 4545)], 2, 9103.264925902176327184, 5069962753257045266417033265661),
        ([(4545, 5500), (5001, 6250)], -1.864220641170389178, 10000, 6165345094827913637987008642386),
        ([(4545, 5500), (4000, 4999)], 2, 9321.077831210790476918, 5090915820491052794734777344590),
    ],
)
def test_uniswap_v3_swaps_of_the_development_book(
    ranges: list[tuple[int, int]], eth: float, usdc: float, sqrt_price_after: int
) -> None:
    rows = [(TICKS[low], TICKS[high], liquidity_raw(low, high)) for low, high in ranges]
    pool = uniswap_v3_parameters(SQRT_PRICE_AT_5000, rows, (18, 18))
    impact = compile_impact("uniswap_v3", pool)
    assert price_factor(impact, eth) == pytest.approx((sqrt_price_after / SQRT_PRICE_AT_5000) ** 2, rel=1e-10)
    assert abs(eth) * pool["price"] * average_price_factor(impact, eth) == pytest.approx(usdc, rel=1e-10)
    # The other side of the same swap: USDC, sold or bought for ETH.
    mirrored = uniswap_v3_parameters(SQRT_PRICE_AT_5000, rows, (18, 18), sells_token1=True)
    other, sold = compile_impact("uniswap_v3", mirrored), -np.sign(eth) * usdc
    assert price_factor(other, sold) == pytest.approx((SQRT_PRICE_AT_5000 / sqrt_price_after) ** 2, rel=1e-10)
    assert usdc * mirrored["price"] * average_price_factor(other, sold) == pytest.approx(abs(eth), rel=1e-10)


def test_uniswap_v3_decimals() -> None:
    """USDC has 6 decimals on Ethereum: the same pool in whole tokens. token0 is USDC there, so ETH is token1."""
    with_18 = uniswap_v3_parameters(SQRT_PRICE_AT_5000, [(TICKS[4545], TICKS[5500], 10**21)], (18, 18))
    with_6 = uniswap_v3_parameters(SQRT_PRICE_AT_5000 // 10**6, [(-192200, -190200, 10**15)], (18, 6))
    assert with_6["price"] == pytest.approx(with_18["price"])
    flipped = uniswap_v3_parameters(Q96**2 * 10**6 // SQRT_PRICE_AT_5000, [(190200, 192200, 10**15)], (6, 18), True)
    assert flipped["price"] == pytest.approx(with_6["price"])
    assert flipped["ranges"] == [pytest.approx(with_6["ranges"][0])]
    assert with_6["ranges"][0][2] == pytest.approx(with_18["ranges"][0][2])


@given(st.floats(0.1, 1e5), st.floats(1, 1e7), st.floats(-0.99, 50))
def test_uniswap_v3_with_one_huge_range_is_a_constant_product_pool(price: float, reserve: float, share: float) -> None:
    """Virtual reserves: x = L / sqrt(P)."""
    wide = [[price / 1e20, price * 1e20, reserve * price**0.5]]
    impact = compile_impact("uniswap_v3", {"price": price, "ranges": wide})
    assert price_factor(impact, share * reserve) == pytest.approx(constant_product(share * reserve, reserve), rel=1e-6)


def test_uniswap_v3_jumps_a_gap_and_ends_where_the_pool_does() -> None:
    """Price 100, L = 10 from 81 to 121 and from 49 to 64: it holds 10 (1/10 - 1/11) tokens and takes 10 (1/9 - 1/10)
    before the gap, then 10 (1/7 - 1/8).
    """
    impact = compile_impact("uniswap_v3", {"price": 100, "ranges": [[81, 121, 10], [49, 64, 10]]})
    gap = 10 * (1 / 9 - 1 / 10)
    assert price_factor(impact, gap * (1 - 1e-12)) == pytest.approx(0.81)
    assert price_factor(impact, gap * (1 + 1e-12)) == pytest.approx(0.64)
    assert impact.covers == pytest.approx((-10 * (1 / 10 - 1 / 11), gap + 10 * (1 / 7 - 1 / 8)))
    assert price_factor(impact, impact.covers[1]) == pytest.approx(0.49)
    assert price_factor(impact, 2 * impact.covers[1]) < 0.49  # nobody buys there; the price does not stand still
    assert price_factor(impact, impact.covers[0] * (1 - 1e-9)) == pytest.approx(1.21)
    assert price_factor(impact, impact.covers[0]) == float("inf")
    assert average_price_factor(impact, 2 * impact.covers[0]) == float("inf")


# ----- Curve


def d_of(amplification: int, balances: list[int]) -> int:
    """The invariant as the contracts compute it, in integers (get_D of curvefi/curve-contract, base pool template)."""
    total, ann, count = sum(balances), amplification * len(balances), len(balances)
    d = total
    for _ in range(255):
        d_p = d
        for balance in balances:
            d_p = d_p * d // (balance * count)
        d, before = (ann * total + d_p * count) * d // ((ann - 1) * d + (count + 1) * d_p), d
        if abs(d - before) <= 1:
            break
    return d


def received(amplification: int, balances: list[int], i: int, j: int, dx: int) -> int:
    """What selling dx of coin i pays in coin j, without fee (get_y of the same template, get_dy without its fee)."""
    count, d = len(balances), d_of(amplification, balances)
    ann, c, total = amplification * count, d, 0
    for number, balance in enumerate(balances):
        if number != j:
            x = balance + dx if number == i else balance
            total += x
            c = c * d // (x * count)
    c = c * d // (ann * count)
    b, y = total + d // ann, d
    for _ in range(255):
        y, before = (y * y + c) // (2 * y + b - d), y
        if abs(y - before) <= 1:
            break
    return balances[j] - y


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1e3, 1e8), min_size=2, max_size=4),
    st.integers(1, 5000),
    st.floats(-0.9, 10).filter(lambda share: abs(share) > 1e-3),
    st.data(),
)
def test_stableswap_pays_what_the_contract_pays(
    balances: list[float], amplification: int, share: float, data: st.DataObject
) -> None:
    sold, bought = data.draw(st.permutations(range(len(balances))))[:2]
    pool = {"balances": balances, "amplification": amplification, "sold": sold, "bought": bought}
    impact = compile_impact("stableswap", pool)
    raw = [int(balance * 10**24) for balance in balances]
    size = share * balances[sold]
    price = received(amplification, raw, sold, bought, raw[sold] // 10**12) / (raw[sold] // 10**12)
    paid = received(amplification, raw, sold, bought, int(size * 10**24)) / 10**24
    assert size * price * average_price_factor(impact, size) == pytest.approx(paid, rel=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(10, 1e6), min_size=2, max_size=5), st.floats(0.5, 5000), st.floats(-0.95, 20))
def test_stableswap_stays_on_the_invariant(balances: list[float], amplification: float, share: float) -> None:
    """A n^n sum(x) + D = A n^n D + D^(n+1) / (n^n prod(x)) before and after, with A n^n = n A() (Egorov 2019)."""
    impact = compile_impact("stableswap", {"balances": balances, "amplification": amplification})
    count, ann = len(balances), amplification * len(balances)

    def excess(x: NDArray[np.float64], d: float) -> float:
        return float(ann * x.sum() + d - ann * d - d * np.prod(d / (count * x)))

    before = np.array(balances)
    d = brentq(lambda guess: excess(before, guess), before.min() / 100, before.sum() * (1 + 1e-12), xtol=1e-12)
    price = (ann + d * np.prod(d / (count * before)) / before[0]) / (
        ann + d * np.prod(d / (count * before)) / before[1]
    )
    size = share * balances[0]
    after = before.copy()
    after[0] += size
    after[1] -= size * price * float(average_price_factor(impact, size))
    scale = abs(ann * after.sum()) + d + d * float(np.prod(d / (count * after)))
    assert abs(excess(after, d)) < 1e-7 * scale


def test_stableswap_limits() -> None:
    """A small A is a constant-product pool, a large one a constant price, while there is something left to buy."""
    size = np.linspace(-900, 900, 37)
    small = compile_impact("stableswap", {"balances": [1000.0, 1000.0], "amplification": 1e-9})
    assert price_factor(small, size) == pytest.approx(constant_product(size, 1000.0), rel=1e-6)
    large = compile_impact("stableswap", {"balances": [1000.0, 1000.0], "amplification": 1e9})
    assert price_factor(large, size) == pytest.approx(np.ones(37), abs=1e-6)
    assert price_factor(large, 1100.0) < 1e-3
    assert price_factor(large, -1000.0) == float("inf")


def test_stableswap_counts_tokens_at_their_rates() -> None:
    """wstETH at 1.15 ETH: 100 of it are 115 of a coin worth 1."""
    rated = {"balances": [1000.0, 900.0], "amplification": 50, "rates": [1.15, 1.0]}
    plain = {"balances": [1150.0, 900.0], "amplification": 50}
    size = np.linspace(-800, 3000, 20)
    for function in (price_factor, average_price_factor):
        wrapped, same = (compile_impact("stableswap", pool) for pool in (rated, plain))
        assert function(wrapped, size) == pytest.approx(function(same, size * 1.15))


# ----- trades in steps: the pool after one trade answers the next as if both were one


@settings(max_examples=100, deadline=None)
@given(st.floats(-0.5, 3), st.floats(-0.4, 3))
def test_two_trades_one_after_the_other_are_one_trade(first: float, second: float) -> None:
    one, two = first * 100, second * 100
    pools: dict[str, dict[str, Any]] = {
        "constant_product": {"reserve": 1000.0},
        "uniswap_v3": {"price": 4.0, "ranges": [[0.5, 3.0, 900.0], [2.5, 40.0, 700.0]]},
        "stableswap": {"balances": [1000.0, 600.0], "amplification": 20},
    }
    for model, before in pools.items():
        impact = compile_impact(model, before)
        factor, paid = float(price_factor(impact, one)), one * float(average_price_factor(impact, one))
        spot = {"constant_product": 1.0, "uniswap_v3": 4.0, "stableswap": _spot(1000.0, 600.0, 20)}[model]
        after = {
            "constant_product": {"reserve": 1000.0 + one},
            "uniswap_v3": before | {"price": 4.0 * factor},
            "stableswap": before | {"balances": [1000.0 + one, 600.0 - paid * spot]},
        }[model]
        later = compile_impact(model, after)
        assert factor * price_factor(later, two) == pytest.approx(price_factor(impact, one + two), rel=1e-9)
        further = two * factor * float(average_price_factor(later, two))
        whole = (one + two) * float(average_price_factor(impact, one + two))
        assert paid + further == pytest.approx(whole, rel=1e-9, abs=1e-9)


def _spot(x: float, y: float, amplification: int) -> float:
    """Price of the first coin in the second: what 1e-12 of the pool pays, by the contract's integers."""
    raw = [int(x * 10**30), int(y * 10**30)]
    return received(amplification, raw, 0, 1, raw[0] // 10**12) / (raw[0] // 10**12)
