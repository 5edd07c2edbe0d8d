"""The round against real contracts: the same liquidations, executed on chain at the same prices in the same second."""

import asyncio
from dataclasses import dataclass

import pytest

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.protocols import aave_v3
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import Snapshot, from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import Transaction, transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.session import Devnet
from tests.devnet.tokens import DECIMALS, FINAL, set_answer, set_feed_ratio

pytestmark = pytest.mark.devnet

LIQUIDATOR = "0x00000000000000000000000000000000000A11Ce"
SHOCKS = {"WETH": -0.24, "WBTC": -0.22}
RATIO_SHOCK = -0.02
LIQUIDATION_CALL = "0xe413a321e8681d831f4dbccbca790d2952b56f977908e45be37335533e005286"
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
SMALLEST_USD = 100.0  # of debt left: below, the pool's own rounding of its totals shows


@dataclass(frozen=True)
class OnChain:
    """What one liquidationCall did, in raw units, and the account's health factor and total debt after the block."""

    repaid: int
    seized: int
    fee: int
    health_factor: int
    debt_base: int


def read_snapshot(devnet: Devnet, key: str) -> Snapshot:
    """A scan of one market at the head."""
    market = devnet.deployments[key]
    deployment = Deployment("aave_v3", market.name, market.provider, market.first_block)

    async def scan() -> Snapshot:
        async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
            return from_readings([await aave_v3.read(chain, deployment)])

    return asyncio.run(scan())


def predict(devnet: Devnet, key: str, timestamp: int) -> ContagionResult:
    """One round of the engine on the market as it stands at `timestamp`, before any price has moved."""
    before = devnet.snapshot()
    devnet.mine(timestamp)
    scenario = Scenario("drop", SHOCKS, {"wstETH": RATIO_SHOCK}, max_rounds=1)
    result = run_contagion(read_snapshot(devnet, key), scenario)
    devnet.revert(before)
    return result


def execute(devnet: Devnet, key: str, timestamp: int, result: ContagionResult) -> dict[str, OnChain]:
    """The same price drop and the same liquidations in one block at `timestamp`; by account."""
    market, pool = devnet.deployments[key], devnet.deployments[key].pool
    symbol_of = {f"eip155:{devnet.chain_id}/erc20:{address}": symbol for symbol, address in devnet.tokens.items()}
    treasury = devnet.call(market.a_tokens["WETH"], "RESERVE_TREASURY_ADDRESS()", "(address)")[0]
    drop = [
        set_answer(OWNER, devnet.feeds["WETH"], FINAL.eth * (1 + SHOCKS["WETH"])),
        set_answer(OWNER, devnet.feeds["WBTC"], FINAL.btc * (1 + SHOCKS["WBTC"])),
        set_feed_ratio(OWNER, devnet.feeds["wstETH"], FINAL.ratio * (1 + RATIO_SHOCK)),
    ]
    calls: list[Transaction] = []
    users: list[str] = []
    for row in result.liquidations.to_dict("records"):
        users.append(row["account_id"].split("@")[0].split(":")[-1])
        collateral, debt = (devnet.tokens[symbol_of[row[name]]] for name in ("collateral_asset_id", "debt_asset_id"))
        signature = "liquidationCall(address,address,address,uint256,bool)"
        calls.append(transaction(LIQUIDATOR, pool, signature, collateral, debt, users[-1], MAX_UINT, False))
    receipts = devnet.send_many([*drop, *calls], timestamp)[len(drop) :]
    done = {}
    for user, receipt in zip(users, receipts, strict=True):
        logs = receipt["logs"]
        event = next(log for log in logs if log["topics"][0] == LIQUIDATION_CALL)
        data = bytes.fromhex(event["data"][2:])
        fee = sum(
            int(log["data"], 16)
            for log in logs
            if log["topics"][0] == TRANSFER
            and log["topics"][1][-40:] == user[2:].lower()
            and log["topics"][2][-40:] == treasury[2:].lower()
        )
        account = devnet.call(
            pool, "getUserAccountData(address)", "(uint256,uint256,uint256,uint256,uint256,uint256)", user
        )
        done[user] = OnChain(
            repaid=int.from_bytes(data[0:32], "big"),
            seized=int.from_bytes(data[32:64], "big") + fee,
            fee=fee,
            health_factor=account[5],
            debt_base=account[1],
        )
    return done


@pytest.mark.parametrize("key", ["aave_v3_0", "aave_v3_2"])
def test_a_round_equals_the_liquidations_on_chain(devnet: Devnet, key: str) -> None:
    for symbol in DECIMALS:
        devnet.mint(symbol, LIQUIDATOR, 10**12 * 10 ** DECIMALS[symbol])
        devnet.transact(
            LIQUIDATOR, devnet.tokens[symbol], "approve(address,uint256)", devnet.deployments[key].pool, MAX_UINT
        )
    timestamp = devnet.head()[1] + 3600
    result = predict(devnet, key, timestamp)
    on_chain = execute(devnet, key, timestamp, result)
    unit = {f"eip155:{devnet.chain_id}/erc20:{devnet.tokens[s]}": 10**places for s, places in DECIMALS.items()}
    bad_usd = result.bad_debt.groupby("account_id")["usd"].sum().to_dict()
    kinds = {"half": 0, "whole": 0, "bad": 0}
    to_a_billionth = 0
    for row in result.liquidations.to_dict("records"):
        account = row["account_id"]
        found = on_chain[account.split("@")[0].split(":")[-1]]
        debt_unit, collateral_unit = unit[row["debt_asset_id"]], unit[row["collateral_asset_id"]]
        amounts = (
            (row["repaid"] * debt_unit, found.repaid),
            (row["seized"] * collateral_unit, found.seized),
            (row["protocol_fee"] * collateral_unit, found.fee),
        )
        for ours, theirs in amounts:  # two raw units: the pool rounds three times
            assert ours == pytest.approx(theirs, rel=1e-9, abs=2)
        bad = bad_usd.get(account, 0.0)
        assert bad == pytest.approx(found.debt_base / 1e8 if bad else 0.0, rel=1e-9, abs=2e-6)  # two units of USDC
        health = (float(result.accounts["health_factor_after"].loc[account]), found.health_factor / 1e18)
        if bad:
            assert found.health_factor == 0  # 3.0 to 3.2 leave the debt on the account, the engine writes it off
        elif found.debt_base == 0:
            assert health[0] == float("inf")
        elif found.debt_base > SMALLEST_USD * 1e8:
            # Two raw units of 8-decimal WBTC are 0.0018 USD.
            assert health[0] == pytest.approx(health[1], rel=1e-9 + 0.0018 / (found.debt_base / 1e8))
        agrees = all(ours == pytest.approx(theirs, rel=1e-9, abs=0) for ours, theirs in amounts)
        agrees &= bad > 0 or found.debt_base == 0 or health[0] == pytest.approx(health[1], rel=1e-9)
        to_a_billionth += agrees
        kinds["bad"] += bad > 0
        kinds["half" if row["health_factor"] > 0.95 else "whole"] += 1
    capped = result.legs.groupby(["account_id", "side"])["amount_after"].sum().unstack()["collateral"] == 0
    kinds["capped"] = int(capped.sum())
    assert to_a_billionth >= 20
    assert all(kinds.values()), kinds
