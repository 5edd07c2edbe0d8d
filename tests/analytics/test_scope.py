"""Liquidation scope: a cascade worked out by hand, and what must hold for any book."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.analytics.scope import liquidation_scope
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot
from defi_leverage.stress.liquidation_curve import liquidation_curve
from defi_leverage.stress.scenario_sets import ladder
from tests.books import make_snapshot, random_books

POSITIONS = [
    ({"ETH": 100.0}, {"USD": 150e3}),
    ({"ETH": 100.0}, {"USD": 140e3}),
    ({"ETH": 50.0}, {"USD": 60e3}),
    ({"ETH": 200.0}, {"USD": 180e3}),
]


def row(table: pd.DataFrame, **where: str) -> dict[str, float]:
    for column, value in where.items():
        table = table[table[column] == value]
    (found,) = table.to_dict("records")
    return {str(name): value for name, value in found.items()}


def test_four_positions_before_and_after_their_cascade() -> None:
    """ETH at 2000, threshold 0.8, depth 500: -7 % reaches the first, and its sales the next two."""
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, POSITIONS, depth={"ETH": 500.0})
    scope = liquidation_scope(snapshot, ladder("ETH", [-0.05, -0.07]))
    quiet = row(scope.venues, scenario="ETH -5 %", stage="cascade")
    assert (quiet["accounts"], quiet["debt_usd"], quiet["share_of_debt"]) == (0, 0, 0)
    at_shock = row(scope.venues, scenario="ETH -7 %", stage="shock")
    assert at_shock["accounts"] == 1
    assert at_shock["share_of_accounts"] == pytest.approx(1 / 4)
    assert at_shock["collateral_usd"] == pytest.approx(100 * 1860)
    assert at_shock["share_of_collateral"] == pytest.approx(100 / 450)
    assert at_shock["debt_usd"] == pytest.approx(150e3)
    assert at_shock["share_of_debt"] == pytest.approx(150 / 530)
    after = row(scope.venues, scenario="ETH -7 %", stage="cascade")
    assert after["accounts"] == 3
    assert after["debt_usd"] == pytest.approx(350e3)
    assert after["collateral_usd"] == pytest.approx(250 * 1860)
    asset = row(scope.assets, scenario="ETH -7 %", stage="cascade", symbol="ETH")
    assert asset["amount"] == 250
    assert asset["share_of_collateral"] == pytest.approx(250 / 450)
    assert scope.accounts["account_id"].tolist() == ["a0", "a1", "a2"]
    assert scope.accounts["stage"].tolist() == ["shock", "cascade", "cascade"]
    assert scope.accounts["health_factor"].iloc[0] == pytest.approx(100 * 1860 * 0.8 / 150e3)
    assert scope.converged.all()


def test_bad_debt_that_was_there_is_in_no_scope_and_supplies_without_debt_count_for_the_share() -> None:
    book = [({}, {"USD": 50e3}), ({"ETH": 100.0}, {"USD": 150e3}), ({"ETH": 300.0}, {})]
    scope = liquidation_scope(make_snapshot({"ETH": 2000.0, "USD": 1.0}, book), [Scenario("fall", {"ETH": -0.1})])
    assert scope.accounts["account_id"].tolist() == ["a1"]
    found = row(scope.venues, stage="shock")
    assert found["share_of_accounts"] == pytest.approx(1 / 2)
    assert found["share_of_debt"] == pytest.approx(3 / 4)
    assert found["share_of_collateral"] == pytest.approx(1 / 4)


@given(snapshot=random_books(), changes=st.lists(st.sampled_from([-0.5, -0.3, -0.1, 0.2]), min_size=1, unique=True))
@settings(max_examples=25)
def test_the_scope_is_the_liquidation_curve_and_the_cascade_of_the_engine(
    snapshot: Snapshot, changes: list[float]
) -> None:
    scenarios = ladder("ETH", changes)
    scope = liquidation_scope(snapshot, scenarios)
    curve = liquidation_curve(snapshot, "ETH", [2000.0 * (1 + change) for change in changes]).set_index("change")
    curve.index = curve.index.map(lambda change: round(change, 9))
    for scenario, change in zip(scenarios, changes, strict=True):
        stages = scope.venues[scope.venues["scenario"] == scenario.name].groupby("stage")
        totals = stages[["accounts", "collateral_usd", "debt_usd"]].sum()
        if not totals.empty:
            expected = curve.loc[round(change, 9), ["accounts", "collateral_usd", "debt_usd"]].to_numpy(float)
            np.testing.assert_allclose(totals.loc["shock"].to_numpy(float), expected, rtol=1e-9, atol=1e-6)
            assert (totals.loc["cascade"] >= totals.loc["shock"] - 1e-6).all()
        mine = set(scope.accounts.loc[scope.accounts["scenario"] == scenario.name, "account_id"])
        result = run_contagion(snapshot, scenario)
        assert set(result.liquidations["account_id"]) <= mine
        if result.converged:
            assert mine == set(result.liquidations["account_id"])
        for stage in ("shock", "cascade"):
            chosen = (scope.assets["scenario"] == scenario.name) & (scope.assets["stage"] == stage)
            by_asset = scope.assets.loc[chosen, "collateral_usd"].sum()
            assert by_asset == pytest.approx(totals["collateral_usd"].get(stage, 0.0))


def test_scenarios_need_names_of_their_own() -> None:
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, POSITIONS)
    with pytest.raises(ScenarioError, match="give at least one"):
        liquidation_scope(snapshot, [])
    with pytest.raises(ScenarioError, match="a name of its own"):
        liquidation_scope(snapshot, [Scenario("fall", {"ETH": -0.1}), Scenario("fall", {"ETH": -0.2})])
