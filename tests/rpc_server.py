"""A JSON-RPC node on a local port that answers truly or misbehaves as a test asks, and a client that never sleeps."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from eth_abi.abi import decode, encode

from defi_leverage.abi import checksum_address
from defi_leverage.chain import Call, Chain, Limits, open_chain
from defi_leverage.multicall import MULTICALL3

Fault = Callable[[web.Request, Any], Awaitable[web.StreamResponse | None]]


class Refusal(Exception):  # noqa: N818
    """A JSON-RPC error of one request."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error: dict[str, Any] = {"code": code, "message": message} | ({} if data is None else {"data": data})


def block_hash(number: int) -> str:
    return f"0x{number:064x}"


def echo(_target: str, data: bytes) -> bytes | None:
    """Contracts that return their call data; they revert where it begins with ff."""
    if data[:1] == b"\xff":
        raise Refusal(3, "execution reverted: no", "0x08c379a0")
    return data


@dataclass
class Node:
    """The state of the fake chain and the ways it fails. `faults` are used up, one an HTTP request."""

    chain_id: int = 1
    head: int = 1_000
    hashes: dict[int, str] = field(default_factory=dict)
    contract: Callable[[str, bytes], bytes | None] = echo
    logs: list[dict[str, Any]] = field(default_factory=list)
    has_multicall: bool = True
    refuse: Callable[[str, list[Any]], None] = lambda _method, _params: None
    answer_batch: Callable[[list[Any]], Any] = lambda replies: replies
    override: dict[str, Callable[..., Any]] = field(default_factory=dict)  # by method
    takes_batches: int = 1_000
    faults: list[Fault] = field(default_factory=list)
    constant: Fault | None = None
    requests: list[Any] = field(default_factory=list)
    url: str = ""

    def asked(self, method: str) -> list[list[Any]]:
        """The parameters of every request of this method so far."""
        entries = [e for r in self.requests for e in (r if isinstance(r, list) else [r])]
        return [entry["params"] for entry in entries if entry["method"] == method]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        payload = json.loads(await request.read())
        self.requests.append(payload)
        fault = self.faults.pop(0) if self.faults else self.constant
        if fault is not None and (response := await fault(request, payload)) is not None:
            return response
        if isinstance(payload, list):
            if len(payload) > self.takes_batches:
                text = "batch size too large" if self.takes_batches > 1 else "batches are not supported"
                return reply({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": text}})
            return reply(self.answer_batch([self.answer(entry) for entry in payload]))
        return reply(self.answer(payload))

    def answer(self, entry: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"jsonrpc": "2.0", "id": entry["id"]}
        try:
            self.refuse(entry["method"], entry["params"])
            method = entry["method"]
            found["result"] = self.override.get(method, getattr(self, method))(*entry["params"])
        except Refusal as refusal:
            found["error"] = refusal.error
        return found

    def eth_chainId(self) -> str:  # noqa: N802
        return hex(self.chain_id)

    def eth_blockNumber(self) -> str:  # noqa: N802
        return hex(self.head)

    def eth_getBlockByNumber(self, tag: str, _full: bool) -> dict[str, str] | None:  # noqa: N802
        number = {"latest": self.head, "finalized": self.head - 64}.get(tag)
        number = int(tag, 16) if number is None else number
        if number > self.head:
            return None
        known = self.hashes.get(number, block_hash(number))
        return {"number": hex(number), "hash": known, "timestamp": hex(1_700_000_000 + 12 * number)}

    def eth_getCode(self, address: str, _block: Any) -> str:  # noqa: N802
        return "0x6001" if address != MULTICALL3 or self.has_multicall else "0x"

    def eth_call(self, call: dict[str, str], _block: Any) -> str:
        data = bytes.fromhex(call["data"][2:])
        if call["to"] != MULTICALL3:
            return "0x" + (self.contract(call["to"], data) or b"").hex()
        results = []
        for target, allowed, inner in decode(["(address,bool,bytes)[]"], data[4:])[0]:
            assert allowed
            try:
                results.append((True, self.contract(target, inner) or b""))
            except Refusal as refusal:
                results.append((False, bytes.fromhex(refusal.error.get("data", "0x")[2:])))
        return "0x" + encode(["(bool,bytes)[]"], [results]).hex()

    def eth_getLogs(self, query: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: N802
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        asked = query["address"] if isinstance(query["address"], list) else [query["address"]]
        wanted = {address.lower() for address in asked}
        return [
            log
            for log in self.logs
            if first <= int(log["blockNumber"], 16) <= last and log["address"].lower() in wanted
        ]


def log_row(address: str, block: int, index: int = 0) -> dict[str, Any]:
    return {
        "address": address.lower(),
        "topics": ["0x" + "Ab" * 32],
        "data": "0x" + "00" * 31 + "07",
        "blockNumber": hex(block),
        "blockHash": block_hash(block),
        "logIndex": hex(index),
        "transactionHash": block_hash(block * 1_000 + index),
        "removed": False,
    }


def reply(body: Any) -> web.Response:
    return web.Response(body=json.dumps(body).encode(), content_type="application/json")


def http(status: int, text: str = "", **headers: str) -> Fault:
    async def fault(_request: web.Request, _payload: Any) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return fault


def rpc_error(code: int, message: str, status: int = 200) -> Fault:
    async def fault(_request: web.Request, payload: Any) -> web.StreamResponse:
        number = payload["id"] if isinstance(payload, dict) else None
        body = {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
        return web.Response(status=status, body=json.dumps(body).encode())

    return fault


async def honest(_request: web.Request, _payload: Any) -> web.StreamResponse | None:
    """No fault: for a turn in the sequence of faults."""
    return None


async def reset(request: web.Request, _payload: Any) -> web.StreamResponse:
    """Cut the connection before a reply."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def nothing(_request: web.Request, payload: Any) -> web.StreamResponse:
    """An answer with neither a result nor an error."""
    return reply({"jsonrpc": "2.0", "id": payload["id"], "error": None})


async def hang(_request: web.Request, _payload: Any) -> web.StreamResponse:
    """Never reply."""
    await asyncio.sleep(60)
    return web.Response()


async def truncate(request: web.Request, _payload: Any) -> web.StreamResponse:
    """Promise more bytes than are sent."""
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"jsonrpc": "2.0", "res')
    assert request.transport is not None
    request.transport.abort()
    return response


@asynccontextmanager
async def serve(node: Node) -> AsyncIterator[Node]:
    """The node on a free port of 127.0.0.1, its `url` set, with a secret key in the path."""
    application = web.Application(client_max_size=1 << 26)
    application.router.add_post("/{path:.*}", node.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    node.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v3/secretkey123?token=topsecret"
    try:
        yield node
    finally:
        await runner.cleanup()


A, B, C = (checksum_address("0x" + digit * 40) for digit in "abc")
FAST = Limits(timeout=0.3, retries=4, reconnects=2, chunk_calls=8, batch_requests=5, log_blocks=100)
SECRETS = ("secretkey123", "topsecret", "hunter22")


class Naps:
    """A sleep that does not sleep, and remembers how long it should have."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def connect(*nodes: Node | str, naps: Naps | None = None, **options: Any) -> AbstractAsyncContextManager[Chain]:
    urls = [node if isinstance(node, str) else node.url for node in nodes]
    defaults: dict[str, Any] = {"block": 900, "limits": FAST, "jitter": lambda: 1.0}
    return open_chain("testnet", 1, urls, sleep=naps or Naps(), **(defaults | options))


def dead_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://user:hunter22@127.0.0.1:{free.getsockname()[1]}/v3/secretkey123?token=topsecret"


def numbered_calls(count: int) -> list[Call]:
    return [(A, number.to_bytes(2, "big") * (1 + number % 40)) for number in range(count)]


def echoes(calls: list[Call]) -> list[bytes | None]:
    return [None if raw[:1] == b"\xff" else raw for _, raw in calls]


def only(methods: str, error: Refusal) -> Callable[[str, list[Any]], None]:
    def refuse(method: str, _params: list[Any]) -> None:
        if method == methods:
            raise error

    return refuse
