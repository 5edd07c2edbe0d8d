"""Who may have a position in a market of Morpho Blue, by events, and what each one has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from defi_leverage.abi import address_word, checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.protocols import Progress

__all__ = ["Position", "find_candidates", "read_positions"]

_PART = 20_000  # calls between two reports of progress
_ANSWER = 96  # bytes: three words


@dataclass(frozen=True, slots=True)
class Position:
    """What an account has in a market: shares, and raw collateral tokens."""

    supply_shares: int
    borrow_shares: int
    collateral: int


async def find_candidates(
    chain: Chain, morpho: str, first_block: int, fee_recipient: str, progress: Progress
) -> dict[bytes, set[bytes]]:
    """Market id -> accounts (32 bytes each) that may have a position in it.

    A position begins with a supply, a borrow or a supply of collateral, on behalf of anybody. Fee recipients, present
    and past, are given shares without any of these, in every market.
    """
    abi = load_abi("morpho_blue")
    names = ("CreateMarket", "Supply", "Borrow", "SupplyCollateral", "SetFeeRecipient")
    created, supply, borrow, collateral, recipient = (abi.topic(name) for name in names)
    holder_at = {created: 1, supply: 3, borrow: 2, collateral: 3, recipient: 1}
    candidates: dict[bytes, set[bytes]] = {}
    everywhere = {address_word(fee_recipient)}
    progress("events", 0, 1)
    for log in await chain.logs([morpho], [list(holder_at)], first_block):
        event = log.topics[0]
        if len(log.topics) <= holder_at[event]:
            raise ReaderError(
                f"{log.address} emits an event in block {log.block} that is not indexed as Morpho Blue's. Give the "
                "address of the Morpho contract itself.",
                address=log.address,
            )
        holder = bytes.fromhex(log.topics[holder_at[event]][2:])
        if event == recipient:
            everywhere.add(holder)
        elif event == created:
            candidates.setdefault(holder, set())
        else:
            candidates.setdefault(bytes.fromhex(log.topics[1][2:]), set()).add(holder)
    progress("events", 1, 1)
    for accounts in candidates.values():
        accounts.update(everywhere)
    return candidates


async def read_positions(
    chain: Chain, morpho: str, candidates: Mapping[bytes, Iterable[bytes]], progress: Progress
) -> dict[bytes, dict[str, Position | None]]:
    """Market id -> account -> position, for accounts that have one; None where it cannot be read."""
    selector = load_abi("morpho_blue").function("position").selector
    pairs = [(id_, word) for id_ in sorted(candidates) for word in sorted(candidates[id_])]
    found: dict[bytes, dict[str, Position | None]] = {id_: {} for id_ in candidates}
    progress("positions", 0, len(pairs))
    for start in range(0, len(pairs), _PART):
        part = pairs[start : start + _PART]
        answers = await chain.call([(morpho, selector + id_ + word) for id_, word in part])
        for (id_, word), answer in zip(part, answers, strict=True):
            if answer is None or len(answer) != _ANSWER:
                found[id_][_address(word)] = None
            elif any(answer):
                parts = (int.from_bytes(answer[at : at + 32], "big") for at in (0, 32, 64))
                found[id_][_address(word)] = Position(*parts)
        progress("positions", start + len(part), len(pairs))
    return found


def _address(word: bytes) -> str:
    return checksum_address(f"0x{word[-20:].hex()}")
