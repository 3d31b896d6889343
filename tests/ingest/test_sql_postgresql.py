"""Rows of a real PostgreSQL, by SQLAlchemy and by ADBC, against what was inserted."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services.postgresql import PostgresqlServer

from skyloom.ingest import sql
from skyloom.ingest.imports import Imported
from skyloom.ingest.sql import Rows, import_sql
from skyloom.kernel.errors import DataError, DeclarationError, SkyloomError, Transient, UsageError
from skyloom.kernel.locations import sql_location, sql_table
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.runtime.ingesting import database_rows

pytestmark = pytest.mark.xdist_group("postgresql")

NOW = 1_364_800_000_000
SOURCE = SourceDef(
    "payments",
    Schema(
        (
            Field("id", Type.STRING),
            Field("paid", Type.TIMESTAMP),
            Field("amount", Type.FLOAT, nullable=True),
            Field("items", Type.INT, nullable=True),
            Field("cash", Type.BOOL, nullable=True),
            Field("note", Type.STRING, nullable=True),
        ),
        "id",
        "paid",
    ),
)
PAYMENTS = """CREATE TABLE payments (id text, paid timestamptz, amount float8, items int, cash boolean, note text,
    big bigint, exact numeric(12, 3), name text, at timestamptz, local timestamp, day date, real float8, small real,
    code uuid, mood mood)"""
MORE = """INSERT INTO payments SELECT 'k' || n, '2013-03-01 07:00+00'::timestamptz + n * interval '1 hour',
    n / 4.0, n, n % 2 = 0, CASE WHEN n % 3 > 0 THEN 'n' || n END, v * 10000000000, v * 1.125,
    E'it''s \\\\ ' || chr(192 + v) || ' é',
    '2013-03-31 00:30:00.000001+00'::timestamptz + v * interval '30 minutes',
    '2013-03-31 00:30:00.5'::timestamp + v * interval '30 minutes', '2013-03-01'::date + v, v / 10.0::float8, v / 10.0::real,
    ('a0eebc99-9c0b-4ef8-bb6d-' || lpad(v::text, 12, '0'))::uuid, (ARRAY['low', 'fair', 'high'])[1 + v / 4]::mood
    FROM (SELECT n, n / 3 AS v FROM generate_series({first}, {last}) n) numbered"""
CURSORS = ["big", "exact", "name", "at", "local", "day", "real", "small", "code", "mood"]
OTHERS = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
DRIVERS = ["postgresql+psycopg", "adbc+postgresql"]


class Shop:
    """One database, and one driver to read it by."""

    def __init__(self, server: PostgresqlServer, scheme: str, stores: Any, folder: Path) -> None:
        self.server, self._stores, self._folder = server, stores, folder
        self.database = server.new_database()
        self.url = f"{scheme}://skyloom:${{SHOP_SECRET}}@{server.address}/{self.database}"
        self._connection = server.connect(self.database)
        self.do("CREATE TYPE mood AS ENUM ('low', 'fair', 'high')")

    def do(self, text: str) -> None:
        self._connection.execute(text.encode())

    def insert(self, first: int, last: int) -> None:
        """Payments, three of which share each value of every cursor."""
        self.do(MORE.format(first=first, last=last))

    def rows(self, location: str) -> Rows:
        place = sql_table(location)
        assert place is not None
        return database_rows(place, self._folder)

    def bring(self, cursor: Any = "big", *, log: Any = None, url: str | None = None, **place: str) -> Imported:
        given = place or {"table": "payments"}
        location = sql_location(url or self.url, **given, cursor=cursor)  # type: ignore[arg-type]
        rows = self.rows(location)
        known = sql_table(location)
        assert known is not None
        stores = self._stores
        try:
            return import_sql(
                SOURCE, known, rows, log=log or stores.log, metadata=stores.metadata, actor="me", now_ms=lambda: NOW
            )
        finally:
            rows.close()

    def events(self) -> list[dict[str, Any]]:
        return self._stores.events(SOURCE)

    def ids(self) -> list[str]:
        return [event["id"] for event in self.events()]

    def state(self) -> str:
        """What the only other connection does."""
        text = f"SELECT state FROM pg_stat_activity WHERE {OTHERS}"
        [(state,)] = self._connection.execute(text.encode()).fetchall()
        return str(state)

    def close(self) -> None:
        self._connection.close()
        self.server.drop_database(self.database)


@pytest.fixture(params=DRIVERS)
def shop(
    request: pytest.FixtureRequest,
    postgresql_server: PostgresqlServer,
    stores: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shop]:
    monkeypatch.setenv("SHOP_SECRET", postgresql_server.password)
    made = Shop(postgresql_server, request.param, stores, tmp_path)
    yield made
    made.close()


def numbered(count: int) -> set[str]:
    return {f"k{n}" for n in range(count)}


def test_types_are_mapped(shop: Shop) -> None:
    shop.do(
        "CREATE TABLE payments (seq serial, id uuid, paid timestamp, amount numeric, items numeric, cash bool, note mood)"
    )
    shop.do(
        """INSERT INTO payments (id, paid, amount, items, cash, note) VALUES
        ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2013-03-31 02:30:00.001', 1.10, 2.00, true, 'high'),
        ('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2013-03-31 02:30', NULL, NULL, NULL, NULL),
        ('c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2013-03-31', -0.0000001, -9007199254740993, false, 'low'),
        ('d0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2013-03-31', 1, 2.5, true, 'low'),
        ('e0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2013-03-31', 'NaN', 2, true, 'low')"""
    )
    done = shop.bring("seq")
    assert (done.rows, done.accepted) == (5, 3)
    told = [tuple(event.values()) for event in shop.events()]
    assert [(row[0][0], row[1].isoformat(), *row[2:]) for row in told] == [
        ("a", "2013-03-31T02:30:00.001000+00:00", 1.1, 2, True, "high"),
        ("b", "2013-03-31T02:30:00+00:00", None, None, None, None),
        ("c", "2013-03-31T00:00:00+00:00", -0.0000001, -9007199254740993, False, "low"),
    ]


def test_a_moment_with_a_time_zone_is_that_moment(shop: Shop) -> None:
    shop.do(
        "CREATE TABLE payments (id int8, paid timestamptz, amount real, items int2, cash bool, note varchar(9), day date)"
    )
    shop.do("INSERT INTO payments VALUES (1, '2013-03-10 07:00+02', 0.5, 3, true, 'x', '2013-03-10')")
    shop.bring("id", query="SELECT id::text AS id, paid, amount, items, cash, note FROM payments")
    shop.bring("id", query="SELECT 'day' AS id, day AS paid, amount, items, cash, note FROM payments")
    assert [(event["id"], event["paid"].isoformat(), event["amount"]) for event in shop.events()] == [
        ("1", "2013-03-10T05:00:00+00:00", 0.5),
        ("day", "2013-03-10T00:00:00+00:00", 0.5),
    ]


@pytest.mark.parametrize("cursor", [*CURSORS, ("at", "name"), ("day", "code", "exact")])
def test_each_run_brings_what_is_new_whatever_the_cursor(shop: Shop, cursor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and runs end between rows of equal cursors, over the hour that Berlin's summer time leaves out."""
    monkeypatch.setattr(sql, "BATCH", 4)
    shop.do(PAYMENTS)
    chance, count = random.Random(str(cursor)), 0
    for more in (2, 5, 0, chance.randrange(1, 9), chance.randrange(1, 9), 1):
        shop.insert(count, count + more - 1)
        count += more
        assert shop.bring(cursor).accepted == more
    assert sorted(shop.ids()) == sorted(numbered(count))  # and none came twice
    assert shop.bring(cursor).rows == 0


def test_another_driver_and_another_time_zone_go_on_where_one_stopped(shop: Shop) -> None:
    shop.do(PAYMENTS)
    shop.insert(0, 6)
    for cursor in ("at", "exact"):
        assert shop.bring(cursor).accepted == 7
        shop.do(f"ALTER DATABASE {shop.database} SET timezone = 'Asia/Tokyo'")
        other = next(scheme for scheme in DRIVERS if not shop.url.startswith(scheme))
        before = len(shop.ids())
        done = shop.bring(cursor, url=f"{other}{shop.url[shop.url.index(':') :]}")
        assert set(shop.ids()[before:]) <= {"k6"}  # the last value's rows may come again, and have their old keys
        assert done.rows <= 1


def test_a_row_behind_the_cursor_is_not_seen_and_one_at_it_is(shop: Shop) -> None:
    shop.do(PAYMENTS)
    shop.insert(0, 9)
    shop.bring("big")
    assert len(shop.ids()) == 10
    for key, big in (("late", 10_000_000_000), ("at", 30_000_000_000), ("after", 30_000_000_001), ("null", None)):
        shop.do(f"INSERT INTO payments (id, paid, big) VALUES ('{key}', '2013-03-01', {'NULL' if big is None else big})")
    assert shop.bring("big").accepted == 2
    assert shop.ids()[10:] == ["at", "after"]
    shop.do("UPDATE payments SET big = 30000000002 WHERE id = 'null'")
    assert shop.bring("big").accepted == 1


def test_a_crash_at_any_write_loses_nothing(
    shop: Shop, stores: Any, faulty: Any, died: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "BATCH", 4)
    shop.do(PAYMENTS)
    shop.insert(0, 9)
    shop.do("UPDATE payments SET id = '' WHERE items = 4")
    crashes = 0
    for after in (False, True):
        for nth in range(1, 20):
            with stores.metadata.transaction("me") as transaction:
                if transaction.get(sql.KIND, "payments"):
                    transaction.delete(sql.KIND, "payments", action="begin again")
            stores.log.truncate("events/payments", 1 << 40)
            stores.log.truncate("quarantine/payments", 1 << 40)
            try:
                shop.bring("exact", log=faulty(stores.log, nth, after=after))
            except died:
                crashes += 1
                shop.bring("exact")
            else:
                break
            assert set(shop.ids()) == numbered(10) - {"k4"}
            assert len(stores.quarantined(SOURCE)) == 1
    assert crashes >= 6


NAMED = 'id text, paid timestamptz, amount float8, items int, cash boolean, note text, "select" int, "Na""me:x %(s)s" int'


@pytest.mark.parametrize(
    ("table", "written"),
    [
        ("Order", '"Order"'),
        ('"Order"', '"Order"'),
        ("user", '"user"'),
        ("Sales.order:s", '"Sales"."order:s"'),
        ('public."a.b ""c"""', '"a.b ""c"""'),
    ],
)
@pytest.mark.parametrize("cursor", ["select", 'Na"me:x %(s)s'])
def test_names_are_quoted(shop: Shop, table: str, written: str, cursor: str) -> None:
    shop.do('CREATE SCHEMA "Sales"')
    shop.do(f"CREATE TABLE {written} ({NAMED})")
    for n in range(2):
        shop.do(f"INSERT INTO {written} VALUES ('k{n}', '2013-03-01', 1, 1, true, '', {n}, {n})")
        assert shop.bring(cursor, table=table).accepted == 1
    assert shop.ids() == ["k0", "k1"]


def test_a_query_is_read_as_it_stands(shop: Shop) -> None:
    shop.do(PAYMENTS)
    shop.insert(0, 5)
    query = """
        WITH few AS (SELECT * FROM payments WHERE items <> 2)
        SELECT id, paid, amount::float8, items, cash, 'a:b %s $1 ? ' || to_char(paid, 'HH24:MI') AS note, big FROM few
        WHERE items % 2 = 0 AND (ARRAY[items])[1:1] IS NOT NULL -- only some"""
    assert shop.bring("big", query=query).accepted == 2
    assert [event["note"] for event in shop.events()] == ["a:b %s $1 ? 08:00", "a:b %s $1 ? 12:00"]
    shop.insert(6, 9)
    assert shop.bring("big", query=query).accepted == 2


def test_memory_is_that_of_a_batch_from_a_position_on_too(shop: Shop) -> None:
    """The first rows are here while the server still has most of them: it cannot send them, or is asked for them later."""
    shop.do(f"CREATE TABLE many AS {MANY.format(count=20_000)}")
    rows = shop.rows(sql_location(shop.url, table="many", cursor="big"))
    for since in (None, (10,)):
        batches = rows.read(["id", "note"], ["big"], since, 500)
        assert len(next(batches)) == 500
        assert shop.state() == ("active" if shop.url.startswith("adbc+") else "idle in transaction")
        batches.close()  # type: ignore[attr-defined]
    rows.close()


def refused(kind: type[SkyloomError], shop: Shop, cursor: str = "big", **place: Any) -> str:
    with pytest.raises(kind) as caught:
        shop.bring(cursor, **place)
    said = str(caught.value)
    assert caught.value.fix
    assert caught.value.__cause__ is None or "hunter2" not in repr(caught.value.__cause__)
    assert shop.server.password not in said
    assert "hunter2" not in said
    return said


def test_what_the_server_refuses_is_said_with_what_to_do(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.do(PAYMENTS)
    assert 'relation "nothing" does not exist' in refused(DataError, shop, table="nothing")
    assert "SCHEMA.NAME" in refused(DataError, shop, table="elsewhere.payments")
    assert "mend the query" in refused(DataError, shop, query="SELEC 1")
    assert "lacks seq, its cursor" in refused_columns(shop)
    shop.do("CREATE ROLE guest LOGIN PASSWORD 'hunter2'")
    monkeypatch.setenv("GUEST", "hunter2")
    guest = shop.url.replace("skyloom:${SHOP_SECRET}", "guest:${GUEST}")
    assert "permission denied for table payments" in refused(DataError, shop, url=guest)
    shop.do("DROP ROLE guest")
    assert "export GUEST=..." in refused(UsageError, shop, url=guest)
    assert "does not exist" in refused(UsageError, shop, url=shop.url + "x")
    assert "write //USER:${NAME}@HOST/" in refused(UsageError, shop, url=shop.url.replace(":${SHOP_SECRET}", ""))
    assert '"sslmod"' in refused(UsageError, shop, url=f"{shop.url}?sslmod=require")
    monkeypatch.setenv("SHOP_SECRET", "hunter2")
    said = refused(UsageError, shop)
    assert "password authentication failed" in said
    assert "export SHOP_SECRET=..." in said


def refused_columns(shop: Shop) -> str:
    with pytest.raises(DataError) as caught:
        shop.bring("seq")
    return str(caught.value)


@pytest.mark.parametrize("table", ["a..b", '"a', "", ".", 'a"b"."c"d'])
def test_a_table_that_is_no_name(shop: Shop, table: str) -> None:
    with pytest.raises(DeclarationError, match="no name of a table" if table else "names no table"):
        shop.bring("big", table=table)


def test_nobody_there_is_worth_another_try(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.do(PAYMENTS)
    nowhere = shop.url.replace(shop.server.address, "127.0.0.1:1")
    assert "see that the database runs" in refused(Transient, shop, url=nowhere)


def test_a_secret_that_a_driver_repeats_is_masked(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq tells the part of an address that it cannot read."""
    monkeypatch.setenv("PG_MODE", "hunter2")
    said = refused(UsageError, shop, url=f"{shop.url}?sslmode=${{PG_MODE}}")
    assert 'invalid sslmode value: "${PG_MODE}"' in said


def test_what_no_value_can_be_is_said(shop: Shop) -> None:
    shop.do(PAYMENTS)
    shop.insert(0, 5)
    shop.do("UPDATE payments SET paid = 'infinity' WHERE items = 3")
    assert "leave such rows out" in refused(DataError, shop)
    division = "SELECT id, paid, 1.0 / (items - 5) AS amount, items, cash, note, big FROM payments WHERE paid < 'infinity'"
    assert "division by zero" in refused(DataError, shop, query=division)
    assert shop.bring(query="SELECT * FROM payments WHERE paid < 'infinity'").accepted == 5


MANY = """SELECT 'k' || n AS id, '2013-03-01'::timestamptz AS paid, 1 AS amount, n AS items, true AS cash,
    repeat('x', 2000) AS note, n AS big FROM generate_series(1, {count}) n"""


@pytest.mark.parametrize("way", ["the server crashes", "an operator ends the connection"])
def test_a_server_that_goes_in_the_middle_is_gone_on_with(
    shop: Shop, stores: Any, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More is read than lies in any buffer, so that the connection ends while rows come."""
    monkeypatch.setattr(sql, "BATCH", 1_000)
    shop.do(f"CREATE TABLE many AS {MANY.format(count=20_000)}")
    gone: list[int] = []

    def go() -> None:
        if way == "the server crashes":
            shop.server.stop(kill=True)
        else:
            shop.do(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}")

    class GoesAway:
        """A log during whose second append the database goes."""

        def append(self, *words: Any) -> list[int]:
            gone.append(1)
            if len(gone) == 2:
                go()
            return stores.log.append(*words)

        def __getattr__(self, name: str) -> Any:
            return getattr(stores.log, name)

    assert "try again: it goes on where it stopped" in refused(Transient, shop, log=GoesAway(), table="many")
    had = len(shop.ids())
    assert 2_000 <= had < 20_000
    if way == "the server crashes":
        shop.server.start()
    assert shop.bring(table="many").accepted == 20_000 - had
    assert set(shop.ids()) == {f"k{n}" for n in range(1, 20_001)}


def test_a_server_that_goes_before_the_first_row(shop: Shop) -> None:
    shop.do(PAYMENTS)
    rows = shop.rows(sql_location(shop.url, table="payments", cursor="big"))
    assert "big" in rows.names()
    shop.server.stop(kill=True)
    with pytest.raises(Transient):
        list(rows.read(["id"], ["big"], None, 10))
    shop.server.start()
    rows.close()
