"""What features should be, said a third time, in plain SQL: events joined with requests, whole numbers aggregated by DuckDB.

A request sees ``ev JOIN asked ON key AND offset < as_of AND ts_eff >= lo``, by time what was folded or announced before it.
Sums, squares and counts are whole numbers (HUGEINT) there; their one division is made here, in fractions. Conditions are
written as SQL, not made from the declared expressions. Shares no code with the kernel, the fold or the join.
"""

from fractions import Fraction
from math import sqrt
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
from tests.features import oracle_sketches
from tests.features.histories import GROUPS, SOURCE, History
from tests.features.oracle import Happened

from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef

CONDITIONS = {
    ("every_kind", "stddev"): "e.ok",
    ("every_kind", "positive"): "e.x > 1.5",
    ("every_kind", "unknown"): "e.n IS NULL",
    ("every_kind", "last"): "e.who = 'UA'",
    ("by_who_and_desk", "newest"): "e.x > 1.5",
    ("by_who_and_desk", "whole"): "e.ok",
    ("by_who_and_desk", "truths"): "e.x > 1.5",
}
"""What the ``where=`` of an aggregate is in SQL."""

UNITS = {"x": "CAST(round_even(e.x * 1e6, 0) AS BIGINT)", "n": "e.n", "ok": "CAST(e.ok AS BIGINT)"}
DIGITS = {"x": 6, "n": 0, "ok": 0}
LISTS = {"first": "e.ts, e.off", "last": "e.ts DESC, e.off DESC", "top": 'e."{}" DESC, e.ts DESC, e.off DESC'}

_EVENTS = pa.schema(
    [
        *((name, pa.int64()) for name in ("h", "off", "appended")),
        ("imported", pa.bool_()),
        ("id", pa.string()),
        ("at", pa.int64()),
        ("who", pa.string()),
        ("desk", pa.int64()),
        ("x", pa.float64()),
        ("n", pa.int64()),
        ("ok", pa.bool_()),
        ("y", pa.float64()),
    ]
)
_ASKED = pa.schema(
    [("q", pa.int64()), ("h", pa.int64()), ("who", pa.string())] + [(n, pa.int64()) for n in ("desk", "t", "as_of")]
)
_PROGRESS = pa.schema([(name, pa.int64()) for name in ("h", "moment", "off")])


class Question(NamedTuple):
    """One request of a history: ``as_of`` is the offset before which it sees events, ``None``: what was visible by time."""

    history: int
    group: FeatureGroupDef
    entity: tuple[Any, ...]
    t: int
    as_of: int | None


class Told(NamedTuple):
    """Histories with their progress logs (moment, offset), and what the platform said to questions about them."""

    histories: list[History]
    progress: list[list[tuple[int, int]]]
    questions: list[Question]
    answers: list[list[float | None]]


def differences(told: Told) -> list[tuple[Question, Any, Any]]:
    """Where the answers are not what SQL finds."""
    with duckdb.connect(config={"threads": 1}) as database:
        _load(database, told)
        found: list[tuple[Question, Any, Any]] = []
        for group in GROUPS:
            mine = [index for index, question in enumerate(told.questions) if question.group is group]
            rows = _answers(database, group, [told.questions[index] for index in mine])
            for index, row in zip(mine, rows, strict=True):
                if told.answers[index] != row:
                    found.append((told.questions[index], told.answers[index], row))
        return found


def _load(database: duckdb.DuckDBPyConnection, told: Told) -> None:
    log = [_event(h, event) for h, history in enumerate(told.histories) for event in history.events]
    entries = [{"h": h, "moment": moment, "off": off} for h, log in enumerate(told.progress) for moment, off in log]
    database.register("log", pa.Table.from_pylist(log, _EVENTS))
    database.register("progress_log", pa.Table.from_pylist(entries, _PROGRESS))
    database.execute(
        'CREATE TABLE ev AS SELECT *, least("at", appended) AS ts FROM log '
        "QUALIFY row_number() OVER (PARTITION BY h, id ORDER BY off) = 1"
    )
    database.execute("CREATE TABLE progress AS SELECT * FROM progress_log")


def _event(h: int, event: Happened) -> dict[str, Any]:
    return {"h": h, "off": event.offset, "appended": event.appended, "imported": event.imported, **event.row}


def _answers(database: duckdb.DuckDBPyConnection, group: FeatureGroupDef, questions: list[Question]) -> list[list[Any]]:
    rows = [
        {"q": q, "h": each.history, "t": each.t, "as_of": each.as_of, **dict(zip(group.by, each.entity, strict=True))}
        for q, each in enumerate(questions)
    ]
    database.register("questions", pa.Table.from_pylist(rows, _ASKED))
    terms = [_terms(group, aggregate) for aggregate in group.aggregates]
    key = " AND ".join(f"e.{column} = a.{column}" for column in group.by)
    seen = "SELECT max(off) FROM progress p WHERE p.h = s.h AND p.moment <= s.t"
    found = database.execute(
        f"""
        WITH a AS (SELECT *, as_of IS NULL AS by_time, coalesce(as_of, ({seen}), 0) AS visible FROM questions s)
        SELECT {", ".join(term for each in terms for term in each)}
        FROM a LEFT JOIN ev e ON e.h = a.h AND {key} AND
             CASE WHEN a.by_time AND e.imported THEN e.ts + {SOURCE.delay_ms} < a.t ELSE e.off < a.visible END
        GROUP BY a.q ORDER BY a.q
        """
    ).fetchall()
    return [_finished(group, terms, list(row)) for row in found]


def _floor(moment: str, hop: int) -> str:
    return f"({moment} - (({moment}) % {hop} + {hop}) % {hop})"


def _terms(group: FeatureGroupDef, a: AggregateDef) -> list[str]:
    """The SQL aggregates that a feature is made of."""
    inside = [f"e.ts >= {_floor(f'(a.t - {a.offset_ms} - {a.window_ms})', a.hop_ms)}"]
    if a.offset_ms:
        inside.append(f"e.ts < {_floor(f'(a.t - {a.offset_ms})', a.hop_ms)}")
    if a.where is not None:
        inside.append(CONDITIONS[group.name, a.name])
    if a.column is not None:
        inside.append(f'e."{a.column}" IS NOT NULL')
    only = f"FILTER (WHERE {' AND '.join(inside)})"
    kind, column = a.kind.removesuffix("_k"), f'e."{a.column}"'
    if kind == "count":
        return [f"count(e.off) {only}"]
    if kind in ("min", "max"):
        return [f"CAST({kind}({column}) {only} AS DOUBLE)"]
    if kind in LISTS:
        return [f"CAST((list({column} ORDER BY {LISTS[kind].format(a.column)}) {only})[{max(a.entry, 1)}] AS DOUBLE)"]
    if kind == "distinct":
        return [f"count(DISTINCT {column}) {only}", f"list(DISTINCT {column}) {only}"]
    if kind == "quantile":
        rank = f"CAST(floor({a.q} * (count({column}) {only} - 1)) AS BIGINT)"
        return [f"CAST((list({column} ORDER BY {column}) {only})[{rank} + 1] AS DOUBLE)"]
    units = f"CAST({UNITS[str(a.column)]} AS HUGEINT)"
    return [f"count({column}) {only}", f"sum({units}) {only}", f"sum({units} * {units}) {only}"]


def _finished(group: FeatureGroupDef, terms: list[list[str]], row: list[Any]) -> list[float | None]:
    values: list[float | None] = []
    for aggregate, mine in zip(group.aggregates, terms, strict=True):
        values.append(_finish(aggregate, row[: len(mine)]))
        del row[: len(mine)]
    return values


def _finish(a: AggregateDef, told: list[Any]) -> float | None:
    if a.kind == "distinct":
        return oracle_sketches.distinct(told[1], a.size) if told[0] > a.size else float(told[0])
    if a.kind not in ("sum", "mean", "var", "stddev"):
        if a.kind == "quantile" and told[0] is not None:
            return oracle_sketches.quantile(told, 0.0, a.size)
        return None if told[0] is None else float(told[0])
    count, total, squares = told
    unit = 10 ** DIGITS[str(a.column)]
    if a.kind in ("sum", "mean"):
        return None if count == 0 else float(total) / float((count if a.kind == "mean" else 1) * unit)
    if count < 2:
        return None
    spread = float(Fraction(count * squares - total**2, count * (count - 1) * unit**2))
    return sqrt(spread) if a.kind == "stddev" else spread
