"""Commands that look into snapshots: what they print is what the functions find."""

import json
from pathlib import Path

import pandas as pd
import pytest

from defi_leverage.snapshot import Snapshot
from defi_leverage.store import load_snapshot, save_snapshot
from tests.command_line import one_error, run


def found(*arguments: object) -> dict[str, list[dict[str, object]]]:
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    answer: dict[str, list[dict[str, object]]] = json.loads(out)
    return answer


@pytest.fixture
def fallen(tmp_path: Path) -> Path:
    """The sample with the oracle's price of WETH, and of what follows it, 4 % lower and every debt of DAI gone."""
    tables = load_snapshot("sample").tables
    weth = set(tables["assets"].loc[tables["assets"]["symbol"].isin(["WETH", "wstETH"]), "asset_id"])
    tables["feeds"] = tables["feeds"].assign(
        price_usd=[
            price * (0.96 if asset in weth else 1.0)
            for asset, price in zip(tables["feeds"]["asset_id"], tables["feeds"]["price_usd"], strict=True)
        ]
    )
    dai = set(tables["assets"].loc[tables["assets"]["symbol"] == "DAI", "asset_id"])
    gone = (tables["legs"]["side"] == "debt") & tables["legs"]["asset_id"].isin(dai)
    tables["legs"] = tables["legs"][~gone]
    return save_snapshot(Snapshot.from_tables(tables), tmp_path / "fallen")


def test_loops_of_the_graph_and_of_accounts() -> None:
    whole = found("loops", "sample", "--structural", "--most-legs", 1)["loops"]
    assert {row["legs"] for row in whole} == {1}
    assert whole[0]["limit_leverage"] == pytest.approx(1 / (1 - float(str(whole[0]["loan_to_value"]))))
    accounts = found("loops", "sample", "--accounts")["loops"]
    by_loop = pd.DataFrame(accounts).groupby("loop")["debt_usd"].sum().to_dict()
    for row in found("loops", "sample")["loops"]:
        assert by_loop[row["loop"]] == pytest.approx(row["debt_usd"])


def test_look_through_leverage_of_each_level() -> None:
    (system,) = found("lookthrough", "sample", "--level", "system")["rows"]
    venues = found("lookthrough", "sample")["rows"]
    assert [row["name"] for row in venues] == ["Core 3.0", "Core 3.2"]
    assert sum(float(str(row["debt_usd"])) for row in venues) == pytest.approx(system["debt_usd"])
    vaults = {str(row["name"]) for row in found("lookthrough", "sample", "--level", "vault")["rows"]}
    assert {"aUSDC", "aWETH"} <= vaults


def test_borrowed_collateral_and_where_it_was_borrowed() -> None:
    answer = found("financed", "sample")
    financed = sum(float(str(row["financed_usd"])) for row in answer["collateral"])
    assert financed == pytest.approx(sum(float(str(row["usd"])) for row in answer["flows"]))
    assert answer["collateral"][0]["asset"] == "wstETH"


def test_what_venues_do_to_each_other(tmp_path: Path) -> None:
    answer = found("contagion", "sample", "--shock", "WETH=-20%")
    ends = {(row["source"], row["target"]) for row in answer["collateral_loss_usd"]}
    assert ends == {("Core 3.0", "Core 3.2"), ("Core 3.2", "Core 3.0")}
    code, out, _ = run("contagion", "sample", "--shock", "WETH=-20%", "-o", tmp_path)
    assert code == 0
    assert "Core 3.2" in out
    written = pd.read_csv(tmp_path / "collateral_loss_usd.csv", index_col=0)
    of_table = sorted(float(str(row["usd"])) for row in answer["collateral_loss_usd"])
    assert sorted(float(str(written.iloc[at])) for at in ((0, 1), (1, 0))) == pytest.approx(of_table)
    assert (tmp_path / "collateral_loss_usd.png").read_bytes().startswith(b"\x89PNG")


def test_what_venues_do_to_each_other_are_edges(tmp_path: Path) -> None:
    code, _, _ = run("export", "sample", "-o", tmp_path / "g.json", "--accounts", 0, "--shock", "WETH=-20%")
    assert code == 0
    edges = json.loads((tmp_path / "g.json").read_text())["edges"]
    (caused,) = [edge for edge in edges if edge["kind"] == "causes"]
    assert (caused["level"], caused["source"].startswith("venue:")) == ("contagion", True)
    assert caused["usd"] == found("contagion", "sample", "--shock", "WETH=-20%")["lender_loss_usd"][0]["usd"]


def test_a_snapshot_does_not_differ_from_itself(fallen: Path) -> None:
    answer = found("diff", fallen, fallen)
    assert {row["change"] for row in answer["clusters"] + answer["loops"]} == {"steady"}
    assert answer["accounts"] == answer["bands"] == []


def test_what_changed_between_two_snapshots(fallen: Path) -> None:
    answer = found("diff", "sample", fallen)
    change = {row["name"]: row["change"] for row in answer["loops"]}
    assert change["USDC/DAI on Core 3.0"] == "vanished"
    assert change["DAI/USDC on Core 3.0"] == "steady"
    crossed = pd.DataFrame(answer["accounts"])["crossed"].value_counts()
    assert crossed["worse"] > 10
    assert crossed["vanished"] > 10  # who owed DAI alone owes nothing now
    moved = sum(int(str(row["accounts"])) for row in answer["bands"])
    assert moved == len(answer["accounts"])
    code, out, _ = run("diff", "sample", fallen)
    assert code == 0
    assert "vanished" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("diff", "sample", "sample", "--threshold", 0), "--threshold 0.0 must be above 0"),
        (("diff", "sample", "nowhere"), "nowhere"),
        (("contagion", "sample", "--shock", "WETH"), "write it as ASSET=CHANGE"),
        (("export", "sample", "-o", "x.json", "--accounts", "many"), "--accounts 'many' must be a whole number"),
    ],
)
def test_mistakes(arguments: tuple[object, ...], message: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert message in one_error(err)


def test_grouped_accounts_are_nodes(tmp_path: Path) -> None:
    code, out, _ = run("export", "sample", "-o", tmp_path / "g.json", "--accounts", "grouped", "--json")
    assert code == 0
    assert json.loads(out)["nodes"] < 200
    assert run("graph", "sample", "--accounts", "all")[0] == 0
