"""Liquity v1: every trove of one TroveManager at one block, ETH against LUSD.

Each trove's debt and collateral are computed from its record and the pending redistributions, its ratio from these; a
trove for which the contract's getEntireDebtAndColl or getCurrentICR says otherwise is set aside. The debt is the
contract's composite debt: with the 200 LUSD that are held back to compensate for gas. There is no interest, only a fee
once. Liquidations meet the stability pool's deposits first (`stability_pool_usd`, LUSD at a dollar); what it receives
is all of the collateral but the share for the liquidator (1 / PERCENT_DIVISOR).

In recovery mode (total ratio below CCR, 150 %) troves up to the total ratio may be liquidated, too. This is not
modelled: `gaps` says that the contract is in that mode.

Troves are listed by the contract itself: TroveOwners holds every active one. Interfaces: liquity/dev TroveManager.sol,
Dependencies/LiquityBase.sol, PriceFeed.sol, StabilityPool.sol, SortedTroves.sol.
"""

from functools import partial
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import one_line
from defi_leverage.fixed_point import WAD
from defi_leverage.native_coins import NATIVE_COINS
from defi_leverage.protocols import Progress, deployment_error, root_address, silence
from defi_leverage.protocols._troves import Branch, branch_reading, coin_feed
from defi_leverage.protocols.liquity_v1.troves import read_troves
from defi_leverage.questions import ask, decode_symbol, probe
from defi_leverage.reading import AssetReading, Deployment, FeedReading, Reading, VenueReading

__all__ = ["read"]

_error = partial(deployment_error, remedy="Give the address of Liquity v1's TroveManager.")

_BOTH_UNTRUSTED = 2  # PriceFeed.Status: it answers the last good price until an oracle recovers
_FIXED = (
    "MCR",
    "CCR",
    "PERCENT_DIVISOR",
    "priceFeed",
    "stabilityPool",
    "sortedTroves",
    "lusdToken",
    "L_ETH",
    "L_LUSDDebt",
    "getEntireSystemColl",
    "getEntireSystemDebt",
)


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> Reading:
    """Every trove of the TroveManager at `deployment.address`, at the chain's pinned block.

    The health factor is the trove's collateral ratio over MCR (its raw integer is the ratio, `health_factor_scale`
    MCR); totals are in 1e-18 USD. Raises ReaderError where the address is not Liquity v1's TroveManager or its price
    feed reverts, ChainError where the chain does not answer.
    """
    tell = progress or silence
    abi = load_abi("liquity_v1")
    manager = root_address(chain, deployment, _error)
    told = (await probe(chain, abi, [manager], _FIXED))[manager]
    if missing := [f"{name}()" for name, answer in told.items() if answer is None]:
        raise _error(chain, deployment, f"does not answer {', '.join(missing)}")
    feed = told["priceFeed"]
    (price,) = await ask(chain, abi, [(feed, "fetchPrice", ())])  # alone: it writes, and nothing may see that
    if not price:
        raise _error(chain, deployment, f"has a price feed {feed} that {'reverts' if price is None else 'answers 0'}")
    troves, listed = await read_troves(chain, manager, told["L_ETH"], told["L_LUSDDebt"], price, tell)
    questions = [
        (told["stabilityPool"], "getTotalLUSDDeposits", ()),
        (told["sortedTroves"], "getSize", ()),
        (manager, "getTCR", (price,)),
        (manager, "checkRecoveryMode", (price,)),
    ]
    deposits, size, total_ratio, recovery = await ask(chain, abi, questions)
    gaps = {}
    if recovery:
        gaps["recovery mode"] = (
            f"the total collateral ratio {total_ratio / WAD:.2%} is below {told['CCR'] / WAD:.0%}: troves up to it may "
            "be liquidated, which is not modelled"
        )
    if deposits is None:
        gaps["stability pool"] = "it does not say its deposits: liquidations are taken to find it empty"
    if size is not None and size != listed:
        gaps["sorted list"] = f"it has {size} troves, the list of owners {listed}"
    collateral, coin, feeds = await _assets(chain, deployment, manager, told, price)
    parameters = {"stability_pool_usd": (deposits or 0) / WAD, "gas_compensation": 1 / told["PERCENT_DIVISOR"]}
    venue = VenueReading(
        venue_id=f"eip155:{chain.chain_id}:{manager}",
        protocol="liquity_v1",
        name=deployment.name,
        address=manager,
        revision=1,  # the contracts cannot be changed
        liquidation_rule="liquity_v1",
        liquidation_parameters=parameters,
        health_factor_scale=told["MCR"],
    )
    totals = told["getEntireSystemColl"], told["getEntireSystemDebt"]
    branch = Branch(venue, collateral, coin, feeds, price, told["MCR"], *totals, borrow_rate_ray=0)
    return branch_reading(chain, branch, troves, gaps)


async def _assets(
    chain: Chain, deployment: Deployment, manager: str, told: dict[str, Any], price: int
) -> tuple[AssetReading, AssetReading, tuple[FeedReading, ...]]:
    """The chain's coin, LUSD, and their feeds."""
    abi, feed, lusd = load_abi("liquity_v1"), told["priceFeed"], told["lusdToken"]
    status, aggregator = await ask(chain, abi, [(feed, "status", ()), (feed, "priceAggregator", ())])
    (description,) = await ask(chain, abi, [(aggregator or feed, "description", ())])
    (symbol,) = await chain.call([(lusd, load_abi("erc20").encode("symbol"))])
    shown = one_line(description or "")[:80]
    reference, name = NATIVE_COINS.get(chain.chain_id, NATIVE_COINS[1] if shown.startswith("ETH") else ("", ""))
    if not reference:
        raise _error(chain, deployment, f"takes the coin of chain {chain.chain_id}, which is not known here,")
    collateral = AssetReading(f"eip155:{chain.chain_id}/{reference}", name, 18)
    coin = AssetReading(f"eip155:{chain.chain_id}/erc20:{lusd}", decode_symbol(symbol) or "LUSD", 18, "usd")
    stands_still = status == _BOTH_UNTRUSTED
    note = ": neither oracle is trusted, the last good price stands" if stands_still else ""
    kind = FeedReading(
        feed_id=f"{collateral.asset_id}@{feed}",
        asset_id=collateral.asset_id,
        price_raw=price,
        price_scale=WAD,
        kind="fixed" if stands_still else "market",
        source=f"{shown or feed}{note}",
    )
    return collateral, coin, (kind, coin_feed(coin.asset_id, manager))
