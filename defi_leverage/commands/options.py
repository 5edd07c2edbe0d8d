"""What the commands share: their arguments, what they load, and how they answer and end."""
# ruff: noqa: PLC0415 - each command imports what it needs, so that --help answers at once.

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from defi_leverage.errors import ConfigError, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defi_leverage.config import Config
    from defi_leverage.snapshot import Snapshot

__all__ = [
    "AccountsOption",
    "BlockOption",
    "ConfigOption",
    "JsonOption",
    "OutputOption",
    "SnapshotArgument",
    "encode",
    "exit_incomplete",
    "exit_interrupted",
    "fail",
    "load_settings",
    "open_snapshot",
    "parse_accounts",
    "parse_figures",
    "print_json",
]

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
AccountsOption = Annotated[
    str,
    typer.Option(
        "--accounts", metavar="N|all|grouped", help="Nodes: the N largest accounts, all, or groups of like accounts."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="JSON on stdout; a number that is missing or unbounded is null.")
]


def parse_accounts(text: str) -> "int | Literal['all', 'grouped']":
    """What --accounts says. Raises ConfigError for anything but a whole number of at least 0, all or grouped."""
    if text == "all":
        return "all"
    if text == "grouped":
        return "grouped"
    if not text.isdecimal():
        raise ConfigError(f"--accounts {text!r} must be a whole number of at least 0, all or grouped")
    return int(text)


def parse_figures(option: str, texts: "Sequence[str] | None") -> dict[str, float]:
    """Figures by asset of ASSET=0.6 or ASSET=60%. Raises ConfigError for another form, or an asset named twice."""
    from defi_leverage.config_values import fraction

    figures: dict[str, float] = {}
    for text in texts or ():
        name, _, figure = (part.strip() for part in text.rpartition("="))
        try:
            value = fraction(figure)
        except ValueError:
            name = ""
        if not name:
            raise ConfigError(f"{option} {text!r}: write it as ASSET=FIGURE, such as WETH=0.6 or WETH=60%")
        if name in figures:
            raise ConfigError(f"{option} {text!r}: {name} is given twice; give it one figure")
        figures[name] = value
    return figures


def load_settings(path: Path | None) -> "Config":
    """The configuration that --config names, or the default one."""
    from defi_leverage.config import load_config

    return load_config(path)


def open_snapshot(source: str) -> "Snapshot":
    """A snapshot, with a warning in the log where it is not complete."""
    from defi_leverage.store import load_snapshot

    snapshot = load_snapshot(source)
    if not snapshot.complete:
        why = "; ".join(sorted(set(snapshot.coverage["why"]) - {""}))
        logging.getLogger(__name__).warning("%s is incomplete: %s", source, why or "accounts were set aside")
    return snapshot


def encode(found: Any) -> str:
    """Plain values as JSON text."""
    from defi_leverage.summary import plain

    return json.dumps(plain(found), indent=2, allow_nan=False) + "\n"


def print_json(found: Any, as_json: bool) -> bool:
    """Print `found` as JSON where that is wanted, and say whether it was."""
    if as_json:
        sys.stdout.write(encode(found))
    return as_json


def fail(message: str, code: int) -> int:
    """Write the one line of an error, and return the exit code."""
    sys.stderr.write(f"error: {one_line(message)}\n")
    return code


def exit_incomplete(found: dict[str, Any]) -> None:
    """End with code 4 where a scan does not cover everything."""
    if not found["complete"]:
        missing = "; ".join(
            f"{row['venue']}: {row['why'] or 'accounts were set aside'}"
            for row in found["venues"]
            if row["why"] or row["failed"]
        )
        raise typer.Exit(fail(f"incomplete: {missing}; the snapshot is at {found['snapshot']}", 4))


def exit_interrupted(found: dict[str, Any], folder: Path) -> None:
    """End with code 4 where the user stopped the work before its end."""
    if found["interrupted"]:
        done = f" after {found['finished']:,} of {found['requested']:,} scenarios" if "requested" in found else ""
        raise typer.Exit(fail(f"interrupted during {found['interrupted']}{done}; what was finished is in {folder}", 4))
