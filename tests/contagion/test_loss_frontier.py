"""Where a liquidation leaves bad debt, and where it does harm: figures of the papers, from the engine's own rounds."""

import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from tests.books import make_snapshot


@pytest.mark.parametrize(
    ("fall", "liquidated", "bad"),
    [(0.035087, False, False), (0.035089, True, False), (0.074166, True, False), (0.074168, True, True)],
)
def test_a_12x_loop_is_eligible_and_then_exhausted(fall: float, liquidated: bool, bad: bool) -> None:
    """LT .95, bonus .01: eligible from a fall of 1 - 1/HF = 3.5088 %, bad debt from 1 - (1 + b) LT / HF = 7.4167 %.

    Source: Gatto, loss frontier (2026).
    """
    snapshot = make_snapshot(
        {"LST": 1.0, "ETH": 1.0}, [({"LST": 100.0}, {"ETH": 100 * 11 / 12})], weights={"LST": 0.95}, bonus=0.01
    )
    result = run_contagion(snapshot, Scenario(shocks={"LST": -fall}))
    assert (len(result.liquidations) > 0) == liquidated
    assert (result.summary()["bad_debt_usd"] > 0) == bad


@pytest.mark.parametrize(("reserve", "figure"), [(1000.0, 0.793651), (200.0, 0.476190), (None, 0.952381)])
def test_a_liquidation_lowers_health_above_the_toxic_ltv(reserve: float | None, figure: float) -> None:
    """LTV > 1 / ((1 + i) (1 + 2 c / y)): c = 100 of collateral, i = .05, sold into a constant product with y of it.

    Without a pool to move, only the bonus counts. A millionth of the debt is liquidated, for the limit is that of small
    ones. Source: Warmuz, Chaudhary & Pinna, Toxic Liquidation Spirals (2022), arXiv 2212.07306; McFarlane (2025).
    """
    for ltv, toxic in ((figure * (1 - 1e-5), False), (figure * (1 + 1e-5), True)):
        snapshot = make_snapshot(
            {"ETH": 1.0, "USD": 1.0},
            [({"ETH": 100.0}, {"USD": 100 * ltv})],
            weights={"ETH": 0.3},
            depth={"ETH": reserve} if reserve else None,
            model="constant_product",
            rule="aave_v2",
            parameters={"close_factor": 1e-6},
        )
        result = run_contagion(snapshot, Scenario(max_rounds=1, buy_debt=False))
        assert len(result.liquidations) == 1
        assert (result.health_after[0] < result.health_before[0]) == toxic
