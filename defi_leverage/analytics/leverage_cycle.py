"""The leverage cycle: risk limits that follow volatility make leverage, and with it prices, swing by themselves.

Source: Aymanns, Caccioli, Farmer & Tan (2016), 'Taming the Basel leverage cycle', Journal of Financial Stability 27: a
bank targets the leverage alpha * (variance + s0)^b, a fund trades towards the fundamental value mu, and the market
clears. Below a critical leverage the fixed point is stable; above it every disturbance grows into a cycle. The fund's
portfolio weight is free at the fixed point (any weight holds it), so that one eigenvalue of the Jacobian is always 1;
stability is that of the other directions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = [
    "LeverageCycle",
    "State",
    "critical_leverage",
    "demand_with_leverage_limit",
    "disturbed_fixed_point",
    "fixed_point",
    "fixed_point_leverage",
    "largest_leverage",
    "simulate",
    "spectral_radius",
    "step",
]

_IMAGINARY_STEP = 1e-30  # of complex differentiation, which cancels nothing: exact to the last digits
_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class LeverageCycle:
    """The model's parameters; the defaults are the paper's, with one step = 0.1 year.

    alpha, b, s0: target leverage alpha * (variance + s0)^b, variance a step; w: the bank's weight of the asset; rho and
    mu: how fast the fund follows the gap to the fundamental price mu; d: decay of the bank's estimate of variance;
    theta: share of the gap to its target that the bank closes in a step; eta: share of the gap of its equity to
    `equity` (money) that is paid out or in; `fund_weight`: the fund's weight of the asset at the start.
    """

    alpha: float = 0.0075
    b: float = -0.5
    s0: float = 1e-6
    w: float = 0.3
    rho: float = 0.01
    d: float = 0.05
    theta: float = 0.95
    eta: float = 1.0
    mu: float = 25.0
    equity: float = 2.26689
    fund_weight: float = 0.5


class State(NamedTuple):
    """fund_weight: the fund's weight of the asset; price and price_lag: now and a step ago (money); bank_share: of the
    asset's one unit; bank_debt (money); variance: the bank's estimate, a step.
    """

    fund_weight: Any
    price: Any
    bank_share: Any
    bank_debt: Any
    variance: Any
    price_lag: Any


def fixed_point_leverage(model: LeverageCycle) -> float:
    """The bank's leverage where nothing moves: alpha * s0^b (1000 * alpha at the paper's b and s0)."""
    return float(model.alpha * model.s0**model.b)


def largest_leverage(model: LeverageCycle) -> float:
    """The leverage at which the bank holds the whole asset at the fixed point, mu / (equity * w): none is above it."""
    return model.mu / (model.equity * model.w)


def fixed_point(model: LeverageCycle) -> State:
    """The state that reproduces itself: price mu, no variance, the bank at its target and at its equity."""
    leverage = fixed_point_leverage(model)
    share, debt = leverage * model.equity * model.w / model.mu, (leverage - 1) * model.equity
    return State(model.fund_weight, model.mu, share, debt, 0.0, model.mu)


def disturbed_fixed_point(model: LeverageCycle) -> State:
    """The fixed point with a price and a variance 1e-10 too high: where the paper's simulations begin."""
    point = fixed_point(model)
    return point._replace(price=model.mu + 1e-10, variance=1e-10)


def step(state: State, model: LeverageCycle) -> State:
    """The next state: the paper's full difference equations; the fund's weight stays within 0.1 and 0.9."""
    return _move(state, model, lambda value: min(max(value, 0.1), 0.9), math.log)


def _move(state: State, model: LeverageCycle, bound: Callable[[Any], Any], log: Callable[[Any], Any]) -> State:
    fund, price, share, debt, variance, price_lag = state
    w = model.w
    assets = share * price / w
    equity = assets - debt
    paid_in = (model.equity - equity) * model.eta
    bought = model.theta * (model.alpha * (variance + model.s0) ** model.b * equity - assets)
    bank_cash = (1 - w) * share * price / w + paid_in
    fund_cash = (1 - fund) * (1 - share) * price / fund - paid_in
    weight = bound(fund + fund / price * model.rho * (model.mu - price))
    next_price = (w * (bank_cash + bought) + weight * fund_cash) / (1 - w * share - (1 - share) * weight)
    next_share = w * (share * next_price + bank_cash + bought) / next_price
    next_variance = (1 - model.d) * variance + model.d * log(price / price_lag) ** 2
    return State(weight, next_price, next_share, debt + bought, next_variance, price)


def simulate(model: LeverageCycle, steps: int, start: State | None = None) -> pd.DataFrame:
    """`steps` steps from `start` (default: `disturbed_fixed_point`), a row each: the columns of `State`, and leverage.

    leverage: the bank's assets over its equity. Above the critical leverage the path is chaotic: within 500 steps a
    start that differs in the last bit has another path, of the same mean period, whose extremes differ in the third
    digit. Read cycles as statistics, never as dates. Raises ValueError for fewer than one step, FloatingPointError
    where the start is not in the model, or the path leaves it (a price or a fund that is no longer positive).
    """
    if steps < 1:
        raise ValueError(f"steps {steps} must be at least 1")
    state, rows = start or disturbed_fixed_point(model), []
    _check_within(state, 0)
    for number in range(1, steps + 1):
        state = step(state, model)
        _check_within(state, number)
        rows.append(state)
    path = pd.DataFrame(rows, columns=list(State._fields), index=pd.RangeIndex(1, steps + 1, name="step"), dtype=float)
    assets = path["bank_share"] * path["price"] / model.w
    path["leverage"] = assets / (assets - path["bank_debt"])
    return path


def _check_within(state: State, number: int) -> None:
    if not (state.price > 0 and state.price_lag > 0 and 0 < state.bank_share < 1):
        raise FloatingPointError(
            f"step {number}: price {state.price:g}, bank_share {state.bank_share:g} leave the model; start closer "
            "to the fixed point or lower alpha"
        )


def _jacobian(model: LeverageCycle) -> NDArray[np.float64]:
    """Derivatives of the next state by the state at the fixed point, 6 x 6 in the order of `State`."""
    point = np.array(fixed_point(model), complex)
    columns = []
    for at in range(len(point)):
        moved = point.copy()
        moved[at] += 1j * _IMAGINARY_STEP
        columns.append(np.imag(np.array(_move(State(*moved), model, lambda value: value, np.log))) / _IMAGINARY_STEP)
    return np.stack(columns, axis=1)


def spectral_radius(model: LeverageCycle) -> float:
    """The largest modulus of an eigenvalue of the Jacobian at the fixed point, the fund's free weight left out.

    Below 1 the fixed point is stable. The weight's column of the Jacobian is that of the identity, so that its
    eigenvalue 1 is the only one that leaving it out removes.
    """
    return float(np.abs(np.linalg.eigvals(_jacobian(model)[1:, 1:])).max())


def critical_leverage(model: LeverageCycle, most: float | None = None) -> float:
    """The leverage at which the fixed point loses its stability, by bisection on alpha; `model.alpha` is ignored.

    8.8415 with the paper's parameters. b does not matter: at the fixed point the variance answers a move of the price
    only in the second order, so that b shapes the cycle, not its onset. inf where it is stable up to `most` (default:
    `largest_leverage`), as where the bank does not trade (theta 0). Raises ValueError where `most` is not above 1.
    """
    top = largest_leverage(model) * (1 - 1e-9) if most is None else most
    if not top > 1:
        raise ValueError(f"most {top:g} must be above 1: it is the highest leverage that is tried")

    def unstable(leverage: float) -> bool:
        return spectral_radius(replace(model, alpha=leverage, b=0.0)) >= 1  # s0**b of a steep b is beyond a float

    if not unstable(top):
        return float("inf")
    low, high = 1.0, top
    while high - low > _TOLERANCE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if unstable(middle) else (middle, high)
    return high


def demand_with_leverage_limit(
    mispricing: "NDArray[np.float64] | float", wealth: float, aggression: float, most_leverage: float
) -> NDArray[np.float64]:
    """Demand of a value investor in money: min(beta * m, lmax) * W with m = V - p; none where nothing is underpriced.

    `mispricing` m, `wealth` W, `aggression` beta, `most_leverage` lmax. At the limit a fall of the price forces sales
    into it. Source: Thurner, Farmer & Geanakoplos (2012), 'Leverage causes fat tails and clustered volatility',
    Quantitative Finance 12(5).
    """
    wanted = aggression * np.maximum(np.asarray(mispricing, float), 0.0)
    demand: NDArray[np.float64] = np.minimum(wanted, most_leverage) * wealth
    return demand
