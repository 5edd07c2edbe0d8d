"""Perpetual Protocol v2 (Curie): a cross-margin clearing house with two markets, traders, liquidity providers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from eth_utils.address import to_checksum_address

from ...population import WAVES
from .contracts import MARKETS, WAD, Venue, deploy_venue, sqrt_price

if TYPE_CHECKING:
    from collections.abc import Generator

    from .. import Site

SHARED = 4
"""Of the shorts, so many are also in the Aave v3 markets."""
PREMIUM = {"rally": 1.002, "slump": 0.999, "late": 1.0005, "settle": 1.0002}
"""Price of the pools over the index, to which somebody takes them at each wave."""
STEPS = 4
"""Blocks in which they do: a trade that closes part of a position may not move the price far."""


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy before the first wave; see protocols.Build."""
    venue = deploy_venue(site)
    crowd = _Crowd(site, venue)
    draw = site.rng.uniform
    yield "lenders"
    crowd.provide("wide_maker", 30e6, {"vETH": 20e6, "vBTC": 20e6})
    yield "rally"
    crowd.take_to("rally")
    for _ in range(10):
        crowd.open("long", draw(1e3, 8e3), {"vETH": draw(1, 6)})
        crowd.open("short", draw(1e3, 8e3), {"vETH": -draw(0.5, 6)})
        crowd.open("long", draw(1e3, 8e3), {"vBTC": draw(1, 6)})
    crowd.take_to("rally")
    for _ in range(3):
        crowd.open("steep_long", draw(1e3, 5e3), {"vETH": 8.4})
        crowd.open("steep_long", draw(1e3, 5e3), {"vBTC": 8.2})
    crowd.open("steep_long", 11, {"vETH": 8.4})
    crowd.open("idle", draw(1e3, 8e3), {})
    crowd.take_to("rally")
    yield "slump"
    crowd.take_to("slump")
    for _ in range(8):
        crowd.open("cross", draw(1e3, 8e3), {"vETH": draw(1, 4), "vBTC": -draw(1, 4)})
        crowd.open("cross", draw(1e3, 8e3), {"vETH": -draw(1, 4), "vBTC": -draw(0.5, 4)})
    for _ in range(4):
        crowd.open("steep_short", draw(1e3, 5e3), {"vETH": -8.4})
        crowd.open("weth_margin", draw(1e3, 8e3), {"vBTC": draw(1, 5)}, in_weth=True)
    for number in range(4):
        crowd.provide("maker", 60e3, {"vETH": 50e3}, reach=600 + 400 * number)
    crowd.provide("maker", 90e3, {"vETH": 60e3, "vBTC": 60e3}, reach=1_400)
    crowd.take_to("slump")
    yield "late"
    crowd.take_to("late")
    for _ in range(5):
        crowd.open("long", draw(1e3, 8e3), {"vETH": draw(3, 8)})
        crowd.open("short", draw(1e3, 8e3), {"vBTC": -draw(3, 8)})
    crowd.open("closed", 5e3, {"vETH": 3})
    crowd.open("making_trader", 80e3, {"vETH": -0.2})
    crowd.take_to("late")
    yield "touch"
    crowd.touch()
    yield "settle"
    crowd.take_to("settle")
    reads = [site.reads("perp_curie", "Perpetual Protocol v2", venue.clearing_house, venue.first_block)]
    return {"reads": reads, **asdict(venue), "accounts": crowd.accounts}


class _Crowd:
    """Opens positions and remembers who has them."""

    def __init__(self, site: Site, venue: Venue) -> None:
        self._site, self._venue = site, venue
        self._mover = ""
        self.accounts: list[dict[str, str]] = []

    def open(self, kind: str, usd: float, leverage: dict[str, float], *, in_weth: bool = False) -> None:
        """Deposit USD of margin and open as many times its value in each market, short where negative."""
        user = self._arrive(kind)
        calls = self._deposit(user, usd * (0.4 if in_weth else 1))
        if in_weth:
            weth = round(usd / WAVES["slump"].eth * 10**6) * 10**12
            calls += self._venue.deposit(user, self._site.tokens["WETH"], weth)
        calls += [self._venue.trade(user, symbol, usd * times) for symbol, times in leverage.items()]
        self._site.chain.send(calls)

    def provide(self, kind: str, usd: float, quotes: dict[str, float], reach: int = 9_200) -> None:
        """Deposit USD of margin and add liquidity of so many USD on either side of each market."""
        user = self._arrive(kind)
        self._site.chain.send(self._deposit(user, usd))
        for symbol, quote in quotes.items():
            self._provide(user, symbol, quote, reach)

    def take_to(self, wave: str) -> None:
        """Trade each pool to its place over the index, margin no object."""
        if not self._mover:
            self._mover = self._arrive("mover")
            self._site.chain.send(self._deposit(self._mover, 50e6))
        for symbol, token in MARKETS.items():
            target = sqrt_price(WAVES[wave].usd(token) * PREMIUM[wave])
            slot = "(uint160,int24,uint16,uint16,uint16,uint8,bool)"
            start = self._site.chain.call(self._venue.pools[symbol], "slot0()", slot)[0]
            for step in range(1, STEPS + 1):
                limit = start + (target - start) * step // STEPS
                usd = 20e6 if target > start else -20e6
                self._site.chain.send([self._venue.trade(self._mover, symbol, usd, limit)])
        self._site.chain.mine(self._site.chain.head()[1] + 3_600)  # mark prices look back for half an hour

    def touch(self) -> None:
        """Close one, make one a liquidity provider too, take some liquidity out, and settle some funding."""
        venue, send = self._venue, self._site.chain.send
        (closed,) = self.of_kind("closed")
        signature = "closePosition((address,uint160,uint256,uint256,bytes32))"
        send([venue.call(closed, signature, (venue.markets["vETH"], 0, 0, 2**255, bytes(32)))])
        (trader,) = self.of_kind("making_trader")
        self._provide(trader, "vETH", 40e3, 1_000)
        for user in self.of_kind("long")[:5]:
            send([venue.call(user, "settleAllFunding(address)", user)])
        for user in self.of_kind("short")[:3]:
            send(self._deposit(user, 100))

    def of_kind(self, kind: str) -> list[str]:
        """Addresses of the accounts of one kind."""
        return [account["address"] for account in self.accounts if account["kind"] == kind]

    def _provide(self, user: str, symbol: str, usd: float, reach: int) -> None:
        price = WAVES["late"].usd(MARKETS[symbol])
        self._site.chain.send([self._venue.provide(user, symbol, round(usd / price * WAD), round(usd) * WAD, reach)])

    def _deposit(self, user: str, usd: float) -> list[Any]:
        return self._venue.deposit(user, self._venue.settlement, round(usd * 10**6))

    def _arrive(self, kind: str) -> str:
        count = len(self.of_kind(kind))
        is_shared = kind == "short" and count < SHARED
        user = self._site.shared_account(count) if is_shared else self._site.account(f"{kind}:{count}")
        self.accounts.append({"address": to_checksum_address(user), "kind": kind})
        return user
