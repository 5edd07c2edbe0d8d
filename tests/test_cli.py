"""The command line: what each command answers to people and to machines, and each mistake's line and exit code."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import defi_leverage
from defi_leverage.commands.console import usd
from defi_leverage.snapshot import Snapshot
from defi_leverage.store import save_snapshot
from defi_leverage.summary import describe_leverage, plain
from tests.books import make_snapshot
from tests.command_line import one_error, run

COMMANDS = ("scan", "run", "graph", "loops", "shock", "stress", "clusters", "export", "import")


def book() -> Snapshot:
    """Four loopers of wstETH against WETH, four borrowers of USDC against WETH, one supplier."""
    return make_snapshot(
        {"WETH": 2000.0, "wstETH": 2400.0, "USDC": 1.0},
        [
            *(({"wstETH": 100.0}, {"WETH": 90.0 + 2 * number}) for number in range(4)),
            *(({"WETH": 100.0}, {"USDC": 130_000.0 + 5_000 * number}) for number in range(4)),
            ({"WETH": 5.0}, {}),
        ],
        weights={"wstETH": 0.95},
        depth={"WETH": 2000.0, "wstETH": 5000.0},
        quotes={"wstETH": "WETH"},
        backing={"wstETH": ("WETH", 1.2)},
        ratio_feeds=True,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return save_snapshot(book(), tmp_path / "book")


def from_json(*arguments: object) -> Any:
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_usd() -> None:
    written = {1.234e6: "$1.23M", 999_999.0: "$1.00M", 1234: "$1.23K", 456: "$456", 1.5: "$1.50", -7_800: "-$7.80K"}
    assert {value: usd(value) for value in written} == written
    assert (usd(None), usd(0), usd(-0.001), usd(2.5e12)) == ("-", "$0.00", "$0.00", "$2.50T")


def test_loops(folder: Path) -> None:
    found = from_json("loops", folder)["loops"]
    assert [(row["collateral_asset_id"], row["debt_asset_id"], row["accounts"]) for row in found] == [
        ("wstETH", "WETH", 4)
    ]
    code, out, _ = run("loops", folder)
    assert code == 0
    assert "wstETH/WETH" in out
    assert max(map(len, out.splitlines())) <= 80


def test_shock(folder: Path) -> None:
    found = from_json("shock", folder, "--shock", "WETH=-20%")
    assert found["converged"] is True
    assert found["accounts_liquidated"] >= 1
    assert sum(row["accounts"] for row in found["by_round"]) >= found["accounts_liquidated"]
    weth = next(row for row in found["prices"] if row["symbol"] == "WETH")
    assert weth["shocked_usd"] == pytest.approx(1600)
    assert weth["final_usd"] < 1600
    still = from_json("shock", folder, "--shock", "WETH=-0.2", "--no-selling")
    assert next(row for row in still["prices"] if row["symbol"] == "WETH")["final_usd"] == pytest.approx(1600)
    deeper = from_json("shock", folder, "--shock", "WETH=-20%", "--depth-multiplier", "10")
    assert next(row for row in deeper["prices"] if row["symbol"] == "WETH")["final_usd"] > weth["final_usd"]


def test_a_depeg_on_the_market_is_not_an_oracle_fault(folder: Path) -> None:
    market = from_json("shock", folder, "--shock", "wstETH=-20%")
    oracle = from_json("shock", folder, "--shock", "feed:wstETH=-20%")
    assert market["accounts_liquidated"] == 0
    assert oracle["accounts_liquidated"] == 3
    assert market["amplification"] is not None
    assert oracle["amplification"] is None  # nothing fell by the shock itself: null, not NaN


def test_leverage_is_quantiles_and_negative_equity_is_counted_apart() -> None:
    sunk = make_snapshot({"A": 1.0, "B": 1.0}, [({"A": 100}, {"B": 50}), ({"A": 100}, {"B": 120}), ({"A": 10}, {})])
    found = plain(describe_leverage(sunk))
    assert (found["borrowers"], found["without_debt"], found["negative_equity_accounts"]) == (2, 1, 1)
    assert found["negative_equity_usd"] == -20
    assert found["aggregate_leverage"] == 2
    assert set(found["leverage"].values()) == {2.0}
    assert found["liquidatable_accounts"] == 1


def test_what_json_does_not_know() -> None:
    odd = {"a": np.float64("nan"), "b": np.inf, "c": np.int64(3), "d": (Path("x"), pd.DataFrame({"e": [1.5, np.nan]}))}
    assert plain(odd) == {"a": None, "b": None, "c": 3, "d": ["x", [{"e": 1.5}, {"e": None}]]}


def test_graph_clusters_and_export(folder: Path) -> None:
    graph = from_json("graph", folder, "--accounts", "3")
    assert graph["nodes"] == {"asset": 3, "account": 3, "venue": 1}
    assert "clusters" in from_json("clusters", folder)
    for name in ("graphml", "gexf", "json"):
        code, out, _ = run("export", folder, "-o", f"graph.{name}")
        assert (code, Path(f"graph.{name}").stat().st_size > 0) == (0, True)
        assert f"({name})" in out
    assert from_json("export", folder, "--format", "json", "-o", "graph.txt")["format"] == "json"


def test_import_from_the_template(folder: Path) -> None:
    code, template, _ = run("import", "--template")
    Path("positions.csv").write_text(template)
    found = from_json("import", "positions.csv", "-o", "mine")
    assert code == 0
    assert (found["snapshot"], found["complete"], found["leverage"]["accounts"]) == ("mine", True, 2)
    code, out, _ = run("loops", "mine")
    assert (code, "wstETH/ETH" in out) == (0, True)
    assert run("import", "positions.csv", "-o", "mine")[0] == 0  # the same again
    Path("positions.csv").write_text(template.replace("90000", "80000"))
    code, _, err = run("import", "positions.csv", "-o", "mine")
    assert code == 2
    assert "mine already exists and is not changed" in one_error(err)


@pytest.fixture
def sample(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word `sample` means the book of these tests."""
    monkeypatch.setattr("defi_leverage.store._SAMPLE_FOLDER", folder)


def test_the_whole_job(sample: None) -> None:
    code, out, _ = run("run")
    assert code == 0
    for title in ("Venues", "quantiles", "Loops", "Scenarios", "Systemic leverage clusters", "summary.json"):
        assert title in out
    assert max(map(len, out.splitlines())) <= 80
    summary = json.loads(Path("out/summary.json").read_text())
    parts = {"snapshot", "complete", "interrupted", "venues", "leverage", "loops", "scenarios", "clusters", "stress"}
    assert set(summary) == parts | {"files"}
    refused = summary["stress"]["refused"]
    assert list(refused) == ["grid WETH by WBTC"]  # the book of these tests has none
    assert "no asset 'WBTC'" in refused["grid WETH by WBTC"]
    assert len(summary["stress"]["scenarios"]) == summary["stress"]["finished"] == 12
    assert summary["leverage"]["borrowers"] == 8
    assert summary["leverage"]["negative_equity_accounts"] == 0
    assert all(Path(file).is_file() for file in summary["files"])
    names = sorted(path.name for path in Path("out").iterdir())
    assert [name for name in names if not name.startswith("undated-")] == [
        "gain.png",
        "graph.gexf",
        "graph.graphml",
        "graph.json",
        "graph.png",
        "leverage.png",
        "measures",
        "rounds.png",
        "stress",
        "summary.json",
    ]
    assert Path("out/stress/ladder_1.png").is_file()  # the one ladder of the job
    assert pd.read_parquet("out/measures/positions.parquet")["leverage"].notna().sum() == 8
    content = {path: path.read_bytes() for path in Path("out").glob("*.*")}
    assert from_json("run") == summary
    assert {path: path.read_bytes() for path in Path("out").glob("*.*")} == content


def test_a_scenario_that_does_not_fit_is_said_and_the_others_run(sample: None) -> None:
    Path("config.toml").write_text(
        '[[scenarios]]\nname = "other"\nshocks = { WBTC = "-10%" }\n[[scenarios]]\nname = "x"\nshocks = { WETH = -0.1 }'
    )
    code, out, _ = run("run", "--output", "here")
    assert code == 0
    assert "other: not run: no asset 'WBTC'" in out
    first, second = json.loads(Path("here/summary.json").read_text())["scenarios"]
    assert "WBTC" in first["error"]
    assert second["converged"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("shock", "book", "--shock", "WEHT=-10%"),
            2,
            "no asset 'WEHT' in this snapshot; did you mean WETH? it has USDC, WETH, wstETH",
        ),
        (("shock", "book", "--shock", "WETH=-130%"), 2, "a change must be above -100 %"),
        (("shock", "book", "--shock", "WETH=-100%"), 2, "a change must be above -100 %"),
        (("shock", "book", "--shock", "WETH=-1.3"), 2, "a change must be above -100 %"),
        (("shock", "book", "--shock", "WETH=nan"), 2, "'nan' is not a change; write it as -30% or -0.3"),
        (("shock", "book", "--shock", "WETH"), 2, "write it as ASSET=CHANGE"),
        (("shock", "book", "--shock", "feed:no=-1%"), 2, "no asset 'no' in this snapshot"),
        (
            ("shock", "book", "--shock", "WETH=-1%", "--depth-multiplier", "-1"),
            2,
            "shock.depth_multiplier = -1.0: must be a number above 0",
        ),
        (("shock", "book"), 2, "shock needs --shock ASSET=CHANGE"),
        (("loops", "nowhere"), 2, "nowhere: no such folder; name a snapshot's folder, or the word sample"),
        (("loops", "."), 2, "did you mean book?"),
        (("export", "book", "-o", "graph.xyz"), 2, "add --format with one of graphml, gexf, json"),
        (("export", "book", "-o", "no/such/graph.json"), 2, "cannot write no/such/graph.json"),
        (("import",), 2, "import needs a file and -o DIR"),
        (("import", "nowhere.csv", "-o", "x"), 2, "nowhere.csv: no such file"),
        (("scan", "--config", "nowhere.toml"), 2, "nowhere.toml: no such file"),
        (("scan", "--block", "newest"), 2, "block 'newest' is not latest, finalized or a block number"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], code: int, message: str, folder: Path) -> None:
    found, out, err = run(*arguments)
    assert found == code
    assert message in one_error(err)
    assert out == ""


def test_an_unknown_key_of_the_configuration(folder: Path) -> None:
    Path("config.toml").write_text("outptu = 'x'")
    code, _, err = run("run")
    assert (code, one_error(err)) == (2, "error: config.toml: outptu is not a known key; did you mean output?")


def test_damaged_and_older_snapshots(folder: Path) -> None:
    legs = folder / "legs.parquet"
    content = legs.read_bytes()
    legs.write_bytes(content[:-100])
    code, _, err = run("loops", folder)
    assert code == 2
    assert f"legs.parquet is truncated: {len(content) - 100:,} of {len(content):,} bytes" in one_error(err)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 1', '"schema_version": 0'))
    code, _, err = run("loops", folder)
    assert code == 2
    assert "has schema version 0, this version of defi-leverage reads 1; scan or import again" in one_error(err)


@pytest.mark.parametrize("arguments", [("lops", "book"), ("loops",), ("loops", "book", "--jsn"), ("stress",)])
def test_usage_errors_exit_2(arguments: tuple[str, ...], folder: Path) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_a_defect_is_one_line_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("surprise")

    monkeypatch.setattr("defi_leverage.store.load_snapshot", broken)
    code, _, err = run("loops", "book")
    assert code == 1
    assert "unexpected RuntimeError: surprise; please report it" in one_error(err)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            PermissionError(13, "Permission denied", "locked/legs"),
            "error: locked/legs: Permission denied; check the path",
        ),
        (
            OSError(28, "No space left on device"),
            "error: No space left on device; check the path, who may use it, and the room",
        ),
    ],
)
def test_what_the_machine_refuses_is_no_defect(
    error: OSError, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("defi_leverage.store.load_snapshot", refuse)
    code, _, err = run("loops", "book")
    assert code == 2
    assert one_error(err).startswith(message)


def test_an_error_cannot_steer_the_terminal(folder: Path) -> None:
    assert one_error(run("loops", "\x1b[31mx\n\x07")[2]).startswith("error: \ufffd[31mx \ufffd: no such folder")


def test_names_that_the_terminal_cannot_show(folder: Path) -> None:
    rows = "a,v,collateral,USD₮0,9,1,0.9,0.05", "a,v,debt,ETH,0.001,2000,,"
    Path("p.csv").write_text(f"{run('import', '--template')[1].splitlines()[-5].split(',kind')[0]}\n" + "\n".join(rows))
    assert run("import", "p.csv", "-o", "mine")[0] == 0

    def shown(*arguments: str) -> str:
        program = [sys.executable, "-c", "from defi_leverage.cli import main; main()", *arguments]
        environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(__file__).parent.parent)}
        return subprocess.run(program, capture_output=True, check=True, env=environment).stdout.decode("ascii")

    assert "USD?0" in shown("shock", "mine", "--shock", "USD₮0=-1%")
    prices = json.loads(shown("shock", "mine", "--shock", "USD₮0=-1%", "--json"))["prices"]
    assert "USD₮0" in {row["symbol"] for row in prices}


def test_interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("defi_leverage.store.load_snapshot", interrupt)
    assert run("loops", "book")[0] == 130


def test_help_and_version_answer_at_once() -> None:
    assert run("--version")[1] == f"defi-leverage {defi_leverage.__version__}\n"
    out = run("--help")[1]
    assert all(command in out for command in COMMANDS)
    heavy = "import sys, defi_leverage.cli; print({'pandas', 'web3', 'networkx', 'aiohttp'} & set(sys.modules))"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "set()"
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "--json" in out
