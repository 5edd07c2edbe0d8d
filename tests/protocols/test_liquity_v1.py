"""The Liquity v1 reader against a stand-in of TroveManager, PriceFeed, StabilityPool and SortedTroves.

The stand-in (tests/devnet/protocols/liquity_v1/Liquity.sol) keeps troves, stakes and the sums of redistribution as the
original does, so that pending rewards and ratios are its own; it moves no coins and has no recovery-mode liquidations.
"""

from dataclasses import replace
from typing import Any

import pytest

from defi_leverage.abi import load_abi
from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import liquity_v1
from defi_leverage.reading import AccountReading, Deployment, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.session import Devnet
from tests.protocols.bent_answers import bend

pytestmark = pytest.mark.devnet("liquity_v1")

SENDER = "0x00000000000000000000000000000000000B0B0B"


def told_of(devnet: Devnet) -> dict[str, Any]:
    told: dict[str, Any] = devnet.description.protocols["liquity_v1"]
    return told


async def read(devnet: Devnet, address: str = "") -> Reading:
    told = told_of(devnet)
    deployment = Deployment("liquity_v1", "Liquity v1", address or told["address"], told["first_block"])
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        return await liquity_v1.read(chain, deployment)


def amounts(account: AccountReading) -> tuple[int, int]:
    """Raw collateral and debt."""
    sums = {"collateral": 0, "debt": 0}
    for leg in account.legs:
        sums[leg.side] += leg.amount_raw
    return sums["collateral"], sums["debt"]


def ratio_of(account: AccountReading) -> int:
    """What the contract reports of it, as an integer."""
    assert account.health_factor_raw is not None
    return account.health_factor_raw


def accounts(reading: Reading) -> dict[str, AccountReading]:
    return {account.address: account for account in reading.accounts}


async def test_every_trove_is_the_contract_s_to_the_wei(devnet: Devnet) -> None:
    told, reading = told_of(devnet), await read(devnet)
    found = accounts(reading)
    assert found.keys() == told["accounts"].keys()
    assert len(found) >= 40
    assert (reading.found, reading.failed, reading.gaps) == (len(found), {}, {})
    (price,) = devnet.call(told["price_feed"], "lastGoodPrice()", "(uint256)")
    redistributed = 0
    for owner, account in found.items():
        collateral, debt = amounts(account)
        entire = devnet.call(
            told["address"], "getEntireDebtAndColl(address)", "(uint256,uint256,uint256,uint256)", owner
        )
        assert (debt, collateral) == entire[:2]
        (ratio,) = devnet.call(told["address"], "getCurrentICR(address,uint256)", "(uint256)", owner, 3_000 * WAD)
        assert ratio_of(account) == ratio
        assert account.debt_base_raw == debt
        redistributed += entire[2] > 0
    assert price > 0
    assert redistributed > 20  # troves that were open when two others were redistributed


async def test_right_answers_by_hand(devnet: Devnet) -> None:
    """10 ETH at 3,000 against 15,000 LUSD is 200 %, and 200 / 110 of the minimum."""
    told, reading = told_of(devnet), await read(devnet)
    hand = accounts(reading)[told["hand"]]
    assert amounts(hand) == (10 * WAD, 15_000 * WAD)
    assert hand.health_factor_raw == 2 * WAD
    assert hand.collateral_base_raw == 30_000 * WAD
    assert amounts(accounts(reading)[told["dust"]]) == (7, 3)
    snapshot = from_readings([reading])
    factors = snapshot.accounts.set_index("owner")["health_factor"]
    assert factors[f"eip155:31337:{told['hand']}"] == pytest.approx(2 / 1.1, rel=1e-15)
    rates = snapshot.rates.set_index("asset_id").loc[reading.assets[1].asset_id]
    assert (rates["rate_model"], rates["rate_parameters"], rates["borrow_rate"]) == ("fixed", '{"rate": 0.0}', 0)
    sunk = accounts(reading)[told["under_water"]]
    assert sunk.collateral_base_raw < sunk.debt_base_raw
    assert reading.venue.liquidation_parameters == {"stability_pool_usd": 5_000.0, "gas_compensation": 0.005}
    kinds = {asset.symbol: (asset.asset_id.rsplit("/")[1].split(":")[0], asset.kind) for asset in reading.assets}
    assert kinds == {"ETH": ("slip44", "token"), "LUSD": ("erc20", "usd")}
    assert [(feed.kind, feed.price_raw / feed.price_scale) for feed in reading.feeds] == [
        ("market", 3_000.0),
        ("fixed", 1.0),
    ]


async def test_the_coin_s_market_price_is_another_venue_s(devnet: Devnet) -> None:
    """Liquity counts LUSD as a dollar; a venue whose feed follows its market says what it is worth, first or last."""
    reading = await read(devnet)
    eth, dollar = reading.feeds
    traded = replace(dollar, feed_id="LUSD / USD", price_raw=97, price_scale=100, kind="market")
    other = replace(
        reading, venue=replace(reading.venue, venue_id="eip155:31337:0xother"), feeds=(eth, traded), accounts=()
    )
    for readings in ([reading, other], [other, reading]):
        snapshot = from_readings(readings)
        assert snapshot.assets.set_index("symbol")["price_usd"].to_dict() == {"ETH": 3_000, "LUSD": 0.97}
        assert snapshot.feeds.set_index("feed_id")["price_usd"][dollar.feed_id] == 1


async def test_who_is_below_one_is_who_may_be_liquidated(devnet: Devnet) -> None:
    told, reading = told_of(devnet), await read(devnet)
    result = run_contagion(from_readings([reading]), Scenario("calm", max_rounds=1))
    legs = dict(zip(result.book.account_ids, result.health_before, strict=True))
    for owner, account in accounts(reading).items():
        may = ratio_of(account) < reading.venue.health_factor_scale
        name = f"eip155:31337:{owner}@{told['address']}"
        assert legs[name] == pytest.approx(ratio_of(account) / 1.1 / WAD, rel=1e-12)
        before = devnet.snapshot()
        if may:
            devnet.transact(SENDER, told["address"], "liquidate(address)", owner)
        devnet.revert(before)
    assert sum(ratio_of(a) < 11 * WAD // 10 for a in reading.accounts) >= 3


async def test_one_liquidation_is_the_engine_s(devnet: Devnet) -> None:
    """The under-water trove alone below 110 %: the pool's 5,000 LUSD first, the rest to all others by collateral.

    The contract shares by stakes, which are in one proportion to the collateral with what redistributions have added.
    """
    told, before = told_of(devnet), await read(devnet)
    tight = [
        name
        for name, account in accounts(before).items()
        if ratio_of(account) < 11 * WAD // 10 and name != told["under_water"]
    ]
    for name in tight:  # out of the way
        devnet.transact(SENDER, told["address"], "liquidate(address)", name)
    devnet.transact(SENDER, told["pools"], "change(int256,int256)", 5_000 * WAD, 0)
    before = await read(devnet)
    result = run_contagion(from_readings([before]), Scenario("calm", max_rounds=1, sell_collateral=False))
    devnet.transact(SENDER, told["address"], "liquidate(address)", told["under_water"])
    after = accounts(await read(devnet))
    legs = result.legs.set_index(["account_id", "side"])["amount_after"]
    assert told["under_water"] not in after
    moved = amounts(accounts(before)[told["under_water"]])[1] / WAD
    for owner, account in after.items():
        collateral, debt = amounts(account)
        name = f"eip155:31337:{owner}@{told['address']}"
        assert legs[name, "debt"] == pytest.approx(debt / WAD, abs=1e-9 * moved)
        assert legs[name, "collateral"] == pytest.approx(collateral / WAD, abs=1e-9 * moved / 3_000)
    total = sum(amounts(account)[1] for account in after.values()) / WAD
    assert result.legs.loc[result.legs["side"] == "debt", "amount_after"].sum() == pytest.approx(total, rel=1e-9)


async def test_recovery_mode_and_a_dead_oracle_are_said(devnet: Devnet) -> None:
    told = told_of(devnet)
    devnet.transact(SENDER, told["price_feed"], "fetchPrice()")
    devnet.transact(SENDER, told["price_feed"], "setStatus(uint8)", 2)
    devnet.set_price("WETH", 2_000)
    reading = await read(devnet)
    assert (reading.feeds[0].kind, reading.feeds[0].price_raw) == ("fixed", 3_000 * WAD)
    devnet.transact(SENDER, told["price_feed"], "setStatus(uint8)", 0)
    reading = await read(devnet)
    assert reading.feeds[0].kind == "market"
    assert "is below 150%: troves up to it may be liquidated" in reading.gaps["recovery mode"]
    assert not from_readings([reading]).complete


@pytest.mark.parametrize(("function", "arguments"), [("getCurrentICR", (3_000 * WAD,)), ("getEntireDebtAndColl", ())])
async def test_a_trove_that_is_not_reproduced_is_set_aside(
    devnet: Devnet, monkeypatch: pytest.MonkeyPatch, function: str, arguments: tuple[int, ...]
) -> None:
    hand = told_of(devnet)["hand"]
    bend(monkeypatch, load_abi("liquity_v1").encode(function, hand, *arguments))
    reading = await read(devnet)
    assert set(reading.failed) == {hand}
    assert "where the contract has" in reading.failed[hand]
    assert hand not in accounts(reading)
    assert reading.found == len(reading.accounts) + 1


@pytest.mark.parametrize(("address", "fault"), [("0x12", "is not an address"), (SENDER, r"does not answer MCR\(\)")])
async def test_another_address_is_refused(devnet: Devnet, address: str, fault: str) -> None:
    with pytest.raises(ReaderError, match=fault):
        await read(devnet, address)
