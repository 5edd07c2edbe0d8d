"""Borrow rates as functions of utilisation: each lending protocol's own curve, in yearly rates and fractions.

| name | protocol | source |
|---|---|---|
| kinked | Aave v3 | DefaultReserveInterestRateStrategy (3.0) and V2 (3.1 and later), calculateInterestRates |
| jump | Compound v2 and its forks | JumpRateModelV2, getBorrowRateInternal |
| adaptive_curve | Morpho Blue | AdaptiveCurveIrm, _curve and _newRateAtTarget |

Each takes a utilisation (of `utilisation`) and its parameters by name, and answers the yearly borrow rate, compounded
as the table `rates` says. Every set of parameters may carry `fee`, the share of interest that suppliers do not get.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from defi_leverage.errors import SnapshotError

__all__ = [
    "ADJUSTMENT_SPEED",
    "CURVES",
    "CURVE_STEEPNESS",
    "TARGET_UTILISATION",
    "adaptive_curve_rate",
    "borrow_rate",
    "drifted_parameters",
    "jump_rate",
    "kinked_rate",
    "mean_borrow_rate",
    "supply_rate",
    "utilisation",
]

CURVE_STEEPNESS = 4.0
ADJUSTMENT_SPEED = 50.0  # a year
TARGET_UTILISATION = 0.9
_LOWEST_AT_TARGET, _HIGHEST_AT_TARGET = 0.001, 2.0


def utilisation(borrowed: float, available: float, withdrawn: float = 0.0) -> float:
    """borrowed / (borrowed + available - withdrawn), all in tokens; 0 where nothing is borrowed.

    What is borrowed and what is available together is what was supplied. Raises ValueError where an amount is negative,
    or more is withdrawn than is available.
    """
    if not (borrowed >= 0 and available >= 0 and 0 <= withdrawn <= available):
        raise ValueError(
            f"borrowed {borrowed:g}, available {available:g}, withdrawn {withdrawn:g}: none may be negative, and what "
            "is withdrawn at most what is available"
        )
    return borrowed / (borrowed + (available - withdrawn)) if borrowed else 0.0


def kinked_rate(used: float, *, optimal: float, base: float, slope1: float, slope2: float) -> float:
    """base + slope1 * U / optimal up to the optimal utilisation, then slope1 in full and slope2 * (U - optimal) / rest.

    Aave's slopes are rises of the rate over their part of the curve, not rates a unit of utilisation.
    """
    if used > optimal:
        return base + slope1 + slope2 * (used - optimal) / (1 - optimal)
    return base + (slope1 * used / optimal if optimal else slope1)


def jump_rate(used: float, *, base: float, multiplier: float, jump_multiplier: float, kink: float) -> float:
    """base + multiplier * U up to the kink, jump_multiplier a unit of utilisation beyond it."""
    return base + multiplier * min(used, kink) + jump_multiplier * max(used - kink, 0.0)


def adaptive_curve_rate(used: float, *, rate_at_target: float) -> float:
    """((C - 1) * e + 1) * rate_at_target above the target utilisation, ((1 - 1/C) * e + 1) * rate_at_target below it.

    C is 4, the target 0.9, and e the gap to it: (U - 0.9) / 0.1 above, (U - 0.9) / 0.9 below.
    """
    gap = _gap(used)
    slope = 1 - 1 / CURVE_STEEPNESS if gap < 0 else CURVE_STEEPNESS - 1
    return (slope * gap + 1) * rate_at_target


def _gap(used: float) -> float:
    room = 1 - TARGET_UTILISATION if used > TARGET_UTILISATION else TARGET_UTILISATION
    return (used - TARGET_UTILISATION) / room


CURVES: Mapping[str, Callable[..., float]] = MappingProxyType(
    {"kinked": kinked_rate, "jump": jump_rate, "adaptive_curve": adaptive_curve_rate}
)
"""By the name that the table `rates` has."""


def borrow_rate(model: str, parameters: Mapping[str, float], used: float) -> float:
    """The yearly borrow rate of curve `model` at the utilisation `used`.

    Raises SnapshotError for a curve of an unknown name, or with other parameters than it takes.
    """
    if model not in CURVES:
        raise SnapshotError(
            f"rates.rate_model {model!r} is no known curve; use one of {', '.join(CURVES)}", model=model
        )
    given = {name: value for name, value in parameters.items() if name != "fee"}
    takes = {name for name, one in inspect.signature(CURVES[model]).parameters.items() if one.kind is one.KEYWORD_ONLY}
    if set(given) != takes:
        names = ", ".join(sorted(given)) or "none"
        raise SnapshotError(f"rates.rate_parameters of {model!r} are {names}; give {', '.join(sorted(takes))}")
    return CURVES[model](used, **given)


def supply_rate(parameters: Mapping[str, float], used: float, borrow: float) -> float:
    """What suppliers earn a year: borrow * U * (1 - fee). nan where the parameters have no fee.

    Source: Aave v3 calculateInterestRates (with a reserve factor), blue-sdk MarketUtils.getSupplyRate, Compound v2
    getSupplyRate.
    """
    return borrow * used * (1 - parameters.get("fee", math.nan))


def drifted_parameters(
    model: str, parameters: Mapping[str, float], used: float, years: float
) -> tuple[dict[str, float], dict[str, float]]:
    """The curve's parameters on average over `years` at the utilisation `used`, and at their end.

    Only the adaptive curve moves: rate_at_target grows at 50 e a year (e: the gap to the target), within 0.1 % and
    200 %. Interest's own effect on the utilisation is not counted.
    """
    if model != "adaptive_curve" or years <= 0:
        return dict(parameters), dict(parameters)
    start, speed = parameters["rate_at_target"], ADJUSTMENT_SPEED * _gap(used)
    if not start > 0:
        raise SnapshotError(f"rates.rate_parameters: rate_at_target {start} must be positive")
    if speed == 0:
        return dict(parameters), dict(parameters)
    bound = _HIGHEST_AT_TARGET if speed > 0 else _LOWEST_AT_TARGET
    until = min(max(math.log(bound / start) / speed, 0.0), years)  # when it meets the bound
    mean = (start * math.expm1(speed * until) / speed + bound * (years - until)) / years
    end = start * math.exp(speed * until) if until == years else bound
    return {**parameters, "rate_at_target": mean}, {**parameters, "rate_at_target": end}


def mean_borrow_rate(model: str, parameters: Mapping[str, float], used: float, years: float) -> float:
    """The borrow rate on average over `years` at the utilisation `used`; of a curve that moves it is not today's."""
    return borrow_rate(model, drifted_parameters(model, parameters, used, years)[0], used)
