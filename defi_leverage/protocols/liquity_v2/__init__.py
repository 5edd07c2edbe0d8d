"""Liquity v2 (BOLD) and its forks: every trove of one collateral branch at one block.

A branch is a venue: it has its own minimum ratio (MCR), price feed, stability pool and penalties, and troves of one
branch take over what is redistributed there. Its AddressesRegistry, the only contract that says all of these, is the
root address; the three branches of a deployment are three roots. A trove is an NFT, and an owner may have several: an
account is `eip155:1:0x<trove id>@0x<TroveManager>`.

Debt is with the interest and the batch manager's fee up to the block, or up to the branch's shutdown, and with what was
redistributed. A trove is set aside where its parts, the interest of one that manages its rate itself, or its ratio are
not what the contract says. Zombie troves, which redemptions have left with little or nothing, are in the contract's
list like all others; without debt and collateral they are no position. One with collateral alone takes over its part of
a redistribution, too: it has no debt here to add to, so that the others take over that part.

The coin's feed is fixed at a dollar. The pool keeps one BOLD that it never spends (MIN_BOLD_IN_SP). Not read: batches
as such, redemptions, surplus collateral to be claimed. Interfaces: liquity/bold contracts/src, AddressesRegistry.sol,
TroveManager.sol, ActivePool.sol, StabilityPool.sol, PriceFeeds/MainnetPriceFeedBase.sol.
"""

from functools import partial
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import RAY, WAD
from defi_leverage.protocols import Progress, deployment_error, root_address, silence
from defi_leverage.protocols._tokens import Token, read_tokens
from defi_leverage.protocols._troves import Branch, branch_reading, coin_feed
from defi_leverage.protocols.liquity_v2.price_feed import read_collateral_feed
from defi_leverage.protocols.liquity_v2.troves import read_troves
from defi_leverage.questions import ask, probe
from defi_leverage.reading import AssetReading, Deployment, Reading, VenueReading

__all__ = ["read"]

_error = partial(deployment_error, remedy="Give the address of the AddressesRegistry of one branch of Liquity v2.")

_KEPT = WAD  # MIN_BOLD_IN_SP of Constants.sol
_REGISTRY = (
    "collToken",
    "boldToken",
    "WETH",
    "troveManager",
    "troveNFT",
    "priceFeed",
    "activePool",
    "stabilityPool",
    "MCR",
    "LIQUIDATION_PENALTY_SP",
    "LIQUIDATION_PENALTY_REDISTRIBUTION",
)


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> Reading:
    """Every trove of the branch whose AddressesRegistry is at `deployment.address`, at the chain's pinned block.

    The health factor is the trove's collateral ratio over MCR (its raw integer is the ratio, `health_factor_scale`
    MCR); totals are in 1e-18 USD. The borrow rate is a year's interest over the whole debt, accrued interest and
    redistributions, which bear none, included; without the fees of batches. A branch that was shut down is read, and
    `gaps` says so. Raises ReaderError where the address is not a branch's registry or its price feed reverts,
    ChainError where the chain does not answer.
    """
    tell = progress or silence
    abi = load_abi("liquity_v2")
    registry = root_address(chain, deployment, _error)
    told = (await probe(chain, abi, [registry], _REGISTRY))[registry]
    if missing := [f"{name}()" for name, answer in told.items() if answer is None]:
        raise _error(chain, deployment, f"does not answer {', '.join(missing)}")
    # Alone: it writes (and may shut the branch down), and nothing may see that.
    (price,) = await ask(chain, abi, [(told["priceFeed"], "fetchPrice", ())])
    if not price:
        fault = "reverts" if price is None else "answers 0"
        raise _error(chain, deployment, f"has a price feed {told['priceFeed']} that {fault}")
    tokens = await read_tokens(chain, (told["collToken"], told["boldToken"], told["WETH"]))
    held, coin = tokens[told["collToken"]], tokens[told["boldToken"]]
    if problem := held.problem or coin.problem:
        raise _error(chain, deployment, f"has a token of which {problem},")
    manager = told["troveManager"]
    shutdown, collateral, debt, weighted, deposits = await ask(
        chain,
        abi,
        [
            (manager, "shutdownTime", ()),
            (manager, "getEntireBranchColl", ()),
            (manager, "getEntireBranchDebt", ()),
            (told["activePool"], "aggWeightedDebtSum", ()),
            (told["stabilityPool"], "getTotalBoldDeposits", ()),
        ],
    )
    if shutdown is None or collateral is None or debt is None:
        raise _error(chain, deployment, f"names a TroveManager {manager} that does not say its totals,")
    gaps = {}
    if shutdown:
        gaps["shutdown"] = f"the branch was shut down at {shutdown}: interest has stopped, redemptions pay a bonus"
    if deposits is None:
        gaps["stability pool"] = "it does not say its deposits: liquidations are taken to find it empty"
    troves = await read_troves(chain, manager, told["troveNFT"], price, shutdown, tell)
    weth = tokens[told["WETH"]]
    feeds = await read_collateral_feed(chain, told["priceFeed"], held, weth, price)
    name = f"eip155:{chain.chain_id}"
    bold = AssetReading(f"{name}/erc20:{coin.address}", coin.symbol, coin.decimals, "usd")
    rate: int | None = 0
    if debt and not shutdown:
        rate = None if weighted is None else weighted * (RAY // WAD) // debt
    branch = Branch(
        venue=_venue(f"{name}:{manager}", deployment, told, held, max(0, (deposits or 0) - _KEPT)),
        collateral=AssetReading(f"{name}/erc20:{held.address}", held.symbol, held.decimals),
        coin=bold,
        feeds=(feeds[0], coin_feed(bold.asset_id, manager), *feeds[1:]),
        price=price,
        minimum_ratio=told["MCR"],
        total_collateral=collateral,
        total_debt=debt,
        borrow_rate_ray=rate,
        others=tuple(AssetReading(feed.asset_id, weth.symbol, weth.decimals) for feed in feeds[1:]),
    )
    return branch_reading(chain, branch, troves, gaps)


def _venue(venue_id: str, deployment: Deployment, told: dict[str, Any], held: Token, pool: int) -> VenueReading:
    return VenueReading(
        venue_id=venue_id,
        protocol="liquity_v2",
        name=deployment.name if held.symbol in deployment.name else f"{deployment.name} {held.symbol}",
        address=told["troveManager"],
        revision=2,
        liquidation_rule="liquity_v2",
        liquidation_parameters={
            "stability_pool_usd": pool / WAD,
            "pool_penalty": told["LIQUIDATION_PENALTY_SP"] / WAD,
            "redistribution_penalty": told["LIQUIDATION_PENALTY_REDISTRIBUTION"] / WAD,
        },
        health_factor_scale=told["MCR"],
    )
