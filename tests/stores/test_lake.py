"""The lake in Delta tables."""

import math
import operator
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel.errors import DataError, UsageError
from skyloom.stores.lake.delta import DeltaLake
from skyloom.testing.conformance.lake import LakeConformance, LakeOnFullDisk, rows


class TestDeltaLake(LakeConformance, LakeOnFullDisk):
    @pytest.fixture
    def open_lake(self, tmp_path):
        return partial(DeltaLake, tmp_path / "lake")


OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
VALUES = {
    "f": st.sampled_from([-1e300, -1.5, -0.0, 0.0, 1.0, 2.0, math.inf, -math.inf, math.nan]),
    "i": st.sampled_from([-(2**63), -1, 0, 1, 2**53, 2**53 + 1, 2**63 - 1]),
    "s": st.sampled_from(["", "a", "b", "ä", "a" * 40, "a" * 100 + "b", "\uffff" * 40, "\U0001f600" * 40, "z\x00"]),
    "t": st.sampled_from([-1, 0, 1, 999, 1_000, 1_357_000_000_001, 1_357_000_000_002]),
    "b": st.booleans(),
}
TYPES = {"f": pa.float64(), "i": pa.int64(), "s": pa.string(), "t": pa.timestamp("ms", "UTC"), "b": pa.bool_()}
appended = st.lists(
    st.lists(st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()}), min_size=1, max_size=3),
    min_size=1,
    max_size=3,
)
condition = st.sampled_from(sorted(VALUES)).flatmap(
    lambda name: st.one_of(
        st.tuples(st.just(name), st.sampled_from(sorted(OPERATORS)), VALUES[name]),
        st.tuples(st.just(name), st.just("in"), st.lists(st.none() | VALUES[name], max_size=3)),
    )
)


def holds(row, name, op, value):
    if row[name] is None:
        return False
    return any(row[name] == one for one in value) if op == "in" else OPERATORS[op](row[name], value)


@given(appended, st.lists(condition, min_size=1, max_size=2))
@settings(max_examples=40, deadline=None)
def test_conditions_mean_what_they_mean_in_python(tmp_path_factory, appended, where):
    lake = DeltaLake(tmp_path_factory.mktemp("lake"))
    schema = pa.schema(list(TYPES.items())).append(pa.field("n", pa.int64()))
    expected = []
    for number, part in enumerate(appended):
        numbered = [{**row, "n": number * 10 + i} for i, row in enumerate(part)]
        lake.append("t", pa.Table.from_pylist(numbered, schema=schema))
        expected += [row["n"] for row in numbered if all(holds(row, *one) for one in where)]
    assert sorted(lake.read("t", columns=["n"], where=where).column("n").to_pylist()) == expected


def test_a_time_is_given_as_datetime_or_milliseconds(tmp_path):
    lake = DeltaLake(tmp_path)
    lake.append("t", pa.table({"at": pa.array([1_500, 2_500], pa.timestamp("ms", "UTC"))}))
    for moment in (2_000, datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)):
        assert lake.read("t", where=[("at", ">", moment)]).num_rows == 1


@pytest.mark.parametrize(
    ("column", "back"),
    [
        (pa.array(["a"], pa.large_string()), pa.string()),
        (pa.array(["a"], pa.string_view()), pa.string()),
        (pa.array(["a"]).dictionary_encode(), pa.string()),
        (pa.array([b"a"], pa.large_binary()), pa.binary()),
        (pa.array([5_000_000], pa.timestamp("us", "UTC")), pa.timestamp("ms", "UTC")),
        (pa.array([5_000], pa.timestamp("ms", "America/New_York")), pa.timestamp("ms", "UTC")),
        (pa.array([5], pa.int32()), pa.int32()),
        (pa.array([1.5], pa.float32()), pa.float32()),
        (pa.array([5], pa.date32()), pa.date32()),
        (pa.array([["a"]]), pa.list_(pa.string())),
    ],
)
def test_types_are_the_same_in_every_version(tmp_path, column, back):
    lake = DeltaLake(tmp_path)
    for _ in range(2):
        lake.append("t", pa.table({"c": column}))
    read = lake.read("t").column("c")
    assert read.type.equals(back) or read.type == pa.list_(pa.field("element", pa.string()))
    assert read.to_pylist() == column.to_pylist() * 2


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1], pa.timestamp("ms")),
        pa.array([1], pa.uint64()),
        pa.array([None]),
        pa.array([1], pa.time64("us")),
        pa.array([1], pa.duration("ms")),
        pa.array([1_234_567], pa.timestamp("us", "UTC")),
    ],
)
def test_what_cannot_be_kept_exactly_is_refused(tmp_path, column):
    with pytest.raises(DataError, match="'c'"):
        DeltaLake(tmp_path).append("t", pa.table({"c": column}))
    assert DeltaLake(tmp_path).tables() == []


@pytest.mark.parametrize("name", ["", "/", "a//b", "../a", "a/..", ".a", "a b", "_delta_log", "/etc"])
def test_names_outside_the_lake_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="name"):
        DeltaLake(tmp_path).append(name, rows(1))


def test_wrong_questions_are_told_apart(tmp_path):
    lake = DeltaLake(tmp_path)
    lake.append("t", rows(1))
    with pytest.raises(UsageError, match="no condition"):
        lake.read("t", where=[("number", "like", 1)])
    with pytest.raises(DataError, match="compared"):
        lake.read("t", where=[("number", "=", "text")])
    with pytest.raises(DataError, match="nmber") as unknown:
        lake.read("t", where=[("nmber", "=", 1)])
    assert "number" in unknown.value.fix
    with pytest.raises(UsageError, match="neither"):
        lake.append("t", rows(1), app="log")
    with pytest.raises(DataError, match="twice"):
        lake.append("u", pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))


def test_a_missing_file_is_damage(tmp_path):
    lake = DeltaLake(tmp_path)
    lake.append("t", rows(1))
    next((tmp_path / "t").glob("*.parquet")).unlink()
    with pytest.raises(DataError, match="cannot be read"):
        lake.read("t")


def test_checkpoints_keep_opening_short_and_old_versions_readable(tmp_path):
    lake = DeltaLake(tmp_path)
    for number in range(25):
        lake.append("t", rows(number))
    assert list((tmp_path / "t" / "_delta_log").glob("*.checkpoint.parquet"))
    assert lake.read("t", version=0).num_rows == 1
    assert lake.read("t").num_rows == 25
