"""JSON over HTTP from one venue that is not on a chain: bounded concurrency, a budget of weight, retries.

What a request may meet is told apart by `rpc_faults` and worded without what may be secret in the URL. A reply is asked
for again where asking again may help: no connection, no answer in time, a cut or unreadable reply, HTTP 408, 429, 5xx.
Any other status is the venue's answer, and final.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any

import aiohttp

from defi_leverage.errors import ConfigError, ReaderError
from defi_leverage.rpc_faults import Fault, Kind, mask_url, parse_retry_after, scrub
from defi_leverage.rpc_http import Stats, explain_loss
from defi_leverage.token_bucket import TokenBucket

__all__ = ["Budget", "HttpApi", "HttpLimits", "open_http"]

log = logging.getLogger(__name__)

_HEADERS = {"Accept": "application/json", "User-Agent": "defi-leverage"}


@dataclass(frozen=True)
class Budget:
    """The weight that a venue allows one IP address in so many seconds, and what its heaviest request weighs.

    `retry_after_unit`: seconds in one of the Retry-After header with which it refuses more (HTTP 429).
    """

    weight: float
    seconds: float
    heaviest: float = 1.0
    retry_after_unit: float = 1.0


@dataclass(frozen=True)
class HttpLimits:
    """How hard and how long to try, in seconds, requests and bytes."""

    timeout: float = 20.0  # of one exchange
    retry_budget: float = 180.0  # of one request, with all its waits between tries
    retries: int = 8
    backoff: float = 0.5  # the first wait's upper bound; it doubles
    max_backoff: float = 30.0
    in_flight: int = 4
    max_reply_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) > 0:
                raise ConfigError(f"The limit {limit.name} must be above 0, not {getattr(self, limit.name)!r}.")


class HttpApi:
    """One venue's HTTP interface; made by `open_http`. The URL is never shown but masked."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        name: str,
        url: str,
        limits: HttpLimits,
        bucket: TokenBucket,
        budget: Budget,
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.limits = limits
        self.stats = Stats()
        self._session, self._url, self._bucket = session, url.rstrip("/"), bucket
        self._retry_after_unit = budget.retry_after_unit
        self._refused_wait = budget.seconds / limits.retries
        self._sleep, self._jitter, self._clock = sleep, jitter, clock
        self._slots = asyncio.Semaphore(limits.in_flight)

    def now(self) -> int:
        """UTC seconds since 1970 by this machine's clock, whole."""
        return int(self._clock())

    async def get(self, path: str, weight: float = 1, *, absent: bool = False) -> Any:
        """The JSON behind `path`. `absent`: None where the venue answers 404. Raises ReaderError."""
        return await self._ask("GET", path, None, weight, path, absent)

    async def post(self, path: str, body: Any, weight: float = 1, *, what: str = "") -> Any:
        """The JSON that answers `body`; `what` names the request in errors. Raises ReaderError."""
        return await self._ask("POST", path, body, weight, what or path, absent=False)

    async def _ask(self, method: str, path: str, body: Any, weight: float, what: str, absent: bool) -> Any:
        limits = self.limits
        waited, tries = 0.0, 0
        while True:
            async with self._slots:  # first, so that what is taken is spent at once
                await self._bucket.take(weight)
                status, reply = await self._exchange(method, path, body)
            if not isinstance(reply, Fault):
                return reply
            if absent and status == 404:
                return None
            tries += 1
            delay = self._jitter() * min(limits.max_backoff, limits.backoff * 2 ** (tries - 1))
            delay = max(delay, reply.retry_after)
            if status == 429:
                self._bucket.drain()
                if not reply.retry_after:  # a whole period of the budget has passed before the last try
                    delay = max(delay, self._refused_wait)
            if reply.kind is Kind.REFUSED or tries > limits.retries or waited + delay > limits.retry_budget:
                raise self._failure(what, reply, status, tries, waited)
            self.stats.retries += 1
            log.info("%s: %s: %s; again in %.1f s", self.name, what, reply.reason, delay)
            await self._sleep(delay)
            waited += delay

    async def _exchange(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """HTTP status (0: none) and the parsed reply, or the Fault in its place."""
        limits = self.limits
        timeout = aiohttp.ClientTimeout(total=limits.timeout, sock_connect=limits.timeout / 2)
        parts: list[bytes] = []
        size = 0
        self.stats.requests += 1
        try:
            async with self._session.request(
                method, self._url + path, json=body, headers=_HEADERS, timeout=timeout, allow_redirects=False
            ) as response:
                async for part in response.content.iter_any():
                    parts.append(part)
                    size += len(part)
                    if size > limits.max_reply_bytes:
                        return response.status, Fault(Kind.REFUSED, f"its reply exceeds {limits.max_reply_bytes} bytes")
                return response.status, self._read(response.status, b"".join(parts), response.headers)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            return 0, explain_loss(error, self._url, limits.timeout)
        finally:
            self.stats.bytes_received += size

    def _read(self, status: int, body: bytes, headers: Any) -> Any | Fault:
        if status == 429 or status >= 500 or status == 408:
            unit = self._retry_after_unit if status == 429 else 1.0
            wait = parse_retry_after(headers.get("Retry-After"), unit)
            return Fault(Kind.BUSY, f"HTTP {status}{', too many requests' if status == 429 else ''}", wait)
        if status != 200:
            text = scrub(body[:300].decode(errors="replace"), self._url)
            return Fault(Kind.REFUSED, f"HTTP {status} {text}".strip())
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return Fault(Kind.BUSY, "its reply is not JSON, or was cut short")

    def _failure(self, what: str, fault: Fault, status: int, tries: int, waited: float) -> ReaderError:
        remedy = {
            Kind.UNREACHABLE: "Check the URL and the network",
            Kind.REFUSED: "Check the URL; the venue may have changed this request",
        }.get(fault.kind, "Scan again later, or ask for fewer accounts")
        wait = f", asks to wait {fault.retry_after:.0f} s" if fault.retry_after else ""
        return ReaderError(
            f"{mask_url(self._url)} did not answer {what}: {fault.reason}{wait} ({tries} attempts, {waited:.0f} s of "
            f"waiting). {remedy}.",
            venue=self.name,
            request=what,
            status=status,
        )


@asynccontextmanager
async def open_http(
    name: str,
    url: str,
    budget: Budget,
    *,
    limits: HttpLimits | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: Callable[[], float] = random.random,
    clock: Callable[[], float] = time.time,
    ticks: Callable[[], float] = time.monotonic,
) -> AsyncIterator[HttpApi]:
    """The interface at `url`. `jitter` gives numbers in [0, 1); `clock` tells UTC, `ticks` only how time passes.

    Raises ConfigError for a URL that is none.
    """
    if mask_url(url) == "***":
        raise ConfigError(f"{name}: its url is not an http:// or https:// URL with a host; correct it", venue=name)
    limits = limits or HttpLimits()
    bucket = TokenBucket(budget.weight, budget.seconds, ticks, sleep, heaviest=budget.heaviest)
    connector = aiohttp.TCPConnector(limit=2 * limits.in_flight)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=True
    ) as session:
        yield HttpApi(session, name, url, limits, bucket, budget, sleep, jitter, clock)
