"""The rate strategies of Aave v4's hubs by hand, and against the stand-ins' rates before and after a withdrawal."""

import asyncio
import json
from typing import Any

import pytest

from defi_leverage.analytics.rate_curves import supply_rate
from defi_leverage.analytics.rates import rates_after_withdrawal
from defi_leverage.chain import open_chain
from defi_leverage.fixed_point import RAY
from defi_leverage.protocols import aave_v4
from defi_leverage.protocols.aave_v4.rate_curves import Loans, drawn_rate, kinked_curve
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import Snapshot, from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.protocols.aave_v4 import RATE_DATA
from tests.devnet.session import Devnet

NEIGHBOUR = "0x00000000000000000000000000000000000A11Ce"  # acts as another spoke of the hub
ASSET = (
    "((uint120,uint120,uint8,uint120,uint120,int200,uint120,uint120,uint16,uint120,uint96,uint40,address,address,"
    "address,address,uint200))"
)
BPS_RAY = RAY // 10_000
DATA = (8000, 100, 400, 5000)  # 1 % at no usage, 5 % at 80 %, 55 % at all
USAGES = [(5, 0, 0, 0), (6, 4, 0, 0), (2, 8, 0, 0), (1, 9, 0, 0), (0, 10, 7, 0), (3, 4, 0, 3)]
RATES = [100 * BPS_RAY, 300 * BPS_RAY, 500 * BPS_RAY, 3000 * BPS_RAY, 5500 * BPS_RAY, 300 * BPS_RAY]


def test_drawn_rates_by_hand() -> None:
    """A deficit does not count, and what is swept away is as good as there; a third of all is rounded up."""
    assert [drawn_rate(DATA, *usage) for usage in USAGES] == RATES
    third = -(-RAY // 3)
    assert drawn_rate((5000, 0, 10_000, 0), 2, 1, 0, 0) == 2 * third
    assert kinked_curve(DATA, USAGES, RATES) == {
        "optimal": 8 * RAY // 10,
        "base": RAY // 100,
        "slope1": 4 * RAY // 100,
        "slope2": RAY // 2,
    }


@pytest.mark.parametrize("at", range(6))
def test_rates_beside_the_curve_are_another_strategy_s(at: int) -> None:
    assert kinked_curve(DATA, USAGES, [rate + (n == at) for n, rate in enumerate(RATES)]) is None
    assert kinked_curve(DATA, USAGES, [None if n == at else rate for n, rate in enumerate(RATES)]) is None
    assert kinked_curve(None, USAGES, RATES) is None
    assert kinked_curve((0, 0, 0, 0), USAGES, [None] * 6) is None  # no data are set


def test_the_premium_by_hand() -> None:
    """800 drawn bear 880, of 1,000 that suppliers own; with 40 accrued of it and a deficit of 60 they own 1,100."""
    assert Loans("", 150, 800, 50, 0, 880, 1_000, 0).premium == RAY // 10
    assert Loans("", 150, 800, 50, 60, 880, 1_100, 0).premium == 0
    assert Loans("", 150, 0, 50, 0, 0, 200, 0).premium == 0
    # 5 % on 80 %, a tenth more by premiums, a tenth less by the fee
    assert supply_rate({"fee": 0.1, "premium": 0.1}, 0.8, 0.05) == pytest.approx(0.0396)


class Spoke:
    """The devnet's spoke, whose hub has the strategy for an asset."""

    def __init__(self, devnet: Devnet, symbol: str, strategy: str) -> None:
        self.devnet, self.told, self.symbol = devnet, devnet.description.protocols["aave_v4"], symbol
        self.hub, self.asset = self.told["hub"], self.told["reserves"][symbol]
        devnet.transact(OWNER, self.hub, "setStrategy(uint256,address)", self.asset, self.told["strategies"][strategy])

    def hub_asset(self) -> Any:
        return self.devnet.call(self.hub, "getAsset(uint256)", ASSET, self.asset)[0]

    @property
    def asset_id(self) -> str:
        return f"eip155:{self.devnet.chain_id}/erc20:{self.devnet.tokens[self.symbol]}"

    def charged(self) -> float:
        """The drawn rate from now on, a year."""
        return float(self.devnet.call(self.hub, "getAssetDrawnRate(uint256)", "(uint256)", self.asset)[0] / RAY)

    def add_neighbour(self, added: int, drawn: int) -> None:
        """Another spoke adds to the hub and draws from it."""
        self.devnet.mint(self.symbol, NEIGHBOUR, added)
        self.devnet.transact(NEIGHBOUR, self.devnet.tokens[self.symbol], "approve(address,uint256)", self.hub, MAX_UINT)
        self.devnet.transact(NEIGHBOUR, self.hub, "add(uint256,uint256,address)", self.asset, added, NEIGHBOUR)
        self.devnet.transact(NEIGHBOUR, self.hub, "draw(uint256,uint256,address)", self.asset, drawn, NEIGHBOUR)

    def read(self, timestamp: int | None = None) -> Snapshot:
        """The snapshot at the head, or in an empty block of a later time."""
        deployment = Deployment("aave_v4", "Spoke", self.told["address"], self.told["first_block"])

        async def scan() -> Snapshot:
            async with open_chain("devnet", self.devnet.chain_id, [self.devnet.url], "latest") as chain:
                return from_readings([await aave_v4.read(chain, deployment)])

        before = self.devnet.snapshot()
        if timestamp is not None:
            self.devnet.mine(timestamp)
        found = asyncio.run(scan())
        self.devnet.revert(before)
        return found

    def lent(self, snapshot: Snapshot) -> dict[str, Any]:
        """The asset's row in the table `rates`."""
        (row,) = snapshot.rates[snapshot.rates["asset_id"] == self.asset_id].to_dict("records")
        return {str(name): value for name, value in row.items()}


@pytest.mark.devnet("aave_v4")
@pytest.mark.parametrize(("symbol", "places"), [("USDC", 6), ("WETH", 18)])
def test_rates_before_and_after_a_withdrawal(devnet: Devnet, symbol: str, places: int) -> None:
    """The spoke's largest lender leaves, while another spoke has drawn from the hub and some of it is swept away."""
    spoke = Spoke(devnet, symbol, "RateStrategy")
    liquidity = spoke.hub_asset()[0]
    spoke.add_neighbour(liquidity // 10, liquidity // 4)
    devnet.transact(OWNER, spoke.hub, "sweep(uint256,uint256)", spoke.asset, liquidity // 20)
    timestamp = devnet.head()[1] + 5 * 86_400
    snapshot = spoke.read(timestamp)
    lent = spoke.lent(snapshot)
    assert (lent["rate_model"], lent["pool"]) == ("kinked", f"eip155:{devnet.chain_id}:{spoke.hub}/{spoke.asset}")
    assert lent["supplied"] > lent["borrowed"] + lent["available"] + 0.9 * liquidity / 20 / 10**places
    lender = next(x["address"] for x in spoke.told["accounts"] if x["kind"] == "lender" and holds(spoke, x["address"]))
    share = 0.97 * lent["available"] / lent["supplied"]
    amount = int(share * lent["supplied"] * 10**places)
    (foreseen,) = rates_after_withdrawal(snapshot, {spoke.asset_id: share}).to_dict("records")
    (unmoved,) = rates_after_withdrawal(snapshot, {spoke.asset_id: 1e-12}).to_dict("records")

    before = devnet.snapshot()
    devnet.send_many([transaction(NEIGHBOUR, spoke.hub, "sweep(uint256,uint256)", spoke.asset, 0)], timestamp)
    assert foreseen["borrow_rate_before"] == pytest.approx(spoke.charged(), rel=1e-9)
    # what suppliers earn is what they are told in the same second: premiums and the fee included
    assert unmoved["supply_rate_after"] == pytest.approx(spoke.lent(spoke.read())["supply_rate"], rel=1e-9)
    devnet.revert(before)
    withdraw = ("withdraw(uint256,uint256,address)", spoke.asset, amount, lender)
    devnet.send_many([transaction(lender, spoke.told["address"], *withdraw)], timestamp)
    assert foreseen["borrow_rate_after"] == pytest.approx(spoke.charged(), rel=1e-9)
    # what is accrued of premiums is suppliers', but not of the usage: beyond the present it is left out
    assert foreseen["supply_rate_after"] == pytest.approx(spoke.lent(spoke.read())["supply_rate"], rel=3e-4)
    assert foreseen["utilisation_before"] < 0.4
    assert (foreseen["utilisation_after"] > RATE_DATA[0] / 10_000) == (symbol == "USDC")


def holds(spoke: Spoke, user: str) -> bool:
    position = "((uint120,uint120,int200,uint120,uint32))"
    signature = "getUserPosition(uint256,address)"
    return bool(spoke.devnet.call(spoke.told["address"], signature, position, spoke.asset, user)[0][3])


@pytest.mark.devnet("aave_v4")
def test_the_curve_is_the_hub_s_and_not_the_spoke_s_own(devnet: Devnet) -> None:
    spoke = Spoke(devnet, "USDC", "RateStrategy")
    own = spoke.lent(spoke.read())
    spoke.add_neighbour(10**6, 2 * 10**12)
    lent = spoke.lent(spoke.read())
    assert lent["borrowed"] == pytest.approx(own["borrowed"] + 2e6, rel=1e-6)
    assert lent["utilisation"] == pytest.approx(own["utilisation"], rel=1e-6)
    assert lent["borrow_rate"] == pytest.approx(spoke.charged(), rel=1e-12)
    parameters = json.loads(lent["rate_parameters"])
    assert {name: round(parameters[name] * 10_000) for name in ("optimal", "base", "slope1", "slope2")} == dict(
        zip(("optimal", "base", "slope1", "slope2"), RATE_DATA, strict=True)
    )
    assert parameters["fee"] == pytest.approx(0.1)
    assert 0 < parameters["premium"] < 0.25


@pytest.mark.devnet("aave_v4")
def test_assets_of_other_strategies_have_no_curve(devnet: Devnet) -> None:
    """One that charges for deficits has the same data, and the same rate today: DAI has a deficit, USDC none."""
    spoke = Spoke(devnet, "USDC", "DeficitStrategy")
    snapshot = spoke.read()
    assert (spoke.lent(snapshot)["rate_model"], spoke.lent(snapshot)["borrow_rate"] > 0) == ("", True)
    assert set(snapshot.rates["rate_model"]) == {""}  # the others have none
