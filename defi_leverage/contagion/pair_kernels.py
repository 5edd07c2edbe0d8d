"""The rules of `liquidation` compiled: for one account inside a kernel, and for arrays of accounts."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from defi_leverage.contagion import liquidation
from defi_leverage.contagion.compiled import compiled, compiled_leaf
from defi_leverage.contagion.liquidation import PAIR_RULES, Terms, venue_parameters

if TYPE_CHECKING:
    from functools import partial

__all__ = ["apply_rules", "pair_terms", "rule_tables", "seize"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FULL, _AAVE_V2, _AAVE_V3, _AAVE_V3_3, _COMPOUND_V2, _MORPHO_BLUE, _EULER_V2, _AAVE_V4, _FLUID = range(9)
_ORDER = ("full", "aave_v2", "aave_v3", "aave_v3_3", "compound_v2", "morpho_blue", "euler_v2", "aave_v4", "fluid")
_PARAMETERS = 4  # of a rule, at most

full, aave_v2, aave_v3, aave_v3_3, compound_v2, morpho_blue, euler_v2, aave_v4, fluid = (
    compiled_leaf(PAIR_RULES[name], error_model="numpy") for name in _ORDER
)
seize = compiled_leaf(liquidation.seize, error_model="numpy")


def rule_tables(rules: Sequence[Callable[..., Any]]) -> tuple[Ints, Floats]:
    """Per venue: the place of its rule among those compiled (-1: it closes whole accounts), and its parameters."""
    kinds, parameters = np.full(len(rules), -1), np.zeros((len(rules), _PARAMETERS))
    for venue, bound in enumerate(rules):
        rule = cast("partial[Any]", bound)
        if rule.func.__name__ in _ORDER:
            kinds[venue] = _ORDER.index(rule.func.__name__)
            values = list((venue_parameters(rule.func) | rule.keywords).values())
            parameters[venue, : len(values)] = values
    return kinds, parameters


def _pair_terms(  # noqa: PLR0911 (one return a rule)
    kind: int, p: Any, health_factor: float, total_debt: float, debt: float, collateral: float, bonus: float,
    weight: float, fee: float,
) -> Terms:  # fmt: skip
    """The terms of `liquidation`'s rule number `kind` of `rule_tables`, with its parameters `p`."""
    if kind == _AAVE_V3:
        return aave_v3(health_factor, total_debt, debt, collateral, bonus, weight, fee, p[0], p[1])
    if kind == _AAVE_V3_3:
        return aave_v3_3(health_factor, total_debt, debt, collateral, bonus, weight, fee, p[0], p[1], p[2], p[3])
    if kind == _AAVE_V2:
        return aave_v2(health_factor, total_debt, debt, collateral, bonus, weight, fee, p[0])
    if kind == _COMPOUND_V2:
        return compound_v2(health_factor, total_debt, debt, collateral, bonus, weight, fee, p[0], p[1], p[2])
    if kind == _MORPHO_BLUE:
        return morpho_blue(health_factor, total_debt, debt, collateral, bonus, weight, fee, p[0], p[1])
    if kind == _EULER_V2:
        return euler_v2(health_factor, total_debt, debt, collateral, bonus, weight, fee, p[0])
    if kind == _AAVE_V4:
        return aave_v4(health_factor, total_debt, debt, collateral, bonus, weight, fee, p[0], p[1], p[2], p[3])
    if kind == _FLUID:
        return fluid(health_factor, total_debt, debt, collateral, bonus, weight, fee, p[0])
    return full(health_factor, total_debt, debt, collateral, bonus, weight, fee)


pair_terms = compiled_leaf(_pair_terms, error_model="numpy")


def _apply_rules(kinds: Any, parameters: Any, venue: Any, columns: Any, out: Any) -> None:
    for row in range(len(venue)):
        factor, total_debt, debt, collateral = columns[0, row], columns[1, row], columns[2, row], columns[3, row]
        bonus, weight, fee = columns[4, row], columns[5, row], columns[6, row]
        repaid, bonus, kept = pair_terms(
            kinds[venue[row]], parameters[venue[row]], factor, total_debt, debt, collateral, bonus, weight, fee
        )
        out[0, row], out[1, row] = seize(repaid, debt, collateral, bonus)
        out[2, row] = kept


_apply = compiled(_apply_rules, error_model="numpy")


def apply_rules(rules: Sequence[Callable[..., Any]], venue: NDArray[np.int32], columns: Floats) -> Floats:
    """USD repaid, USD seized and the share kept (3 x accounts), by the rules of their venues.

    `columns`: the arguments of a rule, 7 x accounts.
    """
    kinds, parameters = rule_tables(rules)
    out = np.empty((3, len(venue)))
    _apply(kinds, parameters, np.ascontiguousarray(venue), np.ascontiguousarray(columns), out)
    return out
