"""LLAMMA's bands by hand: edges, what is left of a loan on the way down, health."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defi_leverage.health_llamma import band_top, llamma_health, trade_to_oracle, x_down, y_up

A = 100.0
TOP = np.array([1000.0, 990.0])  # two bands
NONE, TWO = np.zeros(2), np.array([2.0, 2.0])


def test_each_band_is_a_hundredth_lower_than_the_one_above() -> None:
    assert band_top(0, 1000.0, A) == 1000.0
    assert band_top(np.array([1, 2, -1]), 1000.0, A) == pytest.approx([990, 980.1, 1000 / 0.99], rel=1e-15)


def test_collateral_above_which_the_price_stands_is_worth_the_geometric_means_of_its_bands() -> None:
    expected = 2 * np.sqrt(1000 * 990) + 2 * np.sqrt(990 * 980.1)
    assert x_down(NONE, TWO, TOP, 1200.0, A) == pytest.approx(expected, rel=1e-14)
    assert y_up(NONE, TWO, TOP, 1200.0, A) == pytest.approx(4.0, rel=1e-14)


def test_stablecoin_below_which_the_price_stands_is_itself() -> None:
    assert x_down(TWO, NONE, TOP, 900.0, A) == pytest.approx(4.0, rel=1e-14)
    assert y_up(TWO, NONE, TOP, 900.0, A) == pytest.approx(2 / np.sqrt(1000 * 990) + 2 / np.sqrt(990 * 980.1))


def test_a_price_that_jumps_across_a_band_pays_its_cube_over_the_edges() -> None:
    """At an oracle price of 900 the pool offers a band's collateral at p^3 / (p_up p_down), far below 900."""
    x, y = trade_to_oracle(NONE, TWO, TOP, 900.0, A)
    assert y.tolist() == [0.0, 0.0]
    assert x == pytest.approx([2 * 900**3 / (1000 * 990), 2 * 900**3 / (990 * 980.1)], rel=1e-13)


def test_a_price_that_falls_slowly_loses_next_to_nothing() -> None:
    x, y = NONE, TWO
    before = float(x_down(x, y, TOP, 1000.0, A))
    for price in np.linspace(1000, 970, 4001):
        x, y = trade_to_oracle(x, y, TOP, float(price), A)
    assert float(x.sum()) == pytest.approx(before, rel=2e-5)


def test_health_is_discounted_and_counts_what_is_above_the_bands_when_full() -> None:
    assert llamma_health(900.0, 1000.0, 0.06) == pytest.approx(940 / 900 - 1)
    assert llamma_health(900.0, 1000.0, 0.06, 4.0, 50.0) == pytest.approx(1140 / 900 - 1)
    assert llamma_health(0.0, 1000.0, 0.06) == np.inf


@given(st.floats(900, 1100), st.floats(900, 1100), st.floats(0, 5), st.floats(0, 5))
def test_a_trade_keeps_the_pool_at_the_oracle(first: float, price: float, one: float, other: float) -> None:
    """Trading to the oracle twice is trading once, and what the pool holds never is negative."""
    x, y = trade_to_oracle(NONE, np.array([one, other]), TOP, first, A)
    x, y = trade_to_oracle(x, y, TOP, price, A)
    assert (x >= 0).all()
    assert (y >= 0).all()
    again = trade_to_oracle(x, y, TOP, price, A)
    np.testing.assert_allclose(again, (x, y), 1e-9, 1e-9)
