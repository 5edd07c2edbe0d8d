"""Perpetual futures: liquidation, insurance fund and auto-deleveraging, by examples solved by hand."""

import numpy as np
import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.perp_rules import auto_deleverage
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot
from tests.books import Position, make_snapshot

LONG: Position = ({"ETH": 10.0, "USD": 2e3}, {"USD": 2e4})  # 10 ETH at 2,000 with 2,000 of margin
SHORTS: list[Position] = [({"USD": 11e3}, {"ETH": 5.0}), ({"USD": 4500.0}, {"ETH": 2.0})]


def perps(
    positions: list[Position], margin: float, rule: str = "perp_full", start: float = 2000.0, **parameters: float
) -> Snapshot:
    """Longs and shorts of ETH against USD with one maintenance margin ratio."""
    snapshot = make_snapshot(
        {"ETH": start, "USD": 1.0},
        positions,
        weights={"ETH": 1 - margin, "USD": 1.0},
        bonus=0.0,
        rule=rule,
        parameters=parameters,
    )
    tables = snapshot.tables
    short = (tables["legs"]["side"] == "debt") & (tables["legs"]["asset_id"] == "ETH")
    tables["legs"] = tables["legs"].assign(weight=tables["legs"]["weight"].mask(short, 1 + margin))
    return Snapshot.from_tables(tables)


def run(price: float, positions: list[Position], rule: str = "perp_full", **parameters: float) -> ContagionResult:
    snapshot = perps(positions, 0.05, rule, **parameters)
    return run_contagion(snapshot, Scenario(shocks={"ETH": price / 2000 - 1}))


def left(result: ContagionResult, account: str, side: str, asset: str) -> float:
    return float(result.legs.set_index(["account_id", "side", "asset_id"])["amount_after"].loc[account, side, asset])


@pytest.mark.parametrize(
    ("quantity", "margin", "side", "price"),
    [(1, 2 / 3, "long", 0.3704), (4, 8 / 3, "short", 1.5152), (1, 2 / 19, "long", 0.9942)],
)
def test_liquidation_prices_of_chitra(quantity: float, margin: float, side: str, price: float) -> None:
    """Positions B, C and D of Chitra (2025), entry 1, maintenance 0.1: the health factor is 1 at these prices."""
    long: Position = ({"ETH": quantity, "USD": margin}, {"USD": quantity})
    short: Position = ({"USD": quantity + margin}, {"ETH": quantity})
    snapshot = perps([long if side == "long" else short], 0.1, start=1.0)
    result = run_contagion(snapshot, Scenario(shocks={"ETH": price - 1}, max_rounds=1))
    better = 1e-4 if side == "long" else -1e-4
    assert run_contagion(snapshot, Scenario(shocks={"ETH": price + better - 1})).liquidations.empty
    worse = run_contagion(snapshot, Scenario(shocks={"ETH": price - better - 1}))
    assert len(worse.liquidations)
    assert result.health_before[0] > 1


@pytest.mark.parametrize(
    ("pro_rata", "queue", "remaining"),
    [(0.0, [1, 0, 2], [7.5, 0.0, 1.0]), (1.0, [0, 1, 2], [5.3125, 2.65625, 0.53125])],
)
def test_auto_deleveraging_of_chitra(pro_rata: float, queue: list[int], remaining: list[float]) -> None:
    """A budget of 7.5 over equity (10, 5, 1): the queue 2, 1, 3 leaves (7.5, 0, 1), pro rata (5.3125, ...)."""
    equity = np.array([10.0, 5.0, 1.0])
    equity[queue] -= auto_deleverage(7.5, equity[queue], pro_rata)
    assert equity.tolist() == pytest.approx(remaining)


def test_auto_deleveraging_takes_no_more_than_there_is() -> None:
    assert auto_deleverage(100.0, np.array([10.0, -5.0]), 0.5).tolist() == [10, 0]
    assert auto_deleverage(100.0, np.array([-5.0]), 1.0).tolist() == [0]


def test_a_long_below_its_maintenance_margin_is_closed_and_paid_out() -> None:
    """At 1,880 equity is 800: the fee of 1 % of 18,800 fills the insurance fund, 612 go back to the trader."""
    result = run(1880, [LONG], liquidation_fee=0.01)
    assert result.liquidations["sold"].sum() == pytest.approx(10)
    assert result.liquidations["bought"].sum() == 0
    assert result.liquidations["credit_usd"].sum() == pytest.approx(612)
    assert result.venues["buffer_drawn_usd"].tolist() == [pytest.approx(-188)]
    assert not result.amount.any()
    assert result.net_sales.tolist() == [pytest.approx(10), 0]


def test_a_short_is_bought_back() -> None:
    result = run(2100, SHORTS[:1])
    assert result.net_sales.tolist() == [pytest.approx(-5), 0]
    assert result.liquidations["credit_usd"].sum() == pytest.approx(500)


@pytest.mark.parametrize(("pro_rata", "cuts"), [(1.0, (700 * 25 / 36, 700 * 11 / 36)), (0.0, (700.0, 0.0))])
def test_a_bankrupt_long_costs_the_insurance_fund_and_then_the_shorts(
    pro_rata: float, cuts: tuple[float, float]
) -> None:
    """At 1,700 it owes 1,000 more than it has; the fund has 300; the shorts' equity is 2,500 and 1,100."""
    result = run(1700, [LONG, *SHORTS], insurance_fund_usd=300, pro_rata=pro_rata)
    assert result.venues.to_numpy().tolist() == [[pytest.approx(300), pytest.approx(700)]]
    assert result.summary()["bad_debt_usd"] == 0
    assert left(result, "a1", "collateral", "USD") == pytest.approx(11e3 - cuts[0])
    assert left(result, "a2", "collateral", "USD") == pytest.approx(4500 - cuts[1])


def test_what_nobody_can_pay_is_bad_debt() -> None:
    result = run(1700, [LONG], insurance_fund_usd=300)
    assert result.summary()["bad_debt_usd"] == pytest.approx(700)
    assert result.liquidations["repaid_usd"].sum() == pytest.approx(19300)


def test_a_large_long_is_closed_by_a_fifth() -> None:
    """100 ETH at 1,880: 20 are sold for 37,600, less the fee of 376 that reduces the debt; then it is healthy."""
    result = run(1880, [({"ETH": 100.0, "USD": 2e4}, {"USD": 2e5})], "perp_partial", liquidation_fee=0.01)
    assert len(result.rounds) == 1
    assert left(result, "a0", "collateral", "ETH") == pytest.approx(80)
    assert left(result, "a0", "collateral", "USD") == pytest.approx(2e4)
    assert left(result, "a0", "debt", "USD") == pytest.approx(162776)
    assert result.health_after[0] == pytest.approx((142880 + 2e4) / 162776)
    assert result.venues["buffer_drawn_usd"].tolist() == [pytest.approx(-376)]


def test_a_large_short_takes_two_rounds() -> None:
    """100 ETH short at 2,120: 20 cost 42,400 of its collateral, which is not enough; 16 more are."""
    result = run(2120, [({"USD": 22e4}, {"ETH": 100.0})], "perp_partial")
    assert len(result.rounds) == 2
    assert left(result, "a0", "debt", "ETH") == pytest.approx(64)
    assert left(result, "a0", "collateral", "USD") == pytest.approx(143680)


def test_a_small_position_is_closed_whole() -> None:
    assert not run(1880, [LONG], "perp_partial").amount.any()
