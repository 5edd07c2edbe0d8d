"""Reverse stress tests: bounds whose shock is known, and what a certificate must be able to prove."""

import numpy as np
import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError, SnapshotError
from defi_leverage.snapshot import Snapshot
from defi_leverage.stress.reverse import MEASURES, reverse_stress_test
from defi_leverage.stress.scenario_sets import combine_changes
from defi_leverage.stress.sweep import OUTCOME_COLUMNS, scenario_outcome
from tests.books import make_snapshot


def one_position(depth: float | None = None) -> Snapshot:
    """100 ETH at 2000 against 150k: liquidated below 1875, a fall of 6.25 %."""
    return make_snapshot(
        {"ETH": 2000.0, "USD": 1.0, "BTC": 40000.0},
        [({"ETH": 100.0}, {"USD": 150e3})],
        depth={"ETH": depth} if depth else None,
    )


def test_the_first_liquidation() -> None:
    (found,) = reverse_stress_test(one_position(), {"ETH": -1}, "accounts_liquidated", 1, tolerance=1e-6)
    assert found.reached
    assert found.below <= 0.0625 < found.size
    assert found.size - found.below <= 1e-6
    assert found.shocks == {"ETH": -found.size}


@pytest.mark.parametrize(("bad_debt", "fall"), [(0.5776, 0.08), (4.5380, 0.12), (12.4587, 0.20)])
def test_the_fall_that_leaves_a_given_bad_debt(bad_debt: float, fall: float) -> None:
    """12x loop, threshold .95, bonus .01: bad debt per 100 of collateral at a fall (Gatto 2026, loss frontier)."""
    snapshot = make_snapshot(
        {"LST": 1.0, "ETH": 1.0}, [({"LST": 100.0}, {"ETH": 100 * 11 / 12})], weights={"LST": 0.95}, bonus=0.01
    )
    (usd,) = reverse_stress_test(snapshot, {"LST": -3}, "bad_debt_usd", bad_debt, tolerance=1e-6)
    assert usd.size == pytest.approx(fall, abs=2e-6)
    (share,) = reverse_stress_test(snapshot, {"LST": -3}, "bad_debt_share", bad_debt / (100 * 11 / 12), tolerance=1e-6)
    assert share.size == pytest.approx(usd.size, abs=2e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_certificate_can_be_checked(measure: str) -> None:
    """Run again, the two ends of the bracket lie on either side of the bound, no further apart than the tolerance."""
    snapshot = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0},
        [({"ETH": 10.0}, {"USD": 16000 * (1 - fall)}) for fall in np.linspace(0.02, 0.4, 12)],
        depth={"ETH": 300.0},
    )
    base = Scenario(depth_multiplier=0.8)
    half = scenario_outcome(run_contagion(snapshot, combine_changes(base, {"ETH": -0.3}, "half")))[measure]
    assert isinstance(half, int | float)
    (found,) = reverse_stress_test(snapshot, {"ETH": -1}, measure, half, steps=18, base=base, largest=0.6)
    assert found.reached
    outcome = {}
    for size in (found.below, found.size):
        scenario = Scenario(shocks={"ETH": -size}, depth_multiplier=0.8)
        outcome[size] = scenario_outcome(run_contagion(snapshot, scenario))[measure]
    assert not outcome[found.below] >= half  # type: ignore[operator]
    assert outcome[found.size] >= half  # type: ignore[operator]
    assert found.size - found.below <= found.tolerance
    table = found.evaluations.set_index("size")
    assert table[measure].loc[found.size] == outcome[found.size]
    assert table["reached"].loc[found.size]
    assert not table["reached"].loc[: found.below].any()
    assert table["converged"].all()
    assert measure in found.note
    assert "need not grow" in found.note


def test_the_first_crossing_is_found_where_a_larger_shock_recedes() -> None:
    """One account sold into a thin market: amplification is largest just below its trigger, small at a deep fall."""
    snapshot = one_position(depth=500.0)
    deep = run_contagion(snapshot, Scenario(shocks={"ETH": -0.9})).amplification
    assert deep < 1.5
    (found,) = reverse_stress_test(snapshot, {"ETH": -1}, "amplification", 1.5)
    assert found.below <= 0.0625 < found.size
    # A grid of one step looks at 0 and 0.9 only: it sees nothing, and says how it looked.
    (coarse,) = reverse_stress_test(snapshot, {"ETH": -1}, "amplification", 1.5, steps=1)
    assert not coarse.reached
    assert np.isnan(coarse.size)
    assert coarse.shocks == {}
    assert "stays below 1.5 at every size up to 0.9 on a grid of step 0.9 (2 cascades)" in coarse.note


def test_the_smallest_of_several_directions_comes_first_and_an_idle_one_last() -> None:
    positions = [({"ETH": 100.0}, {"USD": 150e3}), ({"BTC": 5.0}, {"USD": 150e3})]  # ETH falls 6.25 %, BTC 6.25 %
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0, "BTC": 40000.0}, positions)
    directions = [{"BTC": 1.0}, {"ETH": -0.5, "BTC": -1.0}, {"ETH": -1.0, "BTC": -1.0}, {"feed:BTC": -2.0, "USD": 1.0}]
    ran: list[int] = []
    found = reverse_stress_test(
        snapshot, directions, "accounts_liquidated", 2, tolerance=1e-6, progress=ran.append, largest=0.6
    )
    # Together both at 6.25 %; by halves when ETH has reached it; with USD rising half as fast as the feed falls
    # BTC crosses first, ETH when 1 + s/2 passes 16/15.
    assert [certificate.size for certificate in found[:3]] == pytest.approx([0.0625, 0.125, 2 / 15], abs=2e-6)
    assert found[0].direction == {"ETH": -1.0, "BTC": -1.0}
    assert found[2].direction == {"feed:BTC": -1.0, "USD": 0.5}
    assert found[2].shocks == pytest.approx({"feed:BTC": -2 / 15, "USD": 1 / 15}, abs=2e-6)
    assert not found[3].reached
    assert ran == list(range(1, sum(len(certificate.evaluations) for certificate in found) + 1))


def test_a_bound_that_is_reached_already_needs_no_shock() -> None:
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [({"ETH": 100.0}, {"USD": 165e3})])
    (found,) = reverse_stress_test(snapshot, {"ETH": -1}, "accounts_liquidated", 1)
    assert found.size == 0
    assert np.isnan(found.below)
    assert "without any shock" in found.note


def test_an_end_that_did_not_converge_is_said() -> None:
    base = Scenario(max_rounds=1)
    snapshot = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0},
        [({"ETH": 100.0}, {"USD": 150e3}), ({"ETH": 100.0}, {"USD": 140e3})],
        depth={"ETH": 300.0},
    )
    (found,) = reverse_stress_test(snapshot, {"ETH": -1}, "accounts_liquidated", 1, base=base)
    assert "did not converge" in found.note


def test_what_makes_no_sense_is_refused() -> None:
    assert set(MEASURES) <= set(OUTCOME_COLUMNS)
    snapshot = one_position()
    with pytest.raises(ScenarioError, match="unknown measure 'losses'; use one of bad_debt_usd"):
        reverse_stress_test(snapshot, {"ETH": -1}, "losses", 1)
    for bound in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ScenarioError, match="positive and finite"):
            reverse_stress_test(snapshot, {"ETH": -1}, "bad_debt_usd", bound)
    for direction in ({}, {"ETH": 0.0}, {"ETH": float("nan")}):
        with pytest.raises(ScenarioError, match="at least one change"):
            reverse_stress_test(snapshot, direction, "bad_debt_usd", 1)
    with pytest.raises(ScenarioError, match="leaves no price"):
        reverse_stress_test(snapshot, {"ETH": -1}, "bad_debt_usd", 1, largest=1.0)
    with pytest.raises(ScenarioError, match="tolerance 0"):
        reverse_stress_test(snapshot, {"ETH": -1}, "bad_debt_usd", 1, tolerance=0)
    with pytest.raises(SnapshotError, match="no asset 'LINK'"):
        reverse_stress_test(snapshot, {"LINK": -1}, "bad_debt_usd", 1)
