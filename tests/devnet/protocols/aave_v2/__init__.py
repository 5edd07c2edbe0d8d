"""Aave v2: a market that counts in ETH, with stable and variable debt, and a smaller one that counts in USD.

Pool, tokens, configurator and the oracle in ETH are those of npm's @aave/protocol-v2 1.0.1; the adapters behind that
oracle and the oracle in USD are stand-ins, whose files say what they imitate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...chain import transaction
from ...plans import MAX_UINT
from ...population import WAVES
from ...tokens import DECIMALS
from .market import LIMITS, STABLE, STETH, VARIABLE, Market, deploy_market

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from .. import Site

SHARED = 4
"""Of the plain borrowers, so many are also in the Aave v3 markets."""
LENT = {"WETH": 60e6, "wstETH": 5e6, "WBTC": 40e6, "USDC": 90e6, "DAI": 90e6}  # USD


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy everything before the first wave; see protocols.Build."""
    markets = {
        "eth": deploy_market(site, "Aave v2 devnet", in_eth=True),
        "usd": deploy_market(site, "Aave v2 in USD", in_eth=False),
    }
    crowds = {key: _Crowd(site, key, market) for key, market in markets.items()}
    for crowd in crowds.values():
        for symbol, usd in LENT.items():
            crowd.open("lender", "lenders", {symbol: usd}, {})
    eth, dollars = crowds["eth"], crowds["usd"]
    draw = site.rng.uniform

    yield "glitch"  # ETH at twice its price: under water when it is back
    for debts in ({("USDC", VARIABLE): 1.0}, {("DAI", STABLE): 1.0}, {("DAI", STABLE): 0.5, ("USDC", VARIABLE): 0.5}):
        eth.open("bad_debtor", "glitch", {"WETH": draw(2e5, 9e5)}, debts, 0.95)
        eth.open("under_water", "glitch", {"WETH": draw(2e5, 9e5)}, debts, 0.56)
        eth.open("liquidated", "glitch", {"WETH": draw(2e5, 9e5)}, debts, 0.54)
    dollars.open("under_water", "glitch", {"WETH": 4e5}, {("USDC", VARIABLE): 1.0}, 0.56)
    yield "rally"
    for _ in range(24):
        eth.open("variable_borrower", "rally", {"WETH": draw(3e4, 2e6)}, {("USDC", VARIABLE): 1.0}, draw(0.3, 0.99))
    for _ in range(16):
        eth.open("stable_borrower", "rally", {"WBTC": draw(3e4, 2e6)}, {("DAI", STABLE): 1.0}, draw(0.3, 0.99))
    for turns in range(1, 13):
        eth.loop("looper", "rally", "wstETH", "WETH", draw(3e4, 1e6), turns, draw(0.85, 0.98))
    for _ in range(10):
        dollars.open("variable_borrower", "rally", {"WETH": draw(3e4, 2e6)}, {("USDC", VARIABLE): 1.0}, draw(0.3, 0.99))
        dollars.open("stable_borrower", "rally", {"WBTC": draw(3e4, 2e6)}, {("DAI", STABLE): 1.0}, draw(0.3, 0.99))
    yield "slump"
    both = {("DAI", STABLE): 0.4, ("DAI", VARIABLE): 0.3, ("USDC", VARIABLE): 0.3}
    for _ in range(20):
        eth.open("both_kinds", "slump", {"WETH": draw(3e4, 9e5), "WBTC": draw(3e4, 9e5)}, both, draw(0.3, 0.99))
    for turns in range(1, 9):
        eth.loop("steth_looper", "slump", STETH, "WETH", draw(3e4, 1e6), turns, draw(0.85, 0.98))
        dollars.loop("looper", "slump", "wstETH", "WETH", draw(3e4, 1e6), turns, draw(0.85, 0.98))
    for _ in range(12):
        eth.open("short", "slump", {"USDC": draw(3e4, 2e6)}, {("WETH", VARIABLE): 1.0}, draw(0.3, 0.98))
    yield "late"
    for _ in range(6):
        eth.open("swapper", "late", {"WETH": draw(3e4, 9e5)}, {("USDC", STABLE): 1.0}, draw(0.3, 0.9))
        eth.open("collateral_off", "late", {"DAI": draw(3e4, 9e5)}, {})
    for symbol, amount in (("WETH", 3), ("USDC", 1), ("WBTC", 7), ("wstETH", 10**9), ("DAI", 40)):
        eth.dust(symbol, amount)
    eth.open("dust_borrower", "late", {"WETH": 0.004}, {("USDC", VARIABLE): 1.0}, 0.5)
    eth.open("dust_borrower", "late", {"WETH": 3e4}, {("DAI", STABLE): 1.0}, 1e-21)
    eth.delegate("WETH", "USDC")
    yield "touch"
    eth.touch()
    yield "settle"
    eth.liquidate(receive_a_token=True)
    reads = [
        site.reads("aave_v2", "Aave v2", markets["eth"].provider, markets["eth"].first_block)
        | {"eth_usd_feed": site.feeds["WETH"]},
        site.reads("aave_v2", "Aave v2 in USD", markets["usd"].provider, markets["usd"].first_block),
    ]
    told = {key: market.plain() | {"accounts": crowds[key].accounts} for key, market in markets.items()}
    return {"reads": reads, "markets": told, "treasury": site.account("treasury")}


class _Crowd:
    """Opens the positions of one market and remembers who has them."""

    def __init__(self, site: Site, key: str, market: Market) -> None:
        self._site, self._key, self._market = site, key, market
        self.accounts: list[dict[str, str]] = []

    def open(
        self,
        kind: str,
        wave: str,
        collateral: Mapping[str, float],
        debts: Mapping[tuple[str, int], float],
        share: float = 0.0,
    ) -> str:
        """Deposit USD worth of collateral, borrow a share of the most, split as `debts` by (symbol, rate mode)."""
        user, market = self._arrive(kind), self._market
        calls = [call for s, usd in collateral.items() for call in market.deposit(user, s, _units(wave, s, usd))]
        most = sum(usd * LIMITS[symbol][0] / 10_000 for symbol, usd in collateral.items())
        for (symbol, mode), part in debts.items():
            calls.append(market.borrow(user, symbol, max(1, _units(wave, symbol, most * share * part)), mode))
        self._site.chain.send(calls)
        return user

    def loop(self, kind: str, wave: str, held: str, owed: str, usd: float, turns: int, share: float) -> None:
        """Deposit, borrow, deposit what the loan would buy, turn by turn."""
        user, market = self._arrive(kind), self._market
        calls = market.deposit(user, held, _units(wave, held, usd))
        for _ in range(turns):
            usd *= LIMITS[held][0] / 10_000 * share
            calls.append(market.borrow(user, owed, _units(wave, owed, usd)))
            calls += market.deposit(user, held, _units(wave, held, usd))
        self._site.chain.send(calls)

    def dust(self, symbol: str, amount: int) -> None:
        """Deposit a few raw units."""
        self._site.chain.send(self._market.deposit(self._arrive("dust"), symbol, amount))

    def delegate(self, held: str, owed: str) -> None:
        """Somebody owes what another one borrowed on their credit."""
        delegator, delegatee, market = self._arrive("delegator"), self._site.account("delegatee"), self._market
        calls = market.deposit(delegator, held, _units("late", held, 1e5))
        token = market.variable_debt_tokens[owed]
        calls.append(transaction(delegator, token, "approveDelegation(address,uint256)", delegatee, MAX_UINT))
        calls.append(market.borrow(delegatee, owed, _units("late", owed, 4e4), VARIABLE, delegator))
        self._site.chain.send(calls)

    def touch(self) -> None:
        """Swap rate modes, turn collateral off, send aTokens, repay, and liquidate some."""
        market, send = self._market, self._site.chain.send
        for user in self.of_kind("swapper"):
            send([market.call(user, "swapBorrowRateMode(address,uint256)", market.assets["USDC"], STABLE)])
        for user in self.of_kind("collateral_off"):
            signature = "setUserUseReserveAsCollateral(address,bool)"
            send([market.call(user, signature, market.assets["DAI"], False)])
        for number, user in enumerate(self.of_kind("lender")[:3]):
            symbol = ("WETH", "wstETH", "WBTC")[number]
            receiver = self._arrive("atoken_only")
            signature = "transfer(address,uint256)"
            send([transaction(user, market.a_tokens[symbol], signature, receiver, _units("touch", symbol, 5e4))])
        payer = self.of_kind("variable_borrower")[-1]
        usdc = market.assets["USDC"]
        send(
            [
                transaction(payer, usdc, "mint(address,uint256)", payer, 10**15),
                transaction(payer, usdc, "approve(address,uint256)", market.pool, MAX_UINT),
                market.call(payer, "repay(address,uint256,uint256,address)", usdc, MAX_UINT, VARIABLE, payer),
            ]
        )
        self.liquidate(receive_a_token=False)

    def liquidate(self, *, receive_a_token: bool) -> None:
        """Half of a debt of each of the liquidated, stable debt before variable."""
        market, liquidator = self._market, self._site.account("liquidator")
        calls = []
        for symbol in ("USDC", "DAI"):
            token = market.assets[symbol]
            calls.append(transaction(liquidator, token, "mint(address,uint256)", liquidator, 10**30))
            calls.append(transaction(liquidator, token, "approve(address,uint256)", market.pool, MAX_UINT))
        for user, symbol in zip(self.of_kind("liquidated"), ("USDC", "DAI", "USDC"), strict=True):
            signature = "liquidationCall(address,address,address,uint256,bool)"
            tokens = (market.assets["WETH"], market.assets[symbol])
            # a little: the account stays below one, for the second time
            amount = 1_000 * 10 ** DECIMALS[symbol]
            calls.append(market.call(liquidator, signature, *tokens, user, amount, receive_a_token))
        self._site.chain.send(calls)
        if receive_a_token:
            self.accounts.append({"address": liquidator, "kind": "liquidator"})

    def of_kind(self, kind: str) -> list[str]:
        """Addresses of the accounts of one kind."""
        return [account["address"] for account in self.accounts if account["kind"] == kind]

    def _arrive(self, kind: str) -> str:
        count = len(self.of_kind(kind))
        is_shared = kind == "variable_borrower" and count < SHARED
        user = self._site.shared_account(count) if is_shared else self._site.account(f"{self._key}:{kind}:{count}")
        self.accounts.append({"address": user, "kind": kind})
        return user


def _units(wave: str, symbol: str, usd: float) -> int:
    """Raw units of a token that are worth so many USD at a wave's prices; stETH is an ETH."""
    known = "WETH" if symbol == STETH else symbol
    return WAVES[wave].units(known, usd)
