"""What a log promises. The fixture is ``open_log``."""

from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Thread

from skyloom.kernel.errors import Transient
from skyloom.ports.log import Log, LogBatch, NewBatch
from skyloom.testing.faults import Report, full_disk, killed_after, together

OpenLog = Callable[[], Log]

TOPIC = "events/arrivals"
KILLS = 10
WRITERS, APPENDS = 4, 25


def batch(number: int, writer: int = 0) -> NewBatch:
    """A batch that tells by its payload which one it is, of 1 to 4 rows and up to 20 kB."""
    payload = f"{writer}:{number}:".encode() * (1 + number * 37 % 2000)
    return NewBatch(1 + number % 4, 1_000 + number, number % 2 == 0, payload)


def same(stored: LogBatch, new: NewBatch) -> bool:
    """Whether a batch came back as it was appended."""
    content = (stored.count, stored.appended_ms, stored.imported, stored.payload)
    return content == (new.count, new.appended_ms, new.imported, new.payload)


def whole(log: Log, topic: str = TOPIC, start: int = 0) -> list[LogBatch]:
    """Every batch of a topic, read in steps, after checking that no offset is missing."""
    batches: list[LogBatch] = []
    offset = start
    while more := log.read(topic, offset, max_rows=7):
        for one in more:
            assert one.first == offset
            offset = one.end
        batches.extend(more)
    assert offset == log.end(topic)
    return batches


class LogConformance:
    """Appends, reads, truncation, threads, processes and sudden death."""

    def test_a_new_topic_is_empty(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            assert log.end("nobody") == 0
            assert log.read("nobody", 0) == []

    def test_offsets_start_at_zero_without_a_gap(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            assert log.append(TOPIC, [batch(1), batch(2)]) == [0, 2]
            assert log.append(TOPIC, [batch(0)]) == [5]
            assert log.end(TOPIC) == 6

    def test_batches_come_back_whole_in_order_after_reopening(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            for number in range(60):
                log.append(TOPIC, [batch(number)])
        with closing(open_log()) as log:
            stored = whole(log)
        assert len(stored) == 60
        assert all(same(one, batch(number)) for number, one in enumerate(stored))

    def test_an_offset_inside_a_batch_finds_it(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            log.append(TOPIC, [batch(3), batch(3), batch(3)])
            assert [log.read(TOPIC, offset)[0].first for offset in range(12)] == [0] * 4 + [4] * 4 + [8] * 4
            assert log.read(TOPIC, 12) == []

    def test_max_rows_bounds_a_read_that_gives_one_batch_at_least(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            log.append(TOPIC, [batch(3)] * 5)
            assert len(log.read(TOPIC, 0, max_rows=1)) == 1
            assert len(log.read(TOPIC, 0, max_rows=8)) == 2

    def test_topics_are_apart(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            log.append("a", [batch(1)])
            assert log.append("a/b", [batch(2)]) == [0]
            assert [len(log.read(topic, 0)) for topic in ("a", "a/b")] == [1, 1]

    def test_empty_and_large_payloads(self, open_log: OpenLog) -> None:
        sizes = [0, 1, 4_096, 5_000_000]
        with closing(open_log()) as log:
            log.append(TOPIC, [NewBatch(1, 0, False, bytes(size)) for size in sizes])
            assert [len(one.payload) for one in log.read(TOPIC, 0)] == sizes

    def test_truncation_forgets_whole_batches_and_keeps_offsets(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            log.append(TOPIC, [batch(3)] * 3)
            log.truncate(TOPIC, 7)
            assert [one.first for one in log.read(TOPIC, 0)] == [4, 8]
            log.truncate(TOPIC, 12)
            assert log.read(TOPIC, 0) == []
        with closing(open_log()) as log:
            assert log.end(TOPIC) == 12
            assert log.append(TOPIC, [batch(3)]) == [12]
            assert log.read(TOPIC, 3)[0].first == 12

    def test_another_handle_reads_what_was_just_appended(self, open_log: OpenLog) -> None:
        with closing(open_log()) as one, closing(open_log()) as other:
            one.append(TOPIC, [batch(1)])
            assert other.end(TOPIC) == 2
            assert other.append(TOPIC, [batch(2)]) == [2]
            assert len(one.read(TOPIC, 0)) == 2

    def test_threads_append_at_once(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            threads = [Thread(target=_append_many, args=(log, writer)) for writer in range(WRITERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            check_writers(whole(log))

    def test_processes_append_at_once(self, open_log: OpenLog) -> None:
        heard = together(append_some, [(open_log, writer) for writer in range(WRITERS)])
        with closing(open_log()) as log:
            stored = whole(log)
        check_writers(stored)
        assert sorted(first for firsts in heard for first in firsts) == [one.first for one in stored]

    def test_nothing_acknowledged_is_lost_by_a_kill(self, open_log: OpenLog) -> None:
        acknowledged: dict[int, int] = {}
        for kill in range(KILLS):
            acknowledged.update(killed_after(1 + kill * 5 % 17, append_forever, open_log))
            with closing(open_log()) as log:
                stored = {one.first: one for one in whole(log)}
            assert all(same(stored[first], batch(number)) for first, number in acknowledged.items())
            assert len(stored) <= len(acknowledged) + kill + 1
            assert all(any(same(one, batch(number)) for number in range(60)) for one in stored.values())


class LogOnFullDisk:
    """An append without room is a clear error, and loses nothing."""

    def test_a_full_disk_is_transient_and_loses_nothing(self, open_log: OpenLog) -> None:
        [heard] = together(append_until_full, [(open_log,)])
        with closing(open_log()) as log:
            stored = whole(log)
        assert len(stored) == heard[-1]
        assert all(same(one, batch(number)) for number, one in enumerate(stored))


def check_writers(stored: list[LogBatch]) -> None:
    """Each writer's batches are all there, once, in its order."""
    assert len(stored) == WRITERS * APPENDS
    for writer in range(WRITERS):
        mine = [one for one in stored if one.payload.startswith(f"{writer}:".encode())]
        assert all(same(one, batch(number, writer)) for number, one in enumerate(mine))
        assert len(mine) == APPENDS


def _append_many(log: Log, writer: int) -> list[int]:
    return [log.append(TOPIC, [batch(number, writer)])[0] for number in range(APPENDS)]


def append_some(open_log: OpenLog, writer: int, report: Report) -> None:
    """Runs in a process: append, and report the offsets."""
    with closing(open_log()) as log:
        for first in _append_many(log, writer):
            report(first)


def append_forever(open_log: OpenLog, report: Report) -> None:
    """Runs in a process until it is killed: append, and report offset and number of each."""
    log = open_log()
    for number in range(1_000_000):
        [first] = log.append(TOPIC, [batch(number % 60)])
        report((first, number % 60))


def append_until_full(open_log: OpenLog, report: Report) -> None:
    """Runs in a process: append until there is no room, then some more with room; report how many are stored."""
    import pytest

    with closing(open_log()) as log:
        numbers = iter(range(10_000))
        with pytest.raises(Transient), full_disk(300_000):
            _append_all(log, numbers)
        stored = len(whole(log))
        assert next(numbers) == stored + 1
        _append_all(log, iter(range(stored, stored + 5)))
        report(stored + 5)


def _append_all(log: Log, numbers: Iterator[int]) -> None:
    for number in numbers:
        log.append(TOPIC, [batch(number)])
