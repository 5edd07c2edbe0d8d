"""Market moves as shocks: what the engine then makes of them is the move that was asked for."""

import os
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot
from defi_leverage.stress.market_shocks import historical_scenario, market_shocks
from defi_leverage.stress.price_history import align_prices, worst_windows
from defi_leverage.stress.scenario_sets import scenarios_of
from tests.books import make_snapshot, wide_book

START = 1_600_002_000  # a full hour
DATA = Path(
    os.environ.get("DEFI_LEVERAGE_VALIDATION_DATA", str(Path(__file__).resolve().parents[3] / "shared" / "data"))
)


def steth_book() -> Snapshot:
    """USDC is supplied too, much of it, but counts as collateral for nobody."""
    positions = [({"stETH": 10.0, "USDC": 1e7}, {"WETH": 5.0}), ({"WETH": 1.0}, {"USDC": 500.0})]
    prices = {"WETH": 2000.0, "stETH": 1980.0, "USDC": 1.0}
    return make_snapshot(prices, positions, backing={"stETH": ("WETH", 1.0)}, weights={"USDC": 0.0})


def test_a_derived_asset_is_shocked_by_the_change_of_its_basis() -> None:
    """ETH -20 %, stETH -26 %: against its backing stETH loses 1 - 0.74 / 0.8 = 7.5 %."""
    returns = pd.DataFrame({"WETH": [-0.2], "stETH": [-0.26], "usdc": [0.0]})
    shocks = market_shocks(steth_book(), returns)
    assert shocks.iloc[0].to_dict() == pytest.approx({"WETH": -0.2, "stETH": -0.075})
    prices = run_contagion(steth_book(), scenarios_of(shocks)[0]).prices.loc[1]
    assert prices.to_dict() == pytest.approx({"WETH": 1600.0, "stETH": 1980 * 0.74, "USDC": 1.0})


def test_a_derived_asset_without_returns_follows_and_an_unmoved_one_stands_still() -> None:
    returns = pd.DataFrame({"WETH": [-0.2, 0.1]})
    follows = market_shocks(steth_book(), returns, unmoved=["USDC"])
    assert list(follows.columns) == ["WETH"]
    stands = market_shocks(steth_book(), returns, unmoved=["USDC", "stETH"])
    np.testing.assert_allclose(stands["stETH"], [1 / 0.8 - 1, 1 / 1.1 - 1])


def test_a_proxy_lends_its_returns() -> None:
    returns = pd.DataFrame({"ETH-USD": [-0.2]})
    shocks = market_shocks(steth_book(), returns, proxies={"WETH": "ETH-USD"}, unmoved=["USDC"])
    assert shocks.iloc[0].to_dict() == pytest.approx({"WETH": -0.2})
    both = market_shocks(steth_book(), returns, proxies={"weth": "ETH-USD", "stETH": "ETH-USD"}, unmoved=["USDC"])
    assert both.iloc[0].to_dict() == pytest.approx({"WETH": -0.2})  # it moves as its backing: no change of basis


@pytest.mark.parametrize("seed", range(12))
def test_the_engine_s_market_prices_are_the_returns(seed: int) -> None:
    """Chains of backing and pools of two assets: before any sale, each price has moved by what was asked for."""
    random = Random(seed)
    snapshot = wide_book(random)
    named = ["ETH", "BTC", "USD", "ALT", *random.sample(["LST", "WLST", "LP", "aUSD"], 2)]
    returns = pd.DataFrame({name: [random.uniform(-0.6, 0.5) for _ in range(3)] for name in named})
    for row, scenario in enumerate(scenarios_of(market_shocks(snapshot, returns))):
        path = run_contagion(snapshot, scenario).prices
        moved = path.loc[1] / path.loc[0] - 1
        np.testing.assert_allclose(moved[named], returns.iloc[row][named], rtol=1e-9, atol=1e-12)
        if "aWLST" not in named:
            assert moved["aWLST"] == pytest.approx(moved["WLST"])


@pytest.mark.parametrize(
    ("returns", "arguments", "problem"),
    [
        ({"WETH": [-0.1]}, {}, "no returns of USDC: bring their prices"),
        ({"stETH": [-0.1], "USDC": [0.0]}, {}, "no returns of WETH"),
        ({"WETH": [-0.1], "USDC": [0.0], "LINK": [0.1]}, {}, "returns of LINK: no asset 'LINK'"),
        ({"WETH": [-0.1], "USDC": [0.0]}, {"unmoved": ["WETH"]}, "WETH have returns and are named in unmoved"),
        ({"WETH": [-0.1], "USDC": [0.0]}, {"proxies": {"stETH": "ETH"}}, "proxies: no returns of ETH"),
        ({"WETH": [np.nan], "USDC": [0.0]}, {}, "returns of WETH are missing"),
        ({"WETH": [-0.1], "USDC": [-1.0]}, {}, "returns of USDC are missing, or leave no price"),
    ],
)
def test_nothing_is_left_out_silently(
    returns: dict[str, list[float]], arguments: dict[str, object], problem: str
) -> None:
    with pytest.raises(ScenarioError, match=problem):
        market_shocks(steth_book(), pd.DataFrame(returns), **arguments)  # type: ignore[arg-type]


def test_a_symbol_of_two_assets_needs_proxies() -> None:
    tables = steth_book().tables
    tables["assets"] = tables["assets"].assign(symbol=["ETH", "ETH", "USDC"])
    tables["backing"] = tables["backing"].iloc[:0]
    snapshot = Snapshot.from_tables(tables)
    returns = pd.DataFrame({"ETH": [-0.1], "USDC": [0.0]})
    with pytest.raises(ScenarioError, match="ambiguous"):
        market_shocks(snapshot, returns)
    shocks = market_shocks(snapshot, returns, proxies={"WETH": "ETH", "stETH": "ETH"})
    assert shocks.iloc[0].to_dict() == pytest.approx({"WETH": -0.1, "stETH": -0.1})


def test_the_trough_is_the_hour_at_which_the_collateral_is_worth_least() -> None:
    """10 stETH and 1 WETH: stETH decides, though ETH is lowest an hour before; USDC is no collateral."""
    series: dict[str, list[float]] = {
        "WETH": [2000, 1000, 1500, 2000],
        "stETH": [1980, 1500, 1200, 1980],
        "USDC": [1.0, 0.98, 0.99, 1.01],
    }
    rows = [
        {"timestamp": START + 3600 * hour, "symbol": symbol, "price": price}
        for symbol, prices in series.items()
        for hour, price in enumerate(prices)
    ]
    prices = align_prices(pd.DataFrame(rows))
    window = (str(prices.index[0]), str(prices.index[-1]))
    base = Scenario(depth_multiplier=0.5)
    trough = historical_scenario(steth_book(), prices, window, base=base)
    assert trough.shocks == pytest.approx({"WETH": -0.25, "stETH": (1200 / 1980) / 0.75 - 1, "USDC": -0.01})
    assert trough.name.endswith("by 2020-09-13 15:00 UTC")
    assert trough.depth_multiplier == 0.5
    worst = worst_windows(prices, "2h", {"stETH": 1.0}).iloc[0]
    found = historical_scenario(steth_book(), prices, (worst["start"], worst["end"]), at="end")
    assert found.shocks == pytest.approx(trough.shocks)
    end = historical_scenario(steth_book(), prices, window, at="end")
    assert end.shocks == pytest.approx({"USDC": 0.01})
    held = historical_scenario(steth_book(), prices, window, assets=["WETH"], unmoved=["USDC"])
    assert held.shocks == pytest.approx({"WETH": -0.5})
    with pytest.raises(ScenarioError, match="use 'trough' or 'end'"):
        historical_scenario(steth_book(), prices, window, at="peak")
    with pytest.raises(ScenarioError, match="no returns of USDC"):
        historical_scenario(steth_book(), prices, window, assets=["WETH"])


@pytest.mark.validation
def test_june_2022_on_a_book_of_steth() -> None:
    """9 June, 0:00 to the low before 11:00 of 15 June (aave-data @ bb4b9c9): ETH -42.7 %, the peg .977 to .944."""
    folder = DATA / "prices"
    if not folder.exists():
        pytest.skip(f"{folder} is missing; set DEFI_LEVERAGE_VALIDATION_DATA to the folder that has it")
    table = pd.concat([pd.read_csv(folder / f"{name}_usd.csv") for name in ("WETH", "stETH", "USDC")])
    scenario = historical_scenario(steth_book(), align_prices(table), "stETH June 2022")
    assert scenario.name == "stETH June 2022, by 2022-06-15 11:00 UTC"
    ether, staked = 1031.271971471302 / 1801.1185563567649, 974.016328313528 / 1759.9376001609785
    assert scenario.shocks["WETH"] == pytest.approx(ether - 1, rel=1e-9)
    assert scenario.shocks["stETH"] == pytest.approx(staked / ether - 1, rel=1e-9)
