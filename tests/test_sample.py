"""The sample inside the package: what it is, and what it shows."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.graph.loops import find_loops, loop_accounts
from defi_leverage.health import account_health
from defi_leverage.snapshot import Snapshot
from defi_leverage.store import load_snapshot, save_snapshot
from tests.devnet.record_sample import scan_devnet
from tests.devnet.session import Devnet


@pytest.fixture(scope="module")
def sample() -> Snapshot:
    return load_snapshot("sample")


def test_it_is_small_and_whole(sample: Snapshot) -> None:
    folder = Path(str(files("defi_leverage").joinpath("sample")))
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1e6
    assert sample.complete
    assert sample.coverage["read"].tolist() == sample.coverage["found"].tolist()
    assert sorted(sample.venues["revision"]) == [1, 5]
    # every token of the two markets' totals belongs to an account
    assert sample.coverage[["unattributed_supply_usd", "unattributed_borrow_usd"]].abs().to_numpy().max() < 0.01


def test_health_factors_are_the_protocols_own(sample: Snapshot) -> None:
    ours = account_health(sample)["health_factor"].to_numpy()
    reported = sample.accounts["health_factor"].to_numpy()
    # The protocol's totals have 8 decimals: a debt of a cent shows it, and a few wei are no debt at all.
    large = account_health(sample)["debt_usd"].to_numpy() > 1
    assert np.isinf(ours[~large]).sum() > 100
    np.testing.assert_allclose(ours[large], reported[large], rtol=1e-8)


def test_each_shock_hurts_whom_it_should(sample: Snapshot) -> None:
    """A fall of ETH: who owes stablecoins, not who loops. A depeg on the market: neither. An oracle fault: loops."""
    loops = find_loops(sample)
    looping = set(loop_accounts(sample).query("loop.str.startswith('wstETH/WETH')")["account_id"])
    legs = sample.legs.merge(sample.assets[["asset_id", "symbol"]], on="asset_id").groupby("account_id")
    symbols = legs["symbol"].agg(frozenset)
    borrowers = set(symbols.index[symbols.map(lambda held: held in ({"WETH", "USDC"}, {"WETH", "DAI"}))])
    assert "wstETH/WETH on Core 3.2" in loops["loop"].tolist()
    already = set(run_contagion(sample, Scenario()).liquidations["account_id"])

    def hurt(scenario: Scenario) -> set[str]:
        return set(run_contagion(sample, scenario).liquidations["account_id"]) - already

    def alone(name: str, shocks: dict[str, float], feed_shocks: dict[str, float] | None = None) -> Scenario:
        """What one shock does by itself: nothing is sold or bought."""
        return Scenario(name, shocks, feed_shocks or {}, sell_collateral=False, buy_debt=False)

    fall = hurt(alone("ETH", {"WETH": -0.15}))
    assert len(fall & borrowers) > 20
    plain_mode = set(sample.accounts.query("mode == 'cross'")["account_id"])
    assert not fall & looping - plain_mode
    assert not hurt(alone("depeg", {"wstETH": -0.15}))
    fault = hurt(alone("oracle", {}, {"wstETH": -0.05}))
    assert len(fault & looping) > 20


@pytest.mark.devnet
def test_it_is_what_a_scan_of_the_devnet_gives(devnet: Devnet, sample: Snapshot, tmp_path: Path) -> None:
    again = scan_devnet()
    for name, table in again.tables.items():
        pd.testing.assert_frame_equal(table, sample.tables[name])
    for folder in ("one", "other"):
        save_snapshot(again, tmp_path / folder)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes()
