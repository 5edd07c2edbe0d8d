"""The HTTP client against a server that misbehaves: what is asked again, after what wait, and what it says at last."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from defi_leverage.errors import ConfigError, ReaderError
from defi_leverage.http_api import Budget, HttpLimits, open_http
from tests.http_server import FAST, Time, Venue, connect_venue, serve_venue
from tests.rpc_server import Fault, hang, http, reset, truncate


def echo(path: str, body: Any) -> Any:
    return None if path == "/absent" else {"path": path, "body": body}


async def broken(_request: web.Request, _body: Any) -> web.StreamResponse:
    """A whole HTTP reply of half a JSON text."""
    return web.Response(text='{"path": "/inf', content_type="application/json")


async def ask(venue: Venue, time: Time, **options: Any) -> Any:
    async with serve_venue(venue), connect_venue(venue, time, **options) as api:
        return await api.post("/info", {"type": "meta"})


@pytest.mark.parametrize(
    ("fault", "waited"),
    [
        (http(429, Retry_After="7"), 7.0),
        (http(429), 15.0),  # a quarter of the budget's minute, at four tries more
        (http(500), 0.5),
        (http(502), 0.5),
        (http(503, Retry_After="3"), 3.0),
        (http(408), 0.5),
        (hang, 0.5),
        (truncate, 0.5),
        (broken, 0.5),
        (reset, 0.5),
    ],
    ids=["429 wait", "429", "500", "502", "503 wait", "408", "slow", "truncated", "half JSON", "reset"],
)
async def test_what_passes_is_asked_again_after_a_wait(fault: Fault, waited: float) -> None:
    time = Time()
    venue = Venue(echo, faults=[fault])
    assert await ask(venue, time) == {"path": "/info", "body": {"type": "meta"}}
    assert len(venue.asked) == 2
    assert time.naps[0] == waited


async def test_a_wait_in_another_unit() -> None:
    """The indexer of dYdX writes milliseconds into Retry-After."""
    time = Time()
    venue = Venue(echo, faults=[http(429, Retry_After="7342")])
    await ask(venue, time, budget=Budget(100, 10, retry_after_unit=1e-3))
    assert time.naps[0] == pytest.approx(7.342)


async def test_waits_double_up_to_the_longest() -> None:
    time = Time()
    venue = Venue(echo, faults=[http(500)] * 4)
    await ask(venue, time, limits=HttpLimits(max_backoff=1.5))
    assert time.naps == [0.5, 1.0, 1.5, 1.5]


async def test_a_429_empties_the_bucket() -> None:
    time = Time()
    venue = Venue(echo, faults=[http(429, Retry_After="1")])
    await ask(venue, time, budget=Budget(6, 60))  # holds 1 and refills 5 a minute
    assert time.now - Time().now == pytest.approx(60 / 5, abs=0.01)


async def test_a_refusal_without_a_wait_outlasts_the_period_of_the_budget() -> None:
    """With no jitter at all, too: who spent the budget of this minute has none left of the next."""
    time = Time()
    venue = Venue(echo, constant=http(429))
    with pytest.raises(ReaderError, match="HTTP 429"):
        await ask(venue, time, jitter=lambda: 0.0, budget=Budget(1200, 60))
    assert sum(time.naps) >= 60


async def test_it_gives_up_after_its_retries_with_one_message_and_no_secret() -> None:
    venue = Venue(echo, constant=http(503, "secretkey123"))
    with pytest.raises(ReaderError, match=r"did not answer /info: HTTP 503 \(5 attempts") as error:
        await ask(venue, Time())
    assert len(venue.asked) == 1 + FAST.retries
    assert "secretkey" not in str(error.value)


async def test_it_gives_up_where_it_is_asked_to_wait_longer_than_it_may() -> None:
    venue = Venue(echo, constant=http(429, Retry_After="3600"))
    time = Time()
    with pytest.raises(ReaderError, match="too many requests, asks to wait 3600 s"):
        await ask(venue, time)
    assert time.naps == []


@pytest.mark.parametrize("status", [301, 400, 403, 404, 422])
async def test_a_refusal_is_final_and_told(status: int) -> None:
    venue = Venue(echo, constant=http(status, "Failed to deserialize secretkey123"))
    with pytest.raises(ReaderError, match=rf"HTTP {status} Failed to deserialize \*\*\*") as error:
        await ask(venue, Time())
    assert len(venue.asked) == 1
    assert "secretkey" not in str(error.value)


async def test_absence_is_an_answer_where_it_may_be() -> None:
    venue = Venue(echo)
    async with serve_venue(venue), connect_venue(venue) as api:
        assert await api.get("/absent", absent=True) is None
        with pytest.raises(ReaderError, match="HTTP 404"):
            await api.get("/absent")


async def test_no_more_requests_at_once_than_allowed() -> None:
    venue = Venue(echo)
    async with serve_venue(venue), connect_venue(venue, limits=HttpLimits(in_flight=3)) as api:
        await asyncio.gather(*(api.get(f"/{number}") for number in range(20)))
    assert len(venue.asked) == 20
    assert 1 < venue.most_at_once <= 3


async def test_a_reply_without_end_is_not_read_to_its_end() -> None:
    venue = Venue(lambda _path, _body: "x" * 5000)
    with pytest.raises(ReaderError, match="its reply exceeds 1000 bytes"):
        await ask(venue, Time(), limits=HttpLimits(max_reply_bytes=1000))


async def test_nobody_there() -> None:
    venue = Venue(echo)
    async with serve_venue(venue):
        pass
    with pytest.raises(ReaderError, match=r"cannot connect.*Check the URL and the network"):
        async with connect_venue(venue) as api:
            await api.get("/info")


async def test_a_url_that_is_none() -> None:
    with pytest.raises(ConfigError, match="not an http:// or https:// URL"):
        async with open_http("Venue", "ftp://secretkey123", Budget(1, 1)):
            pass


def test_limits_must_be_above_zero() -> None:
    with pytest.raises(ConfigError, match="limit retries must be above 0"):
        HttpLimits(retries=0)
