"""Liquidation-at-price curve: what could be liquidated at each of many prices of one asset, before any sale.

Every feed price is affine in one market price (step 3 of the round), so an account's weighted collateral and debt are
too, and it is liquidatable on one side of one price: sorting those triggers serves all prices at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.contagion.book import Book, compile_book
from defi_leverage.contagion.prices import feed_prices, market_prices
from defi_leverage.errors import ScenarioError
from defi_leverage.health import average_threshold_weighted, health_factor
from defi_leverage.snapshot import Snapshot, resolve_asset

__all__ = ["liquidation_curve"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ROUNDING = 1e-9  # accounts as close to 1 as this are computed at the price itself
_ONE_BPS = 1e-4


@dataclass(frozen=True, slots=True)
class _Line:
    """One affine function of the price's multiple x an account: level + slope * x."""

    level: Floats
    slope: Floats

    def at(self, x: "Floats | float", chosen: "Ints | slice" = slice(None)) -> Floats:
        value: Floats = self.level[chosen] + self.slope[chosen] * x
        return value


def liquidation_curve(
    snapshot: Snapshot, asset: str, prices_usd: Sequence[float], book: Book | None = None
) -> pd.DataFrame:
    """Accounts with a health factor below 1 at each price of `asset`, as a table in rising order of price.

    `prices_usd`: market prices, all else equal: feeds and what is derived from the asset follow by their kind; of a
    derived asset it is its own basis that moves. Columns: price_usd, change (from today's, a fraction), accounts,
    collateral_usd (what counts as collateral), debt_usd, and collateral_tokens (of the asset itself, counting as
    collateral); USD at the feed prices that hold there. Accounts that have debt and no collateral today are bad debt
    already and not counted. `book` may carry `compile_book(snapshot)` from an earlier call. Cost: about
    (accounts + prices) times a logarithm. Raises SnapshotError for an unknown asset, ScenarioError for a price that is
    not positive and finite.
    """
    prices = np.sort(np.asarray(prices_usd, float))
    if prices.ndim != 1 or not prices.size or not (np.isfinite(prices) & (prices > 0)).all():
        raise ScenarioError("prices_usd must be positive finite numbers, at least one")
    asset_id = resolve_asset(snapshot, asset)
    today = float(snapshot.assets.set_index("asset_id")["price_usd"][asset_id])
    multiples = prices / today
    book = book or compile_book(snapshot)
    (weighted, weighted_debt, collateral, debt), tokens = _account_lines(book, list(book.asset_ids).index(asset_id))
    averaged = book.averages_threshold
    # Bounds of what a protocol's rounding of the average threshold, and ours, can do to the weighted collateral.
    least = _Line(
        weighted.level * (1 - _ROUNDING) - np.where(averaged, _ONE_BPS, 0.0) * collateral.level,
        weighted.slope * (1 - _ROUNDING) - np.where(averaged, _ONE_BPS, 0.0) * collateral.slope,
    )
    most = _Line(weighted.level * (1 + _ROUNDING), weighted.slope * (1 + _ROUNDING))
    from_, to = _below_one(most, weighted_debt, multiples)
    widest_from, widest_to = _below_one(least, weighted_debt, multiples)
    none = from_ >= to
    from_, to = np.where(none, widest_to, from_), np.where(none, widest_to, to)
    account, at = _pairs(np.stack([widest_from, to]), np.stack([from_, widest_to]))
    x = multiples[at]
    exact = weighted.at(x, account)
    exact = np.where(averaged[account], average_threshold_weighted(exact, collateral.at(x, account)), exact)
    close = health_factor(exact, weighted_debt.at(x, account)) < 1
    account, at = account[close], at[close]

    def total(values: Floats) -> Floats:
        near = np.bincount(at, weights=values[account], minlength=len(prices))
        return _sum_over(from_, to, values, len(prices)) + near

    def total_line(line: _Line) -> Floats:
        return total(line.level) + total(line.slope) * multiples

    return pd.DataFrame(
        {
            "price_usd": prices,
            "change": multiples - 1,
            "accounts": total(np.ones(len(tokens))).astype(np.int64),
            "collateral_usd": total_line(collateral),
            "debt_usd": total_line(debt),
            "collateral_tokens": total(tokens),
        }
    )


def _account_lines(book: Book, asset: int) -> tuple[list[_Line], Floats]:
    """Weighted collateral and debt, collateral and debt (USD), and tokens of the asset, by account."""
    idle, moved = np.zeros(len(book.price)), np.zeros(len(book.price))
    moved[asset] = 1.0
    at_one, at_two = (feed_prices(book, market_prices(book, shock, idle)) for shock in (idle, moved))
    slope, level = (at_two - at_one)[book.leg_feed], (2 * at_one - at_two)[book.leg_feed]
    counts = ~book.is_debt & (book.weight > 0)

    def total(values: Floats) -> Floats:
        return np.bincount(book.leg_account, weights=values, minlength=len(book.account_ids)).astype(np.float64)

    def line(tokens: Floats) -> _Line:
        return _Line(total(level * tokens), total(slope * tokens))

    held = np.where(counts, book.amount, 0.0)
    secured = total(held) > 0
    owed = np.where(book.is_debt & secured[book.leg_account], book.amount, 0.0)
    lines = [line(tokens) for tokens in (held * book.weight, owed * book.weight, held, owed)]
    return lines, total(np.where(book.leg_asset == asset, held, 0.0))


def _below_one(collateral: _Line, debt: _Line, multiples: Floats) -> tuple[Ints, Ints]:
    """Per account the range of places in `multiples`, from and up to, at which weighted collateral < debt."""
    level, slope = collateral.level - debt.level, collateral.slope - debt.slope
    trigger = np.divide(-level, slope, out=np.full(len(slope), np.nan), where=slope != 0)
    end = len(multiples)
    falls_below = np.searchsorted(multiples, trigger, side="left")
    rises_below = np.searchsorted(multiples, trigger, side="right")
    always = (slope == 0) & (level < 0)
    from_ = np.where(slope > 0, 0, np.where(slope < 0, rises_below, np.where(always, 0, end)))
    to = np.where(slope > 0, falls_below, end)
    return from_.astype(np.int64), to.astype(np.int64)


def _pairs(from_: Ints, to: Ints) -> tuple[Ints, Ints]:
    """Every (account, place) in ranges of places: rows of ranges x accounts, from and up to."""
    length = np.maximum(to - from_, 0).ravel()
    account = np.tile(np.arange(from_.shape[1]), from_.shape[0])
    first = np.repeat(from_.ravel(), length)
    within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return np.repeat(account, length), first + within


def _sum_over(from_: Ints, to: Ints, values: Floats, places: int) -> Floats:
    """Sum of `values` at each place, over the accounts whose range holds it; ranges touch the first or the last place.

    Running sums from that end, so that nothing is subtracted and a place that no range holds has exactly nothing.
    """
    held, low = from_ < to, from_ == 0
    falling = np.bincount(to[held & low] - 1, weights=values[held & low], minlength=places)
    rising = np.bincount(from_[held & ~low], weights=values[held & ~low], minlength=places)
    return np.asarray(np.cumsum(falling[::-1])[::-1] + np.cumsum(rising), float)
