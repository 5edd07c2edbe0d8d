import math

import networkx as nx
import pandas as pd
import pytest

from defi_leverage.graph import build_graph, node_name
from defi_leverage.snapshot import Snapshot
from defi_leverage.synthetic import synthetic_book


def small_snapshot() -> Snapshot:
    """A looper, a borrower with an unused deposit, a supplier; a share and a coin that venues issue; an LP token."""
    return Snapshot.from_tables(
        {
            "assets": pd.DataFrame(
                [
                    ("eth", "ETH", "token", 2000.0),
                    ("lst", "wstETH", "lst", 2400.0),
                    ("usdc", "USDC", "usd", 1.0),
                    ("share", "aUSDC", "supply_share", 1.0),
                    ("coin", "DAI", "usd", 1.0),
                    ("lp", "ETH-USDC", "lp", 100.0),
                ],
                columns=["asset_id", "symbol", "kind", "price_usd"],
            ),
            "venues": pd.DataFrame(
                [("v", "Core", "full"), ("w", "", "full")], columns=["venue_id", "name", "liquidation_rule"]
            ).assign(protocol="test"),
            "accounts": pd.DataFrame([("a", "v"), ("b", "v"), ("c", "w")], columns=["account_id", "venue_id"]),
            "legs": pd.DataFrame(
                [
                    ("a", "collateral", "lst", 10.0, 0.9),
                    ("a", "debt", "eth", 9.0, 1.0),
                    ("b", "collateral", "eth", 5.0, 0.8),
                    ("b", "collateral", "lst", 1.0, 0.0),
                    ("b", "debt", "usdc", 3000.0, 1.0),
                    ("c", "collateral", "share", 500.0, 0.8),
                    ("c", "collateral", "coin", 200.0, 0.8),
                    ("c", "collateral", "lp", 4.0, 0.5),
                ],
                columns=["account_id", "side", "asset_id", "amount", "weight"],
            ),
            "backing": pd.DataFrame(
                [
                    ("lst", "eth", 1.2, "staked", ""),
                    ("share", "usdc", 1.0, "deposited", "v"),
                    ("coin", "eth", 0.001, "minted_against", "w"),
                    ("lp", "eth", 0.0375, "pooled", ""),
                    ("lp", "usdc", 25.0, "pooled", ""),
                ],
                columns=["asset_id", "underlying_id", "units", "kind", "venue_id"],
            ),
        }
    )


def test_a_small_snapshot_has_exactly_these_edges() -> None:
    graph = build_graph(small_snapshot(), accounts=1)
    found = sorted(
        (u, d["kind"], v, round(d["usd"], 6)) for u, v, d in graph.edges(data=True) if d["level"] == "market"
    )
    assert found == sorted(
        [
            ("asset:lst", "collateralises", "venue:v", 24_000.0),
            ("asset:eth", "collateralises", "venue:v", 10_000.0),
            ("asset:lst", "supplies", "venue:v", 2_400.0),
            ("venue:v", "borrows", "asset:eth", 18_000.0),
            ("venue:v", "borrows", "asset:usdc", 3_000.0),
            ("asset:share", "collateralises", "venue:w", 500.0),
            ("asset:coin", "collateralises", "venue:w", 200.0),
            ("asset:lp", "collateralises", "venue:w", 400.0),
            ("asset:eth", "wraps", "asset:lst", 26_400.0),
            ("asset:usdc", "wraps", "asset:share", 500.0),
            ("venue:v", "mints", "asset:share", 500.0),
            ("venue:w", "mints", "asset:coin", 200.0),
            ("asset:eth", "wraps", "asset:lp", 300.0),
            ("asset:usdc", "wraps", "asset:lp", 100.0),
        ]
    )
    drawn = sorted((u, d["kind"], v, d["usd"]) for u, v, d in graph.edges(data=True) if d["level"] == "account")
    assert drawn == [
        ("account:a", "borrows", "asset:eth", 18_000.0),
        ("asset:lst", "collateralises", "account:a", 24_000.0),
    ]


def test_nodes_carry_what_they_are() -> None:
    nodes = build_graph(small_snapshot(), accounts="all").nodes
    assert nodes["venue:v"] == {
        "type": "venue",
        "label": "Core",
        "venue_id": "v",
        "protocol": "test",
        "liquidation_rule": "full",
        "supplied_usd": 36_400.0,
        "collateral_usd": 34_000.0,
        "borrowed_usd": 21_000.0,
        "accounts": 2,
    }
    assert nodes["venue:w"]["label"] == "w"
    assert nodes["asset:lst"] | {"label": "wstETH", "kind": "lst", "price_usd": 2400.0} == nodes["asset:lst"]
    assert nodes["account:a"]["leverage"] == pytest.approx(24 / 6)
    assert nodes["account:a"]["health_factor"] == pytest.approx(0.9 * 24 / 18)
    assert "health_factor" not in nodes["account:c"]


def test_a_loop_is_a_cycle_at_both_levels() -> None:
    graph = build_graph(small_snapshot())
    for holder in ("venue:v", "account:a"):
        assert nx.is_path(graph, ["asset:lst", holder, "asset:eth", "asset:lst"])


def test_the_largest_accounts_are_drawn_whatever_the_order_of_rows() -> None:
    book = synthetic_book(300, seed=1)
    tables = {name: table.sample(frac=1, random_state=2) for name, table in book.tables.items()}
    one, other = build_graph(book, 20), build_graph(Snapshot.from_tables(tables), 20)
    assert set(one) == set(other)
    assert {key for *_, key in one.edges(keys=True)} == {key for *_, key in other.edges(keys=True)}
    debts = [data["debt_usd"] for _, data in one.nodes(data=True) if data["type"] == "account"]
    largest = sorted((d["debt_usd"] for _, d in build_graph(book, "all").nodes(data=True) if d["type"] == "account"))
    assert sorted(debts) == largest[-20:]


@pytest.mark.parametrize("accounts", [0, 30, "all"])
def test_edges_sum_to_the_legs(accounts: int | str) -> None:
    book = synthetic_book(400, seed=5)
    graph = build_graph(book, accounts)  # type: ignore[arg-type]
    usd = book.legs["amount"] * book.legs["feed_id"].map(book.feeds.set_index("feed_id")["price_usd"])
    expected = {
        "borrows": usd[book.legs["side"] == "debt"].sum(),
        "collateralises": usd[(book.legs["side"] == "collateral") & (book.legs["weight"] > 0)].sum(),
        "supplies": usd[(book.legs["side"] == "collateral") & (book.legs["weight"] == 0)].sum(),
    }
    for level in ["market", "account"] if accounts == "all" else ["market"]:
        for kind, total in expected.items():
            found = sum(d["usd"] for *_, d in graph.edges(data=True) if d["kind"] == kind and d["level"] == level)
            assert found == pytest.approx(total)


def test_every_attribute_is_a_plain_finite_python_value() -> None:
    graph = build_graph(synthetic_book(200, seed=2), "all")
    for data in [*(d for _, d in graph.nodes(data=True)), *(d for *_, d in graph.edges(data=True))]:
        for name, value in data.items():
            assert type(name) is str
            assert type(value) in (str, int, float)
            assert value if isinstance(value, str) else math.isfinite(value)
    keys = [key for *_, key in graph.edges(keys=True)]
    assert len(set(keys)) == len(keys)


def test_an_address_is_shortened_in_the_label_only() -> None:
    tables = small_snapshot().tables
    address = "eip155:1:0x" + "ab" * 20
    tables["accounts"] = tables["accounts"].replace("a", address)
    tables["legs"]["account_id"] = tables["legs"]["account_id"].replace("a", address)
    node = build_graph(Snapshot.from_tables(tables)).nodes[node_name("account", address)]
    assert node["label"] == "eip155:1:0xabab…abab"


def test_an_empty_book_has_a_graph_and_a_negative_number_has_none() -> None:
    assert build_graph(synthetic_book(0, seed=1)).number_of_edges() == len(synthetic_book(0, seed=1).backing) + 2
    with pytest.raises(ValueError, match="accounts=-1"):
        build_graph(small_snapshot(), -1)
