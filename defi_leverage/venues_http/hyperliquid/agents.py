"""Agent wallets among the listed accounts: they sign for another account, and hold nothing themselves."""

import logging

from defi_leverage.errors import ReaderError
from defi_leverage.http_api import HttpApi
from defi_leverage.rpc import run_bounded
from defi_leverage.venues_http._fields import text
from defi_leverage.venues_http.hyperliquid.markets import ask

__all__ = ["find_agents"]

log = logging.getLogger(__name__)

_ASKED = 50
"""A role weighs 60: so many take two minutes and a half of the budget."""


async def find_agents(api: HttpApi, empty: list[str]) -> dict[str, str]:
    """Of accounts that hold nothing, those that sign for another one. Source: Info endpoint, Query a user's role."""
    found: dict[str, str] = {}

    async def read(user: str) -> None:
        where = f"userRole of {user}"
        reply = await ask(api, "userRole", user=user)
        if text(reply, "role", where) == "agent":
            account = text(reply, "data.user", where)
            found[user] = f"it is an agent wallet, which holds nothing itself; list {account}, for which it acts"

    try:
        await run_bounded(read, empty[:_ASKED], api.limits.in_flight)
    except ReaderError as error:  # a question beside the point of the scan; the accounts hold nothing in any case
        log.warning("whether empty accounts are agent wallets is not known: %s", error)
    if len(empty) > _ASKED:
        log.warning("%d empty accounts were not asked whether they are agent wallets", len(empty) - _ASKED)
    return found
