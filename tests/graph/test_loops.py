import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.graph.loops import LOOP_COLUMNS, find_families, find_loops, loop_accounts
from defi_leverage.health import account_health, loop_health_factor, loop_leverage
from defi_leverage.snapshot import Snapshot
from defi_leverage.synthetic import synthetic_book
from tests.books import Position, cell, make_snapshot

PRICES = {"ETH": 2000.0, "WETH": 2000.0, "stETH": 2000.0, "wstETH": 2400.0, "rETH": 2200.0, "UNI": 5.0}
BACKING = {"WETH": ("ETH", 1.0), "stETH": ("ETH", 1.0), "wstETH": ("stETH", 1.2), "rETH": ("ETH", 1.1)}


def book(*positions: Position, backing: dict[str, tuple[str, float]] | None = None, **more: object) -> Snapshot:
    return make_snapshot(PRICES, positions, backing=BACKING if backing is None else backing, **more)  # type: ignore[arg-type]


def with_kinds(snapshot: Snapshot, **kinds: str) -> Snapshot:
    assets = snapshot.assets.assign(kind=[kinds.get(name, "token") for name in snapshot.assets["asset_id"]])
    return Snapshot.from_tables(snapshot.tables | {"assets": assets})


def with_backing(snapshot: Snapshot, *rows: tuple[str, str, float, str]) -> Snapshot:
    """The snapshot with more rows (asset, underlying, units, kind) of backing."""
    more = pd.DataFrame(rows, columns=["asset_id", "underlying_id", "units", "kind"])
    columns = list(more.columns)
    return Snapshot.from_tables(snapshot.tables | {"backing": pd.concat([snapshot.backing[columns], more])})


def test_one_loop_with_the_leverage_of_its_turns() -> None:
    # five turns at a loan-to-value of 0.8 (SCIENCE figures: 3.68928)
    turns = loop_leverage(0.8, 5)
    snapshot = book(({"wstETH": turns * 10}, {"WETH": (turns - 1) * 12}), weights={"wstETH": 0.95})
    loops = find_loops(snapshot)
    assert list(loops.columns) == list(LOOP_COLUMNS)
    assert loops["loop"].tolist() == ["wstETH/WETH on v"]
    assert loops["path"].tolist() == ["wstETH > v > WETH > ETH > stETH > wstETH"]
    assert loops["kind"].tolist() == ["staked"]
    assert cell(loops, 0, "leverage") == pytest.approx(3.68928)
    assert cell(loops, 0, "equity_usd") == pytest.approx(24_000)
    assert cell(loops, 0, "debt_share_of_venue") == pytest.approx(1)
    assert cell(loops, 0, "lowest_health_factor") == pytest.approx(loop_health_factor(0.95, turns))
    member = loop_accounts(snapshot).iloc[0]
    assert member["fall_to_liquidation"] == pytest.approx(1 - 1 / loop_health_factor(0.95, turns))


@pytest.mark.parametrize(
    ("collateral", "debt", "loops"),
    [
        ({"wstETH": 10}, {"WETH": 5}, True),
        ({"wstETH": 80 / 2400, "UNI": 20 / 5}, {"WETH": 40 / 2000, "UNI": 10 / 5}, True),  # exactly 80 % and 80 %
        ({"wstETH": 79.9 / 2400, "UNI": 20.1 / 5}, {"WETH": 10 / 2000}, False),
        ({"wstETH": 1}, {"WETH": 79.9 / 2000, "UNI": 20.1 / 5}, False),
        ({"wstETH": 50 / 2400, "rETH": 50 / 2200}, {"WETH": 10 / 2000}, True),  # one family
        ({"UNI": 1000}, {"WETH": 1}, False),
        ({"wstETH": 1}, {}, False),
        ({}, {"WETH": 1}, False),
    ],
)
def test_who_runs_a_loop(collateral: dict[str, float], debt: dict[str, float], loops: bool) -> None:
    snapshot = book((collateral, debt))
    assert len(loop_accounts(snapshot)) == loops
    assert find_loops(snapshot)["accounts"].sum() == loops


def test_what_does_not_count_as_collateral_does_not_count() -> None:
    snapshot = book(({"UNI": 1, "wstETH": 100}, {"WETH": 0.001}), weights={"wstETH": 0.0})
    assert loop_accounts(snapshot).empty


def test_an_account_is_in_the_loop_of_its_largest_assets() -> None:
    snapshot = book(({"wstETH": 1, "rETH": 2}, {"WETH": 0.5, "ETH": 0.6}), ({"ETH": 2}, {"ETH": 1}))
    loops = find_loops(snapshot)
    assert loops["loop"].tolist() == ["rETH/ETH on v", "ETH/ETH on v"]
    assert loops["kind"].tolist() == ["staked", "same_asset"]
    assert loops["path"].tolist() == ["rETH > v > ETH > rETH", "ETH > v > ETH"]
    assert cell(loops, 0, "notional_usd") == pytest.approx(2400 + 4400)
    equal = book(({"rETH": 12, "wstETH": 11}, {"WETH": 1}))
    assert loop_accounts(equal)["collateral_asset_id"].tolist() == ["rETH"]  # ties: the lowest asset_id


def test_all_that_is_usd_is_one_family() -> None:
    prices = {"USDC": 1.0, "DAI": 1.0, "sDAI": 1.1, "ETH": 2000.0, "GHO": 1.0}
    snapshot = make_snapshot(
        prices,
        [({"sDAI": 100}, {"USDC": 80}), ({"sDAI": 100}, {"DAI": 80}), ({"ETH": 1}, {"GHO": 900})],
        backing={"sDAI": ("DAI", 1.1)},
    )
    snapshot = with_backing(snapshot, ("GHO", "ETH", 0.0005, "minted_against"))
    loops = find_loops(with_kinds(snapshot, USDC="usd", DAI="usd", GHO="usd"))
    assert loops["path"].tolist() == ["sDAI > v > DAI > sDAI", "sDAI > v > USDC > USD at par > DAI > sDAI"]
    assert loops["kind"].tolist() == ["staked", "stable"]


def test_a_token_of_several_families_is_its_own() -> None:
    snapshot = book(({"rETH": 1}, {"WETH": 1}))
    inside = with_backing(snapshot, ("UNI", "WETH", 1.0, "pooled"), ("UNI", "rETH", 1.0, "pooled"))
    assert find_families(inside)["UNI"] == "ETH"
    prices = PRICES | {"CRV": 1.0}
    snapshot = make_snapshot(prices, [({"rETH": 1}, {"WETH": 1})], backing=BACKING)
    families = find_families(with_backing(snapshot, ("UNI", "WETH", 1.0, "pooled"), ("UNI", "CRV", 1.0, "pooled")))
    assert families["UNI"] == "UNI"
    assert families["wstETH"] == families["WETH"] == "ETH"


def test_leverage_is_never_averaged_and_leaves_out_negative_equity() -> None:
    # leverages 2 and 101: their mean is 51.5
    snapshot = book(
        ({"rETH": 100 / 2200}, {"ETH": 50 / 2000}),
        ({"rETH": 101 / 2200}, {"ETH": 100 / 2000}),
        ({"rETH": 100 / 2200}, {"ETH": 120 / 2000}),
    )
    loops = find_loops(snapshot)
    assert cell(loops, 0, "leverage") == pytest.approx(201 / 51)
    assert cell(loops, 0, "leverage_max") == pytest.approx(101)
    assert cell(loops, 0, "accounts") == 3
    assert cell(loops, 0, "negative_equity_accounts") == 1
    assert cell(loops, 0, "equity_usd") == pytest.approx(50 + 1 - 20)
    only = find_loops(book(({"rETH": 1}, {"ETH": 2})))
    assert np.isnan(cell(only, 0, "leverage"))
    assert cell(only, 0, "negative_equity_accounts") == 1


def test_a_cycle_in_backing_is_said_and_is_one_family(caplog: pytest.LogCaptureFixture) -> None:
    backing = {"stETH": ("wstETH", 0.8), "wstETH": ("stETH", 1.2), "rETH": ("wstETH", 1.0)}
    snapshot = book(({"rETH": 1}, {"stETH": 0.5}), backing=backing)
    with caplog.at_level(logging.WARNING):
        loops = find_loops(snapshot)
    assert "backing goes round in a circle: stETH > wstETH > stETH" in caplog.text
    assert loops["path"].tolist() == ["rETH > v > stETH > wstETH > rETH"]
    assert find_families(snapshot)["rETH"] == "stETH"


def test_what_the_bound_leaves_out_is_said(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = book(({"wstETH": 1}, {"WETH": 0.5}), ({"rETH": 1}, {"ETH": 0.5}))
    with caplog.at_level(logging.WARNING):
        loops = find_loops(snapshot, length_bound=4)
    assert loops["loop"].tolist() == ["rETH/ETH on v"]
    assert loops.attrs["notices"] == ["1 accounts loop in more than 4 steps; raise length_bound to see them"]
    assert "1 accounts loop in more than 4 steps" in caplog.text


def test_many_ways_back_do_not_explode() -> None:
    coins = [f"C{number}" for number in range(8)]
    pools = [f"LP{number}" for number in range(60)]
    snapshot = make_snapshot(dict.fromkeys(coins + pools, 1.0), [({pool: 100}, {"C0": 80}) for pool in pools])
    rows = [(pool, coin, 0.25, "pooled") for number, pool in enumerate(pools) for coin in np.roll(coins, number)[:4]]
    loops = find_loops(with_kinds(with_backing(snapshot, *rows), **dict.fromkeys(coins, "usd")))
    assert loops["accounts"].sum() == len(loops) == 60
    assert loops.set_index("loop").loc["LP0/C0 on v", "path"] == "LP0 > v > C0 > LP0"
    assert loops.set_index("loop").loc["LP4/C0 on v", "path"] == "LP4 > v > C0 > USD at par > C4 > LP4"


def test_loops_of_equal_symbols_have_different_names() -> None:
    tables = book(({"rETH": 1}, {"ETH": 0.5}), ({"rETH": 2}, {"ETH": 0.5}), venue_of=["v", "w"]).tables
    tables["venues"] = tables["venues"].assign(name="Core")
    loops = find_loops(Snapshot.from_tables(tables))
    assert loops["loop"].tolist() == ["rETH/ETH on Core (rETH / ETH on w)", "rETH/ETH on Core (rETH / ETH on v)"]


def test_a_share_of_half_or_less_is_refused() -> None:
    with pytest.raises(ValueError, match=r"minimum_share 0\.5"):
        find_loops(book(({"rETH": 1}, {"ETH": 1})), minimum_share=0.5)


def test_a_book_without_loops_has_an_empty_table() -> None:
    nothing = Snapshot.from_tables({name: table.iloc[:0] for name, table in book(({"UNI": 1}, {})).tables.items()})
    for snapshot in (book(({"UNI": 1}, {"ETH": 0.0001})), synthetic_book(0, seed=1), nothing):
        assert find_loops(snapshot).empty
        assert list(find_loops(snapshot).columns) == list(LOOP_COLUMNS)
        assert loop_accounts(snapshot).empty


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.6, 0.8, 1.0]))
def test_loops_do_not_depend_on_the_order_of_rows(seed: int, minimum_share: float) -> None:
    one = synthetic_book(150, seed)
    mixed = Snapshot.from_tables({name: table.sample(frac=1, random_state=seed) for name, table in one.tables.items()})
    found, other = find_loops(one, minimum_share), find_loops(mixed, minimum_share)
    pd.testing.assert_frame_equal(
        found.sort_values("loop", ignore_index=True), other.sort_values("loop", ignore_index=True), rtol=1e-9
    )


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_every_looping_account_is_counted_once_and_by_the_rule(seed: int) -> None:
    snapshot = synthetic_book(200, seed)
    members, loops = loop_accounts(snapshot), find_loops(snapshot)
    assert members["account_id"].is_unique
    assert loops["accounts"].sum() == len(members)
    assert loops["notional_usd"].sum() == pytest.approx(members["collateral_usd"].sum())
    assert set(members["account_id"]) == slow_loopers(snapshot)
    health = account_health(snapshot).loc[members["account_id"]]
    assert np.array_equal(health["leverage"], members["leverage"], equal_nan=True)


def slow_loopers(snapshot: Snapshot) -> set[str]:
    """The rule again, account by account, with roots followed one step at a time."""
    kind = dict(zip(snapshot.assets["asset_id"], snapshot.assets["kind"], strict=True))
    under = dict(zip(snapshot.backing["asset_id"], snapshot.backing["underlying_id"], strict=True))
    price = dict(zip(snapshot.feeds["feed_id"], snapshot.feeds["price_usd"], strict=True))

    def root(asset: str) -> str:
        while kind[asset] != "usd" and asset in under:
            asset = under[asset]
        return "usd" if kind[asset] == "usd" else asset

    found = set()
    for account, legs in snapshot.legs.groupby("account_id"):
        shares = {}
        for side in ("collateral", "debt"):
            totals: dict[str, float] = {}
            for leg in legs[(legs["side"] == side) & (legs["weight"] > 0)].to_dict("records"):
                family = root(leg["asset_id"])
                totals[family] = totals.get(family, 0.0) + leg["amount"] * price[leg["feed_id"]]
            whole = sum(totals.values())
            shares[side] = {family for family, usd in totals.items() if usd >= 0.8 * whole * (1 - 1e-12) and usd > 0}
        if shares["collateral"] & shares["debt"]:
            found.add(str(account))
    return found


def test_perp_positions_and_what_soft_liquidation_left_are_no_loops() -> None:
    """A long of 3 ETH financed by USD of the venue, and a loan half turned into the coin it owes."""
    prices = {"ETH": 2000.0, "USD": 1.0, "CRVUSD": 1.0}
    positions = [({"USD": 1000.0}, {"USD": 900.0}), ({"CRVUSD": 500.0}, {"CRVUSD": 400.0})]
    book = make_snapshot(prices, positions, venue_of=["perp", "amm"], weights={"USD": 0.95, "CRVUSD": 0.95})
    usd = book.assets.assign(kind=["token", "usd", "usd"])
    plain = Snapshot.from_tables(book.tables | {"assets": usd})
    assert len(loop_accounts(plain)) == 2
    soft = plain.venues.assign(
        liquidation_rule=["crvusd" if venue == "amm" else "full" for venue in plain.venues["venue_id"]]
    )
    market = pd.DataFrame([{"venue_id": "perp", "asset_id": "ETH"}])
    assert loop_accounts(Snapshot.from_tables(plain.tables | {"venues": soft, "perp_markets": market})).empty
