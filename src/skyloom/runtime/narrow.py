"""A lake that reads no more events than some requests can have seen: what is recomputed costs as much as its windows hold,
however long the history is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from skyloom.ingest.sink import events_topic
from skyloom.kernel.records.definitions import FeatureGroupDef, ModelDef, ProjectDef
from skyloom.kernel.records.prediction import Receipt
from skyloom.ports.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

Condition = tuple[str, str, object]


class NarrowLake:
    """Another lake, whose reads of some tables hold further conditions. Everything else goes through."""

    def __init__(self, lake: Lake, conditions: dict[str, list[Condition]]) -> None:
        self._lake, self._conditions = lake, conditions

    def append(
        self,
        table: str,
        rows: "pa.Table",
        *,
        app: str | None = None,
        position: int | None = None,
        after: int | None = None,
    ) -> int:
        return self._lake.append(table, rows, app=app, position=position, after=after)

    def overwrite(self, table: str, rows: "pa.Table", *, note: Mapping[str, str] | None = None) -> int:
        return self._lake.overwrite(table, rows, note=note)

    def note(self, table: str, version: int) -> dict[str, str]:
        return self._lake.note(table, version)

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: list[Condition] | None = None,
    ) -> "pa.Table":
        return self._lake.read(table, columns=columns, version=version, where=self._both(table, where))

    def scan(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: list[Condition] | None = None,
    ) -> "Iterator[pa.RecordBatch]":
        return self._lake.scan(table, columns=columns, version=version, where=self._both(table, where))

    def version(self, table: str) -> int | None:
        return self._lake.version(table)

    def position(self, table: str, app: str) -> int | None:
        return self._lake.position(table, app)

    def tables(self) -> list[str]:
        return self._lake.tables()

    def _both(self, table: str, where: list[Condition] | None) -> list[Condition] | None:
        return [*(where or []), *self._conditions.get(table, [])] or None


def narrowed(lake: Lake, model: ModelDef, project: ProjectDef, receipts: Sequence[Receipt]) -> Lake:
    """The lake for the features of ``receipts``: events of their entities, from the oldest window's tail on.

    An event counts for a window only when its effective time, which is never after its own time, is in it.
    """
    conditions: dict[str, list[Condition]] = {}
    for source in {group.source for group in project.groups.values()}:
        groups = {name: group for name, group in project.groups.items() if group.source == source}
        recent = _recent(project, source, list(groups.values()), receipts)
        conditions[events_topic(source)] = [*recent, *_of_entities(model, groups, receipts)]
    return NarrowLake(lake, conditions)


def reach_of(group: FeatureGroupDef) -> int | None:
    """How far back (ms) a group reaches, at most; ``None`` for an entity table, whose newest row can be of any age."""
    if group.attributes:
        return None
    return max(each.offset_ms + each.window_ms + each.hop_ms for each in group.aggregates)


def _recent(
    project: ProjectDef, source: str, groups: Sequence[FeatureGroupDef], receipts: Sequence[Receipt]
) -> list[Condition]:
    reaches = [reach_of(group) for group in groups]
    known = [reach for reach in reaches if reach is not None]
    low = min(receipt.at_ms for receipt in receipts) - max(known, default=0)
    if len(known) < len(reaches) or low <= 0:  # no event is older: before 1970 there are none
        return []
    return [(project.sources[source].schema.time, ">=", low)]


def _of_entities(model: ModelDef, groups: dict[str, FeatureGroupDef], receipts: Sequence[Receipt]) -> list[Condition]:
    """The entities of the requests, where all groups of a source are by the same first column and looked up directly."""
    wanted = {(ref.group, ref.entity[0]) for i in model.inputs for ref in i.features if ref.group in groups}
    by = {groups[name].by[0] for name in groups}
    known = all(column in receipt.request for _, column in wanted for receipt in receipts)
    if len(by) > 1 or not known or {name for name, _ in wanted} != set(groups):
        return []
    values = {receipt.request[column] for _, column in wanted for receipt in receipts} - {None}
    return [(by.pop(), "in", sorted(values, key=str))] if values else []
