"""What readers of perp venues share: a margin that is a fixed amount as a share of the notional, and words of replies.

A position leg is weighted with its maintenance margin ratio. Where a venue asks for an amount that does not move with
the price, the ratio is the amount over the notional at the liquidation price: health is 1 at exactly that price, and
equity is not burdened with an amount that nobody takes.
"""

from fractions import Fraction

from defi_leverage.fixed_point import WAD

__all__ = ["share_of_notional", "words"]

_LARGEST = Fraction(1, 2)
_NEAREST = Fraction(1, 10)  # of the price: a position that is liquidated below has a debt leg instead
_MARK = 10**6  # a ratio that weighs nothing, and by which a leg of weight 1 is still known as a position's


def share_of_notional(size: int, price: Fraction, at: Fraction | None, requirement: Fraction) -> tuple[int, Fraction]:
    """Maintenance margin ratio (wad) and what of `requirement` is left to be a debt leg, all in one unit of money.

    `size` > 0; `at`: the price at which equity equals the requirement, None where there is none. Whatever the split,
    health is 1 at that price; all of it is in the ratio unless the price is far below the present one. Without a price
    all of it is a debt: a share of the notional would make one, of a short whose margin is what it follows.
    """
    if at is None:
        return _MARK, requirement
    reached = max(at, Fraction(0))
    notional = size * max(reached, price * _NEAREST)
    ratio = int(min(_LARGEST, requirement / notional) * WAD)
    return ratio, requirement - Fraction(ratio, WAD) * size * reached


def words(reply: bytes) -> list[int]:
    """A reply as its 32-byte words; an incomplete one at the end is left off."""
    return [int.from_bytes(reply[at : at + 32], "big") for at in range(0, len(reply) - 31, 32)]
