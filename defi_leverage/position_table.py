"""The file of somebody's positions, CSV or Parquet: its columns, and the checks that name line, column and remedy."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from defi_leverage.config_values import is_number, nearest
from defi_leverage.contagion.liquidation import LIQUIDATION_RULES, venue_parameters
from defi_leverage.errors import ImportFileError
from defi_leverage.schema import load_schema

__all__ = ["COLUMNS", "Legs", "read_legs"]

_ASSET_KINDS = next(column.values for column in load_schema()["assets"] if column.name == "kind")

# column: (default, meaning); a column without a default must be there
COLUMNS: dict[str, tuple[str | None, str]] = {
    "account": (None, "who holds the position"),
    "venue": (None, "where: the market or pool; an account has one health factor a venue"),
    "side": (None, "collateral or debt"),
    "asset": (None, "symbol, or CAIP-19 identifier; the same text is the same asset"),
    "amount": (None, "whole tokens, not raw units"),
    "price_usd": (None, "USD a token by the venue's oracle; the same on every row of an asset and feed_kind"),
    "weight": (None, "liquidation threshold of collateral as a fraction, 0.83; of debt empty or 1"),
    "liquidation_bonus": (None, "fraction seized beyond the debt repaid, 0.05; of debt empty"),
    "symbol": ("", "readable name where asset is an identifier; empty: the asset"),
    "kind": ("token", f"of the asset: {', '.join(_ASSET_KINDS)}; usd assets swap at par and loop with each other"),
    "feed_kind": ("market", "market (follows the market), ratio (exchange rate times feed_base) or fixed"),
    "feed_base": ("", "asset whose feed a ratio multiplies; empty: the backing of the configuration"),
    "protocol": ("", "empty: the venue"),
    "rule": ("aave_v3", f"liquidation rule: {', '.join(LIQUIDATION_RULES)}"),
    "rule_parameters": ("{}", 'JSON object, such as {"close_factor": 0.5}'),
    "protocol_fee": ("0", "share of the bonus that the protocol keeps, as a fraction"),
    "health_factor": ("", "as the protocol reports it, to compare; inf without debt"),
    "mode": ("cross", "cross, isolated, emode:N or bands:N"),
    "decimals": ("18", "decimals of the asset"),
    "owner": ("", "empty: the account"),
}

_Bools = NDArray[np.bool_]

_TEXT = {"account": True, "venue": True, "side": True, "asset": True} | dict.fromkeys(
    ["symbol", "kind", "feed_kind", "feed_base", "protocol", "rule", "rule_parameters", "mode", "owner"], False
)  # column: whether it must be filled in
_MAXIMUM_USD = 1e15
_MAXIMUM_WEIGHT = 1.5  # above any threshold or maintenance margin there is; percent and basis points are far above


class Legs:
    """The file's rows as a table of text and numbers, with what an error needs to name a row."""

    def __init__(self, path: Path, frame: pd.DataFrame, lines: NDArray[np.int64], unit: str) -> None:
        self.path, self.frame, self.lines, self.unit = path, frame, lines, unit

    def refuse(self, bad: "pd.Series | _Bools", column: str, problem: str, remedy: str) -> None:
        """Raise ImportFileError for the first bad row, if there is one."""
        rows = np.flatnonzero(np.asarray(bad))
        if rows.size:
            value = _shown(self.frame[column].iloc[rows[0]])
            more = f" ({rows.size - 1:,} more {self.unit}s)" if rows.size > 1 else ""
            where = f"{self.path.name} {self.unit} {self.lines[rows[0]]}, column {column}"
            raise ImportFileError(f"{where}: {value} {problem}{more}; {remedy}", rows=self.lines[rows].tolist())

    def agree(self, keys: list[str], column: str, remedy: str) -> None:
        """Raise ImportFileError where rows with the same keys differ in a column."""
        first = self.frame.groupby(keys, sort=False)[column].transform("first")
        rows = np.flatnonzero((self.frame[column] != first) & ~(self.frame[column].isna() & first.isna()))
        if rows.size:
            row = rows[0]
            same = (self.frame[keys] == self.frame[keys].iloc[row]).all(axis=1).to_numpy()
            before = int(np.flatnonzero(same)[0])
            values = self.frame[column]
            of = " ".join(str(self.frame[key].iloc[row]) for key in keys)
            raise ImportFileError(
                f"{self.path.name} {self.unit}s {self.lines[before]} and {self.lines[row]}, column {column}: "
                f"{_shown(values.iloc[before])} and {_shown(values.iloc[row])} for the same {of}; {remedy}"
            )


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)


def read_legs(path: Path) -> Legs:
    """The legs of a .csv or .parquet file, checked; numbers are float64, text that is left out has its default.

    Raises ImportFileError that names the line (of a Parquet file the row), the column, the value and the remedy.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise ImportFileError(f"{path}: positions are read from .csv or .parquet files; convert or rename it")
    try:
        frame, lines, unit = readers[path.suffix.lower()](path)
    except FileNotFoundError:
        raise ImportFileError(f"{path}: no such file; correct the path") from None
    except OSError as error:
        raise ImportFileError(f"{path}: cannot be read: {error.strerror or error}; correct the path") from None
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise ImportFileError(
            f"{path.name}: not a readable {path.suffix[1:].upper()} file: {reason}; export it again"
        ) from None
    for name in frame.columns:
        if name not in COLUMNS:
            raise ImportFileError(f"{path.name}: unknown column {name!r}; {nearest(name, list(COLUMNS))}", column=name)
    missing = [name for name, (default, _) in COLUMNS.items() if default is None and name not in frame.columns]
    if missing:
        raise ImportFileError(f"{path.name}: missing column {', '.join(missing)}; see the columns in the template")
    if frame.empty:
        raise ImportFileError(f"{path.name}: has no rows; add one for each leg of each position")
    for name, (default, _) in COLUMNS.items():
        if name not in frame.columns:
            frame[name] = default
        elif default:
            frame[name] = frame[name].where(frame[name] != "", default)
    legs = Legs(path, frame, lines, unit)
    _check(legs)
    return legs


def _read_csv(path: Path) -> tuple[pd.DataFrame, NDArray[np.int64], str]:
    """Every value as text without surrounding blanks, and the line of each row as an editor shows it."""
    content = path.read_bytes()
    lines = content.decode("utf-8-sig").splitlines()  # also refuses what is not UTF-8
    skipped = next(
        (number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines)
    )
    header = next(csv.reader(lines[skipped : skipped + 1]), [])
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise ImportFileError(
            f"{path.name} line {skipped + 1}: columns are not separated by commas; export it with commas"
        )
    names = [name.strip() for name in header]
    if not any(names):
        raise ImportFileError(f"{path.name}: is empty; start with a line of column names, as in the template")
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ImportFileError(f"{path.name}: column {', '.join(sorted(repeated))} is there twice; remove one")
    if skipped + 1 == len(lines):
        return pd.DataFrame(columns=names), np.empty(0, dtype=np.int64), "line"

    invalid: list[str] = []

    def note(row: pcsv.InvalidRow) -> str:
        invalid.append(f"line {row.number}: has {row.actual_columns} values for {row.expected_columns} columns")
        return "error"

    try:
        table = pcsv.read_csv(
            io.BytesIO(content),
            read_options=pcsv.ReadOptions(use_threads=False, skip_rows=skipped + 1, column_names=names),
            parse_options=pcsv.ParseOptions(invalid_row_handler=note, ignore_empty_lines=False),
            convert_options=pcsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        if not invalid:
            raise
        raise ImportFileError(
            f"{path.name} {invalid[0]}; write a comma for each empty value, and a value that has a comma in quotes"
        ) from None
    frame = pd.DataFrame(
        {name: pc.utf8_trim_whitespace(table[name]).to_numpy().astype(object) for name in names}, columns=names
    )
    kept = (frame != "").any(axis=1).to_numpy()
    lines_kept = (np.arange(len(frame), dtype=np.int64) + skipped + 2)[kept]
    return frame[kept].reset_index(drop=True), lines_kept, "line"


def _read_parquet(path: Path) -> tuple[pd.DataFrame, NDArray[np.int64], str]:
    frame = pq.read_table(path).to_pandas()
    for name in frame.columns.intersection(list(_TEXT)):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "")
    return frame, np.arange(1, len(frame) + 1, dtype=np.int64), "row"


def _check(legs: Legs) -> None:
    """Refuse what cannot be right, column by column, and turn the columns of numbers into float64."""
    frame = legs.frame
    for column, required in _TEXT.items():
        if legs.unit == "row":
            legs.refuse(~frame[column].map(lambda value: isinstance(value, str)), column, "is not text", "write text")
        if required:
            legs.refuse(frame[column] == "", column, "is empty", "fill it in")
        unprintable = ~frame[column].map(str.isprintable).astype(bool)
        legs.refuse(unprintable, column, "holds a character that cannot be shown", "remove it")
    has_at = frame["venue"].str.contains("@", regex=False)
    legs.refuse(has_at, "venue", "has an @, which parts account and venue", "write another name")
    frame["side"] = frame["side"].str.lower()
    legs.refuse(~frame["side"].isin(["collateral", "debt"]), "side", "is not a side", "write collateral or debt")
    is_debt = (frame["side"] == "debt").to_numpy()
    _to_number(legs, "amount", "write whole tokens, such as 1234.5")
    legs.refuse(frame["amount"] < 0, "amount", "is negative", "write a debt as side debt with a positive amount")
    _to_number(legs, "price_usd", "write USD a token, such as 3000.5")
    legs.refuse(
        frame["price_usd"] <= 0, "price_usd", "is not a price", "write the oracle's price, or leave the row out"
    )
    legs.refuse(
        frame["amount"] * frame["price_usd"] > _MAXIMUM_USD,
        "amount",
        "is worth more than a quadrillion USD",
        "write whole tokens, not raw units",
    )
    _to_number(legs, "weight", "write a fraction such as 0.83", empty_where=is_debt, empty_is=1.0)
    legs.refuse(
        (frame["weight"] > _MAXIMUM_WEIGHT) & ~is_debt, "weight", "is not a fraction", "write 0.83, not 83 or 8300"
    )
    legs.refuse(
        frame["weight"] < 0, "weight", "is negative", "write a fraction such as 0.83, or 0 if it does not count"
    )
    wrong = is_debt & ((frame["weight"] <= 0) | (frame["weight"] > _MAXIMUM_WEIGHT)).to_numpy()
    legs.refuse(wrong, "weight", "is no weight of a debt", "leave it empty, or write 1")
    for column, example in (
        ("liquidation_bonus", "write 0.05, not 5, 1.05 or 10500"),
        ("protocol_fee", "write 0.1, not 10"),
    ):
        optional = is_debt | (column == "protocol_fee")
        _to_number(legs, column, example, empty_where=optional, empty_is=0.0)
        legs.refuse((frame[column] < 0) | (frame[column] >= 1), column, "is not a fraction below 1", example)
    _to_number(legs, "decimals", "write a whole number such as 18")
    is_uint8 = frame["decimals"].isin(range(256))
    legs.refuse(~is_uint8, "decimals", "is not a whole number from 0 to 255", "write 18")
    _to_number(legs, "health_factor", "write the number, or leave it empty", True, np.nan, infinite=True)
    legs.refuse(frame["health_factor"] < 0, "health_factor", "is negative", "write it as the protocol reports it")
    is_kind = frame["kind"].isin(_ASSET_KINDS)
    legs.refuse(~is_kind, "kind", "is no kind of asset", f"write one of {', '.join(_ASSET_KINDS)}")
    kinds = ["market", "ratio", "fixed"]
    legs.refuse(~frame["feed_kind"].isin(kinds), "feed_kind", "is no kind of feed", f"write {', '.join(kinds)}")
    rules = list(LIQUIDATION_RULES)
    legs.refuse(~frame["rule"].isin(rules), "rule", "is no liquidation rule", f"write {', '.join(rules)}")
    _check_parameters(legs)
    keys = ["account", "venue", "side", "asset"]
    repeated = frame.duplicated(keys)
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        before = int(np.flatnonzero((frame[keys] == frame[keys].iloc[row]).all(axis=1))[0])
        raise ImportFileError(
            f"{legs.path.name} {legs.unit}s {legs.lines[before]} and {legs.lines[row]}: the same account, venue, side "
            f"and asset ({', '.join(frame[keys].iloc[row])}); add them up, or remove the one too many"
        )


def _to_number(
    legs: Legs,
    column: str,
    remedy: str,
    empty_where: "_Bools | bool" = False,
    empty_is: float = 0.0,
    infinite: bool = False,
) -> None:
    values = legs.frame[column]
    empty = (values.isna() | (values == "")).to_numpy()
    legs.refuse(empty & ~np.asarray(empty_where), column, "is empty", remedy)
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    legs.refuse(numbers.isna() & ~empty, column, "is not a number", remedy)
    if not infinite:
        legs.refuse(np.isinf(numbers), column, "is not finite", remedy)
    legs.frame[column] = numbers.where(~empty, empty_is)


def _check_parameters(legs: Legs) -> None:
    for rule, text in legs.frame[["rule", "rule_parameters"]].drop_duplicates().itertuples(index=False):
        known = list(venue_parameters(LIQUIDATION_RULES[rule]))
        try:
            parameters = json.loads(text)
            valid = isinstance(parameters, dict) and set(parameters) <= set(known)
            valid = valid and all(is_number(value) and value >= 0 for value in parameters.values())
        except ValueError:
            valid = False
        if not valid:
            bad = (legs.frame["rule"] == rule) & (legs.frame["rule_parameters"] == text)
            remedy = f"write a JSON object of {', '.join(known)}, as numbers" if known else "leave it empty"
            legs.refuse(bad, "rule_parameters", f"are no parameters of the rule {rule}", remedy)
