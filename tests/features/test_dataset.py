"""Training sets of several sources and entities: each mode beside the oracle, in memory and from the disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from tests.features import oracle
from tests.features.histories import GROUPS, NUMBERS, ORIGIN, SCHEMA, SOURCE, WHOLE
from tests.features.memory import MemoryOnline
from tests.features.oracle import Happened

from skyloom.features.offline import spill
from skyloom.features.offline.dataset import build, definition_digest
from skyloom.features.offline.history import MEMORY
from skyloom.features.offline.spill import Spill, blocks, part_of
from skyloom.features.spaces import pack, progress_space
from skyloom.ingest.codec import event_schema
from skyloom.ingest.receipts import receipts_table
from skyloom.ingest.sink import events_topic
from skyloom.kernel.errors import Transient, UsageError
from skyloom.kernel.expr import col
from skyloom.kernel.records.definitions import MODES, InputDef, LabelDef, LoopDef, ModelDef, ProjectDef, SourceDef
from skyloom.kernel.records.prediction import Receipt, predictions_topic
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.kernel.units import DAY, HOUR, MINUTE
from skyloom.stores.lake.delta import DeltaLake

CALLS = msgspec.structs.replace(SOURCE, name="calls", delay_ms=0)
ASKS = SourceDef(
    "asks",
    Schema(
        (
            Field("ask", Type.STRING),
            Field("at", Type.TIMESTAMP),
            Field("person", Type.STRING, nullable=True),
            Field("desk", Type.INT, nullable=True),
        ),
        "ask",
        "at",
    ),
)
ENDS = SourceDef(
    "ends",
    Schema((Field("ask", Type.STRING), Field("at", Type.TIMESTAMP), Field("bad", Type.BOOL, nullable=True)), "ask", "at"),
)
ENTITY = {"by_who": ("person",), "by_desk": ("desk",), "by_who_and_desk": ("person", "desk")}
LOOKED_UP = {
    "by_who": GROUPS[0],
    "by_who_and_desk": GROUPS[2],
    "by_desk": msgspec.structs.replace(GROUPS[1], source="calls"),
}
MODEL = ModelDef(
    name="bad",
    requests="asks",
    inputs=(
        InputDef("desk", Type.INT, expression=col("desk").expression),
        *(
            InputDef(f"{name}_{a.name}", Type.FLOAT, group=name, aggregate=a.name, entity=ENTITY[name])
            for name, group in LOOKED_UP.items()
            for a in group.aggregates
        ),
    ),
    label=LabelDef("ends", "ask", col("bad").expression, DAY),
    function="f",
    source_digest="",
    parameters={},
    metrics=("roc_auc",),
    task="binary",
    loop=LoopDef(),
)
PROJECT = ProjectDef("p", {each.name: each for each in (SOURCE, CALLS, ASKS, ENDS)}, LOOKED_UP, {"bad": MODEL})
NOW = ORIGIN + 30 * DAY


class World(NamedTuple):
    """What happened, and who asked: requests with what they were served with, if they were."""

    lake: DeltaLake
    online: MemoryOnline
    events: dict[str, list[Happened]]
    progress: dict[str, list[tuple[int, int]]]
    asks: list[dict[str, Any]]
    as_of: dict[str, dict[str, int]]


def happened(random: np.random.Generator, count: int) -> list[Happened]:
    now, events = ORIGIN, list[Happened]()
    for offset in range(count):
        now += int(random.integers(0, 20 * MINUTE))
        at = now - int(random.integers(-MINUTE, [MINUTE, 12 * HOUR][int(random.integers(0, 2))]))
        row = {
            "id": f"k{offset}",
            "at": at,
            "who": [None, "UA", "", "DL é"][int(random.integers(0, 4))],
            "desk": [None, 7, -1][int(random.integers(0, 3))],
            "x": NUMBERS[int(random.integers(0, len(NUMBERS)))],
            "n": WHOLE[int(random.integers(0, len(WHOLE)))],
            "ok": [None, True, False][int(random.integers(0, 3))],
        }
        events.append(Happened(offset, now, bool(random.integers(0, 2)), at, row))
    return events


def as_table(events: list[Happened]) -> pa.Table:
    rows = [{**e.row, "_offset": e.offset, "_appended": e.appended, "_imported": e.imported} for e in events]
    return pa.Table.from_pylist(rows, event_schema(SCHEMA))


def receipt(ask: dict[str, Any], as_of: dict[str, int]) -> Receipt:
    return Receipt(
        "r" + ask["ask"], "bad", 1, "", "champion", ask["ask"], ask["ask"], ask["at"], 0, (), as_of, ask, 0.5, 1.0
    )


@pytest.fixture(params=range(3))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    random = np.random.default_rng(request.param)
    lake, online = DeltaLake(tmp_path / "lake"), MemoryOnline()
    events = {name: happened(random, 150) for name in ("landings", "calls")}
    progress: dict[str, list[tuple[int, int]]] = {}
    for name, table in ((name, as_table(found)) for name, found in events.items()):
        parts = np.sort(random.integers(0, 150, 4)).tolist()
        for begin, stop in zip([0, *parts], [*parts, 150], strict=True):
            lake.append(events_topic(name), table.slice(begin, stop - begin))
        marks = np.sort(random.integers(1, 150, 12)).tolist()
        progress[name] = [(mark, events[name][mark - 1].appended + int(random.integers(0, HOUR))) for mark in marks]
    with online.write() as writer:
        for name, entries in progress.items():
            for mark, moment in entries:
                writer.put(progress_space(name), pack(mark), pack(moment))
    asks = [
        {
            "ask": f"q{index:03d}",
            "at": ORIGIN + int(random.integers(0, 2 * DAY)),
            "person": [None, "UA", "", "DL é", "never"][int(random.integers(0, 5))],
            "desk": [None, 7, -1, 3][int(random.integers(0, 4))],
        }
        for index in range(60)
    ]
    extra = {"_appended": NOW, "_imported": True}
    listed = [{**ask, **extra, "_offset": index} for index, ask in enumerate(asks[:45])]
    lake.append(events_topic("asks"), pa.Table.from_pylist(listed, event_schema(ASKS.schema)))
    ends = [{"ask": a["ask"], "at": a["at"] + HOUR, "bad": i % 3 == 0, **extra, "_offset": i} for i, a in enumerate(asks)]
    later = [{**end, "bad": not end["bad"], "_appended": NOW + 1, "_offset": end["_offset"] + 100} for end in ends]
    nothing = [{**end, "bad": None, "_appended": NOW - 1, "_offset": end["_offset"] + 200} for end in ends]
    for labels in (later, nothing, ends):  # the first one that says something counts, wherever it lies
        lake.append(events_topic("ends"), pa.Table.from_pylist(labels, event_schema(ENDS.schema)))
    served = asks[30:]
    as_of = {ask["ask"]: {name: int(random.integers(0, 151)) for name in events} for ask in served}
    again = [{**served[0], "at": served[0]["at"] + MINUTE}]
    rows = [receipt(ask, as_of[ask["ask"]]) for ask in [*served, *again]][::-1]
    lake.append(predictions_topic("bad"), receipts_table(rows))
    return World(lake, online, events, progress, asks, as_of)


def visible(world: World, mode: str, ask: dict[str, Any], source: SourceDef) -> list[Happened]:
    """The events of a source that a request may see, said anew."""
    t, offsets = ask["at"], world.as_of.get(ask["ask"])

    def seen(event: Happened) -> bool:
        if mode == "as_event":
            return event.effective + source.delay_ms < t
        if offsets is not None:
            return event.offset < offsets[source.name]
        if event.imported:
            return event.effective + source.delay_ms < t
        return any(event.offset < mark and moment <= t for mark, moment in world.progress[source.name])

    return [event for event in world.events[source.name] if seen(event)]


def expected(world: World, mode: str) -> list[dict[str, Any]]:
    chosen = [ask for ask in world.asks if mode != "as_served" or ask["ask"] in world.as_of]
    rows = []
    for ask in sorted(chosen, key=lambda ask: (ask["at"], ask["ask"])):
        row: dict[str, Any] = {"key": ask["ask"], "desk": ask["desk"]}
        for name, group in LOOKED_UP.items():
            source = PROJECT.sources[group.source]
            entity = tuple(ask[column] for column in ENTITY[name])
            values = oracle.features(group, visible(world, mode, ask, source), entity, ask["at"])
            row |= {f"{name}_{a.name}": value for a, value in zip(group.aggregates, values, strict=True)}
        row["label"] = float(world.asks.index(ask) % 3 == 0)
        rows.append(row)
    return rows


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("memory", [MEMORY, 1])
def test_each_mode_is_what_the_oracle_says_in_memory_and_from_the_disk(world: World, mode: str, memory: int) -> None:
    made = build(MODEL, PROJECT, world.lake, world.online, now_ms=NOW, mode=mode, memory=memory)
    found = made.table.drop_columns(["t"]).to_pylist()
    assert found == expected(world, mode)
    assert made.version is not None
    assert (made.version.mode, made.version.definition) == (mode, definition_digest(MODEL, PROJECT, mode))
    note = {"definition": made.version.definition, "digest": made.version.digest, "mode": mode}
    assert world.lake.note("training/bad", made.version.version) == note
    assert world.lake.read("training/bad", version=made.version.version).equals(made.table)


def test_the_same_data_make_the_same_set(world: World) -> None:
    one = build(MODEL, PROJECT, world.lake, world.online, now_ms=NOW)
    other = build(MODEL, PROJECT, world.lake, world.online, now_ms=NOW, memory=1)
    assert one.table.equals(other.table)
    assert one.version is not None
    assert other.version is not None
    assert (one.version.digest, one.version.sources) == (other.version.digest, other.version.sources)
    world.lake.append(events_topic("calls"), as_table(world.events["calls"])[:1])
    later = build(MODEL, PROJECT, world.lake, world.online, now_ms=NOW).version
    assert later is not None
    assert later.definition == one.version.definition
    assert later.digest != one.version.digest


def _without_a_window(project: ProjectDef) -> ProjectDef:
    group = msgspec.structs.replace(LOOKED_UP["by_who"], lateness_ms=0)
    return msgspec.structs.replace(project, groups={**project.groups, "by_who": group})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda model, project: (model, _without_a_window(project)), id="group"),
        pytest.param(lambda model, project: (msgspec.structs.replace(model, inputs=model.inputs[1:]), project), id="inputs"),
    ],
)
def test_the_digest_names_the_definition(change: Callable[[ModelDef, ProjectDef], tuple[ModelDef, ProjectDef]]) -> None:
    same = definition_digest(msgspec.structs.replace(MODEL, metrics=("brier",)), PROJECT, MODES[0])
    assert same == definition_digest(MODEL, PROJECT, MODES[0])
    assert definition_digest(*change(MODEL, PROJECT), MODES[0]) != same
    assert definition_digest(MODEL, PROJECT, MODES[2]) != same


def test_an_unknown_mode_is_told_apart(world: World) -> None:
    with pytest.raises(UsageError, match="'as_known' is no way to look back"):
        build(MODEL, PROJECT, world.lake, world.online, now_ms=NOW, mode="as_known")


def test_rows_of_one_entity_are_in_one_part_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_BLOCK", 100)
    random = np.random.default_rng(1)
    keys = [None if k == 0 else f"e{k}" for k in random.integers(0, 30, 1_000).tolist()]
    table = pa.table({"k": keys, "d": random.integers(0, 3, 1_000), "i": np.arange(1_000)})
    seen: dict[Any, set[int]] = {}
    rows = 0
    with Spill(table.schema, ("k", "d"), 7) as parted:
        for block in blocks(table.to_batches(max_chunksize=13), table.schema):
            parted.add(block)
        parted.close()
        for part in range(7):
            found = parted.read(part).to_pylist()
            assert [row["i"] for row in found] == sorted(row["i"] for row in found)
            rows += len(found)
            for row in found:
                seen.setdefault((row["k"], row["d"]), set()).add(part)
    assert rows == sum(key is not None for key in keys)
    assert all(len(parts) == 1 for parts in seen.values())
    assert len({part for parts in seen.values() for part in parts}) == 7
    assert part_of([pa.chunked_array([[]], pa.string())], 3).tolist() == []


def test_a_full_disk_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write_table(self, table: pa.Table) -> None:
            raise OSError(28, "No space left on device")

    with Spill(pa.schema([("k", pa.string())]), ("k",), 1) as parted:
        monkeypatch.setattr(parted, "_writers", [Full()])
        with pytest.raises(Transient, match="set aside on the disk"):
            parted.add(pa.table({"k": ["a"]}))
