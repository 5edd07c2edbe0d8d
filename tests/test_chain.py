"""chain: one pinned block, and calls through nodes that misbehave."""

from typing import Any

import pytest
from aiohttp import web

from defi_leverage.chain import Block, Call, Limits, ReorgError, open_chain
from defi_leverage.errors import ChainError, ConfigError, DecodeError, RpcError
from defi_leverage.multicall import MULTICALL3
from defi_leverage.rpc_faults import ReplyError
from tests.rpc_server import (
    A,
    B,
    Fault,
    Node,
    Refusal,
    block_hash,
    connect,
    echo,
    echoes,
    hang,
    honest,
    http,
    numbered_calls,
    only,
    serve,
)


async def test_the_block_is_looked_up_once_and_named_by_hash() -> None:
    async with serve(Node()) as node:
        for asked, number in (("latest", 1000), ("finalized", 936), (7, 7)):
            node.requests.clear()
            async with connect(node, block=asked) as chain:
                assert chain.block == Block(number, block_hash(number), 1_700_000_000 + 12 * number)
                node.head += 1
                assert await chain.call(numbered_calls(20)) == echoes(numbered_calls(20))
                assert await chain.code(A) == b"\x60\x01"
                await chain.confirm()
                node.head -= 1
            by_hash = {"blockHash": block_hash(number), "requireCanonical": True}
            assert all(block == by_hash for _, block in node.asked("eth_call") + node.asked("eth_getCode"))
            assert len(node.asked("eth_getBlockByNumber")) == 2
            assert "secret" not in repr(chain)


@pytest.mark.parametrize(
    ("code", "text"),
    [(-32602, "invalid params"), (-32000, "invalid argument 1: json: cannot unmarshal object into Go value")],
)
async def test_an_endpoint_without_eip_1898_is_asked_by_number(code: int, text: str) -> None:
    def refuse(_method: str, params: list[Any]) -> None:
        if any(isinstance(param, dict) and "blockHash" in param for param in params):
            raise Refusal(code, text)

    async with serve(Node(refuse=refuse)) as node, connect(node) as chain:
        assert await chain.call(numbered_calls(20)) == echoes(numbered_calls(20))
        assert node.asked("eth_call")[-1][1] == hex(900)
        assert chain.stats.retries == 0


async def test_blocks_that_are_not_there() -> None:
    async with serve(Node()) as node:
        with pytest.raises(ChainError, match=r"no block 5000.*newest is 1000"):
            await connect(node, block=5000).__aenter__()
    for text in ("finalized block not found", "unknown block", "invalid argument 0: hex string without 0x prefix"):
        async with serve(Node(refuse=only("eth_getBlockByNumber", Refusal(-32602, text)))) as node:
            with pytest.raises(ChainError, match=r"finalized block.*Use --block latest or a number"):
                await connect(node, block="finalized").__aenter__()


@pytest.mark.parametrize(
    "change", [{"timestamp": hex(2**64)}, {"timestamp": "-0x1"}, {"number": "-0x1"}, {"hash": "0x"}]
)
async def test_a_block_that_cannot_be_is_refused(change: dict[str, str]) -> None:
    async with serve(Node()) as node:
        node.override["eth_getBlockByNumber"] = lambda *asked: (node.eth_getBlockByNumber(*asked) or {}) | change
        with pytest.raises(DecodeError, match="the answer for block latest is not that block"):
            await connect(node, block="latest").__aenter__()


@pytest.mark.parametrize("block", [-1, "safe", True, 1.5])
async def test_blocks_that_are_none(block: Any) -> None:
    with pytest.raises(ConfigError, match="not a number"):
        await connect("http://127.0.0.1:1", block=block).__aenter__()


@pytest.mark.parametrize("urls", [[], ["example.com/secretkey123"], ["wss://x/secretkey123"], ["http:///secretkey123"]])
async def test_urls_that_are_none(urls: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        await connect(*urls).__aenter__()
    assert "secret" not in str(caught.value)


async def test_another_chain_is_named_on_every_endpoint() -> None:
    async with serve(Node(chain_id=56)) as other, serve(Node()) as node:
        with pytest.raises(ChainError, match=r"chain 1, but http://127.0.0.1:\d+/\*\*\* serves chain 56"):
            await connect(other).__aenter__()
        async with connect(node, other) as chain:
            node.constant = http(503)
            with pytest.raises(ChainError, match="serves chain 56"):
                await chain.code(A)


async def test_a_reorganisation_is_noticed() -> None:
    async with serve(Node()) as node, connect(node) as chain:
        node.hashes[900] = block_hash(1)
        with pytest.raises(ReorgError, match="block 900 was reorganised"):
            await chain.confirm()
        node.refuse = only("eth_call", Refusal(-32000, "hash 0x is not currently canonical"))
        with pytest.raises(ReorgError):
            await chain.call(numbered_calls(20))


@pytest.mark.parametrize("has_multicall", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 100])
async def test_calls_keep_their_order(has_multicall: bool, count: int) -> None:
    calls = numbered_calls(count)
    for index in range(0, count, 7):
        calls[index] = (B, b"\xff" + calls[index][1])
    async with serve(Node(has_multicall=has_multicall)) as node, connect(node) as chain:
        assert await chain.call(calls) == echoes(calls)
        if count == 100:
            assert len(node.asked("eth_call")) == (13 if has_multicall else 100)
            assert len(node.requests) == (13 if has_multicall else 20) + 3
            assert chain.stats.requests == len(node.requests)
            assert min(chain.stats.bytes_sent, chain.stats.bytes_received) > 10_000


async def test_empty_results_are_results() -> None:
    async with serve(Node(contract=lambda _to, _data: b"")) as node, connect(node) as chain:
        assert await chain.call(numbered_calls(10)) == [b""] * 10
        assert await chain.call(numbered_calls(1)) == [b""]


async def test_a_failure_without_a_reason_is_checked_alone() -> None:
    starved = True

    def contract(target: str, raw: bytes) -> bytes | None:
        if target.lower() == B.lower() and starved:  # the calls before it took the gas
            raise Refusal(-32000, "out of gas")
        return echo(target, raw)

    async with serve(Node(contract=contract)) as node, connect(node) as chain:
        calls = [(A, b"1"), (B, b"2"), (A, b"3")]
        assert await chain.call(calls) == [b"1", None, b"3"]
        node.faults = [honest]
        aggregated = node.eth_call
        node.override["eth_call"] = lambda call, block: aggregated(call, block) if call["to"] == MULTICALL3 else "0x32"
        assert await chain.call(calls) == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(-32000, "out of gas"),
        Refusal(-32000, "gas required exceeds allowance (50000000)"),
        Refusal(-32008, "response is too big"),
        Refusal(-32000, "execution aborted (timeout = 5s)"),
        Refusal(3, "execution reverted"),
    ],
)
async def test_chunks_shrink_to_what_the_node_can_do(refusal: Refusal) -> None:
    def refuse(method: str, params: list[Any]) -> None:
        if method == "eth_call" and len(params[0]["data"]) > 1_800:
            raise refusal

    async with serve(Node(refuse=refuse)) as node, connect(node, limits=Limits(chunk_calls=64)) as chain:
        calls = [(A, b"four"), (A, b"\xff")] * 100
        assert await chain.call(calls) == echoes(calls)


async def test_one_poisoned_call_fails_alone() -> None:
    def contract(_target: str, raw: bytes) -> bytes | None:
        return raw

    def refuse(method: str, params: list[Any]) -> None:
        if method == "eth_call" and "deadbeef" in params[0]["data"]:
            raise Refusal(-32000, "out of gas")

    async with serve(Node(contract=contract, refuse=refuse)) as node, connect(node) as chain:
        calls = numbered_calls(60)
        calls[33] = (B, b"\xde\xad\xbe\xef")
        expected = echoes(calls)
        expected[33] = None
        assert await chain.call(calls) == expected
        assert len(node.asked("eth_call")) < 60


@pytest.mark.parametrize("fault", [hang, http(413)])
async def test_chunks_that_take_too_long_are_halved(fault: Fault) -> None:
    async def heavy(request: web.Request, payload: Any) -> web.StreamResponse | None:
        long = (
            isinstance(payload, dict) and payload["method"] == "eth_call" and len(payload["params"][0]["data"]) > 1_800
        )
        return await fault(request, payload) if long else None

    limits = Limits(timeout=0.1, chunk_calls=16, in_flight=2)
    async with serve(Node(constant=heavy)) as node, connect(node, limits=limits) as chain:
        calls = [(A, b"four")] * 32
        assert await chain.call(calls) == echoes(calls)
        assert chain.stats.retries == 0


@pytest.mark.parametrize("result", ["0x", "0x1234", "0xzz", "1234", None, 7, {"a": 1}])
async def test_nonsense_is_never_taken_for_an_answer(result: Any) -> None:
    async with serve(Node()) as node, connect(node) as chain:
        node.override["eth_call"] = lambda *_: result
        with pytest.raises(DecodeError):
            await chain.call(numbered_calls(3))


async def test_other_refusals_of_a_call_are_raised() -> None:
    refuse = only("eth_call", Refusal(-32000, "hard to say"))
    async with serve(Node(refuse=refuse)) as node, connect(node) as chain:
        with pytest.raises(ReplyError, match=f"testnet: call 0x[0-9a-f]+ of {A} was refused by the node: hard to say"):
            await chain.call(numbered_calls(20))
        assert len(node.asked("eth_call")) < 20


async def test_a_method_that_is_not_offered_is_asked_for_elsewhere() -> None:
    refuse = only("eth_call", Refusal(-32601, "the method eth_call does not exist"))
    async with serve(Node(refuse=refuse)) as node, serve(Node()) as other:
        async with connect(node, other) as chain:
            assert await chain.call(numbered_calls(20)) == echoes(numbered_calls(20))
        async with connect(node) as chain:
            with pytest.raises(RpcError, match=r"(?s)answered eth_call:.*does not exist"):
                await chain.call(numbered_calls(20))


@pytest.mark.devnet
async def test_a_real_multicall_and_real_logs_answer_as_single_calls_do(devnet: Any) -> None:
    token = next(iter(devnet.tokens.values()))
    supply, missing = bytes.fromhex("18160ddd"), b"\x01\x02\x03\x04"
    calls: list[Call] = [(token, supply), (token, missing), (A, supply), (MULTICALL3, missing)] * 200
    async with open_chain("devnet", devnet.chain_id, [devnet.url]) as chain:
        found = await chain.call(calls)
        alone = [(await chain.call([call]))[0] for call in calls[:4]]
        assert found == alone * 200
        assert [len(found[0] or b""), *found[1:4]] == [32, None, b"", None]
        transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
        logs = await chain.logs(list(devnet.tokens.values()), [transfer], 0)
        assert logs
        assert {log.topics[0] for log in logs} == {transfer}
        await chain.confirm()
