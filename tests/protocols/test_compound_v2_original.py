"""The Compound v2 reader on the original interface, in replies encoded by hand: no bytecode of it is at hand.

Imitated are the Comptroller and cTokens of compound-finance/compound-protocol as a reader sees them on Ethereum (one
liquidation incentive, markets() of which two words are used, a native cETH, two cTokens of WBTC, seizure shares in
some cTokens) and Compound's PriceOracle. Liquidity is what the test works out by hand, not what a contract answered.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.abi import Log, checksum_address, load_abi
from defi_leverage.backing.families.exchange_rates import native_coin
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import WAD
from defi_leverage.native_coins import NATIVE_COINS
from defi_leverage.protocols.compound_v2 import read
from defi_leverage.protocols.compound_v2.comptroller import Comptroller
from defi_leverage.protocols.compound_v2.health import Book, Holder, value_position
from defi_leverage.protocols.compound_v2.markets import Market
from defi_leverage.protocols.compound_v2.price_feeds import read_feeds
from defi_leverage.reading import NO_CAP, AccountReading, Deployment, Reading
from defi_leverage.snapshot import from_readings
from tests.backing.fake_chain import FakeChain, address

COMPTROLLER, ORACLE, FEED, USDC, WBTC = (address(n) for n in range(1, 6))
CETH, CUSDC, CBTC, CBTC2 = (address(n) for n in range(11, 15))
ALICE, BOB, CAROL, DAVE = (address(n).lower() for n in range(21, 25))
FAMILY = "compound_v2"
# cToken: symbol, underlying, its decimals, USD, exchange rate (0.02 at first), collateral factor, share of a seizure
CTOKENS: dict[str, tuple[str, str, int, int, int, int, int]] = {
    CETH: ("cETH", "", 18, 2_000, 201 * 10**24, 825, 0),
    CUSDC: ("cUSDC", USDC, 6, 1, 22 * 10**13, 855, 28 * 10**15),
    CBTC: ("cWBTC", WBTC, 8, 30_000, 2 * 10**16, 0, 0),
    CBTC2: ("cWBTC", WBTC, 8, 30_000, 205 * 10**14, 700, 28 * 10**15),
}
SUPPLIES = {CETH: 2 * 10**11, CUSDC: 10**13, CBTC: 0, CBTC2: 5 * 10**9}
BORROWS = {CETH: 10**18, CUSDC: 54_000 * 10**6, CBTC: 0, CBTC2: 0}


class Ethereum(FakeChain):
    """Compound v2 with four markets and four accounts, on chain 1."""

    def __init__(self) -> None:
        super().__init__(chain_id=1)
        self.events: list[Log] = []
        listed = {"getAllMarkets": list(CTOKENS), "oracle": ORACLE}
        self.answers(COMPTROLLER, FAMILY, **listed, closeFactorMantissa=WAD // 2)
        self.answers(COMPTROLLER, FAMILY, liquidationIncentiveMantissa=108 * WAD // 100)
        self.answers(FEED, FAMILY, description="ETH / USD")
        for token, (symbol, underlying, decimals, usd, rate, factor, share) in CTOKENS.items():
            self.answers(token, "erc20", symbol=symbol, decimals=8)
            self.answers(token, FAMILY, exchangeRateStored=rate, totalSupply=SUPPLIES[token], getCash=7)
            self.answers(token, FAMILY, totalBorrows=BORROWS[token], borrowRatePerBlock=10**10)
            self.says(COMPTROLLER, FAMILY, "borrowCaps", [token], 10**30 if token == CBTC2 else 0)
            self.says(ORACLE, FAMILY, "getUnderlyingPrice", [token], usd * 10 ** (36 - decimals))
            self.replies_many(
                COMPTROLLER, "markets", [token], ["bool", "uint256", "bool"], [True, factor * 10**15, True]
            )
            config = [decimals, FEED, 0] if usd > 1 else [decimals, "0x" + 40 * "0", WAD]
            self.replies_many(ORACLE, "getConfig", [token], ["uint8", "address", "uint256"], config)
            if underlying:
                self.answers(token, FAMILY, underlying=underlying)
                self.answers(underlying, "erc20", symbol={USDC: "USDC", WBTC: "WBTC"}[underlying], decimals=decimals)
            if share:
                self.answers(token, FAMILY, protocolSeizeShareMantissa=share)

    def replies_many(
        self, contract: str, function: str, arguments: Sequence[Any], types: list[str], values: list[Any]
    ) -> None:
        self.replies[contract, load_abi(FAMILY).encode(function, *arguments)] = encode(types, values)

    def holds(self, account: str, token: str, tokens: int, debt: int = 0) -> None:
        types, rate = ["uint256"] * 4, CTOKENS[token][4]
        self.replies_many(token, "getAccountSnapshot", [account], types, [0, tokens, debt, rate])
        abi, word = load_abi(FAMILY), "0x" + account[2:].rjust(64, "0")
        if tokens:
            topics = (abi.topic("Transfer"), "0x" + token[2:].lower().rjust(64, "0"), word)
            self.events.append(Log(token, topics, tokens.to_bytes(32, "big"), 5, len(self.events), "0x"))
        if debt:
            data = encode(["address", *types[:3]], [account, debt, debt, debt])
            self.events.append(Log(token, (abi.topic("Borrow"),), data, 6, len(self.events), "0x"))

    def enters(self, account: str, tokens: list[str], liquid: int, short: int) -> None:
        self.replies_many(COMPTROLLER, "getAssetsIn", [account], ["address[]"], [tokens])
        self.replies_many(COMPTROLLER, "getAccountLiquidity", [account], ["uint256"] * 3, [0, liquid, short])
        for token in tokens:
            snapshot = load_abi(FAMILY).encode("getAccountSnapshot", account)
            if (token, snapshot) not in self.replies:
                self.holds(account, token, 0)

    async def code(self, _address: str) -> bytes:
        return b"\x60"

    async def logs(self, addresses: Sequence[str], topics: Any, _first_block: int) -> list[Log]:
        return [log for log in self.events if log.address in addresses and log.topics[0] in topics[0]]

    async def timestamp(self, number: int) -> int:
        assert number == 0
        return self.block.timestamp - 12 * self.block.number


@pytest.fixture
def ethereum() -> Ethereum:
    """Alice and Carol, ETH against USDC; Bob, USDC not entered; Dave, WBTC of one market and none of the other.

    Alice: 1e11 cETH * 0.0201 = 20.1 ETH = 40,200 USD; * 0.825 = 33,165; less 20,000 is 13,165.
    Carol: the same collateral against 34,000: 835 short. Dave: 5e9 * 0.0205 / 1e8 = 1.025 WBTC * 30,000 * 0.7 = 21,525,
    less 1 ETH of 2,000.
    """
    chain = Ethereum()
    chain.holds(ALICE, CETH, 10**11)
    chain.holds(ALICE, CUSDC, 0, 20_000 * 10**6)
    chain.enters(ALICE, [CETH, CUSDC], 13_165 * WAD, 0)
    chain.holds(BOB, CUSDC, 10**13)
    chain.enters(BOB, [], 0, 0)
    chain.holds(CAROL, CETH, 10**11)
    chain.holds(CAROL, CUSDC, 0, 34_000 * 10**6)
    chain.enters(CAROL, [CETH, CUSDC], 0, 835 * WAD)
    chain.holds(DAVE, CBTC2, 5 * 10**9)
    chain.holds(DAVE, CETH, 0, 10**18)
    chain.enters(DAVE, [CBTC, CBTC2, CETH], 19_525 * WAD, 0)
    return chain


async def scan(chain: Ethereum) -> Reading:
    return await read(chain.chain, Deployment(FAMILY, "Compound v2", COMPTROLLER, 1))


def account(reading: Reading, address: str) -> AccountReading:
    (found,) = [item for item in reading.accounts if item.address.lower() == address]
    return found


async def test_liquidity_by_hand(ethereum: Ethereum) -> None:
    reading = await scan(ethereum)
    assert (reading.found, reading.failed, reading.gaps) == (4, {}, {})
    alice, bob, carol, dave = (account(reading, item) for item in (ALICE, BOB, CAROL, DAVE))
    assert alice.health_factor_raw == 33_165 * WAD // 20_000
    assert (alice.collateral_base_raw, alice.debt_base_raw) == (40_200 * WAD, 20_000 * WAD)
    assert carol.health_factor_raw == 33_165 * WAD // 34_000 < WAD
    assert dave.health_factor_raw == 21_525 * WAD // 2_000
    assert [(leg.amount_raw, leg.weight_wad) for leg in bob.legs] == [(2_200 * 10**6, 0)]
    assert bob.health_factor_raw == reading.venue.no_debt_raw
    assert from_readings([reading]).complete


async def test_an_account_that_differs_is_set_aside(ethereum: Ethereum) -> None:
    ethereum.enters(CAROL, [CETH, CUSDC], 0, 835 * WAD + 1)
    reading = await scan(ethereum)
    assert list(reading.failed) == [checksum_address(CAROL)]
    assert "shortfall 835000000000000000000 is not 835000000000000000001" in reading.failed[checksum_address(CAROL)]


async def test_the_native_coin_is_an_asset_of_its_own(ethereum: Ethereum) -> None:
    reading = await scan(ethereum)
    leg = account(reading, ALICE).legs[0]
    assert leg.asset_id == f"eip155:1/{NATIVE_COINS[1][0]}" == "eip155:1/slip44:60"
    assert {asset.symbol for asset in reading.assets} >= {"ETH", "cETH"}


async def test_what_a_seizure_leaves_to_the_protocol(ethereum: Ethereum) -> None:
    """2.8 % of all that is seized is 0.028 * 1.08 / 0.08 of the incentive; cETH has no such function and keeps none."""
    reading = await scan(ethereum)
    fees = {
        leg.asset_id: leg.protocol_fee_wad / WAD for item in reading.accounts for leg in item.legs if leg.weight_wad
    }
    assert fees[f"eip155:1/erc20:{WBTC}"] == pytest.approx(0.378)
    assert fees["eip155:1/slip44:60"] == 0
    assert reading.venue.liquidation_parameters == {
        "close_factor": 0.5,
        "liquidation_incentive": pytest.approx(0.08),
        "protocol_share": 0.0,
    }


async def test_what_the_liquidator_of_the_first_venus_keeps(ethereum: Ethereum) -> None:
    """5 % of what is repaid, out of an incentive of 8 %: 0.625 of it, whatever the cToken says."""
    ethereum.answers(COMPTROLLER, FAMILY, liquidatorContract=address(30))
    ethereum.answers(address(30), FAMILY, treasuryPercentMantissa=5 * 10**16)
    legs = [leg for item in (await scan(ethereum)).accounts for leg in item.legs if leg.side == "collateral"]
    assert {leg.protocol_fee_wad for leg in legs} == {625 * 10**15}


async def test_two_markets_of_one_underlying(ethereum: Ethereum) -> None:
    reading = await scan(ethereum)
    asset_id = f"eip155:1/erc20:{WBTC}"
    assert len([feed for feed in reading.feeds if feed.asset_id == asset_id]) == 2
    (market,) = [market for market in reading.markets if market.asset_id == asset_id]
    assert (market.supply_raw, market.cash_raw, market.borrow_rate_ray) == (102_500_000, 14, None)
    (market,) = [market for market in reading.markets if market.asset_id == "eip155:1/slip44:60"]
    assert market.borrow_rate_ray == 10**19 * 365 * 86_400 // 12
    assert (market.borrow_cap_raw, market.supply_cap_raw) == (NO_CAP, NO_CAP)


async def test_a_price_that_the_oracle_holds_fixed(ethereum: Ethereum) -> None:
    feeds = {feed.asset_id.rsplit("/", 1)[1]: feed for feed in (await scan(ethereum)).feeds}
    assert feeds[f"erc20:{USDC}"].kind == "fixed"
    assert (feeds["slip44:60"].kind, feeds["slip44:60"].source) == ("market", f"{FEED} ETH / USD")


async def test_a_coin_that_is_not_known_leaves_its_market_out(ethereum: Ethereum) -> None:
    ethereum.chain_id = 1284
    reading = await scan(ethereum)
    assert reading.gaps == {"cETH": "it has no underlying(), and is not known to hold the chain's own coin"}
    assert len(reading.failed) == 3
    assert [item.address.lower() for item in reading.accounts] == [BOB]


async def test_prices_in_ether_are_refused(ethereum: Ethereum) -> None:
    ethereum.says(ORACLE, FAMILY, "getUnderlyingPrice", [CUSDC], 5 * 10**26)
    with pytest.raises(ReaderError, match=r"does not price in USD: USDC 0\.0005"):
        await scan(ethereum)


async def test_isolated_pools_of_venus_are_refused(ethereum: Ethereum) -> None:
    ethereum.answers(COMPTROLLER, FAMILY, minLiquidatableCollateral=10**20)
    with pytest.raises(ReaderError, match="isolated pool"):
        await scan(ethereum)


def market(index: int, **changes: Any) -> Market:
    plain: dict[str, Any] = dict.fromkeys(Market.__dataclass_fields__, 0)
    plain |= {"index": index, "address": address(50 + index), "symbol": "c", "underlying": address(60 + index)}
    plain |= {"asset_symbol": "X", "asset_decimals": 18, "decimals": 8, "price": WAD, "problem": ""}
    plain |= {"current_exchange_rate": None, "current_borrow": None, "supply_rate": None, "borrow_rate": None}
    plain |= {"curve": None}
    return Market(**(plain | changes))


RAW = st.integers(0, 10**30)


@settings(max_examples=50)
@given(st.lists(st.tuples(RAW, RAW, st.integers(0, 10**27), st.integers(1, 10**32), st.integers(0, WAD)), max_size=4))
def test_every_cut_is_downward_and_small(rows: list[tuple[int, int, int, int, int]]) -> None:
    """Against plain fractions: less, by no more than each product's last digit lets through."""
    markets = [market(i, exchange_rate=row[2], price=row[3]) for i, row in enumerate(rows)]
    holder = Holder(
        ALICE,
        tokens={i: row[0] for i, row in enumerate(rows)},
        debts={i: row[1] for i, row in enumerate(rows)},
        entered=tuple(range(len(rows))),
    )
    weighted, debt = value_position(holder, Book(markets, {}, {}), {i: row[4] for i, row in enumerate(rows)})
    exact = sum(tokens * rate * price * factor for tokens, _, rate, price, factor in rows)
    slack = sum(tokens * (price + WAD) * WAD + WAD**3 for tokens, _, _, price, _ in rows)
    assert exact - slack <= weighted * WAD**3 <= exact
    owed = sum(amount * price for _, amount, _, price, _ in rows)
    assert owed - WAD * len(rows) <= debt * WAD <= owed


@pytest.mark.parametrize(
    ("price", "kind", "ratio"),
    [(1180 * WAD, "ratio", 1.18), (1150 * WAD, "ratio", 1.15), (1181 * WAD, "market", 1)],
)
async def test_a_ratio_may_be_capped_and_must_explain_the_price(price: int, kind: str, ratio: float) -> None:
    """Base at 1,000 with 6 decimals, ratio 1.18: 1,180; less where the oracle caps it; more is something else."""
    fake, source = FakeChain(), address(70)
    base = market(0, asset_symbol="BASE", asset_decimals=6, price=1_000 * 10**30)
    derived = market(1, price=price)
    fake.replies[ORACLE, load_abi(FAMILY).encode("getOracle", derived.underlying, 0)] = encode(
        ["address", "bool"], [source, True]
    )
    fake.answers(
        source,
        FAMILY,
        CORRELATED_TOKEN=derived.underlying,
        UNDERLYING_TOKEN=base.underlying,
        getUnderlyingAmount=1_180_000,
    )
    comptroller = Comptroller(COMPTROLLER, (), ORACLE, WAD, None, True, "", "", None)
    feeds = await read_feeds(fake.chain, comptroller, [base, derived], {0: "base", 1: "derived"})
    assert (feeds[1].kind, feeds[1].base_feed_id) == (kind, feeds[0].feed_id if kind == "ratio" else "")
    assert feeds[1].ratio_raw / feeds[1].ratio_scale == pytest.approx(ratio)
    fake.answers(source, FAMILY, INTERMEDIATE_ORACLE=address(71))  # it asks a market for the ratio
    feeds = await read_feeds(fake.chain, comptroller, [base, derived], {0: "base", 1: "derived"})
    assert feeds[1].kind == "market"


def test_native_coins_are_those_of_the_backing() -> None:
    known = {chain_id: native_coin(chain_id) for chain_id in NATIVE_COINS}
    for chain_id, coin in known.items():
        if coin is not None:
            assert (coin.reference, coin.symbol) == NATIVE_COINS[chain_id]
    assert any(known.values())
