"""What venues of perps add to the rules: parts by margin ratio, fees that are owed, no deleveraging, haircut margin."""

from dataclasses import replace

import numpy as np
import pytest

from defi_leverage.contagion.absorb_rules import Vaults
from defi_leverage.contagion.perp_rules import perp_full, perp_partial

CURIE = {
    "close_fraction": 0.5,
    "partial_above_usd": 100.0,
    "liquidation_fee": 0.025,
    "insurance_fund_usd": 1_000.0,
    "deleverage": 0.0,
    "whole_below": 0.5,
    "fund_share": 0.5,
    "fee_is_owed": 1.0,
    "haircut_margin": 1.0,
}


def long(value: float, margin: float, owed: float, ratio: float = 0.0625, scale: float = 1.0) -> Vaults:
    """A long worth `value`, margin, and what was paid for it."""
    values = np.array([value, margin, owed]) * scale
    return Vaults(
        owner=np.zeros(3, np.int64),
        is_debt=np.array([False, False, True]),
        value=values,
        initial=values,
        weight=np.array([1 - ratio, 1.0, 1.0]),
        bonus=np.zeros(3),
        has_takers=np.zeros(1, bool),
    )


def test_half_is_closed_above_half_of_the_margin_requirement() -> None:
    """10,000 of notional, 625 required, 400 there: 5,000 is sold, 125 is the penalty, half of it the fund's."""
    done = perp_partial(long(10_000, 1_000, 10_600), **CURIE)
    assert done.taken.tolist() == pytest.approx([5_000, 0, 4_875])
    assert (done.drawn[0], done.bad[0], done.pro_rata) == (pytest.approx(-62.5), 0, None)


def test_all_is_closed_below_half_of_it_and_what_is_small_too() -> None:
    """310 of 10,000: all goes, the penalty is 250, and 60 go back; 40 of 100 USD of notional are all closed."""
    done = perp_partial(long(10_000, 1_000, 10_690), **CURIE)
    assert done.taken.tolist() == [10_000, 1_000, 10_690]
    assert (done.credit[0], done.drawn[0]) == (pytest.approx(60), pytest.approx(-125))
    assert perp_partial(long(10_000, 1_000, 10_600, scale=0.01), **CURIE).taken[0] == 100


@pytest.mark.parametrize(
    ("owed", "drawn"),
    [
        (10_900, 150 - 125),  # 100 of equity for a penalty of 250: the fund pays 150 and gets its 125
        (11_100, 100 + 250),  # 100 under water: it pays that and the penalty, all of which is the liquidator's
    ],
)
def test_a_penalty_that_equity_does_not_pay_is_the_fund_s(owed: float, drawn: float) -> None:
    done = perp_partial(long(10_000, 1_000, owed), **CURIE)
    assert (done.drawn[0], done.bad[0]) == (pytest.approx(drawn), 0)
    without = perp_partial(long(10_000, 1_000, owed), **{**CURIE, "insurance_fund_usd": 0.0})
    assert without.drawn[0] + without.bad[0] == pytest.approx(drawn)


def test_margin_that_counts_by_less_than_its_value_is_no_position() -> None:
    """1,000 of WETH at 70 %, which its buyer gets 11 % under its price: it is not sold, and is no notional."""
    accounts = replace(
        long(10_000, 1_000, 10_600), weight=np.array([0.9375, 0.7, 1.0]), bonus=np.array([0.0, 0.11, 0.0])
    )
    done = perp_partial(accounts, **{**CURIE, "whole_below": 0.1})
    assert done.trades.tolist() == [True, False, False]
    assert done.taken.tolist() == pytest.approx([5_000, 0, 4_875])
    assert perp_partial(accounts, **{**CURIE, "haircut_margin": 0.0}).trades.tolist() == [True, True, False]


def test_a_fee_of_all_leaves_the_owner_nothing_and_nobody_is_deleveraged() -> None:
    done = perp_full(long(10_000, 1_000, 10_600), liquidation_fee=1.0, deleverage=0.0)
    assert (done.credit[0], done.drawn[0], done.bad[0], done.pro_rata) == (0, -400, 0, None)
    lost = perp_full(long(10_000, 1_000, 11_100), liquidation_fee=1.0, deleverage=0.0)
    assert (lost.drawn[0], lost.bad[0]) == (0, 100)
