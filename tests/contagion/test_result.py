"""What a run says of itself: amplification by asset, what was left when it stopped, and figures to be wary of."""

import json

import pandas as pd
import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot
from tests.books import make_snapshot

PRICES = {"ETH": 2000.0, "USD": 1.0}
TROVES = [
    ({"ETH": 100.0}, {"USD": 150_000.0}),
    ({"ETH": 100.0}, {"USD": 140_000.0}),
    ({"ETH": 50.0}, {"USD": 60_000.0}),
]


def test_amplification_by_asset_is_final_fall_over_shock() -> None:
    book = make_snapshot(PRICES, TROVES, depth={"ETH": 2000.0})
    (row,) = run_contagion(book, Scenario(shocks={"ETH": -0.07})).summary()["prices"]
    # SCIENCE: 84.6774 ETH are sold into a depth of 2,000, and 1860 becomes 1782.8938
    assert row["final_usd"] == pytest.approx(1782.8938, abs=1e-4)
    assert row["amplification"] == pytest.approx((2000 - 1782.8938) / 140, rel=1e-6)


def test_a_run_that_does_not_converge_says_what_was_still_going_on() -> None:
    book = make_snapshot(PRICES, TROVES, depth={"ETH": 500.0})
    cut = run_contagion(book, Scenario(shocks={"ETH": -0.07}, max_rounds=1))
    before, after = cut.price_path[-2:, 0]
    assert not cut.converged
    assert cut.residual == pytest.approx(1 - after / before, rel=1e-12)
    assert cut.residual > 0.1
    whole = run_contagion(book, Scenario(shocks={"ETH": -0.07}))
    assert whole.converged
    assert whole.residual == 0.0


def test_sales_beyond_what_a_market_is_known_for_are_named() -> None:
    book = make_snapshot(PRICES, TROVES, depth={"ETH": 2000.0})
    quotes = pd.DataFrame([{"asset_id": "ETH", "quote": "USD", "model": "piecewise"}]).assign(
        parameters=json.dumps({"sold": [50.0, 80.0], "factor": [0.98, 0.96]})
    )
    quoted = Snapshot.from_tables(book.tables | {"depth": quotes})
    beyond = run_contagion(quoted, Scenario(shocks={"ETH": -0.07}))
    assert beyond.net_sales[0] > 80
    assert beyond.summary()["beyond_range"] == ["ETH"]
    deeper = run_contagion(quoted, Scenario(shocks={"ETH": -0.07}, depth_multiplier=10.0))
    assert deeper.summary()["beyond_range"] == []


def test_liquidations_that_lower_health_are_counted() -> None:
    # LTV 0.96 > 1 / 1.05: repaying 75,000 takes 78,750 of 156,250, and HF 0.8333 becomes 0.8267.
    deep = make_snapshot(PRICES, [TROVES[0]], rule="aave_v2", bonus=0.05)
    result = run_contagion(deep, Scenario(shocks={"ETH": -0.21875}, max_rounds=1))
    assert result.summary()["liquidatable_after"] == 1
    assert float(result.accounts["health_factor_after"].iloc[0]) == pytest.approx(0.8 * 77_500 / 75_000)
    assert result.toxic_liquidations == 1
    shallow = run_contagion(deep, Scenario(shocks={"ETH": -0.07}, max_rounds=1))
    assert len(shallow.liquidations) == 1
    assert shallow.toxic_liquidations == 0
