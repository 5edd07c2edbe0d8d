"""The perp rule against Synthetix v3 perps itself, release 3.13.0 from npm: the same liquidations at one price.

What all traders may claim of the market (reportedDebt) falls, in the block of a liquidation, by what the account had:
margin, synths at full price and profit, less its debt. The liquidity providers gain that, and pay the keeper. Claims do
not know of interest, which an account owes until it is liquidated and which then nobody gets.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import synthetix_v3_perps
from defi_leverage.reading import AccountReading, Deployment, Reading
from defi_leverage.snapshot import from_readings
from tests.contagion.test_real_perps import KEEPER, alone, one, told
from tests.devnet.build import OWNER
from tests.devnet.chain import Transaction, transaction
from tests.devnet.protocols.synthetix_v3_perps import MARKETS, order
from tests.devnet.session import Devnet
from tests.devnet.tokens import FINAL, set_answer

pytestmark = pytest.mark.devnet("synthetix_v3_perps")
NAME = "synthetix_v3_perps"
IN_THE_CORE_SYSTEM = 3
"""The market's number there: it came after two synths."""


@dataclass(frozen=True)
class Closed:
    """A liquidation in one block, in USD: what the account had, what of it is still there, and the keeper's reward."""

    had: float
    left: float
    reward: float
    sizes: dict[str, float]
    """What is left of its positions."""


def place_of(devnet: Devnet) -> dict[str, Any]:
    return told(devnet, NAME)


def of_kind(devnet: Devnet, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(account for account in place_of(devnet)["accounts"] if account["kind"] == kind)
    return found


def view(devnet: Devnet, signature: str, returns: str, *given: Any) -> Any:
    found = devnet.call(place_of(devnet)["perps"], signature, returns, *given)
    return found[0] if len(found) == 1 else found


def record_funding(devnet: Devnet) -> None:
    """A small order in each market writes the funding that is due; OLD gets a price: the sum of claims asks for it."""
    idle = of_kind(devnet, "idle")
    for market in ("ETH", "BTC"):
        for step in order(place_of(devnet)["perps"], idle["owner"], KEEPER, idle["id"], market, WAD // 1_000):
            devnet.send_many([step])
    devnet.send_many([set_answer(OWNER, place_of(devnet)["old_feed"], 4)])


async def read_at(devnet: Devnet, timestamp: int) -> Reading:
    """What the reader finds in a block at `timestamp`, which then is undone."""
    (reads,) = place_of(devnet)["reads"]
    deployment = Deployment(NAME, reads["name"], reads["address"], 0, {"spot_market": reads["spot_market"]})
    before = devnet.snapshot()
    devnet.mine(timestamp)
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        found = await synthetix_v3_perps.read(chain, deployment)
    devnet.revert(before)
    return found


def liquidate(devnet: Devnet, account: int, timestamp: int, *first: Transaction, keep: bool = False) -> Closed:
    """A liquidation in a block at `timestamp`, after `first`; undone unless it is to be kept."""
    place, start = place_of(devnet), devnet.snapshot()
    if first:
        devnet.send_many(first, timestamp)
    else:
        devnet.mine(timestamp)
    claims = view(devnet, "reportedDebt(uint128)", "(uint256)", IN_THE_CORE_SYSTEM)
    devnet.revert(start)
    start = devnet.snapshot()
    money = devnet.call(place["usd"], "balanceOf(address)", "(uint256)", KEEPER)[0]
    devnet.send_many([*first, transaction(KEEPER, place["perps"], "liquidate(uint128)", account)], timestamp)
    closed = Closed(
        had=(claims - view(devnet, "reportedDebt(uint128)", "(uint256)", IN_THE_CORE_SYSTEM)) / WAD,
        left=view(devnet, "getAvailableMargin(uint128)", "(int256)", account) / WAD,
        reward=(devnet.call(place["usd"], "balanceOf(address)", "(uint256)", KEEPER)[0] - money) / WAD,
        sizes={
            name: view(devnet, "getOpenPositionSize(uint128,uint128)", "(int128)", account, market.id) / WAD
            for name, market in MARKETS.items()
            if market.token
        },
    )
    if not keep:
        devnet.revert(start)
    return closed


def by_rule(reading: Reading, account: AccountReading, scenario: Scenario) -> ContagionResult:
    account_id = f"{reading.chain}:{account.address}@{reading.venue.address}"
    return run_contagion(alone(from_readings([reading]), account_id), scenario)


def reward(devnet: Devnet, account: AccountReading) -> float:
    """What the contract takes a liquidation to cost, at the prices of now."""
    margins = view(devnet, "getRequiredMargins(uint128)", "(uint256,uint256,uint256)", int(account.address))
    return float(margins[2] / WAD)


def interest(account: AccountReading) -> float:
    """USD of it that an account owes."""
    return sum(perp.accrued_fees_usd_wad for perp in account.perps) / WAD


@pytest.mark.parametrize("shock", [0.0, -0.02, 0.08])
async def test_liquidations(devnet: Devnet, shock: float) -> None:
    """Everybody whom the contract lets be liquidated, in the block of the price."""
    record_funding(devnet)
    timestamp = devnet.head()[1] + 12
    reading = await read_at(devnet, timestamp)
    scenario = Scenario("move", {"ETH": shock, "sETH": shock}, max_rounds=1)
    below = {
        name.split(":")[2] for name in run_contagion(from_readings([reading]), scenario).liquidations["account_id"]
    }
    price = set_answer(OWNER, devnet.feeds["WETH"], FINAL.eth * (1 + shock))
    before = devnet.snapshot()
    devnet.send_many([price], timestamp)
    can = {
        account.address
        for account in reading.accounts
        if view(devnet, "canLiquidate(uint128)", "(bool)", int(account.address))
    }
    devnet.revert(before)
    flagged = str(of_kind(devnet, "flagged")["id"])  # which stays so, whatever the price
    assert {name.partition("@")[0] for name in below} | {flagged} == can
    kinds = {"gained": 0, "lost": 0, "synths": 0, "two markets": 0}
    for account in reading.accounts:
        if account.address not in can - {flagged}:
            continue
        real, result = liquidate(devnet, int(account.address), timestamp, price), by_rule(reading, account, scenario)
        gained, lost = one(result)
        expected = reward(devnet, account)
        drift = 2e-7 * sum(abs(perp.size_raw) for perp in account.perps) / WAD * FINAL.eth if shock else 1e-9
        had = gained - lost + expected + interest(account)
        assert had == pytest.approx(real.had, rel=1e-9, abs=drift)
        assert (gained > 0) is (lost == 0)
        assert not result.amount.any()
        assert (real.left, set(real.sizes.values())) == (0, {0.0})
        for perp in account.perps:
            rows = result.liquidations
            sold = rows.loc[rows["collateral_asset_id"] == perp.asset_id, "sold"].sum()
            bought = rows.loc[rows["debt_asset_id"] == perp.asset_id, "bought"].sum()
            assert sold - bought == pytest.approx(perp.size_raw / WAD, rel=1e-12)
        if not shock and account.perps:
            assert real.reward == pytest.approx(expected, rel=1e-9)
        kinds["gained" if gained > 0 else "lost"] += 1
        kinds["synths"] += any("erc20" in leg.asset_id for leg in account.legs)
        kinds["two markets"] += len(account.perps) > 1
    assert min(kinds["gained"], kinds["lost"]) >= 2, kinds
    assert shock > 0 or min(kinds.values()) >= 3, kinds


async def test_a_liquidation_of_several_windows(devnet: Devnet) -> None:
    """630 ETH where a window of 30 seconds allows 210: the contract takes all margin at once and closes by thirds.

    The rule closes them in one round, at the first window's price: what the account had is the same, and the reward.
    """
    record_funding(devnet)
    place, big, size = place_of(devnet), of_kind(devnet, "empty"), 630 * WAD
    deposit = ("modifyCollateral(uint128,uint128,int256)", big["id"], 0, 64_000 * WAD)
    assert view(devnet, "getMaxLiquidationParameters(uint128)", "(uint256,uint256,uint256,address)", 100)[1] == 30
    devnet.send_many(
        [
            transaction(place["issuer"], place["core"], "issue(address,uint256)", big["owner"], 64_000 * WAD),
            transaction(big["owner"], place["perps"], *deposit),
        ]
    )
    for step in order(place["perps"], big["owner"], KEEPER, big["id"], "ETH", size):
        devnet.send_many([step])
    devnet.set_price("WETH", 2_930)
    timestamp = devnet.head()[1] + 12
    reading = await read_at(devnet, timestamp)
    (account,) = [found for found in reading.accounts if found.address == str(big["id"])]
    expected = reward(devnet, account)
    gained, lost = one(by_rule(reading, account, Scenario("as it is", max_rounds=1)))
    window = view(devnet, "liquidationCapacity(uint128)", "(uint256,uint256,uint256)", MARKETS["ETH"].id)[0]
    assert window == 210 * WAD
    real = liquidate(devnet, big["id"], timestamp, keep=True)
    assert real.sizes["ETH"] == 420
    assert gained - lost + expected + interest(account) == pytest.approx(real.had + real.left, rel=1e-9, abs=1e-9)
    rewards = [real.reward]
    again = liquidate(devnet, big["id"], timestamp + 12, keep=True)  # in the same window: nothing is closed nor paid
    assert (again.sizes["ETH"], again.reward) == (420, 0)
    for number, left in ((1, 210), (2, 0)):
        part = liquidate(devnet, big["id"], timestamp + 31 * number, keep=True)
        assert part.sizes["ETH"] == left
        rewards.append(part.reward)
    assert sum(rewards) == pytest.approx(expected, rel=1e-9)
    assert big["id"] not in view(devnet, "flaggedAccounts()", "(uint256[])")
