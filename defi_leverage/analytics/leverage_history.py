"""The leverage cycle calibrated on a history of snapshots: how leverage follows volatility, and how close it is to the
leverage at which such a rule makes its own cycles.

What a history tells is alpha and b of the target leverage alpha * (variance + s0)^b (Aymanns, Caccioli, Farmer & Tan
2016, see `leverage_cycle`); everything else is the model's that is passed in, and stated with the answer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from defi_leverage.analytics.leverage_cycle import LeverageCycle, critical_leverage
from defi_leverage.errors import SnapshotError
from defi_leverage.health import account_health, leg_values
from defi_leverage.snapshot import Snapshot

__all__ = [
    "LEAST_SNAPSHOTS",
    "Calibration",
    "calibrate_leverage_cycle",
    "fit_leverage_cycle",
    "leverage_and_volatility",
]

LEAST_SNAPSHOTS = 3
_LARGEST_EXPONENT = 700.0  # of a float
_STEP_YEARS = 0.1  # of the model's step (Aymanns et al. 2016)
_YEAR_SECONDS = 365.25 * 86400


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a history says of the leverage cycle; leverages are numbers, 1 is none.

    `alpha`, `b`: of the target leverage; `points`: observations in the fit; `r_squared`: of the fit (nan where leverage
    never changed). `actual_leverage`: of the last snapshot; `critical_leverage`: at which the model loses its stability
    (inf: at none; alpha and b do not matter to it); `headroom`: critical over actual leverage, less 1. `model`: with
    alpha and b put in, for `simulate`.
    """

    alpha: float
    b: float
    points: int
    r_squared: float
    actual_leverage: float
    critical_leverage: float
    headroom: float
    model: LeverageCycle


def leverage_and_volatility(
    history: Sequence[tuple[datetime, Snapshot]], decay: float = LeverageCycle().d
) -> pd.DataFrame:
    """One row a snapshot, by time: leverage, price_return, variance (a step of 0.1 year) and volatility (a year).

    Only the venues that every snapshot has count: one that is added to the scans is no change of leverage.
    leverage: sum of what borrowers supplied over the sum of their equity, of accounts with debt and positive equity.
    price_return: log return, since the snapshot before, of the basket that the earlier one holds as collateral, at
    feed prices. variance: (1 - d) * variance + d * return^2 with returns and decay scaled to the time between the
    snapshots; the first one that there is counts in full. The first row has leverage alone. Raises SnapshotError for
    fewer than three snapshots, times that do not rise, a snapshot without leverage, an asset whose price is gone.
    """
    if len(history) < LEAST_SNAPSHOTS:
        raise SnapshotError(
            f"history has {len(history)} snapshots; a line through leverage and volatility needs at least "
            f"{LEAST_SNAPSHOTS}, at different times",
            snapshots=len(history),
        )
    common = set.intersection(*(set(snapshot.venues["venue_id"]) for _, snapshot in history))
    if not common:
        raise SnapshotError("history: no venue is in every snapshot; compare scans of the same markets")
    rows, variance = [], math.nan
    for at, (time, snapshot) in enumerate(history):
        moved, years = math.nan, math.nan
        if at:
            before, earlier = history[at - 1]
            years = (time - before).total_seconds() / _YEAR_SECONDS
            if not years > 0:
                raise SnapshotError(
                    f"history: {time} does not come after {before}; give the snapshots in order of time"
                )
            moved = _basket_return(earlier, snapshot, time, common)
            steps = years / _STEP_YEARS
            kept = (1 - decay) ** steps
            squared = moved**2 / steps
            variance = squared if math.isnan(variance) else kept * variance + (1 - kept) * squared
        rows.append((time, _leverage(snapshot, time, common), moved, variance, math.sqrt(variance / _STEP_YEARS)))
    return pd.DataFrame(rows, columns=["time", "leverage", "price_return", "variance", "volatility"]).set_index("time")


def _leverage(snapshot: Snapshot, time: datetime, venues: set[str]) -> float:
    health = account_health(snapshot)
    inside = snapshot.accounts["venue_id"].isin(venues).to_numpy(bool)
    chosen = health[inside & (health["debt_usd"] > 0) & (health["equity_usd"] > 0)]
    if chosen.empty:
        raise SnapshotError(f"the snapshot of {time} has no account with debt and equity; leave it out of the history")
    return float(chosen["supplied_usd"].sum() / chosen["equity_usd"].sum())


def _basket_return(before: Snapshot, after: Snapshot, time: datetime, venues: set[str]) -> float:
    """Log return of what `before` holds as collateral at `venues`, by feeds."""
    inside = before.accounts.loc[before.accounts["venue_id"].isin(venues), "account_id"]
    held = (before.legs["side"] == "collateral") & (before.legs["weight"] > 0) & before.legs["account_id"].isin(inside)
    value = pd.Series(leg_values(before)[held]).groupby(before.legs.loc[held, "feed_id"].to_numpy(object)).sum()
    value = value[value > 0]
    old, new = (snapshot.feeds.set_index("feed_id")["price_usd"] for snapshot in (before, after))
    if gone := sorted(set(value.index) - set(new.index)):
        raise SnapshotError(
            f"the snapshot of {time} lacks feed {', '.join(map(str, gone[:3]))}, in which the one before "
            "has collateral; compare scans of the same markets",
            feeds=gone,
        )
    if value.empty:
        raise SnapshotError(f"the snapshot before {time} has no collateral; leave it out of the history")
    ratio = (new[value.index] / old[value.index]).to_numpy(float)
    return math.log(float((value.to_numpy(float) * ratio).sum() / value.sum()))


def calibrate_leverage_cycle(
    history: Sequence[tuple[datetime, Snapshot]], model: LeverageCycle | None = None
) -> Calibration:
    """`fit_leverage_cycle` on the `leverage_and_volatility` of a history. Raises SnapshotError as these do.

    `history`: (time, snapshot) in order of time, at least three. `model`: all other parameters, the paper's by default;
    the actual leverage is to be held against the critical one of that model, not against the world's.
    """
    base = model or LeverageCycle()
    return fit_leverage_cycle(leverage_and_volatility(history, base.d), base)


def fit_leverage_cycle(series: pd.DataFrame, model: LeverageCycle) -> Calibration:
    """alpha and b by least squares of log leverage on log (variance + s0), and critical against actual leverage.

    `series`: of `leverage_and_volatility`, with the decay of `model`. Raises SnapshotError where the variance never
    changes, so that no slope can be told, or no alpha is a number.
    """
    seen = series.dropna()
    across = np.log(seen["variance"].to_numpy(float) + model.s0)
    along = np.log(seen["leverage"].to_numpy(float))
    if np.ptp(across) < 1e-9:
        raise SnapshotError(
            f"variance is {float(seen['variance'].iloc[0]):g} in every snapshot, so that leverage cannot be told to "
            "follow it; give a history in which prices moved differently",
        )
    b, intercept = (float(value) for value in np.polyfit(across, along, 1))
    if abs(intercept) > _LARGEST_EXPONENT:
        raise SnapshotError(
            f"leverage moved by {np.ptp(along):.2g} and variance by {np.ptp(across):.2g} (log), a target with b = "
            f"{b:.3g} that no alpha has; give a longer history, in which prices moved differently",
            b=b,
        )
    spread = float(((along - along.mean()) ** 2).sum())
    missed = float(((along - intercept - b * across) ** 2).sum())
    fitted = replace(model, alpha=math.exp(intercept), b=b)
    critical, actual = critical_leverage(fitted), float(series["leverage"].iloc[-1])
    return Calibration(
        alpha=fitted.alpha,
        b=b,
        points=len(seen),
        r_squared=1 - missed / spread if spread > 0 else math.nan,
        actual_leverage=actual,
        critical_leverage=critical,
        headroom=critical / actual - 1,
        model=fitted,
    )
