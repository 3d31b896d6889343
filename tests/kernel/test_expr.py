"""One row in Python, a table in Arrow: the same expression, the same answer."""

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel.columns import ARROW_TYPES, arrow_schema, evaluate_columns
from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.expr import Expression, Term, col, columns_of, evaluate_row, is_number, part, type_of
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

_floats = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 2.0**53, 0.1, math.nan, math.inf])
_ints = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.sampled_from([2**53 + 1, -(2**63)])
_times = st.integers(-2_208_988_800_000, YEAR_2200) | st.sampled_from(
    [hour * 3_600_000 + near for hour in (380_118, 384_990, 3_000_000) for near in (-1, 0, 1)]
)
_values: dict[Type, st.SearchStrategy[Any]] = {
    Type.FLOAT: _floats,
    Type.INT: _ints,
    Type.STRING: st.sampled_from(["", "a", "B", "\u00e9", "\U0001f600", "a\0"]),
    Type.BOOL: st.booleans(),
    Type.TIMESTAMP: _times,
}
_rows = st.fixed_dictionaries(
    {f.name: _values[f.type] | st.none() if f.nullable else _values[f.type] for f in SCHEMA.fields}
)


def _literal(value: Any) -> Expression:
    return Expression("lit", value=value)


def _columns(*names: str) -> st.SearchStrategy[Expression]:
    return st.sampled_from([col(name).expression for name in names])


def _made(op: str, *args: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.tuples(*args).map(lambda drawn: Expression(op, drawn))


_part_names = st.sampled_from(["hour", "weekday", "day", "month"])
_moments = _columns("at", "later")
_parts = st.builds(
    lambda name, column, zone: part(name, column, zone).expression,
    _part_names,
    st.sampled_from(["at", "later"]),
    st.sampled_from(ZONES),
)
_whole = st.deferred(
    lambda: (
        _columns("i", "j")
        | _ints.map(_literal)
        | _parts
        | st.sampled_from("+-*").flatmap(lambda op: _made(op, _whole, _whole))
        | _made("coalesce", _whole, _whole)
    )
)
_number = st.deferred(
    lambda: (
        _columns("f", "g")
        | _whole
        | _floats.map(_literal)
        | st.sampled_from("+-*/").flatmap(lambda op: _made(op, _number, _number))
        | _made("coalesce", _columns("f"), _columns("g"))
    )
)
_texts = _columns("id", "s") | _values[Type.STRING].map(_literal)
_compared = st.sampled_from([">", ">=", "<", "<=", "==", "!="]).flatmap(
    lambda op: st.sampled_from([_number, _texts, _moments, _columns("b", "c")]).flatmap(lambda kind: _made(op, kind, kind))
)
_conditions = st.deferred(
    lambda: (
        _columns("b", "c")
        | st.booleans().map(_literal)
        | _compared
        | _made("is_null", _number | _texts | _moments)
        | st.sampled_from(["and", "or"]).flatmap(lambda op: _made(op, _conditions, _conditions))
        | _made("not", _conditions)
    )
)
_expressions = (_number | _conditions | _made("coalesce", _columns("s"), _texts)).filter(columns_of)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    return left == right and (left is None) is (right is None) and isinstance(left, bool) is isinstance(right, bool)


@settings(max_examples=150, deadline=None)
@given(_expressions, st.lists(_rows, min_size=1, max_size=6))
def test_a_row_and_a_table_give_the_same_values(expression: Expression, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, arrow_schema(SCHEMA))
    column = evaluate_columns(expression, table)
    values = [evaluate_row(expression, row) for row in rows]
    assert [pair for pair in zip(column.to_pylist(), values, strict=True) if not same(*pair)] == []
    assert column.type == ARROW_TYPES[type_of(expression, SCHEMA)]


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
        (col("a") + 1, {"a": 2**63 - 1}, -(2**63)),
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
        (col("f") & col("b"), "needs conditions, not a float and a bool"),
        (~col("f"), "needs conditions, not a float"),
        (part("hour", "f"), "hour needs a time, not a float"),
        (col("f").coalesce("x"), "coalesce needs one type, not a float and a string"),
        (Term(Expression("==", (col("f").expression, _literal(None)))), "nothing is equal to None"),
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
