"""Replies of Hyperliquid and dYdX with something changed anywhere in them: one clear error, or an account set aside.

Never another exception, and never a snapshot that is not valid. Thousands of changes were tried so; these are some.
"""

import copy
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from defi_leverage.errors import ReaderError
from defi_leverage.health import account_health
from defi_leverage.http_api import HttpApi
from defi_leverage.snapshot import from_readings
from defi_leverage.venues_http import HttpVenue, load_http_reader
from tests.http_server import Time
from tests.protocols import hyperliquid_replies as replies
from tests.protocols.test_dydx import BOTH, TWO
from tests.protocols.test_dydx_cases import IN_TRY, markets

_JUNK: list[Any] = [
    *(None, "", 0, -1, "0", "-1", "NaN", "1e99", "abc", [], {}, True, [None], {"a": 1}, "1e-40", 1e308, "9" * 38, 3.7)
]
_HYPERLIQUID: dict[str, Any] = {
    "perpDexs": [None],
    "spotMeta": replies.SPOT_META,
    "metaAndAssetCtxs": replies.meta({"BTC": "83926.0"}),
    "clearinghouseState": replies.UNIFIED | {"time": Time().now * 1000},
    "userAbstraction": "unifiedAccount",
    "spotClearinghouseState": replies.spot(replies.UNIFIED_TOTAL, "41878.77635"),
    "userRole": {"role": "user"},
}
_STANDARD = {
    "userAbstraction": "default",
    "metaAndAssetCtxs": replies.meta(),
    "clearinghouseState": replies.RECORDED | {"time": Time().now * 1000},
}
_DYDX: dict[str, Any] = {
    "/height": {"height": "18164178", "time": "2026-01-14T13:23:15.000Z"},
    "/perpetualMarkets": markets(),
    f"/addresses/{BOTH}": {"subaccounts": [TWO, IN_TRY | {"address": BOTH}], "totalTradingRewards": "0"},
}


def places(reply: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a reply, as keys and indices from its top."""
    yield place
    inside = reply.items() if isinstance(reply, dict) else enumerate(reply) if isinstance(reply, list) else ()
    for key, value in inside:
        yield from places(value, (*place, key))


def changed(reply: Any, draw: random.Random) -> Any:
    """The reply with one place left out, or with something else in it."""
    reply = copy.deepcopy(reply)
    *above, last = (None, *draw.choice([place for place in places(reply) if place]))
    part = reply
    for key in above[1:]:
        part = part[key]
    if draw.random() < 0.2:
        del part[last]
    else:
        part[last] = draw.choice(_JUNK)
    return reply


def answering(answers: dict[str, Any]) -> HttpApi:
    """A venue without a socket."""

    async def post(_path: str, body: Any, *_: Any, **__: Any) -> Any:
        return copy.deepcopy(answers[body["type"]])

    async def get(path: str, *_: Any, **__: Any) -> Any:
        return copy.deepcopy(answers[path])

    limits = SimpleNamespace(in_flight=2)
    return cast("HttpApi", SimpleNamespace(limits=limits, now=lambda: int(Time().now), post=post, get=get))


@pytest.mark.parametrize(
    ("protocol", "account", "answers"),
    [
        ("hyperliquid", replies.USER, _HYPERLIQUID),
        ("hyperliquid", replies.USER, _HYPERLIQUID | _STANDARD),
        ("dydx", BOTH, _DYDX),
    ],
    ids=["unified", "standard", "dYdX"],
)
async def test_a_change_anywhere_is_one_error_or_sets_aside(
    protocol: str, account: str, answers: dict[str, Any]
) -> None:
    draw, errors, read = random.Random(7), [], 0
    structured = [kind for kind, reply in answers.items() if not isinstance(reply, str)]
    for _ in range(30):
        kind = draw.choice(structured)
        api = answering(answers | {kind: changed(answers[kind], draw)})
        try:
            readings = await load_http_reader(protocol)(api, HttpVenue(protocol, "V", "mainnet", (account,)))
        except ReaderError as error:
            errors.append(str(error))
        else:
            assert (account_health(from_readings(readings))["equity_usd"] < 1e12).all()
            read += 1
    assert read > 5
    assert len(errors) > 5
    assert [error for error in errors if "update this package" not in error and "scan again" not in error] == []
