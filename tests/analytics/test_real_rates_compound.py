"""Rate curves of Compound v2 against Venus' contracts: their rates now, after a real redemption, and all along a curve.

The models are the bytecode of npm @venusprotocol/venus-protocol 10.3.0. What no bytecode is at hand for is in
tests/protocols/test_compound_v2_rates.py.
"""

import json
from typing import Any

import pytest

from defi_leverage.analytics.rate_curves import borrow_rate, supply_rate
from defi_leverage.analytics.rates import rates_after_withdrawal
from defi_leverage.fixed_point import SECONDS_PER_YEAR, WAD
from defi_leverage.snapshot import Snapshot, from_readings
from tests.books import cell
from tests.devnet.artifacts import Artifacts, pack
from tests.devnet.chain import Deployer, transaction
from tests.devnet.session import Devnet
from tests.devnet.tokens import DECIMALS
from tests.protocols.test_compound_v2 import accrue, read

pytestmark = pytest.mark.devnet("venus")

LENT = ("WETH", "USDC", "DAI")  # nobody has borrowed the others
FEE = 10  # per cent: the reserve factor of tests/devnet/protocols/venus
# By market: the model's class, and its yearly rates and kinks times 1e18, the last number the blocks in its year.
MODELS: dict[str, tuple[str, list[int]]] = {
    "WETH": ("WhitePaperInterestRateModel", [17 * 10**15, 333 * 10**15, 2_102_401]),
    "wstETH": ("JumpRateModel", [0, 123456789 * 10**9, 3 * 10**18, 654_321 * 10**12, 10_512_007]),
    "WBTC": ("InterestRateModelHarness", [10**10]),  # a rate that is set, of which the model tells nothing
    "USDC": (  # falls to nothing, and then again from a step
        "TwoKinksInterestRateModel",
        [10**17, -4 * 10**17, 6 * 10**17, -(10**18), 3 * 10**17, 9 * 10**17, 8 * 10**18, 2_628_001],
    ),
    "DAI": (
        "TwoKinksInterestRateModel",
        [3 * 10**16, 7 * 10**16, 35 * 10**16, 21 * 10**16, 10**16, 85 * 10**16, 4 * 10**18, 2_628_007],
    ),
}


async def read_at(devnet: Devnet, timestamp: int) -> Snapshot:
    before = devnet.snapshot()
    devnet.mine(timestamp)
    found = from_readings([await read(devnet)])
    devnet.revert(before)
    return found


def told(devnet: Devnet) -> dict[str, Any]:
    found: dict[str, Any] = devnet.description.protocols["venus"]
    return found


def asset_of(devnet: Devnet, symbol: str) -> str:
    return f"eip155:{devnet.chain_id}/erc20:{devnet.tokens[symbol]}"


def unit_of(devnet: Devnet) -> float:
    """What a rate of 1e-18 a block is a year, at the pace of all blocks so far."""
    number, timestamp = devnet.head()
    first = int(devnet.rpc("eth_getBlockByNumber", "0x0", False)["timestamp"], 16)
    return number * SECONDS_PER_YEAR / (timestamp - first) / WAD


def close_to(rate: int, unit: float) -> Any:
    """1e-9 of the rate, or what the contract's cut to whole units takes."""
    return pytest.approx(rate * unit, rel=1e-9, abs=4 * unit)


def rates_of(devnet: Devnet, token: str) -> tuple[int, int]:
    """Borrow and supply rate that the market charges, a block."""
    borrow, supply = (devnet.call(token, f"{side}RatePerBlock()", "(uint256)")[0] for side in ("borrow", "supply"))
    return borrow, supply


def install_models(devnet: Devnet) -> dict[str, str]:
    """Each market's model of MODELS in place of what it had, by symbol."""
    root, owner = pack("@venusprotocol/venus-protocol@10.3.0") / "artifacts/contracts", told(devnet)["owner"]
    artifacts = Artifacts(root / "InterestRateModels", root / "test/InterestRateModelHarness.sol")
    deployer = Deployer(devnet.chain, artifacts, owner)
    found = {symbol: deployer.deploy(name, *arguments) for symbol, (name, arguments) in MODELS.items()}
    tokens, signature = told(devnet)["v_tokens"], "_setInterestRateModel(address)"
    devnet.send_many([transaction(owner, tokens[symbol], signature, model) for symbol, model in found.items()])
    return found


async def test_the_present_rate_is_on_its_curve(devnet: Devnet) -> None:
    timestamp = devnet.head()[1] + 12
    snapshot = await read_at(devnet, timestamp)
    rates = snapshot.rates.set_index("asset_id")
    devnet.send_many(accrue(told(devnet)), timestamp)
    unit = unit_of(devnet)
    for symbol in LENT:
        asset_id, token = asset_of(devnet, symbol), told(devnet)["v_tokens"][symbol]
        (market,) = rates_after_withdrawal(snapshot, {asset_id: 1e-12}).to_dict("records")
        borrow, _ = rates_of(devnet, token)
        assert (market["rate_model"], borrow > 0) == ("jump", True)
        assert market["borrow_rate_before"] == close_to(borrow, unit)
        assert market["contract_rate"] == cell(rates, asset_id, "borrow_rate")
        cash, owed, kept = (
            devnet.call(token, f"{name}()", "(uint256)")[0] for name in ("getCash", "totalBorrows", "totalReserves")
        )
        assert kept > 0
        units = [market[name] * 10 ** DECIMALS[symbol] for name in ("available", "borrowed", "supplied")]
        assert units == pytest.approx([cash, owed, cash + owed - kept], rel=1e-15)


@pytest.mark.parametrize(
    ("symbol", "model", "left"),
    [
        ("USDC", "own", 0.93),
        ("WETH", "own", 0.9),
        ("DAI", "own", None),
        ("WETH", "installed", 0.9),
        ("USDC", "installed", 0.95),
        ("DAI", "installed", 0.7),
        ("DAI", "installed", None),
    ],
)
async def test_the_rate_after_a_redemption_is_the_one_foreseen(
    devnet: Devnet, symbol: str, model: str, left: float | None
) -> None:
    """`left`: the utilisation that is left; None empties the market, so that its reserves are lent too."""
    if model == "installed":
        install_models(devnet)
    lenders = [account["address"] for account in told(devnet)["accounts"] if account["kind"] == "lender"]
    token, timestamp = told(devnet)["v_tokens"][symbol], devnet.head()[1] + 12
    lender = max(lenders, key=lambda who: devnet.call(token, "balanceOf(address)", "(uint256)", who)[0])
    snapshot = await read_at(devnet, timestamp)
    (lent,) = snapshot.rates[snapshot.rates["asset_id"] == asset_of(devnet, symbol)].to_dict("records")
    cash = devnet.call(token, "getCash()", "(uint256)")[0]
    amount = lent["available"] if left is None else lent["supplied"] - lent["borrowed"] / left
    raw = cash if left is None else round(amount * 10 ** DECIMALS[symbol])
    found = rates_after_withdrawal(snapshot, {asset_of(devnet, symbol): amount / lent["supplied"]})
    (foreseen,) = found.to_dict("records")
    devnet.send_many([transaction(lender, token, "redeemUnderlying(uint256)", raw)], timestamp)
    borrow, supply = rates_of(devnet, token)
    assert devnet.call(token, "getCash()", "(uint256)")[0] == cash - raw
    assert foreseen["utilisation_before"] < 0.35
    assert foreseen["utilisation_after"] == pytest.approx(left) if left else foreseen["utilisation_after"] > 1
    assert foreseen["borrow_rate_after"] == close_to(borrow, unit_of(devnet))
    assert foreseen["supply_rate_after"] == close_to(supply, unit_of(devnet))


async def test_every_model_s_curve_is_its_own_answer(devnet: Devnet) -> None:
    models = install_models(devnet)
    rates = from_readings([await read(devnet)]).rates.set_index("asset_id")[["rate_model", "rate_parameters"]]
    curves, unit = rates.to_dict("index"), unit_of(devnet)
    kinds = {symbol: curves[asset_of(devnet, symbol)]["rate_model"] for symbol in models}
    assert kinds == {"WETH": "jump", "wstETH": "jump", "WBTC": "", "USDC": "two_kinks", "DAI": "two_kinks"}
    supply_view = "getSupplyRate(uint256,uint256,uint256,uint256)"
    for symbol, model in models.items():
        parameters = json.loads(curves[asset_of(devnet, symbol)]["rate_parameters"])
        if symbol == "WBTC":
            assert parameters == {}
            continue
        assert parameters.get("utilisation_cap") == (1 if kinds[symbol] == "two_kinks" else None)
        idle = 0
        for percent in range(0, 150, 3):
            amounts = (max(0, 100 - percent) * 10**16, percent * 10**16, max(0, percent - 100) * 10**16)
            (borrow,) = devnet.call(model, "getBorrowRate(uint256,uint256,uint256)", "(uint256)", *amounts)
            (supply,) = devnet.call(model, supply_view, "(uint256)", *amounts, FEE * WAD // 100)
            ours = borrow_rate(kinds[symbol], parameters, percent / 100)
            assert ours == close_to(borrow, unit)
            assert supply_rate(parameters, percent / 100, ours) == close_to(supply, unit)
            idle += borrow == 0
        # 27 ... 57 %, from 0.1 - 0.4 U; 78 ... 87 %, from 0.16 - (U - 0.6); and the second kink, at 0.3 - 0.44
        assert idle == {"USDC": 16, "wstETH": 1}.get(symbol, 0)
