"""Declare a model once, in Python; Skyloom runs its whole life.

>>> import skyloom as sky
>>> class Departure(sky.Event):
...     flight_id: str = sky.key()
...     scheduled: sky.Timestamp = sky.time()
...     carrier: str
>>> departures = sky.Source(Departure, table="data/departures.parquet", stream="departures")
"""

from skyloom import testing
from skyloom.kernel.expr import coalesce, col, greatest, least, where
from skyloom.notebook import dataset, predict, train
from skyloom.spec.aggregate import (
    count,
    distinct,
    first,
    first_k,
    last,
    last_k,
    max,
    mean,
    min,
    quantile,
    stddev,
    sum,
    top_k,
    var,
)
from skyloom.spec.event import Event, Timestamp, field, key, time
from skyloom.spec.features import Features
from skyloom.spec.label import Label
from skyloom.spec.logbook import Logbook
from skyloom.spec.loop import (
    Loop,
    Search,
    at_least,
    better_than_champion,
    canary,
    every,
    full,
    latency_p99,
    no_slice_worse,
    not_worse_than_champion,
    shadow,
    usd,
    when_drift,
    when_performance_drops,
)
from skyloom.spec.model import model
from skyloom.spec.moment import day, hour, minute, month, second, weekday, year
from skyloom.spec.source import Source, sql
from skyloom.spec.table import Table

__all__ = [
    "Event",
    "Features",
    "Label",
    "Logbook",
    "Loop",
    "Search",
    "Source",
    "Table",
    "Timestamp",
    "at_least",
    "better_than_champion",
    "canary",
    "coalesce",
    "col",
    "count",
    "dataset",
    "day",
    "distinct",
    "every",
    "field",
    "first",
    "first_k",
    "full",
    "greatest",
    "hour",
    "key",
    "last",
    "last_k",
    "latency_p99",
    "least",
    "max",
    "mean",
    "min",
    "minute",
    "model",
    "month",
    "no_slice_worse",
    "not_worse_than_champion",
    "predict",
    "quantile",
    "second",
    "shadow",
    "sql",
    "stddev",
    "sum",
    "testing",
    "time",
    "top_k",
    "train",
    "usd",
    "var",
    "weekday",
    "when_drift",
    "when_performance_drops",
    "where",
    "year",
]
