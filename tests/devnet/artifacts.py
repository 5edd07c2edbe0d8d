"""Compiled contracts: artifacts out of npm packages and a wheel, and Solidity compiled here, its own or a package's."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_abi.abi import encode

from .calldata import abi_types
from .fetch import PACKS

HERE = Path(__file__).resolve().parent
AAVE_3_0 = HERE / "node_modules/@aave/core-v3/artifacts/contracts"
AAVE_3_2 = HERE / "packages/eth_defi/abi/aave_v3"
UNISWAP_V3 = HERE / "node_modules/@uniswap/v3-core/artifacts/contracts"
CACHE = HERE / "cache"
SOLC = "0.8.19"
_MULTICALL_SOURCE = HERE / "packages/multicall/constants.py.txt"


@dataclass(frozen=True, slots=True)
class Artifact:
    """Creation code, with the places where addresses of libraries go."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str
    links: tuple[tuple[str, int], ...]
    """Name of the library and offset of its address in bytes."""

    def linked(self, libraries: dict[str, str]) -> bytes:
        """Creation code with the libraries' addresses in place."""
        code = self.bytecode
        for library, offset in self.links:
            address = libraries[library].removeprefix("0x").lower()
            code = code[: 2 * offset] + address + code[2 * offset + 40 :]
        return bytes.fromhex(code)

    def constructor_data(self, *arguments: Any) -> bytes:
        """Encoded arguments of the constructor."""
        declared = [entry["inputs"] for entry in self.abi if entry["type"] == "constructor"]
        inputs = declared[0] if declared else []
        return encode(abi_types(inputs), arguments)


class Artifacts(Mapping[str, Artifact]):
    """The artifacts below some folders, by contract name, read when asked for.

    Of files that share a name the first by path counts, as Hardhat keeps interfaces under more than one source; name
    narrower folders where another one is meant.
    """

    def __init__(self, *roots: Path) -> None:
        self._files: dict[str, Path] = {}
        for root in roots:
            if not root.is_dir():
                raise FileNotFoundError(root)
            for path in sorted(root.rglob("*.json")):
                if not path.name.endswith(".dbg.json"):
                    self._files.setdefault(path.stem, path)
        self._loaded: dict[str, Artifact] = {}

    def __getitem__(self, name: str) -> Artifact:
        if name not in self._loaded:
            self._loaded[name] = read_artifact(name, json.loads(self._files[name].read_text()))
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def pack(package: str) -> Path:
    """Folder of a package of packs.toml, named with its version, as in ``pack("@uniswap/v2-core@1.0.1")``."""
    folder = PACKS / package
    if not folder.is_dir():
        raise FileNotFoundError(f"{package} is not among the packages that packs.toml names")
    return folder


def read_artifact(name: str, body: dict[str, Any]) -> Artifact:
    """An artifact from the JSON of Hardhat, Foundry or solc: its ``abi``, ``bytecode`` and ``linkReferences``."""
    code, references = body["bytecode"], body.get("linkReferences", {})
    if isinstance(code, dict):  # Foundry and solc nest what Hardhat keeps side by side
        code, references = code["object"], code.get("linkReferences", {})
    links = tuple(
        (library, place["start"])
        for file in references.values()
        for library, places in file.items()
        for place in places
    )
    return Artifact(name, body["abi"], code.removeprefix("0x"), links)


def compile_sources() -> dict[str, Artifact]:
    """The contracts of ``sol/``."""
    return compile_contracts(SOLC, (HERE / "sol").glob("*.sol"))


def compile_contracts(
    solc: str, files: Iterable[Path], remappings: Mapping[str, str] | None = None, **settings: Any
) -> dict[str, Artifact]:
    """The contracts of Solidity files and of what they import, by name; compiled once for each state of the sources.

    ``solc`` is a version that package.json has, as "0.8.26". Imports are looked up among ``files``, by the file's name,
    then among packages: ``import "@openzeppelin/contracts/..."`` needs the remapping
    ``{"@openzeppelin/contracts/": "@openzeppelin/contracts@5.1.0/"}``. ``settings`` are the compiler's, such as
    ``viaIR=True`` or ``evmVersion="paris"``; the optimizer is on with 200 runs unless they say otherwise.
    """
    sources = {_unit_name(path): {"content": path.read_text()} for path in sorted(files)}
    settings = {
        "optimizer": {"enabled": True, "runs": 200},
        "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.bytecode.linkReferences"]}},
        **settings,
    }
    if remappings:
        settings["remappings"] = [f"{written}={meant}" for written, meant in remappings.items()]
    # A package's path names its version, and packs.toml its hash: the request settles what imports say.
    request = json.dumps({"language": "Solidity", "sources": sources, "settings": settings}, sort_keys=True)
    kept = CACHE / f"solc-{hashlib.sha256(f'solc-{solc} {request}'.encode()).hexdigest()[:16]}.json"
    if not kept.is_file():
        replace_file(kept, json.dumps(_compile(f"solc-{solc}", request)))
    return {name: read_artifact(name, body) for name, body in json.loads(kept.read_text()).items()}


def multicall3_runtime() -> str:
    """Runtime code of the canonical Multicall3, read out of the wheel's source without importing it."""
    source = _MULTICALL_SOURCE.read_text()
    start = source.index('"0x', source.index("MULTICALL3_BYTECODE")) + 1
    return source[start : source.index('"', start)]


def replace_file(path: Path, text: str) -> None:
    """Write a file in one step, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def _unit_name(path: Path) -> str:
    return str(path.relative_to(PACKS)) if path.is_relative_to(PACKS) else path.name


def _compile(solc: str, request: str) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        raise FileNotFoundError("node is not on PATH")
    command = [node, str(HERE / "compile.js"), solc, str(PACKS)]
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=True)
    output = json.loads(done.stdout[done.stdout.index("{") :])
    errors = [error["formattedMessage"] for error in output.get("errors", []) if error["severity"] == "error"]
    if errors:
        raise RuntimeError("\n".join(errors))
    contracts = (found for file in output["contracts"].values() for found in file.items())
    return {name: {"abi": body["abi"], "bytecode": body["evm"]["bytecode"]} for name, body in contracts}
