"""Market prices, feed prices and net sales of a book: steps 1, 2, 3, 5 and 6 of the round.

Arrays may have leading axes (scenarios): every function works along the last one (assets, feeds), or the last two
(venues x assets).
"""

import numpy as np

from defi_leverage.contagion.book import Book, Bools, Claim, Floats

__all__ = ["beyond_range", "feed_prices", "impact_factors", "market_prices", "pass_on", "supplied_tokens"]


def market_prices(
    book: Book, shock: Floats, sales: Floats, depth_multiplier: "Floats | float" = 1.0, haircut: Floats | None = None
) -> Floats:
    """Market price of every asset, USD. Steps 1, 2, 5 and 6.

    `shock`: relative change by asset; `sales`: cumulative net tokens sold by asset; `haircut`: share of the supply
    lost, venues x assets. inf where purchases would take more than a pool holds, or where claims on each other would
    be worth more than anything.
    """
    own = (1 + shock) * impact_factors(book, sales, depth_multiplier)
    price: Floats = book.price * own
    for group in book.claim_groups:
        scale = [book.price[claim.asset] / claim.backing_value * own[..., claim.asset] for claim in group]
        if len(group) == 1 and not group[0].is_circular:
            price[..., group[0].asset] = scale[0] * _backing_value(group[0], price, haircut)
        else:
            price[..., [claim.asset for claim in group]] = _solve_circle(group, scale, price, haircut)
    return price


def _kept(base: int, venue: int, haircut: Floats | None) -> "Floats | float":
    """What bad debt at the issuing venue leaves of a claim on `base`."""
    return 1.0 if haircut is None or venue < 0 else 1.0 - haircut[..., venue, base]


def _backing_value(claim: Claim, price: Floats, haircut: Floats | None, besides: "tuple[int, ...]" = ()) -> Floats:
    value = np.zeros(price.shape[:-1])
    with np.errstate(invalid="ignore"):  # a claim of which nothing is left, on what can no longer be bought: no number
        for base, units, venue in claim.backing:
            if base not in besides:
                value = value + units * price[..., base] * _kept(base, venue, haircut)
    return value


def _solve_circle(group: tuple[Claim, ...], scale: list[Floats], price: Floats, haircut: Floats | None) -> Floats:
    """Prices of claims on each other: p = S (U p + outside), a linear system, as in Elliott, Golub & Jackson (2014)."""
    members = tuple(claim.asset for claim in group)
    shape = price.shape[:-1]
    claims, outside = np.zeros((*shape, len(group), len(group))), np.zeros((*shape, len(group)))
    for row, claim in enumerate(group):
        outside[..., row] = scale[row] * _backing_value(claim, price, haircut, members)
        for base, units, venue in claim.backing:
            if base in members:
                claims[..., row, members.index(base)] += scale[row] * units * _kept(base, venue, haircut)
    system = np.eye(len(group)) - claims
    solvable = np.linalg.det(system) != 0
    solved: Floats = np.linalg.solve(
        np.where(solvable[..., None, None], system, np.eye(len(group))), outside[..., None]
    )[..., 0]
    return np.where((solvable & (solved >= 0).all(axis=-1))[..., None], solved, np.inf)


def impact_factors(book: Book, sales: Floats, depth_multiplier: "Floats | float" = 1.0) -> Floats:
    """Factor on every asset's own price after cumulative net `sales` (tokens by asset): 1 where no market is known."""
    factor = np.ones(np.shape(sales))
    for market in book.markets:
        factor[..., market.asset] = market.factor(sales[..., market.asset], depth_multiplier)
    return factor


def beyond_range(book: Book, sales: Floats, depth_multiplier: "Floats | float" = 1.0) -> Bools:
    """Per asset: whether cumulative net `sales` (tokens by asset) are more than its market is known for.

    There the price follows the rule that the impact model states, which nothing has measured.
    """
    beyond = np.zeros(np.shape(sales), bool)
    for market in book.markets:
        least, most = market.impact.covers
        traded = sales[..., market.asset] / depth_multiplier
        beyond[..., market.asset] = (traded < least) | (traded > most)
    return beyond


def feed_prices(
    book: Book, market_price: Floats, feed_shock: Floats | None = None, frozen: Bools | None = None
) -> Floats:
    """Oracle price of every feed, USD, at the given market prices by asset; `frozen` feeds stand still. Step 3."""
    fault = 1.0 if feed_shock is None else 1 + feed_shock
    follows = book.follows_market if frozen is None else book.follows_market & ~frozen
    relative = np.where(follows, market_price[..., book.feed_asset] / book.price[book.feed_asset], 1.0)
    price: Floats = book.feed_price * relative * fault
    for feed in book.ratio_feeds:
        base = book.feed_base[feed]
        if frozen is None or not frozen[feed]:
            price[..., feed] *= price[..., base] / book.feed_price[base]
    return price


def pass_on(book: Book, flow: Floats, price: Floats) -> Floats:
    """Net sales (tokens by asset) with what they pass on along the book's routes, at market prices `price`. Step 5.

    What a sale pays out in is sold on, what a purchase is paid with is bought. What is worthless cannot fall further.
    """
    flow = flow.copy()
    for asset, base, units in book.routes:
        if not np.isnan(units):
            flow[..., base] += flow[..., asset] * units
        else:
            rate = np.zeros(flow.shape[:-1])
            np.divide(price[..., asset], price[..., base], out=rate, where=price[..., base] > 0)
            flow[..., base] += flow[..., asset] * rate
    return flow


def supplied_tokens(book: Book) -> Floats:
    """Tokens supplied, venues x assets, before the shock."""
    venues, assets = len(book.venue_ids), len(book.price)
    place = book.account_venue[book.leg_account] * assets + book.leg_asset
    supplied = np.bincount(place, weights=np.where(book.is_debt, 0.0, book.amount), minlength=venues * assets)
    return supplied.reshape(venues, assets).astype(np.float64)
