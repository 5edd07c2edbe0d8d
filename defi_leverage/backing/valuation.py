"""Prices of underlyings that no venue lists, from the prices that the scan has and the claims between the assets.

In this order, for nothing is priced twice: what a feed of the scan says; what a wrapper with a feed says of the one
thing that it wraps (a discount of wstETH is one of stETH); what a market that was read on the way pays; what the asset
itself is a claim on, assets that hold each other together, as one linear system; at last what another sole claim with a
price says of its underlying. Exact fractions.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from fractions import Fraction

import networkx as nx

from defi_leverage.reading import BackingReading, Reading, market_prices

__all__ = ["find_circles", "price_assets"]

_Prices = dict[str, tuple[Fraction, str]]
_MOST_IN_CIRCLES = 30  # exact fractions grow with every step of the elimination


def price_assets(
    readings: Sequence[Reading],
    rows: Sequence[BackingReading],
    quotes: Sequence[BackingReading],
    discounted: Set[str] = frozenset(),
) -> _Prices:
    """USD price of a whole token and its source, by asset_id; what cannot be priced is left out.

    `quotes` are rows of the same form that say what a market pays for an asset. What is `discounted` (a PT before
    maturity) is not priced by its claim, nor its underlying by it: that would be its price at maturity.
    """
    prices: _Prices = {}
    for reading in readings:
        for asset_id, priced in market_prices(reading).items():
            prices.setdefault(asset_id, priced)
    claims: dict[str, list[BackingReading]] = {}
    for row in rows:
        claims.setdefault(row.asset_id, []).append(row)
    quoted = {quote.asset_id: quote for quote in reversed(quotes)}
    sole = [own[0] for own in claims.values() if len(own) == 1 and own[0].asset_id not in discounted]
    wrappers = [row for row in sole if row.kind == "wraps"]
    while True:
        found = _backwards(prices, wrappers) or _at_market(prices, quoted) or _forwards(prices, claims, discounted)
        found = found or _around(prices, claims, discounted) or _backwards(prices, sole)
        if not found:
            return prices
        prices |= found


def _backwards(prices: _Prices, rows: Iterable[BackingReading]) -> _Prices:
    """The underlying of a sole claim with a price: the first one's, by asset_id."""
    found: _Prices = {}
    for row in sorted(rows, key=lambda row: row.asset_id):
        if row.asset_id in prices and row.underlying_id not in prices:
            price = prices[row.asset_id][0] * Fraction(row.units_scale, row.units_raw)
            found.setdefault(row.underlying_id, (price, f"claim {row.asset_id}"))
    return found


def _at_market(prices: _Prices, quoted: Mapping[str, BackingReading]) -> _Prices:
    return {
        asset_id: (prices[row.underlying_id][0] * Fraction(row.units_raw, row.units_scale), row.source)
        for asset_id, row in quoted.items()
        if asset_id not in prices and row.underlying_id in prices
    }


def _forwards(prices: _Prices, claims: Mapping[str, Sequence[BackingReading]], discounted: Set[str]) -> _Prices:
    found: _Prices = {}
    for asset_id, own in claims.items():
        if asset_id in prices or asset_id in discounted or any(row.underlying_id not in prices for row in own):
            continue
        parts = (prices[row.underlying_id][0] * Fraction(row.units_raw, row.units_scale) for row in own)
        found[asset_id] = (sum(parts, Fraction(0)), f"backing {', '.join(row.underlying_id for row in own)}")
    return found


def _around(prices: _Prices, claims: Mapping[str, Sequence[BackingReading]], discounted: Set[str]) -> _Prices:
    """Assets that are claims on each other and on what has a price: p = A p + b, A and b from the claims.

    A solution that is not positive throughout is none: a turn round the circle gives at least as much as went in.
    """
    members = {asset_id for asset_id in claims if asset_id not in prices and asset_id not in discounted}
    known = prices.keys()
    while outside := {m for m in members if any(r.underlying_id not in known | members for r in claims[m])}:
        members -= outside
    if not 0 < len(members) <= _MOST_IN_CIRCLES:
        return {}
    order = {asset_id: at for at, asset_id in enumerate(sorted(members))}
    system = [
        [Fraction(int(row == column)) for column in range(len(order))] + [Fraction(0)] for row in range(len(order))
    ]
    for asset_id, at in order.items():
        for claim in claims[asset_id]:
            units = Fraction(claim.units_raw, claim.units_scale)
            if claim.underlying_id in order:
                system[at][order[claim.underlying_id]] -= units
            else:
                system[at][-1] += units * prices[claim.underlying_id][0]
    solved = _solve(system)
    if solved is None or min(solved) <= 0:
        return {}
    return {
        asset_id: (solved[at], f"backing {claims[asset_id][0].underlying_id}, in a circle")
        for asset_id, at in order.items()
    }


def _solve(rows: list[list[Fraction]]) -> list[Fraction] | None:
    """The solution of a linear system, its right side in the last column; None where there is not just one."""
    for at in range(len(rows)):
        pivot = next((row for row in range(at, len(rows)) if rows[row][at]), None)
        if pivot is None:
            return None
        rows[at], rows[pivot] = rows[pivot], rows[at]
        rows[at] = [value / rows[at][at] for value in rows[at]]
        for other, row in enumerate(rows):
            if other != at and row[at]:
                rows[other] = [value - row[at] * own for value, own in zip(row, rows[at], strict=True)]
    return [row[-1] for row in rows]


def find_circles(rows: Iterable[BackingReading]) -> list[tuple[str, ...]]:
    """Assets that are claims on each other, each circle once: the shortest round through its lowest asset_id.

    A coin minted against collateral is a promise, not a share of it, and closes no circle.
    """
    graph = nx.DiGraph((row.asset_id, row.underlying_id) for row in rows if row.kind != "minted_against")
    circles = []
    for members in nx.strongly_connected_components(graph):
        first = min(members)
        if len(members) > 1:
            part = graph.subgraph(members)
            back = [nx.shortest_path(part, start, first) for start in part.successors(first)]
            circles.append((first, *min(back, key=lambda path: (len(path), path))[:-1]))
        elif graph.has_edge(first, first):
            circles.append((first,))
    return sorted(circles)
