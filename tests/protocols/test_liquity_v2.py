"""The Liquity v2 reader against a stand-in of a branch's registry, TroveManager, pools and price feed.

The stand-in (tests/devnet/protocols/liquity_v2/Bold.sol) keeps interest, batches with shares and fees, redistribution,
shutdown and zombies as the original does; it moves no coins, and its branch totals are sums over troves.
"""

from fractions import Fraction
from typing import Any

import pytest

from defi_leverage.abi import load_abi
from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import liquity_v2
from defi_leverage.protocols.liquity_v2.troves import interest
from defi_leverage.reading import AccountReading, Deployment, RateCurve, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.chain import transaction
from tests.devnet.session import Devnet
from tests.protocols.bent_answers import bend, mute

pytestmark = pytest.mark.devnet("liquity_v2")

SENDER = "0x00000000000000000000000000000000000B0B0B"
TROVE = "(uint256,uint256,uint256,uint8,uint64,uint64,uint64,uint256,address,uint256)"
LATEST = "((uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256))"


def told_of(devnet: Devnet) -> dict[str, Any]:
    told: dict[str, Any] = devnet.description.protocols["liquity_v2"]
    return told


async def read(devnet: Devnet, symbol: str, address: str = "") -> Reading:
    told = told_of(devnet)
    registry = address or told["branches"][symbol]["registry"]
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        return await liquity_v2.read(chain, Deployment("liquity_v2", "Liquity v2", registry, told["first_block"]))


def ratio_of(account: AccountReading) -> int:
    """What the contract reports of it, as an integer."""
    assert account.health_factor_raw is not None
    return account.health_factor_raw


def by_id(reading: Reading) -> dict[str, AccountReading]:
    """By trove id, as hexadecimal without leading zeros."""
    return {hex(int(account.address, 16)): account for account in reading.accounts}


def amounts(account: AccountReading) -> tuple[int, int]:
    """Raw collateral and debt."""
    sums = {"collateral": 0, "debt": 0}
    for leg in account.legs:
        sums[leg.side] += leg.amount_raw
    return sums["collateral"], sums["debt"]


@pytest.mark.parametrize("symbol", ["WETH", "wstETH", "rETH"])
async def test_every_trove_is_the_contract_s_to_the_wei(devnet: Devnet, symbol: str) -> None:
    told = told_of(devnet)
    branch = told["branches"][symbol]
    devnet.mine(devnet.head()[1] + 400_000)  # interest goes on
    reading = await read(devnet, symbol)
    found = by_id(reading)
    assert found.keys() == branch["troves"].keys()
    assert (reading.found, reading.failed) == (len(found), {})
    (price,) = devnet.call(branch["price_feed"], "lastGoodPrice()", "(uint256)")
    seen: dict[str, int] = {}
    for id_, account in found.items():
        (latest,) = devnet.call(branch["manager"], "getLatestTroveData(uint256)", LATEST, int(id_, 16))
        assert amounts(account) == (latest[1], latest[0])
        (ratio,) = devnet.call(branch["manager"], "getCurrentICR(uint256,uint256)", "(uint256)", int(id_, 16), price)
        assert ratio_of(account) == ratio
        (owner,) = devnet.call(branch["manager"], "ownerOf(uint256)", "(address)", int(id_, 16))
        assert account.owner.lower() == owner
        for name, place in (("redistributed", 2), ("interest", 4), ("fee", 8)):
            seen[name] = seen.get(name, 0) + (latest[place] > 0)
    if symbol == "WETH":
        assert len(found) >= 40
        assert seen["redistributed"] > 25
        assert seen["fee"] == 12
        assert seen["interest"] > 35
    assert reading.venue.health_factor_scale == {"WETH": 11, "wstETH": 12, "rETH": 12}[symbol] * WAD // 10


def test_interest_by_hand() -> None:
    """10 % of 15,000 for 73 days of 365 is 300; a shutdown after 36.5 days leaves 150, one before it none."""
    day = 86_400
    assert interest(15_000 * WAD, WAD // 10, 0, 73 * day, 0) == 300 * WAD
    assert interest(15_000 * WAD, WAD // 10, 0, 73 * day, 73 * day // 2) == 150 * WAD
    assert interest(15_000 * WAD, WAD // 10, 50 * day, 73 * day, 10 * day) == 0
    assert interest(1, 1, 0, day, 0) == 0


async def test_right_answers_by_hand(devnet: Devnet) -> None:
    told, reading = told_of(devnet), await read(devnet, "WETH")
    found = by_id(reading)
    recorded = devnet.call(told["branches"]["WETH"]["manager"], "Troves(uint256)", TROVE, int(told["hand"], 16))
    seconds = devnet.head()[1] - recorded[5]
    collateral, debt = amounts(found[told["hand"]])
    assert collateral == 10 * WAD
    assert debt == 15_000 * WAD + 1_500 * WAD * seconds // (365 * 86_400)  # at 10 % a year
    assert seconds > 86_400
    assert amounts(found[told["dust"]]) == (7, 3)
    sunk = found[told["under_water"]]
    assert sunk.collateral_base_raw < sunk.debt_base_raw
    assert [amounts(found[zombie])[1] < 2_000 * WAD for zombie in told["zombies"]] == [True, True]
    assert amounts(found[told["zombies"][1]])[1] == 0
    assert found[told["zombies"][1]].health_factor_raw == 2**256 - 1
    parameters = {"stability_pool_usd": 4_000.0, "pool_penalty": 0.05, "redistribution_penalty": 0.1}
    assert reading.venue.liquidation_parameters == pytest.approx(parameters)
    assert reading.gaps == {}
    rate = reading.markets[1].borrow_rate_ray
    assert rate is not None
    assert reading.markets[1].curve == RateCurve("fixed", {"rate": rate})


async def test_the_rate_is_a_year_s_interest_over_the_whole_debt(devnet: Devnet) -> None:
    """In half a year at its rate the debt grows by just the interest; accrued interest and redistributions bear none.

    Per recorded debt, which has neither, it would be more.
    """
    manager = told_of(devnet)["branches"]["WETH"]["manager"]
    devnet.mine(devnet.head()[1] + 300 * 86_400)
    start, reading = devnet.head()[1], await read(devnet, "WETH")
    ids = [int(id_, 16) for id_ in by_id(reading)]
    before = [devnet.call(manager, "getLatestTroveData(uint256)", LATEST, id_)[0] for id_ in ids]
    devnet.mine(start + 365 * 86_400 // 2)
    after = [devnet.call(manager, "getLatestTroveData(uint256)", LATEST, id_)[0] for id_ in ids]
    grown = sum(latest[4] for latest in after) - sum(latest[4] for latest in before)
    rate, debt = reading.markets[1].borrow_rate_ray, reading.markets[1].borrow_raw
    assert rate is not None
    assert rate / 10**27 * debt / 2 == pytest.approx(grown, rel=1e-12)
    assert rate / 10**27 < 0.98 * 2 * grown / sum(latest[5] for latest in before)


async def test_owners_have_several_troves(devnet: Devnet) -> None:
    snapshot = from_readings([await read(devnet, "WETH"), await read(devnet, "wstETH")])
    assert snapshot.accounts["account_id"].is_unique
    assert snapshot.accounts["owner"].value_counts().max() >= 2
    assert f"eip155:31337:{told_of(devnet)['heir']}" in set(snapshot.accounts["owner"])


async def test_feeds_have_the_kind_of_their_source(devnet: Devnet) -> None:
    """WETH at market, wstETH at its rate and so deaf to a depeg, rETH at the last good price for good."""
    readings = {symbol: await read(devnet, symbol) for symbol in ("WETH", "wstETH", "rETH")}
    kinds = {symbol: [feed.kind for feed in reading.feeds] for symbol, reading in readings.items()}
    assert kinds == {
        "WETH": ["market", "fixed"],
        "wstETH": ["ratio", "fixed", "market"],
        "rETH": ["fixed", "fixed"],
    }
    ratio, _, base = readings["wstETH"].feeds
    assert ratio.base_feed_id == base.feed_id
    assert Fraction(ratio.ratio_raw, ratio.ratio_scale) == Fraction(118, 100)
    assert Fraction(ratio.price_raw, ratio.price_scale) == 3_540
    assert "was shut down" in readings["rETH"].gaps["shutdown"]
    assert readings["rETH"].markets[1].borrow_rate_ray == 0
    snapshot = from_readings(readings.values())
    assert snapshot.assets.set_index("symbol")["price_usd"].to_dict() == pytest.approx(
        {"WETH": 3_000, "wstETH": 3_540, "rETH": 2_930 * 1.179, "BOLD": 1}
    )
    calm, depeg = (
        run_contagion(snapshot, Scenario(name, shocks, max_rounds=1)).liquidations
        for name, shocks in (("calm", {}), ("depeg", {"wstETH": -0.4}))
    )
    assert set(calm["account_id"]) == set(depeg["account_id"])


async def test_who_is_below_one_is_who_may_be_liquidated(devnet: Devnet) -> None:
    told = told_of(devnet)
    reading = await read(devnet, "WETH")
    manager = told["branches"]["WETH"]["manager"]
    below = [id_ for id_, a in by_id(reading).items() if ratio_of(a) < reading.venue.health_factor_scale]
    assert told["under_water"] in below
    assert len(below) >= 3
    for id_ in below:
        before = devnet.snapshot()
        devnet.transact(SENDER, manager, "liquidate(uint256)", int(id_, 16))
        devnet.revert(before)


async def test_interest_goes_on_but_for_a_branch_that_was_shut_down(devnet: Devnet) -> None:
    reading = await read(devnet, "WETH")
    devnet.mine(devnet.head()[1] + 86_400)
    later = await read(devnet, "WETH")
    grown = [
        amounts(by_id(later)[id_])[1] - amounts(account)[1]
        for id_, account in by_id(reading).items()
        if amounts(account)[1] > WAD
    ]
    assert min(grown) > 0
    stopped = await read(devnet, "rETH")
    devnet.mine(devnet.head()[1] + 86_400)
    assert by_id(await read(devnet, "rETH")) == by_id(stopped)


async def test_one_liquidation_is_the_engine_s(devnet: Devnet) -> None:
    """The under-water trove alone below 110 %: the pool first, with 0.5 % of its part for gas; the rest to all others.

    The contract shares by stakes, which are in one proportion to the collateral with what redistributions have added.
    """
    told, sunk = told_of(devnet), told_of(devnet)["under_water"]
    manager = told["branches"]["WETH"]["manager"]
    for id_, account in by_id(await read(devnet, "WETH")).items():
        if ratio_of(account) < 11 * WAD // 10 and id_ != sunk:  # out of the way
            devnet.transact(SENDER, manager, "liquidate(uint256)", int(id_, 16))
    devnet.transact(SENDER, manager, "provideToSP(uint256)", 5_000 * WAD)
    before, now = await read(devnet, "WETH"), devnet.head()[1]
    assert before.venue.liquidation_parameters["stability_pool_usd"] == pytest.approx(5_000, rel=1e-3)
    result = run_contagion(from_readings([before]), Scenario("calm", max_rounds=1, sell_collateral=False))
    devnet.send_many([transaction(SENDER, manager, "liquidate(uint256)", int(sunk, 16))], now)
    held, after = by_id(before), by_id(await read(devnet, "WETH"))
    assert held.keys() - after.keys() == {sunk}
    assert result.liquidations["repaid"].sum() == pytest.approx(
        before.venue.liquidation_parameters["stability_pool_usd"]
    )
    legs = result.legs.set_index(["account_id", "side"])["amount_after"].to_dict()
    moved = sum(amounts(after[id_])[1] - amounts(held[id_])[1] for id_ in after) / WAD
    assert moved == pytest.approx(amounts(held[sunk])[1] / WAD - result.liquidations["repaid"].sum(), rel=1e-9)
    for account in after.values():
        name = f"eip155:31337:{account.address}@{manager}"
        collateral, debt = amounts(account)
        assert legs[name, "debt"] == pytest.approx(debt / WAD, abs=1e-9 * moved)
        assert legs[name, "collateral"] == pytest.approx(collateral / WAD, abs=1e-9 * moved / 3_000)


@pytest.mark.parametrize(("function", "arguments"), [("getCurrentICR", (3_000 * WAD,)), ("getLatestTroveData", ())])
async def test_a_trove_that_is_not_reproduced_is_set_aside(
    devnet: Devnet, monkeypatch: pytest.MonkeyPatch, function: str, arguments: tuple[int, ...]
) -> None:
    hand = told_of(devnet)["hand"]
    bend(monkeypatch, load_abi("liquity_v2").encode(function, int(hand, 16), *arguments))
    reading = await read(devnet, "WETH")
    assert [hex(int(name, 16)) for name in reading.failed] == [hand]
    assert "where the contract has" in next(iter(reading.failed.values()))
    assert hand not in by_id(reading)


async def test_a_rate_that_is_not_told_is_missing(devnet: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    mute(monkeypatch, load_abi("liquity_v2").function("aggWeightedDebtSum").selector)
    _, coin = (await read(devnet, "WETH")).markets
    assert coin.borrow_raw > 0
    assert coin.borrow_rate_ray is None
    assert coin.curve is None


@pytest.mark.parametrize(
    ("address", "fault"), [("0x12", "is not an address"), (SENDER, r"does not answer collToken\(\)")]
)
async def test_another_address_is_refused(devnet: Devnet, address: str, fault: str) -> None:
    with pytest.raises(ReaderError, match=fault):
        await read(devnet, "WETH", address)
