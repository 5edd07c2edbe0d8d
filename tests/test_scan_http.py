"""Scans with a venue that is at no block: the window, the skew to a chain, and a venue that does not answer."""

import asyncio
import copy
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from defi_leverage import scan as scan_module
from defi_leverage.store import load_snapshot
from defi_leverage.summary import describe_venues
from tests.command_line import one_error, run
from tests.http_server import Venue, serve_venue
from tests.protocols import hyperliquid_replies as replies
from tests.protocols.hyperliquid_replies import USER
from tests.rpc_server import Node, http, serve
from tests.test_scan import read as read_fake


def write(folder: Path, venue: Venue, node: Node | None = None) -> Path:
    lines = ['source = "chains"', "[[venues.hyperliquid]]", 'name = "Hyperliquid"']
    lines += [f'url = "{venue.url}"', f'accounts = ["{USER}"]']
    if node is not None:
        lines += ["[chains.test]", "chain_id = 1", f'rpc_urls = ["{node.url}"]', "[[chains.test.aave_v3]]"]
        lines += ['name = "M"', 'address = "0x2f39d218133AFaB8F2B819B1066c7E434Ad94E9e"', "first_block = 1"]
    path = folder / "scan.toml"
    path.write_text("\n".join(lines))
    return path


def exchange() -> Venue:
    answers: dict[str, Any] = {
        "perpDexs": [None],
        "spotMeta": replies.SPOT_META,
        "metaAndAssetCtxs": replies.meta(),
        "clearinghouseState": replies.RECORDED | {"time": time.time() * 1000},
        "userAbstraction": "default",
    }
    return Venue(lambda _path, body: copy.deepcopy(answers[body["type"]]))


@pytest.fixture(autouse=True)
def fake_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "load_reader", lambda _name: read_fake)


async def scan(config: Path, folder: Path) -> tuple[int, str, str]:
    return await asyncio.to_thread(run, "scan", "--config", config, "--output", folder / "out")


async def test_a_venue_alone_has_a_window_and_no_skew(tmp_path: Path) -> None:
    async with serve_venue(exchange()) as venue:
        code, _, err = await scan(write(tmp_path, venue), tmp_path)
    assert code == 0, err
    (folder,) = (tmp_path / "out").iterdir()
    coverage = load_snapshot(folder).coverage.iloc[0]
    assert coverage["window_start"] <= coverage["window_end"] == coverage["block_time"]
    assert coverage["window_start"].startswith("20")
    assert pd.isna(coverage["skew_seconds"])
    for file in folder.iterdir():
        assert b"secretkey" not in file.read_bytes()


async def test_mixed_with_a_chain_the_skew_to_its_block_is_stated(tmp_path: Path) -> None:
    async with serve_venue(exchange()) as venue, serve(Node()) as node:
        code, _, err = await scan(write(tmp_path, venue, node), tmp_path)
    assert code == 0, err
    (folder,) = (tmp_path / "out").iterdir()
    coverage = load_snapshot(folder).coverage.set_index("protocol")
    at = 1_700_000_000 + 12 * 936  # the block's time
    end = datetime.fromisoformat(str(coverage.loc["hyperliquid", "window_end"])).timestamp()
    assert coverage.loc["hyperliquid", "skew_seconds"] == end - at
    assert coverage.loc["aave_v3", "window_start"] == ""
    assert coverage["skew_seconds"].isna().tolist() == [True, False]


async def test_what_people_read_states_the_window_and_the_skew(tmp_path: Path) -> None:
    async with serve_venue(exchange()) as venue, serve(Node()) as node:
        code, out, err = await scan(write(tmp_path, venue, node), tmp_path)
    assert code == 0, err
    (folder,) = (tmp_path / "out").iterdir()
    chain, exchanged = describe_venues(load_snapshot(folder))
    assert (chain["window_start"], chain["window_end"], chain["skew_seconds"]) == ("", "", None)
    assert exchanged["window_start"] <= exchanged["window_end"]
    said = " ".join(out.split())
    assert f"not pinned to a block; read from {exchanged['window_start']} to {exchanged['window_end']}" in said
    assert f"up to {exchanged['skew_seconds']:,.0f} s away from the chains' block." in said
    assert "secretkey" not in out + err


async def test_a_venue_that_does_not_answer_leaves_the_scan_incomplete(tmp_path: Path) -> None:
    async with serve_venue(exchange()) as venue, serve(Node()) as node:
        venue.constant = http(422)  # final at once
        code, _, err = await scan(write(tmp_path, venue, node), tmp_path)
    assert code == 4
    assert "did not answer POST /info perpDexs: HTTP 422" in one_error(err)
    (folder,) = (tmp_path / "out").iterdir()
    snapshot = load_snapshot(folder)
    assert not snapshot.complete
    assert snapshot.coverage["protocol"].tolist() == ["aave_v3", "hyperliquid"]
