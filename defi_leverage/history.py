"""The scans of a folder in order of time: what measures that need a history are calibrated on."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from defi_leverage.snapshot import Snapshot
from defi_leverage.store import list_snapshots, load_snapshot

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load_history"]


def load_history(
    folder: "str | Path", last: int, progress: Callable[[str, int, int], None] | None = None
) -> list[tuple[datetime, Snapshot]]:
    """(block time, snapshot) of the `last` complete scans under `folder`, earliest first; one of each block time.

    Scans that lost a reader are passed over, for what they lack would look like a change of leverage; so are positions
    without a block, and scans that share no venue with the latest, such as the sample beside a chain. Raises
    SnapshotError for a snapshot that is damaged.
    """
    found = list_snapshots(folder)
    found = found[found["complete"].astype(bool) & (found["block_time"] != "")]
    chosen = found.drop_duplicates("block_time", keep="last").tail(last)
    history = []
    for number, (path, time) in enumerate(zip(chosen["path"], chosen["block_time"], strict=True), start=1):
        history.append((datetime.fromisoformat(time), load_snapshot(path)))
        if progress is not None:
            progress("history", number, len(chosen))
    latest = set(history[-1][1].venues["venue_id"]) if history else set()
    return [(time, snapshot) for time, snapshot in history if not latest.isdisjoint(snapshot.venues["venue_id"])]
