"""Liquity v1 as a stand-in: troves against LUSD, two of them redistributed, dust, troves below 110 % and 100 %."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...artifacts import AAVE_3_0, Artifacts, compile_contracts
from ...chain import deploy, transaction

if TYPE_CHECKING:
    from collections.abc import Generator

    from .. import Site

E18 = 10**18
GAS_COMPENSATION = 200 * E18


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy everything before the first wave; see protocols.Build."""
    chain, owner = site.chain, site.owner
    compiled = compile_contracts("0.8.19", Path(__file__).parent.glob("*.sol"))
    first_block = chain.head()[0] + 1
    lusd = site.deployer(Artifacts(AAVE_3_0)).deploy("MintableERC20", "LUSD", "LUSD", 18)
    feed = deploy(chain, owner, compiled["LiquityPriceFeed"], site.feeds["WETH"])
    pools = deploy(chain, owner, compiled["LiquityPools"])
    manager = deploy(chain, owner, compiled["LiquityTroves"], feed, pools, lusd)
    kinds: dict[str, str] = {}

    def act(function: str, *arguments: Any) -> None:
        chain.send([transaction(owner, manager, function, *arguments)])

    def open_troves(kind: str, count: int, price: int, ratios: tuple[float, float]) -> list[str]:
        names = [site.account(f"{kind}:{number}") for number in range(count)]
        for name in names:
            coll = int(site.rng.uniform(1, 300) * E18)
            debt = int(coll * price / site.rng.uniform(*ratios)) + GAS_COMPENSATION
            act("openTrove(address,uint256,uint256)", name, coll, debt)
            kinds[name] = kind
        return names

    yield "lenders"
    open_troves("whale", 6, 3_000, (2.5, 4.0))
    shared = [site.shared_account(number) for number in range(3)]
    for name in shared:
        act("openTrove(address,uint256,uint256)", name, 40 * E18, 60_000 * E18)
        kinds[name] = "shared"
    yield "glitch"
    lost = open_troves("lost", 2, 6_000, (2.02, 2.1))
    (sunk,) = open_troves("under_water", 1, 6_000, (1.3, 1.35))
    yield "rally"
    open_troves("borrower", 22, 3_150, (1.2, 3.0))
    open_troves("tight", 4, 3_150, (1.11, 1.14))
    yield "slump"
    chain.send([transaction(owner, pools, "change(int256,int256)", 20_000 * E18, 0)])
    for name in lost:  # the first meets the pool, the rest of it and the second are redistributed
        act("liquidate(address)", name)
        del kinds[name]
    act("applyPendingRewards(address)", shared[0])
    yield "late"
    open_troves("borrower_late", 8, 3_000, (1.3, 2.5))
    hand = site.account("hand")
    act("openTrove(address,uint256,uint256)", hand, 10 * E18, 15_000 * E18)  # 200 %
    dust = site.account("dust")
    act("openTrove(address,uint256,uint256)", dust, 7, 3)
    kinds |= {hand: "hand", dust: "dust"}
    chain.send([transaction(owner, pools, "change(int256,int256)", 5_000 * E18, 0)])
    return {
        "reads": [site.reads("liquity_v1", "Liquity v1", manager, first_block)],
        "address": manager,
        "first_block": first_block,
        "lusd": lusd,
        "price_feed": feed,
        "pools": pools,
        "accounts": kinds,
        "hand": hand,
        "dust": dust,
        "under_water": sunk,
        "liquidated": lost,
    }
