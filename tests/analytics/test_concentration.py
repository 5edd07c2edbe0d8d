"""Concentration indices: published and hand-solved figures, and the tables of a small book."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defi_leverage.analytics.concentration import concentration_measures, gini, herfindahl, top_share
from defi_leverage.snapshot import Snapshot
from tests.books import make_snapshot

PRICES = {"ETH": 2000.0, "USD": 1.0}


def book() -> Snapshot:
    """ETH: 6 of one owner in two accounts at two venues, 2 of another. Debt: 900 and 100, both of the first owner."""
    made = make_snapshot(
        PRICES,
        [({"ETH": 5}, {"USD": 900}), ({"ETH": 1}, {"USD": 100}), ({"ETH": 2}, {})],
        venue_of=["v", "w", "v"],
    )
    return Snapshot.from_tables(made.tables | {"accounts": made.accounts.assign(owner=["big", "big", "small"])})


def test_the_herfindahl_index_of_the_merger_guidelines() -> None:
    """Shares of 30, 30, 20 and 20 % give 2,600 (US Horizontal Merger Guidelines, section 5.3)."""
    assert herfindahl([30, 30, 20, 20]) * 1e4 == pytest.approx(2600)
    assert herfindahl([7.0] * 4) == pytest.approx(0.25)
    assert math.isnan(herfindahl([]))


def test_gini_and_top_share_by_hand() -> None:
    assert gini([1, 1, 1, 1]) == 0
    assert gini([0, 0, 0, 5]) == pytest.approx(0.75)
    assert gini([3, 1, 2]) == pytest.approx(2 / 9)  # mean difference 8/9 over twice the mean of 2
    assert top_share([1] * 20) == pytest.approx(0.5)
    assert top_share([6, 3, 1], 1) == pytest.approx(0.6)
    assert math.isnan(gini([0.0]))
    assert math.isnan(top_share([]))
    for measure in (gini, herfindahl, top_share):
        with pytest.raises(ValueError, match=r"amount -1.0 is negative"):
            measure([-1.0, 2.0])


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=12))
def test_gini_is_half_the_relative_mean_difference(amounts: list[float]) -> None:
    size = np.array(amounts)
    difference = np.abs(size[:, None] - size[None, :]).mean()
    assert gini(amounts) == pytest.approx(difference / (2 * size.mean()), abs=1e-9)
    assert 1 / len(size) - 1e-9 <= herfindahl(amounts) <= 1 + 1e-9
    assert gini(size * 3.7) == pytest.approx(gini(amounts), abs=1e-9)


def test_concentration_is_of_owners() -> None:
    rows = concentration_measures(book()).to_dict("records")
    table = {(row["side"], row["venue_id"], row["asset_id"]): row for row in rows}
    everywhere = table["collateral", "", "ETH"]
    assert (everywhere["owners"], everywhere["usd"]) == (2, 16_000)
    assert everywhere["hhi"] == pytest.approx(0.75**2 + 0.25**2)
    assert everywhere["largest_share"] == pytest.approx(0.75)
    assert table["collateral", "v", ""]["hhi"] == pytest.approx((25 + 4) / 49)
    assert table["debt", "", ""]["owners"] == 1
    assert (everywhere["venue"], everywhere["symbol"]) == ("all", "ETH")
