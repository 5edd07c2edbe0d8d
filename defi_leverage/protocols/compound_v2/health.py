"""Compound v2's own arithmetic of an account: legs, liquidity and shortfall, to the last wei.

Source: Comptroller.getHypotheticalAccountLiquidityInternal (compound-finance/compound-protocol) and, the same with
thresholds and VAI, ComptrollerLens._calculateAccountPosition (VenusProtocol/venus-protocol), line by line: every
product of two numbers times 1e18 is cut at once (ExponentialNoError.mul_ and mul_ScalarTruncateAddUInt).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from defi_leverage.fixed_point import WAD
from defi_leverage.protocols.compound_v2.markets import Market
from defi_leverage.reading import AccountReading, LegReading

__all__ = ["NO_DEBT", "Book", "Factors", "Holder", "assess", "mismatch", "value_position"]

NO_DEBT = 2**256 - 1


class Factors(NamedTuple):
    """Liquidation threshold and incentive (1 included) of one market for one account, times 1e18."""

    threshold: int
    incentive: int


@dataclass(slots=True)
class Holder:
    """An account with a position, as the contracts answer: balances of cTokens and debts by index of the market."""

    address: str
    tokens: dict[int, int] = field(default_factory=dict)
    debts: dict[int, int] = field(default_factory=dict)  # as stored
    current_debts: dict[int, int] = field(default_factory=dict)  # as after accrueInterest; only where asked for
    unread: set[int] = field(default_factory=set)  # markets that did not answer
    entered: tuple[int, ...] = ()
    vai: int = 0
    pool: int = 0
    factors: dict[int, Factors] = field(default_factory=dict)  # of accounts in an e-mode pool
    reported: tuple[int, int, int] | None = None  # error, liquidity, shortfall of getAccountLiquidity
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Book:
    """What every account is valued with; the identifiers by index of the market.

    `current`: with the interest of the pinned block, instead of what is stored.
    """

    markets: Sequence[Market]
    asset_ids: Mapping[int, str]
    feed_ids: Mapping[int, str]
    vai_asset_id: str = ""
    vai_feed_id: str = ""
    current: bool = False

    def exchange_rate(self, market: Market) -> int:
        """Raw underlying a raw cToken, times 1e18."""
        return (market.current_exchange_rate or market.exchange_rate) if self.current else market.exchange_rate

    def factors(self, holder: Holder, index: int) -> Factors:
        """The account's own threshold and incentive where it is in an e-mode pool, else the market's."""
        market = self.markets[index]
        return holder.factors.get(index) or Factors(market.liquidation_threshold, market.liquidation_incentive)


def value_position(holder: Holder, book: Book, weights: Mapping[int, int]) -> tuple[int, int]:
    """(weighted collateral, debt) of an account in the comptroller's unit, 1e-18 USD, over the markets it has entered.

    `weights` times 1e18 by index of the market: thresholds for health, collateral factors for what may be borrowed
    (where the oracle's bounded prices are its spot prices), 1e18 for plain totals.
    """
    debts = holder.current_debts if book.current else holder.debts
    collateral, owed = 0, holder.vai
    for index in holder.entered:
        market = book.markets[index]
        a_token = weights[index] * book.exchange_rate(market) // WAD * market.price // WAD
        collateral += a_token * holder.tokens.get(index, 0) // WAD
        owed += market.price * debts.get(index, 0) // WAD
    return collateral, owed


def assess(holder: Holder, book: Book) -> AccountReading:
    """An account's legs, unweighted totals in 1e-18 USD, and its health factor.

    The protocol knows liquidity and shortfall alone. The health factor is weighted collateral over debt, rounded down:
    below 1 exactly where there is a shortfall. Positions in a market that the account has not entered, which the
    comptroller does not look at, have weight 0; those in a market that cannot be valued have no leg. Collateral of a
    threshold of 0 in a market that is entered can be seized: it has the least weight there is.
    """
    debts = holder.current_debts if book.current else holder.debts
    legs: list[LegReading] = []
    for index in sorted({*holder.tokens, *debts}):
        market = book.markets[index]
        if market.problem:
            continue
        asset_id, feed_id, counts = book.asset_ids[index], book.feed_ids[index], index in holder.entered
        if tokens := holder.tokens.get(index, 0):
            threshold, incentive = book.factors(holder, index)
            legs.append(
                LegReading(
                    side="collateral",
                    asset_id=asset_id,
                    feed_id=feed_id,
                    amount_raw=tokens * book.exchange_rate(market) // WAD,
                    weight_wad=max(threshold, 1) if counts else 0,
                    liquidation_bonus_wad=max(0, incentive - WAD),
                    protocol_fee_wad=market.protocol_share,
                )
            )
        if owed := debts.get(index, 0):
            legs.append(LegReading("debt", asset_id, feed_id, owed, WAD if counts else 0))
    if holder.vai:
        legs.append(LegReading("debt", book.vai_asset_id, book.vai_feed_id, holder.vai, WAD))
    weighted, debt = value_position(holder, book, _thresholds(holder, book))
    return AccountReading(
        address=holder.address,
        mode=f"emode:{holder.pool}" if holder.pool else "cross",
        health_factor_raw=weighted * WAD // debt if debt else NO_DEBT,
        collateral_base_raw=value_position(holder, book, dict.fromkeys(holder.entered, WAD))[0],
        debt_base_raw=debt,
        legs=tuple(legs),
    )


def _thresholds(holder: Holder, book: Book) -> dict[int, int]:
    return {index: book.factors(holder, index).threshold for index in holder.entered}


def mismatch(holder: Holder, book: Book) -> str:
    """Where liquidity or shortfall, as stored, differ from getAccountLiquidity; "" where they do not."""
    if holder.reported is None:
        return "getAccountLiquidity reverts"
    error, liquidity, shortfall = holder.reported
    if error:
        return f"getAccountLiquidity answers error {error}"
    weighted, debt = value_position(holder, book, _thresholds(holder, book))
    ours = max(0, weighted - debt), max(0, debt - weighted)
    differences = [
        f"{name} {mine} is not {theirs}"
        for name, mine, theirs in zip(("liquidity", "shortfall"), ours, (liquidity, shortfall), strict=True)
        if mine != theirs
    ]
    return f"not reproduced: {', '.join(differences)} of getAccountLiquidity" if differences else ""
