"""The command `cycle`, and the tables of a history that `run` writes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from defi_leverage.analytics.leverage_history import calibrate_leverage_cycle
from defi_leverage.history import load_history
from defi_leverage.plots.cycle import plot_leverage_cycle
from defi_leverage.snapshot import Snapshot
from defi_leverage.store import load_snapshot, save_scan
from tests.books import dated, make_snapshot
from tests.command_line import one_error, run

START = datetime(2026, 1, 1, tzinfo=UTC)


def scans(folder: Path, days: int = 5) -> None:
    """A borrower whose leverage falls as the price moves more."""
    price = 2000.0
    for day in range(days):
        price *= 1 + (-1) ** day * 0.02 * day
        debt = 10 * price * (0.6 - 0.04 * day)
        book = make_snapshot({"WETH": price, "USDC": 1.0}, [({"WETH": 10.0}, {"USDC": debt})])
        save_scan(dated(book, START + timedelta(days=day)), folder)


def test_a_folder_of_scans_is_calibrated(tmp_path: Path) -> None:
    scans(tmp_path)
    code, out, err = run("cycle", tmp_path, "-o", tmp_path / "found", "--json")
    assert code == 0, err
    found = json.loads(out)
    wanted = calibrate_leverage_cycle(load_history(tmp_path, 30))
    (row,) = found["leverage_cycle"]
    assert (row["alpha"], row["b"], row["headroom"]) == (wanted.alpha, wanted.b, wanted.headroom)
    assert row["b"] < 0
    assert found["leverage_history"][0]["time"] == START.isoformat()
    history = pd.read_parquet(tmp_path / "found/leverage_history.parquet")
    assert history["leverage"].to_numpy(float) == pytest.approx(1 / (0.4 + 0.04 * np.arange(5)))
    assert (tmp_path / "found/leverage_cycle.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run("cycle", tmp_path, "--last", "3")
    assert code == 0
    assert "Leverage and volatility" in out
    assert "a yardstick, not a forecast" in out


def test_too_short_a_history_is_one_error(tmp_path: Path) -> None:
    scans(tmp_path, 2)
    code, _, err = run("cycle", tmp_path)
    assert code == 2
    assert "has 2 complete scans of the same venues at different times" in one_error(err)
    code, _, err = run("cycle", tmp_path / "nowhere")
    assert code == 2
    assert "nowhere: no such folder" in one_error(err)


def test_a_critical_leverage_that_there_is_none_of_is_not_drawn(tmp_path: Path) -> None:
    scans(tmp_path)
    history = load_history(tmp_path, 30)
    fit = calibrate_leverage_cycle(history)
    row = {name: getattr(fit, name) for name in ("alpha", "b", "r_squared")} | {"s0": fit.model.s0}
    times = pd.DataFrame({"time": [time for time, _ in history], "leverage": 2.0, "volatility": 0.5, "variance": 0.025})
    for critical, lines in ((float("inf"), 1), (8.8, 2)):
        figure = plot_leverage_cycle(times, pd.DataFrame([row | {"critical_leverage": critical}]))
        assert len(figure.axes[0].get_lines()) == lines


def test_the_fit_is_drawn_where_prices_stood_still_at_first() -> None:
    variance = np.array([np.nan, 0.0, 0.025, 0.1])
    times = pd.DataFrame({"time": [START + timedelta(days=day) for day in range(4)], "leverage": [2.0, 2.0, 1.9, 1.8]})
    times = times.assign(variance=variance, volatility=np.sqrt(variance / 0.1))
    fit = {"alpha": 1.0, "b": -0.5, "s0": 1e-6, "r_squared": 1.0, "critical_leverage": 8.8}
    (line,) = plot_leverage_cycle(times, pd.DataFrame([fit])).axes[1].get_lines()
    x, y = (np.asarray(values, float) for values in line.get_data())
    assert x[[0, -1]] == pytest.approx([0.0, 1.0], abs=1e-6)
    assert y[-1] == pytest.approx((0.1 + 1e-6) ** -0.5)


def test_run_adds_the_tables_of_its_own_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text("output = 'out'\n[measures]\nwithdrawal = '10%'\nvolatility = {WETH = 0.6}\n")
    sample = load_snapshot("sample")
    for day, factor in enumerate((1.0, 1.1, 0.9)):  # all prices alike: a return, and no change of leverage
        prices = {
            name: getattr(sample, name).assign(price_usd=getattr(sample, name)["price_usd"] * factor)
            for name in ("assets", "feeds")
        }
        save_scan(dated(Snapshot.from_tables(sample.tables | prices), START + timedelta(days=day)), Path("out"))
    code, out, _ = run("run", "--json")
    assert code == 0
    tables = {path.stem for path in Path("out/measures").iterdir()}
    assert {"leverage_history", "leverage_cycle", "rates", "rate_loops", "references", "dependency"} <= tables
    assert "scope_venues" not in tables  # no scenario is configured
    rates = pd.read_parquet("out/measures/rates.parquet")
    assert (rates["withdrawn"] / rates["supplied"]).to_numpy(float) == pytest.approx(np.full(len(rates), 0.1))
    assert pd.read_parquet("out/measures/decay.parquet")["rebalancing_drag"].notna().any()
    assert json.loads(out)["files"][-1] == "out/summary.json"


def test_a_damaged_scan_of_before_costs_the_new_one_no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scans(Path("out"), 3)
    next(Path("out").glob("2026-01-02*/legs.parquet")).write_bytes(b"cut off")
    Path("config.toml").write_text("output = 'out'\n[[scenarios]]\nname = 'x'\nshocks = {WETH = -0.1}\n")
    code, _, err = run("run", "--json")
    assert code == 0, err
    assert "no leverage cycle: " in err
    assert "legs.parquet is truncated" in err
    assert Path("out/summary.json").is_file()
    assert Path("out/measures/scope_venues.parquet").is_file()
    Path("config.toml").write_text("output = 'out'\n")  # without scenarios there is no scope: the old one goes
    code, out, _ = run("run", "--json")
    assert code == 0
    assert not Path("out/measures/scope_venues.parquet").exists()
    written = {name for name in json.loads(out)["files"] if name.startswith("out/measures/")}
    assert written == {str(path) for path in Path("out/measures").iterdir()}


def test_an_interrupt_among_the_measures_keeps_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text("output = 'out'\n")
    with mock.patch("defi_leverage.cli.derived_files", side_effect=KeyboardInterrupt):
        code, _, err = run("run", "--json")
    assert code == 4
    assert "interrupted during graph, figures and measures; what was finished is in out" in one_error(err)
    found = json.loads(Path("out/summary.json").read_text())
    assert "out/leverage.png" in found["files"]
    assert found["clusters"]
