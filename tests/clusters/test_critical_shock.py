"""The nearest of several triggers, of which it is known where each becomes critical."""

import numpy as np
import pytest

from defi_leverage.clusters.critical_shock import find_critical_shock
from defi_leverage.clusters.search import Trigger
from defi_leverage.contagion.book import Bools, Floats, compile_book
from tests.books import make_snapshot


@pytest.mark.parametrize(
    ("first", "second", "nearest"),
    [(0.055, 0.0505, 1), (0.0505, 0.055, 0), (0.2, 0.05, 1), (0.05, 0.2, 0), (0.05, 0.05, 0)],
)
def test_a_trigger_may_be_nearer_within_one_step(first: float, second: float, nearest: int) -> None:
    """Steps of the search are at 4.90 and 5.85 %; both together are no nearer than one alone."""
    book = compile_book(make_snapshot({"A": 1.0, "B": 1.0}, [({"A": 1.0}, {"B": 0.1})]))
    critical = {(0,): first, (1,): second, (0, 1): min(first, second)}

    def ratios(trigger: Trigger, sizes: Floats) -> Floats:
        return np.where(sizes >= critical[tuple(trigger)], 1.0, 0.5)

    def too_bad(_trigger: Trigger, sizes: Floats) -> Bools:
        return np.zeros(len(sizes), bool)

    trigger, found = find_critical_shock(book, [(0, -1), (1, -1)], ratios, too_bad, 0.01, 0.6, 1e-4)
    assert dict(trigger) == {nearest: -1}
    assert found.cause == "branching ratio"
    assert found.below < min(first, second) <= found.size <= found.below + 1e-4
