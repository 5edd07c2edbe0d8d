"""Impact models against published figures, and what all of them promise."""

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.curves import Impact, exponential, linear, square_root
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.impact import (
    IMPACT_MODELS,
    average_price_factor,
    compile_impact,
    depth_parameters,
    price_factor,
)
from defi_leverage.contagion.pools import constant_product
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot
from tests.books import make_snapshot

# One market of every model, all of some thousand tokens.
MARKETS: list[tuple[str, dict[str, Any]]] = [
    ("linear", {"depth": 4000.0, "floor": 0.05}),
    ("square_root", {"volatility": 0.04, "daily_volume": 5000.0, "coefficient": 0.8}),
    ("exponential", {"depth": 3000.0}),
    ("constant_product", {"reserve": 2000.0}),
    ("uniswap_v3", {"price": 2000.0, "ranges": [[1600, 2300, 6e5], [2300, 2400, 1e5], [1100, 1500, 9e5]]}),
    ("stableswap", {"balances": [1500.0, 2500.0, 900.0], "amplification": 30, "sold": 2, "rates": [1.0, 1.0, 1.1]}),
    ("piecewise", {"sold": [500, -300, 1500], "factor": [0.97, 1.05, 0.8]}),
    ("piecewise", {"sold": [400.0, 900.0], "factor": [0.99, 0.93]}),
    ("piecewise", {"sold": [-400.0, -900.0], "factor": [1.02, 1.1]}),
]
markets = st.sampled_from(MARKETS).map(lambda market: compile_impact(*market))
sales = st.floats(-2500, 6000)


def test_exponential_of_cifuentes_ferrucci_shin() -> None:
    """alpha = 1.053605 makes selling 10 % of the asset a fall of 10 % (Cifuentes, Ferrucci & Shin 2005)."""
    assert exponential(0.1, 1 / 1.053605) == pytest.approx(0.9, abs=1e-6)


def test_purchases_beyond_any_market_are_unbounded() -> None:
    assert exponential(-1e6, 1.0) == float("inf")


def test_linear_of_greenwood_landier_thesmar() -> None:
    """Sales of 13.5 and 4.5 at impacts of 1e-3 and 2e-3 are falls of 1.35 and 0.9 % (after GLT 2015, example)."""
    assert linear(np.array([13.5]), 1 / 1e-3) - 1 == pytest.approx([-0.0135], abs=1e-15)
    assert linear(4.5, 1 / 2e-3) - 1 == pytest.approx(-0.009, abs=1e-15)
    assert linear(1e9, 500.0, floor=0.2) == 0.2


def test_square_root_law() -> None:
    """Y sigma sqrt(Q / V): a hundredth of the volume at 5 % a day is 0.5 %; four times as much is twice that."""
    assert np.log(square_root(10.0, 0.05, 1000.0)) == pytest.approx(-0.005)
    assert np.log(square_root(np.array([40.0, -40.0]), 0.05, 1000.0)) == pytest.approx([-0.01, 0.01])


def test_constant_product_spot_depth_and_execution() -> None:
    """X = 1000, Y = 3e6: selling 50 pays 142857.142857, with a fee of 0.3 % 142448.921274, and leaves spot -9.297052 %.

    The depth to a fall s is X (1 / sqrt(1 - s) - 1). Computed from the Uniswap v2 invariant.
    """
    assert constant_product(50, 1000) - 1 == pytest.approx(-0.09297052, abs=1e-8)
    assert constant_product(10.152545, 1000) == pytest.approx(0.98, abs=1e-8)
    assert constant_product(-1000, 1000) == float("inf")
    pool = compile_impact("constant_product", {"reserve": 1000.0})
    assert 50 * 3000 * average_price_factor(pool, 50.0) == pytest.approx(142857.142857, abs=1e-6)
    assert 50 * 3000 * average_price_factor(pool, 50.0, fee=0.003) == pytest.approx(142448.921274, abs=1e-6)


def test_a_fee_on_purchases_is_paid_on_top() -> None:
    """50 tokens out of a pool of 1000 cost 3e6 * 50 / 950, and 0.3 % of what is paid in does not count."""
    pool = compile_impact("constant_product", {"reserve": 1000.0})
    paid = 50 * 3000 * average_price_factor(pool, -50.0, fee=0.003)
    assert paid * (1 - 0.003) == pytest.approx(3e6 * 50 / 950)


# ----- what every model promises


@settings(max_examples=200, deadline=None)
@given(markets, sales, sales)
def test_more_sales_never_raise_the_price(impact: Impact, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 < price_factor(impact, high) <= price_factor(impact, low) * (1 + 1e-12)


@pytest.mark.parametrize(("model", "parameters"), MARKETS)
def test_nothing_sold_leaves_the_price_and_what_is_bought_back_restores_it(
    model: str, parameters: dict[str, Any]
) -> None:
    impact = compile_impact(model, parameters)
    assert price_factor(impact, 0.0) == 1.0
    assert average_price_factor(impact, 0.0) == 1.0
    assert isinstance(price_factor(impact, 1.0), float)
    assert isinstance(average_price_factor(impact, 1.0), float)
    assert price_factor(impact, np.array([0.7, 0.0, -0.7])).tolist()[1] == 1.0
    assert price_factor(impact, 1e-9) <= 1.0 <= price_factor(impact, -1e-9)
    assert price_factor(impact, 2000.0) < price_factor(impact, 100.0) < 1.0 < price_factor(impact, -500.0)


@settings(max_examples=100, deadline=None)
@given(markets, sales)
def test_the_average_price_is_the_mean_of_the_prices_on_the_way(impact: Impact, size: float) -> None:
    """Proceeds are the integral of the factor: here by the midpoint rule on 20,000 steps."""
    if size <= impact.covers[0]:
        return
    way = price_factor(impact, size * (np.arange(20_000) + 0.5) / 20_000)
    if way.max() < 50:  # near an empty pool the rule is too coarse
        assert average_price_factor(impact, size) == pytest.approx(way.mean(), rel=1e-4)


@pytest.mark.parametrize(("model", "parameters"), MARKETS)
def test_arrays_depth_multipliers_and_single_numbers_agree(model: str, parameters: dict[str, Any]) -> None:
    impact = compile_impact(model, parameters)
    size, depth = np.linspace(-280, 4000, 33), np.linspace(0.4, 3, 33)
    factor, average = price_factor(impact, size, depth), average_price_factor(impact, size, depth, fee=0.01)
    assert factor.shape == average.shape == (33,)
    for place in range(33):
        assert price_factor(impact, size[place], depth[place]) == factor[place]
        assert average_price_factor(impact, size[place], depth[place], fee=0.01) == average[place]
    assert price_factor(impact, size * 5, 5.0) == pytest.approx(price_factor(impact, size))


@pytest.mark.parametrize(
    ("model", "parameters", "deeper"),
    [
        ("linear", {"depth": 4000.0, "floor": 0.05}, {"depth": 12000.0}),
        ("square_root", {"volatility": 0.04, "daily_volume": 5000.0}, {"daily_volume": 15000.0}),
        ("exponential", {"depth": 3000.0}, {"depth": 9000.0}),
        ("constant_product", {"reserve": 2000.0}, {"reserve": 6000.0}),
        ("uniswap_v3", {"price": 2.0, "ranges": [[1, 3, 600.0]]}, {"ranges": [[1, 3, 1800.0]]}),
        ("stableswap", {"balances": [1500.0, 900.0], "amplification": 30}, {"balances": [4500.0, 2700.0]}),
        ("piecewise", {"sold": [500, -300], "factor": [0.97, 1.05]}, {"sold": [1500, -900]}),
    ],
)
def test_a_depth_multiplier_is_as_much_more_liquidity(
    model: str, parameters: dict[str, Any], deeper: dict[str, Any]
) -> None:
    size = np.linspace(-150, 5000, 40)
    tripled = price_factor(compile_impact(model, parameters), size, 3.0)
    assert tripled == pytest.approx(price_factor(compile_impact(model, parameters | deeper), size), rel=1e-12)


@pytest.mark.parametrize(("model", "parameters"), MARKETS)
def test_an_impact_travels_to_another_process(model: str, parameters: dict[str, Any]) -> None:
    impact = compile_impact(model, parameters)
    again = pickle.loads(pickle.dumps(impact))
    assert price_factor(again, 700.0) == price_factor(impact, 700.0)


@pytest.mark.parametrize(("model", "parameters"), MARKETS)
def test_a_swamped_market_has_a_price_until_a_float_cannot_hold_it(model: str, parameters: dict[str, Any]) -> None:
    impact = compile_impact(model, parameters)
    assert 0 < price_factor(impact, 1e5) < 0.9
    assert 0 <= price_factor(impact, 1e200) <= price_factor(impact, 1e5)


@pytest.mark.parametrize(("model", "parameters"), MARKETS)
def test_a_snapshot_carries_every_model_into_the_engine(model: str, parameters: dict[str, Any]) -> None:
    """100 ETH against 150,000 USD at 2000, threshold 0.8: a fall of 7 % liquidates all, seizing 157,500 USD."""
    book = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [({"ETH": 100.0}, {"USD": 150e3})], depth={"ETH": 1.0})
    depth = book.depth.assign(model=model, parameters=json.dumps(parameters))
    snapshot = Snapshot.from_tables(book.tables | {"depth": depth})
    (market,) = compile_book(snapshot).markets
    size = np.array([-200.0, 0.0, 84.7])
    assert market.factor(size, 0.5).tolist() == price_factor(compile_impact(model, parameters), size, 0.5).tolist()
    assert market.impact.covers == compile_impact(model, parameters).covers
    result = run_contagion(snapshot, Scenario(shocks={"ETH": -0.07}))
    expected = 1860 * price_factor(compile_impact(model, parameters), 157_500 / 1860)
    assert result.price_path[-1][0] == pytest.approx(expected, rel=1e-12)


# ----- piecewise


def test_piecewise_between_points_is_linear_in_the_logarithm() -> None:
    impact = compile_impact("piecewise", {"sold": [100, 300], "factor": [0.9, 0.6]})
    assert price_factor(impact, np.array([50, 100, 200, 300])) == pytest.approx(
        [0.9**0.5, 0.9, (0.9 * 0.6) ** 0.5, 0.6]
    )


def test_piecewise_beyond_the_last_point_is_never_flat() -> None:
    """The last stretch is flat, so the steepest average that ends there holds: from 100 to 300, ln(0.6 / 0.9) / 200."""
    impact = compile_impact("piecewise", {"sold": [100, 200, 300], "factor": [0.9, 0.6, 0.6]})
    assert price_factor(impact, 400.0) == pytest.approx(0.6 * (0.6 / 0.9) ** 0.5)
    assert impact.covers == (0.0, 300.0)


def test_piecewise_mirrors_the_side_that_has_no_points() -> None:
    sales_only = compile_impact("piecewise", {"sold": [100, 300], "factor": [0.9, 0.6]})
    assert price_factor(sales_only, np.array([-100, -300])) == pytest.approx([1 / 0.9, 1 / 0.6])
    purchases_only = compile_impact("piecewise", {"sold": [-100, -300], "factor": [1 / 0.9, 1 / 0.6]})
    size = np.linspace(-500, 500, 41)
    assert price_factor(purchases_only, size) == pytest.approx(price_factor(sales_only, size))
    assert purchases_only.covers == (-300.0, 0.0)


# ----- depth to 2 %, and what is refused


@pytest.mark.parametrize("model", [name for name in IMPACT_MODELS if name not in ("uniswap_v3", "stableswap")])
def test_depth_to_two_percent(model: str) -> None:
    """Selling exactly the stated depth lowers the price by exactly 2 %."""
    impact = compile_impact(model, depth_parameters(model, depth_2pct_usd=5e6, price_usd=2500.0))
    assert price_factor(impact, 5e6 / 2500) == pytest.approx(0.98, rel=1e-12)


def test_bad_depth_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"unknown model 'linearish'.* use one of linear"):
        depth_parameters("linearish", 1.0, 1.0)
    with pytest.raises(ScenarioError, match=r"depth_2pct_usd 0\.0 must be positive"):
        depth_parameters("exponential", 0.0, 1.0)
    for model in ("uniswap_v3", "stableswap"):
        with pytest.raises(ScenarioError, match=f"{model} does not follow from depth_2pct_usd; give its parameters"):
            depth_parameters(model, 1e6, 1.0)


@pytest.mark.parametrize(
    ("model", "parameters", "problem"),
    [
        ("magic", {}, "unknown model 'magic'"),
        ("exponential", {"reserve": 5}, r"takes the parameter 'depth', not \['reserve'\]"),
        ("exponential", [5], r"takes the parameter 'depth', not \[5\]"),
        ("square_root", {}, "takes the parameters 'volatility', 'daily_volume' and, if wanted, 'coefficient', not"),
        ("linear", {"depth": 1.0, "floor": 1.0}, r"floor 1\.0 must be below 1"),
        ("constant_product", {"reserve": 0}, "reserve 0 must be positive"),
        ("constant_product", {"reserve": float("nan")}, "reserve nan must be positive"),
        ("constant_product", {"reserve": True}, "reserve True must be positive"),
        ("exponential", {"depth": -3.0}, r"depth -3\.0 must be positive"),
        ("exponential", {"depth": float("inf")}, "depth inf must be positive and finite"),
        ("exponential", {"depth": 10**400}, "depth 10+ must be positive and finite"),
        ("exponential", {"depth": "much"}, "depth 'much' must be positive"),
        ("square_root", {"volatility": 0.0, "daily_volume": 1.0}, r"volatility 0\.0 must be positive"),
        ("uniswap_v3", {"price": 0, "ranges": [[1, 2, 3]]}, "price 0 must be positive"),
        ("uniswap_v3", {"price": 1.5, "ranges": []}, "ranges .* must be a list of"),
        ("uniswap_v3", {"price": 1.5, "ranges": [[1, 2]]}, r"ranges\[0\] \[1, 2\] must be a list of at least 3"),
        ("uniswap_v3", {"price": 1.5, "ranges": [[1, 2, 3], [2, 1, 3]]}, r"ranges\[1\] .* \[lowest price, highest"),
        ("uniswap_v3", {"price": 1.5, "ranges": [[1, 2, 0]]}, r"ranges\[0\]\[2\] 0 must be positive"),
        ("uniswap_v3", {"price": 3.0, "ranges": [[1, 2, 3]]}, "liquidity on both sides of the price 3"),
        ("uniswap_v3", {"price": 2.0, "ranges": [[1, 2, 3]]}, "liquidity on both sides of the price 2"),
        ("uniswap_v3", {"price": 2.0, "ranges": [[1, 1.5, 3], [2, 3, 3]]}, "liquidity on both sides of the price 2"),
        ("stableswap", {"balances": [1.0], "amplification": 10}, "balances .* at least 2"),
        ("stableswap", {"balances": [1.0, -1], "amplification": 10}, r"balances\[1\] -1 must be positive"),
        ("stableswap", {"balances": [1, 2], "amplification": 0}, "amplification 0 must be positive"),
        (
            "stableswap",
            {"balances": [1, 2], "amplification": 9, "sold": 2},
            "sold 2 must be the number of a coin, 0 to 1",
        ),
        ("stableswap", {"balances": [1, 2], "amplification": 9, "bought": 0}, "both coin 0"),
        ("stableswap", {"balances": [1, 2], "amplification": 9, "rates": [1, 2, 3]}, "rates has 3 numbers"),
        ("piecewise", {"sold": [], "factor": []}, "factor .* at least 1"),
        ("piecewise", {"sold": [1], "factor": [0.9, 0.8]}, "as many numbers as factor: 2"),
        ("piecewise", {"sold": [1, 1], "factor": [0.9, 0.8]}, "sold has 1 with factors"),
        ("piecewise", {"sold": [0, 1], "factor": [0.9, 0.8]}, "it is 1 at 0"),
        ("piecewise", {"sold": [1, 2], "factor": [0.8, 0.9]}, "factor 0.9 at sold 2 is above 0.8 at 1"),
        ("piecewise", {"sold": [-1], "factor": [0.9]}, "factor 1 at sold 0 is above 0.9 at -1"),
        ("piecewise", {"sold": [1, float("nan")], "factor": [0.9, 0.8]}, r"the size of sold\[1\] nan must be positive"),
        ("piecewise", {"sold": [1, "x"], "factor": [0.9, 0.8]}, r"the size of sold\[1\] 'x' must be positive"),
        ("piecewise", {"sold": [1, 2], "factor": [0.9, 0.0]}, r"factor\[1\] 0\.0 must be positive"),
        ("piecewise", {"sold": [1, 2], "factor": [1, 1]}, "factor stays at 1"),
        ("piecewise", {"sold": [-1, 2], "factor": [1.1, 1]}, "factor stays at 1"),
        ("piecewise", {"sold": [0], "factor": [1]}, "factor stays at 1"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_by_name(model: str, parameters: Any, problem: str) -> None:
    with pytest.raises(ScenarioError, match=problem):
        compile_impact(model, parameters)
