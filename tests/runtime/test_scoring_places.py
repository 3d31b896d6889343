"""Requests from everywhere, answers to everywhere: the same rows, whichever way; and what is said where that cannot be."""

import contextlib
import gzip
import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from skyloom.kernel.errors import DataError, DeclarationError, NotFound, Refused, SkyloomError, UsageError
from skyloom.platform import Platform
from skyloom.runtime.scoring import score, scoring

MODEL = "churn"
KEY = "renewal_id"


@pytest.fixture
def rows(platform: Platform) -> pa.Table:
    """Of few customers, in no order."""
    return pq.read_table(platform.directory / "data" / "renewals.parquet").slice(0, 400).sort_by("price")


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH", 150)
    monkeypatch.setattr(scoring, "MOST", 150)


def json_lines(table: pa.Table) -> str:
    return "".join(json.dumps(row, default=datetime.isoformat) + "\n" for row in table.to_pylist())


def into_sqlite(table: pa.Table, path: Path) -> None:
    names = table.column_names
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(f"CREATE TABLE renewals ({', '.join(names)}, seq INTEGER)")
        cells = [[v.isoformat() if isinstance(v, datetime) else v for v in row.values()] for row in table.to_pylist()]
        marks = ", ".join("?" * (len(names) + 1))
        database.executemany(f"INSERT INTO renewals VALUES ({marks})", [[*row, n] for n, row in enumerate(cells)])


def _parquet(table: pa.Table, folder: Path) -> str:
    pq.write_table(table, folder / "in.parquet", row_group_size=90)
    return f"{folder}/in.parquet"


def _csv(table: pa.Table, folder: Path) -> str:
    pyarrow.csv.write_csv(table, folder / "in.csv")
    return f"{folder}/in.csv"


def _lines(table: pa.Table, folder: Path) -> str:
    (folder / "in.ndjson").write_text(json_lines(table).replace("\n", "\n\n", 3))
    return f"{folder}/in.ndjson"


def _packed(table: pa.Table, folder: Path) -> str:
    (folder / "in.jsonl.gz").write_bytes(gzip.compress(json_lines(table).encode()))
    return f"{folder}/in.jsonl.gz"


def _arrow(table: pa.Table, folder: Path) -> str:
    with pyarrow.ipc.new_stream(folder / "in.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=70)
    return f"{folder}/in.arrow"


def _folder(table: pa.Table, folder: Path) -> str:
    (folder / "many").mkdir()
    pq.write_table(table.slice(0, 110), folder / "many" / "1.parquet")
    pyarrow.feather.write_feather(table.slice(110, 10), str(folder / "many" / "2.feather"))
    pq.write_table(table.slice(120, 0), folder / "many" / "3.parquet")
    (folder / "many" / "4.ndjson").write_text(json_lines(table.slice(120)))
    return f"{folder}/many"


def _delta(table: pa.Table, folder: Path) -> str:
    write_deltalake(folder / "a table", table.slice(0, 170))
    write_deltalake(folder / "a table", table.slice(170), mode="append")
    return f"delta://{folder}/a table"


def _delta_by_plan(table: pa.Table, folder: Path) -> str:
    write_deltalake(folder / "parted", table, partition_by=["plan"])
    return f"{folder}/parted"


def _sql(table: pa.Table, folder: Path) -> str:
    into_sqlite(table, folder / "in.db")
    return f"sqlite:///{folder}/in.db?table=renewals&cursor=seq"


def _query(table: pa.Table, folder: Path) -> str:
    into_sqlite(table, folder / "in.db")
    return f"adbc+sqlite:///{folder}/in.db?query=SELECT * FROM renewals WHERE seq >= 0&cursor=plan,seq"


SOURCES = [_parquet, _csv, _lines, _packed, _arrow, _folder, _delta, _delta_by_plan, _sql, _query]
UNORDERED = {_delta_by_plan, _query}
TARGETS: dict[str, Callable[[Path], pa.Table]] = {
    "out.parquet": lambda folder: pq.read_table(folder / "out.parquet"),
    "out.csv": lambda folder: pyarrow.csv.read_csv(
        folder / "out.csv", convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    ),
    "out.ndjson": lambda folder: pa.Table.from_pylist(
        [json.loads(line) for line in (folder / "out.ndjson").read_text().splitlines()]
    ),
    "out.feather": lambda folder: pyarrow.feather.read_table(str(folder / "out.feather")),
    "out/": lambda folder: pq.read_table(folder / "out"),
    "delta://": lambda folder: DeltaTable(folder / "out").to_pyarrow_table(),
    "sqlite:///": lambda folder: from_sqlite(folder / "out.db"),
}


def from_sqlite(path: Path, table: str = "told") -> pa.Table:
    with contextlib.closing(sqlite3.connect(path)) as database:
        found = database.execute(f"SELECT * FROM {table} ORDER BY rowid")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found]
    return pa.Table.from_pylist([{**row, "label": None if row["label"] is None else bool(row["label"])} for row in rows])


def target(name: str, folder: Path) -> str:
    if name == "delta://":
        return f"delta://{folder}/out"
    return f"sqlite:///{folder}/out.db?table=told" if name == "sqlite:///" else f"{folder}/{name}"


def told(table: pa.Table) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in ("key", "score", "label", "error")) for row in table.to_pylist()]


@pytest.fixture
def expected(platform: Platform, rows: pa.Table, tmp_path: Path) -> list[tuple[Any, ...]]:
    """By the way that other tests hold against training sets."""
    (tmp_path / "plain").mkdir()
    done = score(platform, MODEL, _parquet(rows, tmp_path / "plain"), f"{tmp_path}/plain/out.parquet")
    assert (done.rows, done.scored, done.known) == (400, 400, 0)
    found = told(pq.read_table(tmp_path / "plain" / "out.parquet"))
    assert [row[0] for row in found] == rows.column(KEY).to_pylist()
    return found


class Ended(Exception):
    """A process that ended."""


def ends_after(batches: int) -> Callable[[int], None]:
    told: list[int] = []

    def heard(count: int) -> None:
        told.append(count)
        if len(told) == batches:
            raise Ended

    return heard


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_also_in_two_runs(
    platform: Platform, rows: pa.Table, expected: list[tuple[Any, ...]], tmp_path: Path, source: Any
) -> None:
    came, out = source(rows, tmp_path), tmp_path / "out.parquet"
    with pytest.raises(Ended):
        score(platform, MODEL, came, str(out), on_rows=ends_after(1))
    assert not out.exists()
    done = score(platform, MODEL, came, str(out))
    assert (done.rows, done.scored, done.errors) == (400, 400, {})
    assert 0 < done.known < 400
    found = told(pq.read_table(out))
    assert sorted(found) == sorted(expected) if source in UNORDERED else found == expected


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_gets_the_same_and_is_replaced(
    platform: Platform, rows: pa.Table, expected: list[tuple[Any, ...]], tmp_path: Path, name: str
) -> None:
    out = target(name, tmp_path)
    for count in (7, 400):
        if name == "out/" and count == 400:
            with pytest.raises(Refused, match="is there already"):
                score(platform, MODEL, _parquet(rows, tmp_path), out)
            continue
        done = score(platform, MODEL, _parquet(rows.slice(0, count), tmp_path), out)
        assert told(TARGETS[name](tmp_path)) == expected[:count]
        assert done.rows == count


def test_a_commit_of_delta_names_its_run_and_rows(platform: Platform, rows: pa.Table, tmp_path: Path) -> None:
    score(platform, MODEL, _parquet(rows, tmp_path), f"delta://{tmp_path}/out")
    [commit] = DeltaTable(tmp_path / "out").history()
    assert (commit["skyloom.model"], commit["skyloom.version"], commit["skyloom.rows"]) == (MODEL, "1", "400")
    assert DeltaTable(tmp_path / "out").transaction_version(f"skyloom-score/{commit['skyloom.run']}") == 400


def test_no_rows_are_a_table_without_rows(platform: Platform, rows: pa.Table, tmp_path: Path) -> None:
    for name, read in TARGETS.items():
        if not name.startswith(("out.ndjson", "sqlite")):
            score(platform, MODEL, _parquet(rows.slice(0, 0), tmp_path), target(name, tmp_path))
            assert read(tmp_path).num_rows == 0
            assert read(tmp_path).column_names == ["key", "score", "label", "error"]


def test_a_line_that_cannot_be_read_is_answered_in_its_place(platform: Platform, rows: pa.Table, tmp_path: Path) -> None:
    lines = json_lines(rows.slice(0, 4)).splitlines()
    key = json.loads(lines[1])[KEY]
    lines[1] = json.dumps({**json.loads(lines[1]), "price": "cheap"})
    lines[2] = "{"
    lines[3] = json.dumps({name: value for name, value in json.loads(lines[3]).items() if name != KEY})
    (tmp_path / "in.ndjson").write_text("\n".join(lines))
    done = score(platform, MODEL, f"{tmp_path}/in.ndjson", f"{tmp_path}/out.parquet")
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["key"] for row in found] == [json.loads(lines[0])[KEY], key, None, None]
    assert found[0]["error"] is None
    assert found[1]["error"] == "price: expected a number, got str"
    assert found[2]["error"].startswith("not valid JSON")
    assert found[3]["error"] == f"{KEY}: missing"
    assert (done.rows, done.scored, sum(done.errors.values())) == (4, 1, 3)


def test_a_row_of_a_database_that_is_no_request_is_answered_in_its_place(
    platform: Platform, rows: pa.Table, tmp_path: Path
) -> None:
    came = _sql(rows.slice(0, 3), tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "in.db")) as database, database:
        database.execute("UPDATE renewals SET price = NULL WHERE seq = 1")
    score(platform, MODEL, came, f"{tmp_path}/out.parquet")
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["key"] for row in found] == rows.column(KEY).to_pylist()[:3]
    assert [row["error"] is None for row in found] == [True, False, True]
    assert "price" in found[1]["error"]


def _another_file(_: pa.Table, folder: Path) -> tuple[str, dict[str, Any]]:
    (folder / "other.csv").write_bytes((folder / "in.csv").read_bytes())
    return f"{folder}/other.csv", {}


def _written_anew(table: pa.Table, folder: Path) -> tuple[str, dict[str, Any]]:
    return _csv(table.slice(0, 399), folder), {}


def _another_version(_: pa.Table, folder: Path) -> tuple[str, dict[str, Any]]:
    return f"{folder}/in.csv", {"version": 2}


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        (_another_file, Refused, "150 rows are scored already, from"),
        (_written_anew, DataError, "has changed since its scoring began"),
        (_another_version, Refused, "by churn v1"),
    ],
)
def test_a_run_does_not_go_on_with_something_else(
    platform: Platform, rows: pa.Table, tmp_path: Path, change: Any, error: type[SkyloomError], word: str
) -> None:
    with pytest.raises(Ended):
        score(platform, MODEL, _csv(rows, tmp_path), f"{tmp_path}/out.csv", on_rows=ends_after(1))
    came, options = change(rows, tmp_path)
    with pytest.raises(error, match=word) as told:
        score(platform, MODEL, came, f"{tmp_path}/out.csv", **options)
    assert "--restart" in told.value.fix
    assert not (tmp_path / "out.csv").exists()
    done = score(platform, MODEL, came, f"{tmp_path}/out.csv", restart=True)
    assert done.known == 0
    assert done.rows == pyarrow.csv.read_csv(tmp_path / "out.csv").num_rows


def test_a_file_that_changes_while_it_is_read_leaves_no_answers(platform: Platform, rows: pa.Table, tmp_path: Path) -> None:
    came = _csv(rows, tmp_path)
    with pytest.raises(DataError, match="has changed since its scoring began"):
        score(platform, MODEL, came, f"{tmp_path}/out.csv", on_rows=lambda _: (tmp_path / "in.csv").touch())
    assert not (tmp_path / "out.csv").exists()


def test_a_delta_table_is_read_as_it_was_when_the_run_began(
    platform: Platform, rows: pa.Table, expected: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    came = _delta(rows, tmp_path)
    with pytest.raises(Ended):
        score(platform, MODEL, came, f"{tmp_path}/out.parquet", on_rows=ends_after(2))
    write_deltalake(tmp_path / "a table", rows.slice(0, 5), mode="overwrite")
    assert score(platform, MODEL, came, f"{tmp_path}/out.parquet").known == 300
    assert told(pq.read_table(tmp_path / "out.parquet")) == expected
    assert score(platform, MODEL, came, f"{tmp_path}/out.parquet").rows == 5


@pytest.mark.parametrize("change", ["DELETE FROM renewals WHERE seq = 3", "DELETE FROM renewals WHERE seq = 149"])
def test_a_database_that_has_changed_before_the_position_is_told(
    platform: Platform, rows: pa.Table, tmp_path: Path, change: str
) -> None:
    came = _sql(rows, tmp_path)
    with pytest.raises(Ended):
        score(platform, MODEL, came, f"{tmp_path}/out.parquet", on_rows=ends_after(1))
    with contextlib.closing(sqlite3.connect(tmp_path / "in.db")) as database, database:
        database.execute(change)
    with pytest.raises(DataError, match="renewals has changed since its scoring began"):
        score(platform, MODEL, came, f"{tmp_path}/out.parquet")
    assert score(platform, MODEL, came, f"{tmp_path}/out.parquet", restart=True).rows == 399


def test_a_cursor_gives_each_row_a_place_of_its_own(platform: Platform, rows: pa.Table, tmp_path: Path) -> None:
    came = _sql(rows, tmp_path)
    with pytest.raises(DataError, match=r"several rows of .* have plan = basic"):
        score(platform, MODEL, came.replace("=seq", "=plan"), f"{tmp_path}/out.parquet")
    with contextlib.closing(sqlite3.connect(tmp_path / "in.db")) as database, database:
        database.execute("UPDATE renewals SET seq = NULL WHERE seq < 4")
    with pytest.raises(DataError, match=r"4 rows of .* have no value in their cursor seq"):
        score(platform, MODEL, came, f"{tmp_path}/out.parquet")
    with pytest.raises(DeclarationError, match="names no cursor"):
        score(platform, MODEL, came.partition("&")[0], f"{tmp_path}/out.parquet")


def test_a_table_of_something_else_is_not_replaced(platform: Platform, rows: pa.Table, tmp_path: Path) -> None:
    came = _parquet(rows, tmp_path)
    write_deltalake(tmp_path / "out", rows)
    into_sqlite(rows, tmp_path / "out.db")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").touch()
    for out in (f"delta://{tmp_path}/out", f"sqlite:///{tmp_path}/out.db?table=renewals", f"{tmp_path}/taken/"):
        with pytest.raises(Refused):
            score(platform, MODEL, came, out)
    with pytest.raises(Refused, match="is no Delta table"):
        score(platform, MODEL, came, f"delta://{tmp_path}/taken")
    assert len(DeltaTable(tmp_path / "out").to_pyarrow_table()) == 400
    assert from_sqlite_count(tmp_path / "out.db") == 400


def from_sqlite_count(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as database:
        [(count,)] = database.execute("SELECT COUNT(*) FROM renewals")
    return count


@pytest.mark.parametrize(
    ("out", "error", "word"),
    [
        ("out.txt", UsageError, "is neither Parquet"),
        ("nowhere/out.csv", UsageError, "there is no folder"),
        ("many/out.csv", UsageError, "among the requests"),
        ("many", UsageError, "is neither Parquet"),
        ("sqlite:///out.db", DeclarationError, "names no table"),
        ("sqlite:///out.db?table=told&cursor=key", DeclarationError, "takes no cursor"),
        ("adbc+sqlite:///out.db?table=told", UsageError, "ADBC is for reading"),
        ("nothing://there?table=told", UsageError, "is no address of a database"),
    ],
)
def test_words_that_name_no_target(
    platform: Platform, rows: pa.Table, tmp_path: Path, out: str, error: type[SkyloomError], word: str
) -> None:
    came = _folder(rows, tmp_path)
    with pytest.raises(error, match=word):
        score(platform, MODEL, came, out if "://" in out else f"{tmp_path}/{out}")


def test_words_that_name_no_source(platform: Platform, tmp_path: Path) -> None:
    for came, word in ((f"delta://{tmp_path}", "no Delta table"), (f"{tmp_path}", "no Parquet"), ("x.csv", "no file")):
        with pytest.raises(NotFound, match=word):
            score(platform, MODEL, came, f"{tmp_path}/out.csv")


def test_times_of_a_later_day_are_the_same_everywhere(platform: Platform, rows: pa.Table, tmp_path: Path) -> None:
    moment = datetime(2025, 6, 1, 12, 30, 15, 123000, UTC)
    row = rows.slice(0, 1).set_column(
        rows.column_names.index("due"), "due", pa.array([moment], pa.timestamp("us", tz="UTC"))
    )
    found = set[float]()
    for source in SOURCES:
        folder = tmp_path / source.__name__
        folder.mkdir()
        score(platform, MODEL, source(row, folder), f"{folder}/out.parquet")
        found.add(pq.read_table(folder / "out.parquet").column("score")[0].as_py())
    assert len(found) == 1
