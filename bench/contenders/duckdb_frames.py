"""DuckDB: events and labels in one table, a range frame whose length each label gives."""

import os
from typing import Any

import duckdb
import pyarrow as pa
from shared import contend

FRAMES = """
SELECT n, s / (n * 100.0) AS mean, low, high FROM (
  SELECT rid, count(x) OVER w AS n, (sum(cents) OVER w)::BIGINT AS s, min(x) OVER w AS low, max(x) OVER w AS high
  FROM (SELECT k, ts, x, cents, 0 AS len, -1 AS rid FROM events UNION ALL SELECT k, t, NULL, NULL, t - lo, rid FROM labels)
  WINDOW w AS (PARTITION BY k ORDER BY ts RANGE BETWEEN len PRECEDING AND 1 PRECEDING)
) WHERE rid >= 0 ORDER BY rid
"""


def prepare(events: pa.Table, labels: pa.Table) -> Any:
    """Tables of its own, on as many threads as we have cores."""
    connection = duckdb.connect()
    connection.execute(f"SET threads = {len(os.sched_getaffinity(0))}")
    for name, table in (("events_in", events), ("labels_in", labels)):
        connection.register(name, table)
    connection.execute("CREATE TABLE events AS SELECT k, ts, x, cents FROM events_in")
    connection.execute("CREATE TABLE labels AS SELECT k, t, lo, rid FROM labels_in")
    return connection


def work(connection: Any) -> pa.Table:
    """Four features for every label."""
    return connection.sql(FRAMES).to_arrow_table()


contend("duckdb_frames", prepare, work)
