"""One JSON-RPC endpoint: what it turns out to support, and one exchange of requests with it."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

import aiohttp

from defi_leverage.errors import ChainError, ConfigError
from defi_leverage.rpc_faults import Fault, Kind, ReorgError, ReplyError, mask_url, read_error
from defi_leverage.rpc_http import Stats, post

__all__ = ["PIN", "Endpoint", "Job", "Limits", "Request", "Wire"]

Request = tuple[str, list[Any]]  # method and parameters

PIN: Final = object()
"""Stands for the pinned block in a request's parameters: endpoints differ in how they want it written."""


@dataclass(frozen=True)
class Limits:
    """How hard and how long to try, in seconds, requests, blocks and bytes. The defaults suit public endpoints."""

    timeout: float = 30.0  # of one HTTP exchange
    retry_budget: float = 60.0  # of one request, with all its retries on all endpoints
    retries: int = 8  # of one request on one endpoint
    reconnects: int = 3  # the same where nothing answers, or the block is not there yet
    backoff: float = 0.5  # the first wait's upper bound; it doubles
    max_backoff: float = 15.0
    in_flight: int = 4  # HTTP exchanges at once
    chunk_calls: int = 250  # calls in one multicall
    batch_requests: int = 100  # requests in one JSON-RPC batch
    log_blocks: int = 2_000  # the first range asked for logs; adapts
    max_log_blocks: int = 200_000
    log_addresses: int = 500  # in one request for logs
    max_reply_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) > 0:
                raise ConfigError(f"The limit {limit.name} must be above 0, not {getattr(self, limit.name)!r}.")


@dataclass
class Wire:
    """What all endpoints of one chain share; `pin` is the number and hash of the block that PIN stands for."""

    session: aiohttp.ClientSession
    name: str
    chain_id: int
    limits: Limits
    pin: tuple[int, str] | None = None
    stats: Stats = field(default_factory=Stats)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


class Job:
    """Requests on their way from `pending` to `answers`, both by position."""

    def __init__(self, requests: Sequence[Request], splittable: bool) -> None:
        self.splittable = splittable
        self.pending = dict(enumerate(requests))
        self.answers: dict[int, Any] = {}

    def settle(self, index: int, answer: Any) -> None:
        """The final answer to one request: its result, or a ReplyError."""
        self.answers[index] = answer
        del self.pending[index]


class Endpoint:
    """One URL; never shown but as its masked `label`."""

    def __init__(self, wire: Wire, url: str) -> None:
        self.label = mask_url(url)
        self._url = url
        self._wire = wire
        self._batch = max(1, wire.limits.batch_requests)  # requests that it takes at once; 1: no batches
        self._by_hash = True  # takes the block as an EIP-1898 object
        self._admitted = False
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Endpoint({self.label!r})"

    async def exchange(self, job: Job, timeout: float) -> Fault | None:
        """One HTTP exchange for as many pending requests as go at once.

        Returns None where that brought the job on, by an answer or by learning how to ask; else what prevented it.
        Raises ChainError where the endpoint serves another chain, ReorgError where the pinned block is gone.
        """
        if fault := await self._admit(timeout):
            return fault
        by_hash = self._by_hash
        numbers = {next(self._wire.numbers): index for index in itertools.islice(job.pending, self._batch)}
        payload = [_body(number, *job.pending[index], block=self._block(by_hash)) for number, index in numbers.items()]
        reply = await self._post(payload if len(payload) > 1 else payload[0], timeout)
        if isinstance(reply, Fault):
            return await self._endure(reply, job, list(numbers.values()), timeout)
        if isinstance(reply, dict) and len(numbers) > 1:  # one error for the whole batch: it is refused as a batch
            refusal = read_error(reply.get("error"), self._url)
            if refusal.kind is Kind.BUSY:
                return Fault(Kind.BUSY, refusal.text)
            too_long = any(word in refusal.text.lower() for word in ("size", "large", "limit", "many", "max", "exceed"))
            self._batch = len(numbers) // 2 if too_long else 1
            return None
        entries = reply if isinstance(reply, list) else [reply]
        if len(entries) == len(numbers) == 1 and isinstance(entries[0], dict) and entries[0].get("id") is None:
            entries = [{**entries[0], "id": next(iter(numbers))}]  # a node that could not read a request names none
        return self._sort(entries, job, numbers, by_hash)

    async def _endure(self, fault: Fault, job: Job, asked: list[int], timeout: float) -> Fault | None:
        """Ask for less where that may help, instead of the same again."""
        if fault.kind is Kind.SIZE and len(asked) > 1:
            self._batch = len(asked) // 2
            return None
        if fault.kind is Kind.SIZE or (job.splittable and fault.kind is Kind.SLOW and await self._lives(timeout)):
            for index in asked:
                job.settle(index, ReplyError(fault.kind, None, fault.reason))
            return None
        return fault

    def _sort(self, entries: list[Any], job: Job, numbers: dict[int, int], by_hash: bool) -> Fault | None:
        """Match replies to requests by id; what is not final stays pending, for the Fault returned."""
        fault: Fault | None = None
        missing = set(numbers)
        for entry in entries:
            number = entry.get("id") if isinstance(entry, dict) else None
            if not isinstance(number, int) or number not in missing or not _is_reply(entry):
                continue
            missing.discard(number)
            index = numbers[number]
            if entry.get("error") is None:
                job.settle(index, entry["result"])
                continue
            method, params = job.pending[index]
            error = read_error(entry.get("error"), self._url)
            if error.kind is Kind.REORGANISED and self._wire.pin:
                raise ReorgError(self._wire.name, self._wire.pin[0])
            if error.kind is Kind.PARAMS and by_hash and PIN in params:
                self._by_hash = False
            elif error.kind is Kind.SIZE and len(numbers) > 1:
                self._batch = min(self._batch, len(numbers) // 2)
            elif error.kind in (Kind.BUSY, Kind.REFUSED) or (
                error.kind in (Kind.LAGGING, Kind.NO_STATE) and method != "eth_getBlockByNumber"  # an answer, there
            ):
                if fault is None or fault.kind not in (Kind.NO_STATE, Kind.REFUSED):
                    fault = Fault(error.kind, error.text)
            else:
                job.settle(index, error)
        if missing and fault is None:
            fault = Fault(Kind.BUSY, f"{len(missing)} of {len(numbers)} requests got no reply")
        return fault

    async def _admit(self, timeout: float) -> Fault | None:
        """Before its first use: is the endpoint on our chain, and does it have our block?"""
        async with self._lock:
            if self._admitted:
                return None
            found = await self._single("eth_chainId", [], timeout)
            if isinstance(found, Fault):
                return found
            try:
                chain_id = int(found, 16)
            except (TypeError, ValueError):
                return Fault(Kind.REFUSED, "eth_chainId answered no number")
            if chain_id != self._wire.chain_id:
                raise ChainError(
                    f"{self._wire.name} is configured as chain {self._wire.chain_id}, but {self.label} serves chain "
                    f"{chain_id}. Correct the chain id or the RPC URL.",
                    chain=self._wire.name,
                    expected=self._wire.chain_id,
                    found=chain_id,
                )
            fault = await self._check_pin(timeout)
            self._admitted = fault is None
            return fault

    async def _check_pin(self, timeout: float) -> Fault | None:
        if self._wire.pin is None:
            return None
        number, block_hash = self._wire.pin
        block = await self._single("eth_getBlockByNumber", [hex(number), False], timeout)
        if isinstance(block, Fault):
            return block
        if not isinstance(block, dict):
            return Fault(Kind.LAGGING, f"has no block {number}")
        if block.get("hash") != block_hash:
            return Fault(Kind.REFUSED, f"has another block {number}: a reorganisation or a fork")
        return None

    async def _lives(self, timeout: float) -> bool:
        return not isinstance(await self._single("eth_blockNumber", [], timeout), Fault)

    async def _single(self, method: str, params: list[Any], timeout: float) -> Any | Fault:
        reply = await self._post(_body(next(self._wire.numbers), method, params), timeout)
        if isinstance(reply, Fault):
            return reply
        if isinstance(reply, dict) and reply.get("error") is None and "result" in reply:
            return reply["result"]
        error = read_error(reply.get("error") if isinstance(reply, dict) else "no single reply", self._url)
        passing = error.kind in (Kind.BUSY, Kind.LAGGING)
        return Fault(error.kind if passing else Kind.REFUSED, f"{method}: {error.text}")

    async def _post(self, payload: Any, timeout: float) -> Any | Fault:
        wire = self._wire
        limit = wire.limits.max_reply_bytes
        return await post(wire.session, self._url, payload, timeout=timeout, max_bytes=limit, stats=wire.stats)

    def _block(self, by_hash: bool) -> Any:
        if self._wire.pin is None:
            return "latest"
        number, block_hash = self._wire.pin
        return {"blockHash": block_hash, "requireCanonical": True} if by_hash else hex(number)


def _is_reply(entry: dict[str, Any]) -> bool:
    return "result" in entry or entry.get("error") is not None


def _body(number: int, method: str, params: list[Any], block: Any = None) -> dict[str, Any]:
    params = [block if param is PIN else param for param in params]
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
