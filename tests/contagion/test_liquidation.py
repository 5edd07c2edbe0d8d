"""Liquidation rules, each by an example solved by hand."""

import numpy as np
import pytest

from defi_leverage.contagion.liquidation import Liquidatable, aave_v3, aave_v3_3, seize
from defi_leverage.health import health_factor


def accounts(*, factor: float, debt: float, collateral: float, total: float | None = None) -> Liquidatable:
    return Liquidatable(
        np.array([factor]), np.array([total or debt]), np.array([debt]), np.array([collateral]), np.array([0.05])
    )


@pytest.mark.parametrize(("factor", "share"), [(0.99, 0.5), (0.9500001, 0.5), (0.95, 1.0), (0.2, 1.0)])
def test_aave_v3_close_factor(factor: float, share: float) -> None:
    assert aave_v3(accounts(factor=factor, debt=1000.0, collateral=1200.0)) == pytest.approx(1000 * share)


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
    assert aave_v3_3(accounts(factor=factor, debt=debt, total=total, collateral=collateral)) == pytest.approx(repaid)


def test_seizure_is_capped_and_the_repayment_scaled_down() -> None:
    repaid, seized = seize(np.array([100.0, 100.0]), np.array([500.0, 84.0]), np.array([0.05, 0.05]))
    assert repaid.tolist() == pytest.approx([100.0, 80.0])
    assert seized.tolist() == pytest.approx([105.0, 84.0])


@pytest.mark.parametrize(("ltv", "improves"), [(0.952, True), (0.953, False)])
def test_a_liquidation_lowers_health_beyond_the_toxic_ltv(ltv: float, improves: bool) -> None:
    """With a 5 % incentive and no slippage a liquidation lowers health iff LTV > 1 / 1.05 (Warmuz et al.)."""
    collateral, debt = 100.0, 100.0 * ltv
    repaid, seized = seize(np.array([1.0]), np.array([collateral]), np.array([0.05]))
    before, after = health_factor(collateral, debt), health_factor(collateral - seized, debt - repaid)
    assert (after > before).item() is improves
