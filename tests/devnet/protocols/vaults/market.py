"""A third Aave market, of release 3.2, that takes shares of the vault stack and of a Uniswap v2 pool as collateral."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...aave import Aave32
from ...aave_parameters import Category, Reserve, reserve
from ...artifacts import AAVE_3_2, Artifacts
from ...chain import transaction
from ...plans import MAX_UINT, VARIABLE_RATE
from ...tokens import CATEGORY_FEED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...aave import Market
    from ...chain import Transaction
    from .. import Site

SHARE, LIQUIDITY = "bsyUSDC", "UNI-V2"
NAME = "Vaults 3.2"
# Limits after those that Aave v3 on Ethereum gives sUSDe, and its former market for liquidity tokens gave WETH/USDC.
_RESERVES = (
    reserve("WETH"),
    reserve("USDC"),
    reserve("DAI"),
    Reserve(SHARE, 7200, 7500, 10850, 2000, (0.45, 0.0, 0.07, 3.0), 1_000_000_000, 1, is_borrowable=False),
    Reserve(LIQUIDITY, 5000, 6000, 11000, 1000, (0.45, 0.0, 0.07, 3.0), 1_000, 1, is_borrowable=False),
)
STABLE_SHARES = Category(1, "Stable shares", 9000, 9250, 10300, (SHARE, "USDC", "DAI"))


def deploy_market(site: Site, shares: Mapping[str, str], feeds: Mapping[str, str]) -> tuple[Market, dict[str, str]]:
    """The market, and its tokens by symbol; ``shares`` and ``feeds`` are by the symbols SHARE and LIQUIDITY."""
    tokens = {symbol: site.tokens[symbol] for symbol in ("WETH", "USDC", "DAI")} | dict(shares)
    prices = {symbol: site.feeds[symbol] for symbol in ("WETH", "USDC", "DAI", CATEGORY_FEED)} | dict(feeds)
    release = Aave32(site.deployer(Artifacts(AAVE_3_2)), _RESERVES, (STABLE_SHARES,), NAME)
    return release.deploy(tokens, prices), tokens


def supply(market: Market, user: str, token: str, amount: int) -> list[Transaction]:
    """Transactions that supply tokens the user has."""
    return [
        transaction(user, token, "approve(address,uint256)", market.pool, MAX_UINT),
        transaction(user, market.pool, "supply(address,uint256,address,uint16)", token, amount, user, 0),
    ]


def borrow(market: Market, user: str, token: str, amount: int) -> Transaction:
    """Transaction that borrows at the variable rate."""
    signature = "borrow(address,uint256,uint256,uint16,address)"
    return transaction(user, market.pool, signature, token, amount, VARIABLE_RATE, 0, user)


def enter_category(market: Market, user: str) -> Transaction:
    """Transaction that puts the user into STABLE_SHARES."""
    return transaction(user, market.pool, "setUserEMode(uint8)", STABLE_SHARES.identifier)
