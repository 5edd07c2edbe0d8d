"""Insolvency at market prices: what lenders lose where an oracle does not move.

Under a fixed or stale feed nobody is below 1, nobody is liquidated and no debt is ever called bad, while the collateral
may be worth nothing. The loss is there all the same: every borrower's debt beyond the market value of the collateral.
It falls on those who supply the debt's asset at that venue, and on everything whose backing is a claim on that supply.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from defi_leverage.contagion.book import Book, Floats
from defi_leverage.contagion.engine import resolve_shocks
from defi_leverage.contagion.losses import account_shortfalls
from defi_leverage.contagion.prices import market_prices, supplied_tokens
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.networks.exposures import spread_bad_debt, supply_exposures
from defi_leverage.snapshot import Snapshot

__all__ = ["Insolvency", "insolvency_at_market", "lender_losses"]

_MOST_ROUNDS = 1000
_SETTLED = 1e-9  # of the whole loss


class Insolvency(NamedTuple):
    """What is lost at market prices.

    `losses`: account_id, venue_id, asset_id (of the debt), amount (tokens), usd at the market, one row a debt, the
    layout of bad debt; `prices`: market price by asset_id, with the loss passed on along backing; `haircuts`: asset_id,
    symbol, venue_id, haircut, as of a run; `rounds`: how often a loss lowered a share that is collateral itself.
    """

    losses: pd.DataFrame
    prices: "pd.Series[float]"
    haircuts: pd.DataFrame
    rounds: int


def insolvency_at_market(snapshot: Snapshot, result: ContagionResult) -> Insolvency:
    """Debt beyond the collateral's market value at the end of a run, by account, venue and asset; with its bad debt.

    `result`: of `run_contagion` on this snapshot. An account's shortfall is max(0, debt - counted collateral) at market
    prices, shared among its debts by value. With the bad debt of the run it is taken, pro rata, out of the claims of
    the venue's suppliers (haircut = tokens lost / tokens supplied, at most 1); claims that are collateral elsewhere
    make the next shortfall, until nothing changes. Losses only grow from round to round and are bounded by the debt, so
    this ends. Morpho Blue shares a market's bad debt among its suppliers in this way (Morpho.sol, liquidate: 'bad debt
    is realized by socializing the loss among suppliers').
    """
    book = result.book
    shock, _ = resolve_shocks(snapshot, result.scenario, book)
    supplied = supplied_tokens(book)
    realised = result.bad_debt[["account_id", "venue_id", "asset_id", "amount", "usd"]]
    lost_before = np.zeros_like(supplied)
    where = tuple(
        pd.Index(ids).get_indexer(pd.Index(realised[column]))
        for ids, column in ((book.venue_ids, "venue_id"), (book.asset_ids, "asset_id"))
    )
    np.add.at(lost_before, where, realised["amount"].to_numpy(float))
    haircut, rounds, total = _haircut(lost_before, supplied), 0, -1.0
    while True:
        price = market_prices(book, shock, result.net_sales, result.scenario.depth_multiplier, haircut)
        tokens = _short_tokens(book, result.amount, price)
        usd = float((tokens * price[book.leg_asset]).sum())
        if usd - total <= _SETTLED * usd or rounds == _MOST_ROUNDS:
            break
        total, lost = usd, lost_before.copy()
        np.add.at(lost, (book.account_venue[book.leg_account], book.leg_asset), tokens)
        following = _haircut(lost, supplied)
        if np.array_equal(following, haircut) or not book.claims:
            break
        haircut, rounds = following, rounds + 1
    legs = np.flatnonzero(tokens > 0)
    account = book.leg_account[legs]
    short = pd.DataFrame(
        {
            "account_id": book.account_ids[account],
            "venue_id": book.venue_ids[book.account_venue[account]],
            "asset_id": book.asset_ids[book.leg_asset[legs]],
            "amount": tokens[legs],
            "usd": tokens[legs] * price[book.leg_asset[legs]],
        }
    )
    losses = pd.concat([part for part in (realised, short) if len(part)] or [short], ignore_index=True)
    index = pd.Index(book.asset_ids, name="asset_id")
    haircuts = replace(result, haircut=haircut, price_path=price[None]).haircuts
    return Insolvency(losses, pd.Series(price, index, name="price_usd"), haircuts, rounds)


def lender_losses(snapshot: Snapshot, losses: pd.DataFrame) -> pd.DataFrame:
    """Who bears these losses: one row a lender, the largest loss first.

    `losses`: of `insolvency_at_market`, or any bad debt (venue_id, asset_id, amount, usd). Columns: owner ('': nobody
    in the snapshot supplies that asset), loss_usd, supplied_usd (all that the owner supplies, at the oracle's prices),
    loss_share (of that). Shared pro rata among the suppliers of each asset at each venue, as `spread_bad_debt` does.
    """
    exposures = supply_exposures(snapshot)
    table = spread_bad_debt(exposures, losses).groupby("owner")["loss_usd"].sum().reset_index()
    supplied = exposures.groupby("owner")["supplied_usd"].sum()
    table["supplied_usd"] = table["owner"].map(supplied).fillna(0.0).astype(float)
    table["loss_share"] = table["loss_usd"] / table["supplied_usd"].where(table["supplied_usd"] > 0)
    return table.sort_values(["loss_usd", "owner"], ascending=[False, True], ignore_index=True)


def _haircut(lost: Floats, supplied: Floats) -> Floats:
    share: Floats = np.minimum(np.divide(lost, supplied, out=np.zeros_like(lost), where=supplied > 0), 1.0)
    return share


def _short_tokens(book: Book, amount: Floats, price: Floats) -> Floats:
    """Tokens of every debt leg that its account's collateral does not cover: the same share of all its debts."""
    leg_price = price[book.leg_asset]
    owed = np.where(book.is_debt, amount * leg_price, 0.0)
    debt = np.bincount(book.leg_account, weights=owed, minlength=len(book.account_ids))
    short = account_shortfalls(book, amount, leg_price)
    share = np.divide(short, debt, out=np.zeros_like(short), where=debt > 0)
    tokens: Floats = np.where(book.is_debt, amount * share[book.leg_account], 0.0)
    return tokens
