"""What decides how far a cascade trusts a health factor that it has not looked at again."""

import pytest

from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.cascade_state import Drift
from defi_leverage.contagion.layout import lay_out
from defi_leverage.snapshot import Snapshot
from tests.books import make_snapshot


def test_only_averaged_thresholds_are_rounded_down() -> None:
    """A basis point of the least threshold among venues that average; the 1e-18 of a venue that does not is not one."""
    made = make_snapshot({"A": 1.0, "B": 2.0}, [({"A": 100.0}, {"B": 10.0}), ({"A": 100.0}, {"B": 10.0})])
    tables = made.tables
    first, second = tables["accounts"]["account_id"]
    legs = tables["legs"].copy()
    held = legs["side"] == "collateral"
    legs.loc[held & (legs["account_id"] == first), "weight"] = 0.8
    legs.loc[held & (legs["account_id"] == second), "weight"] = 1e-18
    venue = tables["venues"].iloc[0]
    other = venue.copy()
    other["venue_id"], other["health_rule"] = f"{venue['venue_id']}1", "linear"
    venues = tables["venues"].assign(health_rule="average_threshold_bps")
    venues.loc[len(venues)] = other
    accounts = tables["accounts"].copy()
    accounts.loc[accounts["account_id"] == second, "venue_id"] = other["venue_id"]
    snapshot = Snapshot.from_tables({**tables, "legs": legs, "venues": venues, "accounts": accounts})
    assert Drift(lay_out(compile_book(snapshot)), 1).slack == pytest.approx(1.001e-4 / 0.8)
