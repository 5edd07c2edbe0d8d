"""Perpetual Protocol v2 (Curie) from its real bytecode: npm's @perp/curie-deployments over Uniswap v3's factory."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

from ...artifacts import UNISWAP_V3, Artifacts, pack
from ...chain import transaction
from ...plans import MAX_UINT
from ...tokens import FINAL

if TYPE_CHECKING:
    from ...chain import Deployer, Transaction
    from .. import Site

WAD = 10**18
CORE = pack("@perp/curie-deployments@2023.4.12-1681295833590") / "optimism/core/artifacts"
UNISWAP_FEE, EXCHANGE_FEE = 10_000, 1_000  # of a million: of the pools, and what traders pay
MARKETS = {"vETH": "WETH", "vBTC": "WBTC"}
"""Virtual base tokens, and the token whose feed prices them."""
COLLATERAL_RATIO, COLLATERAL_DISCOUNT = 700_000, 100_000
"""Of WETH as margin, of a million."""
INSURANCE_USDC = 2_000_000 * 10**6
_TICK_SPACING = 200
_RANGE = 9_200  # ticks: a price 2.5 times up or down
_TICKS = {"vETH": 80_000, "vBTC": 114_000}  # near the FINAL prices
_TIMEOUT, _TWAP = 40 * 60, 30 * 60


@dataclass
class Venue:
    """Addresses of the system; `markets` and `pools` go by the symbol of the base token."""

    clearing_house: str
    account_balance: str
    exchange: str
    order_book: str
    vault: str
    registry: str
    config: str
    insurance_fund: str
    quote: str
    settlement: str
    first_block: int
    markets: dict[str, str]
    pools: dict[str, str]

    def call(self, user: str, signature: str, *arguments: object) -> Transaction:
        """Transaction that calls the clearing house."""
        return transaction(user, self.clearing_house, signature, *arguments)

    def trade(self, user: str, symbol: str, usd: float, sqrt_limit: int = 0) -> Transaction:
        """Transaction that opens a position of so many USD, short where negative, down or up to a limit price."""
        is_short = usd < 0
        amount = round(abs(usd) * 10**6) * 10**12
        signature = "openPosition((address,bool,bool,uint256,uint256,uint256,uint160,bytes32))"
        bound = 0 if not is_short else MAX_UINT if sqrt_limit else 0
        parameters = (self.markets[symbol], is_short, not is_short, amount, bound, MAX_UINT, sqrt_limit, bytes(32))
        return self.call(user, signature, parameters)

    def provide(
        self, user: str, symbol: str, base: int, quote: int, reach: int = _RANGE, shift: int = 0
    ) -> Transaction:
        """Transaction that adds liquidity in a range around the FINAL price, `reach` ticks to either side."""
        low, high = (_TICKS[symbol] + shift + way * reach for way in (-1, 1))
        low, high = low - low % _TICK_SPACING, high - high % _TICK_SPACING
        signature = "addLiquidity((address,uint256,uint256,int24,int24,uint256,uint256,bool,uint256))"
        return self.call(user, signature, (self.markets[symbol], base, quote, low, high, 0, 0, False, MAX_UINT))

    def deposit(self, user: str, token: str, amount: int) -> list[Transaction]:
        """Transactions that mint tokens and deposit them as margin."""
        return [
            transaction(user, token, "mint(address,uint256)", user, amount),
            transaction(user, token, "approve(address,uint256)", self.vault, MAX_UINT),
            transaction(user, self.vault, "deposit(address,uint256)", token, amount),
        ]


def sqrt_price(price: float) -> int:
    """A price of a base token as the pools keep it."""
    return isqrt(round(price * 10**8) * (1 << 192) // 10**8)


def deploy_venue(site: Site) -> Venue:
    """Deploy the system with one market for each of MARKETS; margin is USDC, and WETH at COLLATERAL_RATIO."""
    deployer = site.deployer(Artifacts(CORE, UNISWAP_V3))
    first_block = site.chain.head()[0] + 1
    usdc, deploy = site.tokens["USDC"], deployer.deploy
    quote, factory = deploy("QuoteToken"), deploy("UniswapV3Factory")
    deployer.send(quote, ("initialize(string,string)", "vUSD", "vUSD"))
    names = ("ClearingHouseConfig", "MarketRegistry", "OrderBook", "AccountBalance", "Exchange", "InsuranceFund")
    config, registry, book, balance, exchange, fund = (deploy(name) for name in names)
    vault, collateral, house, approval = (
        deploy(name) for name in ("Vault", "CollateralManager", "ClearingHouse", "DelegateApproval")
    )
    limits = (5, 750_000, 500_000, 2_000, 30_000, 10_000 * 10**6, 500 * 10**6)
    calls: tuple[tuple[str, tuple[object, ...]], ...] = (
        (config, ("initialize()",)),
        (registry, ("initialize(address,address)", factory, quote)),
        (book, ("initialize(address)", registry)),
        (balance, ("initialize(address,address)", config, book)),
        (exchange, ("initialize(address,address,address)", registry, book, config)),
        (exchange, ("setAccountBalance(address)", balance)),
        (book, ("setExchange(address)", exchange)),
        (fund, ("initialize(address)", usdc)),
        (vault, ("initialize(address,address,address,address)", fund, config, balance, exchange)),
        (fund, ("setVault(address)", vault)),
        (balance, ("setVault(address)", vault)),
        (
            collateral,
            ("initialize(address,address,uint8,uint24,uint24,uint24,uint24,uint256,uint256)", config, vault, *limits),
        ),
        (vault, ("setCollateralManager(address)", collateral)),
        (
            house,
            (
                "initialize(address,address,address,address,address,address,address)",
                *(config, vault, quote, factory, exchange, balance, fund),
            ),
        ),
        (approval, ("initialize()",)),
        (house, ("setDelegateApproval(address)", approval)),
        (config, ("setSettlementTokenBalanceCap(uint256)", MAX_UINT)),
        *((each, ("setClearingHouse(address)", house)) for each in (registry, book, exchange, balance, vault)),
        (quote, ("addWhitelist(address)", house)),
        (quote, ("mintMaximumTo(address)", house)),
        (usdc, ("mint(address,uint256)", fund, INSURANCE_USDC)),
    )
    for to, call in calls:
        deployer.send(to, call)
    parts = (house, balance, exchange, book, vault, registry, config, fund, quote, usdc)
    venue = Venue(*parts, first_block, {}, {})
    for symbol, token in MARKETS.items():
        _add_market(site, deployer, venue, factory, symbol, token)
    feed = deploy("ChainlinkPriceFeedV3", site.feeds["WETH"], _TIMEOUT, _TWAP)
    terms = (feed, COLLATERAL_RATIO, COLLATERAL_DISCOUNT, 10**30)
    deployer.send(collateral, ("addCollateral(address,(address,uint24,uint24,uint256))", site.tokens["WETH"], terms))
    return venue


def _add_market(site: Site, deployer: Deployer, venue: Venue, factory: str, symbol: str, token: str) -> None:
    """A base token with a pool at its FINAL price."""
    feed = deployer.deploy("ChainlinkPriceFeedV3", site.feeds[token], _TIMEOUT, _TWAP)
    dispatcher = deployer.deploy("PriceFeedDispatcher", feed)
    base = deployer.deploy("BaseToken")
    while int(base, 16) > int(venue.quote, 16):  # base is token0 of its pool
        base = deployer.deploy("BaseToken")
    deployer.send(base, ("initialize(string,string,address)", symbol, symbol, dispatcher))
    house = venue.clearing_house
    deployer.send(base, ("addWhitelist(address)", house), ("mintMaximumTo(address)", house))
    deployer.send(factory, ("createPool(address,address,uint24)", base, venue.quote, UNISWAP_FEE))
    (pool,) = site.chain.call(factory, "getPool(address,address,uint24)", "(address)", base, venue.quote, UNISWAP_FEE)
    deployer.send(
        pool,
        ("initialize(uint160)", sqrt_price(FINAL.usd(token))),
        ("increaseObservationCardinalityNext(uint16)", 200),
    )
    for virtual in (base, venue.quote):
        deployer.send(virtual, ("addWhitelist(address)", pool))
    deployer.send(
        venue.registry,
        ("addPool(address,uint24)", base, UNISWAP_FEE),
        ("setFeeRatio(address,uint24)", base, EXCHANGE_FEE),
    )
    deployer.send(venue.exchange, ("setMaxTickCrossedWithinBlock(address,uint24)", base, 1_000))
    venue.markets[symbol] = base
    venue.pools[symbol] = pool
