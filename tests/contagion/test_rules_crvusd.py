"""Soft liquidation of loans that say their own bands, discount, and what they have sold already; by hand."""

import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot
from tests.books import Position, make_snapshot

A = 10.0  # a band is a tenth as high as its upper edge


def run(
    price: float,
    position: Position,
    weight: float,
    mode: str,
    *,
    bonus: float = 0.0,
    jump: float = 0.0,
    of_usd: float = 1.0,
) -> ContagionResult:
    """ETH falls from 2,000. The weight makes the health factor 1 where it meets the bands, USD counts in full."""
    base = make_snapshot(
        {"ETH": 2_000.0, "USD": 1.0},
        [position],
        weights={"ETH": weight, "USD": of_usd},
        bonus=bonus,
        rule="crvusd",
        parameters={"amplification": A, "jump": jump},
    )
    accounts = base.accounts.assign(mode=mode)
    snapshot = Snapshot.from_tables(base.tables | {"accounts": accounts})
    return run_contagion(snapshot, Scenario(shocks={"ETH": price / 2_000 - 1}))


def left(result: ContagionResult) -> dict[tuple[str, str], float]:
    """(side, asset) -> tokens."""
    legs = result.legs
    return dict(zip(zip(legs["side"], legs["asset_id"], strict=True), legs["amount_after"], strict=True))


LOAN: Position = ({"ETH": 10.0}, {"USD": 12e3})  # at weight 0.8 the highest band begins at 1,500
FIRST, SECOND, HALF = 1500 * 0.9**0.5, 1500 * 0.9**1.5, 1500 * 0.9**2.25


def test_two_and_a_half_bands_hold_four_four_and_two_of_ten() -> None:
    assert left(run(1_350, LOAN, 0.8, "bands:2.5")) == {
        ("collateral", "ETH"): pytest.approx(6),
        ("debt", "USD"): pytest.approx(12e3 - 4 * FIRST),
    }
    through = run(1_100, LOAN, 0.8, "bands:2.5")  # the lowest ends at 1500 * 0.9^2.5 = 1,153
    assert left(through)["collateral", "ETH"] == pytest.approx(0, abs=1e-9)
    assert left(through)["debt", "USD"] == pytest.approx(max(0.0, 12e3 - 4 * FIRST - 4 * SECOND - 2 * HALF))


def test_a_mode_without_bands_takes_the_venue_s() -> None:
    light: Position = ({"ETH": 10.0}, {"USD": 6e3})
    for mode in ("cross", "bands:"):
        assert left(run(1_350, light, 0.4, mode))["collateral", "ETH"] == pytest.approx(9)  # one of ten bands
    assert left(run(1_350, light, 0.4, "bands:4"))["collateral", "ETH"] == pytest.approx(7.5)


HALFWAY: Position = ({"ETH": 10.0, "USD": 3e3}, {"USD": 15e3})  # (10 * 1,500 * 0.8 + 3,000) / 15,000 = 1


def test_what_is_sold_already_stays_and_the_rest_begins_at_its_own_edge() -> None:
    calm = run(1_500, HALFWAY, 0.8, "bands:2")
    assert calm.health_before == pytest.approx([19 / 15])
    assert calm.rounds_recorded == ()
    assert left(run(1_350, HALFWAY, 0.8, "bands:2")) == {
        ("collateral", "ETH"): pytest.approx(5),
        ("collateral", "USD"): 3_000,
        ("debt", "USD"): pytest.approx(15e3 - 5 * FIRST),
    }


def test_hard_liquidation_takes_what_is_sold_too_and_buys_only_the_rest() -> None:
    """In one jump the band pays 1,215: (3,000 + 6,075 + 6,403.6) * 0.94 is below 15,000; with 2 % off it is not."""
    result = run(1_350, HALFWAY, 0.8, "bands:2", bonus=0.06 / 0.94, jump=1.0)
    assert set(left(result).values()) == {0.0}
    assert result.summary()["bad_debt_usd"] == 0
    assert dict(zip(result.book.symbols, result.net_sales, strict=True)) == pytest.approx({"ETH": 10, "USD": -12e3})
    mild = run(1_350, HALFWAY, 0.8, "bands:2", bonus=0.02 / 0.98, jump=1.0)
    assert left(mild)["collateral", "USD"] == 3_000
    assert left(mild)["debt", "USD"] == pytest.approx(15e3 - 6_075)


def test_what_may_be_liquidated_whole_is_not_sold_at_prices_that_have_passed() -> None:
    """10 ETH at 1,300 against 15,000: 2,000 are bad. Bands from 1,500 on would have been sold at 1,423 and 1,281."""
    under: Position = ({"ETH": 10.0}, {"USD": 15e3})
    result = run(1_300, under, 1.0, "bands:0")
    assert set(left(result).values()) == {0.0}
    assert result.summary()["bad_debt_usd"] == pytest.approx(2e3)
    softly = 5 * FIRST + 5 * 50 / 135 * SECOND + 5 * 85 / 135 * 1_300
    assert run(1_300, under, 1.0, "bands:2").summary()["bad_debt_usd"] == pytest.approx(15e3 - softly)
    solvent = run(1_300, LOAN, 0.9, "bands:0")  # 13,000 against 12,000: the liquidator has the rest
    assert dict(zip(solvent.book.symbols, solvent.net_sales, strict=True)) == pytest.approx({"ETH": 10, "USD": -12e3})
    assert solvent.summary()["bad_debt_usd"] == 0


def test_what_is_all_sold_is_closed_out_of_what_it_got() -> None:
    """13,000 USD at weight 0.9 against 12,000: nothing is bought, nothing bad, and the owner loses what is beyond."""
    result = run(1_900, ({"USD": 13e3}, {"USD": 12e3}), 0.8, "bands:0", of_usd=0.9)
    assert set(left(result).values()) == {0.0}
    assert result.summary()["bad_debt_usd"] == 0
    assert result.net_sales[list(result.book.symbols).index("USD")] == 0


def test_what_nothing_is_left_of_but_too_little_stablecoin_is_bad_debt() -> None:
    result = run(1_900, ({"USD": 9e3}, {"USD": 12e3}), 0.8, "isolated")
    assert result.summary()["bad_debt_usd"] == pytest.approx(3e3)
    assert result.net_sales[list(result.book.symbols).index("USD")] == 0
