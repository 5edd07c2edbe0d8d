"""Makers of scenarios: what each one shocks, and in which order."""

import pandas as pd
import pytest

from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.stress.scenario_sets import combine_changes, grid, ladder, scenarios_of, shock_table, with_depth


def test_a_ladder_of_one_asset() -> None:
    rungs = ladder("WETH", [-0.1, -0.25, 0.05])
    assert [rung.shocks for rung in rungs] == [{"WETH": -0.1}, {"WETH": -0.25}, {"WETH": 0.05}]
    assert [rung.name for rung in rungs] == ["WETH -10 %", "WETH -25 %", "WETH +5 %"]


def test_a_joint_ladder_keeps_its_base_and_its_oracle_faults() -> None:
    base = Scenario(shocks={"USDC": -0.01}, depth_multiplier=0.5, sell_collateral=False, max_rounds=7)
    (rung,) = ladder(["WETH", "feed:wstETH"], [-0.2], base)
    assert rung.shocks == {"USDC": -0.01, "WETH": -0.2}
    assert rung.feed_shocks == {"wstETH": -0.2}
    assert (rung.depth_multiplier, rung.sell_collateral, rung.max_rounds) == (0.5, False, 7)
    assert rung.name == "WETH + feed:wstETH -20 %"


def test_a_grid_is_every_pair_with_the_second_asset_fastest() -> None:
    scenarios = grid("WETH", [-0.1, -0.2], "WBTC", iter([0.0, -0.3, 0.1]))
    pairs = [(scenario.shocks["WETH"], scenario.shocks["WBTC"]) for scenario in scenarios]
    assert pairs == [(-0.1, 0.0), (-0.1, -0.3), (-0.1, 0.1), (-0.2, 0.0), (-0.2, -0.3), (-0.2, 0.1)]
    assert scenarios[1].name == "WETH -10 %, WBTC -30 %"


def test_depth_multiplies_what_a_scenario_has_already() -> None:
    scenarios = with_depth([Scenario("a", depth_multiplier=0.5), Scenario("b")], iter([1.0, 0.2]))
    assert [scenario.depth_multiplier for scenario in scenarios] == [0.5, 0.1, 1.0, 0.2]
    assert [scenario.name for scenario in scenarios] == ["a, depth x1", "a, depth x0.2", "b, depth x1", "b, depth x0.2"]


def test_a_table_of_shocks_and_back() -> None:
    shocks = pd.DataFrame(
        {"WETH": [-0.1, 0.0], "feed:wstETH": [0.0, 0.02]}, index=pd.RangeIndex(2, name="draw"), dtype=float
    )
    scenarios = scenarios_of(shocks, Scenario(buy_debt=False))
    assert [scenario.name for scenario in scenarios] == ["draw 0", "draw 1"]
    assert [scenario.shocks for scenario in scenarios] == [{"WETH": -0.1}, {}]
    assert [scenario.feed_shocks for scenario in scenarios] == [{}, {"wstETH": 0.02}]
    assert not any(scenario.buy_debt for scenario in scenarios)
    back = shock_table(scenarios)
    assert list(back.index) == ["draw 0", "draw 1"]
    pd.testing.assert_frame_equal(back.reset_index(drop=True)[shocks.columns], shocks.reset_index(drop=True))


def test_a_change_on_top_of_the_base_s_own_is_refused() -> None:
    with pytest.raises(ScenarioError, match="WETH is shocked twice"):
        ladder("WETH", [-0.1], Scenario(shocks={"WETH": -0.2}))
    with pytest.raises(ScenarioError, match="feed:X is shocked twice"):
        combine_changes(Scenario(feed_shocks={"X": 0.1}), {"feed:X": 0.1}, "x")
    with pytest.raises(ScenarioError, match="WETH is shocked twice"):
        grid("WETH", [-0.1], "WETH", [-0.1])


def test_a_change_that_leaves_no_price_is_refused() -> None:
    with pytest.raises(ScenarioError, match="above -100 %"):
        ladder("WETH", [-0.5, -1.0])


def test_groups_of_a_grid_change_together() -> None:
    made = grid(["A", "B"], [-0.1], ["C"], [0.0, -0.2])
    assert [dict(scenario.shocks) for scenario in made] == [
        {"A": -0.1, "B": -0.1, "C": 0.0},
        {"A": -0.1, "B": -0.1, "C": -0.2},
    ]
    assert made[1].name == "A + B -10 %, C -20 %"
    with pytest.raises(ScenarioError, match="B is shocked twice"):
        grid(["A", "B"], [-0.1], "B", [-0.2])
