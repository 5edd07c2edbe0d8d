"""The second stage of a build: further protocols, side by side on a chain that has the base already."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .build import DAY, HEAD_DAY, OWNER, WAVE_DAYS
from .chain import Chain
from .population import WAVES
from .protocols import Site, load_build
from .tokens import price_transactions

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from .description import Description
    from .rpc import RpcSession


def build_protocols(session: RpcSession, base: Description, names: Sequence[str], seed: int) -> Description:
    """Deploy and populate protocols on the base, and describe the whole.

    The base's waves come again, at the same prices, the days counted from the base's head; each protocol goes on in the
    wave that it asked for. As in the base the last block is empty, days after the last transaction.
    """
    chain = Chain(session)
    told: dict[str, dict[str, Any]] = {}
    waiting: dict[str, tuple[str, Generator[str, None, dict[str, Any]]]] = {}

    def go_on(name: str, work: Generator[str, None, dict[str, Any]]) -> None:
        try:
            waiting[name] = (next(work), work)
        except StopIteration as ended:
            waiting.pop(name, None)
            told[name] = _plain(name, ended.value)

    for name in names:
        go_on(name, load_build(name)(Site(name, seed, chain, base.tokens, base.feeds, base.deployments)))
    for wave, prices in WAVES.items():
        chain.send(price_transactions(OWNER, base.feeds, prices), base.head_timestamp + WAVE_DAYS[wave] * DAY)
        for name, (wanted, work) in list(waiting.items()):
            if wanted == wave:
                go_on(name, work)
    if waiting:
        asked = ", ".join(f"{name} for {wave!r}" for name, (wave, _) in waiting.items())
        raise RuntimeError(f"after the last wave some still wait: {asked}; the waves are {', '.join(WAVES)}, in order")
    chain.mine(base.head_timestamp + HEAD_DAY * DAY)
    head = session.call("eth_getBlockByNumber", "latest", False)
    number, timestamp = int(head["number"], 16), int(head["timestamp"], 16)
    described = {name: told[name] for name in names}
    return replace(base, head_number=number, head_timestamp=timestamp, head_hash=head["hash"], protocols=described)


def _plain(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or json.loads(json.dumps(value)) != value:
        raise TypeError(f"{name} returns something else than a dict of plain JSON values (no tuples): {value!r}")
    return value
