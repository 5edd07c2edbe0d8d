"""Clusters: hand-made books with a known answer."""

import numpy as np
import pytest

from defi_leverage.clusters import CLUSTER_COLUMNS, branching_ratio, find_clusters, gain_matrix
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
    assert list(table["rank"]) == [1, 2]


def test_a_bridge_joins_them_when_its_gain_crosses_the_threshold() -> None:
    """Accounts that hold both and sell the other: the two are one exactly when both cross gains pass the threshold."""
    bridge: list[Position] = []
    for fall in np.linspace(0.001, 0.3, 60):
        bridge.append(({"ETH": 10.0, "BTC": 0.51}, {"USD": 0.8 * 40400 * (1 - fall)}))  # sells BTC
        bridge.append(({"ETH": 10.2, "BTC": 0.50}, {"USD": 0.8 * 40400 * (1 - fall)}))  # sells ETH
    positions = ladder("ETH", 2000.0, tokens=20) + ladder("BTC", 40000.0) + bridge
    snapshot = make_snapshot(PRICES, positions, depth={"ETH": 2000.0, "BTC": 100.0})
    falls = np.arange(0, 0.61, 0.02)
    cross = []
    for one, other in (("ETH", "BTC"), ("BTC", "ETH")):
        gains = [cell(gain_matrix(snapshot, {one: -fall}, band=0.02), one, other) for fall in falls]
        cross.append(max(gains))
    weakest = min(cross)
    assert weakest > 0
    assert len(find_clusters(snapshot, band=0.02, threshold=weakest * 0.999)) == 1
    assert len(find_clusters(snapshot, band=0.02, threshold=weakest * 1.001)) == 2


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
    cluster = find_clusters(snapshot, band=0.01, bad_debt_share=1.0).iloc[0]
    assert cluster["cluster"] == "LST + ETH on v"
    assert cluster["branching_ratio"] == pytest.approx(kappa, rel=0.01)
    assert np.isnan(cluster["critical_shock"])


def test_of_triggers_in_one_step_of_the_search_the_nearest_is_named() -> None:
    """Holders of both: a joint fall turns critical a little before a fall of ETH alone, within one step."""

    def holders(eth: float, btc: float, nearest: float) -> list[Position]:
        triggers = 1 - np.linspace(nearest, nearest + 0.03, 100)
        return [({"ETH": eth, "BTC": btc}, {"USD": 0.8 * (eth * 2000 + btc * 40000) * part}) for part in triggers]

    positions = holders(16, 0.2, 0.07) + holders(4, 0.6, 0.1)
    cluster = find_clusters(
        make_snapshot(PRICES, positions, depth={"ETH": 1000.0, "BTC": 50.0}), band=0.05, bad_debt_share=1.0
    ).iloc[0]
    assert cluster["trigger"] == "ETH + BTC"
    assert cluster["critical_shock"] == pytest.approx(0.0322, abs=1e-3)


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
    """Few accounts near today's price, many from a fall of 20 % on: the ratio passes 1 where the many begin."""
    near = [({"ETH": 1.0}, {"USD": 0.8 * 2000 * (1 - fall)}) for fall in np.linspace(0.01, 0.19, 20)]
    many = [({"ETH": 1.0}, {"USD": 0.8 * 2000 * (1 - fall)}) for fall in np.linspace(0.2, 0.3, 2000)]
    snapshot = make_snapshot(PRICES, near + many, depth={"ETH": 10000.0})
    cluster = find_clusters(snapshot, bad_debt_share=1.0).iloc[0]
    assert cluster["critical_by"] == "branching ratio"
    assert 0.18 < cluster["critical_shock"] <= 0.2
    assert cluster["branching_ratio"] < 1 < cluster["peak_branching_ratio"]


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


def test_a_ratio_feed_does_not_carry_its_own_depeg() -> None:
    positions: list[Position] = [({"LST": 10.0}, {"ETH": 10.9 * (1 - fall)}) for fall in np.linspace(0.001, 0.1, 30)]
    arguments = {"prices": {"ETH": 2000.0, "LST": 2300.0}, "positions": positions, "weights": {"LST": 0.95}}
    arguments |= {"depth": {"LST": 300.0}, "backing": {"LST": ("ETH", 1.15)}}
    followed = gain_matrix(make_snapshot(**arguments))  # type: ignore[arg-type]
    assert cell(followed, "LST", "LST") > 0
    ratio = gain_matrix(make_snapshot(**arguments, ratio_feeds=True))  # type: ignore[arg-type]
    assert (ratio.loc["LST"] == 0).all()
