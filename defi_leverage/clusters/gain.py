"""Gains: how far one price moves another through liquidations and price impact.

Around a state (market prices after shocks), a node is an asset that moves one way: a fall, or a rise (which liquidates
those who owe the asset). Its gain on another node is the relative move of that asset in that direction per unit of its
own relative move, through the accounts whose health factor crosses 1 in the next band, what is seized from them and
sold, and what is bought to repay their debt.

This has the form of the propagation matrix of Greenwood, Landier & Thesmar (2015), with liquidation at HF = 1 in place
of leverage targeting, and a row for either sign: a liquidation lowers collateral and lifts the debt asset at once, so
that a fall of one asset and a rise of another can drive each other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from defi_leverage.contagion.book import Book, Floats, Ints, compile_book
from defi_leverage.contagion.engine import account_health_factors, liquidate, net_sales, resolve_shocks
from defi_leverage.contagion.kernels import health_factors
from defi_leverage.contagion.layout import CompactBook
from defi_leverage.contagion.prices import feed_prices, impact_factors, market_prices
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot

__all__ = [
    "DIRECTIONS",
    "PriceState",
    "branching_ratio",
    "check_share",
    "gain_matrix",
    "moving_assets",
    "price_response",
    "signed_gain_matrix",
    "signed_gains",
    "state_after",
    "states_along",
    "step_back",
    "step_on",
]

_AT_ONCE = 16  # states whose health factors are held at a time

DIRECTIONS: Mapping[str, int] = {"fall": -1, "rise": 1}


class PriceState(NamedTuple):
    """A state of a book in which nobody has been liquidated: relative change of market prices by asset, market prices
    by asset and feed prices by feed (USD), health factor by account.
    """

    shock: Floats
    price: Floats
    feed: Floats
    health_factor: Floats


def gain_matrix(
    snapshot: Snapshot,
    shocks: Mapping[str, float] | None = None,
    band: float = 0.01,
    book: Book | None = None,
    *,
    inherited: bool = True,
    direction: Literal["fall", "rise"] = "fall",
) -> pd.DataFrame:
    """Gain K (rows: the asset that moves, columns: the asset that follows) at the prices after `shocks`.

    K[a, b] is the relative fall of b per unit fall of a, or with `direction` 'rise' the relative rise of b per unit
    rise of a; below 0 where b goes the other way. `shocks`: asset (symbol or asset_id) -> relative change of market
    price, as in a Scenario; `band`: the further move, a fraction, in which accounts are liquidated once. `inherited`:
    whether a derived asset's move includes that of its backing, as its price does; a branching ratio is taken without.
    K has no unit. Accounts already below 1 in the state do not count. Raises SnapshotError or ScenarioError for shocks
    that make no sense here.
    """
    book, state = _state(snapshot, shocks, band, book)
    sign = DIRECTIONS[direction]
    rows = [_response(book, state, asset, sign, band, inherited) for asset in range(len(book.price))]
    index = pd.Index(book.asset_ids, name="asset_id")
    return pd.DataFrame(sign * np.array(rows) / band + 0.0, index=index, columns=index)


def signed_gain_matrix(
    snapshot: Snapshot,
    shocks: Mapping[str, float] | None = None,
    band: float = 0.01,
    book: Book | None = None,
    *,
    inherited: bool = True,
) -> pd.DataFrame:
    """Gains among all nodes (asset_id, 'fall' or 'rise'), none below 0; otherwise as `gain_matrix`.

    `branching_ratio` of it (without inherited moves) counts every way in which moves drive each other.
    """
    book, state = _state(snapshot, shocks, band, book)
    assets = np.arange(len(book.price))
    rows = [
        signed_gains(_response(book, state, int(asset), sign, band, inherited), band)
        for sign in DIRECTIONS.values()
        for asset in assets
    ]
    index = pd.MultiIndex.from_product([list(DIRECTIONS), book.asset_ids], names=["direction", "asset_id"])
    return pd.DataFrame(np.array(rows), index=index, columns=index).swaplevel(axis=0).swaplevel(axis=1)


def branching_ratio(gain: Floats) -> float:
    """Perron root (spectral radius) of a gain matrix without inherited moves; what is below 0 counts as no gain."""
    if not gain.size:
        return 0.0
    return float(np.abs(np.linalg.eigvals(np.maximum(gain, 0.0))).max())


def check_share(name: str, value: float) -> None:
    """Raise ScenarioError unless `value` is a fraction above 0 and below 1."""
    if not 0 < value < 1:
        raise ScenarioError(f"{name} {value} must be a fraction above 0 and below 1")


def step_on(shock: Floats, asset: int, change: float) -> Floats:
    """`shock` (relative change by asset) with the price of `asset` moved on by the relative `change`."""
    further = shock.copy()
    further[asset] = (1 + shock[asset]) * (1 + change) - 1
    return further


def step_back(shock: Floats, asset: int, change: float) -> Floats:
    """`shock` as it was one relative `change` of `asset` earlier, but never on the other side of today's price."""
    earlier = shock.copy()
    back = (1 + shock[asset]) / (1 + change) - 1
    earlier[asset] = min(back, 0.0) if change < 0 else max(back, 0.0)
    return earlier


def state_after(book: Book, shock: Floats) -> PriceState:
    """Prices and health factors after `shock`, before anybody is liquidated."""
    price = market_prices(book, shock, np.zeros(len(book.price)))
    feed = feed_prices(book, price)
    return PriceState(shock, price, feed, account_health_factors(book, book.amount, feed))


def states_along(book: Book, compact: CompactBook, shocks: Sequence[Floats]) -> Iterator[PriceState]:
    """`state_after` each of many shocks, some at a time: far faster than one by one. `compact`: of `lay_out(book)`."""
    for first in range(0, len(shocks), _AT_ONCE):
        shock = np.array(shocks[first : first + _AT_ONCE])
        price = market_prices(book, shock, np.zeros_like(shock))
        feed = feed_prices(book, price)
        factors = health_factors(compact, np.ascontiguousarray(feed.T))
        for number in range(len(shock)):
            yield PriceState(shock[number], price[number], feed[number], factors[:, number])


def price_response(book: Book, before: PriceState, after: PriceState, *, inherited: bool) -> Floats:
    """Relative change of every market price by the liquidations of the step from one state to another.

    It liquidates once, at the prices after, those who are at 1 or more before and below 1 after, in a book where nobody
    was liquidated before. A purchase that would empty a pool counts as a doubling of the price.
    """
    crossing = np.flatnonzero((before.health_factor >= 1) & (after.health_factor < 1))
    if not crossing.size:
        return np.zeros(len(book.price))
    done = liquidate(book, book.amount.copy(), after.feed, after.health_factor, crossing)
    sales = net_sales(book, done, after.price)
    left = market_prices(book, after.shock, sales) / after.price if inherited else impact_factors(book, sales)
    response: Floats = np.minimum(left, 2.0) - 1
    return response


def signed_gains(response: Floats, band: float) -> Floats:
    """Gains on (fall of every asset, then rise of every asset) from the price changes that one band causes."""
    return np.concatenate([np.maximum(-response, 0.0), np.maximum(response, 0.0)]) / band


def moving_assets(book: Book) -> Ints:
    """Assets whose price can change some health factor: a market feed follows them, or what is derived from them."""
    follows = np.zeros(len(book.price), bool)
    follows[book.feed_asset[book.follows_market]] = True
    known = -1
    while known != (known := int(follows.sum())):  # claims on each other may need a second turn
        for claim in reversed(book.claims):
            if follows[claim.asset]:
                follows[[base for base, *_ in claim.backing]] = True
    return np.flatnonzero(follows)


def _response(book: Book, before: PriceState, asset: int, sign: int, band: float, inherited: bool) -> Floats:
    after = state_after(book, step_on(before.shock, asset, sign * band))
    return price_response(book, before, after, inherited=inherited)


def _state(
    snapshot: Snapshot, shocks: Mapping[str, float] | None, band: float, book: Book | None
) -> tuple[Book, PriceState]:
    check_share("band", band)
    book = book or compile_book(snapshot)
    return book, state_after(book, resolve_shocks(snapshot, Scenario(shocks=shocks or {}), book)[0])
