"""Compiling a snapshot: canonical order, claims, routes, and what is refused."""

import pandas as pd
import pytest

from defi_leverage.contagion.book import compile_book
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot
from tests.books import make_snapshot


def chain_of(*rows: tuple[str, str]) -> Snapshot:
    base = make_snapshot({"A": 1.0, "B": 1.0, "C": 1.0}, [({"A": 1.0}, {})])
    backing = [{"asset_id": asset, "underlying_id": under, "units": 1.0, "kind": "wraps"} for asset, under in rows]
    return Snapshot.from_tables(base.tables | {"backing": pd.DataFrame(backing)})


def test_claims_are_in_the_order_in_which_they_can_be_valued() -> None:
    book = compile_book(chain_of(("A", "B"), ("B", "C")))
    assert [book.symbols[claim.asset] for claim in book.claims] == ["B", "A"]


def test_a_circle_in_backing_is_refused_by_name() -> None:
    with pytest.raises(ScenarioError, match=r"backing runs in a circle: .*A"):
        compile_book(chain_of(("A", "B"), ("B", "A")))


def test_a_wrapped_asset_without_a_market_is_sold_as_what_it_wraps() -> None:
    book = compile_book(chain_of(("A", "B"), ("B", "C")))
    assert book.routes == ((0, 1, 1.0), (1, 2, 1.0))
    assert book.missing_depth.tolist() == [True, True, True]


def test_a_circle_of_quotes_is_refused() -> None:
    prices = {"A": 1.0, "B": 1.0}
    with pytest.raises(ScenarioError, match="quotes of depth runs in a circle"):
        compile_book(make_snapshot(prices, [({"A": 1.0}, {})], depth={"A": 1.0, "B": 1.0}, quotes={"A": "B", "B": "A"}))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model": "magic"}, "unknown model 'magic'"),
        ({"parameters": '{"reserve": 5}'}, "takes the parameter 'depth'"),
        ({"parameters": '{"depth": 0}'}, "must be positive"),
        ({"parameters": '{"depth": "much"}'}, "must be positive"),
        ({"quote": "EUR"}, "quote 'EUR' is no asset"),
    ],
)
def test_depth_that_makes_no_sense_is_refused(change: dict[str, str], problem: str) -> None:
    snapshot = make_snapshot({"A": 1.0}, [({"A": 1.0}, {})], depth={"A": 5.0})
    tables = snapshot.tables | {"depth": snapshot.depth.assign(**change)}
    with pytest.raises(ScenarioError, match=problem):
        compile_book(Snapshot.from_tables(tables))


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ('{"close_factr": 0.5}', "no parameter close_factr; it takes close_factor"),
        ('{"close_factor": "half"}', "close_factor 'half' of aave_v3 must be a fraction"),
        ('{"close_factor": 50}', "close_factor 50 of aave_v3 must be a fraction"),
        ('{"close_factor": NaN}', "close_factor nan of aave_v3 must be a fraction"),
        ('{"full_close_health_factor": -1}', "must be a fraction"),
    ],
)
def test_rule_parameters_that_make_no_sense_are_refused(parameters: str, problem: str) -> None:
    snapshot = make_snapshot({"A": 1.0}, [({"A": 1.0}, {})], rule="aave_v3")
    tables = snapshot.tables | {"venues": snapshot.venues.assign(liquidation_parameters=parameters)}
    with pytest.raises(ScenarioError, match=problem):
        compile_book(Snapshot.from_tables(tables))
