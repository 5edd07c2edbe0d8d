"""The Aave v2 reader against the protocol's own bytecode: a market that counts in ETH, and one that counts in USD."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from defi_leverage.chain import open_chain
from defi_leverage.config import load_config
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import RAY, SECONDS_PER_YEAR, WAD, percent_mul, ray_mul, wad_div
from defi_leverage.protocols import aave_v2, load_reader, reader_options
from defi_leverage.protocols.aave_v2.base_currency import BaseCurrency, in_usd
from defi_leverage.reading import NO_CAP, AccountReading, Deployment, FeedReading, LegReading, Reading
from defi_leverage.scan import scan
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.calldata import decode_result, encode_call
from tests.devnet.chain import TransactionRevertedError, transaction
from tests.devnet.protocols.aave_v2 import SHARED
from tests.devnet.protocols.aave_v2.market import LIMITS
from tests.devnet.session import Devnet
from tests.devnet.tokens import set_answer

KEYS = ("eth", "usd")
ETH_USD = 3_000
USD = 10**8
HUGE = 2**256 - 1
DATA = "(uint256,uint256,uint256,uint256,uint256,uint256)"


@dataclass(frozen=True)
class Scene:
    """One market of the devnet, and its reading at the devnet's head."""

    devnet: Devnet
    key: str
    reading: Reading

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = self.devnet.description.protocols["aave_v2"]["markets"][self.key]
        return told

    @property
    def by_address(self) -> dict[str, AccountReading]:
        return {account.address: account for account in self.reading.accounts}

    def asset(self, symbol: str) -> str:
        return f"eip155:{self.devnet.chain_id}/erc20:{self.told['assets'][symbol]}"

    def of_kind(self, kind: str) -> list[str]:
        return [account["address"] for account in self.told["accounts"] if account["kind"] == kind]

    def leg(self, address: str, symbol: str, side: str) -> LegReading:
        (found,) = [x for x in self.by_address[address].legs if (x.asset_id, x.side) == (self.asset(symbol), side)]
        return found

    def feed(self, symbol: str) -> FeedReading:
        (found,) = [feed for feed in self.reading.feeds if feed.asset_id == self.asset(symbol)]
        return found

    def views(self, to: str, signature: str, returns: str, addresses: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        """A view of one contract for many addresses, by plain eth_call."""
        requests = [
            ("eth_call", ({"to": to, "data": "0x" + encode_call(signature, address).hex()}, "latest"))
            for address in addresses
        ]
        answers = self.devnet.chain.session.batch(requests)
        return {address: decode_result(returns, answer) for address, answer in zip(addresses, answers, strict=True)}

    def account_data(self) -> dict[str, tuple[int, int, int]]:
        """(collateral, debt, health factor) as the pool reports them."""
        found = self.views(self.told["pool"], "getUserAccountData(address)", DATA, list(self.by_address))
        return {address: (data[0], data[1], data[5]) for address, data in found.items()}


def deployment(devnet: Devnet, key: str, **changes: Any) -> Deployment:
    told = devnet.description.protocols["aave_v2"]["reads"][KEYS.index(key)]
    options = {name: told[name] for name in aave_v2.OPTIONS if name in told}
    values = {name: told[name] for name in ("name", "address", "first_block")} | {"options": options} | changes
    return Deployment("aave_v2", **values)


async def read(devnet: Devnet, key: str, **changes: Any) -> Reading:
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        return await aave_v2.read(chain, deployment(devnet, key, **changes))


@pytest.fixture(params=KEYS)
async def scene(devnet: Devnet, request: pytest.FixtureRequest) -> Scene:
    return Scene(devnet, request.param, await read(devnet, request.param))


@pytest.fixture
async def in_eth(devnet: Devnet) -> Scene:
    return Scene(devnet, "eth", await read(devnet, "eth"))


def recompute(account: AccountReading, scene: Scene, prices: dict[str, int]) -> tuple[int, int, int]:
    """(collateral, debt, health factor) by GenericLogic.calculateUserAccountData of v2, from the legs alone."""
    units = {token.asset_id: 10**token.decimals for token in scene.reading.assets}
    collateral = weighted = debt = 0
    for leg in account.legs:
        value = leg.amount_raw * prices[leg.asset_id] // units[leg.asset_id]
        if leg.side == "debt":
            debt += value
        elif leg.weight_wad:
            collateral += value
            weighted += value * (leg.weight_wad // 10**14)
    if not debt:
        return collateral, 0, HUGE
    return collateral, debt, wad_div(percent_mul(collateral, weighted // collateral if collateral else 0), debt)


def stable_balance(principal: int, rate: int, seconds: int) -> int:
    """StableDebtToken.balanceOf: MathUtils.calculateCompoundedInterest of v2, which cuts the rate to a second first."""
    if not seconds:
        return principal
    second = rate // SECONDS_PER_YEAR
    squared = ray_mul(second, second)
    cubed = ray_mul(squared, second)
    growth = RAY + second * seconds + seconds * (seconds - 1) * squared // 2
    growth += seconds * (seconds - 1) * max(seconds - 2, 0) * cubed // 6
    return ray_mul(principal, growth)


@pytest.mark.devnet("aave_v2")
class TestDevnet:
    def test_every_account_is_the_pool_s_to_the_last_wei(self, scene: Scene) -> None:
        assert (scene.reading.failed, scene.reading.gaps) == ({}, {})
        assert scene.reading.found == len(scene.reading.accounts) > (100 if scene.key == "eth" else 30)
        reported = scene.account_data()
        asked = scene.views(
            scene.told["oracle"], "getAssetPrice(address)", "(uint256)", list(scene.told["assets"].values())
        )
        prices = {f"eip155:{scene.devnet.chain_id}/erc20:{token}": price for token, (price,) in asked.items()}
        for address, account in scene.by_address.items():
            figures = (account.collateral_base_raw, account.debt_base_raw, account.health_factor_raw)
            assert figures == reported[address], address
            assert recompute(account, scene, prices) == reported[address], address
        factors = [figures[2] for figures in reported.values()]
        assert sum(factor == HUGE for factor in factors) >= 5
        assert sum(factor < WAD for factor in factors) >= (5 if scene.key == "eth" else 1)

    def test_the_accounts_are_those_with_a_balance(self, scene: Scene) -> None:
        kinds = ("a_tokens", "variable_debt_tokens", "stable_debt_tokens")
        treasury = scene.devnet.description.protocols["aave_v2"]["treasury"]
        addresses = [*{account["address"] for account in scene.told["accounts"]} | {treasury, OWNER}]
        holders = {
            address
            for kind in kinds
            for token in scene.told[kind].values()
            for address, (balance,) in scene.views(token, "balanceOf(address)", "(uint256)", addresses).items()
            if balance
        }
        assert set(scene.by_address) == holders
        if scene.key == "eth":
            for kind in ("atoken_only", "liquidator", "dust", "delegator"):
                assert holders.issuperset(found := scene.of_kind(kind))
                assert found

    def test_amounts_are_scaled_balances_times_their_index(self, scene: Scene) -> None:
        now = scene.devnet.head()[1]
        pool, seen = scene.told["pool"], {"stable": 0, "variable": 0, "both": 0}
        users = list(scene.by_address)
        for symbol, token in scene.told["assets"].items():
            income, index = (
                scene.devnet.call(pool, f"getReserveNormalized{name}(address)", "(uint256)", token)[0]
                for name in ("Income", "VariableDebt")
            )
            stable = scene.told["stable_debt_tokens"][symbol]

            def of(where: str, name: str, users: list[str] = users) -> dict[str, int]:
                return {u: int(x[0]) for u, x in scene.views(where, f"{name}(address)", "(uint256)", users).items()}

            held = of(scene.told["a_tokens"][symbol], "scaledBalanceOf")
            variable = of(scene.told["variable_debt_tokens"][symbol], "scaledBalanceOf")
            parts = [of(stable, name) for name in ("principalBalanceOf", "getUserStableRate", "getUserLastUpdated")]
            for user, account in scene.by_address.items():
                amounts = {leg.side: leg.amount_raw for leg in account.legs if leg.asset_id == scene.asset(symbol)}
                assert amounts.get("collateral", 0) == ray_mul(held[user], income)
                principal, rate, since = (part[user] for part in parts)
                owed = stable_balance(principal, rate, now - since)
                assert amounts.get("debt", 0) == owed + ray_mul(variable[user], index)
                seen["stable"] += owed > principal > 0
                seen["variable"] += variable[user] > 0
                seen["both"] += owed > 0 and variable[user] > 0
        assert seen["stable"] > 5
        assert seen["variable"] > 5
        assert seen["both"] >= (20 if scene.key == "eth" else 0)

    def test_limits_feeds_and_backing(self, in_eth: Scene) -> None:
        scene, feeds = in_eth, in_eth.devnet.feeds
        for symbol in ("WETH", "WBTC", "USDC", "DAI"):
            feed = scene.feed(symbol)
            price = {"WETH": ETH_USD, "WBTC": 90_000}.get(symbol, 1)
            assert feed.kind == "market"
            assert feed.price_raw / feed.price_scale == pytest.approx(price, rel=1e-14)
        assert feeds["WETH"] in scene.feed("WETH").source
        for symbol, ratio in (("wstETH", 1.18), ("stETH", 1.0)):
            feed = scene.feed(symbol)
            assert (feed.kind, feed.base_feed_id) == ("ratio", scene.feed("WETH").feed_id)
            assert feed.ratio_raw / feed.ratio_scale == ratio
            assert feed.price_raw / feed.price_scale == ETH_USD * ratio
            assert next(row for row in scene.reading.backing if row.asset_id == scene.asset(symbol)).kind == "staked"
        leg = scene.leg(scene.of_kind("variable_borrower")[0], "WETH", "collateral")
        _, threshold, bonus, _ = LIMITS["WETH"]
        assert (leg.weight_wad, leg.liquidation_bonus_wad) == (threshold * 10**14, (bonus - 10_000) * 10**14)
        assert leg.protocol_fee_wad == 0
        for address in scene.of_kind("collateral_off"):
            assert scene.leg(address, "DAI", "collateral").weight_wad == 0
        venue = scene.reading.venue
        assert (venue.liquidation_rule, venue.liquidation_parameters) == ("aave_v2", {"close_factor": 0.5})
        assert (venue.health_rule, venue.revision) == ("average_threshold_bps", 2)

    async def test_feeds_in_usd_are_as_they_are(self, devnet: Devnet) -> None:
        scene = Scene(devnet, "usd", await read(devnet, "usd"))
        assert [scene.feed(symbol).price_raw for symbol in ("WETH", "DAI")] == [ETH_USD * USD, USD]
        assert scene.feed("wstETH").base_feed_id == f"{scene.asset('WETH')}@{devnet.feeds['WETH']}"

    def test_the_snapshot_has_rates_and_no_caps(self, scene: Scene) -> None:
        assert {(market.supply_cap_raw, market.borrow_cap_raw) for market in scene.reading.markets} == {
            (NO_CAP, NO_CAP)
        }
        snapshot = from_readings([scene.reading])
        assert snapshot.complete
        assert set(snapshot.rates["supply_cap"]) == {float("inf")}
        rates = snapshot.rates.set_index("asset_id").loc[scene.asset("USDC")]
        assert 0.01 < rates["borrow_rate"] < 0.2
        assert 0 < rates["utilisation"] < 1

    async def test_withdrawing_the_computed_maximum_succeeds_and_a_wei_more_reverts(self, in_eth: Scene) -> None:
        devnet = in_eth.devnet
        user, pool = in_eth.of_kind("variable_borrower")[5], in_eth.told["pool"]
        second = devnet.head()[1] + 12
        before = devnet.snapshot()
        devnet.mine(second)
        account = {account.address: account for account in (await read(devnet, "eth")).accounts}[user]
        devnet.revert(before)
        (held,) = [leg for leg in account.legs if leg.side == "collateral"]
        assert account.health_factor_raw is not None
        assert account.health_factor_raw > WAD
        threshold, owed = held.weight_wad // 10**14, account.debt_base_raw
        low, high = 0, held.amount_raw  # of WETH, an ether of which is the base currency
        while high - low > 1:
            middle = (low + high) // 2
            safe = wad_div(percent_mul(held.amount_raw - middle, threshold), owed) >= WAD
            low, high = (middle, high) if safe else (low, middle)
        for amount in (high, low):
            before = devnet.snapshot()
            arguments = (in_eth.told["assets"]["WETH"], amount, user)
            call = transaction(user, pool, "withdraw(address,uint256,address)", *arguments)
            if amount == low:
                devnet.send_many([call], second)
            else:
                with pytest.raises(TransactionRevertedError, match="reverted: 6"):  # VL_TRANSFER_NOT_ALLOWED
                    devnet.send_many([call], second)
            devnet.revert(before)

    async def test_an_account_can_be_liquidated_exactly_where_its_health_factor_is_below_one(
        self, in_eth: Scene
    ) -> None:
        devnet, told = in_eth.devnet, in_eth.told
        devnet.send_many([set_answer(OWNER, devnet.feeds["WETH"], 2_750)])
        reading, tried = await read(devnet, "eth"), {True: 0, False: 0}
        symbols = {in_eth.asset(symbol): address for symbol, address in told["assets"].items()}
        liquidator = in_eth.of_kind("liquidator")[0]  # has approved USDC and DAI
        for account in reading.accounts:
            debts = [leg for leg in account.legs if leg.side == "debt" and leg.asset_id != in_eth.asset("WETH")]
            held = [leg for leg in account.legs if leg.side == "collateral" and leg.weight_wad]
            if not held or sum(leg.amount_raw for leg in debts) < 10**6:  # dust would seize nothing
                continue
            signature = "liquidationCall(address,address,address,uint256,bool)"
            arguments = (symbols[held[0].asset_id], symbols[debts[0].asset_id], account.address)
            before, done = devnet.snapshot(), True
            call = transaction(liquidator, told["pool"], signature, *arguments, debts[0].amount_raw // 10, False)
            try:
                devnet.send_many([call], devnet.head()[1] + 1)
            except TransactionRevertedError as error:
                if not str(error).endswith("reverted: 42"):  # LPCM_HEALTH_FACTOR_NOT_BELOW_THRESHOLD
                    raise
                done = False
            devnet.revert(before)
            assert account.health_factor_raw is not None
            assert done == (account.health_factor_raw < WAD)
            tried[done] += 1
        assert min(tried.values()) > 10

    async def test_an_oracle_that_reverts_sets_its_accounts_aside(self, in_eth: Scene) -> None:
        devnet, told = in_eth.devnet, in_eth.told
        owner = devnet.call(told["oracle"], "owner()", "(address)")[0]
        signature = "setAssetSources(address[],address[])"
        devnet.transact(owner, told["oracle"], signature, [told["assets"]["WBTC"]], [told["a_tokens"]["WBTC"]])
        reading = await read(devnet, "eth")
        assert reading.gaps == {"WBTC": "the oracle reverts"}
        assert set(reading.failed) >= set(in_eth.of_kind("stable_borrower"))
        assert reading.found == len(reading.accounts) + len(reading.failed) == in_eth.reading.found
        assert not from_readings([reading]).complete

    async def test_accounts_that_no_event_names_are_missed(self, devnet: Devnet) -> None:
        reading = await read(devnet, "eth", first_block=devnet.head()[0])
        assert [account.address for account in reading.accounts] == [
            devnet.description.protocols["aave_v2"]["treasury"]
        ]
        (why,) = reading.gaps.values()
        assert "first_block" in why
        assert not from_readings([reading]).complete

    async def test_a_base_currency_needs_its_own_price(self, devnet: Devnet) -> None:
        with pytest.raises(ReaderError, match=r"prices in WETH.*Add eth_usd_feed.*ETH / USD"):
            await read(devnet, "eth", options={})
        with pytest.raises(ReaderError, match=r"is 'BTC / USD', but the market's oracle prices in WETH"):
            await read(devnet, "eth", options={"eth_usd_feed": devnet.feeds["WBTC"]})
        with pytest.raises(ReaderError, match=r"answers no price\. Correct eth_usd_feed"):
            await read(devnet, "eth", options={"eth_usd_feed": OWNER})

    async def test_an_address_that_is_no_market(self, devnet: Devnet) -> None:
        for address, fault in (
            ("0x" + "11" * 20, "has no code"),
            ("0x1234", "is not an address"),
            (devnet.deployments["aave_v3_0"].provider, "names no lending pool"),
        ):
            with pytest.raises(ReaderError, match=f"{fault}.*LendingPoolAddressesProvider"):
                await read(devnet, "eth", address=address)

    async def test_a_scan_of_v2_and_v3_is_one_snapshot(self, devnet: Devnet, tmp_path: Path) -> None:
        file = tmp_path / "config.toml"
        file.write_text(devnet.config())
        snapshot = scan(load_config(file), "latest")
        assert snapshot.complete
        assert sorted(snapshot.venues["protocol"]) == ["aave_v2", "aave_v2", "aave_v3", "aave_v3"]
        shared = snapshot.accounts.groupby("owner")["venue_id"].nunique()
        assert (shared == 4).sum() == SHARED  # the same people in all four markets


def test_the_reader_s_option_is_known() -> None:
    assert load_reader("aave_v2") is aave_v2.read
    assert reader_options("aave_v2") == {"eth_usd_feed": "address"}
    assert reader_options("aave_v3") == {}


WETH = "0x00000000000000000000000000000000000000EE"
BASE = BaseCurrency(WETH, "WETH", WAD, 2_000 * USD, USD, "0xfeed")
FIXED = FeedReading("rep@1", "rep", 5 * WAD // 1000, WAD, "fixed", source="constant")


def test_a_constant_in_the_base_currency_moves_with_it() -> None:
    own = FeedReading("weth@1", f"eip155:1/erc20:{WETH}", WAD, WAD)
    feed = in_usd(FIXED, BASE, {0: FIXED, 1: own})
    assert (feed.kind, feed.base_feed_id, feed.ratio_raw / feed.ratio_scale) == ("ratio", "weth@1", 0.005)
    assert feed.price_raw / feed.price_scale == 10.0
    alone = in_usd(FIXED, BASE, {0: FIXED})
    assert alone.kind == "market"
    assert "constant in WETH, which is no reserve: taken to follow the market" in alone.source


def test_a_constant_in_usd_stands_still() -> None:
    assert in_usd(FIXED, BaseCurrency("", "USD", USD), {}) == FIXED
