"""Liquidity that is lent: the pools of lending markets, and how much of each is borrowed."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from defi_leverage.snapshot import Snapshot

__all__ = ["borrowed_share", "lent_liquidity", "perp_venues"]


def borrowed_share(borrowed: ArrayLike, liquidity: ArrayLike) -> NDArray[np.float64]:
    """Share of a pool's liquidity that is borrowed: borrowed / (borrowed + what is left); nan where there is neither.

    Both in one unit. It is the borrow usage ratio of Aave v3 (technical paper, 2022;
    DefaultReserveInterestRateStrategy), and the utilisation of every protocol that divides by no more and no less.
    """
    debt, cash = np.asarray(borrowed, float), np.asarray(liquidity, float)
    whole = debt + cash
    share: NDArray[np.float64] = np.divide(debt, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return share


def lent_liquidity(snapshot: Snapshot) -> pd.DataFrame:
    """One row a market that lends from a pool: venue_id, asset_id, pool, borrowed_usd, available_usd; by `rates`.

    At the assets' market prices. `pool` names whose liquidity it is, and is the venue's own where several markets share
    none: sum each pool's asset once. Left out is what nobody lends: coins that the venue mints, collateral that cannot
    be borrowed, perps, and markets whose rates are not known.
    """
    rates = snapshot.rates
    minted = snapshot.backing[snapshot.backing["kind"] == "minted_against"]
    keys = ["venue_id", "asset_id"]
    mints = pd.MultiIndex.from_frame(rates[keys]).isin(pd.MultiIndex.from_frame(minted[keys]))
    lends = rates["utilisation"].notna() & (rates["borrow_rate"].notna() | (rates["borrowed"] > 0)) & ~mints
    found = rates[lends & (rates["venue_id"] != "") & ~rates["venue_id"].isin(perp_venues(snapshot))]
    price = found["asset_id"].map(snapshot.assets.set_index("asset_id")["price_usd"]).to_numpy(float)
    return pd.DataFrame(
        {
            **{name: found[name].to_numpy(object) for name in keys},
            "pool": np.where(found["pool"] == "", found["venue_id"], found["pool"]),
            "borrowed_usd": found["borrowed"].to_numpy(float) * price,
            "available_usd": found["available"].to_numpy(float) * price,
        }
    )


def perp_venues(snapshot: Snapshot) -> set[str]:
    """venue_id of the venues that have a perp market, or an account with a position."""
    held = snapshot.accounts["account_id"].isin(snapshot.perps["account_id"])
    return set(snapshot.perp_markets["venue_id"]) | set(snapshot.accounts.loc[held, "venue_id"])
