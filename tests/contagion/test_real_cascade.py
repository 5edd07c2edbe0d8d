"""A cascade of several rounds on real contracts, against the engine: liquidate, sell into a pool that is the oracle.

On chain: an Aave market; a Uniswap v3 pool of WETH and USDC whose one position spans every price, so x*y=k; its spot
price as the oracle of WETH and, times a ratio, of wstETH. An outside seller brings the shock, and wstETH's feed begins
to read too low. Then, round by round, everyone whom the market reports below 1 is liquidated once, in one block; after
them, in the next block, liquidators sell what brings their stock of WETH back to where it was: seized less repaid,
wstETH redeemed at its true ratio. USDC, DAI and WBTC come from stock and stay there. Every block has the timestamp of
the scan, so no interest accrues.

The engine is told the same: a constant product with the WETH that the pool holds once the shock has arrived (over
1 - fee, for what is paid as fee does not trade), wstETH that can be redeemed, no other depth. Bad debt, which stays on
the account up to release 3.2, is written off by the engine; the fees that it counts go to the treasury's account.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.snapshot import Snapshot, resolve_asset
from tests.contagion.real_rounds import Position, Round, read_positions, read_treasury, run_rounds
from tests.contagion.test_real_liquidations import LIQUIDATOR, read_snapshot
from tests.devnet.artifacts import compile_sources
from tests.devnet.build import OWNER
from tests.devnet.chain import deploy, transaction
from tests.devnet.description import Deployment
from tests.devnet.plans import MAX_UINT
from tests.devnet.session import Devnet
from tests.devnet.test_devnet import WAD, account_data
from tests.devnet.tokens import DECIMALS, FINAL, PRICE_UNIT, RATIO_UNIT, set_feed_ratio
from tests.devnet.uniswap import FEE, FEE_UNIT, SpotPool, open_pool

pytestmark = pytest.mark.devnet

POOL_WETH = 200_000.0
SHOCK = -0.12
FEED_SHOCK = -0.02  # of wstETH's feed
STOCK = 10**12  # whole tokens that traders start with
MILLIONTH = 1e-6
RAW_UNITS = 3  # the pool rounds amounts to whole raw units, some in each round
RAW_UNITS_USD = 0.0018  # two units of 8-decimal WBTC


@pytest.mark.parametrize("key", ["aave_v3_0", "aave_v3_2"])
def test_a_cascade_ends_where_the_engine_says(devnet: Devnet, key: str) -> None:
    market = devnet.deployments[key]
    pool = open_pool(devnet.chain, OWNER, devnet.tokens, FINAL.eth, POOL_WETH)
    ratio_feed = make_oracle(devnet, market, pool)
    stock_up(devnet, market, pool)
    timestamp = devnet.head()[1]
    snapshot, price_before = read_snapshot(devnet, key), pool.price()
    outside_sale = pool.sell(OWNER, MAX_UINT >> 1, down_to=FINAL.eth * (1 + SHOCK))
    devnet.send_many([outside_sale, set_feed_ratio(OWNER, ratio_feed, FINAL.ratio * (1 + FEED_SHOCK))], timestamp)
    prices = [price_before, pool.price()]
    reserve = pool.reserve() / WAD / (1 - FEE / FEE_UNIT)
    scenario = Scenario("ETH falls", {"WETH": prices[1] / prices[0] - 1}, {"wstETH": FEED_SHOCK})
    result = run_contagion(with_pool(snapshot, reserve), scenario)

    users = [address_of(account_id) for account_id in snapshot.accounts["account_id"]]
    rounds = run_rounds(devnet, market, pool, users, timestamp)

    assert result.converged
    assert len(result.rounds) == len(rounds) >= 4
    prices += [found.price for found in rounds]
    assert result.prices[resolve_asset(snapshot, "WETH")].to_list() == pytest.approx(prices, rel=MILLIONTH)
    symbol_of = dict(snapshot.assets[["asset_id", "symbol"]].to_numpy())
    check_rounds(result, rounds, symbol_of)
    treasury = read_treasury(devnet, market)
    fees = {(treasury, symbol): fee for symbol, fee in fees_taken(rounds).items()}
    check_amounts(result, read_positions(devnet, market, sorted({*users, treasury})), symbol_of, fees)
    check_health(result, dict(zip(users, account_data(devnet, market, users), strict=True)))
    check_coverage(rounds)


def check_rounds(result: ContagionResult, rounds: list[Round], symbol_of: dict[str, str]) -> None:
    """The same accounts and legs in every round, the same amounts, and the same bad debt."""
    ours: dict[tuple[Any, ...], float] = {}
    for row in result.liquidations.to_dict("records"):
        collateral, debt = symbol_of[row["collateral_asset_id"]], symbol_of[row["debt_asset_id"]]
        key = (row["round"], address_of(row["account_id"]), collateral, debt)
        ours[*key, "repaid"] = row["repaid"] * 10 ** DECIMALS[debt]
        ours[*key, "seized"] = row["seized"] * 10 ** DECIMALS[collateral]
        ours[*key, "fee"] = row["protocol_fee"] * 10 ** DECIMALS[collateral]
        ours[*key, "health factor"] = row["health_factor"] * WAD
    theirs: dict[tuple[Any, ...], float] = {}
    for number, found in enumerate(rounds, start=1):
        for one in found.liquidated:
            key = (number, one.account, one.collateral, one.debt)
            theirs[*key, "repaid"], theirs[*key, "seized"], theirs[*key, "fee"] = one.repaid, one.seized, one.fee
            theirs[*key, "health factor"] = one.health_factor * WAD
    assert ours.keys() == theirs.keys()
    assert ours == pytest.approx(theirs, rel=MILLIONTH, abs=RAW_UNITS)
    bad_debt = [found.bad_debt_usd for found in rounds]
    assert result.rounds["bad_debt_usd"].to_list() == pytest.approx(bad_debt, rel=MILLIONTH, abs=RAW_UNITS_USD)


def check_amounts(
    result: ContagionResult,
    positions: dict[str, Position],
    symbol_of: dict[str, str],
    fees: Mapping[tuple[str, str], int],
) -> None:
    """What every account has left of every asset, in raw units; bad debt is still owed. `fees`: by account, symbol."""
    ours: dict[tuple[str, str, str], float] = defaultdict(float)
    for (account, symbol), fee in fees.items():
        ours[account, "collateral", symbol] += fee
    legs = result.legs.rename(columns={"amount_after": "amount"})
    for row in (*legs.to_dict("records"), *result.bad_debt.assign(side="debt").to_dict("records")):
        symbol = symbol_of[row["asset_id"]]
        ours[address_of(row["account_id"]), row["side"], symbol] += row["amount"] * 10 ** DECIMALS[symbol]
    theirs = dict.fromkeys(ours, 0) | {
        (account, side, symbol): amount
        for account, position in positions.items()
        for side, amounts in (("collateral", position.supplied), ("debt", position.debt))
        for symbol, amount in amounts.items()
    }
    assert ours == pytest.approx(theirs, rel=MILLIONTH, abs=RAW_UNITS)


def check_health(result: ContagionResult, rows: dict[str, tuple[Any, ...]]) -> None:
    """Every account's health factor at the end; 0 on chain, inf here, where all that is left is bad debt."""
    written_off = set(result.bad_debt["account_id"])
    compared = 0
    for account_id, ours in result.accounts["health_factor_after"].items():
        _, debt, *_, theirs = rows[address_of(str(account_id))]
        if account_id in written_off:
            assert (ours, theirs) == (float("inf"), 0)
        elif debt:
            assert ours == pytest.approx(theirs / WAD, rel=MILLIONTH + RAW_UNITS_USD / (debt / PRICE_UNIT))
            compared += 1
        else:  # none, or one that the market rounds to nothing
            assert ours > 1e9
    assert compared >= 200


def check_coverage(rounds: list[Round]) -> None:
    """The cascade has what it is meant to try."""
    done = [one for found in rounds for one in found.liquidated]
    assert len(done) >= 100
    assert sum(one.health_factor > 0.95 for one in done) >= 30  # half of the debt
    assert sum(one.health_factor <= 0.95 for one in done) >= 30  # all of it
    assert sum(found.bad_debt_usd > 1000 for found in rounds) >= 3
    pairs = Counter((one.collateral, one.debt) for one in done)
    assert min(pairs["WETH", "USDC"], pairs["wstETH", "USDC"], pairs["wstETH", "WETH"]) >= 10


def fees_taken(rounds: list[Round]) -> dict[str, int]:
    """Raw units that the protocol kept of what was seized, by symbol."""
    fees: Counter[str] = Counter()
    for found in rounds:
        for one in found.liquidated:
            fees[one.collateral] += one.fee
    return fees


def with_pool(snapshot: Snapshot, reserve: float) -> Snapshot:
    """The scan with the pool as WETH's market, and with wstETH redeemed at its ratio at once."""
    weth, wsteth = resolve_asset(snapshot, "WETH"), resolve_asset(snapshot, "wstETH")
    depth = {
        "asset_id": weth,
        "quote": "USD",
        "model": "constant_product",
        "parameters": json.dumps({"reserve": reserve}),
        "source": "the pool on the devnet",
    }
    backing = snapshot.backing.copy()
    backing.loc[backing["asset_id"] == wsteth, "kind"] = "wraps"
    return replace(snapshot, depth=pd.DataFrame([depth]), backing=backing)


def make_oracle(devnet: Devnet, market: Deployment, pool: SpotPool) -> str:
    """Make the pool's price the oracle of WETH and, by way of a new ratio feed, of wstETH; that feed's address."""
    arguments = ("Capped wstETH / stETH(ETH) / USD", pool.feed, round(FINAL.ratio * RATIO_UNIT))
    ratio_feed = deploy(devnet.chain, OWNER, compile_sources()["RatioFeed"], *arguments)
    assets = [devnet.tokens["WETH"], devnet.tokens["wstETH"]]
    devnet.transact(OWNER, market.oracle, "setAssetSources(address[],address[])", assets, [pool.feed, ratio_feed])
    return ratio_feed


def stock_up(devnet: Devnet, market: Deployment, pool: SpotPool) -> None:
    """Give liquidators and the outside seller tokens, and let the market and the trader take them."""
    transactions = [*pool.approve(LIQUIDATOR), *pool.approve(OWNER)]
    for symbol, token in devnet.tokens.items():
        amount = STOCK * 10 ** DECIMALS[symbol]
        transactions += [transaction(who, token, "mint(address,uint256)", who, amount) for who in (LIQUIDATOR, OWNER)]
        transactions.append(transaction(LIQUIDATOR, token, "approve(address,uint256)", market.pool, MAX_UINT))
    devnet.send_many(transactions)


def address_of(account_id: str) -> str:
    """The address in a snapshot's account_id, in lower case."""
    return account_id.partition("@")[0].rpartition(":")[2].lower()
