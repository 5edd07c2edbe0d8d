"""What Hyperliquid tells of an account: positions on each dex, its mode, and of a unified one its spot balances.

All figures are the venue's decimals, exactly as printed. They are printed to six places or so, some with the noise of
binary floating point, so two that should be equal are compared to `_PRINTED`.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from defi_leverage.errors import ReaderError
from defi_leverage.http_api import HttpApi
from defi_leverage.protocols import Progress
from defi_leverage.rpc import run_bounded
from defi_leverage.venues_http import HttpVenue
from defi_leverage.venues_http._fields import entries, number, optional_number, record, text
from defi_leverage.venues_http._margin import Position, Tier, maintenance_margin, tiers
from defi_leverage.venues_http.hyperliquid.markets import Dex, ask

__all__ = ["DexState", "Held", "UserState", "agrees", "cross_maintenance", "parse_state", "read_accounts"]

_PRINTED = (Fraction(1, 10**5), Fraction(1, 10**9))
"""How far two of the venue's figures may differ: so many USD, or such a share of the figure."""


@dataclass(frozen=True, slots=True)
class Held:
    """A position, and of an isolated one the value of its margin account, ours and the venue's; None: it is cross."""

    position: Position
    isolated_value: Fraction | None = None
    reported_value: Fraction | None = None


@dataclass(frozen=True, slots=True)
class DexState:
    """One account on one dex: clearinghouseState. `raw_usd` is its cross cash, less what longs were bought for."""

    held: tuple[Held, ...]
    cross_value: Fraction
    cross_maintenance: Fraction
    cross_raw_usd: Fraction
    value: Fraction


@dataclass(frozen=True, slots=True)
class UserState:
    """An account on every dex by its name; `mode` and `spot` (totals by token index) where they were asked for."""

    user: str
    dexs: dict[str, DexState]
    mode: str = "default"
    spot: dict[int, Fraction] | None = None


def agrees(one: Fraction, other: Fraction) -> bool:
    """Whether two figures are equal but for how the venue prints them."""
    return abs(one - other) <= max(_PRINTED[0], _PRINTED[1] * abs(other))


async def read_accounts(api: HttpApi, venue: HttpVenue, dexs: list[Dex], progress: Progress | None) -> list[UserState]:
    """The state of every listed account that has a position, by address.

    Raises ReaderError where the interface does not answer or a field is missing.
    """
    found: dict[str, UserState] = {}
    done = 0

    async def read(user: str) -> None:
        nonlocal done
        states = {}
        for dex in dexs:
            reply = await ask(api, "clearinghouseState", user=user, dex=dex.name)
            states[dex.name] = parse_state(reply, dex, f"clearinghouseState of {user} on {dex.label}")
        if any(state.held for state in states.values()):
            found[user] = await _read_mode(api, user, states)
        done += 1
        if progress is not None:
            progress("accounts", done, len(venue.accounts))

    await run_bounded(read, venue.accounts, api.limits.in_flight)
    return [found[user] for user in sorted(found)]


async def _read_mode(api: HttpApi, user: str, states: dict[str, DexState]) -> UserState:
    mode = await ask(api, "userAbstraction", user=user)
    if not isinstance(mode, str):
        raise ReaderError(f"userAbstraction of {user}: the reply is {mode!r}, not text; update this package")
    if mode != "unifiedAccount":
        return UserState(user, states, mode)
    where = f"spotClearinghouseState of {user}"
    balances = entries(await ask(api, "spotClearinghouseState", user=user), "balances", where)
    totals = {int(number(row, "token", where)): number(row, "total", where) for row in balances}
    return UserState(user, states, mode, totals)


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
        value=number(reply, "marginSummary.accountValue", where),
    )


def _parse_position(entry: Any, size: Fraction, dex: Dex, where: str) -> Held:
    shown = record(entry, "position", where)
    coin = text(shown, "coin", where)
    where = f"{where}, {coin}"
    if coin not in dex.markets:
        raise ReaderError(f"{where}: this market is not in metaAndAssetCtxs; scan again")
    notional = number(shown, "positionValue", where)
    kind = text(shown, "leverage.type", where)
    if kind not in ("cross", "isolated"):
        raise ReaderError(f"{where}: the field leverage.type is {kind!r}, not cross or isolated; update this package")
    position = Position(
        coin=coin,
        size=size,
        mark=notional / abs(size),
        unrealized_pnl=number(shown, "unrealizedPnl", where),
        tiers=_terms(dex.markets[coin].tiers, number(shown, "maxLeverage", where)),
        entry_price=number(shown, "entryPx", where),
        reported_liquidation_price=optional_number(shown, "liquidationPx", where),
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
    """Maintenance margin of the cross positions, from their tiers."""
    return sum(
        (
            maintenance_margin(item.position.tiers, abs(item.position.signed_notional))
            for item in held
            if item.isolated_value is None
        ),
        Fraction(0),
    )
