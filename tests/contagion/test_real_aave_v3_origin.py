"""The round against Aave v3.6 itself: the rule of liquidation since 3.3, its leftovers, deficits and e-mode bonuses."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from eth_utils.crypto import keccak

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.result import ContagionResult
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.protocols import aave_v3
from defi_leverage.reading import Deployment
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import Transaction, TransactionRevertedError, transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.rpc import RpcError
from tests.devnet.session import Devnet
from tests.devnet.tokens import FINAL, set_answer, set_feed_ratio

pytestmark = pytest.mark.devnet("aave_v3_origin")

LIQUIDATOR = "0x00000000000000000000000000000000000A11Ce"
# Of WETH and WBTC, and of the ratio of wstETH: the last one is not over in a round.
MILD, DEEP, LONG = (-0.08, -0.02), (-0.3, -0.02), (-0.08, -0.045)
LIQUIDATION = "liquidationCall(address,address,address,uint256,bool)"
LIQUIDATED = "0xe413a321e8681d831f4dbccbca790d2952b56f977908e45be37335533e005286"
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
DEFICIT = "0x" + keccak(text="DeficitCreated(address,address,uint256)").hex()
LEAVES_DUST = f"reverted: 0x{keccak(text='MustNotLeaveDust()')[:4].hex()}"
SMALLEST_USD = 100.0  # of debt left: below, the pool's own rounding of its totals shows
ROUNDING_USD = 1e-5  # what a leftover must have to spare, as amounts and values are cut


@dataclass(frozen=True)
class OnChain:
    """What one liquidationCall did, in raw units; the deficits it left by asset; health factor and debt after it."""

    repaid: int
    seized: int
    fee: int
    deficits: dict[str, int]
    health_factor: int
    debt_base: int


# Half of the debt would leave less than 1,000 USD of the debt, or of the collateral, that the engine picks.
LEAVES_TOO_LITTLE = ("debt_left", "collateral_left")


async def predict(devnet: Devnet, timestamp: int, shock: tuple[float, float], max_rounds: int = 1) -> ContagionResult:
    """Rounds of the engine on the market as it stands at `timestamp`, before any price has moved; nothing is sold."""
    market = devnet.description.protocols["aave_v3_origin"]["market"]
    wanted = Deployment("aave_v3", market["name"], market["provider"], market["first_block"])
    before = devnet.snapshot()
    devnet.mine(timestamp)
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        snapshot = from_readings([await aave_v3.read(chain, wanted)])
    devnet.revert(before)
    # tBTC has the feed of WBTC, and weETH that of wstETH.
    shocks = dict.fromkeys(("WETH", "WBTC", "tBTC"), shock[0])
    ratios = dict.fromkeys(("wstETH", "weETH"), shock[1])
    scenario = Scenario("drop", shocks, ratios, max_rounds=max_rounds, sell_collateral=False, buy_debt=False)
    return run_contagion(snapshot, scenario)


def preparations(devnet: Devnet, shock: tuple[float, float]) -> list[Transaction]:
    """The same fall of the feeds, and what the liquidator needs."""
    told = devnet.description.protocols["aave_v3_origin"]
    calls = [
        set_answer(OWNER, devnet.feeds["WETH"], FINAL.eth * (1 + shock[0])),
        set_answer(OWNER, devnet.feeds["WBTC"], FINAL.btc * (1 + shock[0])),
        set_feed_ratio(OWNER, devnet.feeds["wstETH"], FINAL.ratio * (1 + shock[1])),
    ]
    for token in told["tokens"].values():
        calls.append(transaction(LIQUIDATOR, token, "mint(address,uint256)", LIQUIDATOR, 10**32))
        calls.append(transaction(LIQUIDATOR, token, "approve(address,uint256)", told["market"]["pool"], MAX_UINT))
    return calls


def named_rows(devnet: Devnet, result: ContagionResult) -> list[dict[str, Any]]:
    """The rows of `liquidations` with addresses, units, kind, and how much is offered to the pool in raw units.

    That is everything, but of who would be left with too little: there the pool reverts, and what is offered is what
    the engine says is most.
    """
    told = devnet.description.protocols["aave_v3_origin"]
    symbols = {token: symbol for symbol, token in told["tokens"].items()}
    places = {token: devnet.call(token, "decimals()", "(uint8)")[0] for token in symbols}
    kinds = {one: kind for kind, named in told["accounts"].items() for one in named}
    rows = []
    for found in result.liquidations.to_dict("records"):
        row = {str(key): value for key, value in found.items()}
        row["user"] = str(row["account_id"]).split("@")[0].split(":")[-1]
        row["kind"] = kinds[row["user"]]
        for side in ("collateral", "debt"):
            token = str(row[f"{side}_asset_id"]).rsplit(":", 1)[1]
            row |= {side: token, f"{side}_symbol": symbols[token], f"{side}_unit": 10 ** places[token]}
        row["is_limited"] = row["kind"] in LEAVES_TOO_LITTLE and row["health_factor"] > 0.95
        row["most"] = int((row["repaid"] - ROUNDING_USD) * row["debt_unit"])  # the debts are in dollars
        rows.append(row)
    return rows


def liquidation(devnet: Devnet, row: dict[str, Any], amount: int) -> Transaction:
    pool = devnet.description.protocols["aave_v3_origin"]["market"]["pool"]
    return transaction(LIQUIDATOR, pool, LIQUIDATION, row["collateral"], row["debt"], row["user"], amount, False)


def why_refused(devnet: Devnet, call: Transaction) -> str:
    """The node's reason why a call would revert now; "" where it would not."""
    try:
        devnet.rpc("eth_call", {"from": call.sender, "to": call.to, "data": "0x" + call.data.hex()}, "latest")
    except RpcError as refused:
        return str(refused)
    return ""


def outcome(devnet: Devnet, row: dict[str, Any], logs: list[dict[str, Any]]) -> OnChain:
    """What the logs of one liquidation say, and the pool of its account after it."""
    told = devnet.description.protocols["aave_v3_origin"]
    (event,) = [bytes.fromhex(log["data"][2:]) for log in logs if log["topics"][0] == LIQUIDATED]
    payment = [TRANSFER[-40:], row["user"][2:].lower(), told["treasury"][2:].lower()]
    a_token = told["market"]["a_tokens"][row["collateral_symbol"]].lower()
    paid = [log for log in logs if log["address"] == a_token and [one[-40:] for one in log["topics"]] == payment]
    fee = sum(int(log["data"], 16) for log in paid)
    words = "(uint256,uint256,uint256,uint256,uint256,uint256)"
    data = devnet.call(told["market"]["pool"], "getUserAccountData(address)", words, row["user"])
    repaid, paid_out = int.from_bytes(event[:32], "big"), int.from_bytes(event[32:64], "big")
    deficits = {log["topics"][2][-40:]: int(log["data"], 16) for log in logs if log["topics"][0] == DEFICIT}
    return OnChain(repaid, paid_out + fee, fee, deficits, data[5], data[1])


def kind_of(row: dict[str, Any], debt: float, collateral: float) -> str:
    """Which part of the rule decided, by what the account had before: USD of the pair's debt and collateral."""
    if row["health_factor"] <= 0.95:
        return "whole by health"
    if debt < 2_000:
        return "whole by small debt"
    if collateral < 2_000:
        return "whole by small collateral"
    return "as much as leaves enough" if row["is_limited"] else "half"


MILD_ROUND = {
    "half": 40,
    "whole by health": 22,
    "whole by small debt": 4,
    "whole by small collateral": 4,
    "as much as leaves enough": 8,
    "all of the collateral": 13,
    "a deficit": 9,
    "deficits in two assets": 2,
    "e-mode bonus": 18,
}
DEEP_ROUND = {
    "half": 17,
    "whole by health": 100,
    "all of the collateral": 75,
    "a deficit": 52,
    "deficits in two assets": 2,
    "e-mode bonus": 24,
}


@pytest.mark.parametrize(("shock", "expected"), [(MILD, MILD_ROUND), (DEEP, DEEP_ROUND)])
async def test_a_round_equals_the_liquidations_on_chain(
    devnet: Devnet, shock: tuple[float, float], expected: dict[str, int]
) -> None:
    timestamp = devnet.head()[1] + 3600
    result = await predict(devnet, timestamp, shock)
    rows = named_rows(devnet, result)
    calls = preparations(devnet, shock)
    first = len(calls)
    calls += [liquidation(devnet, row, row["most"] if row["is_limited"] else MAX_UINT) for row in rows]
    done = [
        outcome(devnet, row, receipt["logs"])
        for row, receipt in zip(rows, devnet.send_many(calls, timestamp)[first:], strict=True)
    ]
    legs = result.legs.set_index(["account_id", "side", "asset_id"])["amount_before"]
    bad = result.bad_debt.set_index("account_id")
    seen, to_a_billionth = Counter[str](), 0
    for row, found in zip(rows, done, strict=True):
        # Two raw units: the pool rounds three times.
        slack = {
            side: 1.2 * ROUNDING_USD * row[f"{side}_unit"] if row["is_limited"] else 2
            for side in ("debt", "collateral")
        }
        amounts = (
            (row["repaid"] * row["debt_unit"], found.repaid, slack["debt"]),
            (row["seized"] * row["collateral_unit"], found.seized, slack["collateral"]),
            (row["protocol_fee"] * row["collateral_unit"], found.fee, slack["collateral"]),
        )
        for ours, theirs, apart in amounts:
            assert ours == pytest.approx(theirs, rel=1e-9, abs=apart), row
        account = row["account_id"]
        lost = bad.loc[[account]] if account in bad.index else bad.iloc[:0]
        assert len(lost) == len(found.deficits), row
        for asset_id, amount in zip(lost["asset_id"], lost["amount"], strict=True):
            token = asset_id.rsplit(":", 1)[1]
            unit = 10 ** devnet.call(token, "decimals()", "(uint8)")[0]
            assert amount * unit == pytest.approx(found.deficits[token[2:].lower()], rel=1e-9, abs=2)
        seen["a deficit"] += len(lost) > 0
        seen["deficits in two assets"] += len(lost) > 1
        health = float(result.accounts["health_factor_after"].loc[account])
        if found.debt_base == 0:  # written off on both sides where there is a deficit
            assert health == float("inf")
        elif found.debt_base > SMALLEST_USD * 1e8:  # two raw units of 8-decimal WBTC are 0.0018 USD
            assert health == pytest.approx(found.health_factor / 1e18, rel=1e-9 + 0.0018 / (found.debt_base / 1e8))
        pair = [legs.loc[account, side, row[f"{side}_asset_id"]] for side in ("debt", "collateral")]
        usd = [amount * row[f"{name}_usd"] / row[name] for amount, name in zip(pair, ("repaid", "seized"), strict=True)]
        seen[kind_of(row, *usd)] += 1
        bonus = row["seized_usd"] / row["repaid_usd"] - 1
        seen["e-mode bonus"] += row["kind"].startswith("emode") and round(bonus, 6) in {0.01, 0.055, 0.04}
        seen["all of the collateral"] += bool(found.seized > pair[1] * row["collateral_unit"] * (1 - 1e-9))
        to_a_billionth += all(ours == pytest.approx(theirs, rel=1e-9, abs=0) for ours, theirs, _ in amounts)
    assert all(seen[what] >= least for what, least in expected.items()), seen
    assert to_a_billionth >= 0.75 * len(rows)


@pytest.mark.parametrize("kind", LEAVES_TOO_LITTLE)
async def test_who_would_leave_too_little_reverts_and_what_the_engine_repays_does_not(
    devnet: Devnet, kind: str
) -> None:
    timestamp = devnet.head()[1] + 3600
    rows = [row for row in named_rows(devnet, await predict(devnet, timestamp, MILD)) if row["kind"] == kind]
    assert len(rows) == 4
    devnet.send_many(preparations(devnet, MILD), timestamp)
    for row in rows:
        cent_more = row["most"] + row["debt_unit"] // 100
        for amount in (MAX_UINT, cent_more, row["most"]):
            before = devnet.snapshot()
            if amount == row["most"]:
                devnet.send_many([liquidation(devnet, row, amount)], timestamp)
            else:
                with pytest.raises(TransactionRevertedError, match=LEAVES_DUST):
                    devnet.send_many([liquidation(devnet, row, amount)], timestamp)
            devnet.revert(before)


async def test_rounds_until_nobody_is_below_one(devnet: Devnet) -> None:
    """The same rounds on chain, all at one price and second: who is still below 1 is liquidated again.

    What a liquidation leaves above or below a limit by 1e-5 USD is carried on, so that amounts agree to 1e-4 USD.
    """
    timestamp = devnet.head()[1] + 3600
    result = await predict(devnet, timestamp, LONG, max_rounds=12)
    assert result.converged
    rows = named_rows(devnet, result)
    pool, tokens = (devnet.description.protocols["aave_v3_origin"][name] for name in ("market", "tokens"))
    before = {
        one: devnet.call(pool["pool"], "getReserveDeficit(address)", "(uint256)", one)[0] for one in tokens.values()
    }
    devnet.send_many(preparations(devnet, LONG), timestamp)
    limited = 0
    for number in sorted({row["round"] for row in rows}):
        calls = []
        for row in (one for one in rows if one["round"] == number):
            call = liquidation(devnet, row, MAX_UINT)
            if refusal := why_refused(devnet, call):
                assert LEAVES_DUST.split()[1] in refusal
                limited += 1
                call = liquidation(devnet, row, row["most"])
            calls.append((row, call))
        receipts = devnet.send_many([call for _, call in calls], timestamp)
        for (row, _), receipt in zip(calls, receipts, strict=True):
            found = outcome(devnet, row, receipt["logs"])
            for ours, theirs, unit in (
                (row["repaid"], found.repaid, row["debt_unit"]),
                (row["seized"], found.seized, row["collateral_unit"]),
                (row["protocol_fee"], found.fee, row["collateral_unit"]),
            ):
                assert ours == pytest.approx(theirs / unit, rel=1e-9, abs=1e-4 + 3 / unit), row
    users = {one for named in devnet.description.protocols["aave_v3_origin"]["accounts"].values() for one in named}
    words = "(uint256,uint256,uint256,uint256,uint256,uint256)"
    health = [devnet.call(pool["pool"], "getUserAccountData(address)", words, user)[5] for user in users]
    assert min(health) >= 10**18  # nobody was overlooked
    lost = result.bad_debt.groupby("asset_id")["amount"].sum()
    for symbol, token in tokens.items():
        unit = 10 ** devnet.call(token, "decimals()", "(uint8)")[0]
        more = devnet.call(pool["pool"], "getReserveDeficit(address)", "(uint256)", token)[0] - before[token]
        ours = float(lost.get(f"eip155:{devnet.chain_id}/erc20:{token}", 0.0))
        assert ours == pytest.approx(more / unit, rel=1e-9, abs=1e-4), symbol
    assert (limited, len(lost)) == (8, 3)
    assert rows[-1]["round"] >= 5
