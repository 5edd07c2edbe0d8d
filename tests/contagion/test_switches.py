"""Switches of a scenario, each by an example solved by hand."""

import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from tests.books import make_snapshot

BELOW = ({"ETH": 1.0}, {"USD": 1700.0})  # at 2,000 and weight 0.8: below 1
LOOP = ({"LST": 100.0}, {"ETH": 100 * 11 / 12})


def test_rational_liquidators_pass_over_a_bonus_below_the_gas() -> None:
    """5 % of 1,700 is 85: worth it at a gas of 84, not at 86."""
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [BELOW])
    done = run_contagion(snapshot, Scenario(liquidators="rational", gas_usd=84))
    assert done.summary()["accounts_liquidated"] == 1
    left = run_contagion(snapshot, Scenario(liquidators="rational", gas_usd=86))
    assert left.liquidations.empty
    assert left.converged
    assert left.summary()["liquidatable_after"] == 1
    assert run_contagion(snapshot, Scenario(gas_usd=86)).summary()["accounts_liquidated"] == 1


def test_rational_liquidators_count_slippage() -> None:
    """Into a pool of 1,000 ETH, 40 ETH fetch 76,923 for a debt of 76,190; 60 ETH fetch 113,208 for one of 114,286.

    Once the 40 are sold, the 60 fetch 104,895 for the 105,664 that they then repay.
    """
    positions = [({"ETH": 60.0}, {"USD": 120e3 / 1.05}), ({"ETH": 47.0}, {"USD": 80e3 / 1.05})]
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, positions, depth={"ETH": 1000.0}, model="constant_product")
    result = run_contagion(snapshot, Scenario(liquidators="rational"))
    first = result.liquidations[result.liquidations["round"] == 1]
    assert first["account_id"].tolist() == ["a1"]
    assert first["seized"].tolist() == [pytest.approx(40)]
    assert result.prices["ETH"].iloc[2] == pytest.approx(2000 / 1.04**2)
    assert len(result.rounds) == 1
    assert result.summary()["liquidatable_after"] == 1
    only_gas = run_contagion(snapshot, Scenario(liquidators="rational", gas_usd=733))
    assert only_gas.liquidations.empty  # 76,923.08 - 76,190.48 = 732.60
    unsold = run_contagion(snapshot, Scenario(liquidators="rational", gas_usd=733, sell_collateral=False))
    assert set(unsold.liquidations["account_id"]) == {"a0", "a1"}


def test_a_continuous_shock_is_liquidated_on_its_way() -> None:
    """A 12x loop falls by 8 %: 0.5776 of bad debt in one jump (Gatto 2026), none where liquidators keep up."""
    snapshot = make_snapshot({"LST": 1.0, "ETH": 1.0}, [LOOP], weights={"LST": 0.95}, bonus=0.01)
    gap = run_contagion(snapshot, Scenario(shocks={"LST": -0.08}))
    assert gap.summary()["bad_debt_usd"] == pytest.approx(0.5776, abs=5e-5)
    steps = run_contagion(snapshot, Scenario(shocks={"LST": -0.08}, arrival="continuous", steps=20))
    assert steps.summary()["bad_debt_usd"] == 0
    # Liquidated at the ninth step, at 3.6 %, the first beyond 3.5088 %.
    assert steps.liquidations["seized"].sum() == pytest.approx(100 * 11 / 12 * 1.01 / 0.964)
    assert steps.prices["LST"].tolist() == pytest.approx([1, 0.964, 0.92])
    assert steps.converged
    assert steps.summary()["prices"][0]["shocked_usd"] == pytest.approx(0.92)


def test_one_step_is_a_gap() -> None:
    snapshot = make_snapshot({"LST": 1.0, "ETH": 1.0}, [LOOP], weights={"LST": 0.95}, bonus=0.01)
    gap, one = (
        run_contagion(snapshot, Scenario("x", {"LST": -0.08}, arrival=arrival, steps=1))
        for arrival in ("gap", "continuous")
    )
    assert gap.summary() == one.summary()


def test_a_rate_shock_grows_debt() -> None:
    """1,600 of collateral capacity over 1,500 owed is 1.0667; over 1,650, after 10 %, it is 0.9697."""
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [({"ETH": 1.0}, {"USD": 1500.0})])
    result = run_contagion(snapshot, Scenario(rate_shocks={"usd": 0.1}))
    assert result.health_before[0] == pytest.approx(1600 / 1500)
    assert result.liquidations["health_factor"].tolist() == [pytest.approx(1600 / 1650)]
    assert result.liquidations["repaid"].tolist() == [pytest.approx(1650)]


def test_a_stale_oracle_lets_the_liquidation_wait() -> None:
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [({"ETH": 1.0}, {"USD": 1500.0})])
    result = run_contagion(snapshot, Scenario(shocks={"ETH": -0.1}, stale_rounds=2))
    assert result.rounds["accounts"].tolist() == [0, 0, 1]
    assert result.converged


def test_a_stale_oracle_sees_each_sale_a_round_late() -> None:
    """The shock brings the first account down, its sale the second: a round of waiting before each, and at the end."""
    snapshot = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0},
        [({"ETH": 100.0}, {"USD": 150e3}), ({"ETH": 100.0}, {"USD": 140e3})],
        depth={"ETH": 500.0},
    )
    fresh = run_contagion(snapshot, Scenario(shocks={"ETH": -0.07}))
    stale = run_contagion(snapshot, Scenario(shocks={"ETH": -0.07}, stale_rounds=1))
    assert fresh.rounds["accounts"].tolist() == [1, 1]
    assert stale.rounds["accounts"].tolist() == [0, 1, 0, 1, 0]
    assert stale.prices["ETH"].iloc[-1] == pytest.approx(fresh.prices["ETH"].iloc[-1])


def test_a_frozen_feed_follows_nothing() -> None:
    snapshot = make_snapshot(
        {"ETH": 2000.0, "LST": 2300.0, "USD": 1.0},
        [({"LST": 1.0}, {"USD": 1800.0}), ({"ETH": 1.0}, {"USD": 1500.0})],
        backing={"LST": ("ETH", 1.15)},
        ratio_feeds=True,
    )
    shock = {"ETH": -0.1}
    assert set(run_contagion(snapshot, Scenario(shocks=shock)).liquidations["account_id"]) == {"a0", "a1"}
    one = run_contagion(snapshot, Scenario(shocks=shock, frozen_feeds=["LST"]))
    assert set(one.liquidations["account_id"]) == {"a1"}
    assert run_contagion(snapshot, Scenario(shocks=shock, frozen_feeds=["eth"])).liquidations.empty
    with pytest.raises(ScenarioError, match="must be a list"):
        Scenario(frozen_feeds="ETH")


@pytest.mark.parametrize(
    "arguments",
    [
        {"arrival": "slowly"},
        {"liquidators": "some"},
        {"steps": 0},
        {"gas_usd": -1.0},
        {"gas_usd": float("nan")},
        {"stale_rounds": -1},
        {"rate_shocks": {"USD": -1.0}},
        {"rate_shocks": {"USD": float("nan")}},
    ],
)
def test_switches_out_of_range_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ScenarioError):
        Scenario(**arguments)  # type: ignore[arg-type]
