"""The command on a history of scans: how leverage followed volatility, and how far it is from a cycle of its own."""
# ruff: noqa: PLC0415 - each command imports what it needs, so that --help answers at once.

from pathlib import Path
from typing import Annotated

import typer

from defi_leverage.commands.options import JsonOption, print_json

__all__ = ["cycle"]


def cycle(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where scans are written, such as out.")],
    last: Annotated[int, typer.Option(min=3, help="The latest scans that are used.")] = 30,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Tables and a figure go here.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How leverage followed volatility in the scans of a folder, against the leverage that makes cycles of its own."""
    from defi_leverage.analytics.leverage_history import LEAST_SNAPSHOTS
    from defi_leverage.commands import console
    from defi_leverage.derived_tables import cycle_tables
    from defi_leverage.errors import SnapshotError
    from defi_leverage.history import load_history
    from defi_leverage.logs import show_progress
    from defi_leverage.plots.cycle import plot_leverage_cycle
    from defi_leverage.plots.style import to_png
    from defi_leverage.store import encode_table, write_whole
    from defi_leverage.summary import plain

    if not folder.is_dir():
        raise SnapshotError(f"{folder}: no such folder; name the one that scans are written to, such as out")
    with show_progress() as progress:
        history = load_history(folder, last, progress)
    if len(history) < LEAST_SNAPSHOTS:
        raise SnapshotError(
            f"{folder} has {len(history)} complete scans of the same venues at different times; a line through "
            f"leverage and volatility needs at least {LEAST_SNAPSHOTS}; scan again later"
        )
    tables = cycle_tables(history)
    if output:
        for name, table in tables.items():
            write_whole(output / f"{name}.parquet", encode_table(table, "parquet"))
        figure = plot_leverage_cycle(tables["leverage_history"], tables["leverage_cycle"])
        write_whole(output / "leverage_cycle.png", to_png(figure))
    found = plain(tables)
    for row in found["leverage_history"]:
        row["time"] = row["time"].isoformat()
    if not print_json(found, as_json):
        console.print_table("Leverage and volatility", console.LEVERAGE_HISTORY, found["leverage_history"])
        console.print_table(
            "Target leverage alpha x (variance + s0)^b", console.LEVERAGE_CYCLE, found["leverage_cycle"]
        )
        console.print_text(
            "The critical leverage is that of the model of Aymanns, Caccioli, Farmer and Tan (2016) with the paper's "
            "parameters: a yardstick, not a forecast."
        )
