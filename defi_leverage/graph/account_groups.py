"""Accounts that do the same: one group for each venue, set of collateral and set of debts.

A group stands for its accounts where there are too many to draw: their number and their sums, and nothing averaged.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from defi_leverage.health import account_health
from defi_leverage.snapshot import Snapshot

__all__ = ["GROUP_COLUMNS", "OTHERS", "group_accounts"]

GROUP_COLUMNS = (
    "venue_id",
    "collateral",
    "debt",
    "accounts",
    "supplied_usd",
    "collateral_usd",
    "debt_usd",
    "equity_usd",
    "leverage",
    "negative_equity_accounts",
    "lowest_health_factor",
)
OTHERS = "*"  # in place of both sets: the accounts of a venue that are in none of the largest groups
_SUMS = ["supplied_usd", "collateral_usd", "debt_usd", "equity_usd"]

_Ints = NDArray[np.int64]


def group_accounts(snapshot: Snapshot, most_groups: int = 1000) -> tuple[pd.DataFrame, _Ints]:
    """The groups, and for each account (in the accounts table's order) the row of its group.

    The `most_groups` largest by debt, then by supply, come first and by themselves; what is left at a venue is one more
    group, whose sets are '*'. Columns: venue_id; collateral and debt, the sets of asset_ids, sorted and joined by a
    blank (what does not count as collateral is in neither); accounts; the sums supplied_usd, collateral_usd, debt_usd,
    equity_usd; leverage (sum of supplied over sum of equity of the accounts with positive equity, nan without any);
    negative_equity_accounts (equity not positive, though they owe or hold something); lowest_health_factor (inf without
    debt). Raises ValueError for a negative number. Takes a few sorts of the legs, and no loop over accounts.
    """
    if most_groups < 0:
        raise ValueError(f"groups={most_groups} must be at least 0")
    accounts = len(snapshot.accounts)
    venue, venues = pd.factorize(snapshot.accounts["venue_id"], sort=True)
    holder, code, names = _members(snapshot)
    signature, signatures = _signatures(venue, holder, code, 2 * len(names))
    health = account_health(snapshot).reset_index(drop=True)

    size = [np.bincount(signature, health[name], signatures) for name in ("supplied_usd", "debt_usd")]
    largest = np.lexsort((np.arange(signatures), -size[0], -size[1]))[:most_groups]
    row = np.full(signatures, -1)
    row[largest] = np.arange(len(largest))
    group = row[signature]
    rest = group < 0
    left, others = np.unique(venue[rest], return_inverse=True)
    group[rest] = len(largest) + others
    count = len(largest) + len(left)
    member = np.zeros(count, np.int64)  # an account of each group
    member[group] = np.arange(accounts)
    held, owed = _sets(holder, code, names, member[: len(largest)])

    def total(values: "pd.Series | NDArray[np.bool_]") -> NDArray[np.float64]:
        return np.bincount(group, values, count).astype(np.float64)

    solvent = health["equity_usd"] > 0
    equity = total(health["equity_usd"].where(solvent, 0.0))
    supplied = total(health["supplied_usd"].where(solvent, 0.0))
    lowest = np.full(count, np.inf)
    np.minimum.at(lowest, group, health["health_factor"].to_numpy(float))
    table = pd.DataFrame(
        {
            "venue_id": np.asarray(venues, object)[venue[member]],
            "collateral": np.array([*held, *[OTHERS] * len(left)], object),
            "debt": np.array([*owed, *[OTHERS] * len(left)], object),
            "accounts": np.bincount(group, minlength=count),
            **{name: total(health[name]) for name in _SUMS},
            "leverage": np.divide(supplied, equity, out=np.full(count, np.nan), where=equity > 0),
            "negative_equity_accounts": total((~solvent & (health["debt_usd"] > 0)).to_numpy()).astype(np.int64),
            "lowest_health_factor": lowest,
        },
        columns=list(GROUP_COLUMNS),
    )
    return table, group.astype(np.int64)


def _members(snapshot: Snapshot) -> tuple[_Ints, _Ints, NDArray[np.object_]]:
    """Who is in which set: rows of accounts, by account, with codes that sort as the assets do; debts come last."""
    legs = snapshot.legs
    asset, names = pd.factorize(legs["asset_id"], sort=True)
    is_debt = (legs["side"] == "debt").to_numpy()
    counts = ((legs["weight"] > 0) & (legs["amount"] > 0)).to_numpy()
    account = pd.Index(snapshot.accounts["account_id"]).get_indexer(pd.Index(legs["account_id"]))
    both = account[counts] * (2 * len(names)) + (asset + is_debt * len(names))[counts]
    ordered = np.sort(both)  # with the next line what numpy.unique does, which hashes and takes longer
    once = ordered[np.diff(ordered, prepend=-1) > 0]
    holder, code = np.divmod(once, max(2 * len(names), 1))
    return holder.astype(np.int64), code.astype(np.int64), np.asarray(names, object)


def _signatures(venue: _Ints, holder: _Ints, code: _Ints, codes: int) -> tuple[_Ints, int]:
    """A number for each venue and set, equal exactly where they are, the same for any order of rows; how many."""
    signature = venue.astype(np.int64)
    place = np.arange(len(holder)) - np.searchsorted(holder, holder)  # first, second, ... of its account
    count = int(venue.max(initial=-1)) + 1
    for at in range(int(place.max(initial=-1)) + 1):
        chosen = place == at
        longer = np.zeros(len(venue), np.int64)
        longer[holder[chosen]] = code[chosen] + 1
        known, signature = np.unique(signature * (codes + 1) + longer, return_inverse=True)
        count = len(known)
    return signature.astype(np.int64), count


def _sets(holder: _Ints, code: _Ints, names: NDArray[np.object_], members: _Ints) -> tuple[list[str], list[str]]:
    """The collateral and the debts of some accounts, as text."""
    begin, end = np.searchsorted(holder, members), np.searchsorted(holder, members, side="right")
    held, owed = [], []
    for first, last in zip(begin, end, strict=True):
        codes = code[first:last]
        held.append(" ".join(names[codes[codes < len(names)]]))
        owed.append(" ".join(names[codes[codes >= len(names)] - len(names)]))
    return held, owed
