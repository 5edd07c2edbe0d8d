"""Rate curves of Aave v2 against the protocol's own bytecode (npm @aave/protocol-v2 1.0.1), stable debt included."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from defi_leverage.analytics.rate_curves import borrow_rate, supply_rate
from defi_leverage.analytics.rates import rates_after_withdrawal
from defi_leverage.fixed_point import RAY, WAD
from defi_leverage.snapshot import Snapshot, from_readings
from tests.devnet.artifacts import Artifacts, pack
from tests.devnet.chain import Deployer, transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.protocols.aave_v2.market import STABLE, VARIABLE, WITH_STABLE_RATE
from tests.devnet.session import Devnet
from tests.devnet.tokens import DECIMALS
from tests.protocols.test_aave_v2 import KEYS, read

pytestmark = pytest.mark.devnet("aave_v2")

LENDER = "0x000000000000000000000000000000000001e4DE"
BORROWER = "0x00000000000000000000000000000000000B0220"
RATES = "(uint256,uint256,uint256)"


def told(devnet: Devnet, key: str) -> dict[str, Any]:
    found: dict[str, Any] = devnet.description.protocols["aave_v2"]["markets"][key]
    return found


def asset_of(devnet: Devnet, key: str, symbol: str) -> str:
    return f"eip155:{devnet.chain_id}/erc20:{told(devnet, key)['assets'][symbol]}"


def read_at(devnet: Devnet, key: str, timestamp: int | None = None) -> Snapshot:
    before = devnet.snapshot()
    if timestamp is not None:
        devnet.mine(timestamp)
    found = from_readings([asyncio.run(read(devnet, key))])
    devnet.revert(before)
    return found


def lent(snapshot: Snapshot, asset_id: str) -> dict[str, Any]:
    (row,) = snapshot.rates[snapshot.rates["asset_id"] == asset_id].to_dict("records")
    return {str(name): value for name, value in row.items()} | {"parameters": json.loads(row["rate_parameters"])}


def stored_rates(devnet: Devnet, key: str, symbol: str) -> tuple[float, float]:
    """Rate of variable debt and of suppliers, as the pool's last update left them."""
    pool, token = told(devnet, key)["pool"], told(devnet, key)["assets"][symbol]
    (data,) = devnet.call(pool, "getReserveData(address)", "(uint256[12])", token)
    return data[4] / RAY, data[3] / RAY


def fund(devnet: Devnet, key: str, user: str, amounts: Mapping[str, int]) -> None:
    """Deposit all of it in one block, the last."""
    assets, pool = told(devnet, key)["assets"], told(devnet, key)["pool"]
    tokens = {assets[symbol]: amount for symbol, amount in amounts.items()}
    mints = [transaction(user, token, "mint(address,uint256)", user, amount) for token, amount in tokens.items()]
    devnet.send_many(
        [*mints, *(transaction(user, token, "approve(address,uint256)", pool, MAX_UINT) for token in tokens)]
    )
    signature = "deposit(address,uint256,address,uint16)"
    devnet.send_many([transaction(user, pool, signature, token, tokens[token], user, 0) for token in tokens])


@pytest.mark.parametrize("key", KEYS)
def test_the_present_rates_are_on_the_curve(devnet: Devnet, key: str) -> None:
    """Of suppliers too, where a part of the debt is stable."""
    with_stable_debt = 0
    fund(devnet, key, LENDER, {symbol: 10 ** DECIMALS.get(symbol, 18) for symbol in told(devnet, key)["assets"]})
    snapshot = read_at(devnet, key)
    for symbol in told(devnet, key)["assets"]:
        row = lent(snapshot, asset_of(devnet, key, symbol))
        used = row["borrowed"] / (row["borrowed"] + row["available"])
        ours = borrow_rate(row["rate_model"], row["parameters"], used)
        borrow, supply = stored_rates(devnet, key, symbol)
        assert (row["rate_model"], row["borrow_rate"], row["supply_rate"]) == ("kinked", borrow, supply)
        assert ours == pytest.approx(borrow, rel=1e-9)
        assert supply_rate(row["parameters"], used, ours) == pytest.approx(supply, rel=1e-9)
        with_stable_debt += row["parameters"].get("stable_share", 0) > 0.01
    assert with_stable_debt


@pytest.mark.parametrize(("key", "symbol"), [("eth", "USDC"), ("usd", "USDC"), ("eth", "WETH"), ("usd", "WBTC")])
def test_the_rates_after_a_withdrawal_are_those_foreseen(devnet: Devnet, key: str, symbol: str) -> None:
    """Past the optimal utilisation, with debt at both rates where the reserve lends at a stable one."""
    market, unit = told(devnet, key), 10 ** DECIMALS[symbol]
    asset_id, token = asset_of(devnet, key, symbol), market["assets"][symbol]
    supplied = 4 * devnet.call(market["a_tokens"][symbol], "totalSupply()", "(uint256)")[0]
    fund(devnet, key, LENDER, {symbol: 3 * supplied // 4})
    fund(devnet, key, BORROWER, {"DAI": 10**12 * 10 ** DECIMALS["DAI"]})
    signature = "borrow(address,uint256,uint256,uint16,address)"
    parts = ((VARIABLE, 0.3), (STABLE, 0.1)) if symbol in WITH_STABLE_RATE else ((VARIABLE, 0.4),)
    for mode, share in parts:
        devnet.transact(BORROWER, market["pool"], signature, token, int(share * supplied), mode, 0, BORROWER)
    timestamp = devnet.head()[1] + 5 * 3600
    snapshot = read_at(devnet, key, timestamp)
    before = lent(snapshot, asset_id)
    amount = int((before["borrowed"] + before["available"] - before["borrowed"] / 0.96) * unit)
    share = amount / unit / (before["borrowed"] + before["available"])
    (foreseen,) = rates_after_withdrawal(snapshot, {asset_id: share}).to_dict("records")
    withdraw = ("withdraw(address,uint256,address)", token, amount, LENDER)
    devnet.send_many([transaction(LENDER, market["pool"], *withdraw)], timestamp)
    borrow, supply = stored_rates(devnet, key, symbol)
    assert foreseen["utilisation_before"] < before["parameters"]["optimal"] < foreseen["utilisation_after"]
    assert foreseen["utilisation_after"] == pytest.approx(0.96)
    assert foreseen["borrow_rate_after"] == pytest.approx(borrow, rel=1e-9)
    assert foreseen["supply_rate_after"] == pytest.approx(supply, rel=1e-9)
    if symbol in WITH_STABLE_RATE:
        plain = {name: value for name, value in before["parameters"].items() if not name.startswith("stable")}
        without = supply_rate(plain, foreseen["utilisation_after"], foreseen["borrow_rate_after"])
        assert without > 1.05 * supply  # what counts here: all debt at the variable rate would pay more


def test_a_strategy_is_its_own_answer_all_along(devnet: Devnet) -> None:
    """Odd parameters, among them a curve without an excess; 50 utilisations, a third of the debt stable at 7 %."""
    market = told(devnet, "usd")
    configurator = devnet.call(market["provider"], "getLendingPoolConfigurator()", "(address)")[0]
    owner = devnet.call(market["provider"], "getPoolAdmin()", "(address)")[0]
    deployer = Deployer(devnet.chain, Artifacts(pack("@aave/protocol-v2@1.0.1") / "artifacts"), owner)
    curves = {
        "WETH": (45 * RAY // 100, 0, 7 * RAY // 100, 3 * RAY),
        "USDC": (123456789 * RAY // 10**9, 17 * RAY // 1000, 333 * RAY // 10**4, 7 * RAY // 10),
        "WBTC": (RAY, RAY // 100, 15 * RAY // 100, 0),
    }
    strategies = {}
    for symbol, curve in curves.items():
        arguments = (market["provider"], *curve, RAY // 50, RAY)
        strategies[symbol] = deployer.deploy("DefaultReserveInterestRateStrategy", *arguments)
        signature = "setReserveInterestRateStrategyAddress(address,address)"
        deployer.send(configurator, (signature, market["assets"][symbol], strategies[symbol]))
    snapshot = read_at(devnet, "usd")
    signature = "calculateInterestRates(address,uint256,uint256,uint256,uint256,uint256)"
    for symbol, curve in curves.items():
        row = lent(snapshot, asset_of(devnet, "usd", symbol))
        assert row["parameters"]["slope2"] == curve[3] / RAY
        parameters = row["parameters"] | {"stable_share": 1 / 3, "stable_rate": 0.07, "fee": 0.1}
        for percent in range(0, 101, 2):
            amounts = (WAD * (100 - percent), WAD * percent // 3, WAD * percent - WAD * percent // 3)
            asked = (market["assets"][symbol], *amounts, 7 * RAY // 100, 1_000)
            supply, _, borrow = devnet.call(strategies[symbol], signature, RATES, *asked)
            ours = borrow_rate("kinked", parameters, percent / 100)
            assert ours == pytest.approx(borrow / RAY, rel=1e-9)
            assert supply_rate(parameters, percent / 100, ours) == pytest.approx(supply / RAY, rel=1e-9)
