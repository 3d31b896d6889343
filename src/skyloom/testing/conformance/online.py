"""What an online store promises. The fixture is ``open_online``."""

from collections.abc import Callable
from contextlib import closing
from threading import Event, Thread

from skyloom.ports.online import OnlineStore, OnlineWriter
from skyloom.testing.faults import Report, killed_after, together

OpenOnline = Callable[[], OnlineStore]

KILLS = 10
WRITERS, ROUNDS = 4, 25


def stored(store: OnlineStore, space: str, key: bytes) -> bytes | None:
    """One value in a view of its own."""
    with store.read() as reader:
        return reader.get(space, key)


def put(store: OnlineStore, space: str, key: bytes, value: bytes, *, durable: bool = True) -> None:
    """One value in a transaction of its own."""
    with store.write(durable=durable) as writer:
        writer.put(space, key, value)


class OnlineConformance:
    """Transactions, views, scans, spaces, threads, processes and sudden death."""

    def test_what_was_never_written_is_nothing(self, open_online: OpenOnline) -> None:
        with closing(open_online()) as store, store.read() as reader:
            assert reader.get("nobody", b"key") is None
            assert reader.get_many("nobody", [b"a", b"b"]) == [None, None]
            assert reader.fetch([("nobody", b"a"), ("other", b"b")]) == [None, None]
            assert reader.fetch([]) == []
            assert list(reader.scan("nobody")) == []

    def test_values_outlive_the_handle(self, open_online: OpenOnline) -> None:
        sizes = [0, 1, 600, 4_096, 3_000_000]
        with closing(open_online()) as store:
            for durable in (True, False):
                with store.write(durable=durable) as writer:
                    for size in sizes:
                        writer.put(f"space-{durable}", b"%d" % size, bytes([durable]) * size)
        with closing(open_online()) as store, store.read() as reader:
            for durable in (True, False):
                values = reader.get_many(f"space-{durable}", [b"%d" % size for size in sizes])
                assert values == [bytes([durable]) * size for size in sizes]

    def test_many_are_written_and_read_at_once(self, open_online: OpenOnline) -> None:
        pairs = [(b"%d" % number, b"v%d" % number) for number in (3, 1, 2, 10)]
        with closing(open_online()) as store:
            with store.write() as writer:
                assert writer.get_many("space", [b"1"]) == [None]
                writer.put_many("space", pairs)
                writer.put_many("space", [(b"1", b"again")])
                assert writer.get_many("space", [b"2", b"none", b"1", b"2"]) == [b"v2", None, b"again", b"v2"]
            assert stored(store, "space", b"10") == b"v10"

    def test_many_spaces_are_read_in_one_fetch(self, open_online: OpenOnline) -> None:
        wanted = [
            ("tiles/b", b"7"),
            ("positions", b"p"),
            ("tiles/a", b"7"),
            ("tiles/a", b"8"),
            ("nobody", b"7"),
            ("tiles/a", b"7"),
        ]
        with closing(open_online()) as store:
            with store.write() as writer:
                writer.put_many("tiles/a", [(b"7", b"a7")], keep_ms=60_000)
                writer.put("tiles/b", b"7", b"b7")
                writer.put("positions", b"p", b"")
                assert writer.fetch(wanted) == [b"b7", b"", b"a7", None, None, b"a7"]
            with store.read() as reader:
                assert reader.fetch(wanted) == [b"b7", b"", b"a7", None, None, b"a7"]

    def test_spaces_share_keys_but_not_values(self, open_online: OpenOnline) -> None:
        names = ["tiles/a", "tiles/b", "seen/a", "outcomes/a"]
        with closing(open_online()) as store:
            with store.write() as writer:
                for name in names:
                    writer.put_many(name, [(b"%d" % number, name.encode()) for number in range(40)])
            with store.write() as writer:
                writer.delete("tiles/a", b"7")
                assert len(list(writer.scan("tiles/a"))) == 39
                writer.put("tiles/a", b"40", b"")
                assert [key for key, _ in writer.scan("tiles/a", b"4")] == [b"4", b"40"]
            store.drop("tiles/b")
            with store.read() as reader:
                assert len(list(reader.scan("tiles/a"))) == 40
                assert list(reader.scan("tiles/b")) == []
                for name in names[2:]:
                    keys = sorted(b"%d" % number for number in range(40))
                    assert list(reader.scan(name)) == [(key, name.encode()) for key in keys]

    def test_a_block_that_raises_changes_nothing(self, open_online: OpenOnline) -> None:
        import pytest

        with closing(open_online()) as store:
            put(store, "space", b"key", b"before")
            with pytest.raises(ZeroDivisionError):
                _write_and_raise(store)
            assert stored(store, "space", b"key") == b"before"
            assert stored(store, "new", b"key") is None

    def test_a_writer_reads_its_own_writes(self, open_online: OpenOnline) -> None:
        with closing(open_online()) as store:
            put(store, "space", b"b", b"1")
            with store.write() as writer:
                writer.put("space", b"a", b"2")
                writer.put("space", b"b", b"3")
                assert writer.get("space", b"b") == b"3"
                assert list(writer.scan("space")) == [(b"a", b"2"), (b"b", b"3")]
                writer.delete("space", b"a")
                writer.delete("space", b"never")
                writer.delete("nobody", b"never")
                assert writer.get("space", b"a") is None

    def test_a_view_never_goes_back_and_a_steady_one_stays(self, open_online: OpenOnline) -> None:
        with closing(open_online()) as store:
            put(store, "space", b"key", b"before")
            with store.read() as reader:
                assert reader.get("space", b"key") == b"before"
                put(store, "space", b"key", b"after")
                put(store, "new", b"key", b"after")
                expected = [b"before", None] if store.steady else [b"after", b"after"]
                assert reader.fetch([("space", b"key"), ("new", b"key")]) == expected
            assert stored(store, "space", b"key") == b"after"
            assert stored(store, "new", b"key") == b"after"

    def test_a_scan_is_in_order_of_keys_within_its_bounds(self, open_online: OpenOnline) -> None:
        keys = sorted([b"a", b"b", b"b\x00", b"b\x01", b"b\xff", b"b\xffz", b"c", b"\xff", b"\xff" * 511])
        with closing(open_online()) as store:
            with store.write() as writer:
                for key in reversed(keys):
                    writer.put("space", key, b"=" + key)
            with store.read() as reader:
                for prefix in (b"", b"b", b"b\xff", b"\xff", b"d"):
                    for start in (b"", b"a", b"b\x01", b"\xff"):
                        expected = [(key, b"=" + key) for key in keys if key.startswith(prefix) and key >= start]
                        assert list(reader.scan("space", prefix, start)) == expected

    def test_a_space_is_dropped_and_made_again(self, open_online: OpenOnline) -> None:
        with closing(open_online()) as store, closing(open_online()) as other:
            for number in range(300):
                put(store, f"space-{number}", b"key", b"%d" % number, durable=False)
                assert stored(other, f"space-{number}", b"key") == b"%d" % number
                store.drop(f"space-{number}")
                assert stored(other, f"space-{number}", b"key") is None
            store.drop("nobody")
            put(store, "space-0", b"other", b"again")
            assert stored(other, "space-0", b"key") is None
            assert stored(other, "space-0", b"other") == b"again"

    def test_threads_add_up_and_readers_see_whole_transactions(self, open_online: OpenOnline) -> None:
        with closing(open_online()) as store:
            done, torn = Event(), list[tuple[bytes | None, ...]]()
            reader = Thread(target=_watch, args=(store, done, torn))
            writers = [Thread(target=_count, args=(store,)) for _ in range(WRITERS)]
            for thread in [reader, *writers]:
                thread.start()
            for thread in writers:
                thread.join()
            done.set()
            reader.join()
            assert not torn
            assert stored(store, "left", b"count") == b"%d" % (WRITERS * ROUNDS)

    def test_processes_add_up(self, open_online: OpenOnline) -> None:
        together(count_in_process, [(open_online,)] * WRITERS)
        with closing(open_online()) as store:
            assert stored(store, "left", b"count") == stored(store, "right", b"count") == b"%d" % (WRITERS * ROUNDS)

    def test_nothing_committed_is_lost_or_torn_by_a_kill(self, open_online: OpenOnline) -> None:
        for kill in range(KILLS):
            heard = killed_after(1 + kill * 7 % 40, write_forever, open_online)
            with closing(open_online()) as store, store.read() as reader:
                left, right = reader.fetch([("left", b"count"), ("right", b"count")])
                assert left == right
                assert int(left or b"0") - heard[-1] in (0, 1)
                assert len(list(reader.scan("keys"))) == int(left or b"0")


def _write_and_raise(store: OnlineStore) -> None:
    with store.write() as writer:
        writer.put("space", b"key", b"after")
        writer.delete("space", b"other")
        writer.put("new", b"key", b"after")
        raise ZeroDivisionError


def _count(store: OnlineStore) -> None:
    for number in range(ROUNDS):
        with store.write(durable=number % 5 == 0) as writer:
            _add_one(writer)


def _add_one(writer: OnlineWriter) -> int:
    count = int(writer.get("left", b"count") or b"0") + 1
    writer.put("left", b"count", b"%d" % count)
    writer.put("keys", b"%09d" % count, bytes(count % 7000))
    writer.put("tiles/middle", b"count", b"%d" % count)
    writer.put("right", b"count", b"%d" % count)
    return count


def _watch(store: OnlineStore, done: Event, torn: list[tuple[bytes | None, ...]]) -> None:
    while not done.is_set():
        with store.read() as reader:
            seen = tuple(reader.fetch([("left", b"count"), ("tiles/middle", b"count"), ("right", b"count")]))
        if len(set(seen)) != 1:
            torn.append(seen)


def count_in_process(open_online: OpenOnline, report: Report) -> None:
    """Runs in a process: add one, again and again."""
    with closing(open_online()) as store:
        _count(store)


def write_forever(open_online: OpenOnline, report: Report) -> None:
    """Runs in a process until it is killed: add one, and report each sum, mostly without waiting for the disk."""
    store = open_online()
    for number in range(1_000_000):
        with store.write(durable=number % 8 == 7) as writer:
            count = _add_one(writer)
        report(count)
