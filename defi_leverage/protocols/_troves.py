"""What both versions of Liquity share: troves of one collateral, that owe a coin which counts as a dollar.

The coin's feed is `fixed` at 1 USD: the protocol compares USD of collateral with coins owed, whatever the market says
of the coin. Its market price comes from the other venues of a scan, where they know one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.reading import (
    NO_CAP,
    AccountReading,
    AssetReading,
    FeedReading,
    LegReading,
    MarketReading,
    RateCurve,
    Reading,
    VenueReading,
)

__all__ = ["NO_DEBT", "Branch", "Trove", "branch_reading", "coin_feed", "collateral_ratio"]

NO_DEBT = 2**256 - 1
_TOLERATED = 10**6  # a millionth of the branch's totals may be without a trove: rounding of redistributions


@dataclass(frozen=True, slots=True)
class Trove:
    """One trove, with redistributions and interest up to the block: raw collateral and raw coins.

    `name` is what its account is called; `problem`, why the contract's own figures do not agree with it.
    """

    name: str
    owner: str
    collateral: int
    debt: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Branch:
    """One collateral and the coin minted against it.

    `price` is the contract's: USD times 1e18 for 1e18 raw units. `feeds`: of the collateral first, then of the coin,
    then those that they refer to, whose assets are `others`. Totals are the contract's, in raw units; `borrow_rate_ray`
    is a year's, None where it is not told.
    """

    venue: VenueReading
    collateral: AssetReading
    coin: AssetReading
    feeds: tuple[FeedReading, ...]
    price: int
    minimum_ratio: int
    total_collateral: int
    total_debt: int
    borrow_rate_ray: int | None
    others: tuple[AssetReading, ...] = ()


def collateral_ratio(collateral: int, debt: int, price: int) -> int:
    """Collateral over debt in wad, 2^256 - 1 without debt (LiquityMath._computeCR)."""
    return collateral * price // debt if debt else NO_DEBT


def coin_feed(asset_id: str, address: str) -> FeedReading:
    """The price at which the protocol counts its own coin."""
    return FeedReading(f"{asset_id}@{address}", asset_id, 1, 1, "fixed", source="counted as a dollar by its protocol")


def branch_reading(chain: Chain, branch: Branch, troves: Sequence[Trove], gaps: dict[str, str]) -> Reading:
    """The reading of a branch. An account's health factor is its collateral ratio over the minimum ratio."""
    sound = sorted((trove for trove in troves if not trove.problem), key=lambda trove: trove.name)
    missing = [
        f"{1 - held / total:.2%} of the {name}"
        for name, held, total in (
            ("collateral", sum(trove.collateral for trove in troves), branch.total_collateral),
            ("debt", sum(trove.debt for trove in troves), branch.total_debt),
        )
        if (total - held) * _TOLERATED > total
    ]
    if missing:
        gaps = {**gaps, "troves that are in no list": f"they have {' and '.join(missing)}"}
    total, debt, rate = branch.total_collateral, branch.total_debt, branch.borrow_rate_ray
    curve = None if rate is None else RateCurve("fixed", {"rate": rate})  # minted: no lender can withdraw
    return Reading(
        chain=f"eip155:{chain.chain_id}",
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=branch.venue,
        assets=(branch.collateral, branch.coin, *branch.others),
        feeds=branch.feeds,
        backing=(),
        markets=(
            MarketReading(branch.collateral.asset_id, total, 0, total, 0, 0, None, NO_CAP),
            MarketReading(branch.coin.asset_id, 0, debt, 0, 0, None, rate, None, NO_CAP, curve),
        ),
        accounts=tuple(_account(branch, trove) for trove in sound),
        found=len(troves),
        failed={trove.name: trove.problem for trove in troves if trove.problem},
        gaps=gaps,
    )


def _account(branch: Branch, trove: Trove) -> AccountReading:
    collateral, coin = branch.feeds[:2]
    weight = WAD * WAD // branch.minimum_ratio
    legs = (
        LegReading("collateral", collateral.asset_id, collateral.feed_id, trove.collateral, weight),
        LegReading("debt", coin.asset_id, coin.feed_id, trove.debt, WAD),
    )
    return AccountReading(
        address=trove.name,
        mode="isolated",
        health_factor_raw=collateral_ratio(trove.collateral, trove.debt, branch.price),
        collateral_base_raw=trove.collateral * branch.price // WAD,
        debt_base_raw=trove.debt,
        legs=tuple(leg for leg in legs if leg.amount_raw),
        owner=trove.owner,
    )
