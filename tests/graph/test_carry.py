"""Carry and time to liquidation, against the formulas of a loop and a slow simulation of interest."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from defi_leverage.graph.carry import CARRY_COLUMNS, account_carry, own_yields
from defi_leverage.graph.loops import loop_accounts
from defi_leverage.health import loop_health_factor, loop_leverage, net_yield
from defi_leverage.snapshot import Snapshot
from defi_leverage.synthetic import synthetic_book
from tests.books import Position, cell, make_snapshot

PRICES = {"ETH": 2000.0, "wstETH": 2400.0, "USDC": 1.0}
RATES = {("", "wstETH"): (0.03, None), ("v", "wstETH"): (0.001, 0.01), ("v", "ETH"): (0.018, 0.025)}


def book(
    *positions: Position,
    rates: Mapping[tuple[str, str], tuple[float | None, float | None]] = RATES,
    kinds: Mapping[str, str] | None = None,
    **more: object,
) -> Snapshot:
    made = make_snapshot(PRICES, positions, backing={"wstETH": ("ETH", 1.2)}, **more)  # type: ignore[arg-type]
    rows = [(venue, asset, *pair) for (venue, asset), pair in rates.items()]
    table = pd.DataFrame(rows, columns=["venue_id", "asset_id", "supply_rate", "borrow_rate"]).astype(
        {"supply_rate": float, "borrow_rate": float}
    )
    assets = made.assets.assign(kind=[(kinds or {}).get(asset, "token") for asset in made.assets["asset_id"]])
    return Snapshot.from_tables(made.tables | {"rates": table, "assets": assets})


def test_the_carry_of_a_staking_loop() -> None:
    # L = 3.68928 after five turns at 0.8 (Heimbach & Huang); the collateral earns 0.1 % at the venue and 3 % by staking
    turns = loop_leverage(0.8, 5)
    snapshot = book(({"wstETH": turns * 10}, {"ETH": (turns - 1) * 12}), weights={"wstETH": 0.95})
    carry = account_carry(snapshot).iloc[0]
    assert carry["supply_yield"] == pytest.approx(0.031)
    assert carry["borrow_rate"] == pytest.approx(0.025)
    assert carry["net_carry"] == pytest.approx(net_yield(turns, 0.031, 0.025))
    assert net_yield(turns, 0.031, carry["break_even_borrow_rate"]) == pytest.approx(0, abs=1e-15)
    assert carry["break_even_borrow_rate"] == pytest.approx(0.031 * turns / (turns - 1))
    assert carry["days_to_liquidation"] == math.inf  # it earns more than it pays
    assert [cell(loop_accounts(snapshot), 0, name) for name in CARRY_COLUMNS] == carry.tolist()


def test_days_to_liquidation_are_those_of_compounded_interest() -> None:
    turns = loop_leverage(0.9, 12)
    rates = RATES | {("v", "ETH"): (0.0, 0.30)}
    snapshot = book(({"wstETH": turns * 10}, {"ETH": (turns - 1) * 12}), weights={"wstETH": 0.95}, rates=rates)
    days = cell(account_carry(snapshot), "a0", "days_to_liquidation")
    health, day = loop_health_factor(0.95, turns), 0
    while health >= 1:
        health *= math.exp((0.031 - 0.30) / 365)
        day += 1
    assert day - 1 < days <= day


@pytest.mark.parametrize("missing", list(RATES))
def test_a_missing_rate_is_not_zero(missing: tuple[str, str]) -> None:
    rates = {key: value for key, value in RATES.items() if key != missing}
    snapshot = book(({"wstETH": 10}, {"ETH": 8}), ({"ETH": 10}, {"wstETH": 5}), rates=rates)
    carry = account_carry(snapshot)
    assert carry[["net_carry", "days_to_liquidation"]].isna().all(axis=None)
    assert not account_carry(book(({"wstETH": 10}, {"ETH": 8})))["net_carry"].isna().any()


def test_a_short_of_a_derived_asset_owes_what_it_earns() -> None:
    carry = account_carry(book(({"ETH": 10}, {"wstETH": 5})))
    assert cell(carry, "a0", "borrow_rate") == pytest.approx(0.01 + 0.03)
    assert cell(carry, "a0", "supply_yield") == pytest.approx(0.018)


def test_without_debt_below_one_and_without_equity() -> None:
    snapshot = book(({"ETH": 10}, {}), ({"wstETH": 10}, {"ETH": 11}), ({"wstETH": 10}, {"ETH": 13}))
    carry = account_carry(snapshot)
    assert [cell(carry, "a0", name) for name in CARRY_COLUMNS[2:]] == pytest.approx([0.018, math.inf, math.inf])
    assert np.isnan(cell(carry, "a0", "borrow_rate"))
    assert carry["days_to_liquidation"].tolist()[1:] == [0, 0]
    assert np.isnan(cell(carry, "a2", "net_carry"))
    assert not np.isnan(cell(carry, "a1", "net_carry"))


def test_a_price_that_never_moves_does_not_show_what_the_asset_earns() -> None:
    rates = RATES | {("v", "ETH"): (0.0, 0.02)}
    snapshot = book(({"wstETH": 10}, {"ETH": 9}), weights={"wstETH": 0.95}, rates=rates)
    fixed = snapshot.feeds.assign(
        kind=["fixed" if asset == "wstETH" else "market" for asset in snapshot.feeds["asset_id"]]
    )
    after = account_carry(Snapshot.from_tables(snapshot.tables | {"feeds": fixed}))
    health = 0.95 * 24 / 18
    assert cell(account_carry(snapshot), "a0", "days_to_liquidation") == math.inf
    assert cell(after, "a0", "days_to_liquidation") == pytest.approx(365 * math.log(health) / (0.02 - 0.001))
    assert cell(after, "a0", "net_carry") == cell(account_carry(snapshot), "a0", "net_carry")


def test_what_assets_earn_by_themselves() -> None:
    prices = dict.fromkeys(["ETH", "WETH", "stETH", "wstETH", "aWETH", "LP", "sUSDe", "X", "Y", "PT"], 1.0)
    made = make_snapshot(prices, [({"ETH": 1}, {})])
    backing = pd.DataFrame(
        [
            ("WETH", "ETH", "wraps", ""),
            ("stETH", "ETH", "staked", ""),
            ("wstETH", "stETH", "wraps", ""),
            ("aWETH", "WETH", "deposited", "v"),
            ("LP", "ETH", "pooled", ""),
            ("sUSDe", "ETH", "deposited", ""),
            ("X", "Y", "wraps", ""),
            ("Y", "X", "wraps", ""),
        ],
        columns=["asset_id", "underlying_id", "kind", "venue_id"],
    ).assign(units=1.0)
    rates = pd.DataFrame([("", "stETH", 0.03), ("v", "WETH", 0.02)], columns=["venue_id", "asset_id", "supply_rate"])
    assets = made.assets.assign(kind=["pt" if asset == "PT" else "token" for asset in prices])
    snapshot = Snapshot.from_tables(made.tables | {"backing": backing, "rates": rates, "assets": assets})
    found = own_yields(snapshot)
    assert found.dropna().to_dict() == {"ETH": 0, "WETH": 0, "stETH": 0.03, "wstETH": 0.03, "aWETH": 0.02}
    assert set(found.index[found.isna()]) == {"LP", "sUSDe", "X", "Y", "PT"}


def test_a_book_without_rates_has_a_table_without_figures() -> None:
    for accounts in (0, 50):
        carry = account_carry(synthetic_book(accounts, seed=1))
        assert list(carry.columns) == list(CARRY_COLUMNS)
        assert len(carry) == accounts
        assert carry[["supply_yield", "net_carry"]].isna().all(axis=None)
