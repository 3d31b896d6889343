"""Features that were finished a moment ago, and cannot have changed since."""

from threading import Lock

from skyloom.features.times import step_ms
from skyloom.kernel.records.definitions import FeatureGroupDef

Values = tuple[float | None, ...]

MOST = 4_096
"""Entities remembered of a group: with their tiles, some kilobytes each."""


class Finished:
    """What the kernel last made of an entity's tiles. Safe for threads.

    The kernel's values follow from the tiles and, for each window, from ``floor(t - window, hop)``. Let ``step`` divide
    every hop, length and shift of the group, and ``t = step q + r`` with ``0 <= r < step``: then that floor depends on ``q``
    alone. So the same bytes and the same ``q`` give the same values, and nobody has to tell when something is written.
    """

    def __init__(self, group: FeatureGroupDef, most: int = MOST) -> None:
        self.step_ms = step_ms(group)
        self._most = most
        self._known: dict[bytes, tuple[int, bytes, Values]] = {}
        self._lock = Lock()

    def get(self, entity: bytes, stored: bytes, t_ms: int) -> Values | None:
        """The values at ``t_ms`` from the tiles ``stored``, if they were finished within the same step."""
        known = self._known.get(entity)
        if known is None or known[0] != t_ms // self.step_ms or known[1] != stored:
            return None
        return known[2]

    def put(self, entity: bytes, stored: bytes, t_ms: int, values: Values) -> None:
        """Remember values; the entity that was first remembered goes when there are too many."""
        made, known = (t_ms // self.step_ms, stored, values), self._known
        with self._lock:
            if len(known) >= self._most and entity not in known:
                del known[next(iter(known))]
            known[entity] = made
