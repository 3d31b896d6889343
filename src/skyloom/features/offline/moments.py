"""Moments of a source with several partitions: what a request saw is a position in each of them.

One store shows such moments one after the other, each beyond the one before in every partition. So they can be numbered, and
an event has a number too: that of the first moment that holds it. A store that was lost and is filled again shows moments
that are beyond an older one in one partition and behind it in another. They are then divided into sequences, as few as a
greedy choice finds; within each the numbers hold.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from skyloom.features.algebra.program import Int64s
from skyloom.ingest.partitions import seen_of


class Moments(NamedTuple):
    """``positions`` [k, partitions], rising in each column."""

    positions: Int64s

    def order(self, events: pa.Table) -> Int64s:
        """The number of the first moment that holds each event, [n]; ``k`` for an event that none holds.

        >>> found = pa.table({"_offset": [0, 2, 3, 4]})  # of partitions 0, 0, 1, 0
        >>> Moments(np.array([[2, 0], [4, 4]])).order(found).tolist()
        [0, 1, 1, 2]
        """
        offsets = events.column("_offset").to_numpy()
        partitions = self.positions.shape[1]
        order = np.empty(len(offsets), np.int64)
        for partition in range(partitions):
            mine = offsets % partitions == partition
            order[mine] = np.searchsorted(self.positions[:, partition], offsets[mine], side="right")
        return order


def saw_of(as_of: Sequence[dict[str, int]], source: str, partitions: int, lookup: str = "") -> Int64s:
    """What each request saw of a source, [m, partitions]; 0 where it says nothing."""
    saw = np.zeros((len(as_of), partitions), np.int64)
    for row, places in enumerate(as_of):
        for partition, position in seen_of(places.items(), source, lookup).items():
            saw[row, partition] = position
    return saw


def moments_of(saw: Int64s) -> list[tuple[Int64s, Moments, Int64s]]:
    """Requests, by what they saw [m, partitions], divided so that the moments of each part can be numbered: the requests'
    indices [k], the moments, and the order [k] that a request is beyond: it sees the events of a smaller `Moments.order`.

    >>> [(rows.tolist(), asked.tolist()) for rows, _, asked in moments_of(np.array([[4, 4], [2, 0], [4, 4], [0, 6]]))]
    [([0, 1, 2], [2, 1, 2]), ([3], [1])]
    """
    distinct, which = np.unique(saw, axis=0, return_inverse=True)
    in_time = np.argsort(distinct.sum(axis=1), kind="stable")
    sequence = np.empty(len(distinct), np.int64)
    sequence[in_time] = _sequences(distinct[in_time])
    found: list[tuple[Int64s, Moments, Int64s]] = []
    for number in range(int(sequence.max(initial=-1)) + 1):
        members = in_time[sequence[in_time] == number]
        place = np.full(len(distinct), -1, np.int64)
        place[members] = np.arange(len(members))
        rows = np.flatnonzero(place[which.ravel()] >= 0)
        found.append((rows, Moments(distinct[members]), place[which.ravel()[rows]] + 1))
    return found


@njit(cache=True, nogil=True)
def _sequences(moments: Any) -> Any:
    """For each moment [k, partitions] the first sequence whose last member it is beyond in every partition."""
    count, partitions = moments.shape
    chosen, last = np.empty(count, np.int64), np.empty((count, partitions), np.int64)
    used = 0
    for i in range(count):
        at = 0
        while at < used and not (moments[i] >= last[at]).all():
            at += 1
        used = max(used, at + 1)
        chosen[i] = at
        last[at] = moments[i]
    return chosen
