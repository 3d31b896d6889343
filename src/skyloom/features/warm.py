"""Compile the kernel and keep it on disk, so that no first call waits: ``python -m skyloom.features.warm``."""

import numpy as np

from skyloom.features.batch import fold_packed
from skyloom.features.columns import EventColumns
from skyloom.features.kernel import read_packed, sweep
from skyloom.features.moments import moments_of
from skyloom.features.pit import SortedRequests
from skyloom.features.program import compile_group
from skyloom.features.ranges import by_entity, put_in_order
from skyloom.features.tables import Versions, newest
from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef
from skyloom.kernel.units import HOUR


def warm() -> None:
    """Compile (or load from the cache) every function of the kernel for the types it is called with."""
    aggregates = (AggregateDef("a", "max", "x", HOUR, HOUR), AggregateDef("b", "mean", "x", HOUR, HOUR))
    program = compile_group(FeatureGroupDef("g", "s", ("k",), aggregates, {"x": 0}, 0))
    one = np.ones(1, np.int64)
    numbers = np.ones((1, 1), np.int64)
    events = EventColumns(one, one, np.ones((1, 1)), numbers, numbers[:0], np.ones((1, 1), np.bool_))
    fold_packed(program, [None], events, np.array([0, 1]), one, np.zeros(1, np.int64))
    read_packed(program.packed, b"", 1, np.empty(2))
    sweep(program.packed, events, one, one, SortedRequests(one, one, one + 1), np.empty((1, 2)), 4)
    rows, edges = by_entity(one - 1, 1)
    put_in_order(rows, one, edges)
    newest(Versions(one, one, one, one), one, one)
    moments_of(np.ones((1, 2), np.int64))


if __name__ == "__main__":
    warm()
