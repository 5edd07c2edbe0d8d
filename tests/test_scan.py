"""Scans: what a chain or a reader that fails does to the snapshot, the exit code and the folder."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from defi_leverage import scan as scan_module
from defi_leverage.chain import Chain
from defi_leverage.config import Config, load_config
from defi_leverage.errors import ConfigError, ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.graph.owners import identify_owners
from defi_leverage.health import account_health
from defi_leverage.reading import (
    AccountReading,
    AssetReading,
    Deployment,
    FeedReading,
    LegReading,
    MarketReading,
    Reading,
    VenueReading,
)
from defi_leverage.store import load_snapshot
from tests.command_line import one_error, run
from tests.devnet import cache
from tests.devnet.anvil import Anvil
from tests.devnet.artifacts import compile_contracts
from tests.devnet.build import SEED
from tests.devnet.chain import deploy
from tests.rpc_server import Node, block_hash, serve

if TYPE_CHECKING:
    from tests.devnet.session import Devnet

ADDRESS = "0x2f39d218133AFaB8F2B819B1066c7E434Ad94E9e"
OTHER = "0xcfBf336fe147D643B9Cb705648500e101504B16d"


def write_config(folder: Path, url: str, *addresses: str, chain_id: int = 1) -> Path:
    lines = ['source = "chains"', "[chains.test]", f"chain_id = {chain_id}", f'rpc_urls = ["{url}"]']
    for number, address in enumerate(addresses or (ADDRESS,)):
        lines += ["[[chains.test.aave_v3]]", f'name = "M{number}"', f'address = "{address}"', "first_block = 1"]
    path = folder / "scan.toml"
    path.write_text("\n".join(lines))
    return path


async def read(chain: Chain, deployment: Deployment, progress: Any = None) -> Reading:
    """A reader of one account with 10 WETH; OTHER makes no sense to it."""
    progress("accounts", 1, 1)
    if deployment.address == OTHER:
        raise ReaderError("there is no contract at this address")
    asset = "eip155:1/erc20:0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"
    leg = LegReading("collateral", asset, asset, 10 * WAD, WAD * 8 // 10, WAD // 20)
    account = AccountReading(ADDRESS, "cross", 2**256 - 1, 20_000 * 10**8, 0, (leg,))
    return Reading(
        chain="eip155:1",
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=VenueReading(
            f"eip155:1:{deployment.address}", "aave_v3", deployment.name, deployment.address, 1, "aave_v3"
        ),
        assets=(AssetReading(asset, "WETH", 18),),
        feeds=(FeedReading(asset, asset, 2000 * 10**8, 10**8),),
        backing=(),
        markets=(MarketReading(asset, 10 * WAD, 0, 10 * WAD),),
        accounts=(account,),
        found=1,
    )


@pytest.fixture
def fake_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "load_reader", lambda _name: read)


async def test_a_scan_is_a_snapshot_and_knows_its_block(fake_reader: None, tmp_path: Path) -> None:
    async with serve(Node()) as node:
        config = write_config(tmp_path, node.url)
        code, out, _ = await asyncio.to_thread(run, "scan", "--config", config, "--output", tmp_path / "out")
    assert code == 0
    (folder,) = (tmp_path / "out").iterdir()
    assert folder.name.startswith("2023-11-15T012032Z-936-")
    assert f"Snapshot: {folder}\n" in out
    snapshot = load_snapshot(folder)
    assert snapshot.complete
    assert snapshot.coverage["block_hash"].tolist() == [block_hash(936)]
    for file in folder.iterdir():  # the endpoint's key is nowhere
        assert b"secretkey" not in file.read_bytes()


async def test_a_reader_that_fails_leaves_the_scan_incomplete(fake_reader: None, tmp_path: Path) -> None:
    async with serve(Node()) as node:
        config = write_config(tmp_path, node.url, ADDRESS, OTHER)
        code, _, err = await asyncio.to_thread(run, "scan", "--config", config, "--output", tmp_path / "out", "--json")
    assert code == 4
    assert f"M1 at {OTHER}: there is no contract at this address" in one_error(err)
    (folder,) = (tmp_path / "out").iterdir()
    snapshot = load_snapshot(folder)
    assert not snapshot.complete
    assert snapshot.coverage["found"].tolist() == [1, 0]
    assert OTHER in snapshot.coverage["why"].iloc[1]


async def test_no_reader_at_all_is_an_error_and_writes_nothing(fake_reader: None, tmp_path: Path) -> None:
    async with serve(Node()) as node:
        config = write_config(tmp_path, node.url, OTHER)
        code, _, err = await asyncio.to_thread(run, "scan", "--config", config, "--output", tmp_path / "out")
    assert code == 3
    assert "nothing could be read: M0 at" in one_error(err)
    assert not (tmp_path / "out").exists()


async def test_a_wrong_chain_id(tmp_path: Path) -> None:
    async with serve(Node(chain_id=5)) as node:
        config = write_config(tmp_path, node.url)
        code, _, err = await asyncio.to_thread(run, "scan", "--config", config, "--output", tmp_path / "out")
    assert code == 3
    line = one_error(err)
    assert "configured as chain 1" in line
    assert "serves chain 5" in line
    assert "secretkey" not in err
    assert not (tmp_path / "out").exists()


async def test_a_block_in_the_future(tmp_path: Path) -> None:
    async with serve(Node(head=1000)) as node:
        config = write_config(tmp_path, node.url)
        code, _, err = await asyncio.to_thread(run, "scan", "--config", config, "--block", "5000")
    assert code == 3
    assert "there is no block 5000; the newest is 1000" in one_error(err)


def test_an_unreachable_endpoint(tmp_path: Path) -> None:
    config = write_config(tmp_path, "http://127.0.0.1:9/v3/secretkey123")
    code, _, err = run("scan", "--config", config, "--output", tmp_path / "out")
    assert code == 3
    assert "no RPC endpoint answered" in one_error(err)
    assert "secretkey" not in err
    assert not (tmp_path / "out").exists()


async def test_a_reorganisation_ends_the_scan(
    fake_reader: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(Node()) as node:

        async def read_and_fork(*arguments: Any) -> Reading:
            node.hashes[936] = block_hash(7)
            return await read(*arguments)

        monkeypatch.setattr(scan_module, "load_reader", lambda _name: read_and_fork)
        config = write_config(tmp_path, node.url)
        code, _, err = await asyncio.to_thread(run, "scan", "--config", config, "--output", tmp_path / "out")
    assert code == 3
    assert "936" in one_error(err)
    assert not (tmp_path / "out").exists()


def test_a_missing_key_is_named_before_anything_is_read(tmp_path: Path) -> None:
    config = write_config(tmp_path, "https://one.example/${NO_SUCH_KEY}")
    code, _, err = run("scan", "--config", config)
    assert code == 2
    assert "environment variable NO_SUCH_KEY is not set" in one_error(err)


def test_the_sample_has_no_other_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("scan", "--block", "5")
    assert code == 2
    assert "block 5 cannot be read from the embedded sample; leave --block out" in one_error(err)
    assert list(tmp_path.iterdir()) == []


async def test_a_place_that_cannot_be_written_to_is_known_before_the_chain_is_read(
    fake_reader: None, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    async with serve(Node()) as node:
        config = write_config(tmp_path, node.url)
        code, _, err = await asyncio.to_thread(run, "scan", "--config", config, "--output", tmp_path / "file")
        assert code == 2
        assert "is not a folder that can be written to" in one_error(err)
        assert node.requests == []


def test_one_block_number_is_not_for_two_chains(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, "http://127.0.0.1:9"))
    two = replace(config, chains=(*config.chains, replace(config.chains[0], name="other")))
    with pytest.raises(ConfigError, match="block 5 cannot be meant for 2 chains"):
        scan_module.scan(two, 5)


async def test_a_notebook_with_its_loop_running_can_scan(fake_reader: None, tmp_path: Path) -> None:
    async with serve(Node()) as node:
        config = load_config(write_config(tmp_path, node.url))
        # In a thread with a loop of its own, for this one has to answer as the node.
        snapshot = await asyncio.to_thread(lambda: asyncio.run(_scan_inside_a_loop(config)))
    assert len(snapshot.accounts) == 1


async def _scan_inside_a_loop(config: Config) -> Any:
    return scan_module.scan(config)


# ----- real contracts


@pytest.mark.devnet
def test_the_devnet_from_its_configuration(devnet: "Devnet", tmp_path: Path) -> None:
    config = tmp_path / "devnet.toml"
    config.write_text(devnet.config())
    arguments = ("scan", "--config", config, "--block", "latest", "--output", tmp_path / "out")
    assert run(*arguments)[0] == 0
    assert run(*arguments)[0] == 0
    (folder,) = (tmp_path / "out").iterdir()  # the same block, the same bytes, the same folder
    snapshot = load_snapshot(folder)
    assert snapshot.complete
    assert len(snapshot.venues) == 2
    assert len(snapshot.accounts) >= 600
    assert (account_health(snapshot)["health_factor"] > 0).all()


PROXY = """// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

/// Answers what DappHub's DSProxy answers to who controls it. It executes nothing.
contract Proxy {
    address public constant owner = OWNER;
    address public constant authority = address(0);
    address public constant cache = address(1);
}
"""


@pytest.mark.devnet
def test_a_proxy_belongs_to_who_controls_it(devnet: "Devnet", tmp_path: Path) -> None:
    """One of the borrowers becomes a proxy, and another one is its owner: one person in the snapshot."""
    proxy, person = devnet.deployments["aave_v3_0"].of_kind("eth_borrower")[:2]
    source = tmp_path / "Proxy.sol"
    source.write_text(PROXY.replace("OWNER", person))
    made = deploy(devnet.chain, person, compile_contracts("0.8.26", [source])["Proxy"])
    devnet.rpc("anvil_setCode", proxy, devnet.rpc("eth_getCode", made, "latest"))
    config = tmp_path / "devnet.toml"
    for switch, owners in (("true", {person}), ("false", {proxy, person})):
        config.write_text(f"read_owners = {switch}\n{devnet.config()}")
        found = scan_module.scan(load_config(config), "latest")
        assert len(found.ownership) == (switch == "true")
        owner = identify_owners(found)
        theirs = found.accounts.set_index("account_id")["owner"].isin([f"eip155:31337:{a}" for a in (proxy, person)])
        assert set(owner[theirs[theirs].index]) == {f"eip155:31337:{a}" for a in owners}


@pytest.mark.devnet
def test_a_scan_that_lost_accounts_does_not_look_whole(devnet: "Devnet", tmp_path: Path) -> None:
    config = tmp_path / "late.toml"
    config.write_text(devnet.config().replace("first_block = ", "first_block = 10"))
    code, _, err = run("scan", "--config", config, "--block", "latest", "--output", tmp_path / "out")
    assert code == 4
    assert "Core 3.0: accounts that no event names: they hold 100.00% of the" in one_error(err)
    (folder,) = (tmp_path / "out").iterdir()
    assert not load_snapshot(folder).complete


@pytest.mark.devnet
def test_an_address_with_no_code(devnet: "Devnet", tmp_path: Path) -> None:
    nobody = "0x000000000000000000000000000000000000dEaD"
    config = write_config(tmp_path, devnet.url, nobody, chain_id=devnet.chain_id)
    code, _, err = run("scan", "--config", config, "--block", "latest", "--output", tmp_path / "out")
    assert code == 3
    assert nobody in one_error(err)
    assert not (tmp_path / "out").exists()


@pytest.mark.devnet
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_node_killed_half_way(
    share: float, devnet_process: "Devnet", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = devnet_process.description
    calls = 0
    stop_at = float("inf")
    with Anvil(cache.built(SEED) / cache.STATE, None, description.head_timestamp) as node:
        process = node._process.pid

        @contextmanager
        def watch() -> Iterator[Callable[[str, int, int], None]]:
            def kill(what: str, done: int, total: int) -> None:
                nonlocal calls
                calls += 1
                if calls == stop_at:
                    os.kill(process, signal.SIGKILL)

            yield kill

        monkeypatch.setattr("defi_leverage.logs.show_progress", watch)
        config = tmp_path / "devnet.toml"
        config.write_text(devnet_process.config().replace(devnet_process.url, node.url))
        arguments = ("scan", "--config", config, "--block", "latest", "--output", tmp_path / "out")
        assert run(*arguments)[0] == 0
        (folder,) = (tmp_path / "out").iterdir()
        before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}
        stop_at, calls = max(1, round(share * calls)), 0
        code, _, err = run(*arguments)
    assert code == 3
    assert "no RPC endpoint answered" in one_error(err)
    assert list((tmp_path / "out").iterdir()) == [folder]
    assert before == {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}
