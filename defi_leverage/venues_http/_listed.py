"""The accounts of a user's list, read one by one: what is wrong with one does not cost the others."""

from collections.abc import Awaitable, Callable

from defi_leverage.errors import ReaderError, one_line
from defi_leverage.http_api import HttpApi
from defi_leverage.protocols import Progress
from defi_leverage.rpc import run_bounded
from defi_leverage.venues_http import HttpVenue

__all__ = ["clock_gap", "read_listed"]

_NOT_OF_AN_ACCOUNT = (401, 429)
_APART_SECONDS = 60


async def read_listed(
    api: HttpApi, venue: HttpVenue, read: Callable[[str], Awaitable[None]], progress: Progress | None
) -> dict[str, str]:
    """Do `read` on every listed account; the accounts that it raises a ReaderError for, and what that says.

    Raises that error where no account at all could be read, and at once where the venue does not answer: what is of one
    account is a reply that makes no sense, or a request for it that is refused (HTTP 4xx).
    """
    failed: dict[str, str] = {}
    errors: list[ReaderError] = []
    done = 0

    async def attempt(account: str) -> None:
        nonlocal done
        try:
            await read(account)
        except ReaderError as error:
            status = error.attributes.get("status")
            if status is not None and (not 400 <= status < 500 or status in _NOT_OF_AN_ACCOUNT):
                raise
            errors.append(error)
            failed[account] = one_line(str(error))
        done += 1
        if progress is not None:
            progress("accounts", done, len(venue.accounts))

    await run_bounded(attempt, venue.accounts, api.limits.in_flight)
    if errors and len(errors) == len(venue.accounts):
        raise errors[0]
    return failed


def clock_gap(told: int, now: int) -> str:
    """What to say of a venue whose time, `told`, is far from this machine's, `now`, both in UTC seconds; "" if not."""
    if abs(now - told) <= _APART_SECONDS:
        return ""
    where = "behind" if told < now else "ahead of"
    return (
        f"its replies are {abs(now - told)} seconds {where} this machine's clock; check that clock, or scan again later"
    )
