"""Polars: running counts and sums by entity, looked up by two as-of joins.

Extremes have no inverse: these are two features of the four.
"""

from typing import Any

import polars as pl
import pyarrow as pa
from shared import contend


def prepare(events: pa.Table, labels: pa.Table) -> Any:
    """Frames of its own."""
    return (
        pl.from_arrow(events.select(["k", "ts", "cents"])),
        pl.from_arrow(labels.select(["k", "t", "lo", "rid"])),
    )


def work(prepared: Any) -> pa.Table:
    """The number and the mean for every label."""
    events, labels = prepared
    running = (
        events.sort("ts")
        .with_columns(n=pl.int_range(1, pl.len() + 1).over("k"), s=pl.col("cents").cum_sum().over("k"))
        .select("k", "ts", "n", "s")
    )
    found = labels
    for side in ("t", "lo"):
        looked_up = running.rename({"n": f"n_{side}", "s": f"s_{side}"})
        found = found.sort(side).join_asof(
            looked_up, left_on=side, right_on="ts", by="k", strategy="backward", allow_exact_matches=False, coalesce=False
        )
        found = found.drop("ts")
    n = pl.col("n_t").fill_null(0) - pl.col("n_lo").fill_null(0)
    s = pl.col("s_t").fill_null(0) - pl.col("s_lo").fill_null(0)
    answer = found.sort("rid").select(n=n, mean=pl.when(n > 0).then(s / (n * 100.0)))
    return answer.to_arrow()


contend("polars_prefix", prepare, work)
