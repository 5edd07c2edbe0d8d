"""The Aave v3 reader against release 3.6 itself, compiled from the source that Aave publishes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth_utils.crypto import keccak

from defi_leverage.chain import open_chain
from defi_leverage.fixed_point import RAY, WAD, compounded_interest_v3_4, linear_interest, ray_mul
from defi_leverage.protocols import aave_v3
from defi_leverage.protocols.aave_v3.health import NO_DEBT
from defi_leverage.reading import AccountReading, Deployment, LegReading, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.calldata import decode_result, encode_call
from tests.devnet.chain import TransactionRevertedError, transaction
from tests.devnet.plans import MAX_UINT
from tests.devnet.session import Devnet

pytestmark = pytest.mark.devnet("aave_v3_origin")

YEAR = 365 * 86_400
LIQUIDATOR = "0x00000000000000000000000000000000000A11Ce"
LIQUIDATION = "liquidationCall(address,address,address,uint256,bool)"
PAUSED = {
    "liquidations of PYUSD": "the reserve is paused: nobody is liquidated out of it or for a debt in it, though "
    "scenarios do so"
}


def error(name: str) -> str:
    """How the devnet names a revert with one of the release's errors, which have no text of their own."""
    return f"reverted: 0x{keccak(text=name)[:4].hex()}"


BELOW_ONE, IN_GRACE = (
    error("HealthFactorLowerThanLiquidationThreshold()"),
    error("LiquidationGraceSentinelCheckFailed()"),
)
RESERVE_PAUSED, NOT_TO_BE_SEIZED = error("ReservePaused()"), error("CollateralCannotBeLiquidated()")


@dataclass(frozen=True)
class Scene:
    """The market of the devnet, and its reading at the devnet's head."""

    devnet: Devnet
    told: Mapping[str, Any]
    reading: Reading

    @property
    def market(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.told["market"]
        return found

    @property
    def pool(self) -> str:
        return str(self.market["pool"])

    @property
    def by_address(self) -> dict[str, AccountReading]:
        return {account.address: account for account in self.reading.accounts}

    def of_kind(self, kind: str) -> list[AccountReading]:
        by_address = self.by_address
        return [by_address[address] for address in self.told["accounts"][kind]]

    def asset(self, symbol: str) -> str:
        return f"eip155:{self.devnet.chain_id}/erc20:{self.told['tokens'][symbol]}"

    def leg(self, account: AccountReading, symbol: str, side: str = "collateral") -> LegReading:
        (found,) = [leg for leg in account.legs if (leg.asset_id, leg.side) == (self.asset(symbol), side)]
        return found

    def view(self, signature: str, symbol: str) -> int:
        value: int = self.devnet.call(self.pool, signature, "(uint256)", self.told["tokens"][symbol])[0]
        return value

    def govern(self, signature: str, *arguments: Any) -> None:
        self.devnet.transact(self.told["owner"], self.market["configurator"], signature, *arguments)


async def read(devnet: Devnet) -> Reading:
    market = devnet.description.protocols["aave_v3_origin"]["market"]
    wanted = Deployment("aave_v3", market["name"], market["provider"], market["first_block"])
    async with open_chain("devnet", devnet.chain_id, [devnet.url]) as chain:
        return await aave_v3.read(chain, wanted)


@pytest.fixture
async def scene(devnet: Devnet) -> Scene:
    return Scene(devnet, devnet.description.protocols["aave_v3_origin"], await read(devnet))


def account_data(devnet: Devnet, pool: str, addresses: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """(collateral, debt, health factor) as the pool reports them."""
    data = [{"to": pool, "data": "0x" + encode_call("getUserAccountData(address)", one).hex()} for one in addresses]
    answers = devnet.chain.session.batch([("eth_call", (message, "latest")) for message in data])
    rows = [decode_result("(uint256,uint256,uint256,uint256,uint256,uint256)", answer) for answer in answers]
    return {address: (row[0], row[1], row[5]) for address, row in zip(addresses, rows, strict=True)}


def recompute(account: AccountReading, reading: Reading) -> tuple[int, int, int]:
    """(collateral, debt, health factor) from the reading's legs alone: supplies count down, debts up, no average."""
    prices = {feed.feed_id: feed.price_raw for feed in reading.feeds}
    units = {token.asset_id: 10**token.decimals for token in reading.assets}
    collateral = weighted = debt = 0
    for leg in account.legs:
        value = leg.amount_raw * prices[leg.feed_id]
        if leg.side == "debt":
            debt += -(-value // units[leg.asset_id])
        elif leg.weight_wad:
            collateral += value // units[leg.asset_id]
            weighted += value // units[leg.asset_id] * (leg.weight_wad // 10**14)
    return collateral, debt, ((weighted * WAD + debt // 2) // debt // 10**4 if debt else NO_DEBT)


def health(account: AccountReading) -> int:
    assert account.health_factor_raw is not None
    return account.health_factor_raw


def test_every_account_is_the_pool_s_to_the_last_wei(scene: Scene) -> None:
    assert scene.reading.failed == {}
    assert scene.reading.gaps == PAUSED
    assert scene.reading.found == len(scene.reading.accounts) > 150
    reported = account_data(scene.devnet, scene.pool, list(scene.by_address))
    for address, account in scene.by_address.items():
        figures = (account.collateral_base_raw, account.debt_base_raw, account.health_factor_raw)
        assert figures == reported[address], address
        assert recompute(account, scene.reading) == reported[address], address
    everybody = {address for named in scene.told["accounts"].values() for address in named}
    gone = everybody - set(scene.by_address)  # the one whose debt became a deficit is left with nothing
    assert gone == {scene.told["accounts"]["liquidated"][1]}
    factors = [figures[2] for figures in reported.values()]
    assert sum(factor == NO_DEBT for factor in factors) > 10
    assert sum(factor < WAD for factor in factors) > 15


def test_venue(scene: Scene) -> None:
    venue = scene.reading.venue
    assert (venue.revision, venue.liquidation_rule, venue.health_rule) == (10, "aave_v3_3", "linear")
    assert venue.liquidation_parameters == {
        "close_factor": 0.5,
        "full_close_health_factor": 0.95,
        "full_close_below_usd": 2000.0,
        "minimum_leftover_usd": 1000.0,
    }


def test_amounts_and_totals_are_the_tokens_own(scene: Scene) -> None:
    """Each account's amounts are what its tokens answer, and they add up to the supplies but for a unit each."""
    for market in scene.reading.markets:
        (symbol,) = [one for one in scene.told["tokens"] if scene.asset(one) == market.asset_id]
        tokens = (scene.market["a_tokens"][symbol], scene.market["variable_debt_tokens"][symbol])
        for side, token, total in zip(
            ("collateral", "debt"), tokens, (market.supply_raw, market.borrow_raw), strict=True
        ):
            held = {
                account.address: leg.amount_raw
                for account in scene.reading.accounts
                for leg in account.legs
                if (leg.side, leg.asset_id) == (side, market.asset_id)
            }
            assert total == scene.devnet.call(token, "totalSupply()", "(uint256)")[0]
            short = (total - sum(held.values())) * (1 if side == "collateral" else -1)
            assert 0 <= short <= len(held)
            for address in list(held)[:5]:
                assert scene.devnet.call(token, "balanceOf(address)", "(uint256)", address)[0] == held[address]
        assert market.cash_raw == scene.view("getVirtualUnderlyingBalance(address)", symbol)


def test_deficits_are_what_liquidations_left_and_umbrella_did_not_cover(scene: Scene) -> None:
    deficits = {market.asset_id: market.deficit_raw for market in scene.reading.markets}
    logs = scene.devnet.rpc("eth_getLogs", {"address": scene.pool, "fromBlock": "0x0", "toBlock": "latest"})
    created, covered = (
        "0x" + keccak(text=f"Deficit{done}(address,address,uint256)").hex() for done in ("Created", "Covered")
    )
    expected = dict.fromkeys(deficits, 0)
    for log in logs:
        for topic, at, sign in ((created, 2, 1), (covered, 1, -1)):
            if log["topics"][0] == topic:
                (symbol,) = [
                    one for one, token in scene.told["tokens"].items() if token[2:].lower() == log["topics"][at][-40:]
                ]
                expected[scene.asset(symbol)] += sign * int(log["data"][-64:], 16)
    assert deficits == expected
    assert {symbol for symbol in scene.told["tokens"] if deficits[scene.asset(symbol)]} == {"USDC", "DAI"}
    for symbol in scene.told["tokens"]:
        assert deficits[scene.asset(symbol)] == scene.view("getReserveDeficit(address)", symbol)
    (venue,) = from_readings([scene.reading]).venues.to_dict("records")
    assert venue["deficit_usd"] == pytest.approx(
        deficits[scene.asset("USDC")] / 1e6 + deficits[scene.asset("DAI")] / 1e18, rel=1e-12
    )


def test_e_mode_counts_where_the_collateral_bit_is_set_and_nowhere_else(scene: Scene) -> None:
    def terms(account: AccountReading, symbol: str) -> tuple[float, float]:
        leg = scene.leg(account, symbol)
        return leg.weight_wad / WAD, leg.liquidation_bonus_wad / WAD

    loopers = scene.of_kind("emode_looper")
    assert {account.mode for account in loopers} == {"emode:1"}
    # weETH has no threshold of its own, wstETH another one; USDC, beside them, is in no bitmap of the category.
    assert terms(loopers[0], "weETH") == terms(loopers[1], "wstETH") == (0.95, 0.01)
    assert terms(loopers[2], "USDC") == (0.78, 0.045)
    # Category 2 lets USDC be borrowed, and has wstETH alone as collateral.
    assert terms(scene.of_kind("emode_dollars")[1], "wstETH") == (0.845, 0.055)
    assert terms(scene.of_kind("emode_dollars")[1], "USDC") == (0.78, 0.045)
    # DAI has left category 3 since: its own terms count, and who looped it is under water.
    stables = scene.of_kind("stable_looper")
    assert terms(stables[0], "USDC") == (0.93, 0.015)
    assert terms(stables[1], "DAI") == (0.77, 0.05)
    assert min(health(account) for account in stables[1::3]) < WAD
    # A loan-to-value of zero, in a category or by a freeze, leaves the threshold as it was.
    assert terms(scene.of_kind("emode_ltv_zero")[0], "WBTC") == (0.86, 0.04)
    assert terms(scene.of_kind("frozen")[0], "LUSD") == (0.77, 0.045)
    assert {leg.protocol_fee_wad for account in loopers for leg in account.legs if leg.side == "collateral"} == {
        WAD // 10
    }


def test_what_is_collateral_and_what_is_not(scene: Scene) -> None:
    assert {account.mode for account in scene.of_kind("isolated")} == {"isolated"}
    assert {account.mode for account in scene.of_kind("siloed")} == {"cross"}
    for account in scene.of_kind("collateral_off"):
        assert scene.leg(account, "USDC").weight_wad == 0
        assert scene.leg(account, "WETH").weight_wad > 0
    for account in scene.of_kind("atoken_only"):  # since 3.6 what is received is no collateral by itself
        assert [leg.weight_wad for leg in account.legs] == [0]
        assert account.collateral_base_raw == 0
    for account in scene.of_kind("atoken_borrower"):
        assert account.debt_base_raw > 0
    (liquidator,) = scene.of_kind("liquidator")  # was paid in aTokens once
    assert scene.leg(liquidator, "WETH").weight_wad == 0
    treasury = scene.by_address[scene.told["treasury"]]
    assert len(treasury.legs) > 3
    dust = scene.of_kind("dust")
    # Of DAI three raw units are worth next to nothing, which counts as one; of USDC they are four, rounded up twice.
    assert sorted(account.debt_base_raw for account in dust) == [0, 0, 0, 0, 1, 1, 400, 400]


def test_reserves_are_numbered_past_the_one_that_was_dropped(scene: Scene) -> None:
    words = "(uint256[15])"
    numbers = [
        scene.devnet.call(scene.pool, "getReserveData(address)", words, token)[0][7]
        for token in scene.told["tokens"].values()
    ]
    assert numbers == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10]
    assert len(scene.reading.markets) == len(numbers)


async def test_a_collateral_whose_threshold_is_zero_still_counts_since_3_6(scene: Scene) -> None:
    """No function of the configurator leads there with suppliers in place: the pool's own configuration is written."""
    devnet, token = scene.devnet, scene.told["tokens"]["WBTC"]
    configuration = devnet.call(scene.pool, "getConfiguration(address)", "(uint256)", token)[0]
    bare = configuration & ~(0xFFFF | 0xFFFF << 16)
    write = ("setConfiguration(address,(uint256))", token, (bare,))
    devnet.send_many([transaction(scene.market["configurator"], scene.pool, *write)])
    reading = await read(devnet)
    assert reading.failed == {}
    holders = [
        account
        for account in reading.accounts
        if any(leg.asset_id == scene.asset("WBTC") and leg.weight_wad == 0 for leg in account.legs)
        and account.debt_base_raw
        and account.mode == "cross"
    ]
    assert len(holders) > 5
    reported = account_data(devnet, scene.pool, [account.address for account in holders])
    for account in holders:
        figures = (account.collateral_base_raw, account.debt_base_raw, account.health_factor_raw)
        assert figures == reported[account.address]
        assert account.collateral_base_raw > recompute(account, reading)[0]


async def test_a_pause_and_the_grace_period_after_it_are_said(scene: Scene) -> None:
    devnet, tokens = scene.devnet, scene.told["tokens"]
    victim = min(scene.of_kind("liquidatable")[1:3], key=health)
    call = transaction(
        LIQUIDATOR, scene.pool, LIQUIDATION, tokens["WETH"], tokens["USDC"], victim.address, MAX_UINT, False
    )
    devnet.mint("USDC", LIQUIDATOR, 10**15)
    devnet.transact(LIQUIDATOR, tokens["USDC"], "approve(address,uint256)", scene.pool, MAX_UINT)
    scene.govern("setReservePause(address,bool)", tokens["WETH"], True)
    assert set((await read(devnet)).gaps) == {"liquidations of WETH", "liquidations of PYUSD"}
    with pytest.raises(TransactionRevertedError, match=RESERVE_PAUSED):
        devnet.send_many([call])
    scene.govern("setReservePause(address,bool,uint40)", tokens["WETH"], False, 4 * 3600)
    until = scene.view("getLiquidationGracePeriod(address)", "WETH")
    devnet.mine(until)  # its last second
    reading = await read(devnet)
    assert "it is in a grace period for another " in reading.gaps["liquidations of WETH"]
    assert reading.failed == {}
    before = devnet.snapshot()
    with pytest.raises(TransactionRevertedError, match=IN_GRACE):
        devnet.send_many([call], until)
    devnet.revert(before)
    devnet.mine(until + 1)
    assert (await read(devnet)).gaps == PAUSED
    devnet.send_many([call], until + 2)


def test_a_supply_without_weight_cannot_be_seized(scene: Scene) -> None:
    devnet, tokens = scene.devnet, scene.told["tokens"]
    account = scene.of_kind("collateral_off")[1]
    devnet.set_price("WETH", 1_500)
    devnet.mint("DAI", LIQUIDATOR, 10**26)
    devnet.transact(LIQUIDATOR, tokens["DAI"], "approve(address,uint256)", scene.pool, MAX_UINT)
    arguments = (tokens["USDC"], tokens["DAI"], account.address, MAX_UINT, False)
    with pytest.raises(TransactionRevertedError, match=NOT_TO_BE_SEIZED):
        devnet.transact(LIQUIDATOR, scene.pool, LIQUIDATION, *arguments)


@pytest.mark.parametrize("kind", ["borrower", "emode_looper", "isolated"])
async def test_withdrawing_the_computed_maximum_succeeds_and_a_few_wei_more_reverts(devnet: Devnet, kind: str) -> None:
    """The account stays at a health factor of at least 1 up to our amount, and the pool agrees to 2 wei."""
    second = devnet.head()[1] + 12
    start = devnet.snapshot()
    devnet.mine(second)
    scene = Scene(devnet, devnet.description.protocols["aave_v3_origin"], await read(devnet))
    devnet.revert(start)
    account = next(
        account
        for account in scene.of_kind(kind)
        if [leg.side for leg in account.legs].count("collateral") == 1 and health(account) > WAD
    )
    (held,) = [leg for leg in account.legs if leg.side == "collateral"]
    others = tuple(leg for leg in account.legs if leg is not held)

    def is_safe(withdrawn: int) -> bool:
        left = replace(held, amount_raw=held.amount_raw - withdrawn)
        return recompute(replace(account, legs=(left, *others)), scene.reading)[2] >= WAD

    low, high = 0, held.amount_raw
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_safe(middle) else (low, middle)
    token = held.asset_id.rsplit(":", 1)[1]
    for amount, succeeds in ((low - 2, True), (high + 2, False)):
        before = devnet.snapshot()
        call = ("withdraw(address,uint256,address)", token, amount, account.address)
        attempt = [transaction(account.address, scene.pool, *call)]
        if succeeds:
            devnet.send_many(attempt, second)
        else:
            with pytest.raises(TransactionRevertedError, match=BELOW_ONE):
                devnet.send_many(attempt, second)
        devnet.revert(before)


@pytest.mark.parametrize("seconds", [1, 86_400, 400 * 86_400])
async def test_interest_accrues_to_the_wei(scene: Scene, seconds: int) -> None:
    """Indices, and with them every account's debt, `seconds` on: simple interest for suppliers, 3.4's power series."""
    devnet, tokens = scene.devnet, scene.told["tokens"]
    names = ("getReserveNormalizedIncome(address)", "getReserveNormalizedVariableDebt(address)")
    timestamp = devnet.head()[1] + seconds
    states = {
        symbol: devnet.call(scene.pool, "getReserveData(address)", "(uint256[15])", token)[0]
        for symbol, token in tokens.items()
    }
    devnet.mine(timestamp)
    for symbol, data in states.items():
        past = timestamp - data[6]
        income = ray_mul(linear_interest(data[2], past), data[1])
        owed = ray_mul(compounded_interest_v3_4(data[4], past), data[3])
        assert (scene.view(names[0], symbol), scene.view(names[1], symbol)) == (income, owed)
    assert sum(scene.view(names[1], symbol) > states[symbol][3] > RAY for symbol in tokens) >= 5
    reading = await read(devnet)
    assert reading.failed == {}
    rates = {market.asset_id: (market.supply_rate_ray, market.borrow_rate_ray) for market in reading.markets}
    assert rates == {scene.asset(symbol): (data[2], data[4]) for symbol, data in states.items()}
