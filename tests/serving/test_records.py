"""Receipts written by column are the receipts."""

from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel.records.prediction import Receipt
from skyloom.serving.logbook.forwarder import listed
from skyloom.serving.numbered import Numbered
from skyloom.serving.records import Receipts

KINDS: dict[str, st.SearchStrategy[Any]] = {
    "float": st.floats(allow_nan=False),
    "int": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "text": st.none() | st.text(st.characters(codec="utf-8"), max_size=40),
    "single": st.floats(allow_nan=False, width=32),
    "id": st.text("abc", min_size=28, max_size=28),
    "missing": st.none() | st.floats(allow_nan=False),
}
DTYPES = {"float": np.float64, "single": np.float32, "int": np.int64, "bool": np.bool_}


@st.composite
def columns(draw: st.DrawFn, count: int, most: int) -> list[Any]:
    made: list[Any] = []
    for kind in draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=most)):
        values = draw(st.lists(KINDS[kind], min_size=count, max_size=count))
        made.append(np.array(values, DTYPES[kind]) if kind in DTYPES else values)
    return made


@settings(deadline=None)
@given(st.data(), st.integers(0, 20))
def test_they_read_back_as_each_alone(data: st.DataObject, count: int) -> None:
    inputs, request = data.draw(columns(count, 20)), data.draw(columns(count, 20))
    units = data.draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=40), min_size=count, max_size=count))
    scores = np.array(data.draw(st.lists(KINDS["float"], min_size=count, max_size=count)), np.float64)
    at_ms = np.arange(count, dtype=np.int64) * 10**12
    same = {"model": "m", "version": 3, "release": "r" * 64, "arm": "champion", "logged_ms": 7}
    same |= {"as_of": {"a": 1}, "latency_ms": 0.5, "error": None}
    ids = Numbered("p", count)
    named = {f"column {i}": column for i, column in enumerate(request)}
    made = listed(count, bytes(Receipts(same, ids, units, at_ms, inputs, named, scores).encode()))
    wanted = [
        Receipt(
            id=ids[row],
            unit=units[row],
            key=units[row],
            at_ms=int(at_ms[row]),
            inputs=tuple(value(column[row]) for column in inputs),
            request={name: value(column[row]) for name, column in named.items()},
            score=float(scores[row]),
            **same,
        )
        for row in range(count)
    ]
    assert msgspec.msgpack.decode(made, type=list[Receipt]) == wanted


def value(cell: Any) -> Any:
    return cell.item() if isinstance(cell, np.generic) else cell


def test_ids_are_as_long_as_others_and_differ() -> None:
    ids = Numbered("p", 70_000)
    assert len(set(ids)) == 70_000
    assert {len(each) for each in ids} == {28}
    assert list(ids) == sorted(ids)


def test_many_rows_and_fields_have_longer_heads() -> None:
    same = dict.fromkeys(("model", "release", "arm"), "m") | dict.fromkeys(("version", "logged_ms"), 1)
    same |= {"as_of": {}, "latency_ms": 0.5, "error": None}
    count, width = 70_000, 17
    column = np.arange(count, dtype=np.float64)
    named = {f"x{i}": column for i in range(width)}
    receipts = Receipts(same, Numbered("p", count), ["u"] * count, np.arange(count), [column] * width, named, column)
    read = msgspec.msgpack.decode(listed(count, bytes(receipts.encode())), type=list[Receipt])
    assert len(read) == count
    assert read[-1].inputs == (69_999.0,) * width
    assert read[-1].request == dict.fromkeys(named, 69_999.0)
