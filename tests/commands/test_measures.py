"""The command `measures`: its tables are those of the functions, and its arguments are checked."""

import json
import math
from pathlib import Path

import pytest

from defi_leverage.analytics.markets import venue_measures
from defi_leverage.analytics.positions import liquidation_prices
from defi_leverage.store import load_snapshot
from defi_leverage.summary import plain
from tests.command_line import one_error, run


def test_what_it_prints_is_what_the_functions_find() -> None:
    code, out, _ = run(
        "measures", "sample", "--table", "venues", "--table", "prices", "--volatility", "WETH=60%", "--json"
    )
    assert code == 0
    found = json.loads(out)
    sample = load_snapshot("sample")
    assert [row["leverage"] for row in found["venues"]] == pytest.approx(venue_measures(sample)["leverage"].tolist())
    assert found["prices"] == plain(liquidation_prices(sample, {"WETH": 0.6}))
    assert any(row["distance"] for row in found["prices"])


def test_every_table_is_shown() -> None:
    code, out, _ = run("measures", "sample")
    assert code == 0
    for title in ("Leverage of venues", "Perp markets: none", "Leverage of accounts", "Concentration", "Dependency"):
        assert title in out
    code, out, _ = run("measures", "sample", "--table", "decay", "--table", "prices", "--volatility", "WETH=0.6")
    assert code == 0
    assert "Carry and decay" in out
    assert "Liquidation prices" in out


def test_clusters_against_references() -> None:
    arguments = ["--volatility", "WETH=0.6", "--volatility", "WBTC=0.5", "--gap", "0.25", "--target-volatility", "0.4"]
    code, out, _ = run("measures", "sample", "--table", "references", *arguments, "--json")
    assert code == 0
    rows = json.loads(out)["references"]
    assert rows
    for row in rows:
        if row["times_gap"] is not None:
            assert row["times_gap"] == pytest.approx(row["leverage"] / 4)
        assert row["times_kelly"] is None  # no expected return was given
        assert row["gap_probability"] is None  # nor jumps


def test_gap_risk_of_clusters() -> None:
    code, out, _ = run(
        *("measures", "sample", "--table", "references", "--volatility", "WETH=0.6", "--volatility", "WBTC=0.5"),
        *("--jumps-per-year", "20", "--mean-jump", "0.05", "--json"),
    )
    assert code == 0
    known = [row for row in json.loads(out)["references"] if row["gap_probability"] is not None]
    assert known
    for row in known:
        breaking = 20 * (1 - 1 / row["leverage"]) ** 20
        assert row["gap_probability"] == pytest.approx(-math.expm1(-breaking))


def test_what_is_borrowed_of_each_pool_and_venue() -> None:
    """Aave divides by its aTokens: what is borrowed and left is more by what is due to the treasury, here 0.02 %."""
    code, out, _ = run("measures", "sample", "--table", "dependency", "--table", "venues", "--json")
    assert code == 0
    found = json.loads(out)
    assert len(found["dependency"]) == 10
    for row in found["dependency"]:
        assert row["borrowed_share"] == pytest.approx(row["utilisation"], abs=2e-4)
    totals = load_snapshot("sample").venues.set_index("venue_id")
    for row in found["venues"][:-1]:
        venue = totals.loc[row["venue_id"]]
        borrowed = venue["borrow_usd"] / (venue["borrow_usd"] + venue["cash_usd"])
        assert row["borrowed_share"] == pytest.approx(borrowed, rel=1e-3)
    code, out, _ = run("measures", "sample", "--table", "dependency")
    assert "of liquidity" in out


def test_the_command_line_goes_before_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[measures]\nvolatility = {WETH = '60%', WBTC = '50%', USDC = 0}\n")
    for name in ("WETH", "weth", "wstETH"):  # which moves with WETH
        code, out, err = run(
            *("measures", "sample", "--table", "prices", "--config", config, "--volatility", f"{name}=70%", "--json")
        )
        assert code == 0, err
        used = {(row["symbol"], row["volatility"]) for row in json.loads(out)["prices"]}
        assert used == {("WETH", 0.7), ("WBTC", 0.5), ("USDC", 0.0), ("DAI", None)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--volatility", "WETH"], "--volatility 'WETH': write it as ASSET=FIGURE"),
        (["--volatility", "WETH=high"], "write it as ASSET=FIGURE"),
        (["--volatility", "WETH=0.6", "--volatility", "WETH=0.7"], "WETH is given twice"),
        (["--table", "prices", "--volatility", "WETH=nan"], "--volatility 'WETH=nan': write it as ASSET=FIGURE"),
        (["--table", "prices", "--volatility", "WETH=-0.6"], "volatility WETH=-0.6: write a yearly fraction"),
        (["--table", "prices", "--horizon-days", "inf"], "horizon_days inf must be above 0 and finite"),
        (["--table", "prices", "--volatility", "WETX=0.5"], "no asset 'WETX'"),
        (["--table", "references", "--mean-jump", "0.05"], "mean jump 0.05: give both, or neither"),
        (["--table", "references", "--gap", "2"], "gap 2.0 must be above 0 and at most 1"),
    ],
)
def test_wrong_arguments_are_one_error(arguments: list[str], message: str) -> None:
    code, out, error = run("measures", "sample", *arguments)
    assert (code, out) == (2, "")
    assert message in one_error(error)
