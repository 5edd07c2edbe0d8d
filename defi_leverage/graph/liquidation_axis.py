"""What can liquidate an account: the one feed whose move its health factor depends on, and how far that has to go.

A loop of wstETH against ETH whose feeds share the ETH price feels no fall of ETH: only the exchange rate's feed or
interest can end it. The axis follows from the feeds of the account's largest collateral and largest debt:

- `rate`: both are the same feed, or neither can move: interest alone
- `ratio`: both go back to one feed, and the exchange rate that one of them multiplies it with can move
- `basis`: market feeds of one family of assets (see `find_families`): the price of one against the other
- `market`: market feeds of different families; all that is of the family moves along
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.health import account_health, leg_values
from defi_leverage.snapshot import Snapshot

__all__ = ["AXIS_COLUMNS", "FeedTrace", "liquidation_axis", "trace_feeds"]

AXIS_COLUMNS = ("axis", "axis_feed_id", "move_to_liquidation")


class _Axis(NamedTuple):
    """Which feeds move together, and whether their fall or their rise hurts."""

    name: str
    feed_id: str
    moved: frozenset[str]
    falls: bool


_RATE = _Axis("rate", "", frozenset(), True)


def liquidation_axis(snapshot: Snapshot, family: "Mapping[str, str] | pd.Series[str]") -> pd.DataFrame:
    """One row an account, in the accounts table's order, indexed by account_id.

    `family`: asset_id -> family, as `find_families` gives it. Columns: axis ('' without debt or collateral),
    axis_feed_id ('' for rate), move_to_liquidation: the relative change of that feed, and of what moves along, at which
    the health factor is 1, all else as it is. With weighted collateral W and debt D, of which W_m and D_m move by x:
    (W + x W_m) / (D + x D_m) = 1 gives x = (W - D) / (D_m - W_m). It is negative for a fall and positive for a rise; 0
    at or below 1; nan where no such move (a fall of more than 100 %, or the other way) ends it, and for `rate`.
    """
    legs, value = snapshot.legs, leg_values(snapshot)
    accounts = len(snapshot.accounts)
    account = pd.Index(snapshot.accounts["account_id"]).get_indexer(pd.Index(legs["account_id"]))
    is_debt = (legs["side"] == "debt").to_numpy()
    weighted = value * legs["weight"].to_numpy(float)
    feed_ids = pd.Index(snapshot.feeds["feed_id"])
    feed = feed_ids.get_indexer(pd.Index(legs["feed_id"]))
    main = [_largest(account, feed, np.where(side, weighted, 0.0), accounts) for side in (~is_debt, is_debt)]
    pair = np.where((main[0] >= 0) & (main[1] >= 0), main[0] * len(feed_ids) + main[1], -1)
    pairs, at = np.unique(pair, return_inverse=True)
    feeds = trace_feeds(snapshot, family)
    axes = [
        _find_axis(feeds, *(str(feed_ids[index]) for index in divmod(int(code), len(feed_ids)))) if code >= 0 else None
        for code in pairs
    ]
    moves = np.array([[axis is not None and name in axis.moved for name in feed_ids] for axis in axes], bool)
    moves = moves.reshape(len(axes), len(feed_ids))

    def total(of: "NDArray[np.bool_]") -> NDArray[np.float64]:
        return np.bincount(account[of], weighted[of], accounts).astype(np.float64)

    along = moves[at[account], feed]
    collateral, debt, with_it, owed_with_it = (
        total(of) for of in (~is_debt, is_debt, ~is_debt & along, is_debt & along)
    )
    # where a protocol rounds the average threshold, all of the collateral counts by as much less
    counted = account_health(snapshot)["weighted_collateral_usd"].to_numpy(float)
    rounding = np.divide(counted, collateral, out=np.ones(accounts), where=collateral > 0)
    net = owed_with_it - with_it * rounding
    move = np.divide(counted - debt, net, out=np.full(accounts, np.nan), where=net != 0)
    falls = np.array([axis is None or axis.falls for axis in axes], bool)[at]
    possible = np.where(falls, (move < 0) & (move >= -1), move > 0)
    named = np.array([axis.name if axis else "" for axis in axes], object)[at]
    unmoved = np.isin(named, ["", "rate"])
    move = np.where(counted <= debt, 0.0, np.where(possible, move, np.nan))
    return pd.DataFrame(
        {
            "axis": named,
            "axis_feed_id": np.array([axis.feed_id if axis else "" for axis in axes], object)[at],
            "move_to_liquidation": np.where(unmoved, np.nan, move),
        },
        index=pd.Index(snapshot.accounts["account_id"], name="account_id"),
    )


def _largest(
    account: "NDArray[np.intp]", feed: "NDArray[np.intp]", size: "NDArray[np.float64]", accounts: int
) -> "NDArray[np.int64]":
    """Per account the feed of its largest leg, -1 without one; of equal ones the first in the feeds table."""
    order = np.lexsort((-feed, size, account))
    order = order[size[order] > 0]
    found = np.full(accounts, -1, np.int64)
    found[account[order]] = feed[order]  # the last one written is the largest
    return found


class FeedTrace(NamedTuple):
    """The feed itself, the one that it multiplies, and so on to its root; can that move, and whose family is it."""

    chain: tuple[str, ...]
    moves: bool
    family: str


def trace_feeds(snapshot: Snapshot, family: "Mapping[str, str] | pd.Series[str]") -> dict[str, FeedTrace]:
    """By feed_id, where every feed's price comes from; `family`: asset_id -> family (`find_families`)."""
    names = ("feed_id", "kind", "base_feed_id", "asset_id")
    rows = {row[0]: row for row in zip(*(snapshot.feeds[name] for name in names), strict=True)}
    found = {}
    for feed_id in rows:
        chain = [feed_id]
        while rows[chain[-1]][1] == "ratio" and rows[chain[-1]][2] not in chain:
            chain.append(rows[chain[-1]][2])
        found[feed_id] = FeedTrace(tuple(chain), rows[chain[-1]][1] == "market", family[rows[chain[-1]][3]])
    return found


def _find_axis(feeds: Mapping[str, FeedTrace], collateral: str, debt: str) -> _Axis:
    held, owed = feeds[collateral], feeds[debt]

    def along(feed_id: str) -> frozenset[str]:
        return frozenset(name for name, feed in feeds.items() if feed_id in feed.chain)

    # the exchange rates that only one of the two has, the one closest to what they share
    only_held = [name for name in held.chain if name not in owed.chain]
    only_owed = [name for name in owed.chain if name not in held.chain]
    if held.chain[-1] == owed.chain[-1]:
        links = [(only_held, True), (only_owed, False)]
    else:
        for feed, falls in ((held, True), (owed, False)):
            if feed.moves and held.family == owed.family:
                return _Axis("basis", feed.chain[-1], along(feed.chain[-1]), falls)
            if feed.moves:
                moved = frozenset(name for name, one in feeds.items() if one.moves and one.family == feed.family)
                return _Axis("market", feed.chain[-1], moved, falls)
        links = [(only_held[:-1], True), (only_owed[:-1], False)]  # exchange rates on feeds that never move
    for chain, falls in links:
        if chain:
            return _Axis("ratio", chain[-1], along(chain[-1]), falls)
    return _RATE
