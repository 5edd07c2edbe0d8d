"""The compiled parts of the ranking against the plain engine's, on random books, and on accounts at exactly 1."""

from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from defi_leverage.clusters import ranking, search
from defi_leverage.clusters.crossings import crossing_flows, prepare_crossings
from defi_leverage.clusters.gain import price_responses, step_on
from defi_leverage.clusters.leave_one_out import leave_one_out, reference_loss
from defi_leverage.clusters.search import shock_of
from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.engine import account_health_factors, liquidate, resolve_shocks, run_contagion
from defi_leverage.contagion.lanes import LANES
from defi_leverage.contagion.prices import feed_prices, market_prices
from defi_leverage.snapshot import Snapshot
from defi_leverage.synthetic import synthetic_book
from tests.books import make_snapshot
from tests.clusters import plain_ranking
from tests.contagion.any_books import any_book, any_scenario


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_responses_of_any_book(seed: int) -> None:
    """Every rule, impact model and kind of account; more pairs of states than one batch takes."""
    random = Random(seed)
    snapshot = any_book(random)
    book = compile_book(snapshot)
    before = np.array([resolve_shocks(snapshot, any_scenario(random, snapshot), book)[0] for _ in range(LANES + 3)])
    steps = [(random.randrange(before.shape[1]), random.choice([-0.3, -0.05, -0.01, 0.01, 0.2])) for _ in before]
    after = np.array([step_on(shock, *step) for shock, step in zip(before, steps, strict=True)])
    crossing = prepare_crossings(book)
    for inherited in (True, False):
        expected = plain_ranking.price_responses(crossing, before, after, inherited=inherited)
        found = price_responses(crossing, before, after, inherited=inherited)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_accounts_at_exactly_one_cross_once() -> None:
    """At a fall of 5 % all are at 1 but for the last bit, which says in which of two steps they fall: as in the engine.

    Either way each is liquidated whole in one of them, its debt for as much ETH as that buys at the step's end.
    """
    tokens, ends = np.random.default_rng(1).uniform(0.5, 2.0, 300), np.array([0.0, 0.05, 0.06])
    positions = [({"ETH": held}, {"USD": held * 0.83 * (2000.0 * 0.95)}) for held in tokens.tolist()]
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, positions, weights={"ETH": 0.83}, bonus=0.0)
    book = compile_book(snapshot)
    eth = list(book.symbols).index("ETH")
    shocks = np.array([shock_of(book, {eth: -1}, fall) for fall in ends.tolist()])
    feeds = feed_prices(book, market_prices(book, shocks, np.zeros_like(shocks)))
    at_five = account_health_factors(book, book.amount, feeds[1])
    assert np.abs(at_five - 1).max() < 1e-15
    assert 0 < (at_five < 1).sum() < 300
    usd = crossing_flows(prepare_crossings(book), feeds[:-1], feeds[1:])[:, eth] * book.price[eth] * (1 - ends[1:])
    debt = book.amount[book.is_debt]  # one leg an account
    assert usd == pytest.approx([debt[at_five < 1].sum(), debt[at_five >= 1].sum()], rel=1e-12)


def test_averages_that_rounding_decides_cross_as_in_the_engine() -> None:
    """Averages of 75 % but for the last bit of what is floored to whole basis points: those below lose one of them.

    Which are below differs with the order of a sum. 74.99 % takes an account of health factor 1.00005 below 1, so that
    it has had its turn when A falls by 10 %, as the others have not.
    """
    least, value = 7500 - 1e-7, np.random.default_rng(2).uniform(1.0, 3.0, 400)  # floored is the average plus 1e-7
    held = [(usd * (least - 7000) / 1000, usd * (8000 - least) / 1000) for usd in value.tolist()]  # USD
    base = make_snapshot(
        {"A": 1.0, "B": 1.37, "C": 1.0},
        [({"A": a, "B": b / 1.37}, {"C": 0.75 * (a + b) / 1.00005}) for a, b in held],
        weights={"A": 0.8, "B": 0.7},
    )
    snapshot = Snapshot.from_tables(base.tables | {"venues": base.venues.assign(health_rule="average_threshold_bps")})
    book = compile_book(snapshot)
    shocks = np.array([shock_of(book, {0: -1}, fall) for fall in (0.0, 0.1)])
    feeds = feed_prices(book, market_prices(book, shocks, np.zeros_like(shocks)))
    earlier, after = (account_health_factors(book, book.amount, feed) for feed in feeds)
    others = np.flatnonzero((earlier >= 1) & (after < 1))
    assert 0 < others.size < len(earlier)
    bought = -crossing_flows(prepare_crossings(book), feeds[:1], feeds[1:])[0, list(book.symbols).index("C")]
    done = liquidate(book, book.amount.copy(), feeds[1], after, others)
    assert bought == pytest.approx(done.bought.sum(), rel=1e-12)


@given(st.integers(0, 2**32))
@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_leaving_out_any_accounts(seed: int) -> None:
    """Under every switch that a scenario has."""
    random = Random(seed)
    snapshot = any_book(random)
    book = compile_book(snapshot)
    members = {name: random.sample(list(book.account_ids), random.randint(0, 3)) for name in "abc"}
    scenarios = [any_scenario(random, snapshot) for _ in range(3)]
    references = [reference_loss(run_contagion(snapshot, scenario, book)) for scenario in scenarios]
    expected = plain_ranking.leave_one_out(snapshot, members, references, book)
    found = leave_one_out(snapshot, members, references, book)
    usd = 1e-9 * float((book.amount * book.price[book.leg_asset]).sum())
    columns = ["loss_usd", "own_loss_usd", "spillover_usd"]
    np.testing.assert_allclose(found[columns], expected[columns], rtol=1e-9, atol=usd)


@pytest.mark.parametrize("seed", [None, 3])
def test_the_whole_ranking(monkeypatch: pytest.MonkeyPatch, seed: int | None) -> None:
    snapshot = any_book(Random(seed)) if seed else synthetic_book(60, 5)
    found = ranking.find_clusters(snapshot, band=0.1, largest_fall=0.4)
    assert len(found) >= 1
    monkeypatch.setattr(search, "price_responses", plain_ranking.price_responses)
    monkeypatch.setattr(ranking, "leave_one_out", plain_ranking.leave_one_out)
    expected = ranking.find_clusters(snapshot, band=0.1, largest_fall=0.4)
    usd = 1e-9 * float(expected["collateral_usd"].max())
    pd.testing.assert_frame_equal(found, expected, rtol=1e-9, atol=usd)
