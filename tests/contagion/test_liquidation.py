"""Liquidation rules, each by an example solved by hand."""

from functools import partial

import numpy as np
import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.liquidation import (
    PAIR_RULES,
    aave_v2,
    aave_v3,
    aave_v3_3,
    compound_v2,
    euler_v2,
    morpho_blue,
    seize,
)
from defi_leverage.contagion.pair_kernels import apply_rules
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.health import health_factor
from tests.books import make_snapshot


def account(
    *,
    factor: float,
    debt: float,
    collateral: float,
    total: float | None = None,
    bonus: float = 0.05,
    weight: float = 0.8,
    fee: float = 0.0,
) -> tuple[float, ...]:
    """What a rule is told of one account below 1."""
    return factor, total or debt, debt, collateral, bonus, weight, fee


@pytest.mark.parametrize(("factor", "share"), [(0.99, 0.5), (0.9500001, 0.5), (0.95, 1.0), (0.2, 1.0)])
def test_aave_v3_close_factor(factor: float, share: float) -> None:
    assert aave_v3(*account(factor=factor, debt=1000.0, collateral=1200.0)).repaid == pytest.approx(1000 * share)


@pytest.mark.parametrize(
    ("debt", "total", "collateral", "factor", "repaid"),
    [
        (10_000.0, 10_000.0, 12_000.0, 0.99, 5_000.0),  # half of the total debt
        (10_000.0, 40_000.0, 50_000.0, 0.99, 10_000.0),  # the leg is less than half of the total debt: all of it
        (10_000.0, 10_000.0, 12_000.0, 0.95, 10_000.0),  # deep: all of it
        (1_999.0, 40_000.0, 50_000.0, 0.99, 1_999.0),  # a small debt: all of it
        (10_000.0, 10_000.0, 1_999.0, 0.99, 10_000.0),  # little collateral: all of it (the collateral will cap it)
        (2_500.0, 3_400.0, 60_000.0, 0.99, 1_500.0),  # half of the total (1,700) would leave 800 of the debt
        (6_000.0, 6_000.0, 4_000.0, 0.99, 3_000 / 1.05),  # half (3,000) would leave 850 of the collateral
    ],
)
def test_aave_v3_3_close_factor(debt: float, total: float, collateral: float, factor: float, repaid: float) -> None:
    assert aave_v3_3(*account(factor=factor, debt=debt, total=total, collateral=collateral)).repaid == pytest.approx(
        repaid
    )


def test_seizure_is_capped_and_the_repayment_scaled_down() -> None:
    assert seize(100.0, 100.0, 500.0, 0.05) == pytest.approx((100.0, 105.0))
    assert seize(100.0, 100.0, 84.0, 0.05) == pytest.approx((80.0, 84.0))
    assert seize(100.0, 60.0, 500.0, 0.05) == pytest.approx((60.0, 63.0))  # never more than is owed


@pytest.mark.parametrize(("ltv", "improves"), [(0.952, True), (0.953, False)])
def test_a_liquidation_lowers_health_beyond_the_toxic_ltv(ltv: float, improves: bool) -> None:
    """With a 5 % incentive and no slippage a liquidation lowers health iff LTV > 1 / 1.05 (Warmuz et al.)."""
    collateral, debt = 100.0, 100.0 * ltv
    repaid, seized = seize(1.0, debt, collateral, 0.05)
    before, after = health_factor(collateral, debt), health_factor(collateral - seized, debt - repaid)
    assert (after > before).item() is improves


@pytest.mark.parametrize("factor", [0.99, 0.2])
def test_aave_v2_repays_half_however_deep(factor: float) -> None:
    assert aave_v2(*account(factor=factor, debt=1000.0, collateral=1200.0)).repaid == pytest.approx(500)


def test_the_fee_of_aave_is_a_share_of_the_bonus() -> None:
    """Of 105 seized for 100, a fee of 10 % of the bonus keeps 0.5."""
    terms = aave_v3(*account(factor=0.99, debt=1000.0, collateral=1200.0, fee=0.1))
    assert terms.kept * 105 == pytest.approx(0.5)


def test_compound_v2_keeps_a_share_of_the_seizure() -> None:
    """10 ETH at 1,800 against 15,000: half is repaid, 8,100 (4.5 ETH) seized, 2.8 % of that goes to the reserves."""
    snapshot = make_snapshot(
        {"ETH": 1800.0, "USD": 1.0}, [({"ETH": 10.0}, {"USD": 15e3})], bonus=0.0, rule="compound_v2"
    )
    row = run_contagion(snapshot, Scenario(max_rounds=1)).liquidations.iloc[0]
    assert row["repaid"] == pytest.approx(7500)
    assert row["seized"] == pytest.approx(4.5)
    assert row["protocol_fee"] == pytest.approx(0.126)
    assert row["sold"] == pytest.approx(4.374)
    assert compound_v2(*account(factor=0.9, debt=1.0, collateral=2.0, bonus=0.1)).bonus == pytest.approx(0.1)


def test_the_fee_of_a_leg_goes_before_the_share_of_the_venue() -> None:
    """Venus: half of an incentive of 10 % is 0.05 of the 1.10 seized. Compound: 0.378 of 8 % is 2.8 % of 1.08."""
    figures = account(factor=0.9, debt=1.0, collateral=2.0, bonus=0.1, fee=0.5)
    assert partial(compound_v2, protocol_share=0.0)(*figures).kept == pytest.approx(0.05 / 1.1)
    figures = account(factor=0.9, debt=1.0, collateral=2.0, bonus=0.08, fee=0.378)
    assert partial(compound_v2, protocol_share=0.0)(*figures).kept == pytest.approx(0.028)


@pytest.mark.parametrize(
    ("lltv", "factor"), [(0.86, 1.0438413361), (0.915, 1.0261672653), (0.965, 1.0106114199), (0.385, 1.15)]
)
def test_morpho_blue_incentive_follows_from_the_lltv(lltv: float, factor: float) -> None:
    """min(1.15, 1 / (1 - 0.3 * (1 - LLTV))) at LLTVs that Morpho has enabled."""
    terms = morpho_blue(*account(factor=0.9, debt=100.0, collateral=200.0, bonus=0.0, weight=lltv))
    assert 1 + terms.bonus == pytest.approx(factor, abs=1e-9)
    assert terms.repaid == 100
    assert morpho_blue(*account(factor=0.9, debt=1.0, collateral=2.0, weight=lltv)).bonus == 0.05


def test_morpho_blue_writes_bad_debt_off_at_once() -> None:
    """10 ETH at 1,500 at LLTV 0.86 pay 15,000 * 0.958 = 14,370 of 15,000."""
    snapshot = make_snapshot(
        {"ETH": 1500.0, "USD": 1.0},
        [({"ETH": 10.0}, {"USD": 15e3})],
        weights={"ETH": 0.86},
        bonus=0.0,
        rule="morpho_blue",
    )
    result = run_contagion(snapshot, Scenario())
    assert result.rounds[["repaid_usd", "bad_debt_usd"]].to_numpy().tolist() == [
        [pytest.approx(14370), pytest.approx(630)]
    ]


@pytest.mark.parametrize(("factor", "seized"), [(0.99, 900 / 0.99), (0.9, 1000.0), (0.5, 900 / 0.85)])
def test_euler_v2_discount_grows_with_the_violation(factor: float, seized: float) -> None:
    terms = euler_v2(*account(factor=factor, debt=900.0, collateral=2000.0))
    assert terms.repaid * (1 + terms.bonus) == pytest.approx(seized)


def test_the_compiled_rules_are_the_same_functions() -> None:
    """All rules, with parameters of their venues and at their thresholds, to the last bit."""
    random, rows = np.random.default_rng(0), 5000
    columns = np.stack(
        [
            random.choice([0.0, 0.5, 0.95, 0.99], rows),
            random.uniform(1e3, 1e4, rows),
            random.choice([900.0, 2000.0, 2500.0, 9e3], rows),
            random.choice([0.0, 900.0, 2000.0, 2500.0, 9e3], rows),
            random.choice([0.0, 0.05, 0.1], rows),
            random.uniform(0.1, 1, rows),
            random.choice([0.0, 0.1], rows),
        ]
    )
    rules = [partial(rule) for rule in PAIR_RULES.values()]
    rules += [partial(aave_v3, full_close_health_factor=0.5), partial(compound_v2, close_factor=1, protocol_share=0.1)]
    rules += [partial(euler_v2, maximum_discount=1.0)]
    venue = random.integers(0, len(rules), rows).astype(np.int32)
    expected = []
    for at, (factor, total, debt, collateral, *rest) in zip(venue, columns.T.tolist(), strict=True):
        terms = rules[at](factor, total, debt, collateral, *rest)
        expected.append((*seize(terms.repaid, debt, collateral, terms.bonus), terms.kept))
    assert np.array_equal(apply_rules(rules, venue, columns), np.array(expected).T)
