"""What a lake promises. The fixture is ``open_lake``."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from skyloom.kernel.errors import Conflict, DataError, NotFound, Transient
from skyloom.ports.lake import Lake
from skyloom.testing.faults import Report, full_disk, killed_after, together

OpenLake = Callable[[], Lake]

TABLE = "events/arrivals"
KILLS = 10
WRITERS, APPENDS = 4, 4

SCHEMA = pa.schema(
    [
        pa.field("number", pa.int64(), nullable=False),
        pa.field("carrier", pa.string()),
        pa.field("landed", pa.timestamp("ms", tz="UTC")),
        pa.field("delay", pa.float64()),
        pa.field("late", pa.bool_()),
    ]
)


def rows(*numbers: int) -> pa.Table:
    """One row for each number; every seventh is null but for its number."""
    found = [_row(number) for number in numbers]
    return pa.Table.from_pylist(found, schema=SCHEMA)


def _row(number: int) -> dict[str, Any]:
    if number % 7 == 6:
        return {"number": number}
    delay = float("nan") if number % 5 == 4 else number / 3
    landed = 1_357_000_000_000 + number * 61_001
    return {"number": number, "carrier": f"c{number % 3}", "landed": landed, "delay": delay, "late": number % 2 == 0}


def numbers(lake: Lake, table: str = TABLE, **how: Any) -> list[int]:
    """The numbers of the rows that a read gives, sorted."""
    return sorted(lake.read(table, **how).column("number").to_pylist())


class LakeConformance:
    """Appends, versions, positions, conditions, types, processes and sudden death."""

    def test_what_is_not_there(self, open_lake: OpenLake) -> None:
        import pytest

        lake = open_lake()
        assert lake.version(TABLE) is None
        assert lake.position(TABLE, "app") is None
        assert lake.tables() == []
        with pytest.raises(NotFound):
            lake.read(TABLE)

    def test_rows_and_types_come_back(self, open_lake: OpenLake) -> None:
        open_lake().append(TABLE, rows(*range(20)))
        read = open_lake().read(TABLE)
        assert read.schema == SCHEMA
        assert str(read.sort_by("number").to_pylist()) == str(rows(*range(20)).to_pylist())

    def test_versions_count_from_zero_and_stay(self, open_lake: OpenLake) -> None:
        import pytest

        lake = open_lake()
        versions = [lake.append(TABLE, rows(number)) for number in range(30)]
        assert versions == list(range(30))
        assert lake.overwrite(TABLE, rows(99)) == 30
        assert lake.version(TABLE) == 30
        assert numbers(lake) == [99]
        for version in (0, 7, 29):
            assert numbers(open_lake(), version=version) == list(range(version + 1))
        for wrong in (31, -1):
            with pytest.raises(NotFound):
                lake.read(TABLE, version=wrong)

    def test_an_empty_table_has_a_schema(self, open_lake: OpenLake) -> None:
        lake = open_lake()
        assert lake.append(TABLE, rows()) == 0
        assert lake.read(TABLE).schema == SCHEMA
        assert lake.read(TABLE).num_rows == 0

    def test_overwriting_may_change_the_columns(self, open_lake: OpenLake) -> None:
        lake = open_lake()
        lake.append(TABLE, rows(1))
        lake.overwrite(TABLE, pa.table({"number": [5], "more": ["x"]}))
        assert lake.read(TABLE).to_pylist() == [{"number": 5, "more": "x"}]
        assert lake.read(TABLE, version=0).schema == SCHEMA

    def test_a_version_keeps_its_note(self, open_lake: OpenLake) -> None:
        import pytest

        lake = open_lake()
        assert lake.overwrite(TABLE, rows(1), note={"definition": "abc", "mode": "as_event"}) == 0
        assert lake.append(TABLE, rows(2)) == 1
        assert lake.overwrite(TABLE, rows(3), note={"definition": "def"}) == 2
        notes = [open_lake().note(TABLE, version) for version in range(3)]
        assert notes == [{"definition": "abc", "mode": "as_event"}, {}, {"definition": "def"}]
        with pytest.raises(NotFound):
            lake.note(TABLE, 3)

    def test_a_scan_is_a_read_in_parts(self, open_lake: OpenLake) -> None:
        import pytest

        lake = open_lake()
        for first in range(0, 40, 10):
            lake.append(TABLE, rows(*range(first, first + 10)))
        parts = list(open_lake().scan(TABLE))
        assert all(part.schema == SCHEMA for part in parts)
        whole = pa.Table.from_batches(parts).sort_by("number")
        assert str(whole.to_pylist()) == str(rows(*range(40)).to_pylist())
        some = pa.Table.from_batches(lake.scan(TABLE, columns=["delay", "number"], version=1))
        assert (some.column_names, len(some)) == (["delay", "number"], 20)
        narrow = pa.Table.from_batches(
            lake.scan(TABLE, columns=["number"], where=[("delay", ">", 3.0), ("late", "=", True)])
        )
        assert sorted(narrow.column("number").to_pylist()) == numbers(lake, where=[("delay", ">", 3.0), ("late", "=", True)])
        for table, version in (("b", None), (TABLE, 9)):
            with pytest.raises(NotFound):
                list(lake.scan(table, version=version))
        with pytest.raises(DataError, match="no column 'dela'"):
            list(lake.scan(TABLE, columns=["dela"]))

    def test_a_position_is_written_once(self, open_lake: OpenLake) -> None:
        lake = open_lake()
        assert lake.append(TABLE, rows(1), app="log", position=0) == 0
        assert lake.append(TABLE, rows(2), app="log", position=5) == 1
        assert open_lake().append(TABLE, rows(2), app="log", position=5) == 1
        assert lake.append(TABLE, rows(2), app="log", position=4) == 1
        assert lake.append(TABLE, rows(3), app="other", position=1) == 2
        assert (lake.position(TABLE, "log"), lake.position(TABLE, "other"), lake.position(TABLE, "no")) == (5, 1, None)
        assert numbers(lake) == [1, 2, 3]

    def test_who_appends_after_another_position_than_the_last_is_refused(self, open_lake: OpenLake) -> None:
        import pytest

        lake = open_lake()
        assert lake.append(TABLE, rows(1), app="log", position=3, after=0) == 0
        assert lake.append(TABLE, rows(2), app="log", position=5, after=3) == 1
        with pytest.raises(Conflict, match="somebody else has appended"):
            open_lake().append(TABLE, rows(4), app="log", position=9, after=3)
        assert lake.append(TABLE, rows(2), app="log", position=5, after=3) == 1, "what is there already is no conflict"
        assert lake.append(TABLE, rows(1), app="other", position=1, after=0) == 2
        assert numbers(lake) == [1, 1, 2]

    def test_tables_are_listed(self, open_lake: OpenLake) -> None:
        lake = open_lake()
        for table in ("b", "a/b", "a/c/d"):
            lake.append(table, rows(1))
        assert lake.tables() == ["a/b", "a/c/d", "b"]

    def test_columns_and_conditions(self, open_lake: OpenLake) -> None:
        lake = open_lake()
        lake.append(TABLE, rows(*range(20)))
        lake.append(TABLE, rows(*range(20, 40)))
        read = lake.read(TABLE, columns=["delay", "number"], where=[("number", "<", 3)])
        assert read.column_names == ["delay", "number"]
        assert numbers(lake, columns=["number"], where=[("carrier", "=", "c1"), ("number", ">=", 30)]) == [31, 37]
        assert numbers(lake, where=[("number", "in", [1, 25, 99])]) == [1, 25]

    def test_rows_that_do_not_fit_are_refused_by_column(self, open_lake: OpenLake) -> None:
        import pytest

        lake, fit = open_lake(), rows(1)
        lake.append(TABLE, fit)
        wrong = {
            "delay": fit.set_column(3, "delay", pa.array(["text"])),
            "late": fit.drop_columns(["late"]),
            "more": fit.append_column("more", pa.array([1])),
            "number": fit.set_column(0, "number", pa.array([None], pa.int64())),
        }
        for column, table in wrong.items():
            with pytest.raises(DataError, match=column):
                lake.append(TABLE, table)
        with pytest.raises(DataError, match="carier"):
            lake.read(TABLE, columns=["carier"])
        assert lake.version(TABLE) == 0

    def test_processes_append_at_once(self, open_lake: OpenLake) -> None:
        heard = together(append_some, [(open_lake, writer) for writer in range(WRITERS)])
        assert numbers(open_lake()) == list(range(WRITERS * APPENDS))
        assert max(version for versions in heard for version in versions) == WRITERS * APPENDS - 1

    def test_processes_with_one_app_write_each_position_once(self, open_lake: OpenLake) -> None:
        together(append_positions, [(open_lake,)] * WRITERS)
        assert numbers(open_lake()) == list(range(APPENDS))

    def test_nothing_is_lost_doubled_or_torn_by_a_kill(self, open_lake: OpenLake) -> None:
        for kill in range(KILLS):
            heard = killed_after(1 + kill * 5 % 7, append_forever, open_lake)
            lake = open_lake()
            position = lake.position(TABLE, "log")
            assert position is not None
            assert position - heard[-1] in (0, 1)
            assert numbers(lake) == list(range(3 * position + 3))


class LakeOnFullDisk:
    """An append without room is a clear error, and loses nothing."""

    def test_a_full_disk_is_transient_and_loses_nothing(self, open_lake: OpenLake) -> None:
        together(append_on_full_disk, [(open_lake,)])


def append_some(open_lake: OpenLake, writer: int, report: Report) -> None:
    """Runs in a process: append rows of its own, and report the versions."""
    lake = open_lake()
    for number in range(APPENDS):
        report(lake.append(TABLE, rows(writer * APPENDS + number)))


def append_positions(open_lake: OpenLake, report: Report) -> None:
    """Runs in a process: append the same positions as all others."""
    lake = open_lake()
    for number in range(APPENDS):
        lake.append(TABLE, rows(number), app="log", position=number)


def append_forever(open_lake: OpenLake, report: Report) -> None:
    """Runs in a process until it is killed: append at the next position, and report each."""
    lake = open_lake()
    start = lake.position(TABLE, "log")
    for position in range(0 if start is None else start + 1, 1_000_000):
        new = rows(3 * position, 3 * position + 1, 3 * position + 2)
        lake.append(TABLE, new, app="log", position=position)
        report(position)


def append_on_full_disk(open_lake: OpenLake, report: Report) -> None:
    """Runs in a process: fail without room, then succeed with room."""
    import pytest

    lake, large = open_lake(), rows(*range(1, 20_000))
    lake.append(TABLE, rows(0))
    for size in (100, 10_000):
        with full_disk(size):
            with pytest.raises(Transient):
                lake.append(TABLE, large, app="log", position=1)
            with pytest.raises(Transient):
                lake.append("new/table", large)
        assert numbers(lake) == [0]
        assert lake.tables() == [TABLE]
    assert lake.append(TABLE, large, app="log", position=1) == 1
    assert numbers(lake) == list(range(20_000))
    assert lake.append("new/table", large) == 0
