"""The accounts of an Aave market: who may hold a position, by events, and what each one holds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from defi_leverage.abi import Log, address_word, checksum_address, load_abi
from defi_leverage.chain import Call, Chain
from defi_leverage.errors import ReaderError
from defi_leverage.protocols import Progress
from defi_leverage.protocols.aave_v3.health import Holder
from defi_leverage.protocols.aave_v3.reserves import Reserve
from defi_leverage.questions import call_in_parts

__all__ = ["Openings", "find_candidates", "read_holders"]


@dataclass(frozen=True, slots=True)
class Openings:
    """The pool's events that begin a position: the asset is their first indexed argument, the holder the second."""

    family: str  # of abis/
    supplies: tuple[str, ...]
    borrows: tuple[str, ...]


async def find_candidates(
    chain: Chain, pool: str, reserves: Sequence[Reserve], openings: Openings, first_block: int, progress: Progress
) -> dict[str, int]:
    """Every address that may hold a position -> the reserves it may hold, two bits each as in UserConfiguration.

    A position begins with one of the pool's `openings` or a transfer of aTokens; liquidations that pay in aTokens emit
    that transfer too. Only the treasury is minted aTokens without any of these.
    """
    abi = load_abi(openings.family)
    supplies, borrows = ([abi.topic(name) for name in names] for names in (openings.supplies, openings.borrows))
    by_asset = {"0x" + address_word(reserve.asset).hex(): reserve.index for reserve in reserves}
    by_token = {reserve.a_token: reserve.index for reserve in reserves}
    candidates: dict[str, int] = {}
    progress("events", 0, 2)
    for log in await chain.logs([pool], [[*supplies, *borrows]], first_block):
        account = _receiver(log)
        index = by_asset.get(log.topics[1])
        if index is not None:
            bit = 1 << 2 * index + (log.topics[0] in supplies)
            candidates[account] = candidates.get(account, 0) | bit
    progress("events", 1, 2)
    for log in await chain.logs(list(by_token), [[load_abi("aave_v3").topic("BalanceTransfer")]], first_block):
        account = _receiver(log)
        candidates[account] = candidates.get(account, 0) | 2 << 2 * by_token[log.address]
    progress("events", 2, 2)
    for reserve in reserves:
        if reserve.treasury:
            account = "0x" + address_word(reserve.treasury).hex()
            candidates[account] = candidates.get(account, 0) | 2 << 2 * reserve.index
    return candidates


def _receiver(log: Log) -> str:
    """Whose position an event begins: the third topic of all of them."""
    if len(log.topics) < 3:
        raise ReaderError(
            f"{log.address} emits an event in block {log.block} whose accounts are not indexed as in Aave. This "
            "reader cannot read the fork: take the deployment out of the configuration."
        )
    return log.topics[2]


async def read_holders(
    chain: Chain,
    pool: str,
    reserves: Sequence[Reserve],
    candidates: dict[str, int],
    progress: Progress,
    *,
    scaled: bool = True,
    has_categories: bool = True,
) -> list[Holder]:
    """The candidates with any position, by address, with their balances and what the pool reports of them.

    `scaled`: aTokens and variable debt as scaled balances, else as what balanceOf answers.
    """
    abi = load_abi("aave_v3")
    select_configuration, select_mode, select_data = (
        abi.function(name).selector for name in ("getUserConfiguration", "getUserEMode", "getUserAccountData")
    )
    words = sorted(candidates)  # 32 bytes as hexadecimal, as topics are
    arguments = [bytes.fromhex(word[2:]) for word in words]
    answers = await call_in_parts(
        chain, [(pool, select_configuration + word) for word in arguments], "accounts", progress
    )
    holders = [
        Holder("0x" + word[-40:], _integer(answer, 1) or 0, fault=_unless(answer, "configuration"))
        for word, answer in zip(words, answers, strict=True)
    ]
    flags = [candidates[word] for word in words]
    await _read_balances(chain, reserves, flags, arguments, holders, progress, scaled)
    found = [
        (holder, word)
        for holder, word in zip(holders, arguments, strict=True)
        if holder.fault or holder.supplies or holder.debts or holder.stable_debts
    ]
    selectors = (select_data, select_mode) if has_categories else (select_data,)
    calls = [(pool, selector + word) for _, word in found for selector in selectors]
    reports = iter(await call_in_parts(chain, calls, "health", progress))
    for holder, _ in found:
        data = next(reports)
        holder.address = checksum_address(holder.address)
        if has_categories:
            mode = next(reports)
            holder.category = _integer(mode, 1) or 0
            holder.fault = holder.fault or _unless(mode, "e-mode")
        if data is not None and len(data) >= 192:
            holder.reported = (_word_at(data, 0), _word_at(data, 1), _word_at(data, 5))
    return [holder for holder, _ in found]


async def _read_balances(
    chain: Chain,
    reserves: Sequence[Reserve],
    candidates: Sequence[int],
    arguments: Sequence[bytes],
    holders: Sequence[Holder],
    progress: Progress,
    scaled: bool,
) -> None:
    plain = load_abi("erc20").function("balanceOf").selector
    usual = load_abi("aave_v3").function("scaledBalanceOf").selector if scaled else plain
    by_index = {reserve.index: reserve for reserve in reserves}
    calls: list[Call] = []
    places: list[tuple[Holder, dict[int, int], Reserve]] = []
    for holder, flags, word in zip(holders, candidates, arguments, strict=True):
        for index, is_supply in _bits(flags | holder.configuration):
            reserve = by_index.get(index)
            if reserve is None:
                holder.fault = f"holds reserve number {index}, which the pool does not describe"
            elif is_supply:
                places.append((holder, holder.supplies, reserve))
                calls.append((reserve.a_token, usual + word))
            else:
                places.append((holder, holder.debts, reserve))
                calls.append((reserve.variable_debt_token, (plain if reserve.discounted else usual) + word))
                if reserve.stable_debt_token:
                    places.append((holder, holder.stable_debts, reserve))
                    calls.append((reserve.stable_debt_token, plain + word))
    for (holder, book, reserve), answer in zip(
        places, await call_in_parts(chain, calls, "balances", progress), strict=True
    ):
        balance = _integer(answer, 1)
        if balance is None:
            holder.fault = f"its {reserve.symbol} balance cannot be read"
        elif balance:
            book[reserve.index] = balance


def _bits(flags: int) -> Iterator[tuple[int, int]]:
    """(reserve index, 1 for a supply or 0 for a debt) of each bit that is set."""
    while flags:
        lowest = flags & -flags
        yield divmod(lowest.bit_length() - 1, 2)
        flags ^= lowest


def _word_at(data: bytes, at: int) -> int:
    return int.from_bytes(data[32 * at : 32 * at + 32], "big")


def _integer(answer: bytes | None, words: int) -> int | None:
    return _word_at(answer, 0) if answer is not None and len(answer) == 32 * words else None


def _unless(answer: bytes | None, name: str) -> str:
    return "" if answer is not None and len(answer) == 32 else f"its {name} cannot be read"
