"""Figures of a stress test: shock ladders, grids, the distribution of losses, liquidation-at-price curves.

Each function takes the tables of a `StressReport` and returns a matplotlib Figure (see `plots`).
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from defi_leverage.plots.style import (
    BAD,
    BLUE,
    COLOURS,
    GREY,
    INK,
    finish_axes,
    money,
    new_figure,
    shorten,
    to_png,
    write_title,
)
from defi_leverage.stress.report import StressReport
from defi_leverage.stress.risk import expected_shortfall, value_at_risk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

__all__ = ["draw_stress", "plot_curve", "plot_draws", "plot_grid", "plot_rungs"]

_LINES = 5  # depth multipliers that one figure tells apart


def draw_stress(report: StressReport) -> dict[str, bytes]:
    """The figures of a report as PNG by file name: ladder_1.png, grid_1.png, draws_1.png, curve_1.png and so on.

    Only sets all of whose scenarios are there are drawn; a grid and draws once for each depth multiplier.
    """
    figures: dict[str, bytes] = {}
    for kind, figure in _figures(report):
        number = sum(name.startswith(f"{kind}_") for name in figures) + 1
        figures[f"{kind}_{number}.png"] = to_png(figure)
    return figures


def _figures(report: StressReport) -> "Iterator[tuple[str, Figure]]":
    for (kind, name), rows in report.scenarios.groupby(["kind", "set"], sort=False):
        title = str(name)
        if kind == "ladder" and rows["change"].nunique() > 1:
            yield "ladder", plot_rungs(rows, title)
        for depth, at_depth in rows.groupby("depth_multiplier", sort=False):
            suffix = "" if depth == 1 else f", depth x{depth:g}"
            if kind == "grid":
                yield "grid", plot_grid(at_depth, title + suffix)
            elif kind == "draws" and len(report.risk) and (report.risk["depth_multiplier"] == depth).any():
                yield "draws", plot_draws(at_depth["bad_debt_usd"], report.confidence, title, f"bad debt{suffix}, USD")
    if len(report.curves):
        for _, curve in report.curves.groupby("asset_id", sort=False):
            if len(curve) > 1:
                yield "curve", plot_curve(curve)


def plot_rungs(rungs: pd.DataFrame, name: str) -> "Figure":
    """USD liquidated and bad debt at each change of a price; a line for each depth multiplier.

    `rungs`: rows with change (fraction), depth_multiplier, seized_usd, bad_debt_usd; `name`: what changes.
    """
    figure = new_figure(8, 5.5)
    upper, lower = figure.subplots(2, 1, sharex=True)
    depths = list(rungs.groupby("depth_multiplier", sort=False))[:_LINES]
    for axes, column, colour, label in (
        (upper, "seized_usd", BLUE, "liquidated, USD"),
        (lower, "bad_debt_usd", BAD, "bad debt, USD"),
    ):
        for (depth, rows), other in zip(depths, COLOURS, strict=False):
            line = rows.sort_values("change")
            percent, usd = line["change"].to_numpy(float) * 100, line[column].to_numpy(float)
            ink = colour if len(depths) == 1 else other
            axes.plot(percent, usd, color=ink, marker="o", ms=4, lw=2, label=f"depth x{depth:g}")
            if len(depths) == 1:
                axes.fill_between(percent, usd, color=ink, alpha=0.15)
        finish_axes(axes, f"The price of {name} changes" if axes is upper else "", "", label)
        axes.set_ylim(0, max(float(rungs[column].max()) * 1.1, 1))
        axes.yaxis.set_major_formatter(lambda value, _: money(value))
    if len(depths) > 1:
        upper.legend(loc="best")
    lower.set_xlabel("change of the price, %")
    if (rungs["change"] <= 0).all():
        lower.invert_xaxis()  # worse to the right
    figure.align_ylabels()
    return figure


def plot_grid(cells: pd.DataFrame, name: str, measure: str = "bad_debt_usd") -> "Figure":
    """Heat map of a measure over two changes at once.

    `cells`: rows with change, second_change (fractions) and the measure in USD; `name`: the two, as 'A by B'.
    """
    table = cells.pivot_table(index="change", columns="second_change", values=measure, sort=True)
    table = table.sort_index(ascending=False).sort_index(axis=1, ascending=False)  # worse to the right and below
    values = table.to_numpy(float)
    figure = new_figure(max(6.0, 2.6 + 0.75 * values.shape[1]), max(3.2, 1.9 + 0.42 * values.shape[0]))
    axes = figure.add_subplot()
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=max(float(values.max()), 1.0), aspect="auto")
    axes.set_xticks(range(values.shape[1]), [_percent(change) for change in table.columns.to_numpy(float)])
    axes.set_yticks(range(values.shape[0]), [_percent(change) for change in table.index.to_numpy(float)])
    if values.size <= 400:
        for row, column in np.ndindex(*values.shape):
            ink = "black" if values[row, column] > 0.5 * values.max() else "white"
            text = money(float(values[row, column]))
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink, parse_math=False)
    first, _, second = name.partition(" by ")
    other, _, suffix = second.partition(", depth")
    axes.set_ylabel(f"change of {shorten(first)}", parse_math=False)
    axes.set_xlabel(f"change of {shorten(other)}", parse_math=False)
    label = measure.removesuffix("_usd").replace("_", " ")
    write_title(axes, f"{label[:1].upper()}{label[1:]}, USD{', depth' + suffix if suffix else ''}")
    bar = figure.colorbar(image, ax=axes)
    bar.ax.yaxis.set_major_formatter(lambda value, _: money(value))
    return figure


def plot_draws(losses: "pd.Series[float]", confidence: float, title: str, label: str = "bad debt, USD") -> "Figure":
    """Distribution of losses in USD over equally likely draws, with VaR and expected shortfall.

    Above how many draws lose about how much (log scale), below the probability of losing more.
    """
    usd = np.sort(losses.to_numpy(float))
    at_risk, shortfall = value_at_risk(usd, confidence), expected_shortfall(usd, confidence)
    figure = new_figure(8, 5.5)
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.hist(usd, bins=min(60, max(10, len(usd) // 20)), color=GREY)
    upper.set_yscale("log")
    exceeded = 1 - np.arange(1, len(usd) + 1) / len(usd)
    lower.step(usd, exceeded, where="post", color=INK, lw=2)
    lower.set_yscale("log")
    lower.set_ylim(0.5 / len(usd), 1.3)
    for axes in (upper, lower):
        for value, colour, name in (
            (at_risk, BLUE, f"VaR {confidence:.4g}: {money(at_risk)}"),
            (shortfall, BAD, f"expected shortfall: {money(shortfall)}"),
        ):
            axes.axvline(value, color=colour, lw=2, ls="--", label=name)
    legend = upper.legend(loc="upper right")
    for text in legend.get_texts():
        text.set_parse_math(False)
    finish_axes(upper, title, "", "draws")
    finish_axes(lower, "", label, "probability of more")
    lower.xaxis.set_major_formatter(lambda value, _: money(value))
    figure.align_ylabels()
    return figure


def plot_curve(curve: pd.DataFrame) -> "Figure":
    """What could be liquidated at each price of one asset, before any sale moves it.

    `curve`: from `liquidation_curve`, with a column symbol.
    """
    rows = curve.sort_values("price_usd")
    price = rows["price_usd"].to_numpy(float)
    symbol = shorten(str(rows["symbol"].iloc[0]))
    today = float((rows["price_usd"] / (1 + rows["change"])).iloc[0])
    figure = new_figure(8, 5.5)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for column, colour, style, label in (
        ("collateral_usd", BLUE, "-", "their collateral"),
        ("debt_usd", BAD, "--", "their debt"),
    ):
        upper.step(price, rows[column].to_numpy(float), where="post", color=colour, ls=style, lw=2, label=label)
    lower.step(price, rows["accounts"].to_numpy(float), where="post", color=GREY, lw=2)
    lower.fill_between(price, rows["accounts"].to_numpy(float), step="post", color=GREY, alpha=0.3)
    for axes in (upper, lower):
        if price[0] <= today <= price[-1]:
            axes.axvline(today, color=INK, lw=1, ls=":", label=f"today: ${today:,.6g}")
        axes.set_ylim(bottom=0)
    for text in upper.legend(loc="best").get_texts():
        text.set_parse_math(False)
    finish_axes(upper, f"Below health factor 1 at each price of {symbol}, before any sale", "", "USD")
    finish_axes(lower, "", "", "accounts")
    lower.set_xlabel(f"market price of {symbol}, USD", parse_math=False)
    upper.yaxis.set_major_formatter(lambda value, _: money(value))
    lower.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    figure.align_ylabels()
    return figure


def _percent(change: float) -> str:
    return f"{change * 100:+.4g} %" if change else "0 %"
