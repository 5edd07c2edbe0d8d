"""Insolvency at market prices under oracles that do not move, by hand."""

import pandas as pd
import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.networks.shortfall import insolvency_at_market, lender_losses
from defi_leverage.snapshot import Snapshot
from tests.books import make_snapshot

PRICES = {"COIN": 1.0, "USD": 1.0}
CRASH = Scenario("COIN -50 %", {"COIN": -0.5})


def fixed(snapshot: Snapshot, *assets: str) -> Snapshot:
    """The same book with feeds of these assets that never move."""
    kind = snapshot.feeds["kind"].where(~snapshot.feeds["asset_id"].isin(assets), "fixed")
    return Snapshot.from_tables(snapshot.tables | {"feeds": snapshot.feeds.assign(kind=kind)})


def test_a_fixed_oracle_liquidates_nobody_and_the_lenders_have_lost() -> None:
    """100 COIN against 80 USD at v: worth 50, so 30 are lost, two thirds of it by the lender of 80 of the 120."""
    made = make_snapshot(
        PRICES,
        [({"COIN": 100.0}, {"USD": 80.0}), ({"USD": 80.0}, {}), ({"USD": 40.0}, {}), ({"COIN": 100.0}, {"USD": 40.0})],
        weights={"COIN": 0.9},
        bonus=0.0,
    )
    snapshot = fixed(made, "COIN")
    result = run_contagion(snapshot, CRASH)
    assert result.liquidations.empty
    found = insolvency_at_market(snapshot, result)
    assert found.losses.to_dict("records") == [
        {"account_id": "a0", "venue_id": "v", "asset_id": "USD", "amount": pytest.approx(30), "usd": pytest.approx(30)}
    ]
    assert found.rounds == 0
    table = lender_losses(snapshot, found.losses).set_index("owner")
    assert table["loss_usd"].to_dict() == pytest.approx({"a1": 20, "a2": 10})
    assert table["loss_share"].to_dict() == pytest.approx({"a1": 0.25, "a2": 0.25})


def test_a_loss_beyond_what_is_supplied_falls_on_nobody_in_the_book() -> None:
    made = make_snapshot(PRICES, [({"COIN": 100.0}, {"USD": 80.0}), ({"USD": 20.0}, {})], weights={"COIN": 0.9})
    snapshot = fixed(made, "COIN")
    table = lender_losses(snapshot, insolvency_at_market(snapshot, run_contagion(snapshot, CRASH)).losses)
    assert dict(zip(table["owner"], table["loss_usd"], strict=True)) == pytest.approx({"a1": 20, "": 10})


def test_bad_debt_of_the_run_and_shortfalls_add_up_to_the_same_loss() -> None:
    """With an oracle that follows, the same loss is bad debt; several debts share it by value."""
    positions = [({"COIN": 100.0}, {"USD": 60.0, "EUR": 20.0}), ({"USD": 500.0, "EUR": 500.0}, {})]
    made = make_snapshot(PRICES | {"EUR": 1.0}, positions, weights={"COIN": 0.9}, bonus=0.0)
    followed, still = (
        insolvency_at_market(book, run_contagion(book, CRASH)).losses for book in (made, fixed(made, "COIN"))
    )
    assert followed["usd"].sum() == pytest.approx(still["usd"].sum())
    assert still.set_index("asset_id")["usd"].to_dict() == pytest.approx({"USD": 22.5, "EUR": 7.5})


def test_a_loss_passes_on_to_shares_that_are_collateral_elsewhere() -> None:
    """a1 supplies all 100 USD of v, of which 30 are lost; the share of it is then worth 0.7 and does not cover 80 of
    debt at w, whose only lender a3 loses 10 of 200.
    """
    made = make_snapshot(
        PRICES | {"SHARE": 1.0},
        [
            ({"COIN": 100.0}, {"USD": 80.0}),
            ({"USD": 100.0}, {}),
            ({"SHARE": 100.0}, {"USD": 80.0}),
            ({"USD": 200.0}, {}),
        ],
        weights={"COIN": 0.9, "SHARE": 0.9},
        bonus=0.0,
        backing={"SHARE": ("USD", 1.0)},
        venue_of=["v", "v", "w", "w"],
    )
    backing = made.backing.assign(kind="deposited", venue_id="v")
    snapshot = fixed(Snapshot.from_tables(made.tables | {"backing": backing}), "COIN", "SHARE")
    found = insolvency_at_market(snapshot, run_contagion(snapshot, CRASH))
    assert found.losses.set_index("account_id")["usd"].to_dict() == pytest.approx({"a0": 30, "a2": 10})
    assert found.prices["SHARE"] == pytest.approx(0.7)
    assert found.haircuts.set_index("asset_id")["haircut"].to_dict() == pytest.approx({"SHARE": 0.3})
    assert found.rounds >= 1
    losses = lender_losses(snapshot, found.losses).set_index("owner")["loss_usd"].to_dict()
    assert losses == pytest.approx({"a1": 30, "a3": 10})


def test_nothing_is_lost_where_the_market_covers_every_debt() -> None:
    snapshot = make_snapshot(PRICES, [({"COIN": 100.0}, {"USD": 40.0}), ({"USD": 80.0}, {})])
    found = insolvency_at_market(snapshot, run_contagion(snapshot, Scenario("none")))
    assert found.losses.empty
    assert isinstance(found.losses, pd.DataFrame)
    assert lender_losses(snapshot, found.losses).empty
