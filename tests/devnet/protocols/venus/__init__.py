"""Venus' core pool with its own bytecode: loopers in an e-mode pool, VAI debtors, dust, accounts under water.

Interest is by the block, at a rate that shows within the few hundred blocks of this build. What is stored in the
markets at the head is from different blocks; `lag` markets nobody has touched for the last two hundred.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .contracts import BLOCKS_A_YEAR, ETH_POOL, MARKETS, POOLS, STABLE_POOL, deploy_venus
from .crowd import Crowd, units

if TYPE_CHECKING:
    from collections.abc import Generator

    from .. import Site

LENT = {"WETH": 30_000, "wstETH": 10_000, "WBTC": 500, "USDC": 60_000_000, "DAI": 30_000_000}
QUIET_BLOCKS = 200


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy everything before the first wave; see protocols.Build."""
    first_block = site.chain.head()[0] + 1
    venus = deploy_venus(site)
    crowd, rng = Crowd(site, venus), site.rng

    def some(symbol: str, count: int, low: float, high: float) -> list[int]:
        return [units(symbol, rng.uniform(low, high)) + rng.randrange(1_000) for _ in range(count)]

    for symbol, amount in LENT.items():
        crowd.lend(symbol, units(symbol, amount))
    yield "glitch"  # ETH at twice its price: under water when it is back
    sunk = crowd.supply("under_water", "WETH", some("WETH", 3, 2, 40))
    crowd.borrow(sunk, "USDC", 0.86, 0.97)
    yield "rally"
    users = crowd.supply("eth_borrower", "WETH", some("WETH", 30, 1, 300))
    crowd.borrow(users, "USDC", 0.4, 0.97)
    crowd.borrow(users[20:], "DAI", 0.3, 0.9)
    crowd.borrow(crowd.supply("liquidatable", "WETH", some("WETH", 5, 3, 60)), "USDC", 0.998, 0.999)
    for turn in range(1, 13):
        crowd.loop(
            "emode_looper", ("wstETH", "WETH"), some("wstETH", 1, 1, 90)[0], turn, rng.uniform(0.8, 0.99), ETH_POOL
        )
    yield "slump"
    for turn in range(1, 9):
        crowd.loop("plain_looper", ("wstETH", "WETH"), some("wstETH", 1, 1, 90)[0], turn, rng.uniform(0.8, 0.97))
    users = crowd.supply("btc_borrower", "WBTC", some("WBTC", 20, 0.05, 15))
    crowd.borrow(users, "DAI", 0.4, 0.97)
    crowd.borrow(users[::3], "WETH", 0.3, 0.9)
    for turn in range(1, 6):
        crowd.loop(
            "stable_looper", ("USDC", "DAI"), some("USDC", 1, 5e3, 4e5)[0], turn, rng.uniform(0.8, 0.99), STABLE_POOL
        )
    minters = crowd.supply("vai_minter", "WETH", some("WETH", 8, 1, 60))
    crowd.mint_vai(minters, 0.5, 0.97)
    crowd.borrow(minters[:3], "USDC", 0.2, 0.4)
    yield "late"
    crowd.supply("supplier", "WBTC", some("WBTC", 5, 0.1, 2), entered=False)
    crowd.supply("entered_supplier", "USDC", some("USDC", 4, 100, 9e4))
    (giver,) = crowd.supply("giver", "WETH", some("WETH", 1, 9, 10))
    crowd.give(giver, "WETH", "receiver", 3)
    crowd.borrow(crowd.supply("dust", "WETH", [10**9, 10**12, 7 * 10**10]), "USDC", 0.5, 0.9)
    crowd.supply("dust", "WBTC", [1, 2, 999])
    crowd.touch()
    for _ in range(QUIET_BLOCKS):
        site.chain.session.call("evm_mine")
    yield "settle"
    crowd.supply("entered_supplier", "DAI", some("DAI", 2, 100, 9e4))  # accrues in this market alone
    return {
        "reads": [site.reads("compound_v2", "Venus core pool", venus.comptroller, first_block)],
        **asdict(venus),
        "owner": site.owner,
        "accounts": crowd.plain(),
        "markets": {symbol: list(figures) for symbol, figures in MARKETS.items()},
        "pools": {str(pool): {s: list(f) for s, f in members.items()} for pool, members in POOLS.items()},
        "blocks_a_year": BLOCKS_A_YEAR,
    }
