"""Compiling a snapshot: canonical order, claims, routes, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.prices import market_prices
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot
from defi_leverage.synthetic import synthetic_book
from tests.books import make_snapshot


def chain_of(*rows: tuple[str, str]) -> Snapshot:
    base = make_snapshot({"A": 1.0, "B": 1.0, "C": 1.0}, [({"A": 1.0}, {})])
    backing = [{"asset_id": asset, "underlying_id": under, "units": 1.0, "kind": "wraps"} for asset, under in rows]
    return Snapshot.from_tables(base.tables | {"backing": pd.DataFrame(backing)})


def test_claims_are_in_the_order_in_which_they_can_be_valued() -> None:
    book = compile_book(chain_of(("A", "B"), ("B", "C")))
    assert [book.symbols[claim.asset] for claim in book.claims] == ["B", "A"]


def test_a_circle_in_backing_is_refused_by_name() -> None:
    with pytest.raises(ScenarioError, match=r"circle with nothing behind it: A, B;"):
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
        ('{"close_factor": 0}', "close_factor 0 of aave_v3 must be a fraction above 0"),
        ('{"close_factor": NaN}', "close_factor nan of aave_v3 must be a fraction"),
        ('{"full_close_health_factor": -1}', "must be a fraction"),
    ],
)
def test_rule_parameters_that_make_no_sense_are_refused(parameters: str, problem: str) -> None:
    snapshot = make_snapshot({"A": 1.0}, [({"A": 1.0}, {})], rule="aave_v3")
    tables = snapshot.tables | {"venues": snapshot.venues.assign(liquidation_parameters=parameters)}
    with pytest.raises(ScenarioError, match=problem):
        compile_book(Snapshot.from_tables(tables))


def circle() -> Snapshot:
    """A share of vault A holds 0.6 B and 0.5 C, one of vault B 0.5 A and 0.2 C; A trades at a premium of 10 %.

    By hand: A = 0.6 (0.5 A + 0.2 C) + 0.5 C = 0.62 / 0.7 C, and B = 0.5 (0.6 B + 0.5 C) + 0.2 C = 0.45 / 0.7 C.
    """
    prices = {"A": 1.1 * 0.62 / 0.7, "B": 0.45 / 0.7, "C": 1.0, "USD": 1.0}
    base = make_snapshot(prices, [({"A": 1.0}, {"USD": 0.6})], depth={"C": 100.0})
    rows = [("A", "B", 0.6), ("A", "C", 0.5), ("B", "A", 0.5), ("B", "C", 0.2)]
    backing = [{"asset_id": a, "underlying_id": u, "units": n, "kind": "deposited"} for a, u, n in rows]
    return Snapshot.from_tables(base.tables | {"backing": pd.DataFrame(backing)})


def test_claims_on_each_other_are_valued_together_and_keep_their_basis() -> None:
    book = compile_book(circle())
    assert [[book.symbols[claim.asset] for claim in group] for group in book.claim_groups] == [["A", "B"]]
    shock = np.zeros(4)
    assert market_prices(book, shock, shock) == pytest.approx(book.price, rel=1e-14)
    shock[2] = -0.5  # all that is outside the circle falls by half, so everything in it does
    halved = market_prices(book, np.stack([shock, 0 * shock]), np.zeros((2, 4)))
    assert halved[0] == pytest.approx(book.price * [0.5, 0.5, 0.5, 1.0], rel=1e-14)
    assert halved[1] == pytest.approx(book.price, rel=1e-14)


def test_claims_on_each_other_are_redeemed_for_what_lies_outside_of_them() -> None:
    routes = sorted(compile_book(circle()).routes)
    assert [(asset, base) for asset, base, _ in routes] == [(0, 2), (1, 2)]
    assert [units for *_, units in routes] == pytest.approx([0.62 / 0.7, 0.45 / 0.7], rel=1e-14)


def test_a_claim_on_itself_is_solved_too() -> None:
    base = make_snapshot({"A": 2.0, "C": 1.0}, [({"A": 1.0}, {})])
    rows = [{"asset_id": "A", "underlying_id": u, "units": n, "kind": "wraps"} for u, n in (("A", 0.5), ("C", 1.0))]
    book = compile_book(Snapshot.from_tables(base.tables | {"backing": pd.DataFrame(rows)}))
    assert market_prices(book, np.array([0.0, -0.25]), np.zeros(2)) == pytest.approx([1.5, 0.75], rel=1e-14)
    assert market_prices(book, np.array([1.0, 0.0]), np.zeros(2))[0] == np.inf  # twice itself and more: no price


def test_a_book_is_compact_and_read_only() -> None:
    book = compile_book(synthetic_book(1_000, seed=1))
    assert len(book.amount) / 1_000 == pytest.approx(2.85, abs=0.1)
    assert book.nbytes <= 150 * 1_000
    assert book.start[-1] == len(book.amount)
    with pytest.raises(ValueError, match="read-only"):
        book.amount[0] = 1.0


def test_collateral_whose_liquidation_lowers_health_is_named() -> None:
    # Repaying 1 USD seizes 1.2 USD that counted 0.9 * 1.2 = 1.08: more than the debt that is gone.
    toxic = make_snapshot({"E": 10.0, "U": 1.0}, [({"E": 10.0}, {"U": 50.0})], weights={"E": 0.9}, bonus=0.2)
    assert compile_book(toxic).toxic_terms == [("E", "v")]
    sound = make_snapshot({"E": 10.0, "U": 1.0}, [({"E": 10.0}, {"U": 50.0})], weights={"E": 0.8}, bonus=0.2)
    assert compile_book(sound).toxic_terms == []


@pytest.mark.parametrize(
    ("rule", "parameters", "problem"),
    [
        ("maker", {"auction_discount": 1.0}, "auction_discount 1.0 of maker must be a fraction below 1"),
        ("crvusd", {"amplification": 1}, "amplification 1 of crvusd must be a number above 1"),
        ("crvusd", {"bands": 2.5}, "bands 2.5 of crvusd must be a whole number"),
        ("perp_partial", {"close_fraction": 0.0}, "close_fraction 0.0 of perp_partial must be a fraction above 0"),
    ],
)
def test_terms_at_which_a_rule_has_no_answer(rule: str, parameters: dict[str, float], problem: str) -> None:
    with pytest.raises(ScenarioError, match=problem):
        compile_book(make_snapshot({"E": 1.0}, [({"E": 1.0}, {})], rule=rule, parameters=parameters))
