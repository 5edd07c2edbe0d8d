"""A real book through the whole job: 1,309 accounts of Aave v2 on Ethereum that held stETH, 19-21 June 2023.

Recorded by Lido (github.com/lidofinance/aave-liquidation-model @ a44561e): steth_aave.csv has the totals of
getUserAccountData in ETH, the stETH supplied and the ETH owed; b1.csv the 271 accounts that Lido calls loops.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from defi_leverage.config import load_config
from defi_leverage.health import account_health
from defi_leverage.loops import find_loops, loop_accounts
from defi_leverage.positions import import_positions
from defi_leverage.snapshot import Snapshot

pytestmark = pytest.mark.validation

ETH_USD = 1800.0  # not recorded; health factors and shares do not depend on it
DATA = Path(
    os.environ.get("DEFI_LEVERAGE_VALIDATION_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))
)


@pytest.fixture(scope="module")
def recorded() -> pd.DataFrame:
    path = DATA / "aave_steth" / "steth_aave.csv"
    if not path.exists():
        pytest.skip(f"{path} is missing; set DEFI_LEVERAGE_VALIDATION_DATA to the folder that has it")
    return pd.read_csv(path, index_col=0)


@pytest.fixture(scope="module")
def real_book(recorded: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The recorded accounts, imported as any user's file of positions."""
    path = tmp_path_factory.mktemp("real") / "positions.csv"
    positions_of(recorded).to_csv(path, index=False)
    return import_positions(path, load_config())


def positions_of(recorded: pd.DataFrame) -> pd.DataFrame:
    """Two legs a side and account: stETH and the rest of the collateral, ETH and the rest of the debt.

    What the rests consist of is not in the file: each is an asset of its own, worth 1 USD. All collateral of an account
    weighs its recorded average threshold. A rest below 1e-7 of the total is the rounding of two reads and left out.
    """
    steth_price = ETH_USD * float((recorded["collateral_steth_calc"] / recorded["amount"]).median())
    parts = []
    for side, total, main, asset, price in (
        ("collateral", recorded["collateral"], recorded["collateral_steth_calc"], "stETH", steth_price),
        ("debt", recorded["debt"], recorded["ethdebt"], "ETH", ETH_USD),
    ):
        rest = total - main
        rest = rest.where(rest > 1e-7 * total, 0.0)
        for name, usd, unit in ((asset, (total - rest) * ETH_USD, price), (f"other {side}", rest * ETH_USD, 1.0)):
            part = pd.DataFrame({"account": recorded["user"], "side": side, "asset": name, "amount": usd / unit})
            part["price_usd"] = unit
            part["weight"] = recorded["threshold"] / 1e4 if side == "collateral" else 1.0
            parts.append(part[usd > 0])
    positions = pd.concat(parts, ignore_index=True).assign(venue="Aave v2", rule="aave_v3")
    positions["liquidation_bonus"] = np.where(positions["side"] == "collateral", 0.07, 0.0)
    positions["rule_parameters"] = '{"close_factor": 0.5, "full_close_health_factor": 0}'
    reported = recorded.set_index("user")["healthf"]
    return positions.assign(health_factor=positions["account"].map(reported))


def test_every_recorded_health_factor_comes_out(recorded: pd.DataFrame, real_book: Snapshot) -> None:
    health = account_health(real_book)
    assert len(health) == len(recorded) == 1309
    by_user = health.set_index(health.index.str.removesuffix("@Aave v2"))["health_factor"].reindex(recorded["user"])
    np.testing.assert_allclose(by_user, recorded["healthf"], rtol=1e-9)
    assert health["supplied_usd"].sum() / ETH_USD == pytest.approx(recorded["collateral"].sum())
    assert health["debt_usd"].sum() / ETH_USD == pytest.approx(recorded["debt"].sum())


def test_the_loops_are_the_published_accounts(recorded: pd.DataFrame, real_book: Snapshot) -> None:
    published = pd.read_csv(DATA / "aave_steth" / "b1.csv", index_col=0)
    found = loop_accounts(real_book, minimum_share=0.8)
    assert len(found) == len(published) == 271
    assert set(found["account_id"].str.removesuffix("@Aave v2")) == set(published["user"])
    loops = find_loops(real_book, minimum_share=0.8).set_index("loop")
    assert loops.index.tolist() == ["stETH/ETH on Aave v2"]
    row = loops.loc["stETH/ETH on Aave v2"]
    assert row["path"] == "stETH > Aave v2 > ETH > stETH"
    assert row["accounts"] == 271
    assert row["leverage"] == pytest.approx(
        published["collateral"].sum() / (published["collateral"] - published["debt"]).sum(), rel=1e-6
    )
