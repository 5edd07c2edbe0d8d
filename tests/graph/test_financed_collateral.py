"""Collateral that its owners borrowed, traced on books made by hand."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.graph.financed_collateral import FINANCED_COLUMNS, financing_flows, trace_financed_collateral
from defi_leverage.snapshot import Snapshot
from defi_leverage.synthetic import synthetic_book
from tests.books import Position, make_snapshot

PRICES = {"ETH": 2000.0, "stETH": 2000.0, "USDC": 1.0, "BTC": 40_000.0}


def book(*positions: tuple[str, str, Position]) -> Snapshot:
    """Positions (owner, venue, (collateral, debt))."""
    made = make_snapshot(
        PRICES,
        [position for *_, position in positions],
        backing={"stETH": ("ETH", 1.0)},
        venue_of=[venue for _, venue, _ in positions],
    )
    accounts = made.accounts.assign(owner=[owner for owner, *_ in positions])
    return Snapshot.from_tables(made.tables | {"accounts": accounts})


def shares(table: pd.DataFrame) -> dict[tuple[str, str], float]:
    return {(row["venue_id"], row["asset_id"]): row["financed_usd"] for _, row in table.iterrows()}


def test_what_is_borrowed_at_one_venue_and_is_collateral_at_another() -> None:
    snapshot = book(
        ("x", "aave", ({"BTC": 1.0}, {"ETH": 10.0})),  # borrows 20,000 of ETH
        ("x", "morpho", ({"stETH": 12.0}, {"USDC": 9_000.0})),  # 24,000 of stETH, of which 20,000 are that ETH
        ("y", "morpho", ({"stETH": 8.0}, {"USDC": 1_000.0})),  # its own
        ("z", "aave", ({"USDC": 100.0}, {"ETH": 0.01})),
    )
    table = trace_financed_collateral(snapshot)
    assert tuple(table.columns) == FINANCED_COLUMNS
    assert shares(table) == pytest.approx(
        {("morpho", "stETH"): 20_000, ("aave", "BTC"): 0, ("aave", "USDC"): 0}
    )  # y's own dollars do not finance z's
    first = table.iloc[0]
    assert first["financed_share"] == pytest.approx(20_000 / 40_000)
    assert first["financed_here_usd"] == 0
    assert first["owners"] == 1
    assert financing_flows(snapshot).to_dict("records") == [
        {"source_venue_id": "aave", "source_asset_id": "ETH", "venue_id": "morpho", "asset_id": "stETH",
         "usd": pytest.approx(20_000), "owners": 1}
    ]  # fmt: skip


def test_a_loop_finances_itself_up_to_its_collateral() -> None:
    snapshot = book(("x", "v", ({"stETH": 10.0}, {"ETH": 9.0})), ("y", "v", ({"ETH": 1.0}, {"stETH": 3.0})))
    assert shares(trace_financed_collateral(snapshot)) == pytest.approx({("v", "stETH"): 18_000, ("v", "ETH"): 2_000})
    assert trace_financed_collateral(snapshot)["financed_here_usd"].tolist() == pytest.approx([18_000, 2_000])


def test_it_is_spread_by_value() -> None:
    snapshot = book(("x", "a", ({"ETH": 3.0}, {"ETH": 1.0})), ("x", "b", ({"stETH": 1.0}, {"stETH": 1.0, "USDC": 1.0})))
    # 4,000 of debt on 8,000 of collateral: half of each, half of it from each debt
    assert shares(trace_financed_collateral(snapshot)) == pytest.approx({("a", "ETH"): 3_000, ("b", "stETH"): 1_000})
    flows = financing_flows(snapshot)
    assert flows["usd"].tolist() == pytest.approx([1_500, 1_500, 500, 500])


def test_owners_may_be_joined() -> None:
    snapshot = book(("proxy", "aave", ({"BTC": 1.0}, {"ETH": 10.0})), ("x", "morpho", ({"stETH": 12.0}, {})))
    assert trace_financed_collateral(snapshot)["financed_usd"].sum() == 0
    owners = pd.Series({"a0": "x", "a1": "x"})
    assert shares(trace_financed_collateral(snapshot, owners))["morpho", "stETH"] == pytest.approx(20_000)


@settings(max_examples=8)
@given(st.integers(0, 1000))
def test_flows_add_up_and_no_more_is_financed_than_is_there(seed: int) -> None:
    book_ = synthetic_book(150, seed)
    owners = pd.Series({account: f"o{number % 40}" for number, account in enumerate(book_.accounts["account_id"])})
    table, flows = trace_financed_collateral(book_, owners), financing_flows(book_, owners)
    assert flows["usd"].sum() == pytest.approx(table["financed_usd"].sum())
    assert (table["financed_share"] <= 1 + 1e-12).all()
    into = flows.groupby(["venue_id", "asset_id"])["usd"].sum()
    assert into.to_dict() == pytest.approx({key: usd for key, usd in shares(table).items() if usd > 0})
    out = flows.groupby("source_asset_id")["usd"].sum()
    usd = book_.legs["amount"] * book_.legs["feed_id"].map(book_.feeds.set_index("feed_id")["price_usd"])
    debts = usd[book_.legs["side"] == "debt"].groupby(book_.legs["asset_id"]).sum()
    assert (out <= debts.reindex(out.index) * (1 + 1e-9)).all()


def test_an_empty_book() -> None:
    assert trace_financed_collateral(synthetic_book(0, seed=1)).empty
    assert financing_flows(synthetic_book(0, seed=1)).empty
