"""LLAMMA's and the controller's arithmetic, on integers and with their own rounding.

Amounts are at 18 decimals where nothing else is said, prices are borrowed tokens for a collateral token, times 1e18.
A is the amplification: a band is (A - 1) / A as high as the one above. x is what is borrowed, y the collateral. Source:
curvefi/curve-stablecoin contracts/AMM.vy (_get_y0, get_xy_up; release 0.3.10, which divides by a band's shares and a
thousand that nobody owns) and Controller.vy (_health).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

from defi_leverage.fixed_point import WAD

__all__ = ["DEAD_SHARES", "Band", "full_health", "health", "remaining_bands", "x_down"]

DEAD_SHARES = 1000  # of every band, and of a lending vault


@dataclass(frozen=True, slots=True)
class Band:
    """What lies in a band, and the part of it that is an account's: share / total. Without both, all of it is.

    `total` of a real band: all shares and DEAD_SHARES.
    """

    x: int
    y: int
    share: int = 1
    total: int = 1


def _y0(x: int, y: int, price: int, top: int, amplification: int) -> int:
    b = top * (amplification - 1) * x // price if x else 0
    if y:
        b += amplification * price**2 // top * y // WAD
    if not (x and y):
        return b * WAD // (amplification * price)
    root = isqrt(b**2 + 4 * amplification * price * y // WAD * x)
    return (b + root) * WAD // (2 * amplification * price)


def x_down(bands: Sequence[Band], top: int, price: int, amplification: int) -> int:
    """What an account would hold in x once the price had fallen slowly from the oracle's through all its bands.

    `bands` from the highest down, whose upper edge is `top`; `price` is the oracle's.
    """
    root_ratio = isqrt(10**18 * amplification // (amplification - 1) * 10**18)  # SQRT_BAND_RATIO, as factories have it
    found, lower = 0, top
    for band in bands:
        upper, lower = lower, lower * (amplification - 1) // amplification
        x, y, share, total = band.x, band.y, band.share, band.total
        if not (x or y) or not share or not total:
            continue
        if (not x or not y) and price > upper:  # all y at the same price, sold on the way down
            held = y
            if not y:
                held = x * WAD // (price**2 // lower * price // upper)
            found += held * upper // root_ratio * share // total
        elif (not x or not y) and price < lower:
            found += (x or y * (price**2 // lower * price // upper) // WAD) * share // total
        else:
            found += _within(x, y, (price, upper, lower), amplification, root_ratio) * share // total
    return found


def _within(x: int, y: int, prices: tuple[int, int, int], amplification: int, root_ratio: int) -> int:
    """The same of a band that holds both, or that the price is in: first it is traded to the oracle's price."""
    price, upper, lower = prices
    y0 = _y0(x, y, price, upper, amplification)
    f = amplification * y0 * price // upper * price // WAD
    g = (amplification - 1) * y0 * upper // price
    kept = (f + x) * (g + y)
    if price > upper:
        return (max(kept // f, g) - g) * upper // root_ratio
    if price < lower:
        return max(kept // g, f) - f
    new_y = amplification * y0 * (price - lower) // price
    new_x = max(kept // (g + new_y), f) - f
    return new_x + new_y * isqrt(lower * price) // WAD


def health(down: int, debt: int, discount: int) -> int:
    """Health at 1e18, liquidated below 0, without what the price is above the bands. `down` and `debt` in one unit."""
    return down * (WAD - discount) // debt - WAD


def full_health(plain: int, debt: int, collateral: int, price: int, top: int) -> int:
    """The health that liquidations go by: with what the price is above the highest band's upper edge, if it is.

    `collateral` at 18 decimals, `debt` too. For accounts whose bands are all below the active one; others have `plain`.
    """
    return plain + (price - top) * collateral // debt if price > top else plain


def remaining_bands(active: Band, top: int, below: int, amplification: int) -> tuple[int, int]:
    """(upper edge of what is not sold yet, its height in bands, in wad) where the active band is partly sold.

    `active` is all of that band, `top` its upper edge, `below` the number of an account's bands under it. The part of
    the band that is unsold is y over y and what x buys at the band's geometric mean price; the edge lies linearly.
    """
    lower = top * (amplification - 1) // amplification
    mean = isqrt(top * lower)
    bought = active.x * WAD // mean
    unsold = active.y * WAD // (active.y + bought) if active.y + bought else 0
    return lower + (top - lower) * unsold // WAD, below * WAD + unsold
