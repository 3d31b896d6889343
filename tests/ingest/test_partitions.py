"""The partition of an event: that of its key, the same from a value and from a column, and never another one."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ingest.homes import home

from skyloom.ingest.codec import decode
from skyloom.ingest.partitions import Portion, pack_rows, pack_table, partition_each, partition_of
from skyloom.ingest.rows import encode_rows
from skyloom.kernel.columns import ARROW_TYPES, arrow_schema
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.ports.log import LogBatch

COUNTS = st.integers(1, 9) | st.sampled_from([64, 1000, 1024])
TEXTS = st.text() | st.text("aé😀", min_size=120, max_size=600)  # beyond 500 bytes a key is its digest
KEYS: dict[Type, st.SearchStrategy[Any]] = {
    Type.STRING: TEXTS,
    Type.INT: st.integers(-(2**63), 2**63 - 1),
    Type.BOOL: st.booleans(),
    Type.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    Type.TIMESTAMP: st.integers(0, 2**43),
}
NOW = 1_364_800_000_000


@pytest.mark.parametrize("kind", KEYS)
@settings(deadline=None)
@given(data=st.data(), partitions=COUNTS, cut=st.integers(0, 10))
def test_a_column_is_parted_as_its_values_are(kind: Type, data: Any, partitions: int, cut: int) -> None:
    keys = data.draw(st.lists(st.none() | KEYS[kind], max_size=20))
    column = pa.chunked_array([pa.array(part, ARROW_TYPES[kind]) for part in (keys[:cut], keys[cut:])])
    assert partition_each(column, partitions).tolist() == [partition_of(key, partitions) for key in keys]


@settings(deadline=None)
@given(st.text(st.characters(), max_size=60) | st.integers() | st.booleans(), COUNTS)
def test_the_hash_is_the_one_that_is_written_down(key: Any, partitions: int) -> None:
    assert partition_of(key, partitions) == home(key, partitions)


def test_it_is_the_same_for_ever() -> None:
    """Logs are parted by it: another one would part the copies of an event."""
    keys: list[Any] = ["", "p1", "ümlaut", "\ud800", "x" * 499, "x" * 500, 0, -7, 2**62, True, False, None, 1.5]
    assert [partition_of(key, 1024) for key in keys] == [87, 776, 116, 5, 150, 849, 633, 266, 582, 609, 739, 109, 197]


@pytest.mark.parametrize("partitions", [2, 3, 4, 16, 100])
@pytest.mark.parametrize("form", ["{}", "{:08d}", "{}000", "user-{}@example.com", "2013-04-01/{}/a"])
def test_keys_that_are_alike_are_spread(form: str, partitions: int) -> None:
    each = 1_000
    counts = Counter(partition_of(form.format(n), partitions) for n in range(each * partitions))
    assert len(counts) == partitions
    assert max(abs(count - each) for count in counts.values()) < 5 * each**0.5  # five standard deviations


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 99)), max_size=30), COUNTS, st.integers(1, 40))
def test_rows_and_tables_are_packed_alike(rows: list[tuple[str, int]], partitions: int, most: int) -> None:
    source = SourceDef(
        "s", Schema((Field("n", Type.INT), Field("id", Type.STRING), Field("at", Type.TIMESTAMP)), "id", "at")
    )
    typed = [(n, key, NOW + n) for key, n in rows]
    told = [(n, key, datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at)) for n, key, at in typed]
    columns = [pa.array([row[at] for row in typed], field.type) for at, field in enumerate(arrow_schema(source.schema))]
    table = pa.table(columns, arrow_schema(source.schema))
    table = pa.concat_tables([table.slice(0, 7), table.slice(7)])

    def unpacked(portions: list[Portion]) -> dict[int, list[Any]]:
        found: dict[int, list[Any]] = {}
        for each in portions:
            batch = LogBatch(0, each.count, NOW, False, each.payload)
            content = decode([batch], source.schema).select(["n", "id", "at"]).to_pylist()
            assert 0 < len(content) == each.count
            found.setdefault(each.partition, []).extend(tuple(row.values()) for row in content)
        return found

    wanted = {part: [row for row in told if home(row[1], partitions) == part] for part in range(partitions)}
    wanted = {part: mine for part, mine in wanted.items() if mine}
    assert unpacked(pack_rows(typed, source, partitions)) == wanted
    portions = pack_table(table, source, partitions, most)
    assert all(portion.count <= most for portion in portions)
    assert unpacked(portions) == wanted


def test_one_partition_is_one_portion_of_just_these_rows() -> None:
    source = SourceDef("s", Schema((Field("id", Type.STRING), Field("at", Type.TIMESTAMP)), "id", "at"))
    rows = [("a", 1), ("b", 2)]
    assert pack_rows(rows, source, 1) == [Portion(0, 2, encode_rows(rows))]
    assert pack_rows([], source, 1) == pack_rows([], source, 4) == []
