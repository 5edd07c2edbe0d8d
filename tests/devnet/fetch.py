"""Fetch what the devnet runs: protocol bytecode, an EVM node and a compiler, from npm and PyPI into this folder.

Run it as ``python tests/devnet/fetch.py``; it does nothing when everything is there already. The two PyPI wheels are
taken as data and never imported: only the members named below are unpacked.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NODE_MODULES = HERE / "node_modules"
PACKAGES = HERE / "packages"
STAMP = ".fetched"
WHEEL_MEMBERS = ("eth_defi/abi/aave_v3/", "multicall/constants.py")


def fingerprint() -> str:
    """Hash of everything that decides what is fetched."""
    digest = hashlib.sha256()
    for name in ("package.json", "package-lock.json", "wheels.txt", "fetch.py"):
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()


def is_fetched() -> bool:
    """Whether both folders hold what the present files ask for."""
    wanted = fingerprint()
    return all(_read(folder / STAMP) == wanted for folder in (NODE_MODULES, PACKAGES))


def fetch() -> None:
    """Bring both folders up to date."""
    if is_fetched():
        return
    wanted = fingerprint()
    _fetch_npm()
    (NODE_MODULES / STAMP).write_text(wanted)
    _fetch_wheels()
    (PACKAGES / STAMP).write_text(wanted)


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


def _fetch_npm() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is not on PATH: the devnet needs Node.js 20 or newer")
    subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=HERE, check=True)


def _fetch_wheels() -> None:
    with tempfile.TemporaryDirectory(prefix="devnet-wheels-") as folder:
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", folder]
        subprocess.run([*_pip(), "download", *options, "--requirement", str(HERE / "wheels.txt")], check=True)
        shutil.rmtree(PACKAGES, ignore_errors=True)
        for wheel in sorted(Path(folder).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                members = [name for name in archive.namelist() if name.startswith(WHEEL_MEMBERS)]
                for member in members:
                    _keep(PACKAGES / member, archive.read(member))


def _keep(path: Path, content: bytes) -> None:
    if path.suffix == ".py":  # data here, and no module for a type checker or an import to find
        path = path.with_name(f"{path.name}.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    program = shutil.which("pip3") or shutil.which("pip")
    if program is None:
        raise SystemExit("pip is needed to fetch the devnet's wheels")
    return [program]


if __name__ == "__main__":
    fetch()
