"""A reply's fields, each checked as it is taken: what is missing or changed is one ReaderError that names it."""

import re
from fractions import Fraction
from typing import Any

from defi_leverage.errors import ReaderError, one_line
from defi_leverage.fixed_point import WAD

__all__ = ["agrees", "entries", "field", "number", "optional_number", "record", "scaled", "text", "to_wad"]

_DECIMAL = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,2})?")

_PRINTED = (Fraction(1, 10**5), Fraction(1, 10**9))
"""How far two of a venue's figures may differ: so many USD, or such a share of the figure."""
_ROUNDED_DOWN = Fraction(1, 10**6)
"""USD by which each part of a sum may be less than it is."""


def agrees(one: Fraction, other: Fraction, parts: int = 0) -> bool:
    """Whether two figures are equal but for how a venue prints them, and rounds down the `parts` of a sum."""
    return abs(one - other) <= max(_PRINTED[0], parts * _ROUNDED_DOWN, _PRINTED[1] * abs(other))


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


def number(reply: Any, path: str, where: str, least: int | None = None, most: int | None = None) -> Fraction:
    """A number from `least` to `most`, written as a decimal in text or as a JSON number, exactly as printed."""
    found = optional_number(reply, path, where, least, most)
    if found is None:
        raise _changed(where, path, "is null, not a number")
    return found


def optional_number(
    reply: Any, path: str, where: str, least: int | None = None, most: int | None = None
) -> Fraction | None:
    """As `number`; None where the field is there and null."""
    found = field(reply, path, where)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (str, int, float)) or not _DECIMAL.fullmatch(str(found)):
        raise _changed(where, path, f"is {found!r}, not a number")
    value = Fraction(str(found))
    if least is not None and value < least:
        raise _changed(where, path, f"is {found!r}, less than {least}")
    if most is not None and value > most:
        raise _changed(where, path, f"is {found!r}, more than {most}")
    return value


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
