"""Made-up events of the shape of arrivals, for the measures of features."""

from typing import Any

import numpy as np
import pyarrow as pa

from skyloom.ingest.codec import event_schema
from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef, SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.kernel.units import DAY, HOUR, MINUTE

START = 1_600_000_000_000 // DAY * DAY
SCHEMA = Schema(
    (Field("id", Type.STRING), Field("at", Type.TIMESTAMP), Field("k", Type.STRING), Field("x", Type.FLOAT)), "id", "at"
)
SOURCE = SourceDef("arrivals", SCHEMA, stream="arrivals")


def group(windows: dict[int, int], kinds: tuple[str, ...] = ("mean", "max", "count")) -> FeatureGroupDef:
    """Each kind over each window; ``windows`` maps a window's length to its hop, both in ms."""
    aggregates = [
        AggregateDef(f"{kind}_{window}", kind, None if kind == "count" else "x", window, hop)
        for window, hop in windows.items()
        for kind in kinds
    ]
    return FeatureGroupDef("recent", SOURCE.name, ("k",), tuple(aggregates), {"x": 2}, 0)


RECENT = group({HOUR: 5 * MINUTE, 6 * HOUR: 5 * MINUTE, 7 * DAY: DAY})


def events(count: int, entities: int, span_ms: int, *, start: int = START, first: int = 0) -> pa.Table:
    """Events in the order of their times, from ``start`` on, of random entities, with offsets from ``first``."""
    random = np.random.default_rng(7)
    at = np.sort(random.integers(start, start + span_ms, count))
    offset = first + np.arange(count)
    columns: list[Any] = [
        pa.array(offset).cast(pa.string()),
        pa.array(at).cast(pa.timestamp("ms", tz="UTC")),
        pa.array(random.integers(0, entities, count)).cast(pa.string()),
        pa.array(np.round(random.normal(5, 30, count), 2)),
        pa.array(offset),
        pa.array(at).cast(pa.timestamp("ms", tz="UTC")),
        pa.array(np.ones(count, bool)),
    ]
    schema = event_schema(SCHEMA)
    return pa.table([column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema)
