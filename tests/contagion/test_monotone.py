"""A larger shock never liquidates fewer accounts: where that holds, and where it does not.

It holds, for any order of events, where
- all debt is in assets whose feed is fixed, so that no fall of a price makes a debt smaller (no shorts);
- purchases of the repaid debt move no price (`buy_debt` off, or no depth for the debt asset), and sales pay out in USD
  (a sale for a quote asset passes on more, the less the quote asset has fallen);
- no collateral is a supply share, whose haircut depends on when an account was liquidated;
- and either nothing that is sold moves a price, or whoever is liquidated loses all collateral at once (Comet), so that
  what has been sold grows with who was liquidated and with nothing else.

Then, round by round, the larger shock has liquidated whoever the smaller one has, has sold at least as much of every
asset, and has no higher price. A rule that seizes what a debt is worth sells fewer tokens the earlier it comes, so that
with price impact a smaller shock, whose liquidations come later and lower, can end lower: the second example.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot
from tests.books import Position, make_snapshot

PRICES = {"ETH": 2000.0, "BTC": 40000.0, "LST": 2300.0, "USD": 1.0}
FALLS = st.fixed_dictionaries({name: st.floats(0.0, 0.5) for name in ("ETH", "BTC", "LST")})


def fixed_dollar(snapshot: Snapshot) -> Snapshot:
    """The snapshot with a feed for USD that never moves."""
    feeds = snapshot.feeds
    kind = feeds["kind"].mask(feeds["feed_id"] == "USD", "fixed")
    return Snapshot.from_tables(snapshot.tables | {"feeds": feeds.assign(kind=kind)})


def liquidated(snapshot: Snapshot, shocks: dict[str, float]) -> set[str]:
    result = run_contagion(snapshot, Scenario(shocks=shocks, buy_debt=False))
    assert result.converged
    return set(result.liquidations["account_id"])


@st.composite
def long_books(draw: st.DrawFn) -> list[Position]:
    """Accounts that owe USD against up to three volatile assets."""
    positions: list[Position] = []
    for _ in range(draw(st.integers(2, 10))):
        held = draw(st.lists(st.sampled_from(["ETH", "BTC", "LST"]), min_size=1, unique=True))
        usd = {asset: draw(st.floats(1e3, 1e6)) for asset in held}
        owed = 0.8 * sum(usd.values()) * draw(st.floats(0.4, 0.999))
        positions.append(({asset: value / PRICES[asset] for asset, value in usd.items()}, {"USD": owed}))
    return positions


def check_that_more_are_liquidated(snapshot: Snapshot, falls: dict[str, float], parts: list[float]) -> None:
    """At falls of growing size, in every asset; those of a smaller one are among those of a larger one."""
    before: set[str] = set()
    for part in sorted(parts):
        now = liquidated(snapshot, {asset: -fall * part for asset, fall in falls.items()})
        assert before <= now
        before = now


@given(
    long_books(), FALLS, st.lists(st.floats(0, 1), min_size=2, max_size=3), st.booleans(),
    st.sampled_from(["full", "aave_v2", "aave_v3_3", "morpho_blue", "euler_v2"]),
)  # fmt: skip
@settings(max_examples=25)
def test_without_price_impact(
    positions: list[Position], falls: dict[str, float], parts: list[float], ratio: bool, rule: str
) -> None:
    snapshot = make_snapshot(PRICES, positions, rule=rule, backing={"LST": ("ETH", 1.15)}, ratio_feeds=ratio)
    check_that_more_are_liquidated(fixed_dollar(snapshot), falls, parts)


@given(
    long_books(), FALLS, st.lists(st.floats(0, 1), min_size=2, max_size=3), st.booleans(), st.floats(0.01, 3),
    st.sampled_from(["exponential", "constant_product"]),
)  # fmt: skip
@settings(max_examples=30)
def test_where_the_liquidated_lose_all_their_collateral(
    positions: list[Position], falls: dict[str, float], parts: list[float], ratio: bool, deep: float, model: str
) -> None:
    depth = {"ETH": 1000 * deep, "BTC": 50 * deep, "LST": 900 * deep}
    terms: dict[str, Any] = {"rule": "comet", "backing": {"LST": ("ETH", 1.15)}, "ratio_feeds": ratio}
    snapshot = make_snapshot(PRICES, positions, depth=depth, model=model, **terms)
    check_that_more_are_liquidated(fixed_dollar(snapshot), falls, parts)


def test_not_where_debt_is_in_what_falls() -> None:
    """A short of 41 ETH against 100,000 USD, threshold 0.8: liquidated while ETH is above 1951.22, safe below.

    HF = 0.8 * 100000 / (41 * price): 0.9855 at a fall of 1 %, 1.0841 at one of 10 %.
    """
    short = fixed_dollar(make_snapshot(PRICES, [({"USD": 1e5}, {"ETH": 41.0})]))
    small = run_contagion(short, Scenario(shocks={"ETH": -0.01}, max_rounds=1))
    assert small.liquidations["health_factor"].tolist() == [pytest.approx(80_000 / (41 * 1980))]
    assert liquidated(short, {"ETH": -0.01}) == {"a0"}
    assert liquidated(short, {"ETH": -0.1}) == set()


def test_not_where_an_earlier_liquidation_sells_less() -> None:
    """ETH at 2000, exponential depth 300, bonus 5 %, threshold 0.8, whole debts repaid.

    At -5 % (1900) a0 and a1 go at once: 116,400 and 145,160 USD take (116400 + 145160) * 1.05 / 1900 = 144.55 ETH, and
    1900 * exp(-144.55 / 300) = 1173.5 leaves a2, whose trigger is 1150, alone. At -4 % (1920) a0 goes first: 63.66 ETH,
    price 1552.9; there a1's debt takes all its 95 ETH, and 1920 * exp(-158.66 / 300) = 1131.4 takes a2 too.
    """
    positions = [
        ({"ETH": 75.0}, {"USD": 116_400.0}),
        ({"ETH": 95.0}, {"USD": 145_160.0}),
        ({"ETH": 10.0}, {"USD": 9200.0}),
    ]
    snapshot = fixed_dollar(make_snapshot(PRICES, positions, depth={"ETH": 300.0}))
    assert liquidated(snapshot, {"ETH": -0.05}) == {"a0", "a1"}
    assert liquidated(snapshot, {"ETH": -0.04}) == {"a0", "a1", "a2"}
