"""The Comet reader on two Comets of the devnet: stand-ins, which imitate CometWithExtendedAssetList.

See tests/devnet/protocols/comet for what they imitate and what not; no bytecode of Compound's was run.
"""

from dataclasses import dataclass
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from defi_leverage.chain import open_chain
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import comet, load_reader
from defi_leverage.protocols.comet.arithmetic import NO_DEBT, Totals, accrue, health_factor, present_value
from defi_leverage.protocols.comet.market import Asset
from defi_leverage.protocols.comet.price_feeds import take_apart
from defi_leverage.reading import NO_CAP, AccountReading, Deployment, FeedReading, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.chain import Transaction, transaction
from tests.devnet.protocols.comet import BROKEN_OFFSET, DAI_OFFSET, FACTORS
from tests.devnet.rpc import RpcError
from tests.devnet.session import Devnet

PAYER = "0x00000000000000000000000000000000000B0B0B"
YEAR = 365 * 86_400
ABSORB = "absorb(address,address[])"
USER = "(int104,uint64,uint64,uint16,uint8)"
E6, E8, E15 = 10**6, 10**8, 10**15


def test_interest_is_simple_since_the_last_accrual() -> None:
    """2e-9 a second on loans and 1e-9 on deposits, 1,000 s: indices 1.5 and 2 grow by 2e-6 and 1e-6 of themselves."""
    stored = Totals(supply_index=2 * E15, borrow_index=15 * E15 // 10, supply=500, borrow=400, last_accrual=7_000)
    now = accrue(stored, 10**9, 2 * 10**9, 8_000)
    assert (now.supply_index, now.borrow_index) == (2_000_002_000_000_000, 1_500_003_000_000_000)
    assert accrue(stored, 10**9, 2 * 10**9, 7_000) == stored


def test_balances_round_towards_zero() -> None:
    totals = Totals(supply_index=15 * E15 // 10, borrow_index=11 * E15 // 10, supply=0, borrow=0, last_accrual=1)
    assert present_value(333, totals) == 499  # of 499.5
    assert present_value(-333, totals) == -366  # of 366.3
    assert present_value(0, totals) == 0


def test_health_is_of_rounded_values() -> None:
    """0.5 WETH at 2,000.00000001 is 1,000 (half of 1e-8 is cut off); 85 % are 850, against 850 and 850.000001."""
    weth = Asset(0, PAYER, "WETH", 18, PAYER, 2_000 * E8 + 1, 0, 0, 85 * WAD // 100, 93 * WAD // 100)
    usdc = Asset(-1, PAYER, "USDC", 6, PAYER, E8, 0, 0)
    weighted = weth.value(WAD // 2) * weth.liquidate_factor // WAD
    assert weighted == 850 * E8
    assert health_factor(weighted, usdc.value(850 * E6)) == WAD  # equal is not less
    assert health_factor(weighted, usdc.value(850 * E6 + 1)) == WAD * 850 * E8 // (850 * E8 + 100) < WAD
    assert health_factor(0, 0) == NO_DEBT
    assert weth.bonus == WAD * 100 // 93 - WAD  # 7.5 % more is taken than credited


NOTHING: dict[str, Any] = dict.fromkeys(
    (
        "description",
        "constantPrice",
        "getRatio",
        "rateProvider",
        "priceFeedA",
        "priceFeedB",
        "underlyingPriceFeed",
        "assetToBaseAggregator",
        "BASE_TO_USD_AGGREGATOR",
        "getRate",
        "rsETHPrice",
    )
)
PARTS: dict[str, dict[str, Any]] = {
    "market": NOTHING | {"description": "ETH / USD"},
    "other": NOTHING | {"description": "stETH / ETH"},
    "rate": NOTHING | {"description": "wstETH-stETH Exchange Rate"},
    "provider": NOTHING | {"getRate": WAD},
    "kelp": NOTHING | {"rsETHPrice": WAD},
    "one": NOTHING | {"description": "Constant price feed", "constantPrice": E8},
}


@pytest.mark.parametrize(
    ("answers", "market", "has_rate"),
    [
        ({}, "itself", False),  # Chainlink's, or WstETHPriceFeed
        ({"description": "weETH / eETH exchange rate"}, "", True),
        ({"constantPrice": E8}, "", False),
        ({"underlyingPriceFeed": "market"}, "market", False),  # ScalingPriceFeed
        ({"underlyingPriceFeed": "rate"}, "", True),
        ({"underlyingPriceFeed": "provider"}, "", True),  # EzETHExchangeRatePriceFeed
        ({"underlyingPriceFeed": "kelp"}, "", True),  # RsETHScalingPriceFeed
        ({"priceFeedA": "rate", "priceFeedB": "market"}, "market", True),  # MultiplicativePriceFeed
        ({"priceFeedA": "other", "priceFeedB": "market"}, "itself", False),
        ({"priceFeedA": "one", "priceFeedB": "market"}, "market", False),
        ({"rateProvider": PAYER, "underlyingPriceFeed": "market"}, "market", True),  # PriceFeedWith4626Support
        ({"getRatio": WAD, "assetToBaseAggregator": "market"}, "market", True),  # PriceCapAdapterBase of Compound
        ({"getRatio": WAD, "assetToBaseAggregator": "one"}, "", True),  # the same, in ETH
        ({"getRatio": WAD, "BASE_TO_USD_AGGREGATOR": "market"}, "market", True),  # of Aave
    ],
)
def test_makes_of_feeds(answers: dict[str, Any], market: str, has_rate: bool) -> None:
    """What contracts/pricefeeds of the protocol's repository answer, by hand."""
    found = take_apart("itself", NOTHING | answers, PARTS)
    assert (found.market, found.has_rate) == (market, has_rate)


pytestmark = pytest.mark.devnet("comet", "maker")


@dataclass(frozen=True)
class Scene:
    """A Comet, what its builder tells of it, and its reading at the head."""

    devnet: Devnet
    told: dict[str, Any]
    reading: Reading

    @property
    def accounts(self) -> dict[str, AccountReading]:
        return {account.address: account for account in self.reading.accounts}

    @property
    def feeds(self) -> dict[str, FeedReading]:
        symbols = {asset.asset_id: asset.symbol for asset in self.reading.assets}
        return {symbols[feed.asset_id]: feed for feed in self.reading.feeds}

    def view(self, signature: str, returns: str, *arguments: Any) -> Any:
        return self.devnet.call(self.told["address"], signature, returns, *arguments)[0]

    def of_kind(self, kind: str) -> list[str]:
        listed = self.devnet.description.protocols["comet"]["accounts"]
        key = "usdc" if self.told["base"] == "USDC" else "weth"
        return [x["address"] for x in listed if (x["comet"], x["kind"]) == (key, kind)]

    def holdings(self, user: str) -> dict[str, int]:
        """Raw collateral by symbol, of what the contract lists."""
        found = {}
        for symbol in self.told["assets"]:
            signature, returns = "userCollateral(address,address)", "(uint128,uint128)"
            if amount := self.view(signature, returns, user, self.told["tokens"][symbol]):
                found[symbol] = amount
        return found

    def try_call(self, tx: Transaction) -> str:
        """ "" where a transaction would succeed at the head, else why it would revert."""
        try:
            self.devnet.rpc("eth_call", {"from": tx.sender, "to": tx.to, "data": "0x" + tx.data.hex()}, "latest")
        except RpcError as error:
            return str(error) or "reverts"
        return ""


def deployment(devnet: Devnet, key: str, first_block: int | None = None, **options: Any) -> Deployment:
    told = devnet.description.protocols["comet"]
    unit = {"unit_usd_feed": devnet.feeds["WETH"]} if key == "weth" else {}
    address = told["comets"][key]["address"]
    return Deployment("comet", f"Compound {key}", address, first_block or told["first_block"], {**unit, **options})


async def read(devnet: Devnet, key: str = "usdc", **changes: Any) -> Scene:
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        reading = await comet.read(chain, deployment(devnet, key, **changes))
    return Scene(devnet, devnet.description.protocols["comet"]["comets"][key], reading)


@pytest.fixture
async def usdc(devnet: Devnet) -> Scene:
    return await read(devnet)


@pytest.fixture
async def weth(devnet: Devnet) -> Scene:
    return await read(devnet, "weth")


def factor(account: AccountReading) -> int:
    assert account.health_factor_raw is not None
    return account.health_factor_raw


def leg(account: AccountReading, side: str, asset_id: str) -> int:
    return sum(x.amount_raw for x in account.legs if (x.side, x.asset_id) == (side, asset_id))


def test_the_accounts_are_those_with_a_balance(usdc: Scene, weth: Scene) -> None:
    for scene in (usdc, weth):
        told = scene.devnet.description.protocols["comet"]["accounts"]
        holders = {
            user
            for user in {account["address"] for account in told}
            if scene.holdings(user) or scene.devnet.call(scene.told["address"], "userBasic(address)", USER, user)[0]
        }
        assert {*scene.accounts, *scene.reading.failed} == holders
        assert scene.reading.found == len(holders)
    assert len(usdc.accounts) >= 40
    assert {
        *usdc.of_kind("heir"),
        *usdc.of_kind("transfer_borrower"),
        *usdc.of_kind("absorbed"),
    } <= usdc.accounts.keys()


def test_every_balance_is_the_contract_s(usdc: Scene, weth: Scene) -> None:
    borrowers = 0
    for scene in (usdc, weth):
        base = scene.reading.markets[0].asset_id
        chain = base.rsplit(":", 1)[0]
        for user, account in scene.accounts.items():
            owed = scene.view("borrowBalanceOf(address)", "(uint256)", user)
            assert leg(account, "debt", base) == owed
            holdings = scene.holdings(user)
            assert leg(account, "collateral", base) == scene.view("balanceOf(address)", "(uint256)", user)
            for symbol, amount in holdings.items():
                if symbol != "BROKEN":
                    assert leg(account, "collateral", f"{chain}:{scene.told['tokens'][symbol]}") == amount
            borrowers += bool(owed)
            assert len(account.legs) <= len(holdings) + 1
    assert borrowers >= 40


def test_assets_beyond_the_sixteenth_flag(usdc: Scene) -> None:
    assert usdc.told["assets"].index("DAI") == DAI_OFFSET
    assert usdc.told["assets"].index("BROKEN") == BROKEN_OFFSET
    for user in usdc.of_kind("mixed"):
        _, _, _, flags, more = usdc.devnet.call(usdc.told["address"], "userBasic(address)", USER, user)
        assert (flags, more) == (1 << 0 | 1 << 7, 1 << DAI_OFFSET - 16)  # WETH, F04 and DAI
        assert len(usdc.accounts[user].legs) == 4


async def test_totals_are_the_contract_s_in_the_same_second(devnet: Devnet) -> None:
    """What accrueAccount makes of the totals is what we read in an empty block of that time."""
    timestamp = devnet.head()[1] + 9 * 86_400 + 17
    before = devnet.snapshot()
    devnet.mine(timestamp)
    pending = await read(devnet)
    devnet.revert(before)
    devnet.send_many([transaction(PAYER, pending.told["address"], "accrueAccount(address)", PAYER)], timestamp)
    base = pending.reading.markets[0]
    assert base.supply_raw == pending.view("totalSupply()", "(uint256)")
    assert base.borrow_raw == pending.view("totalBorrow()", "(uint256)")
    accrued = await read(devnet)
    assert accrued.reading.accounts == pending.reading.accounts
    # The rate follows from the utilisation, which the accrual has changed.
    assert accrued.reading.markets[0].borrow_rate_ray != base.borrow_rate_ray


def test_below_one_is_what_absorb_takes(usdc: Scene, weth: Scene) -> None:
    below = {True: 0, False: 0}
    for scene in (usdc, weth):
        for user, account in scene.accounts.items():
            error = scene.try_call(transaction(PAYER, scene.told["address"], ABSORB, PAYER, [user]))
            assert bool(error) == (factor(account) >= WAD), (user, error, factor(account))
            below[not error] += 1
    assert below[True] >= 3
    assert below[False] >= 40
    (sunk,) = usdc.of_kind("under_water")
    account = usdc.accounts[sunk]
    assert account.collateral_base_raw < account.debt_base_raw


def test_figures_of_single_accounts_by_hand(usdc: Scene) -> None:
    """5 WETH at 3,000, of which 85 % count; dust of 1e12 raw WETH is worth 0.003 USD."""
    (sunk,) = usdc.of_kind("under_water")
    account = usdc.accounts[sunk]
    assert account.collateral_base_raw == 15_000 * E8
    debt = account.legs[-1].amount_raw
    assert 24_354 * E6 < debt < 24_600 * E6  # 0.99 of 82 % of 30,000, and interest for 40 days at about 2 %
    assert account.debt_base_raw == debt * 100
    assert account.health_factor_raw == 12_750 * E8 * WAD // (debt * 100)
    dust, _ = usdc.of_kind("dust")
    account = usdc.accounts[dust]
    assert account.collateral_base_raw == 300_000
    assert account.health_factor_raw == 255_000 * WAD // (account.legs[-1].amount_raw * 100)
    assert [(x.weight_wad, x.liquidation_bonus_wad) for x in account.legs] == [
        (85 * WAD // 100, WAD * 100 // 93 - WAD),
        (WAD, 0),
    ]


async def test_an_account_is_liquidatable_strictly_below(devnet: Devnet) -> None:
    """At the lowest price where 85 % of the collateral cover the debt absorb() reverts; 1e-8 USD below, it does not."""
    scene = await read(devnet)
    user, now = scene.of_kind("borrower")[0], devnet.head()[1]
    (held,) = scene.holdings(user).items()
    assert held[0] == "WETH"
    debt = scene.accounts[user].debt_base_raw

    def weighted(price: int) -> int:
        return held[1] * price // WAD * 85 // 100

    price = debt * 100 * WAD // 85 // held[1]
    while weighted(price) < debt:
        price += 1
    for answer, absorbed in ((price, False), (price - 1, True)):
        devnet.send_many([transaction(OWNER, devnet.feeds["WETH"], "setAnswer(int256)", answer)], now)
        again = await read(devnet)
        assert again.accounts[user].health_factor_raw == weighted(answer) * WAD // debt
        assert (factor(again.accounts[user]) < WAD) == absorbed
        assert (not again.try_call(transaction(PAYER, again.told["address"], ABSORB, PAYER, [user]))) == absorbed


async def test_exact_equality_is_healthy(devnet: Devnet) -> None:
    """One collateral token of 1e18 whose price can be any number of 1e-8 USD: every debt has its equal price."""
    scene = await read(devnet)
    user, now = to_checksum_address("0x" + "5e" * 20), devnet.head()[1]
    weth, address = scene.told["tokens"]["WETH"], scene.told["address"]
    devnet.send_many(
        [
            transaction(user, weth, "mint(address,uint256)", user, WAD),
            transaction(user, weth, "approve(address,uint256)", address, WAD),
            transaction(user, address, "supply(address,uint256)", weth, WAD),
            transaction(user, address, "withdraw(address,uint256)", scene.told["tokens"]["USDC"], 1_234_567_891),
        ],
        now,
    )
    debt = (await read(devnet)).accounts[user].debt_base_raw
    price = -(-debt * 100 // 85)
    assert price * 85 // 100 == debt
    for answer, factor in ((price, WAD), (price - 2, (price - 2) * 85 // 100 * WAD // debt)):
        devnet.send_many([transaction(OWNER, devnet.feeds["WETH"], "setAnswer(int256)", answer)], now)
        again = await read(devnet)
        assert again.accounts[user].health_factor_raw == factor
        assert again.view("isLiquidatable(address)", "(bool)", user) == (factor < WAD)


async def test_interest_not_yet_stored_is_in_the_health_factor(devnet: Devnet) -> None:
    """The view goes by the indices last stored: after years, it still calls healthy whom absorb() would take."""
    devnet.mine(devnet.head()[1] + 9 * YEAR)
    scene = await read(devnet)
    overdue = [
        user
        for user, account in scene.accounts.items()
        if factor(account) < WAD and not scene.view("isLiquidatable(address)", "(bool)", user)
    ]
    assert overdue
    assert scene.reading.failed.keys() == set(scene.of_kind("broken_borrower"))
    for user in overdue:
        assert not scene.try_call(transaction(PAYER, scene.told["address"], ABSORB, PAYER, [user]))


def test_the_computed_maximum_can_be_borrowed_and_no_more(usdc: Scene) -> None:
    """By the borrow factors, at the head, on top of the debt that we read: two raw units of slack for rounding."""
    tried = 0
    token = usdc.told["tokens"]["USDC"]
    for user, account in usdc.accounts.items():
        factors = {usdc.told["tokens"][x]: FACTORS.get(x, (60,))[0] for x in usdc.told["assets"]}
        if not account.debt_base_raw:
            continue
        prices = {feed.feed_id: feed.price_raw * E8 // feed.price_scale for feed in usdc.reading.feeds}
        places = {asset.asset_id: asset.decimals for asset in usdc.reading.assets}
        most = sum(
            x.amount_raw * prices[x.feed_id] // 10 ** places[x.asset_id] * factors[x.asset_id.rsplit(":", 1)[1]] // 100
            for x in account.legs
            if x.side == "collateral"
        )
        room = (most - account.debt_base_raw) // 100
        if room < 10:
            continue
        for amount, error in ((room - 2, False), (room + 2, True)):
            call = transaction(user, usdc.told["address"], "withdraw(address,uint256)", token, amount)
            assert bool(usdc.try_call(call)) == error, (user, amount)
        tried += 1
    assert tried >= 25


def test_kinds_of_feeds(usdc: Scene, weth: Scene) -> None:
    kinds = {symbol: feed.kind for symbol, feed in usdc.feeds.items()}
    assert {kinds.pop(f"F{number:02d}") for number in range(13)} == {"fixed"}
    assert kinds == {"USDC": "market", "WETH": "market", "WBTC": "market", "wstETH": "ratio", "DAI": "market"}
    assert usdc.feeds["wstETH"].base_feed_id == usdc.feeds["WETH"].feed_id
    assert {symbol: feed.kind for symbol, feed in weth.feeds.items()} == {
        "WETH": "market",
        "wstETH": "ratio",
        "rETH": "market",
    }
    assert weth.feeds["wstETH"].base_feed_id == weth.feeds["WETH"].feed_id
    usd = {symbol: feed.price_raw / feed.price_scale for symbol, feed in (weth.feeds | usdc.feeds).items()}
    assert {symbol: usd[symbol] for symbol in ("WETH", "wstETH", "rETH", "WBTC", "DAI", "USDC")} == {
        "WETH": 3_000,
        "wstETH": pytest.approx(3_540),
        "rETH": pytest.approx(3_390),
        "WBTC": 90_000,
        "DAI": 1,
        "USDC": 1,
    }
    for feed in (usdc.feeds["wstETH"], weth.feeds["wstETH"]):
        assert feed.ratio_raw / feed.ratio_scale == pytest.approx(1.18, rel=1e-12)


def test_a_fall_of_eth_leaves_loops_in_eth_alone(weth: Scene) -> None:
    """The market's wstETH follows WETH by its rate, rETH by its own market: only that one's fall liquidates."""
    snapshot = from_readings([weth.reading])
    for shocks, liquidated in (({"WETH": -0.5}, 0), ({"rETH": -0.5}, 6)):
        result = run_contagion(snapshot, Scenario("shock", shocks, max_rounds=1))
        assert result.liquidations["account_id"].nunique() >= liquidated
        assert bool(len(result.liquidations)) == bool(liquidated)


def test_markets_rates_caps_and_deficits(usdc: Scene, weth: Scene) -> None:
    for scene in (usdc, weth):
        base = scene.reading.markets[0]
        use = scene.view("getUtilization()", "(uint256)")
        assert base.borrow_rate_ray == scene.view("getBorrowRate(uint256)", "(uint64)", use) * YEAR * 10**9
        assert base.supply_rate_ray == scene.view("getSupplyRate(uint256)", "(uint64)", use) * YEAR * 10**9
        assert (base.supply_cap_raw, base.borrow_cap_raw) == (NO_CAP, NO_CAP)
        reserves = scene.view("getReserves()", "(int256)")
        assert base.cash_raw - base.supply_raw + base.borrow_raw == reserves
        assert base.deficit_raw == max(0, -reserves)
        assert {market.supply_cap_raw for market in scene.reading.markets[1:]} == {10**30}
    parameters = usdc.reading.venue.liquidation_parameters
    assert parameters["reserves_usd"] == pytest.approx(usdc.view("getReserves()", "(int256)") / E6)
    assert parameters["store_front_price_factor"] == 0.6
    assert weth.reading.markets[0].deficit_raw > 0  # suppliers earn more than borrowers pay
    assert weth.reading.venue.liquidation_parameters["reserves_usd"] == 0
    coverage = from_readings([usdc.reading, weth.reading]).coverage
    (aside,) = usdc.of_kind("broken_borrower")
    owed = usdc.view("borrowBalanceOf(address)", "(uint256)", aside) / E6
    assert coverage["unattributed_borrow_usd"].tolist() == [pytest.approx(owed, rel=1e-9), pytest.approx(0, abs=1e-4)]
    # The principals add up exactly; each balance by itself is cut to a raw unit.
    assert coverage["unattributed_supply_usd"].iloc[1] == pytest.approx(0, abs=1e-6)


def test_a_collateral_without_a_price_is_named(usdc: Scene) -> None:
    (why,) = usdc.reading.gaps.values()
    assert usdc.reading.gaps.keys() == {"BROKEN"}
    assert "reverts or answers no price" in why
    assert usdc.reading.failed == {usdc.of_kind("broken_borrower")[0]: f"uses BROKEN: {why}"}
    pledger = usdc.accounts[usdc.of_kind("broken_pledger")[0]]  # owes nothing: its collateral is of no account
    assert (pledger.legs, pledger.health_factor_raw) == ((), NO_DEBT)


async def test_a_base_without_a_price_is_refused(devnet: Devnet) -> None:
    devnet.send_many([transaction(OWNER, devnet.feeds["USDC"], "setAnswer(int256)", 0)])
    with pytest.raises(ReaderError, match="a base asset without a price"):
        await read(devnet)


async def test_prices_in_eth_need_a_way_to_usd(devnet: Devnet) -> None:
    with pytest.raises(ReaderError, match=r"are in ETH\. Add unit_usd_feed"):
        await read(devnet, "weth", unit_usd_feed="")
    with pytest.raises(ReaderError, match=r"unit_usd_feed .* prices BTC"):
        await read(devnet, "weth", unit_usd_feed=devnet.feeds["WBTC"])
    with pytest.raises(ReaderError, match=r"are in USD, and unit_usd_feed .* prices ETH\. Leave it out"):
        await read(devnet, "usdc", unit_usd_feed=devnet.feeds["WETH"])
    with pytest.raises(ReaderError, match="is no feed in USD that answers"):
        await read(devnet, "weth", unit_usd_feed=devnet.tokens["WETH"])


async def test_accounts_that_no_event_names_are_missed(devnet: Devnet) -> None:
    scene = await read(devnet, first_block=devnet.head()[0] - 40)
    assert "they hold 100.00% of the wstETH supply" in scene.reading.gaps["accounts that no event names"]


@pytest.mark.parametrize(
    ("address", "fault"), [("0x12", "is not an address"), (PAYER, "has no code"), ("token", "is not a Comet")]
)
async def test_another_address_is_refused(devnet: Devnet, address: str, fault: str) -> None:
    target = devnet.tokens["WETH"] if address == "token" else address
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        with pytest.raises(ReaderError, match=fault):
            await load_reader("comet")(chain, Deployment("comet", "Compound", target, 0))


def test_both_are_one_snapshot(usdc: Scene, weth: Scene) -> None:
    snapshot = from_readings([usdc.reading, weth.reading])
    assert snapshot.assets["symbol"].is_unique
    assert set(snapshot.venues["liquidation_rule"]) == {"comet"}
    share = snapshot.backing[snapshot.backing["kind"] == "deposited"]
    assert set(share["asset_id"].str.rsplit(":", n=1).str[1]) == {
        to_checksum_address(scene.told["address"]) for scene in (usdc, weth)
    }
