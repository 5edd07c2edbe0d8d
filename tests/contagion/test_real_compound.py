"""The round against Venus' core pool itself: the same liquidations, executed at the same prices in the same block."""

from dataclasses import dataclass
from typing import Any

import pytest

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import compound_v2
from defi_leverage.reading import Deployment, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.calldata import encode_call
from tests.devnet.chain import Transaction, transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.session import Devnet
from tests.devnet.tokens import FINAL, set_answer, set_feed_ratio

pytestmark = pytest.mark.devnet("venus")

LIQUIDATOR = "0x00000000000000000000000000000000000A11Ce"
SHOCKS = {"WETH": -0.26, "WBTC": -0.22}
RATIO_SHOCK = -0.08
LIQUIDATE = "0xdd091524d794aecdb5235b2d816620c2598790835e0f3849808504c2dcb4f1a9"
SMALLEST_USD = 100  # of debt left: below, the rounding of single tokens shows


@dataclass(frozen=True)
class OnChain:
    """What one liquidation did: raw units repaid, vTokens for the liquidator and for the treasury."""

    repaid: int
    for_liquidator: int
    for_treasury: int


def accrue(told: dict[str, Any]) -> list[Transaction]:
    """A liquidation accrues the interest of its markets first: here all do, in the prediction as in the execution."""
    markets = [transaction(LIQUIDATOR, token, "accrueInterest()") for token in told["v_tokens"].values()]
    return [*markets, transaction(LIQUIDATOR, told["vai_controller"], "accrueVAIInterest()")]


async def read(devnet: Devnet) -> Reading:
    (reads,) = devnet.description.protocols["venus"]["reads"]
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        deployment = Deployment("compound_v2", reads["name"], reads["address"], reads["first_block"])
        return await compound_v2.read(chain, deployment)


def drop(devnet: Devnet) -> list[Transaction]:
    return [
        set_answer(OWNER, devnet.feeds["WETH"], FINAL.eth * (1 + SHOCKS["WETH"])),
        set_answer(OWNER, devnet.feeds["WBTC"], FINAL.btc * (1 + SHOCKS["WBTC"])),
        set_feed_ratio(OWNER, devnet.feeds["wstETH"], FINAL.ratio * (1 + RATIO_SHOCK)),
    ]


def fund(devnet: Devnet) -> None:
    """The liquidator may repay any debt."""
    told = devnet.description.protocols["venus"]
    calls = []
    for token in devnet.tokens.values():
        calls += [transaction(LIQUIDATOR, token, "mint(address,uint256)", LIQUIDATOR, 10**32)]
        calls += [transaction(LIQUIDATOR, token, "approve(address,uint256)", told["liquidator"], MAX_UINT)]
    calls += [transaction(told["owner"], told["vai"], "mint(address,uint256)", LIQUIDATOR, 10**32)]
    calls += [transaction(LIQUIDATOR, told["vai"], "approve(address,uint256)", told["liquidator"], MAX_UINT)]
    devnet.send_many(calls)


def execute(devnet: Devnet, timestamp: int, rows: list[dict[str, Any]]) -> list[OnChain]:
    told = devnet.description.protocols["venus"]
    calls = [*accrue(told), *drop(devnet)]
    first = len(calls)
    for row in rows:
        arguments = row["debt_market"], row["user"], row["repay_raw"], row["collateral_market"]
        data = encode_call("liquidateBorrow(address,address,uint256,address)", *arguments)
        calls.append(Transaction(LIQUIDATOR, told["liquidator"], data, f"liquidation of {row['user']}"))
    done = []
    for receipt in devnet.send_many(calls, timestamp)[first:]:
        (data,) = [bytes.fromhex(log["data"][2:]) for log in receipt["logs"] if log["topics"][0] == LIQUIDATE]
        repaid, _, treasury, liquidator = (int.from_bytes(data[at : at + 32], "big") for at in range(0, 128, 32))
        done.append(OnChain(repaid, liquidator, treasury))
    return done


async def test_a_round_equals_the_liquidations_on_chain(devnet: Devnet) -> None:
    told = devnet.description.protocols["venus"]
    fund(devnet)
    timestamp = devnet.head()[1] + 3600
    before = devnet.snapshot()
    devnet.send_many(accrue(told), timestamp)
    reading = await read(devnet)
    devnet.revert(before)
    assert reading.failed == {}
    result = run_contagion(from_readings([reading]), Scenario("drop", SHOCKS, {"wstETH": RATIO_SHOCK}, max_rounds=1))
    chain = f"eip155:{devnet.chain_id}/erc20:"
    markets = {chain + devnet.tokens[symbol]: token for symbol, token in told["v_tokens"].items()}
    markets[chain + told["vai"]] = told["vai_controller"]
    unit = {asset.asset_id: 10**asset.decimals for asset in reading.assets}
    owed = {(a.address, leg.asset_id): leg.amount_raw for a in reading.accounts for leg in a.legs if leg.side == "debt"}
    rows = [{str(name): value for name, value in row.items()} for row in result.liquidations.to_dict("records")]
    capped = 0
    for row in rows:
        row["user"] = row["account_id"].split("@")[0].rsplit(":", 1)[1]
        row["debt_market"], row["collateral_market"] = (
            markets[row[name]] for name in ("debt_asset_id", "collateral_asset_id")
        )
        half, wanted = owed[row["user"], row["debt_asset_id"]] // 2, row["repaid"] * unit[row["debt_asset_id"]]
        is_capped = wanted < half * (1 - 1e-9) - 1
        capped += is_capped
        # Where the collateral runs out, a float's last digit must not ask for more of it than there is.
        row["repay_raw"] = int(wanted * (1 - 1e-12)) if is_capped else half
    found = execute(devnet, timestamp, rows)
    rate = {token: devnet.call(token, "exchangeRateStored()", "(uint256)")[0] for token in told["v_tokens"].values()}
    after = {account.address: account for account in (await read(devnet)).accounts}
    prices = {
        token: devnet.call(told["oracle"], "getUnderlyingPrice(address)", "(uint256)", token)[0]
        for token in told["v_tokens"].values()
    }
    prices[told["vai_controller"]] = WAD  # liquidateVAICalculateSeizeTokens
    bad = result.bad_debt.groupby("account_id")["usd"].sum().to_dict()
    to_a_billionth, healthy = 0, 0
    for row, done in zip(rows, found, strict=True):
        token, units = row["collateral_market"], unit[row["collateral_asset_id"]]
        a_token = rate[token] / WAD  # raw underlying
        # The contract cuts the tokens a raw unit of debt to 18 digits: 78,347 of them for WBTC against DAI.
        digits = WAD * prices[row["debt_market"]] // (prices[token] * rate[token] // WAD)
        pairs = (
            (row["repaid"] * unit[row["debt_asset_id"]], done.repaid, 1),
            (row["seized"] * units, (done.for_liquidator + done.for_treasury) * a_token, 2 * a_token),
            (row["protocol_fee"] * units, done.for_treasury * a_token, 2 * a_token),
        )
        for ours, theirs, rounding in pairs:
            assert ours == pytest.approx(theirs, rel=1e-9 + 1 / digits, abs=rounding), row
        exact = all(ours == pytest.approx(theirs, rel=1e-9, abs=0) for ours, theirs, _ in pairs)
        to_a_billionth += exact
        left, account_id = after[row["user"]], row["account_id"]
        if account_id in bad:  # the contracts leave the debt with the account, and a vToken or two
            assert bad[account_id] == pytest.approx(left.debt_base_raw / WAD, rel=1e-9, abs=1e-6)
        elif exact and left.debt_base_raw > SMALLEST_USD * WAD:
            health = float(result.accounts["health_factor_after"].loc[account_id])
            assert health == pytest.approx((left.health_factor_raw or 0) / WAD, rel=1e-9, abs=0)
            healthy += 1
    assert to_a_billionth >= 20
    assert healthy >= 20
    assert len(bad) >= 3
    assert chain + told["vai"] in {row["debt_asset_id"] for row in rows}
    modes = {account.address: account.mode for account in reading.accounts}
    assert {modes[row["user"]] for row in rows} == {"cross", "emode:1"}
