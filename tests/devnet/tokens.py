"""The devnet's tokens, price feeds and Multicall3, shared by every market on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .artifacts import compile_sources, multicall3_runtime
from .chain import Deployer, Transaction, deploy, transaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .chain import Chain

MULTICALL3 = "0xcA11bde05977b3631167028862bE2a173976CA11"
PRICE_UNIT = 10**8
RATIO_UNIT = 10**18
DECIMALS = {"WETH": 18, "wstETH": 18, "WBTC": 8, "USDC": 6, "DAI": 18}
RATIO_TOKEN, RATIO_BASE = "wstETH", "WETH"
CATEGORY_FEED = "BTC index"
_DESCRIPTIONS = {
    "WETH": "ETH / USD",
    "WBTC": "BTC / USD",
    "USDC": "USDC / USD",
    "DAI": "DAI / USD",
    CATEGORY_FEED: "BTC index / USD",
}


@dataclass(frozen=True, slots=True)
class Prices:
    """What the feeds answer: USD prices, and the wstETH / ETH ratio."""

    eth: float
    btc: float
    ratio: float
    btc_index: float = 90_500.0
    """Price source of the e-mode category "BTC" in Aave 3.0, set apart from WBTC's own price."""

    def usd(self, symbol: str) -> float:
        """Price of a token."""
        return {"WETH": self.eth, "wstETH": self.eth * self.ratio, "WBTC": self.btc, "USDC": 1.0, "DAI": 1.0}[symbol]

    def units(self, symbol: str, usd: float) -> int:
        """Amount of a token, in its smallest units, that is worth ``usd``."""
        return int(usd / self.usd(symbol) * 10 ** DECIMALS[symbol])


FINAL = Prices(eth=3_000.0, btc=90_000.0, ratio=1.18)


def deploy_tokens(deployer: Deployer) -> dict[str, str]:
    """Mintable ERC-20 tokens by symbol."""
    return {symbol: deployer.deploy("MintableERC20", symbol, symbol, decimals) for symbol, decimals in DECIMALS.items()}


def deploy_feeds(chain: Chain, owner: str) -> dict[str, str]:
    """Price feeds by the token they price, and the one of CATEGORY_FEED, answering FINAL."""
    compiled = compile_sources()
    answers = {"WETH": FINAL.eth, "WBTC": FINAL.btc, "USDC": 1.0, "DAI": 1.0, CATEGORY_FEED: FINAL.btc_index}
    feeds = {
        name: deploy(chain, owner, compiled["MarketFeed"], _DESCRIPTIONS[name], round(price * PRICE_UNIT))
        for name, price in answers.items()
    }
    arguments = ("Capped wstETH / stETH(ETH) / USD", feeds[RATIO_BASE], round(FINAL.ratio * RATIO_UNIT))
    feeds[RATIO_TOKEN] = deploy(chain, owner, compiled["RatioFeed"], *arguments)
    return feeds


def install_multicall(chain: Chain) -> None:
    """Put the canonical Multicall3 where it is on every public chain."""
    chain.session.call("anvil_setCode", MULTICALL3, multicall3_runtime())


def price_transactions(owner: str, feeds: Mapping[str, str], prices: Prices) -> list[Transaction]:
    """Transactions that make the feeds answer ``prices``."""
    return [
        set_answer(owner, feeds["WETH"], prices.eth),
        set_answer(owner, feeds["WBTC"], prices.btc),
        set_feed_ratio(owner, feeds[RATIO_TOKEN], prices.ratio),
    ]


def set_answer(owner: str, feed: str, price: float) -> Transaction:
    """Transaction that sets a market feed's price."""
    return transaction(owner, feed, "setAnswer(int256)", round(price * PRICE_UNIT))


def set_feed_ratio(owner: str, feed: str, ratio: float) -> Transaction:
    """Transaction that sets a ratio feed's ratio."""
    return transaction(owner, feed, "setRatio(int256)", round(ratio * RATIO_UNIT))
