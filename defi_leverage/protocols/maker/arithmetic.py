"""Maker's own arithmetic on integers: the stability fee up to a moment, debt, health.

Source: makerdao/dss, jug.sol (rpow, drip), vat.sol (frob), dog.sol (bark). A wad is 1e18, a ray 1e27, a rad 1e45: the
product of the two. `ink` is locked collateral in wad whatever the token's decimals, `art` normalised debt in wad.
"""

from defi_leverage.fixed_point import RAY, SECONDS_PER_YEAR, WAD, mul_div_down, mul_div_up

__all__ = ["NO_DEBT", "debt_wad", "dripped", "health_factor", "rpow", "yearly_rate"]

NO_DEBT = 2**256 - 1


def rpow(x: int, n: int, base: int = RAY) -> int:
    """x^n of a fixed-point number of scale `base`, each product rounded half up: repeated squaring, as Jug.rpow."""
    result = x if n % 2 else base
    while n := n // 2:
        x = (x * x + base // 2) // base
        if n % 2:
            result = (result * x + base // 2) // base
    return result


def dripped(rate: int, fee: int, seconds: int) -> int:
    """The ilk's rate in ray with the fee of so many seconds on it (Jug.drip); `fee` is base + duty, a ray a second."""
    return mul_div_down(rpow(fee, seconds), rate, RAY)


def debt_wad(art: int, rate: int) -> int:
    """The coins that pay a normalised debt off: art * rate is a rad, and no less than all of it will do."""
    return mul_div_up(art, rate, RAY)


def health_factor(ink: int, art: int, spot: int, rate: int) -> int:
    """ink * spot over art * rate in wad, rounded down; both are rad.

    The contracts answer no health factor; bark() demands that the one is less than the other, and exactly then this is
    below 1.
    """
    return mul_div_down(ink * spot, WAD, art * rate) if art else NO_DEBT


def yearly_rate(fee: int) -> int:
    """The fee of a second as a yearly rate in ray, compounded every second."""
    return (fee - RAY) * SECONDS_PER_YEAR
