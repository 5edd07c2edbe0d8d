"""AdaptiveCurveIrm's own arithmetic on integers: what a market charges, and how its curve moves with time.

Source: morpho-org/morpho-blue-irm, AdaptiveCurveIrm.sol, adaptive-curve/ExpLib.sol and ConstantsLib.sol. Rates in wad a
second, utilisation in wad; divisions are towards zero, as the contract's.
"""

from defi_leverage.fixed_point import SECONDS_PER_YEAR, WAD, mul_div_down
from defi_leverage.protocols.morpho_blue.arithmetic import Totals

__all__ = ["MAX_RATE_AT_TARGET", "MIN_RATE_AT_TARGET", "adapt_rate_at_target", "adaptive_curve", "utilisation"]

CURVE_STEEPNESS = 4 * WAD
ADJUSTMENT_SPEED = 50 * WAD // SECONDS_PER_YEAR
TARGET_UTILISATION = 9 * WAD // 10
INITIAL_RATE_AT_TARGET = 4 * WAD // 100 // SECONDS_PER_YEAR
MIN_RATE_AT_TARGET = WAD // 1000 // SECONDS_PER_YEAR
MAX_RATE_AT_TARGET = 2 * WAD // SECONDS_PER_YEAR

_LN_2 = 693147180559945309
_LN_WEI = -41446531673892822312
_EXP_BOUND = 93859467695000404319
_EXP_OF_BOUND = 57716089161558943949701069502944508345128422502756744429568


def utilisation(totals: Totals) -> int:
    """What is borrowed of what is supplied, in wad, rounded down."""
    return mul_div_down(totals.borrow, WAD, totals.supply) if totals.supply else 0


def adaptive_curve(rate_at_target: int, used: int) -> int:
    """The borrow rate at the utilisation `used`: a quarter of the target's at none, four times at all (_curve)."""
    gap = _gap(used)
    steepness = WAD - _divide(WAD * WAD, CURVE_STEEPNESS) if gap < 0 else CURVE_STEEPNESS - WAD
    return _divide((_divide(steepness * gap, WAD) + WAD) * rate_at_target, WAD)


def adapt_rate_at_target(stored: int, used: int, seconds: int) -> tuple[int, int]:
    """The rate at target on average over `seconds` since the market's last update, and at their end (_borrowRate).

    `stored`: as of that update, 0 before the first; `used`: the utilisation since.
    """
    if not stored:
        return INITIAL_RATE_AT_TARGET, INITIAL_RATE_AT_TARGET
    adaptation = _divide(ADJUSTMENT_SPEED * _gap(used), WAD) * seconds
    if not adaptation:
        return stored, stored
    middle, end = (_moved(stored, part) for part in (_divide(adaptation, 2), adaptation))
    return (stored + end + 2 * middle) // 4, end


def _gap(used: int) -> int:
    """How far from the target, -WAD at no utilisation and WAD at all."""
    room = WAD - TARGET_UTILISATION if used > TARGET_UTILISATION else TARGET_UTILISATION
    return _divide((used - TARGET_UTILISATION) * WAD, room)


def _moved(rate: int, adaptation: int) -> int:
    return min(max(_divide(rate * _exp(adaptation), WAD), MIN_RATE_AT_TARGET), MAX_RATE_AT_TARGET)


def _exp(x: int) -> int:
    """e^x in wad: a power of two times a polynomial of the second order (ExpLib.wExp)."""
    if x < _LN_WEI:
        return 0
    if x >= _EXP_BOUND:
        return _EXP_OF_BOUND
    power = _divide(x + (_LN_2 // 2 if x >= 0 else -(_LN_2 // 2)), _LN_2)
    rest = x - power * _LN_2
    value = WAD + rest + rest * rest // WAD // 2
    return value << power if power >= 0 else value >> -power


def _divide(above: int, below: int) -> int:
    """The quotient towards zero, as Solidity divides; `below` is positive."""
    return above // below if above >= 0 else -(-above // below)
