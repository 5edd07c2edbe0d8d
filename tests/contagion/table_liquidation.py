"""Step 4 for the judge: health factors, pairs of legs as columns, whole accounts one by one, and what is written off.

Legs are rows in canonical order: account_id, venue_id, averages (whether it averages thresholds), is_debt, asset_id,
feed_id, amount (tokens), initial, weight, liquidation_bonus, protocol_fee. What is done comes back as rows (account_id,
leg, sold, bought, lost in tokens; repaid_usd, seized_usd, fee_usd), with the legs as they are left.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tests.contagion.table_rules import (
    BUFFERS,
    PAIR_RULES,
    Closed,
    auto_deleverage,
    close_account,
    in_position,
    pair_terms,
)

Prices = dict[str, float]
Venues = dict[str, tuple[str, dict[str, float]]]
Leg = dict[str, Any]

DONE = ["account_id", "leg", "sold", "bought", "lost", "repaid_usd", "seized_usd", "fee_usd"]
NOTHING = pd.DataFrame(columns=DONE).astype(dict.fromkeys(DONE[2:], float))


def health_factors(legs: pd.DataFrame, price: Prices) -> pd.Series:
    """By account: weighted collateral over weighted debt, inf without debt."""
    value = legs["amount"] * legs["feed_id"].map(price).astype(float)
    weighted, held = value * legs["weight"], ~legs["is_debt"]
    columns = {"collateral": weighted.where(held, 0.0), "debt": weighted.where(~held, 0.0)}
    if legs["averages"].any():
        columns |= {"counted": value.where(held & (legs["weight"] > 0), 0.0), "averages": legs["averages"]}
    sums = pd.DataFrame(columns).groupby(legs["account_id"], observed=True).sum()
    collateral = sums["collateral"]
    if legs["averages"].any():
        # Aave's average threshold is whole basis points; what is whole but for rounding stays.
        average = np.floor(collateral / sums["counted"].replace(0.0, np.nan) * 1e4 + 1e-7) / 1e4
        collateral = collateral.where(sums["averages"] == 0, (average * sums["counted"]).fillna(0.0))
    return (collateral / sums["debt"].replace(0.0, np.nan)).fillna(np.inf)


def liquidate_pairs(
    venues: Venues,
    legs: pd.DataFrame,
    price: Prices,
    health: pd.Series,
    worthwhile: Callable[[pd.DataFrame], pd.Series] | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of every account below 1, the largest debt leg is repaid out of the largest collateral leg."""
    pairing = [venue for venue, (rule, _) in venues.items() if rule in PAIR_RULES]
    below = legs["account_id"].isin(health.index[health < 1])
    theirs = legs[below & legs["venue_id"].isin(pairing) & (legs["amount"] > 0)].reset_index(names="leg")
    if theirs.empty:
        return legs, NOTHING
    theirs["price"] = theirs["feed_id"].map(price).astype(float)
    theirs["value"] = theirs["amount"] * theirs["price"]
    debts, held = theirs[theirs["is_debt"]], theirs[~theirs["is_debt"] & (theirs["weight"] > 0)]
    largest = [
        side.loc[side.groupby("account_id", observed=True)["value"].idxmax()]  # of equal ones the lowest asset_id
        for side in (debts, held)
    ]
    pairs = largest[0].merge(largest[1], on=["account_id", "venue_id"], suffixes=("_debt", ""))
    pairs["health_factor"] = health.reindex(pairs["account_id"]).to_numpy()
    pairs["total_debt"] = debts.groupby("account_id", observed=True)["value"].sum().reindex(pairs["account_id"]).array
    pairs = pairs.rename(columns={"value_debt": "debt", "value": "collateral"})
    pairs = pairs.rename(columns={"liquidation_bonus": "bonus", "protocol_fee": "fee"})
    if pairs.empty:
        return legs, NOTHING
    terms = [pair_terms(*venues[str(venue)], some) for venue, some in pairs.groupby("venue_id", observed=True)]
    pairs = pairs.drop(columns="bonus").join(pd.concat(terms))

    wanted = pairs[["wanted", "debt"]].min(axis=1)
    exhausts = wanted * (1 + pairs["bonus"]) >= pairs["collateral"]
    pairs["repaid_usd"] = wanted.where(~exhausts, pairs["collateral"] / (1 + pairs["bonus"]))
    pairs["seized_usd"] = pairs["collateral"].where(exhausts, wanted * (1 + pairs["bonus"]))
    whole = pairs["repaid_usd"] >= pairs["debt"]
    pairs["repaid"] = pairs["amount_debt"].where(whole, pairs["repaid_usd"] / pairs["price_debt"])
    pairs["seized"] = pairs["amount"].where(exhausts, pairs["seized_usd"] / pairs["price"])
    pairs["sold"] = pairs["seized"] * (1 - pairs["kept"])
    if worthwhile is not None:
        pairs = pairs[worthwhile(pairs)]
    amount = legs["amount"].copy()
    amount.loc[pairs["leg_debt"]] -= pairs["repaid"].to_numpy()
    amount.loc[pairs["leg"]] -= pairs["seized"].to_numpy()
    nothing = pairs.assign(bought=0.0, lost=0.0, fee_usd=pairs["seized_usd"] * pairs["kept"])
    of_collateral = nothing.assign(repaid_usd=0.0)[DONE]
    of_debt = nothing.assign(leg=pairs["leg_debt"], sold=0.0, bought=pairs["repaid"], seized_usd=0.0, fee_usd=0.0)[DONE]
    return legs.assign(amount=amount), pd.concat([of_collateral, of_debt], ignore_index=True)


def write_off(legs: pd.DataFrame, accounts: pd.Index) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bad debt: the debts of those accounts that have no collateral left that counts. Legs after; leg and lost."""
    if accounts.empty:
        return legs, NOTHING[["leg", "lost"]]
    counts = ~legs["is_debt"] & (legs["weight"] > 0) & (legs["amount"] > 0)
    bare = legs["account_id"].isin(accounts) & ~legs["account_id"].isin(legs.loc[counts, "account_id"].unique())
    bad = legs["is_debt"] & bare & (legs["amount"] > 0)
    lost = pd.DataFrame({"leg": legs.index[bad], "lost": legs.loc[bad, "amount"].to_numpy()})
    return legs.assign(amount=legs["amount"].where(~bad, 0.0)), lost


def absorb_accounts(
    venues: Venues,
    legs: pd.DataFrame,
    price: Prices,
    health: pd.Series,
    drawn: dict[str, float],
    levied: dict[str, float],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Whole accounts, venue by venue and account by account; `drawn` and `levied` (USD by venue) go on."""
    amount, rows, at_auction = legs["amount"].to_numpy().copy(), [], 0.0
    below = set(health.index[health < 1])
    concerned = set(legs.loc[legs["account_id"].isin(below), "venue_id"])
    for venue, (rule, parameters) in venues.items():
        if rule in PAIR_RULES or venue not in concerned:
            continue
        accounts = _accounts_of(legs, venue, price)
        both = [name for name, own in accounts.items() if {leg["is_debt"] for leg in own} == {True, False}]
        closing = [name for name in both if name in below]
        healthy = {name: own for name, own in accounts.items() if name not in below}
        takers = {name: _takers(accounts[name], healthy) if rule.startswith("liquity") else [] for name in closing}
        buffer = sum(parameters.get(name, 0.0) for name in BUFFERS)
        done: dict[str, Closed] = {}
        put_up, remaining = 0.0, len(closing)
        for name in closing:
            free = min(parameters.get("hole_usd", 0) - put_up, parameters.get("global_hole_usd", 0) - at_auction)
            room = buffer - drawn[venue]
            done[name] = close_account(rule, parameters, accounts[name], room, bool(takers[name]), remaining == 1, free)
            drawn[venue] += done[name].drawn
            put_up += done[name].put_up
            remaining -= any(done[name].taken.values())
            at_auction += done[name].put_up
        if rule.startswith("perp") and parameters["deleverage"]:
            for name in closing:
                cut = _levy(accounts[name], done[name], healthy, parameters["pro_rata"])
                levied[venue] += cut
                done[name].bad = max(0.0, done[name].bad - cut)
        for own in healthy.values():
            for leg in own:
                amount[leg["leg"]] = leg["amount"]
        for name in closing:
            rows += _rows(name, accounts[name], done[name])
            for leg in accounts[name]:
                taken = done[name].taken[leg["leg"]]
                left = 0.0 if taken >= leg["value"] else leg["amount"] - taken / leg["price"]
                amount[leg["leg"]] = max(0.0, left) if leg["price"] > 0 else leg["amount"]
            for held, owed, share in takers[name]:  # the tokens of its two legs, whatever feed their takers have
                moved = done[name].moved_collateral, done[name].moved_debt
                for taker, leaving, usd in zip((held, owed), accounts[name], moved, strict=True):
                    amount[taker["leg"]] += share * usd / leaving["price"] if usd > 0 else 0.0
    return (legs.assign(amount=amount), pd.DataFrame(rows, columns=DONE)) if rows else (legs, NOTHING)


def _accounts_of(legs: pd.DataFrame, venue: str, price: Prices) -> dict[str, list[Leg]]:
    """Legs of debt and of collateral that counts, with their values, by account."""
    counts = (legs["venue_id"] == venue) & (legs["amount"] > 0) & (legs["is_debt"] | (legs["weight"] > 0))
    accounts: dict[str, list[Leg]] = {}
    for row in legs[counts].reset_index(names="leg").to_dict("records"):
        leg = {str(column): value for column, value in row.items()}
        leg["price"] = price[leg["feed_id"]]
        leg["value"], leg["initial"] = leg["amount"] * leg["price"], leg["initial"] * leg["price"]
        accounts.setdefault(leg["account_id"], []).append(leg)
    return accounts


def _takers(own: list[Leg], healthy: dict[str, list[Leg]]) -> list[tuple[Leg, Leg, float]]:
    """Who takes over an account of one collateral and one debt: others of its kind, by their tokens of collateral."""
    if [leg["is_debt"] for leg in own] != [False, True]:
        return []
    found = []
    for others in healthy.values():
        held = [leg for leg in others if not leg["is_debt"] and leg["asset_id"] == own[0]["asset_id"]]
        owed = [leg for leg in others if leg["is_debt"] and leg["asset_id"] == own[1]["asset_id"]]
        if held and owed:
            found.append((held[0], owed[0]))
    total = sum(held["amount"] for held, _ in found)
    return [(held, owed, held["amount"] / total) for held, owed in found]


def _levy(own: list[Leg], closed: Closed, healthy: dict[str, list[Leg]], pro_rata: float) -> float:
    """Auto-deleveraging: bad debt comes out of the collateral of accounts on the other side, most leveraged first."""
    positions = [leg for leg in own if in_position(leg)]
    if closed.bad <= 0 or not positions:
        return 0.0
    largest = max(positions, key=lambda leg: (leg["value"], -leg["leg"]))
    queue = []
    for name, others in healthy.items():
        equity = sum(-leg["value"] if leg["is_debt"] else leg["value"] for leg in others)
        opposite = [
            leg
            for leg in others
            if in_position(leg) and leg["is_debt"] != largest["is_debt"] and leg["asset_id"] == largest["asset_id"]
        ]
        if opposite and equity > 0:
            notional = sum(leg["value"] for leg in others if in_position(leg))
            queue.append((-notional / equity, name, equity))
    queue.sort()
    cuts = auto_deleverage(closed.bad, [equity for *_, equity in queue], pro_rata)
    for (_, name, _), cut in zip(queue, cuts, strict=True):
        collateral = [leg for leg in healthy[name] if not leg["is_debt"]]
        kept = 1 - cut / sum(leg["value"] for leg in collateral)
        for leg in collateral:
            leg["amount"] *= kept
            leg["value"] *= kept
    return sum(cuts)


def _rows(name: str, own: list[Leg], closed: Closed) -> list[list[Any]]:
    """What was done, by leg: each side's figures go to its legs by what was taken of them."""
    debt = sum(closed.taken[leg["leg"]] for leg in own if leg["is_debt"])
    collateral = sum(closed.taken[leg["leg"]] for leg in own if not leg["is_debt"])
    if debt + collateral <= 0:
        return []
    repaid = max(0.0, debt - closed.bad - closed.moved_debt)
    seized = max(0.0, collateral - closed.moved_collateral)
    rows = []
    for leg in own:
        total = debt if leg["is_debt"] else collateral
        share = closed.taken[leg["leg"]] / total if total > 0 else 0.0
        tokens = share / leg["price"] if leg["price"] > 0 else 0.0
        trades = closed.trades is None or leg["leg"] in closed.trades
        if leg["is_debt"]:
            row = [0.0, closed.bought * tokens * trades, closed.bad * tokens, repaid * share, 0.0, 0.0]
        else:
            row = [seized * tokens * trades, 0.0, 0.0, 0.0, seized * share, 0.0]
        rows.append([name, leg["leg"], *row])
    return rows
