"""The costly parts of the ranking of clusters by the plain engine, one state and one run at a time: a reference."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from defi_leverage.clusters.crossings import CrossingBook
from defi_leverage.clusters.leave_one_out import LEAVE_ONE_OUT_COLUMNS, ReferenceLoss
from defi_leverage.contagion.book import Book, Floats
from defi_leverage.contagion.engine import account_health_factors, liquidate, net_sales, run_contagion
from defi_leverage.contagion.layout import CompactBook
from defi_leverage.contagion.losses import account_losses, leave_alone
from defi_leverage.contagion.prices import feed_prices, impact_factors, market_prices
from defi_leverage.snapshot import Snapshot


def price_responses(crossing: CrossingBook, before: Floats, after: Floats, *, inherited: bool) -> Floats:
    pairs = zip(before, after, strict=True)
    return np.array([_response(crossing.book, one, other, inherited) for one, other in pairs]).reshape(after.shape)


def _response(book: Book, before: Floats, after: Floats, inherited: bool) -> Floats:
    none = np.zeros(len(book.price))
    price = market_prices(book, after, none)
    feed = feed_prices(book, price)
    factors = account_health_factors(book, book.amount, feed)
    healthy = account_health_factors(book, book.amount, feed_prices(book, market_prices(book, before, none))) >= 1
    crossing = np.flatnonzero(healthy & (factors < 1))
    if not crossing.size:
        return none
    sales = net_sales(book, liquidate(book, book.amount.copy(), feed, factors, crossing), price)
    left = market_prices(book, after, sales) / price if inherited else impact_factors(book, sales)
    response: Floats = np.minimum(left, 2.0) - 1
    return response


def leave_one_out(
    snapshot: Snapshot,
    members: Mapping[str, Sequence[str]],
    references: Sequence[ReferenceLoss],
    book: Book,
    compact: CompactBook | None = None,
) -> pd.DataFrame:
    rows = {}
    for name, accounts in members.items():
        inside = pd.Index(book.account_ids).isin(list(accounts))
        others = leave_alone(book, inside)
        loss, own, spillover = 0.0, 0.0, 0.0
        for scenario in (run.scenario for run in references):
            run = run_contagion(snapshot, scenario, book)
            whole = account_losses(run)
            loss, own = loss + whole.sum(), own + whole[inside].sum()
            if {*run.liquidations["account_id"], *run.bad_debt["account_id"]} & set(accounts):
                without = account_losses(run_contagion(snapshot, scenario, others))
                spillover += (whole - without)[~inside].sum()
        rows[name] = (loss, own, spillover, (own + spillover) / loss if loss > 0 else float("nan"))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(LEAVE_ONE_OUT_COLUMNS))
