"""The schema of a snapshot's tables, read from schema.csv, and the checks that follow from it.

Each line of schema.csv is a column: its table, dtype (text, int, float, or float? where nan and inf may stand for
'missing' and 'unbounded'), default (empty: required; '-': empty text; '=x': the value of column x), range, allowed
values, the column it refers to, unit and meaning.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd

from defi_leverage.errors import SnapshotError

__all__ = [
    "KEYS",
    "LATER_TABLES",
    "OPTIONAL_TABLES",
    "SCHEMA_VERSION",
    "Column",
    "check_tables",
    "complete_table",
    "load_schema",
]

SCHEMA_VERSION = 1
KEYS = {"assets": "asset_id", "feeds": "feed_id", "venues": "venue_id", "accounts": "account_id"}
OPTIONAL_TABLES = ("feeds", "backing", "depth", "rates", "ownership", "perps", "perp_markets", "coverage")
LATER_TABLES = (
    "rates",
    "ownership",
    "perps",
    "perp_markets",
)  # that the first snapshots of this SCHEMA_VERSION do not have
_SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True)
class Column:
    """One line of schema.csv."""

    table: str
    name: str
    dtype: str
    default: str
    bounds: str
    values: tuple[str, ...]
    refers: str
    unit: str
    meaning: str

    @property
    def required(self) -> bool:
        """Whether the column has no default."""
        return self.default == ""


@cache
def load_schema() -> dict[str, tuple[Column, ...]]:
    """Tables of a snapshot, in order, each with its columns."""
    schema: dict[str, list[Column]] = {}
    with files("defi_leverage").joinpath("schema.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            column = Column(
                row["table"],
                row["column"],
                row["dtype"],
                row["default"],
                row["range"],
                tuple(row["values"].split("|")) if row["values"] else (),
                row["refers"],
                row["unit"],
                row["meaning"],
            )
            schema.setdefault(column.table, []).append(column)
    return {table: tuple(columns) for table, columns in schema.items()}


def complete_table(table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the schema's columns in the schema's order and dtypes, optional ones filled from their defaults.

    Raises SnapshotError for what is no DataFrame, an unknown or repeated column, a missing required column or a value
    that its dtype cannot hold.
    """
    if not isinstance(frame, pd.DataFrame):
        raise SnapshotError(f"{table}: a {type(frame).__name__}, not a DataFrame; wrap it in pandas.DataFrame")
    columns = load_schema()[table]
    names = [column.name for column in columns]
    if repeated := sorted({str(name) for name in frame.columns[frame.columns.duplicated()]}):
        raise SnapshotError(f"{table}: two columns {', '.join(repeated)}; keep one")
    unknown = [str(name) for name in frame.columns if name not in names]
    if unknown:
        raise SnapshotError(f"{table}: unknown column {', '.join(unknown)}; the schema has {', '.join(names)}")
    missing = [column.name for column in columns if column.required and column.name not in frame.columns]
    if missing:
        raise SnapshotError(f"{table}: missing column {', '.join(missing)}; add it, it has no default")
    completed: dict[str, pd.Series] = {}
    for column in columns:
        values = frame[column.name] if column.name in frame.columns else _default(column, completed, len(frame))
        completed[column.name] = _cast(column, values.reset_index(drop=True))
    return pd.DataFrame(completed, columns=names)


def _default(column: Column, completed: Mapping[str, pd.Series], rows: int) -> pd.Series:
    if column.default.startswith("="):
        return completed[column.default[1:]]
    if column.dtype == "text":
        return pd.Series(["" if column.default == "-" else column.default] * rows, dtype=object)
    return pd.Series(np.full(rows, float(column.default)))


def _cast(column: Column, values: pd.Series) -> pd.Series:
    where = f"{column.table}.{column.name}"
    if column.dtype == "text":
        text = values.astype(object)
        if len(text) and pd.api.types.infer_dtype(text, skipna=False) != "string":
            bad = text.map(lambda value: not isinstance(value, str))
            _refuse(bad, text, f"{where}: not text", "write it as text, '' where there is none")
        return text
    numbers = values
    if not pd.api.types.is_float_dtype(values) and not pd.api.types.is_integer_dtype(values):
        numbers = pd.to_numeric(values, errors="coerce")
        bad = numbers.isna() & values.notna() & (values.astype(str).str.lower() != "nan")
        _refuse(bad, values, f"{where}: not a number", "write a plain number")
    numbers = numbers.astype("float64")
    if column.dtype == "float?":
        return numbers
    _refuse(~np.isfinite(numbers), values, f"{where}: missing or not finite", "fill it in, or leave the row out")
    if column.dtype == "int":
        _refuse(numbers != np.floor(numbers), values, f"{where}: not a whole number", "round it at its source")
        return numbers.astype("int64")
    return numbers


def check_tables(tables: Mapping[str, pd.DataFrame]) -> None:
    """Check completed tables: keys unique, ranges, allowed values, references, JSON text, ratio feeds consistent.

    Raises SnapshotError that names the table, the column, the rows and the remedy.
    """
    for table, columns in load_schema().items():
        frame = tables[table]
        if table in KEYS:
            key = KEYS[table]
            _refuse(
                frame[key].duplicated(), frame[key], f"{table}.{key}: not unique", "give each row its own identifier"
            )
        for column in columns:
            _check_column(column, frame[column.name], tables)
    _check_json(tables["venues"]["liquidation_parameters"], "venues.liquidation_parameters")
    _check_json(tables["depth"]["parameters"], "depth.parameters")
    _check_json(tables["perp_markets"]["maintenance_tiers"], "perp_markets.maintenance_tiers", list)
    _check_json(tables["rates"]["rate_parameters"], "rates.rate_parameters")
    _check_feeds(tables["feeds"])
    _check_legs(tables["legs"], tables["feeds"])
    unique = {
        "legs": ["account_id", "side", "asset_id", "feed_id"],
        "depth": ["asset_id"],
        "rates": ["asset_id", "venue_id"],
        "ownership": ["owner", "controller", "kind"],
        "perps": ["account_id", "asset_id"],
        "perp_markets": ["venue_id", "asset_id"],
    }
    for table, keys in unique.items():
        repeated = tables[table].duplicated(keys)
        remedy = "add them up into one row" if table == "legs" else "keep one of them"
        _refuse(repeated, tables[table][keys[0]], f"{table}: rows repeat {', '.join(keys)}", remedy)


def _check_column(column: Column, values: pd.Series, tables: Mapping[str, pd.DataFrame]) -> None:
    where = f"{column.table}.{column.name}"
    if column.bounds == "0..1":
        _refuse((values < 0) | (values > 1), values, f"{where}: must be 0..1", "write a fraction: 0.05 is 5 %")
    elif column.bounds:
        bad = values <= 0 if column.bounds == ">0" else values < 0
        _refuse(bad, values, f"{where}: must be {column.bounds}", "correct the value, or leave the row out")
    if column.values:
        bad = ~values.isin(column.values)
        _refuse(bad, values, f"{where}: not one of {', '.join(column.values)}", "use one of these words")
    if column.refers:
        target, key = column.refers.split(".")
        bad = ~values.isin(tables[target][key])
        if column.default == "-":
            bad &= values != ""
        _refuse(
            bad, values, f"{where}: not found in {column.refers}", f"add the row to {target} or correct the reference"
        )
    if column.required and column.dtype == "text":
        _refuse(values == "", values, f"{where}: empty", "fill it in")


def _check_json(values: pd.Series, where: str, kind: type = dict) -> None:
    def is_bad(text: str) -> bool:
        try:
            return not isinstance(json.loads(text), kind)
        except ValueError:
            return True

    name, example = ("object", '{"depth": 1000}') if kind is dict else ("list", "[[0, 0.05, 0]]")
    bad = values.map(is_bad).astype(bool)
    _refuse(bad, values, f"{where}: not a JSON {name}", f"write one such as {example}")


def _check_feeds(feeds: pd.DataFrame) -> None:
    is_ratio = feeds["kind"] == "ratio"
    based = feeds["base_feed_id"] != ""
    _refuse(
        is_ratio & ~based,
        feeds["feed_id"],
        "feeds.base_feed_id: a ratio feed needs its base feed",
        "name the base feed",
    )
    base = feeds.set_index("feed_id").reindex(feeds["base_feed_id"])
    expected = feeds["ratio"] * base["price_usd"].to_numpy()
    off = is_ratio & (np.abs(feeds["price_usd"] / expected - 1) > 1e-4)  # oracles round to 8 decimals
    _refuse(
        off, feeds["feed_id"], "feeds.price_usd: not ratio * price of the base feed", "correct the price or the ratio"
    )


def _check_legs(legs: pd.DataFrame, feeds: pd.DataFrame) -> None:
    priced = legs["feed_id"].map(feeds.set_index("feed_id")["asset_id"])
    _refuse(
        priced != legs["asset_id"],
        legs["feed_id"],
        "legs.feed_id: prices another asset",
        "name a feed of the leg's asset",
    )
    overweight = (legs["side"] == "collateral") & (legs["weight"] > 1)
    _refuse(overweight, legs["weight"], "legs.weight: collateral weighs more than 1", "write 0.83, not 83 or 8300")
    unweighted = (legs["side"] == "debt") & (legs["weight"] <= 0)
    _refuse(unweighted, legs["weight"], "legs.weight: a debt must weigh more than 0", "use 1 for plain debt")


def _refuse(bad: "pd.Series | np.ndarray", shown: pd.Series, problem: str, remedy: str) -> None:
    """Raise SnapshotError where any row is bad, with the first rows and their values."""
    rows = np.flatnonzero(np.asarray(bad))
    if not rows.size:
        return
    values = [shown.iloc[row] for row in rows[:_SHOWN_ROWS]]
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    examples = ", ".join(f"row {row} ({value!r})" for row, value in zip(rows, plain, strict=False))
    more = f" and {rows.size - _SHOWN_ROWS} more" if rows.size > _SHOWN_ROWS else ""
    raise SnapshotError(f"{problem}: {examples}{more}; {remedy}", rows=rows.tolist())
