"""Commands that look into snapshots: loops, look-through leverage, financed collateral, venue contagion, diff."""
# ruff: noqa: PLC0415 - each command imports what it needs, so that --help answers at once.

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from defi_leverage.commands.options import (
    ConfigOption,
    JsonOption,
    SnapshotArgument,
    load_settings,
    open_snapshot,
    print_json,
)
from defi_leverage.errors import ConfigError

__all__ = ["contagion", "diff", "financed", "lookthrough", "loops"]


class Level(StrEnum):
    """Whose leverage is looked through."""

    system = "system"
    venue = "venue"
    vault = "vault"
    account = "account"


def loops(
    snapshot: SnapshotArgument,
    minimum_share: Annotated[
        float, typer.Option(min=0.501, max=1, help="Share of an account's collateral and of its debt in the loop.")
    ] = 0.8,
    accounts: Annotated[bool, typer.Option("--accounts", help="The accounts that run them, with carry.")] = False,
    structural: Annotated[
        bool, typer.Option("--structural", help="Cycles of the asset graph, within and across protocols.")
    ] = False,
    most_legs: Annotated[int, typer.Option(min=1, help="Borrowing legs of a structural loop, at most.")] = 4,
    as_json: JsonOption = False,
) -> None:
    """Find leverage loops: those that accounts run, and those that the asset graph has, across protocols too."""
    from defi_leverage.commands import console
    from defi_leverage.graph.loops import find_loops, loop_accounts
    from defi_leverage.graph.structural_loops import find_structural_loops
    from defi_leverage.summary import plain

    loaded = open_snapshot(snapshot)
    if structural:
        table = find_structural_loops(loaded, most_legs)
        columns, title = console.STRUCTURAL_LOOPS, "Structural loops"
    elif accounts:
        table, columns, title = loop_accounts(loaded, minimum_share), console.LOOP_ACCOUNTS, "Accounts that loop"
    else:
        table, columns, title = find_loops(loaded, minimum_share), console.LOOPS, "Loops"
    notices = list(table.attrs.get("notices", []))
    found = plain({"loops": table, "notices": notices})
    if not print_json(found, as_json):
        console.print_table(title, columns, found["loops"], "\n".join(notices))


def lookthrough(
    snapshot: SnapshotArgument,
    level: Annotated[Level, typer.Option(help="One row each.")] = Level.venue,
    as_json: JsonOption = False,
) -> None:
    """Leverage as it is on balance sheets, and what is behind a dollar of equity once every claim is looked through."""
    from defi_leverage.commands import console
    from defi_leverage.graph.look_through import look_through_leverage
    from defi_leverage.summary import plain

    loaded = open_snapshot(snapshot)
    table = look_through_leverage(loaded, level.value)
    names = dict(zip(loaded.venues["venue_id"], loaded.venues["name"], strict=True))
    names |= dict(zip(loaded.assets["asset_id"], loaded.assets["symbol"], strict=True))
    named = table.reset_index(names="id")
    named.insert(1, "name", [names.get(identifier) or identifier for identifier in named["id"]])
    notices = list(table.attrs.get("notices", []))
    found = plain({"level": level.value, "rows": named, "notices": notices})
    if not print_json(found, as_json):
        console.print_table(
            f"Look-through leverage by {level.value}", console.LOOK_THROUGH, found["rows"], "\n".join(notices)
        )


def financed(snapshot: SnapshotArgument, as_json: JsonOption = False) -> None:
    """How much of each market's collateral its owners have borrowed, and where."""
    from defi_leverage.commands import console
    from defi_leverage.graph.financed_collateral import financing_flows, trace_financed_collateral
    from defi_leverage.summary import plain

    loaded = open_snapshot(snapshot)
    names = dict(zip(loaded.venues["venue_id"], loaded.venues["name"], strict=True))
    symbols = dict(zip(loaded.assets["asset_id"], loaded.assets["symbol"], strict=True))

    def named(table: Any) -> Any:
        for column in [name for name in table.columns if name.endswith("_id")]:
            known = names if "venue" in column else symbols
            table[column.removesuffix("_id")] = [known.get(value) or value for value in table[column]]
        return table

    found = plain({"collateral": named(trace_financed_collateral(loaded)), "flows": named(financing_flows(loaded))})
    if not print_json(found, as_json):
        console.print_table("Debt-financed collateral", console.FINANCED, found["collateral"])
        console.print_table("Where it was borrowed", console.FLOWS, found["flows"])


def contagion(
    snapshot: SnapshotArgument,
    shocks: Annotated[
        list[str], typer.Option("--shock", metavar="ASSET=CHANGE", help="WETH=-30%, or feed:wstETH=-5% for its oracle.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Heat maps and tables go here.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What each venue's liquidations cost the others: their lenders' extra losses, and what is seized there."""
    from defi_leverage.clusters.contagion_matrix import MEASURES, contagion_edges, contagion_matrix
    from defi_leverage.commands import console
    from defi_leverage.contagion.scenario import Scenario, parse_shocks
    from defi_leverage.plots.contagion import plot_contagion
    from defi_leverage.plots.style import to_png
    from defi_leverage.store import write_whole
    from defi_leverage.summary import plain

    loaded = open_snapshot(snapshot)
    names = dict(zip(loaded.venues["venue_id"], loaded.venues["name"], strict=True))
    scenario = Scenario(", ".join(shocks), *parse_shocks(shocks))
    found: dict[str, Any] = {"scenario": scenario.name}
    for measure in MEASURES:
        matrix = contagion_matrix(loaded, scenario, measure)  # type: ignore[arg-type]
        edges = contagion_edges(matrix)
        if output:
            title = f"{measure.removesuffix('_usd').replace('_', ' ').capitalize()}, {scenario.name}"
            write_whole(output / f"{measure}.csv", matrix.to_csv().encode())
            write_whole(output / f"{measure}.png", to_png(plot_contagion(matrix, names, title=title)))
        for end in ("source", "target"):
            edges[end] = [names.get(venue) or venue for venue in edges[f"{end}_venue_id"]]
        found[measure] = edges
    found = plain(found)
    if not print_json(found, as_json):
        for measure, verb in zip(MEASURES, ("lenders lose", "collateral loses", "is seized"), strict=True):
            console.print_table(
                f"What more {verb} at a venue for another's liquidations", console.EFFECTS, found[measure]
            )


def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="Folder of the earlier snapshot.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Folder of the later snapshot.")],
    config: ConfigOption = None,
    threshold: Annotated[
        float, typer.Option(min=0, help="Grown or shrunk: by more than this share of what it was.")
    ] = 0.1,
    as_json: JsonOption = False,
) -> None:
    """Clusters and loops that appeared, grew, shrank or vanished, and accounts that crossed a health band."""
    from defi_leverage.clusters.compare import compare_snapshots
    from defi_leverage.commands import console
    from defi_leverage.summary import plain

    if not threshold > 0:
        raise ConfigError(f"--threshold {threshold} must be above 0, such as 0.1 for 10 %")
    settings = load_settings(config)
    found = compare_snapshots(
        open_snapshot(before), open_snapshot(after), threshold=threshold, clusters=settings.clusters
    )
    bands = found.bands.rename_axis(index="from").reset_index().melt("from", var_name="to", value_name="accounts")
    bands = bands[(bands["from"] != bands["to"]) & (bands["accounts"] > 0)]
    tables = plain(found._asdict() | {"bands": bands})
    if not print_json(tables, as_json):
        console.print_table("Clusters", console.CHANGES, tables["clusters"])
        console.print_table("Loops", console.CHANGES, tables["loops"])
        console.print_table("Accounts that changed their health band", console.BANDS, tables["bands"])
        console.print_table("Which accounts did", console.CROSSINGS, tables["accounts"])
