"""What ERC-20 tokens call themselves: symbol and decimals, as readers ask for them."""

from collections.abc import Iterable
from dataclasses import dataclass

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.questions import decode, decode_symbol

__all__ = ["Token", "read_tokens"]

_MOST_DECIMALS = 36


@dataclass(frozen=True, slots=True)
class Token:
    """An ERC-20 token; the address checksummed."""

    address: str
    symbol: str
    decimals: int
    problem: str = ""  # why its amounts mean nothing; "" where they do


async def read_tokens(chain: Chain, addresses: Iterable[str]) -> dict[str, Token]:
    """Symbol and decimals of ERC-20 tokens, by address."""
    erc20 = load_abi("erc20")
    wanted = sorted(set(addresses))
    calls = [(address, erc20.encode(name)) for address in wanted for name in ("symbol", "decimals")]
    answers = iter(await chain.call(calls))
    tokens = {}
    for address in wanted:
        symbol, decimals = decode_symbol(next(answers)), decode(erc20, "decimals", next(answers))
        shown = symbol or f"{address[:6]}..{address[-4:]}"
        problem = ""
        if decimals is None:
            problem = f"{shown} does not answer decimals()"
        elif decimals > _MOST_DECIMALS:
            problem = f"{shown} has {decimals} decimals"
        tokens[address] = Token(address, shown, decimals or 0, problem)
    return tokens
