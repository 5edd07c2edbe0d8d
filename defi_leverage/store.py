"""Snapshots on disk: one Parquet file a table and a manifest, written whole or not at all.

A snapshot is written to a hidden folder beside its place, flushed to disk and renamed, so that no reader ever sees
half of one; a written snapshot never changes. The same tables give the same bytes, whatever the clock says.
"""

import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from defi_leverage import __version__
from defi_leverage.errors import SnapshotError
from defi_leverage.schema import LATER_TABLES, SCHEMA_VERSION, load_schema
from defi_leverage.snapshot import Snapshot

__all__ = [
    "SAMPLE",
    "TABLE_FORMATS",
    "check_writable",
    "encode_table",
    "list_snapshots",
    "load_snapshot",
    "save_report",
    "save_scan",
    "save_snapshot",
    "write_whole",
]

SAMPLE = "sample"
TABLE_FORMATS = ("parquet", "csv")
_MANIFEST = "manifest.json"
_REPORT = "summary.json"
_SAMPLE_FOLDER = Path(__file__).parent / "sample"


def save_snapshot(snapshot: Snapshot, folder: "str | Path") -> Path:
    """Write a snapshot as `folder` and return it. A folder that already holds the same snapshot is left as it is.

    Raises SnapshotError where `folder` holds anything else, or cannot be written.
    """
    return _save(_encode(snapshot), Path(folder))


def save_scan(snapshot: Snapshot, output: "str | Path") -> Path:
    """Write a snapshot under `output` as <UTC block time>-<block>-<digest>, named by its content; return the folder.

    Scanning the same block again gives the same folder, a different result of it another one; names sort by time.
    """
    files = _encode(snapshot)
    digest = hashlib.sha256(files[_MANIFEST]).hexdigest()[:8]
    scanned = snapshot.coverage[snapshot.coverage["block_time"] != ""]
    blocks = sorted({str(block) for block in scanned["block"]})
    time = max(scanned["block_time"], default="undated").replace(":", "")
    return _save(files, Path(output) / "-".join([time, *(blocks if len(blocks) == 1 else []), digest]))


def load_snapshot(source: "str | Path") -> Snapshot:
    """Read a snapshot's folder, or the embedded one that the word `sample` names, and validate it.

    Raises SnapshotError that names the folder, the file, or the table, column and rows, and the remedy.
    """
    folder = _SAMPLE_FOLDER if source == SAMPLE else Path(source)
    manifest = _read_manifest(folder)
    # a snapshot of an earlier version lacks the tables that came later, all of them optional
    names = [name for name in load_schema() if name in manifest["tables"] or name not in LATER_TABLES]
    tables = {name: _read_table(folder, name, manifest["tables"].get(name)) for name in names}
    try:
        return Snapshot.from_tables(tables)
    except SnapshotError as error:
        raise SnapshotError(f"{folder}: {error}", **error.attributes) from None


def list_snapshots(output: "str | Path") -> pd.DataFrame:
    """The snapshots under `output`, by block time and name: path, block_time, block, accounts, complete.

    `block` is 0 and `block_time` empty for imported positions. Folders that are no snapshots are passed over.
    """
    rows = []
    for folder in sorted(Path(output).glob("[!.]*/")):
        if (folder / _MANIFEST).is_file():
            manifest = _read_manifest(folder)
            rows.append({"path": str(folder), **{name: manifest[name] for name in ("block_time", "block", "complete")}})
            rows[-1]["accounts"] = manifest["tables"]["accounts"]["rows"]
    frame = pd.DataFrame(rows, columns=["path", "block_time", "block", "accounts", "complete"])
    return frame.sort_values(["block_time", "path"], ignore_index=True)


def check_writable(folder: "str | Path") -> None:
    """Raise SnapshotError where `folder`, or the first folder above it that exists, cannot be written to."""
    target = Path(folder).absolute()
    existing = next(path for path in (target, *target.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise SnapshotError(f"{folder}: {existing} is not a folder that can be written to; choose another place")


def write_whole(path: "str | Path", content: bytes) -> None:
    """Write a file so that it is there whole or not at all, replacing an older one. Raises SnapshotError."""
    target = Path(path)
    if target.exists() and not target.is_file():
        raise SnapshotError(f"{target}: cannot be written: it is there and is not a file; choose another place")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_flushed(temporary, content)
        temporary.replace(target)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise SnapshotError(f"{target}: cannot be written: {error.strerror}; choose another place") from None


def encode_table(table: pd.DataFrame, table_format: str) -> bytes:
    """A table as the bytes of a file in one of TABLE_FORMATS; the same bytes for the same table."""
    if table_format == "csv":
        return table.to_csv(index=False, lineterminator="\n").encode()
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def save_report(folder: "str | Path", found: Mapping[str, Any], contents: Mapping[str, bytes]) -> list[Path]:
    """Write files into `folder`, each whole or not at all, then summary.json: `found` (plain values) and their names.

    What an earlier summary.json there names, and this report has not, is removed, so that no folder holds parts of two
    reports. Returns all files, summary.json last. Raises SnapshotError where one cannot be written.
    """
    place = Path(folder)
    files = [place / name for name in (*contents, _REPORT)]
    before = _files_of_report(place)
    for name, content in contents.items():
        write_whole(place / name, content)
    names = [file.name for file in files]
    write_whole(files[-1], (json.dumps({**found, "files": names}, indent=2, allow_nan=False) + "\n").encode())
    for name in before - set(names):
        (place / name).unlink(missing_ok=True)
    return files


def _files_of_report(folder: Path) -> set[str]:
    """The names of files in `folder` that its summary.json lists; none where there is no report."""
    try:
        names = json.loads((folder / _REPORT).read_text(encoding="utf-8"))["files"]
        return {name for name in names if Path(name).name == name and name != _REPORT}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _encode(snapshot: Snapshot) -> dict[str, bytes]:
    """The files of a snapshot: the same bytes for the same tables."""
    files = {f"{name}.parquet": _encode_snapshot_table(name, frame) for name, frame in snapshot.tables.items()}
    coverage = snapshot.coverage
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "package_version": __version__,
        "block_time": max(coverage["block_time"], default=""),
        "block": max(map(int, coverage["block"]), default=0),
        "complete": snapshot.complete,
        "tables": {
            name: {
                "rows": len(frame),
                "bytes": len(files[f"{name}.parquet"]),
                "sha256": hashlib.sha256(files[f"{name}.parquet"]).hexdigest(),
            }
            for name, frame in snapshot.tables.items()
        },
    }
    return files | {_MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode()}


def _encode_snapshot_table(name: str, frame: pd.DataFrame) -> bytes:
    types = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "float?": pa.float64()}
    arrays = {
        column.name: pa.array(frame[column.name].to_numpy(), types[column.dtype], from_pandas=False)
        for column in load_schema()[name]
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays), buffer, compression="zstd")
    return buffer.getvalue()


def _save(files: dict[str, bytes], folder: Path) -> Path:
    if _holds(folder, files):
        return folder
    if folder.exists():
        raise SnapshotError(f"{folder} already exists and is not changed; choose another folder, or remove it first")
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        for name, content in files.items():
            _write_flushed(temporary / name, content)
        _flush_folder(temporary)
        temporary.rename(folder)
        _flush_folder(folder.parent)
    except OSError as error:
        if _holds(folder, files):  # another process has written the same snapshot at the same time
            return folder
        raise SnapshotError(f"{folder}: cannot be written: {error.strerror}; choose another place") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _holds(folder: Path, files: dict[str, bytes]) -> bool:
    try:
        return all((folder / name).read_bytes() == content for name, content in files.items())
    except OSError:
        return False


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise SnapshotError(f"{folder}: no such folder; name a snapshot's folder, or the word {SAMPLE}")
    file = folder / _MANIFEST
    if not file.is_file():
        inside = sorted(str(path.parent) for path in folder.glob(f"[!.]*/{_MANIFEST}"))
        remedy = f"did you mean {inside[-1]}?" if inside else "name the folder that a scan or an import wrote"
        raise SnapshotError(f"{folder} is not a snapshot: it has no {_MANIFEST}; {remedy}")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        version = manifest["schema_version"]
    except OSError as error:
        raise SnapshotError(f"{file} cannot be read ({error.strerror}); make it readable") from None
    except (ValueError, KeyError, TypeError):
        raise SnapshotError(f"{file} is damaged; scan again, or copy the snapshot again") from None
    if version != SCHEMA_VERSION:
        older = isinstance(version, int) and version < SCHEMA_VERSION
        remedy = "scan or import again" if older else "upgrade defi-leverage"
        raise SnapshotError(
            f"{folder} has schema version {version}, this version of defi-leverage reads {SCHEMA_VERSION}; {remedy}",
            found=version,
            expected=SCHEMA_VERSION,
        )
    expected = {"tables": dict, "block_time": str, "block": int, "complete": bool}
    if any(not isinstance(manifest.get(name), kind) for name, kind in expected.items()):
        raise SnapshotError(f"{file} is damaged; scan again, or copy the snapshot again")
    return dict(manifest)


def _read_table(folder: Path, name: str, entry: Any) -> pd.DataFrame:
    file = folder / f"{name}.parquet"
    remedy = "scan again, or copy the snapshot again"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SnapshotError(f"{file} cannot be read ({error.strerror}); {remedy}") from None
    if not isinstance(entry, dict) or not isinstance(entry.get("bytes"), int):
        raise SnapshotError(f"{folder / _MANIFEST} does not describe the table {name}; {remedy}")
    if len(content) < entry["bytes"]:
        raise SnapshotError(f"{file} is truncated: {len(content):,} of {entry['bytes']:,} bytes; {remedy}")
    if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise SnapshotError(f"{file} is not what was written: its sha256 differs from {_MANIFEST}; {remedy}")
    try:
        frame: pd.DataFrame = pq.read_table(io.BytesIO(content)).to_pandas()
    except pa.ArrowException as error:
        raise SnapshotError(f"{file} is not a Parquet file ({str(error).splitlines()[0]}); {remedy}") from None
    return frame
