"""Rules that close whole accounts, each by an example solved by hand."""

from typing import Any

import numpy as np
import pytest

from defi_leverage.contagion.absorb_rules import draw
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from tests.books import Position, make_snapshot


def run(
    price: float,
    positions: list[Position],
    rule: str,
    weight: float,
    *,
    start: float = 2000.0,
    max_rounds: int = 50,
    venue_of: list[str] | None = None,
    **parameters: float,
) -> ContagionResult:
    """The rule on accounts of ETH against USD once ETH has fallen from `start` to `price`."""
    snapshot = make_snapshot(
        {"ETH": start, "USD": 1.0},
        positions,
        weights={"ETH": weight},
        bonus=0.0,
        rule=rule,
        parameters=parameters,
        venue_of=venue_of,
    )
    return run_contagion(snapshot, Scenario(shocks={"ETH": price / start - 1}, max_rounds=max_rounds))


def left(result: ContagionResult) -> dict[tuple[str, str], float]:
    legs = result.legs
    return {(row["account_id"], row["asset_id"]): row["amount_after"] for row in legs.to_dict("records")}


def only(result: ContagionResult) -> dict[str, Any]:
    (row,) = result.liquidations.to_dict("records")
    return {str(key): value for key, value in row.items()}


def test_a_buffer_pays_in_turn_and_may_be_filled_again() -> None:
    assert draw(np.array([3.0, 4.0]), 10.0).tolist() == [3, 4]
    assert draw(np.array([3.0, 4.0, -1.0, 4.0]), 5.0).tolist() == [3, 2, -1, 1]


def test_comet_credits_the_surplus_and_its_reserves_gain_the_rest() -> None:
    """16,000 of ETH against 13,000: credited 14,880; sold at 3.5 % off for 15,440: reserves gain 560."""
    result = run(1600, [({"ETH": 10.0}, {"USD": 13e3})], "comet", 0.8)
    row = only(result)
    assert left(result) == {("a0", "ETH"): 0, ("a0", "USD"): 0}
    assert row["repaid"] == pytest.approx(13e3)
    assert row["seized"] == row["sold"] == pytest.approx(10)
    assert row["bought"] == pytest.approx(15440)
    assert row["credit_usd"] == pytest.approx(1880)
    assert result.venues["buffer_drawn_usd"].tolist() == [pytest.approx(-560)]
    assert result.summary()["bad_debt_usd"] == 0


def test_comet_shortfall_hits_the_reserves_and_then_is_bad() -> None:
    """12,000 of ETH against 13,000 is sold for 11,580; of the 1,420 missing the reserves have 1,000."""
    result = run(1200, [({"ETH": 10.0}, {"USD": 13e3})], "comet", 0.8, reserves_usd=1000)
    assert only(result)["credit_usd"] == 0
    assert only(result)["repaid"] == pytest.approx(12580)
    assert result.summary()["bad_debt_usd"] == pytest.approx(420)
    assert result.venues["buffer_drawn_usd"].tolist() == [pytest.approx(1000)]


def test_comet_seizes_every_collateral() -> None:
    """ETH 8,000 and BTC 8,000 against 13,000: two rows, each with half of the debt."""
    snapshot = make_snapshot(
        {"BTC": 4e4, "ETH": 1600.0, "USD": 1.0},
        [({"ETH": 5.0, "BTC": 0.2}, {"USD": 13e3})],
        rule="comet",
        bonus=1 / 0.93 - 1,
    )
    result = run_contagion(snapshot, Scenario())
    assert result.liquidations["repaid"].tolist() == [pytest.approx(6500)] * 2
    assert sorted(result.liquidations["seized"]) == [pytest.approx(0.2), pytest.approx(5)]
    assert result.rounds["accounts"].tolist() == [1]
    assert result.liquidations["credit_usd"].sum() == pytest.approx(1880)


VAULT: Position = ({"ETH": 10.0}, {"USD": 11e3})


def test_maker_auctions_until_debt_and_penalty_are_raised() -> None:
    """A tab of 12,430 takes 7.76875 ETH at 1,600; the rest stays, the penalty goes to the surplus."""
    result = run(1600, [VAULT], "maker", 2 / 3)
    assert left(result) == {("a0", "ETH"): pytest.approx(2.23125), ("a0", "USD"): 0}
    assert only(result)["repaid"] == pytest.approx(11e3)
    assert only(result)["bought"] == pytest.approx(12430)
    assert result.venues["buffer_drawn_usd"].tolist() == [pytest.approx(-1430)]


def test_maker_surplus_pays_what_the_auction_does_not_raise() -> None:
    result = run(1000, [VAULT], "maker", 2 / 3, surplus_usd=400)
    assert only(result)["repaid"] == pytest.approx(10400)
    assert result.summary()["bad_debt_usd"] == pytest.approx(600)


def test_maker_hole_limits_what_a_round_auctions() -> None:
    """Of 15,000 the first tab takes 12,430; the rest is room for 2,570 / 1.13 of the second vault's debt."""
    result = run(1500, [VAULT, VAULT], "maker", 2 / 3, hole_usd=15e3, max_rounds=1)
    assert left(result)["a1", "USD"] == pytest.approx(11e3 - 2570 / 1.13)
    assert not result.converged
    ended = run(1500, [VAULT, VAULT], "maker", 2 / 3, hole_usd=15e3)
    assert ended.converged
    assert len(ended.rounds) == 2
    assert left(ended)["a1", "USD"] == 0


def test_maker_part_below_the_dust_waits() -> None:
    result = run(1600, [VAULT, VAULT], "maker", 2 / 3, hole_usd=15e3, dust_usd=3e3, max_rounds=1)
    assert left(result)["a1", "USD"] == 11e3


def test_maker_rest_below_the_dust_goes_too() -> None:
    result = run(1600, [VAULT, VAULT], "maker", 2 / 3, hole_usd=24e3, dust_usd=3e3, max_rounds=1)
    assert left(result)["a1", "USD"] == 0


def test_maker_global_hole_is_shared_by_ilks_in_their_order() -> None:
    result = run(1600, [VAULT, VAULT], "maker", 2 / 3, venue_of=["w", "v"], global_hole_usd=15e3, max_rounds=1)
    assert left(result)["a1", "USD"] == 0  # ilk v comes first
    assert left(result)["a0", "USD"] == pytest.approx(11e3 - 2570 / 1.13)


TROVES: list[Position] = [({"ETH": 10.0}, {"USD": 15e3}), ({"ETH": 30.0}, {"USD": 1e4}), ({"ETH": 10.0}, {"USD": 2e3})]


def test_liquity_v1_pool_first_then_the_other_troves() -> None:
    """The pool burns 9,000 for 5.97 ETH; 6,000 and 3.98 ETH go to the others, 3 : 1; 0.05 ETH to the liquidator."""
    result = run(1600, TROVES, "liquity_v1", 1 / 1.1, stability_pool_usd=9e3)
    row = only(result)
    assert row["repaid"] == pytest.approx(9e3)
    assert row["redistributed"] == pytest.approx(6e3)
    assert row["seized"] == pytest.approx(6.02)
    assert row["bought"] == 0
    assert left(result) == {
        ("a0", "ETH"): 0,
        ("a0", "USD"): 0,
        ("a1", "ETH"): pytest.approx(32.985),
        ("a1", "USD"): pytest.approx(14500),
        ("a2", "ETH"): pytest.approx(10.995),
        ("a2", "USD"): pytest.approx(3500),
    }
    assert result.venues["buffer_drawn_usd"].tolist() == [pytest.approx(9e3)]


def test_liquity_v1_last_trove_stays() -> None:
    result = run(1600, TROVES[:1], "liquity_v1", 1 / 1.1, stability_pool_usd=9e3)
    assert result.converged
    assert result.liquidations.empty
    assert result.summary()["liquidatable_after"] == 1


@pytest.mark.parametrize("rule", ["liquity_v1", "liquity_v2"])
def test_liquity_last_trove_stays_even_where_the_pool_covers_it(rule: str) -> None:
    """Of two that the pool covers, the first is closed; the contracts refuse the last one whatever is in the pool."""
    result = run(1600, [TROVES[0], TROVES[0]], rule, 1 / 1.1, stability_pool_usd=1e6)
    assert only(result)["account_id"] == "a0"
    assert left(result)["a1", "USD"] == 15e3
    assert result.summary()["liquidatable_after"] == 1


def test_liquity_v1_redistribution_may_bring_others_down() -> None:
    """Without a pool, a1 takes over all of a0, falls below 110 % itself, and stays as the last trove."""
    result = run(1600, [({"ETH": 10.0}, {"USD": 15900.0}), ({"ETH": 11.0}, {"USD": 15e3})], "liquity_v1", 1 / 1.1)
    assert left(result)["a1", "USD"] == pytest.approx(30900)
    assert left(result)["a1", "ETH"] == pytest.approx(20.95)
    assert result.health_after[1] == pytest.approx(20.95 * 1600 / 1.1 / 30900)
    assert result.health_after[1] < 1
    assert result.converged


def test_liquity_v2_caps_what_the_pool_and_the_others_receive() -> None:
    """Of 9,600 pro rata, 48 are for gas and 9,450 for the pool; the 102 beyond and 6,400 for the others (cap 6,600)."""
    result = run(1600, TROVES, "liquity_v2", 1 / 1.1, stability_pool_usd=9e3)
    assert only(result)["seized_usd"] == pytest.approx(48 + 9450)
    assert left(result)["a0", "ETH"] == 0
    assert left(result)["a1", "ETH"] == pytest.approx(30 + 0.75 * 6502 / 1600)
    assert left(result)["a2", "USD"] == pytest.approx(3500)


def test_liquity_v2_redistribution_pays_no_gas_compensation() -> None:
    """With an empty pool, all of 16,000 goes to the others, 3 : 1 (cap 16,500): pull request 889 of liquity/bold."""
    result = run(1600, TROVES, "liquity_v2", 1 / 1.1)
    assert only(result)["seized_usd"] == pytest.approx(0, abs=1e-9)
    assert left(result)["a1", "ETH"] == pytest.approx(37.5)
    assert left(result)["a2", "ETH"] == pytest.approx(12.5)


def test_liquity_v2_surplus_stays_with_the_owner() -> None:
    result = run(1600, TROVES, "liquity_v2", 1 / 1.1, stability_pool_usd=2e4)
    assert left(result)["a0", "ETH"] == pytest.approx((15920 - 15750) / 1600)
    assert left(result)["a1", "USD"] == 1e4


LOAN: Position = ({"ETH": 10.0}, {"USD": 12e3})  # at weight 0.8 the highest band begins at 1,500
FIRST, SECOND = 1500 * 0.9**0.5, 1500 * 0.9**1.5


def test_crvusd_sells_the_bands_that_the_price_has_passed() -> None:
    """At 1,350 the first of two bands (1,500 to 1,350) is sold at its geometric mean, 1,423; the debt falls by that."""
    result = run(1350, [LOAN], "crvusd", 0.8, bands=2, amplification=10)
    assert left(result) == {("a0", "ETH"): pytest.approx(5), ("a0", "USD"): pytest.approx(12e3 - 5 * FIRST)}
    assert result.converged
    half = run(1425, [LOAN], "crvusd", 0.8, bands=2, amplification=10)
    assert left(half)["a0", "ETH"] == pytest.approx(7.5)


def test_crvusd_through_all_bands_leaves_stablecoin() -> None:
    result = run(700, [LOAN], "crvusd", 0.8, bands=2, amplification=10)
    assert left(result) == {("a0", "ETH"): 0, ("a0", "USD"): 0}
    assert only(result)["credit_usd"] == pytest.approx(5 * FIRST + 5 * SECOND - 12e3)


def test_crvusd_jump_of_the_oracle_ends_in_hard_liquidation() -> None:
    """In one jump the band pays 1350^3 / (1500 * 1350) = 1,215; (6,075 + 6,403.6) * 0.94 is below 12,000."""
    result = run(1350, [LOAN], "crvusd", 0.8, jump=1.0, bands=2, amplification=10)
    assert left(result) == {("a0", "ETH"): 0, ("a0", "USD"): 0}
    assert only(result)["repaid"] == pytest.approx(12e3)
    assert result.summary()["bad_debt_usd"] == 0
    deep = run(700, [LOAN], "crvusd", 0.8, jump=1.0, bands=2, amplification=10)
    paid = 5 * 700**3 / (1500 * 1350) + 5 * 700**3 / (1350 * 1215)
    assert deep.summary()["bad_debt_usd"] == pytest.approx(12e3 - paid)


def test_parameters_out_of_range_are_refused() -> None:
    with pytest.raises(ScenarioError, match="bands 0 of crvusd must be a whole number of at least 1"):
        run(1350, [LOAN], "crvusd", 0.8, bands=0)
    with pytest.raises(ScenarioError, match=r"liquidation_factor 1.2 of comet must be a fraction"):
        run(1350, [LOAN], "comet", 0.8, liquidation_factor=1.2)
