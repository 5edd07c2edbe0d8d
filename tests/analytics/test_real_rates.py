"""Rate curves against the contracts themselves: their present rate, and the one that a real withdrawal leaves."""

import asyncio
import json
from typing import Any

import pytest

from defi_leverage.analytics.rates import rates_after_withdrawal
from defi_leverage.chain import open_chain
from defi_leverage.protocols import morpho_blue
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import Snapshot, from_readings
from tests.books import cell
from tests.contagion.test_real_liquidations import read_snapshot
from tests.devnet.chain import transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.protocols.morpho.contracts import PARAMS, Market
from tests.devnet.session import Devnet
from tests.devnet.tokens import DECIMALS

LENDER = "0x000000000000000000000000000000000001e4DE"
BORROWER = "0x00000000000000000000000000000000000B0220"
CONTRACT_UNIT = 365 * 86400 / 10**18  # Morpho's rates are whole numbers of 1e-18 a second
RAY = 10**27
STATE = "(uint128,uint128,uint128,uint128,uint128,uint128)"


def asset_of(devnet: Devnet, symbol: str) -> str:
    return f"eip155:{devnet.chain_id}/erc20:{devnet.tokens[symbol]}"


def aave_rates(devnet: Devnet, key: str, symbol: str) -> tuple[float, float]:
    """Borrow and supply rate that the pool stores."""
    pool = devnet.deployments[key].pool
    (data,) = devnet.call(pool, "getReserveData(address)", "(uint256[15])", devnet.tokens[symbol])
    return data[4] / RAY, data[2] / RAY


def fund(devnet: Devnet, user: str, pool: str, symbol: str, amount: int) -> None:
    token = devnet.tokens[symbol]
    calls = [("mint(address,uint256)", user, amount), ("approve(address,uint256)", pool, MAX_UINT)]
    devnet.send_many([transaction(user, token, *call) for call in calls])
    devnet.transact(user, pool, "supply(address,uint256,address,uint16)", token, amount, user, 0)


def read_at(devnet: Devnet, key: str, timestamp: int) -> Snapshot:
    before = devnet.snapshot()
    devnet.mine(timestamp)
    found = read_snapshot(devnet, key)
    devnet.revert(before)
    return found


@pytest.mark.devnet
@pytest.mark.parametrize("key", ["aave_v3_0", "aave_v3_2"])
def test_aave_s_present_rate_is_on_its_curve(devnet: Devnet, key: str) -> None:
    for symbol, places in DECIMALS.items():
        fund(devnet, LENDER, devnet.deployments[key].pool, symbol, 10**places)
        market = rates_after_withdrawal(read_snapshot(devnet, key), {asset_of(devnet, symbol): 1e-9}).iloc[0]
        stored, _ = aave_rates(devnet, key, symbol)
        assert market["rate_model"] == "kinked"
        assert stored > 0
        assert market["contract_rate"] == pytest.approx(stored, rel=1e-15)
        assert market["borrow_rate_before"] == pytest.approx(stored, rel=1e-9)


@pytest.mark.devnet
@pytest.mark.parametrize("key", ["aave_v3_0", "aave_v3_2"])
@pytest.mark.parametrize("symbol", ["USDC", "WETH"])
def test_aave_s_rate_after_a_withdrawal_is_the_one_foreseen(devnet: Devnet, key: str, symbol: str) -> None:
    market, unit = devnet.deployments[key], 10 ** DECIMALS[symbol]
    before = read_snapshot(devnet, key).rates.set_index("asset_id")
    asset_id = asset_of(devnet, symbol)
    borrowed, available = cell(before, asset_id, "borrowed"), cell(before, asset_id, "available")
    fund(devnet, LENDER, market.pool, symbol, int((borrowed + available) * unit))
    fund(devnet, BORROWER, market.pool, "WBTC", 20_000 * 10 ** DECIMALS["WBTC"])
    borrow = "borrow(address,uint256,uint256,uint16,address)"
    wanted = int(0.95 * available * unit)
    devnet.transact(BORROWER, market.pool, borrow, devnet.tokens[symbol], wanted, 2, 0, BORROWER)
    timestamp = devnet.head()[1] + 3600
    amount = int((borrowed + available) * 0.99 * unit)
    snapshot = read_at(devnet, key, timestamp)
    (lent,) = snapshot.rates[snapshot.rates["asset_id"] == asset_id].to_dict("records")
    share = amount / unit / (lent["borrowed"] + lent["available"])
    (foreseen,) = rates_after_withdrawal(snapshot, {asset_id: share}).to_dict("records")
    withdraw = ("withdraw(address,uint256,address)", devnet.tokens[symbol], amount, LENDER)
    devnet.send_many([transaction(LENDER, market.pool, *withdraw)], timestamp)
    borrow_rate, supply_rate = aave_rates(devnet, key, symbol)
    assert not foreseen["exhausted"]
    assert foreseen["borrow_rate_after"] == pytest.approx(borrow_rate, rel=1e-9)
    assert foreseen["supply_rate_after"] == pytest.approx(supply_rate, rel=1e-9)
    optimal = json.loads(lent["rate_parameters"])["optimal"]
    assert foreseen["utilisation_before"] < optimal < foreseen["utilisation_after"]


def read_morpho(devnet: Devnet) -> Snapshot:
    told = devnet.description.protocols["morpho"]

    async def scan() -> Snapshot:
        async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
            deployment = Deployment("morpho_blue", "Morpho", told["address"], told["first_block"])
            return from_readings(await morpho_blue.read(chain, deployment))

    return asyncio.run(scan())


def morpho_rate(devnet: Devnet, market: Market) -> float:
    """What the rate model charges from now on, a year."""
    state = devnet.call(market.morpho, "market(bytes32)", STATE, market.id)
    signature = f"borrowRateView({PARAMS},{STATE})"
    return float(devnet.call(market.irm, signature, "(uint256)", market.params, state)[0] * CONTRACT_UNIT)


def close_to(rate: float) -> Any:
    """1e-9 of the rate, or two units of the contract's rounding (6e-11 a year)."""
    return pytest.approx(rate, rel=1e-9, abs=2 * CONTRACT_UNIT)


def largest_lender(snapshot: Snapshot, venue_id: str) -> tuple[str, float]:
    """Who lends the most there, and how many tokens."""
    legs = snapshot.legs[snapshot.legs["weight"] == 0]
    venue = legs["account_id"].map(snapshot.accounts.set_index("account_id")["venue_id"])
    legs = legs[venue == venue_id].sort_values("amount")
    return str(legs["account_id"].iloc[-1]).split("@")[0].rsplit(":", 1)[1], float(legs["amount"].iloc[-1])


@pytest.mark.devnet("morpho")
@pytest.mark.parametrize("key", ["weth_usdc", "wsteth_weth", "weth_dai"])
def test_morpho_s_rate_before_and_after_a_withdrawal_is_the_one_foreseen(devnet: Devnet, key: str) -> None:
    told = devnet.description.protocols["morpho"]
    market = Market(told["address"], "", "", *told["markets"][key]["params"])
    timestamp = devnet.head()[1] + 5 * 86400
    start = devnet.snapshot()
    devnet.mine(timestamp)
    snapshot = read_morpho(devnet)
    devnet.revert(start)
    rates = snapshot.rates[snapshot.rates["venue_id"].str.endswith(told["markets"][key]["id"])]
    (lent,) = rates[rates["rate_model"] == "adaptive_curve"].to_dict("records")
    supplied, unit = lent["borrowed"] + lent["available"], 10 ** (6 if key == "weth_usdc" else 18)
    lender, lends = largest_lender(snapshot, lent["venue_id"])
    amount = int(min(lent["available"] * 0.9, lends * 0.99) * unit)
    found = rates_after_withdrawal(snapshot, {lent["asset_id"]: amount / unit / supplied}).set_index("venue_id")

    start = devnet.snapshot()
    devnet.send_many([market.call(LENDER, "accrueInterest", "")], timestamp)
    assert cell(found, lent["venue_id"], "borrow_rate_before") == close_to(morpho_rate(devnet, market))
    target = devnet.call(market.irm, "rateAtTarget(bytes32)", "(int256)", market.id)[0] * CONTRACT_UNIT
    assert json.loads(lent["rate_parameters"])["rate_at_target"] == pytest.approx(target, rel=1e-14)
    devnet.revert(start)

    withdraw = market.call(lender, "withdraw", ",uint256,uint256,address,address", amount, 0, lender, lender)
    devnet.send_many([withdraw], timestamp)
    assert cell(found, lent["venue_id"], "borrow_rate_after") == close_to(morpho_rate(devnet, market))
    assert (
        cell(found, lent["venue_id"], "utilisation_after") > cell(found, lent["venue_id"], "utilisation_before") + 0.1
    )
