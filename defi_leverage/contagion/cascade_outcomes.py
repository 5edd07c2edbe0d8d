"""How many cascades ended, as arrays by scenario."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from defi_leverage.contagion.book import Book, Bools, Floats, Ints

__all__ = ["Cascades", "amplification", "join_cascades", "largest_change"]


@dataclass(frozen=True, slots=True)
class Cascades:
    """The ends of many runs; the first axis of every array is the scenario. As `ContagionResult.summary` has them:

    rounds, converged, residual, accounts_liquidated, toxic_liquidations, amplification, and in USD at the feed prices
    of each round repaid_usd, seized_usd, protocol_fee_usd, bad_debt_usd. bad_debt_share and insolvency_usd: as
    `stress.sweep.scenario_outcome`. By asset: exhausted, missing_depth, beyond_range (whether it is one), price (final
    market prices), net_sales (tokens). By venue: buffer_drawn_usd, deleveraged_usd. bad_debt: tokens by venue and
    asset. `legs`: if asked for, of every scenario the legs that may have changed (their number in the Book) and what is
    left of them, in tokens.
    """

    rounds: Ints
    converged: Bools
    residual: Floats
    accounts_liquidated: Ints
    toxic_liquidations: Ints
    repaid_usd: Floats
    seized_usd: Floats
    protocol_fee_usd: Floats
    bad_debt_usd: Floats
    bad_debt_share: Floats
    insolvency_usd: Floats
    amplification: Floats
    exhausted: Bools
    missing_depth: Bools
    beyond_range: Bools
    price: Floats
    net_sales: Floats
    buffer_drawn_usd: Floats
    deleveraged_usd: Floats
    bad_debt: Floats
    legs: tuple[tuple[Ints, Floats], ...] = ()


def join_cascades(parts: Sequence[Cascades], order: Ints) -> Cascades:
    """All scenarios of all parts; `order`: the number that each of them is to have, in the order of the parts."""
    back = np.argsort(order)
    names = [item.name for item in fields(Cascades) if item.name != "legs"]
    legs = [legs for part in parts for legs in part.legs]
    return Cascades(
        **{name: np.concatenate([getattr(part, name) for part in parts])[back] for name in names},
        legs=tuple(legs[at] for at in back) if legs else (),
    )


def largest_change(before: Floats, after: Floats) -> Floats:
    """The largest relative change of a price, by scenario."""
    change = np.abs(np.divide(after, before, out=np.ones_like(after), where=before > 0) - 1)
    largest: Floats = change.max(axis=1, initial=0.0)
    return largest


def amplification(book: Book, supplied: Floats, shocked: Floats, final: Floats) -> Floats:
    """`ContagionResult.amplification` by scenario; `supplied`: tokens by asset."""
    base, after_shock, at_end = ((supplied * price).sum(axis=-1) for price in (book.price, shocked, final))
    falls = base - after_shock > 1e-12 * base
    ratio: Floats = np.divide(base - at_end, base - after_shock, out=np.full(len(final), np.nan), where=falls)
    return ratio
