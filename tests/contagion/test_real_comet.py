"""The round against a Comet (the devnet's stand-in): the same accounts absorbed, and what was seized sold, on chain."""

from collections import defaultdict
from typing import Any

import pytest

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.protocols import comet
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.session import Devnet
from tests.devnet.tokens import DECIMALS, FINAL, set_answer

pytestmark = pytest.mark.devnet("comet", "maker")

BUYER = "0x00000000000000000000000000000000000A11Ce"
SHOCKS = {"WETH": -0.28, "WBTC": -0.26}
ABSORB_COLLATERAL = "0x9850ab1af75177e4a9201c65a2cf7976d5d28e40ef63494b44366f86b2f9412e"


async def predict(devnet: Devnet, timestamp: int) -> ContagionResult:
    """One round of the engine on the Comet as it stands at `timestamp`, before any price has moved."""
    told = devnet.description.protocols["comet"]
    before = devnet.snapshot()
    devnet.mine(timestamp)
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        deployment = Deployment("comet", "Compound", told["comets"]["usdc"]["address"], told["first_block"])
        snapshot = from_readings([await comet.read(chain, deployment)])
    devnet.revert(before)
    return run_contagion(snapshot, Scenario("drop", SHOCKS, max_rounds=1))


def execute(devnet: Devnet, timestamp: int, users: list[str]) -> tuple[dict[tuple[str, str], int], int]:
    """The same drop, the same accounts absorbed and all that was seized bought, at `timestamp`.

    Answers what was seized, by account and token, and by how much the reserves have grown since before.
    """
    told = devnet.description.protocols["comet"]["comets"]["usdc"]
    address, usdc = told["address"], devnet.tokens["USDC"]
    drop = [
        set_answer(OWNER, devnet.feeds["WETH"], FINAL.eth * (1 + SHOCKS["WETH"])),
        set_answer(OWNER, devnet.feeds["WBTC"], FINAL.btc * (1 + SHOCKS["WBTC"])),
        transaction(BUYER, address, "accrueAccount(address)", BUYER),
        transaction(BUYER, usdc, "mint(address,uint256)", BUYER, 10**18),
        transaction(BUYER, usdc, "approve(address,uint256)", address, MAX_UINT),
    ]
    devnet.send_many(drop, timestamp)
    (before,) = devnet.call(address, "getReserves()", "(int256)")
    absorb = transaction(BUYER, address, "absorb(address,address[])", BUYER, users)
    (receipt,) = devnet.send_many([absorb], timestamp)
    seized = {
        ("0x" + log["topics"][2][-40:], "0x" + log["topics"][3][-40:]): int(log["data"][2:66], 16)
        for log in receipt["logs"]
        if log["topics"][0] == ABSORB_COLLATERAL
    }
    by_token: dict[str, int] = defaultdict(int)
    for (_, token), amount in seized.items():
        by_token[token] += amount
    for symbol, token in told["tokens"].items():
        amount = by_token[token.lower()]
        if amount:
            (price,) = devnet.call(address, "getPrice(address)", "(uint256)", told["feeds"][symbol])
            infos = "getAssetInfo(uint8)", "((uint8,address,address,uint64,uint64,uint64,uint64,uint128))"
            factor = devnet.call(address, *infos, told["assets"].index(symbol))[0][6]
            discounted = price * (10**18 - 6 * 10**17 * (10**18 - factor) // 10**18) // 10**18
            paid = amount * discounted // 10 ** DECIMALS.get(symbol, 18) // 100
            buy = "buyCollateral(address,uint256,uint256,address)"
            devnet.send_many([transaction(BUYER, address, buy, token, 0, paid, BUYER)], timestamp)
    (after,) = devnet.call(address, "getReserves()", "(int256)")
    return seized, after - before


async def test_a_round_equals_absorb_and_the_sale_of_what_it_seized(devnet: Devnet) -> None:
    timestamp = devnet.head()[1] + 3600
    result = await predict(devnet, timestamp)
    rows: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()} for row in result.liquidations.to_dict("records")
    ]
    users = list(dict.fromkeys(row["account_id"].split("@")[0].rsplit(":", 1)[1] for row in rows))
    seized, gained = execute(devnet, timestamp, users)
    assert len(users) >= 12
    address = devnet.description.protocols["comet"]["comets"]["usdc"]["address"]
    decimals = {token.lower(): DECIMALS[symbol] for symbol, token in devnet.tokens.items()}
    assert len(rows) == len(seized) > len(users)  # somebody has several collaterals
    credits: dict[str, float] = defaultdict(float)
    for row in rows:
        user = row["account_id"].split("@")[0].rsplit(":", 1)[1]
        token = row["collateral_asset_id"].rsplit(":", 1)[1].lower()
        assert row["seized"] * 10 ** decimals.get(token, 18) == pytest.approx(seized[user.lower(), token], rel=1e-9)
        assert row["sold"] == row["seized"]
        credits[user] += row["credit_usd"]
    for user in users:
        (left,) = devnet.call(address, "balanceOf(address)", "(uint256)", user)
        assert credits[user] * 10**6 == pytest.approx(left, rel=1e-9, abs=2)
        assert devnet.call(address, "borrowBalanceOf(address)", "(uint256)", user) == (0,)
    assert sum(amount > 0 for amount in credits.values()) >= 4
    assert sum(amount == 0 for amount in credits.values()) >= 1  # under water: the reserves pay
    (drawn,) = result.venues["buffer_drawn_usd"]
    bad = result.summary()["bad_debt_usd"]
    assert drawn > 0
    assert bad > 0  # what the Comet books below zero
    # Each balance and each purchase is cut to a raw unit.
    assert -(drawn + bad) * 10**6 == pytest.approx(gained, rel=1e-9, abs=4 * len(users))
