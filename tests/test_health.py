"""Formulas against published figures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defi_leverage.health import (
    account_health,
    average_threshold_weighted,
    fall_to_liquidation,
    health_factor,
    leverage,
    liquidation_price_long,
    liquidation_price_short,
    loop_health_factor,
    loop_leverage,
    loop_leverage_limit,
    ltv,
    net_yield,
)
from tests.books import cell, make_snapshot


@pytest.mark.parametrize(
    ("loan_to_value", "loops", "expected"), [(0.8, 5, 3.68928), (0.75, 3, 2.734375), (0.93, 4, 4.347309)]
)
def test_loop_leverage(loan_to_value: float, loops: int, expected: float) -> None:
    """L_n = (1 - l^(n+1)) / (1 - l), computed independently."""
    assert loop_leverage(loan_to_value, loops) == pytest.approx(expected, abs=5e-7)
    by_hand = sum(loan_to_value**turn for turn in range(loops + 1))
    assert loop_leverage(loan_to_value, loops) == pytest.approx(by_hand)


def test_loop_limits() -> None:
    assert loop_leverage_limit(0.8) == pytest.approx(5.0)
    assert loop_health_factor(0.95, loop_leverage(0.93, 4)) == pytest.approx(1.233810, abs=5e-7)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        loop_leverage(1.0, 3)


def test_fall_to_liquidation_of_a_12x_loop() -> None:
    """12x, threshold 0.95: HF 1.036364 and eligible after a fall of 3.5088 % (Gatto 2026)."""
    factor = loop_health_factor(0.95, 12)
    assert factor == pytest.approx(1.036364, abs=5e-7)
    assert fall_to_liquidation(factor) == pytest.approx(0.035088, abs=5e-7)
    assert fall_to_liquidation(np.inf) == 1
    assert fall_to_liquidation(0.0) == -np.inf


def test_carry_is_zero_at_the_break_even_rate() -> None:
    assert net_yield(3.0, 0.04, 0.04 * 3 / 2) == pytest.approx(0)


@pytest.mark.parametrize(("margin", "size", "expected"), [(2 / 3, 1, 0.3704), (2 / 19, 1, 0.9942)])
def test_liquidation_price_of_longs(margin: float, size: float, expected: float) -> None:
    """Positions B and D of Chitra (2025): entry 1, maintenance margin 0.1."""
    assert liquidation_price_long(1.0, size, margin, 0.1) == pytest.approx(expected, abs=5e-5)


def test_liquidation_price_of_a_short() -> None:
    assert liquidation_price_short(1.0, 4.0, 8 / 3, 0.1) == pytest.approx(1.5152, abs=5e-5)


@given(st.floats(0.1, 10), st.floats(0.1, 100), st.floats(0.01, 0.5), st.floats(0.01, 0.3))
def test_perps_are_weighted_legs(entry: float, size: float, margin_share: float, maintenance: float) -> None:
    """A long as a collateral leg at weight 1-m and a debt leg of S*E: HF is 1 exactly at the liquidation price."""
    margin = margin_share * size * entry
    price = liquidation_price_long(entry, size, margin, maintenance)
    assert health_factor(size * price * (1 - maintenance) + margin, size * entry) == pytest.approx(1.0)
    price = liquidation_price_short(entry, size, margin, maintenance)
    assert health_factor(size * entry + margin, size * price * (1 + maintenance)) == pytest.approx(1.0)


def test_the_edges_have_names() -> None:
    assert health_factor(5.0, 0.0) == math.inf
    assert health_factor(0.0, 5.0) == 0
    assert ltv(0.0, 5.0) == math.inf
    assert ltv(0.0, 0.0) == 0
    assert np.isnan(leverage(100.0, 100.0))
    assert leverage(100.0, 75.0) == 4


@given(st.integers(0, 10000), st.floats(1, 1e12))
def test_a_single_threshold_is_not_cut(threshold_bps: int, value: float) -> None:
    weighted = np.array([value * (threshold_bps / 1e4)])
    assert average_threshold_weighted(weighted, np.array([value]))[0] == pytest.approx(weighted[0], rel=1e-12)


def test_account_health() -> None:
    snapshot = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0},
        [({"ETH": 1.0, "USD": 1000.0}, {"USD": 1200.0}), ({"ETH": 1.0}, {}), ({"ETH": 1.0}, {"USD": 2500.0})],
        weights={"USD": 0.0},
    )
    table = account_health(snapshot)
    first = table.loc["a0"]
    assert first["supplied_usd"] == 3000
    assert first["collateral_usd"] == 2000
    assert first["health_factor"] == pytest.approx(1600 / 1200)
    assert first["ltv"] == pytest.approx(0.6)
    assert first["leverage"] == pytest.approx(3000 / 1800)
    assert table.loc["a1", "health_factor"] == np.inf
    assert np.isnan(cell(table, "a2", "leverage"))
    assert table.loc["a2", "equity_usd"] == -500
