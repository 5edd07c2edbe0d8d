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
            if out.rounds == scenario.max_rounds:
                liquidated = True
                continue
            liquidated = True
            debts = [n for n, leg in enumerate(positions) if leg["side"] == "debt" and leg["amount"] > 0]
            counted = [
                n
                for n, leg in enumerate(positions)
                if leg["side"] == "collateral" and leg["weight"] > 0 and leg["amount"] > 0
            ]
            debt = max(debts, key=lambda n: (value[n], -n))
            collateral = max(counted, key=lambda n: (value[n], -n))
            venue = venues[venue_of[account]]
            total = sum(v for v, g in zip(value, positions, strict=True) if g["side"] == "debt")
            repay = _repayment(venue["liquidation_rule"], weighted / owed, total, value[debt], value[collateral],
                               positions[collateral]["liquidation_bonus"])  # fmt: skip
            bonus = positions[collateral]["liquidation_bonus"]
            seized = repay * (1 + bonus)
            if seized >= value[collateral]:
                seized, repay = value[collateral], value[collateral] / (1 + bonus)
            fee_share = positions[collateral]["protocol_fee"] * bonus / (1 + bonus)
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
        for asset, tokens in to_trade:
            trade(asset, tokens)
        for place, tokens in newly_lost:
            lost[place] = lost.get(place, 0.0) + tokens
        out.rounds += 1
    for leg in legs:
        out.amounts[leg["account_id"], leg["side"], leg["asset_id"], leg["feed_id"]] = leg["amount"]
    return out


def _repayment(rule: str, factor: float, owed: float, debt: float, collateral: float, bonus: float) -> float:
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
