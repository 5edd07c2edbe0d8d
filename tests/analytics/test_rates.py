"""Rate curves at points worked out by hand, and what a withdrawal does to a loop whose carry is known."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.analytics.rate_curves import (
    adaptive_curve_rate,
    borrow_rate,
    drifted_parameters,
    jump_rate,
    kinked_rate,
    mean_borrow_rate,
    semi_log_rate,
    supply_rate,
    two_kinks_rate,
    utilisation,
)
from defi_leverage.analytics.rates import (
    loops_after_withdrawal,
    parse_withdrawals,
    rates_after_withdrawal,
    with_own_yields,
)
from defi_leverage.errors import ScenarioError, SnapshotError
from defi_leverage.fixed_point import SECONDS_PER_YEAR, WAD
from defi_leverage.protocols.morpho_blue.adaptive_curve import adapt_rate_at_target
from defi_leverage.snapshot import Snapshot
from tests.books import cell, make_snapshot

AAVE = {"optimal": 0.9, "base": 0.0, "slope1": 0.03, "slope2": 0.8}
COMPOUND = {"base": 0.02, "multiplier": 0.1, "jump_multiplier": 1.09, "kink": 0.8}
MORPHO = {"rate_at_target": 0.04}
VENUS = {"base": 0.0, "multiplier": 0.1, "kink": 0.5, "base2": 0.01, "multiplier2": 0.2, "kink2": 0.9}
LLAMA = {"minimum": 0.01, "maximum": 0.25}
CURVES = [
    ("fixed", {"rate": 0.05}),
    ("kinked", AAVE),
    ("jump", COMPOUND),
    ("two_kinks", VENUS | {"jump_multiplier": 2.0}),
    ("semi_log", LLAMA),
    ("adaptive_curve", MORPHO),
]


def test_curves_at_their_corners() -> None:
    kinked = [kinked_rate(used, **AAVE) for used in (0, 0.45, 0.9, 0.95, 1)]
    assert kinked == pytest.approx([0, 0.015, 0.03, 0.43, 0.83])
    assert [jump_rate(used, **COMPOUND) for used in (0, 0.8, 0.9, 1)] == pytest.approx([0.02, 0.1, 0.209, 0.318])
    # ConstantsLib of AdaptiveCurveIrm: 4 % at target is a rate between 1 % and 16 %
    adaptive = [adaptive_curve_rate(used, **MORPHO) for used in (0, 0.45, 0.9, 0.95, 1)]
    assert adaptive == pytest.approx([0.01, 0.025, 0.04, 0.1, 0.16])
    assert [semi_log_rate(used, **LLAMA) for used in (0, 0.5, 1)] == pytest.approx([0.01, 0.05, 0.25])
    # 0.05 at the first kink, and at once 0.01 more; 0.2 a unit to 0.14 at the second, then 2 a unit
    two = [two_kinks_rate(used, **VENUS, jump_multiplier=2.0) for used in (0.25, 0.5, 0.7, 0.9, 1)]
    assert two == pytest.approx([0.025, 0.06, 0.1, 0.14, 0.34])
    assert two_kinks_rate(0.4, **(VENUS | {"multiplier": -0.5, "base": 0.1}), jump_multiplier=2.0) == 0  # never below


@pytest.mark.parametrize(("model", "parameters"), CURVES)
@given(used=st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted))
@settings(max_examples=20)
def test_a_higher_utilisation_never_costs_less(model: str, parameters: dict[str, float], used: list[float]) -> None:
    low, high = (borrow_rate(model, parameters | {"fee": 0.1}, at) for at in used)
    assert 0 <= low <= high


def test_morpho_s_rate_doubles_in_five_days_of_full_use_and_halves_in_five_of_none() -> None:
    days = 365 * math.log(2) / 50  # at the adjustment speed of 50 a year
    assert days == pytest.approx(5.06, abs=0.005)
    for used, factor in ((1.0, 2.0), (0.0, 0.5), (0.9, 1.0)):
        mean, end = drifted_parameters("adaptive_curve", MORPHO, used, days / 365)
        assert end["rate_at_target"] == pytest.approx(0.04 * factor)
        path = 0.04 * factor ** ((np.arange(10_000) + 0.5) / 10_000)
        assert mean["rate_at_target"] == pytest.approx(path.mean(), rel=1e-6)


def test_morpho_s_rate_at_target_stays_within_its_bounds() -> None:
    mean, end = drifted_parameters("adaptive_curve", MORPHO, 1.0, 1.0)
    assert end["rate_at_target"] == 2.0
    path = np.minimum(0.04 * np.exp(50 * (np.arange(100_000) + 0.5) / 100_000), 2.0)
    assert mean["rate_at_target"] == pytest.approx(path.mean(), rel=1e-6)
    assert drifted_parameters("adaptive_curve", MORPHO, 0.0, 1.0)[1]["rate_at_target"] == 0.001
    assert mean_borrow_rate("kinked", AAVE, 0.95, 1.0) == kinked_rate(0.95, **AAVE)


@given(used=st.floats(0, 1), rate=st.floats(0.002, 1.5), days=st.floats(0.1, 20))
@settings(max_examples=40)
def test_the_smooth_drift_is_the_contract_s_to_its_own_polynomial(used: float, rate: float, days: float) -> None:
    """ExpLib stops at the second order: up to 0.8 % beside the exponential."""
    stored = int(rate * WAD) // SECONDS_PER_YEAR
    _, end = adapt_rate_at_target(stored, int(used * WAD), int(days * 86400))
    ours = drifted_parameters("adaptive_curve", {"rate_at_target": rate}, used, days / 365)[1]
    assert ours["rate_at_target"] == pytest.approx(end * SECONDS_PER_YEAR / WAD, rel=9e-3)


def test_utilisation_counts_what_is_left() -> None:
    assert utilisation(800, 200) == pytest.approx(0.8)
    assert utilisation(800, 200, 200) == 1
    assert utilisation(0, 0) == 0
    # Compound v2 with 100 of reserves: 800 / (800 + 300 - 100); emptied of its 300, more is borrowed than supplied
    assert utilisation(800, 300, 0, 1000) == pytest.approx(0.8)
    assert utilisation(800, 300, 300, 1000) == pytest.approx(8 / 7)
    assert utilisation(800, 1000, 800, 800) == math.inf
    with pytest.raises(ValueError, match="what is supplied"):
        utilisation(800, 1000, 801, 800)
    with pytest.raises(ValueError, match="at most what is available"):
        utilisation(800, 200, 201)


def test_suppliers_share_the_interest_less_the_fee() -> None:
    assert supply_rate({"fee": 0.1}, 0.8, 0.05) == pytest.approx(0.036)
    assert math.isnan(supply_rate({}, 0.8, 0.05))
    # a quarter of the debt at a stable 8 %, the rest at 4 %: 5 % on average
    stable = {"fee": 0.1, "stable_share": 0.25, "stable_rate": 0.08}
    assert supply_rate(stable, 0.8, 0.04) == pytest.approx(0.036)
    # 100 borrowed and 100 at hand, and 50 of bad debt that nobody owes: 10 % of 100 is shared by claims of 250
    assert supply_rate({"fee": 0.0, "unbacked_share": 0.5}, 0.5, 0.1) == pytest.approx(0.04)
    # Comet pays suppliers by a curve of their own, whatever borrowers pay: 0.03 at the kink, 0.4 a unit beyond
    own = {"supply_base": 0.0, "supply_multiplier": 0.0375, "supply_jump_multiplier": 0.4, "supply_kink": 0.8}
    assert supply_rate(own, 0.9, 0.05) == pytest.approx(0.07)


def test_a_contract_may_count_no_more_than_all_of_what_is_supplied() -> None:
    capped = COMPOUND | {"utilisation_cap": 1.0, "fee": 0.1}
    for used in (0.5, 1.0, 1.4):
        assert borrow_rate("jump", capped, used) == jump_rate(min(used, 1.0), **COMPOUND)
        assert supply_rate(capped, used, 0.05) == pytest.approx(0.045 * min(used, 1.0))


def test_an_adaptive_curve_may_have_bounds_of_its_own() -> None:
    own = MORPHO | {"target": 0.5, "steepness": 2.0, "speed": 10.0, "lowest": 0.03, "highest": 0.05}
    assert [borrow_rate("adaptive_curve", own, used) for used in (0, 0.5, 1)] == pytest.approx([0.02, 0.04, 0.08])
    for used, end in ((0.0, 0.03), (1.0, 0.05)):
        assert drifted_parameters("adaptive_curve", own, used, 1.0)[1]["rate_at_target"] == end
    days = 365 / 10 * math.log(0.05 / 0.04)
    assert drifted_parameters("adaptive_curve", own, 1.0, days / 730)[1]["rate_at_target"] == pytest.approx(
        0.04 * math.sqrt(1.25)
    )


def test_curves_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(SnapshotError, match="'cubic' is no known curve; use one of fixed, kinked"):
        borrow_rate("cubic", {}, 0.5)
    for wrong, shown in (("0.1", "'0.1'"), (math.nan, "nan"), (None, "None")):
        with pytest.raises(SnapshotError, match=f"of 'kinked': slope1 is {shown}; write a number"):
            borrow_rate("kinked", AAVE | {"slope1": wrong}, 0.5)  # type: ignore[arg-type]
    with pytest.raises(SnapshotError, match="are base; give base, optimal, slope1, slope2"):
        borrow_rate("kinked", {"base": 0.0, "fee": 0.1}, 0.5)


def looped(curve: dict[str, float] | None = None) -> Snapshot:
    """One account with 100 LST against 90 ETH (threshold 0.95); the venue has lent 800 of 1000 ETH, LST earns 3 %."""
    made = make_snapshot(
        {"LST": 1.0, "ETH": 1.0},
        [({"LST": 100.0}, {"ETH": 90.0}), ({"ETH": 910.0}, {})],
        weights={"LST": 0.95},
        backing={"LST": ("ETH", 1.0)},
        ratio_feeds=True,
    )
    curve = curve or AAVE | {"fee": 0.1}
    rates = pd.DataFrame(
        [
            ("v", "ETH", 0.0192, 0.03 * 0.8 / 0.9, 800.0, 200.0, "kinked", json.dumps(curve)),
            ("v", "LST", 0.0, float("nan"), 0.0, 100.0, "", "{}"),
        ],
        columns=[
            "venue_id",
            "asset_id",
            "supply_rate",
            "borrow_rate",
            "borrowed",
            "available",
            "rate_model",
            "rate_parameters",
        ],
    )
    return with_own_yields(Snapshot.from_tables(made.tables | {"rates": rates}), {"LST": 0.03})


def test_a_withdrawal_past_the_kink_turns_a_loop_and_then_liquidates_it() -> None:
    snapshot = looped()
    markets = rates_after_withdrawal(snapshot, {"ETH": 0.15}, horizon_days=90)
    after = 0.03 + 0.8 * (800 / 850 - 0.9) / 0.1
    assert cell(markets, 0, "withdrawn") == pytest.approx(150)
    assert cell(markets, 0, "utilisation_after") == pytest.approx(800 / 850)
    assert cell(markets, 0, "borrow_rate_before") == pytest.approx(cell(markets, 0, "contract_rate"))
    assert cell(markets, 0, "borrow_rate_after") == pytest.approx(after)
    assert cell(markets, 0, "supply_rate_after") == pytest.approx(after * 800 / 850 * 0.9)
    loops = loops_after_withdrawal(snapshot, markets, horizon_days=90)
    assert loops["account_id"].tolist() == ["a0"]
    assert cell(loops, 0, "net_carry_before") == pytest.approx(10 * 0.03 - 9 * 0.03 * 0.8 / 0.9)
    assert cell(loops, 0, "net_carry_after") == pytest.approx(10 * 0.03 - 9 * after)
    assert cell(loops, 0, "days_before") == math.inf
    assert cell(loops, 0, "days_after") == pytest.approx(math.log(95 / 90) / (after - 0.03) * 365)
    assert loops[["turns_negative", "liquidates"]].to_numpy().tolist() == [[True, True]]
    soon = loops_after_withdrawal(snapshot, rates_after_withdrawal(snapshot, {"ETH": 0.15}), horizon_days=30)
    assert soon[["turns_negative", "liquidates"]].to_numpy().tolist() == [[True, False]]


def test_no_more_than_is_there_can_be_withdrawn() -> None:
    market = rates_after_withdrawal(looped(), {"ETH": 0.5}).iloc[0]
    assert (bool(market["exhausted"]), float(market["withdrawn"])) == (True, 200.0)
    assert market["utilisation_after"] == 1
    assert market["borrow_rate_after"] == pytest.approx(0.83)


def test_a_small_withdrawal_ends_nothing() -> None:
    snapshot = looped()
    loops = loops_after_withdrawal(snapshot, rates_after_withdrawal(snapshot, {"ETH": 0.01}))
    assert not loops[["turns_negative", "liquidates"]].to_numpy().any()


def test_a_carry_that_is_not_known_is_counted_and_turns_nothing() -> None:
    snapshot = with_own_yields(looped(), {"LST": float("nan")})
    loops = loops_after_withdrawal(snapshot, rates_after_withdrawal(snapshot, {"ETH": 0.15}))
    assert not loops["turns_negative"].any()
    assert "1 loop accounts have no carry" in loops.attrs["notices"][0]


def test_questions_without_an_answer_are_refused() -> None:
    snapshot = looped()
    with pytest.raises(ScenarioError, match="no market of this snapshot that lends it has a rate curve"):
        rates_after_withdrawal(snapshot, {"LST": 0.1})
    with pytest.raises(ScenarioError, match="no withdrawal is named"):
        rates_after_withdrawal(snapshot, {})
    with pytest.raises(ScenarioError, match="at most 1"):
        rates_after_withdrawal(snapshot, {"ETH": 1.5})
    with pytest.raises(ScenarioError, match="horizon_days inf must be above 0 and finite"):
        rates_after_withdrawal(snapshot, {"ETH": 0.1}, math.inf)
    with pytest.raises(ScenarioError, match="horizon_days 0"):
        rates_after_withdrawal(snapshot, {"ETH": 0.1}, horizon_days=0)
    with pytest.raises(ScenarioError, match=r"withdrawal eth=0.2: ETH is named twice"):
        rates_after_withdrawal(snapshot, {"ETH": 0.1, "eth": 0.2})
    with pytest.raises(ScenarioError, match=r"own yield lst=0.04: LST is given twice"):
        with_own_yields(snapshot, {"LST": 0.03, "lst": 0.04})
    with pytest.raises(SnapshotError, match="no asset 'DOGE'"):
        rates_after_withdrawal(snapshot, {"DOGE": 0.1})


def test_markets_without_a_curve_are_left_out_and_named() -> None:
    snapshot = looped()
    rates = snapshot.rates.copy()
    other = rates[rates["venue_id"] == "v"].head(1).assign(venue_id="w", rate_model="", rate_parameters="{}")
    venues = pd.concat([snapshot.venues, snapshot.venues.assign(venue_id="w")])
    both = Snapshot.from_tables(snapshot.tables | {"rates": pd.concat([rates, other]), "venues": venues})
    markets = rates_after_withdrawal(both, {"ETH": 0.1})
    assert markets["venue_id"].tolist() == ["v"]
    assert markets.attrs["notices"] == ["ETH: 1 markets without a rate curve: w"]


def test_what_is_minted_has_no_lender_who_could_withdraw() -> None:
    snapshot = looped()
    rates = snapshot.rates.copy()
    minted = rates[rates["venue_id"] == "v"].head(1).assign(rate_model="fixed", rate_parameters='{"rate": 0.05}')
    venues = pd.concat([snapshot.venues, snapshot.venues.assign(venue_id="w")])
    both = snapshot.tables | {"rates": pd.concat([rates, minted.assign(venue_id="w")]), "venues": venues}
    markets = rates_after_withdrawal(Snapshot.from_tables(both), {"ETH": 0.1})
    assert (markets["venue_id"].tolist(), markets.attrs["notices"]) == (["v"], [])
    with pytest.raises(ScenarioError, match="no market of this snapshot that lends it"):
        rates_after_withdrawal(Snapshot.from_tables(snapshot.tables | {"rates": minted}), {"ETH": 0.1})


def test_reserves_are_no_part_of_what_is_supplied() -> None:
    """800 lent, 300 of cash, 100 of them the venue's own: a tenth of the 1,000 supplied leaves."""
    snapshot = looped()
    rates = snapshot.rates.assign(available=300.0, supplied=1000.0)
    market = rates_after_withdrawal(Snapshot.from_tables(snapshot.tables | {"rates": rates}), {"ETH": 0.1}).iloc[0]
    assert market["withdrawn"] == pytest.approx(100)
    assert market["utilisation_before"] == pytest.approx(0.8)
    assert market["utilisation_after"] == pytest.approx(8 / 9)


def test_a_venue_that_charges_something_else_than_its_curve_is_named() -> None:
    assert not rates_after_withdrawal(looped(), {"ETH": 0.1}).attrs["notices"]
    markets = rates_after_withdrawal(looped(AAVE | {"slope1": 0.06, "fee": 0.1}), {"ETH": 0.1})
    (notice,) = markets.attrs["notices"]
    assert "the curve says 5.33%, the venue charges 2.67%" in notice


def test_withdrawals_are_written_as_shares() -> None:
    assert parse_withdrawals(["USDC=20%", "WETH = 0.5"]) == {"USDC": 0.2, "WETH": 0.5}
    for text in ("USDC", "USDC=", "USDC=-5%", "USDC=0", "USDC=120%", "=5%", "USDC=nan"):
        with pytest.raises(ScenarioError, match="write it as ASSET=SHARE"):
            parse_withdrawals([text])
    with pytest.raises(ScenarioError, match="named twice"):
        parse_withdrawals(["USDC=20%", "USDC=30%"])
