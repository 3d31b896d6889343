"""The graph: the flights project's edges, every order a right one, every circle found."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.kernel.errors import DeclarationError
from skyloom.plan import Edge, Graph, Node, compile_project, graph_of, order


def test_the_flights_graph(flights):
    graph = graph_of(compile_project(flights()))
    assert sorted(f"{edge.origin} -> {edge.target}" for edge in graph.edges) == [
        "features carrier_recent -> model late_arrival",
        "features dest_recent -> model late_arrival",
        "label late_arrival -> model late_arrival",
        "source arrivals -> features carrier_recent",
        "source arrivals -> features dest_recent",
        "source arrivals -> label late_arrival",
        "source departures -> model late_arrival",
    ]
    assert str(order(graph)[-1]) == "model late_arrival"


edges = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


def _graph(pairs: list[tuple[int, int]]) -> Graph:
    nodes = [Node("source", str(number)) for number in range(7)]
    return Graph(tuple(nodes), tuple(Edge(nodes[a], nodes[b]) for a, b in pairs))


def _reachable(pairs: list[tuple[int, int]], start: int) -> set[int]:
    """What can be reached from ``start`` by one edge or more: the oracle."""
    seen: set[int] = set()
    frontier = {start}
    while frontier:
        frontier = {b for a, b in pairs if a in frontier} - seen
        seen |= frontier
    return seen


@given(edges)
def test_an_order_or_a_circle(pairs: list[tuple[int, int]]):
    circular = any(number in _reachable(pairs, number) for number in range(7))
    graph = _graph(pairs)
    if circular:
        with pytest.raises(DeclarationError, match="go in a circle") as caught:
            order(graph)
        named = [int(text.split()[-1]) for text in caught.value.what.partition(": ")[2].split(" -> ")]
        assert named[0] == named[-1]
        assert all(pair in pairs for pair in pairwise(named))
    else:
        place = {node: index for index, node in enumerate(order(graph))}
        assert len(place) == 7
        assert all(place[edge.origin] < place[edge.target] for edge in graph.edges)
