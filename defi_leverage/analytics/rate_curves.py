"""Borrow rates as functions of utilisation: each lending protocol's own curve, in yearly rates and fractions.

| name | protocol | source |
|---|---|---|
| fixed | Maker, Liquity, crvUSD and other mints | no lender withdraws: the rate is the one that is charged now |
| kinked | Aave v2, v3 and v4 | DefaultReserveInterestRateStrategy and its successors, calculateInterestRates |
| jump | Compound v2 and v3, Euler v2, Fluid | JumpRateModelV2, getBorrowRateInternal; Comet; IRMLinearKink |
| two_kinks | Venus, Fluid | TwoKinksInterestRateModel, _getBorrowRate |
| semi_log | LlamaLend | SemilogMonetaryPolicy, calculate_rate |
| hyperbolic | LlamaLend | SecondaryMonetaryPolicy and SusdeMonetaryPolicy, calculate_rate |
| adaptive_curve | Morpho Blue, Euler v2 | AdaptiveCurveIrm and IRMAdaptiveCurve, _curve and _newRateAtTarget |

Each takes a utilisation (of `utilisation`) and its parameters by name, and answers the yearly borrow rate, compounded
as the table `rates` says. What suppliers get is said by further parameters: `fee`, the share of interest that they do
not get, or (Comet) a jump curve of their own, `supply_base`, `supply_multiplier`, `supply_jump_multiplier` and
`supply_kink`. Of a reserve of Aave that has stable debt, `stable_share` is its share of what is borrowed and
`stable_rate` what it pays on average, whatever the utilisation. `unbacked_share` (Aave v3): what suppliers are owed and
nobody owes the reserve, such as a deficit of 3.3 and later, over what is borrowed. `premium` (Aave v4): how much more
interest there is than the curve's rate brings, as borrowers pay for their risk on top. `utilisation_cap`: the contract
counts no more.
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
    "fixed_rate",
    "hyperbolic_rate",
    "jump_rate",
    "kinked_rate",
    "mean_borrow_rate",
    "semi_log_rate",
    "supply_rate",
    "two_kinks_rate",
    "utilisation",
]

CURVE_STEEPNESS = 4.0
ADJUSTMENT_SPEED = 50.0  # a year
TARGET_UTILISATION = 0.9
_LOWEST_AT_TARGET, _HIGHEST_AT_TARGET = 0.001, 2.0
_JUMP = ("base", "multiplier", "jump_multiplier", "kink")
_NOT_OF_THE_CURVE = {
    *("fee", "premium", "stable_share", "stable_rate", "unbacked_share", "utilisation_cap"),
    *("speed", "lowest", "highest"),
    *(f"supply_{name}" for name in _JUMP),
}


def utilisation(borrowed: float, available: float, withdrawn: float = 0.0, supplied: float = math.nan) -> float:
    """borrowed / (supplied - withdrawn), all in tokens; 0 where nothing is borrowed, inf where nothing is left.

    supplied nan: what is borrowed and what is available together. Otherwise what the protocol itself divides by, which
    leaves out its reserves (Compound v2: cash + borrows - reserves; Comet: totalSupply), so that the utilisation of a
    market that is emptied can pass 1. Raises ValueError where an amount is negative, or more is withdrawn than is
    available or supplied.
    """
    if not (borrowed >= 0 and available >= 0 and 0 <= withdrawn <= available and not 0 <= supplied < withdrawn):
        raise ValueError(
            f"borrowed {borrowed:g}, available {available:g}, withdrawn {withdrawn:g}, supplied {supplied:g}: none may "
            "be negative, and what is withdrawn at most what is available and what is supplied"
        )
    left = borrowed + (available - withdrawn) if math.isnan(supplied) else supplied - withdrawn
    return (borrowed / left if left > 0 else math.inf) if borrowed else 0.0


def fixed_rate(used: float, *, rate: float) -> float:  # noqa: ARG001
    """`rate`, which no withdrawal moves: a stability fee, the rate that borrowers set, or one that follows prices.

    Of crvUSD it is the rate of the moment: its policy moves it with the coin's price, with what the peg keepers have
    lent and with how much of its ceiling is minted, none of which a withdrawal changes.
    """
    return rate


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


def two_kinks_rate(
    used: float,
    *,
    base: float,
    multiplier: float,
    kink: float,
    base2: float,
    multiplier2: float,
    kink2: float,
    jump_multiplier: float,
) -> float:
    """base + multiplier * U up to the first kink; beyond it base2 and multiplier2 a unit more, jump_multiplier at last.

    base2 is a step at the first kink (0 where there is none); multipliers may be negative, the rate is not.
    """
    if used < kink:
        return max(0.0, base + multiplier * used)
    middle = base2 + multiplier2 * (min(used, kink2) - kink)
    return max(0.0, base + multiplier * kink + middle + jump_multiplier * max(used - kink2, 0.0))


def semi_log_rate(used: float, *, minimum: float, maximum: float, ceiling: float = math.inf) -> float:
    """minimum * (maximum / minimum) ** U: minimum when nothing is borrowed, maximum when everything is.

    Curve's controllers charge no more than the `ceiling`, whatever their policies say.
    """
    return min(float(minimum * (maximum / minimum) ** used), ceiling)


def hyperbolic_rate(used: float, *, base: float, scale: float, pole: float, ceiling: float = math.inf) -> float:
    """base + scale / (pole - U), which grows towards the pole, a utilisation above 1; no more than the `ceiling`.

    Curve's parameters r_minf, A and u_inf are ratios to a reference rate r0, another market's rate or a token's yield:
    base is r0 * r_minf + shift, scale r0 * A, pole u_inf. r0 is the one of the block.
    """
    return min(base + scale / (pole - used), ceiling) if used < pole else ceiling


def adaptive_curve_rate(
    used: float, *, rate_at_target: float, target: float = TARGET_UTILISATION, steepness: float = CURVE_STEEPNESS
) -> float:
    """((C - 1) * e + 1) * rate_at_target above the target utilisation, ((1 - 1/C) * e + 1) * rate_at_target below it.

    C is the steepness, and e the gap to the target: (U - target) / (1 - target) above it, (U - target) / target below.
    """
    gap = _gap(used, target)
    slope = 1 - 1 / steepness if gap < 0 else steepness - 1
    return (slope * gap + 1) * rate_at_target


def _gap(used: float, target: float) -> float:
    return (used - target) / (1 - target if used > target else target)


CURVES: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        "fixed": fixed_rate,
        "kinked": kinked_rate,
        "jump": jump_rate,
        "two_kinks": two_kinks_rate,
        "semi_log": semi_log_rate,
        "hyperbolic": hyperbolic_rate,
        "adaptive_curve": adaptive_curve_rate,
    }
)
"""By the name that the table `rates` has."""


def borrow_rate(model: str, parameters: Mapping[str, float], used: float) -> float:
    """The yearly borrow rate of curve `model` at the utilisation `used`.

    Raises SnapshotError for a curve of an unknown name, with other parameters than it takes, or one that is no number.
    """
    if model not in CURVES:
        raise SnapshotError(
            f"rates.rate_model {model!r} is no known curve; use one of {', '.join(CURVES)}", model=model
        )
    for name, value in parameters.items():
        if not isinstance(value, (int, float)) or math.isnan(value):
            raise SnapshotError(f"rates.rate_parameters of {model!r}: {name} is {value!r}; write a number")
    given = {name: value for name, value in parameters.items() if name not in _NOT_OF_THE_CURVE}
    takes = {
        name: one for name, one in inspect.signature(CURVES[model]).parameters.items() if one.kind is one.KEYWORD_ONLY
    }
    needed = {name for name, one in takes.items() if one.default is one.empty}
    if not needed <= set(given) <= set(takes):
        names = ", ".join(sorted(given)) or "none"
        raise SnapshotError(f"rates.rate_parameters of {model!r} are {names}; give {', '.join(sorted(needed))}")
    return CURVES[model](_counted(parameters, used), **given)


def supply_rate(parameters: Mapping[str, float], used: float, borrow: float) -> float:
    """What suppliers earn a year: by their own curve, or paid * U' * (1 + premium) * (1 - fee); else nan.

    paid is `borrow`, on average with the stable rate where some debt pays that; U' = U / (1 + U * unbacked_share), what
    of the suppliers' claims is borrowed. Source: Aave v2 and v3 calculateInterestRates (its supplyUsageRatio; since 3.3
    ReserveLogic has the deficit in `unbacked`) and _getOverallBorrowRate, blue-sdk MarketUtils.getSupplyRate, Compound
    v2 getSupplyRate; Comet getSupplyRate.
    """
    if "supply_kink" in parameters:
        return jump_rate(used, **{name: parameters[f"supply_{name}"] for name in _JUMP})
    if "fee" not in parameters:
        return math.nan
    stable = parameters.get("stable_share", 0.0)
    paid = borrow + stable * (parameters["stable_rate"] - borrow) if stable else borrow
    earning = _counted(parameters, used)
    earning /= 1 + earning * parameters.get("unbacked_share", 0.0)
    return paid * earning * (1 + parameters.get("premium", 0.0)) * (1 - parameters["fee"])


def _counted(parameters: Mapping[str, float], used: float) -> float:
    return min(used, parameters.get("utilisation_cap", math.inf))


def drifted_parameters(
    model: str, parameters: Mapping[str, float], used: float, years: float
) -> tuple[dict[str, float], dict[str, float]]:
    """The curve's parameters on average over `years` at the utilisation `used`, and at their end.

    Only the adaptive curve moves: rate_at_target grows at `speed` times e a year (e: the gap to the target), between
    `lowest` and `highest`: 50, 0.1 % and 200 % where the parameters do not say otherwise. Interest's own effect on the
    utilisation is not counted.
    """
    if model != "adaptive_curve" or years <= 0:
        return dict(parameters), dict(parameters)
    gap = _gap(used, parameters.get("target", TARGET_UTILISATION))
    start, speed = parameters["rate_at_target"], parameters.get("speed", ADJUSTMENT_SPEED) * gap
    if not start > 0:
        raise SnapshotError(f"rates.rate_parameters: rate_at_target {start} must be positive")
    if speed == 0:
        return dict(parameters), dict(parameters)
    lowest, highest = parameters.get("lowest", _LOWEST_AT_TARGET), parameters.get("highest", _HIGHEST_AT_TARGET)
    bound = highest if speed > 0 else lowest
    until = min(max(math.log(bound / start) / speed, 0.0), years)  # when it meets the bound
    mean = (start * math.expm1(speed * until) / speed + bound * (years - until)) / years
    end = start * math.exp(speed * until) if until == years else bound
    return {**parameters, "rate_at_target": mean}, {**parameters, "rate_at_target": end}


def mean_borrow_rate(model: str, parameters: Mapping[str, float], used: float, years: float) -> float:
    """The borrow rate on average over `years` at the utilisation `used`; of a curve that moves it is not today's."""
    return borrow_rate(model, drifted_parameters(model, parameters, used, years)[0], used)
