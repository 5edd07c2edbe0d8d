"""Compiled kernels against the plain engine: layouts, health factors and whole cascades."""

import hashlib
import logging
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from defi_leverage.contagion import apart
from defi_leverage.contagion import compiled as compiled_module
from defi_leverage.contagion.batches import run_batch
from defi_leverage.contagion.book import Book, Floats, compile_book
from defi_leverage.contagion.cascade_outcomes import Cascades
from defi_leverage.contagion.cascades import run_cascades
from defi_leverage.contagion.compiled import compiled
from defi_leverage.contagion.engine import account_health_factors, run_contagion
from defi_leverage.contagion.kernels import (
    count_liquidatable,
    health_factors,
)
from defi_leverage.contagion.lanes import LANES
from defi_leverage.contagion.layout import lay_out
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import SnapshotError
from defi_leverage.snapshot import Snapshot
from defi_leverage.stress.sweep import scenario_outcome
from defi_leverage.synthetic import synthetic_book
from tests.books import make_snapshot, random_books
from tests.contagion.any_books import any_book, any_scenario

FEW = settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])


@pytest.fixture(scope="module")
def synthetic() -> tuple[Snapshot, Book]:
    snapshot = synthetic_book(2000, 3)
    return snapshot, compile_book(snapshot)


def averaging(snapshot: Snapshot) -> Snapshot:
    tables = snapshot.tables
    return Snapshot.from_tables(tables | {"venues": tables["venues"].assign(health_rule="average_threshold_bps")})


def odd_accounts() -> Snapshot:
    """20 legs, dust, no debt, debt without collateral, uncounted collateral, health factor exactly 1."""
    assets = {f"T{number:02}": 1.0 + number for number in range(20)}
    wide = {name: 10.0 + number for number, name in enumerate(assets)}
    positions: list[Any] = [
        ({name: wide[name] for name in list(assets)[:12]}, {name: wide[name] for name in list(assets)[12:]}),
        ({name: wide[name] for name in list(assets)[12:]}, {"T00": 1.0}),
        ({"T00": 1e-17}, {"T01": 1e-19}),
        ({"T05": 3.0}, {}),
        ({}, {"T05": 3.0}),
        ({"T19": 1e9}, {"T01": 2.0}),
        ({"T03": 5.0}, {"T00": 16.0}),
    ]
    return make_snapshot(assets, positions, weights={"T19": 0.0}, depth={"T03": 50.0, "T08": 100.0}, rule="aave_v3_3")


def brute(book: Book, price: Floats) -> Floats:
    """Health factors, accounts x scenarios, one scenario at a time."""
    return np.stack(
        [account_health_factors(book, book.amount, np.ascontiguousarray(row)) for row in price.T], axis=1
    )  # fmt: skip


def draw_prices(book: Book, count: int, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    return book.feed_price[:, None] * random.uniform(0.5, 1.2, (len(book.feed_price), count))


def same(left: Floats, right: Floats, tolerance: float = 1e-9) -> None:
    assert np.array_equal(np.isinf(left), np.isinf(right))
    np.testing.assert_allclose(
        np.where(np.isinf(left), 0, left), np.where(np.isinf(right), 0, right), tolerance, tolerance * 1e-3
    )


def test_layout_says_what_the_book_says(synthetic: tuple[Snapshot, Book]) -> None:
    _, book = synthetic
    compact = lay_out(book)
    kind = compact.leg_class
    for table, column in (
        (compact.class_asset, book.leg_asset), (compact.class_feed, book.leg_feed),
        (compact.class_is_debt, book.is_debt),
        (compact.class_weight, book.weight), (compact.class_bonus, book.bonus), (compact.class_fee, book.fee),
    ):  # fmt: skip
        assert np.array_equal(table[kind], column)
    assert np.array_equal(np.repeat(np.arange(compact.accounts), np.diff(compact.start)), book.leg_account)
    starts = np.searchsorted(book.leg_account, np.arange(compact.accounts))
    assert all(
        not book.is_debt[low:middle].any() and book.is_debt[middle:high].all()
        for low, middle, high in zip(starts, compact.split, compact.start[1:], strict=True)
    )
    assert np.array_equal(np.sort(compact.order), np.arange(compact.accounts))
    assert np.array_equal(compact.leg_feed, book.leg_feed)
    assert np.array_equal(compact.weighted, book.amount * book.weight)
    assert compact.health_nbytes < compact.nbytes < 150 * compact.accounts


@pytest.mark.parametrize("averages", [False, True])
@pytest.mark.parametrize("scenarios", [1, 7, 64, 130])
def test_health_factors_equal_the_engines(synthetic: tuple[Snapshot, Book], scenarios: int, averages: bool) -> None:
    _, book = synthetic
    if averages:
        book = replace(book, averages_threshold=np.ones_like(book.averages_threshold))
    compact, price = lay_out(book), draw_prices(book, scenarios)
    expected = brute(book, price)
    same(health_factors(compact, price), expected)
    below = expected < 1
    assert below.any()
    assert np.array_equal(count_liquidatable(compact, price), below.sum(axis=0))


@FEW
@given(random_books(), st.booleans(), st.integers(0, 1000))
def test_health_factors_of_any_book(snapshot: Snapshot, averages: bool, seed: int) -> None:
    book = compile_book(averaging(snapshot) if averages else snapshot)
    price = draw_prices(book, 9, seed)
    same(health_factors(lay_out(book), price), brute(book, price))


def test_odd_accounts() -> None:
    for snapshot in (odd_accounts(), averaging(odd_accounts())):
        book = compile_book(snapshot)
        price = draw_prices(book, 5)
        price[:, 0] = book.feed_price
        factors = health_factors(lay_out(book), price)
        same(factors, brute(book, price))
        assert factors[3, 0] == np.inf
        assert factors[4, 0] == factors[5, 0] == 0
        assert factors[6, 0] == 1


def test_an_empty_book_and_no_scenarios() -> None:
    book = compile_book(synthetic_book(0, 1))
    compact, price = lay_out(book), draw_prices(book, 3)
    assert health_factors(compact, price).shape == (0, 3)
    assert list(count_liquidatable(compact, price)) == [0, 0, 0]
    assert run_cascades(book, compact, np.zeros((2, len(book.price)))).converged.all()
    some = compile_book(synthetic_book(10, 1))
    assert health_factors(lay_out(some), draw_prices(some, 0)).shape == (10, 0)


def test_prices_of_another_shape_are_refused(synthetic: tuple[Snapshot, Book]) -> None:
    compact = lay_out(synthetic[1])
    for price in (np.ones((3, 2)), np.ones(compact.feeds)):
        with pytest.raises(ValueError, match="feeds x scenarios"):
            health_factors(compact, price)


def check_cascade(snapshot: Snapshot, book: Book, scenario: Scenario, cascades: Cascades, number: int) -> None:
    """One scenario of a batch against the plain engine: every figure of its summary, prices, and every leg."""
    result = run_contagion(snapshot, scenario, book)
    expected = result.summary() | scenario_outcome(result)
    usd = max(expected["seized_usd"], expected["repaid_usd"])
    for name in ("rounds", "converged", "accounts_liquidated", "toxic_liquidations"):
        assert getattr(cascades, name)[number] == expected[name], name
    for name in ("exhausted", "missing_depth", "beyond_range"):
        assert ", ".join(sorted(set(book.symbols[getattr(cascades, name)[number]]))) == expected[name], name
    scales = dict.fromkeys(("repaid_usd", "seized_usd", "protocol_fee_usd", "bad_debt_usd", "insolvency_usd"), usd)
    for name, scale in (scales | {"bad_debt_share": 0.0, "residual": 1.0, "amplification": 1.0}).items():
        close = pytest.approx(expected[name], rel=1e-9, abs=1e-9 * scale + 1e-12, nan_ok=True)
        assert getattr(cascades, name)[number] == close, name
    for name in ("buffer_drawn_usd", "deleveraged_usd"):
        np.testing.assert_allclose(getattr(cascades, name)[number], result.venues[name], 1e-9, 1e-9 * usd + 1e-12)
    np.testing.assert_allclose(cascades.price[number], result.price_path[-1], 1e-9)
    traded = np.abs(result.net_sales).max(initial=0)
    np.testing.assert_allclose(cascades.net_sales[number], result.net_sales, 1e-9, 1e-9 * traded)
    amount = result.book.amount.copy()
    legs, left = cascades.legs[number]
    amount[legs] = left
    amount[result.bad_before["leg"].to_numpy(np.int64)] = 0.0
    np.testing.assert_allclose(amount, result.amount, 1e-9, 1e-9 * np.abs(book.amount).max(initial=0))


@given(st.integers(0, 2**32))
@settings(max_examples=120, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_any_scenarios_of_any_book(seed: int) -> None:
    """Every rule, impact model, kind of account and switch; scenarios that share a batch, and others among them."""
    random = Random(seed)
    snapshot = any_book(random)
    book = compile_book(snapshot)
    first, other = any_scenario(random, snapshot), any_scenario(random, snapshot)
    more = [
        replace(first, shocks={"ETH": random.uniform(-0.5, 0.2)}, depth_multiplier=random.choice([0.5, 2.0]))
        for _ in range(3)
    ]
    scenarios = [more[0], other, *more[1:], first]
    cascades = run_batch(snapshot, scenarios, book, keep_legs=True)
    for number, scenario in enumerate(scenarios):
        check_cascade(snapshot, book, scenario, cascades, number)


SHOCK = st.floats(-0.6, 0.3)


@FEW
@given(random_books(), st.booleans(), st.lists(st.tuples(SHOCK, SHOCK, SHOCK, SHOCK), min_size=1, max_size=4))
def test_cascades_of_pairs_alone(snapshot: Snapshot, averages: bool, shocks: list[tuple[float, ...]]) -> None:
    snapshot = averaging(snapshot) if averages else snapshot
    book = compile_book(snapshot)
    cascades = run_cascades(book, lay_out(book), np.array(shocks), keep_legs=True)
    for number, row in enumerate(shocks):
        scenario = Scenario(shocks=dict(zip(book.asset_ids, row, strict=True)))
        check_cascade(snapshot, book, scenario, cascades, number)


@pytest.mark.parametrize("averages", [False, True])
def test_cascades_of_a_synthetic_book(averages: bool) -> None:
    """More than a tile of scenarios, mild and hard, over several venues."""
    snapshot = synthetic_book(1500, 5)
    snapshot = averaging(snapshot) if averages else snapshot
    book, random = compile_book(snapshot), np.random.default_rng(0)
    scenarios = [
        Scenario(
            shocks={symbol: float(random.uniform(-0.5, 0.1)) for symbol in ("ETH", "BTC", "USDe", "wstETH")},
            feed_shocks={str(book.feed_ids[0]): -0.1} if number % 2 else {},
        )
        for number in range(LANES + 6)
    ]
    cascades = run_batch(snapshot, scenarios, book, keep_legs=True)
    assert cascades.rounds.mean() > 3
    assert cascades.bad_debt.sum() > 0
    for number in range(0, LANES + 6, 9):
        check_cascade(snapshot, book, scenarios[number], cascades, number)


def test_cascades_of_odd_accounts() -> None:
    snapshot = odd_accounts()
    book = compile_book(snapshot)
    shocks = np.zeros((3, len(book.price)))
    shocks[1, 3], shocks[2, :12] = -0.01, -0.9
    cascades = run_cascades(book, lay_out(book), shocks, keep_legs=True)
    assert cascades.accounts_liquidated[1] >= 1
    assert cascades.bad_debt_usd[2] > 0
    for number, row in enumerate(shocks):
        check_cascade(
            snapshot, book, Scenario(shocks=dict(zip(book.asset_ids, row.tolist(), strict=True))), cascades, number
        )


def test_batches_are_narrowed_where_accounts_apart_take_much_memory(
    synthetic: tuple[Snapshot, Book], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, book = synthetic
    scenarios = [Scenario(shocks={"ETH": -0.01 * fall}, liquidators="rational") for fall in range(1, 6)]
    whole = run_batch(snapshot, scenarios, book)
    monkeypatch.setattr(apart, "_MEMORY", 2 * 8 * len(book.amount))
    assert apart.scenarios_at_once(len(book.amount), 5) == 2
    narrow = run_batch(snapshot, scenarios, book)
    assert np.array_equal(narrow.price, whole.price)
    assert np.array_equal(narrow.repaid_usd, whole.repaid_usd)
    assert whole.accounts_liquidated.all()


def test_no_scenarios_and_unknown_names(synthetic: tuple[Snapshot, Book]) -> None:
    assert run_batch(synthetic[0], [], synthetic[1]).price.shape == (0, len(synthetic[1].price))
    with pytest.raises(SnapshotError, match="no asset 'XYZ'"):
        run_batch(synthetic[0], [Scenario(shocks={"XYZ": -0.1})], synthetic[1])


def test_a_scenario_alone_is_the_same_as_among_others(synthetic: tuple[Snapshot, Book]) -> None:
    book = synthetic[1]
    shocks = np.random.default_rng(1).uniform(-0.4, 0.0, (20, len(book.price)))
    compact = lay_out(book)
    together = run_cascades(book, compact, shocks)
    for number in (0, 7, 19):
        alone = run_cascades(book, compact, shocks[number : number + 1])
        assert alone.rounds[0] == together.rounds[number]
        assert np.array_equal(alone.price[0], together.price[number])
        assert alone.repaid_usd[0] == together.repaid_usd[number]


_DIGEST = """
import hashlib, numba, numpy as np
from tests.contagion.test_kernels import digest
for threads in (1, 2, 4):
    numba.set_num_threads(threads)
    print(digest())
"""


def digest() -> str:
    """Of every bit of the results over a book of several blocks."""
    book = compile_book(synthetic_book(20_000, 2))
    compact, price = lay_out(book), draw_prices(book, 70)
    cascades = run_cascades(book, compact, np.random.default_rng(0).uniform(-0.3, 0, (9, len(book.price))))
    parts = [getattr(cascades, item.name) for item in fields(Cascades) if item.name != "legs"]
    parts += [health_factors(compact, price), count_liquidatable(compact, price)]
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def test_the_same_bits_with_one_two_or_four_threads() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DIGEST], capture_output=True, text=True, check=True,
        env=os.environ | {"NUMBA_NUM_THREADS": "4"},
    )  # fmt: skip
    digests = done.stdout.split()
    assert len(digests) == 3
    assert len(set(digests)) == 1


def test_without_a_writable_cache_functions_are_compiled_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    """Code that no file holds has no place beside it for a cache, as a read-only installation has none."""
    names: dict[str, Any] = {}
    exec("def add(a, b):\n    return a + b\n", names)
    with caplog.at_level(logging.INFO, "defi_leverage"):
        add = compiled(names["add"])
    assert add(2.0, 3.0) == 5.0
    assert "compiled in memory" in caplog.text


def test_a_change_in_any_compiled_module_compiles_all_anew() -> None:
    """The compiler's cache looks at one file alone; every file that compiles must be named."""
    folder = Path(compiled_module.__file__).parent
    compiling = {path.stem for path in folder.glob("*.py") if " = compiled" in path.read_text()}
    assert compiling <= set(compiled_module.SOURCES)
    assert all((folder / f"{name}.py").exists() for name in compiled_module.SOURCES)


def test_importing_the_package_does_not_import_the_compiler() -> None:
    code = "import sys, defi_leverage, defi_leverage.cli; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
