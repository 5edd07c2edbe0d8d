"""Look-through leverage of a snapshot, level by level, on books whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.graph.look_through import look_through_leverage
from defi_leverage.health import account_health
from defi_leverage.snapshot import Snapshot
from defi_leverage.synthetic import synthetic_book
from tests.books import Position, cell, make_snapshot


def issued(
    positions: dict[str, tuple[str, Position]],
    tokens: tuple[str, ...] = (),
    backing: tuple[tuple[str, str, float, str], ...] = (),
) -> Snapshot:
    """Accounts named by their owner, each at a venue; tokens at 1 USD, some of whose contracts own an account."""
    names = ["ETH", "USD", *tokens]
    book = make_snapshot(
        dict.fromkeys(names, 1.0), [position for _, position in positions.values()],
        venue_of=[venue for venue, _ in positions.values()],
    )  # fmt: skip
    accounts = book.accounts.assign(owner=list(positions))
    rows = pd.DataFrame(backing, columns=["asset_id", "underlying_id", "units", "kind"])
    return Snapshot.from_tables(book.tables | {"accounts": accounts} | ({"backing": rows} if backing else {}))


# equity 1000, 100, 40, 10, of which the next holds 300, 50, 40
CHAIN = issued(
    {
        "T0": ("v", ({"ETH": 1000.0}, {})),
        "T1": ("v", ({"T0": 300.0}, {"USD": 200.0})),
        "T2": ("w", ({"T1": 50.0, "ETH": 50.0}, {"USD": 60.0})),
        "someone": ("w", ({"T2": 40.0}, {"USD": 30.0})),
    },
    ("T0", "T1", "T2"),
)


def test_a_chain_of_leveraged_vaults() -> None:
    accounts = look_through_leverage(CHAIN, "account")
    assert accounts["direct_leverage"].tolist() == pytest.approx([1, 3, 2.5, 4], abs=1e-6)
    assert accounts["look_through_leverage"].tolist() == pytest.approx([1, 3, 5, 20], abs=1e-6)
    assert accounts["equity_usd"].tolist() == pytest.approx([1000, 100, 40, 10])
    assert accounts["claims_usd"].tolist() == pytest.approx([0, 300, 50, 40])
    vaults = look_through_leverage(CHAIN, "vault")
    assert vaults["look_through_leverage"].to_dict() == pytest.approx({"T0": 1, "T1": 3, "T2": 5}, abs=1e-6)
    assert accounts.attrs["notices"] == []


def test_venues_and_the_system_take_out_what_they_hold_of_themselves() -> None:
    system = look_through_leverage(CHAIN)
    # base 1000 + 50; of the equity of 1150, 300 + 50 + 40 are held inside
    assert cell(system, "system", "base_usd") == pytest.approx(1050)
    assert cell(system, "system", "claims_usd") == pytest.approx(390)
    assert cell(system, "system", "outside_equity_usd") == pytest.approx(760)
    assert cell(system, "system", "look_through_leverage") == pytest.approx(1050 / 760)
    assert cell(system, "system", "direct_leverage") == pytest.approx(1440 / 1150)
    venues = look_through_leverage(CHAIN, "venue")
    assert cell(venues, "v", "look_through_leverage") == pytest.approx(1000 / 800)  # T1 holds 300 of T0 within
    # w: T2 (40, all held by someone at w) and someone (10); what stands behind someone's 10 is 200
    assert cell(venues, "w", "outside_equity_usd") == pytest.approx(10)
    assert cell(venues, "w", "look_through_leverage") == pytest.approx(20)
    assert venues["accounts"].tolist() == [2, 2]


def test_vaults_that_hold_each_other() -> None:
    # the cycle of test_cross_holdings: 50 of B in A, 60 of A in B, A owes 40; B owes 20 and has 20 more
    book = issued(
        {
            "A": ("v", ({"ETH": 100.0, "B": 50.0}, {"USD": 40.0})),
            "B": ("v", ({"ETH": 120.0, "A": 60.0}, {"USD": 20.0})),
        },
        ("A", "B"),
    )
    a, b = look_through_leverage(book, "account")["look_through_leverage"]
    assert a == pytest.approx((100 / 110 + 50 / 110 * 120 / 160) / (1 - 50 / 110 * 60 / 160), abs=1e-6)
    assert b == pytest.approx((120 / 160 + 60 / 160 * 100 / 110) / (1 - 50 / 110 * 60 / 160), abs=1e-6)
    system = look_through_leverage(book)
    assert cell(system, "system", "outside_equity_usd") == pytest.approx(220 - 60)
    assert cell(system, "system", "look_through_leverage") == pytest.approx(220 / 160)


def test_tokens_pass_through_what_they_are_made_of() -> None:
    # W is half LV (leverage 3) and half ETH; WW is W wrapped
    book = issued(
        {"LV": ("v", ({"ETH": 300.0}, {"USD": 200.0})), "b": ("v", ({"WW": 20.0}, {"USD": 10.0}))},
        ("LV", "W", "WW"),
        (("W", "LV", 0.5, "pooled"), ("W", "ETH", 0.5, "pooled"), ("WW", "W", 1.0, "wraps")),
    )
    vaults = look_through_leverage(book, "vault")
    assert vaults["look_through_leverage"].to_dict() == pytest.approx({"LV": 3, "W": 2, "WW": 2})
    assert vaults["direct_leverage"].to_dict() == pytest.approx({"LV": 3, "W": 1, "WW": 1})
    accounts = look_through_leverage(book, "account")
    assert accounts["look_through_leverage"].tolist() == pytest.approx([3, 4])
    system = look_through_leverage(book)
    # 10 of LV's 100 are inside: base 300 + 10, equity 100 - 10 + 10
    assert cell(system, "system", "look_through_leverage") == pytest.approx(310 / 100)


def test_a_token_of_its_contract_by_the_ecosystems_identifiers() -> None:
    address = "0x" + "Ab" * 20
    token = f"eip155:1/erc20:{address}"
    book = issued(
        {
            f"eip155:1:{address.lower()}": ("v", ({"ETH": 300.0}, {"USD": 200.0})),
            "b": ("v", ({token: 20.0}, {"USD": 10.0})),
        },
        (token,),
    )
    assert look_through_leverage(book, "account")["look_through_leverage"].tolist() == pytest.approx([3, 6])
    # a strategy whose accounts belong to the vault
    other = Snapshot.from_tables(book.tables | {"accounts": book.accounts.assign(owner=["strategy", "b"])})
    owners = pd.Series({"a0": f"eip155:1:{address}", "a1": "b"})
    assert look_through_leverage(other, "account")["look_through_leverage"].tolist() == pytest.approx([3, 2])
    assert look_through_leverage(other, "account", owners)["look_through_leverage"].tolist() == pytest.approx([3, 6])


def test_what_a_vault_must_hold_elsewhere_is_said_and_has_no_debt() -> None:
    book = issued(
        {"LV": ("v", ({"ETH": 300.0}, {"USD": 200.0})), "b": ("v", ({"LV": 400.0}, {}))}, ("LV",)
    )  # fmt: skip
    accounts = look_through_leverage(book, "account")
    assert accounts["look_through_leverage"].tolist() == pytest.approx([3, 600 / 400])
    assert accounts.attrs["notices"] == [
        "LV: 400 USD of it are held here, its accounts here are worth 100 USD; the rest counts as held without debt, "
        "so its leverage is at least what is shown"
    ]
    # the account of the issuer is held to a quarter by b; b's 600 of base are 300 of it and 300 from elsewhere
    assert cell(look_through_leverage(book), "system", "outside_equity_usd") == pytest.approx(100 + 400 - 100)
    assert cell(look_through_leverage(book), "system", "look_through_leverage") == pytest.approx(600 / 400)


def test_what_has_no_figure_is_counted_apart() -> None:
    book = issued(
        {
            "LV": ("v", ({"ETH": 100.0}, {"USD": 150.0})),
            "b": ("v", ({"LV": 10.0}, {"USD": 1.0})),
            "c": ("v", ({"LOOP": 10.0}, {})),
            "d": ("w", ({"ETH": 10.0}, {"USD": 5.0})),
            "e": ("w", ({}, {"USD": 5.0})),
        },
        ("LV", "LOOP", "BACK"),
        (("LOOP", "BACK", 1.0, "wraps"), ("BACK", "LOOP", 1.0, "wraps")),
    )
    accounts = look_through_leverage(book, "account")
    assert accounts["status"].tolist() == [
        "negative equity", "claim without value", "claim without value", "", "negative equity"
    ]  # fmt: skip
    assert accounts["look_through_leverage"].isna().tolist() == [True, True, True, False, True]
    assert look_through_leverage(book, "vault")["status"].to_dict() == {
        "LV": "negative equity", "LOOP": "endless cycle", "BACK": "endless cycle"
    }  # fmt: skip
    system = look_through_leverage(book)
    assert cell(system, "system", "look_through_leverage") == pytest.approx(2)
    assert cell(system, "system", "left_out_accounts") == 4
    assert cell(system, "system", "left_out_debt_usd") == pytest.approx(156)
    venues = look_through_leverage(book, "venue")
    assert np.isnan(cell(venues, "v", "look_through_leverage"))
    assert cell(venues, "w", "look_through_leverage") == pytest.approx(2)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_without_leveraged_vaults_it_is_the_direct_leverage(seed: int) -> None:
    book = synthetic_book(60, seed)
    accounts, health = look_through_leverage(book, "account"), account_health(book)
    assert np.allclose(accounts["look_through_leverage"], health["leverage"], equal_nan=True)
    solvent = health[health["equity_usd"] > 0]
    system = look_through_leverage(book)
    aggregate = solvent["supplied_usd"].sum() / solvent["equity_usd"].sum()
    assert cell(system, "system", "look_through_leverage") == pytest.approx(aggregate)


def test_an_empty_book_and_another_level() -> None:
    empty = synthetic_book(0, seed=1)
    assert look_through_leverage(empty, "account").empty
    assert np.isnan(cell(look_through_leverage(empty), "system", "look_through_leverage"))
    with pytest.raises(ValueError, match="level='pool'"):
        look_through_leverage(empty, "pool")  # type: ignore[arg-type]
