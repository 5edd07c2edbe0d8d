"""Leverage and margin of whole markets and venues: collateral against open interest, long against short, funding."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from defi_leverage.analytics.holdings import account_exposures, named_venues, open_positions, sum_over_sum
from defi_leverage.analytics.lending import borrowed_share, lent_liquidity
from defi_leverage.snapshot import Snapshot

__all__ = ["MARKET_COLUMNS", "VENUE_COLUMNS", "market_measures", "open_interest_imbalance", "venue_measures"]

MARKET_COLUMNS = (
    *("venue_id", "venue", "asset_id", "symbol", "price_usd", "open_interest_long_usd", "open_interest_short_usd"),
    *("imbalance", "funding_rate", "funding_of_longs_usd", "positions", "read_share", "notional_usd", "margin_usd"),
    *("margin_ratio", "leverage", "leverage_long", "leverage_short", "maximum_leverage"),
    *("negative_equity_positions", "negative_equity_notional_usd", "insurance_fund_usd", "insurance_ratio"),
)
VENUE_COLUMNS = (
    *("venue_id", "venue", "accounts", "levered_accounts", "exposure_usd", "debt_usd", "equity_usd", "leverage"),
    *("maximum_leverage", "headroom", "margin_ratio", "liquidatable_accounts"),
    *("negative_equity_accounts", "negative_equity_usd", "borrowed_share"),
)


def open_interest_imbalance(long: ArrayLike, short: ArrayLike) -> NDArray[np.float64]:
    """Leverage skew of a market: (long - short) / (long + short), from -1 (all short) to 1; nan without open interest.

    Both in one unit. Of such an imbalance over the total open interest GMX v2 makes its funding rate (README of
    gmx-synthetics, Funding Fees).
    """
    above, below = np.asarray(long, float), np.asarray(short, float)
    whole = above + below
    ratio: NDArray[np.float64] = np.divide(above - below, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return ratio


def market_measures(snapshot: Snapshot) -> pd.DataFrame:
    """One row a perp market (MARKET_COLUMNS), the largest open interest or notional first.

    - open_interest_long_usd, _short_usd: the venue's own totals at its mark; imbalance: see `open_interest_imbalance`
    - funding_rate: 1/year, positive where longs pay; funding_of_longs_usd: USD a year that all longs pay at that pace
    - positions, notional_usd: of the accounts read; read_share: their size over the venue's open interest
    - margin_usd: their equity, of an account with several positions by notional; margin_ratio: margin over notional,
      collateral against open interest; leverage, leverage_long, leverage_short: notional over margin (sum over sum)
    - maximum_leverage: at which a position can be opened
    - positions of accounts without positive equity are in none of the three, but counted apart
    - insurance_ratio: the insurance fund (of the whole venue) over the market's larger side

    What the venue does not tell is nan.
    """
    positions = open_positions(snapshot)
    account = account_exposures(snapshot).loc[positions["account_id"]]
    equity, whole = (account[name].to_numpy(float) for name in ("equity_usd", "exposure_usd"))
    notional = positions["notional_usd"].to_numpy(float)
    share = np.divide(notional, whole, out=np.zeros(len(whole)), where=whole > 0)
    positions = positions.assign(margin_usd=equity * share, solvent=equity > 0)
    told = {(str(row["venue_id"]), str(row["asset_id"])): row for row in snapshot.perp_markets.to_dict("records")}
    price = snapshot.assets.set_index("asset_id")["price_usd"]
    by_market = {(str(key[0]), str(key[1])): rows for key, rows in positions.groupby(["venue_id", "asset_id"])}
    names, symbols = named_venues(snapshot), snapshot.assets.set_index("asset_id")["symbol"]
    rows = []
    for venue_id, asset_id in sorted(told.keys() | by_market.keys()):
        held = by_market.get((venue_id, asset_id), positions.iloc[:0])
        mark = float(held["price_usd"].iloc[0]) if len(held) else float(price[asset_id])
        rows.append(
            {"venue_id": venue_id, "venue": names[venue_id], "asset_id": asset_id, "symbol": symbols[asset_id]}
            | _market_row(held, told.get((venue_id, asset_id), {}), mark)
        )
    table = pd.DataFrame(rows, columns=list(MARKET_COLUMNS))
    size = table[["open_interest_long_usd", "open_interest_short_usd", "notional_usd"]].max(axis=1)
    return table.iloc[np.argsort(-size.to_numpy(float), kind="stable")].reset_index(drop=True)


def _market_row(held: pd.DataFrame, told: dict[Any, Any], mark: float) -> dict[str, Any]:
    nan = float("nan")
    long, short = (float(told.get(f"open_interest_{side}", nan)) * mark for side in ("long", "short"))
    rate, fund = float(told.get("funding_rate", nan)), float(told.get("insurance_fund_usd", nan))
    solvent = held[held["solvent"]]
    longs, shorts = solvent[solvent["size"] > 0], solvent[solvent["size"] < 0]
    return {
        "price_usd": mark,
        "open_interest_long_usd": long,
        "open_interest_short_usd": short,
        "imbalance": float(open_interest_imbalance(long, short)),
        "funding_rate": rate,
        "funding_of_longs_usd": rate * long,
        "positions": len(held),
        "read_share": float(held["notional_usd"].sum()) / (long + short) if long + short > 0 else nan,
        "notional_usd": float(held["notional_usd"].sum()),
        "margin_usd": float(solvent["margin_usd"].sum()),
        "margin_ratio": sum_over_sum(solvent["margin_usd"], solvent["notional_usd"]),
        "leverage": sum_over_sum(solvent["notional_usd"], solvent["margin_usd"]),
        "leverage_long": sum_over_sum(longs["notional_usd"], longs["margin_usd"]),
        "leverage_short": sum_over_sum(shorts["notional_usd"], shorts["margin_usd"]),
        "maximum_leverage": float(told.get("maximum_leverage", nan)),
        "negative_equity_positions": len(held) - len(solvent),
        "negative_equity_notional_usd": float(held["notional_usd"].sum() - solvent["notional_usd"].sum()),
        "insurance_fund_usd": fund,
        "insurance_ratio": fund / max(long, short) if max(long, short) > 0 else nan,
    }


def venue_measures(snapshot: Snapshot) -> pd.DataFrame:
    """One row a venue (VENUE_COLUMNS), the largest exposure first, and a last one, `all`, with an empty venue_id.

    Sums are of accounts that owe or have a position, and have positive equity: exposure_usd, debt_usd, equity_usd;
    leverage, exposure over equity; maximum_leverage, exposure over required equity; headroom, 1 - one over the other;
    margin_ratio, equity over exposure. Leverage is the sum over the sum, as in Heimbach & Huang (BIS Working Paper
    1171, 2024), never a mean. negative_equity_usd, of the accounts left out: equity not positive, as a negative number.
    borrowed_share: of the liquidity of the pools that the venue lends from (`lent_liquidity`), all together, in USD;
    nan where it lends none, or does not tell.
    """
    accounts = account_exposures(snapshot)
    names = named_venues(snapshot)
    held = {str(venue_id): rows for venue_id, rows in accounts.groupby("venue_id")}
    parts = [(venue_id, name, held.get(venue_id, accounts.iloc[:0])) for venue_id, name in names.items()]
    table = pd.DataFrame([_venue_row(*part) for part in parts], columns=list(VENUE_COLUMNS))
    table = table.iloc[np.argsort(-table["exposure_usd"].to_numpy(float), kind="stable")]
    whole = pd.DataFrame([_venue_row("", "all", accounts)], columns=list(VENUE_COLUMNS))
    table = pd.concat([table, whole], ignore_index=True)
    return table.assign(borrowed_share=table["venue_id"].map(_borrowed_shares(snapshot)).astype(float))


def _borrowed_shares(snapshot: Snapshot) -> "pd.Series[float]":
    """By venue_id, "" for all: `borrowed_share` of the pools, each once; nan where the amounts of one are not told."""
    pools = lent_liquidity(snapshot)
    pools = pd.concat([pools, pools.assign(venue_id="")]).drop_duplicates(["venue_id", "pool", "asset_id"])
    amounts = ["borrowed_usd", "available_usd"]
    sums = pools.groupby("venue_id")[amounts].sum()
    sums[pools[amounts].isna().any(axis=1).groupby(pools["venue_id"]).any()] = np.nan
    return pd.Series(borrowed_share(sums["borrowed_usd"], sums["available_usd"]), index=sums.index)


def _venue_row(venue_id: str, name: str, accounts: pd.DataFrame) -> dict[str, Any]:
    levered = accounts[accounts["levered"]]
    solvent, insolvent = levered[levered["equity_usd"] > 0], levered[~(levered["equity_usd"] > 0)]
    exposure, equity, required = (solvent[f"{name}_usd"] for name in ("exposure", "equity", "required_equity"))
    return {
        "venue_id": venue_id,
        "venue": name,
        "accounts": len(accounts),
        "levered_accounts": len(levered),
        "exposure_usd": float(exposure.sum()),
        "debt_usd": float(solvent["debt_usd"].sum()),
        "equity_usd": float(equity.sum()),
        "leverage": sum_over_sum(exposure, equity),
        "maximum_leverage": sum_over_sum(exposure, required),
        "headroom": 1 - sum_over_sum(required, equity),
        "margin_ratio": sum_over_sum(equity, exposure),
        "liquidatable_accounts": int((levered["health_factor"] < 1).sum()),
        "negative_equity_accounts": len(insolvent),
        "negative_equity_usd": float(insolvent["equity_usd"].sum()),
    }
