"""What the markets of a Compound v2 comptroller pay a year, and how it follows their utilisation.

A market asks its interest rate model, by the block or by the second. Known models are Compound's JumpRateModel and its
V2, WhitePaperInterestRateModel (a line without a kink), the same of Benqi and Moonwell by the second, Venus'
TwoKinksInterestRateModel, and each of these behind another contract that passes its answers on (Venus'
CheckpointView). What a model says of itself is tried on its own getBorrowRate all along the curve: one that departs
from it, as CREAM's with a roof, is not known.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import RAY, SECONDS_PER_YEAR, WAD, yearly_ray
from defi_leverage.questions import NOBODY, probe
from defi_leverage.reading import RateCurve

__all__ = ["QUESTIONS", "read_curves", "read_pace", "yearly"]

QUESTIONS = (
    ("supply_by_block", "supplyRatePerBlock"),
    ("borrow_by_block", "borrowRatePerBlock"),
    ("supply_by_second", "supplyRatePerTimestamp"),
    ("borrow_by_second", "borrowRatePerTimestamp"),
    ("rate_model", "interestRateModel"),
    ("reserves", "totalReserves"),
    ("reserve_factor", "reserveFactorMantissa"),
)
"""What a market is asked for its rates: the name of the answer and the function."""

_RAY_FROM_WAD = RAY // WAD
_RATE_WINDOW = 50_000  # blocks that the time between two is measured over: a week on Ethereum
_KINKS = ("kink", "kink2")
_JUMPS = tuple(
    {"base": f"baseRate{unit}", "multiplier": f"multiplier{unit}", "jump_multiplier": f"jumpMultiplier{unit}"}
    for unit in ("PerBlock", "PerTimestamp")
)
_TWO_KINKS = {
    "base": "BASE_RATE_PER_BLOCK",
    "multiplier": "MULTIPLIER_PER_BLOCK",
    "kink": "KINK_1",
    "base2": "BASE_RATE_2_PER_BLOCK",
    "multiplier2": "MULTIPLIER_2_PER_BLOCK",
    "kink2": "KINK_2",
    "jump_multiplier": "JUMP_MULTIPLIER_PER_BLOCK",
}
_TRIALS = tuple(n * WAD // 20 for n in range(21))
_BEYOND = 5 * WAD // 4  # reserves are lent as well: some models count no more than all, others do
_ROUNDING = 3  # units of 1e-18: a model cuts each product


async def read_pace(chain: Chain) -> tuple[int, int]:
    """(seconds, blocks) of the last blocks before the pinned one; blocks is 0 where there are none."""
    blocks = min(chain.block.number, _RATE_WINDOW)
    if not blocks:
        return 0, 0
    return chain.block.timestamp - await chain.timestamp(chain.block.number - blocks), blocks


def yearly(rate: int, by_second: bool, pace: tuple[int, int]) -> int | None:
    """A rate (times 1e18) a year, times 1e27; of a rate by the block at the pace of the last blocks."""
    seconds, blocks = pace
    if by_second:
        return yearly_ray(rate)
    return rate * _RAY_FROM_WAD * blocks * SECONDS_PER_YEAR // seconds if seconds > 0 else None


async def read_curves(
    chain: Chain, markets: Sequence[Mapping[str, Any]], pace: tuple[int, int]
) -> list[RateCurve | None]:
    """The curve of each market, None where its model is not known, or is not what the market charges by.

    `markets`: the answers to QUESTIONS, and cash, borrow, current_borrow. Amounts are as after accrueInterest, which
    comes before a withdrawal. The curve has a `fee` where suppliers get borrow rate * utilisation * (1 - fee): a model
    may add to that (DAIInterestRateModelV3, the savings rate on what is not lent).
    """
    models = sorted({market["rate_model"] for market in markets} - {None, NOBODY})
    forms = await _read_forms(chain, models)
    return [_curve(market, forms.get(market["rate_model"]), pace) for market in markets]


async def _read_forms(chain: Chain, models: Sequence[str]) -> dict[str, dict[str, int]]:
    """The parameters of each model of a known form, a unit of its time and times 1e18; others are left out."""
    abi = load_abi("compound_v2")
    functions = ["kink", *(name for form in (*_JUMPS, _TWO_KINKS) for name in form.values())]
    told = await probe(chain, abi, models, functions)
    trials = [_amounts(used) for used in (*_TRIALS, _BEYOND)]
    answers = await chain.call([(model, abi.encode("getBorrowRate", *trial)) for model in models for trial in trials])
    found = {}
    for place, model in enumerate(models):
        rates = [_last_word(answer) for answer in answers[place * len(trials) : (place + 1) * len(trials)]]
        form = _form(told[model])
        if form and all(_agree(_rate(form, used), rate) for used, rate in zip(_TRIALS, rates, strict=False)):
            if rates[-1] is None or _agree(_rate(form, _BEYOND), rates[-1]):
                found[model] = form
            elif _agree(_rate(form, WAD), rates[-1]):
                found[model] = form | {"utilisation_cap": WAD}
    return found


def _amounts(used: int) -> tuple[int, int, int]:
    """Cash, borrows and reserves of a market that has lent this much of 1e18; the oldest models forget the reserves."""
    cash = max(0, WAD + WAD // 10 - used)
    return cash, used, cash + used - WAD


def _form(told: Mapping[str, Any]) -> dict[str, int] | None:
    two_kinks = {name: told[function] for name, function in _TWO_KINKS.items()}
    if None not in two_kinks.values():
        return two_kinks
    for names in _JUMPS:
        jump = {name: told[function] for name, function in names.items()} | {"kink": told["kink"]}
        if None not in jump.values():
            return jump
        if jump["jump_multiplier"] is None is jump["kink"] and None not in (jump["base"], jump["multiplier"]):
            return jump | {"jump_multiplier": jump["multiplier"], "kink": WAD}
    return None


def _rate(form: Mapping[str, int], used: int) -> int:
    """JumpRateModelV2.getBorrowRateInternal and TwoKinksInterestRateModel._getBorrowRate, up to _ROUNDING."""
    kink = form["kink"]
    kink2 = form.get("kink2", kink)
    rate = form["base"] * WAD + form["multiplier"] * min(used, kink) + form["jump_multiplier"] * max(used - kink2, 0)
    if used >= kink:
        rate += form.get("base2", 0) * WAD + form.get("multiplier2", 0) * (min(used, kink2) - kink)
    return max(0, rate // WAD)


def _agree(ours: int, theirs: int | None) -> bool:
    return theirs is not None and abs(ours - theirs) <= _ROUNDING


def _last_word(answer: bytes | None) -> int | None:
    """The rate of getBorrowRate: its only word, or the second where the first is an error (LegacyJumpRateModelV2)."""
    if not answer or len(answer) not in (32, 64) or any(answer[:-32]):
        return None
    return int.from_bytes(answer[-32:], "big")


def _curve(market: Mapping[str, Any], form: Mapping[str, int] | None, pace: tuple[int, int]) -> RateCurve | None:
    by_second = market["borrow_by_second"] is not None
    borrow, supply = (market[f"{side}_by_{'second' if by_second else 'block'}"] for side in ("borrow", "supply"))
    cash, owed, reserves, fee = (market[name] for name in ("cash", "borrow", "reserves", "reserve_factor"))
    if form is None or None in (borrow, cash, owed, reserves, fee) or not (by_second or pace[0] > 0):
        return None
    accrued = owed if market["current_borrow"] is None else market["current_borrow"]
    supplied = cash + accrued - (reserves + (accrued - owed) * fee // WAD)
    stored = cash + owed - reserves
    used = min(owed * WAD // stored if stored > 0 else 0, form.get("utilisation_cap", 2**256))
    if supplied <= 0 or not _agree(_rate(form, used), borrow):
        return None
    fractions = {name: form[name] * _RAY_FROM_WAD for name in (*_KINKS, "utilisation_cap") if name in form}
    rates = {name: yearly(value, by_second, pace) or 0 for name, value in form.items() if name not in fractions}
    if _agree(borrow * (WAD - fee) * used // WAD**2, supply):
        fractions["fee"] = fee * _RAY_FROM_WAD
    model = "two_kinks" if "kink2" in form else "jump"
    return RateCurve(model, rates | fractions, supplied_raw=supplied, borrowed_raw=accrued)
