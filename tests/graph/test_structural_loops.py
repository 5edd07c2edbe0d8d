"""Structural loops on books made by hand, and planted in random ones."""

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.graph.structural_loops import STRUCTURAL_COLUMNS, borrowing_legs, find_structural_loops
from defi_leverage.health import loop_leverage_limit
from defi_leverage.snapshot import Snapshot
from defi_leverage.synthetic import synthetic_book
from tests.books import Position, cell, make_snapshot


def book(
    prices: dict[str, float],
    positions: Sequence[tuple[str, Position]],
    backing: list[tuple[str, str, float, str]] | None = None,
    usd: tuple[str, ...] = (),
    owners: list[str] | None = None,
) -> Snapshot:
    """Positions (venue, (collateral, debt)); a venue's protocol is its first letter."""
    made = make_snapshot(prices, [position for _, position in positions], venue_of=[venue for venue, _ in positions])
    tables = made.tables
    tables["assets"] = tables["assets"].assign(
        kind=["usd" if asset in usd else "token" for asset in tables["assets"]["asset_id"]]
    )
    tables["venues"] = tables["venues"].assign(protocol=tables["venues"]["venue_id"].str[0])
    if owners:
        tables["accounts"] = tables["accounts"].assign(owner=owners)
    if backing:
        tables["backing"] = pd.DataFrame(backing, columns=["asset_id", "underlying_id", "units", "kind"])
    return Snapshot.from_tables(tables)


ETHENA = {"USDC": 1.0, "USDe": 1.0, "sUSDe": 1.2, "PT": 0.96}
ETHENA_BACKING = [("sUSDe", "USDe", 1.2, "deposited"), ("PT", "sUSDe", 0.8, "wraps")]


def test_a_loop_through_three_protocols() -> None:
    """PT -> Morpho -> USDC -> Ethena -> sUSDe -> PT: minting and swapping at par are conversions."""
    snapshot = book(
        ETHENA,
        [("morpho", ({"PT": 1000.0}, {"USDC": 720.0})), ("morpho", ({"PT": 500.0}, {"USDC": 400.0}))],
        ETHENA_BACKING,
        ("USDC", "USDe"),
    )
    loops = find_structural_loops(snapshot)
    assert list(loops.columns) == list(STRUCTURAL_COLUMNS)
    assert loops["path"].tolist() == ["PT > morpho > USDC > USD at par > USDe > sUSDe > PT"]
    assert loops["loop"].tolist() == ["PT/USDC on morpho"]
    row = loops.iloc[0]
    assert row[["usd", "claims_usd", "base_usd"]].tolist() == pytest.approx([1120, 1440, 320])
    assert row["loan_to_value"] == pytest.approx(1120 / 1440)
    # with one leg, what there is equals the limit of endlessly many turns at the same loan-to-value
    assert row["limit_leverage"] == pytest.approx(loop_leverage_limit(1120 / 1440))
    assert row["multiplier"] == pytest.approx(row["limit_leverage"])
    assert row[["legs", "venues", "protocols", "accounts", "owners"]].tolist() == [1, 1, 1, 2, 2]


def test_a_loop_across_protocols_that_nobody_runs_alone() -> None:
    prices = {"ETH": 2000.0, "stETH": 2000.0, "USDC": 1.0, "sUSD": 1.0}
    positions: list[tuple[str, Position]] = [
        ("aave", ({"stETH": 10.0}, {"USDC": 12_000.0})),  # 60 %
        ("morpho", ({"sUSD": 20_000.0}, {"ETH": 5.0})),  # 50 %
        ("morpho", ({"sUSD": 10_000.0}, {"ETH": 2.5})),
    ]
    backing = [("stETH", "ETH", 1.0, "staked"), ("sUSD", "USDC", 1.0, "deposited")]
    snapshot = book(prices, positions, backing, ("USDC",), owners=["x", "y", "x"])
    loops = find_structural_loops(snapshot)
    assert loops["path"].tolist() == ["sUSD > morpho > ETH > stETH > aave > USDC > sUSD"]
    row = loops.iloc[0]
    assert row["loan_to_value"] == pytest.approx(0.6 * 0.5)
    assert row["limit_leverage"] == pytest.approx(1 / 0.7)
    assert row["usd"] == pytest.approx(12_000)
    assert row["multiplier"] == pytest.approx(50_000 / (50_000 - 27_000))
    assert row[["legs", "venues", "protocols", "accounts"]].tolist() == [2, 2, 2, 3]
    assert row[["owners", "owners_usd"]].tolist() == [1, 5_000]  # x is on both legs: 12,000 and 5,000
    assert find_structural_loops(snapshot, most_legs=1).empty
    joined = find_structural_loops(snapshot, owners=pd.Series({"a0": "x", "a1": "x", "a2": "x"}))
    assert [cell(joined, 0, name) for name in ("owners", "owners_usd")] == [1, 12_000]


def test_legs_divide_an_accounts_collateral_and_debt() -> None:
    prices = {"A": 1.0, "B": 1.0, "C": 1.0, "D": 1.0}
    snapshot = book(
        prices, [("v", ({"A": 60.0, "B": 40.0}, {"C": 30.0, "D": 20.0})), ("v", ({"A": 100.0}, {"C": 10.0}))]
    )
    legs = borrowing_legs(snapshot).set_index(["collateral_asset_id", "debt_asset_id"])
    assert legs["borrowed_usd"].to_dict() == pytest.approx(
        {("A", "C"): 28, ("A", "D"): 12, ("B", "C"): 12, ("B", "D"): 8}
    )
    assert legs["pledged_usd"].to_dict() == pytest.approx(
        {("A", "C"): 36 + 100, ("A", "D"): 24, ("B", "C"): 24, ("B", "D"): 16}
    )
    assert legs["accounts"].tolist() == [2, 1, 1, 1]


def test_without_equity_no_dollar_goes_round(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = book(
        {"A": 1.0}, [("v", ({"A": 10.0}, {"A": 12.0})), ("v", ({}, {"A": 1.0})), ("v", ({"A": 5.0}, {"A": 1.0}))]
    )
    with caplog.at_level(logging.WARNING):
        loops = find_structural_loops(snapshot)
    assert loops["usd"].tolist() == pytest.approx([1.0])
    notice = "2 accounts owe as much as their collateral is worth or more, and are on no loop"
    assert loops.attrs["notices"] == [notice]
    assert notice in caplog.text


def test_a_coin_minted_where_no_account_was_read() -> None:
    prices = {"ETH": 2000.0, "DAI": 1.0, "USDC": 1.0, "LP": 10.0}
    backing = [("DAI", "ETH", 0.001, "minted_against"), ("LP", "ETH", 0.0025, "pooled"), ("LP", "DAI", 5.0, "pooled")]
    # DAI is worth half of the ETH that backs it; an LP token is collateral for ETH, and half of it is made of DAI
    snapshot = book(
        prices, [("v", ({"LP": 100.0}, {"ETH": 0.25})), ("v", ({"DAI": 700.0}, {}))], backing, ("DAI", "USDC")
    )
    loops = find_structural_loops(snapshot)
    assert loops["path"].tolist() == ["ETH > its issuer > DAI > LP > v > ETH", "LP > v > ETH > LP"]
    assert cell(loops, 0, "loan_to_value") == pytest.approx(0.5 * 0.5)
    assert cell(loops, 0, "usd") == pytest.approx(500)
    assert cell(loops, 0, "accounts") == 1


def test_the_largest_are_kept_and_what_is_cut_is_said() -> None:
    prices = dict.fromkeys("ABCDE", 1.0)
    positions: list[tuple[str, Position]] = [
        ("v", ({asset: 100.0}, {asset: 10.0 * number})) for number, asset in enumerate("ABCDE", 1)
    ]
    loops = find_structural_loops(book(prices, positions), most_loops=2)
    assert loops["loop"].tolist() == ["E/E on v", "D/D on v"]
    assert loops.attrs["notices"] == [
        "there are more than 2 loops: all of at least 30 USD are here, smaller ones are not; raise the bound, or look "
        "at fewer legs"
    ]


@settings(max_examples=12)
@given(st.integers(0, 1000))
def test_planted_loops_within_and_across_protocols(seed: int) -> None:
    """1 to 6 legs at up to three venues, overlapping in one asset, among accounts that lead nowhere."""
    random = np.random.default_rng(seed)
    prices = {"hub": 1.0}
    positions: list[tuple[str, Position]] = []
    backing: list[tuple[str, str, float, str]] = []
    planted = {}
    for loop in range(int(random.integers(1, 4))):
        hops = int(random.integers(1, 7))
        collateral = ["hub", *(f"c{loop}{hop}" for hop in range(1, hops))]
        turn, venues = 1.0, set[str]()
        for hop in range(hops):
            debt, onward = f"d{loop}{hop}", collateral[(hop + 1) % hops]
            prices |= {collateral[hop]: 1.0, debt: 1.0}
            venue, ltv = str(random.choice(["a1", "a2", "m1"])), float(random.uniform(0.3, 0.9))
            positions.append((venue, ({collateral[hop]: 1000.0}, {debt: 1000.0 * ltv})))
            if onward == "hub":  # each loop comes home by its own wrapper, which is redeemed
                backing.append((debt, "hub", 1.0, "wraps"))
            else:
                backing.append((onward, debt, 1.0, "staked"))
            turn, venues = turn * ltv, venues | {venue}
        planted[round(turn, 12)] = (hops, len(venues), len({venue[0] for venue in venues}))
    prices |= {f"n{number}": 1.0 for number in range(12)}
    for one, other in random.integers(0, 12, (20, 2)).tolist():
        if one < other:
            positions.append(("m2", ({f"n{one}": 500.0}, {f"n{other}": 100.0})))
    loops = find_structural_loops(book(prices, positions, backing), most_legs=6)
    found = {
        round(row["loan_to_value"], 12): (row["legs"], row["venues"], row["protocols"]) for _, row in loops.iterrows()
    }
    assert found == planted
    assert len(loops) == len(planted)


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_legs_add_up_to_the_debt_and_rows_may_come_in_any_order(seed: int) -> None:
    one = synthetic_book(150, seed)
    mixed = Snapshot.from_tables({name: table.sample(frac=1, random_state=seed) for name, table in one.tables.items()})
    legs = borrowing_legs(one)
    value = one.legs["amount"] * one.legs["feed_id"].map(one.feeds.set_index("feed_id")["price_usd"])
    assert legs["borrowed_usd"].sum() == pytest.approx(value[one.legs["side"] == "debt"].sum())
    assert (legs["borrowed_usd"] < legs["pledged_usd"]).all()
    found, other = (find_structural_loops(snapshot, 2, 50) for snapshot in (one, mixed))
    pd.testing.assert_frame_equal(found, other, rtol=1e-9)


def test_a_book_without_loops() -> None:
    assert find_structural_loops(synthetic_book(0, seed=1)).empty
    loops = find_structural_loops(book({"A": 1.0, "B": 1.0}, [("v", ({"A": 10.0}, {"B": 1.0}))]))
    assert loops.empty
    assert list(loops.columns) == list(STRUCTURAL_COLUMNS)
