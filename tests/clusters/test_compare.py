"""Two snapshots side by side, by hand."""

import pandas as pd
import pytest

from defi_leverage.clusters.compare import (
    HEALTH_BANDS,
    compare_accounts,
    compare_rows,
    compare_snapshots,
    count_crossings,
)
from defi_leverage.snapshot import Snapshot
from tests.books import make_snapshot
from tests.clusters.test_ranking import PRICES, ladder


def of_factors(*factors: float | None) -> Snapshot:
    """Account i has 1 ETH and the debt that gives it this health factor; None: no debt."""
    return make_snapshot(
        PRICES, [({"ETH": 1.0}, {"USD": 1600.0 / factor} if factor is not None else {}) for factor in factors]
    )


def test_accounts_that_cross_a_band() -> None:
    before = of_factors(1.5, 1.2, 1.02, 0.9, 1.3, None, 1.07)
    after = of_factors(1.2, 1.2, 0.6, 1.3, 1.4, 1.2)
    table = compare_accounts(before, after).set_index("account_id")
    assert table["crossed"].to_dict() == {
        "a2": "worse",
        "a0": "worse",
        "a3": "better",
        "a5": "appeared",
        "a6": "vanished",
        "a1": "",
        "a4": "",
    }
    assert table.index.tolist()[:2] == ["a2", "a0"]  # the larger debt first
    assert table.loc[["a2"], ["band_before", "band_after"]].to_numpy().tolist() == [["1 to 1.05", "below 1"]]
    assert table["negative_equity"].to_dict() == {name: name == "a2" for name in table.index}
    counts = count_crossings(table)
    assert counts.to_numpy().sum() == 7
    assert counts["absent"].sum() == 1
    assert counts.index.tolist() == [
        "below 1", "1 to 1.05", "1.05 to 1.1", "1.1 to 1.25", "1.25 and above", "absent"
    ]  # fmt: skip


def test_an_account_at_an_edge_is_above_it() -> None:
    edge = make_snapshot({"ETH": 2000.0, "USD": 1.0}, [({"ETH": 1.0}, {"USD": 1600.0})])
    assert compare_accounts(edge, edge)["band_after"].tolist() == ["1 to 1.05"]
    assert compare_accounts(edge, edge, [0.5, 2])["band_after"].tolist() == ["0.5 to 2"]


@pytest.mark.parametrize("bands", [(), (1.0, 1.0), (1.1, 1.0), (0.0, 1.0)])
def test_bands_must_ascend(bands: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be positive and ascend"):
        compare_accounts(of_factors(1.2), of_factors(1.2), bands)


def test_rows_that_appeared_grew_shrank_vanished() -> None:
    before = pd.DataFrame({"id": ["a", "b", "c", "d"], "name": list("ABCD"), "usd": [100.0, 100.0, 100.0, 100.0]})
    after = pd.DataFrame({"id": ["a", "b", "c", "e"], "name": list("ABCE"), "usd": [111.0, 89.0, 110.0, 5.0]})
    table = compare_rows(before, after, ["id"], 0.1)
    assert table[["id", "name", "change"]].to_numpy().tolist() == [
        ["e", "E", "appeared"],
        ["d", "D", "vanished"],
        ["a", "A", "grew"],
        ["b", "B", "shrank"],
        ["c", "C", "steady"],
    ]
    assert table["growth"].tolist()[2:] == pytest.approx([0.11, -0.11, 0.1])


def test_two_snapshots() -> None:
    """ETH's market doubles, BTC's goes, and a loop of LST against ETH appears; two accounts are where they were."""
    depth = {"ETH": 4000.0, "BTC": 100.0}
    prices = PRICES | {"LST": 2100.0}
    backing = {"LST": ("ETH", 1.05)}
    steady = [({"ETH": 1.0}, {"USD": 1400.0}), ({"ETH": 1.0}, {"USD": 1500.0})]
    before = make_snapshot(
        prices, [*steady, *ladder("ETH", 2000.0, tokens=10), *ladder("BTC", 40000.0)], depth=depth, backing=backing
    )
    after = make_snapshot(
        prices,
        [*steady, *ladder("ETH", 2000.0, tokens=20), ({"LST": 10.0}, {"ETH": 7.0})],
        depth=depth,
        backing=backing,
    )
    search = {"band": 0.02, "largest_fall": 0.3}
    found = compare_snapshots(before, after, clusters=search)
    assert dict(zip(found.clusters["name"], found.clusters["change"], strict=True)) == {
        "BTC on v": "vanished",
        "ETH on v": "grew",
    }
    assert found.loops[["name", "change", "usd_before", "usd_after"]].to_numpy().tolist() == [
        ["LST/ETH on v", "appeared", 0.0, 21_000.0]
    ]
    assert set(found.accounts["account_id"]) == {f"a{number}" for number in range(62, 122)}
    assert found.bands.to_numpy().sum() == 122
    assert found.lineage["change"].tolist() == ["kept", "vanished"]
    nothing = compare_snapshots(before, before, clusters=search)
    assert set(nothing.clusters["change"]) == {"steady"}
    assert nothing.accounts.empty
    assert len(HEALTH_BANDS) + 2 == len(nothing.bands)
    with pytest.raises(ValueError, match="threshold 0 must be above 0"):
        compare_snapshots(before, after, threshold=0)
