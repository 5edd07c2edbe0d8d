"""What ends positions, drawn: rate curves with what a withdrawal does on them, and the scope of liquidations."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from defi_leverage.analytics.rate_curves import borrow_rate
from defi_leverage.plots.style import COLOURS, finish_axes, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_rate_curves", "plot_scope"]


def plot_rate_curves(markets: pd.DataFrame, names: Mapping[str, str] | None = None) -> "Figure":
    """Borrow rate by utilisation of each market, with where it stands (hollow) and where the withdrawal leaves it.

    `markets`: of `rates_after_withdrawal`, of which the first few (the largest) are drawn; `names`: venue_id -> name.
    Raises ValueError for a table without markets, ConfigError where matplotlib is not installed.
    """
    if markets.empty:
        raise ValueError("there is no market to draw")
    shown = markets.head(len(COLOURS))
    figure = new_figure(8.5, 5)
    axes = figure.add_subplot()
    for colour, row in zip(COLOURS, shown.to_dict("records"), strict=False):
        ends = row["utilisation_before"], min(row["utilisation_after"], 1.5)
        used = np.linspace(0, max(1.0, *ends), 401)
        parameters = json.loads(row["rate_parameters"])
        rates = [borrow_rate(row["rate_model"], parameters, at) for at in used]
        venue = (names or {}).get(row["venue_id"]) or row["venue_id"]
        axes.plot(used, rates, color=colour, linewidth=1.2, label=f"{row['symbol']}, {shorten(venue)}")
        axes.plot(ends[0], row["borrow_rate_before"], "o", color=colour, markerfacecolor="white")
        axes.plot(ends[1], borrow_rate(row["rate_model"], parameters, ends[1]), "o", color=colour)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylim(bottom=0)
    for text in axes.legend(frameon=False, fontsize=8).get_texts():
        text.set_parse_math(False)
    left_out = len(markets) - len(shown)
    more = f" ({left_out} smaller left out)" if left_out else ""
    finish_axes(axes, f"Before (hollow) and after the withdrawal{more}", "utilisation", "borrow rate a year")
    return figure


def plot_scope(venues: pd.DataFrame, names: Mapping[str, str] | None = None) -> "Figure":
    """Share of each venue's debt that could be forced closed by scenario: at once (dashed), and by the cascade's end.

    `venues`: of `liquidation_scope`, of which those with the most debt in scope are drawn; `names`: venue_id -> name.
    Raises ValueError for an empty table, ConfigError where matplotlib is not installed.
    """
    if venues.empty:
        raise ValueError("there is no venue to draw")
    reached = venues.groupby("venue_id")["debt_usd"].max().sort_values(ascending=False, kind="stable")
    scenarios = list(dict.fromkeys(venues["scenario"]))
    figure = new_figure(8.5, 5)
    axes = figure.add_subplot()
    for colour, venue_id in zip(COLOURS, reached.index, strict=False):
        for stage, line in (("shock", "--"), ("cascade", "-")):
            rows = venues[(venues["venue_id"] == venue_id) & (venues["stage"] == stage)].set_index("scenario")
            label = shorten((names or {}).get(venue_id) or venue_id) if stage == "cascade" else None
            values = rows["share_of_debt"].reindex(scenarios).to_numpy(float)
            axes.plot(range(len(scenarios)), values, line, color=colour, marker="o", markersize=3, label=label)
    axes.set_xticks(range(len(scenarios)), scenarios, rotation=45, ha="right", parse_math=False)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylim(bottom=0)
    for text in axes.legend(frameon=False, fontsize=8).get_texts():
        text.set_parse_math(False)
    left_out = max(len(reached) - len(COLOURS), 0)
    more = f" ({left_out} smaller left out)" if left_out else ""
    finish_axes(axes, f"In scope at once (dashed) and after the cascade{more}", "", "share of the venue's debt")
    return figure
