"""A stand-in of Fluid: four sound vaults, a smart one, one whose oracle reverts; see the Solidity's comments.

Some positions have been liquidated and not been touched since: what their vault stores of them is stale.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...artifacts import compile_contracts
from ...chain import deploy, transaction
from ...tokens import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Generator

    from .. import Site

__all__ = ["HAND", "OPERATE", "POOLS", "TERMS", "build"]

OPERATE = "operate(address,int256,int256,int256,int256)"
NATIVE = "0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE"
E18 = 10**18
RATE = 118 * 10**16
TERMS = {  # collateral factor, threshold, maximum, penalty in bps; supply and borrow rate in bps a year; magnifier
    "eth_usdc": (8700, 9200, 9500, 100, 150, 600, 10_000),
    "wsteth_eth": (9300, 9600, 9800, 50, 0, 250, 12_500),
    "wsteth_usdc": (8000, 8500, 9000, 300, 0, 600, 10_000),
    "wbtc_usdc": (8000, 8500, 9000, 300, 0, 0, 0),
    "smart": (8000, 8500, 9000, 300, 0, 0, 10_000),
    "broken": (8000, 8500, 9000, 300, 0, 0, 10_000),
}
POOLS = {
    "usdc": ((8500, 9300, 0, 550, 800, 4000), 1000, (100_000_000 * 10**6, 0, 86_600_000 * 10**6, 0)),
    "eth": ((9000, 0, 250, 10_000), 2000, (900 * E18, 100 * E18, 720 * E18, 0)),
}
"""Corners and fee in bps; supplied and borrowed, each with and without interest: utilisations of 86.6 % and 72 %."""
HAND = {"collateral": 2 * 10**8, "debt": 100_000 * 10**6}
"""WBTC at 90,000 USD and a threshold of 85 %, USDC, neither with interest."""


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy everything before the first wave; see protocols.Build."""
    chain, owner, rng, feeds = site.chain, site.owner, site.rng, site.feeds
    first_block = chain.head()[0] + 1
    compiled = compile_contracts("0.8.26", Path(__file__).parent.glob("*.sol"), viaIR=True, evmVersion="paris")
    layer = deploy(chain, owner, compiled["LiquidityLayer"])
    resolver = deploy(chain, owner, compiled["Resolvers"], layer)
    wsteth = deploy(chain, owner, compiled["RatedToken"], "wstETH", RATE)
    tokens = {"eth": NATIVE, "wsteth": wsteth, "wbtc": site.tokens["WBTC"], "usdc": site.tokens["USDC"]}
    places = {"eth": 18, "wsteth": 18, "wbtc": DECIMALS["WBTC"], "usdc": DECIMALS["USDC"]}
    prices = {"eth": feeds["WETH"], "wsteth": feeds["WETH"], "wbtc": feeds["WBTC"], "usdc": feeds["USDC"]}
    for key, (corners, fee, amounts) in POOLS.items():
        held = sum(amounts[:2]) - sum(amounts[2:])
        calls = [transaction(owner, layer, "configure(address,uint256[],uint256)", tokens[key], corners, fee)]
        if tokens[key] == NATIVE:
            chain.session.call("anvil_setBalance", layer, hex(held))
        else:
            calls.append(transaction(owner, tokens[key], "mint(address,uint256)", layer, held))
        chain.send([*calls, transaction(owner, layer, OPERATE, tokens[key], *amounts)])
    vaults, oracles, sides = {}, {}, {}
    for key, terms in TERMS.items():
        above, below = key.split("_") if "_" in key else ("wbtc", "usdc")
        rate = RATE if above == "wsteth" else 0
        arguments = (prices[above], prices[below], places[above], places[below], rate, key == "wsteth_eth")
        oracles[key] = deploy(chain, owner, compiled["PairOracle"], *arguments)
        kind = 20000 if key == "smart" else 10000
        vaults[key] = deploy(chain, owner, compiled["Vault"], tokens[above], tokens[below], oracles[key], kind, terms)
        sides[key] = above, below
        chain.send([transaction(owner, resolver, "list(address)", vaults[key])])
    accounts: list[dict[str, Any]] = []

    def open_many(key: str, count: int, sizes: tuple[float, float], share: tuple[float, float], kind: str) -> None:
        above = sides[key][0]
        price = chain.call(oracles[key], "getExchangeRateLiquidate()", "(uint256)")[0]
        for _ in range(count):
            held = int(rng.uniform(*sizes) * 10 ** places[above])
            owed = int(held * price // 10**27 * rng.uniform(*share))
            mint(key, held, owed, kind)

    def mint(key: str, held: int, owed: int, kind: str, user: str = "") -> int:
        user = user or site.account(f"{key}:{len(accounts)}")
        chain.send(
            [transaction(user, resolver, "mint(address,address,uint256,uint256)", vaults[key], user, held, owed)]
        )
        accounts.append({"nft": len(accounts) + 1, "owner": user, "vault": key, "kind": kind})
        return len(accounts)

    def liquidate(key: str) -> None:
        mine = [account["nft"] for account in accounts if account["vault"] == key]
        chain.send([transaction(owner, vaults[key], "liquidate(uint256[])", mine)])

    yield "glitch"  # ETH at twice its price
    open_many("eth_usdc", 3, (2, 20), (0.458, 0.465), "cut")
    yield "rally"
    open_many("eth_usdc", 14, (1, 100), (0.3, 0.86), "borrower")
    open_many("wsteth_eth", 10, (1, 200), (0.7, 0.92), "looper")
    yield "slump"
    liquidate("eth_usdc")  # at 2,930: some come down to the threshold, and stay stale
    open_many("wsteth_usdc", 7, (1, 50), (0.3, 0.8), "borrower")
    open_many("wbtc_usdc", 6, (0.1, 5), (0.3, 0.8), "borrower")
    yield "late"
    open_many("eth_usdc", 3, (1, 20), (0.925, 0.94), "liquidatable")
    open_many("eth_usdc", 1, (1, 20), (1.02, 1.03), "under_water")
    open_many("smart", 2, (0.1, 5), (0.3, 0.8), "smart")
    open_many("broken", 2, (0.1, 5), (0.3, 0.8), "broken")
    hand = mint("wbtc_usdc", HAND["collateral"], HAND["debt"] - 1, "hand")  # raw debt is rounded up by one
    mint("eth_usdc", 10**12, 1, "dust")
    several = site.account("several")
    for owed in (0, 5_000 * 10**6):
        mint("wbtc_usdc", 10**8, owed, "several", several)
    chain.send([transaction(owner, oracles["broken"], "setBroken(bool)", True)])
    yield "settle"
    options = {"positions_resolver": resolver, "eth_usd_feed": feeds["WETH"]}
    return {
        "reads": [site.reads("fluid", "Fluid", resolver, first_block) | options],
        "address": resolver,
        "first_block": first_block,
        "options": options,
        "layer": layer,
        "vaults": vaults,
        "tokens": tokens,
        "accounts": accounts,
        "hand": hand,
        "several": several,
    }
