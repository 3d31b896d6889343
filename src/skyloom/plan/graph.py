"""The graph of the declarations: what is made of what."""

from graphlib import CycleError, TopologicalSorter

import msgspec

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.records.definitions import ModelDef, ProjectDef


class Node(msgspec.Struct, frozen=True):
    """One declaration: ``kind`` is ``source``, ``features``, ``label`` (named as its model) or ``model``."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Edge(msgspec.Struct, frozen=True):
    """``target`` is made of ``origin``."""

    origin: Node
    target: Node


class Graph(msgspec.Struct, frozen=True):
    """Nodes, and edges in the direction in which data flows."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph_of(definition: ProjectDef) -> Graph:
    """The graph of a project: sources -> features and labels -> models.

    >>> graph_of(ProjectDef("empty", {}, {}, {}))
    Graph(nodes=(), edges=())
    """
    nodes = [Node("source", name) for name in definition.sources]
    edges: list[Edge] = []
    for name, group in definition.groups.items():
        nodes.append(Node("features", name))
        edges.append(Edge(Node("source", group.source), Node("features", name)))
    for model in definition.models.values():
        nodes += [Node("label", model.name), Node("model", model.name)]
        edges += _edges_of(model)
    return Graph(tuple(nodes), tuple(edges))


def _edges_of(model: ModelDef) -> list[Edge]:
    target = Node("model", model.name)
    return [
        Edge(Node("source", model.label.source), Node("label", model.name)),
        Edge(Node("source", model.requests), target),
        *(Edge(Node("features", group), target) for group in model.groups),
        Edge(Node("label", model.name), target),
    ]


def order(graph: Graph) -> list[Node]:
    """The nodes, each after everything that it is made of.

    Raises `DeclarationError` that names the circle when one is made of itself.

    >>> a, b = Node("source", "a"), Node("features", "b")
    >>> [str(node) for node in order(Graph((b, a), (Edge(a, b),)))]
    ['source a', 'features b']
    """
    sorter: TopologicalSorter[Node] = TopologicalSorter({node: [] for node in graph.nodes})
    for edge in graph.edges:
        sorter.add(edge.target, edge.origin)
    try:
        return list(sorter.static_order())
    except CycleError as error:
        circle = " -> ".join(str(node) for node in error.args[1])
        raise DeclarationError(f"declarations go in a circle: {circle}", fix="take one of them out of the circle") from error
