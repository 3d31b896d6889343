"""Compile the kernel and keep it on disk, so that no first call waits: ``python -m skyloom.features.warm``."""

import numpy as np

from skyloom.features.algebra.batch import fold_packed
from skyloom.features.algebra.columns import EventColumns
from skyloom.features.algebra.kernel import sweep
from skyloom.features.offline.moments import moments_of
from skyloom.features.offline.pit import SortedRequests
from skyloom.features.offline.ranges import by_entity, put_in_order
from skyloom.features.online.warm import example_program, warm_reading
from skyloom.features.tables import Versions, newest


def warm() -> None:
    """Compile (or load from the cache) every function of the kernel for the types it is called with."""
    warm_fold()
    warm_reading()
    one, program = np.ones(1, np.int64), example_program()
    sweep(program.packed, _event(), one, one, SortedRequests(one, one, one + 1), np.empty((1, 2)), 4)
    rows, edges = by_entity(one - 1, 1)
    put_in_order(rows, one, edges)
    newest(Versions(one, one, one, one), one, one)
    moments_of(np.ones((1, 2), np.int64))


def warm_fold() -> None:
    """Compile (or load from the cache) what folds events: for tens of seconds, when nothing is in the cache."""
    fold_packed(example_program(), [None], _event(), np.array([0, 1]), np.ones(1, np.int64), np.zeros(1, np.int64))


def _event() -> EventColumns:
    one, numbers = np.ones(1, np.int64), np.ones((1, 1), np.int64)
    return EventColumns(one, one, np.ones((1, 1)), numbers, numbers[:0], np.ones((1, 1), np.bool_))


if __name__ == "__main__":
    warm()
