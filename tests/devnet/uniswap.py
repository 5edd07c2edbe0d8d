"""A Uniswap v3 pool from its real bytecode, whose one position spans every price, and a feed that reads its spot price.

Such a pool is x*y=k on what it holds (Uniswap v3 core whitepaper, 2021, section 2), and keeps its fee apart from that.
In a v2 pool the fee stays in the reserves, so that the price after some sales depends on how they were cut up.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

from .artifacts import UNISWAP_V3, Artifacts, compile_sources
from .chain import Deployer, Transaction, deploy, transaction
from .plans import MAX_UINT
from .tokens import DECIMALS, PRICE_UNIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .chain import Chain

FEE_UNIT = 10**6
FEE = 500
"""0.05 %, the tier of the pool of WETH and USDC that trades most on Ethereum."""
_LAST_TICK = 887_270  # the largest multiple of that tier's tick spacing, 10, below TickMath.MAX_TICK
_SQRT_LIMITS = (4_295_128_739 + 1, 1_461_446_703_485_210_103_287_273_052_203_988_822_378_723_970_342 - 1)
"""Next to TickMath's MIN_SQRT_RATIO and MAX_SQRT_RATIO: no limit."""
_Q96 = 1 << 96


@dataclass(frozen=True, slots=True)
class SpotPool:
    """A pool of a base token and a quote token, with the contract that trades in it and the feed that reads it."""

    chain: Chain
    base: str
    quote: str
    base_is_first: bool
    pool: str
    trader: str
    feed: str

    def price(self) -> float:
        """Quote tokens that a base token costs on the margin, as the feed answers it."""
        answer: int = self.chain.call(self.feed, "latestAnswer()", "(int256)")[0]
        return answer / PRICE_UNIT

    def reserve(self) -> int:
        """Base tokens, in their smallest unit, that trade at the present price: the x of x*y=k, without fees."""
        sqrt_price: int = self.chain.call(self.pool, "slot0()", "(uint160,int24,uint16,uint16,uint16,uint8,bool)")[0]
        liquidity: int = self.chain.call(self.pool, "liquidity()", "(uint128)")[0]
        return liquidity * _Q96 // sqrt_price if self.base_is_first else liquidity * sqrt_price // _Q96

    def approve(self, seller: str) -> list[Transaction]:
        """Transactions that let the trader take a seller's tokens."""
        approval = "approve(address,uint256)"
        return [transaction(seller, token, approval, self.trader, MAX_UINT) for token in (self.base, self.quote)]

    def sell(self, seller: str, amount: int, down_to: float | None = None) -> Transaction:
        """Transaction that sells base tokens, at most as many as bring the price to `down_to`."""
        limit = _SQRT_LIMITS[not self.base_is_first] if down_to is None else _sqrt_price(self.base_is_first, down_to)
        return transaction(seller, self.trader, "sell(address,uint256,uint160)", self.base, amount, limit)


def open_pool(chain: Chain, owner: str, tokens: Mapping[str, str], price: float, reserve: float) -> SpotPool:
    """A pool of WETH and USDC at `price`, with `reserve` whole WETH and their worth in USDC from `owner`."""
    base, quote = tokens["WETH"], tokens["USDC"]
    deployer, compiled = Deployer(chain, Artifacts(UNISWAP_V3), owner), compile_sources()
    factory = deployer.deploy("UniswapV3Factory")
    deployer.send(factory, ("createPool(address,address,uint24)", base, quote, FEE))
    pool: str = chain.call(factory, "getPool(address,address,uint24)", "(address)", base, quote, FEE)[0]
    base_is_first = int(base, 16) < int(quote, 16)
    sqrt_price = _sqrt_price(base_is_first, price)
    deployer.send(pool, ("initialize(uint160)", sqrt_price))
    trader = deploy(chain, owner, compiled["PoolTrader"], pool)
    feed = deploy(chain, owner, compiled["PoolFeed"], "ETH / USD", pool, base)
    opened = SpotPool(chain, base, quote, base_is_first, pool, trader, feed)
    units = round(reserve * 10 ** DECIMALS["WETH"])
    liquidity = units * sqrt_price // _Q96 if base_is_first else units * _Q96 // sqrt_price
    worth = 2 * round(reserve * price) * 10 ** DECIMALS["USDC"]
    stock = ((base, 2 * units), (quote, worth))
    mints = [transaction(owner, token, "mint(address,uint256)", owner, amount) for token, amount in stock]
    provide = transaction(owner, trader, "provide(int24,int24,uint128)", -_LAST_TICK, _LAST_TICK, liquidity)
    chain.send([*mints, *opened.approve(owner), provide])
    return opened


def _sqrt_price(base_is_first: bool, price: float) -> int:
    """sqrtPriceX96 at a price in whole tokens: 2^96 times the root of token1 per token0 in raw units."""
    numerator = round(price * PRICE_UNIT) * 10 ** DECIMALS["USDC"]
    denominator = PRICE_UNIT * 10 ** DECIMALS["WETH"]
    if not base_is_first:
        numerator, denominator = denominator, numerator
    return isqrt((numerator << 192) // denominator)
