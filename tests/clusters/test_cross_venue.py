"""One owner, long on a perp with wstETH margin and looped on a lending market: two venues fall as one cluster."""

import json

import pandas as pd
import pytest

from defi_leverage.clusters.ranking import cluster_members, find_clusters
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.graph.owners import identify_owners
from defi_leverage.snapshot import Snapshot

OWNER = "eip155:1:0x" + "ab" * 20
PRICES = {"ETH": 2000.0, "wstETH": 2400.0, "ETH index": 2000.0, "USD": 1.0}
ON_PERP = "eip155:10:0x" + "ab" * 20  # the same key on another chain


def cross_venue(depth: float = 60.0) -> Snapshot:
    """wstETH is worth 1.2 ETH of 2,000 USD.

    Lending: 50 wstETH (120,000 USD, threshold 0.9) against 52.5 ETH (105,000 USD): below 1 once wstETH has lost 2.8 %
    against ETH. Perp: long 100 ETH from 2,000 USD at a maintenance margin of 5 %, on 4.5 wstETH of margin counted at
    0.95: (190,000 + 10,260) / 200,000, below 1 once wstETH has lost 2.5 %, or all of it 0.13 %.
    """
    legs = [
        ("loop", "collateral", "wstETH", 50.0, 0.9, 0.02),
        ("loop", "debt", "ETH", 52.5, 1.0, 0.0),
        ("perp", "collateral", "ETH index", 100.0, 0.95, 0.0),
        ("perp", "collateral", "wstETH", 4.5, 0.95, 0.0),
        ("perp", "debt", "USD", 200_000.0, 1.0, 0.0),
    ]
    tables = {
        "assets": pd.DataFrame(
            {"asset_id": list(PRICES), "symbol": list(PRICES), "price_usd": list(PRICES.values())}
        ).assign(kind=["token", "lst", "index", "usd"]),
        "feeds": pd.DataFrame(
            [(name, price, "fixed" if name == "USD" else "market") for name, price in PRICES.items()],
            columns=["asset_id", "price_usd", "kind"],
        ).assign(feed_id=lambda table: table["asset_id"]),
        "venues": pd.DataFrame(
            [("lending", "aave_v3", "aave_v3"), ("perps", "perps", "perp_full")],
            columns=["venue_id", "protocol", "liquidation_rule"],
        ).assign(name=lambda table: table["venue_id"]),
        "accounts": pd.DataFrame(
            [("loop", OWNER, "lending"), ("perp", ON_PERP, "perps")], columns=["account_id", "owner", "venue_id"]
        ),
        "legs": pd.DataFrame(
            legs, columns=["account_id", "side", "asset_id", "amount", "weight", "liquidation_bonus"]
        ),
        "backing": pd.DataFrame(
            [("wstETH", "ETH", 1.2, "staked"), ("ETH index", "ETH", 1.0, "wraps")],
            columns=["asset_id", "underlying_id", "units", "kind"],
        ),
        "depth": pd.DataFrame(
            [("wstETH", "ETH", "exponential", json.dumps({"depth": depth})),
             ("ETH", "USD", "exponential", json.dumps({"depth": 5_000.0}))],
            columns=["asset_id", "quote", "model", "parameters"],
        ),
    }  # fmt: skip
    return Snapshot.from_tables(tables)


def test_the_two_accounts_have_one_owner() -> None:
    assert identify_owners(cross_venue()).tolist() == [OWNER, OWNER]


@pytest.mark.parametrize(("fall", "rounds"), [(0.024, 0), (0.0255, 2)])
def test_selling_the_margin_brings_the_loop_down(fall: float, rounds: int) -> None:
    """At -2.55 % only the perp is below 1. Its 4.5 wstETH sold into a depth of 60 take wstETH down by 7 % more."""
    result = run_contagion(cross_venue(), Scenario(shocks={"wstETH": -fall}))
    first = result.liquidations[result.liquidations["round"] == 1]
    assert result.summary()["accounts_liquidated"] == (2 if rounds else 0)
    if rounds:
        assert set(first["account_id"]) == {"perp"}
        assert set(result.liquidations["venue_id"]) == {"perps", "lending"}


def test_they_are_one_cluster_across_the_venues() -> None:
    snapshot = cross_venue()
    clusters = find_clusters(snapshot)
    (row,) = [row for row in clusters.to_dict("records") if "wstETH" in row["trigger"] and "up" not in row["trigger"]]
    assert set(row["venues"].split(", ")) == {"lending", "perps"}
    members = cluster_members(snapshot, clusters)
    theirs = members.loc[members["cluster_id"] == row["cluster_id"], "account_id"]
    assert set(theirs) == {"loop", "perp"}
    assert identify_owners(snapshot)[theirs].nunique() == 1


def test_in_a_deep_market_they_fall_each_for_itself() -> None:
    result = run_contagion(cross_venue(depth=60_000.0), Scenario(shocks={"wstETH": -0.0255}))
    assert set(result.liquidations["account_id"]) == {"perp"}
