"""The perp rules against Synthetix PerpsV2 and Perpetual Protocol v2 themselves: the same liquidations at one price."""

from dataclasses import dataclass
from typing import Any

import pytest

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import perp_curie, synthetix_perps_v2
from defi_leverage.reading import Deployment, Reading
from defi_leverage.snapshot import Snapshot, from_readings
from tests.devnet.build import OWNER
from tests.devnet.calldata import decode_result
from tests.devnet.chain import transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.session import Devnet
from tests.devnet.tokens import FINAL, set_answer

KEEPER = "0x00000000000000000000000000000000000A11Ce"
SYNTHETIX_LIQUIDATED = "(uint256,address,address,int256,uint256,uint256,uint256,uint256)"


def told(devnet: Devnet, name: str) -> dict[str, Any]:
    found: dict[str, Any] = devnet.description.protocols[name]
    return found


def alone(snapshot: Snapshot, account_id: str) -> Snapshot:
    """One account of a snapshot, with everything else that there is."""
    tables = snapshot.tables
    for name in ("accounts", "legs", "perps"):
        tables[name] = tables[name][tables[name]["account_id"] == account_id].reset_index(drop=True)
    return Snapshot.from_tables(tables)


async def read_at(devnet: Devnet, timestamp: int, name: str) -> list[Reading]:
    """What the reader finds in a block at `timestamp`, which then is undone."""
    (reads,) = told(devnet, name)["reads"]
    before = devnet.snapshot()
    devnet.mine(timestamp)
    reader = {"perp_curie": perp_curie, "synthetix_perps_v2": synthetix_perps_v2}[name]
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        found = await reader.read(chain, Deployment(name, reads["name"], reads["address"], reads["first_block"]))
    devnet.revert(before)
    return list(found) if isinstance(found, tuple) else [found]


def one(result: ContagionResult) -> tuple[float, float]:
    """Of a run with one account: USD that its venue gained, and that it lost."""
    (gained,) = result.venues["buffer_drawn_usd"]
    return -float(gained), float(result.summary()["bad_debt_usd"])


@dataclass(frozen=True)
class Closed:
    """A PerpsV2 liquidation: size, what the keepers and the stakers got, and the margin that was there."""

    size: float
    keepers: float
    stakers: float
    margin: float


def liquidate_on_synthetix(devnet: Devnet, timestamp: int, price: float) -> dict[str, Closed]:
    """Everybody in the ETH market whom the contract lets be liquidated, in the block of the price."""
    place = told(devnet, "synthetix_perps_v2")
    market = place["markets"]["sETHPERP"]
    users = sorted({account["address"] for account in place["accounts"] if account["market"] == "sETHPERP"})
    before = devnet.snapshot()
    devnet.send_many([set_answer(OWNER, devnet.feeds["WETH"], price)], timestamp)
    margins = {}
    for user in users:
        if devnet.call(market, "canLiquidate(address)", "(bool)", user)[0]:
            position = devnet.call(market, "positions(address)", "((uint64,uint64,uint128,uint128,int128))", user)[0]
            profit = devnet.call(market, "profitLoss(address)", "(int256,bool)", user)[0]
            funding = devnet.call(market, "accruedFunding(address)", "(int256,bool)", user)[0]
            margins[user] = (position[2] + profit + funding) / WAD
    devnet.revert(before)
    calls = [set_answer(OWNER, devnet.feeds["WETH"], price)]
    for user in margins:
        calls.append(transaction(KEEPER, market, "flagPosition(address)", user))
        calls.append(transaction(KEEPER, market, "liquidatePosition(address)", user))
    receipts = devnet.send_many(calls, timestamp)[2::2]
    done = {}
    for user, receipt in zip(margins, receipts, strict=True):
        logs = [log["data"] for log in receipt["logs"] if len(log["data"]) == 2 + 8 * 64]
        rows = [decode_result(SYNTHETIX_LIQUIDATED, data) for data in logs]
        (values,) = [row for row in rows if row[1] == user.lower() and row[2] == KEEPER.lower()]
        done[user] = Closed(values[3] / WAD, (values[5] + values[6]) / WAD, values[7] / WAD, margins[user])
    return done


@pytest.mark.devnet("synthetix_perps_v2")
@pytest.mark.parametrize("shock", [-0.17, 0.16])
async def test_synthetix_liquidations(devnet: Devnet, shock: float) -> None:
    place = told(devnet, "synthetix_perps_v2")
    (idle,) = [a["address"] for a in place["accounts"] if (a["kind"], a["market"]) == ("idle", "sETHPERP")]
    devnet.transact(idle, place["markets"]["sETHPERP"], "transferMargin(int256)", -WAD)  # which records the funding
    timestamp = devnet.head()[1] + 12
    (reading,) = [
        found for found in await read_at(devnet, timestamp, "synthetix_perps_v2") if found.assets[0].symbol == "sETH"
    ]
    snapshot = from_readings([reading])
    scenario = Scenario("move", {"sETH": shock}, max_rounds=1)
    below = set(run_contagion(snapshot, scenario).liquidations["account_id"])
    done = liquidate_on_synthetix(devnet, timestamp, FINAL.eth * (1 + shock))
    market = reading.venue.address
    assert below == {f"{reading.chain}:{user}@{market}" for user in done}
    kinds = {"paid": 0, "unpaid": 0, "other": 0}
    for user, found in done.items():
        account_id = f"{reading.chain}:{user}@{market}"
        result = run_contagion(alone(snapshot, account_id), scenario)
        rows, index_id = result.liquidations, reading.assets[0].asset_id
        sold = rows.loc[rows["collateral_asset_id"] == index_id, "sold"].sum()
        bought = rows.loc[rows["debt_asset_id"] == index_id, "bought"].sum()
        assert sold - bought == pytest.approx(found.size, rel=1e-9)
        assert rows["credit_usd"].sum() == 0
        assert not result.amount.any()
        gained, lost = one(result)
        fixed = fixed_fees(reading, user)
        share = found.keepers - fixed  # what the flagger gets of the notional in the middle tier
        notional = abs(found.size) * FINAL.eth * (1 + shock)
        drift = 1e-7 * notional  # funding of the last seconds, which depends on the price
        in_tier = share == pytest.approx(0.0035 * notional) or abs(share) < 1e-9
        if found.margin > found.keepers:
            assert lost == 0
            # keepers have the fixed fees, a debt of the account, and, where there is one, their share of the notional
            assert gained + fixed == pytest.approx(found.keepers + found.stakers, rel=1e-6, abs=drift)
            kinds["paid"] += 1
        elif in_tier:
            assert (gained, found.stakers) == (0, 0)
            assert lost == pytest.approx(found.keepers - found.margin - share, rel=1e-6, abs=drift)
            kinds["unpaid"] += 1
        else:  # the account is in another tier now than where it could first be liquidated
            assert lost == pytest.approx(found.keepers - found.margin, abs=30)
            kinds["other"] += 1
    assert kinds["paid"] >= 1
    assert kinds["unpaid"] > 5 * kinds["other"]


def fixed_fees(reading: Reading, user: str) -> float:
    """The debt leg of an account that is neither its entry nor funding that it owes."""
    (account,) = [found for found in reading.accounts if found.address == user]
    (perp,) = account.perps
    susd = reading.assets[1].asset_id
    debt = sum(leg.amount_raw for leg in account.legs if (leg.side, leg.asset_id) == ("debt", susd))
    entered = max(perp.size_raw, 0) * (perp.entry_price_usd_wad or 0) // WAD
    return (debt - entered - max(perp.accrued_funding_usd_wad, 0)) / WAD


async def curie_case(devnet: Devnet, index: str = "") -> None:
    """Every account that the contracts let be liquidated and that is in one market: by the rule, and by them."""
    place = told(devnet, "perp_curie")
    for call in (
        transaction(KEEPER, place["settlement"], "mint(address,uint256)", KEEPER, 10**14),
        transaction(KEEPER, place["settlement"], "approve(address,uint256)", place["vault"], MAX_UINT),
        transaction(KEEPER, place["vault"], "deposit(address,uint256)", place["settlement"], 10**14),
    ):
        devnet.send_many([call])
    timestamp = devnet.head()[1] + 60
    (reading,) = await read_at(devnet, timestamp, "perp_curie")
    snapshot = from_readings([reading])
    scenario = Scenario("as it is", max_rounds=1)
    below = set(run_contagion(snapshot, scenario).liquidations["account_id"])
    due = [account for account in reading.accounts if account.collateral_base_raw < account.debt_base_raw]
    assert below == {f"{reading.chain}:{account.address}@{reading.venue.address}" for account in due}
    kinds = {"part": 0, "whole": 0, "unpaid": 0}
    for account in due:
        if (
            len(account.perps) > 1
            or devnet.call(place["account_balance"], "hasOrder(address)", "(bool)", account.address)[0]
        ):
            continue
        (perp,) = account.perps
        base = perp.asset_id.rpartition(":")[2]
        before = devnet.snapshot()
        fund = devnet.call(place["insurance_fund"], "getInsuranceFundCapacity()", "(int256)")[0]
        liquidate = transaction(KEEPER, place["clearing_house"], "liquidate(address,address)", account.address, base)
        devnet.send_many([liquidate], timestamp)
        size = devnet.call(
            place["account_balance"], "getTotalPositionSize(address,address)", "(int256)", account.address, base
        )[0]
        value = devnet.call(place["clearing_house"], "getAccountValue(address)", "(int256)", account.address)[0] / WAD
        fund = (devnet.call(place["insurance_fund"], "getInsuranceFundCapacity()", "(int256)")[0] - fund) / 10**6
        devnet.revert(before)
        result = run_contagion(alone(snapshot, f"{reading.chain}:{account.address}@{reading.venue.address}"), scenario)
        gained, lost = one(result)
        left = {}
        for leg, amount in zip(result.legs.to_dict("records"), result.amount, strict=True):
            left[leg["asset_id"], leg["side"]] = amount
        ours = left.get((perp.asset_id, "collateral"), 0) - left.get((perp.asset_id, "debt"), 0)
        assert ours == pytest.approx(size / WAD, rel=1e-6, abs=1e-12)
        equity = equity_left(reading, left) + float(result.liquidations["credit_usd"].sum())
        assert lost == 0
        assert gained == pytest.approx(fund, rel=1e-6, abs=2e-6)  # settlement tokens have 6 decimals
        assert equity == pytest.approx(value, rel=1e-6, abs=2e-6)
        kinds["part" if size else "unpaid" if fund < 0 else "whole"] += 1
    wanted = ("part", "whole") if not index else ("part", "whole", "unpaid")
    assert min(kinds[kind] for kind in wanted) >= 1, kinds


def equity_left(reading: Reading, left: dict[tuple[str, str], float]) -> float:
    """USD of what is left of an account's legs, debts subtracted."""
    prices = {feed.asset_id: feed.price_raw / feed.price_scale for feed in reading.feeds}
    return sum(
        (1 if side == "collateral" else -1) * amount * prices[asset_id] for (asset_id, side), amount in left.items()
    )


@pytest.mark.devnet("perp_curie")
async def test_curie_liquidations(devnet: Devnet) -> None:
    """Half of a position, or all of a small one; the penalty's halves go to the liquidator and the insurance fund."""
    await curie_case(devnet)


@pytest.mark.devnet("perp_curie")
async def test_curie_liquidations_that_the_insurance_fund_pays_for(devnet: Devnet) -> None:
    """After a fall of a tenth in both the index and the pool."""
    fall_on_curie(devnet)
    await curie_case(devnet, "vETH")


def fall_on_curie(devnet: Devnet) -> None:
    """ETH at 2,700: the index, and the pool by sales of the account that moves it, in steps of a few percent."""
    place = told(devnet, "perp_curie")
    (mover,) = [account["address"] for account in place["accounts"] if account["kind"] == "mover"]
    base = place["markets"]["vETH"]
    for step in range(1, 5):
        price = FINAL.eth * (1 - 0.025 * step)
        devnet.set_price("WETH", price)
        limit = int((price**0.5) * 2**96)
        signature = "openPosition((address,bool,bool,uint256,uint256,uint256,uint160,bytes32))"
        arguments = (base, True, False, 20 * 10**6 * WAD, MAX_UINT, MAX_UINT, limit, bytes(32))
        devnet.send_many([transaction(mover, place["clearing_house"], signature, arguments)])
        devnet.mine(devnet.head()[1] + 3_600)
