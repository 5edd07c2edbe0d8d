"""A running devnet: the chain's description, and what a test does with the chain."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from defi_leverage.protocols import reader_names

from . import cache
from .anvil import Anvil
from .build import OWNER, SEED
from .chain import Chain, Transaction, transaction
from .fetch import is_fetched
from .protocols import READS
from .tokens import CATEGORY_FEED, DECIMALS, RATIO_TOKEN, set_answer, set_feed_ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .description import Deployment, Description

MAX_DRAIN_BLOCKS = 100


class DevnetNotFetchedError(RuntimeError):
    """What the devnet runs has not been fetched."""

    def __init__(self) -> None:
        super().__init__("the devnet is not fetched: run `make test`, or `python tests/devnet/fetch.py` once")


@dataclass(frozen=True)
class Devnet:
    """A chain to read and to act on. Every block is mined on demand, with an explicit timestamp."""

    url: str
    description: Description
    chain: Chain

    @property
    def chain_id(self) -> int:
        """The chain's id."""
        return self.description.chain_id

    @property
    def tokens(self) -> dict[str, str]:
        """Addresses of the ERC-20 tokens by symbol."""
        return self.description.tokens

    @property
    def feeds(self) -> dict[str, str]:
        """Addresses of the price feeds by the symbol of the token they price."""
        return self.description.feeds

    @property
    def deployments(self) -> dict[str, Deployment]:
        """Aave markets by key: ``aave_v3_0`` and ``aave_v3_2``."""
        return self.description.deployments

    def rpc(self, method: str, *params: Any) -> Any:
        """Result of one JSON-RPC call."""
        return self.chain.session.call(method, *params)

    def call(self, to: str, signature: str, returns: str, *arguments: Any, block: Any = "latest") -> tuple[Any, ...]:
        """Values of a view, as in ``call(token, "balanceOf(address)", "(uint256)", user)``."""
        return self.chain.call(to, signature, returns, *arguments, block=block)

    def head(self) -> tuple[int, int]:
        """Number and timestamp of the last block."""
        return self.chain.head()

    def mine(self, timestamp: int | None = None) -> int:
        """Mine a block, by default 12 s after the last one, and return its number."""
        return self.chain.mine(timestamp)

    def send(self, sender: str, to: str, data: bytes, timestamp: int | None = None) -> dict[str, Any]:
        """Mine one transaction, from any address, and return its receipt; raises when it reverts."""
        return self.chain.send([Transaction(sender, to, data)], timestamp)[0]

    def send_many(self, transactions: Iterable[Transaction], timestamp: int | None = None) -> list[dict[str, Any]]:
        """Mine transactions in one block, in their order, and return their receipts; raises when one reverts."""
        return self.chain.send(transactions, timestamp)

    def transact(self, sender: str, to: str, signature: str, *arguments: Any) -> dict[str, Any]:
        """Mine a call of one function and return its receipt; raises when it reverts."""
        return self.chain.send([transaction(sender, to, signature, *arguments)])[0]

    def mint(self, symbol: str, to: str, units: int) -> None:
        """Give an account tokens, in their smallest unit."""
        self.transact(to, self.tokens[symbol], "mint(address,uint256)", to, units)

    def set_price(self, symbol: str, usd: float) -> None:
        """Mine a block in which a token's feed takes a new USD price; wstETH follows WETH's."""
        if symbol not in DECIMALS.keys() - {RATIO_TOKEN} | {CATEGORY_FEED}:
            raise ValueError(f"{symbol} has no price of its own")
        self.send_many([set_answer(OWNER, self.feeds[symbol], usd)])

    def set_ratio(self, symbol: str, ratio: float) -> None:
        """Mine a block in which a token's exchange ratio changes."""
        if symbol != RATIO_TOKEN:
            raise ValueError(f"{symbol} has no exchange ratio")
        self.send_many([set_feed_ratio(OWNER, self.feeds[symbol], ratio)])

    def drain(self) -> int:
        """Mine blocks until no transaction waits, and return their number: for those sent by another client."""
        for mined in range(MAX_DRAIN_BLOCKS):
            status = self.rpc("txpool_status")
            if int(status["pending"], 16) == 0:
                return mined
            self.mine()
        raise RuntimeError(f"transactions still wait after {MAX_DRAIN_BLOCKS} blocks")

    def snapshot(self) -> str:
        """Identifier of the present state, good for one revert."""
        identifier: str = self.rpc("evm_snapshot")
        return identifier

    def revert(self, identifier: str) -> None:
        """Go back to a snapshot; it and later ones are spent."""
        self.rpc("anvil_dropAllTransactions")
        self.rpc("evm_setAutomine", False)
        if self.rpc("evm_revert", identifier) is not True:
            raise RuntimeError(f"no snapshot {identifier}")

    def config(self) -> str:
        """Configuration, in TOML, under which the analyzer reads this chain: every deployment it has a reader for."""
        lines = [
            'source = "chains"',
            "",
            "[chains.devnet]",
            f"chain_id = {self.chain_id}",
            f'rpc_urls = ["{self.url}"]',
        ]
        for deployment in self.deployments.values():
            lines += ["", "[[chains.devnet.aave_v3]]", f'name = "{deployment.name}"']
            lines += [f'address = "{deployment.provider}"', f"first_block = {deployment.first_block}"]
        for told in self.description.protocols.values():
            for reads in told.get(READS, []):
                if reads["reader"] in reader_names():
                    lines += ["", f"[[chains.devnet.{reads['reader']}]]"]
                    lines += [f"{key} = {json.dumps(value)}" for key, value in reads.items() if key != "reader"]
        return "\n".join(lines) + "\n"


@contextmanager
def open_devnet(seed: int = SEED, port: int | None = None, protocols: Iterable[str] = ()) -> Iterator[Devnet]:
    """A devnet of its own for the ``with`` block, built now or loaded from an earlier build.

    ``protocols`` are names of protocols.PROTOCOLS that it has beside the Aave markets.
    """
    if not is_fetched():
        raise DevnetNotFetchedError
    folder = cache.built(seed, protocols)
    description = cache.read_description(folder)
    with Anvil(folder / cache.STATE, port, description.head_timestamp) as node:
        yield Devnet(node.url, description, Chain(node.session))
