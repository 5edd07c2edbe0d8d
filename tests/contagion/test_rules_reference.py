"""Every rule against the slow reference on random books, and what must hold for all of them."""

import json

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.liquidation import LIQUIDATION_RULES
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot
from tests.books import Position, make_snapshot, random_books
from tests.contagion.test_engine import run_both

SHOCKS = st.fixed_dictionaries({}, optional={name: st.floats(-0.6, 0.3) for name in ("ETH", "BTC", "LST", "USD")})
USD = st.sampled_from([0.0, 1e3, 1e5, 1e7])
REFERENCED: dict[str, dict[str, st.SearchStrategy[float]]] = {
    "aave_v2": {},
    "compound_v2": {},
    "morpho_blue": {},
    "euler_v2": {},
    "comet": {"reserves_usd": USD},
    "maker": {"surplus_usd": USD, "hole_usd": st.sampled_from([1e4, 1e6, 1e9])},
    "liquity_v1": {"stability_pool_usd": USD},
    "liquity_v2": {"stability_pool_usd": USD},
    "perp_full": {"insurance_fund_usd": USD, "liquidation_fee": st.just(0.01)},
}


def with_rules(snapshot: Snapshot, rules: dict[str, tuple[str, dict[str, float]]]) -> Snapshot:
    """The snapshot with these rules and parameters, by venue."""
    venues = snapshot.venues.assign(
        liquidation_rule=[rules[venue][0] for venue in snapshot.venues["venue_id"]],
        liquidation_parameters=[json.dumps(rules[venue][1]) for venue in snapshot.venues["venue_id"]],
    )
    return Snapshot.from_tables(snapshot.tables | {"venues": venues})


@st.composite
def books_under_rules(draw: st.DrawFn) -> Snapshot:
    snapshot = draw(random_books())
    rules = {}
    for venue in ("v", "w"):
        # Maker's room is shared by its ilks; the reference knows one ilk only.
        name = draw(st.sampled_from(sorted(set(REFERENCED) - ({"maker"} if venue == "w" else set()))))
        rules[venue] = name, {key: draw(values) for key, values in REFERENCED[name].items()}
    return with_rules(snapshot, rules)


@st.composite
def troves(draw: st.DrawFn) -> Snapshot:
    """Accounts of one collateral and one debt, so that there is somebody to take over what is redistributed."""
    positions: list[Position] = []
    for _ in range(draw(st.integers(2, 7))):
        tokens = draw(st.floats(1, 100))
        owed = tokens * 2000 / 1.1 * draw(st.one_of(st.floats(0.2, 0.99), st.floats(1.01, 1.3)))
        positions.append(({"ETH": tokens}, {"USD": owed}))
    return make_snapshot(
        {"ETH": 2000.0, "USD": 1.0},
        positions,
        weights={"ETH": 1 / 1.1},
        depth={"ETH": draw(st.floats(50, 1e4))},
        rule=draw(st.sampled_from(["liquity_v1", "liquity_v2"])),
        parameters={"stability_pool_usd": draw(st.sampled_from([0.0, 1e4, 5e4, 2e5]))},
        venue_of=[draw(st.sampled_from("vvw")) for _ in positions],
    )


@given(st.one_of(books_under_rules(), troves()), SHOCKS, st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_every_rule_equals_the_slow_reference(
    snapshot: Snapshot, shocks: dict[str, float], sell: bool, buy: bool
) -> None:
    known = set(snapshot.assets["asset_id"])
    shocks = {asset: change for asset, change in shocks.items() if asset in known}
    scenario = Scenario("x", shocks, sell_collateral=sell, buy_debt=buy, max_rounds=12)
    result, expected = run_both(snapshot, scenario, tokens=1e-8)
    drawn = result.venues["buffer_drawn_usd"]
    assert drawn.to_dict() == pytest.approx({v: expected.drawn.get(v, 0.0) for v in drawn.index}, rel=1e-9, abs=1e-6)


@st.composite
def books_under_any_rule(draw: st.DrawFn) -> Snapshot:
    """Also crvusd and perps whose shorts are positions, all with small buffers."""
    snapshot = draw(random_books())
    names = {venue: draw(st.sampled_from(sorted(LIQUIDATION_RULES))) for venue in ("v", "w")}
    buffers = {
        "comet": "reserves_usd",
        "maker": "surplus_usd",
        "liquity_v1": "stability_pool_usd",
        "liquity_v2": "stability_pool_usd",
        "perp_full": "insurance_fund_usd",
        "perp_partial": "insurance_fund_usd",
    }
    parameters = {v: {buffers[n]: draw(USD)} if n in buffers else {} for v, n in names.items()}
    ruled = with_rules(snapshot, {venue: (names[venue], parameters[venue]) for venue in names})
    short = (ruled.legs["side"] == "debt") & (ruled.legs["asset_id"] != "USD") & draw(st.booleans())
    legs = ruled.legs.assign(weight=ruled.legs["weight"].mask(short, 1.05))
    return Snapshot.from_tables(ruled.tables | {"legs": legs})


@given(books_under_any_rule(), SHOCKS)
@settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_debt_and_collateral_are_conserved_under_every_rule(snapshot: Snapshot, shocks: dict[str, float]) -> None:
    """In tokens: repaid + remaining + bad = initial debt, of every asset; seized + remaining = initial collateral.

    Auto-deleveraging takes collateral of accounts that are not liquidated: there, no more than that is left.
    """
    result = run_contagion(snapshot, Scenario(shocks=shocks, max_rounds=12))
    book, assets = result.book, len(result.book.asset_ids)
    debt, held = np.zeros(assets), np.zeros(assets)
    np.add.at(debt, book.leg_asset[book.is_debt], result.amount[book.is_debt])
    np.add.at(held, book.leg_asset[~book.is_debt], result.amount[~book.is_debt])
    for done, bad, _ in result.rounds_recorded:
        np.add.at(debt, book.leg_asset[done.debt_leg], done.repaid)
        np.add.at(debt, book.leg_asset[bad["leg"]], bad["amount"])
        np.add.at(held, book.leg_asset[done.collateral_leg], done.seized)
        assert all((getattr(done, name) >= 0).all() for name in ("repaid", "seized", "sold", "bought", "moved"))
        assert (done.sold <= done.seized * (1 + 1e-12)).all()
    np.add.at(debt, book.leg_asset[result.bad_before["leg"]], result.bad_before["amount"])
    initial = [np.bincount(book.leg_asset[side], book.amount[side], assets) for side in (book.is_debt, ~book.is_debt)]
    assert debt == pytest.approx(initial[0], rel=1e-9, abs=1e-9)
    levied = result.venues["deleveraged_usd"].sum()
    if levied == 0:
        assert held == pytest.approx(initial[1], rel=1e-9, abs=1e-9)
    assert (held <= initial[1] * (1 + 1e-9) + 1e-9).all()
    assert (result.amount >= 0).all()
    assert result.summary()["bad_debt_usd"] >= 0
