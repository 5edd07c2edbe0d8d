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
from .build_protocols import build_protocols
from .description import Description
from .protocols import in_order, source_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .rpc import RpcSession

STATE, DESCRIPTION = "state.json", "description.json"


def built(seed: int = SEED, protocols: Iterable[str] = ()) -> Path:
    """Folder with the dumped state and the description of a build, made now unless it is there.

    A build with further protocols starts from the base's. Processes that ask at once wait for the one that builds.
    """
    names = in_order(protocols)
    if not names:
        return _kept(f"build-{seed}", _fingerprint(_base_files()), lambda session: build(session, seed))
    base = built(seed)
    files = [
        *_base_files(),
        HERE / "protocols" / "__init__.py",
        *(file for name in names for file in source_files(name)),
    ]

    def extend(session: RpcSession) -> Description:
        return build_protocols(session, read_description(base), names, seed)

    return _kept(f"build-{seed}+{'+'.join(names)}", _fingerprint(files), extend, base)


def read_description(folder: Path) -> Description:
    """Description of a kept build."""
    return Description.from_json((folder / DESCRIPTION).read_text())


def dump_state(session: RpcSession) -> bytes:
    """A node's state as the JSON text ``anvil --load-state`` reads."""
    dumped = bytes.fromhex(session.call("anvil_dumpState").removeprefix("0x"))
    return gzip.decompress(dumped)


def _kept(name: str, fingerprint: str, make: Callable[[RpcSession], Description], base: Path | None = None) -> Path:
    folder = CACHE / f"{name}-{fingerprint}"
    if _is_complete(folder):
        return folder
    with _locked(CACHE / "build.lock"):
        if not _is_complete(folder):
            for outdated in CACHE.glob(f"{name}-*"):
                shutil.rmtree(outdated)
            _build_into(folder, make, base)
    return folder


def _build_into(folder: Path, make: Callable[[RpcSession], Description], base: Path | None) -> None:
    node = Anvil() if base is None else Anvil(base / STATE, timestamp=read_description(base).head_timestamp)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="draft-") as draft, node:
        kept = Path(draft) / "build"
        kept.mkdir()
        (kept / DESCRIPTION).write_text(make(node.session).to_json())
        (kept / STATE).write_bytes(dump_state(node.session))
        kept.replace(folder)


def _is_complete(folder: Path) -> bool:
    return (folder / STATE).is_file() and (folder / DESCRIPTION).is_file()


def _base_files() -> list[Path]:
    sources = [path for path in HERE.glob("*.py") if not path.name.startswith(("test_", "__"))]
    data = [HERE / name for name in ("package-lock.json", "packs.toml", "wheels.txt", "compile.js")]
    return [*sources, *(HERE / "sol").iterdir(), *data]


def _fingerprint(files: Iterable[Path]) -> str:
    """Changes with whatever may change a build."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(str(path.relative_to(HERE)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
