"""Reader.getPositionInfoList as it answers in different releases, under one selector.

The struct has grown, and every member of it is one word, so its size tells the release. The interfaces read:
Reader.json of gmx-io/gmx-synthetics deployments/arbitrum (commit 1d0cd44, v2.1: 62 words), and of v2.2, with the impact
put off at opening, npm @gmx-io/sdk 1.4.0 (66 words) and SyntheticsReader.ts of gmx-io/gmx-interface sdk/src/abis
(commit ceb87e7: 67).
"""

from dataclasses import dataclass

from defi_leverage.abi import checksum_address
from defi_leverage.protocols._perps import words
from defi_leverage.protocols.gmx_v2.arithmetic import Position

__all__ = ["RELEASES", "Release", "decode_position"]


@dataclass(frozen=True, slots=True)
class Release:
    """Where a release has the numbers of a position, its flag, its fees and its profit: places among the words."""

    name: str
    pending_impact: int | None
    borrowing_factor: int
    is_long: int
    fees: int
    profit: int


_LATER = Release("2.2", 7, 8, 14, 15, 63)
RELEASES = {62: Release("2.1", None, 7, 13, 14, 59), 66: _LATER, 67: _LATER}
"""By the number of words; the last of 67 is the position's value, which is not read."""

_FUNDING, _BORROWING, _TOTAL, _IMPACT = 13, 20, 40, 42  # places among the fees, and behind them
_HALF = 2**255


def decode_position(reply: bytes) -> Position | str:
    """The only position of a reply, or why it is none. The two words in front of it are an offset and a length."""
    _, count, *struct = words(reply) if len(reply) >= 64 else (0, 0)
    release = RELEASES.get(len(struct))
    if count != 1 or release is None:
        return f"the reader answers {len(struct)} words for a position; known are {', '.join(map(str, RELEASES))}"
    fees = release.fees
    funding, borrowing, total = (struct[fees + at] for at in (_FUNDING, _BORROWING, _TOTAL))
    return Position(
        key=struct[0].to_bytes(32, "big"),
        account=_address(struct[1]),
        market=_address(struct[2]),
        collateral_token=_address(struct[3]),
        is_long=bool(struct[release.is_long]),
        size_usd=struct[4],
        size_tokens=struct[5],
        collateral=struct[6],
        pending_impact=0 if release.pending_impact is None else _signed(struct[release.pending_impact]),
        closing_impact_usd=_signed(struct[fees + _IMPACT]),
        borrowing_factor=struct[release.borrowing_factor],
        funding_per_size=struct[release.borrowing_factor + 1],
        funding_fee=funding,
        claimable_long=struct[fees + _FUNDING + 1],
        claimable_short=struct[fees + _FUNDING + 2],
        borrowing_fee=borrowing,
        closing_fee=total - borrowing - funding,
        profit_usd=_signed(struct[release.profit]),
        uncapped_profit_usd=_signed(struct[release.profit + 1]),
    )


def _address(word: int) -> str:
    return checksum_address("0x" + word.to_bytes(32, "big")[12:].hex())


def _signed(word: int) -> int:
    return word - 2 * _HALF if word >= _HALF else word
