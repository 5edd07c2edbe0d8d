"""The Compound v2 reader against Venus' core pool, with the bytecode of its npm package: `Devnet.protocols.venus`.

The oracle is a stand-in (tests/devnet/protocols/venus/FeedOracle.sol says what it imitates). The original interface,
without pools, VAI and thresholds, is in test_compound_v2_original.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from defi_leverage.abi import checksum_address
from defi_leverage.chain import Chain, open_chain
from defi_leverage.errors import ConfigError, ReaderError
from defi_leverage.fixed_point import SECONDS_PER_YEAR, WAD
from defi_leverage.health import account_health
from defi_leverage.multicall import MULTICALL3, decode_aggregate3, encode_aggregate3
from defi_leverage.protocols import compound_v2, load_reader, reader_options
from defi_leverage.protocols.compound_v2.comptroller import find_comptroller
from defi_leverage.protocols.compound_v2.health import NO_DEBT, Book, Holder, value_position
from defi_leverage.protocols.compound_v2.markets import read_markets
from defi_leverage.reading import NO_CAP, AccountReading, Deployment, FeedReading, LegReading, Reading
from defi_leverage.snapshot import from_readings
from tests.devnet.build import OWNER
from tests.devnet.calldata import decode_result, encode_call
from tests.devnet.chain import Transaction, TransactionRevertedError, transaction
from tests.devnet.session import Devnet
from tests.devnet.tokens import set_answer

pytestmark = pytest.mark.devnet("venus")

FAR = "0x00000000000000000000000000000000000B0b00"


@dataclass(frozen=True)
class Scene:
    """Venus on the devnet, and its reading at the devnet's head."""

    devnet: Devnet
    reading: Reading

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = self.devnet.description.protocols["venus"]
        return told

    @property
    def by_address(self) -> dict[str, AccountReading]:
        return {account.address: account for account in self.reading.accounts}

    def of_kind(self, kind: str) -> list[AccountReading]:
        by_address = self.by_address
        return [by_address[item["address"]] for item in self.told["accounts"] if item["kind"] == kind]

    def leg(self, account: AccountReading, symbol: str, side: str) -> LegReading:
        (found,) = [leg for leg in account.legs if (leg.asset_id, leg.side) == (self.asset(symbol), side)]
        return found

    def asset(self, symbol: str) -> str:
        address = {"VAI": self.told["vai"]}.get(symbol) or self.devnet.tokens[symbol]
        return f"eip155:{self.devnet.chain_id}/erc20:{address}"

    def feed(self, symbol: str) -> FeedReading:
        (found,) = [feed for feed in self.reading.feeds if feed.asset_id == self.asset(symbol)]
        return found


def deployment(devnet: Devnet, **changes: Any) -> Deployment:
    (reads,) = devnet.description.protocols["venus"]["reads"]
    plain = Deployment("compound_v2", reads["name"], reads["address"], reads["first_block"])
    return replace(plain, **changes)


async def read(devnet: Devnet, block: int | str = "latest", **changes: Any) -> Reading:
    async with open_chain("devnet", devnet.chain_id, [devnet.url], block) as chain:
        found = await load_reader("compound_v2")(chain, deployment(devnet, **changes))
    assert isinstance(found, Reading)
    return found


@pytest.fixture
async def scene(devnet: Devnet) -> Scene:
    return Scene(devnet, await read(devnet))


def views(devnet: Devnet, to: str, signature: str, returns: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """A view of one contract with many arguments, by plain eth_call."""
    requests = [("eth_call", ({"to": to, "data": "0x" + encode_call(signature, *row).hex()}, "latest")) for row in rows]
    return [decode_result(returns, answer) for answer in devnet.chain.session.batch(requests)]


def liquidity(devnet: Devnet, addresses: Sequence[str]) -> list[tuple[int, int]]:
    """Liquidity and shortfall as the comptroller reports them."""
    comptroller = devnet.description.protocols["venus"]["comptroller"]
    signature, returns = "getAccountLiquidity(address)", "(uint256,uint256,uint256)"
    found = views(devnet, comptroller, signature, returns, [[address] for address in addresses])
    assert {error for error, _, _ in found} == {0}
    return [(liquid, short) for _, liquid, short in found]


def accrue(told: dict[str, Any]) -> list[Transaction]:
    return [transaction(FAR, token, "accrueInterest()") for token in told["v_tokens"].values()]


def test_every_account_is_the_comptroller_s_to_the_last_wei(scene: Scene) -> None:
    reading = scene.reading
    assert (reading.failed, reading.gaps) == ({}, {})
    assert reading.found == len(reading.accounts) == len(scene.told["accounts"]) > 100
    reported = liquidity(scene.devnet, [account.address for account in reading.accounts])
    shortfalls = 0
    for account, (liquid, short) in zip(reading.accounts, reported, strict=True):
        weighted = account.debt_base_raw + liquid - short
        if account.debt_base_raw:
            assert account.health_factor_raw == weighted * WAD // account.debt_base_raw
            assert (account.health_factor_raw < WAD) == (short > 0)
        else:
            assert account.health_factor_raw == NO_DEBT
        assert account.collateral_base_raw >= weighted
        shortfalls += short > 0
    assert shortfalls >= 8


def test_the_legs_give_the_same_health(scene: Scene) -> None:
    """Amounts are cut to raw units, which is seen in dust alone."""
    snapshot = from_readings([scene.reading])
    assert snapshot.complete
    health = account_health(snapshot)
    reported = snapshot.accounts.set_index("account_id")["health_factor"]
    large = snapshot.accounts["debt_base_raw"].astype(float) > 1e18
    for account_id in snapshot.accounts.loc[large.to_numpy(), "account_id"]:
        assert health["health_factor"].loc[account_id] == pytest.approx(reported.loc[account_id], rel=1e-9)


def test_amounts_are_the_contracts(scene: Scene) -> None:
    devnet, told = scene.devnet, scene.told
    addresses = [account.address for account in scene.reading.accounts]
    for symbol, token in told["v_tokens"].items():
        returns = "(uint256,uint256,uint256,uint256)"
        snapshots = views(devnet, token, "getAccountSnapshot(address)", returns, [[a] for a in addresses])
        held = {"collateral": 0, "debt": 0}
        for address, (_, tokens, debt, rate) in zip(addresses, snapshots, strict=True):
            legs = {leg.side: leg for leg in scene.by_address[address].legs if leg.asset_id == scene.asset(symbol)}
            assert (tokens > 0, debt > 0) == ("collateral" in legs, "debt" in legs)
            for side, amount in (("collateral", tokens * rate // WAD), ("debt", debt)):
                held[side] += amount
                if side in legs:
                    assert legs[side].amount_raw == amount
        (market,) = [market for market in scene.reading.markets if market.asset_id == scene.asset(symbol)]
        assert abs(market.supply_raw - held["collateral"]) <= len(addresses)
        # The market cuts its total and its index apart, each at 18 digits.
        assert abs(market.borrow_raw - held["debt"]) <= len(addresses) + market.borrow_raw // 10**15
        assert market.cash_raw == devnet.call(token, "getCash()", "(uint256)")[0]
        assert market.supply_cap_raw == (10**5 * 10**8 if symbol == "WBTC" else NO_CAP)


def test_a_market_that_is_not_entered_does_not_count(scene: Scene) -> None:
    for account in scene.of_kind("supplier"):
        assert [leg.weight_wad for leg in account.legs] == [0]
        assert account.collateral_base_raw == 0
    for account in scene.of_kind("entered_supplier"):
        symbol = "USDC" if account.legs[0].asset_id == scene.asset("USDC") else "DAI"
        # DAI of threshold 0 can be seized nevertheless
        assert account.legs[0].weight_wad == {"USDC": 85 * WAD // 100, "DAI": 1}[symbol]


def test_an_account_that_only_received_vtokens_is_found(scene: Scene) -> None:
    (account,) = scene.of_kind("receiver")
    assert scene.leg(account, "WETH", "collateral").amount_raw > WAD


def test_the_threshold_is_not_the_collateral_factor(scene: Scene) -> None:
    leg = scene.leg(scene.of_kind("btc_borrower")[1], "WBTC", "collateral")
    assert (leg.weight_wad, leg.liquidation_bonus_wad) == (78 * WAD // 100, 10 * WAD // 100)
    assert leg.protocol_fee_wad == WAD // 2  # what the Liquidator keeps of the incentive


def test_accounts_in_a_pool_have_its_thresholds_and_incentives(scene: Scene) -> None:
    for kind, symbol, pool, threshold, bonus in (
        ("emode_looper", "wstETH", 1, 94, 3),
        ("stable_looper", "USDC", 2, 95, 2),
    ):
        for account in scene.of_kind(kind):
            leg = scene.leg(account, symbol, "collateral")
            assert account.mode == f"emode:{pool}"
            assert (leg.weight_wad, leg.liquidation_bonus_wad) == (threshold * WAD // 100, bonus * WAD // 100)
    assert {account.mode for account in scene.of_kind("plain_looper")} == {"cross"}


def test_debt_in_vai(scene: Scene) -> None:
    minters = scene.of_kind("vai_minter")
    signature = "getVAIRepayAmount(address)"
    owed = views(scene.devnet, scene.told["vai_controller"], signature, "(uint256)", [[a.address] for a in minters])
    for account, (amount,) in zip(minters, owed, strict=True):
        leg = scene.leg(account, "VAI", "debt")
        assert (leg.amount_raw, leg.weight_wad) == (amount, WAD)
        assert amount > 100 * WAD
    assert (scene.feed("VAI").kind, scene.feed("VAI").price_raw) == ("fixed", scene.feed("VAI").price_scale)


def test_feeds_assets_and_backing(scene: Scene) -> None:
    ratio, base = scene.feed("wstETH"), scene.feed("WETH")
    assert (ratio.kind, ratio.base_feed_id, ratio.ratio_raw / ratio.ratio_scale) == ("ratio", base.feed_id, 1.18)
    assert {scene.feed(symbol).kind for symbol in ("WETH", "WBTC", "USDC", "DAI")} == {"market"}
    prices = {s: scene.feed(s).price_raw / scene.feed(s).price_scale for s in scene.told["v_tokens"]}
    assert prices == {"WETH": 3000, "wstETH": 3540, "WBTC": 90_000, "USDC": 1, "DAI": 1}
    kinds = {asset.symbol: asset.kind for asset in scene.reading.assets}
    assert kinds == {"WETH": "token", "wstETH": "lst", "WBTC": "token", "USDC": "usd", "DAI": "usd", "VAI": "usd"} | {
        f"v{symbol}": "supply_share" for symbol in scene.told["v_tokens"]
    }
    claims = {claim.asset_id: claim for claim in scene.reading.backing}
    for symbol, token in scene.told["v_tokens"].items():
        claim = claims[f"eip155:{scene.devnet.chain_id}/erc20:{token}"]
        assert (claim.kind, claim.underlying_id) == ("deposited", scene.asset(symbol))
        assert claim.units_raw / claim.units_scale == pytest.approx(0.02, rel=1e-3)  # it began at 0.02


def test_rates_are_those_of_the_blocks_so_far(scene: Scene) -> None:
    number, timestamp = scene.devnet.head()
    first = int(scene.devnet.rpc("eth_getBlockByNumber", "0x0", False)["timestamp"], 16)
    token = scene.told["v_tokens"]["DAI"]
    (market,) = [market for market in scene.reading.markets if market.asset_id == scene.asset("DAI")]
    for rate, view in (
        (market.borrow_rate_ray, "borrowRatePerBlock()"),
        (market.supply_rate_ray, "supplyRatePerBlock()"),
    ):
        a_block = scene.devnet.call(token, view, "(uint256)")[0] / WAD
        assert rate is not None
        assert rate / 1e27 == pytest.approx(a_block * number / (timestamp - first) * SECONDS_PER_YEAR)
        assert rate > 0


def test_venue(scene: Scene) -> None:
    venue = scene.reading.venue
    assert venue.venue_id == f"eip155:{scene.devnet.chain_id}:{scene.told['comptroller']}"
    assert (venue.liquidation_rule, venue.health_rule) == ("compound_v2", "linear")
    assert venue.liquidation_parameters == {"close_factor": 0.5, "liquidation_incentive": 0.0, "protocol_share": 0.0}


async def test_current_indices_are_the_comptroller_s_after_accrual(scene: Scene) -> None:
    """accrueInterest of every market and getAccountLiquidity in one eth_call: the protocol's own view, accrued."""
    devnet, told = scene.devnet, scene.told
    current = await read(devnet, options={"indices": "current"})
    assert (current.failed, current.gaps) == ({}, {})
    calls = [(token, encode_call("accrueInterest()")) for token in told["v_tokens"].values()]
    first = len(calls)
    addresses = [account.address for account in current.accounts]
    calls += [(told["comptroller"], encode_call("getAccountLiquidity(address)", address)) for address in addresses]
    message = {"to": MULTICALL3, "data": "0x" + encode_aggregate3(calls).hex(), "gas": hex(10**9)}
    reply = bytes.fromhex(devnet.rpc("eth_call", message, "latest")[2:])
    answers = decode_aggregate3(reply, len(calls))
    changed = 0
    for account, (success, data) in zip(current.accounts, answers[first:], strict=True):
        error, liquid, short = decode_result("(uint256,uint256,uint256)", data.hex())
        assert (success, error) == (True, 0)
        weighted = account.debt_base_raw + liquid - short
        if account.debt_base_raw:
            assert account.health_factor_raw == weighted * WAD // account.debt_base_raw
        changed += account.health_factor_raw != scene.by_address[account.address].health_factor_raw
    assert changed > 50


async def test_an_unknown_option_is_refused(devnet: Devnet) -> None:
    assert reader_options("compound_v2") == {"indices": "text"}
    with pytest.raises(ConfigError, match="'newest': write stored or current"):
        await read(devnet, options={"indices": "newest"})


@pytest.mark.parametrize(
    ("kind", "symbol"), [("giver", "USDC"), ("entered_supplier", "WETH"), ("btc_borrower", "WETH")]
)
async def test_borrowing_our_maximum_succeeds_and_more_does_not(scene: Scene, kind: str, symbol: str) -> None:
    """Power, by our arithmetic with collateral factors, over the price: the largest borrow whose value rounds to it."""
    devnet, told = scene.devnet, scene.told
    account, token = scene.of_kind(kind)[1 if kind == "btc_borrower" else 0], told["v_tokens"][symbol]
    _, timestamp = devnet.head()
    start = devnet.snapshot()
    devnet.send_many(accrue(told), timestamp + 60)
    async with open_chain("devnet", devnet.chain_id, [devnet.url], "latest") as chain:
        power, price = await _borrowing_power(chain, deployment(devnet), account.address, token)
    signature, returns = "getBorrowingPower(address)", "(uint256,uint256,uint256)"
    assert devnet.call(told["comptroller"], signature, returns, account.address) == (0, power, 0)
    most = ((power + 1) * WAD - 1) // price
    devnet.revert(start)
    for amount in (most, most + 1):
        before = devnet.snapshot()
        calls = [*accrue(told), transaction(account.address, token, "borrow(uint256)", amount)]
        if amount == most:
            devnet.send_many(calls, timestamp + 60)
            (debt,) = devnet.call(token, "borrowBalanceStored(address)", "(uint256)", account.address)
            assert debt >= amount
        else:
            with pytest.raises(TransactionRevertedError):
                devnet.send_many(calls, timestamp + 60)
        devnet.revert(before)


async def _borrowing_power(chain: Chain, wanted: Deployment, address: str, token: str) -> tuple[int, int]:
    """(borrowing power in 1e-18 USD, price of the token's underlying) of an account, from its raw balances."""
    comptroller = await find_comptroller(chain, wanted)
    markets = await read_markets(chain, comptroller)
    answers = await chain.call(
        [(market.address, encode_call("getAccountSnapshot(address)", address)) for market in markets]
    )
    found = [decode_result("(uint256,uint256,uint256,uint256)", (answer or b"").hex()) for answer in answers]
    (entered,) = await chain.call([(comptroller.address, encode_call("getAssetsIn(address)", address))])
    listed = [checksum_address(asset) for asset in decode_result("(address[])", (entered or b"").hex())[0]]
    holder = Holder(
        address,
        tokens={index: snapshot[1] for index, snapshot in enumerate(found)},
        debts={index: snapshot[2] for index, snapshot in enumerate(found)},
        entered=tuple(market.index for market in markets if market.address in listed),
    )
    book = Book(markets, {}, {})
    weighted, debt = value_position(holder, book, {market.index: market.collateral_factor for market in markets})
    (price,) = [market.price for market in markets if market.address == token]
    return weighted - debt, price


@pytest.mark.parametrize("fault", ["zero", "reverts"])
async def test_a_broken_oracle_sets_its_accounts_aside(scene: Scene, fault: str) -> None:
    devnet, told = scene.devnet, scene.told
    if fault == "zero":
        devnet.send_many([set_answer(OWNER, devnet.feeds["WBTC"], 0)])
    else:
        set_main = transaction(FAR, told["oracle"], "setMain(address,address)", devnet.tokens["WBTC"], FAR)
        devnet.send_many([set_main])
    reading = await read(devnet)
    why = {"zero": "the oracle answers a price of 0", "reverts": "the oracle reverts"}[fault]
    assert reading.gaps == {"vWBTC": why}
    users = {a.address for a in scene.of_kind("btc_borrower")}
    dust = {a.address for a in scene.of_kind("dust") if a.legs[0].asset_id == scene.asset("WBTC")}
    assert reading.failed == dict.fromkeys(users | dust, f"uses vWBTC: {why}")
    assert reading.found == len(reading.accounts) + len(reading.failed) == scene.reading.found
    for account in reading.accounts:
        if account.address in {a.address for a in scene.of_kind("supplier")}:
            assert account.legs == ()  # a mere supply of it has no leg
    from_readings([reading])


async def test_a_price_that_the_oracle_s_owner_sets_is_fixed(devnet: Devnet) -> None:
    oracle = devnet.description.protocols["venus"]["oracle"]
    direct = transaction(FAR, oracle, "setDirectPrice(address,uint256)", devnet.tokens["DAI"], WAD)
    devnet.send_many([direct])
    scene = Scene(devnet, await read(devnet))
    assert scene.feed("DAI").kind == "fixed"
    assert scene.reading.failed == {}


async def test_a_scan_that_begins_too_late_says_so(scene: Scene) -> None:
    late = await read(scene.devnet, first_block=scene.devnet.head()[0] - 20)
    assert 0 < late.found < scene.reading.found
    (why,) = late.gaps.values()
    assert "first_block" in why


async def test_collateral_whose_threshold_is_zero_can_be_seized(scene: Scene) -> None:
    """It counts for no health, but the contract seizes it of an account that has entered its market."""
    devnet, told = scene.devnet, scene.told
    pairs = [account for account in scene.reading.accounts if account.mode == "cross" and len(account.legs) == 2]
    account = next(one for one in pairs if {leg.side for leg in one.legs} == {"collateral", "debt"})
    held, debt = sorted(account.legs, key=lambda leg: leg.side)
    symbols = {scene.asset(symbol): symbol for symbol in told["v_tokens"]}
    seized, owed = (told["v_tokens"][symbols[leg.asset_id]] for leg in (held, debt))
    signature = "setCollateralFactor(address,uint256,uint256)"
    devnet.transact(told["owner"], told["comptroller"], signature, seized, 0, 0)
    (after,) = [found for found in (await read(devnet)).accounts if found.address == account.address]
    (leg,) = [found for found in after.legs if found.side == "collateral"]
    assert (leg.weight_wad, after.health_factor_raw) == (1, 0)
    underlying, repaid = devnet.tokens[symbols[debt.asset_id]], debt.amount_raw // 10
    devnet.transact(FAR, underlying, "mint(address,uint256)", FAR, repaid)
    devnet.transact(FAR, underlying, "approve(address,uint256)", told["liquidator"], repaid)
    call = "liquidateBorrow(address,address,uint256,address)"
    devnet.transact(FAR, told["liquidator"], call, owed, account.address, repaid, seized)
    (got,) = devnet.call(seized, "balanceOf(address)", "(uint256)", FAR)
    assert got > 0


async def test_a_past_block(devnet: Devnet) -> None:
    block = devnet.mine()
    devnet.set_price("WETH", 2_000)
    past, present = await read(devnet, block), await read(devnet)
    assert (past.block_number, past.failed, present.failed) == (block, {}, {})
    below = [sum((a.health_factor_raw or 0) < WAD for a in reading.accounts) for reading in (past, present)]
    assert below[0] < below[1]


@pytest.mark.parametrize(
    ("address", "fault"),
    [("0x12", "is not an address"), (FAR, "has no code"), ("usdc", "names no markets"), ("vtoken", "names no markets")],
)
async def test_another_address_is_refused(devnet: Devnet, address: str, fault: str) -> None:
    told = devnet.description.protocols["venus"]
    known = {"usdc": devnet.tokens["USDC"], "vtoken": told["v_tokens"]["USDC"]}
    with pytest.raises(ReaderError, match=fault):
        await read(devnet, address=known.get(address, address))


def test_the_package_is_the_reader() -> None:
    assert load_reader("compound_v2") is compound_v2.read
