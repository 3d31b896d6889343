"""The log in LMDB."""

import os
from contextlib import closing
from functools import partial
from threading import Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel.errors import Damaged, UsageError
from skyloom.ports.log import NewBatch
from skyloom.stores.environment import Environment
from skyloom.stores.log.lmdb import LmdbLog
from skyloom.stores.log.partition import COUNTS, ENDS
from skyloom.testing.conformance.log import (
    HEADER,
    TOPIC,
    LogConformance,
    LogKilled,
    LogOnFullDisk,
    LogParted,
    LogPartitions,
    LogPositions,
    LogRetention,
    batch,
    same,
    whole,
)
from skyloom.testing.faults import together


class TestLmdbLog(LogConformance, LogKilled, LogOnFullDisk, LogParted, LogPartitions, LogPositions, LogRetention):
    @pytest.fixture
    def open_log(self, tmp_path):
        return partial(LmdbLog, tmp_path / "log", map_bytes=1 << 21)  # small: it has to grow in every test of size

    @pytest.fixture
    def open_parted(self, tmp_path):
        return partial(LmdbLog, tmp_path / "log")


counts = st.lists(st.integers(1, 5), max_size=4)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), counts),
        st.tuples(st.just("read"), st.integers(0, 60), st.integers(1, 20)),
        st.tuples(st.just("truncate"), st.integers(0, 60)),
        st.tuples(st.just("retain"), st.integers(0, 20), st.integers(0, 60)),
        st.tuples(st.just("reopen")),
    ),
    max_size=15,
)


@given(steps)
@settings(max_examples=40, deadline=None)
def test_a_log_is_a_list_of_batches(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("log")
    log, model, end = LmdbLog(path), [], 0
    for step in steps:
        if step[0] == "append":
            for count in step[1]:
                model.append((end, count))
                end += count
            new = [NewBatch(count, 0, False, b"x") for count in step[1]]
            assert log.append("t", new) == [first for first, _ in model[len(model) - len(new) :]]
        elif step[0] == "read":
            expected, rows = [], 0
            for first, count in model:
                if first + count > step[1] and rows < step[2]:
                    expected.append((first, count))
                    rows += count
            assert [(one.first, one.count) for one in log.read("t", step[1], step[2])] == expected
        elif step[0] == "truncate":
            log.truncate("t", step[1])
            model = [(first, count) for first, count in model if first + count > step[1]]
        elif step[0] == "retain":
            while model and len(model) > step[1] and sum(model[0]) <= step[2]:
                del model[0]
            start = log.retain("t", now_ms=0, max_bytes=step[1] * (HEADER + 1), keep_from=step[2])
            assert start == (model[0][0] if model else end)
        else:
            log.close()
            log = LmdbLog(path)
        assert log.end("t") == end
    log.close()


def test_a_log_of_before_partitions_is_read_on(tmp_path):
    with closing(LmdbLog(tmp_path)) as log:
        log.append(TOPIC, [batch(3)] * 3)
    with closing(Environment(tmp_path, sync=True).lmdb) as old, old.begin(write=True) as txn:
        directory = old.open_db(b"directory", txn=txn)
        slot = txn.get(b"\0bytes", db=directory)
        txn.drop(old.open_db(b"space-%d" % int.from_bytes(slot, "big"), txn=txn), delete=False)
        txn.delete(b"\0bytes", db=directory)
    with closing(LmdbLog(tmp_path)) as log:
        assert log.partitions(TOPIC) == 1
        with pytest.raises(UsageError, match="1 partitions"):
            log.declare(TOPIC, 2)
        size = HEADER + len(batch(3).payload)
        assert log.append(TOPIC, [batch(3)]) == [12]
        assert log.retain(TOPIC, now_ms=0, max_bytes=3 * size) == 4


def test_a_log_of_one_partition_is_written_as_ever(tmp_path):
    """Nothing is written down about the number of partitions of topics that nobody parted."""
    with closing(LmdbLog(tmp_path)) as log:
        log.append(TOPIC, [batch(1)])
    with closing(Environment(tmp_path, sync=True).lmdb) as stored, stored.begin() as txn:
        assert txn.get(COUNTS.encode(), db=stored.open_db(b"directory", txn=txn, create=False)) is None


def test_a_log_whose_end_is_wrong_is_damaged_and_not_written_over(tmp_path):
    with closing(LmdbLog(tmp_path)) as log:
        log.append(TOPIC, [batch(1), batch(2)])
    with closing(Environment(tmp_path, sync=True).lmdb) as stored, stored.begin(write=True) as txn:
        directory = stored.open_db(b"directory", txn=txn, create=False)
        ends = [key for key, _ in txn.cursor(db=directory) if key.startswith(ENDS.encode())]
        for key in ends:
            txn.put(key, bytes(8), db=directory)
    with closing(LmdbLog(tmp_path)) as log:
        before = log.read(TOPIC, 0)
        with pytest.raises(Damaged, match="the log is damaged"):
            log.append(TOPIC, [batch(1)])
        assert log.read(TOPIC, 0) == before


def test_the_map_grows_under_a_handle_of_another_process(tmp_path):
    open_log = partial(LmdbLog, tmp_path / "log", map_bytes=1 << 20)
    with closing(open_log()) as log:
        log.append(TOPIC, [batch(0)])
        together(append_much, [(open_log, number) for number in range(3)])
        assert len(whole(log)) == 1 + 3 * 30
        log.append(TOPIC, [NewBatch(1, 0, False, bytes(40_000_000))])
        assert len(whole(log)) == 2 + 3 * 30


def append_much(open_log, number, report):
    with closing(open_log()) as log:
        for _ in range(30):
            log.append(TOPIC, [NewBatch(1, 0, False, bytes(200_000))])


def test_the_map_grows_while_other_threads_read(tmp_path):
    with closing(LmdbLog(tmp_path / "log", map_bytes=1 << 20)) as log:
        done = Event()
        readers = [Thread(target=read_until, args=(log, done)) for _ in range(3)]
        for reader in readers:
            reader.start()
        for number in range(60):
            log.append(TOPIC, [NewBatch(1, number, False, bytes(100_000))])
        done.set()
        for reader in readers:
            reader.join()
        assert len(whole(log)) == 60


def read_until(log, done):
    while not done.is_set():
        for one in log.read(TOPIC, 0):
            assert len(one.payload) == 100_000


def test_a_log_opened_before_a_fork_is_refused_in_the_child_and_unharmed(tmp_path):
    [[stored]] = together(fork_and_append, [(tmp_path / "log",)])
    assert stored == 4


def fork_and_append(path, report):
    with closing(LmdbLog(path)) as log:
        log.append(TOPIC, [batch(0)])
        child = os.fork()
        if child == 0:
            try:
                with pytest.raises(UsageError, match="forked"):
                    log.append(TOPIC, [batch(1)])
                with pytest.raises(UsageError, match="forked"):
                    LmdbLog(path)
                log.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert log.append(TOPIC, [batch(2)]) == [1]
        report(log.end(TOPIC))


def test_a_damaged_file_is_told_from_a_passing_fault(tmp_path):
    with closing(LmdbLog(tmp_path)) as log:
        log.append(TOPIC, [batch(0)])
    (tmp_path / "data.mdb").write_bytes(b"\xff" * 20_000)
    with pytest.raises(Damaged, match="cannot be used"):
        LmdbLog(tmp_path)


def test_files_are_private(tmp_path):
    with closing(LmdbLog(tmp_path / "a" / "log")):
        assert (tmp_path / "a" / "log").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "log" / "data.mdb").stat().st_mode & 0o077 == 0


def test_two_stores_on_one_folder_share_it_until_both_are_closed(tmp_path):
    one, other = LmdbLog(tmp_path), LmdbLog(tmp_path / ".." / tmp_path.name)
    one.close()
    one.close()
    other.append(TOPIC, [batch(0)])
    assert same(other.read(TOPIC, 0)[0], batch(0))
    other.close()
