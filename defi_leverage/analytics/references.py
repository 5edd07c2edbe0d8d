"""Yardsticks of leverage: Kelly, a volatility target, and the multiplier of portfolio insurance with its gap risk.

None of them says what leverage is right; each says against what a cluster's leverage is high.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from defi_leverage.analytics.drivers import resolve_by_driver
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot

__all__ = [
    "REFERENCE_COLUMNS",
    "cluster_references",
    "cppi_cushion",
    "cppi_exposure",
    "cppi_gap_probability",
    "cppi_gap_shortfall",
    "cppi_multiplier_bound",
    "falls_per_year",
    "kelly_fraction",
    "kelly_growth",
    "volatility_target_leverage",
]

Array = NDArray[np.float64]

REFERENCE_COLUMNS = (
    *("cluster_id", "cluster", "leverage", "asset_id", "symbol", "volatility", "expected_return"),
    *("kelly_leverage", "times_kelly", "target_leverage", "times_target", "gap_leverage", "times_gap"),
    *("gap_probability", "gap_shortfall"),
)


def kelly_fraction(expected_return: ArrayLike, risk_free_rate: ArrayLike, volatility: ArrayLike) -> Array:
    """Share of wealth in one asset that maximises its growth: (mu - r) / sigma^2; nan at volatility 0.

    Yearly and continuous: mu the drift of the price (arithmetic), r the rate, sigma the volatility. Source: Thorp, The
    Kelly Criterion in Blackjack, Sports Betting and the Stock Market, Handbook of Asset and Liability Management 1
    (2006), equation 7.3, after Merton (1969).
    """
    premium, sigma = np.broadcast_arrays(
        np.asarray(expected_return, float) - np.asarray(risk_free_rate, float), np.asarray(volatility, float)
    )
    share: Array = np.divide(premium, sigma**2, out=np.full(premium.shape, np.nan), where=sigma != 0)
    return share


def kelly_growth(fraction: ArrayLike, expected_return: float, risk_free_rate: float, volatility: float) -> Array:
    """Growth of log wealth with a constant fraction f in the asset, 1/year: r + f (mu - r) - f^2 sigma^2 / 2.

    Largest at `kelly_fraction`, r again at twice that, and below r beyond. Source: Thorp (2006), section 7.
    """
    share = np.asarray(fraction, float)
    growth: Array = risk_free_rate + share * (expected_return - risk_free_rate) - share**2 * volatility**2 / 2
    return growth


def volatility_target_leverage(target_volatility: ArrayLike, volatility: ArrayLike) -> Array:
    """Leverage at which the equity has the target volatility: target / sigma; nan at volatility 0. Both yearly.

    Source: Harvey et al., The Impact of Volatility Targeting, Journal of Portfolio Management 45 (2018).
    """
    target, sigma = np.broadcast_arrays(np.asarray(target_volatility, float), np.asarray(volatility, float))
    ratio: Array = np.divide(target, sigma, out=np.full(target.shape, np.nan), where=sigma != 0)
    return ratio


def cppi_exposure(multiplier: ArrayLike, value: ArrayLike, floor: ArrayLike) -> Array:
    """Exposure of constant proportion portfolio insurance: m (V - F), 0 once the floor is broken. USD in, USD out.

    Source: Black & Perold, Theory of Constant Proportion Portfolio Insurance, Journal of Economic Dynamics and Control
    16 (1992).
    """
    cushion = np.asarray(value, float) - np.asarray(floor, float)
    exposure: Array = np.asarray(multiplier, float) * np.maximum(cushion, 0.0)
    return exposure


def cppi_cushion(cushion: ArrayLike, multiplier: ArrayLike, asset_return: ArrayLike) -> Array:
    """Cushion V - F after one return r without a trade in between: C (1 + m r); below 0 the floor is broken.

    Rates of 0. Source: Black & Perold (1992); Cont & Tankov (2009).
    """
    left: Array = np.asarray(cushion, float) * (1 + np.asarray(multiplier, float) * np.asarray(asset_return, float))
    return left


def cppi_multiplier_bound(gap: ArrayLike) -> Array:
    """The largest multiplier whose floor holds against a fall `gap` (0.2 is 20 %) within one step: 1 / gap.

    It is the leverage, too, at which such a gap takes all of the equity. Source: Black & Perold (1992); Cont & Tankov,
    Constant Proportion Portfolio Insurance in the Presence of Jumps in Asset Prices, Mathematical Finance 19 (2009).
    Raises ValueError for a gap outside (0, 1].
    """
    fall = np.asarray(gap, float)
    if not ((fall > 0) & (fall <= 1)).all():
        raise ValueError(f"gap {gap!r} must be above 0 and at most 1")
    bound: Array = 1 / fall
    return bound


def falls_per_year(fall: ArrayLike, jumps_per_year: ArrayLike, mean_jump: ArrayLike) -> Array:
    """Expected number a year of jumps down that take at least `fall` (0.2: 20 %) of the price: lambda (1 - g)^(1/eta).

    lambda: `jumps_per_year`, of jumps down; eta: `mean_jump`, mean of their log size, which is exponential; 0 for a
    fall of 1 or more. Source: the Levy measure of Kou, A Jump-Diffusion Model for Option Pricing, Management Science 48
    (2002), below ln(1 - g), as Cont & Tankov (2009) use it. Raises ValueError for a mean that is not above 0.
    """
    size, count, mean = np.broadcast_arrays(*(np.asarray(given, float) for given in (fall, jumps_per_year, mean_jump)))
    if not (mean > 0).all():
        raise ValueError(f"mean_jump {mean_jump!r} must be above 0, such as 0.03 for jumps of 3 % on average")
    expected: Array = count * np.clip(1 - size, 0.0, 1.0) ** (1 / mean)
    return expected


def cppi_gap_probability(jumps_per_year: ArrayLike, years: float) -> Array:
    """Probability that the floor is broken within `years`: 1 - exp(-T nu((-1, -1/m])).

    `jumps_per_year`: expected number of falls of at least 1 / multiplier within one step, nu of that set, such as
    `falls_per_year` finds. Source: Cont & Tankov (2009), proposition on the probability of loss: between jumps the
    cushion stays positive. Their figures were not at hand: it is checked against simulated insurance.
    """
    probability: Array = -np.expm1(-np.asarray(jumps_per_year, float) * years)
    return probability


def cppi_gap_shortfall(multiplier: ArrayLike, mean_jump: ArrayLike) -> Array:
    """Mean loss below the floor, at the jump that breaks it, over the cushion before it: (m - 1) eta / (1 + eta).

    Of jumps as in `falls_per_year`: what one takes beyond 1 / m is exponential again, so that the price keeps
    (1 - 1/m) / (1 + eta) on average, and the cushion 1 + m ((1 - 1/m) / (1 + eta) - 1). Of a position with leverage m
    it is the mean bad debt over its equity. nan for a multiplier of at most 1, which no fall breaks.
    """
    ratio, mean = np.broadcast_arrays(np.asarray(multiplier, float), np.asarray(mean_jump, float))
    return np.where(ratio > 1, (ratio - 1) * mean / (1 + mean), np.nan)


def cluster_references(
    snapshot: Snapshot,
    clusters: pd.DataFrame,
    volatilities: Mapping[str, float] | None = None,
    expected_returns: Mapping[str, float] | None = None,
    *,
    risk_free_rate: float = float("nan"),
    target_volatility: float = float("nan"),
    gap: float = float("nan"),
    jumps_per_year: float = float("nan"),
    mean_jump: float = float("nan"),
) -> pd.DataFrame:
    """How far above the references each cluster's leverage stands: one row a cluster, in the given order.

    `clusters`: of `find_clusters` (cluster_id, cluster, assets, directions, leverage). The asset is the most volatile
    of those whose fall the cluster is about; nan where a volatility of those is missing, and for clusters of rises
    only, whose accounts are short of it. The leverage is taken as if all of it were in that asset. kelly_leverage,
    target_leverage and gap_leverage are `kelly_fraction`, `volatility_target_leverage` and `cppi_multiplier_bound`;
    times_* is leverage over that (inf where it is not above 0: none is warranted). gap_probability: that within a year
    one jump of `jumps_per_year` down, with `mean_jump` as mean log size (`falls_per_year`), takes all equity of the
    cluster at its leverage (`cppi_gap_probability`); gap_shortfall: the mean bad debt that it then leaves, over the
    equity before it (`cppi_gap_shortfall`). The gap and the jumps are held to be those of every asset: ask once for
    each kind, such as coins and stablecoins, where they differ. What is not given is nan.

    Raises SnapshotError or ScenarioError as `resolve_by_driver`, and ScenarioError for a figure out of range.
    """
    sigma = resolve_by_driver(snapshot, volatilities, "volatility")
    drift = resolve_by_driver(snapshot, expected_returns, "expected return")
    if not (np.isnan(gap) or 0 < gap <= 1):
        raise ScenarioError(f"gap {gap} must be above 0 and at most 1, such as 0.2 for a fall of 20 %")
    if not (np.isnan(target_volatility) or 0 < target_volatility < np.inf):
        raise ScenarioError(f"target volatility {target_volatility} must be above 0, such as 0.4 for 40 % a year")
    if np.isinf(risk_free_rate):
        raise ScenarioError(f"risk-free rate {risk_free_rate} must be finite, such as 0.04 for 4 % a year")
    if np.isnan(jumps_per_year) != np.isnan(mean_jump):
        raise ScenarioError(f"jumps per year {jumps_per_year:g}, mean jump {mean_jump:g}: give both, or neither")
    if not (np.isnan(mean_jump) or (0 <= jumps_per_year < np.inf and 0 < mean_jump < np.inf)):
        raise ScenarioError(
            f"jumps per year {jumps_per_year:g}, mean jump {mean_jump:g}: at least 0 and above 0, such as 10 and 0.03"
        )
    symbols = snapshot.assets.set_index("asset_id")["symbol"]
    rows: list[dict[str, Any]] = []
    for row in clusters.to_dict("records"):
        sides = zip(row["assets"].split(", "), row["directions"].split(", "), strict=True)
        falling = [asset for asset, direction in sides if direction == "fall"]
        known = bool(falling) and all(asset in sigma for asset in falling)
        asset = max(falling, key=lambda name: sigma[name]) if known else ""
        volatility, expected = sigma.get(asset, np.nan), drift.get(asset, np.nan)
        references = {
            "kelly": float(kelly_fraction(expected, risk_free_rate, volatility)),
            "target": float(volatility_target_leverage(target_volatility, volatility)),
            "gap": 1 / gap if falling else np.nan,
        }
        found = {"asset_id": asset, "symbol": symbols.get(asset, ""), "volatility": volatility}
        found |= {"expected_return": expected}
        for name, reference in references.items():
            found[f"{name}_leverage"] = reference
            found[f"times_{name}"] = float("inf") if reference <= 0 else row["leverage"] / reference
        found |= _gap_risk(row["leverage"] if falling else np.nan, jumps_per_year, mean_jump)
        rows.append({name: row[name] for name in ("cluster_id", "cluster", "leverage")} | found)
    return pd.DataFrame(rows, columns=list(REFERENCE_COLUMNS))


def _gap_risk(leverage: float, jumps_per_year: float, mean_jump: float) -> dict[str, float]:
    if np.isnan(leverage) or np.isnan(mean_jump):
        return {"gap_probability": np.nan, "gap_shortfall": np.nan}
    breaking = falls_per_year(1 / max(leverage, 1.0), jumps_per_year, mean_jump)
    return {
        "gap_probability": float(cppi_gap_probability(breaking, 1.0)),
        "gap_shortfall": float(cppi_gap_shortfall(leverage, mean_jump)),
    }
