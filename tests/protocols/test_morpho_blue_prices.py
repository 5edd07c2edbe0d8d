"""Morpho Blue's arithmetic by hand, and what moves a market's prices, from oracles put together by hand."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.fixed_point import RAY, WAD
from defi_leverage.protocols.morpho_blue.arithmetic import (
    NO_DEBT,
    Totals,
    accrue,
    assets_down,
    assets_up,
    compound,
    health_factor,
    incentive,
    yearly_rates,
)
from defi_leverage.protocols.morpho_blue.markets import Market, Token
from defi_leverage.protocols.morpho_blue.oracles import Oracle, Part, is_exchange_rate, unit_of
from defi_leverage.protocols.morpho_blue.price_feeds import MarketFeeds, find_leading_feeds, make_feeds
from defi_leverage.protocols.morpho_blue.usd_prices import price_tokens

CHAIN = "eip155:1"
SCALE = 10**36
WETH, WSTETH, RETH, USDC, DAI, FAKE = (
    Token(f"0x{number:040X}", symbol, places)
    for number, symbol, places in (
        (1, "WETH", 18),
        (2, "wstETH", 18),
        (3, "rETH", 18),
        (4, "USDC", 6),
        (5, "DAI", 18),
        (6, "FAKE", 0),
    )
)


def feed(name: str, value: object, unit: str = "USD") -> Part:
    return Part(f"feed {name}", Fraction(str(value)), f"{name} / {unit}", False, unit)


def rate(name: str, value: object, unit: str = "", underlying: str = "") -> Part:
    return Part(f"rate {name}", Fraction(str(value)), f"{name} exchange rate", True, unit, underlying)


ETH, USD_C, USD_D = feed("ETH", 3000), feed("USDC", "0.999"), feed("DAI", "1.001")


class Scene:
    """Markets, the oracles of those that can be taken apart, and how much collateral each has."""

    def __init__(self) -> None:
        self.markets: list[Market] = []
        self.oracles: dict[str, Oracle] = {}
        self.collateral: dict[bytes, int] = {}

    def add(
        self,
        collateral: Token,
        loan: Token,
        above: tuple[Part, ...] | None,
        below: tuple[Part, ...] = (),
        unit: str = "USD",
        price: object = None,
        size: int = 1,
    ) -> bytes:
        """A market of an oracle made of these parts, or (None) of one that only answers `price`."""
        key = len(self.markets).to_bytes(32, "big")
        whole = Fraction(str(price)) if price is not None else Fraction(1)
        if above is not None:
            self.oracles[f"oracle {len(self.markets)}"] = Oracle(above, below, unit)
            for part in above:
                whole *= part.value
            for part in below:
                whole /= part.value
        raw = int(whole * SCALE * 10**loan.decimals / 10**collateral.decimals)
        totals = Totals(2 * size, 2 * size, size, size, 0, 0)
        oracle = f"oracle {len(self.markets)}"
        self.markets.append(Market(key, loan, collateral, oracle, 86 * 10**16, 0, totals, 0, raw, ""))
        self.collateral[key] = size
        return key

    def feeds(self) -> dict[bytes, MarketFeeds]:
        usd = price_tokens(self.markets, self.oracles, self.collateral)
        return make_feeds(self.markets, self.oracles, self.collateral, usd, CHAIN)

    def usd(self) -> dict[str, float]:
        usd = price_tokens(self.markets, self.oracles, self.collateral)
        symbols = {token.address: token.symbol for token in (WETH, WSTETH, RETH, USDC, DAI, FAKE)}
        return {symbols[address]: float(price.value) for address, price in usd.items()}


def kinds(feeds: MarketFeeds) -> tuple[str, str]:
    assert feeds.collateral is not None
    assert feeds.loan is not None
    return feeds.collateral.kind, feeds.loan.kind


@pytest.mark.parametrize(
    ("above", "below", "unit", "expected"),
    [
        ((ETH,), (USD_C,), "USD", ("market", "market")),
        ((ETH,), (), "USD", ("market", "fixed")),
        ((), (USD_C,), "USD", ("fixed", "market")),
        ((rate("W", 2),), (USD_C,), "USD", ("fixed", "market")),
        ((rate("W", 2),), (), "STETH", ("ratio", "market")),
        ((), (), "", ("ratio", "market")),
        ((feed("stETH", "0.999", "ETH"),), (), "ETH", ("market", "market")),
        ((), (feed("stETH", "0.999", "ETH"),), "ETH", ("market", "market")),
        ((rate("W", 2), feed("X", 7)), (USD_C,), "USD", ("market", "market")),  # X prices nobody else
        (None, (), "", ("market", "market")),
    ],
)
def test_kinds(above: tuple[Part, ...] | None, below: tuple[Part, ...], unit: str, expected: tuple[str, str]) -> None:
    scene = Scene()
    scene.add(WETH, USDC, (ETH,), (USD_C,), size=100)  # leads to USD where the oracle under test does not
    scene.add(RETH, DAI, (feed("rETH", 3300),), (USD_D,), size=100)
    key = scene.add(WSTETH, DAI, above, below, unit, price=1)
    assert kinds(scene.feeds()[key]) == expected


@pytest.mark.parametrize(
    ("description", "is_rate", "unit"),
    [  # of contracts of Chainlink, Morpho, RedStone and Aave
        ("ETH / USD", False, "USD"),
        ("STETH / ETH", False, "ETH"),
        ("wstETH/stETH exchange rate", True, "STETH"),
        ("WSTETH-STETH Exchange Rate", True, ""),
        ("fxUSD net asset value", True, ""),
        ("RedStone Price Feed for ETH", False, "USD"),
        ("RedStone Price Feed for wstETH/stETH", True, "STETH"),
        ("RedStone Price Feed for ezETH_FUNDAMENTAL", True, ""),
        ("Capped wstETH / stETH(ETH) / USD", False, "USD"),
        ("", False, ""),
    ],
)
def test_what_a_feed_says_of_itself(description: str, *, is_rate: bool, unit: str) -> None:
    assert (is_exchange_rate(description), unit_of(description)) == (is_rate, unit)


def test_a_rate_times_a_feed_follows_the_token_that_the_feed_prices_alone() -> None:
    scene = Scene()
    mixed = scene.add(WSTETH, USDC, (rate("wstETH/stETH", "1.18"), ETH), (USD_C,))
    plain = scene.add(WETH, DAI, (ETH,), (USD_D,))
    feeds = scene.feeds()
    held, base = feeds[mixed].collateral, feeds[plain].collateral
    assert held is not None
    assert base is not None
    assert (held.kind, held.base_feed_id, feeds[mixed].others) == ("ratio", base.feed_id, (base,))
    assert held.ratio_raw / held.ratio_scale == pytest.approx(1.18, rel=1e-15)


def test_a_vault_of_a_token_without_a_market_brings_that_token_s_feed() -> None:
    scene = Scene()
    key = scene.add(RETH, USDC, (rate("vault", "1.1", underlying=WSTETH.address), feed("wstETH", 3540)), (USD_C,))
    (base,) = scene.feeds()[key].others
    assert base.asset_id == f"{CHAIN}/erc20:{WSTETH.address}"
    assert base.kind == "market"
    assert Fraction(base.price_raw, base.price_scale) == 3540


def test_an_oracle_that_is_not_taken_apart_says_so() -> None:
    scene = Scene()
    scene.add(WETH, USDC, (ETH,), (USD_C,))
    key = scene.add(RETH, WETH, None, price="1.1")
    held = scene.feeds()[key].collateral
    assert held is not None
    assert held.source == "oracle oracle 1, which is not taken apart: taken to follow the market"
    assert float(Fraction(held.price_raw, held.price_scale)) == pytest.approx(3300)


def test_the_quotient_of_the_feeds_is_the_oracle_s_to_the_last_digit() -> None:
    scene = Scene()
    scene.add(WETH, USDC, (ETH,), (USD_C,))
    key = scene.add(FAKE, USDC, None, price="0.123456789")
    feeds = scene.feeds()[key]
    assert feeds.collateral is not None
    assert feeds.loan is not None
    quotient = Fraction(feeds.collateral.price_raw * feeds.loan.price_scale)
    quotient /= feeds.collateral.price_scale * feeds.loan.price_raw
    market = scene.markets[1]
    assert market.price is not None
    assert quotient == Fraction(market.price * 10**FAKE.decimals, SCALE * 10**USDC.decimals)


def test_usd_comes_by_feed_then_by_neighbour_then_by_count() -> None:
    scene = Scene()
    scene.add(WETH, USDC, (ETH,), (USD_C,))
    scene.add(WSTETH, WETH, (rate("wstETH/stETH", "1.18"),), (), "STETH")
    scene.add(RETH, WSTETH, None, price="0.9")
    scene.add(FAKE, DAI, (feed("FAKE", 5),))
    assert scene.usd() == {
        "WETH": 3000,
        "USDC": 0.999,
        "wstETH": pytest.approx(3540),
        "rETH": pytest.approx(3186),
        "FAKE": 5,
        "DAI": 1,
    }


def test_the_price_that_most_of_a_token_relies_on_counts_and_a_trap_is_left_out() -> None:
    scene = Scene()
    trap = scene.add(FAKE, WETH, (feed("FAKE", 1),), (feed("fake ETH", 5),), size=10)
    sound = scene.add(WETH, USDC, (ETH,), (USD_C,), size=1000)
    assert scene.usd()["WETH"] == 3000
    feeds = scene.feeds()
    assert feeds[trap].problem == "its oracle has WETH at 5 USD, where it is 3000"
    assert feeds[sound].problem == ""
    usd = price_tokens(scene.markets, scene.oracles, scene.collateral)
    leading = find_leading_feeds(scene.markets, feeds, usd, CHAIN)
    assert leading[f"{CHAIN}/erc20:{WETH.address}"] == feeds[sound].collateral


def test_no_way_to_usd_is_a_problem_with_a_name() -> None:
    scene = Scene()
    key = scene.add(WSTETH, WETH, (rate("wstETH/stETH", "1.18"),), (), "STETH")
    assert scene.feeds()[key].problem == "no oracle of Morpho leads from WETH to a price in USD"


def test_incentives() -> None:
    """1 / (1 - 0.3 * (1 - LLTV)), at most 1.15: Morpho's documentation rounds them to 1.05, 1.06, 1.02 and 1.15."""
    assert incentive(945 * 10**15) == 1_016_776_817_488_561_260 - WAD  # 1 / 0.9835
    assert incentive(86 * 10**16) == 1_043_841_336_116_910_229 - WAD  # 1 / 0.958
    assert incentive(385 * 10**15) == 15 * 10**16
    assert incentive(0) == 15 * 10**16


def test_interest_by_hand() -> None:
    """x = 1e-9 * 1e8 s = 0.1 in wad: 0.1 + 0.005 + 0.000166... = 0.105166..., of 1000 owed; a tenth is the fee."""
    assert compound(10**9, 10**8) == 105_166_666_666_666_666
    totals = Totals(2_000 * 10**6, 2_000 * 10**12, 1_000 * 10**6, 1_000 * 10**12, 50, WAD // 10)
    accrued, fee_shares = accrue(totals, 10**9, 50 + 10**8)
    assert (accrued.supply, accrued.borrow) == (2_105_166_666, 1_105_166_666)
    assert fee_shares == 10_516_666 * (2_000 * 10**12 + 10**6) // (2_105_166_666 - 10_516_666 + 1)
    assert accrued.supply_shares == totals.supply_shares + fee_shares
    assert accrued.borrow_shares == totals.borrow_shares
    assert accrue(totals, 10**9, 50) == (totals, 0)


def test_yearly_rates() -> None:
    totals = Totals(2_000, 0, 1_000, 0, 0, WAD // 10)
    supply, borrow = yearly_rates(totals, WAD // (365 * 86_400))
    assert borrow == pytest.approx(RAY, rel=1e-9)
    assert supply == pytest.approx(0.45 * RAY, rel=1e-9)
    assert yearly_rates(Totals(0, 0, 0, 0, 0, 0), 5)[0] == 0


def test_health_by_hand() -> None:
    """10 collateral at 3000 and LLTV 0.86 may owe 25,800."""
    price, lltv = 3000 * SCALE, 86 * 10**16
    assert health_factor(10, 25_800, price, lltv) == WAD
    assert health_factor(10, 25_801, price, lltv) == 25_800 * WAD // 25_801 < WAD
    assert health_factor(0, 1, price, lltv) == 0
    assert health_factor(10, 0, price, lltv) == NO_DEBT


@settings(max_examples=50)
@given(
    shares=st.integers(0, 2**100),
    total=st.integers(0, 2**100),
    total_shares=st.integers(0, 2**110),
)
def test_debt_rounds_up_and_supply_down(shares: int, total: int, total_shares: int) -> None:
    exact = Fraction(shares * (total + 1), total_shares + 10**6)
    down, up = assets_down(shares, total, total_shares), assets_up(shares, total, total_shares)
    assert down <= exact <= up <= down + 1


@settings(max_examples=50)
@given(rate_wad=st.integers(0, 10**11), seconds=st.integers(0, 10**8), fee=st.integers(0, WAD // 4))
def test_interest_is_shared_by_lenders_and_the_fee(rate_wad: int, seconds: int, fee: int) -> None:
    totals = Totals(10**24, 10**30, 10**23, 10**29, 0, fee)
    accrued, fee_shares = accrue(totals, rate_wad, seconds)
    interest = accrued.supply - totals.supply
    assert accrued.borrow - totals.borrow == interest
    taken = assets_down(fee_shares, accrued.supply, accrued.supply_shares)
    assert taken == pytest.approx(interest * fee / WAD, rel=1e-9, abs=2)
