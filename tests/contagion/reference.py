"""The round engine written out slowly: dictionaries, one account at a time, no arrays. The judge of the fast engine."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot


@dataclass
class Outcome:
    """What the reference found: prices and leg amounts at the end, and totals."""

    converged: bool = False
    exhausted: bool = False
    rounds: int = 0
    prices: dict[str, float] = field(default_factory=dict)
    amounts: dict[tuple[str, str, str, str], float] = field(default_factory=dict)
    repaid_usd: float = 0.0
    seized_usd: float = 0.0
    bad_debt_usd: float = 0.0
    drawn: dict[str, float] = field(default_factory=dict)


def run_reference(snapshot: Snapshot, scenario: Scenario) -> Outcome:
    """One scenario, by the seven steps of the round."""
    assets = {row["asset_id"]: row for row in snapshot.assets.to_dict("records")}
    feeds = {row["feed_id"]: row for row in snapshot.feeds.to_dict("records")}
    venues = {row["venue_id"]: row for row in snapshot.venues.to_dict("records")}
    backing: dict[str, list[dict[Any, Any]]] = {}
    for row in snapshot.backing.to_dict("records"):
        backing.setdefault(row["asset_id"], []).append(row)
    depth = {row["asset_id"]: row for row in snapshot.depth.to_dict("records")}
    legs = sorted(snapshot.legs.to_dict("records"), key=lambda leg: (leg["asset_id"], leg["feed_id"]))
    by_account: dict[str, list[dict[Any, Any]]] = {row: [] for row in sorted(snapshot.accounts["account_id"])}
    for leg in legs:
        by_account[leg["account_id"]].append(leg)
    venue_of = dict(zip(snapshot.accounts["account_id"], snapshot.accounts["venue_id"], strict=True))
    sales = dict.fromkeys(assets, 0.0)
    supplied: dict[tuple[str, str], float] = {}
    for leg in legs:
        if leg["side"] == "collateral":
            place = venue_of[leg["account_id"]], leg["asset_id"]
            supplied[place] = supplied.get(place, 0.0) + leg["amount"]
    lost: dict[tuple[str, str], float] = {}
    out = Outcome()

    def market_price(asset: str) -> float:
        price = assets[asset]["price_usd"]
        if asset in backing:
            now = sum(row["units"] * market_price(row["underlying_id"]) * kept(row) for row in backing[asset])
            price *= now / sum(row["units"] * assets[row["underlying_id"]]["price_usd"] for row in backing[asset])
        return float(price * (1 + scenario.shocks.get(asset, 0.0)) * impact(asset))

    def kept(row: dict[Any, Any]) -> float:
        """What bad debt at the issuing venue leaves of one part of a claim."""
        place = row["venue_id"], row["underlying_id"]
        return max(0.0, 1 - lost.get(place, 0.0) / supplied[place]) if supplied.get(place) else 1.0

    def impact(asset: str) -> float:
        if asset not in depth:
            return 1.0
        parameters = json.loads(depth[asset]["parameters"])
        if depth[asset]["model"] == "exponential":
            return math.exp(-sales[asset] / (parameters["depth"] * scenario.depth_multiplier))
        reserve = parameters["reserve"] * scenario.depth_multiplier
        return float((reserve / (reserve + sales[asset])) ** 2) if sales[asset] > -reserve else math.inf

    def feed_price(feed_id: str) -> float:
        feed = feeds[feed_id]
        fault = 1 + scenario.feed_shocks.get(feed_id, 0.0)
        if feed["kind"] == "fixed":
            return float(feed["price_usd"] * fault)
        if feed["kind"] == "ratio":
            base = feed["base_feed_id"]
            return float(feed["price_usd"] * feed_price(base) / feeds[base]["price_usd"] * fault)
        asset = feed["asset_id"]
        return float(feed["price_usd"] * market_price(asset) / assets[asset]["price_usd"] * fault)

    def trade(asset: str, tokens: float) -> None:
        """Sell tokens (negative: buy); what a quote asset pays out in, or a redeemed claim is on, is sold on."""
        sales[asset] += tokens
        parts = backing.get(asset, [])
        if asset not in depth and any(row["kind"] in ("wraps", "deposited") for row in parts):
            for row in parts:
                trade(row["underlying_id"], tokens * row["units"])
        quote = depth[asset]["quote"] if asset in depth else "USD"
        if quote != "USD" and out.prices[quote] > 0:
            trade(quote, tokens * out.prices[asset] / out.prices[quote])

    def without_collateral(account: str) -> bool:
        return not any(
            leg["side"] == "collateral" and leg["weight"] > 0 and leg["amount"] > 0 for leg in by_account[account]
        )

    for account, positions in by_account.items():
        if without_collateral(account):
            for leg in positions:
                leg["amount"] = leg["amount"] if leg["side"] == "collateral" else 0.0

    while True:
        if any(math.isinf(impact(asset)) for asset in assets):
            out.exhausted = True
            break
        price = {feed_id: feed_price(feed_id) for feed_id in feeds}
        out.prices = {asset: market_price(asset) for asset in assets}
        to_trade: list[tuple[str, float]] = []
        newly_lost: list[tuple[tuple[str, str], float]] = []
        liquidated = False
        busy = 0.0  # Maker: at auction in this round
        below: dict[str, tuple[float, float]] = {}
        for account, positions in by_account.items():
            value = [leg["amount"] * price[leg["feed_id"]] for leg in positions]
            weighted = sum(v * g["weight"] for v, g in zip(value, positions, strict=True) if g["side"] == "collateral")
            if venues[venue_of[account]]["health_rule"] == "average_threshold_bps" and weighted > 0:
                whole = sum(
                    v for v, g in zip(value, positions, strict=True) if g["side"] == "collateral" and g["weight"] > 0
                )
                weighted = math.floor(weighted / whole * 1e4 + 1e-7) / 1e4 * whole
            owed = sum(v * g["weight"] for v, g in zip(value, positions, strict=True) if g["side"] == "debt")
            if owed == 0 or weighted / owed >= 1:
                continue
            below[account] = weighted / owed, owed
        takeovers: list[tuple[dict[Any, Any], float]] = []
        shares = _taker_shares(by_account, below, venue_of)
        for account in sorted(below, key=lambda account: (venues[venue_of[account]]["liquidation_rule"] in _ABSORB,
                                                          venue_of[account], account)):  # fmt: skip
            positions, venue = by_account[account], venues[venue_of[account]]
            value = [leg["amount"] * price[leg["feed_id"]] for leg in positions]
            rule, parameters = venue["liquidation_rule"], json.loads(venue["liquidation_parameters"])
            if out.rounds == scenario.max_rounds:
                liquidated = True
                continue
            if rule in _ABSORB:
                place = venue_of[account]
                counted = [
                    n
                    for n, leg in enumerate(positions)
                    if leg["amount"] > 0 and (leg["side"] == "debt" or leg["weight"] > 0)
                ]
                debts = [n for n in counted if positions[n]["side"] == "debt"]
                collaterals = [n for n in counted if positions[n]["side"] == "collateral"]
                debt_usd, collateral_usd = sum(value[n] for n in debts), sum(value[n] for n in collaterals)
                taker = shares.get(account, [])
                closing = _absorb(
                    rule,
                    parameters,
                    [(value[n], positions[n]) for n in collaterals],
                    debt_usd,
                    bool(taker),
                    out.drawn.get(place, 0.0),
                    busy,
                )
                if closing is None:
                    continue
                liquidated = True
                busy += closing["put_up"]
                out.drawn[place] = out.drawn.get(place, 0.0) + closing["drawn"]
                out.bad_debt_usd += closing["bad"]
                out.repaid_usd += closing["debt"] - closing["bad"] - closing["moved_debt"]
                out.seized_usd += closing["collateral"] - closing["moved_collateral"]
                for collateral_leg, debt_leg, share in taker:
                    takeovers.append(
                        (collateral_leg, share * closing["moved_collateral"] / price[collateral_leg["feed_id"]])
                    )
                    takeovers.append((debt_leg, share * closing["moved_debt"] / price[debt_leg["feed_id"]]))
                for n in debts:
                    leg, part = positions[n], value[n] / debt_usd
                    tokens = closing["bought"] * part / price[leg["feed_id"]]
                    if not (rule == "perp_full" and leg["weight"] <= 1):
                        to_trade.append((leg["asset_id"], -tokens * scenario.buy_debt))
                    newly_lost.append(((place, leg["asset_id"]), closing["bad"] * part / price[leg["feed_id"]]))
                    leg["amount"] *= 1 - closing["debt"] / debt_usd
                for n in collaterals:
                    leg = positions[n]
                    taken = leg["amount"] * closing["collateral"] / collateral_usd
                    passed_on = closing["moved_collateral"] / closing["collateral"]
                    if not (rule == "perp_full" and leg["weight"] >= 1):
                        to_trade.append((leg["asset_id"], taken * (1 - passed_on) * scenario.sell_collateral))
                    leg["amount"] = 0.0 if closing["collateral"] >= collateral_usd else leg["amount"] - taken
                continue
            liquidated = True
            weighted_over_owed, owed = below[account]
            debts = [n for n, leg in enumerate(positions) if leg["side"] == "debt" and leg["amount"] > 0]
            counted = [
                n
                for n, leg in enumerate(positions)
                if leg["side"] == "collateral" and leg["weight"] > 0 and leg["amount"] > 0
            ]
            debt = max(debts, key=lambda n: (value[n], -n))
            collateral = max(counted, key=lambda n: (value[n], -n))
            total = sum(v for v, g in zip(value, positions, strict=True) if g["side"] == "debt")
            repay, bonus, fee_share = _terms(
                rule, parameters, weighted_over_owed, total, value[debt], value[collateral], positions[collateral]
            )
            seized = repay * (1 + bonus)
            if seized >= value[collateral]:
                seized, repay = value[collateral], value[collateral] / (1 + bonus)
            debt_price, collateral_price = price[positions[debt]["feed_id"]], price[positions[collateral]["feed_id"]]
            positions[debt]["amount"] = 0.0 if repay >= value[debt] else positions[debt]["amount"] - repay / debt_price
            held = positions[collateral]["amount"]
            taken = held if seized >= value[collateral] else seized / collateral_price
            positions[collateral]["amount"] = held - taken
            to_trade.append((positions[collateral]["asset_id"], taken * (1 - fee_share) * scenario.sell_collateral))
            to_trade.append((positions[debt]["asset_id"], -repay / debt_price * scenario.buy_debt))
            out.repaid_usd += repay
            out.seized_usd += seized
            if without_collateral(account):
                for leg in positions:
                    if leg["side"] == "debt":
                        out.bad_debt_usd += leg["amount"] * price[leg["feed_id"]]
                        newly_lost.append(((venue_of[account], leg["asset_id"]), leg["amount"]))
                        leg["amount"] = 0.0
        if not liquidated or out.rounds == scenario.max_rounds:
            out.converged = not liquidated
            break
        for leg, tokens in takeovers:
            leg["amount"] += tokens
        for asset, tokens in to_trade:
            trade(asset, tokens)
        for place, tokens in newly_lost:
            lost[place] = lost.get(place, 0.0) + tokens
        out.rounds += 1
    for leg in legs:
        out.amounts[leg["account_id"], leg["side"], leg["asset_id"], leg["feed_id"]] = leg["amount"]
    return out


_ABSORB = ("comet", "maker", "liquity_v1", "liquity_v2", "perp_full")


def _terms(
    rule: str,
    parameters: dict[str, float],
    factor: float,
    owed: float,
    debt: float,
    collateral: float,
    leg: dict[Any, Any],
) -> tuple[float, float, float]:
    """USD to repay, bonus, and the share of the seizure that the protocol keeps."""
    bonus = leg["liquidation_bonus"]
    if rule == "compound_v2":
        return debt / 2, bonus or 0.08, parameters.get("protocol_share", 0.028)
    if rule == "morpho_blue":
        return debt, bonus or min(1.15, 1 / (1 - 0.3 * (1 - leg["weight"]))) - 1, 0.0
    if rule == "euler_v2":
        return debt, 1 / (1 - min(1 - factor, 0.15)) - 1, 0.0
    return _repayment(rule, factor, owed, debt, collateral, bonus), bonus, leg["protocol_fee"] * bonus / (1 + bonus)


def _absorb(
    rule: str,
    parameters: dict[str, float],
    collaterals: list[tuple[float, dict[Any, Any]]],
    debt: float,
    has_taker: bool,
    drawn: float,
    busy: float,
) -> dict[str, float] | None:
    """What becomes of one account, in USD; None where nothing can be done."""
    held = sum(value for value, _ in collaterals)
    out = {"debt": debt, "collateral": held, "bad": 0.0, "moved_debt": 0.0, "moved_collateral": 0.0}
    out |= {"bought": 0.0, "drawn": 0.0, "put_up": 0.0}
    buffer = next((usd for name, usd in parameters.items() if name in _BUFFERS), 0.0)
    room = max(0.0, buffer - drawn)
    if rule == "comet":
        credited = out["bought"] = 0.0
        for value, leg in collaterals:
            factor = 1 / (1 + leg["liquidation_bonus"]) if leg["liquidation_bonus"] else 0.93
            credited += value * factor
            out["bought"] += value * (1 - 0.5 * (1 - factor))
        missing = debt + max(0.0, credited - debt) - out["bought"]
    elif rule == "maker":
        chop = 1 + (max(leg["liquidation_bonus"] for _, leg in collaterals) or 0.13)
        out["debt"] = min(debt, max(0.0, parameters.get("hole_usd", math.inf) - busy) / chop)
        if out["debt"] == 0:
            return None
        out["put_up"] = out["debt"] * chop
        out["bought"] = out["collateral"] = min(held * out["debt"] / debt, out["put_up"])
        missing = out["debt"] - out["bought"]
    elif rule == "perp_full":
        equity = held - debt
        fee = min(max(0.0, equity), 0.01 * sum(value for value, leg in collaterals if leg["weight"] < 1))
        out["bought"] = debt
        missing = max(0.0, -equity) - fee
    else:
        missing = min(debt, room)
        if missing < debt and not has_taker:
            return None
        out["moved_debt"] = debt - missing
        if rule == "liquity_v1":
            out["moved_collateral"] = 0.995 * held * out["moved_debt"] / debt
        else:
            to_pool = min(0.995 * held * missing / debt, 1.05 * missing)
            if out["moved_debt"] > 0:
                out["moved_collateral"] = min(0.995 * held - to_pool, 1.1 * out["moved_debt"])
            out["collateral"] = 0.005 * held + to_pool + out["moved_collateral"]
    out["drawn"] = min(missing, room)
    out["bad"] = missing - out["drawn"]
    return out


_BUFFERS = ("reserves_usd", "surplus_usd", "stability_pool_usd", "insurance_fund_usd")


def _taker_shares(
    by_account: dict[str, list[dict[Any, Any]]], below: dict[str, Any], venue_of: dict[str, str]
) -> dict[str, list[tuple[dict[Any, Any], dict[Any, Any], float]]]:
    """Liquity: of each account of one collateral and one debt, the legs of others of its kind, by their collateral."""
    takers = {}
    for account in below:
        own = [leg for leg in by_account[account] if leg["amount"] > 0]
        if sorted(leg["side"] for leg in own) != ["collateral", "debt"]:
            continue
        asset = {leg["side"]: leg["asset_id"] for leg in own}
        pairs = []
        for other, legs in by_account.items():
            if other not in below and venue_of[other] == venue_of[account]:
                of = {(leg["side"], leg["asset_id"]): leg for leg in legs if leg["amount"] > 0}
                held, owed = of.get(("collateral", asset["collateral"])), of.get(("debt", asset["debt"]))
                if held and owed:
                    pairs.append((held, owed))
        whole = sum(held["amount"] for held, _ in pairs)
        takers[account] = [(held, owed, held["amount"] / whole) for held, owed in pairs]
    return takers


def _repayment(rule: str, factor: float, owed: float, debt: float, collateral: float, bonus: float) -> float:
    if rule == "aave_v2":
        return debt / 2
    if rule == "full" or factor <= 0.95:
        return debt
    if rule == "aave_v3":
        return debt / 2
    if debt < 2000 or collateral < 2000:
        return debt
    repay = min(debt, owed / 2)
    if repay < debt and repay * (1 + bonus) < collateral:
        repay = min(repay, debt - 1000, (collateral - 1000) / (1 + bonus))
    return repay
