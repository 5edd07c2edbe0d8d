"""Questions to contracts whose answer may be missing: where a function is not there, the answer is None."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from defi_leverage.abi import Abi, load_abi
from defi_leverage.chain import Call, Chain
from defi_leverage.errors import DecodeError, one_line

__all__ = [
    "NOBODY",
    "Question",
    "ask",
    "ask_all",
    "ask_each",
    "ask_list",
    "call_in_parts",
    "decode",
    "decode_all",
    "decode_symbol",
    "probe",
]

NOBODY = "0x" + "00" * 20

Question = tuple[str, str, tuple[Any, ...]]  # contract, function, arguments

_LONGEST_SYMBOL = 64
_PART = 20_000  # calls between two reports of progress
_Key = TypeVar("_Key")


def decode(abi: Abi, function: str, answer: bytes | None) -> Any:
    """The first result of a call, or None where it failed or is not what the function returns."""
    if not answer:
        return None
    try:
        return abi.decode(function, answer)[0]
    except DecodeError:
        return None


def decode_symbol(answer: bytes | None) -> str:
    """A token's symbol, fit to be shown: a string, or bytes32 as the oldest tokens have it; "" where there is none."""
    if not answer:
        return ""
    try:
        text = str(load_abi("erc20").decode("symbol", answer)[0])
    except DecodeError:
        text = answer[:32].rstrip(b"\0").decode("utf-8", "replace") if len(answer) == 32 else ""
    return one_line(text)[:_LONGEST_SYMBOL]


async def ask(chain: Chain, abi: Abi, questions: Iterable[Question]) -> list[Any]:
    """The first result of each call, None where it fails or its contract does not have the function."""
    listed = list(questions)
    answers = await chain.call([(to, abi.encode(name, *arguments)) for to, name, arguments in listed])
    return [decode(abi, name, answer) for (_, name, _), answer in zip(listed, answers, strict=True)]


async def ask_each(chain: Chain, abi: Abi, asked: Mapping[_Key, Sequence[Question]]) -> dict[_Key, list[Any]]:
    """As `ask`, the questions of each key together: key -> its answers, in their order."""
    answers = iter(await ask(chain, abi, [question for questions in asked.values() for question in questions]))
    return {key: [next(answers) for _ in questions] for key, questions in asked.items()}


async def ask_all(chain: Chain, abi: Abi, questions: Iterable[Question]) -> list[tuple[Any, ...] | None]:
    """All results of each call, None where it fails or its contract does not have the function."""
    listed = list(questions)
    answers = await chain.call([(to, abi.encode(name, *arguments)) for to, name, arguments in listed])
    return [decode_all(abi, name, answer) for (_, name, _), answer in zip(listed, answers, strict=True)]


def decode_all(abi: Abi, function: str, answer: bytes | None) -> tuple[Any, ...] | None:
    """All results of a call, None where it failed, returned nothing, or something else than the function's results."""
    try:
        return abi.decode(function, answer) if answer else None
    except DecodeError:
        return None


async def ask_list(chain: Chain, abi: Abi, contract: str, count: str, entry: str) -> list[Any] | None:
    """Every entry of a contract's list: `count()` of them, each `entry(i)`; None where it does not say how many."""
    (number,) = await ask(chain, abi, [(contract, count, ())])
    if number is None:
        return None
    return await ask(chain, abi, [(contract, entry, (index,)) for index in range(number)])


async def probe(
    chain: Chain, abi: Abi, contracts: Sequence[str], functions: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """What each contract answers to each of these functions without arguments: contract -> function -> answer."""
    asked = {contract: [(contract, name, ()) for name in functions] for contract in contracts}
    told = await ask_each(chain, abi, asked)
    return {contract: dict(zip(functions, answers, strict=True)) for contract, answers in told.items()}


async def call_in_parts(
    chain: Chain, calls: Sequence[Call], stage: str, progress: Callable[[str, int, int], None]
) -> list[bytes | None]:
    """The raw answer of each call, None where it fails; `progress` is told (stage, done, total) after each part."""
    answers: list[bytes | None] = []
    progress(stage, 0, len(calls))
    for start in range(0, len(calls), _PART):
        answers += await chain.call(calls[start : start + _PART])
        progress(stage, len(answers), len(calls))
    return answers
