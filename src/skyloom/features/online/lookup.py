"""The serving layer: all features of one request from the online store, in one consistent read."""

from collections.abc import Sequence
from math import isnan
from typing import NamedTuple

import msgspec
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

_NOBODY = b"-"
"""A key that no entity has."""

Entity = tuple[str | int | None, ...]
"""The values of the columns that name an entity."""


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """Features as they were served: ``values`` of each wanted group in the order of its aggregates (``None`` is null), and
    for each source (each partition of it) the offset before which its events were visible."""

    values: list[tuple[float | None, ...]]
    as_of: dict[str, int]


class _Group(NamedTuple):
    """``standing`` says where the partitions of its source stand: mostly there is one."""

    definition: FeatureGroupDef
    program: Program
    standing: tuple[Standing, ...]
    space: str
    finished: Finished


class _Plan(NamedTuple):
    """How some groups are read: what is asked of where they stand, each once; for each place what of that are its source's
    position and the group's; and their tiles, which are asked for behind it."""

    standing: tuple[Pair, ...]
    places: tuple[tuple[str, int, int, FeatureGroupDef], ...]
    groups: tuple[_Group, ...]


class OnlineFeatures:
    """Reads the features of a fixed set of groups. Safe for threads; of what it remembers, nothing is ever out of date."""

    def __init__(self, store: OnlineStore, groups: dict[str, FeatureGroupDef]) -> None:
        self._store = store
        self._groups = {name: _compiled(group) for name, group in groups.items()}
        self._plans: dict[str | tuple[str, ...], _Plan] = {}
        self._partitions = Partitions({group.source for group in groups.values()})

    def read(self, wanted: Sequence[tuple[str, Entity]], t_ms: int) -> Snapshot:
        """The features of (group, entity) pairs at ``t_ms``, all of one moment of the store; an entity is the values of the
        group's ``by``, in order. An entity with a null among them, or that was never seen, has null features
        and counts of 0. Raises `DataError` when ``t_ms`` is older than what the store holds, and `Transient` when a group
        is not built yet.
        """
        unknown = self._partitions.unknown
        plan = self._plans.get(wanted[0][0] if len(wanted) == 1 else _names(wanted)) or self._planned(wanted)
        pairs = list(plan.standing)
        for group, (_, entity) in zip(plan.groups, wanted):  # noqa: B905  # a check that costs as much as the loop
            pairs.append((group.space, _NOBODY if None in entity else entity_key(*entity)))
        with self._store.read() as view:
            found = view.fetch([*pairs, *unknown] if unknown else pairs)
        if unknown and self._learn(unknown, found[len(pairs) :]):
            return self.read(wanted, t_ms)
        as_of: dict[str, int] = {}
        for place, source, built, definition in plan.places:
            stored = found[source]
            offset = as_of[place] = 0 if stored is None else unpack(stored)
            if offset and found[built] != stored:  # it was not folded with the rest
                raise _unbuilt(definition)
        values: list[Values] = []
        for at, group in enumerate(plan.groups, len(plan.standing)):
            values.append(_values(group, pairs[at][1], found[at], t_ms))
        return Snapshot(values, as_of)

    def _planned(self, wanted: Sequence[tuple[str, Entity]]) -> "_Plan":
        plans, names = self._plans, _names(wanted)  # those of before others learn more, too: what they have made of it
        groups = [self._groups[name] for name in names]
        plan = plans[names[0] if len(names) == 1 else names] = _plan_of(groups)
        return plan

    def _learn(self, unknown: Sequence[Pair], found: Sequence[bytes | None]) -> bool:
        """Take down what was found of how many partitions there are; whether what is read has to be read again."""
        learned = self._partitions.learn(unknown, found)
        for name, group in list(self._groups.items()):
            count = learned.get(group.definition.source, 1)
            if count > 1:
                self._groups[name] = group._replace(standing=tuple(standings(group.definition, count)))
                self._plans = {}
        return any(count > 1 for count in learned.values())


def _compiled(group: FeatureGroupDef) -> _Group:
    return _Group(group, compile_group(group), tuple(standings(group, 1)), tiles_space(group), Finished(group))


def _names(wanted: Sequence[tuple[str, Entity]]) -> tuple[str, ...]:
    return tuple([name for name, _ in wanted])


def _plan_of(groups: Sequence[_Group]) -> _Plan:
    asked: dict[Pair, int] = {}
    places: list[tuple[str, int, int, FeatureGroupDef]] = []
    for group in {group.definition.name: group for group in groups}.values():
        for each in group.standing:
            source = asked.setdefault(each.source, len(asked))
            places.append((each.place, source, asked.setdefault(each.group, len(asked)), group.definition))
    return _Plan(tuple(asked), tuple(places), tuple(groups))


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
