"""Cycles of legs against brute force, networkx, and loops planted in random graphs."""

from itertools import pairwise, permutations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.graph.loop_search import Leg, find_ways, search_cycles


def ways_of(legs: list[Leg], conversions: nx.DiGraph) -> dict[str, dict[str, tuple[str, ...]]]:
    return find_ways(conversions, sorted({leg.target for leg in legs}), sorted({leg.source for leg in legs}))


def rotated(cycle: tuple[int, ...]) -> tuple[int, ...]:
    at = cycle.index(min(cycle))
    return cycle[at:] + cycle[:at]


def brute_force(legs: list[Leg], ways: dict[str, dict[str, tuple[str, ...]]], most_legs: int) -> set[tuple[int, ...]]:
    """Every order of every choice of legs, kept where it closes and passes no asset twice."""
    found = set()
    for count in range(1, most_legs + 1):
        for chosen in permutations(range(len(legs)), count):
            if chosen[0] != min(chosen):
                continue
            passed: list[str] = []
            for one, other in pairwise([*chosen, chosen[0]]):
                way = ways[legs[one].target].get(legs[other].source)
                if way is None:
                    break
                # the asset that a leg borrows and the way on; the next leg's collateral is counted with the way
                passed += way if legs[one].source != legs[one].target else way[1:]
                passed += [] if legs[one].source != legs[one].target else [legs[one].target]
            else:
                if len(set(passed)) == len(passed):
                    found.add(chosen)
    return found


@st.composite
def books(draw: st.DrawFn) -> tuple[list[Leg], nx.DiGraph]:
    assets = [f"A{number}" for number in range(draw(st.integers(2, 6)))]
    pair = st.tuples(st.sampled_from(assets), st.sampled_from(assets))
    ends = draw(st.lists(pair, max_size=6))
    legs = [Leg(source, target, draw(st.sampled_from([1.0, 2.0, 3.0]))) for source, target in ends]
    conversions = nx.DiGraph()
    conversions.add_edges_from(edge for edge in draw(st.lists(pair, max_size=5)) if edge[0] != edge[1])
    return legs, conversions


@settings(max_examples=150)
@given(books(), st.integers(1, 4))
def test_all_are_found_and_none_invented(book: tuple[list[Leg], nx.DiGraph], most_legs: int) -> None:
    legs, conversions = book
    ways = ways_of(legs, conversions)
    search = search_cycles(legs, ways, most_legs, 10_000)
    assert search.reason == ""
    assert len(search.cycles) == len(set(map(rotated, search.cycles)))
    assert set(map(rotated, search.cycles)) == brute_force(legs, ways, most_legs)
    sizes = [min(legs[at].usd for at in cycle) for cycle in search.cycles]
    assert sizes == sorted(sizes, reverse=True)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_without_conversions_they_are_the_simple_cycles_of_networkx(seed: int, bound: int) -> None:
    random = np.random.default_rng(seed)
    graph = nx.gnm_random_graph(12, 30, seed=seed, directed=True)
    legs = [Leg(str(one), str(other), float(random.random())) for one, other in graph.edges]
    search = search_cycles(legs, ways_of(legs, nx.DiGraph()), bound, 100_000)
    expected = {rotated(tuple(cycle)) for cycle in nx.simple_cycles(graph, length_bound=bound)}
    assert {rotated(tuple(int(legs[at].source) for at in cycle)) for cycle in search.cycles} == expected


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_planted_loops_in_a_random_graph(seed: int) -> None:
    """Loops of 1 to 6 legs, some through shared assets, over a graph that has no cycle of its own."""
    random = np.random.default_rng(seed)
    size = 60
    noise = [(one, other) for one, other in random.integers(0, size, (150, 2)).tolist() if one < other]
    legs = [Leg(f"N{one}", f"N{other}", 1.0) for one, other in noise]
    conversions = nx.DiGraph()
    planted = set()
    for loop in range(int(random.integers(1, 5))):
        count = int(random.integers(1, 7))
        first = len(legs)
        for hop in range(count):
            # overlapping: the first collateral of all planted loops is one asset
            source = "shared" if hop == 0 else f"C{loop}.{hop}"
            legs.append(Leg(source, f"D{loop}.{hop}", float(random.uniform(5, 9))))
            nx.add_path(
                conversions,
                [f"D{loop}.{hop}", f"M{loop}.{hop}", "shared" if hop == count - 1 else f"C{loop}.{hop + 1}"],
            )
        planted.add(tuple(range(first, first + count)))
        legs.append(Leg(f"D{loop}.0", f"N{random.integers(size)}", 3.0))  # a way out that leads nowhere
    search = search_cycles(legs, ways_of(legs, conversions), 6, 1000)
    assert set(map(rotated, search.cycles)) == planted
    shorter = search_cycles(legs, ways_of(legs, conversions), 3, 1000)
    assert set(map(rotated, shorter.cycles)) == {loop for loop in planted if len(loop) <= 3}


def test_a_cap_keeps_the_largest_and_says_so() -> None:
    legs = [Leg("A", "A", usd) for usd in (1.0, 5.0, 3.0, 4.0, 2.0)]
    ways = ways_of(legs, nx.DiGraph())
    search = search_cycles(legs, ways, 3, 2)
    assert search.cycles == [(1,), (3,)]
    assert search.whole_down_to_usd == 3.0
    assert search.reason == "there are more than 2 loops"
    assert search_cycles(legs, ways, 3, 5).reason == ""


def test_the_work_is_bounded() -> None:
    legs = [Leg(str(one), str(other), 1.0) for one in range(12) for other in range(12) if one != other]
    search = search_cycles(legs, ways_of(legs, nx.DiGraph()), 12, 10**9, most_steps=20_000)
    assert search.reason == "it took more than 20000 steps"
    assert search.whole_down_to_usd == 1.0


@pytest.mark.parametrize("bounds", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_bounds_below_one(bounds: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        search_cycles([], {}, *bounds)


def test_a_leg_is_passed_over_where_it_would_pass_an_asset_twice() -> None:
    # A > B ~ P ~ C > D ~ P ~ A would pass P twice; each half alone does not close
    conversions = nx.DiGraph([("B", "P"), ("P", "C"), ("D", "P"), ("P", "A")])
    legs = [Leg("A", "B", 1.0), Leg("C", "D", 1.0)]
    search = search_cycles(legs, ways_of(legs, conversions), 4, 10)
    assert search.cycles == [(0,), (1,)]  # B ~ P ~ A and D ~ P ~ C close by themselves
