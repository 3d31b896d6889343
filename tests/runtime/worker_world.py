"""A small world of real stores for the worker alone: a log filled beforehand, an online store, a lake, and no registry."""

from pathlib import Path
from typing import Any

from skyloom.ingest.partitions import Appender, pack_rows, parts_of
from skyloom.ingest.sink import events_topic
from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef, ProjectDef, SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.kernel.units import DAY, HOUR, MINUTE
from skyloom.spec.profile import Profile

START = 15_900 * DAY
SCHEMA = Schema(
    (
        Field("id", Type.STRING),
        Field("at", Type.TIMESTAMP),
        Field("who", Type.STRING),
        Field("x", Type.FLOAT, precision=2),
    ),
    key="id",
    time="at",
)
SOURCE = SourceDef("taps", SCHEMA)


def group(name: str, by: str, window: int) -> FeatureGroupDef:
    aggregates = (
        AggregateDef("count", "count", None, window, 5 * MINUTE),
        AggregateDef("sum", "sum", "x", window, 5 * MINUTE),
        AggregateDef("max", "max", "x", window, 5 * MINUTE),
    )
    return FeatureGroupDef(name, SOURCE.name, (by,), aggregates, {"x": 2}, 0)


BY_WHO, BY_ID = group("by_who", "who", HOUR), group("by_id", "id", 2 * HOUR)


def project(*groups: FeatureGroupDef) -> ProjectDef:
    return ProjectDef("world", {SOURCE.name: SOURCE}, {each.name: each for each in groups}, {})


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.at = START

    def now_ms(self) -> int:
        return self.at


class World:
    """What the worker needs of a platform, in one folder."""

    def __init__(self, path: Path, partitions: int = 1) -> None:
        from skyloom.stores.lake.delta import DeltaLake
        from skyloom.stores.log.lmdb import LmdbLog
        from skyloom.stores.online.lmdb import LmdbOnline

        self.directory = path
        self.profile = Profile()
        self.clock = Clock()
        self.log: Any = LmdbLog(path / "log", partitions, map_bytes=1 << 26)
        self.online: Any = LmdbOnline(path / "online", map_bytes=1 << 26)
        self.lake: Any = DeltaLake(path / "lake")

    def close(self) -> None:
        self.log.close()
        self.online.close()


Row = tuple[str, int, str, float]


def put(world: Any, rows: list[Row], now: int, *, imported: bool = False) -> None:
    """Append rows to the source's log, in one batch a partition, that came at ``now``."""
    Appender(world.log, SOURCE).append(pack_rows(rows, SOURCE, partitions_of(world)), now, imported=imported)


def partitions_of(world: Any) -> int:
    return world.log.partitions(events_topic(SOURCE.name))


def fill(world: Any, batches: int = 12) -> None:
    """Batches of a stream with repeated and late rows, and rows that come too late for everything."""
    for number in range(batches):
        now = START + number * HOUR
        rows: list[Row] = [(f"k{number}-{i}", now + i, f"u{i % 3}", i / 4) for i in range(6)]
        rows.append((f"k{number}-0", now, "u0", 0.0))
        rows.append((f"late{number}", now - HOUR, "u1", 2.5))
        rows.append((f"dead{number}", now - 5 * HOUR, "u2", 9.0))
        put(world, rows, now + 10)


def contents(world: Any, *groups: FeatureGroupDef) -> dict[str, Any]:
    """Everything in the stores that answers depend on: tiles, keys, positions byte for byte, rows of the lake sorted."""
    from skyloom.features.spaces import seen_space, tiles_space, verdicts_space

    spaces = [tiles_space(each) for each in groups]
    spaces += [f"{space}/again" for space in spaces]
    for part in parts_of(SOURCE, partitions_of(world)):
        spaces += [*(seen_space(part.place, number) for number in range(9)), verdicts_space(part.place)]
    spaces.append("positions")
    with world.online.read() as view:
        found: dict[str, Any] = {space: dict(view.scan(space)) for space in spaces}
    for table in [name for name in world.lake.tables() if not name.startswith("progress")]:
        rows = world.lake.read(table)
        kept = [name for name in rows.column_names if not (table.startswith("quarantine") and name == "at")]
        found[table] = sorted(rows.select(kept).to_pylist(), key=repr)
    return found
