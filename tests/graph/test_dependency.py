import math

import networkx as nx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.graph.account_groups import OTHERS, group_accounts
from defi_leverage.graph.dependency import build_graph, node_name
from defi_leverage.health import account_health
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


@pytest.mark.parametrize("accounts", [0, 30, "all", "grouped"])
def test_edges_sum_to_the_legs(accounts: int | str) -> None:
    book = synthetic_book(400, seed=5)
    graph = build_graph(book, accounts, groups=20)  # type: ignore[arg-type]
    usd = book.legs["amount"] * book.legs["feed_id"].map(book.feeds.set_index("feed_id")["price_usd"])
    expected = {
        "borrows": usd[book.legs["side"] == "debt"].sum(),
        "collateralises": usd[(book.legs["side"] == "collateral") & (book.legs["weight"] > 0)].sum(),
        "supplies": usd[(book.legs["side"] == "collateral") & (book.legs["weight"] == 0)].sum(),
    }
    for level in {"all": ["market", "account"], "grouped": ["market", "group"]}.get(str(accounts), ["market"]):
        for kind, total in expected.items():
            found = sum(d["usd"] for *_, d in graph.edges(data=True) if d["kind"] == kind and d["level"] == level)
            assert found == pytest.approx(total)


def test_a_small_snapshot_in_groups() -> None:
    tables = small_snapshot().tables
    twin = tables["legs"][tables["legs"]["account_id"] == "a"].assign(account_id="d", amount=[20.0, 30.0])
    tables["accounts"] = pd.DataFrame({"account_id": list("abcd"), "venue_id": list("vvwv")})
    tables["legs"] = pd.concat([tables["legs"], twin])
    graph = build_graph(Snapshot.from_tables(tables), "grouped", groups=2)
    groups = {data["label"]: data for _, data in graph.nodes(data=True) if data["type"] == "group"}
    assert set(groups) == {"wstETH/ETH on Core", "ETH/USDC on Core", "others on w"}
    loopers = groups["wstETH/ETH on Core"]
    assert loopers["accounts"] == 2
    assert (loopers["supplied_usd"], loopers["debt_usd"], loopers["equity_usd"]) == (72_000, 78_000, -6_000)
    # of a (24,000 against 18,000) alone: d owes 60,000 on 48,000 and has no leverage
    assert loopers["leverage"] == pytest.approx(4)
    assert loopers["negative_equity_accounts"] == 1
    assert loopers["lowest_health_factor"] == pytest.approx(0.9 * 48 / 60)
    node = node_name("group", "v | lst | eth")
    assert graph.edges["asset:lst", node, f"asset:lst collateralises {node}"]["usd"] == 72_000
    assert graph.edges[node, "asset:eth", f"{node} borrows asset:eth"]["accounts"] == 2
    # what b supplies beside its collateral is no part of the set, but of the flows
    other = node_name("group", "v | eth | usdc")
    assert graph.edges["asset:lst", other, f"asset:lst supplies {other}"]["usd"] == 2_400
    assert nx.is_path(graph, ["asset:lst", node, "asset:eth", "asset:lst"])


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([0, 7, 10_000]))
def test_groups_are_what_a_slow_count_gives(seed: int, most: int) -> None:
    book = synthetic_book(120, seed)
    sets: dict[str, tuple[set[str], set[str]]] = {account: (set(), set()) for account in book.accounts["account_id"]}
    for leg in book.legs.to_dict("records"):
        if leg["weight"] > 0:
            sets[leg["account_id"]][leg["side"] == "debt"].add(leg["asset_id"])
    venue = dict(zip(book.accounts["account_id"], book.accounts["venue_id"], strict=True))
    slow: dict[tuple[str, str, str], list[str]] = {}
    for account, (held, owed) in sets.items():
        slow.setdefault((venue[account], " ".join(sorted(held)), " ".join(sorted(owed))), []).append(account)
    groups, group = group_accounts(book, most)
    names = list(zip(groups["venue_id"], groups["collateral"], groups["debt"], strict=True))
    assert len(set(names)) == len(names)
    health = account_health(book)
    for number, account in enumerate(health.index):
        name = names[group[number]]
        assert account in slow[name] if name[1] != OTHERS else name[0] == venue[account]
    alone = groups[groups["collateral"] != OTHERS]
    assert len(alone) == min(most, len(slow))
    debts = sorted((health.loc[members, "debt_usd"].sum() for members in slow.values()), reverse=True)
    assert alone["debt_usd"].tolist() == pytest.approx(debts[: len(alone)])
    assert groups["accounts"].sum() == 120
    assert groups[["supplied_usd", "debt_usd"]].sum().tolist() == pytest.approx(
        health[["supplied_usd", "debt_usd"]].sum().tolist()
    )
    mixed = Snapshot.from_tables({name: table.sample(frac=1, random_state=seed) for name, table in book.tables.items()})
    pd.testing.assert_frame_equal(group_accounts(mixed, most)[0], groups, rtol=1e-9)


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
    assert build_graph(synthetic_book(0, seed=1), "grouped").number_of_nodes() == 36 + 4
    with pytest.raises(ValueError, match="accounts=-1"):
        build_graph(small_snapshot(), -1)
    with pytest.raises(ValueError, match="accounts='group' must be 'all', 'grouped' or a number"):
        build_graph(small_snapshot(), "group")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="groups=-1"):
        build_graph(small_snapshot(), "grouped", groups=-1)
