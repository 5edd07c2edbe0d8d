"""The Aave v3 reader against the protocol's own bytecode, and its parts where no bytecode is at hand."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from eth_abi.abi import encode

from defi_leverage.abi import Log, checksum_address, load_abi
from defi_leverage.chain import Call, Chain, open_chain
from defi_leverage.errors import ConfigError, ReaderError
from defi_leverage.fixed_point import BPS, RAY, WAD
from defi_leverage.protocols import aave_v3, load_reader, reader_names
from defi_leverage.protocols.aave_v3.health import ARITHMETICS, NO_DEBT, Holder, Market, assess, expected_arithmetic
from defi_leverage.protocols.aave_v3.pool import Pool, find_pool
from defi_leverage.protocols.aave_v3.price_feeds import read_feeds
from defi_leverage.protocols.aave_v3.reserves import Category, Reserve, read_reserves
from defi_leverage.questions import NOBODY
from defi_leverage.reading import NO_CAP, AccountReading, Deployment, FeedReading, LegReading, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet import description
from tests.devnet.aave_parameters import reserve as parameters
from tests.devnet.build import OWNER
from tests.devnet.calldata import decode_result, encode_call
from tests.devnet.chain import TransactionRevertedError, transaction
from tests.devnet.session import Devnet

KEYS = ("aave_v3_0", "aave_v3_2")
USD = 10**8
HUGE = 2**256 - 1


@dataclass(frozen=True)
class Scene:
    """One market of the devnet, and its reading at the devnet's head."""

    devnet: Devnet
    key: str
    market: description.Deployment
    reading: Reading

    @property
    def by_address(self) -> dict[str, AccountReading]:
        return {account.address: account for account in self.reading.accounts}

    def leg(self, address: str, symbol: str, side: str) -> LegReading:
        asset_id = asset(self.devnet, symbol)
        (found,) = [x for x in self.by_address[address].legs if (x.asset_id, x.side) == (asset_id, side)]
        return found


def asset(devnet: Devnet, symbol: str) -> str:
    return f"eip155:{devnet.chain_id}/erc20:{devnet.tokens[symbol]}"


async def read(devnet: Devnet, key: str, block: int | str = "latest", address: str = "") -> Reading:
    market = devnet.deployments[key]
    wanted = Deployment("aave_v3", market.name, address or market.provider, market.first_block)
    async with open_chain("devnet", devnet.chain_id, [devnet.url], block) as chain:
        return await aave_v3.read(chain, wanted)


@pytest.fixture(params=KEYS)
async def scene(devnet: Devnet, request: pytest.FixtureRequest) -> Scene:
    key: str = request.param
    return Scene(devnet, key, devnet.deployments[key], await read(devnet, key))


def views(
    devnet: Devnet, to: str, signature: str, returns: str, addresses: Sequence[str], block: int | str = "latest"
) -> dict[str, tuple[Any, ...]]:
    """A view of one contract for many addresses, by plain eth_call."""
    tag = hex(block) if isinstance(block, int) else block
    requests = [
        ("eth_call", ({"to": to, "data": "0x" + encode_call(signature, address).hex()}, tag)) for address in addresses
    ]
    return {
        address: decode_result(returns, answer)
        for address, answer in zip(addresses, devnet.chain.session.batch(requests), strict=True)
    }


def account_data(
    devnet: Devnet, pool: str, addresses: Sequence[str], block: int | str = "latest"
) -> dict[str, tuple[int, int, int]]:
    """(collateral, debt, health factor) as the pool reports them."""
    returns = "(uint256,uint256,uint256,uint256,uint256,uint256)"
    found = views(devnet, pool, "getUserAccountData(address)", returns, addresses, block)
    return {address: (data[0], data[1], data[5]) for address, data in found.items()}


def recompute(account: AccountReading, reading: Reading) -> tuple[int, int, int]:
    """(collateral, debt, health factor) from the reading's legs alone, by the rule of releases 3.0 to 3.3."""
    feeds = {feed.feed_id: feed for feed in reading.feeds}
    units = {token.asset_id: 10**token.decimals for token in reading.assets}
    collateral = weighted = debt = 0
    for leg in account.legs:
        value = leg.amount_raw * feeds[leg.feed_id].price_raw // units[leg.asset_id]
        if leg.side == "debt":
            assert leg.weight_wad == WAD
            debt += value
        elif leg.weight_wad:
            collateral += value
            assert leg.weight_wad % 10**14 == 0
            weighted += value * (leg.weight_wad // 10**14)
    if not debt:
        return collateral, 0, HUGE
    threshold = weighted // collateral if collateral else 0
    return collateral, debt, ((collateral * threshold + 5_000) // 10_000 * WAD + debt // 2) // debt


@pytest.mark.devnet
class TestDevnet:
    def test_every_account_is_the_pool_s_to_the_last_wei(self, scene: Scene) -> None:
        assert scene.reading.failed == {}
        assert scene.reading.gaps == {}
        assert scene.reading.found == len(scene.reading.accounts) > 300
        reported = account_data(scene.devnet, scene.market.pool, list(scene.by_address))
        for address, account in scene.by_address.items():
            figures = (account.collateral_base_raw, account.debt_base_raw, account.health_factor_raw)
            assert figures == reported[address], address
            assert recompute(account, scene.reading) == reported[address], address
        factors = [figures[2] for figures in reported.values()]
        assert sum(factor == HUGE for factor in factors) > 10
        assert sum(factor < WAD for factor in factors) > 5

    async def test_withdrawing_the_computed_maximum_succeeds_and_a_few_wei_more_reverts(self, scene: Scene) -> None:
        """The account stays at a health factor of at least 1 up to our amount, and the pool agrees to 2 wei."""
        devnet, pool = scene.devnet, scene.market.pool
        second = devnet.head()[1] + 12
        start = devnet.snapshot()
        devnet.mine(second)
        reading = await read(devnet, scene.key)
        devnet.revert(start)
        borrowers = set(scene.market.of_kind("eth_borrower"))
        account = next(
            account
            for account in reading.accounts
            if account.address in borrowers
            and len([leg for leg in account.legs if leg.side == "collateral"]) == 1
            and recompute(account, reading)[2] > WAD
        )
        (held,) = [leg for leg in account.legs if leg.side == "collateral"]
        others = tuple(leg for leg in account.legs if leg is not held)

        def is_safe(withdrawn: int) -> bool:
            left = replace(held, amount_raw=held.amount_raw - withdrawn)
            return recompute(replace(account, legs=(left, *others)), reading)[2] >= WAD

        low, high = 0, held.amount_raw
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if is_safe(middle) else (low, middle)
        token = held.asset_id.rsplit(":", 1)[1]
        for amount, succeeds in ((low - 2, True), (high + 2, False)):
            before = devnet.snapshot()
            arguments = (token, amount, account.address)
            call = transaction(account.address, pool, "withdraw(address,uint256,address)", *arguments)
            if succeeds:
                devnet.send_many([call], second)
            else:
                with pytest.raises(TransactionRevertedError, match="reverted: 35"):  # health factor below 1
                    devnet.send_many([call], second)
            devnet.revert(before)

    async def test_rates_are_those_at_which_the_contract_s_own_indices_grow(self, scene: Scene) -> None:
        devnet, pool = scene.devnet, scene.market.pool
        tokens = [market.asset_id.rsplit(":", 1)[-1] for market in scene.reading.markets]

        def indices(name: str) -> list[int]:
            return [found[0] for found in views(devnet, pool, f"{name}(address)", "(uint256)", tokens).values()]

        names = ("getReserveNormalizedIncome", "getReserveNormalizedVariableDebt")
        before = [indices(name) for name in names]
        began = int(devnet.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        devnet.rpc("anvil_mine", hex(2), hex(30 * 86_400))  # two blocks a month apart
        years = (int(devnet.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16) - began) / (365 * 86_400)
        income, debt = (
            [new / old for new, old in zip(indices(n), b, strict=True)] for n, b in zip(names, before, strict=True)
        )
        assert max(market.borrow_rate_ray or 0 for market in scene.reading.markets) > RAY // 1000
        for market, earned, owed in zip(scene.reading.markets, income, debt, strict=True):
            assert market.supply_rate_ray is not None
            assert market.borrow_rate_ray is not None
            # simple interest until somebody touches the reserve, compounded every second for variable debt
            assert earned - 1 == pytest.approx(market.supply_rate_ray / RAY * years, rel=2e-2, abs=1e-9)
            assert owed == pytest.approx(math.exp(market.borrow_rate_ray / RAY * years), rel=1e-5)
        rates = from_readings([scene.reading]).rates
        assert rates["borrow_rate"].tolist() == [(m.borrow_rate_ray or 0) / RAY for m in scene.reading.markets]
        assert rates["supply_rate"].tolist() == [(m.supply_rate_ray or 0) / RAY for m in scene.reading.markets]

    def test_caps_are_the_pool_s(self, scene: Scene) -> None:
        rates = from_readings([scene.reading]).rates.set_index("asset_id")
        for symbol in ("WETH", "USDC"):
            row = rates.loc[asset(scene.devnet, symbol)]
            limits = parameters(symbol)
            assert (row["supply_cap"], row["borrow_cap"]) == (limits.supply_cap, limits.borrow_cap)
            assert 0 < row["utilisation"] < 1

    def test_the_accounts_are_those_with_a_balance(self, scene: Scene) -> None:
        market, devnet = scene.market, scene.devnet
        tokens = [*market.a_tokens.values(), *market.variable_debt_tokens.values(), *market.stable_debt_tokens.values()]
        addresses = [*{account.address for account in market.accounts} | {OWNER}]  # the owner is the treasury, too
        holders = {
            address
            for token in tokens
            for address, (balance,) in views(devnet, token, "balanceOf(address)", "(uint256)", addresses).items()
            if balance
        }
        assert set(scene.by_address) == holders
        assert scene.leg(OWNER, "WETH", "collateral").weight_wad == 0

    def test_amounts_add_up_to_the_tokens_supplies(self, scene: Scene) -> None:
        for symbol, a_token in scene.market.a_tokens.items():
            debts = [scene.market.variable_debt_tokens[symbol], scene.market.stable_debt_tokens.get(symbol)]
            for side, tokens in (("collateral", [a_token]), ("debt", [token for token in debts if token])):
                asset_id = asset(scene.devnet, symbol)
                amounts = [
                    leg.amount_raw
                    for account in scene.reading.accounts
                    for leg in account.legs
                    if (leg.side, leg.asset_id) == (side, asset_id)
                ]
                total = sum(scene.devnet.call(token, "totalSupply()", "(uint256)")[0] for token in tokens)
                # Stable debt's total compounds the average rate, not the accounts' own ones.
                slack = total // 10**6 if len(tokens) == 2 else 0
                assert abs(sum(amounts) - total) <= len(amounts) + slack
                (market,) = [market for market in scene.reading.markets if market.asset_id == asset_id]
                assert (market.supply_raw if side == "collateral" else market.borrow_raw) == total

    def test_an_account_that_only_received_atokens_is_found(self, scene: Scene) -> None:
        addresses = scene.market.of_kind("atoken_only")
        assert addresses
        for address in addresses:
            account = scene.by_address[address]
            assert account.legs
            assert account.health_factor_raw == NO_DEBT

    def test_a_collateral_that_is_switched_off_has_no_weight(self, scene: Scene) -> None:
        addresses = scene.market.of_kind("collateral_off")
        assert addresses
        for address in addresses:
            assert {leg.weight_wad for leg in scene.by_address[address].legs} == {0}
            assert scene.by_address[address].collateral_base_raw == 0

    def test_stable_and_variable_debt_are_one_leg(self, scene: Scene) -> None:
        for address in scene.market.of_kind("stable_rate_borrower"):
            assert scene.key == "aave_v3_0"
            leg = scene.leg(address, "DAI", "debt")
            owed = [
                views(scene.devnet, tokens["DAI"], "balanceOf(address)", "(uint256)", [address])[address][0]
                for tokens in (scene.market.stable_debt_tokens, scene.market.variable_debt_tokens)
            ]
            assert owed[0] > 0
            assert leg.amount_raw == sum(owed)

    def test_e_mode_threshold_and_bonus_apply(self, scene: Scene) -> None:
        addresses = scene.market.of_kind("emode_looper")
        assert addresses
        for address in addresses:
            assert scene.by_address[address].mode == "emode:1"
            leg = scene.leg(address, "wstETH", "collateral")
            assert (leg.weight_wad, leg.liquidation_bonus_wad) == (95 * 10**16, 10**16)
            assert leg.protocol_fee_wad == 10**17
        plain = scene.market.of_kind("btc_borrower")[0]
        leg = scene.leg(plain, "WBTC", "collateral")
        assert scene.by_address[plain].mode == "cross"
        assert (leg.weight_wad, leg.liquidation_bonus_wad) == (78 * 10**16, 5 * 10**16)

    def test_a_category_s_own_price_source(self, scene: Scene) -> None:
        addresses = scene.market.of_kind("category_priced")
        assert bool(addresses) == (scene.key == "aave_v3_0")
        for address in addresses:
            leg = scene.leg(address, "WBTC", "collateral")
            (feed,) = [feed for feed in scene.reading.feeds if feed.feed_id == leg.feed_id]
            assert leg.feed_id.startswith(f"{asset(scene.devnet, 'WBTC')}@emode:0x")
            assert (feed.kind, feed.price_raw) == ("market", 90_500 * USD)

    def test_feeds_assets_and_backing(self, scene: Scene) -> None:
        devnet, reading = scene.devnet, scene.reading
        feeds = {feed.feed_id: feed for feed in reading.feeds}
        ratio = feeds[f"{asset(devnet, 'wstETH')}@{devnet.feeds['wstETH']}"]
        assert (ratio.kind, ratio.price_raw) == ("ratio", 3_540 * USD)
        assert ratio.base_feed_id == f"{asset(devnet, 'WETH')}@{devnet.feeds['WETH']}"
        assert ratio.ratio_raw / ratio.ratio_scale == 1.18
        assert {feed.kind for feed in reading.feeds if feed is not ratio} == {"market"}
        kinds = {token.symbol: token.kind for token in reading.assets}
        expected = {"WETH": "token", "wstETH": "lst", "WBTC": "token", "USDC": "usd", "DAI": "usd"}
        assert kinds == expected | {f"a{symbol}": "supply_share" for symbol in expected}
        claims = {(claim.asset_id, claim.underlying_id): claim for claim in reading.backing}
        staked = claims[asset(devnet, "wstETH"), asset(devnet, "WETH")]
        assert (staked.kind, staked.units_raw / staked.units_scale) == ("staked", 1.18)
        a_token = f"eip155:{devnet.chain_id}/erc20:{scene.market.a_tokens['WETH']}"
        assert claims[a_token, asset(devnet, "WETH")].kind == "deposited"

    def test_venue(self, scene: Scene) -> None:
        venue = scene.reading.venue
        assert venue.venue_id == f"eip155:{scene.devnet.chain_id}:{scene.market.pool}"
        assert (venue.address, venue.revision) == (scene.market.provider, {"aave_v3_0": 1, "aave_v3_2": 5}[scene.key])
        assert (venue.liquidation_rule, venue.health_rule) == ("aave_v3", "average_threshold_bps")

    def test_the_snapshot_takes_it(self, scene: Scene) -> None:
        snapshot = from_readings([scene.reading])
        assert snapshot.complete
        assert len(snapshot.accounts) == scene.reading.found

    async def test_a_past_block(self, devnet: Devnet) -> None:
        key, pool = "aave_v3_0", devnet.deployments["aave_v3_0"].pool
        block = devnet.mine()
        devnet.set_price("WETH", 2_400)
        devnet.set_ratio("wstETH", 1.2)
        past, present = await read(devnet, key, block), await read(devnet, key)
        assert past.block_number == block < present.block_number
        assert past.failed == present.failed == {}
        for reading in (past, present):
            addresses = [account.address for account in reading.accounts]
            reported = account_data(devnet, pool, addresses, reading.block_number)
            assert {account.address: recompute(account, reading) for account in reading.accounts} == reported
        then, now = ({a.address: a.health_factor_raw for a in reading.accounts} for reading in (past, present))
        assert sum(then[address] != now[address] for address in then) > 100

    @pytest.mark.parametrize("fault", ["zero", "reverts"])
    @pytest.mark.parametrize("key", KEYS)
    async def test_a_broken_oracle_sets_its_accounts_aside(self, devnet: Devnet, key: str, fault: str) -> None:
        market, token = devnet.deployments[key], devnet.tokens["WBTC"]
        before = await read(devnet, key)
        if fault == "zero":
            devnet.set_price("WBTC", 0)
        else:
            devnet.transact(
                OWNER, market.oracle, "setAssetSources(address[],address[])", [token], [market.a_tokens["WBTC"]]
            )
        reading = await read(devnet, key)
        assert reading.gaps == {"WBTC": "the oracle reverts"}
        addresses = [account.address for account in before.accounts]
        index = devnet.call(market.pool, "getReserveData(address)", "(uint256[15])", token)[0][7]
        configurations = views(devnet, market.pool, "getUserConfiguration(address)", "(uint256)", addresses)
        affected = {address for address, (bits,) in configurations.items() if bits >> 2 * index & 3}
        assert set(reading.failed) == affected
        assert affected
        assert all("WBTC" in why for why in reading.failed.values())
        assert reading.found == before.found == len(reading.accounts) + len(affected)
        assert all(feed.price_raw > 0 for feed in reading.feeds)
        reported = account_data(devnet, market.pool, [account.address for account in reading.accounts])
        for account in reading.accounts:
            assert recompute(account, reading) == reported[account.address]
        assert not from_readings([reading]).complete

    @pytest.mark.parametrize("kind", ["emode_looper", "atoken_only"])
    async def test_accounts_that_no_event_names_are_missed(
        self, devnet: Devnet, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As with a first_block that is too late, or an endpoint that keeps back logs."""
        lost = set(devnet.deployments["aave_v3_2"].of_kind(kind))

        async def logs(chain: Chain, addresses: Sequence[str], topics: Any, first_block: int) -> list[Log]:
            found = await honest(chain, addresses, topics, first_block)
            return [log for log in found if checksum_address("0x" + log.topics[2][-40:]) not in lost]

        honest = Chain.logs
        monkeypatch.setattr(Chain, "logs", logs)
        reading = await read(devnet, "aave_v3_2")
        assert not lost & {account.address for account in reading.accounts}
        (why,) = reading.gaps.values()
        assert "% of the" in why
        assert "is too late, or the endpoint keeps back logs" in why
        assert not from_readings([reading]).complete

    async def test_a_fork_s_events_of_another_form(self, devnet: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
        async def logs(chain: Chain, addresses: Sequence[str], topics: Any, first_block: int) -> list[Log]:
            found = await honest(chain, addresses, topics, first_block)
            return [replace(log, topics=log.topics[:1]) for log in found]

        honest = Chain.logs
        monkeypatch.setattr(Chain, "logs", logs)
        with pytest.raises(ReaderError, match="whose accounts are not indexed as in Aave"):
            await read(devnet, "aave_v3_2")

    async def test_a_token_with_other_decimals_than_the_pool_counts_is_skipped(
        self, devnet: Devnet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decimals = load_abi("erc20").encode("decimals")

        async def call(chain: Chain, calls: Sequence[Call]) -> list[bytes | None]:
            answers = await honest(chain, calls)
            silent = (devnet.tokens["USDC"], decimals)
            return [None if question == silent else answer for question, answer in zip(calls, answers, strict=True)]

        honest = Chain.call
        monkeypatch.setattr(Chain, "call", call)
        reading = await read(devnet, "aave_v3_2")
        assert reading.gaps == {"USDC": "the token does not answer decimals()"}
        assert reading.accounts
        assert len(reading.accounts) + len(reading.failed) == reading.found
        assert all("USDC" in why for why in reading.failed.values())

    async def test_an_unreadable_account_is_set_aside(self, devnet: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
        victims = [account.address for account in (await read(devnet, "aave_v3_0")).accounts[:3]]
        abi = load_abi("aave_v3")
        refused = {
            abi.encode(name, address)
            for name, address in zip(
                ("getUserConfiguration", "getUserAccountData", "scaledBalanceOf"), victims, strict=True
            )
        }

        async def call(chain: Chain, calls: Sequence[Call]) -> list[bytes | None]:
            answers = await honest(chain, calls)
            return [None if data in refused else answer for (_, data), answer in zip(calls, answers, strict=True)]

        honest = Chain.call
        monkeypatch.setattr(Chain, "call", call)
        reading = await read(devnet, "aave_v3_0")
        assert set(reading.failed) == set(victims)
        assert len(reading.accounts) == reading.found - 3

    @pytest.mark.parametrize("key", KEYS)
    async def test_a_fork_s_revision_number_is_not_trusted(
        self, devnet: Devnet, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def find_fork(chain: Chain, deployment: Deployment) -> Pool:
            return replace(await find_pool(chain, deployment), revision=9)

        monkeypatch.setattr(aave_v3, "find_pool", find_fork)
        reading = await read(devnet, key)
        assert reading.failed == {}
        assert reading.venue.health_rule == "average_threshold_bps"

    async def test_a_figure_that_differs_is_never_reported(
        self, devnet: Devnet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong = ARITHMETICS[2:3]
        monkeypatch.setattr(aave_v3, "ARITHMETICS", wrong)
        monkeypatch.setattr(aave_v3, "expected_arithmetic", lambda _: wrong[0])
        reading = await read(devnet, "aave_v3_2")
        pool = devnet.deployments["aave_v3_2"].pool
        assert len(reading.failed) > 100
        assert all(why.startswith("not reproduced: ") for why in reading.failed.values())
        for account in reading.accounts:
            reported = account_data(devnet, pool, [account.address])[account.address]
            assert (account.collateral_base_raw, account.debt_base_raw, account.health_factor_raw) == reported

    async def test_an_address_that_is_no_market(self, devnet: Devnet) -> None:
        for address, fault in (
            ("0x" + "11" * 20, "has no code"),
            ("0x1234", "is not an address"),
            (devnet.tokens["WETH"], "names no pool"),
        ):
            with pytest.raises(ReaderError, match=f"{fault}.*PoolAddressesProvider") as caught:
                await read(devnet, "aave_v3_0", address=address)
            assert address in str(caught.value)

    async def test_prices_that_are_not_usd(self, devnet: Devnet) -> None:
        oracle = devnet.deployments["aave_v3_0"].oracle
        code, unit = devnet.rpc("eth_getCode", oracle, "latest"), f"{USD:064x}"
        assert unit in code  # an immutable lies in the code itself
        devnet.rpc("anvil_setCode", oracle, code.replace(unit, f"{WAD:064x}"))
        with pytest.raises(ReaderError, match="not in 1e-8 USD"):
            await read(devnet, "aave_v3_0")

    async def test_progress_is_told(self, devnet: Devnet) -> None:
        told: list[tuple[str, int, int]] = []
        market = devnet.deployments["aave_v3_2"]
        wanted = Deployment("aave_v3", market.name, market.provider, market.first_block)
        async with open_chain("devnet", devnet.chain_id, [devnet.url]) as chain:
            await load_reader("aave_v3")(chain, wanted, lambda *stage: told.append(stage))
        assert list(dict.fromkeys(stage for stage, _, _ in told)) == [
            "reserves", "events", "accounts", "balances", "health"
        ]  # fmt: skip
        assert all(0 <= done <= total for _, done, total in told)


def test_readers_are_found_by_name() -> None:
    assert "aave_v3" in reader_names()
    assert load_reader("aave_v3") is aave_v3.read
    with pytest.raises(ConfigError, match="aave_v3"):
        load_reader("aave_v33")


@pytest.mark.parametrize(
    ("revision", "release"),
    [(1, "3.0 to 3.3"), (5, "3.0 to 3.3"), (7, "3.0 to 3.3"), (8, "3.4"), (9, "3.5"), (10, "3.6"), (12, "3.6")],
)
def test_arithmetic_of_a_revision(revision: int, release: str) -> None:
    assert expected_arithmetic(revision).release == release


def at(number: int) -> str:
    return checksum_address(f"0x{number:040x}")


def reserve(index: int, symbol: str = "", **changes: Any) -> Reserve:
    """A reserve with 18 decimals, threshold 80 %, bonus 5 %, and indices and price of one."""
    plain = Reserve(
        index=index,
        asset=at(index + 1),
        symbol=symbol or f"T{index}",
        configuration=8_000 << 16 | 10_500 << 32 | 18 << 48,
        a_token=at(index + 0xA00),
        a_token_symbol=f"aT{index}",
        variable_debt_token=at(index + 0xD00),
        stable_debt_token="",
        treasury="",
        income=RAY,
        debt_index=RAY,
        supply_rate=0,
        borrow_rate=0,
        price=USD,
        source=at(index + 0xF00),
        supply=0,
        borrow=0,
        cash=0,
        deficit=0,
        discounted=False,
        problem="",
    )
    return replace(plain, **changes)


def market_of(*reserves: Reserve, categories: Sequence[Category] = ()) -> Market:
    return Market(
        reserves={r.index: r for r in reserves},
        categories={category.index: category for category in categories},
        asset_ids={r.index: f"asset{r.index}" for r in reserves},
        feed_ids={r.index: f"feed{r.index}" for r in reserves},
    )


RELEASES = {arithmetic.release: arithmetic for arithmetic in ARITHMETICS}


def test_rounding_since_3_5_favours_the_protocol() -> None:
    one_more = RAY + RAY // 2
    market = market_of(reserve(0, income=one_more, debt_index=one_more, price=1), reserve(1, price=10**20))
    holder = Holder("0x1", 0b1011, supplies={0: 3, 1: 1}, debts={0: 3})
    old, new = (assess(holder, market, RELEASES[release]) for release in ("3.0 to 3.3", "3.5"))
    assert [leg.amount_raw for leg in old.legs] == [5, 5, 1]  # 4.5 tokens, rounded half up
    assert [leg.amount_raw for leg in new.legs] == [4, 5, 1]
    assert (old.debt_base_raw, new.debt_base_raw) == (0, 1)  # a debt is worth at least one unit
    assert (old.health_factor_raw, new.health_factor_raw) == (NO_DEBT, 80 * WAD)


def test_average_threshold_and_exact_sum() -> None:
    market = market_of(reserve(0), reserve(1, configuration=7_999 << 16 | 18 << 48), reserve(2))
    holder = Holder("0x1", 0b011010, supplies={0: WAD, 1: 2 * WAD}, debts={2: WAD})
    average, exact = (assess(holder, market, RELEASES[name]).health_factor_raw for name in ("3.0 to 3.3", "3.4"))
    assert average == 3 * 7_999 * WAD // BPS  # 7999.33 bps, cut
    assert exact == (8_000 + 2 * 7_999) * WAD // BPS


def test_collateral_of_a_category_alone_counts_since_3_6() -> None:
    only_there = reserve(0, configuration=18 << 48)
    market = market_of(only_there, reserve(1), categories=[Category(4, 9_000, 10_200, members=0b01)])
    holder = Holder("0x1", 0b0110, supplies={0: WAD}, debts={1: WAD // 2}, category=4)
    before, since = (assess(holder, market, RELEASES[release]) for release in ("3.5", "3.6"))
    assert (before.legs[0].weight_wad, before.health_factor_raw) == (0, 0)
    assert (since.legs[0].weight_wad, since.health_factor_raw) == (9 * WAD // 10, 18 * WAD // 10)
    assert since.legs[0].liquidation_bonus_wad == WAD // 50
    assert since.mode == "emode:4"


def test_a_threshold_of_zero_is_no_collateral() -> None:
    market = market_of(reserve(0, configuration=18 << 48))
    account = assess(Holder("0x1", 0b10, supplies={0: WAD}), market, RELEASES["3.0 to 3.3"])
    assert (account.collateral_base_raw, account.legs[0].weight_wad) == (0, 0)


def test_isolated_mode_is_a_single_collateral_with_a_debt_ceiling() -> None:
    isolated = reserve(0)
    isolated = replace(isolated, configuration=isolated.configuration | 1_000 << 212)
    market = market_of(isolated, reserve(1))
    assert assess(Holder("0x1", 0b10), market, ARITHMETICS[0]).mode == "isolated"
    assert assess(Holder("0x1", 0b1010), market, ARITHMETICS[0]).mode == "cross"
    assert assess(Holder("0x1", 0b1000), market, ARITHMETICS[0]).mode == "cross"


def test_a_discounted_debt_is_what_its_token_says() -> None:
    market = market_of(reserve(0), reserve(1, debt_index=2 * RAY, discounted=True))
    account = assess(Holder("0x1", 0b0110, supplies={0: WAD}, debts={1: WAD // 2}), market, ARITHMETICS[0])
    assert account.debt_base_raw == USD // 2


class FakeChain:
    """Answers calls from a table (contract, function) -> value; everything else reverts."""

    def __init__(self, answers: Mapping[tuple[str, str], Any]) -> None:
        self.block = SimpleNamespace(number=1)
        self.name = "fake"
        self.table = dict(self._encoded(answers))

    def _encoded(self, answers: Mapping[tuple[str, str], Any]) -> Iterator[tuple[tuple[str, bytes], bytes]]:
        for (contract, name), value in answers.items():
            for family in ("price_feeds", "erc20", "aave_v3"):
                abi = load_abi(family)
                if name in abi:
                    function = abi.function(name)
                    data = value if isinstance(value, bytes) else encode(function.outputs.types, [value])
                    yield (contract, function.selector), data
                    break

    async def call(self, calls: Sequence[Call]) -> list[bytes | None]:
        return [self.table.get((to, data[:4])) for to, data in calls]


async def feeds_of(reserves: Sequence[Reserve], answers: Mapping[tuple[str, str], Any]) -> list[FeedReading]:
    chain = cast("Chain", FakeChain(answers))
    names = {r.index: f"asset{r.index}" for r in reserves}
    return list((await read_feeds(chain, reserves, names, USD)).values())


ETH = reserve(0, "WETH", price=3_000 * USD)
LST = reserve(1, "wstETH", price=3_600 * USD)
AGGREGATOR = at(0xEE)
CAPO = {
    (LST.source, "BASE_TO_USD_AGGREGATOR"): ETH.source,
    (LST.source, "getRatio"): 12 * 10**17,
    (LST.source, "RATIO_DECIMALS"): 18,
    (LST.source, "latestAnswer"): 3_600 * USD,
    (ETH.source, "latestAnswer"): 3_000 * USD,
}


async def test_a_capo_feed_is_a_ratio_of_its_base() -> None:
    base, feed = await feeds_of([ETH, LST], CAPO)
    assert (base.kind, feed.kind) == ("market", "ratio")
    assert (feed.base_feed_id, feed.ratio_raw, feed.ratio_scale) == (base.feed_id, 12 * 10**17, 10**18)


async def test_a_capped_ratio_is_the_effective_one() -> None:
    capped = replace(LST, price=3_300 * USD)
    _, feed = await feeds_of([ETH, capped], CAPO | {(LST.source, "latestAnswer"): 3_300 * USD})
    assert (feed.kind, feed.ratio_raw / feed.ratio_scale) == ("ratio", 1.1)


async def test_a_price_above_base_times_ratio_is_something_else() -> None:
    dear = replace(LST, price=4_000 * USD)
    _, feed = await feeds_of([ETH, dear], CAPO)
    assert (feed.kind, feed.base_feed_id) == ("market", "")
    assert "not its ratio" in feed.source


@pytest.mark.parametrize("description", ["ETH / USD", ""])
async def test_a_base_is_found_by_its_description(description: str) -> None:
    answers = CAPO | {
        (LST.source, "BASE_TO_USD_AGGREGATOR"): AGGREGATOR,
        (AGGREGATOR, "latestAnswer"): 3_000 * USD,
        (AGGREGATOR, "description"): description,
        (ETH.source, "description"): description,
    }
    base, feed = await feeds_of([ETH, LST], answers)
    if description:
        assert (feed.kind, feed.base_feed_id) == ("ratio", base.feed_id)
    else:
        assert feed.kind == "market"
        assert f"times {AGGREGATOR}, which prices no other reserve" in feed.source


async def test_a_base_is_found_behind_a_capped_stable_feed() -> None:
    stable, share = reserve(0, "USDC"), reserve(1, "sUSDC", price=USD * 11 // 10)
    answers = {
        (stable.source, "ASSET_TO_USD_AGGREGATOR"): AGGREGATOR,
        (stable.source, "latestAnswer"): USD,
        (AGGREGATOR, "latestAnswer"): USD + 5,
        (share.source, "BASE_TO_USD_AGGREGATOR"): AGGREGATOR,
        (share.source, "getRatio"): 11 * 10**17,
        (share.source, "RATIO_DECIMALS"): 18,
        (share.source, "latestAnswer"): USD * 11 // 10,
    }
    base, feed = await feeds_of([stable, share], answers)
    assert (base.kind, feed.kind, feed.base_feed_id) == ("market", "ratio", base.feed_id)


async def test_a_principal_token_is_a_discount_on_its_asset() -> None:
    base, token = reserve(0, "USDe"), reserve(1, "PT-USDe", price=95 * USD // 100)
    answers = {
        (base.source, "latestAnswer"): USD,
        (token.source, "ASSET_TO_USD_AGGREGATOR"): base.source,
        (token.source, "PENDLE_PRINCIPAL_TOKEN"): token.asset,
        (token.source, "getCurrentDiscount"): 500,
        (token.source, "latestAnswer"): 95 * USD // 100,
    }
    _, feed = await feeds_of([base, token], answers)
    assert (feed.kind, feed.ratio_raw / feed.ratio_scale) == ("ratio", 0.95)


async def test_fixed_and_pegged_feeds() -> None:
    gho, usd, peg = reserve(0, "GHO"), reserve(1, "USDX"), reserve(2, "WBTC")
    answers = {
        (gho.source, "GHO_PRICE"): USD,
        (gho.source, "latestAnswer"): USD,
        (usd.source, "ACL_MANAGER"): AGGREGATOR,
        (usd.source, "price"): USD,
        (usd.source, "latestAnswer"): USD,
        (peg.source, "ASSET_TO_PEG"): AGGREGATOR,
        (peg.source, "PEG_TO_BASE"): AGGREGATOR,
        (peg.source, "price"): USD,
        (peg.source, "latestAnswer"): USD,
    }
    feeds = await feeds_of([gho, usd, peg], answers)
    assert [feed.kind for feed in feeds] == ["fixed", "fixed", "market"]
    assert feeds[2].source.endswith(f"market ratio {AGGREGATOR} times {AGGREGATOR}")


async def test_the_feeds_of_sparklend() -> None:
    """An exchange rate times `ethSource`, which does not say its rate, and a FixedPriceOracle."""
    dai = reserve(2, "DAI")
    answers = {
        (LST.source, "ethSource"): ETH.source,
        (LST.source, "latestAnswer"): 3_600 * USD,
        (ETH.source, "latestAnswer"): 3_000 * USD,
        (ETH.source, "description"): "ETH / USD",
        (ETH.source, "latestRound"): 7,
        (dai.source, "price"): USD,
        (dai.source, "latestAnswer"): USD,
    }
    eth, lst, fixed = await feeds_of([ETH, LST, dai], answers)
    assert [feed.kind for feed in (eth, lst, fixed)] == ["market", "ratio", "fixed"]
    assert (lst.base_feed_id, lst.ratio_raw / lst.ratio_scale) == (eth.feed_id, 1.2)
    _, _, live = await feeds_of([ETH, LST, dai], answers | {(dai.source, "latestRound"): 3})
    assert live.kind == "market"


def test_a_cap_of_zero_is_none() -> None:
    plain = reserve(0)
    assert (plain.supply_cap, plain.borrow_cap) == (NO_CAP, NO_CAP)
    capped = replace(plain, configuration=plain.configuration | 5 << 80 | 7 << 116)
    assert (capped.supply_cap, capped.borrow_cap) == (7 * WAD, 5 * WAD)


async def test_symbols_and_reserves_that_do_not_answer() -> None:
    """A bytes32 symbol, a missing one, a token without decimals, and a reserve the pool does not describe."""
    pool = Pool(at(0xAA), at(0xBB), 1, USD, has_liquid_categories=False, has_deficit=False)
    assets = [at(number) for number in (1, 2, 3)]
    chain = FakeChain({(pool.address, "getReservesList"): assets})
    abi, erc20 = load_abi("aave_v3"), load_abi("erc20")

    def data(index: int) -> bytes:
        tokens = (at(index + 0xA00), NOBODY, at(index + 0xD00))
        words = (18 << 48, RAY, 0, RAY, 0, 0, 1, index, *tokens, NOBODY, 0, 0, 0)
        return encode(abi.function("getReserveData").outputs.types, [words])

    table: dict[tuple[str, bytes], bytes] = {}
    for index, address in enumerate(assets[:2]):
        table[pool.address, abi.encode("getReserveData", address)] = data(index)
        for name in ("getReserveNormalizedIncome", "getReserveNormalizedVariableDebt"):
            table[pool.address, abi.encode(name, address)] = RAY.to_bytes(32, "big")
        table[pool.oracle, abi.encode("getAssetPrice", address)] = USD.to_bytes(32, "big")
        for token in (at(index + 0xA00), at(index + 0xD00)):
            table[token, erc20.encode("totalSupply")] = bytes(32)
    table[assets[0], erc20.encode("symbol")] = b"MKR".ljust(32, b"\0")
    table[assets[0], erc20.encode("decimals")] = (18).to_bytes(32, "big")
    table[at(0xA00), erc20.encode("symbol")] = encode(["string"], [f"\x1b[31ma\n\u202eMKR{'x' * 999}"])

    class Precise(FakeChain):
        async def call(self, calls: Sequence[Call]) -> list[bytes | None]:
            return [table.get(call) or chain.table.get((call[0], call[1][:4])) for call in calls]

    reserves, missing = await read_reserves(cast("Chain", Precise({})), pool)
    assert [(r.symbol, r.problem) for r in reserves] == [
        ("MKR", ""),
        ("0x0000..0002", "the token does not answer decimals()"),
    ]
    assert reserves[0].a_token_symbol == f"\ufffd[31ma \ufffdMKR{'x' * 53}"  # fit for a terminal and a table
    assert list(missing) == assets[2:]
    assert reserves[0].source == pool.oracle
