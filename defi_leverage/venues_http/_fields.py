"""A reply's fields, each checked as it is taken: what is missing or changed is one ReaderError that names it."""

import re
from fractions import Fraction
from typing import Any

from defi_leverage.errors import ReaderError, one_line
from defi_leverage.fixed_point import WAD

__all__ = ["entries", "field", "number", "optional_number", "record", "scaled", "text", "to_wad"]

_DECIMAL = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,2})?")


def field(reply: Any, path: str, where: str) -> Any:
    """What is at `path` ("position.leverage.type") of a reply. Raises ReaderError that names the missing part."""
    found = reply
    for depth, name in enumerate(path.split(".")):
        if not isinstance(found, dict) or name not in found:
            at = ".".join(path.split(".")[: depth + 1])
            raise _changed(where, at, "is missing")
        found = found[name]
    return found


def text(reply: Any, path: str, where: str) -> str:
    """Text that is not empty."""
    found = field(reply, path, where)
    if not isinstance(found, str) or not found:
        raise _changed(where, path, f"is {found!r}, not text")
    return found


def number(reply: Any, path: str, where: str) -> Fraction:
    """A number, written as a decimal in text or as a JSON number, exactly as printed."""
    found = optional_number(reply, path, where)
    if found is None:
        raise _changed(where, path, "is null, not a number")
    return found


def optional_number(reply: Any, path: str, where: str) -> Fraction | None:
    """As `number`; None where the field is there and null."""
    found = field(reply, path, where)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (str, int, float)) or not _DECIMAL.fullmatch(str(found)):
        raise _changed(where, path, f"is {found!r}, not a number")
    return Fraction(str(found))


def record(reply: Any, path: str, where: str) -> dict[str, Any]:
    """A JSON object."""
    found = field(reply, path, where)
    if not isinstance(found, dict):
        raise _changed(where, path, f"is {found!r}, not an object")
    return found


def entries(reply: Any, path: str, where: str) -> list[Any]:
    """A JSON list; without a path, the reply itself."""
    found = field(reply, path, where) if path else reply
    if not isinstance(found, list):
        raise _changed(where, path or "the reply", f"is {found!r}, not a list")
    return found


def scaled(value: Fraction, decimals: int) -> int:
    """`value` in raw units of 10**-decimals, to the nearest."""
    return round(value * Fraction(10) ** decimals)


def to_wad(value: Fraction) -> int:
    """`value` times 1e18, to the nearest."""
    return round(value * WAD)


def _changed(where: str, path: str, what: str) -> ReaderError:
    shown = one_line(what)[:200]
    return ReaderError(
        f"{where}: the field {path} {shown}. The venue's interface may have changed; update this package.", field=path
    )
