"""Leverage, headroom and liquidation prices: figures of papers, and the health factor at the price itself."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

import defi_leverage as dl
from defi_leverage.analytics.drivers import feed_drivers
from defi_leverage.analytics.positions import (
    distance_in_volatilities,
    leverage_headroom,
    liquidation_move,
    liquidation_prices,
    maximum_leverage,
    position_measures,
)
from defi_leverage.errors import ScenarioError, SnapshotError
from defi_leverage.graph.liquidation_axis import liquidation_axis
from defi_leverage.graph.loops import find_families
from defi_leverage.health import account_health, loop_leverage
from defi_leverage.snapshot import Snapshot
from defi_leverage.store import load_snapshot
from tests.analytics.perp_book import perp_snapshot
from tests.books import make_snapshot, random_books

PRICES = {"ETH": 2000.0, "USD": 1.0}


def test_maximum_leverage_is_where_the_health_factor_is_one() -> None:
    assert maximum_leverage([0.8, 0.93, 0.95, 0.0]) == pytest.approx([5, 1 / 0.07, 20, 1])
    assert maximum_leverage(1.0) == math.inf
    assert leverage_headroom([5.0, 2.0, 6.0], 5.0) == pytest.approx([0, 0.6, -0.2])
    with pytest.raises(ValueError, match=r"liquidation_threshold 1.2 must be in \[0, 1\]"):
        maximum_leverage(1.2)


def test_a_loop_of_four_turns() -> None:
    """l = 0.93, LT 0.95: leverage 4.347309 and health factor 1.233810 (computed from Heimbach & Huang's formulas)."""
    turns = loop_leverage(0.93, 4)
    row = position_measures(
        make_snapshot(PRICES, [({"ETH": turns}, {"USD": (turns - 1) * 2000})], weights={"ETH": 0.95})
    )
    (found,) = row.to_dict("records")
    assert found["leverage"] == pytest.approx(4.347309, abs=1e-6)
    assert found["health_factor"] == pytest.approx(1.233810, abs=1e-6)
    assert found["maximum_leverage"] == pytest.approx(20)
    assert found["headroom"] == pytest.approx(1 - 4.347309 / 20, abs=1e-6)


def test_twelve_times_falls_by_3_5_percent() -> None:
    """12x at LT 0.95 is eligible after a fall of 3.5088 % (Gatto 2026); one volatility of 60 % a day is 3.14 %."""
    snapshot = make_snapshot(PRICES, [({"ETH": 12}, {"USD": 22_000})], weights={"ETH": 0.95})
    row = liquidation_prices(snapshot, {"eth": 0.6}).set_index("symbol").loc["ETH"]
    assert row["move_to_liquidation"] == pytest.approx(-0.035088, abs=1e-6)
    assert row["liquidation_price_usd"] == pytest.approx(2000 * 22_000 / (24_000 * 0.95))
    assert row["direction"] == "fall"
    assert row["distance"] == pytest.approx(-math.log(1 - 0.035088) / (0.6 / math.sqrt(365)), rel=1e-4)


def test_perps_have_the_prices_of_the_paper() -> None:
    """Liquidation long (p0 - c/q) / (1 - m), short (p0 + c/q) / (1 + m): B .3704, C 1.5152, D .9942; A has none."""
    table = liquidation_prices(perp_snapshot()).set_index("account_id")
    assert (table["symbol"] == "X").all()  # dollars of a fixed feed move nothing
    price = table["liquidation_price_usd"]
    assert price[["B", "C", "D"]].tolist() == pytest.approx([0.3704, 1.5152, 0.9942], abs=5e-5)
    assert math.isnan(price["A"])
    # at no maintenance margin it is the price at which the margin is gone
    gone = perp_snapshot()
    gone = Snapshot.from_tables(gone.tables | {"legs": gone.legs.assign(weight=1.0)})
    bankruptcy = liquidation_prices(gone).set_index("account_id")["liquidation_price_usd"]
    assert bankruptcy[["B", "C", "D"]].tolist() == pytest.approx([0.3333, 1.6667, 0.8947], abs=5e-5)
    assert math.isnan(bankruptcy["A"])  # at 0
    assert table["direction"][["A", "B", "C", "D"]].tolist() == ["fall", "fall", "rise", "fall"]
    positions = position_measures(perp_snapshot()).set_index("account_id")
    assert positions["maximum_leverage"].tolist() == pytest.approx([10] * 4)  # 1 / m, long and short
    assert positions["leverage"][["A", "B", "C", "D"]].tolist() == pytest.approx([0.5, 1.5, 1.5, 9.5])
    assert positions["headroom"][["A", "B", "C", "D"]].tolist() == pytest.approx([0.95, 0.85, 0.85, 0.05])


def test_moves_and_distances_by_hand() -> None:
    assert liquidation_move([20.0, 20.0, -5.0], [100.0, -80.0, 100.0]) == pytest.approx([-0.2, 0.25, 0.05])
    assert np.isnan(liquidation_move([20.0, 120.0, 20.0], [0.0, 100.0, 20.0])).all()
    assert distance_in_volatilities([math.exp(-0.5) - 1, math.expm1(0.5)], 1.0, 0.25) == pytest.approx([1, 1])
    assert distance_in_volatilities([-0.1, 0.0], 0.0, 1.0).tolist() == [math.inf, 0]
    assert np.isnan(distance_in_volatilities([-0.1, np.nan], [np.nan, 0.0], 1.0)).all()
    with pytest.raises(ValueError, match="years 0 must be above 0"):
        distance_in_volatilities(-0.1, 0.5, 0)


def test_without_equity_and_below_one() -> None:
    book = make_snapshot(PRICES, [({"ETH": 1}, {"USD": 2100}), ({"ETH": 1}, {"USD": 1700}), ({"ETH": 1}, {})])
    table = position_measures(book).set_index("account_id")
    assert table.index.tolist() == ["a0", "a1"]  # who owes nothing has no limit
    assert table.loc["a0", ["leverage", "headroom"]].isna().all()
    assert table["headroom"]["a1"] == pytest.approx(1 - (2000 / 300) / 5)
    prices = liquidation_prices(book, {"ETH": 0.5})
    prices = prices[prices["symbol"] == "ETH"].set_index("account_id")
    assert prices["liquidation_price_usd"]["a1"] == pytest.approx(2125)  # where it is healthy again
    assert prices["distance"].tolist() == [0, 0]


@settings(max_examples=15, deadline=None)
@given(random_books())
def test_the_health_factor_is_one_at_every_liquidation_price(book: Snapshot) -> None:
    table = liquidation_prices(book)
    drivers = book.feeds["feed_id"].map(feed_drivers(book))
    for row in table[table["move_to_liquidation"].notna()].head(3).to_dict("records"):
        factor = np.where(drivers == row["asset_id"], 1 + row["move_to_liquidation"], 1.0)
        feeds = book.feeds.assign(price_usd=book.feeds["price_usd"] * factor)
        if (feeds["price_usd"] < 1e-6).any():  # rounding is all that is left
            continue
        moved = account_health(Snapshot.from_tables(book.tables | {"feeds": feeds}))
        assert moved["health_factor"].loc[row["account_id"]] == pytest.approx(1, rel=1e-6)
    measures = position_measures(book)
    solvent = measures[measures["equity_usd"] > 0]
    healthy = solvent["health_factor"] > 1 + 1e-9
    assert (solvent["headroom"][healthy] > 0).all()
    assert (solvent["headroom"][solvent["health_factor"] < 1 - 1e-9] < 0).all()


def test_moves_of_the_sample_are_those_of_the_liquidation_axis() -> None:
    sample = load_snapshot("sample")
    families = find_families(sample)
    axis = liquidation_axis(sample, families)
    axis = axis[(axis["axis"] == "market") & (axis["move_to_liquidation"] < 0)]
    driver = axis["axis_feed_id"].map(feed_drivers(sample))
    symbol = dict(zip(sample.assets["asset_id"], sample.assets["symbol"], strict=True))
    rows = liquidation_prices(sample).to_dict("records")
    moves = {(row["account_id"], row["asset_id"]): row["move_to_liquidation"] for row in rows}
    checked = 0
    for account, asset, move in zip(axis.index, driver, axis["move_to_liquidation"], strict=True):
        if symbol[asset] in ("WETH", "WBTC"):
            assert moves[account, asset] == pytest.approx(move, rel=1e-9)
            checked += 1
    assert checked > 100


def test_a_volatility_names_one_asset() -> None:
    book = make_snapshot(
        {"ETH": 2000.0, "LST": 2300.0, "USD": 1.0}, [({"LST": 1}, {"USD": 9})], backing={"LST": ("ETH", 1.15)}
    )
    assert liquidation_prices(book, {"LST": 0.6}).set_index("symbol")["volatility"]["ETH"] == 0.6
    with pytest.raises(ScenarioError, match=r"volatility LST=0.7: ETH, which moves it, has 0.6; give it once"):
        liquidation_prices(book, {"ETH": 0.6, "LST": 0.7})
    with pytest.raises(ScenarioError, match=r"volatility ETH=-0.1: write a yearly fraction"):
        liquidation_prices(book, {"ETH": -0.1})
    with pytest.raises(SnapshotError, match="no asset 'ETX'"):
        liquidation_prices(book, {"ETX": 0.1})
    for days in (0, -1, math.inf, math.nan):
        with pytest.raises(ScenarioError, match=r"horizon_days .* must be above 0 and finite"):
            liquidation_prices(book, {"ETH": 0.6}, days)


def test_the_tables_are_for_a_notebook() -> None:
    for name in ("position_measures", "liquidation_prices", "market_measures", "venue_measures", "leverage_decay"):
        assert isinstance(getattr(dl, name)(make_snapshot(PRICES, [({"ETH": 1}, {"USD": 5})])), pd.DataFrame)
