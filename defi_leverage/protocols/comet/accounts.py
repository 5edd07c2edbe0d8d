"""The accounts of a Comet: who may have a balance, by events, and what each one has."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from defi_leverage.abi import address_word, checksum_address, load_abi
from defi_leverage.chain import Call, Chain
from defi_leverage.errors import ReaderError
from defi_leverage.protocols import Progress
from defi_leverage.protocols.comet.market import Comet
from defi_leverage.questions import call_in_parts

__all__ = ["Holder", "find_candidates", "read_holders"]

_IN_EXTENSION = 16  # assetsIn has so many bits, those of further assets are in the byte `_reserved`


@dataclass(slots=True)
class Holder:
    """What an account has: the principal of its base balance, raw collateral by offset, and the contract's own view.

    `balance` is the base balance with interest (below zero where owed), `liquidatable` is None where the contract was
    not asked or reverts. `fault`: why it cannot be read.
    """

    address: str
    principal: int = 0
    collateral: dict[int, int] = field(default_factory=dict)
    balance: int = 0
    liquidatable: bool | None = None
    fault: str = ""


async def find_candidates(chain: Chain, comet: Comet, first_block: int, progress: Progress) -> list[str]:
    """Every address that may have a balance, lower case, in order.

    A supply of base tokens emits Supply and Transfer, and so does the transfer of a balance, or what is left to a
    borrower whose collateral was absorbed. Collateral comes by SupplyCollateral or TransferCollateral; nobody can owe
    without having had some, and a loan that is paid out emits Withdraw besides. A loan that is transferred emits none.
    """
    abi = load_abi("comet")
    of_source = abi.topic("Withdraw")
    names = ("Supply", "Transfer", "SupplyCollateral", "TransferCollateral", "Withdraw")
    progress("events", 0, 1)
    found = set()
    for log in await chain.logs([comet.address], [[abi.topic(name) for name in names]], first_block):
        if len(log.topics) < 3:
            raise ReaderError(
                f"{log.address} emits an event in block {log.block} that is not indexed as Comet's. Give the address "
                "of the Comet itself.",
                address=log.address,
            )
        found.add("0x" + log.topics[1 if log.topics[0] == of_source else 2][-40:])
    progress("events", 1, 1)
    return sorted(found - {"0x" + "00" * 20})


async def read_holders(chain: Chain, comet: Comet, candidates: Sequence[str], progress: Progress) -> list[Holder]:
    """The candidates with any balance, by address, with what the contract reports of them."""
    abi = load_abi("comet")
    selectors = {
        name: abi.function(name).selector for name in ("userBasic", "userCollateral", "balanceOf", "borrowBalanceOf")
    }
    judge = abi.function("isLiquidatable").selector
    words = {address: address_word(address) for address in candidates}
    answers = await call_in_parts(
        chain, [(comet.address, selectors["userBasic"] + word) for word in words.values()], "accounts", progress
    )
    holders: list[Holder] = []
    calls: list[Call] = []
    places: list[tuple[Holder, int]] = []
    for (address, word), answer in zip(words.items(), answers, strict=True):
        holder = Holder(checksum_address(address))
        if answer is None or len(answer) != 160:
            holder.fault = "its userBasic cannot be read"
            holders.append(holder)
            continue
        holder.principal = int.from_bytes(answer[:32], "big", signed=True)
        offsets = list(_bits(_integer(answer, 3) | _integer(answer, 4) << _IN_EXTENSION))
        if not holder.principal and not offsets:
            continue
        holders.append(holder)
        for offset in offsets:
            if offset >= len(comet.collaterals):
                holder.fault = f"holds asset {offset}, of {len(comet.collaterals)} that the contract describes"
                continue
            places.append((holder, offset))
            token = address_word(comet.collaterals[offset].address)
            calls.append((comet.address, selectors["userCollateral"] + word + token))
    for (holder, offset), answer in zip(places, await call_in_parts(chain, calls, "balances", progress), strict=True):
        if answer is None or len(answer) != 64:
            holder.fault = f"its {comet.collaterals[offset].symbol} balance cannot be read"
        elif _integer(answer, 0):
            holder.collateral[offset] = _integer(answer, 0)
    await _read_views(chain, comet, holders, words, selectors, judge, progress)
    return holders


async def _read_views(
    chain: Chain,
    comet: Comet,
    holders: Sequence[Holder],
    words: Mapping[str, bytes],
    selectors: Mapping[str, bytes],
    judge: bytes,
    progress: Progress,
) -> None:
    calls = []
    for holder in holders:
        word = words[holder.address.lower()]
        if holder.principal:
            view = selectors["borrowBalanceOf" if holder.principal < 0 else "balanceOf"]
            calls.append((comet.address, view + word))
        if holder.principal < 0:
            calls.append((comet.address, judge + word))
    answers = iter(await call_in_parts(chain, calls, "health", progress))
    for holder in holders:
        if holder.principal:
            balance = next(answers)
            if balance is None or len(balance) != 32:
                holder.fault = holder.fault or "its base balance cannot be read"
            else:
                holder.balance = _integer(balance, 0) if holder.principal > 0 else -_integer(balance, 0)
        if holder.principal < 0:
            verdict = next(answers)
            holder.liquidatable = bool(_integer(verdict, 0)) if verdict and len(verdict) == 32 else None


def _bits(flags: int) -> Iterator[int]:
    while flags:
        lowest = flags & -flags
        yield lowest.bit_length() - 1
        flags ^= lowest


def _integer(answer: bytes, at: int) -> int:
    return int.from_bytes(answer[32 * at : 32 * at + 32], "big")
