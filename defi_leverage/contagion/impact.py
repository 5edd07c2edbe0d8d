"""Price impact: what cumulative net sales do to a market price. Plain functions, chosen by name.

Each takes the cumulative net sales of an asset in whole tokens (negative: net purchases) and the model's parameter in
whole tokens, and returns the factor on the market price. Impact is path-independent: it depends on the cumulative
amount alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from defi_leverage.errors import ScenarioError

__all__ = ["IMPACT_MODELS", "ImpactModel", "constant_product", "depth_parameters", "exponential"]


def exponential(net_sales: float, depth: float) -> float:
    """exp(-X / depth): selling `depth` tokens lowers the price by a factor e.

    Source: Cifuentes, Ferrucci & Shin (2005), inverse demand p = exp(-alpha * sold), with alpha = 1 / depth.
    """
    with np.errstate(over="ignore"):  # purchases far beyond any market: inf
        return float(np.exp(-net_sales / depth))


def constant_product(net_sales: float, reserve: float) -> float:
    """(R / (R + X))^2: spot price of an x*y=k pool that holds R tokens after X more are sold into it, without fee.

    Source: Uniswap v2 core whitepaper (2020). inf once purchases take all the pool holds (X <= -R).
    """
    return float((reserve / (reserve + net_sales)) ** 2) if net_sales > -reserve else float("inf")


@dataclass(frozen=True, slots=True)
class ImpactModel:
    """A model's function, the name of its parameter, and that parameter for one token of depth to a 2 % fall."""

    function: Callable[[float, float], float]
    parameter: str
    per_2pct_token: float


IMPACT_MODELS: Mapping[str, ImpactModel] = {
    "exponential": ImpactModel(exponential, "depth", 1 / -np.log(0.98)),
    "constant_product": ImpactModel(constant_product, "reserve", 1 / (1 / np.sqrt(0.98) - 1)),
}


def depth_parameters(model: str, depth_2pct_usd: float, price_usd: float) -> dict[str, float]:
    """The parameters with which selling `depth_2pct_usd` worth of tokens at `price_usd` lowers the price by 2 %.

    Raises ScenarioError for an unknown model or a depth that is not positive.
    """
    if model not in IMPACT_MODELS:
        raise ScenarioError(f"unknown impact model {model!r}; use one of {', '.join(IMPACT_MODELS)}", model=model)
    if not (0 < depth_2pct_usd < float("inf")):
        raise ScenarioError(f"depth_2pct_usd {depth_2pct_usd} must be positive and finite; give the USD that move 2 %")
    chosen = IMPACT_MODELS[model]
    return {chosen.parameter: float(depth_2pct_usd / price_usd * chosen.per_2pct_token)}
