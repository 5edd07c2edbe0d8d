"""Price impact: what cumulative net sales do to a market price. Models are chosen by name, their parameters by name.

Impact is path-independent: a function of the cumulative net sales X of an asset alone (`curves` has the conventions).
Every model answers to depth alike: with d times the liquidity, d times X moves the price as far.
"""

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from math import log
from typing import Any

import numpy as np

from defi_leverage.contagion.curves import (
    Array,
    Impact,
    Numbers,
    exponential_impact,
    linear_impact,
    piecewise_impact,
    positive,
    square_root_impact,
)
from defi_leverage.contagion.pools import constant_product_impact, stableswap_impact, uniswap_v3_impact
from defi_leverage.errors import ScenarioError

__all__ = ["IMPACT_MODELS", "average_price_factor", "compile_impact", "depth_parameters", "price_factor"]

IMPACT_MODELS: Mapping[str, Callable[..., Impact]] = {
    "linear": linear_impact,
    "square_root": square_root_impact,
    "exponential": exponential_impact,
    "constant_product": constant_product_impact,
    "uniswap_v3": uniswap_v3_impact,
    "stableswap": stableswap_impact,
    "piecewise": piecewise_impact,
}

# What one token of depth to a fall of 2 % means to those models whose shape it settles.
_PARAMETERS_PER_2PCT: Mapping[str, Callable[[float], dict[str, Any]]] = {
    "linear": lambda tokens: {"depth": tokens / 0.02},
    "square_root": lambda tokens: {"volatility": -log(0.98), "daily_volume": tokens},
    "exponential": lambda tokens: {"depth": tokens / -log(0.98)},
    "constant_product": lambda tokens: {"reserve": tokens / (0.98**-0.5 - 1)},
    "piecewise": lambda tokens: {"sold": [tokens], "factor": [0.98]},
}


def compile_impact(model: str, parameters: Mapping[str, Any]) -> Impact:
    """The impact that `model` (a key of IMPACT_MODELS) makes of its parameters.

    Raises ScenarioError for an unknown model, for parameters that are missing or unknown to it, and for values that
    make no sense, each by name.
    """
    if model not in IMPACT_MODELS:
        raise _unknown(model)
    build = IMPACT_MODELS[model]
    takes = signature(build).parameters
    needed = [name for name, parameter in takes.items() if parameter.default is Parameter.empty]
    if not isinstance(parameters, Mapping) or not set(needed) <= set(parameters) <= set(takes):
        optional = [name for name in takes if name not in needed]
        wanted = f"the parameter{'s' * (len(needed) > 1)} {', '.join(map(repr, needed))}"
        wanted += f" and, if wanted, {', '.join(map(repr, optional))}" if optional else ""
        given = sorted(parameters) if isinstance(parameters, Mapping) else parameters
        raise ScenarioError(f"{model} takes {wanted}, not {given}")
    return build(**parameters)


def price_factor(impact: Impact, net_sales: Numbers, depth_multiplier: Numbers = 1.0) -> Array:
    """The price after `net_sales` tokens over the price before, shaped as the two arguments broadcast.

    inf where purchases take more than the market holds; 0 only where sales take it below what a float can hold.
    `depth_multiplier` scales the market's liquidity.
    """
    factor: Array = impact.factor(np.asarray(net_sales, float) / depth_multiplier)[()]  # a number for a number
    return factor


def average_price_factor(
    impact: Impact, net_sales: Numbers, depth_multiplier: Numbers = 1.0, fee: float = 0.0
) -> Array:
    """The average price at which `net_sales` tokens are sold at once (negative: bought) over the price before.

    Slippage is 1 minus it for a sale, it minus 1 for a purchase. `fee` is the fraction that the market takes out of
    what is paid in, as Uniswap does (Curve takes it out of what is paid out: multiply by 1 - fee instead).
    """
    sales = np.asarray(net_sales, float) / depth_multiplier
    into = np.where(sales < 0, 1.0, 1 - fee) * sales
    # A trade too small for its proceeds to be told from rounding is done at the price before.
    tells = np.abs(into) > 1e-200
    paid = np.divide(impact.proceeds(into), into, out=np.ones(np.shape(into)), where=tells)
    average: Array = np.where(sales < 0, paid / (1 - fee), paid * (1 - fee))[()]
    return average


def depth_parameters(model: str, depth_2pct_usd: float, price_usd: float) -> dict[str, Any]:
    """The parameters with which selling `depth_2pct_usd` worth of tokens at `price_usd` lowers the price by 2 %.

    Raises ScenarioError for an unknown model, one whose shape a single figure does not settle (a pool of ranges or
    balances), or a depth that is not positive.
    """
    if model not in IMPACT_MODELS:
        raise _unknown(model)
    if model not in _PARAMETERS_PER_2PCT:
        takes = ", ".join(signature(IMPACT_MODELS[model]).parameters)
        raise ScenarioError(f"{model} does not follow from depth_2pct_usd; give its parameters ({takes})", model=model)
    return _PARAMETERS_PER_2PCT[model](positive("depth_2pct_usd", depth_2pct_usd) / price_usd)


def _unknown(model: str) -> ScenarioError:
    return ScenarioError(f"unknown model {model!r} of price impact; use one of {', '.join(IMPACT_MODELS)}", model=model)
