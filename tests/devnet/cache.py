"""Builds kept on disk, so that a devnet built once starts from its dumped state in a second.

anvil restores blocks, transactions and logs from a dump; of the states it restores only the last block's.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .anvil import Anvil
from .artifacts import CACHE, HERE
from .build import SEED, build
from .description import Description

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rpc import RpcSession

STATE, DESCRIPTION = "state.json", "description.json"


def built(seed: int = SEED) -> Path:
    """Folder with the dumped state and the description of a build, made now unless it is there.

    Processes that ask at once wait for the one that builds.
    """
    folder = CACHE / f"build-{_fingerprint(seed)}"
    if _is_complete(folder):
        return folder
    with _locked(CACHE / "build.lock"):
        if not _is_complete(folder):
            for outdated in CACHE.glob(f"build-{seed}-*"):
                shutil.rmtree(outdated)
            _build_into(folder, seed)
    return folder


def read_description(folder: Path) -> Description:
    """Description of a kept build."""
    return Description.from_json((folder / DESCRIPTION).read_text())


def dump_state(session: RpcSession) -> bytes:
    """A node's state as the JSON text ``anvil --load-state`` reads."""
    dumped = bytes.fromhex(session.call("anvil_dumpState").removeprefix("0x"))
    return gzip.decompress(dumped)


def _build_into(folder: Path, seed: int) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="draft-") as draft, Anvil() as node:
        kept = Path(draft) / "build"
        kept.mkdir()
        (kept / DESCRIPTION).write_text(build(node.session, seed).to_json())
        (kept / STATE).write_bytes(dump_state(node.session))
        kept.replace(folder)


def _is_complete(folder: Path) -> bool:
    return (folder / STATE).is_file() and (folder / DESCRIPTION).is_file()


def _fingerprint(seed: int) -> str:
    """Changes with whatever may change a build."""
    digest = hashlib.sha256()
    sources = [path for path in HERE.glob("*.py") if not path.name.startswith(("test_", "__"))]
    for path in sorted([*sources, *(HERE / "sol").iterdir(), HERE / "package-lock.json", HERE / "wheels.txt"]):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return f"{seed}-{digest.hexdigest()[:16]}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
