import json
from pathlib import Path
from typing import Literal

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_leverage.errors import ConfigError, SnapshotError
from defi_leverage.export import GRAPH_FORMATS, export_graph
from defi_leverage.graph.dependency import build_graph
from defi_leverage.synthetic import synthetic_book

TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"), min_size=1
)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def graphs(draw: st.DrawFn) -> nx.MultiDiGraph:
    """Graphs of the shape that build_graph makes, with any text and numbers, and at least two parallel edges."""
    graph = nx.MultiDiGraph(mode="static", node_default={}, edge_default={})
    for name in draw(st.lists(TEXT, min_size=2, max_size=6, unique=True)):
        graph.add_node(
            name, type=draw(TEXT), label=draw(TEXT), price_usd=draw(NUMBER), accounts=draw(st.integers(0, 99))
        )
    nodes = list(graph)
    pairs = draw(st.lists(st.tuples(st.sampled_from(nodes), st.sampled_from(nodes)), max_size=8))
    for number, (source, target) in enumerate([(nodes[0], nodes[1])] * 2 + pairs):
        key = f"{number} {source}"
        graph.add_edge(source, target, key, id=key, kind=draw(TEXT), usd=draw(NUMBER))
    return graph


def read(path: Path) -> nx.MultiDiGraph:
    if path.suffix == ".json":
        return nx.node_link_graph(json.loads(path.read_text()), edges="edges")
    return {".graphml": nx.read_graphml, ".gexf": nx.read_gexf}[path.suffix](path)


@pytest.mark.parametrize("format_", list(GRAPH_FORMATS))
@settings(deadline=None)
@given(graph=graphs())
def test_what_is_read_back_equals_the_graph(
    graph: nx.MultiDiGraph, format_: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("graph") / f"graph.{format_}"
    assert nx.utils.graphs_equal(read(export_graph(graph, path)), graph)


@pytest.mark.parametrize("accounts", ["all", "grouped"])
@pytest.mark.parametrize("format_", list(GRAPH_FORMATS))
def test_a_book_reads_back_equal_with_its_types(
    format_: str, accounts: Literal["all", "grouped"], tmp_path: Path
) -> None:
    graph = build_graph(synthetic_book(300, seed=1), accounts)
    path = export_graph(graph, tmp_path / "graph", format_)  # type: ignore[arg-type]
    back = read(path.rename(tmp_path / f"graph.{format_}"))
    assert nx.utils.graphs_equal(back, graph)
    for node, data in graph.nodes(data=True):
        assert {name: type(value) for name, value in back.nodes[node].items()} == {n: type(v) for n, v in data.items()}


def test_without_parallel_edges_nodes_and_edges_are_still_equal(tmp_path: Path) -> None:
    graph = build_graph(synthetic_book(1, seed=1), 0)
    for format_ in ("graphml", "gexf"):
        back = read(export_graph(graph, tmp_path / f"graph.{format_}"))
        assert dict(back.nodes(data=True)) == dict(graph.nodes(data=True))
        assert {(u, v): d for u, v, d in back.edges(data=True)} == {(u, v): d for u, v, d in graph.edges(data=True)}
    back = nx.read_graphml(tmp_path / "graph.graphml", force_multigraph=True)
    assert nx.utils.graphs_equal(back, graph)


@pytest.mark.parametrize("format_", list(GRAPH_FORMATS))
def test_the_same_graph_gives_the_same_bytes(format_: str, tmp_path: Path) -> None:
    one, other = (
        export_graph(build_graph(synthetic_book(50, seed=1)), tmp_path / f"{name}.{format_}")
        for name in ("one", "other")
    )
    assert one.read_bytes() == other.read_bytes()
    assert b"lastmodified" not in one.read_bytes()


def test_text_that_xml_cannot_hold_is_replaced(tmp_path: Path) -> None:
    graph = nx.MultiDiGraph()
    graph.add_node("a\x00", label="A\x01\r")
    graph.add_node("a\x02", label="B")
    graph.add_edge("a\x00", "a\x02", "e\x03", id="e\x03", kind="wraps\ud800")
    for format_ in ("graphml", "gexf"):
        back = read(export_graph(graph, tmp_path / f"graph.{format_}"))
        assert list(back) == ["a\ufffd #0", "a\ufffd #1"]
        assert back.nodes["a\ufffd #0"]["label"] == "A\ufffd\ufffd"
        assert [data["kind"] for *_, data in back.edges(data=True)] == ["wraps\ufffd"]


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    for path, format_ in (("graph.dot", None), ("graph", None), ("graph.json", "xml")):
        with pytest.raises(ConfigError, match=r"unknown graph format .* use one of graphml, gexf, json"):
            export_graph(nx.MultiDiGraph(), tmp_path / path, format_)  # type: ignore[arg-type]


def test_a_path_that_cannot_be_written_is_one_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.json").mkdir()
    for missing in ("none/graph.json", "file/graph.json"):
        with pytest.raises(ConfigError, match=rf"cannot write .*{missing}: .* is no folder"):
            export_graph(nx.MultiDiGraph(), tmp_path / missing)
    with pytest.raises(SnapshotError, match=r"folder\.json: cannot be written"):
        export_graph(nx.MultiDiGraph(), tmp_path / "folder.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.json"]
    with pytest.raises(SnapshotError, match="is not a file"):
        export_graph(nx.MultiDiGraph(), "/dev/null", "json")


def test_an_earlier_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text("earlier")
    export_graph(nx.MultiDiGraph(), path)
    assert json.loads(path.read_text())["nodes"] == []
    assert list(tmp_path.iterdir()) == [path]
