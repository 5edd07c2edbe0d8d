"""Suppliers' exposure to bad debt, by hand."""

import numpy as np
import pandas as pd
import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.networks.clearing import run_debtrank
from defi_leverage.networks.exposures import exposure_matrix, spread_bad_debt, supply_exposures
from defi_leverage.snapshot import Snapshot
from tests.books import make_snapshot

PRICES = {"ETH": 2000.0, "USD": 1.0}


@pytest.fixture
def snapshot() -> Snapshot:
    """Suppliers a0 (600 USD) and a1 (400 USD) and a borrower a2 at v; a3, which is the vault w, supplies 1000 at v.

    a4 has 50 USD in the vault w. a2's debt of 1,800 USD stands against 1 ETH.
    """
    made = make_snapshot(
        PRICES,
        [
            ({"USD": 600.0}, {}),
            ({"USD": 400.0}, {}),
            ({"ETH": 1.0}, {"USD": 1800.0}),
            ({"USD": 1000.0}, {}),
            ({"USD": 50.0, "ETH": 0.0}, {}),
        ],
        weights={"ETH": 0.95},
        bonus=0.0,
        venue_of=["v", "v", "v", "v", "w"],
    )
    accounts = made.accounts.assign(owner=["one", "two", "borrower", "w", "one"])
    return Snapshot.from_tables(made.tables | {"accounts": accounts})


def test_exposures_by_owner_venue_and_asset(snapshot: Snapshot) -> None:
    table = supply_exposures(snapshot).set_index(["owner", "venue_id", "asset_id"])
    assert table["supplied_usd"].to_dict() == {
        ("borrower", "v", "ETH"): 2000.0,
        ("one", "v", "USD"): 600.0,
        ("one", "w", "USD"): 50.0,
        ("two", "v", "USD"): 400.0,
        ("w", "v", "USD"): 1000.0,
    }
    assert table["share"].to_dict() == {
        ("borrower", "v", "ETH"): 1.0,
        ("one", "v", "USD"): 0.3,
        ("one", "w", "USD"): 1.0,
        ("two", "v", "USD"): 0.2,
        ("w", "v", "USD"): 0.5,
    }


def test_bad_debt_of_a_run_falls_on_suppliers_pro_rata(snapshot: Snapshot) -> None:
    """ETH at 1,000 repays 1,000 of the 1,800: 800 are lost, 30 % by one, 20 % by two, half by the vault."""
    result = run_contagion(snapshot, Scenario(shocks={"ETH": -0.5}))
    assert result.bad_debt["usd"].sum() == pytest.approx(800)
    losses = spread_bad_debt(supply_exposures(snapshot), result.bad_debt)
    assert losses.columns.tolist() == ["owner", "venue_id", "asset_id", "loss_usd"]
    assert losses[["owner", "venue_id", "asset_id"]].to_numpy().tolist() == [
        ["w", "v", "USD"],
        ["one", "v", "USD"],
        ["two", "v", "USD"],
    ]
    assert losses["loss_usd"].tolist() == pytest.approx([400, 240, 160])


def test_nobody_loses_more_than_supplied_and_nothing_is_lost_sight_of(snapshot: Snapshot) -> None:
    """3,000 bad USD against 2,000 supplied; DAI that nobody supplies; two rows of one pool add up."""
    bad_debt = pd.DataFrame(
        {
            "venue_id": ["v", "v", "w"],
            "asset_id": ["USD", "USD", "DAI"],
            "amount": [1000.0, 2000.0, 7.0],
            "usd": [990.0, 1980.0, 7.0],
        }
    )
    losses = spread_bad_debt(supply_exposures(snapshot), bad_debt).set_index(["owner", "venue_id"])["loss_usd"]
    assert losses.to_dict() == pytest.approx(
        {("w", "v"): 990.0, ("", "v"): 990.0, ("one", "v"): 594.0, ("two", "v"): 396.0, ("", "w"): 7.0}
    )
    assert losses.sum() == pytest.approx(bad_debt["usd"].sum())
    quiet = run_contagion(snapshot, Scenario(shocks={"ETH": -0.01}))
    assert spread_bad_debt(supply_exposures(snapshot), quiet.bad_debt).empty


def test_owners_without_a_name_are_their_accounts_and_perps_are_left_out(snapshot: Snapshot) -> None:
    unnamed = snapshot.accounts.assign(owner="")
    perpetual = snapshot.venues.assign(
        liquidation_rule=np.where(snapshot.venues["venue_id"] == "w", "perp_full", "full")
    )
    changed = Snapshot.from_tables(snapshot.tables | {"accounts": unnamed, "venues": perpetual})
    assert supply_exposures(changed)["owner"].tolist() == ["a0", "a1", "a2", "a3"]


def test_a_loss_passes_through_a_vault_to_those_in_it(snapshot: Snapshot) -> None:
    """v loses a tenth of its equity: w, with 1,000 there and 500 of equity, a fifth; one 600 * .1 and 50 * .2."""
    matrix, nodes = exposure_matrix(supply_exposures(snapshot))
    assert nodes.tolist() == ["borrower", "one", "two", "v", "w"]
    equity = pd.Series({"borrower": 200.0, "one": 250.0, "two": 900.0, "v": 100.0, "w": 500.0})[nodes].to_numpy(float)
    loss = np.where(nodes == "v", 10.0, 0.0)
    end = run_debtrank(matrix, equity, loss)
    assert dict(zip(nodes, end.equity, strict=True)) == pytest.approx(
        {"borrower": 0.0, "one": 250 - 60 - 10, "two": 900 - 40, "v": 90, "w": 400}
    )
