"""Notes beside the figures, and progress: bars in a terminal, log lines elsewhere."""

import io
import logging
import time
from typing import Any

import pytest
from rich.console import Console

from defi_leverage import logs
from defi_leverage.commands.console import change, scenario_note
from defi_leverage.logs import show_progress


def test_every_warning_of_a_run_is_said_once() -> None:
    rows: list[dict[str, Any]] = [
        {"scenario": "A", "converged": False, "residual": 0.25, "exhausted": ["UNI"], "beyond_range": ["WETH"]},
        {"scenario": "B", "converged": False, "residual": 0.5, "exhausted": "UNI, CRV", "missing_depth": "DAI"},
        {"scenario": "C", "converged": True, "residual": 0.0, "toxic": ["MKR at venue"], "missing_depth": []},
        {"scenario": "D", "error": "no asset 'X'"},
    ]
    assert scenario_note(rows).split("\n") == [
        "D: not run: no asset 'X'",
        "Did not converge; prices still moved by up to 50.00% in the last round: A, B.",
        "Stopped where liquidators would have to buy more than the pool holds of CRV, UNI.",
        "No market depth is configured for DAI: their prices could not react.",
        "More was traded than the market's depth is known for, its rule is carried on: WETH.",
        "By these terms a liquidation lowers the account's health (toxic): MKR at venue.",
    ]
    many: list[dict[str, Any]] = [
        {"scenario": str(number), "converged": False, "residual": None} for number in range(9)
    ]
    assert scenario_note(many) == "Did not converge: 0, 1, 2, 3, 4, 5 and 3 more."
    assert scenario_note([{"scenario": "A", "converged": True}]) == ""


def test_a_change_has_its_sign() -> None:
    assert [change(value) for value in (-0.05, 0.0, 0.125, None)] == ["-5 %", "0 %", "+12.5 %", "-"]


def test_progress_is_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    screen = io.StringIO()
    caplog.set_level(logging.INFO, "defi_leverage.progress")
    monkeypatch.setattr(logs, "_stderr", Console(file=screen, force_terminal=True, width=100))
    with show_progress() as progress:
        progress("scenarios [1]", 3, 10)
        time.sleep(0.3)  # bars are drawn ten times a second
    assert "scenarios [1]" in screen.getvalue()
    assert "3/10" in screen.getvalue()


def test_progress_is_log_lines_elsewhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(logs, "_stderr", Console(file=io.StringIO()))
    monkeypatch.setattr(logs, "_LOG_EVERY", 0.0)
    with caplog.at_level(logging.INFO, "defi_leverage.progress"), show_progress() as progress:
        progress("scenarios", 1_500, 10_000)
    assert caplog.messages == ["scenarios: 1,500 of 10,000"]
