"""Depth from quotes: what is recovered from known markets, and quotes that were held out of real ones."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from defi_leverage.contagion.impact import average_price_factor, compile_impact, price_factor
from defi_leverage.contagion.quotes import impact_from_quotes
from defi_leverage.errors import ScenarioError

DATA = Path(
    os.environ.get("DEFI_LEVERAGE_VALIDATION_DATA", str(Path(__file__).resolve().parents[3] / "shared" / "data"))
)


def test_two_quotes_by_hand() -> None:
    """100 at 0.99 and 200 at 0.95 on average: the second hundred fetch 190 - 99 = 91, 0.91 each.

    The edge between is (0.99 + 0.91) / 2 = 0.95, the one at 0 is 2 * 0.99 - 0.95 = 1.03, the last 0.91^2 / 0.95.
    """
    parameters = impact_from_quotes([200, 100], [0.95, 0.99])
    end = 0.91**2 / 0.95
    assert parameters["sold"] == pytest.approx([50, 100, 150, 200])
    assert parameters["factor"] == pytest.approx(np.array([0.99, 0.95, 2 * 0.91 - (0.95 + end) / 2, end]) / 1.03)


def test_either_side_is_relative_to_where_it_meets_0() -> None:
    """100 bought at 1.01 and 200 at 1.05: the second hundred cost 210 - 101 = 109. A spread is no impact."""
    quotes = [-100, -200, 100, 200], [1.01, 1.05, 0.99, 0.95]
    parameters = impact_from_quotes(*quotes)
    assert parameters["sold"] == pytest.approx([-200, -150, -100, -50, 50, 100, 150, 200])
    start = 1.01**2 / 1.05
    bought = np.array([2 * 1.09 - 1.05, 1.09, 1.05, 2 * 1.01 - (1.05 + start) / 2]) / start
    assert parameters["factor"][:4] == pytest.approx(bought)
    assert parameters["factor"][4:] == impact_from_quotes(quotes[0][2:], quotes[1][2:])["factor"]


def test_the_curve_pays_what_was_quoted() -> None:
    """Quotes without noise are met, whatever their shape, up to the logarithm between two points."""
    sizes, prices = np.array([100, 180, 300, 500, 800]), np.array([0.995, 0.99, 0.98, 0.96, 0.90])
    impact = compile_impact("piecewise", impact_from_quotes(sizes, prices))
    paid = average_price_factor(impact, sizes)
    assert paid / paid[0] == pytest.approx(prices / prices[0], rel=1e-3)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [("constant_product", {"reserve": 1e4}), ("stableswap", {"balances": [9e3, 1e4], "amplification": 80})],
)
def test_a_known_market_is_recovered_from_its_quotes(model: str, parameters: dict[str, object]) -> None:
    market = compile_impact(model, parameters)
    sizes = np.append(-np.geomspace(10, 5000, 30), np.geomspace(10, 10000, 30))
    fitted = compile_impact("piecewise", impact_from_quotes(sizes, 2000 * average_price_factor(market, sizes)))
    between = np.append(-np.geomspace(12, 4000, 17), np.geomspace(12, 8000, 17))
    assert average_price_factor(fitted, between) == pytest.approx(average_price_factor(market, between), rel=0.004)
    assert price_factor(fitted, between) == pytest.approx(price_factor(market, between), rel=0.08)


def test_noise_evens_out() -> None:
    market = compile_impact("exponential", {"depth": 1e4})
    random = np.random.default_rng(7)
    sizes = np.geomspace(1, 5000, 300)
    quotes = average_price_factor(market, sizes) * (1 + 0.001 * random.standard_normal(300))
    fitted = compile_impact("piecewise", impact_from_quotes(sizes, quotes))
    assert average_price_factor(fitted, sizes) == pytest.approx(average_price_factor(market, sizes), rel=0.003)


def test_a_market_that_pays_for_no_more_keeps_a_positive_factor() -> None:
    parameters = impact_from_quotes([100, 200, 400], [1.0, 0.5, 0.25])
    assert parameters["factor"][-1] == 1e-6
    assert price_factor(compile_impact("piecewise", parameters), 1000.0) > 0


@pytest.mark.parametrize(
    ("sizes", "prices", "problem"),
    [
        ([], [], "two lists of equal length"),
        ([1, 2], [1], "two lists of equal length"),
        ([1, 0], [1, 1], "quote 1: size 0.0"),
        ([1, float("nan")], [1, 1], "quote 1: size nan"),
        ([1, 2], [1, -1], r"quote 1: size 2\.0, price -1"),
        ([100], [0.99], "no fall of the price with size"),
        ([100, 200], [0.99, 0.99], "no fall of the price with size"),
        ([100, 200], [0.98, 0.99], "no fall of the price with size"),
        ([100, 200, -1], [0.99, 0.9, 1], "no fall of the price with size"),
    ],
)
def test_quotes_that_make_no_sense_are_refused(sizes: list[float], prices: list[float], problem: str) -> None:
    with pytest.raises(ScenarioError, match=problem):
        impact_from_quotes(sizes, prices)


# ----- recorded quotes

ASSETS = {
    "WETH": "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2",
    "USDC": "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
    "USDT": "0xdac17f958d2ee523a2206206994597c13d831ec7",
    "wstETH": "0x7f39c581f595b53c5cb19bd0b3f8da6c935e2ca0",
    "WBTC": "0x2260fac5e5542a773aa44fbcfedf7c193bc2c599",
}
DECIMALS = {"WETH": 18, "USDC": 6, "USDT": 6, "wstETH": 18, "WBTC": 8}


def recorded(*path: str) -> Path:
    file = DATA.joinpath(*path)
    if not file.exists():
        pytest.skip(f"{file} is missing; set DEFI_LEVERAGE_VALIDATION_DATA to the folder that has it")
    return file


@pytest.mark.validation
@pytest.mark.parametrize(
    ("sold", "bought", "median", "worst"),
    [
        ("WETH", "USDC", 0.001, 0.005),
        ("WETH", "USDT", 0.001, 0.01),
        ("wstETH", "WETH", 0.0001, 0.01),
        ("wstETH", "USDC", 0.001, 0.005),
        ("WBTC", "USDC", 0.0012, 0.01),
        ("WBTC", "WETH", 0.001, 0.01),
        ("USDC", "USDT", 0.0002, 0.04),
        ("USDC", "WETH", 0.001, 0.005),
    ],
)
def test_quotes_of_other_hours_are_predicted(sold: str, bought: str, median: float, worst: float) -> None:
    """1inch quotes of 20 Nov 2023, 17 or 18 batches of 20 an hour apart (github.com/xenophonlabs/crvUSDrisk @ 7d17fa7).

    Fitted to every other batch, the piecewise impact predicts the average prices of the batches between. Prices are
    relative to the best of their batch (the recorded price_impact): what the market did from hour to hour is no impact.
    """
    quotes = pd.read_csv(recorded("crvusd", "quotes.csv"))
    pair = quotes[(quotes["src"] == ASSETS[sold]) & (quotes["dst"] == ASSETS[bought])]
    size = pair["in_amount"].to_numpy(float) / 10 ** DECIMALS[sold]
    price = 1 - pair["price_impact"].to_numpy(float)
    batch = ((pair["timestamp"] - pair["timestamp"].min()) / 3600).round().astype(int).to_numpy()
    held_out = batch % 2 == 1
    impact = compile_impact("piecewise", impact_from_quotes(size[~held_out], price[~held_out]))
    error = np.abs(average_price_factor(impact, size[held_out]) - price[held_out])
    assert held_out.sum() >= 160
    assert (1 - price).max() > 0.05  # the quotes do move the price
    assert np.median(error) < median
    assert error.max() < worst


@pytest.mark.validation
@pytest.mark.parametrize(
    ("name", "largest_impact", "worst"), [("pt_susde_aug13", 0.00443, 2e-4), ("pt_reusd_dec10", 0.01878, 5e-4)]
)
def test_every_other_point_of_a_sell_curve_is_predicted(name: str, largest_impact: float, worst: float) -> None:
    """Pendle sell quotes of two principal tokens, July 2026 (github.com/paandrighetti/llamalend_pt_coverage @ b875341).

    Fitted to the even points of the curve, the odd ones between them are predicted.
    """
    curve = pd.read_csv(recorded("pt_depth", f"{name}_depth.csv"))
    size, price = (curve["size_usd"] / curve["spot_price_arg"]).to_numpy(float), 1 - curve["impact"].to_numpy(float)
    impact = compile_impact("piecewise", impact_from_quotes(size[::2], price[::2]))
    error = np.abs(average_price_factor(impact, size[1::2]) - price[1::2])
    assert 1 - price.min() == pytest.approx(largest_impact, abs=1e-5)
    assert error.max() < worst
