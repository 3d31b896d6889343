"""The serving layer: all features of one request from the online store, in one consistent read."""

from collections.abc import Sequence
from math import isnan
from typing import Any, NamedTuple

import numpy as np

from skyloom.features.algebra.kernel import read_packed
from skyloom.features.algebra.layout import other_layout
from skyloom.features.algebra.program import Program, compile_group
from skyloom.features.algebra.tiles import NULLS, OK, TOO_OLD, UNREADABLE
from skyloom.features.online.finished import Finished, Values
from skyloom.features.online.standing import Partitions, Standing, standings
from skyloom.features.spaces import tiles_space, unpack
from skyloom.kernel.entity import entity_key
from skyloom.kernel.errors import DataError, Transient
from skyloom.kernel.records.definitions import FeatureGroupDef
from skyloom.ports.online import OnlineStore, Pair

Entity = tuple[str | int | None, ...]
"""The values of the columns that name an entity."""


class Snapshot(NamedTuple):
    """Features as they were served: ``values`` of each wanted group in the order of its aggregates (``None`` is null), and
    for each source (each partition of it) the offset before which its events were visible."""

    values: list[tuple[float | None, ...]]
    as_of: dict[str, int]


class _Group(NamedTuple):
    """``first`` and ``more`` say where the partitions of its source stand: mostly there is one."""

    definition: FeatureGroupDef
    program: Program
    first: Standing
    more: tuple[Standing, ...]
    space: str
    finished: Finished


class OnlineFeatures:
    """Reads the features of a fixed set of groups. Safe for threads; of what it remembers, nothing is ever out of date."""

    def __init__(self, store: OnlineStore, groups: dict[str, FeatureGroupDef]) -> None:
        self._store = store
        self._groups = {name: _compiled(group) for name, group in groups.items()}
        self._partitions = Partitions({group.source for group in groups.values()})

    def read(self, wanted: Sequence[tuple[str, Entity]], t_ms: int) -> Snapshot:
        """The features of (group, entity) pairs at ``t_ms``, all of one moment of the store; an entity is the values of the
        group's ``by``, in order. An entity with a null among them, or that was never seen, has null features
        and counts of 0. Raises `DataError` when ``t_ms`` is older than what the store holds, and `Transient` when a group
        is not built yet.
        """
        asked: dict[Pair, int] = {}  # what is read, each once, and where it is in the answer
        places: list[tuple[_Group, int, int, int, bytes]] = []
        for name, entity in wanted:
            group = self._groups[name]
            source = asked.setdefault(group.first.source, len(asked))
            built = asked.setdefault(group.first.group, len(asked))
            key = b"" if None in entity else entity_key(*entity)
            tiles = asked.setdefault((group.space, key), len(asked)) if key else -1
            places.append((group, source, built, tiles, key))
            for each in group.more:
                asked.setdefault(each.source, len(asked))
                asked.setdefault(each.group, len(asked))
        unknown = self._partitions.unknown
        with self._store.read() as view:
            found = view.fetch([*asked, *unknown])
        if unknown and self._learn(unknown, found[len(asked) :]):
            return self.read(wanted, t_ms)
        as_of: dict[str, int] = {}
        values: list[tuple[float | None, ...]] = []
        for group, source, built, tiles, key in places:
            stored = found[source]
            offset = as_of[group.first.place] = 0 if stored is None else unpack(stored)
            if offset and found[built] != stored:  # it was not folded with the rest
                raise _unbuilt(group.definition)
            for each in group.more:
                stored = found[asked[each.source]]
                offset = as_of[each.place] = 0 if stored is None else unpack(stored)
                if offset and found[asked[each.group]] != stored:
                    raise _unbuilt(group.definition)
            values.append(_values(group, key, None if tiles < 0 else found[tiles], t_ms))
        return Snapshot(values, as_of)

    def _learn(self, unknown: Sequence[Pair], found: Sequence[bytes | None]) -> bool:
        """Take down what was found of how many partitions there are; whether what is read has to be read again."""
        learned = self._partitions.learn(unknown, found)
        for name, group in list(self._groups.items()):
            count = learned.get(group.definition.source, 1)
            if count > 1:
                self._groups[name] = group._replace(**_standing(group.definition, count))
        return any(count > 1 for count in learned.values())


def _compiled(group: FeatureGroupDef) -> _Group:
    return _Group(group, compile_group(group), space=tiles_space(group), finished=Finished(group), **_standing(group, 1))


def _standing(group: FeatureGroupDef, partitions: int) -> dict[str, Any]:
    first, *more = standings(group, partitions)
    return {"first": first, "more": tuple(more)}


def _values(group: _Group, key: bytes, stored: bytes | None, t_ms: int) -> Values:
    if stored is None:
        return _finish(group, b"", t_ms)
    values = group.finished.get(key, stored, t_ms)
    if values is None:
        values = _finish(group, stored, t_ms)
        group.finished.put(key, stored, t_ms, values)
    return values


def _finish(group: _Group, blob: bytes, t_ms: int) -> Values:
    out = np.empty(group.program.outputs)
    status = read_packed(group.program.packed, blob, t_ms, out)
    if status == OK:
        return tuple(out.tolist())
    if status == NULLS:
        return tuple(None if isnan(value) else value for value in out.tolist())
    raise _unreadable(group.definition, status)


def _unbuilt(group: FeatureGroupDef) -> Transient:
    return Transient(f"the features of {group.name} are still being built", fix="ask again in a moment")


def _unreadable(group: FeatureGroupDef, status: int) -> DataError:
    if status == TOO_OLD:
        return DataError(
            f"the request's time is older than what {group.name} still keeps online",
            fix="score old requests with skyloom score, which joins the features as of each row",
        )
    if status == UNREADABLE:
        return other_layout()
    return DataError(f"{group.name}: a sum grew beyond 62 bits", fix="declare a smaller precision")
