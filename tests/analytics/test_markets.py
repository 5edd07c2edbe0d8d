"""Markets and venues by hand: sums over sums, skew, funding, and who has no equity counted apart."""

import math

import pytest
from hypothesis import given, settings

from defi_leverage.analytics.markets import market_measures, open_interest_imbalance, venue_measures
from defi_leverage.health import account_health
from defi_leverage.snapshot import Snapshot
from tests.analytics.perp_book import ACCOUNTS, perp_snapshot
from tests.books import make_snapshot, random_books

PRICES = {"ETH": 2000.0, "USD": 1.0}


def test_imbalance_by_hand() -> None:
    assert open_interest_imbalance([3.0, 0.0, 150_000.0], [1.0, 2.0, 50_000.0]).tolist() == [0.5, -1, 0.5]
    assert math.isnan(float(open_interest_imbalance(0.0, 0.0)))
    assert math.isnan(float(open_interest_imbalance(math.nan, 1.0)))


def test_a_market_by_hand() -> None:
    """The accounts of the paper: notional 7 of an open interest of 10, margin 2 + 2/3 + 8/3 + 2/19."""
    told, untold = market_measures(perp_snapshot()).to_dict("records")
    margin = {name: amount for name, (_, amount) in ACCOUNTS.items()}
    assert (told["venue"], told["open_interest_long_usd"], told["open_interest_short_usd"]) == ("P", 5, 5)
    assert (told["imbalance"], told["positions"]) == (0, 4)
    assert told["funding_of_longs_usd"] == pytest.approx(0.5)  # 10 % a year of 5
    assert told["read_share"] == pytest.approx(0.7)
    assert told["margin_ratio"] == pytest.approx(sum(margin.values()) / 7)
    assert told["leverage"] == pytest.approx(7 / sum(margin.values()))
    assert told["leverage_long"] == pytest.approx(3 / (margin["A"] + margin["B"] + margin["D"]))
    assert told["leverage_short"] == pytest.approx(4 / margin["C"])
    assert told["insurance_ratio"] == pytest.approx(0.2)
    assert untold["venue"] == "q"  # it has no name
    assert untold["positions"] == 0
    for name in ("open_interest_long_usd", "imbalance", "funding_rate", "read_share", "leverage", "insurance_ratio"):
        assert math.isnan(untold[name]), name


def test_a_position_without_equity_is_counted_apart() -> None:
    sound, with_it = (market_measures(perp_snapshot(insolvent=flag)).iloc[0] for flag in (False, True))
    assert with_it["negative_equity_positions"] == 1
    assert with_it["negative_equity_notional_usd"] == pytest.approx(2)
    assert with_it["leverage"] == pytest.approx(sound["leverage"])
    assert with_it["read_share"] == pytest.approx(0.9)


def test_venues_by_hand() -> None:
    """20,000 of ETH against 10,000: L = 2 of at most 5. One account owes more than it has, one owes nothing."""
    book = make_snapshot(
        PRICES,
        [({"ETH": 10}, {"USD": 10_000}), ({"ETH": 5}, {"USD": 12_000}), ({"ETH": 7}, {}), ({"ETH": 1}, {"USD": 500})],
        venue_of=["v", "v", "v", "w"],
    )
    first, second, whole = venue_measures(book).to_dict("records")
    assert (first["venue_id"], first["accounts"], first["levered_accounts"]) == ("v", 3, 2)
    assert (first["leverage"], first["maximum_leverage"]) == pytest.approx((2, 5))
    assert (first["headroom"], first["margin_ratio"]) == pytest.approx((0.6, 0.5))
    assert (first["negative_equity_accounts"], first["negative_equity_usd"]) == (1, -2000)
    assert first["liquidatable_accounts"] == 1
    assert second["leverage"] == pytest.approx(2000 / 1500)
    assert (whole["venue"], whole["leverage"]) == ("all", pytest.approx(22_000 / 11_500))


@settings(max_examples=12, deadline=None)
@given(random_books())
def test_a_venue_is_the_sum_of_its_accounts(book: Snapshot) -> None:
    health = account_health(book)
    solvent = health[(health["debt_usd"] > 0) & (health["equity_usd"] > 0)]
    whole = venue_measures(book).iloc[-1]
    assert whole["exposure_usd"] == pytest.approx(solvent["supplied_usd"].sum())
    if len(solvent):
        assert solvent["leverage"].min() * (1 - 1e-9) <= whole["leverage"] <= solvent["leverage"].max() * (1 + 1e-9)
    else:
        assert math.isnan(whole["leverage"])
