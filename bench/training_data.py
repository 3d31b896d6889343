"""Made-up events and labels for training sets: few entities have most of both."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.made_up import START
from skyloom.ingest.codec import event_schema
from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef, SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.kernel.units import DAY, HOUR

SCHEMA = Schema(
    (Field("id", Type.STRING), Field("at", Type.TIMESTAMP), Field("k", Type.INT), Field("x", Type.FLOAT)), "id", "at"
)
SOURCE = SourceDef("events", SCHEMA)
KINDS = ("count", "mean", "min", "max")
GROUP = FeatureGroupDef(
    "recent", "events", ("k",), tuple(AggregateDef(k, k, "x", 7 * DAY, HOUR) for k in KINDS), {"x": 2}, 0
)
"""Four aggregates over 7 days whose tail moves by the hour."""


def events(count: int, keys: int, span_ms: int) -> pa.Table:
    """``count`` events over ``span_ms``, in the lake's columns; ``ts`` and ``cents`` are ``at`` and ``x`` as integers."""
    random = np.random.default_rng(7)
    ts, cents = (
        np.sort(random.integers(START, START + span_ms, count)),
        np.rint(random.normal(500, 3000, count)).astype(np.int64),
    )
    at = pa.array(ts).cast(pa.timestamp("ms", tz="UTC"))
    columns = {
        "id": pa.array(np.arange(count)).cast(pa.string()),
        "at": at,
        "k": pa.array(skewed(random, count, keys)),
        "x": pa.array(cents / 100),
        "_offset": pa.array(np.arange(count)),
        "_appended": at,
        "_imported": pa.array(np.ones(count, bool)),
    }
    schema = event_schema(SCHEMA)
    kept = pa.table([columns[field.name] for field in schema], schema)
    return kept.append_column("ts", pa.array(ts)).append_column("cents", pa.array(cents))


def labels(count: int, keys: int, span_ms: int) -> pa.Table:
    """``count`` labels: ``rid`` from 0, entity ``k``, moment ``t``, and where its window begins, ``lo`` (ms)."""
    random = np.random.default_rng(11)
    t = random.integers(START, START + span_ms, count)
    lo = (t - 7 * DAY) // HOUR * HOUR
    return pa.table({"rid": np.arange(count), "k": skewed(random, count, keys), "t": t, "lo": lo})


def skewed(random: np.random.Generator, count: int, keys: int) -> npt.NDArray[np.int64]:
    """Keys by Zipf's law: the n-th key is drawn with a weight of 1/n."""
    reached = np.cumsum(1 / np.arange(1, keys + 1))
    return np.searchsorted(reached / reached[-1], random.random(count)).astype(np.int64)


def write(folder: Path, table: pa.Table, name: str) -> None:
    """A table where the contenders look for it."""
    with pa.ipc.new_file(str(folder / f"{name}.arrow"), table.schema) as writer:
        writer.write_table(table)
