"""The leverage cycle: leverage and volatility over time, and the rule between them."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from defi_leverage.plots.style import BAD, BLUE, GREY, finish_axes, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_leverage_cycle"]


def plot_leverage_cycle(history: pd.DataFrame, fit: pd.DataFrame) -> "Figure":
    """Left: leverage by time, and the critical leverage; right: leverage by volatility, and the fitted target.

    `history` and `fit`: of `derived_tables.cycle_tables`, leverage_history and leverage_cycle. Raises ConfigError where
    matplotlib is not installed.
    """
    from matplotlib.dates import ConciseDateFormatter  # noqa: PLC0415
    from matplotlib.ticker import PercentFormatter  # noqa: PLC0415

    (row,) = fit.to_dict("records")
    figure = new_figure(11, 4.2)
    left, right = figure.subplots(1, 2)
    left.plot(history["time"], history["leverage"], color=BLUE, marker="o", markersize=3, label="aggregate leverage")
    if np.isfinite(row["critical_leverage"]):
        left.axhline(row["critical_leverage"], color=BAD, linestyle="--", label="critical leverage of the model")
    left.set_ylim(bottom=1)
    left.legend(frameon=False)
    dates: Any = ConciseDateFormatter
    left.xaxis.set_major_formatter(dates(left.xaxis.get_major_locator()))
    finish_axes(left, "Leverage of borrowers", "", "supplied over equity")
    seen = history.dropna(subset=["volatility"])
    right.scatter(seen["volatility"], seen["leverage"], color=BLUE, s=18, label="a scan")
    variance = np.geomspace(seen["variance"].min() + row["s0"], seen["variance"].max() + row["s0"], 100)
    per_step = seen["volatility"].max() / np.sqrt(seen["variance"].max())
    right.plot(
        np.sqrt(np.maximum(variance - row["s0"], 0)) * per_step,
        row["alpha"] * variance ** row["b"],
        color=GREY,
        label=f"fit: b = {row['b']:.2f}, R² = {row['r_squared']:.2f}",
    )
    right.xaxis.set_major_formatter(PercentFormatter(1.0))
    right.legend(frameon=False)
    finish_axes(right, "Leverage by volatility", "volatility of the collateral, a year", "supplied over equity")
    return figure
