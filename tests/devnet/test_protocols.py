"""How further protocols are found, fetched, compiled, built in waves and told of."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from . import cache
from .anvil import Anvil
from .artifacts import Artifacts, compile_contracts, pack
from .build import DAY, SEED, WAVE_DAYS
from .build_protocols import build_protocols
from .fetch import _fetch_packs
from .population import SHARED_ACCOUNTS, WAVES
from .protocols import PROTOCOLS, Site, in_order, load_build, source_files
from .tokens import PRICE_UNIT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from .session import Devnet

NPM = "@scope/name@1.0.0"


def test_every_protocol_has_its_module() -> None:
    for name in PROTOCOLS:
        assert callable(load_build(name))
        assert source_files(name)


def test_a_selection_is_in_the_table_s_order_and_known() -> None:
    assert in_order(reversed(PROTOCOLS)) == PROTOCOLS
    with pytest.raises(ValueError, match=r"no protocol morfo; there are: .*vaults"):
        in_order(["vaults", "morfo"])


@pytest.mark.devnet
def test_a_site_gives_everyone_an_address_of_their_own(devnet: Devnet) -> None:
    def site(name: str) -> Site:
        return Site(name, SEED, devnet.chain, devnet.tokens, devnet.feeds, devnet.deployments)

    one, other = site("one"), site("other")
    assert len({one.owner, other.owner, one.account("a"), one.account("b"), other.account("a")}) == 5
    assert one.rng.random() == site("one").rng.random() != other.rng.random()
    known = [{account.address for account in market.accounts} for market in devnet.deployments.values()]
    assert all(one.shared_account(index) in addresses for index in range(SHARED_ACCOUNTS) for addresses in known)


def build_as(
    monkeypatch: pytest.MonkeyPatch, **builds: Callable[[Site], Generator[str, None, Any]]
) -> dict[str, dict[str, Any]]:
    """What these protocols tell after a build on the base."""
    monkeypatch.setattr("tests.devnet.build_protocols.load_build", builds.__getitem__)
    kept = cache.built(SEED)
    base = cache.read_description(kept)
    with Anvil(kept / cache.STATE, timestamp=base.head_timestamp) as node:
        built = build_protocols(node.session, base, tuple(builds), SEED)
    assert replace(built, protocols={}, head_number=0, head_timestamp=0, head_hash="") == replace(
        base, head_number=0, head_timestamp=0, head_hash=""
    )
    return built.protocols


@pytest.mark.devnet
def test_waves_come_in_their_days_at_their_prices(devnet: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    def visit(*waves: str) -> Callable[[Site], Generator[str, None, dict[str, Any]]]:
        def build(site: Site) -> Generator[str, None, dict[str, Any]]:
            seen = {}
            for wave in waves:
                yield wave
                price = site.chain.call(site.feeds["WETH"], "latestAnswer()", "(int256)")[0] / PRICE_UNIT
                seen[wave] = [site.chain.head()[1] - devnet.description.head_timestamp, price]
            return seen

        return build

    told = build_as(monkeypatch, first=visit("rally", "late"), second=visit("rally", "slump", "settle"))
    for seen in told.values():
        assert seen == {wave: [WAVE_DAYS[wave] * DAY, WAVES[wave].eth] for wave in seen}
    assert [list(seen) for seen in told.values()] == [["rally", "late"], ["rally", "slump", "settle"]]


@pytest.mark.devnet
def test_a_wave_gone_by_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(site: Site) -> Generator[str, None, dict[str, Any]]:
        yield "late"
        yield "rally"
        return {}

    with pytest.raises(RuntimeError, match="some still wait: backwards for 'rally'"):
        build_as(monkeypatch, backwards=build)


@pytest.mark.devnet
def test_only_plain_values_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(site: Site) -> Generator[str, None, dict[str, Any]]:
        yield "late"
        return {"pair": (1, 2)}

    with pytest.raises(TypeError, match="tuples returns something else than a dict of plain JSON values"):
        build_as(monkeypatch, tuples=build)


@pytest.mark.devnet
@pytest.mark.parametrize("solc", ["0.5.16", "0.6.12", "0.8.19", "0.8.26"])
def test_each_compiler_compiles(solc: str, tmp_path: Path) -> None:
    source = tmp_path / "Counter.sol"
    source.write_text("pragma solidity >=0.5.0;\ncontract Counter { uint256 public count; }\n")
    artifact = compile_contracts(solc, [source])["Counter"]
    assert [entry["name"] for entry in artifact.abi] == ["count"]
    assert len(artifact.bytecode) > 100


@pytest.mark.devnet
def test_imports_come_from_packages(tmp_path: Path) -> None:
    source = tmp_path / "Coin.sol"
    imports = 'import "@openzeppelin/contracts/interfaces/IERC4626.sol";'
    source.write_text(f"pragma solidity ^0.8.20;\n{imports}\ninterface Coin is IERC4626 {{}}\n")
    compiled = compile_contracts("0.8.26", [source], {"@openzeppelin/contracts/": "@openzeppelin/contracts@5.1.0/"})
    assert {"Coin", "IERC4626", "IERC20"} <= set(compiled)
    with pytest.raises(RuntimeError, match=r"IERC4626\.sol is in no package"):
        compile_contracts("0.8.26", [source])
    with pytest.raises(FileNotFoundError, match=r"@scope/name@1\.0\.0 is not among the packages"):
        pack(NPM)


@pytest.mark.devnet
@pytest.mark.parametrize(
    ("package", "contract"),
    [
        ("@aave/protocol-v2@1.0.1", "LendingPool"),
        ("@venusprotocol/venus-protocol@10.3.0", "VBep20Immutable"),
        ("@perp/curie-deployments@2023.4.12-1681295833590", "ClearingHouse"),
        ("@uniswap/v2-core@1.0.1", "UniswapV2Pair"),
    ],
)
def test_packages_hold_bytecode(package: str, contract: str) -> None:
    assert len(Artifacts(pack(package))[contract].bytecode) > 10_000


def test_a_tarball_that_is_another_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def npm(*arguments: str) -> None:
        with tarfile.open(
            f"{arguments[arguments.index('--pack-destination') + 1]}/scope-name-1.0.0.tgz", "w:gz"
        ) as tar:
            for name in ("package/wanted/a.json", "package/wanted/a.dbg.json", "package/other/b.json"):
                entry = tarfile.TarInfo(name)
                entry.size = 2
                tar.addfile(entry, io.BytesIO(b"{}"))

    monkeypatch.setattr("tests.devnet.fetch._npm", npm)
    monkeypatch.setattr("tests.devnet.fetch.PACKS", tmp_path)
    request = {"package": NPM, "integrity": "sha512-no", "members": ["wanted/"]}
    with pytest.raises(SystemExit, match=r"@scope/name@1\.0\.0 is sha512-.*, but packs.toml asks for sha512-no"):
        _fetch_packs([request])
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("tests.devnet.fetch.hashlib.sha512", _Zeros)
    _fetch_packs([{**request, "integrity": "sha512-AAAA"}])
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")] == [f"{NPM}/wanted/a.json"]


class _Zeros:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def digest(self) -> bytes:
        return bytes(3)
