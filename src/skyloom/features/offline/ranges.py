"""Rows sorted by entity without comparing, and cut into ranges of entities that weigh alike: the work of one thread each."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from skyloom.features.algebra.program import Int64s


class ByEntity(NamedTuple):
    """Rows by entity: ``rows`` [n] are their indices, those of entity ``e`` being ``rows[edges[e]:edges[e + 1]]``."""

    rows: Int64s
    edges: Int64s

    def of(self, begin: int, stop: int) -> Int64s:
        """The rows of the entities ``begin .. stop - 1``."""
        return self.rows[self.edges[begin] : self.edges[stop]]


def by_entity(codes: Int64s, entities: int) -> ByEntity:
    """Rows by code, those of one code in their own order; codes below 0 or from ``entities`` on are left out.

    >>> rows, edges = by_entity(np.array([1, 0, -1, 1]), 2)
    >>> rows.tolist(), edges.tolist()
    ([1, 0, 3], [0, 1, 3])
    """
    return ByEntity(*_counted(codes, entities))


def put_in_order(rows: Int64s, order: Int64s, edges: Int64s) -> Int64s:
    """Sorts ``rows`` by ``order`` within each range of ``edges`` (positions in ``rows``), in place; ties stay as they are.
    Gives the sorted rows' order, shape [n]. What is in order already, as nearly all is, costs one look."""
    mine = order.take(rows, mode="clip")  # the fastest way; none is clipped
    _settle(rows, mine, edges)
    return mine


def ranges(weights: Int64s, parts: int) -> Iterator[tuple[int, int]]:
    """At most ``parts`` ranges (begin, stop) of entities, each of about the same weight; together they are all entities.

    >>> list(ranges(np.array([5, 1, 1, 1, 1, 1]), 2))
    [(0, 1), (1, 6)]
    """
    reached = np.cumsum(weights)
    total = int(reached[-1]) if len(reached) else 0
    cuts = np.searchsorted(reached, [total * part / parts for part in range(1, parts)]) + 1
    edges = sorted({0, *np.minimum(cuts, len(weights)).tolist(), len(weights)})
    yield from pairwise(edges)


@njit(cache=True, nogil=True)
def _counted(codes: Any, entities: int) -> Any:
    edges = np.zeros(entities + 1, np.int64)
    for i in range(len(codes)):
        if 0 <= codes[i] < entities:
            edges[codes[i] + 1] += 1
    for e in range(entities):
        edges[e + 1] += edges[e]
    at = edges[:-1].copy()
    rows = np.empty(edges[entities], np.int64)
    for i in range(len(codes)):
        if 0 <= codes[i] < entities:
            rows[at[codes[i]]] = i
            at[codes[i]] += 1
    return rows, edges


@njit(cache=True, nogil=True)
def _settle(rows: Any, order: Any, edges: Any) -> None:
    for e in range(len(edges) - 1):
        a, b = edges[e], edges[e + 1]
        for i in range(a + 1, b):
            if order[i] < order[i - 1]:
                sorting = np.argsort(order[a:b], kind="mergesort")  # stable
                rows[a:b] = rows[a:b][sorting]
                order[a:b] = order[a:b][sorting]
                break
