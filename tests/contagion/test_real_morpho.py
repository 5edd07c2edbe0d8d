"""The round against Morpho Blue itself: the same liquidations, executed at the same prices in the same second."""

from dataclasses import dataclass
from typing import Any

import pytest

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.protocols import morpho_blue
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.protocols.morpho.contracts import Market
from tests.devnet.session import Devnet
from tests.devnet.tokens import FINAL, set_answer, set_feed_ratio

pytestmark = pytest.mark.devnet("morpho")

LIQUIDATOR = "0x00000000000000000000000000000000000A11Ce"
SHOCKS = {"WETH": -0.24, "WBTC": -0.22}
RATIO_SHOCK = -0.05
LIQUIDATE = "0xa4946ede45d0c6f06a0f5ce92c9ad3b4751452d2fe0e25010783bcab57a67e41"
SMALLEST_RAW = 10**7  # of each amount: below, one unit of the contract's rounding is more than a few billionths


@dataclass(frozen=True)
class OnChain:
    """What one liquidate() did, in raw units."""

    repaid: int
    seized: int
    bad_debt: int


async def predict(devnet: Devnet, timestamp: int) -> ContagionResult:
    """One round of the engine on all markets as they stand at `timestamp`, before any price has moved."""
    told = devnet.description.protocols["morpho"]
    before = devnet.snapshot()
    devnet.mine(timestamp)
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        deployment = Deployment("morpho_blue", "Morpho", told["address"], told["first_block"])
        snapshot = from_readings(await morpho_blue.read(chain, deployment))
    devnet.revert(before)
    return run_contagion(snapshot, Scenario("drop", SHOCKS, {"wstETH": RATIO_SHOCK}, max_rounds=1))


def execute(devnet: Devnet, timestamp: int, rows: list[dict[str, Any]]) -> list[OnChain]:
    """The same drop and the same liquidations in one block at `timestamp`, each of all debt or all collateral."""
    told = devnet.description.protocols["morpho"]
    markets = {}
    for market in told["markets"].values():
        loan, collateral, oracle, irm, lltv = market["params"]
        markets[market["id"]] = Market(told["address"], "", "", loan, collateral, oracle, irm, lltv)
    calls = [
        set_answer(OWNER, devnet.feeds["WETH"], FINAL.eth * (1 + SHOCKS["WETH"])),
        set_answer(OWNER, devnet.feeds["WBTC"], FINAL.btc * (1 + SHOCKS["WBTC"])),
        set_feed_ratio(OWNER, devnet.feeds["wstETH"], FINAL.ratio * (1 + RATIO_SHOCK)),
    ]
    for token in {market.loan for market in markets.values()}:
        calls.append(transaction(LIQUIDATOR, token, "mint(address,uint256)", LIQUIDATOR, 10**32))
        calls.append(transaction(LIQUIDATOR, token, "approve(address,uint256)", told["address"], MAX_UINT))
    first = len(calls)
    for row in rows:
        user, market = row["user"], markets[row["market"]]
        signature, returns = "position(bytes32,address)", "(uint256,uint128,uint128)"
        _, shares, collateral = devnet.call(told["address"], signature, returns, market.id, user)
        whole = {"seized": collateral} if row["takes_all"] else {"repaid_shares": shares}
        calls.append(market.liquidate(LIQUIDATOR, user, **whole))
    done = []
    for receipt in devnet.send_many(calls, timestamp)[first:]:
        (data,) = [bytes.fromhex(log["data"][2:]) for log in receipt["logs"] if log["topics"][0] == LIQUIDATE]
        repaid, _, seized, bad_debt, _ = (int.from_bytes(data[at : at + 32], "big") for at in range(0, 160, 32))
        done.append(OnChain(repaid, seized, bad_debt))
    return done


async def test_a_round_equals_the_liquidations_on_chain(devnet: Devnet) -> None:
    timestamp = devnet.head()[1] + 3600
    result = await predict(devnet, timestamp)
    held = result.legs[result.legs["side"] == "collateral"].groupby("account_id")["amount_after"].sum().to_dict()
    bad = result.bad_debt.set_index("account_id")["amount"].to_dict()
    rows: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()} for row in result.liquidations.to_dict("records")
    ]
    for row in rows:
        owner, venue = row["account_id"].split("@")
        row |= {"user": owner.rsplit(":", 1)[1], "market": venue.split("/")[1]}
        row["takes_all"] = held[row["account_id"]] == 0
    units = dict(zip(result.book.asset_ids, (10.0**places for places in _decimals(devnet, result)), strict=True))
    exact = 0
    for row, found in zip(rows, execute(devnet, timestamp, rows), strict=True):
        pairs = [
            (row["repaid"] * units[row["debt_asset_id"]], found.repaid),
            (row["seized"] * units[row["collateral_asset_id"]], found.seized),
            (bad.get(row["account_id"], 0.0) * units[row["debt_asset_id"]], found.bad_debt),
        ]
        for ours, theirs in pairs:
            # A unit of the loan token of rounding is up to 4e9 units of a collateral with 18 decimals.
            assert ours == pytest.approx(theirs, rel=1e-9, abs=2 if found.repaid > SMALLEST_RAW else 10**11)
        exact += all(ours == pytest.approx(theirs, rel=1e-9, abs=0) for ours, theirs in pairs)
    assert exact >= 20
    assert sum(row["takes_all"] for row in rows) >= 3
    assert sum(amount > 0 for amount in bad.values()) >= 2
    assert len({row["market"] for row in rows}) >= 4


def _decimals(devnet: Devnet, result: ContagionResult) -> list[int]:
    tokens = [str(asset_id).rsplit(":", 1)[1] for asset_id in result.book.asset_ids]
    return [devnet.call(token, "decimals()", "(uint8)")[0] for token in tokens]
