"""What all figures share: colours, titles, labels of money, and the way to a PNG file.

Colours are the palette of Okabe & Ito (2008), which people with colour blindness tell apart.
"""

import io
import warnings
from typing import TYPE_CHECKING

from defi_leverage.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BAD",
    "BLUE",
    "COLOURS",
    "GREY",
    "INK",
    "finish_axes",
    "money",
    "new_figure",
    "shorten",
    "to_png",
    "write_title",
]

COLOURS = ("#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#D55E00")
BLUE, BAD, GREY, INK = "#0072B2", "#D55E00", "#9A9A9A", "#222222"


def to_png(figure: "Figure") -> bytes:
    """The figure as the bytes of a PNG file."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # names of tokens may have signs that no font has: they are drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(content, format="png")
    return content.getvalue()


def new_figure(width: float, height: float) -> "Figure":
    """An empty white figure of that size in inches. Raises ConfigError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  an extra: the rest of the package works without it
    except ImportError as error:
        raise ConfigError("plots need matplotlib; install it with: pip install 'defi-leverage[plots]'") from error
    return Figure(figsize=(width, height), dpi=120, layout="constrained", facecolor="white")


def write_title(axes: "Axes", title: str) -> None:
    """The title of a panel, on the left."""
    # names and dollar signs are no formulas: parse_math is off wherever they are written
    axes.set_title(shorten(title, 80), loc="left", fontsize=12, color=INK, parse_math=False)


def shorten(name: str, longest: int = 24) -> str:
    """A name on one line, cut where it is too long."""
    name = " ".join(name.split())  # names of tokens are whatever their deployer wrote
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def finish_axes(axes: "Axes", title: str, x_label: str, y_label: str) -> None:
    """Title, labels and grid of a panel."""
    write_title(axes, title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def money(usd: float) -> str:
    """USD in three significant digits: $1.23B, $45.6M, $789."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(usd) >= 0.9995 * size:
            return f"${usd / size:.3g}{unit}"
    return f"${usd:.3g}"
