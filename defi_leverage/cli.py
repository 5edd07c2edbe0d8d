"""The command line: arguments, output for people or as JSON, and exit codes.

Exit codes: 0 done, 2 usage, configuration or snapshot, 3 chain or reader, 4 written but incomplete, or interrupted.
"""
# ruff: noqa: PLC0415 - each command imports what it needs, so that --help answers at once.

import io
import logging
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defi_leverage import __version__
from defi_leverage.commands.analysis import contagion, diff, financed, lookthrough, loops
from defi_leverage.commands.cycle import cycle
from defi_leverage.commands.measures import derived_files, measures
from defi_leverage.commands.options import (
    AccountsOption,
    BlockOption,
    ConfigOption,
    JsonOption,
    OutputOption,
    SnapshotArgument,
    encode,
    exit_incomplete,
    exit_interrupted,
    fail,
    load_settings,
    open_snapshot,
    parse_accounts,
    print_json,
)
from defi_leverage.commands.rates import rates, scope
from defi_leverage.commands.stress import shock, stress
from defi_leverage.errors import ConfigError, LeverageError

if TYPE_CHECKING:
    from defi_leverage.config import Config
    from defi_leverage.snapshot import Snapshot

__all__ = ["app", "main"]

app = typer.Typer(
    help="Find on-chain leverage loops, shock prices, follow the contagion, and rank systemic leverage clusters.",
    epilog="Exit codes: 0 done, 2 usage, configuration or snapshot, 3 chain or reader, 4 written but incomplete, or "
    "interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class GraphFormat(StrEnum):
    """File formats of a graph."""

    graphml = "graphml"
    gexf = "gexf"
    json = "json"


def main() -> None:
    """Run the command line; every failure is one line on stderr and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a token's name may be more than the terminal can show
    try:
        app()
    except LeverageError as error:
        sys.exit(fail(str(error), error.exit_code))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(fail(f"{where}{error.strerror or error}; check the path, who may use it, and the room there", 2))
    except MemoryError:
        sys.exit(fail("out of memory; use a machine with more, or a smaller snapshot", 1))
    except Exception as error:
        if os.environ.get("DEFI_LEVERAGE_TRACEBACK"):
            raise
        reason = f"unexpected {type(error).__name__}: {error}"
        sys.exit(fail(f"{reason}; please report it, with the output under DEFI_LEVERAGE_TRACEBACK=1", 1))


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"defi-leverage {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    _version_option: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log errors only, show no progress.")] = False,
) -> None:
    """Set up what all commands share."""
    from defi_leverage.logs import set_up_logs

    set_up_logs(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)


@app.command()
def scan(
    config: ConfigOption = None, output: OutputOption = None, block: BlockOption = None, as_json: JsonOption = False
) -> None:
    """Read every account of the configured protocols at one block, and write a snapshot."""
    from defi_leverage.commands import console
    from defi_leverage.summary import describe_scan

    settings = load_settings(config)
    snapshot, path = _scan(settings, output, block)
    found = describe_scan(snapshot, path)
    if not print_json(found, as_json):
        console.print_scan(found)
    exit_incomplete(found)


@app.command()
def run(
    config: ConfigOption = None, output: OutputOption = None, block: BlockOption = None, as_json: JsonOption = False
) -> None:
    """The whole job: scan, loops, the configured scenarios and stress test, clusters, the graph, and figures."""
    from defi_leverage.commands import console
    from defi_leverage.commands.console_stress import print_stress
    from defi_leverage.export import export_graph
    from defi_leverage.graph.dependency import build_graph
    from defi_leverage.logs import show_progress
    from defi_leverage.store import save_report, write_whole
    from defi_leverage.stress_job import stress_to_files
    from defi_leverage.summary import draw, summarize

    settings = load_settings(config)
    folder = output or settings.output
    snapshot, path = _scan(settings, output, block)
    with show_progress() as progress:
        found = summarize(snapshot, path, settings, progress)
        if not found["interrupted"] and not settings.stress.empty:
            found["stress"] = stress_to_files(
                snapshot, settings.stress, folder / "stress", progress=progress, tolerant=True
            )
            found["interrupted"] = found["stress"]["interrupted"]
    files: list[Path] = []
    try:
        graph = build_graph(snapshot)
        for item in GraphFormat:
            export_graph(graph, folder / f"graph.{item.value}", item.value)
            files.append(folder / f"graph.{item.value}")
        if not found["interrupted"]:
            for name, content in draw(snapshot, graph, settings, found).items():
                write_whole(folder / name, content)
                files.append(folder / name)
            derived = derived_files(snapshot, settings, found, folder)
            files += save_report(folder / "measures", {"snapshot": str(path)}, derived)
    except KeyboardInterrupt:  # what was found by then is still written
        found["interrupted"] = found["interrupted"] or "graph, figures and measures"
    files.append(folder / "summary.json")
    found["files"] = [str(file) for file in files]
    write_whole(files[-1], encode(found).encode())
    if not print_json(found, as_json):
        console.print_run(found)
        if found["stress"]:
            print_stress(found["stress"], brief=True)
        console.print_text("Files: " + ", ".join([*found["files"], *(found["stress"] or {}).get("files", [])]))
    exit_interrupted(found, folder)
    exit_incomplete(found)


@app.command()
def graph(
    snapshot: SnapshotArgument,
    accounts: AccountsOption = "50",
    as_json: JsonOption = False,
) -> None:
    """Show what the dependency graph consists of; `export` writes it."""
    import pandas as pd

    from defi_leverage.commands import console
    from defi_leverage.graph.dependency import build_graph
    from defi_leverage.summary import plain

    built = build_graph(open_snapshot(snapshot), parse_accounts(accounts))
    nodes = pd.Series([data["type"] for _, data in built.nodes(data=True)]).value_counts().to_dict()
    edges = pd.DataFrame([data for _, _, data in built.edges(data=True)], columns=["kind", "level", "usd"])
    sums = edges.groupby(["kind", "level"], as_index=False).agg(number=("usd", "size"), usd=("usd", "sum"))
    found = plain({"nodes": nodes, "edges": sums})
    if not print_json(found, as_json):
        console.print_table("Edges", console.EDGES, found["edges"])
        console.print_text("Nodes: " + ", ".join(f"{number:,} {kind}s" for kind, number in found["nodes"].items()))


app.command()(loops)
app.command()(lookthrough)
app.command()(financed)
app.command()(measures)
app.command()(shock)
app.command()(stress)
app.command()(contagion)
app.command()(rates)
app.command()(scope)
app.command()(cycle)


@app.command()
def clusters(snapshot: SnapshotArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Find systemic leverage clusters, ranked by the smallest fall that sets each one off."""
    from defi_leverage.clusters.ranking import find_clusters
    from defi_leverage.commands import console
    from defi_leverage.logs import show_progress
    from defi_leverage.summary import plain

    settings = load_settings(config)
    loaded = open_snapshot(snapshot)
    with show_progress() as progress:
        table = find_clusters(
            loaded, **settings.clusters, progress=lambda done, total: progress("clusters", done, total)
        )
    found = plain({"clusters": table})
    if not print_json(found, as_json):
        console.print_clusters(found["clusters"])


app.command()(diff)


@app.command()
def export(
    snapshot: SnapshotArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", show_default=False)],
    file_format: Annotated[GraphFormat | None, typer.Option("--format", help="Default: by the file's ending.")] = None,
    accounts: AccountsOption = "50",
    shocks: Annotated[
        list[str] | None,
        typer.Option("--shock", metavar="ASSET=CHANGE", help="Add what each venue's liquidations cost the others."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the dependency graph for Gephi, a browser or a data lake."""
    from defi_leverage.clusters.contagion_matrix import contagion_edges, contagion_graph_edges, contagion_matrix
    from defi_leverage.commands import console
    from defi_leverage.contagion.scenario import Scenario, parse_shocks
    from defi_leverage.export import export_graph
    from defi_leverage.graph.dependency import build_graph

    ending = output.suffix.removeprefix(".").lower()
    known = [item.value for item in GraphFormat]
    if file_format is None and ending not in known:
        raise ConfigError(f"{output}: its ending names no format; add --format with one of {', '.join(known)}")
    chosen: Any = file_format.value if file_format else ending
    loaded = open_snapshot(snapshot)
    built = build_graph(loaded, parse_accounts(accounts))
    if shocks:
        scenario = Scenario(", ".join(shocks), *parse_shocks(shocks))
        built.add_edges_from(contagion_graph_edges(contagion_edges(contagion_matrix(loaded, scenario))))
    export_graph(built, output, chosen)
    found = {"file": str(output), "format": chosen, "nodes": len(built), "edges": built.number_of_edges()}
    if not print_json(found, as_json):
        console.print_text(f"{output}: {found['nodes']:,} nodes, {found['edges']:,} edges ({chosen})", whole=True)


@app.command(name="import")
def import_(
    positions: Annotated[
        Path | None, typer.Argument(metavar="POSITIONS", help=".csv or .parquet, one leg a row.", show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="The snapshot's folder.")] = None,
    config: ConfigOption = None,
    template: Annotated[bool, typer.Option("--template", help="Print a CSV to start from, and stop.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a snapshot of positions of any origin."""
    from defi_leverage.commands import console
    from defi_leverage.positions import TEMPLATE, import_positions
    from defi_leverage.store import save_snapshot
    from defi_leverage.summary import describe_scan

    if template:
        sys.stdout.write(TEMPLATE)
        return
    if positions is None or output is None:
        raise ConfigError("import needs a file and -o DIR, as in: import positions.csv -o DIR; or --template")
    snapshot = import_positions(positions, load_settings(config))
    found = describe_scan(snapshot, save_snapshot(snapshot, output))
    if not print_json(found, as_json):
        console.print_scan(found)


def _scan(settings: "Config", output: Path | None, block: str | None) -> "tuple[Snapshot, Path]":
    from defi_leverage.config_values import parse_block
    from defi_leverage.logs import show_progress
    from defi_leverage.scan import scan as read
    from defi_leverage.store import check_writable, save_scan

    wanted = None if block is None else parse_block(block)
    folder = output or settings.output
    check_writable(folder)  # before hours of reading, not after
    with show_progress() as progress:
        snapshot = read(settings, wanted, progress)
    return snapshot, save_scan(snapshot, folder)
