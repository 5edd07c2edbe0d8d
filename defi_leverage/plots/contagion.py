"""Heat map of contagion between venues; matplotlib comes with the extra `defi-leverage[plots]`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from defi_leverage.plots.style import GREY, INK, money, new_figure, shorten, write_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

__all__ = ["plot_contagion"]


def plot_contagion(
    matrix: pd.DataFrame, names: Mapping[str, str] | None = None, venues: int = 20, title: str = ""
) -> "Figure":
    """Extra loss of each venue (column) by the liquidations at each other (row), USD, red a loss and blue a gain.

    `matrix`: of `contagion_matrix`; `names`: venue_id -> name. The `venues` with the largest effects are drawn, what a
    venue does to itself is hatched and does not set the scale. Raises ValueError for a matrix without venues,
    ConfigError where matplotlib is not installed.
    """
    if not len(matrix):
        raise ValueError("the matrix has no venues to draw")
    values = matrix.to_numpy(float)
    others = np.where(np.eye(len(matrix), dtype=bool), 0.0, np.abs(values))
    size = others.sum(axis=0) + others.sum(axis=1)
    kept = np.sort(np.argsort(-size, kind="stable")[:venues])
    shown, scale = values[np.ix_(kept, kept)], float(others.max()) or 1.0
    labels = [(names or {}).get(str(matrix.index[place]), "") or str(matrix.index[place]) for place in kept]
    labels = [shorten(label) for label in labels]
    side = 3 + 0.55 * len(kept)
    figure = new_figure(side + 1.5, side)
    axes = figure.add_subplot()
    image = axes.imshow(np.clip(shown, -scale, scale), cmap="RdBu_r", vmin=-scale, vmax=scale)
    for row in range(len(kept)):
        for column in range(len(kept)):
            if row == column:
                axes.add_patch(_hatched((row - 0.5, row - 0.5)))
            if abs(shown[row, column]) >= 0.005 * scale:
                dark = abs(shown[row, column]) > 0.6 * scale
                text = money(shown[row, column])
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else INK)
    axes.set_xticks(range(len(kept)), labels, rotation=45, ha="right", fontsize=8, parse_math=False)
    axes.set_yticks(range(len(kept)), labels, fontsize=8, parse_math=False)
    axes.set_xlabel("loses more")
    axes.set_ylabel("because of liquidations at")
    left_out = len(matrix) - len(kept)
    heading = title or "Contagion between venues"
    write_title(axes, heading + (f" ({left_out} smaller left out)" if left_out else ""))
    figure.colorbar(image, ax=axes, label="extra loss", shrink=0.8, format=lambda value, _: money(value))
    return figure


def _hatched(corner: tuple[float, float]) -> "Rectangle":
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    return Rectangle(corner, 1, 1, fill=False, hatch="///", edgecolor=GREY, linewidth=0)
