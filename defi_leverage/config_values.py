"""How the values of config.toml are read: one reader a kind of value, and the one error that a wrong one gets."""

import difflib
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defi_leverage.errors import ConfigError

__all__ = [
    "Key",
    "address",
    "block",
    "degrees_of_freedom",
    "duration",
    "fall",
    "flag",
    "fraction",
    "fractions",
    "is_number",
    "nearest",
    "number",
    "numbers",
    "one_of",
    "parameters",
    "parse_block",
    "path",
    "positive_fraction",
    "read_rows",
    "read_table",
    "share",
    "some_of",
    "table",
    "text",
    "text_table",
    "texts",
    "whole",
]

_BLOCK_TAGS = ("latest", "finalized")


@dataclass(frozen=True, slots=True)
class Key:
    """How to read one key's value (ValueError: what it must be), and its default; without one it is required."""

    read: Callable[[Any], Any]
    default: Any = ...
    secret: bool = False


def nearest(name: str, known: Sequence[str]) -> str:
    """'did you mean X?' for the known name most like `name`, else the list of them."""
    of = {word.lower(): word for word in known}
    close = [of[word] for word in difflib.get_close_matches(name.lower(), of, 1)]
    return f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"


def is_number(value: object) -> bool:
    """Whether `value` is a number, finite as a float; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def parse_block(value: object) -> str | int:
    """A block as --block or `block` gives it: latest, finalized or a number. Raises ConfigError for anything else."""
    if value in _BLOCK_TAGS:
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]+", value):
        return int(value)
    raise ConfigError(f"block {value!r} is not latest, finalized or a block number")


def read_table(table: Any, keys: Mapping[str, Key], where: str) -> dict[str, Any]:
    """The values of one table, defaults filled in; `where` is the path before its keys, with its dot."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where.rstrip('.')} must be a table of keys")
    for name in table:
        if name not in keys:
            raise ConfigError(f"{where}{name} is not a known key; {nearest(name, list(keys))}", key=f"{where}{name}")
    values = {}
    for name, key in keys.items():
        if name not in table:
            if key.default is ...:
                raise ConfigError(f"{where}{name} is missing; add it", key=f"{where}{name}")
            values[name] = key.default
            continue
        try:
            values[name] = key.read(table[name])
        except ValueError as error:
            shown = "" if key.secret else f" = {table[name]!r}"
            raise ConfigError(f"{where}{name}{shown}: {error}", key=f"{where}{name}") from None
    return values


def read_rows(rows: Any, keys: Mapping[str, Key], where: str) -> list[dict[str, Any]]:
    """The values of each table of a [[list of tables]], whose rows count from 1 in errors."""
    if not isinstance(rows, list):
        raise ConfigError(f"{where} must be written as [[{where}]]")
    return [read_table(row, keys, f"{where}[{position}].") for position, row in enumerate(rows, start=1)]


def text(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be text in quotes")
    return value


def texts(example: str) -> Callable[[Any], tuple[str, ...]]:
    """One text, or a list of them that is not empty."""

    def read(value: Any) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not items or not all(isinstance(item, str) and item for item in items):
            raise ValueError(f"must be a list of texts such as {example}")
        return tuple(items)

    return read


def one_of(*words: str) -> Callable[[Any], str]:
    """One of these words."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return str(value)

    return read


def some_of(*words: str) -> Callable[[Any], tuple[str, ...]]:
    """A list of these words, each at most once; it may be empty."""

    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or any(item not in words for item in value):
            raise ValueError(f"must be a list of some of {', '.join(words)}")
        return tuple(dict.fromkeys(value))

    return read


def number(minimum: float, inclusive: bool = False) -> Callable[[Any], float]:
    """A finite number above a minimum, or from it on."""

    def read(value: Any) -> float:
        if not is_number(value) or value < minimum or (value == minimum and not inclusive):
            raise ValueError(f"must be a number {'of at least' if inclusive else 'above'} {minimum:g}")
        return float(value)

    return read


def numbers(minimum: float) -> Callable[[Any], tuple[float, ...]]:
    """A list of numbers above a minimum, not empty, each once."""

    def read(value: Any) -> tuple[float, ...]:
        if not isinstance(value, (list, tuple)) or not value or len(set(value)) < len(value):
            raise ValueError("must be a list of numbers, each once")
        return tuple(number(minimum)(item) for item in value)

    return read


def degrees_of_freedom(value: Any) -> float:
    """A number above 0, or inf."""
    return math.inf if value == math.inf else number(0)(value)


def duration(value: Any) -> str:
    """A time such as 30min, 24h or 7d, as pandas reads it."""
    match = re.fullmatch(r"(\d+)\s*(min|h|d)", value.strip().lower()) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError("must be a duration such as 30min, 24h or 7d")
    return match[1] + {"d": "D"}.get(match[2], match[2])


def fall(value: Any) -> float:
    """A fraction between 0 and 1, neither of them."""
    with suppress(ValueError):
        if 0 < (found := fraction(value)) < 1:
            return found
    raise ValueError("must be a fall as a fraction between 0 and 1, such as 0.3")


def share(value: Any) -> float:
    """A fraction above 0 and at most 1, or a percentage in quotes."""
    found = fraction(value)
    if not 0 < found <= 1:
        raise ValueError('must be a share above 0 and at most 1, such as 0.2 or "20%"')
    return found


def whole(minimum: int) -> Callable[[Any], int]:
    """A whole number from a minimum on."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ValueError(f"must be a whole number of at least {minimum}")
        return value

    return read


def flag(value: Any) -> bool:
    """A truth value."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def table(example: str) -> Callable[[Any], dict[str, Any]]:
    """A table with any keys."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"must be a table such as {example}")
        return value

    return read


def parameters(value: Any) -> dict[str, Any]:
    """Numbers and lists of them; which ones, and what they must be, the impact model says."""

    def holds_numbers(item: Any) -> bool:
        return all(map(holds_numbers, item)) if isinstance(item, list) else is_number(item)

    for name, item in table("{ depth = 12000 }")(value).items():
        if not holds_numbers(item):
            raise ValueError(f"{name} must be a number or a list of numbers")
    return dict(value)


def fraction(value: Any) -> float:
    """A number, or a percentage in quotes: 0.6 or "60%"."""
    found = value
    if isinstance(value, str):
        with suppress(ValueError):
            found = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    if not is_number(found):
        raise ValueError('must be a number or a percentage, such as 0.6 or "60%"')
    return float(found)


def positive_fraction(value: Any) -> float:
    """A fraction above 0."""
    found = fraction(value)
    if not found > 0:
        raise ValueError('must be above 0, such as 0.4 or "40%"')
    return found


def fractions(example: str, minimum: float = -math.inf) -> Callable[[Any], dict[str, float]]:
    """A table of fractions of at least a minimum, with any keys."""

    def read(value: Any) -> dict[str, float]:
        found = {name: fraction(item) for name, item in table(example)(value).items()}
        for name, item in found.items():
            if item < minimum:
                raise ValueError(f"{name} must be at least {minimum:g}")
        return found

    return read


def text_table(example: str) -> Callable[[Any], dict[str, str]]:
    """A table of texts, with any keys."""

    def read(value: Any) -> dict[str, str]:
        found = table(example)(value)
        if not all(isinstance(item, str) and item for item in found.values()):
            raise ValueError(f"must be a table of texts such as {example}")
        return found

    return read


def block(value: Any) -> str | int:
    """A block, see `parse_block`."""
    try:
        return parse_block(value)
    except ConfigError:
        raise ValueError("must be latest, finalized or a block number") from None


def address(value: Any) -> str:
    """An address in hexadecimal digits."""
    if not isinstance(value, str) or not re.fullmatch(r"0x[0-9a-fA-F]{40}", value):
        raise ValueError("must be an address: 0x and 40 hexadecimal digits")
    return value


def path(value: Any) -> Path:
    """A path; ~ is the user's home."""
    try:
        return Path(text(value)).expanduser()
    except RuntimeError:
        raise ValueError("names no user of this machine") from None
