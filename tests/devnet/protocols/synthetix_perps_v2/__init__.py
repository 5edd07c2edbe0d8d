"""Synthetix PerpsV2: two isolated markets from production bytecode, ETH and BTC, with longs, shorts and idle margin."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...chain import transaction
from ...population import WAVES
from .contracts import WAD, Venue, deploy_venue

if TYPE_CHECKING:
    from collections.abc import Generator

    from .. import Site

MARKETS = {"sETHPERP": "WETH", "sBTCPERP": "WBTC"}
"""Market keys, and the token whose feed prices them."""
SHARED = 4
"""Of the shorts in ETH, so many are also in the Aave v3 markets."""


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy before the first wave; see protocols.Build."""
    venue = deploy_venue(site, {key: site.feeds[token] for key, token in MARKETS.items()})
    crowd = _Crowd(site, venue)
    draw = site.rng.uniform
    yield "rally"
    for number in range(18):
        crowd.open("long", "rally", "sETHPERP", draw(300, 2_500), draw(1.2, 5))
        if number < 10:
            crowd.open("long", "rally", "sBTCPERP", draw(300, 2_500), draw(1.2, 5))
        crowd.open("short", "rally", "sETHPERP", draw(300, 2_500), -draw(0.5, 5))
    for key in MARKETS:
        crowd.open("steep_long", "rally", key, draw(300, 900), 20)
        crowd.open("large", "rally", key, 60_000, 0.6 if key == "sETHPERP" else -0.6)
        crowd.open("idle", "rally", key, draw(300, 900), 0)
    yield "slump"
    for _ in range(12):
        crowd.open("short", "slump", "sETHPERP", draw(300, 2_500), -draw(0.5, 6))
        crowd.open("short", "slump", "sBTCPERP", draw(300, 2_500), -draw(0.5, 6))
        crowd.open("long", "slump", "sETHPERP", draw(300, 2_500), draw(1.2, 6))
    for key in MARKETS:
        crowd.open("steep_short", "slump", key, draw(300, 900), -40)
        crowd.open("steep_short", "slump", key, 120, -40)
    yield "late"
    for _ in range(8):
        crowd.open("long", "late", "sBTCPERP", draw(300, 2_500), draw(3, 25))
        crowd.open("long", "late", "sETHPERP", draw(300, 2_500), draw(3, 25))
        crowd.open("short", "late", "sETHPERP", draw(300, 2_500), -draw(3, 25))
    for key in MARKETS:
        crowd.open("dust", "late", key, 45, 0.01)
        crowd.open("closed", "late", key, 500, 3)
    yield "touch"
    crowd.touch()
    reads = [site.reads("synthetix_perps_v2", "Synthetix PerpsV2", venue.manager, venue.first_block)]
    return {"reads": reads, **asdict(venue), "accounts": crowd.accounts}


class _Crowd:
    """Opens positions and remembers who has them."""

    def __init__(self, site: Site, venue: Venue) -> None:
        self._site, self._venue = site, venue
        self.accounts: list[dict[str, str]] = []

    def open(self, kind: str, wave: str, key: str, margin: float, leverage: float) -> None:
        """Transfer USD of margin and trade as many times its value, short where that is negative."""
        count = len(self.of(kind))
        is_shared = (kind, key) == ("short", "sETHPERP") and count < SHARED
        user = self._site.shared_account(count) if is_shared else self._site.account(f"{kind}:{count}")
        self.accounts.append({"address": user, "kind": kind, "market": key})
        amount, market = round(margin * 10**6) * 10**12, self._venue.markets[key]
        calls = [
            transaction(user, self._venue.susd, "issue(address,uint256)", user, amount),
            transaction(user, market, "transferMargin(int256)", amount),
        ]
        if leverage:
            price = WAVES[wave].usd(MARKETS[key])
            size = round(margin * leverage / price * 10**6) * 10**12
            calls.append(self._trade(user, key, size, price))
        self._site.chain.send(calls)

    def touch(self) -> None:
        """Close some, add to some, take margin out of some: all settle funding."""
        calls = []
        for account in self.of("closed"):
            market = self._venue.markets[account["market"]]
            calls.append(transaction(account["address"], market, "closePosition(uint256)", WAD))
            calls.append(transaction(account["address"], market, "withdrawAllMargin()"))
        for account in self.of("large"):
            price = WAVES["touch"].usd(MARKETS[account["market"]])
            calls.append(self._trade(account["address"], account["market"], round(9_000 / price * WAD), price))
        for account in self.of("short")[:3]:
            market = self._venue.markets[account["market"]]
            calls.append(transaction(account["address"], market, "transferMargin(int256)", -20 * WAD))
        self._site.chain.send(calls)

    def of(self, kind: str) -> list[dict[str, str]]:
        """The accounts of one kind."""
        return [account for account in self.accounts if account["kind"] == kind]

    def _trade(self, user: str, key: str, size: int, price: float) -> Any:
        worst = round(price * (1.2 if size > 0 else 0.8)) * WAD
        return transaction(user, self._venue.markets[key], "modifyPosition(int256,uint256)", size, worst)
