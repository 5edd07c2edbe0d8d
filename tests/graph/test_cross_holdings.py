"""Look-through leverage of entities that hold each other, against figures of the literature and series by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defi_leverage.graph.cross_holdings import LookThrough, solve_look_through


def holdings(size: int, **held: float) -> np.ndarray:
    """A matrix of claims: h10=300 is 300 USD of entity 0's token that entity 1 holds."""
    matrix = np.zeros((size, size))
    for name, usd in held.items():
        matrix[int(name[1]), int(name[2])] = usd
    return matrix


def statuses(solved: LookThrough) -> list[str]:
    return [str(status) for status in solved.frame()["status"]]


def test_a_chain_of_four() -> None:
    # equity 1000, 100, 40, 10: each holds the one before, with debt; computed from the equation
    solved = solve_look_through([1000, 0, 50, 0], holdings(4, h10=300, h21=50, h32=40), [0, 200, 60, 30])
    assert solved.equity == pytest.approx([1000, 100, 40, 10], abs=1e-9)
    assert solved.direct_leverage == pytest.approx([1, 3, 2.5, 4], abs=1e-6)
    assert solved.look_through_leverage == pytest.approx([1, 3, 5, 20], abs=1e-6)
    assert statuses(solved) == [""] * 4


def test_a_cycle_is_its_geometric_series() -> None:
    # A (equity 110) holds 50 of B (equity 160), B holds 60 of A, A owes 40: a dollar of A is 100/110 of base and 50/110
    # of B, which is 100/160 of base and 60/160 of A again; a turn brings back (50/110)(60/160)
    solved = solve_look_through([100, 100], holdings(2, h01=50, h10=60), [40, 0])
    turn = (50 / 110) * (60 / 160)
    a = b = 0.0
    for _ in range(60):
        a, b = 100 / 110 + 50 / 110 * b, 100 / 160 + 60 / 160 * a
    assert solved.look_through_leverage == pytest.approx([a, b], abs=1e-12)
    assert solved.look_through_leverage[0] == pytest.approx((100 / 110 + 50 / 110 * 100 / 160) / (1 - turn), abs=1e-12)


def test_who_holds_itself() -> None:
    # 40 of the 100 are its own shares: 60 of base behind each 100 of equity, 60 / (100 - 40) = 1 for those outside
    solved = solve_look_through([60], holdings(1, h00=40), [0])
    assert solved.look_through_leverage == pytest.approx([1.0])


def test_an_endless_cycle_has_no_figure_and_takes_its_holders_along() -> None:
    # 0 and 1 hold all of each other and nothing else; 2 holds 0; 3 has nothing to do with them
    claims = holdings(5, h01=100, h10=100, h20=50, h43=10)
    solved = solve_look_through([0, 0, 50, 10, 0], claims, [0, 0, 0, 5, 20])
    assert statuses(solved) == [
        "endless cycle", "endless cycle", "claim without value", "", "negative equity"
    ]  # fmt: skip
    assert np.isnan(solved.look_through_leverage[[0, 1, 2, 4]]).all()
    assert solved.look_through_leverage[3] == pytest.approx(2.0)
    assert solved.direct_leverage[2] == pytest.approx(1.0)  # direct leverage needs no look through


def test_a_radius_above_one_is_no_solution_with_a_sign() -> None:
    # 60 of claims on an equity of 20: the linear system has a solution, and it is below zero
    solved = solve_look_through([0, 0], holdings(2, h01=60, h10=60), [40, 40])
    assert statuses(solved) == ["endless cycle", "endless cycle"]
    assert np.linalg.solve(np.eye(2) - holdings(2, h01=3, h10=3), [1, 1]).max() < 0


@pytest.mark.parametrize(
    ("base", "claims", "debt", "problem"),
    [
        ([1, 2], np.zeros((3, 3)), [0, 0, 0], r"base: shape \(2,\) is not \(3,\)"),
        ([1], np.zeros((1, 2)), [0], r"claims: shape \(1, 2\) is not \(1, 1\)"),
        ([1], np.array([[-1.0]]), [0], "claims: every amount"),
        ([1], np.zeros((1, 1)), [np.nan], "debt: every amount must be finite"),
    ],
)
def test_amounts_that_make_no_sense(base: list[float], claims: np.ndarray, debt: list[float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        solve_look_through(base, claims, debt)


def test_nobody() -> None:
    assert len(solve_look_through([], np.zeros((0, 0)), []).equity) == 0


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_what_outsiders_own_carries_all_of_the_base(seed: int, size: int) -> None:
    """No token claimed beyond its equity, some of each held outside: all solved, by the series, and nothing is lost."""
    random = np.random.default_rng(seed)
    base = random.uniform(1, 100, size)
    share = random.random((size, size)) * (random.random((size, size)) < 0.4)
    share *= 0.9 / np.maximum(share.sum(axis=0), 0.9)  # of each column's equity
    leverage = random.uniform(1, 4, size)
    # equity E = X + S diag(E) 1 - D with D = (1 - 1/leverage) of the assets
    equity = np.linalg.solve(np.eye(size) - share / leverage[:, None], base / leverage)
    claims = share * equity
    assets = base + claims.sum(axis=1)
    solved = solve_look_through(base, claims, assets - equity)
    assert statuses(solved) == [""] * size
    assert solved.equity == pytest.approx(equity)
    series, term = np.zeros(size), base / equity
    for _ in range(2000):
        series, term = series + term, claims @ term / equity
    assert solved.look_through_leverage == pytest.approx(series, rel=1e-6)
    outside = equity - claims.sum(axis=0)
    assert outside @ solved.look_through_leverage == pytest.approx(base.sum(), rel=1e-9)
