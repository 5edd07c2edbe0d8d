"""What a family says of a token: the claims that it is, in raw units, as its contracts answer them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from defi_leverage.chain import Chain

__all__ = ["NATIVE", "Claim", "Family", "Finding", "Quote", "Token", "rate_of"]

NATIVE = "native"
"""The chain's own coin, where a claim is not on a token."""


@dataclass(frozen=True, slots=True)
class Token:
    """An ERC-20 token; the address checksummed."""

    address: str
    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class Claim:
    """`token_raw` raw units of the token are a claim on `underlying_raw` raw units of `underlying`.

    `underlying` is a token's address or NATIVE. `kind` is one of the kinds of backing in the snapshot's schema.
    `issuers` name the venue that owes a deposit, the most exact first: its contract, or the id of its market.
    """

    underlying: str
    underlying_raw: int
    token_raw: int
    kind: str
    source: str
    issuers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quote:
    """A market price that a family came across: `token_raw` raw units of `token` cost `quote_raw` of `quote`."""

    token: str
    quote: str
    quote_raw: int
    token_raw: int
    source: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a token is: its claims and the kind of asset; or why it looks like one of the family and is not read."""

    claims: tuple[Claim, ...] = ()
    asset_kind: str = "token"
    doubt: str = ""
    quotes: tuple[Quote, ...] = ()


Family = Callable[[Chain, Sequence[Token]], Awaitable[Mapping[str, Finding]]]
"""Reads which of the tokens belong to the family, by address, at the chain's pinned block; the others are left out."""


def rate_of(answers: Iterable[tuple[int, int | None]]) -> tuple[int, int] | None:
    """(amount, answer) of the largest amount that a linear conversion answers: it has lost the least to rounding.

    `answers` are (amount asked, answer, None where it reverts), in raw units. None where nothing above zero is
    answered, or where the answers are not those of one rate: each must be within two units, and a billionth, of what
    the largest one says.
    """
    given = [(amount, answer) for amount, answer in answers if answer is not None and amount > 0]
    if not given:
        return None
    amount, answer = max(given)
    if answer <= 0:
        return None
    for other, reply in given:
        # |reply - other * answer / amount| <= 2 + reply / 1e9, without a division
        if abs(reply * amount - other * answer) * 10**9 > (2 * 10**9 + reply) * amount:
            return None
    return amount, answer
