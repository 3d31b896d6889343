"""Random histories: what happens to a source between its first event and the last request."""

from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from tests.features.oracle import Happened

from skyloom.ingest.rows import encode_rows
from skyloom.kernel.expr import col
from skyloom.kernel.records.definitions import LIFETIME, AggregateDef, FeatureGroupDef, SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.kernel.units import DAY, HOUR, MINUTE, SECOND
from skyloom.ports.log import LogBatch

SCHEMA = Schema(
    (
        Field("id", Type.STRING),
        Field("at", Type.TIMESTAMP),
        Field("who", Type.STRING, nullable=True),
        Field("desk", Type.INT, nullable=True),
        Field("x", Type.FLOAT, nullable=True, precision=6),
        Field("n", Type.INT, nullable=True),
        Field("ok", Type.BOOL, nullable=True),
        Field("y", Type.FLOAT, nullable=True),
    ),
    key="id",
    time="at",
)
SOURCE = SourceDef("landings", SCHEMA, delay_ms=7 * MINUTE)
SCALES = {"x": 6, "n": 0, "ok": 0, "who": 0}


def group(
    name: str, by: str | tuple[str, ...], lateness: int, *aggregates: tuple[str, str | None, int, int] | AggregateDef
) -> FeatureGroupDef:
    made = tuple(
        each if isinstance(each, AggregateDef) else AggregateDef("_".join(map(str, each)), *each) for each in aggregates
    )
    columns = {aggregate.column for aggregate in made if aggregate.column in SCALES}
    return FeatureGroupDef(
        name, SOURCE.name, (by,) if isinstance(by, str) else by, made, {c: SCALES[c] for c in sorted(columns)}, lateness
    )


def wide(name: str, kind: str, column: str | None, window: int, hop: int, **more: Any) -> AggregateDef:
    return AggregateDef(name, kind, column, window, hop, **more)


EVERY_KIND = group(
    "every_kind",
    "desk",
    HOUR,
    wide("var", "var", "x", HOUR, 5 * MINUTE),
    wide("stddev", "stddev", "n", DAY, HOUR, where=col("ok").expression),
    wide("positive", "count", None, HOUR, 5 * MINUTE, where=(col("x") > 1.5).expression),
    wide("unknown", "sum", "x", LIFETIME, LIFETIME, where=col("n").is_null().expression),
    wide("first", "first", "at", LIFETIME, LIFETIME),
    wide("last", "last", "x", HOUR, 5 * MINUTE, where=(col("who") == "UA").expression),
    wide("second", "first_k", "x", 6 * HOUR, 5 * MINUTE, size=2, entry=2),
    wide("before", "last_k", "n", 6 * HOUR, 5 * MINUTE, size=3, entry=2),
    wide("top", "top_k", "x", DAY, HOUR, size=2, entry=1),
    wide("next", "top_k", "x", DAY, HOUR, size=2, entry=2),
    wide("names", "distinct", "who", DAY, HOUR, size=1),
    wide("kinds", "distinct", "x", LIFETIME, LIFETIME, size=4),
    wide("wholes", "distinct", "n", HOUR, 5 * MINUTE, size=3, offset_ms=HOUR),
    wide("middle", "quantile", "x", DAY, HOUR, size=50, q=0.5),
    wide("high", "quantile", "x", DAY, HOUR, size=50, q=0.9),
    wide("earlier", "mean", "x", HOUR, 5 * MINUTE, offset_ms=90 * SECOND),
    wide("yesterday", "count", None, DAY, HOUR, offset_ms=DAY),
    wide("least", "min", "x", DAY, HOUR, offset_ms=HOUR + 1),
)
GROUPS = (
    group(
        "by_who",
        "who",
        HOUR,
        ("sum", "x", HOUR, 5 * MINUTE),
        ("mean", "x", HOUR, 5 * MINUTE),
        ("max", "x", 6 * HOUR, 5 * MINUTE),
        ("min", "x", 13 * HOUR, HOUR),
        ("count", None, 13 * HOUR, HOUR),
        ("sum", "n", 14 * DAY, DAY),
        ("count", "who", DAY, DAY),
    ),
    group(
        "by_desk",
        "desk",
        0,
        ("min", "x", 10 * SECOND, SECOND),
        ("max", "n", 2 * MINUTE, SECOND),
        ("mean", "n", 2 * MINUTE, MINUTE),
        ("count", "n", 10 * SECOND, SECOND),
        ("sum", "ok", 10 * MINUTE, 5 * MINUTE),
        ("mean", "x", 1500, 500),
    ),
    group(
        "by_who_and_desk",
        ("who", "desk"),
        MINUTE,
        ("count", None, HOUR, 5 * MINUTE),
        ("mean", "x", HOUR, 5 * MINUTE),
        ("max", "n", DAY, HOUR),
        ("max", "y", DAY, HOUR),
        wide("ever", "stddev", "x", LIFETIME, LIFETIME),
        wide("spread", "var", "n", HOUR, 5 * MINUTE, offset_ms=5 * MINUTE),
        wide("newest", "last", "y", 6 * HOUR, 5 * MINUTE, where=(col("x") > 1.5).expression, offset_ms=MINUTE),
        wide("oldest", "first_k", "ok", LIFETIME, LIFETIME, size=2, entry=2),
        wide("times", "top_k", "at", DAY, HOUR, size=3, entry=2),
        wide("tiny", "quantile", "y", LIFETIME, LIFETIME, size=2, q=0.25),
        wide("whole", "quantile", "n", DAY, HOUR, size=500, q=1.0, where=col("ok").expression, offset_ms=HOUR),
        wide("truths", "distinct", "ok", DAY, HOUR, size=1, where=(col("x") > 1.5).expression),
        wide("apart", "distinct", "y", DAY, HOUR, size=2, offset_ms=DAY),
    ),
    EVERY_KIND,
)
STEPS = (1, 250, SECOND, 30 * SECOND, 5 * MINUTE, HOUR, 6 * HOUR, DAY, 9 * DAY)
NUMBERS = (None, 0.0, -0.0, 1.5, -1.5, 0.1, 0.2, -0.3, 2.5e-7, 5e-7, 1e-300, 1e9, -123456789.123456, 7.0000005, 33.3)
WHOLE = (None, 0, 1, -7, 2**53 + 1, -(2**57) - 3, 10**6)
EXTREME = (None, 0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1e-300, 1.7976931348623157e308, -1.7976931348623157e308, 3e5)
ORIGIN = 15_900 * DAY


def _moment(text: str, zone: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


BEGINNINGS = (
    (ORIGIN, 0),
    (_moment("2025-03-30T01:59:59", "Europe/Berlin"), 0),
    (_moment("2025-10-26T02:59:59", "Europe/Berlin"), 0),
    (_moment("2024-11-03T01:59:59", "America/New_York"), 0),
    (12 * HOUR, 0),
    (ORIGIN, ORIGIN),
    (ORIGIN, ORIGIN + 40_000 * DAY),
)
"""When a history begins: around an ordinary moment, where clocks are put forward or back, around 1970; and how much earlier
than the log its events happened: about 1970, and about 1860."""


class History(NamedTuple):
    """Batches of the log, and the moments at which someone asks after each of them."""

    batches: list[list[Happened]]
    questions: list[int]

    @property
    def events(self) -> list[Happened]:
        return [event for batch in self.batches for event in batch]


def log_batch(events: list[Happened]) -> LogBatch:
    """Events as the log holds them."""
    rows = [tuple(event.row.get(name) for name in SCHEMA.names) for event in events]
    return LogBatch(events[0].offset, len(events), events[0].appended, events[0].imported, encode_rows(rows))


_small = st.integers(0, 9)
_event = st.tuples(
    st.integers(0, 15),  # key
    st.integers(0, 3),  # who
    st.integers(0, 2),  # desk
    st.integers(0, len(NUMBERS) - 1),
    st.integers(0, len(WHOLE) - 1),
    st.integers(0, 2),  # ok
    st.integers(0, len(EXTREME) - 1),
    st.tuples(st.integers(-6, 2), st.integers(0, len(STEPS) - 1), st.integers(-1, 1)),  # event time beside append time
)
_batch = st.tuples(
    st.tuples(_small, st.integers(0, len(STEPS) - 1), st.integers(0, 1)),  # append time after the last one
    st.integers(0, 3),  # imported when 0
    st.lists(_event, min_size=1, max_size=8),
)


def _row(drawn: Any, at: int) -> dict[str, Any]:
    key, who, desk, x, n, ok, y, _ = drawn
    return {
        "id": f"k{key}",
        "at": at,
        "who": (None, "UA", "", "DL \u00e9")[who],
        "desk": (None, 7, -1)[desk],
        "x": NUMBERS[x],
        "n": WHOLE[n],
        "ok": (None, True, False)[ok],
        "y": EXTREME[y],
    }


@st.composite
def histories(draw: st.DrawFn, most: int = 5) -> History:
    """Duplicates, late and early events, clocks that run ahead, nulls, huge and tiny values; questions near edges."""
    (now, earlier), offset, batches = draw(st.sampled_from(BEGINNINGS)), 0, list[list[Happened]]()
    for (count, step, beside), imported, drawn in draw(st.lists(_batch, min_size=1, max_size=most)):
        now += count * STEPS[step] + beside
        batch: list[Happened] = []
        for event in drawn:
            many, size, near = event[-1]
            at = now - earlier + many * STEPS[size] + near
            batch.append(Happened(offset, now, imported == 0, at, _row(event, at)))
            offset += 1
        batches.append(batch)
    return History(batches, draw(questions([event for batch in batches for event in batch])))


def questions(events: list[Happened]) -> st.SearchStrategy[list[int]]:
    """Moments at which an event just enters, is inside or just leaves some window."""
    moments = sorted({moment for event in events for moment in (event.effective, event.at, event.appended)})
    windows = sorted({a.offset_ms + a.window_ms for g in GROUPS for a in g.aggregates} - {LIFETIME})
    hops = sorted({a.hop_ms for g in GROUPS for a in g.aggregates} - {LIFETIME})
    moment = st.builds(
        lambda at, window, hop, floored, near: (at - at % hop if floored else at) + window + near,
        st.sampled_from(moments),
        st.sampled_from([0, *windows]),
        st.sampled_from(hops),
        st.booleans(),
        st.sampled_from([-1, 0, 1, -500, 500, 999]),
    )
    return st.lists(moment, min_size=1, max_size=4)
