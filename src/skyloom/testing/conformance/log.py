"""What a log promises. The fixture is ``open_log``."""

from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Thread

import pytest

from skyloom.kernel.errors import DataError, Transient, UsageError
from skyloom.ports.log import MAX_ROWS, Log, LogBatch, NewBatch
from skyloom.testing.faults import Report, full_disk, killed_after, together

OpenLog = Callable[[], Log]
OpenParted = Callable[[int], Log]

TOPIC = "events/arrivals"
HEADER = 14
WRITERS, APPENDS = 4, 25


def batch(number: int, writer: int = 0) -> NewBatch:
    """A batch that tells by its payload which one it is, of 1 to 4 rows and up to 20 kB."""
    payload = f"{writer}:{number}:".encode() * (1 + number * 37 % 2000)
    return NewBatch(1 + number % 4, 1_000 + number, number % 2 == 0, payload)


def same(stored: LogBatch, new: NewBatch) -> bool:
    """Whether a batch came back as it was appended."""
    content = (stored.count, stored.appended_ms, stored.imported, stored.payload)
    return content == (new.count, new.appended_ms, new.imported, new.payload)


def whole(log: Log, topic: str = TOPIC, start: int = 0, partition: int = 0) -> list[LogBatch]:
    """Every batch of a partition, read in steps, after checking that no offset is missing and none comes twice."""
    batches: list[LogBatch] = []
    offset = start
    while more := log.read(topic, offset, max_rows=7, partition=partition):
        for one in more:
            assert one.first == offset or (offset < one.first and not log.dense)
            assert one.end == one.first + one.count or (one.end > one.first + one.count and not log.dense)
            offset = one.end
        batches.extend(more)
    assert offset == log.end(topic, partition)
    return batches


class LogConformance:
    """Appends, reads, threads and processes."""

    def test_a_new_topic_is_empty(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            assert (log.start(TOPIC), log.end(TOPIC)) == (0, 0)
            assert log.read(TOPIC, 0) == []

    def test_offsets_start_at_zero_and_rise(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            firsts = log.append(TOPIC, [batch(1), batch(2)]) + log.append(TOPIC, [batch(0)])
            assert log.append(TOPIC, []) == []
            assert firsts[0] == 0
            assert firsts[1] >= firsts[0] + 2
            assert firsts[2] >= firsts[1] + 3
            assert log.end(TOPIC) >= firsts[2] + 1
            if log.dense:
                assert [*firsts, log.end(TOPIC)] == [0, 2, 5, 6]

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
            firsts = log.append(TOPIC, [batch(3), batch(3), batch(3)])
            for first in firsts:
                assert [log.read(TOPIC, first + row)[0].first for row in range(4)] == [first] * 4
            assert [one.first for one in log.read(TOPIC, firsts[1] + 2)] == firsts[1:]
            assert log.read(TOPIC, log.end(TOPIC)) == []

    def test_max_rows_bounds_a_read_that_gives_one_batch_at_least(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            log.append(TOPIC, [batch(3)] * 5)
            assert len(log.read(TOPIC, 0, max_rows=1)) == 1
            assert len(log.read(TOPIC, 0, max_rows=8)) == 2
            assert len(log.read(TOPIC, 0)) == 5

    def test_topics_are_apart(self, open_log: OpenLog) -> None:
        names = ["a", "a/b", "a/b_c"]
        with closing(open_log()) as log:
            assert [log.append(name, [batch(number)]) for number, name in enumerate(names)] == [[0]] * 3
            assert [same(log.read(name, 0)[0], batch(number)) for number, name in enumerate(names)] == [True] * 3

    def test_empty_and_large_payloads(self, open_log: OpenLog) -> None:
        sizes = [0, 1, 4_096, 5_000_000]
        with closing(open_log()) as log:
            log.append(TOPIC, [NewBatch(1, 0, False, bytes(size)) for size in sizes])
            assert [len(one.payload) for one in log.read(TOPIC, 0)] == sizes

    def test_the_largest_batch_and_what_is_none(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            largest = NewBatch(MAX_ROWS, -5, True, b"many")
            firsts = log.append(TOPIC, [largest, largest])
            assert firsts[1] >= firsts[0] + MAX_ROWS
            assert log.read(TOPIC, firsts[1] - 1)[0].first == firsts[0]
            for count in (0, -1, MAX_ROWS + 1):
                with pytest.raises(DataError, match=f"{count} rows"):
                    log.append(TOPIC, [batch(0), NewBatch(count, 0, False, b"")])
            stored = whole(log)
            assert len(stored) == 2
            assert all(same(one, largest) for one in stored)

    def test_another_handle_reads_what_was_just_appended(self, open_log: OpenLog) -> None:
        with closing(open_log()) as one, closing(open_log()) as other:
            one.append(TOPIC, [batch(1)])
            end = other.end(TOPIC)
            assert other.append(TOPIC, [batch(2)]) == [end]
            assert len(one.read(TOPIC, 0)) == 2
            other.append(TOPIC, [batch(3)])
            assert [same(new, batch(number)) for number, new in enumerate(one.read(TOPIC, 0), start=1)] == [True] * 3

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

    def test_what_cannot_be_a_topic_is_refused(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            for name in ("", "\0ends", "x" * 512):
                with pytest.raises(UsageError):
                    log.append(name, [batch(0)])

    def test_a_closed_log_says_so(self, open_log: OpenLog) -> None:
        log = open_log()
        log.append(TOPIC, [batch(0)])
        log.close()
        log.close()
        with pytest.raises(UsageError, match="closed"):
            log.end(TOPIC)


class LogKilled:
    """Sudden death, ``kills`` times in each test."""

    kills = 10

    def test_nothing_acknowledged_is_lost_by_a_kill(self, open_log: OpenLog) -> None:
        acknowledged: dict[int, int] = {}
        for kill in range(self.kills):
            acknowledged.update(killed_after(1 + kill * 5 % 17, append_forever, open_log))
            with closing(open_log()) as log:
                stored = {one.first: one for one in whole(log)}
            assert all(same(stored[first], batch(number)) for first, number in acknowledged.items())
            assert len(stored) <= len(acknowledged) + kill + 1
            assert all(any(same(one, batch(number)) for number in range(60)) for one in stored.values())

    def test_a_kill_while_rows_are_read_and_forgotten_loses_nothing_unread(self, open_log: OpenLog) -> None:
        acknowledged: dict[int, int] = {}
        promised = 0
        for kill in range(self.kills):
            heard = killed_after(2 + kill * 5 % 17, append_commit_and_retain, open_log)
            acknowledged.update(said[1:] for said in heard if said[0] == "appended")
            promised = max([promised, *(said[1] for said in heard if said[0] == "committed")])
            with closing(open_log()) as log:
                start, position = log.start(TOPIC), log.committed("worker", TOPIC)
                stored = {one.first: one for one in whole(log, start=start)}
            assert start <= position
            assert position >= promised
            for first, number in acknowledged.items():
                assert first < start or same(stored[first], batch(number))


class LogPartitions:
    """Several partitions: each an order of its own."""

    def test_partitions_are_apart_after_reopening(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            log.declare(TOPIC, 3)
            for number in range(30):
                log.append(TOPIC, [batch(number)], partition=number % 3)
        with closing(open_log()) as log:
            assert log.partitions(TOPIC) == 3
            for partition in range(3):
                stored = whole(log, partition=partition)
                assert stored[0].first == 0
                assert [same(one, batch(3 * i + partition)) for i, one in enumerate(stored)] == [True] * 10
                middle = stored[4]
                assert log.read(TOPIC, middle.first + middle.count - 1, partition=partition)[0] == middle

    def test_forgetting_in_one_leaves_the_others(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            log.declare(TOPIC, 3)
            for partition in range(3):
                log.append(TOPIC, [batch(3)] * 3, partition=partition)
            log.truncate(TOPIC, log.end(TOPIC, 1), partition=1)
            assert [len(log.read(TOPIC, 0, partition=partition)) for partition in range(3)] == [3, 0, 3]
            assert log.start(TOPIC, 1) == log.end(TOPIC, 1)
            log.append(TOPIC, [batch(3)], partition=1)
            assert len(log.read(TOPIC, 0, partition=1)) == 1

    def test_a_topic_keeps_its_number_of_partitions(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            log.declare(TOPIC, 2)
            log.declare(TOPIC, 2)
            with pytest.raises(UsageError, match="2 partitions"):
                log.declare(TOPIC, 3)
            with pytest.raises(UsageError):
                log.declare("a", 0)
            log.append("a", [batch(0)])
            log.declare("a", log.partitions("a"))

    def test_a_partition_that_is_not_there_is_refused(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            log.declare(TOPIC, 2)
            for partition in (2, -1):
                with pytest.raises(UsageError, match="partition"):
                    log.append(TOPIC, [batch(0)], partition=partition)
                with pytest.raises(UsageError, match="partition"):
                    log.read(TOPIC, 0, partition=partition)


class LogParted:
    """What a log makes of topics that nobody declared. The fixture is ``open_parted``: the log, by its partitions."""

    def test_events_are_parted_and_nothing_else_is(self, open_parted: OpenParted) -> None:
        others = ["predictions/late", "quarantine/arrivals", "intake/arrivals", "erasures", "identity", "events"]
        with closing(open_parted(3)) as log:
            assert log.partitions(TOPIC) == 3
            assert [log.read(TOPIC, 0, partition=partition) for partition in range(3)] == [[]] * 3
            assert [log.end(TOPIC, partition) for partition in range(3)] == [0] * 3
            log.append(TOPIC, [batch(1)], 2)
            assert log.partitions(TOPIC) == 3
            assert [len(whole(log, partition=partition)) for partition in range(3)] == [0, 0, 1]
            for topic in others:
                assert log.partitions(topic) == 1
                log.append(topic, [batch(1)])
                assert log.partitions(topic) == 1

    def test_a_partition_beyond_them_is_refused_and_makes_nothing(self, open_parted: OpenParted) -> None:
        with closing(open_parted(3)) as log:
            for partition in (3, -1):
                with pytest.raises(UsageError, match="partition"):
                    log.append(TOPIC, [batch(1)], partition)
            with pytest.raises(UsageError, match="partition"):
                log.append("erasures", [batch(1)], 1)
            assert [whole(log, partition=partition) for partition in range(3)] == [[]] * 3

    def test_what_is_there_keeps_its_number(self, open_parted: OpenParted) -> None:
        with closing(open_parted(1)) as log:
            log.append("events/old", [batch(1)])
        with closing(open_parted(2)) as log:
            log.append("events/newer", [batch(1)], 1)
            log.declare("events/declared", 5)
        with closing(open_parted(4)) as log:
            names = ["events/old", "events/newer", "events/declared", "events/newest"]
            assert [log.partitions(name) for name in names] == [1, 2, 5, 4]
            with pytest.raises(UsageError, match="partition 1"):
                log.append("events/old", [batch(1)], 1)
            log.append("events/newest", [batch(1)], 3)
        with closing(open_parted(1)) as log:
            assert [log.partitions(name) for name in names] == [1, 2, 5, 4]

    def test_positions_may_be_kept_before_the_first_row(self, open_parted: OpenParted) -> None:
        with closing(open_parted(3)) as log:
            assert log.commit("worker", TOPIC, 0, 2) == 0
            assert log.consumers(TOPIC, 2) == {"worker": 0}
            [first] = log.append(TOPIC, [batch(3)], 2)
            assert log.commit("worker", TOPIC, first + 4, 2) == log.committed("worker", TOPIC, 2) == first + 4
            assert log.committed("worker", TOPIC, 1) == 0
            with pytest.raises(UsageError, match="partition"):
                log.commit("worker", TOPIC, 0, 3)

    def test_processes_that_make_a_topic_at_once_make_one(self, open_parted: OpenParted) -> None:
        together(append_to_each, [(open_parted, writer) for writer in range(WRITERS)])
        with closing(open_parted(3)) as log:
            for partition in range(3):
                stored = whole(log, partition=partition)
                assert sorted(one.payload for one in stored) == sorted(batch(partition, n).payload for n in range(WRITERS))

    def test_a_number_that_cannot_be_is_refused(self, open_parted: OpenParted) -> None:
        with pytest.raises(UsageError, match="0 partitions"):
            open_parted(0)


class LogPositions:
    """What consumers have done with, by name."""

    def test_a_position_survives_and_never_goes_back(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            [first, second] = log.append(TOPIC, [batch(3), batch(3)])
            assert log.committed("worker", TOPIC) == 0
            assert log.commit("worker", TOPIC, first + 2) == first + 2
            assert log.commit("worker", TOPIC, second) == second
            assert log.commit("worker", TOPIC, first + 1) == second
        with closing(open_log()) as log:
            assert log.committed("worker", TOPIC) == second
            assert log.commit("worker", TOPIC, log.end(TOPIC)) == log.end(TOPIC)
            assert log.read(TOPIC, log.committed("worker", TOPIC)) == []

    def test_positions_are_apart_by_consumer_topic_and_partition(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            log.declare(TOPIC, 2)
            log.append("a", [batch(3)])
            for partition in range(2):
                log.append(TOPIC, [batch(3), batch(3)], partition=partition)
            log.commit("worker", TOPIC, 1)
            log.commit("worker", TOPIC, 2, partition=1)
            log.commit("sink/of the lake", TOPIC, 3)
            log.commit("worker", "a", 4)
            assert log.consumers(TOPIC) == {"worker": 1, "sink/of the lake": 3}
            assert log.consumers(TOPIC, 1) == {"worker": 2}
            assert log.consumers("a") == {"worker": 4}
            assert log.committed("nobody", TOPIC) == 0

    def test_a_consumer_is_known_before_the_first_row_and_keeps_all_that_comes(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            assert log.consumers(TOPIC) == {}
            assert log.commit("worker", TOPIC, 0) == 0
            assert log.consumers(TOPIC) == {"worker": 0}
            log.append(TOPIC, [batch(3)])
            assert log.retain(TOPIC, now_ms=10**9, max_bytes=0) == 0

    def test_what_can_be_no_position_is_refused(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            log.append(TOPIC, [batch(0)])
            with pytest.raises(UsageError, match="offset -1"):
                log.commit("worker", TOPIC, -1)
            with pytest.raises(UsageError, match="name"):
                log.commit("", TOPIC, 0)


class LogRetention:
    """What is forgotten, and what never is."""

    def test_truncation_forgets_whole_batches_and_keeps_offsets(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            firsts = log.append(TOPIC, [batch(3)] * 3)
            log.truncate(TOPIC, firsts[1] + 3)
            assert [one.first for one in log.read(TOPIC, 0)] == firsts[1:]
            assert log.start(TOPIC) == firsts[1]
            end = log.end(TOPIC)
            log.truncate(TOPIC, end + 100)
            assert log.read(TOPIC, 0) == []
            assert log.start(TOPIC) == end
        with closing(open_log()) as log:
            assert log.end(TOPIC) == end
            assert log.append(TOPIC, [batch(3)]) == [end]
            assert log.read(TOPIC, firsts[1])[0].first == end

    def test_age_forgets_what_is_older_from_the_front(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            firsts = log.append(TOPIC, [NewBatch(2, moment, False, b"x") for moment in (1_000, 2_000, 3_000, 1_500)])
            assert log.retain(TOPIC, now_ms=5_000, max_age_ms=4_000) == 0
            assert log.retain(TOPIC, now_ms=5_001, max_age_ms=3_001) == firsts[1]
            assert log.retain(TOPIC, now_ms=5_001, max_age_ms=3_000) == firsts[2]
            assert [one.first for one in log.read(TOPIC, 0)] == firsts[2:]  # a younger one keeps what is behind it
            assert log.retain(TOPIC, now_ms=10_000, max_age_ms=1) == log.end(TOPIC)

    def test_bytes_keep_the_newest_that_fit(self, open_log: OpenLog) -> None:
        size = 100 + HEADER
        with closing(open_log()) as log:
            firsts = log.append(TOPIC, [NewBatch(1, 0, False, bytes(100)) for _ in range(10)])
            assert log.retain(TOPIC, now_ms=0, max_bytes=10 * size) == 0
            assert log.retain(TOPIC, now_ms=0, max_bytes=4 * size + 1) == firsts[6]
        with closing(open_log()) as log:
            firsts += log.append(TOPIC, [NewBatch(1, 0, False, bytes(300))])
            assert log.retain(TOPIC, now_ms=0, max_bytes=5 * size) == firsts[8]
            assert log.retain(TOPIC, now_ms=0) == firsts[8]
            assert log.retain(TOPIC, now_ms=0, max_bytes=0) == log.end(TOPIC)

    def test_what_a_consumer_has_yet_to_read_is_kept_unless_told(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            firsts = log.append(TOPIC, [batch(3)] * 5)
            log.commit("fast", TOPIC, log.end(TOPIC))
            log.commit("slow", TOPIC, firsts[2] + 1)
            assert log.retain(TOPIC, now_ms=10**9, max_age_ms=1) == firsts[2]
            assert log.retain(TOPIC, now_ms=10**9, max_bytes=0) == firsts[2]
            assert log.retain(TOPIC, now_ms=10**9, max_bytes=0, keep_from=firsts[3]) == firsts[3]
            assert log.retain(TOPIC, now_ms=10**9, max_bytes=0, keep_from=log.end(TOPIC)) == log.end(TOPIC)
            assert log.committed("slow", TOPIC) == firsts[2] + 1

    def test_an_unknown_topic_has_nothing_to_forget(self, open_log: OpenLog) -> None:
        with closing(open_log()) as log:
            log.truncate(TOPIC, 5)
            assert log.retain(TOPIC, now_ms=0, max_bytes=0) == 0


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


def append_to_each(open_parted: OpenParted, writer: int, report: Report) -> None:
    """Runs in a process: append to each of three partitions."""
    with closing(open_parted(3)) as log:
        for partition in range(3):
            report(log.append(TOPIC, [batch(partition, writer)], partition))


def append_forever(open_log: OpenLog, report: Report) -> None:
    """Runs in a process until it is killed: append, and report offset and number of each."""
    log = open_log()
    for number in range(1_000_000):
        [first] = log.append(TOPIC, [batch(number % 60)])
        report((first, number % 60))


def append_commit_and_retain(open_log: OpenLog, report: Report) -> None:
    """Runs in a process until it is killed: append, read on, commit what was read, and forget what was committed."""
    log = open_log()
    for number in range(1_000_000):
        [first] = log.append(TOPIC, [batch(number % 60)])
        report(("appended", first, number % 60))
        read = log.read(TOPIC, log.committed("worker", TOPIC), max_rows=3)
        if number % 3:
            log.commit("worker", TOPIC, read[0].end)
            report(("committed", read[0].end))
        log.retain(TOPIC, now_ms=0, max_bytes=20_000)


def append_until_full(open_log: OpenLog, report: Report) -> None:
    """Runs in a process: append until there is no room, then some more with room; report how many are stored."""
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
