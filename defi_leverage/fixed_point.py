"""Fixed-point arithmetic of the lending protocols, on Python integers and with the protocols' own rounding.

A wad is a number times 1e18, a ray times 1e27, bps are hundredths of a percent. Every function names its rounding:
`_floor` and `_ceil` say so, without a suffix a result is rounded half up. All operands are non-negative; a division by
zero raises ZeroDivisionError where Solidity reverts, and nothing overflows.

Sources: Aave v3 WadRayMath, PercentageMath and MathUtils (aave/aave-v3-core 1.19.3 and aave-dao/aave-v3-origin). The
floor and ceil variants are those of 3.5 and later.
"""

__all__ = [
    "BPS",
    "RAY",
    "SECONDS_PER_YEAR",
    "WAD",
    "compounded_interest",
    "compounded_interest_v3_4",
    "linear_interest",
    "mul_div_down",
    "mul_div_up",
    "percent_div",
    "percent_div_ceil",
    "percent_div_floor",
    "percent_mul",
    "percent_mul_ceil",
    "percent_mul_floor",
    "ray_div",
    "ray_div_ceil",
    "ray_div_floor",
    "ray_mul",
    "ray_mul_ceil",
    "ray_mul_floor",
    "wad_div",
    "wad_mul",
    "yearly_ray",
]

BPS = 10_000
WAD = 10**18
RAY = 10**27
SECONDS_PER_YEAR = 365 * 24 * 60 * 60  # MathUtils.SECONDS_PER_YEAR: leap years are ignored


def mul_div_down(a: int, b: int, divisor: int) -> int:
    """a * b / divisor, rounded down: what Solidity's own division does."""
    return a * b // divisor


def mul_div_up(a: int, b: int, divisor: int) -> int:
    """a * b / divisor, rounded up (MathUtils.mulDivCeil)."""
    return -(-a * b // divisor)


def _mul_div(a: int, b: int, divisor: int) -> int:
    return (a * b + divisor // 2) // divisor


def wad_mul(a: int, b: int) -> int:
    """a * b of two wads, half up (WadRayMath.wadMul)."""
    return _mul_div(a, b, WAD)


def wad_div(a: int, b: int) -> int:
    """a / b in wad, half up (WadRayMath.wadDiv)."""
    return _mul_div(a, WAD, b)


def ray_mul(a: int, b: int) -> int:
    """a * b / 1e27, half up (WadRayMath.rayMul)."""
    return _mul_div(a, b, RAY)


def ray_mul_floor(a: int, b: int) -> int:
    """a * b / 1e27, rounded down (WadRayMath.rayMulFloor): an aToken's balance since 3.5."""
    return mul_div_down(a, b, RAY)


def ray_mul_ceil(a: int, b: int) -> int:
    """a * b / 1e27, rounded up (WadRayMath.rayMulCeil): a variable debt token's balance since 3.5."""
    return mul_div_up(a, b, RAY)


def ray_div(a: int, b: int) -> int:
    """a / b in ray, half up (WadRayMath.rayDiv)."""
    return _mul_div(a, RAY, b)


def ray_div_floor(a: int, b: int) -> int:
    """a / b in ray, rounded down (WadRayMath.rayDivFloor)."""
    return mul_div_down(a, RAY, b)


def ray_div_ceil(a: int, b: int) -> int:
    """a / b in ray, rounded up (WadRayMath.rayDivCeil)."""
    return mul_div_up(a, RAY, b)


def percent_mul(value: int, bps: int) -> int:
    """`bps` of the value, half up (PercentageMath.percentMul)."""
    return _mul_div(value, bps, BPS)


def percent_mul_floor(value: int, bps: int) -> int:
    """`bps` of the value, rounded down (PercentageMath.percentMulFloor)."""
    return mul_div_down(value, bps, BPS)


def percent_mul_ceil(value: int, bps: int) -> int:
    """`bps` of the value, rounded up (PercentageMath.percentMulCeil)."""
    return mul_div_up(value, bps, BPS)


def percent_div(value: int, bps: int) -> int:
    """What `value` is `bps` of, half up (PercentageMath.percentDiv)."""
    return _mul_div(value, BPS, bps)


def percent_div_floor(value: int, bps: int) -> int:
    """What `value` is `bps` of, rounded down (PercentageMath.percentDivFloor)."""
    return mul_div_down(value, BPS, bps)


def percent_div_ceil(value: int, bps: int) -> int:
    """What `value` is `bps` of, rounded up (PercentageMath.percentDivCeil)."""
    return mul_div_up(value, BPS, bps)


def linear_interest(rate_ray: int, seconds: int) -> int:
    """Growth factor in ray of a yearly rate after so many seconds, simple interest (calculateLinearInterest)."""
    return RAY + rate_ray * seconds // SECONDS_PER_YEAR


def compounded_interest(rate_ray: int, seconds: int) -> int:
    """Growth factor in ray of a yearly rate, compounded a second: three binomial terms, as in Aave 3.0 to 3.3.

    (1 + x)^n ~ 1 + n x + n (n-1)/2 x^2 + n (n-1) (n-2)/6 x^3. Source: MathUtils.calculateCompoundedInterest.
    """
    if seconds == 0:
        return RAY
    squared = ray_mul(rate_ray, rate_ray) // SECONDS_PER_YEAR**2
    cubed = ray_mul(squared, rate_ray) // SECONDS_PER_YEAR
    second = seconds * (seconds - 1) * squared // 2
    third = seconds * (seconds - 1) * max(seconds - 2, 0) * cubed // 6
    return RAY + rate_ray * seconds // SECONDS_PER_YEAR + second + third


def compounded_interest_v3_4(rate_ray: int, seconds: int) -> int:
    """Growth factor in ray of a yearly rate, compounded without pause: 1 + x + x^2/2 + x^3/6, as in Aave 3.4 and later.

    x = rate * seconds / year. Source: MathUtils.calculateCompoundedInterest of aave-dao/aave-v3-origin.
    """
    x = rate_ray * seconds // SECONDS_PER_YEAR
    return RAY + x + ray_mul(x, x // 2 + ray_mul(x, x // 6))


def yearly_ray(rate_wad: int) -> int:
    """A rate in wad a second as a yearly one in ray, not compounded."""
    return rate_wad * SECONDS_PER_YEAR * (RAY // WAD)
