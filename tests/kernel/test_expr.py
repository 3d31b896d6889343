"""One row in Python, a table in Arrow, a query of DuckDB: the same expression, the same answer, bit for bit."""

import math
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyloom.kernel.columns import ARROW_TYPES, arrow_schema, evaluate_columns
from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import (
    DEEPEST,
    PARTS,
    Expression,
    Term,
    coalesce,
    col,
    columns_of,
    evaluate_row,
    greatest,
    is_number,
    least,
    looked_up,
    part,
    type_of,
    typed,
    utc_offset,
    where,
)
from skyloom.kernel.expr.sql import select
from skyloom.kernel.expr.zones import END, FIRST, changes
from skyloom.kernel.schema import Field, Schema, Type

SCHEMA = Schema(
    (
        Field("id", Type.STRING),
        Field("at", Type.TIMESTAMP),
        Field("f", Type.FLOAT, nullable=True),
        Field("g", Type.FLOAT, nullable=True),
        Field("i", Type.INT, nullable=True),
        Field("j", Type.INT, nullable=True),
        Field("s", Type.STRING, nullable=True),
        Field("b", Type.BOOL, nullable=True),
        Field("c", Type.BOOL, nullable=True),
        Field("later", Type.TIMESTAMP, nullable=True),
    ),
    "id",
    "at",
)
ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns")
YEAR_2200 = 7_258_118_400_000

TYPES = {field.name: field.type for field in SCHEMA.fields}

_floats = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 2.0**53, 0.1, 1e308, math.nan, math.inf])
_finite = _floats.filter(math.isfinite)
_ints = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.sampled_from([2**53 + 1, -(2**63), 2**62, -(2**32)])
_times = (
    st.integers(-2_208_988_800_000, YEAR_2200)
    | st.sampled_from([hour * 3_600_000 + near for hour in (380_118, 384_990, 3_000_000) for near in (-1, 0, 1)])
    | st.sampled_from([-2_208_988_800_001, YEAR_2200 - 1, -9_000_000_000_000])
)
_letters = st.sampled_from(
    [*"aAbBzZ@[`{0 '\0", "\u00e9", "\u0301", "\u00c9", "\u00df", "\u0130", "\u03a3", "\U0001f600", "\uffff"]
)
_words = st.text(_letters | st.characters(exclude_categories=["Cs"]), max_size=6)
_values: dict[Type, st.SearchStrategy[Any]] = {
    Type.FLOAT: _floats,
    Type.INT: _ints,
    Type.STRING: _words | st.sampled_from(["", "a", "B", "\U0001f600", "a\0"]),
    Type.BOOL: st.booleans(),
    Type.TIMESTAMP: _times,
}
_rows = st.fixed_dictionaries(
    {f.name: _values[f.type] | st.none() if f.nullable else _values[f.type] for f in SCHEMA.fields}
)


def _columns(*names: str) -> st.SearchStrategy[Term]:
    return st.sampled_from(names).map(col)


def _literal(value: Any) -> Term:
    return Term(Expression("lit", value=value))


def _made(op: str, *args: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    return st.tuples(*args).map(lambda drawn: Term(Expression(op, tuple(each.expression for each in drawn))))


_part_names = st.sampled_from(PARTS)
_moments = _columns("at", "later")
_parts = st.builds(part, _part_names, st.sampled_from(["at", "later"]), st.sampled_from(ZONES))
_bounds = st.lists(_finite, min_size=1, max_size=4, unique=True).map(sorted)
_buckets = st.sampled_from([2, 7, 1000, 2**31])
_cuts = st.tuples(st.integers(0, 3), st.integers(1, 4))
_whole: st.SearchStrategy[Term] = st.deferred(
    lambda: (
        _columns("i", "j")
        | _ints.map(_literal)
        | _parts
        | st.sampled_from("+-*").flatmap(lambda op: _made(op, _whole, _whole))
        | _made("-", _moments, _moments)
        | st.builds(coalesce, _whole, _whole, _whole)
        | st.builds(where, _conditions, _whole, _whole)
        | st.builds(least, _whole, _whole)
        | st.builds(greatest, _whole, _whole)
        | _whole.map(abs)
        | _texts.map(Term.length)
        | st.builds(Term.bucket, _number, _bounds)
        | st.builds(Term.hash, _texts | _whole, _buckets)
    )
)
_number: st.SearchStrategy[Term] = st.deferred(
    lambda: (
        _columns("f", "g")
        | _whole
        | _finite.map(_literal)
        | st.sampled_from("+-*/").flatmap(lambda op: _made(op, _number, _number))
        | st.builds(coalesce, _number, _number)
        | st.builds(where, _conditions, _number, _number)
        | st.builds(least, _number, _number)
        | st.builds(greatest, _number, _number)
        | _number.map(abs)
        | _number.map(Term.sqrt)
        | _made("finite", _columns("f") | _made("/", _number, _number))
    )
)
_texts: st.SearchStrategy[Term] = st.deferred(
    lambda: (
        _columns("id", "s")
        | _values[Type.STRING].map(_literal)
        | _made("+", _texts, _texts)
        | _texts.map(Term.lower)
        | _texts.map(Term.upper)
        | st.builds(lambda text, cut: text.slice(cut[0], cut[0] + cut[1]), _texts, _cuts)
        | st.builds(coalesce, _texts, _texts)
        | st.builds(where, _conditions, _texts, _texts)
    )
)
_compared = st.sampled_from([">", ">=", "<", "<=", "==", "!="]).flatmap(
    lambda op: st.sampled_from([_number, _texts, _moments, _columns("b", "c")]).flatmap(lambda kind: _made(op, kind, kind))
)
_conditions: st.SearchStrategy[Term] = st.deferred(
    lambda: (
        _columns("b", "c")
        | st.booleans().map(_literal)
        | _compared
        | (_number | _texts | _moments).map(Term.is_null)
        | st.builds(Term.contains, _texts, _words)
        | st.builds(Term.startswith, _texts, _words)
        | st.builds(Term.endswith, _texts, _words)
        | st.sampled_from(["and", "or"]).flatmap(lambda op: _made(op, _conditions, _conditions))
        | _made("not", _conditions)
    )
)
_expressions = (_number | _conditions | _texts).map(lambda term: term.expression).filter(columns_of)


def by_sql(expression: Expression, rows: pa.Table, database: duckdb.DuckDBPyConnection) -> list[Any]:
    """What DuckDB gives, in the order of ``rows``."""
    with database.cursor() as cursor:
        cursor.register("given_rows", rows)
        found = cursor.sql(select({"found": expression}, "given_rows", SCHEMA)).to_arrow_table()
    assert found.schema.field("found").type == ARROW_TYPES[type_of(expression, SCHEMA)]
    return found.column("found").to_pylist()


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory with one thread, which keeps the order of rows."""
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


def same(left: Any, right: Any) -> bool:
    """Equal in type and in bits; all NaNs are one."""
    if isinstance(left, float) and isinstance(right, float):
        return struct.pack("d", left) == struct.pack("d", right) or (math.isnan(left) and math.isnan(right))
    return left == right and type(left) is type(right)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(_expressions, st.lists(_rows, min_size=1, max_size=6))
def test_a_row_a_table_and_a_query_give_the_same_values(
    database: duckdb.DuckDBPyConnection, expression: Expression, rows: list[dict[str, Any]]
) -> None:
    table = pa.Table.from_pylist(rows, arrow_schema(SCHEMA))
    full, kind = typed(expression, TYPES, {})
    column = evaluate_columns(full, table)
    values = [evaluate_row(full, row) for row in rows]
    assert [pair for pair in zip(column.to_pylist(), values, strict=True) if not same(*pair)] == []
    assert column.type == ARROW_TYPES[kind]
    queried = by_sql(expression, table, database)
    assert [pair for pair in zip(queried, values, strict=True) if not same(*pair)] == []


def test_features_that_are_looked_up_are_columns_of_their_names(database: duckdb.DuckDBPyConnection) -> None:
    features = {"cards.mean_7d": Type.FLOAT, "cards.sd_7d": Type.FLOAT}
    score = ((col("f") - looked_up("cards", "mean_7d")) / looked_up("cards", "sd_7d")).expression
    rows = [
        {"f": f, "cards.mean_7d": mean, "cards.sd_7d": sd}
        for f, mean, sd in [(3.0, 1.0, 4.0), (3.0, None, 4.0), (3.0, 1.0, 0.0), (None, 1.0, 4.0)]
    ]
    table = pa.table({name: pa.array([row[name] for row in rows], pa.float64()) for name in rows[0]})
    assert type_of(score, SCHEMA, features) is Type.FLOAT
    assert columns_of(score) == ("f",)
    assert columns_of(score, "feature") == tuple(features)
    expected = [0.5, None, None, None]
    assert [evaluate_row(score, row) for row in rows] == expected
    assert evaluate_columns(score, table).to_pylist() == expected
    with database.cursor() as cursor:
        cursor.register("given_rows", table)
        query = select({"z": score, "again": score}, "given_rows", SCHEMA, features)
        assert cursor.sql(query).fetchall() == [(value, value) for value in expected]
    with pytest.raises(DeclarationError) as raised:
        type_of(looked_up("cards", "mean_8d").expression, SCHEMA, features)
    assert raised.value.fix == "did you mean cards.mean_7d or cards.sd_7d?"


@pytest.mark.parametrize("tz", ["America/New_York", "Africa/Casablanca", "Antarctica/Troll", "Pacific/Apia"])
@settings(max_examples=100, deadline=None)
@given(st.integers(FIRST, END - 1))
def test_the_changes_of_a_zone_are_its_offsets(tz: str, moment: int) -> None:
    steps = changes(tz)
    at = bisect_right(steps, moment, key=lambda step: step[0]) - 1
    assert steps[at][1] == utc_offset(moment, tz)
    for begin, offset in steps[at : at + 2]:
        assert utc_offset(begin, tz) == offset
        assert begin == FIRST or utc_offset(begin - 1, tz) != offset


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: col("a").bucket([]), "has no ascending bounds"),
        (lambda: col("a").bucket([2, 1]), "has no ascending bounds"),
        (lambda: col("a").bucket([0, math.nan]), "has no ascending bounds"),
        (lambda: col("a").hash(1), "has no buckets"),
        (lambda: col("a").slice(2, 2), "takes nothing"),
        (lambda: col("a").contains(col("b")), "looks for a text"),  # type: ignore[arg-type]
        (lambda: coalesce(col("a")), "coalesce of one value"),
        (lambda: col("a").named("a b"), "is no name of a feature"),
    ],
)
def test_what_no_backend_could_hold_is_refused_when_it_is_written(make: Callable[[], Term], what: str) -> None:
    with pytest.raises(DeclarationError, match=what):
        make()


@settings(max_examples=150, deadline=None)
@given(st.lists(_times, min_size=1, max_size=40), st.sampled_from(ZONES), _part_names)
def test_clocks_that_change_agree_too(moments: list[int], zone: str, name: str) -> None:
    table = pa.table({"at": pa.array(moments, ARROW_TYPES[Type.TIMESTAMP])})
    expression = part(name, "at", zone).expression
    assert evaluate_columns(expression, table).to_pylist() == [evaluate_row(expression, {"at": t}) for t in moments]


@pytest.mark.parametrize(
    ("moment", "hour"),
    [
        (1_362_898_799_999, 1),  # 2013-03-10 06:59:59.999 UTC, a millisecond before New York's clocks jump
        (1_362_898_800_000, 3),
        (1_383_454_800_000, 1),  # 2013-11-03 05:00 UTC: 01:00 for the first time
        (1_383_458_400_000, 1),  # and for the second time
        (2_540_376_000_000, 8),  # 2050-07-02 12:00 UTC: daylight saving by rule, beyond any table of changes
        (-1, 18),
    ],
)
def test_the_hour_in_new_york(moment: int, hour: int) -> None:
    expression = part("hour", "at", "America/New_York").expression
    assert evaluate_row(expression, {"at": moment}) == hour
    table = pa.table({"at": pa.array([moment, None], ARROW_TYPES[Type.TIMESTAMP])})
    assert evaluate_columns(expression, table).to_pylist() == [hour, None]


@pytest.mark.parametrize(
    ("term", "row", "value"),
    [
        (col("a") + 1, {"a": None}, None),
        (col("a") / 0, {"a": 1}, None),
        (col("a") / col("b"), {"a": 1.0, "b": -0.0}, None),
        (col("a") > 1, {"a": math.nan}, False),
        (col("a") != 1, {"a": math.nan}, True),
        (col("a") == col("a"), {"a": math.nan}, False),
        (col("a").is_null(), {"a": None}, True),
        (col("a").coalesce(3), {"a": None}, 3),
        ((col("a") > 1) & (col("b") > 1), {"a": 0, "b": None}, False),
        ((col("a") > 1) & (col("b") > 1), {"a": 2, "b": None}, None),
        ((col("a") > 1) | (col("b") > 1), {"a": 2, "b": None}, True),
        ((col("a") > 1) | (col("b") > 1), {"a": 0, "b": None}, None),
        (~(col("a") > 1), {"a": None}, None),
        (10 - col("a"), {"a": 4}, 6),
        (2 * col("a"), {"a": 4}, 8),
        (1 + col("a"), {"a": 4}, 5),
        (1 / col("a"), {"a": 4}, 0.25),
        (col("a") + 1, {"a": 2**63 - 1}, None),
        (abs(col("a")), {"a": -(2**63)}, None),
        (-col("a"), {"a": -(2**63)}, None),
        (-col("a"), {"a": 0.0}, -0.0),
        (col("a") * 10, {"a": 1e308}, math.inf),
        (col("a").sqrt(), {"a": -1.0}, None),
        (least(col("a"), 1.0), {"a": math.nan}, math.nan),
        (greatest(1.0, col("a")), {"a": math.nan}, math.nan),
        (where(col("a") > 1, 1, 2), {"a": None}, 2),
        (coalesce(col("a"), col("b"), 7), {"a": None, "b": None}, 7),
        (col("a").bucket([0, 10]), {"a": 10}, 2),
        (col("a").bucket([0, 10]), {"a": math.nan}, None),
        (col("a").lower(), {"a": "\u00c9A\u0130"}, "\u00c9a\u0130"),
        (col("a").upper(), {"a": "stra\u00dfe"}, "STRA\u00dfE"),
        (col("a").length(), {"a": "e\u0301\U0001f600"}, 3),
        (col("a").slice(1, 2), {"a": "a\U0001f600b"}, "\U0001f600"),
        (col("a") + "!", {"a": "hi"}, "hi!"),
        (col("a") == "\u00e9", {"a": "e\u0301"}, False),
        (col("a").hash(1000), {"a": "UA"}, 745),
        (col("a") - col("b"), {"a": 5_000, "b": 2_000}, 3_000),
        (col("a") == 2.0**53, {"a": 2**53 + 1}, True),
    ],
)
def test_nulls_nans_zeros_and_edges(term: Term, row: dict[str, Any], value: Any) -> None:
    assert same(evaluate_row(term.expression, row), value)


@pytest.mark.parametrize(
    ("term", "what"),
    [
        (col("arr_dely") > 1, "there is no column 'arr_dely'"),
        (col("s") > 1, "a string cannot be compared with a int"),
        (col("at") > 1, "a timestamp cannot be compared with a int"),
        (col("s") + 1, "needs numbers, not a string and a int"),
        (col("f").lower(), "lower needs a string, not a float"),
        (col("f").hash(5), "hash needs a string or a int, not a float"),
        (col("s").sqrt(), "sqrt needs a int or a float, not a string"),
        (where(col("i"), 1, 2), "where needs a condition, not a int"),
        (least(col("s"), "x"), "least needs numbers, not a string and a string"),
        (col("f") > math.inf, "inf is no number to reckon with"),
        (col("s") == "\ud800", "is no Unicode text"),
        (col("f") & col("b"), "needs conditions, not a float and a bool"),
        (~col("f"), "needs conditions, not a float"),
        (part("hour", "f"), "hour needs a time, not a float"),
        (col("f").coalesce("x"), "coalesce needs one type, not a float and a string"),
        (Term(Expression("==", (col("f").expression, _literal(None).expression))), "nothing is equal to None"),
        (col("i") == 2**63, "does not fit into 64 bits"),
    ],
)
def test_what_does_not_fit_is_said(term: Term, what: str) -> None:
    schema = Schema((*SCHEMA.fields, Field("arr_delay", Type.FLOAT)), "id", "at")
    with pytest.raises(DeclarationError) as raised:
        type_of(term.expression, schema)
    assert what in str(raised.value)


def test_an_unknown_column_names_the_nearest() -> None:
    schema = Schema((Field("carrier", Type.STRING), Field("arr_delay_min", Type.FLOAT)), "carrier", "")
    with pytest.raises(DeclarationError) as raised:
        type_of(col("arr_dely_min").expression, schema)
    assert raised.value.fix == "did you mean arr_delay_min?"
    assert raised.value.tried == "carrier, arr_delay_min"


def test_an_expression_has_no_truth_and_no_unknown_zone() -> None:
    with pytest.raises(DeclarationError, match=r"join conditions with & and [|]"):
        bool(col("a") > 1)
    with pytest.raises(DeclarationError, match="no time zone is called 'Mars/Olympus'"):
        part("hour", "at", "Mars/Olympus")


def test_columns_are_named_once_in_order_of_use() -> None:
    assert columns_of(((col("b") > col("a")) & (col("a") > 1)).expression) == ("b", "a")


def test_numbers_are_finite_and_no_bools() -> None:
    assert [is_number(value) for value in (1, 1.5, True, "1", math.nan, math.inf, None)] == [True, True, *[False] * 5]


def test_a_name_is_a_text() -> None:
    wrong: Any
    for wrong in (None, 3, "", "a b", b"a", col("a")):
        with pytest.raises(DeclarationError, match="is no name of a feature"):
            (col("a") + 1).named(wrong)


NESTED: dict[str, tuple[str, Callable[[Term], Term]]] = {
    "sums": ("f", lambda term: term + 1),
    "alternatives": ("i", lambda term: coalesce(term, 1.5)),
    "conditions": ("b", lambda term: ~(term & col("b"))),
    "choices": ("i", lambda term: where(col("b"), term, 0)),
    "texts": ("s", lambda term: term.lower()),
}


@pytest.mark.parametrize("name", list(NESTED))
def test_the_deepest_expression_works_everywhere_and_a_deeper_one_is_refused(name: str) -> None:
    column, deeper = NESTED[name]
    term = col(column)
    while term.depth <= DEEPEST - deeper(col(column)).depth:
        term = deeper(term)
    with pytest.raises(DeclarationError, match=f"nested more than {DEEPEST} operations deep") as refused:
        deeper(term)
    assert "a + b" in refused.value.fix
    row = {"f": 1.5, "i": 2, "b": True, "s": "x"}
    types = {"f": Type.FLOAT, "i": Type.INT, "b": Type.BOOL, "s": Type.STRING}
    full, kind = typed(term.expression, types, {})
    table = pa.table({key: pa.array([value], ARROW_TYPES[types[key]]) for key, value in row.items()})
    assert evaluate_columns(full, table).to_pylist() == [evaluate_row(full, row)]
    assert msgspec.json.decode(msgspec.json.encode(full), type=Expression) == full
    assert columns_of(full)[-1] in row
    assert kind in types.values()


def test_a_part_that_is_used_twice_again_and_again_is_refused_before_it_fills_the_memory() -> None:
    term = col("f")
    while term.parts < 5_000:
        term = term + term
    with pytest.raises(DeclarationError, match="more than 10,000 parts"):
        _ = term + term
