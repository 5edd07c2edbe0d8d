"""`shock` with every switch, and `stress`: what runs, what is written, what is said, and what Ctrl-C leaves."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.store import load_snapshot, save_snapshot
from defi_leverage.stress.risk import expected_shortfall, value_at_risk
from defi_leverage.summary import plain
from tests.command_line import one_error, run
from tests.test_cli import book

ROOT = Path(__file__).resolve().parents[2]
LADDER = ("--ladder", "WETH=-10%:-30%:-10%")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return save_snapshot(book(), tmp_path / "book")


def from_json(*arguments: object) -> Any:
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def prices(path: Path, hours: int = 400) -> Path:
    """Hourly prices of WETH, wstETH and USDC; WETH falls by 30 % within the last day."""
    rng = np.random.default_rng(5)
    steps = rng.standard_normal((hours, 3)) * [0.01, 0.002, 1e-4]
    steps[:, 1] += steps[:, 0]
    steps[-20:-10, :2] += np.log(0.7) / 10
    levels = np.array([2000.0, 2400.0, 1.0]) * np.exp(np.cumsum(steps, axis=0))
    times = pd.date_range("2024-01-01", periods=hours, freq="h", tz="UTC")
    table = pd.DataFrame(levels, columns=["WETH", "wstETH", "USDC"], index=times).stack().reset_index()
    table.columns = ["Timestamp", "symbol", "USD_price"]
    table.to_csv(path, index=False)
    return path


# ----- shock


@pytest.mark.parametrize(
    ("options", "scenario"),
    [
        ((), {}),
        (("--arrival", "continuous", "--steps", "4"), {"arrival": "continuous", "steps": 4}),
        (("--liquidators", "rational", "--gas-usd", "50000"), {"liquidators": "rational", "gas_usd": 50_000.0}),
        (("--rate-shock", "USDC=5%"), {"rate_shocks": {"USDC": 0.05}}),
        (("--stale-rounds", "1"), {"stale_rounds": 1}),
        (("--frozen-feed", "WETH"), {"frozen_feeds": ("WETH",)}),
        (("--keep-collateral",), {"sell_collateral": False}),
        (("--own-funds",), {"buy_debt": False}),
        (("--no-selling",), {"sell_collateral": False, "buy_debt": False}),
        (("--max-rounds", "1"), {"max_rounds": 1}),
    ],
)
def test_a_switch_of_the_command_line_is_that_of_the_scenario(
    options: tuple[str, ...], scenario: dict[str, Any], folder: Path
) -> None:
    found = from_json("shock", folder, "--shock", "WETH=-15%", "--shock", "feed:wstETH=-20%", *options)

    def outcome(**switches: Any) -> dict[str, Any]:
        result = run_contagion(load_snapshot(folder), Scenario("", {"WETH": -0.15}, {"wstETH": -0.2}, **switches))
        return dict(plain(result.summary() | {"scenario": found["scenario"], "by_round": result.rounds}))

    assert found == outcome(**scenario)
    assert (found == outcome()) is not bool(scenario)


def test_debt_may_grow_without_any_price_moving(folder: Path) -> None:
    assert from_json("shock", folder, "--rate-shock", "USDC=15%")["accounts_liquidated"] > 0


def test_a_run_that_does_not_end_says_how_far_it_was_from_it(folder: Path) -> None:
    _, out, _ = run("shock", folder, "--shock", "WETH=-15%", "--max-rounds", "1")
    residual = from_json("shock", folder, "--shock", "WETH=-15%", "--max-rounds", "1")["residual"]
    assert f"Did not converge; prices still moved by up to {residual:.2%} in the last round" in " ".join(out.split())


# ----- stress


def test_ladders_grids_curves_and_reverse_tests_in_one_report(folder: Path) -> None:
    found = from_json(
        "stress", folder, *LADDER, "--grid", "WETH=0%,-20% by wstETH=0%,-10%,-20%", "--depth", "1", "--depth", "0.5",
        "--curve", "WETH", "--reverse", "accounts_liquidated=1 along WETH", "--losses", "account", "--format", "csv",
    )  # fmt: skip
    assert (found["complete"], found["requested"], found["finished"]) == (True, 2 * (3 + 6), 18)
    rows = found["scenarios"]
    assert [row["change"] for row in rows[:6]] == [-0.1, -0.2, -0.3] * 2
    assert [row["depth_multiplier"] for row in rows[:6]] == [1, 1, 1, 0.5, 0.5, 0.5]
    assert (rows[6]["scenario"], rows[11]["second_change"]) == ("WETH +0 %, wstETH +0 %", -0.2)
    direct = run_contagion(load_snapshot(folder), Scenario("", {"WETH": -0.3}, depth_multiplier=0.5)).summary()
    assert rows[5]["seized_usd"] == direct["seized_usd"] > 0
    names = [Path(file).name for file in found["files"]]
    assert names == [
        "scenarios.csv", "shocks.csv", "losses.csv", "curves.csv", "reverse.csv", "ladder_1.png", "grid_1.png",
        "grid_2.png", "curve_1.png", "summary.json",
    ]  # fmt: skip
    place = Path("out/stress")
    assert sorted(path.name for path in place.iterdir()) == sorted(names)
    table = pd.read_csv(place / "scenarios.csv")
    assert table["seized_usd"].tolist() == [row["seized_usd"] for row in rows]
    losses = pd.read_csv(place / "losses.csv")
    assert set(losses["by"]) == {"account"}
    assert losses.groupby("number")["seized_usd"].sum().to_dict() == pytest.approx(
        {row["number"]: row["seized_usd"] for row in rows if row["seized_usd"]}
    )
    (certificate,) = found["reverse"]
    assert certificate["reached"]
    assert certificate["shocks"]["WETH"] == -certificate["size"]
    accounts = {round(row["change"], 9): row["accounts"] for row in found["curves"]}
    assert accounts[0] == 0
    assert accounts[-0.7] >= accounts[-0.3] > 0


def test_a_report_for_people(folder: Path) -> None:
    code, out, _ = run(
        "stress", folder, *LADDER, "--grid", "WETH=0%,-20% by wstETH=0%,-10%", "--curve", "WETH",
        "--reverse", "bad_debt_usd=1e6 along WETH", "--max-rounds", "2",
    )  # fmt: skip
    assert code == 0
    for text in (
        "Ladder WETH",
        "Grid WETH by wstETH: bad debt",
        "before any sale",
        "losses by venue",
        "Smallest shock:",
    ):
        assert text in out
    assert max(map(len, out.splitlines())) <= 80
    assert "Did not converge; prices still moved" in out


def test_what_an_earlier_report_left_is_removed_and_nothing_else(folder: Path) -> None:
    run("stress", folder, *LADDER, "--curve", "WETH", "-o", "here")
    Path("here/mine.parquet").write_bytes(b"not of a report")
    run("stress", folder, *LADDER, "-o", "here", "--format", "csv", "--losses", "none")
    left = {path.name for path in Path("here").iterdir()}
    assert left == {"scenarios.csv", "shocks.csv", "ladder_1.png", "summary.json", "mine.parquet"}


def test_draws_and_windows_of_a_price_history(folder: Path) -> None:
    history = ("--prices", prices(Path("prices.csv")), "--draws", "40", "--copula-dof", "4", "--marginal-dof", "4")
    window = ("--window", "2024-01-16 to 2024-01-17T12:00", "--draw-losses", "venue", "--confidence", "0.9")
    found = from_json("stress", folder, *history, *window, "--horizon", "20d", "--seed", "7")
    table = pd.read_parquet("out/stress/scenarios.parquet")
    draws = table[table["kind"] == "draws"]
    assert (len(draws), len(found["scenarios"]), found["finished"]) == (40, 1, 41)
    assert found["scenarios"][0]["accounts_liquidated"] > 0
    (risk,) = found["risk"]
    assert risk["bad_debt_var_usd"] == value_at_risk(draws["bad_debt_usd"], 0.9)
    assert risk["bad_debt_es_usd"] == pytest.approx(expected_shortfall(draws["bad_debt_usd"], 0.9))
    assert risk["liquidations_at_risk_usd"] == value_at_risk(draws["seized_usd"], 0.9) > 0
    assert "draws_1.png" in {Path(file).name for file in found["files"]}
    shocks = pd.read_parquet("out/stress/shocks.parquet").set_index("number")
    shocks_of_draw = {str(name): float(column[7]) for name, column in shocks.drop(columns="scenario").items()}
    again = run_contagion(load_snapshot(folder), Scenario("", shocks_of_draw))
    assert again.summary()["seized_usd"] == table.loc[7, "seized_usd"]
    same = from_json("stress", folder, *history, *window, "--horizon", "20d", "--seed", "7")
    assert same == found
    other = from_json("stress", folder, *history, *window, "--horizon", "20d", "--seed", "8")
    assert other["risk"] != found["risk"]


def test_the_configuration_says_what_runs_where_the_command_line_does_not(folder: Path) -> None:
    Path("config.toml").write_text(
        '[stress]\nladders = ["WETH=-10%,-30%"]\nlosses = []\n[stress.base]\nliquidators = "rational"\ngas_usd = 1e9'
    )
    found = from_json("stress", folder)
    assert [row["scenario"] for row in found["scenarios"]] == ["WETH -10 %", "WETH -30 %"]
    assert {row["accounts_liquidated"] for row in found["scenarios"]} == {0}  # nothing pays for that gas
    assert found["worst"] is None
    assert len(from_json("stress", folder, "--ladder", "WETH=-30%")["scenarios"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "stress.ladders[1]: 'WETH=-5%:-60%': '-5%:-60%' is not a range; write it as FIRST:LAST:STEP"),
        (("--shock", "WETH=-5%"), "nothing to run: give --ladder, --grid"),
        (("--ladder", "WEHT=-5%"), "no asset 'WEHT' in this snapshot; did you mean WETH?"),
        (("--ladder", "WETH=-5%:-60%:5%"), "steps of '5%' do not lead from -5% to -60%"),
        (("--ladder", "WETH=5"), None),
        (("--ladder", "WETH=-500%"), "a change must be above -100 %"),
        (("--ladder", "WETH=0%:-90%:-0.001%"), "90,001 changes; use a larger step"),
        (("--grid", "WETH=-5%"), "write a grid as AXIS by AXIS"),
        (("--grid", "WETH=-5% by WETH=-6%"), "WETH is on both sides of the grid"),
        (("--reverse", "bad_det_usd=1 along WETH"), "no measure 'bad_det_usd'; did you mean bad_debt_usd?"),
        (("--reverse", "bad_debt_usd=1"), "write it as MEASURE=BOUND along ASSET"),
        (("--reverse", "bad_debt_usd=1 along WEHT"), "no asset 'WEHT'"),
        (("--curve", "WEHT"), "no asset 'WEHT'"),
        ((*LADDER, "--steps", "5"), 'stress.base.steps does nothing unless arrival is "continuous"'),
        ((*LADDER, "--gas-usd", "5"), 'stress.base.gas_usd does nothing unless liquidators is "rational"'),
        ((*LADDER, "--arrival", "slow"), "stress.base.arrival = 'slow': must be one of gap, continuous"),
        ((*LADDER, "--frozen-feed", "wstEHT"), "no asset 'wstEHT' in this snapshot; did you mean wstETH?"),
        ((*LADDER, "--rate-shock", "USDT=1%"), "no asset 'USDT' in this snapshot; did you mean USDC?"),
        ((*LADDER, "--losses", "vaults"), "stress.losses = ['vaults']: must be a list of some of venue, asset"),
        (("--draws", "10"), "stress.draws needs a price history; name its files in stress.prices.files"),
        (("--draws", "10", "--prices", "no.csv"), "no.csv: no such file; correct the name of the price history"),
        (("--window", "5 Aug 2023", "--prices", "p.csv"), "no window '5 Aug 2023'; there are 19 May 2021"),
        (("--window", "UST May 2022", "--prices", "p.csv"), "price history covers 2024-01-01"),
        (("--draws", "9", "--prices", "p.csv", "--marginal-dof", "2"), "marginal_dof = 2: must be above 2, or inf"),
        (("--draws", "9", "--prices", "p.csv", "--price-asset", "BTC"), "price history has no BTC; it has USDC"),
        (("--draws", "9", "--prices", "p.csv", "--proxy", "WETH"), "'WETH': write it as NAME=VALUE"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str | None, folder: Path) -> None:
    if "p.csv" in arguments:
        prices(Path("p.csv"), 48)
    Path("config.toml").write_text("" if arguments else '[stress]\nladders = "WETH=-5%:-60%"')
    code, out, err = run("stress", folder, *arguments)
    if message is None:
        assert code == 0  # +500 %
        return
    assert (code, out) == (2, "")
    assert message in one_error(err)
    assert not Path("out").exists()


def test_shrinkage_without_scikit_learn_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.covariance", None)
    arguments = ("stress", folder, "--draws", "4", "--prices", prices(Path("p.csv"), 48))
    code, _, err = run(*arguments)
    assert (code, "pip install 'defi-leverage[montecarlo]'" in one_error(err)) == (2, True)
    assert run(*arguments, "--shrinkage", "none")[0] == 0


def test_without_matplotlib_the_tables_are_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = run("stress", folder, *LADDER, "--losses", "none")
    assert code == 0
    assert "no figures: plots need matplotlib" in err
    assert sorted(path.name for path in Path("out/stress").iterdir()) == [
        "scenarios.parquet",
        "shocks.parquet",
        "summary.json",
    ]


def test_ctrl_c_leaves_what_is_finished(tmp_path: Path) -> None:
    """A real process and a real SIGINT, once its log says that scenarios are running."""
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
        "import defi_leverage.logs as logs; logs._LOG_EVERY = 0.05\n"
        "from defi_leverage.cli import main; main()"
    )
    arguments = ["stress", "sample", "--ladder", "WETH=-0.01%:-60%:-0.01%"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        seen = next(line for line in process.stderr if "scenarios: " in line)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "of 6,000" in seen
    assert process.returncode == 4, err
    table = pd.read_parquet(tmp_path / "out/stress/scenarios.parquet")
    assert 0 < len(table) < 6000
    message = (
        f"error: interrupted during scenarios after {len(table):,} of 6,000 scenarios; what was finished is in out"
    )
    assert one_error(err).startswith(message)
    summary = json.loads((tmp_path / "out/stress/summary.json").read_text())
    assert (summary["complete"], summary["interrupted"], summary["finished"]) == (False, "scenarios", len(table))
    assert f"Interrupted: {len(table):,} of 6,000 scenarios are finished." in out
    whole = run_contagion(load_snapshot("sample"), Scenario("", {"WETH": float(table["change"].iloc[-1])})).summary()
    assert table["seized_usd"].iloc[-1] == whole["seized_usd"]


def test_ctrl_c_in_the_whole_job_leaves_its_summary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defi_leverage.store._SAMPLE_FOLDER", folder)
    calls = 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return run_contagion(*arguments)

    monkeypatch.setattr("defi_leverage.summary.run_contagion", interrupted)
    code, out, err = run("run")
    assert code == 4
    assert one_error(err) == "error: interrupted during scenarios; what was finished is in out"
    summary = json.loads(Path("out/summary.json").read_text())
    assert (len(summary["scenarios"]), summary["clusters"], summary["stress"]) == (2, None, None)
    assert "Systemic leverage clusters" not in out
