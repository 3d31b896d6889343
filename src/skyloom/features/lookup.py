"""The serving layer: all features of one request from the online store, in one consistent read."""

from collections.abc import Sequence
from math import isnan
from typing import NamedTuple

import numpy as np

from skyloom.features.kernel import OK, TOO_OLD, read_blob
from skyloom.features.program import Program, compile_group
from skyloom.features.spaces import entity_key, group_position, position, source_position, tiles_space
from skyloom.kernel.errors import DataError, Transient
from skyloom.kernel.records.definitions import FeatureGroupDef
from skyloom.ports.online import OnlineReader, OnlineStore

_NOTHING = np.frombuffer(b"", np.int64)  # not to be written to, as all that is stored: one compiled form for both


Entity = tuple[str | int | None, ...]
"""The values of the columns that name an entity."""


class Snapshot(NamedTuple):
    """Features as they were served: ``values`` of each wanted group in the order of its aggregates (``None`` is null), and
    for each source the offset before which its events were visible."""

    values: list[tuple[float | None, ...]]
    as_of: dict[str, int]


class _Group(NamedTuple):
    definition: FeatureGroupDef
    program: Program
    space: str
    position: bytes
    source: bytes


class OnlineFeatures:
    """Reads the features of a fixed set of groups. Safe for threads; it holds no state of its own."""

    def __init__(self, store: OnlineStore, groups: dict[str, FeatureGroupDef]) -> None:
        self._store = store
        self._groups = {
            name: _Group(
                group, compile_group(group), tiles_space(group), group_position(group), source_position(group.source)
            )
            for name, group in groups.items()
        }

    def read(self, wanted: Sequence[tuple[str, Entity]], t_ms: int) -> Snapshot:
        """The features of (group, entity) pairs at ``t_ms``; an entity is the values of the group's ``by``, in order.
        An entity with a null among them, or that was never seen, has null features
        and counts of 0. Raises `DataError` when ``t_ms`` is older than what the store holds, and `Transient` when a group
        is not built yet.
        """
        values: list[tuple[float | None, ...]] = []
        as_of: dict[str, int] = {}
        with self._store.read() as view:
            for name, entity in wanted:
                group = self._groups[name]
                source = group.definition.source
                if source not in as_of:
                    as_of[source] = position(view, group.source) or 0
                values.append(self._values(view, group, entity, t_ms, as_of[source]))
        return Snapshot(values, as_of)

    def _values(self, view: OnlineReader, group: _Group, entity: Entity, t_ms: int, as_of: int) -> tuple[float | None, ...]:
        if as_of and position(view, group.position) is None:
            raise Transient(f"the features of {group.definition.name} are still being built", fix="ask again in a moment")
        stored = None if None in entity else view.get(group.space, entity_key(*entity))
        blob = _NOTHING if stored is None else np.frombuffer(stored, np.int64)
        out = np.empty(group.program.outputs)
        status = read_blob(group.program.tables, blob, t_ms, out)
        if status != OK:
            raise _unreadable(group.definition, status)
        return tuple(None if isnan(value) else value for value in out.tolist())


def _unreadable(group: FeatureGroupDef, status: int) -> DataError:
    if status == TOO_OLD:
        return DataError(
            f"the request's time is older than what {group.name} still keeps online",
            fix="score old requests with skyloom score, which joins the features as of each row",
        )
    return DataError(f"{group.name}: a sum grew beyond 62 bits", fix="declare a smaller precision")
