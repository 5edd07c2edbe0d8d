"""Rate curves against Aave v3.6 itself, whose suppliers share interest with what bad debt has left unbacked."""

import json

import pytest

from defi_leverage.analytics.rates import rates_after_withdrawal
from defi_leverage.chain import open_chain
from defi_leverage.protocols import aave_v3
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import Snapshot, from_readings
from tests.devnet.chain import transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.session import Devnet

pytestmark = pytest.mark.devnet("aave_v3_origin")

LENDER = "0x000000000000000000000000000000000001e4DE"
BORROWER = "0x00000000000000000000000000000000000B0220"
RAY = 10**27


async def read(devnet: Devnet) -> Snapshot:
    market = devnet.description.protocols["aave_v3_origin"]["market"]
    wanted = Deployment("aave_v3", market["name"], market["provider"], market["first_block"])
    async with open_chain("devnet", devnet.chain_id, [devnet.url]) as chain:
        return from_readings([await aave_v3.read(chain, wanted)])


def stored_rates(devnet: Devnet, symbol: str) -> tuple[float, float]:
    """Borrow and supply rate that the pool stores."""
    told = devnet.description.protocols["aave_v3_origin"]
    (data,) = devnet.call(told["market"]["pool"], "getReserveData(address)", "(uint256[15])", told["tokens"][symbol])
    return data[4] / RAY, data[2] / RAY


def deposit(devnet: Devnet, user: str, symbol: str, amount: int) -> None:
    """Somebody supplies, which brings the pool's rates up to date."""
    told = devnet.description.protocols["aave_v3_origin"]
    pool, token = told["market"]["pool"], told["tokens"][symbol]
    calls = [("mint(address,uint256)", user, amount), ("approve(address,uint256)", pool, MAX_UINT)]
    devnet.send_many([transaction(user, token, *call) for call in calls])
    devnet.transact(user, pool, "supply(address,uint256,address,uint16)", token, amount, user, 0)


@pytest.mark.parametrize("symbol", ["WETH", "USDC", "DAI", "GHO"])
async def test_the_present_rate_and_the_one_after_a_withdrawal(devnet: Devnet, symbol: str) -> None:
    """USDC and DAI have a deficit, which lowers what suppliers get by far more than the tolerance."""
    told = devnet.description.protocols["aave_v3_origin"]
    asset_id = f"eip155:{devnet.chain_id}/erc20:{told['tokens'][symbol]}"
    places = devnet.call(told["tokens"][symbol], "decimals()", "(uint8)")[0]
    start = (await read(devnet)).rates.set_index("asset_id").to_dict("index")[asset_id]
    supplied = int((start["borrowed"] + start["available"]) * 10**places)
    deposit(devnet, LENDER, symbol, supplied)
    deposit(devnet, BORROWER, "WBTC", 10_000 * 10**8)
    terms = (told["tokens"][symbol], int(0.95 * start["available"] * 10**places), 2, 0, BORROWER)
    devnet.transact(BORROWER, told["market"]["pool"], "borrow(address,uint256,uint256,uint16,address)", *terms)
    (now,) = rates_after_withdrawal(await read(devnet), {asset_id: 1e-9}).to_dict("records")
    borrow_rate, supply_rate = stored_rates(devnet, symbol)
    assert now["rate_model"] == "kinked"
    assert now["contract_rate"] == pytest.approx(borrow_rate, rel=1e-15)
    assert now["borrow_rate_before"] == pytest.approx(borrow_rate, rel=1e-9)
    assert now["supply_rate_after"] == pytest.approx(supply_rate, rel=1e-8)
    assert ("unbacked_share" in json.loads(now["rate_parameters"])) == (symbol in {"USDC", "DAI"})

    timestamp = devnet.head()[1] + 3600
    before = devnet.snapshot()
    devnet.mine(timestamp)
    snapshot = await read(devnet)
    devnet.revert(before)
    (lent,) = snapshot.rates[snapshot.rates["asset_id"] == asset_id].to_dict("records")
    amount = supplied * 99 // 100
    share = amount / 10**places / (lent["borrowed"] + lent["available"])
    (foreseen,) = rates_after_withdrawal(snapshot, {asset_id: share}).to_dict("records")
    withdraw = ("withdraw(address,uint256,address)", told["tokens"][symbol], amount, LENDER)
    devnet.send_many([transaction(LENDER, told["market"]["pool"], *withdraw)], timestamp)
    borrow_rate, supply_rate = stored_rates(devnet, symbol)
    assert not foreseen["exhausted"]
    optimal = json.loads(lent["rate_parameters"])["optimal"]
    assert foreseen["utilisation_before"] < optimal < foreseen["utilisation_after"]
    assert foreseen["borrow_rate_after"] == pytest.approx(borrow_rate, rel=1e-9)
    assert foreseen["supply_rate_after"] == pytest.approx(supply_rate, rel=1e-9)
    plain = {name: value for name, value in json.loads(lent["rate_parameters"]).items() if name != "unbacked_share"}
    used = foreseen["utilisation_after"]
    without_deficit = borrow_rate * used * (1 - plain["fee"])
    assert (without_deficit > supply_rate * (1 + 1e-6)) == (symbol in {"USDC", "DAI"})
