"""Names of clusters over several scans: overlaps by hand."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.clusters.ids import LINEAGE_COLUMNS, keep_cluster_ids, trace_clusters
from defi_leverage.clusters.ranking import cluster_members, find_clusters
from tests.books import make_snapshot
from tests.clusters.test_ranking import PRICES, ladder

Clusters = dict[str, dict[str, float]]


def table(clusters: Clusters) -> pd.DataFrame:
    rows = [(name, account, usd) for name, accounts in clusters.items() for account, usd in accounts.items()]
    return pd.DataFrame(rows, columns=["cluster_id", "account_id", "collateral_usd"])


def test_an_identifier_stays_while_half_of_the_usd_does() -> None:
    previous = table({"old": {"a": 60.0, "b": 40.0}})
    assert keep_cluster_ids(table({"0": {"a": 50.0, "c": 900.0}}), previous) == {"0": "old"}
    assert keep_cluster_ids(table({"0": {"a": 49.0, "c": 900.0}}), previous)["0"] != "old"
    # what an account gained since is not what stayed
    assert keep_cluster_ids(table({"0": {"b": 4000.0}}), previous)["0"] != "old"


def test_the_largest_overlap_takes_the_identifier() -> None:
    previous = table({"x": {"a": 50.0, "b": 50.0}, "y": {"c": 10.0}})
    merged = keep_cluster_ids(table({"0": {"a": 50.0, "b": 50.0, "c": 10.0}}), previous)
    assert merged == {"0": "x"}
    split = keep_cluster_ids(table({"0": {"a": 50.0}, "1": {"b": 50.0}, "2": {"c": 10.0}}), previous)
    assert (split["0"], split["2"]) == ("x", "y")
    assert split["1"] not in {"x", "y"}


def test_new_identifiers_depend_on_the_accounts_alone() -> None:
    one = keep_cluster_ids(table({"0": {"a": 1.0, "b": 2.0}, "1": {"c": 1.0}}))
    other = keep_cluster_ids(table({"7": {"c": 5.0}, "3": {"b": 3.0, "a": 9.0}}), table({"old": {"z": 1.0}}))
    assert one["0"] == other["3"]
    assert one["1"] == other["7"]
    # the same accounts with less than half of their USD are another cluster than before
    assert (
        keep_cluster_ids(table({"0": {"a": 0.1, "b": 0.1}}), table({one["0"]: {"a": 1.0, "b": 2.0}}))["0"] != one["0"]
    )


def test_splits_and_mergers_are_stated() -> None:
    previous = table({"x": {"a": 60.0, "b": 40.0}, "y": {"c": 100.0}, "gone": {"z": 5.0}})
    members = table({"x": {"a": 60.0, "new": 1.0}, "n": {"b": 40.0, "c": 40.0}, "fresh": {"f": 1.0}})
    lineage = trace_clusters(previous, members)
    assert lineage.columns.tolist() == list(LINEAGE_COLUMNS)
    assert {(row.previous_id, row.cluster_id): row.change for row in lineage.itertuples()} == {
        ("x", "x"): "kept",
        ("x", "n"): "split",
        ("y", "n"): "merged",
        ("gone", ""): "vanished",
        ("", "fresh"): "appeared",
    }
    part = lineage.loc[lineage["change"] == "split", ["overlap_usd", "share_of_previous", "share_of_current"]]
    assert part.to_numpy().tolist() == [[40.0, 0.4, 0.5]]


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.sampled_from("xyz"), st.floats(0.1, 100)), min_size=1))
def test_an_unchanged_scan_keeps_every_identifier(where: dict[str, tuple[str, float]]) -> None:
    clusters: Clusters = {}
    for account, (name, usd) in where.items():
        clusters.setdefault(name, {})[account] = usd
    members = table(clusters)
    assert keep_cluster_ids(members, members) == {name: name for name in clusters}
    ids = keep_cluster_ids(members)
    assert len(set(ids.values())) == len(clusters)
    assert set(trace_clusters(members, members)["change"]) == {"kept"}


def test_clusters_of_two_scans_keep_their_identifiers() -> None:
    """ETH's accounts shrink by a third, BTC's go but for a quarter: one goes on, the other is new."""
    depth = {"ETH": 2000.0, "BTC": 100.0}
    venues = ["v"] * 60 + ["w"] * 60
    arguments = {"band": 0.02, "largest_fall": 0.3}
    before = make_snapshot(
        PRICES, ladder("ETH", 2000.0, tokens=20) + ladder("BTC", 40000.0), depth=depth, venue_of=venues
    )
    old = find_clusters(before, **arguments)  # type: ignore[arg-type]
    members = cluster_members(before, old)
    after = make_snapshot(
        PRICES,
        ladder("ETH", 2000.0, tokens=14) + ladder("BTC", 40000.0, tokens=0.25),
        depth=depth,
        venue_of=venues,
    )
    new = find_clusters(after, previous=members, **arguments)  # type: ignore[arg-type]
    ids = [dict(zip(scan["cluster"], scan["cluster_id"], strict=True)) for scan in (old, new)]
    assert ids[0]["ETH on v"] == ids[1]["ETH on v"]
    assert ids[0]["BTC on w"] != ids[1]["BTC on w"]
    assert members.groupby("cluster_id")["share"].sum().to_numpy() == pytest.approx(1.0)
