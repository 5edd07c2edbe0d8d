"""A venue on a local port: replies by function, faults in turn, and a client whose time is a test's."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from defi_leverage.http_api import Budget, HttpApi, HttpLimits, open_http
from tests.rpc_server import Fault

Reply = Callable[[str, Any], Any]
"""(path, body) -> what is sent as JSON; None: HTTP 404."""

FAST = HttpLimits(timeout=0.3, retries=4)


@dataclass
class Venue:
    """`faults` are used up, one a request, before `reply` is asked; `constant` is never used up."""

    reply: Reply
    faults: list[Fault] = field(default_factory=list)
    constant: Fault | None = None
    asked: list[tuple[str, Any]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.read()
        body = json.loads(text) if text else None
        path = "/" + request.match_info["path"]
        self.asked.append((path, body))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            fault = self.faults.pop(0) if self.faults else self.constant
            if fault is not None and (response := await fault(request, body)) is not None:
                return response
            await asyncio.sleep(0)
            found = self.reply(path, body)
        finally:
            self.at_once -= 1
        if found is None:
            return web.json_response({"errors": [{"msg": "not found"}]}, status=404)
        return web.json_response(found)


@asynccontextmanager
async def serve_venue(venue: Venue) -> AsyncIterator[Venue]:
    """The venue on a free port of 127.0.0.1, its `url` set, with a secret key in the path."""
    application = web.Application()
    application.router.add_route("*", "/secretkey123/{path:.*}", venue.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    venue.url = f"http://127.0.0.1:{runner.addresses[0][1]}/secretkey123"
    try:
        yield venue
    finally:
        await runner.cleanup()


@dataclass
class Time:
    """A clock that only sleeping moves, and what was slept."""

    now: float = 1_768_397_000.0
    naps: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def connect_venue(venue: Venue, time: Time | None = None, **options: Any) -> AbstractAsyncContextManager[HttpApi]:
    """A client with the full jitter, whose clock and naps are `time`'s."""
    time = time or Time()
    defaults: dict[str, Any] = {"limits": FAST, "jitter": lambda: 1.0, "budget": Budget(6000, 60)}
    given = defaults | options
    return open_http("Venue", venue.url, given.pop("budget"), sleep=time.sleep, clock=time, ticks=time, **given)
