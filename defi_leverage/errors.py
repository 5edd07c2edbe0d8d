"""The errors of this package, and the exit code that each one means on the command line.

    LeverageError
    ├── ConfigError      2   config.toml, an environment variable or an argument is wrong
    ├── ChainError       3   the chain cannot answer what was asked
    │   ├── RpcError     3   no endpoint answered
    │   └── DecodeError  3   an answer does not have the layout its interface promises
    ├── ReaderError      3   a protocol's contracts do not make sense to its reader
    ├── SnapshotError    2   a snapshot's tables or files are not valid
    ├── ScenarioError    2   a shock, an impact model or a liquidation rule is not usable
    └── ImportFileError  2   a row of a user's positions file is wrong

Every message says what to do next. Attributes given as keywords are kept on the error for programs to read.
"""

from typing import Any

__all__ = [
    "ChainError",
    "ConfigError",
    "DecodeError",
    "ImportFileError",
    "LeverageError",
    "ReaderError",
    "RpcError",
    "ScenarioError",
    "SnapshotError",
    "one_line",
]


def one_line(text: str) -> str:
    """`text` on one line, without the characters that a terminal obeys; some of it was written by strangers."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in " ".join(text.split()))


class LeverageError(Exception):
    """Any failure this package explains; `exit_code` is what the command line returns for it."""

    exit_code = 1

    def __init__(self, message: str, **attributes: Any) -> None:
        super().__init__(message)
        self.attributes = attributes


class ConfigError(LeverageError):
    """A configuration file, environment variable or argument is wrong."""

    exit_code = 2


class ChainError(LeverageError):
    """The chain cannot answer what was asked of it."""

    exit_code = 3


class RpcError(ChainError):
    """No endpoint answered a request."""


class DecodeError(ChainError):
    """An answer does not have the layout that its interface promises."""


class ReaderError(LeverageError):
    """A protocol's contracts do not answer as its reader expects."""

    exit_code = 3


class SnapshotError(LeverageError):
    """A snapshot's tables or files are not valid."""

    exit_code = 2


class ScenarioError(LeverageError):
    """A shock, an impact model or a liquidation rule cannot be used on this snapshot."""

    exit_code = 2


class ImportFileError(LeverageError):
    """A row of a user's positions file is wrong."""

    exit_code = 2
