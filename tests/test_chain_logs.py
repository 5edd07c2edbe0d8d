"""chain_logs: long ranges from nodes that allow only short ones."""

from collections.abc import Callable
from typing import Any

import pytest

from defi_leverage.chain import Limits, ReorgError
from defi_leverage.errors import DecodeError, RpcError
from tests.rpc_server import (
    A,
    B,
    C,
    Fault,
    Node,
    Refusal,
    block_hash,
    connect,
    hang,
    http,
    log_row,
    only,
    serve,
)

ROWS = [log_row(address, block, index) for block in range(0, 1_000, 3) for index, address in enumerate((A, B, C))]


def expected_logs(addresses: set[str], first: int, last: int = 900) -> list[tuple[int, int, str]]:
    return [(b, i, a) for b in range(0, last + 1, 3) for i, a in enumerate((A, B, C)) if b >= first and a in addresses]


async def test_logs_come_once_and_in_order() -> None:
    steps: list[tuple[int, int]] = []
    async with (
        serve(Node(logs=ROWS[::-1] + ROWS[::2])) as node,
        connect(node, progress=lambda *step: steps.append(step)) as chain,
    ):
        logs = await chain.logs([A.lower(), B, B], [["0x" + "ab" * 32], None], 10)
        assert [(log.block, log.index, log.address) for log in logs] == expected_logs({A, B}, 10)
        assert (logs[0].topics, logs[0].data[-1], logs[0].transaction) == (
            ("0x" + "ab" * 32,),
            7,
            block_hash(12_000),
        )
        assert steps[-1] == (891, 891)
        assert steps == sorted(steps)
        assert node.asked("eth_getLogs")[0][0]["topics"] == [["0x" + "ab" * 32], None]
        assert [await chain.logs([], [], 0), await chain.logs([A], [], 901)] == [[], []]


async def test_many_addresses_are_asked_for_in_parts() -> None:
    steps: list[tuple[int, int]] = []
    limits = Limits(log_addresses=2, log_blocks=300)
    async with (
        serve(Node(logs=ROWS)) as node,
        connect(node, limits=limits, progress=lambda *step: steps.append(step)) as chain,
    ):
        logs = await chain.logs([A, B, C], [], 0)
        assert [(log.block, log.index, log.address) for log in logs] == expected_logs({A, B, C}, 0)
        assert steps[-1] == (1802, 1802)


def limit_range(blocks: int, code: int, text: str) -> Callable[[str, list[Any]], None]:
    def refuse(method: str, params: list[Any]) -> None:
        if method == "eth_getLogs":
            first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
            if last - first + 1 > blocks:
                raise Refusal(code, text.format(first=hex(first), last=hex(first + blocks - 1)))

    return refuse


@pytest.mark.parametrize(
    ("code", "text", "requests"),
    [
        (-32602, "invalid block range", 85),
        (-32602, "invalid params", 85),
        (-32005, "query returned more than 10000 results. Try with this block range [{first}, {last}].", 100),
        (-32602, "Log response size exceeded. this block range should work: [{first}, {last}]", 100),
        (-32600, "You can make eth_getLogs requests with up to a 16 block range.", 60),
        (-32000, "block range is too wide", 85),
        (-32000, "exceed maximum block range: 16", 85),
        (-32000, "response size exceeded", 110),
        (-32000, "query timeout exceeded", 110),
    ],
)
async def test_refused_ranges_are_split(code: int, text: str, requests: int) -> None:
    async with serve(Node(logs=ROWS, refuse=limit_range(16, code, text))) as node, connect(node) as chain:
        logs = await chain.logs([A, B], [], 0)
        assert [(log.block, log.index, log.address) for log in logs] == expected_logs({A, B}, 0)
        assert len(node.asked("eth_getLogs")) <= requests


@pytest.mark.parametrize("fault", [http(413), hang])
async def test_replies_too_long_are_split(fault: Fault) -> None:
    async with serve(Node(logs=ROWS)) as node, connect(node, limits=Limits(timeout=0.1, log_blocks=500)) as chain:
        node.faults = [fault]
        assert len(await chain.logs([A], [], 0)) == 301
        assert chain.stats.retries == 0


async def test_ranges_grow_while_all_goes_well() -> None:
    async with serve(Node(logs=ROWS)) as node, connect(node, limits=Limits(log_blocks=10)) as chain:
        assert len(await chain.logs([A], [], 0)) == 301
        assert len(node.asked("eth_getLogs")) < 20


async def test_a_reply_cut_at_a_round_number_is_not_believed() -> None:
    rows = [log_row(A, block, index) for block in range(0, 900, 2) for index in range(4)]
    async with serve(Node(logs=rows)) as node, connect(node, limits=Limits(log_blocks=900)) as chain:
        whole = node.eth_getLogs
        node.override["eth_getLogs"] = lambda query: whole(query)[:1_000]
        assert len(await chain.logs([A], [], 0)) == 1_800


async def test_a_single_block_that_is_refused_is_raised() -> None:
    async with (
        serve(Node(refuse=limit_range(0, -32005, "query returned more than 10000 results"))) as node,
        connect(node) as chain,
    ):
        with pytest.raises(RpcError, match="more than 10000 results"):
            await chain.logs([A, B], [], 890)


async def test_other_refusals_of_logs_are_raised_at_once() -> None:
    async with (
        serve(Node(refuse=only("eth_getLogs", Refusal(-32000, "hard to say")))) as node,
        connect(node) as chain,
    ):
        with pytest.raises(RpcError, match="blocks 0 to 99 was refused by the node: hard to say"):
            await chain.logs([A], [], 0)
        assert len(node.asked("eth_getLogs")) == 1


@pytest.mark.parametrize("change", [{"removed": True}, {"blockHash": block_hash(5)}])
async def test_removed_logs_are_a_reorganisation(change: dict[str, Any]) -> None:
    async with serve(Node(logs=[log_row(A, 900) | change])) as node, connect(node) as chain:
        with pytest.raises(ReorgError):
            await chain.logs([A], [], 0)


@pytest.mark.parametrize(
    "row",
    [
        *(7, None, {}, log_row(B, 5), log_row(A, 950)),
        *(log_row(A, 5) | change for change in ({"data": "0xz"}, {"topics": None}, {"topics": ["0x12"]})),
        log_row(A, 5) | {"topics": ["0x" + "zz" * 32]},
    ],
)
async def test_logs_that_are_none_are_refused(row: Any) -> None:
    async with serve(Node()) as node, connect(node) as chain:
        node.override["eth_getLogs"] = lambda _query: [row]
        with pytest.raises(DecodeError):
            await chain.logs([A], [], 0)


async def test_logs_that_are_no_list_are_refused() -> None:
    async with serve(Node()) as node, connect(node) as chain:
        node.override["eth_getLogs"] = lambda _query: {"logs": []}
        with pytest.raises(DecodeError, match="no list"):
            await chain.logs([A], [], 0)
