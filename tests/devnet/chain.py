"""Transactions on a node that mines only when told: many to a block, each one checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eth_utils.address import to_checksum_address

from .calldata import decode_result, encode_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .artifacts import Artifact
    from .rpc import RpcSession

BLOCK_SECONDS = 12
TRANSACTION_GAS = 30_000_000
ORDERED_BATCH = 25
"""anvil works on a request's calls concurrently; up to this many it was never seen to reorder."""
_ERROR_SELECTOR = "0x08c379a0"  # Error(string)
_PANIC_SELECTOR = "0x4e487b71"  # Panic(uint256)


class TransactionRevertedError(RuntimeError):
    """A transaction was mined and reverted."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A call from any address, or a deployment where ``to`` is None. ``label`` names it in error messages."""

    sender: str
    to: str | None
    data: bytes
    label: str = ""


def transaction(sender: str, to: str, signature: str, *arguments: Any) -> Transaction:
    """Transaction that calls one function."""
    name = signature[: signature.index("(")]
    shown = ", ".join(str(argument) for argument in arguments)
    return Transaction(sender, to, encode_call(signature, *arguments), f"{name}({shown}) from {sender}")


class Chain:
    """A node's chain, extended block by block."""

    def __init__(self, session: RpcSession) -> None:
        self.session = session

    def head(self) -> tuple[int, int]:
        """Number and timestamp of the last block."""
        block = self.session.call("eth_getBlockByNumber", "latest", False)
        return int(block["number"], 16), int(block["timestamp"], 16)

    def mine(self, timestamp: int | None = None) -> int:
        """Mine one block, by default 12 s after the last one, and return its number."""
        number, last = self.head()
        self.session.call("evm_setNextBlockTimestamp", timestamp if timestamp is not None else last + BLOCK_SECONDS)
        self.session.call("evm_mine")
        return number + 1

    def send(self, transactions: Iterable[Transaction], timestamp: int | None = None) -> list[dict[str, Any]]:
        """Put transactions into one block, in their order, and return their receipts.

        Raises TransactionRevertedError when one of them reverts; the block stays mined.
        """
        queued = list(transactions)
        hashes = self._submit(queued)
        number = self.mine(timestamp)
        sent = set(hashes)
        mined: list[dict[str, Any]] = self.session.call("eth_getBlockReceipts", hex(number))
        receipts = [receipt for receipt in mined if receipt["transactionHash"] in sent]
        if [receipt["transactionHash"] for receipt in receipts] != hashes:
            raise RuntimeError(f"block {number} lacks some of its transactions, or has them in another order")
        for tx, receipt in zip(queued, receipts, strict=True):
            if int(receipt["status"], 16) != 1:
                reason = self._reason(receipt["transactionHash"])
                raise TransactionRevertedError(f"{tx.label or receipt['transactionHash']} reverted: {reason}")
        return receipts

    def call(self, to: str, signature: str, returns: str, *arguments: Any, block: Any = "latest") -> tuple[Any, ...]:
        """Values a view returns; ``returns`` is like ``(uint256,address)``."""
        message = {"to": to, "data": "0x" + encode_call(signature, *arguments).hex()}
        return decode_result(returns, self.session.call("eth_call", message, block))

    def _submit(self, transactions: Sequence[Transaction]) -> list[str]:
        senders = list(dict.fromkeys(tx.sender for tx in transactions))
        counts = self.session.batch(("eth_getTransactionCount", (sender, "pending")) for sender in senders)
        nonces = {sender: int(count, 16) for sender, count in zip(senders, counts, strict=True)}
        messages = []
        for tx in transactions:
            message = {
                "from": tx.sender,
                "data": "0x" + tx.data.hex(),
                "nonce": hex(nonces[tx.sender]),
                "gas": hex(TRANSACTION_GAS),
                "gasPrice": "0x0",
            }
            if tx.to is not None:
                message["to"] = tx.to
            nonces[tx.sender] += 1
            messages.append(message)
        requests = [("eth_sendTransaction", (message,)) for message in messages]
        return self.session.batch(requests, ORDERED_BATCH)

    def _reason(self, tx_hash: str) -> str:
        frame = self.session.call("debug_traceTransaction", tx_hash, {"tracer": "callTracer"})
        output = frame.get("output", "0x")
        if output.startswith(_ERROR_SELECTOR):
            return str(decode_result("(string)", output[10:])[0])
        if output.startswith(_PANIC_SELECTOR):
            return f"panic {decode_result('(uint256)', output[10:])[0]:#x}"
        return output if output != "0x" else str(frame.get("error", "no reason given"))


class Deployer:
    """Deploys contracts of one set of artifacts, with the libraries they link, from one address."""

    def __init__(self, chain: Chain, artifacts: Mapping[str, Artifact], owner: str) -> None:
        self.chain = chain
        self.owner = owner
        self._artifacts = artifacts
        self._libraries: dict[str, str] = {}

    def deploy(self, name: str, *arguments: Any) -> str:
        """Address of a new contract."""
        artifact = self._artifacts[name]
        for library in dict.fromkeys(library for library, _ in artifact.links):
            if library not in self._libraries:
                self._libraries[library] = self.deploy(library)
        return deploy(self.chain, self.owner, artifact, *arguments, libraries=self._libraries)

    def send(self, to: str, *calls: tuple[Any, ...]) -> None:
        """Make calls to one contract in one block; each is a signature and its arguments."""
        self.chain.send(transaction(self.owner, to, *call) for call in calls)


def deploy(
    chain: Chain, owner: str, artifact: Artifact, *arguments: Any, libraries: dict[str, str] | None = None
) -> str:
    """Deploy one contract and return its address."""
    code = artifact.linked(libraries or {}) + artifact.constructor_data(*arguments)
    receipt = chain.send([Transaction(owner, None, code, f"deployment of {artifact.name}")])[0]
    return to_checksum_address(receipt["contractAddress"])
