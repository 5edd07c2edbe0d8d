"""The history of a folder: complete scans, each block time once, in order of time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from defi_leverage.history import load_history
from defi_leverage.snapshot import Snapshot
from defi_leverage.store import save_scan, save_snapshot
from tests.books import dated, make_snapshot

START = datetime(2026, 1, 1, tzinfo=UTC)


def book(day: int, price: float = 2000.0, complete: bool = True) -> Snapshot:
    plain = make_snapshot({"WETH": price, "USDC": 1.0}, [({"WETH": 10.0}, {"USDC": 9000.0})])
    return dated(plain, START + timedelta(days=day), complete=complete)


def test_scans_come_in_order_of_time_and_the_last_ones_alone(tmp_path: Path) -> None:
    for day in (4, 0, 2, 1, 3):
        save_scan(book(day, 2000.0 + day), tmp_path)
    history = load_history(tmp_path, 3)
    assert [time for time, _ in history] == [START + timedelta(days=day) for day in (2, 3, 4)]
    assert [found.assets["price_usd"].max() for _, found in history] == [2002.0, 2003.0, 2004.0]


def test_what_cannot_be_compared_is_passed_over(tmp_path: Path) -> None:
    save_scan(book(0), tmp_path)
    save_scan(book(0, 2001.0), tmp_path)  # the same block read twice
    save_scan(book(1, complete=False), tmp_path)
    save_snapshot(make_snapshot({"A": 1.0}, [({"A": 1}, {})]), tmp_path / "imported")
    told: list[tuple[str, int, int]] = []
    history = load_history(tmp_path, 30, lambda *step: told.append(step))
    assert [time for time, _ in history] == [START]
    assert told == [("history", 1, 1)]


def test_scans_of_other_venues_are_passed_over(tmp_path: Path) -> None:
    other = make_snapshot({"A": 1.0, "B": 1.0}, [({"A": 10.0}, {"B": 5.0})])
    renamed = {
        name: table.assign(venue_id="elsewhere")
        for name, table in other.tables.items()
        if "venue_id" in table and len(table)
    }
    save_scan(dated(Snapshot.from_tables(other.tables | renamed), START - timedelta(days=9)), tmp_path)
    save_scan(book(0), tmp_path)
    save_scan(book(1), tmp_path)
    assert [time for time, _ in load_history(tmp_path, 30)] == [START, START + timedelta(days=1)]


@pytest.mark.parametrize("last", [0, 5])
def test_a_folder_without_scans_has_no_history(tmp_path: Path, last: int) -> None:
    assert load_history(tmp_path / "nowhere", last) == []
