"""Tokens whose contracts answer an exchange rate, and those that stand at par: exchange_rates.csv, a table of data.

`function(argument)` of `contract` answers how many raw units of the underlying 10**scale raw units of the token are a
claim on; a row without a function is at par by the token's construction (a wrapped native coin, a rebasing receipt).
"""

import csv
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defi_leverage.abi import load_abi
from defi_leverage.backing.claims import NATIVE, Claim, Finding, Token
from defi_leverage.chain import Chain
from defi_leverage.questions import ask

__all__ = ["Coin", "native_coin", "read"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of exchange_rates.csv; `argument` None where the function takes none."""

    chain_id: int
    token: str
    symbol: str
    underlying: str
    underlying_symbol: str
    contract: str
    function: str
    argument: int | None
    scale: int
    kind: str
    asset_kind: str


@dataclass(frozen=True, slots=True)
class Coin:
    """A chain's own coin: its CAIP-19 asset reference (slip44:60), its symbol, and the token that wraps it at par."""

    reference: str
    symbol: str
    wrapper: str


@functools.cache
def load_rows() -> tuple[Row, ...]:
    """The table, read once."""
    text = Path(__file__).with_name("exchange_rates.csv").read_text(encoding="utf-8")
    return tuple(
        Row(
            chain_id=int(line["chain_id"]),
            token=line["token"],
            symbol=line["symbol"],
            underlying=line["underlying"],
            underlying_symbol=line["underlying_symbol"],
            contract=line["contract"],
            function=line["function"],
            argument=int(line["argument"]) if line["argument"] else None,
            scale=int(line["scale"]),
            kind=line["kind"],
            asset_kind=line["asset_kind"],
        )
        for line in csv.DictReader(text.splitlines())
    )


def native_coin(chain_id: int) -> Coin | None:
    """The chain's own coin, None where the table does not know the chain."""
    for row in load_rows():
        if row.chain_id == chain_id and row.kind == "wraps" and row.underlying.startswith("slip44:"):
            return Coin(row.underlying, row.underlying_symbol, row.token)
    return None


async def read(chain: Chain, tokens: Sequence[Token]) -> dict[str, Finding]:
    """The tokens that the table knows on this chain, each by its own contract's answer."""
    wanted = {token.address for token in tokens}
    rows = [row for row in load_rows() if row.chain_id == chain.chain_id and row.token in wanted]
    asked = [row for row in rows if row.function]
    questions = [(row.contract, row.function, () if row.argument is None else (row.argument,)) for row in asked]
    answers = dict(zip(asked, await ask(chain, load_abi("exchange_rates"), questions), strict=True))
    return {row.token: _finding(row, answers.get(row)) for row in rows}


def _finding(row: Row, answer: int | None) -> Finding:
    underlying = NATIVE if row.underlying.startswith("slip44:") else row.underlying
    if not row.function:
        par = Claim(underlying, 1, 1, row.kind, f"{row.symbol} is {row.underlying_symbol} at par")
        return Finding((par,), row.asset_kind)
    call = f"{row.function}({'' if row.argument is None else row.argument}) of {row.contract}"
    if not answer:
        return Finding(doubt=f"{call} answers {'nothing' if answer is None else answer}")
    return Finding((Claim(underlying, answer, 10**row.scale, row.kind, call),), row.asset_kind)
