"""A seeded population of borrowers and lenders for one market."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from .aave_parameters import BTC, ETH_CORRELATED, STABLECOINS
from .plans import MAX_UINT, Do, Kind, Plan, Step, open_position
from .tokens import DECIMALS, FINAL, Prices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EQUITY_MEDIAN_USD, EQUITY_SIGMA, EQUITY_MAX_USD = 300_000.0, 1.6, 60_000_000.0
MAX_TURNS = 15
SHARED_ACCOUNTS = 12
"""Of the ETH borrowers, so many hold a position in every market."""

# Prices as each wave of accounts opens. The final ones are FINAL: who opens high is nearer to liquidation at the end.
WAVES: dict[str, Prices] = {
    "lenders": FINAL,
    "glitch": Prices(eth=6_000.0, btc=180_000.0, ratio=1.18),
    "rally": Prices(eth=3_150.0, btc=93_500.0, ratio=1.2),
    "slump": Prices(eth=2_930.0, btc=88_500.0, ratio=1.179),
    "late": FINAL,
    "touch": FINAL,
    "settle": FINAL,
}


class Population:
    """Draws the plans of one market; the same seed and market give the same plans."""

    def __init__(self, seed: int, market_key: str, *, is_release_3_0: bool) -> None:
        self._seed = seed
        self._key = market_key
        self._random = random.Random(f"{seed}:{market_key}")
        self._is_release_3_0 = is_release_3_0
        self._plans: list[Plan] = []

    def plans(self) -> list[Plan]:
        """Everyone's plans, the large lenders first: what they lend follows from what the others borrow."""
        drawn: tuple[tuple[int, Callable[[int], None]], ...] = (
            (60, self._emode_looper),
            (22, self._flash_looper),
            (26, self._stable_looper),
            (12, self._plain_looper),
            (80, self._eth_borrower),
            (34, self._btc_borrower),
            (26, self._eth_short),
            (26, self._mixed),
            (30, self._supplier),
            (10, self._collateral_off),
            (10, self._dust),
            (8, self._liquidatable),
            (4, self._bad_debt),
            (2, self._liquidated),
            (6, self._atoken_only),
            (3, self._gifted),
            (2, self._delegator),
            (3, self._emptied),
            (4, self._repaid),
        )
        only_3_0: tuple[tuple[int, Callable[[int], None]], ...] = (
            (8, self._stable_rate_borrower),
            (6, self._category_priced),
        )
        for count, draw in (*drawn, *(only_3_0 if self._is_release_3_0 else ())):
            for index in range(count):
                draw(index)
        self._touch()
        return [*self._whales(), *self._plans]

    def _emode_looper(self, index: int) -> None:
        turns = index % MAX_TURNS + 1
        wave = self._random.choice(("rally", "rally", "late"))
        fraction = self._random.uniform(0.85, 0.928)
        steps = [Step(Do.ENTER_CATEGORY, amount=ETH_CORRELATED.identifier)]
        if index % 7 == 3:  # collateral outside the category counts by its own limits
            steps.append(Step(Do.SUPPLY, "USDC", FINAL.units("USDC", self._equity() / 4)))
        is_real = index % 4 == 0
        steps += self._loop("wstETH", "WETH", turns, fraction, WAVES[wave], is_real=is_real)
        self._add(Kind.EMODE_LOOPER, {wave: steps}, turns)

    def _flash_looper(self, index: int) -> None:
        wave = "rally" if index % 4 else "late"
        health = 0.99 if index % 4 else self._random.uniform(1.022, 1.06)
        collateral = {"wstETH": self._equity() * self._random.uniform(6, 13)}
        opening = open_position(collateral, {"WETH": 1.0}, health * self._random.uniform(1, 1.03), WAVES[wave], 1)
        self._add(Kind.FLASH_LOOPER, {wave: [Step(Do.ENTER_CATEGORY, amount=1), *opening.steps()]})

    def _stable_looper(self, index: int) -> None:
        turns = index % 12 + 1
        supplied, borrowed = ("USDC", "DAI") if index % 2 else ("DAI", "USDC")
        steps = [Step(Do.ENTER_CATEGORY, amount=STABLECOINS.identifier)]
        fraction = self._random.uniform(0.8, 0.898)
        steps += self._loop(supplied, borrowed, turns, fraction, FINAL, is_real=index % 6 == 0)
        self._add(Kind.STABLE_LOOPER, {"slump": steps}, turns)

    def _plain_looper(self, index: int) -> None:
        turns = index % 6 + 1
        wave = "rally" if index % 2 else "late"
        steps = self._loop("wstETH", "WETH", turns, self._random.uniform(0.6, 0.78), WAVES[wave], is_real=index < 2)
        self._add(Kind.PLAIN_LOOPER, {wave: steps}, turns)

    def _eth_borrower(self, index: int) -> None:
        collateral = {self._random.choice(("WETH", "WETH", "wstETH")): self._equity() * 1.8}
        debt = {self._random.choice(("USDC", "USDC", "DAI")): 1.0}
        wave = self._random.choice(("rally", "slump", "late"))
        address = self._address(f"shared:{index}", market="any") if index < SHARED_ACCOUNTS else None
        self._open(Kind.ETH_BORROWER, collateral, debt, wave, address=address)

    def _btc_borrower(self, _: int) -> None:
        wave = self._random.choice(("rally", "slump", "late"))
        self._open(Kind.BTC_BORROWER, {"WBTC": self._equity() * 1.8}, {"USDC": 1.0}, wave)

    def _eth_short(self, _: int) -> None:
        collateral = {self._random.choice(("USDC", "USDC", "DAI")): self._equity() * 1.6}
        self._open(Kind.ETH_SHORT, collateral, {"WETH": 1.0}, self._random.choice(("slump", "late")))

    def _mixed(self, _: int) -> None:
        symbols = list(DECIMALS)
        self._random.shuffle(symbols)
        split = self._random.choice((2, 3))
        equity = self._equity() * 2
        collateral = {symbol: equity * self._random.uniform(0.2, 1.0) for symbol in symbols[:split]}
        weights = {symbol: self._random.uniform(0.2, 1.0) for symbol in symbols[split:]}
        debt = {symbol: weight / sum(weights.values()) for symbol, weight in weights.items()}
        self._open(Kind.MIXED, collateral, debt, self._random.choice(("slump", "late")))

    def _supplier(self, _: int) -> None:
        symbols = self._random.sample(list(DECIMALS), self._random.choice((1, 1, 1, 2, 3)))
        steps = [Step(Do.SUPPLY, symbol, FINAL.units(symbol, self._equity())) for symbol in symbols]
        self._add(Kind.SUPPLIER, {self._random.choice(("lenders", "slump", "late")): steps})

    def _collateral_off(self, index: int) -> None:
        idle = FINAL.units("USDC", self._equity())
        steps = [Step(Do.SUPPLY, "USDC", idle), Step(Do.COLLATERAL_OFF, "USDC")]
        if index % 2:
            opening = open_position({"WETH": self._equity()}, {"DAI": 1.0}, self._health(), FINAL)
            self._add(Kind.COLLATERAL_OFF_BORROWER, {"late": [*steps, *opening.steps()]})
        else:
            self._add(Kind.COLLATERAL_OFF, {"late": steps})

    def _dust(self, index: int) -> None:
        symbol = list(DECIMALS)[index % len(DECIMALS)]
        if index % 2:
            self._add(Kind.DUST, {"late": [Step(Do.SUPPLY, symbol, self._random.randint(2, 9))]})
            return
        # a debt of 1 wei of USDC is worth 100 units of the oracle's currency; a few wei of DAI are worth none
        owed = [("USDC", 1), ("DAI", 3), ("USDC", 7), ("DAI", 99)][index // 2 % 4]
        self._add(Kind.DUST_BORROWER, {"late": [Step(Do.SUPPLY, "WETH", 10**10), Step(Do.BORROW, *owed)]})

    def _liquidatable(self, index: int) -> None:
        collateral = {"WBTC" if index % 3 == 0 else "WETH": min(self._equity(), 150_000.0)}
        self._open(Kind.LIQUIDATABLE, collateral, {"USDC": 1.0}, "glitch", health=self._random.uniform(0.9, 0.995))

    def _bad_debt(self, index: int) -> None:
        collateral = {"WBTC" if index % 2 else "WETH": min(self._equity(), 200_000.0)}
        self._open(Kind.BAD_DEBT, collateral, {"USDC": 1.0}, "glitch", health=self._random.uniform(0.58, 0.7))

    def _liquidated(self, index: int) -> None:
        # one loses half of its debt, the other, by then below 0.95, all of it
        opening = open_position({"WETH": 60_000.0}, {"USDC": 1.0}, (0.995, 0.96)[index % 2], WAVES["glitch"])
        victim = self._add(Kind.LIQUIDATED, {"glitch": list(opening.steps())})
        self._add(Kind.LIQUIDATOR, {"slump": [Step(Do.LIQUIDATE, "USDC", index % 2, other=victim)]})

    def _atoken_only(self, index: int) -> None:
        symbol = ("WETH", "wstETH", "USDC")[index % 3]
        received = FINAL.units(symbol, self._equity())
        steps = []
        if index % 2:
            owed = int(FINAL.units("DAI", received / 10 ** DECIMALS[symbol] * FINAL.usd(symbol) * 0.6))
            steps.append(Step(Do.BORROW, "DAI", owed))
        receiver = self._add(Kind.ATOKEN_BORROWER if steps else Kind.ATOKEN_ONLY, {"late": steps})
        gift = [Step(Do.SUPPLY, symbol, 2 * received), Step(Do.SEND_ATOKEN, symbol, received, other=receiver)]
        self._add(Kind.ATOKEN_DONOR, {"slump": gift})

    def _gifted(self, _: int) -> None:
        amount = FINAL.units("WETH", self._equity())
        receiver = self._add(
            Kind.GIFTED, {"late": [Step(Do.BORROW, "USDC", FINAL.units("USDC", amount / 1e18 * 2_000))]}
        )
        self._add(Kind.GIVER, {"slump": [Step(Do.SUPPLY, "WETH", amount, other=receiver)]})

    def _delegator(self, index: int) -> None:
        equity = self._equity()
        owed = FINAL.units("USDC", equity / 2)
        delegatee = self._address(f"delegatee:{index}")
        lends = [Step(Do.SUPPLY, "wstETH", FINAL.units("wstETH", equity)), Step(Do.DELEGATE, "USDC", owed, delegatee)]
        delegator = self._add(Kind.DELEGATOR, {"slump": lends})
        self._add(Kind.DELEGATEE, {"late": [Step(Do.BORROW, "USDC", owed, other=delegator)]}, address=delegatee)

    def _emptied(self, _: int) -> None:
        supply = Step(Do.SUPPLY, "WETH", FINAL.units("WETH", self._equity()))
        self._add(Kind.EMPTIED, {"slump": [supply], "late": [Step(Do.WITHDRAW, "WETH", MAX_UINT)]})

    def _repaid(self, _: int) -> None:
        opening = open_position({"WETH": self._equity()}, {"USDC": 1.0}, 1.6, WAVES["rally"])
        repay = Step(Do.REPAY, "USDC", opening.borrows["USDC"] * 11 // 10, other="all")
        self._add(Kind.REPAID, {"rally": list(opening.steps()), "late": [repay]})

    def _stable_rate_borrower(self, index: int) -> None:
        wave = "late" if index % 2 else "slump"
        collateral = {"WETH" if index % 2 else "WBTC": min(self._equity(), 100_000.0)}
        opening = open_position(collateral, {"DAI": 1.0}, max(self._health(), 1.2), WAVES[wave])
        steps = list(opening.steps(Do.BORROW_STABLE))
        if index % 4 == 0:  # both kinds of debt in one account
            steps.append(Step(Do.BORROW, "USDC", opening.borrows["DAI"] // 10**12 // 100))
        self._add(Kind.STABLE_RATE_BORROWER, {wave: steps})

    def _category_priced(self, index: int) -> None:
        equity = self._equity()
        collateral = {"WBTC": equity} if index % 2 else {"WBTC": equity, "USDC": equity / 2}
        opening = open_position(collateral, {"WBTC": 1.0}, self._random.uniform(1.1, 1.5), FINAL, BTC.identifier)
        steps = [Step(Do.ENTER_CATEGORY, amount=BTC.identifier), *opening.steps()]
        self._add(Kind.CATEGORY_PRICED, {"late": steps})

    def _loop(
        self, supplied: str, borrowed: str, turns: int, fraction: float, at: Prices, *, is_real: bool
    ) -> list[Step]:
        """Steps of a loop: turn by turn, or at once into the state the turns lead to."""
        equity = self._equity()
        borrows = [at.units(borrowed, equity * fraction**turn) for turn in range(1, turns + 1)]
        swaps = [at.units(supplied, equity * fraction**turn) for turn in range(1, turns + 1)]
        start = at.units(supplied, equity)
        if not is_real:
            return [Step(Do.SUPPLY, supplied, start + sum(swaps)), Step(Do.BORROW, borrowed, sum(borrows))]
        steps = [Step(Do.SUPPLY, supplied, start)]
        counterparty = self._address("counterparty")
        for lent, bought in zip(borrows, swaps, strict=True):
            steps += [Step(Do.BORROW, borrowed, lent), Step(Do.SELL, borrowed, lent, other=counterparty)]
            steps += [Step(Do.MINT, supplied, bought), Step(Do.REDEPOSIT, supplied, bought)]
        return steps

    def _whales(self) -> list[Plan]:
        owed = dict.fromkeys(DECIMALS, 0)
        for step in (step for plan in self._plans for steps in plan.steps.values() for step in steps):
            if step.verb in {Do.BORROW, Do.BORROW_STABLE}:
                owed[step.symbol] += step.amount
        ordinary, self._plans = self._plans, []
        for symbol, amount in owed.items():
            lent = amount * 108 // 100 + FINAL.units(symbol, 2_000_000.0)
            for part in (60, 40):
                self._add(Kind.WHALE, {"lenders": [Step(Do.SUPPLY, symbol, lent * part // 100)]})
        whales, self._plans = self._plans, ordinary
        return whales

    def _touch(self) -> None:
        """Let some accounts come back: interest is brought up to date at times that differ between reserves."""
        for plan in self._random.sample([plan for plan in self._plans if plan.kind is Kind.ETH_BORROWER], 24):
            opened = next(iter(plan.steps.values()))
            supplied, borrowed = opened[0], opened[-1]
            more = Step(Do.SUPPLY, supplied.symbol, supplied.amount // 100)
            less = Step(Do.REPAY, borrowed.symbol, borrowed.amount // 100)
            plan.steps[self._random.choice(("touch", "settle"))] = (more, less)

    def _open(
        self,
        kind: Kind,
        collateral: Mapping[str, float],
        debt: Mapping[str, float],
        wave: str,
        *,
        health: float | None = None,
        address: str | None = None,
    ) -> None:
        opening = open_position(collateral, debt, self._health() if health is None else health, WAVES[wave])
        self._add(kind, {wave: list(opening.steps())}, address=address)

    def _equity(self) -> float:
        return min(self._random.lognormvariate(0.0, EQUITY_SIGMA) * EQUITY_MEDIAN_USD + 50.0, EQUITY_MAX_USD)

    def _health(self) -> float:
        if self._random.random() < 0.7:
            return self._random.uniform(1.004, 1.32)
        return 1.3 + self._random.lognormvariate(-0.5, 0.8)

    def _add(self, kind: Kind, steps: dict[str, list[Step]], turns: int = 0, address: str | None = None) -> str:
        if address is None:
            address = self._address(f"{kind}:{sum(plan.kind is kind for plan in self._plans)}")
        self._plans.append(Plan(address, kind, {wave: tuple(done) for wave, done in steps.items()}, turns))
        return address

    def _address(self, name: str, market: str | None = None) -> str:
        return to_checksum_address(keccak(text=f"{self._seed}:{market or self._key}:{name}")[-20:])
