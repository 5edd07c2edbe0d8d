"""Risk measures solved by hand, and tables of losses that add up."""

from functools import partial
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import stats

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.stress.market_shocks import market_shocks
from defi_leverage.stress.monte_carlo import sample_returns
from defi_leverage.stress.risk import (
    expected_shortfall,
    loss_table,
    risk_measures,
    value_at_risk,
    value_at_risk_interval,
)
from defi_leverage.stress.scenario_sets import ladder, scenarios_of
from defi_leverage.stress.sweep import run_scenarios
from tests.books import make_snapshot, wide_book

LOSSES = st.lists(st.floats(0, 1e9), min_size=1, max_size=30)
CONFIDENCE = st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99])
bounded = settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.generate])


def test_twenty_outcomes() -> None:
    """1 to 20: P(L <= 19) is 0.95, so VaR is 19, though the sum of 19 twentieths may miss 0.95; beyond it is 20."""
    losses = list(range(20, 0, -1))
    assert value_at_risk(losses, 0.95) == 19
    assert expected_shortfall(losses, 0.95) == pytest.approx(20)
    assert value_at_risk(losses, 0.951) == 20
    assert value_at_risk(losses, 0.9) == 18
    assert expected_shortfall(losses, 0.9) == pytest.approx(19.5)
    # The worst 8 % are the whole of 20 and 3/5 of 19.
    assert expected_shortfall(losses, 0.92) == pytest.approx((20 * 0.05 + 19 * 0.03) / 0.08)


def test_weights_are_probabilities() -> None:
    """Losses 0, 10, 100 with 90, 7 and 3 %: VaR of 95 % is 10; ES (3 * 100 + 2 * 10) / 5."""
    losses, weights = [100, 0, 10], [3, 90, 7]
    assert value_at_risk(losses, 0.95, weights) == 10
    assert expected_shortfall(losses, 0.95, weights) == pytest.approx(64)
    assert value_at_risk(losses, 0.98, weights) == 100
    assert expected_shortfall([5, 7], 0.5, [1, 0]) == 5


def test_value_at_risk_punishes_diversification_and_expected_shortfall_does_not() -> None:
    """Two independent loans lose 100 with 4 % each: VaR 0 and 0 but 100 together; ES 80 and 80, and 103.2 together.

    The kind of example by which Artzner, Delbaen, Eber & Heath (1999) show that VaR is not coherent.
    """
    alone, weights = [0, 100], [0.96, 0.04]
    both, joint = [0, 100, 200], [0.96**2, 2 * 0.96 * 0.04, 0.04**2]
    assert value_at_risk(alone, 0.95, weights) == 0
    assert value_at_risk(both, 0.95, joint) == 100
    assert expected_shortfall(alone, 0.95, weights) == pytest.approx(80)
    assert expected_shortfall(both, 0.95, joint) == pytest.approx((200 * 0.0016 + 100 * 0.0484) / 0.05)


@bounded
@given(losses=LOSSES, confidence=CONFIDENCE, data=st.data())
def test_expected_shortfall_is_coherent(losses: list[float], confidence: float, data: st.DataObject) -> None:
    size = len(losses)
    other = data.draw(st.lists(st.floats(0, 1e9), min_size=size, max_size=size))
    weights = data.draw(st.lists(st.floats(0.01, 1), min_size=size, max_size=size))
    shortfall = partial(expected_shortfall, confidence=confidence, weights=weights)
    one, scale = np.array(losses), 1 + max(losses) + max(other)
    assert shortfall(one) >= value_at_risk(one, confidence, weights)
    assert shortfall(one + np.array(other)) <= shortfall(one) + shortfall(other) + 1e-9 * scale
    assert shortfall(one + other) >= shortfall(one) - 1e-9 * scale  # monotone: `other` only adds losses
    assert shortfall(2.5 * one + 7) == pytest.approx(2.5 * shortfall(one) + 7, rel=1e-9, abs=1e-9 * scale)
    assert shortfall(one) >= np.average(one, weights=weights) - 1e-9 * scale
    assert shortfall(one) <= one.max() * (1 + 1e-12)


@bounded
@given(losses=LOSSES, confidence=CONFIDENCE)
def test_value_at_risk_is_its_definition(losses: list[float], confidence: float) -> None:
    found = value_at_risk(losses, confidence)
    one = np.array(losses)
    assert found in losses
    assert (one <= found).mean() >= confidence - 1e-12
    assert (one < found).mean() < confidence


def test_the_interval_of_a_value_at_risk_holds_it() -> None:
    """300 times 200 uniform draws: the true 0.9 lies within the bounds 95 % of the time or more (error 1.3 %)."""
    rng = np.random.default_rng(5)
    bounds = [value_at_risk_interval(rng.random(200), 0.9) for _ in range(300)]
    covered = np.mean([low <= 0.9 < high for low, high in bounds])
    assert 0.95 - 3 * 0.013 < covered < 1
    assert np.mean([high - low for low, high in bounds]) == pytest.approx(2 * 1.96 * np.sqrt(0.9 * 0.1 / 200), rel=0.1)
    assert value_at_risk_interval(range(1, 101), 0.95) == (90, 100)  # binomial quantiles 90 and 99, and one more
    assert value_at_risk_interval(range(1, 21), 0.95)[1] == np.inf  # 20 draws cannot bound it above


def test_the_measures_of_a_stress_table() -> None:
    """Ten falls of one 12x loop: insolvency and bad debt are the loss frontier's, liquidations all its collateral."""
    snapshot = make_snapshot(
        {"LST": 1.0, "ETH": 1.0}, [({"LST": 100.0}, {"ETH": 100 * 11 / 12})], weights={"LST": 0.95}, bonus=0.01
    )
    falls = [0.01, 0.02, 0.02, 0.03, 0.03, 0.03, 0.03, 0.08, 0.12, 0.20]
    table = run_scenarios(snapshot, ladder("LST", [-fall for fall in falls])).table
    measures = risk_measures(table, 0.8)
    assert measures["value_at_risk_usd"] == pytest.approx(0.5776, abs=5e-5)
    assert measures["bad_debt_var_usd"] == pytest.approx(0.5776, abs=5e-5)
    assert measures["bad_debt_es_usd"] == pytest.approx((4.5380 + 12.4587) / 2, abs=5e-5)
    assert measures["bad_debt_mean_usd"] == pytest.approx((0.5776 + 4.5380 + 12.4587) / 10, abs=5e-5)
    assert measures["bad_debt_worst_usd"] == pytest.approx(12.4587, abs=5e-5)
    assert measures["liquidations_at_risk_usd"] == pytest.approx(80)  # seized: nothing seven times, 80, 88, 92
    assert measures["scenarios"] == 10
    assert measures["not_converged"] == 0
    only_the_worst = risk_measures(table, 0.8, [0] * 9 + [1])
    assert only_the_worst["value_at_risk_usd"] == pytest.approx(12.4587, abs=5e-5)
    assert only_the_worst["bad_debt_mean_usd"] == pytest.approx(12.4587, abs=5e-5)
    table.loc[0, "converged"] = False
    assert risk_measures(table)["not_converged"] == 1


def test_the_value_at_risk_of_drawn_scenarios_is_the_one_in_closed_form() -> None:
    """12x loop, lognormal price: bad debt falls with the price, so its VaR is the loss at the price's 5 % quantile."""
    snapshot = make_snapshot(
        {"LST": 1.0, "ETH": 1.0}, [({"LST": 100.0}, {"ETH": 100 * 11 / 12})], weights={"LST": 0.95}, bonus=0.01
    )
    daily = pd.DataFrame([[0.01]], ["LST"], ["LST"])
    draws = sample_returns(daily, 400, np.random.default_rng(8))
    table = run_scenarios(snapshot, scenarios_of(market_shocks(snapshot, draws, unmoved=["ETH"]))).table
    at_quantile = 100 * 11 / 12 - 100 * np.exp(0.1 * stats.norm.ppf(0.05)) / 1.01
    low, high = value_at_risk_interval(table["bad_debt_usd"])
    assert 5 < low <= at_quantile <= high < 12
    assert low <= risk_measures(table)["bad_debt_var_usd"] <= high
    liquidated = stats.norm.cdf(np.log(1 / (0.95 * 12 / 11)) / 0.1)  # below a health factor of 1
    found = (table["accounts_liquidated"] > 0).mean()
    assert found == pytest.approx(liquidated, abs=3 * np.sqrt(liquidated * (1 - liquidated) / 400))


def test_losses_by_venue_asset_account_and_round_by_hand() -> None:
    """After ETH -50 %: a0 owes 150k USD for 100k (95,238 repaid), a1 65k of 100k; a2 is safe. Venues v, w, w."""
    positions = [
        ({"ETH": 100.0}, {"USD": 150e3}),
        ({"ETH": 100.0}, {"BTC": 65e3 / 40000}),
        ({"ETH": 100.0}, {"USD": 10e3}),
    ]
    snapshot = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0, "BTC": 40000.0}, positions, weights={"ETH": 0.6}, venue_of=["v", "w", "w"]
    )
    result = run_contagion(snapshot, Scenario(shocks={"ETH": -0.5}))
    repaid, left = 100e3 / 1.05, 150e3 - 100e3 / 1.05
    assert loss_table(result, "venue").to_dict("list") == {
        "venue_id": ["v", "w"],
        "accounts": [1, 1],
        "repaid_usd": pytest.approx([repaid, 65e3]),
        "seized_usd": pytest.approx([100e3, 68250]),
        "bad_debt_usd": pytest.approx([left, 0]),
    }
    assert loss_table(result, "asset").to_dict("list") == {
        "asset_id": ["USD", "ETH", "BTC"],
        "symbol": ["USD", "ETH", "BTC"],
        "accounts": [0, 2, 0],
        "repaid_usd": pytest.approx([repaid, 0, 65e3]),
        "seized_usd": pytest.approx([0, 168250, 0]),
        "bad_debt_usd": pytest.approx([left, 0, 0]),
    }
    assert loss_table(result, "account")["account_id"].tolist() == ["a0", "a1"]
    assert loss_table(result, "round")["round"].tolist() == [1]
    with pytest.raises(ScenarioError, match="use one of venue, asset, account, round"):
        loss_table(result, "colour")


def test_an_account_liquidated_twice_is_one_account() -> None:
    snapshot = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0},
        [({"ETH": 100.0}, {"USD": 150e3})],
        rule="aave_v3",
        parameters={"close_factor": 0.2, "full_close_health_factor": 0.0},
    )
    result = run_contagion(snapshot, Scenario(shocks={"ETH": -0.15}))
    assert len(result.liquidations) > 1
    for by in ("venue", "asset", "account"):
        assert loss_table(result, by)["accounts"].max() == 1


def test_every_table_of_losses_adds_up_to_the_whole() -> None:
    busy = 0
    for seed in range(12):
        result = run_contagion(wide_book(Random(seed)), Scenario(shocks={"ETH": -0.4, "ALT": -0.7}))
        summary = result.summary()
        busy += summary["bad_debt_usd"] > 0
        for by in ("venue", "asset", "account", "round"):
            table = loss_table(result, by)
            for column in ("repaid_usd", "seized_usd", "bad_debt_usd"):
                assert table[column].sum() == pytest.approx(summary[column])
        assert len(loss_table(result, "account")) >= summary["accounts_liquidated"]
        assert list(loss_table(result, "round")["round"]) == list(result.rounds["round"])
    assert busy >= 3


def test_a_run_without_losses_has_empty_tables() -> None:
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [({"ETH": 1.0}, {"USD": 1.0})])
    result = run_contagion(snapshot, Scenario(shocks={"ETH": -0.1}))
    for by in ("venue", "asset", "account", "round"):
        table = loss_table(result, by)
        assert table.empty
        assert {"accounts", "repaid_usd", "seized_usd", "bad_debt_usd"} <= set(table.columns)


@pytest.mark.parametrize(
    "arguments",
    [
        {"losses": []},
        {"losses": [1.0, float("nan")]},
        {"losses": [1.0, float("inf")]},
        {"losses": [1.0], "confidence": 1.0},
        {"losses": [1.0], "confidence": 0.0},
        {"losses": [1.0, 2.0], "weights": [1.0]},
        {"losses": [1.0, 2.0], "weights": [1.0, -1.0]},
        {"losses": [1.0, 2.0], "weights": [0.0, 0.0]},
        {"losses": [1.0, 2.0], "weights": [1.0, float("nan")]},
    ],
)
def test_losses_and_weights_out_of_range_are_refused(arguments: dict[str, object]) -> None:
    for measure in (value_at_risk, expected_shortfall):
        with pytest.raises(ScenarioError):
            measure(**arguments)  # type: ignore[arg-type]
