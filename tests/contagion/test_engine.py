"""The round engine: cascades worked out by hand and published ones, and what must hold for any book."""

import json
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.contagion.book import compile_book
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError, SnapshotError
from defi_leverage.snapshot import Snapshot
from tests.books import make_snapshot, random_books

ETH_POSITIONS = [
    ({"ETH": 100.0}, {"USD": 150e3}),
    ({"ETH": 100.0}, {"USD": 140e3}),
    ({"ETH": 50.0}, {"USD": 60e3}),
    ({"ETH": 200.0}, {"USD": 180e3}),
]
SHOCKS = st.fixed_dictionaries({}, optional={name: st.floats(-0.6, 0.3) for name in ("ETH", "BTC", "LST", "USD")})


@pytest.mark.parametrize(
    ("shock", "depth", "by_round", "final_price", "sold"),
    [
        (0.07, 2000, [["a0"]], 1782.8938, 84.6774),
        (0.07, 500, [["a0"], ["a1"], ["a2"]], 1182.0166, 226.6772),
        (0.20, 2000, [["a0", "a1"], ["a2"]], 1423.6080, 233.6183),
    ],
)
def test_cascade_of_four_positions(
    shock: float, depth: float, by_round: list[list[str]], final_price: float, sold: float
) -> None:
    """ETH at 2000, threshold 0.8, bonus 5 %, exponential depth: an independent computation, to four decimals."""
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, ETH_POSITIONS, depth={"ETH": depth})
    result = run_contagion(snapshot, Scenario(shocks={"ETH": -shock}))
    assert result.converged
    assert [list(group["account_id"]) for _, group in result.liquidations.groupby("round")] == by_round
    assert result.prices["ETH"].iloc[-1] == pytest.approx(final_price, abs=5e-5)
    assert result.liquidations["seized"].sum() == pytest.approx(sold, abs=5e-5)
    assert result.summary()["bad_debt_usd"] == 0


@pytest.mark.parametrize(("fall", "bad"), [(0.05, 0.0), (0.08, 0.5776), (0.12, 4.5380), (0.20, 12.4587)])
def test_loss_frontier_of_a_12x_loop(fall: float, bad: float) -> None:
    """Bad debt per 100 of collateral is max(0, B - C(1-D)/(1+b)) (Gatto 2026, loss frontier)."""
    snapshot = make_snapshot(
        {"LST": 1.0, "ETH": 1.0},
        [({"LST": 100.0}, {"ETH": 100 * 11 / 12})],
        weights={"LST": 0.95},
        bonus=0.01,
    )
    result = run_contagion(snapshot, Scenario(shocks={"LST": -fall}))
    assert result.health_before[0] == pytest.approx(1.036364, abs=1e-6)
    assert result.summary()["bad_debt_usd"] == pytest.approx(bad, abs=5e-5)


def test_small_shock_gain_is_one_over_one_minus_kappa() -> None:
    """Forced sales a unit of log price over depth is kappa; a small shock ends at 1 / (1 - kappa) times itself."""
    shock, accounts, kappa = 1e-3, 4000, 0.6
    triggers = 1 - np.linspace(1e-6, 4e-3, accounts)
    debts = 0.8 * 10.0 * 2000 * triggers  # each holds 10 ETH and is liquidated below its trigger
    snapshot = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0},
        [({"ETH": 10.0}, {"USD": debt}) for debt in debts],
        depth={"ETH": 0.8 * 10.0 * accounts / 4e-3 / kappa},  # each sells its debt over the price at its trigger
        bonus=0.0,
    )
    result = run_contagion(snapshot, Scenario(shocks={"ETH": -shock}))
    assert result.amplification == pytest.approx(1 / (1 - kappa), rel=0.01)


def test_a_ratio_feed_does_not_follow_a_depeg_and_does_follow_its_base_and_its_own_fault() -> None:
    looper, borrower = ({"LST": 100.0}, {"ETH": 105.0}), ({"ETH": 100.0}, {"USD": 150e3})
    snapshot = make_snapshot(
        {"ETH": 2000.0, "LST": 2300.0, "USD": 1.0},
        [looper, borrower],
        weights={"LST": 0.95},
        backing={"LST": ("ETH", 1.15)},
        ratio_feeds=True,
    )
    depeg = run_contagion(snapshot, Scenario(shocks={"LST": -0.2}))
    assert depeg.prices["LST"].iloc[-1] == pytest.approx(2300 * 0.8)
    assert depeg.liquidations.empty
    assert np.array_equal(depeg.health_after, depeg.health_before)
    eth = run_contagion(snapshot, Scenario(shocks={"ETH": -0.2}))
    assert eth.prices["LST"].iloc[1] == pytest.approx(2300 * 0.8)
    assert set(eth.liquidations["account_id"]) == {"a1"}
    assert eth.accounts.loc["a0", "health_factor_after"] == pytest.approx(
        eth.accounts.loc["a0", "health_factor_before"]
    )
    fault = run_contagion(snapshot, Scenario(feed_shocks={"LST": -0.05}))
    assert set(fault.liquidations["account_id"]) == {"a0"}


def test_a_ratio_feed_may_stand_on_another() -> None:
    """A discount times an exchange rate times ETH: the fall of ETH and the fault of the middle feed both arrive."""
    base = make_snapshot({"ETH": 2000.0, "LST": 2300.0, "PT": 2070.0, "USD": 1.0}, [({"PT": 100.0}, {"USD": 100.0})])
    tables = base.tables
    tables["feeds"] = tables["feeds"].assign(
        kind=["market", "ratio", "ratio", "market"], base_feed_id=["", "ETH", "LST", ""], ratio=[1.0, 1.15, 0.9, 1.0]
    )
    snapshot = Snapshot.from_tables(tables)
    result = run_contagion(snapshot, Scenario(shocks={"ETH": -0.1}, feed_shocks={"LST": -0.05}))
    assert result.health_after[0] == pytest.approx(result.health_before[0] * 0.9 * 0.95)


def test_a_circle_of_ratio_feeds_is_refused() -> None:
    base = make_snapshot({"A": 1.0, "B": 1.0}, [({"A": 1.0}, {})])
    tables = base.tables
    tables["feeds"] = tables["feeds"].assign(kind="ratio", base_feed_id=["B", "A"])
    with pytest.raises(ScenarioError, match="base_feed_id runs in a circle"):
        compile_book(Snapshot.from_tables(tables))


def test_a_market_feed_follows_the_depeg() -> None:
    snapshot = make_snapshot(
        {"ETH": 2000.0, "LST": 2300.0},
        [({"LST": 100.0}, {"ETH": 105.0})],
        weights={"LST": 0.95},
        backing={"LST": ("ETH", 1.15)},
    )
    assert len(run_contagion(snapshot, Scenario(shocks={"LST": -0.05})).liquidations)


def test_a_fixed_feed_never_moves() -> None:
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [({"ETH": 100.0}, {"USD": 150e3})])
    tables = snapshot.tables
    tables["feeds"] = tables["feeds"].assign(kind="fixed")
    fixed = Snapshot.from_tables(tables)
    assert run_contagion(fixed, Scenario(shocks={"ETH": -0.9})).liquidations.empty


def test_a_loop_liquidated_into_its_own_quote_leaves_the_base_market_alone() -> None:
    """wstETH sold for WETH to repay WETH: only the bonus and nothing else reaches the ETH market."""
    snapshot = make_snapshot(
        {"ETH": 2000.0, "LST": 2300.0},
        [({"LST": 100.0}, {"ETH": 112.0})],
        weights={"LST": 0.95},
        bonus=0.01,
        backing={"LST": ("ETH", 1.15)},
        depth={"ETH": 1e4, "LST": 1e4},
        quotes={"LST": "ETH"},
        ratio_feeds=True,
    )
    result = run_contagion(snapshot, Scenario(feed_shocks={"LST": -0.03}, max_rounds=1))
    index = list(result.book.asset_ids)
    seized, repaid = result.liquidations["seized"].sum(), result.liquidations["repaid"].sum()
    assert result.net_sales[index.index("LST")] == pytest.approx(seized)
    assert result.net_sales[index.index("ETH")] == pytest.approx(seized * 1.15 - repaid)


def test_bad_debt_lowers_the_supply_share_that_lent_it() -> None:
    """A venue with 200,000 USD supplied that loses 42,857 of it: its share token is worth that much less."""
    base = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0, "aUSD": 1.0}, [({"ETH": 100.0}, {"USD": 150e3}), ({"USD": 2e5}, {})]
    )
    tables = base.tables
    tables["backing"] = pd.DataFrame(
        [{"asset_id": "aUSD", "underlying_id": "USD", "units": 1.0, "kind": "deposited", "venue_id": "v"}]
    )
    result = run_contagion(Snapshot.from_tables(tables), Scenario(shocks={"ETH": -0.4}))
    bad = 150e3 - 100 * 1200 / 1.05
    assert result.summary()["bad_debt_usd"] == pytest.approx(bad)
    assert result.prices["aUSD"].iloc[-1] == pytest.approx(1 - bad / 2e5)
    assert list(result.bad_debt["account_id"]) == ["a0"]
    assert result.haircuts.to_dict("records") == [
        {"asset_id": "aUSD", "symbol": "aUSD", "venue_id": "v", "haircut": pytest.approx(bad / 2e5)}
    ]


def with_backing(snapshot: Snapshot, *rows: tuple[str, str, float, str, str]) -> Snapshot:
    """The snapshot with these rows (asset, underlying, units, kind, venue) of backing."""
    columns = ["asset_id", "underlying_id", "units", "kind", "venue_id"]
    return Snapshot.from_tables(snapshot.tables | {"backing": pd.DataFrame(rows, columns=columns)})


@pytest.mark.parametrize("order", [1, -1])
def test_each_part_of_a_claim_loses_what_its_own_issuer_lost(order: int) -> None:
    """A pool of USD lent at v, USD lent at w and ETH: only the part at v is cut, whatever the order of the rows."""
    base = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0, "LP": 3.0},
        [({"ETH": 100.0}, {"USD": 150e3}), ({"USD": 2e5}, {}), ({"USD": 1e5}, {})],
        venue_of=["v", "v", "w"],
    )
    parts = [
        ("LP", "USD", 1.0, "deposited", "v"),
        ("LP", "USD", 1.0, "deposited", "w"),
        ("LP", "ETH", 5e-4, "pooled", ""),
    ]
    result = run_contagion(with_backing(base, *parts[::order]), Scenario(shocks={"ETH": -0.4}))
    lost = (150e3 - 100 * 1200 / 1.05) / 2e5
    assert result.prices["LP"].iloc[-1] == pytest.approx((1 - lost) + 1 + 0.6)
    haircuts = result.haircuts.set_index("venue_id")["haircut"]
    assert haircuts.to_dict() == pytest.approx({"v": lost / 2.6})


def test_a_fall_of_a_share_on_its_market_is_no_haircut() -> None:
    base = make_snapshot({"USD": 1.0, "aUSD": 1.0}, [({"aUSD": 100.0}, {"USD": 79.0})], depth={"aUSD": 200.0})
    result = run_contagion(with_backing(base, ("aUSD", "USD", 1.0, "deposited", "v")), Scenario(shocks={"aUSD": -0.1}))
    assert result.prices["aUSD"].iloc[-1] < 0.9
    assert result.haircuts.empty


def test_a_share_may_lose_everything() -> None:
    """Bad debt beyond the supply: the share is worthless, what it secures is bad debt, a sale for it yields none."""
    prices = {"ETH": 2000.0, "USD": 1.0, "X": 5.0, "aUSD": 1.0}
    base = make_snapshot(
        prices,
        [
            ({"ETH": 100.0}, {"USD": 150e3}),
            ({"USD": 10.0}, {}),
            ({"aUSD": 1e5}, {"ETH": 30.0}),
            ({"X": 1e4}, {"ETH": 19.0}),
        ],
        depth={"X": 1e3, "ETH": 1e5},
        quotes={"X": "aUSD"},
        rule="aave_v3",
    )
    share = with_backing(base, ("aUSD", "USD", 1.0, "deposited", "v"))
    result = run_contagion(share, Scenario(shocks={"ETH": -0.4, "X": -0.43}, sell_collateral=True, buy_debt=True))
    assert result.converged
    assert result.prices["aUSD"].iloc[-1] == 0
    assert result.haircuts["haircut"].tolist() == [1.0]
    assert set(result.bad_debt["account_id"]) >= {"a0", "a2"}
    assert np.isfinite(result.rounds.to_numpy(float)).all()


def test_a_market_may_be_swamped() -> None:
    """Sales far beyond a market's depth leave a price of 0, and no number that is none."""
    base = make_snapshot(
        {"ETH": 2000.0, "LST": 2300.0, "USD": 1.0},
        [({"LST": 1e6}, {"USD": 1.83e9}), ({"LST": 1e5}, {"ETH": 5e4})],
        depth={"LST": 1.0, "ETH": 1.0},
        quotes={"LST": "ETH"},
        backing={"LST": ("ETH", 1.15)},
    )
    result = run_contagion(base, Scenario(shocks={"ETH": -0.1}))
    assert result.converged
    assert not result.exhausted
    assert result.prices.iloc[-1].to_dict() == {"ETH": 0.0, "LST": 0.0, "USD": 1.0}


def test_a_minted_coin_does_not_fall_with_its_collateral() -> None:
    base = make_snapshot({"ETH": 2000.0, "GHO": 1.0}, [({"ETH": 1.0}, {"GHO": 1500.0})])
    minted = pd.DataFrame([{"asset_id": "GHO", "underlying_id": "ETH", "units": 0.0005, "kind": "minted_against"}])
    result = run_contagion(Snapshot.from_tables(base.tables | {"backing": minted}), Scenario(shocks={"ETH": -0.3}))
    assert result.prices["GHO"].iloc[-1] == 1
    assert len(result.liquidations) == 1


def test_debt_without_collateral_before_the_shock_is_not_the_scenarios_bad_debt() -> None:
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [({}, {"USD": 500.0}), ({"ETH": 1.0}, {"USD": 100.0})])
    summary = run_contagion(snapshot, Scenario()).summary()
    assert summary["bad_debt_usd"] == 0
    assert summary["bad_debt_before_usd"] == 500
    assert summary["liquidatable_before"] == 1


def test_purchases_beyond_a_pool_stop_the_run_and_say_so() -> None:
    snapshot = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0},
        [({"USD": 300e3}, {"ETH": 100.0})],
        depth={"ETH": 50.0},
        model="constant_product",
    )
    result = run_contagion(snapshot, Scenario(shocks={"ETH": 0.5}))
    assert result.exhausted == ("ETH",)
    assert not result.converged


def test_a_run_cut_short_is_not_called_converged() -> None:
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, ETH_POSITIONS, depth={"ETH": 500.0})
    result = run_contagion(snapshot, Scenario(shocks={"ETH": -0.07}, max_rounds=2))
    assert not result.converged
    assert len(result.rounds) == 2


def test_assets_sold_without_depth_are_named() -> None:
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, ETH_POSITIONS)
    assert run_contagion(snapshot, Scenario(shocks={"ETH": -0.1})).missing_depth == ["ETH", "USD"]


def test_ties_fall_to_the_lowest_asset_id() -> None:
    snapshot = make_snapshot({"A": 1.0, "B": 1.0, "USD": 1.0}, [({"B": 100.0, "A": 100.0}, {"USD": 190.0})])
    result = run_contagion(snapshot, Scenario(max_rounds=1))
    assert list(result.liquidations["collateral_asset_id"]) == ["A"]


def test_collateral_that_does_not_count_is_never_seized() -> None:
    snapshot = make_snapshot(
        {"ETH": 2000.0, "USD": 1.0}, [({"ETH": 100.0, "USD": 5e5}, {"USD": 190e3})], weights={"USD": 0.0}
    )
    result = run_contagion(snapshot, Scenario())
    assert list(result.liquidations["collateral_asset_id"]) == ["ETH"]
    legs = result.legs.set_index(["side", "asset_id"])
    assert legs.loc[("collateral", "USD"), "amount_after"] == 5e5


def test_unknown_names_are_refused() -> None:
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, ETH_POSITIONS)
    with pytest.raises(SnapshotError, match="no asset 'WBTC'"):
        run_contagion(snapshot, Scenario(shocks={"WBTC": -0.1}))
    with pytest.raises(SnapshotError, match="did you mean ETH"):
        run_contagion(snapshot, Scenario(shocks={"EHT": -0.1}))
    with pytest.raises(ScenarioError, match="shocked twice"):
        run_contagion(snapshot, Scenario(shocks={"ETH": -0.1, "eth": -0.2}))
    with pytest.raises(ScenarioError, match="feed ETH is shocked twice"):
        run_contagion(snapshot, Scenario(feed_shocks={"ETH": -0.1, "eth": -0.2}))
    tables = snapshot.tables
    tables["venues"] = tables["venues"].assign(liquidation_rule="nobody")
    with pytest.raises(ScenarioError, match="unknown liquidation_rule 'nobody'"):
        run_contagion(Snapshot.from_tables(tables), Scenario())


def test_average_threshold_in_whole_basis_points() -> None:
    """2 ETH at 80 % and 1 BTC-sized leg at 75 %: the average 0.78333.. is cut to 0.7833 as the protocol cuts it."""
    snapshot = make_snapshot(
        {"A": 100.0, "B": 100.0, "USD": 1.0}, [({"A": 2.0, "B": 1.0}, {"USD": 100.0})], weights={"A": 0.8, "B": 0.75}
    )
    tables = snapshot.tables
    tables["venues"] = tables["venues"].assign(health_rule="average_threshold_bps")
    result = run_contagion(Snapshot.from_tables(tables), Scenario())
    assert result.health_before[0] == pytest.approx(300 * 0.7833 / 100, rel=1e-14)


@given(random_books(healthy=True))
@settings(max_examples=50, deadline=None)
def test_no_shock_changes_nothing(snapshot: Snapshot) -> None:
    result = run_contagion(snapshot, Scenario())
    assert result.converged
    assert result.rounds.empty
    assert np.array_equal(result.amount, result.book.amount)
    assert np.array_equal(result.price_path[-1], result.price_path[0])
    assert np.array_equal(result.health_after, result.health_before)


@given(random_books(), SHOCKS, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_rows_does_not_matter(snapshot: Snapshot, shocks: dict[str, float], random: Random) -> None:
    def shuffle(frame: pd.DataFrame) -> pd.DataFrame:
        order = list(range(len(frame)))
        random.shuffle(order)
        return frame.iloc[order].reset_index(drop=True)

    shuffled = Snapshot.from_tables({name: shuffle(frame) for name, frame in snapshot.tables.items()})
    one, other = run_contagion(snapshot, Scenario(shocks=shocks)), run_contagion(shuffled, Scenario(shocks=shocks))
    assert json.dumps(one.summary()) == json.dumps(other.summary())
    assert np.array_equal(one.amount, other.amount)


@given(random_books(), SHOCKS)
@settings(max_examples=100, deadline=None)
def test_debt_is_repaid_left_or_bad(snapshot: Snapshot, shocks: dict[str, float]) -> None:
    """In tokens of every asset: repaid + remaining + bad + bad before the shock = initial debt."""
    result = run_contagion(snapshot, Scenario(shocks=shocks, max_rounds=30))
    book = result.book
    assets = len(book.asset_ids)
    accounted = np.bincount(book.leg_asset[book.is_debt], weights=result.amount[book.is_debt], minlength=assets)
    for done, bad, _ in result.rounds_recorded:
        accounted += np.bincount(book.leg_asset[done.debt_leg], weights=done.repaid, minlength=assets)
        accounted += np.bincount(book.leg_asset[bad["leg"]], weights=bad["amount"], minlength=assets)
    before = result.bad_before
    accounted += np.bincount(book.leg_asset[before["leg"]], weights=before["amount"], minlength=assets)
    initial = np.bincount(book.leg_asset[book.is_debt], weights=book.amount[book.is_debt], minlength=assets)
    assert accounted == pytest.approx(initial, rel=1e-9, abs=1e-9)
    assert (result.amount >= 0).all()


def test_a_compiled_book_gives_the_same_run() -> None:
    snapshot = make_snapshot({"ETH": 2000.0, "USD": 1.0}, ETH_POSITIONS, depth={"ETH": 500.0})
    scenario = Scenario(shocks={"ETH": -0.07})
    again = run_contagion(snapshot, scenario, compile_book(snapshot))
    assert again.summary() == run_contagion(snapshot, scenario).summary()
