"""Clusters: hand-made books with a known answer."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from defi_leverage.clusters.profile import describe_members
from defi_leverage.clusters.ranking import (
    CLUSTER_COLUMNS,
    branching_ratio,
    find_clusters,
    gain_matrix,
    signed_gain_matrix,
)
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError, SnapshotError
from defi_leverage.snapshot import Snapshot
from tests.books import Position, cell, make_snapshot

PRICES = {"ETH": 2000.0, "BTC": 40000.0, "USD": 1.0}


def ladder(asset: str, price: float, accounts: int = 60, tokens: float = 1.0) -> list[Position]:
    """Accounts of one asset against USD whose triggers lie evenly over falls of 0 to 30 %."""
    return [({asset: tokens}, {"USD": 0.8 * tokens * price * (1 - fall)}) for fall in np.linspace(0.001, 0.3, accounts)]


def test_two_independent_markets_are_two_clusters() -> None:
    positions = ladder("ETH", 2000.0, tokens=20) + ladder("BTC", 40000.0)
    snapshot = make_snapshot(PRICES, positions, depth={"ETH": 2000.0, "BTC": 100.0}, venue_of=["v"] * 60 + ["w"] * 60)
    table = find_clusters(snapshot, band=0.02)
    assert list(table.columns) == list(CLUSTER_COLUMNS)
    assert sorted(table["cluster"]) == ["BTC on w", "ETH on v"]
    assert table["look_through_leverage"].to_numpy() == pytest.approx(table["leverage"])  # no vaults here
    assert list(table["rank"]) == [1, 2]


def test_a_bridge_joins_them_when_its_gain_crosses_the_threshold() -> None:
    """Accounts that hold both, spread evenly: the gain of ETH on BTC by hand, and the clusters on either side of it.

    A band of 2.1 % of ETH takes 1 % off the value of the sellers of BTC (20,000 of 42,000 USD are ETH), which is
    100 times the distance of two of them; each loses its 0.55 BTC whole. The sellers of ETH are three times as large,
    so that the way back is no bottleneck. A fall of BTC on its own sells 10 % more BTC than one of ETH.
    """
    band, margins = 0.021, (np.arange(400) + 0.5) * 1e-4
    positions: list[Position] = []
    for margin in margins:
        positions.append(({"ETH": 10.0, "BTC": 0.55}, {"USD": 0.8 * 42_000 * (1 - margin)}))
        positions.append(({"ETH": 33.0, "BTC": 1.5}, {"USD": 0.8 * 126_000 * (1 - margin)}))
    snapshot = make_snapshot(PRICES, positions, depth={"ETH": 3e5, "BTC": 8400.0})
    gain = (1 - np.exp(-100 * 0.55 / 8400)) / band
    assert cell(gain_matrix(snapshot, band=band), "ETH", "BTC") == pytest.approx(gain, rel=0.011)  # one account
    search: dict[str, Any] = {"band": band, "largest_fall": 0.1, "reference_fall": 0.05}
    assert find_clusters(snapshot, threshold=gain * 0.98, **search)["cluster"].tolist() == ["ETH + BTC on v"]
    assert sorted(find_clusters(snapshot, threshold=gain * 1.02, **search)["cluster"]) == ["BTC on v", "ETH on v"]


def test_one_asset_has_the_branching_ratio_kappa() -> None:
    """Gain = forced sales a unit of relative fall over depth; and 1 / (1 - kappa) is what the engine amplifies to."""
    accounts, kappa, spread = 3000, 0.5, 0.02
    triggers = np.linspace(1e-6, spread, accounts)
    debts = 0.8 * 2000 * (1 - triggers)
    depth = 0.8 * accounts / spread / kappa
    snapshot = make_snapshot(PRICES, [({"ETH": 1.0}, {"USD": debt}) for debt in debts], depth={"ETH": depth}, bonus=0.0)
    gain = gain_matrix(snapshot, band=0.002)
    own = cell(gain, "ETH", "ETH")
    assert own == pytest.approx(kappa, rel=0.01)
    assert branching_ratio(gain.to_numpy()) == pytest.approx(own)
    amplified = run_contagion(snapshot, Scenario(shocks={"ETH": -0.002})).amplification
    assert amplified == pytest.approx(1 / (1 - own), rel=0.01)


def test_a_derived_asset_does_not_count_its_backing_a_second_time() -> None:
    """LST sold as the ETH it wraps: both fall together, and the ratio is still what the engine amplifies by."""
    accounts, kappa, spread = 3000, 0.6, 0.02
    debts = 0.8 * 2000 * (1 - np.linspace(1e-6, spread, accounts))
    base = make_snapshot(
        {"ETH": 2000.0, "LST": 2000.0, "USD": 1.0},
        [({"LST": 1.0}, {"USD": debt}) for debt in debts],
        depth={"ETH": 0.8 * accounts / spread / kappa},
        backing={"LST": ("ETH", 1.0)},
        bonus=0.0,
    )
    snapshot = Snapshot.from_tables(base.tables | {"backing": base.backing.assign(kind="wraps")})
    gain = gain_matrix(snapshot, band=0.002)
    assert gain.loc[["ETH", "LST"], ["ETH", "LST"]].to_numpy() == pytest.approx(kappa, rel=0.01)
    ratio = branching_ratio(gain_matrix(snapshot, band=0.002, inherited=False).to_numpy())
    amplified = run_contagion(snapshot, Scenario(shocks={"ETH": -0.002})).amplification
    assert amplified == pytest.approx(1 / (1 - ratio), rel=0.01)
    cluster = find_clusters(snapshot, largest_fall=0.05, reference_fall=0.03, bad_debt_share=1.0).iloc[0]
    assert cluster["cluster"] == "LST + ETH on v"
    assert cluster["branching_ratio"] == pytest.approx(kappa, rel=0.01)
    assert np.isnan(cluster["critical_shock"])


def test_of_all_triggers_the_nearest_is_named() -> None:
    """Holders of both from a margin of 5 % on: a joint fall of 5 % reaches them, ETH alone takes 5 % * 144 / 84."""
    positions: list[Position] = []
    for margin in 0.05 + (np.arange(400) + 0.5) * 1e-4:
        positions.append(({"ETH": 30.0, "BTC": 1.8}, {"USD": 0.8 * 132_000 * (1 - margin)}))
        positions.append(({"ETH": 42.0, "BTC": 1.5}, {"USD": 0.8 * 144_000 * (1 - margin)}))
    snapshot = make_snapshot(PRICES, positions, depth={"ETH": 1e5, "BTC": 2000.0})
    cluster = find_clusters(snapshot, band=0.05, largest_fall=0.3, bad_debt_share=1.0).iloc[0]
    assert cluster["cluster"] == "ETH + BTC on v"
    assert cluster["trigger"] == "ETH + BTC"
    assert 0.05 < cluster["critical_shock"] < 0.06
    alone = [part for part in cluster["searched"].split("; ") if part.startswith("ETH: first reached between")]
    assert 0.05 * 144 / 84 < float(alone[0].rsplit(" ", 1)[1]) < 0.12


def test_shocks_of_a_state_may_be_symbols_and_must_be_known() -> None:
    snapshot = make_snapshot(PRICES, ladder("ETH", 2000.0), depth={"ETH": 1e4})
    assert gain_matrix(snapshot, {"eth": -0.1}).equals(gain_matrix(snapshot, {"ETH": -0.1}))
    with pytest.raises(SnapshotError, match="no asset 'WETH'"):
        gain_matrix(snapshot, {"WETH": -0.1})


@pytest.mark.parametrize("argument", [{"band": 0.0}, {"band": 1.5}, {"largest_fall": 1.0}, {"threshold": 0.0}])
def test_searches_that_make_no_sense_are_refused(argument: dict[str, float]) -> None:
    with pytest.raises(ScenarioError, match=f"{next(iter(argument))} .* must be"):
        find_clusters(make_snapshot(PRICES, ladder("ETH", 2000.0)), **argument)  # type: ignore[arg-type]


def test_the_critical_shock_is_where_the_ratio_passes_one() -> None:
    """Few accounts near today's price, many from a fall of 20 % on: critical once the last band has sold enough.

    At a fall f an account whose trigger is t sells 0.8 * 1.05 * (1 - t) / (1 - f) ETH. The band is 1 % of the price, so
    that sales of 10,000 * -ln(0.99) = 100.5 ETH in it take the ratio to 1; summed by hand over the accounts.
    """
    near = [({"ETH": 1.0}, {"USD": 0.8 * 2000 * (1 - fall)}) for fall in np.linspace(0.01, 0.19, 20)]
    triggers = np.linspace(0.2, 0.3, 2000)
    many = [({"ETH": 1.0}, {"USD": 0.8 * 2000 * (1 - fall)}) for fall in triggers]
    snapshot = make_snapshot(PRICES, near + many, depth={"ETH": 10000.0})
    by_hand = next(
        fall
        for number, fall in enumerate(triggers, start=1)
        if (0.8 * 1.05 * (1 - triggers[:number]) / (1 - fall)).sum() >= -1e4 * np.log(0.99)
    )
    cluster = find_clusters(snapshot, bad_debt_share=1.0, tolerance=1e-6).iloc[0]
    assert cluster["critical_by"] == "branching ratio"
    assert cluster["critical_shock"] == pytest.approx(by_hand, abs=2e-6)
    assert cluster["branching_ratio"] < 1 < cluster["peak_branching_ratio"]
    assert cluster["searched"].startswith("ETH: first reached between 0.20")


def test_a_short_squeeze_is_a_cluster_of_a_rise() -> None:
    """USD against ETH debt: liquidations buy ETH. kappa = debt a unit of relative rise / depth."""
    accounts, kappa, spread = 3000, 0.5, 0.02
    collateral = 2000 / 0.8 * (1 + np.linspace(1e-6, spread, accounts))
    depth = {"ETH": accounts / spread / kappa}
    snapshot = make_snapshot(PRICES, [({"USD": held}, {"ETH": 1.0}) for held in collateral], depth=depth, bonus=0.0)
    cluster = find_clusters(snapshot, bad_debt_share=1.0, largest_fall=0.05, reference_fall=0.01).iloc[0]
    assert cluster[["cluster", "trigger", "directions"]].tolist() == ["ETH up on v", "ETH up", "rise"]
    own = cell(gain_matrix(snapshot, band=0.002, direction="rise"), "ETH", "ETH")
    assert own == pytest.approx(kappa, rel=0.01)
    assert cell(gain_matrix(snapshot, band=0.002), "ETH", "ETH") == 0
    final = run_contagion(snapshot, Scenario(shocks={"ETH": 0.002})).prices["ETH"].iloc[-1]
    assert (final / 2000 - 1) / 0.002 == pytest.approx(1 / (1 - own), rel=0.01)


def test_a_fall_and_a_rise_drive_each_other() -> None:
    """ETH against BTC debt: every liquidation sells one and buys the other, and either move liquidates more."""
    positions: list[Position] = [
        ({"ETH": 20.0}, {"BTC": 0.8 * (1 - margin)}) for margin in np.linspace(0.001, 0.1, 100)
    ]
    snapshot = make_snapshot(PRICES, positions, depth={"ETH": 20_000.0, "BTC": 800.0}, bonus=0.0)
    gain = signed_gain_matrix(snapshot, inherited=False)
    nodes = [("ETH", "fall"), ("BTC", "rise")]
    block = gain.loc[nodes, nodes].to_numpy()
    assert (block > 0.5).all()
    assert gain.loc[[("ETH", "rise"), ("BTC", "fall")]].to_numpy().sum() == 0
    # each of the two moves works on both prices alike, so that their gains add up
    assert branching_ratio(gain.to_numpy()) == pytest.approx(block[0].sum(), rel=0.03)
    table = find_clusters(snapshot, largest_fall=0.05, reference_fall=0.01, bad_debt_share=1.0)
    assert table["cluster"].tolist() == ["ETH + BTC up on v"]
    assert table["critical_shock"].iloc[0] < 0.01


def test_accounts_under_water_are_counted_apart_and_leverage_is_never_averaged() -> None:
    """10,000 / 5,000 and 9,000 / 1,000 are 2x and 9x, together 19,000 / 6,000; the third owes more than it holds."""
    members = pd.DataFrame(
        {
            "account_id": ["a", "b", "c"],
            "share": [0.5, 0.3, 0.2],
            "supplied_usd": [10_000.0, 9_000.0, 4_000.0],
            "collateral_usd": [10_000.0, 9_000.0, 4_000.0],
            "debt_usd": [5_000.0, 8_000.0, 4_100.0],
            "equity_usd": [5_000.0, 1_000.0, -100.0],
            "look_through_usd": [15_000.0, float("nan"), float("nan")],
        }
    )
    row = describe_members(members)
    assert (row["accounts"], row["negative_equity_accounts"]) == (3, 1)
    assert row["leverage"] == pytest.approx(19 / 6)
    assert row["look_through_leverage"] == pytest.approx(3)  # of the one that has a figure
    assert row["equity_usd"] == pytest.approx(5_900)
    assert row["hhi"] == pytest.approx(0.25 + 0.09 + 0.04)
    assert row["top_accounts"] == "a 50.0 %; b 30.0 %; c 20.0 %"


def test_bad_debt_past_the_bound_is_critical_too() -> None:
    snapshot = make_snapshot(PRICES, ladder("ETH", 2000.0), depth={"ETH": 1e4})
    cluster = find_clusters(snapshot, threshold=1e-4, bad_debt_share=0.01).iloc[0]
    assert cluster["critical_by"] == "bad debt"

    def bad_share(fall: float) -> float:
        debt = sum(position[1]["USD"] for position in ladder("ETH", 2000.0))
        return float(run_contagion(snapshot, Scenario(shocks={"ETH": -fall})).summary()["bad_debt_usd"] / debt)

    assert bad_share(cluster["critical_shock"]) > 0.01 >= bad_share(cluster["critical_shock"] - 2e-4)


def test_a_book_that_nothing_can_move_has_no_cluster() -> None:
    snapshot = make_snapshot(PRICES, ladder("ETH", 2000.0))
    table = find_clusters(snapshot)
    assert table.empty
    assert list(table.columns) == list(CLUSTER_COLUMNS)


def test_a_snapshot_of_nothing_has_gains_among_no_assets() -> None:
    tables = make_snapshot(PRICES, ladder("ETH", 2000.0)).tables
    nothing = Snapshot.from_tables({name: table.iloc[:0] for name, table in tables.items()})
    assert find_clusters(nothing).empty
    assert gain_matrix(nothing).shape == signed_gain_matrix(nothing).shape == (0, 0)


def test_a_ratio_feed_does_not_carry_its_own_depeg() -> None:
    positions: list[Position] = [({"LST": 10.0}, {"ETH": 10.9 * (1 - fall)}) for fall in np.linspace(0.001, 0.1, 30)]
    arguments = {"prices": {"ETH": 2000.0, "LST": 2300.0}, "positions": positions, "weights": {"LST": 0.95}}
    arguments |= {"depth": {"LST": 300.0}, "backing": {"LST": ("ETH", 1.15)}}
    followed = gain_matrix(make_snapshot(**arguments))  # type: ignore[arg-type]
    assert cell(followed, "LST", "LST") > 0
    ratio = gain_matrix(make_snapshot(**arguments, ratio_feeds=True))  # type: ignore[arg-type]
    assert (ratio.loc["LST"] == 0).all()
