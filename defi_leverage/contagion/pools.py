"""Price impact of automated market makers: constant product, concentrated liquidity, stable swap.

Notation and conventions as in `curves`. Nobody adds or withdraws liquidity, and no fee is charged: a fee stays with the
pool's owners and is no part of the price.
"""

from collections.abc import Sequence
from functools import partial
from math import exp, log1p
from typing import Any

import numpy as np

from defi_leverage.contagion.curves import Array, Impact, Numbers, positive, positives
from defi_leverage.errors import ScenarioError

__all__ = [
    "constant_product",
    "constant_product_impact",
    "stableswap_impact",
    "uniswap_v3_impact",
    "uniswap_v3_parameters",
]


def constant_product(net_sales: Numbers, reserve: float) -> Array:
    """(R / (R + X))^2: spot price of an x*y=k pool that holds R tokens after X more are sold into it.

    Source: Uniswap v2 core whitepaper (2020). inf once purchases take all the pool holds (X <= -R).
    """
    held = np.maximum(reserve + np.asarray(net_sales, float), 0.0)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(np.divide(reserve, held) ** 2)


def _constant_product_proceeds(net_sales: Numbers, reserve: float) -> Array:
    sales = np.asarray(net_sales, float)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(sales * np.divide(reserve, np.maximum(reserve + sales, 0.0)))


def constant_product_impact(reserve: float) -> Impact:
    """`constant_product`, `reserve` in tokens. Raises ScenarioError."""
    reserve = positive("reserve", reserve)
    proceeds = partial(_constant_product_proceeds, reserve=reserve)
    return Impact(partial(constant_product, reserve=reserve), proceeds, (-reserve, float("inf")))


def uniswap_v3_impact(price: float, ranges: Sequence[Sequence[float]]) -> Impact:
    """Concentrated liquidity: the pool's `price` and `ranges` of (lowest price, highest price, liquidity).

    Prices are in quote tokens a token, liquidity is sqrt(x * y) in whole tokens; what overlaps adds up, as positions
    do. Within a range of liquidity L, 1 / sqrt(price) moves by X / L; between ranges the price jumps. Once purchases
    take all that the pool holds, the price is inf. Sales beyond the lowest range find its liquidity going on below it:
    the price keeps falling, but outside `covers`, for in truth nobody buys there. Source: Uniswap v3 core whitepaper
    (2021), section 6.2. Raises ScenarioError for ranges that do not enclose the price.
    """
    price = positive("price", price)
    if not isinstance(ranges, (list, tuple)) or not ranges:
        raise ScenarioError(f"ranges {ranges!r} must be a list of [lowest price, highest price, liquidity]")
    rows = []
    for position, row in enumerate(ranges):
        rows.append(positives(f"ranges[{position}]", row, 3))
        if len(row) != 3 or row[0] >= row[1]:
            raise ScenarioError(f"ranges[{position}] {row!r} must be [lowest price, highest price, liquidity]")
    low, high, amount = np.array(rows).T
    edges = np.unique(np.concatenate([low, high, [price]]))
    liquidity = ((low <= edges[:-1, None]) & (high > edges[:-1, None])) @ amount
    active = liquidity > 0
    here = int(np.searchsorted(edges, price))
    if not (0 < here < len(edges) - 1 and active[here - 1] and active[here]):
        raise ScenarioError(f"ranges: none has liquidity on both sides of the price {price:g}")
    bought, sold = np.flatnonzero(active[here:]) + here, np.flatnonzero(active[:here])[::-1]  # away from the price
    root = np.sqrt(edges)
    pieces: dict[str, Array] = {"liquidity": liquidity[np.append(bought[::-1], sold)]}
    walked = {}
    for side, pieces_of, near, far in (("bought", bought, 0, 1), ("sold", sold, 1, 0)):
        depth, near_root, far_root = liquidity[pieces_of], root[pieces_of + near], root[pieces_of + far]
        tokens = np.append(0.0, np.cumsum(depth * (1 / far_root - 1 / near_root)))
        quote = np.append(0.0, np.cumsum(depth * (near_root - far_root)))
        walked[side] = tokens, quote, 1 / near_root
    (buying, paying, from_above), (selling, receiving, from_below) = walked["bought"], walked["sold"]
    pieces |= {
        "lowest": np.append(buying[:0:-1], selling[:-1]),
        "start": np.append(buying[-2::-1], selling[:-1]),
        "inverse_root": np.append(from_above[::-1], from_below),
    }
    paid = np.append(paying[-2::-1], receiving[:-1]) / price
    covers = (float(buying[-1]), float(selling[-1]))
    factor = partial(_ranges_factor, **pieces, inverse_root_before=1 / root[here])
    return Impact(factor, partial(_ranges_proceeds, **pieces, paid=paid, price=price), covers)


def _walk(net_sales: Numbers, lowest: Array, start: Array, inverse_root: Array, liquidity: Array) -> tuple[Array, ...]:
    """For every X: the range it ends in, the tokens that go through that range, and 1 / sqrt(price) there."""
    sales = np.asarray(net_sales, float)
    piece = np.maximum(np.searchsorted(lowest, sales, side="right") - 1, 0)
    tokens = sales - start[piece]
    return sales, piece, tokens, inverse_root[piece] + tokens / liquidity[piece]


def _ranges_factor(net_sales: Numbers, inverse_root_before: float, **pieces: Array) -> Array:
    sales, _, _, inverse_root = _walk(net_sales, **pieces)
    there = sales > pieces["lowest"][0]
    return np.where(there, (inverse_root_before / np.where(there, inverse_root, 1.0)) ** 2, np.inf)


def _ranges_proceeds(net_sales: Numbers, paid: Array, price: float, **pieces: Array) -> Array:
    sales, piece, tokens, inverse_root = _walk(net_sales, **pieces)
    there = sales >= pieces["lowest"][0]
    received = tokens / (np.where(there, inverse_root, 1.0) * pieces["inverse_root"][piece] * price)
    return np.where(there, paid[piece] + received, -np.inf)


def uniswap_v3_parameters(
    sqrt_price_x96: int, ranges: Sequence[tuple[int, int, int]], decimals: tuple[int, int], sells_token1: bool = False
) -> dict[str, Any]:
    """Parameters of `uniswap_v3_impact` from a pool's own units.

    `sqrt_price_x96` as in slot0, `ranges` of (lower tick, upper tick, liquidity), `decimals` of token0 and token1. The
    asset that is sold is token0 unless `sells_token1`. Price of token0 in token1: (sqrt_price_x96 / 2^96)^2, and
    1.0001^tick; liquidity is alike from either side.
    """
    scale = 10.0 ** (decimals[0] - decimals[1])
    unit = 10.0 ** (sum(decimals) / 2)
    price = (sqrt_price_x96 / 2**96) ** 2 * scale
    rows = [[exp(low * log1p(1e-4)) * scale, exp(high * log1p(1e-4)) * scale, raw / unit] for low, high, raw in ranges]
    if sells_token1:
        price, rows = 1 / price, [[1 / high, 1 / low, liquidity] for low, high, liquidity in rows]
    return {"price": price, "ranges": rows}


def stableswap_impact(
    balances: Sequence[float],
    amplification: float,
    sold: int = 0,
    bought: int = 1,
    rates: Sequence[float] | None = None,
) -> Impact:
    """A Curve pool: coin number `sold` is sold for coin number `bought`, the other balances stand still.

    `balances` in whole tokens; `rates` are what a token counts for in the pool (its exchange rate; 1 where left out);
    `amplification` is what the pool's A() answers, A * n^(n-1) in the paper's notation. The invariant
    A n^n sum(x) + D = A n^n D + D^(n+1) / (n^n prod(x)) gives D by Newton's method and the balance of the bought coin
    as the root of a quadratic; the price is the ratio of the invariant's partial derivatives. inf once purchases take
    all the pool holds. Source: Egorov, StableSwap (2019); get_D and get_y of curvefi/curve-contract. Raises
    ScenarioError.
    """
    held = positives("balances", balances, 2)
    ann = positive("amplification", amplification) * len(held)
    worth = np.ones(len(held)) if rates is None else positives("rates", rates, len(held))
    if len(worth) != len(held):
        raise ScenarioError(f"rates has {len(worth)} numbers but balances has {len(held)}; give one a coin")
    for name, coin in (("sold", sold), ("bought", bought)):
        if type(coin) is not int or not 0 <= coin < len(held):
            raise ScenarioError(f"{name} {coin!r} must be the number of a coin, 0 to {len(held) - 1}")
    if sold == bought:
        raise ScenarioError(f"sold and bought are both coin {sold}; name two coins")
    counted = held * worth
    shares = counted / (_stableswap_d(counted / counted.sum(), ann) * counted.sum())  # in units of D
    others = np.delete(shares, [sold, bought])
    state = {
        "share": float(shares[sold]),
        "unit": float(held[sold] / shares[sold]),
        "ann": ann,
        "others_sum": float(others.sum()),
        "others_product": float(others.prod() * len(held) ** len(held)),
    }
    price, balance = (float(value) for value in _stableswap(0.0, **state))
    proceeds = partial(_stableswap_proceeds, price=price, balance=balance, **state)
    return Impact(partial(_stableswap_factor, price=price, **state), proceeds, (-float(held[sold]), float("inf")))


def _stableswap_d(shares: Array, ann: float) -> float:
    """The invariant D of balances that add up to 1."""
    count, invariant = len(shares), 1.0
    for _ in range(255):
        product = invariant * float(np.prod(invariant / (count * shares)))
        following = (ann + count * product) * invariant / ((ann - 1) * invariant + (count + 1) * product)
        if abs(following - invariant) <= 1e-15 * following:
            return following
        invariant = following
    raise ScenarioError("balances: the pool's invariant has no solution near them; correct balances or amplification")


def _stableswap(
    net_sales: Numbers, share: float, unit: float, ann: float, others_sum: float, others_product: float
) -> tuple[Array, Array]:
    """Spot price (bought coins a sold coin, as the pool counts them) and balance of the bought coin in units of D."""
    x = share + np.asarray(net_sales, float) / unit
    there = x > 0
    x = np.where(there, x, 1.0)
    k = 1 / (x * others_product)
    slope = x + others_sum + 1 / ann - 1  # y^2 + slope * y = k / ann
    root = np.hypot(slope, 2 * np.sqrt(k / ann))
    y = np.where(slope > 0, 2 * k / ann / (np.abs(slope) + root), (root - slope) / 2)
    price = y * (ann * x * y + k) / (x * (ann * y**2 + k))
    return np.where(there, price, np.inf), np.where(there, y, np.inf)


def _stableswap_factor(net_sales: Numbers, price: float, **state: float) -> Array:
    return _stableswap(net_sales, **state)[0] / price


def _stableswap_proceeds(net_sales: Numbers, price: float, balance: float, **state: float) -> Array:
    """The fall of the bought coin's balance, from the difference of the two quadratics: nothing cancels for small X."""
    sales = np.asarray(net_sales, float)
    x = state["share"] + sales / state["unit"]
    there = x > 0
    y = np.where(there, _stableswap(sales, **state)[1], 1.0)
    k = 1 / (state["share"] * state["others_product"] * state["ann"])
    average = (y + k / np.where(there, x, 1.0)) / (y + k / balance) / price
    return np.where(there, sales * average, -np.inf)
