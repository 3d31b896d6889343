"""Rows of a database as far as they are new, by SQLAlchemy and by ADBC, against a list of what was ever inserted."""

import contextlib
import json
import random
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from skyloom.ingest import sql
from skyloom.ingest.imports import Imported
from skyloom.ingest.sql import import_sql
from skyloom.kernel.errors import DataError, DeclarationError, UsageError
from skyloom.kernel.locations import SqlTable, resolved_url, sql_location, sql_table
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.runtime.ingesting import database_rows
from skyloom.spec.source import Source
from skyloom.spec.source import sql as declared

NOW = 1_364_800_000_000
SCHEMA = Schema(
    (
        Field("id", Type.STRING),
        Field("paid", Type.TIMESTAMP),
        Field("amount", Type.FLOAT, nullable=True),
        Field("items", Type.INT),
        Field("cash", Type.BOOL),
    ),
    "id",
    "paid",
)
SOURCE = SourceDef("payments", SCHEMA)
TABLE = "CREATE TABLE payments (id TEXT, paid TEXT, amount REAL, items INTEGER, cash BOOLEAN, seq INTEGER, more BLOB)"
DRIVERS = ["sqlite:///", "adbc+sqlite:///"]


@pytest.fixture(params=DRIVERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    write(tmp_path, TABLE)
    return f"{request.param}shop.db"


def write(folder: Path, text: str, rows: list[tuple[Any, ...]] | None = None) -> None:
    with contextlib.closing(sqlite3.connect(folder / "shop.db")) as database, database:
        if rows is None:
            database.execute(text)
        else:
            database.executemany(text, rows)


def insert(folder: Path, rows: list[tuple[Any, ...]]) -> None:
    write(folder, "INSERT INTO payments VALUES (?, ?, ?, ?, ?, ?, x'00')", rows)


def row(key: str, seq: int | None, **changed: Any) -> tuple[Any, ...]:
    made = {"id": key, "paid": "2013-04-01 07:00:00", "amount": 1.5, "items": 2, "cash": 1, "seq": seq, **changed}
    return tuple(made.values())


def bring(stores: Any, folder: Path, location: str, log: Any = None) -> Imported:
    place = sql_table(location)
    assert place is not None
    rows = database_rows(place, folder)
    try:
        return import_sql(
            SOURCE, place, rows, log=log or stores.log, metadata=stores.metadata, actor="me", now_ms=lambda: NOW
        )
    finally:
        rows.close()


def ids(stores: Any) -> list[str]:
    return [event["id"] for event in stores.events(SOURCE)]


def test_types_are_mapped_and_what_does_not_fit_is_set_aside(stores: Any, tmp_path: Path, url: str) -> None:
    bad = [row("b", 2, paid="soon"), row("c", 3, items=None), row("", 4), row("d", 5, paid="2990-01-01")]
    insert(tmp_path, [row("a", 1), *bad, row("e", 6, amount=None, cash=0)])
    done = bring(stores, tmp_path, sql_location(url, table="payments", cursor="seq"))
    assert (done.rows, done.accepted, done.rejected) == (6, 2, 4)
    [first, last] = stores.events(SOURCE)
    assert (first["paid"].isoformat(), first["amount"], first["items"], first["cash"]) == (
        "2013-04-01T07:00:00+00:00",
        1.5,
        2,
        True,
    )
    assert (last["amount"], last["cash"]) == (None, False)
    kept = stores.quarantined(SOURCE)
    reasons = {reason.partition(",")[0] for reason, _, _, _ in kept}
    assert {"items: expected a whole number", "id: empty", "paid: in the future"} < reasons
    assert {json.loads(text)["id"] for _, text, _, _ in kept} == {"b", "c", "", "d"}
    assert all(origin.endswith("shop.db: payments") for _, _, origin, _ in kept)
    assert bring(stores, tmp_path, sql_location(url, table="payments", cursor="seq")).rows == 0
    assert len(stores.quarantined(SOURCE)) == 4


@pytest.mark.parametrize("cursor", ["seq", ("paid", "seq"), "paid"])
def test_each_run_brings_what_is_new_and_equal_cursors_lose_nothing(
    stores: Any, tmp_path: Path, url: str, cursor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "BATCH", 3)
    chance, inserted = random.Random(5), 0
    location = sql_location(url, table="payments", cursor=cursor)
    for day in range(8):
        count = chance.randrange(9)
        # a row may come in later with the very cursor that was the last one
        rows = [row(f"k{inserted + n}", day + n // 4, paid=f"2013-03-{10 + day + n // 4} 07:00:00") for n in range(count)]
        insert(tmp_path, rows)
        inserted += count
        assert bring(stores, tmp_path, location).rows >= count
        assert sorted(set(ids(stores))) == sorted(f"k{n}" for n in range(inserted)) or cursor != "seq"
    if cursor == "seq":
        assert sorted(ids(stores)) == sorted(f"k{n}" for n in range(inserted))  # and none came twice


def test_a_query_may_be_read_and_nulls_wait(stores: Any, tmp_path: Path, url: str) -> None:
    insert(tmp_path, [row("a", 1), row("no", 2, items=0), row("later", None)])
    query = "SELECT * FROM payments WHERE items > 0 AND ':x' <> '%';"
    location = sql_location(url, query=query, cursor="seq")
    assert bring(stores, tmp_path, location).accepted == 1
    write(tmp_path, "UPDATE payments SET seq = 3 WHERE id = 'later'")
    assert bring(stores, tmp_path, location).accepted == 1
    assert ids(stores) == ["a", "later"]


def test_a_crash_at_any_write_loses_nothing_and_keeps_rejects_once(
    stores: Any, tmp_path: Path, url: str, faulty: Any, died: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "BATCH", 2)
    insert(tmp_path, [row(f"k{n}", n // 3, items=None if n % 3 == 0 else 1) for n in range(9)])
    location = sql_location(url, table="payments", cursor="seq")
    crashes = 0
    for after in (False, True):
        for nth in range(1, 40):
            with stores.metadata.transaction("me") as transaction:
                if transaction.get(sql.KIND, "payments"):
                    transaction.delete(sql.KIND, "payments", action="begin again")
            stores.log.truncate("events/payments", 1 << 40)
            stores.log.truncate("quarantine/payments", 1 << 40)
            try:
                bring(stores, tmp_path, location, faulty(stores.log, nth, after=after))
            except died:
                crashes += 1
                bring(stores, tmp_path, location)
            else:
                break
            assert set(ids(stores)) == {f"k{n}" for n in range(9) if n % 3}
            assert len(stores.quarantined(SOURCE)) == 3
    assert crashes > 10


def test_memory_is_that_of_a_batch(stores: Any, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "BATCH", 100)
    insert(tmp_path, [row(f"k{n}", n) for n in range(1_000)])
    place = sql_table(sql_location(url, table="payments", cursor="seq"))
    assert place is not None
    rows = database_rows(place, tmp_path)
    batches = rows.read(["id"], ["seq"], (10,), 100)
    assert [len(batch) for batch in batches] == [100] * 9 + [90]
    rows.close()


class Numbers:
    """A database that gives numbers as decimals, such as PostgreSQL: some are none."""

    def names(self) -> list[str]:
        return [*SCHEMA.names, "seq"]

    def read(self, columns: Any, cursor: Any, since: Any, most: int) -> Any:
        moment = datetime(2013, 4, 1, tzinfo=UTC)
        items = [Decimal(2), Decimal("2.5"), Decimal("Infinity"), Decimal("NaN"), Decimal("-0.0")]
        yield [(f"k{n}", moment, each, each, True, n) for n, each in enumerate(items)]

    def close(self) -> None:
        """Nothing to let go."""


def test_decimals_are_numbers_where_they_are(stores: Any) -> None:
    place = SqlTable("postgresql://db/shop", "payments", None, ("seq",))
    import_sql(SOURCE, place, Numbers(), log=stores.log, metadata=stores.metadata, actor="me", now_ms=lambda: NOW)
    assert [(event["amount"], event["items"]) for event in stores.events(SOURCE)] == [(2.0, 2), (0.0, 0)]
    assert len(stores.quarantined(SOURCE)) == 3


def test_what_cannot_be_read_is_said(stores: Any, tmp_path: Path, url: str) -> None:
    def refused(kind: type[Exception], **place: Any) -> str:
        with pytest.raises(kind) as error:
            bring(stores, tmp_path, sql_location(url, **{"cursor": "seq", **place}))
        return str(error.value)

    assert "cannot be read" in refused(DataError, table="nothing")
    assert "lacks the time column paid" in refused(DataError, query="SELECT id, seq FROM payments")
    assert "lacks sequence, its cursor" in refused(DataError, table="payments", cursor="sequence")
    insert(tmp_path, [row("a", 1)])
    assert "a cursor of bytes has no order" in refused(DataError, table="payments", cursor="more")


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("sqlite:///a.db?cursor=id", "names no table"),
        ("sqlite:///a.db?table=a&query=b&cursor=id", "names no table"),
        ("sqlite:///a.db?table=a", "names no cursor"),
        ("sqlite:///a.db?table=a&cursor=,", "names no cursor"),
        ("postgresql://me:secret@host/db?table=a&cursor=id", "holds a secret: the password"),
        ("postgresql://me:${PG}x@host/db?table=a&cursor=id", "holds a secret: the password"),
        ("postgresql://host/db?table=a&cursor=id&sslpassword=x", "holds a secret: sslpassword"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3Dhunter2&table=a&cursor=id", "holds a secret: odbc_connect"),
        ("postgresql://me:hun/ter2@host/db?table=a&cursor=id", "has an @ behind its host"),
        ("postgresql://[::1/db?table=a&cursor=id", "is no address"),
        ("sqlite:///a.db?table=&cursor=id", "names no table"),
    ],
)
def test_addresses_that_cannot_be(location: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        Source(event=object, table=location)  # type: ignore[arg-type]


def test_a_secret_is_read_from_the_environment_when_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    table = declared("postgresql://me:${PG_SECRET}@host/${SHOP}?sslmode=require", table="a", cursor="id")
    place = sql_table(table)
    assert place == SqlTable("postgresql://me:${PG_SECRET}@host/${SHOP}?sslmode=require", "a", None, ("id",))
    assert place.name == "postgresql://host/${SHOP}: a"
    with pytest.raises(UsageError, match="PG_SECRET is not set"):
        resolved_url(place.url)
    monkeypatch.setenv("PG_SECRET", "p@ss/w:rd?")
    monkeypatch.setenv("SHOP", "shop")
    assert resolved_url(place.url) == "postgresql://me:p%40ss%2Fw%3Ard%3F@host/shop?sslmode=require"


@pytest.mark.parametrize("url", ["adbc+nothing:///a.db", "nothing:///a.db"])
def test_a_driver_that_is_not_there_is_named(url: str, tmp_path: Path) -> None:
    opened: Callable[[], Any] = lambda: database_rows(SqlTable(url, "a", None, ("id",)), tmp_path)
    with pytest.raises(UsageError):
        opened()
