"""The server that other tests rely on."""

from pathlib import Path

import psycopg
import pytest
from tests.services import postgresql as postgresql_service
from tests.services.postgresql import PostgresqlServer
from tests.services.process import Missing

pytestmark = pytest.mark.xdist_group("postgresql")


def test_it_asks_for_a_password(postgresql_server: PostgresqlServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host="127.0.0.1", port=postgresql_server.port, user="skyloom", password="guessed", dbname="postgres")


def test_it_holds_what_was_committed_over_a_crash(postgresql_server: PostgresqlServer) -> None:
    name = postgresql_server.new_database()
    with postgresql_server.connect(name) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    before = postgresql_server.pid
    postgresql_server.stop(kill=True)
    postgresql_server.start()
    assert postgresql_server.pid != before
    with postgresql_server.connect(name) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]


def test_where_it_is_not_it_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_service.shutil, "which", lambda _: None)
    monkeypatch.setattr(postgresql_service, "_INSTALLED", tmp_path)
    with pytest.raises(Missing, match="PostgreSQL is not installed: sudo apt-get install -y postgresql"):
        PostgresqlServer(tmp_path / "server")


def test_the_newest_that_is_installed_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_service.shutil, "which", lambda _: None)
    monkeypatch.setattr(postgresql_service, "_INSTALLED", tmp_path)
    for version, program in (("9.6", "initdb"), ("15", "initdb"), ("17", "psql")):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / program).touch()
    assert postgresql_service.programs() == tmp_path / "15" / "bin"
