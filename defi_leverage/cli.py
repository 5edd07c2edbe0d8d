"""The command line: arguments, output for people or as JSON, and exit codes.

Exit codes: 0 done, 2 usage, configuration or snapshot, 3 chain or reader, 4 the snapshot is written but incomplete.
"""
# ruff: noqa: PLC0415 - each command imports what it needs, so that --help answers at once.

import io
import json
import logging
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defi_leverage import __version__
from defi_leverage.errors import ConfigError, LeverageError, one_line

if TYPE_CHECKING:
    from defi_leverage.config import Config
    from defi_leverage.snapshot import Snapshot

__all__ = ["app", "main"]

app = typer.Typer(
    help="Find on-chain leverage loops, shock prices, follow the contagion, and rank systemic leverage clusters.",
    epilog="Exit codes: 0 done, 2 usage, configuration or snapshot, 3 chain or reader, 4 written but incomplete.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SnapshotArgument = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="Folder of a snapshot, or the word 'sample'.", show_default=False)
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Default: ./config.toml, else the packaged one.")
]
OutputOption = Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Default: the configured output.")]
BlockOption = Annotated[
    str | None, typer.Option("--block", metavar="N|latest|finalized", help="Default: the configured block.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="JSON on stdout; a number that is missing or unbounded is null.")
]


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
        sys.exit(_fail(str(error), error.exit_code))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_fail(f"{where}{error.strerror or error}; check the path, who may use it, and the room there", 2))
    except MemoryError:
        sys.exit(_fail("out of memory; use a machine with more, or a smaller snapshot", 1))
    except Exception as error:
        if os.environ.get("DEFI_LEVERAGE_TRACEBACK"):
            raise
        reason = f"unexpected {type(error).__name__}: {error}"
        sys.exit(_fail(f"{reason}; please report it, with the output under DEFI_LEVERAGE_TRACEBACK=1", 1))


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {one_line(message)}\n")
    return code


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
    from defi_leverage import console
    from defi_leverage.summary import describe_scan

    settings = _load_config(config)
    snapshot, path = _scan(settings, output, block)
    found = describe_scan(snapshot, path)
    if not _print_json(found, as_json):
        console.print_scan(found)
    _exit_incomplete(found)


@app.command()
def run(
    config: ConfigOption = None, output: OutputOption = None, block: BlockOption = None, as_json: JsonOption = False
) -> None:
    """The whole job: scan, loops, the configured scenarios, clusters, the graph in every format, and figures."""
    from defi_leverage import console
    from defi_leverage.export import export_graph
    from defi_leverage.graph import build_graph
    from defi_leverage.logs import show_progress
    from defi_leverage.store import write_whole
    from defi_leverage.summary import draw, summarize

    settings = _load_config(config)
    folder = output or settings.output
    snapshot, path = _scan(settings, output, block)
    with show_progress() as progress:
        found = summarize(snapshot, path, settings, progress)
    graph = build_graph(snapshot)
    files = [folder / f"graph.{item.value}" for item in GraphFormat]
    for item, file in zip(GraphFormat, files, strict=True):
        export_graph(graph, file, item.value)
    for name, content in draw(snapshot, graph, settings, found).items():
        files.append(folder / name)
        write_whole(files[-1], content)
    files.append(folder / "summary.json")
    found["files"] = [str(file) for file in files]
    write_whole(files[-1], _encode(found).encode())
    if not _print_json(found, as_json):
        console.print_run(found)
    _exit_incomplete(found)


@app.command()
def graph(
    snapshot: SnapshotArgument,
    accounts: Annotated[int, typer.Option(min=0, help="How many of the largest accounts are nodes.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show what the dependency graph consists of; `export` writes it."""
    import pandas as pd

    from defi_leverage import console
    from defi_leverage.graph import build_graph
    from defi_leverage.summary import plain

    built = build_graph(_load_snapshot(snapshot), accounts)
    nodes = pd.Series([data["type"] for _, data in built.nodes(data=True)]).value_counts().to_dict()
    edges = pd.DataFrame([data for _, _, data in built.edges(data=True)], columns=["kind", "level", "usd"])
    sums = edges.groupby(["kind", "level"], as_index=False).agg(number=("usd", "size"), usd=("usd", "sum"))
    found = plain({"nodes": nodes, "edges": sums})
    if not _print_json(found, as_json):
        console.print_table("Edges", console.EDGES, found["edges"])
        console.print_text("Nodes: " + ", ".join(f"{number:,} {kind}s" for kind, number in found["nodes"].items()))


@app.command()
def loops(
    snapshot: SnapshotArgument,
    minimum_share: Annotated[
        float, typer.Option(min=0.501, max=1, help="Share of an account's collateral and of its debt in the loop.")
    ] = 0.8,
    as_json: JsonOption = False,
) -> None:
    """Find the leverage loops, the accounts that run them, and their leverage."""
    from defi_leverage import console
    from defi_leverage.loops import find_loops
    from defi_leverage.summary import plain

    found = plain({"loops": find_loops(_load_snapshot(snapshot), minimum_share)})
    if not _print_json(found, as_json):
        console.print_table("Loops", console.LOOPS, found["loops"])


@app.command()
def shock(
    snapshot: SnapshotArgument,
    shocks: Annotated[
        list[str],
        typer.Option(
            "--shock", metavar="ASSET=CHANGE", help="WETH=-30%, an asset_id=-0.3, or feed:wstETH=-5% for its oracle."
        ),
    ],
    depth_multiplier: Annotated[float, typer.Option(help="Scales the market depth of every asset.")] = 1.0,
    no_selling: Annotated[bool, typer.Option("--no-selling", help="Liquidators neither sell nor buy.")] = False,
    max_rounds: Annotated[int, typer.Option(min=1, help="Stop here even if not converged.")] = 200,
    as_json: JsonOption = False,
) -> None:
    """Shock prices and follow the liquidations to their end."""
    from defi_leverage import console
    from defi_leverage.contagion.engine import run_contagion
    from defi_leverage.contagion.scenario import Scenario, parse_shocks
    from defi_leverage.summary import plain

    markets, feeds = parse_shocks(shocks)
    sells = not no_selling
    scenario = Scenario(", ".join(shocks), markets, feeds, depth_multiplier, sells, sells, max_rounds)
    result = run_contagion(_load_snapshot(snapshot), scenario)
    found = plain({**result.summary(), "by_round": result.rounds})
    if not _print_json(found, as_json):
        console.print_table("Prices", console.PRICES, found["prices"])
        console.print_table("Rounds", console.ROUNDS, found["by_round"])
        console.print_table("Haircuts by bad debt", console.HAIRCUTS, found["haircuts"])
        console.print_table("Result", console.SCENARIOS, [found], console.scenario_note([found]))


@app.command()
def clusters(snapshot: SnapshotArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Find systemic leverage clusters, ranked by the smallest fall that sets each one off."""
    from defi_leverage import console
    from defi_leverage.clusters import find_clusters
    from defi_leverage.logs import show_progress
    from defi_leverage.summary import plain

    settings = _load_config(config)
    loaded = _load_snapshot(snapshot)
    with show_progress() as progress:
        table = find_clusters(
            loaded, **settings.clusters, progress=lambda done, total: progress("clusters", done, total)
        )
    found = plain({"clusters": table})
    if not _print_json(found, as_json):
        console.print_clusters(found["clusters"])


@app.command()
def export(
    snapshot: SnapshotArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", show_default=False)],
    file_format: Annotated[GraphFormat | None, typer.Option("--format", help="Default: by the file's ending.")] = None,
    accounts: Annotated[int, typer.Option(min=0, help="How many of the largest accounts are nodes.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Write the dependency graph for Gephi, a browser or a data lake."""
    from defi_leverage import console
    from defi_leverage.export import export_graph
    from defi_leverage.graph import build_graph

    ending = output.suffix.removeprefix(".").lower()
    known = [item.value for item in GraphFormat]
    if file_format is None and ending not in known:
        raise ConfigError(f"{output}: its ending names no format; add --format with one of {', '.join(known)}")
    chosen: Any = file_format.value if file_format else ending
    built = build_graph(_load_snapshot(snapshot), accounts)
    export_graph(built, output, chosen)
    found = {"file": str(output), "format": chosen, "nodes": len(built), "edges": built.number_of_edges()}
    if not _print_json(found, as_json):
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
    from defi_leverage import console
    from defi_leverage.positions import TEMPLATE, import_positions
    from defi_leverage.store import save_snapshot
    from defi_leverage.summary import describe_scan

    if template:
        sys.stdout.write(TEMPLATE)
        return
    if positions is None or output is None:
        raise ConfigError("import needs a file and -o DIR, as in: import positions.csv -o DIR; or --template")
    snapshot = import_positions(positions, _load_config(config))
    found = describe_scan(snapshot, save_snapshot(snapshot, output))
    if not _print_json(found, as_json):
        console.print_scan(found)


def _load_config(path: Path | None) -> "Config":
    from defi_leverage.config import load_config

    return load_config(path)


def _load_snapshot(source: str) -> "Snapshot":
    from defi_leverage.store import load_snapshot

    snapshot = load_snapshot(source)
    if not snapshot.complete:
        why = "; ".join(sorted(set(snapshot.coverage["why"]) - {""}))
        logging.getLogger(__name__).warning("%s is incomplete: %s", source, why or "accounts were set aside")
    return snapshot


def _scan(settings: "Config", output: Path | None, block: str | None) -> "tuple[Snapshot, Path]":
    from defi_leverage.config_keys import parse_block
    from defi_leverage.logs import show_progress
    from defi_leverage.scan import scan as read
    from defi_leverage.store import check_writable, save_scan

    wanted = None if block is None else parse_block(block)
    folder = output or settings.output
    check_writable(folder)  # before hours of reading, not after
    with show_progress() as progress:
        snapshot = read(settings, wanted, progress)
    return snapshot, save_scan(snapshot, folder)


def _encode(found: Any) -> str:
    from defi_leverage.summary import plain

    return json.dumps(plain(found), indent=2, allow_nan=False) + "\n"


def _print_json(found: Any, as_json: bool) -> bool:
    if as_json:
        sys.stdout.write(_encode(found))
    return as_json


def _exit_incomplete(found: dict[str, Any]) -> None:
    if not found["complete"]:
        missing = "; ".join(
            f"{row['venue']}: {row['why'] or 'accounts were set aside'}"
            for row in found["venues"]
            if row["why"] or row["failed"]
        )
        raise typer.Exit(_fail(f"incomplete: {missing}; the snapshot is at {found['snapshot']}", 4))
