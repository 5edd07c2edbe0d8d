"""A rate limit kept from our side: so much weight in any period, however the requests fall."""

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["TokenBucket"]

_BURST = 6
"""A sixth of the budget may go at once; the rest comes back evenly."""


class TokenBucket:
    """Hands out weight so that no period of `seconds`, wherever it begins, sees more than `budget`.

    A full bucket that refills with the whole budget a period would let twice the budget through in its first period.
    So it holds budget / 6, or what the heaviest request weighs, and refills with what is left of the budget over the
    period. Raises ValueError for a budget of nothing, and for one that leaves nothing to refill with.
    """

    def __init__(
        self,
        budget: float,
        seconds: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        heaviest: float = 0.0,
    ) -> None:
        if not budget > 0 or not seconds > 0:
            raise ValueError(f"budget {budget} and seconds {seconds} must be above 0")
        if not heaviest < budget:
            raise ValueError(f"budget {budget} is not above {heaviest}, the weight of one request")
        self.capacity = max(budget / _BURST, heaviest)
        self._rate = (budget - self.capacity) / seconds
        self._clock, self._sleep = clock, sleep
        self._tokens = self.capacity
        self._at = clock()
        self._turn = asyncio.Lock()  # first come, first served: a heavy request is not starved by light ones

    async def take(self, weight: float) -> None:
        """Wait until `weight` may be spent, and spend it. Raises ValueError for more than the bucket holds."""
        if weight > self.capacity:
            raise ValueError(f"weight {weight} is more than the bucket's {self.capacity:g}")
        async with self._turn:
            self._refill()
            while self._tokens < weight:
                # Not less than a millisecond: what rounding leaves must not take a thousand naps.
                await self._sleep(max(0.001, (weight - self._tokens) / self._rate))
                self._refill()
            self._tokens -= weight

    def drain(self) -> None:
        """Spend all that is there: the other side has refused, so somebody else spends of the same budget."""
        self._refill()
        self._tokens = 0.0

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self.capacity, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
