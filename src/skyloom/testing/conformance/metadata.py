"""What a metadata store promises. The fixture is ``open_metadata``."""

from collections.abc import Callable
from contextlib import closing, suppress
from hashlib import sha256
from threading import Thread

from skyloom.kernel.errors import Conflict, Transient
from skyloom.ports.metadata import Metadata
from skyloom.testing.faults import Report, full_disk, killed_after, together

OpenMetadata = Callable[[], Metadata]

KILLS = 10
WRITERS, ROUNDS = 8, 12


def put(metadata: Metadata, id: str, body: bytes, kind: str = "kind", expect: int | None = None) -> int:
    """One document in a transaction of its own; its version."""
    with metadata.transaction("ada") as transaction:
        return transaction.put(kind, id, body, action="set", expect=expect).version


class MetadataConformance:
    """Documents, versions, transactions, the audit log, threads, processes and sudden death."""

    def test_a_document_counts_its_changes(self, open_metadata: OpenMetadata) -> None:
        with closing(open_metadata()) as metadata:
            assert metadata.get("kind", "a") is None
            assert [put(metadata, "a", body) for body in (b"1", b"2", b"2")] == [1, 2, 3]
        with closing(open_metadata()) as metadata:
            found = metadata.get("kind", "a")
            assert found is not None
            assert (found.kind, found.id, found.version, found.body) == ("kind", "a", 3, b"2")

    def test_an_expectation_that_fails_is_a_conflict(self, open_metadata: OpenMetadata) -> None:
        import pytest

        with closing(open_metadata()) as metadata:
            with pytest.raises(Conflict):
                put(metadata, "a", b"1", expect=1)
            assert put(metadata, "a", b"1", expect=0) == 1
            with pytest.raises(Conflict):
                put(metadata, "a", b"2", expect=0)
            assert put(metadata, "a", b"2", expect=1) == 2
            assert len(metadata.changes()) == 2

    def test_a_document_that_comes_back_takes_no_version_twice(self, open_metadata: OpenMetadata) -> None:
        import pytest

        with closing(open_metadata()) as metadata:
            put(metadata, "a", b"1")
            with metadata.transaction("ada") as transaction:
                transaction.delete("kind", "a", action="remove")
            assert metadata.get("kind", "a") is None
            put(metadata, "a", b"3", expect=0)
            with pytest.raises(Conflict):
                put(metadata, "a", b"4", expect=1)
            assert [change.version for change in metadata.changes("kind", "a")] == [1, 2, 3]

    def test_lists_are_sorted_and_by_prefix(self, open_metadata: OpenMetadata) -> None:
        ids = ["a", "a/1", "a/10", "a/2", "a%", "a_", "b", "ä", "\U0001f600", "A"]
        with closing(open_metadata()) as metadata:
            for id in ids:
                put(metadata, id, b"")
            put(metadata, "a/3", b"", kind="other")
            for prefix in ("", "a", "a/", "a%", "ä", "z"):
                found = [document.id for document in metadata.list("kind", prefix)]
                assert found == sorted(id for id in ids if id.startswith(prefix))

    def test_a_block_that_raises_changes_nothing(self, open_metadata: OpenMetadata) -> None:
        import pytest

        with closing(open_metadata()) as metadata:
            put(metadata, "a", b"1")
            with pytest.raises(ZeroDivisionError):
                _put_and_raise(metadata)
            found = metadata.get("kind", "a")
            assert found is not None
            assert found.body == b"1"
            assert [document.id for document in metadata.list("kind")] == ["a"]
            assert len(metadata.changes()) == 1

    def test_a_transaction_reads_its_own_writes(self, open_metadata: OpenMetadata) -> None:
        with closing(open_metadata()) as metadata, metadata.transaction("ada") as transaction:
            transaction.put("kind", "a", b"1", action="set")
            found = transaction.get("kind", "a")
            assert found is not None
            assert found.body == b"1"
            assert [document.id for document in transaction.list("kind")] == ["a"]

    def test_each_change_is_in_the_audit_log(self, open_metadata: OpenMetadata) -> None:
        with closing(open_metadata()) as metadata:
            with metadata.transaction("ada") as transaction:
                transaction.put("model", "m", b"1", action="register")
                transaction.put("alias", "m", b"2", action="promote")
            with metadata.transaction("bob") as transaction:
                transaction.delete("alias", "m", action="retire")
            lines = metadata.changes()
            told = [(one.number, one.actor, one.action, one.kind, one.version, one.body) for one in lines]
            assert told == [
                (1, "ada", "register", "model", 1, b"1"),
                (2, "ada", "promote", "alias", 1, b"2"),
                (3, "bob", "retire", "alias", 2, None),
            ]
            assert len({one.link for one in lines}) == 3
            assert all(len(one.link) == len(sha256().hexdigest()) for one in lines)
            assert [one.number for one in metadata.changes("alias")] == [2, 3]
            assert [one.number for one in metadata.changes("model", "m")] == [1]
            assert metadata.verify() is None

    def test_threads_lose_no_update(self, open_metadata: OpenMetadata) -> None:
        with closing(open_metadata()) as metadata:
            threads = [Thread(target=_add, args=(metadata,)) for _ in range(WRITERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            _check_sum(metadata, WRITERS * ROUNDS)

    def test_processes_lose_no_update(self, open_metadata: OpenMetadata) -> None:
        together(add_in_process, [(open_metadata,)] * WRITERS)
        with closing(open_metadata()) as metadata:
            _check_sum(metadata, WRITERS * ROUNDS)

    def test_one_process_wins_each_round(self, open_metadata: OpenMetadata) -> None:
        wins = together(race, [(open_metadata, writer) for writer in range(WRITERS)])
        assert sorted(version for mine in wins for version in mine) == list(range(1, ROUNDS + 1))

    def test_nothing_committed_is_lost_or_torn_by_a_kill(self, open_metadata: OpenMetadata) -> None:
        for kill in range(KILLS):
            heard = killed_after(1 + kill * 7 % 20, add_forever, open_metadata)
            with closing(open_metadata()) as metadata:
                found = metadata.get("kind", "left")
                assert found is not None
                assert int(found.body) - heard[-1] in (0, 1)
                _check_sum(metadata, int(found.body))


class MetadataOnFullDisk:
    """A transaction without room is a clear error, and loses nothing."""

    def test_a_full_disk_is_transient_and_loses_nothing(self, open_metadata: OpenMetadata) -> None:
        [heard] = together(add_until_full, [(open_metadata,)])
        with closing(open_metadata()) as metadata:
            _check_sum(metadata, heard[-1])


def _put_and_raise(metadata: Metadata) -> None:
    with metadata.transaction("ada") as transaction:
        transaction.put("kind", "a", b"2", action="set")
        transaction.put("kind", "b", b"2", action="set")
        raise ZeroDivisionError


def _add_one(metadata: Metadata, ballast: int = 0) -> int:
    with metadata.transaction("ada") as transaction:
        found = transaction.get("kind", "left")
        count = b"%d" % (int(found.body) + 1 if found else 1)
        transaction.put("kind", "left", count, action="add")
        transaction.put("kind", "right", count, action="add")
        transaction.put("ballast", "b", bytes(ballast), action="add")
        return int(count)


def _add(metadata: Metadata) -> None:
    for _ in range(ROUNDS):
        _add_one(metadata)


def _check_sum(metadata: Metadata, expected: int) -> None:
    for id in ("left", "right"):
        found = metadata.get("kind", id)
        assert found is not None
        assert (int(found.body), found.version) == (expected, expected)
    assert len(metadata.changes()) == 3 * expected
    assert metadata.verify() is None


def add_in_process(open_metadata: OpenMetadata, report: Report) -> None:
    """Runs in a process: add one, again and again."""
    with closing(open_metadata()) as metadata:
        _add(metadata)


def race(open_metadata: OpenMetadata, writer: int, report: Report) -> None:
    """Runs in a process: try to make each next version, against all others; report those it made."""
    with closing(open_metadata()) as metadata:
        seen = 0
        while seen < ROUNDS:
            with suppress(Conflict):
                report(put(metadata, "prize", b"%d" % writer, expect=seen))
            found = metadata.get("kind", "prize")
            seen = found.version if found else 0


def add_forever(open_metadata: OpenMetadata, report: Report) -> None:
    """Runs in a process until it is killed: add one, and report each sum."""
    metadata = open_metadata()
    for _ in range(1_000_000):
        report(_add_one(metadata))


def add_until_full(open_metadata: OpenMetadata, report: Report) -> None:
    """Runs in a process: add until there is no room, then some more with room; report the sum."""
    import pytest

    with closing(open_metadata()) as metadata:
        sums = [_add_one(metadata)]
        with pytest.raises(Transient), full_disk(500_000):
            _add_to(sums, metadata)
        _check_sum(metadata, sums[-1])
        report(_add_one(metadata))


def _add_to(sums: list[int], metadata: Metadata) -> None:
    while True:
        sums.append(_add_one(metadata, ballast=5_000))
