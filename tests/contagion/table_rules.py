"""Liquidation rules for the judge, written from the protocols' rules: pairs as columns, whole accounts one by one.

What a rule leaves out of its parameters is in DEFAULTS. USD at the feed prices of the round throughout.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

_PERP: dict[str, float] = {
    "liquidation_fee": 0,
    "insurance_fund_usd": 0,
    "pro_rata": 1,
    "deleverage": 1,
    "haircut_margin": 0,
}
DEFAULTS: dict[str, dict[str, float]] = {
    "full": {},
    "aave_v2": {"close_factor": 0.5},
    "aave_v3": {"close_factor": 0.5, "full_close_health_factor": 0.95},
    "aave_v3_3": {
        "close_factor": 0.5,
        "full_close_health_factor": 0.95,
        "full_close_below_usd": 2000,
        "minimum_leftover_usd": 1000,
    },
    "compound_v2": {"close_factor": 0.5, "liquidation_incentive": 0.08, "protocol_share": 0.028},
    "morpho_blue": {"cursor": 0.3, "maximum_incentive": 0.15},
    "euler_v2": {"maximum_discount": 0.15},
    "aave_v4": {
        "target_health_factor": 1.05,
        "maximum_bonus_health_factor": 0.9,
        "minimum_bonus_share": 0.9,
        "minimum_leftover_usd": 1000,
    },
    "fluid": {"absorb_ratio": 0.95},
    "comet": {"liquidation_factor": 0.93, "store_front_price_factor": 0.5, "reserves_usd": 0},
    "maker": {
        "liquidation_penalty": 0.13,
        "hole_usd": math.inf,
        "global_hole_usd": math.inf,
        "dust_usd": 0,
        "auction_discount": 0,
        "surplus_usd": 0,
    },
    "liquity_v1": {"stability_pool_usd": 0, "gas_compensation": 0.005},
    "liquity_v2": {
        "stability_pool_usd": 0,
        "gas_compensation": 0.005,
        "pool_penalty": 0.05,
        "redistribution_penalty": 0.1,
    },
    "crvusd": {"bands": 10, "amplification": 100, "liquidation_discount": 0.06, "jump": 0},
    "perp_full": _PERP,
    "perp_partial": _PERP
    | {"close_fraction": 0.2, "partial_above_usd": 1e5, "whole_below": 0, "fund_share": 1, "fee_is_owed": 0},
}
PAIR_RULES = ("full", "aave_v2", "aave_v3", "aave_v3_3", "compound_v2", "morpho_blue", "euler_v2", "aave_v4", "fluid")
BUFFERS = ("reserves_usd", "surplus_usd", "stability_pool_usd", "insurance_fund_usd")


def pair_terms(rule: str, p: dict[str, float], pairs: pd.DataFrame) -> pd.DataFrame:
    """Columns wanted (USD of debt), bonus and kept (share of the seizure) for the pairs of one venue.

    `pairs`: health_factor, total_debt, debt, collateral (USD), bonus, weight, fee of the collateral leg.
    """
    debt, collateral, factor = pairs["debt"], pairs["collateral"], pairs["health_factor"]
    bonus = pairs["bonus"]
    kept = pairs["fee"] * bonus / (1 + bonus)  # Aave: a share of the bonus
    wanted = debt
    if rule in ("aave_v2", "compound_v2"):
        wanted = debt * p["close_factor"]
    elif rule == "aave_v3":
        wanted = debt.where(factor <= p["full_close_health_factor"], debt * p["close_factor"])
    elif rule == "aave_v3_3":
        whole = (factor <= p["full_close_health_factor"]) | (
            pairs[["debt", "collateral"]].min(axis=1) < p["full_close_below_usd"]
        )
        part = debt.clip(upper=pairs["total_debt"] * p["close_factor"])
        must_leave = p["minimum_leftover_usd"]
        leaves_both = (part < debt) & (part * (1 + bonus) < collateral)
        spare = pd.concat([debt - must_leave, (collateral - must_leave) / (1 + bonus)], axis=1).min(axis=1)
        part = part.where(~leaves_both, part.clip(upper=spare.clip(lower=0)))
        wanted = debt.where(whole, part)
    elif rule == "aave_v4":
        start = p["maximum_bonus_health_factor"]
        least = (bonus * p["minimum_bonus_share"] * 10_000 + 1e-6) // 1  # whole basis points
        sloped = least + ((bonus * 10_000 - least) * (1 - factor) / (1 - start) + 1e-6) // 1
        bonus = (sloped / 10_000).where(factor > start, bonus)
        kept = pairs["fee"] * bonus / (1 + bonus)
        wanted = _to_health(p["target_health_factor"], pairs, bonus)
        wanted = wanted.where(debt - wanted >= p["minimum_leftover_usd"], debt)
        left = collateral - wanted * (1 + bonus)
        dust = (wanted < debt) & (left > 0) & (left < p["minimum_leftover_usd"])
        wanted = wanted.where(~dust, pairs[["debt", "collateral"]].min(axis=1))
    elif rule == "fluid":
        loan_to_value = pairs["weight"] / factor  # debt over collateral
        wanted = _to_health(1.0, pairs.assign(total_debt=debt), bonus).where(loan_to_value < p["absorb_ratio"], debt)
        kept = kept * 0
    if rule == "compound_v2":
        bonus = bonus.where(bonus > 0, p["liquidation_incentive"])
        kept = (pairs["fee"] * bonus / (1 + bonus)).where(pairs["fee"] > 0, p["protocol_share"])
    elif rule == "morpho_blue":
        incentive = 1 / (1 - p["cursor"] * (1 - pairs["weight"])) - 1
        bonus, kept = bonus.where(bonus > 0, incentive.clip(0, p["maximum_incentive"])), kept * 0
    elif rule == "euler_v2":
        discount = (1 - factor).clip(0, p["maximum_discount"])
        bonus, kept = 1 / (1 - discount) - 1, kept * 0
    return pd.DataFrame({"wanted": wanted, "bonus": bonus, "kept": kept})


def _to_health(target: float, pairs: pd.DataFrame, bonus: pd.Series) -> pd.Series:
    """The x with h D - (1 + bonus) weight x = target (D - x), all of the debt where nothing lifts the account there."""
    per_usd = target - (1 + bonus) * pairs["weight"]
    missing = pairs["total_debt"] * (target - pairs["health_factor"]).clip(lower=0)
    return (missing / per_usd.where(per_usd > 0)).fillna(math.inf).clip(upper=pairs["debt"])


@dataclass
class Closed:
    """What becomes of one account: USD of every leg that is taken, and of all its debt and collateral what for."""

    taken: dict[int, float]
    bad: float = 0.0
    moved_debt: float = 0.0
    moved_collateral: float = 0.0
    bought: float = 0.0
    drawn: float = 0.0
    put_up: float = 0.0
    trades: frozenset[int] | None = None  # legs that reach the market; None: all


def close_account(
    rule: str,
    p: dict[str, float],
    own: list[dict[str, Any]],
    room: float,
    has_takers: bool,
    is_last: bool,
    free: float,
) -> Closed:
    """One account by a rule that closes whole accounts.

    `own`: its legs that count, with leg, is_debt, value, initial, weight, liquidation_bonus. `room`: USD left in the
    venue's buffer; `has_takers`: whether others take over what is redistributed; `is_last`: whether no other account
    that is to be closed is left; `free`: USD of room for auctions.
    """
    debt = sum(leg["value"] for leg in own if leg["is_debt"])
    held = sum(leg["value"] for leg in own if not leg["is_debt"])

    def shares(of_debt: float, of_collateral: float) -> dict[int, float]:
        return {
            leg["leg"]: leg["value"]
            * (_over(of_debt, debt) if leg["is_debt"] else _over(of_collateral, held))
            for leg in own
        }  # fmt: skip

    if rule == "comet":
        return _comet(p, own, debt, room)
    if rule == "maker":
        bonus = max((leg["liquidation_bonus"] for leg in own if not leg["is_debt"]), default=0.0)
        chop = 1 + (bonus or p["liquidation_penalty"])
        part = min(debt, max(0.0, free) / chop)
        if part < debt:
            if part > 0 and debt - part < p["dust_usd"]:
                part = debt
            elif part < p["dust_usd"]:
                part = 0.0
        raised = min(held * part / debt * (1 - p["auction_discount"]), part * chop)
        sold = raised / (1 - p["auction_discount"]) if raised else 0.0
        paid = _pay(part - raised, room)
        bad = max(0.0, part - raised - paid)
        return Closed(shares(part, sold), bad=bad, bought=raised, drawn=paid, put_up=part * chop)
    if rule in ("liquity_v1", "liquity_v2"):
        offset = min(debt, max(0.0, room))
        if not has_takers and (offset < debt or is_last):
            return Closed(shares(0.0, 0.0))
        moved = debt - offset
        if rule == "liquity_v1":
            passed_on = held * (1 - p["gas_compensation"]) * moved / debt
            return Closed(shares(debt, held), moved_debt=moved, moved_collateral=passed_on, drawn=offset)
        gas = held * offset / debt * p["gas_compensation"]
        to_pool = min(held * offset / debt - gas, offset * (1 + p["pool_penalty"]))
        passed_on = min(held - gas - to_pool, moved * (1 + p["redistribution_penalty"])) if moved > 0 else 0.0
        taken = shares(debt, gas + to_pool + passed_on)
        return Closed(taken, moved_debt=moved, moved_collateral=passed_on, drawn=offset)
    if rule == "crvusd":
        return _crvusd(p, own, debt)
    return _perp(rule, p, own, debt, held, room)


def _over(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _pay(needed: float, room: float) -> float:
    """What a buffer pays of a need; a negative need fills it."""
    return min(needed, max(0.0, room))


def _comet(p: dict[str, float], own: list[dict[str, Any]], debt: float, room: float) -> Closed:
    credited = proceeds = 0.0
    for leg in own:
        if not leg["is_debt"]:
            bonus = leg["liquidation_bonus"]
            factor = 1 / (1 + bonus) if bonus > 0 else p["liquidation_factor"]
            credited += leg["value"] * factor
            proceeds += leg["value"] * (1 - p["store_front_price_factor"] * (1 - factor))
    needed = debt + max(0.0, credited - debt) - proceeds
    drawn = _pay(needed, room)
    taken = {leg["leg"]: leg["value"] for leg in own}
    return Closed(taken, bad=max(0.0, needed - drawn), bought=proceeds, drawn=drawn)


def _crvusd(p: dict[str, float], own: list[dict[str, Any]], debt: float) -> Closed:
    """Band by band from the highest; what is held of the asset owed lies in no band. Without bands, whole at once."""
    coins = {leg["asset_id"] for leg in own if leg["is_debt"]}
    cash = [leg for leg in own if not leg["is_debt"] and leg["asset_id"] in coins]
    unsold = [leg for leg in own if not leg["is_debt"] and leg["asset_id"] not in coins]
    ready, held = sum(leg["value"] for leg in cash), sum(leg["value"] for leg in unsold)
    mode = re.fullmatch(r"bands:([\d.]+)", own[0].get("mode", ""))
    height, ratio = float(mode[1]) if mode else float(int(p["bands"])), 1 - 1 / p["amplification"]
    bonus = max((leg["liquidation_bonus"] for leg in unsold), default=0.0)
    keep = 1 / (1 + bonus) if bonus > 0 else 1 - p["liquidation_discount"]
    first_held = sum(leg["initial"] for leg in unsold)
    first_debt = sum(leg["initial"] for leg in own if leg["is_debt"])
    uncovered = sum(leg["initial"] * leg["weight"] * (1 if leg["is_debt"] else -1) for leg in own if leg not in unsold)
    price = _over(sum(leg["initial"] * leg["weight"] for leg in unsold), uncovered)
    sold = proceeds = left_worth = 0.0
    if first_held > 0 and price > 0 and height > 0:
        gone = height * (1 - held / first_held)
        for band in range(math.ceil(height)):
            size = min(1.0, height - band)
            a_band = first_held * size / height
            top, bottom = ratio**band, ratio ** (band + size)
            mean = math.sqrt(top * bottom)
            passed = min(1.0, max(0.0, (top - price) / (top - bottom)))
            before = min(1.0, max(0.0, (gone - band) / size))
            part = passed - before if passed - before > 1e-12 else 0.0
            pays = (1 - p["jump"]) * mean + p["jump"] * min(mean, price**3 / (top * bottom))
            sold += part * a_band
            proceeds += part * a_band * pays / price
            left_worth += (1 - max(passed, before)) * a_band * mean / price
    elif first_held > 0 and height > 0:
        sold = held
    sold = min(sold, held)
    repaid = min(debt, proceeds)
    stablecoin = max(0.0, first_debt - debt) + repaid
    owed, bad, whole = debt - repaid, 0.0, False
    if owed > 0 and (height == 0 or (ready + stablecoin + left_worth) * keep < owed + stablecoin):
        bad, whole = max(0.0, owed - (held - sold) - ready), True
        repaid, sold = debt, held
    taken = {leg["leg"]: leg["value"] * (_over(repaid, debt) if leg["is_debt"] else 0.0) for leg in own}
    taken |= {leg["leg"]: leg["value"] * _over(sold, held) for leg in unsold}
    taken |= {leg["leg"]: leg["value"] if whole else 0.0 for leg in cash}
    return Closed(
        taken,
        bad=bad,
        bought=max(0.0, repaid - bad - (ready if whole else 0.0)),
        trades=frozenset(leg["leg"] for leg in own if leg not in cash),
    )


def _perp(rule: str, p: dict[str, float], own: list[dict[str, Any]], debt: float, held: float, room: float) -> Closed:
    positions = [leg for leg in own if in_position(leg) and not (p["haircut_margin"] and _is_haircut_margin(leg))]
    others = [leg for leg in own if leg not in positions]
    notional = sum(leg["value"] for leg in positions)
    equity = held - debt
    fraction = 1.0
    if rule == "perp_partial" and notional > p["partial_above_usd"]:
        pays = equity > 1e-12 * debt  # what rounding leaves of an equity that was levied is none
        if p["whole_below"]:
            required = sum(leg["value"] * abs(1 - leg["weight"]) for leg in positions)
            health = sum(leg["value"] * leg["weight"] * (-1 if leg["is_debt"] else 1) for leg in own)
            pays = required + health >= p["whole_below"] * required
        fraction = p["close_fraction"] if pays else 1.0
    margin = sum(leg["value"] for leg in others if not leg["is_debt"])
    owed = sum(leg["value"] for leg in others if leg["is_debt"])
    fee = min(max(0.0, equity), p["liquidation_fee"] * fraction * notional)
    cash = fraction * sum(-leg["value"] if leg["is_debt"] else leg["value"] for leg in positions) - fee
    loss = 0.0
    if fraction >= 1 or cash + margin < 0:
        fraction = 1.0
        fee = min(max(0.0, equity), p["liquidation_fee"] * notional)
        loss = max(0.0, -equity)
        taken = {leg["leg"]: leg["value"] for leg in own}
    else:
        to_debt, of_margin = _over(min(max(0.0, cash), owed), owed), _over(min(max(0.0, -cash), margin), margin)
        taken = {leg["leg"]: leg["value"] * fraction for leg in positions}
        taken |= {leg["leg"]: leg["value"] * (to_debt if leg["is_debt"] else of_margin) for leg in others}
    due, to_fund = fee, fee * p.get("fund_share", 1)
    if p.get("fee_is_owed", 0):
        due = p["liquidation_fee"] * fraction * notional
        to_fund = due * p["fund_share"] if equity >= 0 else 0.0
    needed = loss + due - fee - to_fund
    drawn = _pay(needed, room)
    return Closed(
        taken,
        bad=max(0.0, needed - drawn),
        bought=sum(taken[leg["leg"]] for leg in own if leg["is_debt"]),
        drawn=drawn,
        trades=frozenset(leg["leg"] for leg in positions),
    )


def _is_haircut_margin(leg: dict[str, Any]) -> bool:
    return not leg["is_debt"] and leg["liquidation_bonus"] > 0


def in_position(leg: dict[str, Any]) -> bool:
    """A perp's position: a long is collateral that weighs less than 1, a short is debt that weighs more."""
    return bool(leg["weight"] > 1 if leg["is_debt"] else leg["weight"] < 1)


def auto_deleverage(loss: float, equity: list[float], pro_rata: float) -> list[float]:
    """What each winner, in the order of the queue, loses: a part of it pro rata to equity, the rest in turn."""
    total = sum(equity)
    loss = min(loss, total)
    cuts = [one * pro_rata * loss / total for one in equity]
    rest = (1 - pro_rata) * loss
    for place, one in enumerate(equity):
        part = min(rest, one - cuts[place])
        cuts[place] += part
        rest -= part
    return cuts
