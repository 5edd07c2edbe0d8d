"""rpc: endpoints that fail, refuse, delay and die."""

import asyncio
import gc
import logging
import socket
import ssl
import traceback
import warnings
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from defi_leverage.chain import Limits
from defi_leverage.errors import ChainError, ConfigError, RpcError
from defi_leverage.rpc_faults import Kind
from defi_leverage.rpc_http import explain_loss
from tests.rpc_server import (
    FAST,
    SECRETS,
    A,
    Fault,
    Naps,
    Node,
    Refusal,
    block_hash,
    connect,
    dead_url,
    echoes,
    hang,
    http,
    nothing,
    numbered_calls,
    only,
    reset,
    rpc_error,
    serve,
    truncate,
)

PASSING: list[Fault] = [
    hang,
    reset,
    truncate,
    http(429),
    http(429, Retry_After="3"),
    http(500, "oops"),
    http(502),
    http(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    http(200, '{"jsonrpc": "2.0", "resu'),
    http(200, "<html>"),
    http(200, "[" * 100_000),
    http(200, '{"jsonrpc": "2.0", "id": 987654, "result": "0x"}'),
    http(200, '"text"'),
    nothing,
    rpc_error(-32005, "limit exceeded"),
    rpc_error(-32097, "rate"),
    rpc_error(-32000, "HTTP 429 from upstream"),
    rpc_error(-32603, "internal error", status=500),
]


@pytest.mark.parametrize("fault", PASSING)
async def test_passing_faults_are_retried(fault: Fault) -> None:
    naps = Naps()
    async with serve(Node()) as node, connect(node, naps=naps) as chain:
        before = len(node.requests)
        node.faults = [fault, fault]
        assert await chain.code(A) == b"\x60\x01"
        assert len(node.requests) == before + 3
        assert chain.stats.retries == 2
        assert naps.seconds == ([3, 3] if fault is PASSING[4] else [0.5, 1.0])


async def test_waits_grow_with_full_jitter_and_end() -> None:
    naps, draws = Naps(), iter([0.1, 0.9, 0.5, 0.2, 1.0])
    async with serve(Node()) as node, connect(node, naps=naps, jitter=lambda: next(draws)) as chain:
        node.constant = http(503)
        with pytest.raises(
            RpcError, match=r"(?s)answered eth_getCode.*HTTP 503 \(5 attempts.*Check each URL"
        ) as caught:
            await chain.code(A)
        assert naps.seconds == pytest.approx([0.05, 0.9, 1.0, 0.8])
        assert caught.value.attributes["method"] == "eth_getCode"


async def test_a_wait_beyond_the_budget_is_not_waited_for() -> None:
    naps = Naps()
    async with serve(Node()) as node, connect(node, naps=naps) as chain:
        node.constant = http(429, Retry_After="3600")
        with pytest.raises(RpcError, match="asks to wait 3600 s"):
            await chain.code(A)
        assert naps.seconds == []
        node.constant = http(429, Retry_After="25")
        with pytest.raises(RpcError):
            await chain.code(A)
        assert naps.seconds == [25, 25]


async def test_time_lost_in_timeouts_counts() -> None:
    limits = Limits(timeout=0.1, retry_budget=0.25, backoff=0.001)
    async with serve(Node()) as node, connect(node, limits=limits) as chain:
        node.constant = hang
        started = asyncio.get_running_loop().time()
        with pytest.raises(RpcError, match="no answer in"):
            await chain.call(numbered_calls(200))
        assert asyncio.get_running_loop().time() - started < 1


@pytest.mark.parametrize("fault", [http(503), http(401, "no such project"), http(404), http(301), reset, hang])
async def test_the_next_endpoint_takes_over_and_stays(fault: Fault) -> None:
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(serve(Node())) for _ in range(2)]
        chain = await stack.enter_async_context(
            connect(dead_url(), first, second, limits=Limits(timeout=0.05, retries=2))
        )
        first.constant = fault
        assert await chain.call(numbered_calls(5)) == echoes(numbered_calls(5))
        asked = len(first.requests)
        assert await chain.call(numbered_calls(5)) == echoes(numbered_calls(5))
        assert len(first.requests) == asked
        assert chain.stats.failovers == 2
        assert second.asked("eth_chainId")


@pytest.mark.parametrize("behind", [{"head": 800}, {"hashes": {900: block_hash(3)}}])
async def test_an_endpoint_without_our_block_is_not_used(behind: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack:
        first, second, third = [await stack.enter_async_context(serve(Node(**each))) for each in ({}, behind, {})]
        chain = await stack.enter_async_context(connect(first, second, third))
        first.constant = http(401)
        assert await chain.code(A) == b"\x60\x01"
        assert not second.asked("eth_getCode")


async def test_a_node_that_dies_fails_the_scan_soon() -> None:
    naps = Naps()
    async with AsyncExitStack() as stack:
        async with serve(Node()) as node:
            chain = await stack.enter_async_context(connect(node, naps=naps))
            await chain.call(numbered_calls(50))
        with pytest.raises(RpcError, match=r"cannot connect|connection lost"):
            await chain.call(numbered_calls(500))
    assert sum(naps.seconds) < 10
    assert len(naps.seconds) <= 3 * FAST.in_flight


@pytest.mark.parametrize("text", ["missing trie node 00", "header not found", "state at block #900 is pruned"])
async def test_missing_state_is_looked_for_elsewhere_and_then_explained(text: str) -> None:
    pruned = only("eth_call", Refusal(-32000, text))
    async with serve(Node(refuse=pruned)) as first, serve(Node()) as archive:
        async with connect(first, archive) as chain:
            assert await chain.call(numbered_calls(30)) == echoes(numbered_calls(30))
        async with connect(first) as chain:
            with pytest.raises(ChainError, match=r"(?s)no endpoint has the state of block 900.*archive endpoint"):
                await chain.call(numbered_calls(30))


@pytest.mark.parametrize("fault", [*PASSING, http(403, "bad key secretkey123"), rpc_error(-32000, "topsecret")])
async def test_no_secret_is_ever_told(
    fault: Fault, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    caplog.set_level(logging.DEBUG)
    others = [dead_url(), "http://no-such-host.invalid/secretkey123"]
    async with serve(Node(constant=fault)) as node:
        with pytest.raises(ChainError) as caught:
            await connect(node, *others).__aenter__()
    error: BaseException | None = caught.value
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    while error is not None:
        shown += f"{error!r} {error} {vars(error)}"
        error = error.__cause__ or error.__context__
    assert not any(secret in shown for secret in SECRETS)
    assert shown.count("/***") > 2
    assert "Name or service not known" in shown


async def test_cancelling_leaves_nothing_open() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with serve(Node()) as node:
            async with connect(node, limits=Limits(timeout=30)) as chain:
                node.constant = hang
                scan = asyncio.create_task(chain.call(numbered_calls(3_000)))
                await asyncio.sleep(0.05)
                scan.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await scan
            assert len(asyncio.all_tasks()) <= 1 + 8  # this one, and the server's handlers
        gc.collect()


@pytest.mark.parametrize("host", ["a" * 64 + ".com", "..."])
async def test_a_host_that_no_name_service_can_be_asked_for(host: str) -> None:
    with pytest.raises(RpcError, match="its URL is not valid") as caught:
        await connect(f"http://{host}/secretkey123").__aenter__()
    assert "secret" not in str(caught.value)


def test_tls_failures_are_told() -> None:
    key: Any = SimpleNamespace(host="example.com", port=443, ssl=True, is_ssl=True)
    for error in (
        aiohttp.ClientConnectorCertificateError(key, ssl.SSLCertVerificationError("secretkey123")),
        aiohttp.ClientConnectorSSLError(key, ssl.SSLError("secretkey123")),
    ):
        found = explain_loss(error, "https://example.com/secretkey123", 1)
        assert (found.kind, "secretkey123" in found.reason) == (Kind.REFUSED, False)


@pytest.mark.parametrize("limit", [{"in_flight": 0}, {"timeout": -1.0}, {"chunk_calls": 0}])
def test_limits_are_above_zero(limit: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"limit {next(iter(limit))} must be above 0"):
        Limits(**limit)


@pytest.mark.parametrize("takes_batches", [1, 2])
async def test_batches_shrink_to_what_the_endpoint_takes(takes_batches: int) -> None:
    async with serve(Node(has_multicall=False, takes_batches=takes_batches)) as node, connect(node) as chain:
        assert await chain.call(numbered_calls(23)) == echoes(numbered_calls(23))
        assert len(node.requests[-1]) <= 4 if isinstance(node.requests[-1], dict) else takes_batches


def drop_one(replies: list[Any]) -> list[Any]:
    return replies[1:] if len(replies) > 1 else replies


def limit_some(replies: list[Any]) -> list[Any]:
    limited = {"jsonrpc": "2.0", "error": {"code": -32005, "message": "rate limit"}}
    return [{**limited, "id": entry["id"]} if at else entry for at, entry in enumerate(replies)]


def too_large(replies: list[Any]) -> list[Any]:
    large = {"jsonrpc": "2.0", "error": {"code": -32003, "message": "response too large"}}
    return [{**large, "id": entry["id"]} if at > 1 else entry for at, entry in enumerate(replies)]


@pytest.mark.parametrize(
    "answer_batch",
    [
        lambda replies: replies[::-1],
        lambda replies: [*replies, *replies, {"id": 10**9, "result": "0x66"}, {"id": [1]}, 7, None],
        drop_one,
        limit_some,
        too_large,
    ],
)
async def test_batch_replies_are_matched_by_id(answer_batch: Callable[[list[Any]], Any]) -> None:
    node = Node(has_multicall=False, answer_batch=answer_batch)
    async with serve(node), connect(node) as chain:
        assert await chain.call(numbered_calls(23)) == echoes(numbered_calls(23))


async def test_a_rate_limit_of_a_whole_batch_is_waited_for() -> None:
    naps = Naps()
    async with serve(Node(has_multicall=False)) as node, connect(node, naps=naps) as chain:
        node.faults = [rpc_error(-32005, "limit exceeded"), http(429, Retry_After="2")]
        assert await chain.call(numbered_calls(5)) == echoes(numbered_calls(5))
        assert naps.seconds == [0.5, 2]
        node.faults = [http(413)]
        assert await chain.call(numbered_calls(5)) == echoes(numbered_calls(5))
