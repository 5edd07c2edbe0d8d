"""Who is behind an account: owners joined across protocols where a link between them is on chain.

One address is one owner everywhere, on all chains eip155 too, for one key is behind it; but for what the table shows to
be a contract, which may have another master on another chain. Beyond that, the snapshot's table `ownership` links an
owner to whom it is controlled by: a DSProxy to its owner, a Safe to its only owner, an account of Morpho to the address
that it authorised, an Euler sub-account to its primary. Euler sub-accounts are also joined without a row: the 256
addresses that share their first 19 bytes have one owner (EthereumVaultConnector, haveCommonOwner).

Morpho authorisations go to shared contracts, too, such as Bundler adapters, which act for thousands. A controller that
more than `most_authorisers` owners have authorised joins none of them.
"""

import logging

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from defi_leverage.snapshot import Snapshot

__all__ = ["identify_owners"]

log = logging.getLogger(__name__)

_ON_CHAIN = r"^eip155:(?P<chain>\d+):(?P<address>0x[0-9a-f]{40})$"
_SUB_ACCOUNT = r"^(eip155:\d+:0x[0-9a-f]{38})[0-9a-f]{2}$"  # 19 bytes of the owner, one of the sub-account


def identify_owners(
    snapshot: Snapshot, links: pd.DataFrame | None = None, most_authorisers: int = 10
) -> "pd.Series[str]":
    """The owner behind every account, by account_id, in the accounts table's order.

    `links`: columns owner, controller, kind, in place of the table `ownership`. The name of several joined owners is
    that of the one who controls the others, the first by name where there are several; an account without an owner is
    its own. Addresses of chains eip155 are compared without regard to their checksum. What was not joined is in
    `attrs["notices"]`.
    """
    links = snapshot.ownership if links is None else links
    accounts = snapshot.accounts
    owner = accounts["owner"].where(accounts["owner"] != "", accounts["account_id"]).astype(object)
    key = _plain(owner)
    protocol = accounts["venue_id"].map(snapshot.venues.set_index("venue_id")["protocol"])
    links, notices = _without_shared(links, most_authorisers)
    ends = pd.DataFrame({"owner": _plain(links["owner"]), "controller": _plain(links["controller"])})
    across = _across_chains(key, set(ends["owner"]))
    ends = pd.concat([ends, across, _sub_accounts(key, protocol.astype(object).str.startswith("euler").to_numpy(bool))])
    ends = ends[ends["owner"] != ends["controller"]]

    known = pd.Series([*owner, *links["owner"], *links["controller"]], dtype=object)
    spelled = dict(zip(reversed(_plain(known).tolist()), reversed(known.tolist()), strict=True))
    code, nodes = pd.factorize(np.array([*ends["owner"], *ends["controller"]], object), sort=True)
    rows, columns = np.split(code, 2)
    graph = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(nodes), len(nodes)))
    root: dict[str, str] = {}
    if len(nodes):
        group = connected_components(graph, directed=False)[1]
        controlled = np.isin(np.arange(len(nodes)), rows)
        order = np.lexsort((np.arange(len(nodes)), controlled, group))  # of each group, who is not controlled first
        first = order[np.searchsorted(group[order], group)]
        root = {nodes[one]: nodes[other] for one, other in enumerate(first)}
    names = [spelled[root.get(name, name)] for name in key.tolist()]
    found = pd.Series(names, index=pd.Index(accounts["account_id"], name="account_id"), dtype=object, name="owner")
    for notice in notices:
        log.warning("owners: %s", notice)
    found.attrs["notices"] = notices
    return found


def _plain(names: "pd.Series[str]") -> "pd.Series[str]":
    """Names to compare: addresses of chains eip155 in lower case, and all else as it is."""
    text = names.astype(object)
    if not len(text):
        return text
    return text.where(~text.str.startswith("eip155:").astype(bool), text.str.lower())


def _without_shared(links: pd.DataFrame, most_authorisers: int) -> tuple[pd.DataFrame, list[str]]:
    authorised = links["kind"] == "morpho_authorisation"
    counts = links[authorised].groupby("controller")["owner"].nunique()
    shared = counts[counts > most_authorisers]
    notices = [
        f"{controller} is authorised by {count} owners, more than {most_authorisers}: taken as a shared contract, it "
        "joins none of them"
        for controller, count in shared.items()
    ]
    return links[~(authorised & links["controller"].isin(shared.index))], notices


def _across_chains(key: "pd.Series[str]", contracts: set[str]) -> pd.DataFrame:
    """Links between the same address on several chains, to the first of them."""
    owners = pd.DataFrame({"owner": [name for name in dict.fromkeys(key) if name not in contracts]}, dtype=object)
    text = owners["owner"].astype("str")
    owners = owners.join(text.str.extract(_ON_CHAIN)).dropna()
    owners = owners.assign(chain=owners["chain"].astype(int)).sort_values(["address", "chain"])
    first = owners.groupby("address")["owner"].transform("first")
    return pd.DataFrame({"owner": owners["owner"], "controller": first})


def _sub_accounts(key: "pd.Series[str]", at_euler: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> pd.DataFrame:
    """Links between owners at Euler and others with the same first 19 bytes, to the first of them.

    An owner elsewhere is the primary address: sub-accounts exist at Euler alone.
    """
    owners = pd.DataFrame({"owner": key.to_numpy(object), "at_euler": at_euler}).drop_duplicates()
    text = owners["owner"].astype(object)
    address = text.str.extract(_SUB_ACCOUNT)[0] if len(text) else text
    owners = owners.assign(prefix=address).dropna()
    owners = owners[owners["prefix"].isin(owners.loc[owners["at_euler"], "prefix"])]
    owners = owners.sort_values(["prefix", "at_euler", "owner"])
    first = owners.groupby("prefix")["owner"].transform("first")
    return pd.DataFrame({"owner": owners["owner"], "controller": first})
