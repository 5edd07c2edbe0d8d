"""Fire sales of banks above a leverage limit, into markets with a price floor.

Cont & Schaanning (2017, 'Fire sales, indirect contagion and systemic stress testing', Norges Bank Working Paper
2/2017). A bank is anything with marketable assets, equity and debt: an account, a vault, a venue. Unlike where everyone
keeps its leverage at all times, nothing is sold until a limit is passed, and small shocks do nothing at all.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from defi_leverage.networks.inputs import Floats, as_matrix, as_vector, refuse, scale

__all__ = ["FireSale", "market_depth_usd", "overlap_matrix", "price_drop", "run_fire_sale"]


@dataclass(frozen=True, eq=False, slots=True)
class FireSale:
    """What a run of fire sales did, round by round.

    `banks`, one row a round and bank: leverage at its start (inf without equity), sold_share of every marketable asset,
    loss_usd, equity_usd and holdings_usd after it. `markets`, one row a round and asset: sold_usd, price_drop (a share)
    and price after it. `leverage`, `equity_usd` and `holdings_usd` (banks x assets) at the end. `converged`: nobody is
    left above the limit with anything to sell; `residual`: what a further round would sell, as a share of all holdings.
    """

    banks: pd.DataFrame
    markets: pd.DataFrame
    leverage: Floats
    equity_usd: Floats
    holdings_usd: csr_array
    converged: bool
    residual: float


def market_depth_usd(
    daily_volume_usd: ArrayLike, volatility: ArrayLike, *, scale: float = 0.4, days: float = 20.0
) -> Floats:
    """Market depth D = c * ADV / sigma * sqrt(tau), USD (Cont & Schaanning 2017).

    `volatility`: sigma of daily returns; `scale`: c; `days`: the liquidation horizon tau.
    """
    depth: Floats = scale * np.asarray(daily_volume_usd, float) / np.asarray(volatility, float) * np.sqrt(days)
    return depth


def price_drop(
    sold_usd: ArrayLike, depth_usd: ArrayLike, price: ArrayLike, start_price: ArrayLike, floor_price: ArrayLike
) -> Floats:
    """Relative fall of a price that sales cause: (1 - B/S) * (1 - exp(-q / delta)), delta = (1 - B/S0) * D.

    `price` S now, `start_price` S0, `floor_price` B, in one unit. The price never falls below the floor, and the first
    USD sold moves it by 1/D. Source: Cont & Schaanning 2017.
    """
    sold, price_now, floor = np.asarray(sold_usd, float), np.asarray(price, float), np.asarray(floor_price, float)
    delta = (1 - floor / np.asarray(start_price, float)) * np.asarray(depth_usd, float)
    drop: Floats = (1 - floor / price_now) * -np.expm1(-sold / delta)
    return drop


def overlap_matrix(holdings_usd: ArrayLike | csr_array, depth_usd: ArrayLike) -> csr_array:
    """Liquidity-weighted overlap Omega[i, j] = sum over assets of Pi[i, m] Pi[j, m] / D[m], USD (banks x banks).

    What j loses, to first order, when i sells everything. Source: Cont & Schaanning 2017.
    """
    holdings = as_matrix(holdings_usd, "holdings_usd")
    depth = _as_depth(depth_usd, holdings.shape[1])
    return csr_array(scale(holdings, columns=1 / depth) @ holdings.T)


def run_fire_sale(
    holdings_usd: ArrayLike | csr_array,
    illiquid_usd: ArrayLike,
    equity_usd: ArrayLike,
    loss_usd: ArrayLike,
    depth_usd: ArrayLike,
    *,
    leverage_limit: ArrayLike,
    leverage_target: ArrayLike,
    price: ArrayLike = 1.0,
    floor_price: ArrayLike = 0.5,
    execution: float = 0.5,
    max_rounds: int = 1000,
) -> FireSale:
    """Fire sales of banks above a leverage limit, round by round, until none is left (Cont & Schaanning 2017).

    `holdings_usd`: marketable assets, banks x assets (n x k, dense or sparse); `illiquid_usd`, `equity_usd` and the
    first `loss_usd` on the illiquid assets: n; `depth_usd`: D of `market_depth_usd`, k, positive. `leverage_limit` and
    `leverage_target` (assets over equity, at most the limit): n, or one number. `price` and `floor_price`: k, or one
    number, the floor below the price. `execution`: share a of the fall that a seller bears on what it sells.

    Each round, with leverage lam = (sum Pi + I) / C above the limit, a bank sells the fraction
    Gamma = min(1, (sum Pi + I - target * C) / sum Pi) of every marketable asset, all banks at the same prices; prices
    fall by Psi (`price_drop`); everybody loses (1 - (1 - a) Gamma) * sum Pi Psi; equity ends at 0, and a bank without
    any sells all. Stops when nobody sells, or after `max_rounds`: then `converged` is False. Raises ValueError for
    arguments out of range.
    """
    holdings = as_matrix(holdings_usd, "holdings_usd")
    banks, assets = holdings.shape
    depth, start = _as_depth(depth_usd, assets), as_vector(price, "price", assets)
    floor = as_vector(floor_price, "floor_price", assets)
    refuse(floor >= start, "floor_price", "must be below the price")
    loss = as_vector(loss_usd, "loss_usd", banks)
    illiquid = as_vector(illiquid_usd, "illiquid_usd", banks) - loss
    refuse(illiquid < 0, "loss_usd", "must not exceed illiquid_usd")
    equity = np.maximum(as_vector(equity_usd, "equity_usd", banks) - loss, 0.0)
    limit, target = (
        as_vector(values, name, banks)
        for values, name in ((leverage_limit, "leverage_limit"), (leverage_target, "leverage_target"))
    )
    refuse(target > limit, "leverage_target", "must be at most leverage_limit")
    if not 0 <= execution <= 1:
        raise ValueError(f"execution {execution} must be in [0, 1]")
    row = np.repeat(np.arange(banks), np.diff(holdings.indptr))
    now = start.copy()
    bank_rows: list[tuple[Floats, ...]] = []
    market_rows: list[tuple[Floats, ...]] = []
    while True:
        marketable = holdings.sum(axis=1)
        leverage = _ratio(marketable + illiquid, equity)
        wanted = np.where(leverage > limit, marketable + illiquid - target * equity, 0.0)
        fraction = np.minimum(np.divide(wanted, marketable, out=np.zeros(banks), where=marketable > 0), 1.0)
        sold = holdings.T @ fraction
        if not fraction.any() or len(bank_rows) >= max_rounds:
            break
        drop = price_drop(sold, depth, now, start, floor)
        lost = (1 - (1 - execution) * fraction) * (holdings @ drop)
        now = now * (1 - drop)
        equity = np.maximum(equity - lost, 0.0)
        holdings.data *= (1 - fraction)[row] * (1 - drop)[holdings.indices]
        bank_rows.append((leverage, fraction, lost, equity, holdings.sum(axis=1)))
        market_rows.append((sold, drop, now))
    return FireSale(
        banks=_rounds_table(bank_rows, "bank", banks, _BANK_COLUMNS),
        markets=_rounds_table(market_rows, "asset", assets, _MARKET_COLUMNS),
        leverage=leverage,
        equity_usd=equity,
        holdings_usd=holdings,
        converged=not fraction.any(),
        residual=float(sold.sum()) / total if (total := float(marketable.sum())) > 0 else 0.0,
    )


_BANK_COLUMNS = ("leverage", "sold_share", "loss_usd", "equity_usd", "holdings_usd")
_MARKET_COLUMNS = ("sold_usd", "price_drop", "price")


def _rounds_table(
    rounds: list[tuple[Floats, ...]], member: str, members: int, columns: tuple[str, ...]
) -> pd.DataFrame:
    """One row a round (from 1) and member; `rounds`: what each column is in each round, one element a member."""
    values = np.array(rounds).transpose(0, 2, 1).reshape(-1, len(columns)) if rounds else np.zeros((0, len(columns)))
    table = pd.DataFrame(values, columns=list(columns))
    table.insert(0, "round", np.repeat(np.arange(1, len(rounds) + 1), members))
    table.insert(1, member, np.tile(np.arange(members), len(rounds)))
    return table


def _ratio(above: Floats, below: Floats) -> Floats:
    """above / below; inf below 0 equity, but 0 where there are no assets either."""
    bare = np.where(above > 0, np.inf, 0.0)
    return np.divide(above, below, out=bare, where=below > 0)


def _as_depth(depth_usd: ArrayLike, assets: int) -> Floats:
    depth = as_vector(depth_usd, "depth_usd", assets)
    refuse(depth <= 0, "depth_usd", "must be positive")
    return depth
