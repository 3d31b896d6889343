"""What an object store promises. The fixture is ``open_objects``."""

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from threading import Thread

from skyloom.kernel.errors import Conflict, DataError, NotFound, Transient
from skyloom.ports.objects import Objects
from skyloom.testing.faults import Report, full_disk, killed_after, together

OpenObjects = Callable[[], Objects]

KILLS = 10
WRITERS, ROUNDS = 8, 25


def content(number: int) -> bytes:
    """Some bytes, up to 300 kB, that tell which they are."""
    return b"%d:" % number * (1 + number * 7919 % 100_000)


class ObjectsConformance:
    """Objects, pointers, threads, processes and sudden death."""

    def test_what_was_put_can_be_got_by_its_digest(self, open_objects: OpenObjects) -> None:
        objects = open_objects()
        for stored in (b"", b"x", content(3), bytes(3_000_000)):
            digest = objects.put(stored)
            assert digest == sha256(stored).hexdigest() == objects.put(stored)
            assert open_objects().get(digest) == stored
            assert objects.has(digest)

    def test_what_was_never_put_is_not_found(self, open_objects: OpenObjects) -> None:
        import pytest

        objects = open_objects()
        assert not objects.has("0" * 64)
        with pytest.raises(NotFound):
            objects.get("0" * 64)

    def test_what_is_no_digest_is_refused(self, open_objects: OpenObjects) -> None:
        import pytest

        for wrong in ("", "x", "0" * 63, "../" * 21 + "0", "G" * 64, "0" * 64 + "\n"):
            with pytest.raises(DataError):
                open_objects().get(wrong)

    def test_a_pointer_moves_only_from_what_is_expected(self, open_objects: OpenObjects) -> None:
        import pytest

        objects = open_objects()
        assert objects.pointer("p") is None
        with pytest.raises(Conflict):
            objects.move("p", b"1", expect=b"0")
        objects.move("p", b"", expect=None)
        with pytest.raises(Conflict):
            objects.move("p", b"1", expect=None)
        objects.move("p", b"1", expect=b"")
        assert open_objects().pointer("p") == b"1"

    def test_pointers_of_any_name_are_apart(self, open_objects: OpenObjects) -> None:
        objects = open_objects()
        names = ["release", "release/late", "release%2Flate", "..", ".", "../x", "a b", "ä", "A", "a", "a\n", "~"]
        for name in names:
            objects.move(name, name.encode(), expect=None)
        assert [objects.pointer(name) for name in names] == [name.encode() for name in names]

    def test_threads_put_and_get_at_once(self, open_objects: OpenObjects) -> None:
        objects, wrong = open_objects(), list[int]()
        threads = [Thread(target=_put_and_get, args=(objects, wrong)) for _ in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_one_process_wins_each_round(self, open_objects: OpenObjects) -> None:
        wins = together(race, [(open_objects, writer) for writer in range(WRITERS)])
        assert sorted(round for mine in wins for round in mine) == list(range(1, ROUNDS + 1))

    def test_nothing_acknowledged_is_lost_or_torn_by_a_kill(self, open_objects: OpenObjects) -> None:
        for kill in range(KILLS):
            heard = killed_after(1 + kill * 7 % 20, put_forever, open_objects)
            objects = open_objects()
            for number, digest in heard:
                assert objects.get(digest) == content(number)
            digest = (objects.pointer("newest") or b"").decode()
            assert objects.get(digest) in {content(heard[-1][0]), content(heard[-1][0] + 1)}


class ObjectsOnFullDisk:
    """A put or a move without room is a clear error, and loses nothing."""

    def test_a_full_disk_is_transient_and_loses_nothing(self, open_objects: OpenObjects) -> None:
        together(put_on_full_disk, [(open_objects,)])


def _put_and_get(objects: Objects, wrong: list[int]) -> None:
    wrong.extend(number for number in range(15) if objects.get(objects.put(content(number))) != content(number))


def race(open_objects: OpenObjects, writer: int, report: Report) -> None:
    """Runs in a process: try to make each next move, against all others; report those it made."""
    objects = open_objects()
    while (last := _round(current := objects.pointer("p"))) < ROUNDS:
        with suppress(Conflict):
            objects.move("p", b"%d:%d" % (last + 1, writer), expect=current)
            report(last + 1)


def _round(pointer: bytes | None) -> int:
    return int((pointer or b"0").partition(b":")[0])


def put_forever(open_objects: OpenObjects, report: Report) -> None:
    """Runs in a process until it is killed: put, point at it, and report each."""
    objects = open_objects()
    for number in range(1_000_000):
        digest = objects.put(content(number))
        objects.move("newest", digest.encode(), expect=objects.pointer("newest"))
        report((number, digest))


def put_on_full_disk(open_objects: OpenObjects, report: Report) -> None:
    """Runs in a process: fail without room, then succeed with room."""
    import pytest

    objects, large = open_objects(), bytes(100_000)
    digest = sha256(large).hexdigest()
    objects.move("p", b"before", expect=None)
    with full_disk(10_000):
        small = objects.put(b"small")
        with pytest.raises(Transient):
            objects.put(large)
        with pytest.raises(Transient):
            objects.move("p", large, expect=b"before")
    assert not objects.has(digest)
    assert objects.pointer("p") == b"before"
    assert objects.get(small) == b"small"
    assert objects.put(large) == digest
    objects.move("p", large, expect=b"before")
