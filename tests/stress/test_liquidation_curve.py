"""The liquidation-at-price curve, against positions solved by hand and against the engine price by price."""

from random import Random

import numpy as np
import pandas as pd
import pytest

from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.engine import feed_prices, run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError, SnapshotError
from defi_leverage.snapshot import Snapshot
from defi_leverage.stress.liquidation_curve import liquidation_curve
from tests.books import make_snapshot, wide_book


def test_four_positions_by_hand() -> None:
    """ETH at 2000, threshold 0.8: the debts trigger below 1875, 1750, 1500 and 1125."""
    positions = [
        ({"ETH": 100.0}, {"USD": 150e3}),
        ({"ETH": 100.0}, {"USD": 140e3}),
        ({"ETH": 50.0}, {"USD": 60e3}),
        ({"ETH": 200.0}, {"USD": 180e3}),
    ]
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, positions)
    curve = liquidation_curve(snapshot, "ETH", [2000, 1124, 1875, 1874, 1749, 1499, 1500])
    assert curve["price_usd"].tolist() == [1124, 1499, 1500, 1749, 1874, 1875, 2000]
    assert curve["accounts"].tolist() == [4, 3, 2, 2, 1, 0, 0]
    assert curve["debt_usd"].tolist() == pytest.approx([530e3, 350e3, 290e3, 290e3, 150e3, 0, 0])
    assert curve["collateral_tokens"].tolist() == [450, 250, 200, 200, 100, 0, 0]
    assert curve["collateral_usd"].tolist() == pytest.approx(
        [450 * 1124, 250 * 1499, 200 * 1500, 200 * 1749, 187400, 0, 0]
    )
    assert curve["change"].iloc[0] == pytest.approx(1124 / 2000 - 1)
    assert (curve.iloc[-2:][["collateral_usd", "debt_usd"]] == 0).all(axis=None)  # nothing, not a residue


def test_a_short_triggers_above_its_price_and_a_loop_through_a_ratio_feed_at_none() -> None:
    positions = [
        ({"USD": 100e3}, {"ETH": 25.0}),  # 80 % of 100k is 25 ETH at 3200
        ({"LST": 100.0}, {"ETH": 85.0}),  # health 0.8 * 230k / 170k whatever ETH does
    ]
    prices = {"ETH": 2000.0, "USD": 1.0, "LST": 2300.0}
    backing = {"LST": ("ETH", 1.15)}
    snapshot = make_snapshot(prices, positions, backing=backing, ratio_feeds=True)
    curve = liquidation_curve(snapshot, "ETH", [500, 3200, 3201, 8000])
    assert curve["accounts"].tolist() == [0, 0, 1, 1]
    assert curve["debt_usd"].tolist() == pytest.approx([0, 0, 25 * 3201, 25 * 8000])
    assert curve["collateral_tokens"].tolist() == [0, 0, 0, 0]
    depeg = [2300 * 0.9, 2300 * 0.93]  # 0.8 * 230k * 0.9 is below 170k, and * 0.93 is not
    assert liquidation_curve(snapshot, "LST", depeg)["accounts"].tolist() == [0, 0]
    followed = make_snapshot(prices, positions, backing=backing)
    assert liquidation_curve(followed, "LST", depeg)["accounts"].tolist() == [1, 0]


def test_what_is_bad_debt_already_does_not_count() -> None:
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [({}, {"USD": 10.0}), ({"ETH": 1.0}, {"USD": 1700.0})])
    curve = liquidation_curve(snapshot, "ETH", [2000.0, 3000.0])
    assert curve["accounts"].tolist() == [1, 0]
    assert curve["debt_usd"].tolist() == [1700, 0]


@pytest.mark.parametrize("seed", range(40))
def test_the_curve_is_what_the_engine_liquidates_first(seed: int) -> None:
    """Feeds of every kind, pools, chains of backing, averaged thresholds, shorts, weights of debt: each price run."""
    random = Random(seed)
    snapshot = wide_book(random)
    asset = random.choice(["ETH", "ETH", "LST", "WLST", "USD", "BTC", "LP", "ALT"])
    today = float(snapshot.assets.set_index("asset_id")["price_usd"][asset])
    prices = today * np.exp(np.linspace(-1.2, 0.9, 9) + random.uniform(-0.05, 0.05))
    curve = liquidation_curve(snapshot, asset, list(prices))
    for place, price in enumerate(prices):
        row = curve.iloc[place]
        accounts, collateral, debt, tokens = first_round(snapshot, asset, price / today - 1)
        assert row["accounts"] == accounts
        np.testing.assert_allclose(
            row[["collateral_usd", "debt_usd", "collateral_tokens"]].to_numpy(float),
            [collateral, debt, tokens],
            rtol=1e-9,
            atol=1e-9,
        )


def first_round(snapshot: Snapshot, asset: str, change: float) -> tuple[int, float, float, float]:
    """Accounts liquidated in the first round, their collateral and debt in USD, and their tokens of the asset."""
    scenario = Scenario(shocks={asset: change}, sell_collateral=False, buy_debt=False, max_rounds=1)
    result = run_contagion(snapshot, scenario, compile_book(snapshot))
    feed = pd.Series(feed_prices(result.book, result.price_path[1]), index=result.book.feed_ids)
    below = set(result.liquidations["account_id"])
    legs = snapshot.legs[snapshot.legs["account_id"].isin(below)]
    usd = legs["amount"] * legs["feed_id"].map(feed)
    counts = (legs["side"] == "collateral") & (legs["weight"] > 0)
    held = legs["amount"][counts & (legs["asset_id"] == asset)].sum()
    return len(below), float(usd[counts].sum()), float(usd[legs["side"] == "debt"].sum()), float(held)


def test_one_basis_point_of_an_averaged_threshold_decides() -> None:
    """80 % and 75 % over equal values: 77.5 %; ETH a little lower gives 77.49..., which is kept as 77.49 %."""
    tables = make_snapshot(
        {"ETH": 2000.0, "BTC": 40000.0, "USD": 1.0},
        [({"ETH": 10.0, "BTC": 0.5}, {"USD": 30900.0})],
        weights={"ETH": 0.8, "BTC": 0.75},
    ).tables
    exact = Snapshot.from_tables(tables)
    tables["venues"] = tables["venues"].assign(health_rule="average_threshold_bps")
    floored = Snapshot.from_tables(tables)
    prices = np.linspace(1980.0, 2000.0, 401)
    by_hand = [0.8 * 10 * price + 0.75 * 20000 for price in prices]
    share = [weighted / (10 * price + 20000) for weighted, price in zip(by_hand, prices, strict=True)]
    kept = [np.floor(s * 1e4 + 1e-7) / 1e4 * (10 * price + 20000) for s, price in zip(share, prices, strict=True)]
    expected_exact = [int(weighted < 30900) for weighted in by_hand]
    expected_floored = [int(weighted < 30900) for weighted in kept]
    assert expected_exact != expected_floored
    assert liquidation_curve(exact, "ETH", list(prices))["accounts"].tolist() == expected_exact
    assert liquidation_curve(floored, "ETH", list(prices))["accounts"].tolist() == expected_floored


def test_what_makes_no_sense_is_refused() -> None:
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [({"ETH": 1.0}, {"USD": 1.0})])
    for prices in ([], [0.0], [-1.0], [float("nan")], [float("inf")]):
        with pytest.raises(ScenarioError, match="positive finite"):
            liquidation_curve(snapshot, "ETH", prices)
    with pytest.raises(SnapshotError, match="no asset 'BTC'"):
        liquidation_curve(snapshot, "BTC", [1.0])
