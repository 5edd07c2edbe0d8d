"""Many scenarios on one snapshot: one row each, whatever the order, and what is finished survives an interruption."""

from functools import partial
from random import Random

import pandas as pd
import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError, SnapshotError
from defi_leverage.snapshot import Snapshot
from defi_leverage.stress.risk import loss_table
from defi_leverage.stress.scenario_sets import grid, ladder, with_depth
from defi_leverage.stress.sweep import OUTCOME_COLUMNS, run_scenarios, scenario_outcome
from defi_leverage.synthetic import synthetic_book
from tests.books import make_snapshot, wide_book

POSITIONS = [
    ({"ETH": 100.0}, {"USD": 150e3}),
    ({"ETH": 100.0}, {"USD": 140e3}),
    ({"ETH": 50.0}, {"USD": 60e3}),
    ({"ETH": 200.0}, {"USD": 180e3}),
]


def four_positions(depth: float = 500.0) -> Snapshot:
    return make_snapshot({"ETH": 2000.0, "USD": 1.0}, POSITIONS, depth={"ETH": depth})


def test_one_row_a_scenario_in_the_order_given() -> None:
    """The cascade of four positions at depths of 2000 and 500 ETH: one account, or three, as computed elsewhere."""
    scenarios = with_depth(ladder("ETH", [-0.05, -0.07]), [4.0, 1.0])
    result = run_scenarios(four_positions(), scenarios)
    assert list(result.table.columns) == ["scenario", *OUTCOME_COLUMNS]
    assert result.table["scenario"].tolist() == [scenario.name for scenario in scenarios]
    assert result.table["accounts_liquidated"].tolist() == [0, 0, 1, 3]
    assert result.table["rounds"].tolist() == [0, 0, 1, 3]
    assert result.table["converged"].all()
    assert result.complete
    assert result.table["seized_usd"].iloc[2] == pytest.approx(84.6774 * 1860, rel=1e-6)


def test_a_row_is_the_summary_of_its_run() -> None:
    scenario = Scenario(shocks={"ETH": -0.4}, depth_multiplier=0.5)
    row = run_scenarios(four_positions(), [scenario]).table.iloc[0]
    summary = run_contagion(four_positions(), scenario).summary()
    for name in ("rounds", "accounts_liquidated", "repaid_usd", "seized_usd", "bad_debt_usd", "amplification"):
        assert row[name] == summary[name]
    assert row["bad_debt_usd"] > 0
    assert row["bad_debt_share"] == pytest.approx(summary["bad_debt_usd"] / 530e3)
    assert row["insolvency_usd"] == pytest.approx(row["bad_debt_usd"])


def test_insolvency_counts_what_is_left_under_water() -> None:
    """Half of 150k is repaid for 78.75k of 140k: 75k stay owed against 61.25k, which is no bad debt yet."""
    parameters = {"close_factor": 0.5, "full_close_health_factor": 0.0}
    snapshot = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0}, [({"ETH": 100.0}, {"USD": 150e3})], rule="aave_v3", parameters=parameters
    )
    once = run_contagion(snapshot, Scenario(shocks={"ETH": -0.3}, max_rounds=1))
    outcome = scenario_outcome(once)
    assert outcome["converged"] is False
    assert outcome["bad_debt_usd"] == 0
    assert outcome["insolvency_usd"] == pytest.approx(13_750)


def test_the_order_of_scenarios_makes_no_difference() -> None:
    random = Random(11)
    snapshot = wide_book(random)
    scenarios = grid("ETH", [-0.5, -0.2, 0.3], "USD", [-0.1, 0.0, 0.2])
    shuffled = random.sample(scenarios, len(scenarios))
    one, other = (run_scenarios(snapshot, order).table.set_index("scenario") for order in (scenarios, shuffled))
    assert one["accounts_liquidated"].nunique() > 1
    pd.testing.assert_frame_equal(one, other.loc[one.index], check_exact=True)


def test_progress_and_an_interruption() -> None:
    scenarios = ladder("ETH", [-0.05, -0.1, -0.2, -0.4])
    whole = run_scenarios(four_positions(), scenarios)
    seen: list[tuple[int, int]] = []

    def stop_after_two(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    cut = run_scenarios(four_positions(), scenarios, progress=stop_after_two, collect=partial(loss_table, by="asset"))
    assert seen == [(1, 4), (2, 4)]
    assert not cut.complete
    assert cut.requested == 4
    pd.testing.assert_frame_equal(cut.table, whole.table.iloc[:2])
    assert set(cut.collected["number"]) == {1}  # the first liquidates nobody


def test_an_interruption_within_a_scenario_drops_that_one() -> None:
    def stop_at_the_third(result: ContagionResult) -> pd.DataFrame:
        if result.scenario.shocks["ETH"] == -0.2:
            raise KeyboardInterrupt
        return result.rounds

    cut = run_scenarios(four_positions(), ladder("ETH", [-0.05, -0.1, -0.2, -0.4]), collect=stop_at_the_third)
    assert cut.table["scenario"].tolist() == ["ETH -5 %", "ETH -10 %"]
    assert not cut.complete
    nothing = run_scenarios(four_positions(), ladder("ETH", [-0.2, -0.4]), collect=stop_at_the_third)
    assert nothing.table.empty
    assert list(nothing.table.columns) == ["scenario", *OUTCOME_COLUMNS]


def test_collected_tables_carry_their_scenario() -> None:
    result = run_scenarios(four_positions(), ladder("ETH", [-0.1, -0.4]), collect=partial(loss_table, by="round"))
    by_scenario = result.collected.groupby("scenario")["seized_usd"].sum()
    expected = result.table.set_index("scenario")["seized_usd"]
    assert by_scenario.to_dict() == pytest.approx(expected.to_dict())
    assert result.collected["number"].unique().tolist() == [0, 1]


def test_a_scenario_that_names_nothing_here_is_refused_before_any_runs() -> None:
    ran: list[int] = []
    with pytest.raises(SnapshotError, match="no asset 'BTC'"):
        run_scenarios(
            four_positions(), [*ladder("ETH", [-0.1]), *ladder("BTC", [-0.1])], lambda done, _: ran.append(done)
        )
    with pytest.raises(ScenarioError, match="shocked twice"):
        run_scenarios(four_positions(), [Scenario(shocks={"ETH": -0.1, "eth": -0.2})])
    assert not ran


def test_no_scenarios_are_a_complete_empty_table() -> None:
    result = run_scenarios(four_positions(), [])
    assert result.complete
    assert result.table.empty


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (Scenario(rate_shocks={"USDT": 0.1}), "no asset 'USDT'"),
        (Scenario(frozen_feeds=("ETH", "BTC")), "no asset 'BTC'"),
    ],
)
def test_every_name_of_a_scenario_is_checked_before_any_runs(scenario: Scenario, message: str) -> None:
    ran: list[int] = []
    with pytest.raises(SnapshotError, match=message):
        run_scenarios(four_positions(), [*ladder("ETH", [-0.1]), scenario], lambda done, _: ran.append(done))
    assert not ran


def test_a_row_says_how_far_a_run_was_from_its_end() -> None:
    scenario = Scenario(shocks={"ETH": -0.07}, max_rounds=1)
    row = run_scenarios(four_positions(), [scenario]).table.iloc[0]
    summary = run_contagion(four_positions(), scenario).summary()
    assert (row["converged"], row["residual"]) == (False, summary["residual"])
    assert row["residual"] > 0
    assert (row["beyond_range"], row["exhausted"]) == ("", "")
    assert row["toxic_liquidations"] == summary["toxic_liquidations"]


def test_much_work_is_done_by_the_compiled_engine_and_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = synthetic_book(300, seed=7)
    scenarios = [
        *ladder("ETH", [-0.1, -0.3, -0.5]),
        *with_depth(ladder(["ETH", "BTC"], [-0.2, -0.4]), [0.25]),
        Scenario("later", {"ETH": -0.4}, arrival="continuous", steps=3),
        Scenario("dearer", {"ETH": -0.1}, rate_shocks={"USDC": 0.2}),
    ]
    singly = run_scenarios(snapshot, scenarios).table
    monkeypatch.setattr("defi_leverage.stress.sweep._WORTH_COMPILING", 1)
    monkeypatch.setattr("defi_leverage.stress.sweep._AT_ONCE", 3)
    told: list[tuple[int, int]] = []
    together = run_scenarios(snapshot, scenarios, progress=lambda *step: told.append(step)).table
    pd.testing.assert_frame_equal(together, singly, rtol=1e-9)
    assert told[-1] == (len(scenarios), len(scenarios))
    assert singly["accounts_liquidated"].max() > 20


def test_an_interrupted_batch_leaves_the_first_scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = synthetic_book(50, seed=7)
    monkeypatch.setattr("defi_leverage.stress.sweep._WORTH_COMPILING", 1)
    monkeypatch.setattr("defi_leverage.stress.sweep._AT_ONCE", 2)

    def interrupt(finished: int, _: int) -> None:
        if finished == 4:
            raise KeyboardInterrupt

    stopped = run_scenarios(snapshot, ladder("ETH", [-0.1, -0.2, -0.3, -0.4, -0.5]), progress=interrupt)
    assert (len(stopped.table), stopped.complete) == (4, False)
    assert stopped.table["scenario"].tolist() == ["ETH -10 %", "ETH -20 %", "ETH -30 %", "ETH -40 %"]
