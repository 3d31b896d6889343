"""The point-in-time join of a training set, beside the same windows as range frames in DuckDB."""

import time

import numpy as np
import pyarrow as pa

from bench.figure import Figure, middle
from bench.made_up import RECENT, SOURCE, START, events

EVENTS, REQUESTS, ENTITIES, RUNS = 1_000_000, 100_000, 2_000, 3

_FRAMES = """
SELECT {outputs} FROM (SELECT k, "at", x, false AS asks FROM events UNION ALL SELECT k, "at", NULL, true FROM asked)
WINDOW h AS (PARTITION BY k ORDER BY "at" RANGE BETWEEN INTERVAL 1 HOUR PRECEDING AND INTERVAL 1 MILLISECOND PRECEDING),
       s AS (PARTITION BY k ORDER BY "at" RANGE BETWEEN INTERVAL 6 HOUR PRECEDING AND INTERVAL 1 MILLISECOND PRECEDING),
       w AS (PARTITION BY k ORDER BY "at" RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND INTERVAL 1 MILLISECOND PRECEDING)
QUALIFY asks
"""
_OUTPUTS = ", ".join(f"avg(x) OVER {w}, max(x) OVER {w}, count(x) OVER {w}" for w in "hsw")


def join() -> list[Figure]:
    """Nine features in three windows for each request. The goal is a fifth of that for five times as much."""
    from skyloom.kernel.units import DAY

    span = 60 * DAY
    table = events(EVENTS, ENTITIES, span)
    random = np.random.default_rng(11)
    t = np.sort(random.integers(START, START + span, REQUESTS))
    entity = pa.array(random.integers(0, ENTITIES, REQUESTS)).cast(pa.string())
    ours = middle([_ours(table, entity, t) for _ in range(RUNS)])
    theirs = middle([_duckdb(table, entity, t) for _ in range(RUNS)])
    name = "point-in-time training set, 1M events x 100k requests"
    return [
        Figure(name, ours, "s", 1.0, "python -m bench join"),
        Figure("the same windows as range frames in DuckDB, all cores", theirs, "s"),
        Figure("DuckDB / ours", theirs / ours, "x"),
    ]


def _ours(table: pa.Table, entity: pa.Array, t: np.ndarray) -> float:
    from skyloom.features.algebra.columns import milliseconds
    from skyloom.features.offline.pit import Asked, join

    begun = time.perf_counter()
    join(RECENT, SOURCE, table, milliseconds(table.column("at")), Asked([pa.chunked_array([entity])], t, t))
    return time.perf_counter() - begun


def _duckdb(table: pa.Table, entity: pa.Array, t: np.ndarray) -> float:
    import duckdb

    with duckdb.connect() as connection:
        connection.register("events", table.select(["k", "at", "x"]))
        connection.register("asked", pa.table({"k": entity, "at": pa.array(t).cast(pa.timestamp("ms", tz="UTC"))}))
        begun = time.perf_counter()
        answer = connection.sql(_FRAMES.format(outputs=_OUTPUTS)).to_arrow_table()
        took = time.perf_counter() - begun
    assert len(answer) == REQUESTS
    return took
