"""What a liquidation earns its liquidator in the market, slippage included."""

import numpy as np

from defi_leverage.contagion.book import Book, Floats
from defi_leverage.contagion.records import Liquidations

__all__ = ["profits"]


def profits(
    book: Book,
    rows: Liquidations,
    price: Floats,
    sales: Floats,
    depth_multiplier: float = 1.0,
    sell_collateral: bool = True,
    buy_debt: bool = True,
) -> Floats:
    """USD that each row earns: what its sale fetches less what its purchase costs, at market prices `price` by asset.

    Each liquidator is alone in the market as the round finds it, after cumulative net `sales` (tokens by asset); what
    others do in the same round it does not know. Slippage is that of the asset's own market (the mean price between
    before and after, from the integral of its impact), not of the quote asset's. An asset that is not traded
    (`sell_collateral`, `buy_debt`), or has no market, counts at `price`.
    """
    collateral, debt = book.leg_asset[rows.collateral_leg], book.leg_asset[rows.debt_leg]
    fetched, cost = rows.sold * price[collateral], rows.bought * price[debt]
    for market in book.markets:
        at = sales[market.asset] / depth_multiplier
        before, factor = market.impact.proceeds(at), market.impact.factor(at)
        for tokens, value, assets, traded in (
            (rows.sold, fetched, collateral, sell_collateral),
            (-rows.bought, cost, debt, buy_debt),
        ):
            chosen = np.flatnonzero((assets == market.asset) & (tokens != 0))
            if traded and chosen.size:
                paid = np.abs(market.impact.proceeds(at + tokens[chosen] / depth_multiplier) - before)
                value[chosen] = price[market.asset] / factor * paid * depth_multiplier
    return np.nan_to_num(fetched - cost, nan=-np.inf)
