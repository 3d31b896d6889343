"""Requests from PostgreSQL and predictions into it: every row once, replaced at one moment, secrets by name."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.runtime.test_scoring_places import Ended, ends_after
from tests.services.postgresql import USER, PostgresqlServer

from skyloom.kernel.errors import DataError, Refused, Transient, UsageError
from skyloom.platform import Platform
from skyloom.runtime.scoring import score, scoring

pytestmark = pytest.mark.xdist_group("postgresql")
MODEL = "churn"
CREATE = """
CREATE TABLE renewals (renewal_id text, due timestamptz, customer_id text, plan text, price numeric(8, 2), months smallint,
                       seq bigserial PRIMARY KEY)
"""


class Database:
    """One of our own, and its address."""

    def __init__(self, server: PostgresqlServer) -> None:
        self.server, self.name = server, server.new_database()

    def address(self, scheme: str = "postgresql+psycopg", **options: str) -> str:
        told = "&".join(f"{name}={value}" for name, value in options.items())
        return f"{scheme}://{USER}:${{SHOP_SECRET}}@{self.server.address}/{self.name}?{told}"

    def asked(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.server.connect(self.name) as connection:
            return connection.execute(text.encode(), values).fetchall()

    def done(self, text: str) -> None:
        with self.server.connect(self.name) as connection:
            connection.execute(text.encode())


@pytest.fixture
def shop(postgresql_server: PostgresqlServer, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("SHOP_SECRET", postgresql_server.password)
    monkeypatch.setattr(scoring, "BATCH", 150)
    monkeypatch.setattr(scoring, "MOST", 150)
    database = Database(postgresql_server)
    database.done(CREATE)
    table = pq.read_table(platform.directory / "data" / "renewals.parquet").slice(0, 400)
    pq.write_table(table, platform.directory / "some.parquet")
    rows = table.select(["renewal_id", "due", "customer_id", "plan", "price", "months"]).to_pylist()
    with postgresql_server.connect(database.name) as connection, connection.cursor() as cursor:
        insert = b"INSERT INTO renewals (renewal_id, due, customer_id, plan, price, months) VALUES (%s, %s, %s, %s, %s, %s)"
        cursor.executemany(insert, [tuple(row.values()) for row in rows])
    yield database
    postgresql_server.drop_database(database.name)


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "adbc+postgresql"])
def test_from_a_table_into_a_table_in_two_runs(platform: Platform, shop: Database, tmp_path: Path, scheme: str) -> None:
    if scheme.startswith("adbc"):
        pytest.importorskip("adbc_driver_postgresql")
    score(platform, MODEL, f"{platform.directory}/some.parquet", f"{tmp_path}/expected.parquet")
    came, out = shop.address(scheme, table="renewals", cursor="seq"), shop.address(table='public."Told.1"')
    with pytest.raises(Ended):
        score(platform, MODEL, came, out, on_rows=ends_after(2))
    assert shop.asked("SELECT COUNT(*) FROM pg_tables WHERE tablename = 'Told.1'") == [(0,)]
    done = score(platform, MODEL, came, out)
    assert (done.rows, done.scored, done.known) == (400, 400, 300)
    expected = [tuple(row.values()) for row in pq.read_table(tmp_path / "expected.parquet").to_pylist()]
    assert sorted(shop.asked('SELECT key, score, label, error FROM "Told.1"')) == sorted(expected)
    assert "SHOP_SECRET" not in done.path
    assert shop.server.password not in done.path


def test_readers_see_the_table_before_or_the_whole_one(platform: Platform, shop: Database) -> None:
    out = shop.address(table="told")
    came = shop.address(query="SELECT * FROM renewals WHERE seq <= 30", cursor="due,seq")
    assert score(platform, MODEL, came, out).rows == 30
    seen, stop = set[int](), threading.Event()

    def look() -> None:
        with shop.server.connect(shop.name) as connection:
            while not stop.is_set():
                seen.add(connection.execute("SELECT COUNT(*) FROM told").fetchall()[0][0])  # type: ignore[arg-type]

    reader = threading.Thread(target=look)
    reader.start()
    try:
        score(platform, MODEL, shop.address(table="renewals", cursor="seq"), out)
    finally:
        stop.set()
        reader.join()
    assert seen <= {30, 400}
    assert shop.asked("SELECT COUNT(*), COUNT(DISTINCT key) FROM told") == [(400, 400)]


def test_what_a_database_refuses(platform: Platform, shop: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    came, file = shop.address(table="renewals", cursor="seq"), f"{platform.directory}/some.parquet"
    with pytest.raises(Refused, match="renewals holds another table than predictions"):
        score(platform, MODEL, file, shop.address(table="renewals"))
    with pytest.raises(DataError, match="cannot be read"):
        score(platform, MODEL, shop.address(table="nothing", cursor="seq"), f"{platform.directory}/out.csv")
    few = shop.address(query="SELECT seq, renewal_id FROM renewals", cursor="seq")
    with pytest.raises(DataError, match="lacks the time column due"):
        score(platform, MODEL, few, f"{platform.directory}/out.csv")
    shop.done("CREATE TABLE told (key text, score double precision CHECK (score > 2), label boolean, error text)")
    with pytest.raises(DataError, match="violates check constraint"):
        score(platform, MODEL, came, shop.address(table="told"))
    assert shop.asked("SELECT COUNT(*) FROM told") == [(0,)]
    shop.done("ALTER TABLE told DROP CONSTRAINT told_score_check")
    assert score(platform, MODEL, came, shop.address(table="told")).known == 400  # the scores were kept
    monkeypatch.setenv("SHOP_SECRET", "guessed")
    with pytest.raises(UsageError, match="refuses the connection") as told:
        score(platform, MODEL, file, shop.address(table="told"))
    assert "guessed" not in str(told.value)


def test_a_connection_that_breaks_off_while_rows_are_read(platform: Platform, shop: Database) -> None:
    out = shop.address(table="told")
    ended: list[int] = []

    def cut(count: int) -> None:
        if not ended:
            with shop.server.connect() as connection:
                killed = connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [shop.name]
                )
                ended.append(len(killed.fetchall()))

    came = shop.address(table="renewals", cursor="seq")
    try:
        score(platform, MODEL, came, out, on_rows=cut)
    except Transient:
        assert score(platform, MODEL, came, out).known > 0
    assert ended
    assert shop.asked("SELECT COUNT(*), COUNT(DISTINCT key) FROM told") == [(400, 400)]
