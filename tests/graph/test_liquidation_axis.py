"""What can liquidate an account, against the health factor of the same book with that feed moved."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.graph.liquidation_axis import AXIS_COLUMNS, liquidation_axis
from defi_leverage.graph.loops import find_families, loop_accounts
from defi_leverage.health import account_health
from defi_leverage.snapshot import Snapshot
from defi_leverage.synthetic import synthetic_book
from tests.books import Position, cell, make_snapshot

PRICES = {"ETH": 2000.0, "WETH": 2000.0, "stETH": 2000.0, "wstETH": 2400.0, "USDC": 1.0, "DAI": 1.0}
BACKING = {"WETH": ("ETH", 1.0), "stETH": ("ETH", 1.0), "wstETH": ("stETH", 1.2)}


def book(*positions: Position, ratio_feeds: bool = True, fixed: tuple[str, ...] = (), rule: str = "linear") -> Snapshot:
    made = make_snapshot(PRICES, positions, backing=BACKING, ratio_feeds=ratio_feeds)
    assets = made.assets.assign(
        kind=["usd" if asset in ("USDC", "DAI") else "token" for asset in made.assets["asset_id"]]
    )
    feeds = made.feeds.assign(kind=made.feeds["kind"].mask(made.feeds["feed_id"].isin(fixed), "fixed"))
    venues = made.venues.assign(health_rule=rule)
    return Snapshot.from_tables(made.tables | {"assets": assets, "feeds": feeds, "venues": venues})


def axis_of(snapshot: Snapshot, account: str = "a0") -> tuple[str, str, float]:
    found = liquidation_axis(snapshot, find_families(snapshot))
    assert tuple(found.columns) == AXIS_COLUMNS
    return (
        str(found.loc[account, "axis"]),
        str(found.loc[account, "axis_feed_id"]),
        cell(found, account, "move_to_liquidation"),
    )


def test_a_staking_loop_moves_with_its_exchange_rate_only() -> None:
    # 0.8 * 24,000 = 19,200 against 16,000
    axis, feed, move = axis_of(book(({"wstETH": 10}, {"WETH": 8})))
    assert (axis, feed) == ("ratio", "stETH")  # the rate closest to the shared ETH feed: it moves what is above it
    assert move == pytest.approx(16_000 / 19_200 - 1)
    assert loop_accounts(book(({"wstETH": 10}, {"WETH": 8}))).loc[0, "axis"] == "ratio"


@pytest.mark.parametrize(
    ("position", "options", "axis", "feed", "move"),
    [
        # market feeds of one family: a depeg
        (({"wstETH": 10}, {"ETH": 8}), {"ratio_feeds": False}, "basis", "wstETH", 16_000 / 19_200 - 1),
        # ETH falls, and all that is made of it
        (({"wstETH": 5, "ETH": 6}, {"USDC": 12_000}), {}, "market", "ETH", 12_000 / 19_200 - 1),
        (({"wstETH": 5, "ETH": 6}, {"USDC": 12_000}), {"ratio_feeds": False}, "market", "ETH", 12_000 / 19_200 - 1),
        # ETH rises against a dollar that does not move
        (({"USDC": 20_000}, {"wstETH": 5}), {"fixed": ("USDC",)}, "market", "ETH", 16_000 / 12_000 - 1),
        # a dollar against another
        (({"USDC": 20_000}, {"DAI": 12_000}), {}, "basis", "USDC", 12_000 / 16_000 - 1),
        # the derived asset is owed: its rate rises
        (({"ETH": 10}, {"wstETH": 5}), {}, "ratio", "stETH", 16_000 / 12_000 - 1),
        # the same feed, and two that never move: interest alone
        (({"ETH": 10}, {"ETH": 5}), {}, "rate", "", np.nan),
        (({"USDC": 20_000}, {"DAI": 12_000}), {"fixed": ("USDC", "DAI")}, "rate", "", np.nan),
        # already below 1
        (({"wstETH": 10}, {"WETH": 10}), {}, "ratio", "stETH", 0.0),
        (({"ETH": 10}, {}), {}, "", "", np.nan),
        (({}, {"ETH": 10}), {}, "", "", np.nan),
    ],
)
def test_axes(position: Position, options: dict[str, object], axis: str, feed: str, move: float) -> None:
    found = axis_of(book(position, **options))  # type: ignore[arg-type]
    assert found[1] == feed
    assert found[0] == axis
    assert found[2] == pytest.approx(move, nan_ok=True)


def test_what_is_hedged_cannot_be_ended_by_that_axis() -> None:
    # collateral 10 ETH and 30,000 USDC against 9 ETH and 1 USDC: a fall of ETH helps
    axis, feed, move = axis_of(book(({"ETH": 10, "USDC": 10_000}, {"ETH": 9, "USDC": 1})))
    assert (axis, feed) == ("rate", "")
    axis, feed, move = axis_of(book(({"ETH": 10, "USDC": 19_000}, {"USDC": 10_000, "ETH": 4.9})))
    assert (axis, feed) == ("market", "ETH")
    # (16,000 + 15,200 - 10,000 - 9,800) / (9,800 - 16,000) is below -1: not even worthless ETH ends it
    assert np.isnan(move)


def test_the_rounding_of_average_thresholds_counts() -> None:
    snapshot = book(({"wstETH": 10, "ETH": 3.3}, {"USDC": 15_000}), rule="average_threshold_bps")
    legs = snapshot.legs.assign(weight=[0.81234, 0.7, 1.0])
    snapshot = Snapshot.from_tables(snapshot.tables | {"legs": legs})
    counted = cell(account_health(snapshot), "a0", "weighted_collateral_usd")
    assert axis_of(snapshot)[2] == pytest.approx(15_000 / counted - 1, rel=1e-12)


@settings(max_examples=8)
@given(st.integers(0, 1000))
def test_after_the_move_the_health_factor_is_one(seed: int) -> None:
    book_ = synthetic_book(80, seed)
    book_ = Snapshot.from_tables(book_.tables | {"venues": book_.venues.assign(health_rule="linear")})
    family = find_families(book_)
    found = liquidation_axis(book_, family)
    feeds = book_.feeds.set_index("feed_id")
    ended = found[found["move_to_liquidation"].notna() & (found["move_to_liquidation"] != 0)].head(12)
    assert len(ended) > 3
    for account, row in ended.iterrows():
        price = feeds["price_usd"].copy()
        roots = [row["axis_feed_id"]]
        if row["axis"] == "market":
            asset = feeds.loc[row["axis_feed_id"], "asset_id"]
            roots = [
                feed
                for feed, kind, of in zip(feeds.index, feeds["kind"], feeds["asset_id"], strict=True)
                if kind == "market" and family[of] == family[asset]
            ]
        moved: set[str] = set(roots)
        for _ in range(5):
            moved |= {str(feed) for feed, base in feeds["base_feed_id"].items() if base in moved}
        price[list(moved)] *= 1 + row["move_to_liquidation"]
        legs = book_.legs[book_.legs["account_id"] == account]
        value = legs["amount"] * legs["feed_id"].map(price) * legs["weight"]
        owed = value[legs["side"] == "debt"].sum()
        assert value[legs["side"] == "collateral"].sum() / owed == pytest.approx(1, rel=1e-9)


def test_an_empty_book() -> None:
    book_ = synthetic_book(0, seed=1)
    assert liquidation_axis(book_, pd.Series(find_families(book_))).empty
