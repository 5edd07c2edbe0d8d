"""Clearing and DebtRank: published figures, exact enumeration of every fixed point, and the axioms."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array

from defi_leverage.networks.clearing import Clearing, clear_liabilities, run_debtrank

Floats = NDArray[np.float64]
MUTUAL = [[0.0, 1.0], [1.0, 0.0]]
bounded = settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
seeds = st.integers(0, 2**32 - 1)


def random_network(seed: int, outside: bool = True) -> tuple[Floats, Floats, Floats]:
    """Sparse debts of 2 to 12 nodes over six orders of magnitude; some owe nothing, some have nothing."""
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 13))
    debts = rng.lognormal(0, 2, (nodes, nodes)) * (rng.random((nodes, nodes)) < 0.4)
    np.fill_diagonal(debts, 0)
    assets = rng.lognormal(-1, 1.5, nodes) * (rng.random(nodes) < 0.7)
    return debts, assets, rng.lognormal(-2, 1, nodes) * (rng.random(nodes) < 0.5) * outside


def assert_clears(debts: Floats, assets: Floats, outside: Floats, payments: Floats) -> None:
    """p = min(pbar, e + Pi'p): limited liability, and defaulters pay out all they have."""
    owed = debts.sum(axis=1) + outside
    shares = np.divide(debts, owed[:, None], out=np.zeros_like(debts), where=owed[:, None] > 0)
    np.testing.assert_allclose(payments, np.minimum(owed, assets + shares.T @ payments), rtol=1e-11, atol=1e-14)


# Eisenberg & Noe (2001)


def test_mutual_debts_without_assets_have_a_continuum_of_solutions() -> None:
    cleared = clear_liabilities(MUTUAL, 0.0)
    np.testing.assert_allclose(cleared.payments, [1, 1], rtol=1e-12)
    np.testing.assert_array_equal(cleared.least, [0, 0])
    assert not cleared.unique
    assert [loop.tolist() for loop in cleared.pure_loops] == [[0, 1]]
    assert cleared.converged


@pytest.mark.parametrize("asset", [0.01, 1e-9])
def test_any_asset_at_all_makes_them_one(asset: float) -> None:
    """e = (.01, 0): (1, 1). Picard from 0 would take 1 / e steps."""
    cleared = clear_liabilities(MUTUAL, [asset, 0])
    np.testing.assert_allclose([cleared.payments, cleared.least], np.ones((2, 2)), rtol=1e-12)
    assert cleared.unique
    assert cleared.pure_loops == ()
    assert cleared.equity == pytest.approx([asset, 0], rel=1e-6)
    assert cleared.iterations < 100


def test_a_chain_of_defaults_by_hand() -> None:
    """A owes B 10 and has 4; B owes C 8 and has 1; C owes outside 3: A pays 4, B 5, C 3 and keeps 2."""
    cleared = clear_liabilities([[0, 10, 0], [0, 0, 8], [0, 0, 0]], [4, 1, 0], [0, 0, 3])
    assert cleared.payments.tolist() == pytest.approx([4, 5, 3])
    assert cleared.defaults.tolist() == [True, True, False]
    assert cleared.equity == pytest.approx([0, 0, 2])
    assert cleared.owed.tolist() == [10, 8, 3]


def test_pure_loops_are_those_that_nobody_with_assets_reaches() -> None:
    """0-2 are a loop; 3-4 one that owes 0.5 outside, 9-10 one that owes 11; 7, with assets, owes the loop 5-6 via 8."""
    debts = np.zeros((12, 12))
    for debtor, creditor in [
        (0, 1),
        (1, 2),
        (2, 0),
        (3, 4),
        (4, 3),
        (5, 6),
        (6, 5),
        (7, 8),
        (8, 5),
        (9, 10),
        (10, 9),
        (10, 11),
    ]:
        debts[debtor, creditor] = 1.0
    debts[0, 1] = 3.0  # the loop carries what its weakest debt does
    outside = np.zeros(12)
    outside[4] = 0.5
    assets = np.zeros(12)
    assets[7] = 0.25
    cleared = clear_liabilities(debts, assets, outside)
    assert [loop.tolist() for loop in cleared.pure_loops] == [[0, 1, 2]]
    np.testing.assert_allclose(cleared.payments, [1, 1, 1, 0, 0, 1, 1, 0.25, 0.25, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(cleared.least, [0, 0, 0, 0, 0, 1, 1, 0.25, 0.25, 0, 0, 0], atol=1e-12)


@bounded
@given(seeds, st.booleans())
def test_the_greatest_vector_solves_their_linear_program(seed: int, outside: bool) -> None:
    """Eisenberg & Noe, lemma 4: the greatest clearing vector maximises what is paid within assets and debts."""
    debts, assets, owed_outside = random_network(seed, outside)
    cleared = clear_liabilities(debts, assets, owed_outside)
    shares = np.divide(debts, cleared.owed[:, None], out=np.zeros_like(debts), where=cleared.owed[:, None] > 0)
    solved = linprog(
        -np.ones(len(assets)), np.eye(len(assets)) - shares.T, assets, bounds=[(0, owed) for owed in cleared.owed]
    )
    np.testing.assert_allclose(cleared.payments, solved.x, rtol=1e-6, atol=1e-6)
    assert cleared.converged
    for payments in (cleared.payments, cleared.least):
        assert_clears(debts, assets, owed_outside, payments)


@bounded
@given(seeds, st.booleans())
def test_vectors_differ_exactly_on_pure_loops(seed: int, outside: bool) -> None:
    debts, assets, owed_outside = random_network(seed, outside)
    cleared = clear_liabilities(debts, assets * (np.arange(len(assets)) % 3 == 0), owed_outside)
    differ = np.flatnonzero(cleared.payments - cleared.least > 1e-9 * cleared.owed)
    assert sorted(itertools.chain.from_iterable(loop.tolist() for loop in cleared.pure_loops)) == differ.tolist()
    assert cleared.unique == (not cleared.pure_loops)


@bounded
@given(seeds)
def test_value_is_conserved_and_priority_kept(seed: int) -> None:
    debts, assets, outside = random_network(seed)
    cleared = clear_liabilities(debts, assets, outside)
    paid_outside = np.divide(
        cleared.payments * outside, cleared.owed, out=np.zeros(len(outside)), where=cleared.owed > 0
    )
    assert (cleared.equity + paid_outside).sum() == pytest.approx(assets.sum(), rel=1e-10)
    assert (cleared.equity[cleared.defaults] == 0).all()
    assert (cleared.payments <= cleared.owed * (1 + 1e-12)).all()


@bounded
@given(seeds, st.sampled_from([(1.0, 1.0), (0.5, 0.8), (1.0, 0.6), (0.0, 0.0)]))
def test_more_assets_never_lower_a_payment_and_costs_never_raise_one(seed: int, kept: tuple[float, float]) -> None:
    debts, assets, outside = random_network(seed)
    alpha, beta = kept
    poor = clear_liabilities(debts, assets, outside, alpha=alpha, beta=beta)
    richer = assets + np.random.default_rng(seed + 1).random(len(assets))
    rich = clear_liabilities(debts, richer, outside, alpha=alpha, beta=beta)
    free = clear_liabilities(debts, assets, outside)
    slack = 1e-10 * (1 + poor.owed)
    assert (rich.payments >= poor.payments - slack).all()
    assert (rich.least >= poor.least - slack).all()
    assert (free.payments >= poor.payments - slack).all()
    assert (poor.payments >= poor.least - slack).all()


@bounded
@given(seeds, st.sampled_from([(1.0, 1.0), (0.5, 0.5)]))
def test_the_order_of_nodes_does_not_matter(seed: int, kept: tuple[float, float]) -> None:
    debts, assets, outside = random_network(seed)
    order = np.random.default_rng(seed).permutation(len(assets))
    one = clear_liabilities(debts, assets, outside, alpha=kept[0], beta=kept[1])
    other = clear_liabilities(
        csr_array(debts[np.ix_(order, order)]), assets[order], outside[order], alpha=kept[0], beta=kept[1]
    )
    np.testing.assert_allclose(other.payments, one.payments[order], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(other.least, one.least[order], rtol=1e-9, atol=1e-12)


# Rogers & Veraart (2013)


def clear_with_costs(first_debt: float) -> Clearing:
    return clear_liabilities([[0, first_debt], [2.2, 0]], [1, 1], alpha=0.5, beta=0.5)


def test_a_bank_solvent_only_in_the_limit_pays_in_full() -> None:
    """L12 = 2, L21 = 2.2, e = (1, 1), alpha = beta = .5: iteration from 0 tends to (1, 1), which does not clear."""
    cleared = clear_with_costs(2.0)
    np.testing.assert_allclose(cleared.payments, [2, 2.2], rtol=1e-12)
    np.testing.assert_allclose(cleared.least, [2, 2.2], rtol=1e-12)
    assert cleared.unique


def test_default_costs_alone_make_two_vectors() -> None:
    """With L12 = 2.2: greatest (2.2, 2.2), least (1, 1), and no pure loop."""
    cleared = clear_with_costs(2.2)
    np.testing.assert_allclose(cleared.payments, [2.2, 2.2], rtol=1e-12)
    np.testing.assert_allclose(cleared.least, [1, 1], rtol=1e-12)
    assert not cleared.unique
    assert cleared.pure_loops == ()


def all_fixed_points(
    debts: NDArray[np.int64], assets: NDArray[np.int64], outside: NDArray[np.int64], alpha: Fraction, beta: Fraction
) -> list[list[Fraction]]:
    """Every clearing vector, in exact arithmetic: for each set of defaulters, solve, and see who then defaults."""
    nodes = len(assets)
    owed = [Fraction(int(debts[i].sum() + outside[i])) for i in range(nodes)]
    share = [
        [Fraction(int(debts[j, i])) / owed[j] if owed[j] else Fraction(0) for j in range(nodes)] for i in range(nodes)
    ]
    found = []
    for broke in itertools.product([False, True], repeat=nodes):
        rows = [
            [Fraction(i == j) - (beta * share[i][j] if broke[i] else 0) for j in range(nodes)]
            + [alpha * int(assets[i]) if broke[i] else owed[i]]
            for i in range(nodes)
        ]
        paid = solve_exactly(rows)
        received = [sum((share[i][j] * paid[j] for j in range(nodes)), Fraction(int(assets[i]))) for i in range(nodes)]
        if all((received[i] < owed[i]) == broke[i] for i in range(nodes)):
            found.append(paid)
    return found


def solve_exactly(rows: list[list[Fraction]]) -> list[Fraction]:
    """Gauss-Jordan elimination of an augmented matrix that is diagonally dominant."""
    for place in range(len(rows)):
        rows[place] = [entry / rows[place][place] for entry in rows[place]]
        for other in range(len(rows)):
            if other != place:
                factor = rows[other][place]
                rows[other] = [a - factor * b for a, b in zip(rows[other], rows[place], strict=True)]
    return [row[-1] for row in rows]


@settings(max_examples=120, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(seeds, st.sampled_from([(1, 1), (1, 2), (3, 4)]), st.sampled_from([(1, 2), (3, 4), (0, 1)]))
def test_greatest_and_least_of_all_fixed_points(seed: int, alpha: tuple[int, int], beta: tuple[int, int]) -> None:
    """Small whole numbers, so that banks are often solvent to the last unit, where payments jump."""
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 5))
    debts = rng.integers(0, 5, (nodes, nodes)) * (rng.random((nodes, nodes)) < 0.7)
    np.fill_diagonal(debts, 0)
    assets, outside = rng.integers(0, 4, nodes), rng.integers(0, 2, nodes)
    points = all_fixed_points(debts, assets, outside, Fraction(*alpha), Fraction(*beta))
    cleared = clear_liabilities(debts, assets, outside, alpha=alpha[0] / alpha[1], beta=beta[0] / beta[1])
    exact = np.array([[float(paid) for paid in point] for point in points])
    np.testing.assert_allclose(cleared.payments, exact.max(axis=0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(cleared.least, exact.min(axis=0), rtol=1e-10, atol=1e-12)
    assert cleared.unique == (len(points) == 1)
    assert cleared.converged


def test_a_long_chain_takes_one_solve_not_one_step_a_node() -> None:
    """Node 0 falls short by half, and so does everybody down the line."""
    nodes = 2000
    place = np.arange(nodes - 1)
    debts = csr_array((np.ones(nodes - 1), (place, place + 1)), shape=(nodes, nodes))
    cleared = clear_liabilities(debts, np.r_[0.5, np.zeros(nodes - 1)])
    np.testing.assert_allclose(cleared.payments[:-1], 0.5, rtol=1e-12)
    assert cleared.converged


def test_a_cycle_that_moves_by_fits_and_starts_is_followed_to_its_end() -> None:
    """Node 0 pays 1e-6 of its debts on round a cycle of four: iteration stands nearly still for most of its steps."""
    debts = np.zeros((4, 4))
    debts[0, 1], debts[1, 2], debts[2, 3], debts[3, 0] = 1e-6, 1, 1, 1
    cleared = clear_liabilities(debts, [0.3, 0, 0, 0], [1 - 1e-6, 0, 0, 0])
    # p0 = .3 + p3 and p1 = p2 = p3 = 1e-6 p0
    np.testing.assert_allclose(cleared.payments, 0.3 / (1 - 1e-6) * np.array([1, 1e-6, 1e-6, 1e-6]), rtol=1e-14)
    np.testing.assert_allclose(cleared.least, cleared.payments, rtol=1e-14)


def test_a_slow_rise_stops_where_the_first_node_has_paid_in_full() -> None:
    """0 and 1 owe each other 1, 1 owes 2 a millionth, 2 owes 1e-4 outside; 0 has 1e-3.

    Were 0 and 1 to pay without bound, all of the 1e-3 would reach 2, and 2 could pay; as it is, no more than 1e-6 does.
    """
    cleared = clear_liabilities([[0, 1, 0], [1, 0, 1e-6], [0, 0, 0]], [1e-3, 0, 0], [0, 0, 1e-4])
    np.testing.assert_allclose(cleared.least, [1, 1, 1e-6 / (1 + 1e-6)], rtol=1e-12)
    np.testing.assert_allclose(cleared.payments, cleared.least, rtol=1e-12)


def test_a_slow_rise_with_default_costs() -> None:
    """beta = .9999: p0 = 1e-6 + beta p1 and p1 = beta p0, 1e5 steps away; nobody need default either."""
    cleared = clear_liabilities(MUTUAL, [1e-6, 0], beta=0.9999)
    first = 1e-6 / (1 - 0.9999**2)
    np.testing.assert_allclose(cleared.least, [first, 0.9999 * first], rtol=1e-9)
    np.testing.assert_array_equal(cleared.payments, [1, 1])
    assert cleared.iterations < 1000


def test_a_stored_zero_is_no_debt() -> None:
    debts = csr_array(([1.0, 1.0, 0.0], ([0, 1, 1], [1, 0, 2])), shape=(3, 3))
    assert [loop.tolist() for loop in clear_liabilities(debts, 0).pure_loops] == [[0, 1]]


def test_a_run_cut_short_says_so() -> None:
    cleared = clear_liabilities([[0, 10, 0], [0, 0, 8], [0, 0, 0]], [4, 1, 0], max_iterations=1)
    assert not cleared.converged
    assert cleared.residual == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("debts", "assets", "costs", "says"),
    [
        ([[0, 1, 0], [1, 0, 0]], [1, 1], {}, "not square"),
        ([[0, -1], [1, 0]], [1, 1], {}, r"-1.0 at \(0, 1\) must be finite and at least 0"),
        ([[0, np.nan], [1, 0]], [1, 1], {}, r"nan at \(0, 1\)"),
        ([[0, 1], [1, 3]], [1, 1], {}, "element 1 of the diagonal must be 0"),
        (MUTUAL, [1, -1], {}, "external_assets: element 1 must be finite and at least 0"),
        (MUTUAL, [1, 1, 1], {}, "give 2 numbers"),
        (MUTUAL, [1, 1], {"alpha": 1.5}, "alpha 1.5 must be in"),
        (MUTUAL, [1, 1], {"beta": float("nan")}, "beta nan must be in"),
    ],
)
def test_wrong_arguments_are_named(debts: object, assets: list[float], costs: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        clear_liabilities(debts, assets, **costs)  # type: ignore[arg-type]


# DebtRank (Bardoscia et al. 2015)

CYCLE = np.array([[0, 0.5, 0], [0, 0, 0.5], [0.5, 0, 0]])  # A's claim on B, B's on C, C's on A


@pytest.mark.parametrize(
    ("assets", "liabilities", "loss", "expected"),
    [
        ((10, 5, 3), (9, 4, 2), (0, 0, 1.2), (0.75, 0.5, -0.325)),
        ((11, 5, 5), (9, 4, 2), (0, 0.5, 0), (1.744681, 0.489362, 2.936170)),
    ],
)
def test_debtrank_of_a_cycle_of_three(
    assets: tuple[float, ...], liabilities: tuple[float, ...], loss: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    """Computed from the equation; a public library that binds its loop variable late gives other figures."""
    equity = np.array(assets) + CYCLE.sum(axis=1) - np.array(liabilities) - CYCLE.sum(axis=0)
    end = run_debtrank(CYCLE, equity, loss)
    assert end.equity == pytest.approx(expected, abs=5e-7)
    assert end.distress == pytest.approx(np.minimum(1, 1 - end.equity / equity))
    assert end.converged


def debtrank_dynamics(exposures: Floats, equity: Floats, loss: Floats, steps: int = 3000) -> Floats:
    """Their equation as printed: h(t+1) = min(1, h(t) + sum over banks active at t of Lam (h(t) - h(t-1)))."""
    before, now = np.zeros(len(equity)), np.minimum(1, loss / equity)
    for _ in range(steps):
        passed = np.where(before < 1, now - before, 0.0)
        before, now = now, np.minimum(1, now + exposures / equity[:, None] @ passed)
    return now


@bounded
@given(seeds)
def test_debtrank_is_the_end_of_its_dynamics(seed: int) -> None:
    """Also where distress amplifies itself (spectral radius above 1) until the cap."""
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 9))
    exposures = rng.exponential(rng.choice([0.1, 0.5, 2.0]), (nodes, nodes)) * (rng.random((nodes, nodes)) < 0.4)
    np.fill_diagonal(exposures, 0)
    equity = rng.exponential(1, nodes) + 0.1
    loss = rng.exponential(0.05, nodes) * (rng.random(nodes) < 0.4)
    end = run_debtrank(exposures, equity, loss)
    np.testing.assert_allclose(end.distress, debtrank_dynamics(exposures, equity, loss), rtol=1e-6, atol=1e-9)
    assert end.converged
    order = rng.permutation(nodes)
    again = run_debtrank(csr_array(exposures[np.ix_(order, order)]), equity[order], loss[order])
    np.testing.assert_allclose(again.equity, end.equity[order], rtol=1e-9, atol=1e-12)


def test_no_loss_leaves_all_equity_even_where_distress_would_amplify() -> None:
    end = run_debtrank([[0, 5], [5, 0]], [1, 1], 0.0)
    assert end.equity.tolist() == [1, 1]
    assert end.distress.tolist() == [0, 0]
    assert run_debtrank([[0, 5], [5, 0]], [1, 1], [1e-9, 0]).distress.tolist() == pytest.approx([1, 1])


def test_distress_that_amplifies_slowly_reaches_its_end() -> None:
    """Spectral radius 1.001: a millionth grows for some ten thousand steps, and only the cap ends it."""
    end = run_debtrank([[0, 1.001, 0], [1.001, 0, 0], [0.5, 0, 0]], 1.0, [1e-6, 0, 0])
    assert end.distress.tolist() == pytest.approx([1, 1, 0.5])
    assert end.equity.tolist() == pytest.approx([-0.001001, -0.001, 0.5], abs=1e-12)
    assert end.converged


def test_debtrank_refuses_a_node_without_equity() -> None:
    with pytest.raises(ValueError, match="equity: element 1 must be positive"):
        run_debtrank(MUTUAL, [1, 0], [0.1, 0])
    assert not run_debtrank(CYCLE, [1, 1, 1], [0, 0.2, 0.1], max_iterations=1).converged
