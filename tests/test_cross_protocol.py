"""All protocols of the devnet in one snapshot, and a cascade that goes from Morpho to Aave, replayed on chain.

On chain a Uniswap v3 pool of WETH and USDC is the price of WETH for Morpho's oracles and for Aave's alike, and so of
wstETH. An outside sale brings the shock. Then, round by round, everyone below 1 in Aave 3.2 and in three Morpho markets
is liquidated once, and what both hand out is sold into the pool, as in contagion/test_real_cascade.py. Every block has
the timestamp of the scan, so no interest accrues.
"""

from collections.abc import Iterable
from math import nan
from pathlib import Path
from typing import Any

import pytest

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.protocols import aave_v3, morpho_blue
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import Snapshot, from_readings, resolve_asset
from defi_leverage.store import load_snapshot
from tests.command_line import run
from tests.contagion.real_rounds import Liquidated, liquidate_once, weth_to_sell
from tests.contagion.test_real_cascade import address_of, stock_up, with_pool
from tests.contagion.test_real_liquidations import LIQUIDATOR
from tests.contagion.test_real_morpho import LIQUIDATE
from tests.devnet.artifacts import compile_contracts
from tests.devnet.build import OWNER
from tests.devnet.chain import deploy, transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.protocols import PROTOCOLS
from tests.devnet.protocols.morpho.contracts import Market
from tests.devnet.session import Devnet
from tests.devnet.test_devnet import WAD, account_data
from tests.devnet.tokens import DECIMALS, FINAL, PRICE_UNIT
from tests.devnet.uniswap import FEE, FEE_UNIT, open_pool

pytestmark = pytest.mark.devnet(*PROTOCOLS)

AAVE = "aave_v3_2"
MARKETS = ("weth_usdc", "wsteth_usdc", "weth_dai")
POOL_WETH = 20_000.0
SHOCK = -0.1
MILLIONTH = 1e-6
UNITS = 3  # of rounding
ORACLE_UNIT = 10**36
POOL_PRICE = """// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IAnswer {
    function latestAnswer() external view returns (int256);
}

/// In place of the devnet's MarketFeed, whose description it keeps in its first slot: the answer of another feed.
contract PoolPrice {
    string public description;
    IAnswer private immutable source;
    uint8 public constant decimals = 8;

    constructor(IAnswer source_) {
        source = source_;
    }

    function latestAnswer() public view returns (int256) {
        return source.latestAnswer();
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (1, latestAnswer(), block.timestamp, block.timestamp, 1);
    }
}
"""


def test_one_snapshot_of_all_protocols(devnet: Devnet, tmp_path: Path) -> None:
    config = tmp_path / "devnet.toml"
    config.write_text(devnet.config())
    code, _, _ = run("scan", "--config", config, "--block", "latest", "--output", tmp_path / "out")
    assert code == 4  # the devnet has broken markets on purpose
    (folder,) = (tmp_path / "out").iterdir()
    snapshot = load_snapshot(folder)
    read = snapshot.coverage[snapshot.coverage["protocol"] != "backing"]
    assert set(snapshot.coverage["block"]) == {devnet.head()[0]}
    assert snapshot.coverage["block_hash"].nunique() == 1
    assert (read["found"] == read["read"] + read["failed"]).all()
    assert set(read["venue_id"]) == set(snapshot.venues["venue_id"])
    assert set(read.loc[read["failed"] == 0, "protocol"]) >= WHOLE
    assert set(read.loc[read["failed"] > 0, "protocol"]) <= BROKEN


WHOLE = {"aave_v2", "aave_v3", "compound_v2", "liquity_v1", "liquity_v2", "perp_curie", "synthetix_perps_v2"}
BROKEN = {
    *("aave_v4", "comet", "crvusd", "euler_v2", "fluid", "gmx_v2", "llamalend", "maker", "morpho_blue"),
    *("gains", "synthetix_v3_perps"),
}


async def read_both(devnet: Devnet) -> tuple[Snapshot, Snapshot]:
    """Aave 3.2 and the three Morpho markets at the head, and Aave alone."""
    market, told = devnet.deployments[AAVE], devnet.description.protocols["morpho"]
    ids = {told["markets"][key]["id"] for key in MARKETS}
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        aave = await aave_v3.read(chain, Deployment("aave_v3", "Aave", market.provider, market.first_block))
        morpho = await morpho_blue.read(
            chain, Deployment("morpho_blue", "Morpho", told["address"], told["first_block"])
        )
    lending = [one for one in morpho if one.venue.venue_id.rpartition("/")[2] in ids]
    return from_readings([aave, *lending]), from_readings([aave])


def liquidate_morpho(devnet: Devnet, timestamp: int) -> list[Liquidated]:
    """Liquidate everyone below 1 in the three markets: of all debt, or of all collateral where that is less."""
    told = devnet.description.protocols["morpho"]
    symbols = {address: symbol for symbol, address in devnet.tokens.items()}
    calls, who = [], []
    for key in MARKETS:
        loan, collateral, oracle, irm, lltv = told["markets"][key]["params"]
        market = Market(told["address"], symbols[collateral], symbols[loan], loan, collateral, oracle, irm, lltv)
        price = devnet.call(oracle, "price()", "(uint256)")[0]
        _, _, assets, shares, *_ = devnet.call(
            told["address"], "market(bytes32)", f"({'uint128,' * 5}uint128)", market.id
        )
        bonus = min(1.15, 1 / (1 - 0.3 * (1 - lltv / WAD)))
        for user in sorted({row["address"] for row in told["accounts"] if row["market"] == key}):
            position = ("position(bytes32,address)", "(uint256,uint128,uint128)")
            _, owed_shares, held = devnet.call(told["address"], *position, market.id, user)
            owed = -(-owed_shares * (assets + 1) // (shares + 10**6))
            if owed_shares and held and held * price // ORACLE_UNIT * lltv // WAD < owed:
                takes_all = owed * bonus * ORACLE_UNIT / price > held
                whole = {"seized": held} if takes_all else {"repaid_shares": owed_shares}
                calls.append(market.liquidate(LIQUIDATOR, user, **whole))
                who.append((user.lower(), market.collateral_symbol, market.loan_symbol))
    done = []
    for names, receipt in zip(who, devnet.send_many(calls, timestamp) if calls else [], strict=True):
        (data,) = [bytes.fromhex(log["data"][2:]) for log in receipt["logs"] if log["topics"][0] == LIQUIDATE]
        done.append(Liquidated(*names, nan, int.from_bytes(data[:32], "big"), int.from_bytes(data[64:96], "big"), 0))
    return done


def of_round(result: ContagionResult, number: int) -> dict[str, set[str]]:
    """Whom the engine liquidates in one round, by protocol."""
    rows = result.liquidations[result.liquidations["round"] == number]
    found: dict[str, set[str]] = {"aave": set(), "morpho": set()}
    for account_id in rows["account_id"]:
        found["morpho" if "/" in account_id.partition("@")[2] else "aave"].add(address_of(account_id))
    return found


async def test_sales_of_morpho_collateral_bring_aave_accounts_down(devnet: Devnet, tmp_path: Path) -> None:
    market, told = devnet.deployments[AAVE], devnet.description.protocols["morpho"]
    pool = open_pool(devnet.chain, OWNER, devnet.tokens, FINAL.eth, POOL_WETH)
    source = tmp_path / "PoolPrice.sol"
    source.write_text(POOL_PRICE)
    made = deploy(
        devnet.chain, OWNER, compile_contracts("0.8.26", [source], evmVersion="paris")["PoolPrice"], pool.feed
    )
    devnet.rpc("anvil_setCode", devnet.feeds["WETH"], devnet.rpc("eth_getCode", made, "latest"))
    stock_up(devnet, market, pool)
    approve = "approve(address,uint256)"
    devnet.send_many([transaction(LIQUIDATOR, t, approve, told["address"], MAX_UINT) for t in devnet.tokens.values()])
    timestamp = devnet.head()[1]
    (snapshot, aave_alone), price_before = await read_both(devnet), pool.price()
    devnet.send_many([pool.sell(OWNER, MAX_UINT >> 1, down_to=FINAL.eth * (1 + SHOCK))], timestamp)
    scenario = Scenario("ETH falls", {"WETH": pool.price() / price_before - 1})
    reserve = pool.reserve() / WAD / (1 - FEE / FEE_UNIT)
    result = run_contagion(with_pool(snapshot, reserve), scenario)
    alone = run_contagion(with_pool(aave_alone, reserve), scenario)
    in_aave = snapshot.accounts["account_id"][~snapshot.accounts["account_id"].str.contains("/0x")]
    users = [address_of(account_id) for account_id in in_aave]
    prices, number, crossed = [price_before, pool.price()], 0, 0.0
    while True:
        morpho, aave = liquidate_morpho(devnet, timestamp), liquidate_once(devnet, market, users, timestamp)
        if not morpho and not aave:
            break
        number += 1
        assert of_round(result, number) == {
            "aave": {one.account for one in aave},
            "morpho": {one.account for one in morpho},
        }
        check_amounts(snapshot, result, number, [*aave, *morpho])
        crossed += weth_to_sell(morpho)
        devnet.send_many([pool.sell(LIQUIDATOR, weth_to_sell([*aave, *morpho]))], timestamp)
        prices.append(pool.price())
    assert result.converged
    assert len(result.rounds) == number >= 3
    assert crossed / WAD > 100
    assert result.prices[resolve_asset(snapshot, "WETH")].to_list() == pytest.approx(prices, rel=MILLIONTH)
    rows = dict(zip(in_aave, account_data(devnet, market, users), strict=True))
    compared = 0
    for account_id, (collateral, debt, *_, health) in rows.items():
        if collateral and debt > PRICE_UNIT:  # more than a dollar: less is the market's own rounding
            ours = result.accounts.loc[account_id, "health_factor_after"]
            assert ours == pytest.approx(health / WAD, rel=MILLIONTH)
            compared += 1
    assert compared >= 200
    assert fallen(result, in_aave) > fallen(alone, in_aave)  # sooner than Aave's own sales bring them down


def fallen(result: ContagionResult, accounts: Iterable[str]) -> set[str]:
    """Accounts of these that were liquidated in the first two rounds."""
    rows = result.liquidations
    return set(rows.loc[rows["round"] <= 2, "account_id"]) & set(accounts)


def check_amounts(snapshot: Snapshot, result: ContagionResult, number: int, done: list[Any]) -> None:
    """What each liquidation of a round repaid and seized, in raw units."""
    symbol_of = dict(snapshot.assets[["asset_id", "symbol"]].to_numpy())
    ours: dict[tuple[Any, ...], float] = {}
    for row in result.liquidations[result.liquidations["round"] == number].to_dict("records"):
        collateral, debt = symbol_of[row["collateral_asset_id"]], symbol_of[row["debt_asset_id"]]
        key: tuple[Any, ...] = (address_of(row["account_id"]), collateral, debt)
        ours[*key, "repaid"] = row["repaid"] * 10 ** DECIMALS[debt]
        ours[*key, "seized"] = row["seized"] * 10 ** DECIMALS[collateral]
    theirs: dict[tuple[Any, ...], float] = {}
    for one in done:
        key = (one.account, one.collateral, one.debt)
        theirs[*key, "repaid"], theirs[*key, "seized"] = one.repaid, one.seized
    assert len(theirs) == 2 * len(done)
    assert ours.keys() == theirs.keys()
    for what, amount in ours.items():
        # One unit of a loan token with 6 decimals is up to 1e9 units of a collateral with 18.
        assert amount == pytest.approx(theirs[what], rel=MILLIONTH, abs=UNITS if what[3] == "repaid" else UNITS * 10**9)
