"""A chain at one pinned block: contract calls, event logs and code, the only socket of the package.

Every state read names the block by its hash where the endpoint allows it, so that a scan never mixes two histories.
"""

import asyncio
import logging
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from defi_leverage.abi import Log
from defi_leverage.chain_logs import Progress, Topics, read_logs
from defi_leverage.errors import ChainError, ConfigError, DecodeError
from defi_leverage.multicall import MULTICALL3, Call, decode_aggregate3, encode_aggregate3
from defi_leverage.rpc import Portion, Rpc, run_bounded
from defi_leverage.rpc_endpoint import PIN, Limits, Request, Wire
from defi_leverage.rpc_faults import Kind, ReorgError, ReplyError, mask_url
from defi_leverage.rpc_http import Stats

__all__ = ["Block", "Call", "Chain", "Limits", "Log", "ReorgError", "Stats", "mask_url", "open_chain"]

log = logging.getLogger(__name__)

_YEAR_10000 = 253_402_300_800  # UTC seconds; no calendar goes further


@dataclass(frozen=True)
class Block:
    """A block of the chain; the timestamp in UTC seconds since 1970."""

    number: int
    hash: str
    timestamp: int


class Chain:
    """One chain at one block; made by `open_chain`. Every method raises RpcError where no endpoint answers."""

    def __init__(self, rpc: Rpc, chain_id: int, block: Block, has_multicall: bool, progress: Progress | None) -> None:
        self.name = rpc.name
        self.chain_id = chain_id
        self.block = block
        self._rpc = rpc
        self._has_multicall = has_multicall
        self._progress = progress
        self._chunk = Portion(rpc.wire.limits.chunk_calls, rpc.wire.limits.chunk_calls)

    def __repr__(self) -> str:
        return f"Chain({self.name!r}, {self.chain_id}, {self.block})"

    @property
    def stats(self) -> Stats:
        """Requests, retries, failovers and bytes so far."""
        return self._rpc.wire.stats

    async def call(self, calls: Sequence[Call]) -> list[bytes | None]:
        """What each (contract, call data) returns at the pinned block, in order; None for a call that fails.

        A contract without code returns b"". A call fails that reverts, breaks a rule of the EVM, or uses up all the gas
        that a node gives one call; never because a neighbour did, or because the node was busy.
        """
        results: list[bytes | None] = [None] * len(calls)

        def chunks() -> Iterator[tuple[int, Sequence[Call]]]:
            start = 0
            while start < len(calls):
                size = self._chunk.size if self._has_multicall else self._rpc.wire.limits.batch_requests
                yield start, calls[start : start + size]
                start += size

        async def read(chunk: tuple[int, Sequence[Call]]) -> None:
            start, part = chunk
            if self._has_multicall:
                results[start : start + len(part)] = await self._aggregate(part, self._chunk)
            else:
                results[start : start + len(part)] = await self._call_directly(part)

        await run_bounded(read, chunks(), self._rpc.wire.limits.in_flight)
        return results

    async def logs(self, addresses: Sequence[str], topics: Topics, first_block: int) -> list[Log]:
        """The logs of these contracts from `first_block` to the pinned block, each once, by block and index.

        `topics` as in eth_getLogs: at each position a topic, several alternatives, or None for any. No addresses: no
        logs. Raises ReorgError where a log has been removed.
        """
        return await read_logs(self._rpc, addresses, topics, first_block, self.block.number, progress=self._progress)

    async def code(self, address: str) -> bytes:
        """The contract's code at the pinned block, b"" where there is none."""
        return _bytes(await self._rpc.ask("eth_getCode", [address, PIN]), "eth_getCode")

    async def timestamp(self, number: int) -> int:
        """UTC seconds of an earlier block of this chain. Raises DecodeError where the endpoint does not know it."""
        found = await self._rpc.ask("eth_getBlockByNumber", [hex(number), False])
        return _read_block(self.name, found if isinstance(found, dict) else {}, number).timestamp

    async def confirm(self) -> None:
        """Raises ReorgError unless the chain still has the pinned block. For the end of a scan."""
        found = await self._rpc.ask("eth_getBlockByNumber", [hex(self.block.number), False])
        if not isinstance(found, dict) or found.get("hash") != self.block.hash:
            raise ReorgError(self.name, self.block.number)

    async def _aggregate(self, calls: Sequence[Call], chunk: Portion | None = None) -> list[bytes | None]:
        """All calls in one; where that is too much for the node, in parts. `chunk` learns from it.

        It does not learn from the parts: they may only be closing in on the one call that spoils the rest.
        """
        if len(calls) == 1:
            return await self._call_directly(calls)
        request = {"to": MULTICALL3, "data": "0x" + encode_aggregate3(calls).hex()}
        try:
            reply = _bytes(await self._rpc.ask("eth_call", [request, PIN], splittable=True), "eth_call")
        except ReplyError as error:  # too much gas, too long a reply, too slow: whatever it is, less is easier
            log.info("%s: %d calls at once: %s; in parts", self.name, len(calls), error.text)
            size = max(1, len(calls) // (4 if error.kind is Kind.SLOW else 2))  # each try of a slow one is dear
            if chunk is not None:
                chunk.fail(size)
            parts = [await self._aggregate(calls[at : at + size]) for at in range(0, len(calls), size)]
            return [result for part in parts for result in part]
        if chunk is not None:
            chunk.succeed(len(calls))
        answers = decode_aggregate3(reply, len(calls))
        results = [data if success else None for success, data in answers]
        # A failure without a reason may only mean that the calls before it had used up the gas: ask for it alone.
        doubtful = [index for index, (success, data) in enumerate(answers) if not success and not data]
        if doubtful:
            alone = await self._call_directly([calls[index] for index in doubtful])
            for index, result in zip(doubtful, alone, strict=True):
                results[index] = result
        return results

    async def _call_directly(self, calls: Sequence[Call]) -> list[bytes | None]:
        requests: list[Request] = [("eth_call", [{"to": to, "data": "0x" + data.hex()}, PIN]) for to, data in calls]
        results: list[bytes | None] = []
        for (target, data), answer in zip(calls, await self._rpc.ask_many(requests), strict=True):
            if not isinstance(answer, ReplyError):
                results.append(_bytes(answer, "eth_call"))
            elif answer.kind in (Kind.REVERT, Kind.GAS):
                if answer.kind is Kind.GAS:
                    log.warning("%s: call 0x%s of %s ran out of gas by itself", self.name, data[:4].hex(), target)
                results.append(None)
            else:
                raise answer.to(f"{self.name}: call 0x{data[:4].hex()} of {target}")
        return results


@asynccontextmanager
async def open_chain(
    name: str,
    chain_id: int,
    rpc_urls: Sequence[str],
    block: int | str = "latest",
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: Callable[[], float] = random.random,
) -> AsyncIterator[Chain]:
    """The chain at `block`: a number, "latest" or "finalized", looked up once.

    `rpc_urls` are tried in order, the next where one fails. `progress(done, total)` counts blocks while logs are read.
    `jitter` gives numbers in [0, 1) for the waits between retries. Raises ConfigError for a URL or block that cannot be
    one, ChainError where the block is not there yet or an endpoint serves another chain.
    """
    _check(name, rpc_urls, block)
    limits = limits or Limits()
    connector = aiohttp.TCPConnector(limit=2 * limits.in_flight)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=True
    ) as session:
        wire = Wire(session, name, chain_id, limits)
        rpc = Rpc(wire, rpc_urls, sleep, jitter)
        pinned = await _find_block(rpc, block)
        wire.pin = (pinned.number, pinned.hash)
        code = _bytes(await rpc.ask("eth_getCode", [MULTICALL3, PIN]), "eth_getCode")
        yield Chain(rpc, chain_id, pinned, bool(code), progress)


def _check(name: str, urls: Sequence[str], block: int | str) -> None:
    if not urls:
        raise ConfigError(f"{name} has no RPC endpoint: configure at least one URL for it.", chain=name)
    for url in urls:
        if mask_url(url) == "***":
            raise ConfigError(f"An RPC URL of {name} is not an http:// or https:// URL with a host.", chain=name)
    if block not in ("latest", "finalized") and not (type(block) is int and block >= 0):
        raise ConfigError(f"{name}: block {block!r} is not a number, 'latest' or 'finalized'.", chain=name)


async def _find_block(rpc: Rpc, block: int | str) -> Block:
    tag = hex(block) if isinstance(block, int) else block
    try:
        found = await rpc.ask("eth_getBlockByNumber", [tag, False])
    except ReplyError as error:
        found, reason = None, f" ({error.text})"
    else:
        reason = ""
    if isinstance(found, dict):
        return _read_block(rpc.name, found, block)
    if block == "finalized":
        raise ChainError(
            f"{rpc.name}: the endpoint does not know the finalized block{reason}. Use --block latest or a number.",
            chain=rpc.name,
        )
    head = _quantity(await rpc.ask("eth_blockNumber", []), "eth_blockNumber")
    raise ChainError(
        f"{rpc.name}: there is no block {block}{reason}; the newest is {head}. Use a block up to that.",
        chain=rpc.name,
        block=block,
        head=head,
    )


def _read_block(name: str, found: dict[str, Any], block: int | str) -> Block:
    try:
        read = Block(int(found["number"], 16), found["hash"], int(found["timestamp"], 16))
        valid = re.fullmatch(r"0x[0-9a-f]{64}", read.hash) is not None and block in (read.number, "latest", "finalized")
        valid = valid and read.number >= 0 <= read.timestamp < _YEAR_10000
    except (KeyError, ValueError, TypeError):
        valid = False
    if not valid:
        raise DecodeError(f"{name}: the answer for block {block} is not that block. Use another endpoint.", chain=name)
    return read


def _quantity(value: Any, method: str) -> int:
    if isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F]{1,64}", value):
        return int(value, 16)
    raise DecodeError(f"{method} answered {str(value)[:60]!r}, not a hexadecimal number. Use another endpoint.")


def _bytes(value: Any, method: str) -> bytes:
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return bytes.fromhex(value[2:])
        except ValueError:
            pass
    raise DecodeError(f"{method} answered {str(value)[:60]!r}, not hexadecimal bytes. Use another endpoint.")
