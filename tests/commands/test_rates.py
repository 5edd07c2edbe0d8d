"""Commands on the rate channel and on liquidation scope: what they print is what the functions find."""

import json
from pathlib import Path

import pandas as pd
import pytest

from defi_leverage.analytics.rates import loops_after_withdrawal, rates_after_withdrawal, with_own_yields
from defi_leverage.analytics.scope import liquidation_scope
from defi_leverage.store import load_snapshot
from defi_leverage.stress.scenario_sets import ladder
from tests.command_line import one_error, run


def test_rates_after_a_withdrawal() -> None:
    arguments = ("rates", "sample", "--withdraw", "WETH=30%", "--own-yield", "wstETH=3%", "--days", 365)
    code, out, _ = run(*arguments, "--json")
    found = json.loads(out)
    sample = with_own_yields(load_snapshot("sample"), {"wstETH": 0.03})
    markets = rates_after_withdrawal(sample, {"WETH": 0.3}, 365)
    loops = loops_after_withdrawal(sample, markets, 365)
    assert code == 0
    assert [row["borrow_rate_after"] for row in found["markets"]] == markets["borrow_rate_after"].tolist()
    assert [row["venue"] for row in found["markets"]] == ["Core 3.2", "Core 3.0"]
    assert found["summary"]["turn_negative"] == loops["turns_negative"].sum() > 20
    assert found["summary"]["liquidate"] == loops["liquidates"].sum() > 0
    assert len(found["loops"]) == (loops["turns_negative"] | loops["liquidates"]).sum()
    code, out, _ = run(*arguments)
    assert code == 0
    assert f"{found['summary']['turn_negative']:,} turn negative" in " ".join(out.split())


def test_loops_without_a_carry_are_not_said_to_stay_positive() -> None:
    arguments = ("rates", "sample", "--withdraw", "WETH=100%")
    summary = json.loads(run(*arguments, "--json")[1])["summary"]
    assert 0 < summary["without_carry"] <= summary["loops"]
    text = " ".join(run(*arguments)[1].split())
    assert f"Of {summary['loops'] - summary['without_carry']:,} loop accounts in these markets whose carry is" in text
    assert "give what wstETH earns by itself" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("scope", "sample", "--shock", "WETH"),
        ("rates", "sample", "--withdraw", "WETH=80%", "--own-yield", "wstETH=3%"),
        ("measures", "sample"),
        ("measures", "sample", "--table", "decay", "--volatility", "WETH=60%", "--volatility", "USDC=0"),
        ("measures", "sample", "--table", "prices", "--volatility", "WETH=60%", "--volatility", "USDC=0"),
    ],
)
def test_80_columns_hold_every_figure(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    for columns in ("80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        out = run(*arguments)[1]
        shown.append({word for word in out.split() if any(letter.isdigit() for letter in word)})
    assert shown[0] == shown[1] != set()


def test_scope_of_a_ladder() -> None:
    code, out, _ = run("scope", "sample", "--shock", "WETH=-10%,-30%", "--json")
    found = json.loads(out)
    reached = liquidation_scope(load_snapshot("sample"), ladder("WETH", [-0.1, -0.3]))
    assert code == 0
    assert [row["debt_usd"] for row in found["venues"]] == reached.venues["debt_usd"].tolist()
    assert len(found["accounts"]) == len(reached.accounts) > 100
    code, out, _ = run("scope", "sample", "--shock", "WETH=-10%,-30%")
    assert code == 0
    assert "Core 3.0" in out
    assert "Collateral in scope after the cascade of WETH -30 %" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rates", "sample", "--withdraw", "USDC"), "write it as ASSET=SHARE"),
        (("rates", "sample", "--withdraw", "USDC=20%", "--own-yield", "3%"), "--own-yield '3%': write it as ASSET="),
        (("rates", "sample", "--withdraw", "USDC=20%", "--own-yield", "wstETH=nan"), "write it as ASSET="),
        (
            ("rates", "sample", "--withdraw", "USDC=20%", "--own-yield", "wstETH=3%", "--own-yield", "wstETH=4%"),
            "wstETH is given twice",
        ),
        (("rates", "sample", "--withdraw", "USDC=20%", "--days", "inf"), "horizon_days inf must be above 0 and finite"),
        (("rates", "sample", "--withdraw", "USDC=20%", "--days", "0"), "must be above 0"),
        (("scope", "sample", "--shock", "DOGE"), "no asset 'DOGE'"),
    ],
)
def test_one_clear_error(arguments: tuple[str, ...], words: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert words in one_error(err)


def test_tables_and_figures_go_to_a_folder(tmp_path: Path) -> None:
    code, out, _ = run("rates", "sample", "--withdraw", "WETH=25%", "-o", tmp_path, "--json")
    assert code == 0
    written = pd.read_parquet(tmp_path / "rates.parquet")
    assert written["borrow_rate_after"].tolist() == [row["borrow_rate_after"] for row in json.loads(out)["markets"]]
    assert len(pd.read_parquet(tmp_path / "rate_loops.parquet")) == json.loads(out)["summary"]["loops"]
    code, out, _ = run("scope", "sample", "--shock", "WETH=-10%,-20%", "-o", tmp_path, "--json")
    assert code == 0
    assert len(pd.read_parquet(tmp_path / "scope_accounts.parquet")) == len(json.loads(out)["accounts"])
    for name in ("rates.png", "scope.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
