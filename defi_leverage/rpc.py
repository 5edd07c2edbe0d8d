"""JSON-RPC on several endpoints of one chain: retries within a budget, and failover."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from defi_leverage.errors import ChainError, RpcError
from defi_leverage.rpc_endpoint import Endpoint, Job, Request, Wire
from defi_leverage.rpc_faults import Fault, Kind, ReplyError

__all__ = ["Portion", "Rpc", "run_bounded"]

log = logging.getLogger(__name__)
T = TypeVar("T")


class Rpc:
    """The endpoints of one chain as one."""

    def __init__(
        self,
        wire: Wire,
        urls: Sequence[str],
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
    ) -> None:
        self.wire = wire
        self.name = wire.name
        self._endpoints = [Endpoint(wire, url) for url in urls]
        self._active = 0
        self._sleep = sleep
        self._jitter = jitter
        self._slots = asyncio.Semaphore(wire.limits.in_flight)

    async def ask(self, method: str, params: list[Any], *, splittable: bool = False) -> Any:
        """The result of one request. Raises as `ask_many`, and ReplyError where the node refuses the request."""
        answer = (await self.ask_many([(method, params)], splittable=splittable))[0]
        if isinstance(answer, ReplyError):
            raise answer.to(f"{self.name}: {method}")
        return answer

    async def ask_many(self, requests: Sequence[Request], *, splittable: bool = False) -> list[Any]:
        """The results of the requests in their order, with a ReplyError in the place of one that the node refuses.

        A `splittable` request over which a live node takes too long is refused as SLOW, for its caller to ask for less.
        Raises RpcError where no endpoint answers within the retry budget, ChainError where none has the block's state,
        or where an endpoint serves another chain, ReorgError where the pinned block has left the chain.
        """
        job = Job(requests, splittable)
        causes: list[tuple[Endpoint, Fault]] = []
        spent = 0.0
        order = self._endpoints[self._active :] + self._endpoints[: self._active]
        for tried, endpoint in enumerate(order):
            allowance = (self.wire.limits.retry_budget - spent) / (len(order) - tried)
            fault, seconds = await self._persist(endpoint, job, allowance)
            if fault is None:
                return [job.answers[index] for index in range(len(requests))]
            spent += seconds
            causes.append((endpoint, fault))
            self._leave(endpoint, fault)
        raise self._exhausted(next(iter(job.pending.values()))[0], causes)

    async def _persist(self, endpoint: Endpoint, job: Job, allowance: float) -> tuple[Fault | None, float]:
        """Bring the job to its end on one endpoint; returns what prevented that, if anything, and the seconds spent."""
        limits = self.wire.limits
        spent, failures = 0.0, 0
        while job.pending:
            left = len(job.pending)
            async with self._slots:
                started = time.monotonic()
                fault = await endpoint.exchange(job, max(0.001, min(limits.timeout, allowance - spent)))
                spent += time.monotonic() - started
            if fault is None:
                failures = 0
                continue
            failures = failures + 1 if len(job.pending) == left else 1
            delay = self._jitter() * min(limits.max_backoff, limits.backoff * 2 ** (failures - 1))
            delay = max(delay, fault.retry_after)
            tries = limits.retries
            if fault.kind in (Kind.UNREACHABLE, Kind.LAGGING):
                tries = limits.reconnects  # waiting long brings back neither a dead host nor a block that is not there
            elif fault.kind in (Kind.REFUSED, Kind.NO_STATE):
                tries = 0
            if failures > tries or spent + delay >= allowance:
                wait = f", asks to wait {fault.retry_after:.0f} s" if fault.retry_after else ""
                return Fault(fault.kind, f"{fault.reason}{wait} ({failures} attempts, {spent:.0f} s)"), spent
            self.wire.stats.retries += 1
            log.info("%s: %s: %s; again in %.1f s", self.name, endpoint.label, fault.reason, delay)
            await self._sleep(delay)
            spent += delay
        return None, spent

    def _leave(self, endpoint: Endpoint, fault: Fault) -> None:
        if len(self._endpoints) > 1 and self._endpoints[self._active] is endpoint:  # else another request was first
            self._active = (self._active + 1) % len(self._endpoints)
            self.wire.stats.failovers += 1
            log.warning("%s: leaving %s: %s", self.name, endpoint.label, fault.reason)

    def _exhausted(self, method: str, causes: list[tuple[Endpoint, Fault]]) -> ChainError:
        reasons = "".join(f"\n  {endpoint.label}: {fault.reason}" for endpoint, fault in causes)
        attributes = {"chain": self.name, "method": method, "endpoints": [endpoint.label for endpoint, _ in causes]}
        pin = self.wire.pin
        if pin and any(fault.kind in (Kind.NO_STATE, Kind.LAGGING) for _, fault in causes):
            return ChainError(
                f"{self.name}: no endpoint has the state of block {pin[0]}:{reasons}\n"
                "A node that is no archive node keeps the last 128 blocks or so: add an archive endpoint, or scan a "
                "newer block.",
                block=pin[0],
                **attributes,
            )
        return RpcError(
            f"{self.name}: no RPC endpoint answered {method}:{reasons}\n"
            "Check each URL and its key, wait if the provider limits you, or add another endpoint for this chain.",
            **attributes,
        )


class Portion:
    """How much to ask for at once, in blocks or calls, learnt from the node's answers."""

    def __init__(self, first: int, most: int) -> None:
        self.size = min(first, most)
        self._most = most
        self._patience = 1  # successes before trying more
        self._successes = 0

    def succeed(self, size: int) -> None:
        """`size` at once went well: try twice as much, but rarely once something has failed."""
        self._successes += size >= self.size
        if self._successes >= self._patience:
            self._successes = 0
            self.size = min(self._most, 2 * self.size)

    def fail(self, allowed: int, *, lasting: bool = False) -> None:
        """Ask for no more than `allowed` next; `lasting`: never again."""
        self._successes = 0
        self._patience = 8
        self.size = max(1, min(self.size, allowed))
        if lasting:
            self._most = min(self._most, self.size)


async def run_bounded(work: Callable[[T], Coroutine[Any, Any, None]], items: Iterable[T], limit: int) -> None:
    """Do `work` on every item, `limit` at a time; an item is taken as its work begins. The first error ends all."""
    source = iter(items)

    async def drain() -> None:
        for item in source:
            await work(item)

    tasks = [asyncio.create_task(drain()) for _ in range(limit)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
