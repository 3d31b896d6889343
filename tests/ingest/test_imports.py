"""Files brought in: every kind the same, each content once, and a crash anywhere mended by the next run."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from skyloom.ingest import imports
from skyloom.ingest.imports import Imported, import_file
from skyloom.ingest.partitions import Span
from skyloom.ingest.tables import count_rows
from skyloom.kernel.errors import DataError, NotFound
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Schema, Type

NOW = 1_364_800_000_000
SCHEMA = Schema(
    (
        Field("id", Type.STRING),
        Field("at", Type.TIMESTAMP),
        Field("x", Type.FLOAT, nullable=True),
        Field("n", Type.INT, nullable=True),
        Field("ok", Type.BOOL, nullable=True),
    ),
    "id",
    "at",
)
SOURCE = SourceDef("visits", SCHEMA)


def table(prefix: str = "v", count: int = 5) -> pa.Table:
    ids = [f"{prefix}{n}" for n in range(count)]
    at = pa.array([NOW - n for n in range(count)], pa.timestamp("ms", tz="UTC"))
    x = [None if n % 3 == 2 else n / 4 for n in range(count)]
    return pa.table({"id": ids, "at": at, "x": x, "n": pa.array(range(count)), "ok": [True] * count, "more": ids})


def lines(rows: pa.Table) -> bytes:
    return b"".join(json.dumps(row, default=lambda at: at.isoformat()).encode() + b"\n" for row in rows.to_pylist())


def streamed(rows: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows, 2)


WRITERS: dict[str, Callable[[pa.Table, Path], Any]] = {
    "a.parquet": pq.write_table,
    "a.csv": pyarrow.csv.write_csv,
    "a.csv.gz": lambda rows, path: pyarrow.csv.write_csv(rows, pa.CompressedOutputStream(str(path), "gzip")),
    "a.ndjson": lambda rows, path: path.write_bytes(lines(rows)),
    "a.jsonl.gz": lambda rows, path: path.write_bytes(gzip.compress(lines(rows))),
    "a.feather": pyarrow.feather.write_feather,
    "a.arrow": streamed,
}


def bring(stores: Any, path: Path, log: Any = None, now_ms: int = NOW) -> Imported:
    return import_file(SOURCE, path, log=log or stores.log, metadata=stores.metadata, actor="me", now_ms=now_ms)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("piece", [2, 1 << 20])
def test_every_kind_of_file_brings_the_same_rows(
    stores: Any, tmp_path: Path, name: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "PIECE", piece)
    WRITERS[name](table(), tmp_path / name)
    done = bring(stores, tmp_path / name)
    assert (done.rows, done.accepted, done.rejected, done.spans) == (5, 5, 0, (Span(0, 0, 5),))
    assert stores.events(SOURCE) == table().drop_columns(["more"]).to_pylist()
    assert all(batch.imported for batch in stores.log.read("events/visits", 0))


def test_the_same_content_comes_in_once_under_whatever_name(stores: Any, tmp_path: Path) -> None:
    folder = tmp_path / "days"
    folder.mkdir()
    pq.write_table(table("monday"), folder / "1.parquet")
    assert bring(stores, folder).accepted == 5
    (folder / "1.parquet").rename(folder / "0.parquet")
    pq.write_table(table("tuesday"), folder / "2.parquet")
    done = bring(stores, folder)
    assert (done.rows, done.accepted, done.known, done.spans) == (5, 5, 5, (Span(0, 5, 10),))
    done = bring(stores, folder)
    assert (done.rows, done.accepted, done.known, done.spans) == (0, 0, 10, ())
    changed = SourceDef("visits", SCHEMA, limits={"n": 3.0})
    again = import_file(changed, folder, log=stores.log, metadata=stores.metadata, actor="me", now_ms=NOW)
    assert (again.rows, again.rejected) == (10, 2)  # another contract judges anew


def test_cells_that_cannot_be_read_are_rows_in_quarantine(stores: Any, tmp_path: Path) -> None:
    csv = "id,at,x,n,ok\na,2013-04-01 07:00:00,NA,1,true\nb,yesterday,1,1,true\nc,2013-04-01T07:00:00Z,1.5,one,\n,5,1,1,\n"
    (tmp_path / "a.csv").write_text(csv)
    done = bring(stores, tmp_path / "a.csv")
    assert done.reasons == {
        "at: 'yesterday' is not a time (milliseconds since 1970, or text such as 2013-04-01T09:30:00Z)": 1,
        "n: 'one' is not a whole number": 1,
        "id: empty": 1,
    }
    assert [row["id"] for row in stores.events(SOURCE)] == ["a"]
    assert {json.loads(text).get("n") for _, text, _, _ in stores.quarantined(SOURCE)} == {"1", "one", 1}


def test_lines_that_cannot_be_read_are_rows_in_quarantine(stores: Any, tmp_path: Path) -> None:
    good = {"id": "a", "at": NOW, "x": None, "n": 1, "ok": None, "more": [1]}
    bad = [b'{"id": "b"', b"[1]", json.dumps({**good, "id": 7}).encode(), json.dumps({**good, "at": -1}).encode(), b"\xff"]
    (tmp_path / "a.ndjson").write_bytes(b"\n".join([json.dumps(good).encode(), b"", *bad]))
    done = bring(stores, tmp_path / "a.ndjson")
    assert (done.accepted, done.rejected) == (1, 5)
    assert {"expected an object, got array", "id: expected a string, got int", "at: before 1970"} < {
        reason.replace("a list", "array") for reason in done.reasons
    }
    kept = [json.loads(text) for _, text, _, _ in stores.quarantined(SOURCE)]
    assert '{"id": "b"' in kept
    assert [1] in kept


def test_a_crash_at_any_write_is_mended_by_the_next_run(
    stores: Any, tmp_path: Path, faulty: Any, died: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "PIECE", 2)
    bad = {"id": "", "at": NOW, "x": None, "n": None, "ok": None}
    rows = [{**row, "at": int(row["at"].timestamp() * 1000)} for row in table().drop_columns(["more"]).to_pylist()]
    writes = 0
    for after in (False, True):
        for nth in range(1, 40):
            source = SourceDef(f"visits{nth}{after}", SCHEMA)
            path = tmp_path / f"{nth}{after}.ndjson"
            path.write_text("\n".join(json.dumps(row) for row in [bad, *rows, bad, bad]))

            def attempt(log: Any, source: SourceDef = source, path: Path = path) -> Imported:
                return import_file(source, path, log=log, metadata=stores.metadata, actor="me", now_ms=NOW)

            try:
                attempt(faulty(stores.log, nth, after=after))
            except died:
                writes += 1
                attempt(stores.log)
            else:
                break
            assert {row["id"] for row in stores.events(source)} == {row["id"] for row in rows}
            kept = [origin for _, _, origin, _ in stores.quarantined(source)]
            assert kept == [f"row {row} of {path}" for row in (1, 7, 8)]
            assert attempt(stores.log).known == 8
    assert writes > 10


def test_files_that_are_refused_leave_nothing(stores: Any, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    pq.write_table(table(), folder / "a.parquet")
    for name, content, said in (
        ("b.parquet", b"PAR1", "cannot be read"),
        ("b.arrow", b"ARROW1", "cannot be read"),
        ("b.feather", b"FEA1....", "cannot be read"),
        ("b.csv.gz", b"id,at", "cannot be read"),
        ("b.jsonl.gz", b"{}", "cannot be read"),
        ("b.jsonl.gz", gzip.compress(b"{}" * 99, mtime=0)[:14] + b"\xff" * 20, "cannot be read"),
        ("b.parquet", parquet_of(b"\xe9"), "cannot be read"),
        ("b.csv", b"id,x\n1,2\n", "lacks the time column at"),
        ("b.csv", b"id,at,x,n,ok,x\n", "has x more than once"),
        ("b.csv", b"id,at,x,n,ok\na,b\n", "cannot be read"),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(DataError) as refused:
            bring(stores, folder)
        assert f"{name}" in refused.value.what
        assert said in refused.value.what
        (folder / name).unlink()
        assert stores.log.end("events/visits") == stores.log.end("quarantine/visits") == 0
    assert bring(stores, folder).accepted == 5


def parquet_of(key: bytes) -> bytes:
    """A file of one row whose key is no text, though its type says so."""
    sink = pa.BufferOutputStream()
    pq.write_table(table().slice(0, 1).set_column(0, "id", pa.array([key]).view(pa.string())), sink)
    return sink.getvalue().to_pybytes()


def test_a_mark_before_the_first_line_is_no_part_of_it(stores: Any, tmp_path: Path) -> None:
    (tmp_path / "marked.ndjson").write_bytes(b'\xef\xbb\xbf{"id": "a", "at": 5}\n')
    assert bring(stores, tmp_path / "marked.ndjson").accepted == 1


def test_paths_that_hold_nothing_to_read(stores: Any, tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"")
    (tmp_path / "empty.ndjson").write_bytes(b"\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="neither Parquet"):
        bring(stores, tmp_path / "a.xlsx")
    with pytest.raises(DataError, match="holds no rows"):
        bring(stores, tmp_path / "empty.ndjson")
    with pytest.raises(NotFound, match="no Parquet"):
        bring(stores, tmp_path / "folder")
    with pytest.raises(NotFound, match="no file"):
        bring(stores, tmp_path / "nowhere.csv")


def test_rows_are_counted_before_they_are_read(tmp_path: Path) -> None:
    names = ("a.parquet", "a.csv", "a.ndjson", "a.feather")
    for name in names:
        WRITERS[name](table(), tmp_path / name)
    assert [count_rows(tmp_path / name) for name in names] == [5, 5, 5, 0]
