"""Graphs as files for other programs: GraphML, GEXF (Gephi) and JSON (node-link, for a browser)."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import networkx as nx

from defi_leverage.errors import ConfigError
from defi_leverage.store import write_whole

__all__ = ["GRAPH_FORMATS", "export_graph"]

# What XML 1.0 cannot hold, and the carriage return, which its parsers turn into a line feed. Names of tokens are
# whatever their deployer wrote.
_NOT_XML = re.compile("[^\\t\\n\\u0020-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def export_graph(
    graph: nx.MultiDiGraph, path: "str | Path", format: "Literal['graphml', 'gexf', 'json'] | None" = None
) -> Path:
    """Write a graph to `path` and return it; without `format`, the file's suffix says which.

    The file appears whole or not at all, and has the same bytes for the same graph. `networkx.read_graphml`,
    `read_gexf` and `node_link_graph(..., edges="edges")` read an equal graph (without parallel edges the first two make
    a DiGraph of it, `read_graphml(..., force_multigraph=True)` does not). In XML, a character that XML cannot hold is
    written as U+FFFD. Raises ConfigError for an unknown format or a folder that is not there,
    SnapshotError for a path that cannot be written.
    """
    path = Path(path)
    chosen = format or path.suffix.lower().removeprefix(".")
    if chosen not in GRAPH_FORMATS:
        raise ConfigError(
            f"unknown graph format {chosen!r} for {path}; use one of {', '.join(GRAPH_FORMATS)}", format=chosen
        )
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: {path.parent} is no folder; make it, or choose another")
    write_whole(path, GRAPH_FORMATS[chosen](graph))
    return path


def _graphml(graph: nx.MultiDiGraph) -> bytes:
    stream = io.BytesIO()
    nx.write_graphml_xml(_for_xml(graph), stream)
    return stream.getvalue()


def _gexf(graph: nx.MultiDiGraph) -> bytes:
    stream = io.BytesIO()
    nx.write_gexf(_for_xml(graph), stream)
    # networkx writes today's date, which would make two files of one graph differ
    return re.sub(rb' lastmodifieddate="[^"]*"', b"", stream.getvalue(), count=1)


def _json(graph: nx.MultiDiGraph) -> bytes:
    data = nx.node_link_data(graph, edges="edges")
    return json.dumps(data, allow_nan=False, separators=(",", ":")).encode()


def _for_xml(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    """The graph itself if XML can hold all its text, else a copy with U+FFFD in the place of what it cannot hold."""

    def readable(value: Any) -> Any:
        return _NOT_XML.sub("\ufffd", value) if isinstance(value, str) else value

    def attributes(data: dict[str, Any]) -> dict[str, Any]:
        return {readable(name): readable(value) for name, value in data.items()}

    texts = [text for node, data in graph.nodes(data=True) for text in (node, *data, *data.values())]
    texts += [text for *_, key, data in graph.edges(keys=True, data=True) for text in (key, *data, *data.values())]
    if not any(isinstance(text, str) and _NOT_XML.search(text) for text in texts):
        return graph
    copy = nx.MultiDiGraph(**graph.graph)
    # two nodes that differ only in such characters would become one
    names = {node: readable(node) for node in graph}
    if len(set(names.values())) < len(names):
        names = {node: f"{name} #{number}" for number, (node, name) in enumerate(names.items())}
    copy.add_nodes_from((names[node], attributes(data)) for node, data in graph.nodes(data=True))
    for source, target, key, data in graph.edges(keys=True, data=True):
        copy.add_edge(names[source], names[target], readable(key), **attributes(data))
    return copy


GRAPH_FORMATS: dict[str, Callable[[nx.MultiDiGraph], bytes]] = {"graphml": _graphml, "gexf": _gexf, "json": _json}
