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
    amounts: dict[tuple[str, str, str], float] = field(default_factory=dict)
    repaid_usd: float = 0.0
    seized_usd: float = 0.0
    bad_debt_usd: float = 0.0


def run_reference(snapshot: Snapshot, scenario: Scenario) -> Outcome:
    """One scenario, by the seven steps of the round, for books whose assets have one backing at most."""
    assets = {row["asset_id"]: row for row in snapshot.assets.to_dict("records")}
    feeds = {row["feed_id"]: row for row in snapshot.feeds.to_dict("records")}
    venues = {row["venue_id"]: row for row in snapshot.venues.to_dict("records")}
    backing = {row["asset_id"]: row for row in snapshot.backing.to_dict("records")}
    depth = {row["asset_id"]: row for row in snapshot.depth.to_dict("records")}
    legs = sorted(snapshot.legs.to_dict("records"), key=lambda leg: leg["asset_id"])
    by_account: dict[str, list[dict[Any, Any]]] = {row: [] for row in sorted(snapshot.accounts["account_id"])}
    for leg in legs:
        by_account[leg["account_id"]].append(leg)
    venue_of = dict(zip(snapshot.accounts["account_id"], snapshot.accounts["venue_id"], strict=True))
    sales = dict.fromkeys(assets, 0.0)
    out = Outcome()

    def market_price(asset: str) -> float:
        price = assets[asset]["price_usd"]
        if asset in backing:
            base = backing[asset]["underlying_id"]
            price *= market_price(base) / assets[base]["price_usd"]
        return float(price * (1 + scenario.shocks.get(asset, 0.0)) * impact(asset))

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
        """Sell tokens (negative: buy); what a quote asset pays out in is sold on."""
        sales[asset] += tokens
        quote = depth[asset]["quote"] if asset in depth else "USD"
        if quote != "USD":
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
        liquidated = False
        for account, positions in by_account.items():
            value = [leg["amount"] * price[leg["feed_id"]] for leg in positions]
            weighted = sum(v * g["weight"] for v, g in zip(value, positions, strict=True) if g["side"] == "collateral")
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
            repay = _repayment(venue["liquidation_rule"], weighted / owed, owed, value[debt], value[collateral],
                               positions[collateral]["liquidation_bonus"])  # fmt: skip
            bonus = positions[collateral]["liquidation_bonus"]
            seized = repay * (1 + bonus)
            if seized >= value[collateral]:
                seized, repay = value[collateral], value[collateral] / (1 + bonus)
            fee = positions[collateral]["protocol_fee"] * (seized - seized / (1 + bonus))
            debt_price, collateral_price = price[positions[debt]["feed_id"]], price[positions[collateral]["feed_id"]]
            positions[debt]["amount"] = 0.0 if repay >= value[debt] else positions[debt]["amount"] - repay / debt_price
            left = positions[collateral]["amount"] - seized / collateral_price
            positions[collateral]["amount"] = 0.0 if seized >= value[collateral] else left
            to_trade.append(
                (positions[collateral]["asset_id"], (seized - fee) / collateral_price * scenario.sell_collateral)
            )
            to_trade.append((positions[debt]["asset_id"], -repay / debt_price * scenario.buy_debt))
            out.repaid_usd += repay
            out.seized_usd += seized
            if without_collateral(account):
                for leg in positions:
                    if leg["side"] == "debt":
                        out.bad_debt_usd += leg["amount"] * price[leg["feed_id"]]
                        leg["amount"] = 0.0
        if not liquidated or out.rounds == scenario.max_rounds:
            out.converged = not liquidated
            break
        for asset, tokens in to_trade:
            trade(asset, tokens)
        out.rounds += 1
    for leg in legs:
        out.amounts[leg["account_id"], leg["side"], leg["asset_id"]] = leg["amount"]
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
