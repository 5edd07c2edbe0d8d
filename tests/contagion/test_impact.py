"""Impact models against published figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defi_leverage.contagion.impact import IMPACT_MODELS, constant_product, depth_parameters, exponential
from defi_leverage.errors import ScenarioError


def test_exponential_of_cifuentes_ferrucci_shin() -> None:
    """alpha = 1.053605 makes selling 10 % of the asset a fall of 10 % (Cifuentes, Ferrucci & Shin 2005)."""
    assert exponential(0.1, 1 / 1.053605) == pytest.approx(0.9, abs=1e-6)


def test_constant_product_spot() -> None:
    """Selling 50 into a pool of 1000 lowers the spot price by 9.297052 %; a 2 % fall takes 10.152545."""
    assert constant_product(50, 1000) - 1 == pytest.approx(-0.09297052, abs=1e-8)
    assert constant_product(10.152545, 1000) == pytest.approx(0.98, abs=1e-8)
    assert constant_product(-1000, 1000) == float("inf")


def test_purchases_beyond_any_market_are_unbounded() -> None:
    assert exponential(-1e6, 1.0) == float("inf")


@pytest.mark.parametrize("model", list(IMPACT_MODELS))
def test_depth_to_two_percent(model: str) -> None:
    """Selling exactly the stated depth lowers the price by exactly 2 %."""
    parameters = depth_parameters(model, depth_2pct_usd=5e6, price_usd=2500.0)
    assert IMPACT_MODELS[model].function(5e6 / 2500, *parameters.values()) == pytest.approx(0.98, rel=1e-12)


def test_bad_depth_is_refused() -> None:
    with pytest.raises(ScenarioError, match="unknown impact model 'linearish'"):
        depth_parameters("linearish", 1.0, 1.0)
    with pytest.raises(ScenarioError, match="must be positive"):
        depth_parameters("exponential", 0.0, 1.0)


@given(st.sampled_from(list(IMPACT_MODELS)), st.floats(1, 1e9), st.floats(0, 1), st.floats(0, 1))
def test_more_sales_never_raise_the_price(model: str, scale: float, one: float, other: float) -> None:
    function = IMPACT_MODELS[model].function
    low, high = sorted((one * scale, other * scale))
    assert 0 < function(high, scale) <= function(low, scale) <= 1 <= function(-low / 2, scale)
