"""Venus' accounts: they supply, enter markets and pools, and borrow a part of what getBorrowingPower leaves them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...chain import Transaction, transaction
from ...description import Account
from ...plans import MAX_UINT
from ...tokens import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .. import Site
    from .contracts import Venus

WAD = 10**18
SHARED = 4
"""Of the borrowers against WETH, so many also have positions in the Aave markets."""


class Crowd:
    """The pool's accounts, by kind in the order of their arrival."""

    def __init__(self, site: Site, venus: Venus) -> None:
        self._site, self._venus, self._chain = site, venus, site.chain
        self.accounts: list[Account] = []

    def lend(self, symbol: str, amount: int) -> None:
        """Somebody supplies, and does not enter the market."""
        self._chain.send(self._supply(self._arrive("lender"), symbol, amount))

    def supply(self, kind: str, symbol: str, amounts: Iterable[int], *, entered: bool = True) -> list[str]:
        """One account an amount, entered into the market or not."""
        users = {self._arrive(kind): amount for amount in amounts}
        self._chain.send(tx for user, amount in users.items() for tx in self._supply(user, symbol, amount))
        if entered:
            self._chain.send(self._enter(user, symbol) for user in users)
        return list(users)

    def borrow(self, users: Iterable[str], symbol: str, low: float, high: float) -> None:
        """Each borrows a share between `low` and `high` of its borrowing power."""
        for user in users:
            power = self._call(self._venus.comptroller, "getBorrowingPower(address)", "(uint256,uint256,uint256)", user)
            price = self._price(symbol)
            amount = int(power[1] * self._site.rng.uniform(low, high)) * WAD // price
            token = self._venus.v_tokens[symbol]
            self._chain.send([transaction(user, token, "borrow(uint256)", max(1, amount))])

    def loop(self, kind: str, pair: tuple[str, str], amount: int, turns: int, share: float, pool: int = 0) -> str:
        """Supplies, borrows the other asset, and supplies for as much again; in an e-mode pool if one is named."""
        (user,) = self.supply(kind, pair[0], [amount])
        if pool:
            self._chain.send([transaction(user, self._venus.comptroller, "enterPool(uint96)", pool)])
        for _ in range(turns):
            self.borrow([user], pair[1], share, share)
            (held,) = self._call(self._site.tokens[pair[1]], "balanceOf(address)", "(uint256)", user)
            swapped = held * self._price(pair[1]) // self._price(pair[0])
            away = transaction(user, self._site.tokens[pair[1]], "transfer(address,uint256)", self._site.owner, held)
            self._chain.send([away, *self._supply(user, pair[0], swapped)])
        return user

    def mint_vai(self, users: Iterable[str], low: float, high: float) -> None:
        """Each mints a share of the VAI that its controller lets it mint."""
        for user in users:
            (_, room) = self._call(self._venus.vai_controller, "getMintableVAI(address)", "(uint256,uint256)", user)
            amount = int(room * self._site.rng.uniform(low, high))
            self._chain.send([transaction(user, self._venus.vai_controller, "mintVAI(uint256)", amount)])

    def give(self, sender: str, symbol: str, kind: str, share: int) -> str:
        """A part of an account's vTokens goes to somebody who never supplied."""
        receiver, token = self._arrive(kind), self._venus.v_tokens[symbol]
        (held,) = self._call(token, "balanceOf(address)", "(uint256)", sender)
        self._chain.send([transaction(sender, token, "transfer(address,uint256)", receiver, held // share)])
        return receiver

    def touch(self) -> None:
        """Interest is accrued in every market: what is stored is then as of this block."""
        self._chain.send(
            transaction(self._site.owner, token, "accrueInterest()") for token in self._venus.v_tokens.values()
        )

    def plain(self) -> list[dict[str, Any]]:
        """The accounts as JSON."""
        return [asdict(account) for account in self.accounts]

    def _supply(self, user: str, symbol: str, amount: int) -> list[Transaction]:
        token, v_token = self._site.tokens[symbol], self._venus.v_tokens[symbol]
        return [
            transaction(user, token, "mint(address,uint256)", user, amount),
            transaction(user, token, "approve(address,uint256)", v_token, MAX_UINT),
            transaction(user, v_token, "mint(uint256)", amount),
        ]

    def _enter(self, user: str, symbol: str) -> Transaction:
        markets = [self._venus.v_tokens[symbol]]
        return transaction(user, self._venus.comptroller, "enterMarkets(address[])", markets)

    def _price(self, symbol: str) -> int:
        signature = "getUnderlyingPrice(address)"
        price: int = self._call(self._venus.oracle, signature, "(uint256)", self._venus.v_tokens[symbol])[0]
        return price

    def _call(self, to: str, signature: str, returns: str, *arguments: Any) -> tuple[Any, ...]:
        return self._chain.call(to, signature, returns, *arguments)

    def _arrive(self, kind: str) -> str:
        count = sum(account.kind == kind for account in self.accounts)
        shared = kind == "eth_borrower" and count < SHARED
        user = self._site.shared_account(count) if shared else self._site.account(f"{kind}:{count}")
        self.accounts.append(Account(user, kind, 0))
        return user


def units(symbol: str, amount: float) -> int:
    """Whole tokens as raw units."""
    return int(amount * 10 ** DECIMALS[symbol])
