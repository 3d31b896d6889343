"""Polars: all four features, by hours.

A window ``[lo, t)`` is the 168 whole hours before that of ``t``, and what is of the hour of ``t`` itself, before ``t``. The
first are hours of events rolled over seven days, the second a join by entity and hour. Of the ways that were tried this is
the fastest with the right answer; it took (processor time, 5M events of whole-number entities) 4.4 s, where

- the same on the streaming engine took 4.6 s, and sorted by the hour alone, 8 s,
- running values within each hour (``cum_min().over``) and an as-of join took 12 s, with ``rolling_min_by(...).over`` 12 s,
- ``rolling`` over the events themselves, not over hours of them, took 15 s.
"""

from typing import Any

import polars as pl
import pyarrow as pa
from shared import contend

HOUR = 3_600_000
WEEK = f"{7 * 24 * HOUR}i"


def prepare(events: pa.Table, labels: pa.Table) -> Any:
    """Frames of its own."""
    return pl.from_arrow(events.select(["k", "ts", "x", "cents"])), pl.from_arrow(labels.select(["k", "t", "rid"]))


def work(prepared: Any) -> pa.Table:
    """The four features for every label."""
    events = prepared[0].lazy().with_columns(hour=pl.col("ts") // HOUR * HOUR)
    labels = prepared[1].lazy().with_columns(hour=pl.col("t") // HOUR * HOUR)
    found = labels.join(_week_before(events, labels), on=["k", "hour"], how="left")
    found = found.join(_own_hour(events, labels), on="rid", how="left", suffix="_own").sort("rid")
    n, s = (pl.col(name).fill_null(0) + pl.col(f"{name}_own").fill_null(0) for name in ("n", "s"))
    answer = found.select(
        n=n,
        mean=pl.when(n > 0).then(s / (n * 100.0)),
        low=pl.min_horizontal("low", "low_own"),
        high=pl.max_horizontal("high", "high_own"),
    )
    return answer.collect().to_arrow()


def _week_before(events: Any, labels: Any) -> Any:
    """The 168 hours before each hour in which an entity has a label."""
    hours = events.group_by("k", "hour").agg(*_aggregates())
    asked = labels.select("k", "hour", n=pl.lit(0, pl.Int64), s=pl.lit(0, pl.Int64)).unique()
    both = pl.concat([hours, asked], how="diagonal").sort("k", "hour")
    rolled = both.rolling("hour", period=WEEK, closed="left", group_by="k")
    sums = pl.col("n").sum(), pl.col("s").sum(), pl.col("low").min(), pl.col("high").max()
    return rolled.agg(*sums).unique(["k", "hour"])


def _own_hour(events: Any, labels: Any) -> Any:
    """What happened in each label's own hour, before it."""
    beside = labels.join(events, on=["k", "hour"]).filter(pl.col("ts") < pl.col("t"))
    return beside.group_by("rid").agg(*_aggregates())


def _aggregates() -> tuple[Any, ...]:
    x = pl.col("x")
    return pl.len().cast(pl.Int64).alias("n"), pl.col("cents").sum().alias("s"), x.min().alias("low"), x.max().alias("high")


contend("polars_whole", prepare, work)
