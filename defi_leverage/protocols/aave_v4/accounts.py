"""The accounts of a spoke: who may have a position, by events, and what each one has and owes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from defi_leverage.abi import address_in, load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.protocols import Progress
from defi_leverage.protocols.aave_v4.spoke import Reserve, Spoke
from defi_leverage.questions import Question, decode_all

__all__ = ["Holder", "Position", "find_candidates", "read_holders"]

_PART = 20_000  # calls between two reports of progress


@dataclass(frozen=True, slots=True)
class Position:
    """What an account has in one reserve: shares, the premium's offset in ray, raw assets that its shares are worth.

    `factor`, `bonus` (100 % included) and `fee` are those of its own dynamic configuration, in bps.
    """

    drawn_shares: int
    premium_shares: int
    premium_offset: int
    supplied: int
    is_collateral: bool
    factor: int
    bonus: int
    fee: int


@dataclass
class Holder:
    """An account with its positions by reserve, and what the spoke reports: collateral, debt in ray, health factor."""

    address: str
    positions: dict[int, Position] = field(default_factory=dict)
    reported: tuple[int, int, int] | None = None
    fault: str = ""


async def find_candidates(chain: Chain, spoke: Spoke, first_block: int, progress: Progress) -> dict[str, set[int]]:
    """Account -> the reserves in which it may have a position.

    It begins with a supply, a borrow, or a liquidation that pays its liquidator in shares.
    """
    abi = load_abi("aave_v4")
    supply, borrow, liquidation = (abi.topic(name) for name in ("Supply", "Borrow", "LiquidationCall"))
    candidates: dict[str, set[int]] = {}
    progress("events", 0, 1)
    for log in await chain.logs([spoke.address], [[supply, borrow, liquidation]], first_block):
        if len(log.topics) != 4:
            raise ReaderError(
                f"{log.address} emits an event in block {log.block} whose accounts are not indexed as in Aave v4. This "
                "reader cannot read the fork: take the deployment out of the configuration."
            )
        account = address_in(log.topics[3])
        if log.topics[0] == liquidation:
            account = abi.decode_log("LiquidationCall", log)["liquidator"]
        candidates.setdefault(account, set()).add(int(log.topics[1], 16))
    progress("events", 1, 1)
    return candidates


async def read_holders(
    chain: Chain, spoke: Spoke, reserves: Sequence[Reserve], candidates: dict[str, set[int]], progress: Progress
) -> list[Holder]:
    """The candidates with any position, by address."""
    by_index = {reserve.index: reserve for reserve in reserves}
    holders = {account: Holder(account) for account in sorted(candidates)}
    pairs = [(account, index) for account in holders for index in sorted(candidates[account])]
    asked: list[Question] = [(spoke.address, "getUserPosition", (index, account)) for account, index in pairs]
    found = await _ask(chain, asked, "positions", progress)
    held = []
    for (account, index), answer in zip(pairs, found, strict=True):
        if answer is None:
            holders[account].fault = f"its position in reserve {index} cannot be read"
        elif index not in by_index:
            holders[account].fault = f"has a position in reserve {index}, which the spoke does not describe"
        elif answer[0][0] or answer[0][3] or answer[0][1] or answer[0][2]:
            held.append((holders[account], by_index[index], answer[0]))
    asked = []
    for holder, reserve, position in held:
        asked += [
            (spoke.address, "getUserReserveStatus", (reserve.index, holder.address)),
            (spoke.address, "getDynamicReserveConfig", (reserve.index, position[4])),
            (reserve.hub, "previewRemoveByShares", (reserve.hub_asset, position[3])),
        ]
    answers = iter(await _ask(chain, asked, "configurations", progress))
    for holder, reserve, position in held:
        status, config, assets = (next(answers) for _ in range(3))
        if status is None or config is None or (assets is None and position[3]):
            holder.fault = holder.fault or f"its position in {reserve.token.symbol} cannot be read"
        else:
            (drawn, premium, offset, *_), (factor, bonus, fee) = position, config[0]
            supplied = assets[0] if assets else 0
            holder.positions[reserve.index] = Position(drawn, premium, offset, supplied, status[0], factor, bonus, fee)
    kept = [holder for holder in holders.values() if holder.positions or holder.fault]
    asked = [(spoke.address, "getUserAccountData", (holder.address,)) for holder in kept]
    for holder, answer in zip(kept, await _ask(chain, asked, "health", progress), strict=True):
        if answer is not None:
            _, _, health, collateral, debt, *_ = answer[0]
            holder.reported = collateral, debt, health
    return kept


async def _ask(
    chain: Chain, questions: Sequence[Question], stage: str, progress: Progress
) -> list[tuple[Any, ...] | None]:
    """All results of each call, None where it fails."""
    abi = load_abi("aave_v4")
    calls = [(to, abi.encode(name, *arguments)) for to, name, arguments in questions]
    found: list[tuple[Any, ...] | None] = []
    progress(stage, 0, len(calls))
    for start in range(0, len(calls), _PART):
        answers = await chain.call(calls[start : start + _PART])
        for (_, name, _), answer in zip(questions[start : start + _PART], answers, strict=True):
            found.append(decode_all(abi, name, answer))
        progress(stage, len(found), len(calls))
    return found
