"""Metadata in SQLite."""

import os
from contextlib import closing
from functools import partial
from threading import Thread

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel.clock import ManualClock
from skyloom.kernel.errors import DataError, NotFound, UsageError
from skyloom.kernel.ids import canonical_json, digest
from skyloom.stores.metadata.sqlite import SqliteMetadata
from skyloom.testing.conformance.metadata import MetadataConformance, MetadataOnFullDisk, put
from skyloom.testing.faults import together


class TestSqliteMetadata(MetadataConformance, MetadataOnFullDisk):
    @pytest.fixture
    def open_metadata(self, tmp_path):
        return partial(SqliteMetadata, tmp_path / "meta" / "metadata.db")


LINES = 6
tampering = st.one_of(
    st.tuples(st.just("edit"), st.integers(1, LINES), st.sampled_from(["actor", "action", "kind", "id", "body"])),
    st.tuples(st.just("edit number"), st.integers(1, LINES), st.sampled_from(["at_ms", "version", "link"])),
    st.tuples(st.just("remove"), st.integers(1, LINES), st.integers(0, LINES)),
    st.tuples(st.just("swap"), st.integers(1, LINES), st.integers(1, LINES)),
    st.tuples(st.just("insert"), st.integers(LINES + 1, LINES + 3), st.none()),
    st.tuples(st.just("head"), st.integers(0, LINES - 1), st.none()),
)


def tamper(connection, how, line, more):
    """Change the file as somebody without the program would; the first line that cannot hold any more."""
    if how == "edit":
        connection.execute(f"UPDATE change SET {more} = {more} || 'x' WHERE number = ?", (line,))
    elif how == "edit number":
        changed = "'f' || substr(link, 2) || 'f'" if more == "link" else f"{more} + 1"
        connection.execute(f"UPDATE change SET {more} = {changed} WHERE number = ?", (line,))
    elif how == "remove":
        connection.execute("DELETE FROM change WHERE number BETWEEN ? AND ?", (line, line + more))
    elif how == "swap":
        if line == more:
            return None
        numbers = [(more, -1), (line, more), (-1, line)]
        for old, new in numbers:
            connection.execute("UPDATE change SET number = ? WHERE number = ?", (new, old))
        return min(line, more)
    elif how == "insert":
        connection.execute(
            "INSERT INTO change SELECT ?, 0, 'eve', action, kind, id, version, body, link FROM change", (line,)
        )
    else:
        connection.execute("UPDATE head SET number = ?", (line,))
        return LINES + 1
    return line if how != "insert" else LINES + 1


@given(tampering)
@settings(max_examples=80, deadline=None)
def test_tampering_with_the_audit_log_is_found_where_it_begins(tmp_path_factory, change):
    path = tmp_path_factory.mktemp("audit") / "metadata.db"
    with closing(SqliteMetadata(path)) as metadata:
        for number in range(LINES):
            put(metadata, f"id{number % 2}", b"%d" % number)
    connection = apsw.Connection(str(path))
    if change[0] == "insert":
        change = ("insert one", *change[1:])
        connection.execute(
            "INSERT INTO change SELECT ?, 0, 'eve', action, kind, id, version, body, link FROM change WHERE number = 1",
            (change[1],),
        )
        expected = LINES + 1
    else:
        expected = tamper(connection, *change)
    connection.close()
    with closing(SqliteMetadata(path)) as metadata:
        assert metadata.verify() == expected


def test_links_are_what_the_port_says(tmp_path):
    with closing(SqliteMetadata(tmp_path / "m.db", ManualClock(7))) as metadata:
        put(metadata, "a", b"1")
        put(metadata, "b", b"2")
        link = "0" * 64
        for one in metadata.changes():
            assert one.at_ms == 7
            line = [link, one.number, 7, "ada", "set", "kind", one.id, one.version, one.body]
            assert one.link == digest(canonical_json(line))
            link = one.link


def test_a_transaction_is_of_no_use_after_its_block(tmp_path):
    with closing(SqliteMetadata(tmp_path / "m.db")) as metadata:
        with metadata.transaction("ada") as transaction:
            pass
        with pytest.raises(UsageError, match="over"):
            transaction.put("kind", "a", b"", action="set")
        with metadata.transaction("ada"), pytest.raises(UsageError, match="inside another"):
            put(metadata, "a", b"")
        with metadata.transaction("ada") as transaction, pytest.raises(NotFound):
            transaction.delete("kind", "a", action="remove")
        assert metadata.changes() == []


def test_readers_do_not_see_or_wait_for_a_transaction(tmp_path):
    with closing(SqliteMetadata(tmp_path / "m.db")) as metadata:
        seen = []
        with metadata.transaction("ada") as transaction:
            transaction.put("kind", "a", b"", action="set")
            reader = Thread(target=lambda: seen.append(metadata.get("kind", "a")))
            reader.start()
            reader.join()
        assert seen == [None]
        assert metadata.get("kind", "a") is not None


def test_it_is_usable_on_both_sides_of_a_fork(tmp_path):
    together(fork_and_put, [(tmp_path / "m.db",)])


def fork_and_put(path, report):
    with closing(SqliteMetadata(path)) as metadata:
        put(metadata, "a", b"")
        child = os.fork()
        if child == 0:
            try:
                put(metadata, "a", b"", expect=1)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert put(metadata, "a", b"", expect=2) == 3
        assert metadata.verify() is None


def test_the_files_are_private_and_the_settings_durable(tmp_path):
    with closing(SqliteMetadata(tmp_path / "x" / "m.db")) as metadata:
        put(metadata, "a", b"")
        assert {file.stat().st_mode & 0o777 for file in (tmp_path / "x").iterdir()} == {0o600}
        connection = metadata._connections.mine()
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("synchronous") == 2
        assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)


def test_a_file_that_is_no_database_is_damage(tmp_path):
    (tmp_path / "m.db").write_bytes(b"no database" * 1000)
    with pytest.raises(DataError, match="cannot be used"):
        SqliteMetadata(tmp_path / "m.db")


def test_a_closed_store_says_so(tmp_path):
    metadata = SqliteMetadata(tmp_path / "m.db")
    metadata.close()
    metadata.close()
    with pytest.raises(UsageError, match="closed"):
        metadata.get("kind", "a")
