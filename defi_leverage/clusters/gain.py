"""Gains: how far one price moves another through liquidations and price impact.

Around a state (market prices after shocks), a node is an asset that moves one way: a fall, or a rise (which liquidates
those who owe the asset). Its gain on another node is the relative move of that asset in that direction per unit of its
own relative move, through the accounts whose health factor crosses 1 in the next band, what is seized from them and
sold, and what is bought to repay their debt.

This has the form of the propagation matrix of Greenwood, Landier & Thesmar (2015), with liquidation at HF = 1 in place
of leverage targeting, and a row for either sign: a liquidation lowers collateral and lifts the debt asset at once, so
that a fall of one asset and a rise of another can drive each other.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from defi_leverage.clusters.crossings import CrossingBook, crossing_flows, prepare_crossings
from defi_leverage.contagion.book import Book, Floats, Ints, compile_book
from defi_leverage.contagion.engine import resolve_shocks
from defi_leverage.contagion.prices import feed_prices, impact_factors, market_prices, pass_on
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import ScenarioError
from defi_leverage.snapshot import Snapshot

__all__ = [
    "DIRECTIONS",
    "branching_ratio",
    "check_share",
    "gain_matrix",
    "moving_assets",
    "price_responses",
    "signed_gain_matrix",
    "signed_gains",
    "step_back",
    "step_on",
]

DIRECTIONS: Mapping[str, int] = {"fall": -1, "rise": 1}


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
    sign = DIRECTIONS[direction]
    book, responses = _responses(snapshot, shocks, band, book, [sign], inherited)
    index = pd.Index(book.asset_ids, name="asset_id")
    return pd.DataFrame(sign * responses / band + 0.0, index=index, columns=index)


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
    book, responses = _responses(snapshot, shocks, band, book, list(DIRECTIONS.values()), inherited)
    index = pd.MultiIndex.from_product([list(DIRECTIONS), book.asset_ids], names=["direction", "asset_id"])
    return pd.DataFrame(signed_gains(responses, band), index=index, columns=index).swaplevel(axis=0).swaplevel(axis=1)


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


def price_responses(crossing: CrossingBook, before: Floats, after: Floats, *, inherited: bool) -> Floats:
    """Relative change of every market price (pairs x assets) by the liquidations of the step from one state to another.

    A state is the relative change of every market price (`before`, `after`: pairs x assets) in a book where nobody was
    liquidated. Those who are at 1 or more before and below 1 after are liquidated once, at the prices after. A purchase
    that would empty a pool counts as a doubling of the price.
    """
    book = crossing.book
    prices = [market_prices(book, shock, np.zeros_like(shock)) for shock in (before, after)]
    flows = crossing_flows(crossing, *(feed_prices(book, price) for price in prices))
    response = np.zeros(after.shape)
    moved = (flows != 0).any(axis=1)
    shock, price = after[moved], prices[1][moved]
    sales = pass_on(book, flows[moved], price)
    left = market_prices(book, shock, sales) / price if inherited else impact_factors(book, sales)
    response[moved] = np.minimum(left, 2.0) - 1
    return response


def signed_gains(responses: Floats, band: float) -> Floats:
    """Gains on (fall of every asset, then rise of every asset), a row each, from the price changes of one band."""
    return np.concatenate([np.maximum(-responses, 0.0), np.maximum(responses, 0.0)], axis=1) / band


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


def _responses(
    snapshot: Snapshot,
    shocks: Mapping[str, float] | None,
    band: float,
    book: Book | None,
    signs: Sequence[int],
    inherited: bool,
) -> tuple[Book, Floats]:
    """The book, and the price responses to one further band of every asset, one direction after the other."""
    check_share("band", band)
    book = book or compile_book(snapshot)
    shock = resolve_shocks(snapshot, Scenario(shocks=shocks or {}), book)[0]
    steps = [(asset, sign * band) for sign in signs for asset in range(len(shock))]
    after = np.array([step_on(shock, *step) for step in steps]).reshape(len(steps), len(shock))  # of no assets, too
    before = np.broadcast_to(shock, after.shape)
    return book, price_responses(prepare_crossings(book), before, after, inherited=inherited)
