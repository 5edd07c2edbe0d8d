"""Who has a position in the market of release 3.6, and what each of them supplies and borrows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...population import WAVES
from ...tokens import FINAL
from .market import PLACES, limits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from ...tokens import Prices

__all__ = ["Position", "draw_positions", "lent_amounts", "units"]

_FEED_OF = {"weETH": "wstETH", "tBTC": "WBTC", "GHO": "DAI", "PYUSD": "USDC", "LUSD": "DAI"}
FALL = 0.92
"""What the tests' fall of ETH and BTC leaves of their prices: small positions are sized to what they are after it."""


@dataclass(frozen=True, slots=True)
class Position:
    """What an account does in the wave in which it comes, in raw units; `off` and `on` switch collateral."""

    kind: str
    wave: str
    supplies: dict[str, int]
    borrows: dict[str, int]
    category: int = 0
    off: tuple[str, ...] = ()
    on: tuple[str, ...] = ()


def units(symbol: str, usd: float, at: Prices = FINAL) -> int:
    """Raw amount of a token of the market that is worth `usd`."""
    return int(usd / at.usd(_FEED_OF.get(symbol, symbol)) * 10 ** PLACES[symbol])


def lent_amounts(positions: list[Position]) -> dict[str, int]:
    """What lenders bring, so that some nine tenths of it is borrowed."""
    owed = dict.fromkeys(PLACES, 0)
    for position in positions:
        for symbol, amount in position.borrows.items():
            owed[symbol] += amount
    return {symbol: amount * 111 // 100 for symbol, amount in owed.items() if amount}


def draw_positions(rng: Random) -> list[Position]:
    """Everyone who comes by the wave `late`, the same for the same randomness."""
    drawn: list[Position] = []

    def add(
        kind: str,
        wave: str,
        collateral: Mapping[str, float],
        debt: Mapping[str, float],
        health: float,
        category: int = 0,
        *,
        off: Mapping[str, float] | None = None,
        on: tuple[str, ...] = (),
    ) -> None:
        idle = dict(off or {})
        supplies = {symbol: units(symbol, usd) for symbol, usd in {**collateral, **idle}.items()}
        owed = _debt_usd(collateral, debt, health, category, WAVES[wave])
        borrows = {symbol: units(symbol, owed * share) for symbol, share in debt.items()}
        drawn.append(Position(kind, wave, supplies, borrows, category, tuple(idle), on))

    def equity() -> float:
        return min(rng.lognormvariate(0.0, 1.2) * 250_000.0 + 8_000.0, 6_000_000.0)

    for index in range(24):
        staked = "weETH" if index % 3 == 0 else "wstETH"
        beside = {"USDC": equity() / 3} if index % 5 == 2 else {}  # counts by its own threshold
        add("emode_looper", "rally", {staked: 8 * equity(), **beside}, {"WETH": 1.0}, rng.uniform(1.004, 1.04), 1)
    for index in range(10):
        mixed = {"wstETH": equity(), "USDC": equity() / 2} if index % 2 else {"wstETH": equity()}
        add("emode_dollars", "rally", mixed, {("DAI", "USDC")[index % 3 == 0]: 1.0}, rng.uniform(1.02, 1.2), 2)
    for index in range(12):
        supplied, borrowed = (("USDC", "DAI"), ("DAI", "USDC"), ("USDC", "GHO"))[index % 3]
        add("stable_looper", "late", {supplied: 7 * equity()}, {borrowed: 1.0}, rng.uniform(1.034, 1.2), 3)
    for index in range(5):
        pair = {"WBTC": equity()} | ({"WETH": equity()} if index % 2 else {})
        add("emode_ltv_zero", "late", pair, {"USDC": 1.0}, rng.uniform(1.04, 1.15), 4)
    for index in range(24):
        wave = ("rally", "slump", "late")[index % 3]
        one = {("WETH", "wstETH", "WBTC")[index % 3]: equity()}
        add("borrower", wave, one, {("USDC", "DAI")[index % 2]: 1.0}, rng.uniform(1.005, 1.5))
    for index in range(12):
        several = {"WETH": equity(), "WBTC": equity(), "DAI": equity()}
        if index % 3:
            del several["DAI"]
        debts = {"USDC": rng.uniform(0.5, 0.9)}
        debts["LUSD" if index % 4 == 0 else "PYUSD" if index % 4 == 1 else "DAI"] = 1 - debts["USDC"]
        add("mixed", "late", several, debts, rng.uniform(1.04, 1.25))
    for index in range(6):
        add("isolated", "late", {"tBTC": equity()}, {("USDC", "DAI")[index % 2]: 1.0}, 1.08, on=("tBTC",))
    for _ in range(5):
        add("siloed", "rally", {"WETH": equity()}, {"GHO": 1.0}, rng.uniform(1.01, 1.2))
    for index in range(6):
        debts = {"DAI": 1.0} if index % 2 else {}
        add("collateral_off", "late", {"WETH": equity()}, debts, 1.3, off={"USDC": equity()})
    for _ in range(4):
        add("frozen", "slump", {"LUSD": equity()}, {"WETH": 1.0}, rng.uniform(1.1, 1.3))
        add("paused", "slump", {"PYUSD": equity()}, {"WETH": 1.0}, rng.uniform(1.1, 1.3))
    for index in range(10):
        one = {"WBTC" if index % 3 == 0 else "WETH": equity()}
        add("liquidatable", "glitch", one, {"USDC": 1.0}, rng.uniform(0.88, 0.995))
    for index in range(5):
        one = {"WBTC" if index % 2 else "WETH": min(equity(), 200_000.0)}
        add("bad_debt", "glitch", one, {"USDC": 0.9, "DAI": 0.1} if index % 2 else {"USDC": 1.0}, rng.uniform(0.6, 0.7))
    for index in range(4):
        near = 1.045 + 0.01 * index
        add("small_debt", "late", {"WETH": 2_230 / FALL}, {"USDC": 1.0}, near)
        add("small_collateral", "late", {"WETH": 1_950 / FALL, "WBTC": 1_900 / FALL}, {"USDC": 1.0}, near)
        add("debt_left", "late", {"WETH": 5_400 / FALL}, {"USDC": 0.56, "DAI": 0.44}, near)
        add("collateral_left", "late", {"WETH": 2_250 / FALL, "WBTC": 2_200 / FALL}, {"USDC": 1.0}, near)
        add("both_left", "late", {"WETH": 2_480 / FALL}, {"USDC": 1.0}, near)
    for index in range(2):  # collateral and debt of one asset, below 1 once DAI leaves the category
        add("same_asset", "late", {"DAI": equity()}, {"DAI": 1.0}, (1.1, 1.18)[index], 3)
        # A second collateral worth nothing: what is left without the first is a deficit at once.
        add("bad_debt_dust", "glitch", {"WETH": 50_000.0}, {"USDC": 1.0}, 0.65)
        drawn[-1].supplies["wstETH"] = 3
    for index in range(8):
        supplies = {("WETH", "wstETH", "WBTC", "USDC")[index % 4]: rng.randint(2, 9)}
        if index % 2:  # 1 raw unit of USDC is worth 100 units of the oracle's currency, a few of DAI round up to 1
            supplies["WETH"] = 10**10
        drawn.append(Position("dust", "late", supplies, {("USDC", "DAI")[index % 4 == 1]: 3} if index % 2 else {}))
    return drawn


def _debt_usd(
    collateral: Mapping[str, float], debt: Mapping[str, float], health: float, category: int, at: Prices
) -> float:
    """USD of debt at FINAL that leaves `health` there, or what the loan-to-value allows at the wave's prices."""
    total = sum(usd * limits(symbol, category)[1] for symbol, usd in collateral.items()) / 1e4 / health
    now = {symbol: usd * _price(symbol, at) / _price(symbol, FINAL) for symbol, usd in collateral.items()}
    power = sum(usd * limits(symbol, category)[0] for symbol, usd in now.items()) / 1e4
    owed = sum(total * share * _price(symbol, at) / _price(symbol, FINAL) for symbol, share in debt.items())
    return total * min(1.0, 0.998 * power / owed) if owed else 0.0


def _price(symbol: str, at: Prices) -> float:
    return at.usd(_FEED_OF.get(symbol, symbol))
