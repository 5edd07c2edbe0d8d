"""Whole accounts closed by their venue's rule: what the rule answers, carried out on the legs of a book."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from defi_leverage.contagion.absorb_rules import Absorption, Vaults, liquity_v1, liquity_v2
from defi_leverage.contagion.book import Book, Bools, Floats, Ints
from defi_leverage.contagion.perp_rules import auto_deleverage
from defi_leverage.contagion.records import Liquidations, VenueState

if TYPE_CHECKING:
    from functools import partial

__all__ = ["absorb", "redistributes"]

_Takers = dict[int, tuple[Ints, Ints, Floats]]  # account -> others' collateral legs, debt legs, and their shares


def absorb(
    book: Book,
    venue: int,
    amount: Floats,
    feed_price: Floats,
    factors: Floats,
    account: Ints,
    healthy: Bools,
    state: VenueState,
    busy: float,
) -> tuple[Liquidations, pd.DataFrame, float]:
    """Close the accounts (of `venue`, ascending) by its rule; `amount` and `state` change in place.

    `healthy`: by account, not below 1 in this round; `busy`: USD that venues of the same rule already have at auction.
    Answers the rows, the bad debt (account, leg, tokens) and the USD put up at auction here.
    """
    place = np.full(len(book.account_ids), -1, np.int64)
    place[account] = np.arange(account.size)
    counts = (place[book.leg_account] >= 0) & (amount > 0) & (book.is_debt | (book.weight > 0))
    legs = np.flatnonzero(counts)
    price = feed_price[book.leg_feed[legs]]
    takers = _takers(book, venue, amount, legs, healthy)
    coin = place[book.leg_account[legs]] * len(book.asset_ids) + book.leg_asset[legs]
    vaults = Vaults(
        owner=place[book.leg_account[legs]],
        is_debt=book.is_debt[legs],
        value=amount[legs] * price,
        initial=book.amount[legs] * price,
        weight=book.weight[legs],
        bonus=book.bonus[legs],
        has_takers=np.isin(account, list(takers)),
        drawn=float(state.drawn[venue]),
        busy=busy,
        is_cash=~book.is_debt[legs] & np.isin(coin, coin[book.is_debt[legs]]),
        bands=book.bands[account] if book.bands.size else None,
    )
    done: Absorption = book.rules[venue](vaults)
    state.drawn[venue] += done.drawn.sum()
    if done.pro_rata is not None:
        done = _levy(book, venue, amount, feed_price, vaults, legs, done, healthy, state)
    rows, bad = _rows(book, vaults, done, account, legs, price, factors)
    for at, moved_debt, moved_collateral in zip(
        range(account.size), done.moved_debt, done.moved_collateral, strict=True
    ):
        if moved_debt > 0:  # tokens move, at the prices of the two legs that they leave
            to_collateral, to_debt, share = takers[int(account[at])]
            of_collateral, of_debt = price[np.searchsorted(vaults.owner, at) :][:2]
            amount[to_collateral] += share * (moved_collateral / of_collateral if of_collateral > 0 else 0.0)
            amount[to_debt] += share * (moved_debt / of_debt)
    left = amount[legs] - np.divide(done.taken, price, out=np.zeros_like(price), where=price > 0)
    # What is closed whole must leave exactly nothing behind, not a rounding residue.
    amount[legs] = np.where((done.taken >= vaults.value) & (price > 0), 0.0, np.maximum(left, 0.0))
    return rows, bad, done.put_up


def redistributes(rule: Callable[..., Any]) -> bool:
    """Whether a venue's healthy accounts take over what its rule closes."""
    return cast("partial[Absorption]", rule).func in (liquity_v1, liquity_v2)


def _takers(book: Book, venue: int, amount: Floats, legs: Ints, healthy: Bools) -> _Takers:
    """Who takes over what is redistributed of an account of one collateral and one debt: pro rata to collateral."""
    if not redistributes(book.rules[venue]):
        return {}
    at_venue = healthy & (book.account_venue == venue)
    theirs = at_venue[book.leg_account] & (amount > 0) & (book.is_debt | (book.weight > 0))
    found: dict[tuple[int, int], tuple[Ints, Ints, Floats]] = {}
    takers: _Takers = {}
    ends = np.flatnonzero(np.diff(book.leg_account[legs])) + 1
    for own in np.split(legs, ends):
        if len(own) != 2 or book.is_debt[own].tolist() != [False, True]:
            continue
        pair = int(book.leg_asset[own[0]]), int(book.leg_asset[own[1]])
        if pair not in found:
            held = np.flatnonzero(theirs & ~book.is_debt & (book.leg_asset == pair[0]))
            owed = np.flatnonzero(theirs & book.is_debt & (book.leg_asset == pair[1]))
            _, one, other = np.intersect1d(book.leg_account[held], book.leg_account[owed], return_indices=True)
            weight = amount[held[one]]
            found[pair] = held[one], owed[other], weight / weight.sum() if weight.size else weight
        if found[pair][0].size:
            takers[int(book.leg_account[own[0]])] = found[pair]
    return takers


def _levy(
    book: Book,
    venue: int,
    amount: Floats,
    feed_price: Floats,
    vaults: Vaults,
    legs: Ints,
    done: Absorption,
    healthy: Bools,
    state: VenueState,
) -> Absorption:
    """Auto-deleveraging: bad debt is taken out of the collateral of the opposite positions' accounts, in turn."""
    bad = done.bad.copy()
    at_venue = healthy & (book.account_venue == venue)
    theirs = np.flatnonzero(at_venue[book.leg_account] & (amount > 0) & (book.is_debt | (book.weight > 0)))
    who, debt_side, weight = book.leg_account[theirs], book.is_debt[theirs], book.weight[theirs]
    in_position = np.where(debt_side, weight > 1, weight < 1)
    for place in np.flatnonzero(bad > 0):
        own = np.flatnonzero((vaults.owner == place) & done.trades)
        if not own.size:
            continue
        position = legs[own[np.argmax(vaults.value[own])]]
        opposite = (
            in_position & (debt_side != book.is_debt[position]) & (book.leg_asset[theirs] == book.leg_asset[position])
        )
        value = amount[theirs] * feed_price[book.leg_feed[theirs]]
        size = len(book.account_ids)
        held = np.bincount(who, weights=np.where(debt_side, 0.0, value), minlength=size)
        equity = held - np.bincount(who, weights=np.where(debt_side, value, 0.0), minlength=size)
        notional = np.bincount(who, weights=np.where(in_position, value, 0.0), minlength=size)
        winners = np.unique(who[opposite])
        winners = winners[equity[winners] > 0]
        queue = winners[np.argsort(-notional[winners] / equity[winners], kind="stable")]
        cut = np.zeros(size)
        cut[queue] = auto_deleverage(float(bad[place]), equity[queue], cast("float", done.pro_rata))
        kept = 1 - np.divide(cut, held, out=np.zeros(size), where=held > 0)
        amount[theirs] *= np.where(debt_side, 1.0, kept[who])
        state.levied[venue] += cut.sum()
        bad[place] = 0.0 if cut.sum() >= bad[place] else bad[place] - cut.sum()
    return done._replace(bad=bad)


def _rows(
    book: Book, vaults: Vaults, done: Absorption, account: Ints, legs: Ints, price: Floats, factors: Floats
) -> tuple[Liquidations, pd.DataFrame]:
    """A row for each pair of a debt and a collateral leg of an account, with its share; and the bad debt by leg."""
    debts, held = np.flatnonzero(vaults.is_debt), np.flatnonzero(~vaults.is_debt)
    debt, collateral = vaults.total(done.taken, vaults.is_debt), vaults.total(done.taken, ~vaults.is_debt)
    total = np.where(vaults.is_debt, debt[vaults.owner], collateral[vaults.owner])
    share = np.divide(done.taken, total, out=np.zeros_like(total), where=total > 0)
    # Where nothing is taken on one side, its first leg stands for it.
    first = np.r_[True, (np.diff(vaults.owner) != 0) | (np.diff(vaults.is_debt) != 0)][: len(legs)]
    share = np.where((total <= 0) & first, 1.0, share)
    count = np.bincount(vaults.owner[debts], minlength=account.size)
    start = np.cumsum(count) - count
    repeats = count[vaults.owner[held]]
    left = np.repeat(held, repeats)
    owner = vaults.owner[left]
    step = np.arange(left.size) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    right = debts[start[owner] + step]
    kept = (share[left] * share[right] > 0) & (debt + collateral > 0)[owner]
    left, right, owner = left[kept], right[kept], owner[kept]
    part = share[left] * share[right]
    to_debt = np.divide(1.0, price[right], out=np.zeros(right.size), where=price[right] > 0)
    to_collateral = np.divide(1.0, price[left], out=np.zeros(left.size), where=price[left] > 0)
    repaid = np.maximum(debt - done.bad - done.moved_debt, 0.0)[owner] * part
    seized = np.maximum(collateral - done.moved_collateral, 0.0)[owner] * part
    none = np.zeros(left.size)
    rows = Liquidations(
        account=account[owner],
        debt_leg=legs[right],
        collateral_leg=legs[left],
        health_factor=factors[account[owner]],
        repaid=repaid * to_debt,
        seized=seized * to_collateral,
        fee=none,
        repaid_usd=repaid,
        seized_usd=seized,
        fee_usd=none,
        sold=seized * to_collateral * done.trades[left],
        bought=done.bought[owner] * part * to_debt * done.trades[right],
        moved=done.moved_debt[owner] * part * to_debt,
        credit_usd=done.credit[owner] * part,
    )
    lost = debts[(done.bad[vaults.owner[debts]] > 0) & (share[debts] > 0) & (price[debts] > 0)]
    tokens = done.bad[vaults.owner[lost]] * share[lost] / price[lost]
    bad = pd.DataFrame({"account": book.leg_account[legs[lost]], "leg": legs[lost], "amount": tokens})
    return rows, bad
