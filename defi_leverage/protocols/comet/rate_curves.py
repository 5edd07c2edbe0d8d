"""A Comet's two rate curves: what borrowers pay and suppliers earn, each with a kink of its own.

Source: compound-finance/comet, CometWithExtendedAssetList.sol, getBorrowRate and getSupplyRate. The constants are rates
in wad a second and kinks in wad of the utilisation, which is totalBorrow over totalSupply: reserves are in neither, so
that it can pass 1.
"""

from collections.abc import Mapping, Sequence

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import RAY, WAD, mul_div_down, yearly_ray
from defi_leverage.questions import ask_each

__all__ = ["SIDES", "confirm_curve", "rate_at", "read_curve"]

SIDES = {"borrow": "", "supply": "supply_"}  # and how the curve's parameters of that side begin
_RATES = {
    "base": "PerSecondInterestRateBase",
    "multiplier": "PerSecondInterestRateSlopeLow",
    "jump_multiplier": "PerSecondInterestRateSlopeHigh",
}
_CONSTANTS = {side: (*(side + name for name in _RATES.values()), f"{side}Kink") for side in SIDES}
_PROBES = tuple(WAD * percent // 100 for percent in (0, 10, 30, 50, 70, 80, 85, 90, 95, 100, 130))


def rate_at(constants: Sequence[int], used: int) -> int:
    """Wad a second at a utilisation in wad, each product rounded down; `constants` are base, slopes and kink."""
    base, low, high, kink = constants
    return base + mul_div_down(low, min(used, kink), WAD) + mul_div_down(high, max(used - kink, 0), WAD)


async def read_curve(chain: Chain, comet: str, used: int) -> Mapping[str, int] | None:
    """Parameters of `jump`, yearly and in ray, of both sides; None where the contract's rates are not on that curve.

    `used`: its utilisation in wad, at which it is asked as well.
    """
    probes = (*_PROBES, used)
    views = {"borrow": "getBorrowRate", "supply": "getSupplyRate"}
    asked = {side: [(comet, name, ()) for name in names] for side, names in _CONSTANTS.items()}
    rates = {view: [(comet, view, (probe,)) for probe in probes] for view in views.values()}
    told = await ask_each(chain, load_abi("comet"), {**asked, **rates})
    return confirm_curve(
        {side: told[side] for side in SIDES}, {side: told[view] for side, view in views.items()}, probes
    )


def confirm_curve(
    constants: Mapping[str, Sequence[int | None]], answers: Mapping[str, Sequence[int | None]], probes: Sequence[int]
) -> Mapping[str, int] | None:
    """The parameters, where the contract answers them and its rates at the `probes` are theirs to the last unit."""
    curve: dict[str, int] = {}
    for side, prefix in SIDES.items():
        known = [constant for constant in constants[side] if constant is not None]
        if len(known) < len(constants[side]) or list(answers[side]) != [rate_at(known, used) for used in probes]:
            return None
        *rates, kink = known
        curve |= {f"{prefix}{name}": yearly_ray(rate) for name, rate in zip(_RATES, rates, strict=True)}
        curve[f"{prefix}kink"] = kink * (RAY // WAD)
    return curve
