"""Owners joined across protocols, and links read from contracts' answers encoded by hand."""

from collections.abc import Sequence
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.chain import Call, Chain
from defi_leverage.graph.owners import identify_owners
from defi_leverage.owner_links import read_owner_links
from defi_leverage.snapshot import Snapshot
from tests.books import make_snapshot


def address(number: int) -> str:
    return f"eip155:1:0x{number:040x}"


def book(owners: Sequence[str], venues: Sequence[str] | None = None) -> Snapshot:
    """Accounts a0, a1, ... of these owners; the protocol of a venue is its name."""
    made = make_snapshot({"A": 1.0}, [({"A": 1}, {})] * len(owners), venue_of=venues or ["v"] * len(owners))
    protocol = made.venues.assign(protocol=made.venues["venue_id"])
    return Snapshot.from_tables(
        made.tables | {"accounts": made.accounts.assign(owner=list(owners)), "venues": protocol}
    )


def linked(snapshot: Snapshot, *links: tuple[str, str, str]) -> Snapshot:
    return Snapshot.from_tables(
        snapshot.tables | {"ownership": pd.DataFrame(links, columns=["owner", "controller", "kind"])}
    )


def test_one_address_is_one_owner_whatever_its_checksum() -> None:
    mixed = "eip155:1:0x" + "aB" * 20
    found = identify_owners(book([mixed, mixed.lower(), "Alice", "alice", ""]))
    assert found.tolist() == [mixed, mixed, "Alice", "alice", "a4"]
    assert found.index.tolist() == ["a0", "a1", "a2", "a3", "a4"]
    assert found.attrs["notices"] == []


def test_links_join_through_several_hands() -> None:
    user, safe, proxy, other = map(address, (9, 2, 3, 4))
    snapshot = linked(book([proxy, safe, user, other]), (proxy, safe, "dsproxy"), (safe, user, "safe"))
    assert identify_owners(snapshot).tolist() == [user, user, user, other]
    elsewhere = linked(book([proxy, safe]), (proxy, user, "dsproxy"), (safe, user, "safe"))
    assert identify_owners(elsewhere).tolist() == [user, user]  # who has no account here
    given_links = pd.DataFrame([(proxy, other, "given")], columns=["owner", "controller", "kind"])
    assert identify_owners(snapshot, given_links).tolist() == [other, safe, user, other]


def test_a_circle_has_the_name_of_its_first() -> None:
    snapshot = linked(
        book([address(5), address(6)]), (address(5), address(6), "given"), (address(6), address(5), "given")
    )
    assert identify_owners(snapshot).tolist() == [address(5)] * 2


def test_sub_accounts_at_euler_share_nineteen_bytes() -> None:
    one, two, primary, stranger = address(0xAB00), address(0xABFF), address(0xAB42), address(0xAC00)
    found = identify_owners(book([one, two, primary, stranger], ["euler_v2", "euler_v2", "aave_v3", "euler_v2"]))
    assert found.tolist() == [primary, primary, primary, stranger]
    assert identify_owners(book([one, two], ["aave_v3", "morpho"])).tolist() == [one, two]
    other_chain = two.replace("eip155:1:", "eip155:8453:")
    assert identify_owners(book([one, other_chain], ["euler_v2"] * 2)).tolist() == [one, other_chain]


def test_who_acts_for_many_joins_none(caplog: pytest.LogCaptureFixture) -> None:
    bundler, users = address(99), [address(number) for number in range(1, 5)]
    links = [(user, bundler, "morpho_authorisation") for user in users]
    snapshot = linked(book([*users, bundler]), *links)
    assert set(identify_owners(snapshot)) == {bundler}
    found = identify_owners(snapshot, most_authorisers=3)
    assert found.tolist() == [*users, bundler]
    assert found.attrs["notices"] == [
        f"{bundler} is authorised by 4 owners, more than 3: taken as a shared contract, it joins none of them"
    ]
    assert "shared contract" in caplog.text
    # many proxies of one owner are that owner's
    proxies = linked(book([*users, bundler]), *((user, bundler, "dsproxy") for user in users))
    assert set(identify_owners(proxies, most_authorisers=3)) == {bundler}


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=8))
def test_joined_are_exactly_those_that_links_connect(pairs: list[tuple[int, int]]) -> None:
    rows = sorted({(address(one), address(other), "given") for one, other in pairs})
    found = identify_owners(linked(book([address(number) for number in range(8)]), *rows)).tolist()
    group = list(range(8))
    for _ in range(8):
        for one, other in pairs:
            group[one] = group[other] = min(group[one], group[other])
    for one in range(8):
        for other in range(8):
            assert (found[one] == found[other]) == (group[one] == group[other])


class Replies:
    """Answers calls from a table (contract, selector) -> words; an account without code answers nothing."""

    chain_id = 1

    def __init__(self, contracts: dict[str, dict[str, list[int]]]) -> None:
        self.block = SimpleNamespace(number=1)
        self.contracts = contracts

    async def call(self, calls: Sequence[Call]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for to, data in calls:
            words: Any = self.contracts[to].get(data.hex()) if to in self.contracts else []
            found.append(None if words is None else b"".join(word.to_bytes(32, "big") for word in words))
        return found


# selectors of Solidity's own encoding: keccak256 of the signature, first four bytes
OWNER, AUTHORITY, CACHE = "8da5cb5b", "bf7e214f", "60c7d295"
THRESHOLD, OWNERS = "e75235b8", "a0e67e2b"


def at(number: int) -> str:
    return f"0x{number:040x}"


async def test_links_are_read_from_contracts() -> None:
    contracts = {
        at(1): {OWNER: [0xAA], AUTHORITY: [0], CACHE: [0xCC]},  # a DSProxy
        at(2): {THRESHOLD: [1], OWNERS: [32, 1, 0xBB]},  # a Safe of one
        at(3): {THRESHOLD: [1], OWNERS: [32, 2, 0xBB, 0xBC]},  # either may sign: nobody's
        at(4): {THRESHOLD: [2], OWNERS: [32, 2, 0xBB, 0xBC]},
        at(5): {OWNER: [0xAA]},  # a vault and who governs it
        at(6): {OWNER: [0], AUTHORITY: [0], CACHE: [0xCC]},  # given up
        at(7): {OWNER: [1 << 200], AUTHORITY: [0], CACHE: [0xCC]},  # no address
    }
    links = await read_owner_links(
        cast("Chain", Replies(contracts)), [at(number) for number in (1, 2, 3, 4, 5, 6, 7, 8, 1)]
    )
    assert [(link.owner.lower(), link.controller.lower(), link.kind) for link in links] == [
        (address(1), address(0xAA), "dsproxy"),
        (address(2), address(0xBB), "safe"),
    ]
    ownership = pd.DataFrame([asdict(link) for link in links])
    joined = Snapshot.from_tables(book([address(1), address(0xAA), address(2)]).tables | {"ownership": ownership})
    assert [owner.lower() for owner in identify_owners(joined)] == [address(0xAA), address(0xAA), address(0xBB)]
    assert (await read_owner_links(cast("Chain", Replies({})), [])) == ()


def test_one_address_on_several_chains_is_one_owner_but_for_contracts() -> None:
    one, other = "0x" + "ab" * 20, "0x" + "cd" * 20
    there = book([f"eip155:1:{one}", f"eip155:999:{one}", f"eip155:1:{other}", f"eip155:8453:{other}"])
    assert identify_owners(there).tolist() == [f"eip155:1:{one}"] * 2 + [f"eip155:1:{other}"] * 2
    safe = linked(there, (f"eip155:1:{other}", f"eip155:1:{one}", "safe"))  # on chain 8453 nothing is known of it
    assert identify_owners(safe).tolist() == [f"eip155:1:{one}"] * 3 + [f"eip155:8453:{other}"]
