"""The stand-in's factory, connector, router and adapters, and what accounts do at its vaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...artifacts import compile_contracts
from ...chain import deploy, transaction
from ...plans import MAX_UINT

if TYPE_CHECKING:
    from ...chain import Transaction
    from .. import Site

USD = "0x0000000000000000000000000000000000000348"  # 840, ISO 4217
E18 = 10**18


@dataclass(frozen=True, slots=True)
class Vault:
    """A vault and its asset."""

    address: str
    asset: str
    symbol: str


class Euler:
    """What is deployed, and an account's ways to use it; every account has its owner's first 19 bytes."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._compiled = compile_contracts("0.8.26", Path(__file__).parent.glob("*.sol"), evmVersion="paris")
        self.factory, self.connector = self.deploy("VaultFactory"), self.deploy("VaultConnector")
        self.router = self.deploy("QuoteRouter")
        self.vaults: dict[str, Vault] = {}
        self.accounts: list[dict[str, Any]] = []

    def deploy(self, contract: str, *arguments: Any) -> str:
        """Address of a new contract of the stand-in."""
        return deploy(self._site.chain, self._site.owner, self._compiled[contract], *arguments)

    def as_owner(self, to: str, signature: str, *arguments: Any) -> None:
        """Govern."""
        self._site.chain.send([transaction(self._site.owner, to, signature, *arguments)])

    def price(self, base: str, quote: str, adapter: str, *arguments: Any) -> str:
        """Let an adapter of this contract price a pair."""
        address = self.deploy(adapter, base, quote, *arguments)
        self.as_owner(self.router, "setConfig(address,address,address)", base, quote, address)
        return address

    def open_vault(self, key: str, asset: str, unit: str, *, router: str | None = None) -> Vault:
        """A vault on the factory's list whose shares the router resolves."""
        oracle = self.router if router is None else router
        address = self.deploy("CreditVault", self.connector, asset, oracle, unit, f"e{key}")
        self.as_owner(self.factory, "list(address,bytes)", address, b"")
        self.as_owner(self.router, "setResolvedVault(address)", address)
        self.vaults[key] = Vault(address, asset, f"e{key}")
        return self.vaults[key]

    def configure(self, key: str, yearly_rate: float, fee_bps: int, discount_bps: int, *caps: int) -> None:
        """Terms of a vault; caps as Euler packs them, 0 for none."""
        rate = int(yearly_rate * 10**27 / (365 * 86_400))
        signature = "configure(uint256,uint16,uint16,uint16,uint16)"
        self.as_owner(self.vaults[key].address, signature, rate, fee_bps, discount_bps, *(caps or (0, 0)))

    def accept(self, debt: str, collateral: str, borrow_bps: int, liquidation_bps: int, ramp: int = 0) -> None:
        """Let the vault of a debt take another vault's shares as collateral."""
        address, signature = self.vaults[collateral].address, "setLTV(address,uint16,uint16,uint32)"
        self.as_owner(self.vaults[debt].address, signature, address, borrow_bps, liquidation_bps, ramp)

    def deposit(self, key: str, user: str, amount: int, receiver: str | None = None) -> None:
        """Deposit tokens that are minted for it."""
        vault = self.vaults[key]
        self._site.chain.send(
            [
                *self._fund(vault, user, amount),
                transaction(user, vault.address, "deposit(uint256,address)", amount, receiver or user),
            ]
        )

    def borrow(
        self, debt: str, pledged: dict[str, int], amount: int, owner: str, kind: str, sub_account: int = 0
    ) -> str:
        """Deposit, pledge the shares and borrow: on the account of the owner with this number."""
        account = f"0x{int(owner, 16) ^ sub_account:040x}"
        for key, supplied in pledged.items():
            self.deposit(key, owner, supplied, account)
        held = [self.vaults[key].address for key in pledged]
        controller = self.vaults[debt].address
        opening = "open(address,address,address,address[])"
        self._site.chain.send(
            [
                transaction(owner, self.connector, opening, owner, account, controller, held),
                transaction(owner, controller, "borrow(uint256,address)", amount, account),
            ]
        )
        self.accounts.append(
            {"address": account, "owner": owner, "debt": debt, "collateral": list(pledged), "kind": kind}
        )
        return account

    def repay(self, debt: str, account: str, amount: int = MAX_UINT) -> None:
        """The owner repays; a debt of 0 releases the account."""
        vault, payer = self.vaults[debt], self._site.owner
        self._site.chain.send(
            [
                *self._fund(vault, payer, 10**30),
                transaction(payer, vault.address, "repay(uint256,address)", amount, account),
            ]
        )

    def quote(self, key: str, shares: int, unit: str) -> int:
        """What the router says of so many shares."""
        signature, vault = "getQuote(uint256,address,address)", self.vaults[key].address
        answer: int = self._site.chain.call(self.router, signature, "(uint256)", shares, vault, unit)[0]
        return answer

    def _fund(self, vault: Vault, user: str, amount: int) -> list[Transaction]:
        return [
            transaction(user, vault.asset, "mint(address,uint256)", user, amount),
            transaction(user, vault.asset, "approve(address,uint256)", vault.address, MAX_UINT),
        ]
