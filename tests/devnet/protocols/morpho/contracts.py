"""Morpho Blue, its rate model and a MetaMorpho vault from their own source; stand-ins for oracles and feeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from ...artifacts import compile_contracts, pack
from ...chain import deploy, transaction

if TYPE_CHECKING:
    from ...artifacts import Artifact
    from ...chain import Chain, Transaction

MORPHO = "@morpho-org/morpho-blue@1.0.0"
META_MORPHO = "sphere-mezo-solidity-files@1.2.0"
OPENZEPPELIN = {"@openzeppelin/contracts/": "@openzeppelin/contracts@5.1.0/"}
PARAMS = "(address,address,address,address,uint256)"
NOBODY = "0x" + "00" * 20


@dataclass(frozen=True, slots=True)
class Market:
    """A market's parameters, and its symbols (the collateral's is "" where there is none)."""

    morpho: str
    collateral_symbol: str
    loan_symbol: str
    loan: str
    collateral: str
    oracle: str
    irm: str
    lltv: int

    @property
    def params(self) -> tuple[str, str, str, str, int]:
        """As the contract takes them."""
        return self.loan, self.collateral, self.oracle, self.irm, self.lltv

    @property
    def id(self) -> bytes:
        """MarketParamsLib.id."""
        return keccak(encode(["address", "address", "address", "address", "uint256"], self.params))

    def call(self, sender: str, function: str, types: str, *arguments: Any) -> Transaction:
        """Transaction that calls a function of Morpho whose first argument is the market."""
        return transaction(sender, self.morpho, f"{function}({PARAMS}{types})", self.params, *arguments)

    def lend(self, user: str, amount: int) -> Transaction:
        """Supply loan tokens, which Morpho must be approved to take."""
        return self.call(user, "supply", ",uint256,uint256,address,bytes", amount, 0, user, b"")

    def pledge(self, user: str, amount: int) -> Transaction:
        """Supply collateral."""
        return self.call(user, "supplyCollateral", ",uint256,address,bytes", amount, user, b"")

    def borrow(self, user: str, amount: int) -> Transaction:
        """Borrow loan tokens to oneself."""
        return self.call(user, "borrow", ",uint256,uint256,address,address", amount, 0, user, user)

    def liquidate(self, liquidator: str, user: str, seized: int = 0, repaid_shares: int = 0) -> Transaction:
        """Liquidate: seize so much collateral, or repay so many borrow shares."""
        types = ",address,uint256,uint256,bytes"
        return self.call(liquidator, "liquidate", types, user, seized, repaid_shares, b"")


def compile_all() -> dict[str, Artifact]:
    """Everything this protocol deploys, by name."""
    domains = pack(META_MORPHO) / "domains"
    core = compile_contracts("0.8.19", [pack(MORPHO) / "src/Morpho.sol"], evmVersion="paris")
    around = compile_contracts(
        "0.8.26",
        [domains / "metamorpho/contracts/MetaMorpho.sol", domains / "morphoIrm/contracts/AdaptiveCurveIrm.sol"],
        OPENZEPPELIN,
        viaIR=True,
        evmVersion="paris",
    )
    stand_ins = compile_contracts("0.8.19", Path(__file__).parent.glob("*.sol"))
    names = ("MetaMorpho", "AdaptiveCurveIrm")
    return {**stand_ins, **{name: around[name] for name in names}, "Morpho": core["Morpho"]}


def deploy_oracle(
    chain: Chain,
    owner: str,
    compiled: dict[str, Artifact],
    base: tuple[str, ...],
    quote: tuple[str, ...],
    places: tuple[int, int],
    vault: str = NOBODY,
    sample: int = 1,
) -> str:
    """A quotient of at most two feeds over at most two; `places` are the decimals of collateral and loan token."""
    feeds = [*base, *[NOBODY] * (2 - len(base)), *quote, *[NOBODY] * (2 - len(quote))]
    return deploy(chain, owner, compiled["QuotientOracle"], vault, sample, feeds, list(places))
