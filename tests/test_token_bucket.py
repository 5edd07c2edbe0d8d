"""The token bucket: no period sees more than the budget, nobody waits longer than that takes."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.token_bucket import TokenBucket
from tests.http_server import Time


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 60)), min_size=1, max_size=60))
def test_no_period_wherever_it_begins_sees_more_than_the_budget(requests: list[tuple[float, int]]) -> None:
    time = Time()
    bucket = TokenBucket(1200, 60, time, time.sleep)
    spent: list[tuple[float, int]] = []

    async def run() -> None:
        for pause, weight in requests * 3:
            time.now += pause
            await bucket.take(weight)
            spent.append((time.now, weight))

    asyncio.run(run())
    for start, _ in spent:
        assert sum(weight for at, weight in spent if start <= at < start + 60) <= 1200 + 1e-6


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(0, 90), st.sampled_from([2, 20, 60])), min_size=2, max_size=80))
def test_requests_at_once_keep_the_budget_too(requests: list[tuple[float, int]]) -> None:
    """Each comes at a time of its own and waits for its turn among the others; a refusal by the venue comes between."""
    time = Time()
    begun = time.now
    bucket = TokenBucket(1200, 60, time, time.sleep, heaviest=60)
    spent: list[tuple[float, int]] = []

    async def ask(pause: float, weight: int) -> None:
        while time.now < begun + pause:
            await time.sleep(1.0)
        await bucket.take(weight)
        spent.append((time.now, weight))
        if len(spent) % 7 == 0:
            bucket.drain()

    async def run() -> None:
        await asyncio.gather(*(ask(pause, weight) for pause, weight in requests * 2))

    asyncio.run(run())
    assert len(spent) == 2 * len(requests)
    for start, _ in spent:
        assert sum(weight for at, weight in spent if start <= at < start + 60) <= 1200 + 1e-6


def test_the_heaviest_request_fits_into_a_small_budget() -> None:
    time = Time()
    bucket = TokenBucket(120, 60, time, time.sleep, heaviest=60)  # a sixth would be 20
    asyncio.run(bucket.take(60))
    asyncio.run(bucket.take(60))
    assert sum(time.naps) == pytest.approx(60, abs=0.01)
    with pytest.raises(ValueError, match="budget 60 is not above 60, the weight of one request"):
        TokenBucket(60, 60, time, time.sleep, heaviest=60)


def test_the_wait_is_no_longer_than_the_refill_takes() -> None:
    time = Time()
    bucket = TokenBucket(1200, 60, time, time.sleep)  # holds 200, refills 1000 a minute

    async def run() -> None:
        for _ in range(10):
            await bucket.take(20)

    asyncio.run(run())
    assert time.naps == []
    asyncio.run(bucket.take(20))
    assert sum(time.naps) == pytest.approx(20 / (1000 / 60), abs=0.01)


def test_a_heavy_request_is_not_overtaken() -> None:
    time = Time()
    bucket = TokenBucket(60, 60, time, time.sleep)
    order: list[str] = []

    async def take(name: str, weight: float) -> None:
        await bucket.take(weight)
        order.append(name)

    async def run() -> None:
        await bucket.take(10)
        await asyncio.gather(take("heavy", 10), take("light", 1))

    asyncio.run(run())
    assert order == ["heavy", "light"]


def test_drained_it_starts_from_nothing() -> None:
    time = Time()
    bucket = TokenBucket(60, 60, time, time.sleep)
    bucket.drain()
    asyncio.run(bucket.take(5))
    assert sum(time.naps) == pytest.approx(5 / (50 / 60), abs=0.01)


def test_more_than_it_holds_is_refused() -> None:
    bucket = TokenBucket(60, 60, Time())
    with pytest.raises(ValueError, match="weight 11 is more than the bucket's 10"):
        asyncio.run(bucket.take(11))


@pytest.mark.parametrize(("budget", "seconds"), [(0, 60), (60, 0), (float("nan"), 1)])
def test_a_budget_of_nothing_is_none(budget: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        TokenBucket(budget, seconds, Time())
