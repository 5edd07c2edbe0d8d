"""Who lends, borrows and loops on the devnet's Morpho."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...chain import transaction
from ...plans import MAX_UINT

if TYPE_CHECKING:
    from ...chain import Transaction
    from .. import Site
    from .contracts import Market

PRICE_SCALE = 10**36
WAD = 10**18
SHARED = 4
"""Of the WETH/USDC borrowers, so many are also in the Aave markets."""


class Crowd:
    """Accounts of all markets, by market key and kind, in the order of their arrival."""

    def __init__(self, site: Site, markets: dict[str, Market]) -> None:
        self._site, self._markets = site, markets
        self._approved: set[tuple[str, str]] = set()
        self.accounts: list[dict[str, str]] = []

    def lend(self, key: str, amount: int, kind: str = "lender") -> str:
        """A new account lends so many raw loan tokens."""
        market, user = self._markets[key], self._arrive(key, kind)
        self._site.chain.send([*self._fund(market, user, market.loan, amount), market.lend(user, amount)])
        return user

    def pledge(self, key: str, amount: int, kind: str = "pledger") -> str:
        """A new account supplies collateral and borrows nothing."""
        market, user = self._markets[key], self._arrive(key, kind)
        self._site.chain.send([*self._fund(market, user, market.collateral, amount), market.pledge(user, amount)])
        return user

    def borrow(self, key: str, amounts: list[int], share: tuple[float, float], kind: str = "borrower") -> list[str]:
        """New accounts supply these amounts of collateral and borrow between two shares of the most they may."""
        market, price = self._markets[key], self.price(key)
        users, calls = [], []
        for amount in amounts:
            user = self._arrive(key, kind)
            owed = max(1, int(self.most(market, amount, price) * self._site.rng.uniform(*share)))
            calls += [*self._fund(market, user, market.collateral, amount), market.pledge(user, amount)]
            calls.append(market.borrow(user, owed))
            users.append(user)
        self._site.chain.send(calls)
        return users

    def loop(self, key: str, amount: int, turns: int, share: float) -> str:
        """A new account supplies, borrows, and supplies what the loan would buy at the oracle's price, turn by turn."""
        market, price, user = self._markets[key], self.price(key), self._arrive(key, "looper")
        calls = [*self._fund(market, user, market.collateral, amount), market.pledge(user, amount)]
        for _ in range(turns):
            owed = int(self.most(market, amount, price) * share)
            amount = owed * PRICE_SCALE // price
            calls.append(market.borrow(user, owed))
            calls += [*self._fund(market, user, market.collateral, amount), market.pledge(user, amount)]
        self._site.chain.send(calls)
        return user

    def price(self, key: str) -> int:
        """What the market's oracle answers."""
        answer: int = self._site.chain.call(self._markets[key].oracle, "price()", "(uint256)")[0]
        return answer

    def fund(self, market: Market, user: str, token: str, amount: int) -> None:
        """Give a user tokens that Morpho may take."""
        self._site.chain.send(self._fund(market, user, token, amount))

    @staticmethod
    def most(market: Market, collateral: int, price: int) -> int:
        """The most that so much collateral may owe."""
        return collateral * price // PRICE_SCALE * market.lltv // WAD

    def _fund(self, market: Market, user: str, token: str, amount: int) -> list[Transaction]:
        calls = [transaction(user, token, "mint(address,uint256)", user, amount)]
        if (user, token) not in self._approved:
            self._approved.add((user, token))
            calls.append(transaction(user, token, "approve(address,uint256)", market.morpho, MAX_UINT))
        return calls

    def _arrive(self, key: str, kind: str) -> str:
        count = sum((account["market"], account["kind"]) == (key, kind) for account in self.accounts)
        is_shared = (key, kind) == ("weth_usdc", "borrower") and count < SHARED
        user = self._site.shared_account(count) if is_shared else self._site.account(f"{key}:{kind}:{count}")
        self.accounts.append({"address": user, "market": key, "kind": kind})
        return user
