"""What Hyperliquid tells of an account: positions on each dex, its mode, and of a unified one its spot balances.

All figures are the venue's decimals, exactly as printed: to six places or so, some with the noise of binary floating
point.
"""

import logging
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from defi_leverage.errors import ReaderError
from defi_leverage.http_api import HttpApi
from defi_leverage.protocols import Progress
from defi_leverage.venues_http import HttpVenue
from defi_leverage.venues_http._fields import entries, number, optional_number, record, text
from defi_leverage.venues_http._listed import clock_gap, read_listed
from defi_leverage.venues_http._margin import Position, Tier, maintenance_margin, tiers
from defi_leverage.venues_http.hyperliquid.agents import find_agents
from defi_leverage.venues_http.hyperliquid.markets import Dex, ask

__all__ = [
    "DexState",
    "Held",
    "SpotState",
    "UserState",
    "cross_maintenance",
    "parse_spot",
    "parse_state",
    "read_accounts",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """A position, and of an isolated one the value of its margin account, ours and the venue's; None: it is cross."""

    position: Position
    isolated_value: Fraction | None = None
    reported_value: Fraction | None = None


@dataclass(frozen=True, slots=True)
class DexState:
    """One account on one dex: clearinghouseState. `raw_usd` is its cross cash, less what longs were bought for.

    What is `used` of margin is the initial margin of cross positions and orders, and, of isolated ones, all they have.
    `time`: UTC seconds by the venue's clock.
    """

    held: tuple[Held, ...]
    cross_value: Fraction
    cross_maintenance: Fraction
    cross_raw_usd: Fraction
    cross_used: Fraction
    value: Fraction
    used: Fraction
    time: int


@dataclass(frozen=True, slots=True)
class SpotState:
    """Balances by token index, and what each leaves after maintenance where the venue tells it."""

    totals: dict[int, Fraction]
    available: dict[int, Fraction]


@dataclass(frozen=True, slots=True)
class UserState:
    """An account on every dex by its name; its `mode`, and `spot` where it is unified.

    `clock_gap`: what to say of the venue's clock.
    """

    user: str
    dexs: dict[str, DexState]
    mode: str = "default"
    spot: SpotState | None = None
    clock_gap: str = ""


async def read_accounts(
    api: HttpApi, venue: HttpVenue, dexs: list[Dex], progress: Progress | None
) -> tuple[list[UserState], dict[str, str]]:
    """The state of every listed account that has a position, by address, and why others are set aside.

    Raises ReaderError where the interface does not answer, or no account can be read.
    """
    found: dict[str, UserState] = {}
    empty: set[str] = set()

    async def read(user: str) -> None:
        states = {}
        gap = ""
        for dex in dexs:
            if not dex.markets:  # nobody has a position there
                continue
            reply = await ask(api, "clearinghouseState", user=user, dex=dex.name)
            states[dex.name] = parse_state(reply, dex, f"clearinghouseState of {user} on {dex.label}")
            gap = gap or clock_gap(states[dex.name].time, api.now())
        if any(state.held for state in states.values()):
            found[user] = await _read_mode(api, user, states, gap)
        elif not any(state.value for state in states.values()):
            empty.add(user)

    failed = await read_listed(api, venue, read, progress)
    failed |= await find_agents(api, [user for user in venue.accounts if user in empty])
    log.info("%s: %d listed accounts have no position", venue.name, len(venue.accounts) - len(found) - len(failed))
    return [found[user] for user in sorted(found)], failed


async def _read_mode(api: HttpApi, user: str, states: dict[str, DexState], gap: str) -> UserState:
    mode = await ask(api, "userAbstraction", user=user)
    if not isinstance(mode, str):
        raise ReaderError(f"userAbstraction of {user}: the reply is {mode!r}, not text; update this package")
    if mode != "unifiedAccount":
        return UserState(user, states, mode, clock_gap=gap)
    reply = await ask(api, "spotClearinghouseState", user=user)
    return UserState(user, states, mode, parse_spot(reply, f"spotClearinghouseState of {user}"), gap)


def parse_spot(reply: Any, where: str) -> SpotState:
    """A spotClearinghouseState reply. Raises ReaderError that names a field that is missing or no number."""
    totals, available = {}, {}
    for row in entries(reply, "balances", where):
        # The sides of an outcome market ("+92260") are no tokens: they have no index, and back nothing.
        if not text(row, "coin", where).startswith("+"):
            totals[int(number(row, "token", where))] = number(row, "total", where)
    name = "tokenToAvailableAfterMaintenance"
    for pair in entries(reply, name, where) if name in reply else []:
        if len(entries(pair, "", f"{where}: {name}")) != 2:
            raise ReaderError(f"{where}: the field {name} has {pair!r}, not a token and an amount; update this package")
        told = dict(zip(("token", "amount"), pair, strict=True))
        available[int(number(told, "token", f"{where}: {name}"))] = number(told, "amount", f"{where}: {name}")
    return SpotState(totals, available)


def parse_state(reply: Any, dex: Dex, where: str) -> DexState:
    """A clearinghouseState reply. Raises ReaderError that names a field that is missing or no number."""
    held = []
    for entry in entries(reply, "assetPositions", where):
        size = number(entry, "position.szi", where)
        if size:  # a position that was closed may stay listed
            held.append(_parse_position(entry, size, dex, where))
    return DexState(
        held=tuple(held),
        cross_value=number(reply, "crossMarginSummary.accountValue", where),
        cross_maintenance=number(reply, "crossMaintenanceMarginUsed", where),
        cross_raw_usd=number(reply, "crossMarginSummary.totalRawUsd", where),
        cross_used=number(reply, "crossMarginSummary.totalMarginUsed", where),
        value=number(reply, "marginSummary.accountValue", where),
        used=number(reply, "marginSummary.totalMarginUsed", where),
        time=int(number(reply, "time", where) / 1000),
    )


def _parse_position(entry: Any, size: Fraction, dex: Dex, where: str) -> Held:
    shown = record(entry, "position", where)
    coin = text(shown, "coin", where)
    where = f"{where}, {coin}"
    if coin not in dex.markets:
        raise ReaderError(f"{where}: this market is not in metaAndAssetCtxs; scan again")
    notional = number(shown, "positionValue", where, least=0)
    kind = text(shown, "leverage.type", where)
    if kind not in ("cross", "isolated"):
        raise ReaderError(f"{where}: the field leverage.type is {kind!r}, not cross or isolated; update this package")
    position = Position(
        coin=coin,
        size=size,
        mark=notional / abs(size),
        unrealized_pnl=number(shown, "unrealizedPnl", where),
        tiers=_terms(dex.markets[coin].tiers, number(shown, "maxLeverage", where, least=1)),
        entry_price=number(shown, "entryPx", where, least=0),
        reported_liquidation_price=optional_number(shown, "liquidationPx", where, least=0) or None,
    )
    if kind == "cross":
        return Held(position)
    value = number(shown, "leverage.rawUsd", where) + position.signed_notional
    return Held(position, value, number(shown, "marginUsed", where))


def _terms(table: tuple[Tier, ...], leverage: Fraction) -> tuple[Tier, ...]:
    """The market's tiers; of an account that has a maximum leverage of its own (the venue's vaults), that one."""
    ratio = 1 / (2 * leverage)
    return table if any(tier.ratio == ratio for tier in table) else tiers([(Fraction(0), ratio)])


def cross_maintenance(held: tuple[Held, ...]) -> Fraction:
    """Maintenance margin of the cross positions, from their tiers.

    The venue's sum, crossMaintenanceMarginUsed, is of parts cut to a millionth of a dollar: so in recorded accounts.
    """
    return sum(
        (
            maintenance_margin(item.position.tiers, abs(item.position.signed_notional))
            for item in held
            if item.isolated_value is None
        ),
        Fraction(0),
    )
