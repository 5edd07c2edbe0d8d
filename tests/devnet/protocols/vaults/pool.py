"""Uniswap v2 pools from their real bytecode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eth_utils.address import to_checksum_address

from ...artifacts import Artifacts, pack
from ...chain import deploy, transaction

if TYPE_CHECKING:
    from ...chain import Chain, Transaction
    from .. import Site

UNISWAP_V2 = "@uniswap/v2-core@1.0.1"


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool, which is its own liquidity token, and its tokens in their order."""

    chain: Chain
    address: str
    tokens: tuple[str, str]

    def provide(self, user: str, amounts: dict[str, int]) -> list[Transaction]:
        """Transactions in which a user adds liquidity with tokens that the user has."""
        paid = [
            transaction(user, token, "transfer(address,uint256)", self.address, amounts[token]) for token in amounts
        ]
        return [*paid, transaction(user, self.address, "mint(address)", user)]

    def reserves(self) -> tuple[int, int]:
        """What the pool holds of either token."""
        first, second, _ = self.chain.call(self.address, "getReserves()", "(uint112,uint112,uint32)")
        return first, second

    def sell(self, user: str, token: str, amount: int) -> list[Transaction]:
        """Transactions that sell an amount, which the user has, at the fee of 0.3 % (UniswapV2Library.getAmountOut)."""
        index = self.tokens.index(token)
        have, give = self.reserves()[index], self.reserves()[1 - index]
        out = amount * 997 * give // (have * 1000 + amount * 997)
        outs = (0, out) if index == 0 else (out, 0)
        signature = "swap(uint256,uint256,address,bytes)"
        return [
            transaction(user, token, "transfer(address,uint256)", self.address, amount),
            transaction(user, self.address, signature, *outs, user, b""),
        ]


def deploy_factory(site: Site) -> str:
    """A factory without a protocol fee."""
    return deploy(site.chain, site.owner, Artifacts(pack(UNISWAP_V2) / "build")["UniswapV2Factory"], site.owner)


def create_pool(site: Site, factory: str, token: str, other: str) -> Pool:
    """An empty pool of two tokens; either may have no code yet."""
    site.chain.send([transaction(site.owner, factory, "createPair(address,address)", token, other)])
    (address,) = site.chain.call(factory, "getPair(address,address)", "(address)", token, other)
    first, second = sorted((token, other), key=lambda each: int(each, 16))
    return Pool(site.chain, to_checksum_address(address), (first, second))
