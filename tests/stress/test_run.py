"""A whole stress test: what its report holds, what does not fit, and where it was stopped."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import SnapshotError
from defi_leverage.snapshot import Snapshot
from defi_leverage.stress.liquidation_curve import liquidation_curve
from defi_leverage.stress.notation import parse_axis, parse_grid, parse_target
from defi_leverage.stress.plan import Draws, PriceSource, StressPlan
from defi_leverage.stress.reverse import reverse_stress_test
from defi_leverage.stress.risk import risk_measures
from defi_leverage.stress.run import run_plan
from defi_leverage.stress.scenario_sets import grid, ladder, with_depth
from defi_leverage.stress.sweep import run_scenarios
from defi_leverage.stress_job import stress_test
from tests.books import make_snapshot

PLAN = StressPlan(
    base=Scenario("as it stands", stale_rounds=1),
    ladders=(parse_axis("ETH=-10%:-40%:-10%"),),
    grids=(parse_grid("ETH=0%,-20% by USD=0%,1%"),),
    depth_multipliers=(1.0, 0.25),
    reverse=(parse_target("seized_usd=1e5 along ETH"),),
    curves=(parse_axis("ETH=-50%:10%:10%"),),
)


def positions() -> Snapshot:
    debts = (150e3, 140e3, 120e3, 90e3)
    return make_snapshot(
        {"ETH": 2000.0, "USD": 1.0}, [({"ETH": 100.0}, {"USD": debt}) for debt in debts], depth={"ETH": 500.0}
    )


def history(hours: int = 300) -> pd.DataFrame:
    steps = np.random.default_rng(3).standard_normal((hours, 2)) * [0.02, 1e-4]
    index = pd.date_range("2024-01-01", periods=hours, freq="h", tz="UTC")
    levels = np.array([2000.0, 1.0]) * np.exp(np.cumsum(steps, axis=0))
    return pd.DataFrame(levels, index=index, columns=["ETH", "USD"])


def test_a_report_is_what_its_parts_are_alone() -> None:
    snapshot = positions()
    report = run_plan(snapshot, PLAN)
    ones = with_depth(ladder("ETH", [-0.1, -0.2, -0.3, -0.4], PLAN.base), [0.25])
    pairs = grid("ETH", [0.0, -0.2], "USD", [0.0, 0.01], PLAN.base)
    alone = run_scenarios(snapshot, [*ones, *pairs]).table
    rows = report.scenarios.iloc[4:12].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows[alone.columns], alone.reset_index(drop=True), check_names=False)
    assert rows["depth_multiplier"].tolist() == [0.25] * 4 + [1.0] * 4
    assert report.shocks[["ETH", "USD"]].to_numpy(float)[11].tolist() == [-0.2, 0.01]
    assert (report.requested, report.complete, report.refused) == (16, True, {})
    (certificate,) = report.reverse
    (expected,) = reverse_stress_test(snapshot, {"ETH": -1.0}, "seized_usd", 1e5, base=PLAN.base)
    assert certificate.reached
    assert (certificate.size, certificate.below) == (expected.size, expected.below)
    curve = liquidation_curve(snapshot, "ETH", [2000 * (1 + change) for change in PLAN.curves[0].changes])
    pd.testing.assert_frame_equal(report.curves.drop(columns=["asset_id", "symbol"]), curve)
    seized = report.losses.groupby(["by", "number"])["seized_usd"].sum().unstack("by")
    total = report.scenarios.set_index("number")["seized_usd"].loc[seized.index]
    for by in ("venue", "asset", "round"):
        assert seized[by].to_numpy() == pytest.approx(total.to_numpy())


def test_measures_are_of_the_draws_at_each_depth() -> None:
    source = PriceSource(("given",))
    plan = StressPlan(prices=source, draws=Draws(50, seed=2, horizon="48h", shrinkage="none"), confidence=0.9)
    report = run_plan(positions(), replace(plan, depth_multipliers=(1.0, 0.5)), history())
    for number, depth in enumerate((1.0, 0.5)):
        draws = report.scenarios[report.scenarios["depth_multiplier"] == depth]
        assert len(draws) == 50
        assert report.risk.loc[number, "depth_multiplier"] == depth
        row = report.risk.loc[number].drop("set").astype(float)
        measures = risk_measures(draws, 0.9)
        assert row[measures.index].to_dict() == measures.to_dict()
        assert row["bad_debt_var_low_usd"] <= row["bad_debt_var_usd"] <= row["bad_debt_var_high_usd"]
    again = run_plan(positions(), replace(plan, depth_multipliers=(1.0, 0.5)), history())
    pd.testing.assert_frame_equal(report.scenarios, again.scenarios, check_exact=True)


def test_draws_that_are_not_all_there_have_no_measures() -> None:
    plan = StressPlan(prices=PriceSource(("given",)), draws=Draws(50, shrinkage="none"), depth_multipliers=(1.0, 0.5))

    def stop(what: str, done: int, _: int) -> None:
        if (what, done) == ("draws", 70):
            raise KeyboardInterrupt

    report = run_plan(positions(), plan, history(), stop)
    assert (report.complete, report.interrupted, len(report.scenarios), report.requested) == (False, "draws", 70, 100)
    assert report.risk["depth_multiplier"].tolist() == [1.0]
    assert report.summary()["finished"] == 70


@pytest.mark.parametrize("part", ["scenarios", "reverse"])
def test_an_interruption_keeps_what_is_finished(part: str) -> None:
    def stop(what: str, done: int, _: int) -> None:
        if what.startswith(part) and done == 5:
            raise KeyboardInterrupt

    report = run_plan(positions(), PLAN, progress=stop)
    whole = run_plan(positions(), PLAN)
    finished = 5 if part == "scenarios" else 16
    assert report.interrupted.startswith(part)
    assert not report.reverse
    pd.testing.assert_frame_equal(report.scenarios, whole.scenarios.iloc[:finished])
    pd.testing.assert_frame_equal(report.curves, whole.curves)


def test_what_does_not_fit_is_refused_before_anything_runs_or_named() -> None:
    plan = replace(
        PLAN,
        ladders=(*PLAN.ladders, parse_axis("BTC=-10%")),
        curves=(parse_axis("DAI=-10%"),),
        reverse=(parse_target("bad_debt_usd=1 along BTC"),),
    )
    ran: list[int] = []
    with pytest.raises(SnapshotError, match="no asset 'BTC'"):
        run_plan(positions(), plan, progress=lambda _, done, __: ran.append(done))
    assert not ran
    report = run_plan(positions(), plan, tolerant=True)
    assert list(report.refused) == ["ladder BTC", "reverse bad_debt_usd=1 along BTC=-1", "curve DAI"]
    assert (report.complete, len(report.scenarios), report.requested) == (True, 16, 16)


def test_a_notebook_writes_it_as_the_configuration_does() -> None:
    report = stress_test(
        positions(),
        ladders=["ETH=-10%:-40%:-10%"],
        grids=["ETH=0%,-20% by USD=0%,1%"],
        depth_multipliers=[1, 0.25],
        base={"stale_rounds": 1},
    )
    pd.testing.assert_frame_equal(report.scenarios, run_plan(positions(), PLAN).scenarios)
