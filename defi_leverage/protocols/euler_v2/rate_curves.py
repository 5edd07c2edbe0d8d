"""The rate curves of Euler's vaults: what their interest rate models charge at every utilisation.

A vault names its model, which answers a rate for any cash and loans. Two models are known by their constants, and both
are asked along the whole curve: one that has the constants and other rates has no curve here. The vault asks its model
after each action only, and takes no rate above MAX_ALLOWED_INTEREST_RATE: where a curve goes beyond it, there is none.

Sources: euler-xyz/euler-vault-kit, BorrowUtils.sol (computeInterestRate), IRMLinearKink.sol; euler-xyz/evk-periphery,
IRMAdaptiveCurve.sol. IRMLinearKinky, IRMFixedCyclicalBinary, IRMBasePremium and others are not known.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import BPS, RAY, SECONDS_PER_YEAR, WAD
from defi_leverage.protocols.euler_v2.vaults import Vault
from defi_leverage.questions import NOBODY, ask, ask_each, probe
from defi_leverage.reading import RateCurve

__all__ = ["ALL", "HIGHEST_RATE", "adaptive_curve", "adaptive_rate", "linear_kink", "linear_rate", "read_curves"]

ALL = 2**32 - 1  # type(uint32).max: a utilisation of 1 to IRMLinearKink
HIGHEST_RATE = 291867278914945094175  # MAX_ALLOWED_INTEREST_RATE, ray a second: 1,000,000 % a year
_LINEAR = ("baseRate", "slope1", "slope2", "kink")
_ADAPTIVE = ("TARGET_UTILIZATION", "CURVE_STEEPNESS", "ADJUSTMENT_SPEED", "MIN_RATE_AT_TARGET", "MAX_RATE_AT_TARGET")
_PERCENT = (0, 10, 30, 50, 70, 80, 85, 90, 93, 96, 98, 99, 100)
_GWEI = RAY // WAD
_NOTHING = dict.fromkeys(("base", "multiplier", "jump_multiplier"), 0) | {"kink": RAY}

Loans = tuple[int, int]  # cash and loans, for which a model is asked


async def read_curves(chain: Chain, vaults: Mapping[str, Vault]) -> dict[str, RateCurve]:
    """The curves of the vaults, by address, where they are known."""
    abi = load_abi("euler_v2")
    named = await ask(chain, abi, [(vault, "interestRateModel", ()) for vault in vaults])
    models = {vault: model for vault, model in zip(vaults, named, strict=True) if model is not None}
    used = sorted(set(models.values()) - {NOBODY})
    constants = await probe(chain, abi, used, (*_LINEAR, *_ADAPTIVE))
    asked = {vault: _loans(vaults[vault]) for vault, model in models.items() if model != NOBODY}
    questions = {
        vault: [
            (models[vault], "computeRateAtTargetView", (vault, *loans[-1])),
            *((models[vault], "computeInterestRateView", (vault, *one)) for one in loans),
        ]
        for vault, loans in asked.items()
    }
    answers = await ask_each(chain, abi, questions)
    found: dict[str, RateCurve] = {}
    for vault, model in models.items():
        curve: tuple[str, Mapping[str, int]] | None = None
        if model != NOBODY:
            at_target, *rates = answers[vault]
            known = constants[model]
            curve = linear_kink(known, asked[vault], rates) or adaptive_curve(known, at_target, asked[vault], rates)
        elif vaults[vault].rate == 0:
            curve = "jump", _NOTHING  # without a model the rate stays 0
        if curve:
            found[vault] = RateCurve(curve[0], {**curve[1], "fee": vaults[vault].interest_fee * RAY // BPS})
    return found


def _loans(vault: Vault) -> list[Loans]:
    """Cash and loans along the curve, and the vault's own: whole units of ALL, so that nothing is cut off."""
    return [
        *((ALL - used, used) for used in (ALL * percent // 100 for percent in _PERCENT)),
        (vault.cash, vault.borrows),
    ]


def linear_kink(
    constants: Mapping[str, Any], loans: Sequence[Loans], rates: Sequence[int | None]
) -> tuple[str, Mapping[str, int]] | None:
    """The curve of IRMLinearKink, yearly and in ray, where the model has its constants and its `rates` for `loans`."""
    known = [constants[name] for name in _LINEAR]
    if None in known or list(rates) != [linear_rate(known, *one) for one in loans]:
        return None
    base, below, above, kink = known
    if linear_rate(known, 0, ALL) > HIGHEST_RATE:
        return None
    return "jump", {
        "base": base * SECONDS_PER_YEAR,
        "multiplier": below * ALL * SECONDS_PER_YEAR,
        "jump_multiplier": above * ALL * SECONDS_PER_YEAR,
        "kink": kink * RAY // ALL,
    }


def linear_rate(constants: Sequence[int], cash: int, borrows: int) -> int:
    """Ray a second; `constants` are the base rate, slopes for a unit of 1 / ALL, and the kink in such units.

    The utilisation is cut off to whole units: the rate may be as much as a unit's slope below the curve.
    """
    base, below, above, kink = constants
    used = borrows * ALL // (cash + borrows) if cash + borrows else 0
    return base + below * min(used, kink) + above * max(used - kink, 0)


def adaptive_curve(
    constants: Mapping[str, Any], at_target: int | None, loans: Sequence[Loans], rates: Sequence[int | None]
) -> tuple[str, Mapping[str, int]] | None:
    """The curve of IRMAdaptiveCurve as it stands at the block, likewise; `at_target`: its rate at target, ray a second.

    Its versions that charge a mean since the last update are not on the curve, unless they were updated in this block.
    """
    target, steepness, speed, least, most = (constants[name] for name in _ADAPTIVE)
    if None in (target, steepness, speed, least, most, at_target) or not 0 < target <= WAD or steepness < WAD:
        return None
    assert at_target is not None
    if list(rates) != [adaptive_rate(at_target, target, steepness, *one) for one in loans]:
        return None
    if adaptive_rate(max(at_target, most * _GWEI), target, steepness, 0, 1) > HIGHEST_RATE:
        return None
    return "adaptive_curve", {
        "rate_at_target": at_target * SECONDS_PER_YEAR,
        "target": target * _GWEI,
        "steepness": steepness * _GWEI,
        "speed": speed * SECONDS_PER_YEAR * _GWEI,
        "lowest": least * SECONDS_PER_YEAR * _GWEI,
        "highest": most * SECONDS_PER_YEAR * _GWEI,
    }


def adaptive_rate(at_target: int, target: int, steepness: int, cash: int, borrows: int) -> int:
    """Ray a second (_calcUtilization, _calcErr, _curve), rounded towards zero at each step, to 1e-18 a second."""
    used = borrows * WAD // (cash + borrows) if cash + borrows else 0
    gap = _divide((used - target) * WAD, WAD - target if used > target else target)
    slope = WAD - WAD * WAD // steepness if gap < 0 else steepness - WAD
    return (_divide(slope * gap, WAD) + WAD) * (at_target // _GWEI) // WAD * _GWEI


def _divide(above: int, below: int) -> int:
    """The quotient towards zero, as Solidity divides; `below` is positive."""
    return above // below if above >= 0 else -(-above // below)
