"""Dependency by hand: what of a pool is borrowed, and who could leave it."""

import math
from typing import Any

import pandas as pd
import pytest

from defi_leverage.analytics.dependency import dependency_measures
from defi_leverage.analytics.lending import borrowed_share, lent_liquidity
from defi_leverage.analytics.markets import venue_measures
from defi_leverage.snapshot import Snapshot
from tests.analytics.perp_book import perp_snapshot
from tests.books import make_snapshot

RATES = ["venue_id", "asset_id", "utilisation", "borrow_rate", "borrowed", "available", "pool"]


def book(*rates: tuple[Any, ...], minted: bool = False) -> Snapshot:
    """ETH: 6 of one owner in two accounts at two venues, 2 of another. Debt: 900 and 100, both of the first owner."""
    made = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0},
        [({"ETH": 5}, {"USD": 900}), ({"ETH": 1}, {"USD": 100}), ({"ETH": 2}, {})],
        venue_of=["v", "w", "v"],
    )
    tables = made.tables | {
        "accounts": made.accounts.assign(owner=["big", "big", "small"]),
        "rates": pd.DataFrame(rates, columns=RATES),
    }
    if minted:
        mint = {"asset_id": "USD", "underlying_id": "ETH", "units": 1.0, "kind": "minted_against", "venue_id": "v"}
        tables["backing"] = pd.DataFrame([mint])
    return Snapshot.from_tables(tables)


def by_market(snapshot: Snapshot) -> dict[tuple[str, str], dict[Any, Any]]:
    rows = dependency_measures(snapshot).to_dict("records")
    return {(row["venue_id"], row["asset_id"]): row for row in rows}


def venue_shares(snapshot: Snapshot) -> dict[str, float]:
    table = venue_measures(snapshot)
    return dict(zip(table["venue_id"], table["borrowed_share"], strict=True))


def test_borrowed_share_by_hand() -> None:
    assert borrowed_share([80.0, 0.0], [20.0, 5.0]).tolist() == [0.8, 0]
    assert math.isnan(float(borrowed_share(0.0, 0.0)))
    assert math.isnan(float(borrowed_share(1.0, math.nan)))


def test_dependency_by_hand() -> None:
    """80 % of the ETH of v is borrowed, so that its largest supplier (5 of 7) cannot leave; of w nothing is known."""
    table = by_market(book(("v", "ETH", 0.8, 0.03, 4, 1, "")))
    held, apart = table["v", "ETH"], table["w", "ETH"]
    assert (held["suppliers"], held["largest_supplier"], held["borrowers"]) == (2, "big", 0)
    assert held["largest_supplier_share"] == pytest.approx(5 / 7)
    assert held["withdrawable_share"] == pytest.approx(0.2)
    assert held["borrowed_share"] == pytest.approx(0.8)
    assert held["largest_can_leave"] is False
    assert math.isnan(held["largest_borrower_share"])
    for name in ("utilisation", "withdrawable_share", "borrowed_share"):
        assert math.isnan(apart[name]), name
    assert apart["largest_can_leave"] is None
    assert table["v", "USD"]["largest_borrower_share"] == 1
    assert by_market(book(("v", "ETH", 0.1, 0.03, 1, 9, "")))["v", "ETH"]["largest_can_leave"] is True


def test_reserves_lower_the_borrowed_share_and_not_the_utilisation() -> None:
    """Compound v2: 80 borrowed, 40 of cash of which 20 are reserves: utilisation 80 / 100, borrowed share 80 / 120."""
    row = by_market(book(("v", "USD", 0.8, 0.03, 80, 40, "")))["v", "USD"]
    assert (row["utilisation"], row["borrowed_share"]) == pytest.approx((0.8, 2 / 3))


def test_who_can_leave_is_told_by_what_is_available() -> None:
    """v lends out of a hub: all of its own supply is borrowed there, but the hub has 6 of 16 ETH left, more than 5."""
    held = by_market(book(("v", "ETH", 1.0, 0.03, 10, 6, "hub")))["v", "ETH"]
    assert (held["withdrawable_share"], held["largest_can_leave"]) == (pytest.approx(6 / 16), True)
    tight = by_market(book(("v", "ETH", 1.0, 0.03, 10, 4, "hub")))["v", "ETH"]
    assert tight["largest_can_leave"] is False
    # the amounts are not known: 40 % of 7 ETH is less than 5
    unknown = by_market(book(("v", "ETH", 0.6, 0.03, math.nan, math.nan, "")))["v", "ETH"]
    assert (unknown["withdrawable_share"], unknown["largest_can_leave"]) == (pytest.approx(0.4), False)


def test_the_liquidity_of_venues_together() -> None:
    """v lends 3 of 4 ETH and 1,000 of 4,000 USD, 7,000 of 12,000 in all; w lends 500 of 1,000 USD."""
    rates = [("v", "ETH", 0.75, 0.03, 3, 1, ""), ("v", "USD", 0.25, 0.05, 1000, 3000, "")]
    found = venue_shares(book(*rates, ("w", "USD", 0.5, 0.05, 500, 500, "")))
    assert found == pytest.approx({"v": 7 / 12, "w": 0.5, "": 7500 / 13_000})


def test_a_pool_that_several_markets_lend_counts_once() -> None:
    hub = [(venue, "USD", 0.5, 0.05, 600, 400, "hub") for venue in ("v", "w")]
    assert venue_shares(book(*hub)) == pytest.approx({"v": 0.6, "w": 0.6, "": 0.6})
    both = book(*hub, ("v", "ETH", 0.25, 0.03, 1, 3, ""))
    assert venue_shares(both) == pytest.approx({"v": 2600 / 9000, "w": 0.6, "": 2600 / 9000})


def test_what_no_pool_lends_is_no_liquidity() -> None:
    """Collateral that nobody can borrow, coins that are minted, and what an import does not tell."""
    kept = ("v", "ETH", 0.0, math.nan, 0, 7, "")
    assert math.isnan(by_market(book(kept))["v", "ETH"]["borrowed_share"])
    assert venue_shares(book(kept, ("v", "USD", 0.9, 0.05, 900, 100, "")))["v"] == pytest.approx(0.9)
    unlent = ("v", "USD", math.nan, 0.05, 900, 0, "")  # as of a coin that nobody supplies
    assert lent_liquidity(book(unlent)).empty
    assert lent_liquidity(book(("v", "USD", 45.0, 0.05, 900, 0, ""), minted=True)).empty
    untold = venue_shares(book(("v", "ETH", 0.8, 0.03, 4, 1, ""), ("v", "USD", 0.5, 0.05, math.nan, math.nan, "")))
    assert math.isnan(untold["v"])
    assert math.isnan(untold[""])
    assert by_market(book(("v", "USD", 1.0, 0.05, 900, 0, "")))["v", "USD"]["borrowed_share"] == 1  # all lent out


def test_perps_lend_nothing() -> None:
    made = perp_snapshot()
    assert dependency_measures(made).empty
    assert venue_measures(made)["borrowed_share"].isna().all()
    told = pd.DataFrame([("p", "USD", 0.5, 0.05, 5, 5, "")], columns=RATES)
    assert lent_liquidity(Snapshot.from_tables(made.tables | {"rates": told})).empty
