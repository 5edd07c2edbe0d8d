"""The keys of config.toml as data: how each is read, its default, and what an error says of it."""

import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defi_leverage.contagion.impact import IMPACT_MODELS
from defi_leverage.errors import ConfigError

__all__ = [
    "CHAIN",
    "CLUSTERS",
    "DEPLOYMENT",
    "ROOT",
    "ROWS",
    "Key",
    "is_number",
    "nearest",
    "parse_block",
    "read_rows",
    "read_table",
]

_BLOCK_TAGS = ("latest", "finalized")
_BACKING_KINDS = ("wraps", "staked", "deposited", "pooled", "minted_against")
_FEED_KINDS = ("market", "ratio", "fixed")


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


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be text in quotes")
    return value


def _texts(example: str) -> Callable[[Any], tuple[str, ...]]:
    """One text or a list of them."""

    def read(value: Any) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not items or not all(isinstance(item, str) and item for item in items):
            raise ValueError(f"must be a list of texts such as {example}")
        return tuple(items)

    return read


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return str(value)

    return read


def _number(minimum: float, inclusive: bool = False) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if not is_number(value) or value < minimum or (value == minimum and not inclusive):
            raise ValueError(f"must be a number {'of at least' if inclusive else 'above'} {minimum:g}")
        return float(value)

    return read


def _fall(value: Any) -> float:
    if not _number(0)(value) < 1:
        raise ValueError("must be a fall as a fraction between 0 and 1, such as 0.3")
    return float(value)


def _whole(minimum: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ValueError(f"must be a whole number of at least {minimum}")
        return value

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _table(example: str) -> Callable[[Any], dict[str, Any]]:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"must be a table such as {example}")
        return value

    return read


def _parameters(value: Any) -> dict[str, Any]:
    """Numbers and lists of them; which ones, and what they must be, the impact model says."""

    def holds_numbers(item: Any) -> bool:
        return all(map(holds_numbers, item)) if isinstance(item, list) else is_number(item)

    for name, item in _table("{ depth = 12000 }")(value).items():
        if not holds_numbers(item):
            raise ValueError(f"{name} must be a number or a list of numbers")
    return dict(value)


def _block(value: Any) -> str | int:
    try:
        return parse_block(value)
    except ConfigError:
        raise ValueError("must be latest, finalized or a block number") from None


def _address(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"0x[0-9a-fA-F]{40}", value):
        raise ValueError("must be an address: 0x and 40 hexadecimal digits")
    return value


def _path(value: Any) -> Path:
    try:
        return Path(_text(value)).expanduser()
    except RuntimeError:
        raise ValueError("names no user of this machine") from None


_assets = _texts('["ETH", "WETH"]')
_shocks = _table('{ WETH = "-20%" }')

ROOT = {
    "source": Key(_one_of("sample", "chains"), "sample"),
    "output": Key(_path, Path("out")),
    "block": Key(_block, "finalized"),
    "chains": Key(_table("[chains.ethereum]"), {}, secret=True),
    "depth": Key(lambda rows: rows, []),
    "backing": Key(lambda rows: rows, []),
    "feeds": Key(lambda rows: rows, []),
    "scenarios": Key(lambda rows: rows, []),
    "clusters": Key(lambda table: table, {}),
}
CHAIN = {"chain_id": Key(_whole(1)), "rpc_urls": Key(_texts('["https://rpc.example.com"]'), secret=True)}
DEPLOYMENT = {"name": Key(_text), "address": Key(_address), "first_block": Key(_whole(0))}
ROWS: Mapping[str, Mapping[str, Key]] = {
    "depth": {
        "asset": Key(_text),
        "quote": Key(_assets, ()),
        "model": Key(_one_of(*IMPACT_MODELS), "exponential"),
        "depth_2pct_usd": Key(_number(0), None),
        "parameters": Key(_parameters, None),
        "source": Key(_text, "configuration"),
    },
    "backing": {
        "asset": Key(_text),
        "underlying": Key(_assets),
        "units": Key(_number(0), None),
        "kind": Key(_one_of(*_BACKING_KINDS)),
        "source": Key(_text, "configuration"),
    },
    "feeds": {"asset": Key(_text), "kind": Key(_one_of(*_FEED_KINDS)), "base": Key(_assets, ())},
    "scenarios": {
        "name": Key(_text),
        "shocks": Key(_shocks, {}),
        "feed_shocks": Key(_shocks, {}),
        "depth_multiplier": Key(_number(0), 1.0),
        "sell_collateral": Key(_flag, True),
        "buy_debt": Key(_flag, True),
        "max_rounds": Key(_whole(1), 200),
    },
}
CLUSTERS: Mapping[str, Key] = {  # the defaults are those of find_clusters
    "threshold": Key(_number(0), None),
    "band": Key(_fall, None),
    "largest_fall": Key(_fall, None),
    "reference_fall": Key(_fall, None),
    "bad_debt_share": Key(_number(0), None),
}
