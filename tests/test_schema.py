"""Tables as a notebook hands them over: what is taken, what is filled in, and the line that each mistake gets."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from defi_leverage.errors import SnapshotError
from defi_leverage.health import account_health
from defi_leverage.schema import load_schema
from defi_leverage.snapshot import Snapshot


def minimal() -> dict[str, pd.DataFrame]:
    """The least that a snapshot needs: one account, 1 ETH at 80 % against 1,000 USD."""
    return {
        "assets": pd.DataFrame({"asset_id": ["ETH", "USD"], "symbol": ["ETH", "USD"], "price_usd": [2000, 1]}),
        "venues": pd.DataFrame({"venue_id": ["v"], "protocol": ["p"], "liquidation_rule": ["aave_v3"]}),
        "accounts": pd.DataFrame({"account_id": ["a"], "venue_id": ["v"]}),
        "legs": pd.DataFrame(
            {
                "account_id": ["a", "a"],
                "side": ["collateral", "debt"],
                "asset_id": ["ETH", "USD"],
                "amount": [1, 1000],
                "weight": [0.8, 1],
            }
        ),
    }


def as_categories(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({name: "category" for name in frame.columns if frame[name].dtype == object})


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame,
        lambda frame: frame.convert_dtypes(),
        lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
        as_categories,
        lambda frame: frame.set_index(pd.Index([7] * len(frame))),
        lambda frame: frame.iloc[::-1],
    ],
    ids=["plain", "nullable", "pyarrow", "categories", "index", "reversed"],
)
def test_tables_of_any_dtype_make_the_same_snapshot(change: Any) -> None:
    snapshot = Snapshot.from_tables({name: change(frame) for name, frame in minimal().items()})
    assert account_health(snapshot)["health_factor"].tolist() == [1.6]
    assert {name: list(frame) for name, frame in snapshot.tables.items()} == {
        name: [column.name for column in columns] for name, columns in load_schema().items()
    }


@pytest.mark.parametrize("amounts", [["1", "1000"], [Decimal(1), Decimal(1000)], np.array([1, 1000], "float32")])
def test_numbers_may_be_written_in_other_ways(amounts: Any) -> None:
    tables = minimal()
    tables["legs"] = tables["legs"].assign(amount=amounts)
    assert account_health(Snapshot.from_tables(tables))["health_factor"].tolist() == [1.6]


def test_tables_handed_over_stay_as_they_are() -> None:
    tables = minimal()
    Snapshot.from_tables(tables)
    assert all(frame.equals(minimal()[name]) for name, frame in tables.items())


@pytest.mark.parametrize(
    ("table", "column", "values", "problem"),
    [
        ("legs", "amount", ["1", "1,000"], r"legs.amount: not a number: row 1 \('1,000'\); write a plain number"),
        ("legs", "amount", [None, 1], "legs.amount: missing or not finite: row 0"),
        ("legs", "amount", pd.array([None, 1], dtype="Int64"), "legs.amount: missing or not finite: row 0"),
        ("legs", "amount", [np.inf, 1], "legs.amount: missing or not finite: row 0"),
        ("legs", "amount", [-1, 1], "legs.amount: must be >=0: row 0"),
        ("legs", "weight", [80, 1], r"legs.weight: collateral weighs more than 1: row 0 \(80.0\); write 0.83"),
        ("legs", "weight", [0.8, 0], r"legs.weight: a debt must weigh more than 0: row 1"),
        ("legs", "liquidation_bonus", [1.05, 0], "legs.liquidation_bonus: must be 0..1: row 0"),
        ("legs", "protocol_fee", [10, 0], "legs.protocol_fee: must be 0..1: row 0"),
        ("legs", "side", ["Collateral", "debt"], "legs.side: not one of collateral, debt: row 0"),
        ("legs", "account_id", ["A", "a"], "legs.account_id: not found in accounts.account_id: row 0"),
        ("legs", "colour", "red", "legs: unknown column colour; the schema has account_id"),
        ("venues", "name", [None], "venues.name: not text: row 0"),
        ("venues", "liquidation_parameters", ["[]"], "venues.liquidation_parameters: not a JSON object: row 0"),
        ("accounts", "account_id", [1], "accounts.account_id: not text: row 0"),
        ("assets", "asset_id", ["ETH", "ETH"], "assets.asset_id: not unique: row 1"),
        ("assets", "price_usd", [2000, 0], "assets.price_usd: must be >0: row 1"),
    ],
)
def test_a_mistake_is_named_with_its_table_column_and_rows(table: str, column: str, values: Any, problem: str) -> None:
    tables = minimal()
    tables[table] = tables[table].assign(**{column: values})
    with pytest.raises(SnapshotError, match=problem):
        Snapshot.from_tables(tables)


def test_debt_may_weigh_more_than_its_value() -> None:
    tables = minimal()
    tables["legs"] = tables["legs"].assign(weight=[0.8, 2.0])
    assert account_health(Snapshot.from_tables(tables))["health_factor"].tolist() == [0.8]


def test_tables_that_are_none_are_named() -> None:
    tables: dict[str, Any] = minimal()
    for change, problem in (
        ({"legs": tables["legs"].to_dict("records")}, "legs: a list, not a DataFrame"),
        ({"legs": pd.concat([tables["legs"], tables["legs"][["amount"]]], axis=1)}, "legs: two columns amount"),
        ({"legs": pd.concat([tables["legs"]] * 2)}, "legs: rows repeat account_id, side, asset_id, feed_id: row 2"),
        ({"legs": tables["legs"].drop(columns="weight")}, "legs: missing column weight"),
        ({"leg": tables["legs"]}, "unknown table leg"),
    ):
        with pytest.raises(SnapshotError, match=problem):
            Snapshot.from_tables(tables | change)
    with pytest.raises(SnapshotError, match="missing table assets, venues, accounts"):
        Snapshot.from_tables({"legs": tables["legs"]})
