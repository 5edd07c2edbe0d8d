"""Structural loops: ways in which a dollar of collateral can come back as collateral, within and across protocols.

A loop alternates borrowing legs and conversions: an asset is collateral at a venue, another one is borrowed on it, and
that is staked, wrapped, deposited, pooled, redeemed or swapped at par (assets of kind `usd`) until it is the next leg's
collateral; the last one is the first. Nobody need run it whole: the dollars of many accounts flow along it.

A leg (venue, collateral, debt) is what accounts really owe. An account's debts stand on all its collateral in
proportion to value, so that every leg of an account has the account's own loan-to-value; `pledged_usd` is the
collateral behind a leg's `borrowed_usd`. Accounts that owe as much as their collateral is worth, or more, are left
out and counted. A coin that is minted against collateral (backing of kind minted_against) and that no account here
owes has a leg of its own: its holders' USD over the value of what backs it.

The search (see `loop_search`) lists the largest loops first; a loop's size is the USD of its smallest leg.
"""

import logging
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from defi_leverage.graph.loop_search import Leg, Ways, find_ways, search_cycles
from defi_leverage.graph.owners import identify_owners
from defi_leverage.health import account_health, leg_values
from defi_leverage.snapshot import Snapshot

__all__ = ["STRUCTURAL_COLUMNS", "borrowing_legs", "conversion_graph", "find_structural_loops"]

log = logging.getLogger(__name__)

STRUCTURAL_COLUMNS = (
    "loop",
    "legs",
    "venues",
    "protocols",
    "usd",
    "claims_usd",
    "base_usd",
    "multiplier",
    "loan_to_value",
    "limit_leverage",
    "accounts",
    "owners",
    "owners_usd",
    "path",
)
PAR = "USD at par"  # through which assets of kind usd are swapped; no identifier of an asset has blanks
_LEG = ["venue_id", "collateral_asset_id", "debt_asset_id"]


class _Flows(NamedTuple):
    """Legs, and who owes on them: one row an account and leg."""

    legs: pd.DataFrame
    account: NDArray[np.int64]
    leg: NDArray[np.int64]
    usd: NDArray[np.float64]
    left_out: int


def borrowing_legs(snapshot: Snapshot) -> pd.DataFrame:
    """One row a leg: venue_id, collateral_asset_id, debt_asset_id, accounts, pledged_usd, borrowed_usd.

    The borrowed USD add up to all debt of accounts that have collateral and equity. Legs of minted coins have no
    accounts; their venue is '' where it is not known.
    """
    return _flows(snapshot).legs


def conversion_graph(snapshot: Snapshot) -> nx.DiGraph:
    """What each asset can be turned into in one step, with `kind`: a DiGraph of asset_ids and `PAR`.

    Underlying -> derived asset (staked, wraps, deposited, pooled), derived asset -> underlying if it has only one
    (`redeems`), and assets of kind usd to and from `PAR`. Edges in a fixed order, at par first.
    """
    graph = nx.DiGraph()
    usd = snapshot.assets.loc[snapshot.assets["kind"] == "usd", "asset_id"]
    for asset_id in sorted(usd):
        graph.add_edge(asset_id, PAR, kind="swaps")
        graph.add_edge(PAR, asset_id, kind="swaps")
    claims = snapshot.backing[snapshot.backing["kind"] != "minted_against"]
    parts = claims.groupby("asset_id")["underlying_id"].nunique()
    rows = sorted(zip(claims["underlying_id"], claims["asset_id"], claims["kind"], strict=True))
    for underlying_id, asset_id, kind in rows:
        graph.add_edge(underlying_id, asset_id, kind=kind)
        if parts[asset_id] == 1 and not graph.has_edge(asset_id, underlying_id):
            graph.add_edge(asset_id, underlying_id, kind="redeems")
    return graph


def find_structural_loops(
    snapshot: Snapshot,
    most_legs: int = 4,
    most_loops: int = 1000,
    owners: "pd.Series[str] | None" = None,
    minimum_usd: float = 1.0,
) -> pd.DataFrame:
    """The `most_loops` largest loops of at most `most_legs` borrowing legs, the largest first.

    `owners`: account_id -> owner, by default as `identify_owners` gives it. Legs below `minimum_usd` are left out.
    Columns:

    - loop: its legs, 'wstETH/WETH on Core'; path: all steps; legs, venues, protocols: how many (two or more protocols:
      a loop across protocols)
    - usd: borrowed on its smallest leg, what can flow round; claims_usd: collateral pledged on all legs; base_usd: of
      that what was not borrowed on the way (claims less borrowed); multiplier: claims / base
    - loan_to_value: what is left of a dollar after one turn, the product of the legs' borrowed / pledged;
      limit_leverage: collateral that a dollar ends up as on its first leg, 1 / (1 - loan_to_value) (Heimbach & Huang,
      BIS Working Paper 1171, for one leg); nan at 1 or more
    - accounts: with a position on any leg; owners: with one on every leg, who may run it whole; owners_usd: on each of
      these owners' smallest leg

    One account or dollar can be on several loops: do not add loops up. What was cut off or left out is in
    `attrs["notices"]`. Raises ValueError for a bound below 1.
    """
    flows = _flows(snapshot)
    legs = flows.legs
    usable = np.flatnonzero((legs["borrowed_usd"] >= minimum_usd).to_numpy())
    steps = [
        Leg(*leg)
        for leg in zip(
            *(legs[name].iloc[usable] for name in ("collateral_asset_id", "debt_asset_id", "borrowed_usd")), strict=True
        )
    ]
    ways = find_ways(conversion_graph(snapshot), sorted({s.target for s in steps}), sorted({s.source for s in steps}))
    search = search_cycles(steps, ways, most_legs, most_loops)
    keys = list(zip(*(legs[name] for name in ("collateral_asset_id", "venue_id", "debt_asset_id")), strict=True))
    cycles = [_from_the_first([int(usable[at]) for at in cycle], keys) for cycle in search.cycles]
    table = pd.DataFrame(_rows(snapshot, flows, ways, cycles, owners), columns=list(STRUCTURAL_COLUMNS))
    table = table.sort_values(["usd", "loop"], ascending=[False, True], ignore_index=True)
    notices = []
    if search.reason:
        smallest = f"all of at least {search.whole_down_to_usd:,.0f} USD are here" if cycles else "none was found"
        notices.append(f"{search.reason}: {smallest}, smaller ones are not; raise the bound, or look at fewer legs")
    if flows.left_out:
        notices.append(
            f"{flows.left_out} accounts owe as much as their collateral is worth or more, and are on no loop"
        )
    for notice in notices:
        log.warning("structural loops: %s", notice)
    table.attrs["notices"] = notices
    return table


def _flows(snapshot: Snapshot) -> _Flows:
    tables, value = snapshot.legs, leg_values(snapshot)
    account = pd.Index(snapshot.accounts["account_id"]).get_indexer(pd.Index(tables["account_id"]))
    health = account_health(snapshot)
    collateral, debt = (health[name].to_numpy(float) for name in ("collateral_usd", "debt_usd"))
    sound = (debt > 0) & (collateral > debt)
    asset, names = pd.factorize(tables["asset_id"], sort=True)
    is_debt = (tables["side"] == "debt").to_numpy()
    counts = sound[account] & (value > 0) & (tables["weight"] > 0).to_numpy()
    sides = [
        pd.DataFrame({"account": account[on], name: asset[on], "usd": value[on]})
        .groupby(["account", name], as_index=False)
        .sum()
        for name, on in (("source", counts & ~is_debt), ("target", counts & is_debt))
    ]
    pairs = sides[0].merge(sides[1], on="account", suffixes=("_source", "_target"))
    holder = pairs["account"].to_numpy()
    pairs["borrowed_usd"] = pairs["usd_target"] * pairs["usd_source"] / collateral[holder]
    pairs["pledged_usd"] = pairs["usd_source"] * pairs["usd_target"] / debt[holder]
    venue, venues = pd.factorize(snapshot.accounts["venue_id"], sort=True)
    pairs["venue"] = venue[holder]
    grouped = pairs.groupby(["venue", "source", "target"])
    legs = grouped[["pledged_usd", "borrowed_usd"]].sum()
    legs.insert(0, "accounts", grouped.size())
    codes = legs.index
    keys = {
        name: np.asarray(labels, object)[codes.get_level_values(at)]
        for at, (name, labels) in enumerate(zip(_LEG, (venues, names, names), strict=True))
    }
    own = pd.concat([pd.DataFrame(keys), legs.reset_index(drop=True)], axis=1)
    minted = pd.DataFrame(_minted_legs(snapshot), columns=own.columns)
    every = pd.concat([own, minted], ignore_index=True) if len(minted) else own
    left_out = int(((debt > 0) & ~sound).sum())
    return _Flows(
        every, holder, grouped.ngroup().to_numpy().astype(np.int64), pairs["borrowed_usd"].to_numpy(float), left_out
    )


def _minted_legs(snapshot: Snapshot) -> Iterator[tuple[str, str, str, int, float, float]]:
    backing = snapshot.backing[snapshot.backing["kind"] == "minted_against"]
    owed = set(snapshot.legs.loc[snapshot.legs["side"] == "debt", "asset_id"])
    price = snapshot.assets.set_index("asset_id")["price_usd"]
    supplied = snapshot.legs["side"] == "collateral"
    held = (
        pd.Series(leg_values(snapshot)[supplied], dtype=float)
        .groupby(snapshot.legs.loc[supplied, "asset_id"].to_numpy())
        .sum()
    )
    for coin, rows in backing.groupby("asset_id"):
        value = rows["units"] * rows["underlying_id"].map(price)
        if coin in owed or coin not in held.index:
            continue
        for underlying_id, venue_id, share in zip(
            rows["underlying_id"], rows["venue_id"], value / value.sum(), strict=True
        ):
            borrowed = float(held[coin] * share)
            yield venue_id, underlying_id, str(coin), 0, borrowed * float(value.sum() / price[coin]), borrowed


def _from_the_first(cycle: list[int], keys: list[tuple[str, ...]]) -> tuple[int, ...]:
    """The same cycle from its first leg by name, so that a loop has one name in every snapshot."""
    at = min(range(len(cycle)), key=lambda place: keys[cycle[place]])
    return (*cycle[at:], *cycle[:at])


def _rows(
    snapshot: Snapshot, flows: _Flows, ways: Ways, cycles: list[tuple[int, ...]], owners: "pd.Series[str] | None"
) -> Iterator[tuple[object, ...]]:
    symbol = dict(zip(snapshot.assets["asset_id"], snapshot.assets["symbol"], strict=True)) | {PAR: PAR}
    venues = snapshot.venues.set_index("venue_id")
    known = {venue_id: name or venue_id for venue_id, name in venues["name"].items()} | {"": "its issuer"}
    legs = flows.legs.to_dict("records")
    shape = (len(legs), len(snapshot.accounts))
    by_account = csr_array((np.ones(len(flows.leg)), (flows.leg, flows.account)), shape=shape)
    account_ids = snapshot.accounts["account_id"]
    named = account_ids.map(identify_owners(snapshot) if owners is None else owners).fillna(account_ids)
    owner = pd.factorize(named)[0]
    by_owner = csr_array((flows.usd, (flows.leg, owner[flows.account])), shape=shape)
    by_owner.sum_duplicates()
    for cycle in cycles:
        on = [legs[at] for at in cycle]
        pledged = np.array([leg["pledged_usd"] for leg in on])
        borrowed = np.array([leg["borrowed_usd"] for leg in on])
        turn, base = float(np.prod(borrowed / pledged)), float(pledged.sum() - borrowed.sum())
        everywhere = by_owner[[cycle[0]]]
        for at in cycle[1:]:
            everywhere = everywhere.minimum(by_owner[[at]])
        path = [on[0]["collateral_asset_id"]]
        for leg, after in pairwise([*on, on[0]]):
            path += [leg["venue_id"], *ways[leg["debt_asset_id"]][after["collateral_asset_id"]]]
        names = [
            f"{symbol[leg['collateral_asset_id']]}/{symbol[leg['debt_asset_id']]} on {known[leg['venue_id']]}"
            for leg in on
        ]
        at_venues = {leg["venue_id"] for leg in on}
        yield (
            " > ".join(names),
            len(cycle),
            len(at_venues),
            len({venues["protocol"].get(venue_id, venue_id) for venue_id in at_venues}),
            float(borrowed.min()),
            float(pledged.sum()),
            base,
            float(pledged.sum()) / base if base > 0 else float("nan"),
            turn,
            1 / (1 - turn) if turn < 1 else float("nan"),
            len(np.unique(by_account[list(cycle)].indices)),
            int((everywhere.data > 0).sum()),
            float(everywhere.sum()),
            " > ".join(symbol.get(step, known.get(step, step)) for step in path),
        )
