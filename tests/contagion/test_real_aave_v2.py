"""The round against Aave v2 itself: the same liquidations, executed at the same prices in the same second."""

from dataclasses import dataclass
from typing import Any

import pytest

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.protocols import aave_v2
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.session import Devnet
from tests.devnet.tokens import FINAL, set_answer, set_feed_ratio

pytestmark = pytest.mark.devnet("aave_v2")

LIQUIDATOR = "0x00000000000000000000000000000000000A11Ce"
SHOCKS = {"WETH": -0.24, "WBTC": -0.22}
RATIO_SHOCK = -0.12
LIQUIDATION_CALL = "0xe413a321e8681d831f4dbccbca790d2952b56f977908e45be37335533e005286"
DATA = "(uint256,uint256,uint256,uint256,uint256,uint256)"
SMALLEST_ETH = 0.03  # of debt left: below, two raw units of an 8-decimal token are more than a billionth


@dataclass(frozen=True)
class OnChain:
    """What one liquidationCall did, in raw units, and the account's debt in wei and health factor after the block."""

    repaid: int
    seized: int
    debt: int
    health_factor: int


async def predict(devnet: Devnet, timestamp: int) -> ContagionResult:
    """One round of the engine on the market in ETH as it stands at `timestamp`, before any price has moved."""
    reads = dict(devnet.description.protocols["aave_v2"]["reads"][0])
    reads.pop("reader")
    options = {"eth_usd_feed": reads.pop("eth_usd_feed")}
    before = devnet.snapshot()
    devnet.mine(timestamp)
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        snapshot = from_readings([await aave_v2.read(chain, Deployment("aave_v2", **reads, options=options))])
    devnet.revert(before)
    return run_contagion(snapshot, Scenario("drop", SHOCKS, {"wstETH": RATIO_SHOCK}, max_rounds=1))


def execute(devnet: Devnet, timestamp: int, rows: list[dict[str, Any]]) -> list[OnChain]:
    """The same drop and the same liquidations in one block at `timestamp`, each of as much as the pool lets."""
    pool = devnet.description.protocols["aave_v2"]["markets"]["eth"]["pool"]
    calls = [
        set_answer(OWNER, devnet.feeds["WETH"], FINAL.eth * (1 + SHOCKS["WETH"])),
        set_answer(OWNER, devnet.feeds["WBTC"], FINAL.btc * (1 + SHOCKS["WBTC"])),
        set_feed_ratio(OWNER, devnet.feeds["wstETH"], FINAL.ratio * (1 + RATIO_SHOCK)),
    ]
    for token in {row["debt"] for row in rows}:
        calls.append(transaction(LIQUIDATOR, token, "mint(address,uint256)", LIQUIDATOR, 10**32))
        calls.append(transaction(LIQUIDATOR, token, "approve(address,uint256)", pool, MAX_UINT))
    first = len(calls)
    for row in rows:
        signature = "liquidationCall(address,address,address,uint256,bool)"
        arguments = (row["collateral"], row["debt"], row["user"], MAX_UINT, False)
        calls.append(transaction(LIQUIDATOR, pool, signature, *arguments))
    done = []
    for row, receipt in zip(rows, devnet.send_many(calls, timestamp)[first:], strict=True):
        (data,) = [bytes.fromhex(log["data"][2:]) for log in receipt["logs"] if log["topics"][0] == LIQUIDATION_CALL]
        account = devnet.call(pool, "getUserAccountData(address)", DATA, row["user"])
        repaid, seized = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:64], "big")
        done.append(OnChain(repaid, seized, account[1], account[5]))
    return done


async def test_a_round_equals_the_liquidations_on_chain(devnet: Devnet) -> None:
    timestamp = devnet.head()[1] + 3600
    result = await predict(devnet, timestamp)
    rows = [{str(name): value for name, value in row.items()} for row in result.liquidations.to_dict("records")]
    for row in rows:
        row["user"] = row["account_id"].split("@")[0].rsplit(":", 1)[1]
        row["collateral"], row["debt"] = (row[f"{side}_asset_id"].rsplit(":", 1)[1] for side in ("collateral", "debt"))
    tokens = {row[side] for row in rows for side in ("collateral", "debt")}
    units = {token: 10 ** devnet.call(token, "decimals()", "(uint8)")[0] for token in tokens}
    bad = set(result.bad_debt["account_id"])
    exact = 0
    for row, found in zip(rows, execute(devnet, timestamp, rows), strict=True):
        pairs = (
            (row["repaid"] * units[row["debt"]], found.repaid),
            (row["seized"] * units[row["collateral"]], found.seized),
        )
        assert row["protocol_fee"] == 0
        for ours, theirs in pairs:  # two raw units: the pool rounds three times
            assert ours == pytest.approx(theirs, rel=1e-9, abs=2)
        health = float(result.accounts["health_factor_after"].loc[row["account_id"]])
        if row["account_id"] in bad:
            assert found.health_factor == 0  # v2 leaves the debt on the account, the engine writes it off
            assert found.debt > 0
        elif found.debt > SMALLEST_ETH * 1e18:
            # v2 cuts the average threshold to whole basis points; the legs carry the exact ones.
            assert found.health_factor / 1e18 <= health * (1 + 1e-8)
            assert health == pytest.approx(found.health_factor / 1e18, rel=2e-4)
        exact += all(ours == pytest.approx(theirs, rel=1e-9, abs=0) for ours, theirs in pairs)
    assert exact >= len(rows) - 2 > 20
    assert bad
    assert len({(row["collateral"], row["debt"]) for row in rows}) >= 4
