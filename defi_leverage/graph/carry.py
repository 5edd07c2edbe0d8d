"""Carry of leveraged accounts: what their supplies earn, what their debts cost, and when the difference ends them.

Rates are yearly and compounded continuously (the snapshot's table `rates`). A supplied leg earns its venue's supply
rate and what the asset earns by itself; a debt costs the venue's borrow rate and what the borrowed asset earns by
itself, because that is owed back. Funding of a perp is in the venue's rates. A rate that is missing gives nan, never
zero.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.health import account_health, leg_values
from defi_leverage.snapshot import Snapshot

__all__ = ["CARRY_COLUMNS", "account_carry", "own_yields"]

CARRY_COLUMNS = ("supply_yield", "borrow_rate", "net_carry", "break_even_borrow_rate", "days_to_liquidation")
_DAYS = 365  # a protocol's year: SECONDS_PER_YEAR of Aave v3 MathUtils.sol is 365 days

_Floats = NDArray[np.float64]


def own_yields(snapshot: Snapshot) -> "pd.Series[float]":
    """What one unit's worth of each asset earns by itself, a year, by asset_id; nan where it is not known.

    Its row in `rates` without a venue; else that of what it wraps, or of what it is a deposit of plus that venue's
    supply rate (several parts: nan unless all earn the same); else 0 for a plain token or dollar, whose kind says that
    it is no claim that earns.
    """
    rates = snapshot.rates
    lent = dict(zip(zip(rates["asset_id"], rates["venue_id"], strict=True), rates["supply_rate"].tolist(), strict=True))
    backing = snapshot.backing[snapshot.backing["kind"].isin(["wraps", "deposited"])]
    parts: dict[str, list[tuple[str, str]]] = {}
    for asset_id, underlying_id, kind, venue_id in zip(
        *(backing[name] for name in ("asset_id", "underlying_id", "kind", "venue_id")), strict=True
    ):
        parts.setdefault(asset_id, []).append((underlying_id, venue_id if kind == "deposited" else ""))
    derived = set(snapshot.backing["asset_id"])
    plain = snapshot.assets["kind"].isin(["token", "usd"]) & ~snapshot.assets["asset_id"].isin(derived)
    plain_ids = set(snapshot.assets.loc[plain, "asset_id"])
    deposits = set(backing.loc[backing["kind"] == "deposited", "asset_id"])
    known: dict[str, float] = {}

    def find(asset_id: str, above: tuple[str, ...]) -> float:
        if asset_id in known:
            return known[asset_id]
        if (asset_id, "") in lent:
            found = float(lent[asset_id, ""])
        elif asset_id in plain_ids:
            found = 0.0
        elif asset_id in above:  # it is its own backing
            return float("nan")
        else:
            inner = {
                find(base, (*above, asset_id)) + (lent.get((base, venue), np.nan) if asset_id in deposits else 0.0)
                for base, venue in parts.get(asset_id, [])
            }
            found = inner.pop() if len(inner) == 1 else float("nan")
        known[asset_id] = found
        return found

    found = {asset_id: find(asset_id, ()) for asset_id in snapshot.assets["asset_id"]}
    return pd.Series(found, dtype=float).rename_axis("asset_id")


def account_carry(snapshot: Snapshot) -> pd.DataFrame:
    """One row an account, in the accounts table's order, indexed by account_id; all rates a year, as fractions.

    - supply_yield: of all that is supplied, by value; borrow_rate: of all debt
    - net_carry: on equity, L s - (L - 1) b with leverage L (Heimbach & Huang, BIS Working Paper 1171; `net_yield`);
      nan where equity is not positive
    - break_even_borrow_rate: the borrow rate at which the carry is zero, s L / (L - 1) = s * supplied / debt; inf
      without debt
    - days_to_liquidation: until interest alone brings the health factor to 1, at today's rates and prices that move
      only by what assets earn (feeds of kind fixed do not): ln(HF) / (growth of debt - growth of weighted collateral).
      Exact for one collateral and one debt; with several, at growths weighted by today's value. 0 at or below 1, inf
      where debt does not grow faster

    A column is nan where a leg of any value lacks the rate that it needs.
    """
    legs, value = snapshot.legs, leg_values(snapshot)
    account = pd.Index(snapshot.accounts["account_id"]).get_indexer(pd.Index(legs["account_id"]))
    is_debt = (legs["side"] == "debt").to_numpy()
    lending, own = _leg_rates(snapshot, account, is_debt)
    fixed = legs["feed_id"].map(snapshot.feeds.set_index("feed_id")["kind"] == "fixed").to_numpy(bool)
    growth = lending + np.where(fixed, 0.0, own)  # of what the health factor counts
    weighted = value * legs["weight"].to_numpy(float)

    def mean(rates: _Floats, size: _Floats, of: "NDArray[np.bool_]") -> _Floats:
        """By account, weighted by size; 0 where there is nothing, nan where a rate is missing."""
        used = of & (size > 0)
        paid, whole = (np.bincount(account[used], part[used], len(snapshot.accounts)) for part in (rates * size, size))
        ratio: _Floats = np.divide(paid, whole, out=np.zeros(len(whole)), where=whole > 0)
        return ratio

    health = account_health(snapshot)
    supplied, debt, equity = (health[name].to_numpy(float) for name in ("supplied_usd", "debt_usd", "equity_usd"))
    supply, borrow = mean(lending + own, value, ~is_debt), mean(lending + own, value, is_debt)
    factor = health["health_factor"].to_numpy(float)
    widening = mean(growth, weighted, is_debt) - mean(growth, weighted, ~is_debt)
    with np.errstate(divide="ignore", invalid="ignore"):
        carry = np.where(equity > 0, (supplied * supply - debt * borrow) / equity, np.nan)
        break_even = np.where(debt > 0, supply * supplied / debt, np.inf)
        days = np.where(widening > 0, np.log(factor) / widening * _DAYS, np.inf)
    days = np.where(np.isnan(widening), np.nan, days)
    days = np.where(np.isinf(factor), np.inf, np.where(factor <= 1, 0.0, days))
    columns = (supply, np.where(debt > 0, borrow, np.nan), carry, break_even, days)
    return pd.DataFrame(dict(zip(CARRY_COLUMNS, columns, strict=True)), index=health.index)


def _leg_rates(
    snapshot: Snapshot, account: "NDArray[np.intp]", is_debt: "NDArray[np.bool_]"
) -> tuple[_Floats, _Floats]:
    """Per leg, the venue's rate of its side, and what the asset earns by itself."""
    legs, rates = snapshot.legs, snapshot.rates
    asset_ids, venue_ids = pd.Index(snapshot.assets["asset_id"]), pd.Index(snapshot.venues["venue_id"])
    tables = np.full((2, len(venue_ids) + 1, len(asset_ids)), np.nan)
    at = venue_ids.get_indexer(pd.Index(rates["venue_id"])), asset_ids.get_indexer(pd.Index(rates["asset_id"]))
    for side, name in enumerate(("supply_rate", "borrow_rate")):
        tables[(side, *at)] = rates[name]  # rows without a venue go to the last line, which nobody reads
    venue = venue_ids.get_indexer(pd.Index(snapshot.accounts["venue_id"]))[account]
    asset = asset_ids.get_indexer(pd.Index(legs["asset_id"]))
    lending: _Floats = tables[is_debt.astype(int), venue, asset]
    return lending, own_yields(snapshot).to_numpy(float)[asset]
