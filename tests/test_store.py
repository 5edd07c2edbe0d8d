"""Snapshots on disk: whole or not at all, the same bytes for the same tables, and a clear line for each damage."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from defi_leverage import store
from defi_leverage.errors import SnapshotError
from defi_leverage.schema import LATER_TABLES, SCHEMA_VERSION
from defi_leverage.snapshot import Snapshot
from defi_leverage.store import (
    check_writable,
    list_snapshots,
    load_snapshot,
    save_scan,
    save_snapshot,
    write_whole,
)
from tests.books import make_snapshot


def book(block: int = 5, time: str = "2026-01-02T03:04:05Z", price: float = 2000.0) -> Snapshot:
    plain = make_snapshot({"WETH": price, "USDC": 1.0}, [({"WETH": 10}, {"USDC": 1000}), ({"WETH": 1}, {})])
    row = {"protocol": "test", "venue_id": "v", "block": block, "block_time": time, "found": 2, "read": 2}
    tables = plain.tables | {"coverage": pd.DataFrame([row])}
    tables["accounts"]["health_factor"] = [np.nan, np.inf]
    return Snapshot.from_tables(tables)


def test_a_snapshot_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = save_snapshot(book(), tmp_path / "deep" / "a")
    loaded = load_snapshot(saved)
    for name, frame in book().tables.items():
        pd.testing.assert_frame_equal(loaded.tables[name], frame)
    assert np.isnan(loaded.accounts["health_factor"].iloc[0])


def test_the_same_tables_give_the_same_bytes_and_another_save_changes_nothing(tmp_path: Path) -> None:
    first, second = save_snapshot(book(), tmp_path / "a"), save_snapshot(book(), tmp_path / "b")
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()
    before = (first / "manifest.json").stat().st_mtime_ns
    save_snapshot(book(), first)
    assert (first / "manifest.json").stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_an_existing_folder_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("keep")
    with pytest.raises(SnapshotError, match="already exists and is not changed; choose another folder"):
        save_snapshot(book(), tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["mine.txt"]


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.name == "legs.parquet":
            raise OSError(28, "No space left on device")
        path.write_bytes(content)

    monkeypatch.setattr(store, "_write_flushed", full)
    with pytest.raises(SnapshotError, match="cannot be written: No space left on device"):
        save_snapshot(book(), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_scan_is_named_by_its_content(tmp_path: Path) -> None:
    first = save_scan(book(), tmp_path)
    assert first.name.startswith("2026-01-02T030405Z-5-")
    assert save_scan(book(), tmp_path) == first
    assert save_scan(book(price=2001.0), tmp_path) != first


def test_history_is_by_time(tmp_path: Path) -> None:
    save_scan(book(9, "2026-03-01T00:00:00Z"), tmp_path)
    save_scan(book(5, "2026-01-02T03:04:05Z"), tmp_path)
    save_snapshot(make_snapshot({"A": 1.0}, [({"A": 1}, {})]), tmp_path / "imported")
    (tmp_path / "not-a-snapshot").mkdir()
    history = list_snapshots(tmp_path)
    assert history["block"].tolist() == [0, 5, 9]
    assert history["accounts"].tolist() == [1, 2, 2]
    assert list_snapshots(tmp_path / "nowhere").empty


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b.json", b"1")
    write_whole(tmp_path / "a" / "b.json", b"2")
    assert (tmp_path / "a" / "b.json").read_bytes() == b"2"
    assert len(list((tmp_path / "a").iterdir())) == 1
    with pytest.raises(SnapshotError, match="cannot be written"):
        write_whole(tmp_path / "a" / "b.json" / "c", b"3")


def test_where_nothing_can_be_written_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(tmp_path / "new" / "deep")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match="file is not a folder that can be written to; choose another place"):
        check_writable(tmp_path / "file" / "deep")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SnapshotError, match="is not a folder that can be written to"):
        check_writable(tmp_path / "new")


def test_a_manifest_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_snapshot(book(), tmp_path / "a")

    def refuse(path: Path, encoding: str) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SnapshotError, match=r"manifest\.json cannot be read .Permission denied.; make it readable"):
        load_snapshot(folder)


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_snapshot_from_before_a_table_existed_is_read_without_it(tmp_path: Path) -> None:
    folder = save_snapshot(book(), tmp_path / "a")
    tables = json.loads((folder / "manifest.json").read_text())["tables"]
    edit_manifest(folder, tables={name: entry for name, entry in tables.items() if name not in LATER_TABLES})
    for name in LATER_TABLES:
        (folder / f"{name}.parquet").unlink()
    loaded = load_snapshot(folder)
    assert len(loaded.rates) == len(loaded.ownership) == 0
    pd.testing.assert_frame_equal(loaded.legs, book().legs)


def truncate(folder: Path) -> None:
    path = folder / "legs.parquet"
    path.write_bytes(path.read_bytes()[:100])


def flip(folder: Path) -> None:
    path = folder / "legs.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such folder; name a snapshot's folder, or the word sample"),
        (lambda folder: (folder / "manifest.json").unlink(), r"is not a snapshot: it has no manifest\.json"),
        (lambda folder: (folder / "manifest.json").write_text("{"), r"manifest\.json is damaged; scan again"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), r"manifest\.json is damaged; scan again"),
        (lambda folder: edit_manifest(folder, tables=3), r"manifest\.json is damaged; scan again"),
        (lambda folder: edit_manifest(folder, tables={}), r"does not describe the table assets; scan again"),
        (
            lambda folder: edit_manifest(folder, schema_version=SCHEMA_VERSION - 1),
            "schema version 0, .* scan or import",
        ),
        (lambda folder: edit_manifest(folder, schema_version=99), "schema version 99, .* upgrade defi-leverage"),
        (lambda folder: (folder / "legs.parquet").unlink(), r"legs\.parquet cannot be read .No such file"),
        (truncate, r"legs\.parquet is truncated: 100 of [\d,]+ bytes; scan again"),
        (flip, r"legs\.parquet is not what was written: its sha256 differs"),
    ],
)
def test_damage(damage: object, message: str, tmp_path: Path) -> None:
    folder = save_snapshot(book(), tmp_path / "a")
    assert callable(damage)
    damage(folder)
    with pytest.raises(SnapshotError, match=message) as caught:
        load_snapshot(folder)
    assert "\n" not in str(caught.value)


def test_invalid_rows_are_named(tmp_path: Path) -> None:
    folder = save_snapshot(book(), tmp_path / "a")
    path = folder / "legs.parquet"
    table = pq.read_table(path)
    amounts = pa.array([-1.0, *table["amount"].to_pylist()[1:]])
    pq.write_table(table.set_column(table.column_names.index("amount"), "amount", amounts), path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["tables"]["legs"] |= {
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    edit_manifest(folder, **manifest)
    with pytest.raises(SnapshotError, match=r"a: legs\.amount: must be >=0: row 0 \(.*-1\.0"):
        load_snapshot(folder)


def test_a_folder_of_snapshots_names_the_newest(tmp_path: Path) -> None:
    folder = save_scan(book(), tmp_path)
    with pytest.raises(SnapshotError, match=f"did you mean {folder}"):
        load_snapshot(tmp_path)
