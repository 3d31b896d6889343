"""Entity tables: what the stream keeps, what a training set finds and what a look through all versions says are one."""

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from tests.features import oracle
from tests.features.histories import GROUPS, SCHEMA, SOURCE, History, histories
from tests.features.memory import MemoryOnline
from tests.features.replay import ENTITIES, TYPES, last_offset, parts

from skyloom.features import tables
from skyloom.features.offline import pit
from skyloom.features.online.fold import SourceFold
from skyloom.features.online.rows import OnlineTables
from skyloom.features.spaces import tiles_space
from skyloom.features.tables import looked_up
from skyloom.ingest.codec import event_schema
from skyloom.kernel.errors import Transient
from skyloom.kernel.records.definitions import FeatureGroupDef

CUTS = st.lists(st.integers(1, 4), max_size=4)
ATTRIBUTES = ("x", "who", "at", "n", "ok")
TABLES = tuple(
    FeatureGroupDef(f"of_{'_'.join(by)}", SOURCE.name, by, (), {}, 0, attributes=ATTRIBUTES)
    for by in (("who",), ("desk",), ("who", "desk"))
)


def newest(events: list[oracle.Happened], table: FeatureGroupDef, entity: tuple[Any, ...]) -> tuple[Any, ...]:
    """The attributes of the newest version among visible events."""
    mine = [] if None in entity else [event for event in events if oracle.belongs(event, table, entity)]
    if not mine:
        return (None,) * len(ATTRIBUTES)
    found = max(mine, key=lambda event: (event.effective, event.offset))
    return tuple(found.row[name] for name in ATTRIBUTES)


def joined(fresh: pa.Table, table: FeatureGroupDef, entities: list[tuple[Any, ...]], order: Any, asked: list[int]) -> Any:
    columns = [
        pa.chunked_array([[entity[part] for entity in entities]], TYPES[column]) for part, column in enumerate(table.by)
    ]
    moments = np.array(asked, np.int64)
    found = looked_up(table, SOURCE, fresh, order, pit.Asked(columns, moments, moments))
    plain = [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in found]
    return list(zip(*(column.to_pylist() for column in plain), strict=True))


def differences(history: History, cuts: list[int]) -> list[Any]:
    """Where stream, training set and oracle do not see the same rows."""
    store, fresh = MemoryOnline(), [event_schema(SCHEMA).empty_table()]
    served: list[tuple[FeatureGroupDef, tuple[Any, ...], int, tuple[Any, ...]]] = []
    for part in parts(history, cuts):
        with store.write() as writer:
            fresh.append(SourceFold(SOURCE, (*GROUPS, *TABLES)).fold(writer, part, last_offset(part) + 1, 0).fresh)
        online = OnlineTables(store, {table.name: table for table in TABLES})
        for table in TABLES:
            for entity in ENTITIES[table.by]:
                rows = online.read([(table.name, entity)])
                served.append((table, entity, rows.as_of[SOURCE.name], rows.values[0]))
    every, found = pa.concat_tables(fresh), list[Any]()
    events = oracle.first_copies(history.events, "id")
    for table in TABLES:
        mine = [line for line in served if line[0] is table]
        visible = [[event for event in events if event.offset < as_of] for _, _, as_of, _ in mine]
        expected = [newest(seen, table, line[1]) for seen, line in zip(visible, mine, strict=True)]
        asked = joined(every, table, [line[1] for line in mine], pit.by_offset(every), [line[2] for line in mine])
        found += [each for each in zip(mine, asked, expected, strict=True) if not each[0][3] == each[1] == each[2]]
    return found


@settings(max_examples=150, deadline=None)
@given(histories(), CUTS)
def test_stream_training_set_and_oracle_see_the_same_rows(history: History, cuts: list[int]) -> None:
    assert differences(history, cuts) == []


def _is_found() -> bool:
    """Whether some history shows a difference (otherwise `hypothesis.errors.NoSuchExample` is raised)."""
    search = settings(max_examples=1_000, phases=[Phase.generate], deadline=None, database=None, derandomize=True)
    return bool(find(st.tuples(histories(), CUTS), lambda drawn: differences(*drawn) != [], settings=search))


def test_rows_that_the_last_to_come_decides_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = tables.newest
    monkeypatch.setattr(tables, "newest", lambda versions, *asked: right(versions._replace(ts=versions.offset), *asked))
    assert _is_found()


def test_rows_that_a_late_version_overwrites_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def overwrite(writer: Any, space: str, found: Any) -> None:
        writer.put_many(space, [(key, msgspec.msgpack.encode(version)) for key, version in found])

    monkeypatch.setattr(tables, "_write", overwrite)
    assert _is_found()


def test_one_version_too_many_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = tables.newest
    monkeypatch.setattr(tables, "newest", lambda versions, entity, order: right(versions, entity, order + 1))
    assert _is_found()


@settings(max_examples=60, deadline=None)
@given(histories(), CUTS, CUTS)
def test_the_rows_kept_do_not_depend_on_batches(history: History, cuts: list[int], others: list[int]) -> None:
    kept: list[Any] = []
    for chosen in (cuts, others):
        store = MemoryOnline()
        for part in parts(history, chosen):
            with store.write() as writer:
                SourceFold(SOURCE, TABLES).fold(writer, part, last_offset(part) + 1, 0)
        with store.read() as view:
            kept.append({table.name: list(view.scan(tiles_space(table))) for table in TABLES})
    assert kept[0] == kept[1]


def test_a_table_that_is_not_built_waits() -> None:
    with MemoryOnline().write() as writer:
        SourceFold(SOURCE, GROUPS).fold(writer, event_schema(SCHEMA).empty_table(), 3, 0)
        store = MemoryOnline()
        store.spaces = writer.spaces
    with pytest.raises(Transient, match="the table of_who is still being built"):
        OnlineTables(store, {"of_who": TABLES[0]}).read([("of_who", ("UA",))])
    changed = msgspec.structs.replace(TABLES[0], attributes=("x",))
    assert tiles_space(changed) != tiles_space(TABLES[0])
    assert OnlineTables(MemoryOnline(), {"of_who": TABLES[0]}).read([("of_who", ("UA",))]).values == [(None,) * 5]
