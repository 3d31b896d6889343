"""The online store in LMDB."""

from contextlib import closing
from functools import partial

import pytest

from skyloom.kernel.errors import Transient, UsageError
from skyloom.stores.online.lmdb import LmdbOnline
from skyloom.testing.conformance.online import OnlineConformance, put, stored
from skyloom.testing.faults import full_disk, together


class TestLmdbOnline(OnlineConformance):
    @pytest.fixture
    def open_online(self, tmp_path):
        return partial(LmdbOnline, tmp_path / "online", map_bytes=1 << 25)


def after_a_crash_of_the_machine(path):
    """What the next run of the machine finds: a marker, if it was set, that names another run."""
    marker = path / "unsynced"
    if marker.read_bytes() != b"-" * 36:
        marker.write_bytes(b"00000000-0000-4000-8000-000000000000")


def test_a_durable_commit_survives_the_machine(tmp_path):
    with closing(LmdbOnline(tmp_path)) as store:
        put(store, "space", b"key", b"1", durable=False)
        put(store, "space", b"key", b"2", durable=True)
    after_a_crash_of_the_machine(tmp_path)
    with closing(LmdbOnline(tmp_path)) as store:
        assert stored(store, "space", b"key") == b"2"


def test_after_commits_that_were_not_synced_a_crash_of_the_machine_leaves_an_empty_store(tmp_path):
    with closing(LmdbOnline(tmp_path)) as store:
        put(store, "space", b"key", b"1", durable=True)
        put(store, "space", b"key", b"2", durable=False)
    after_a_crash_of_the_machine(tmp_path)
    with closing(LmdbOnline(tmp_path)) as store:
        assert stored(store, "space", b"key") is None
        put(store, "space", b"key", b"3", durable=False)
    with closing(LmdbOnline(tmp_path)) as store:
        assert stored(store, "space", b"key") == b"3"


def test_a_transaction_larger_than_the_map_fits_when_it_is_tried_again(tmp_path):
    with closing(LmdbOnline(tmp_path, map_bytes=1 << 20)) as store:
        tries = 0
        while stored(store, "space", b"key") is None:
            tries += 1
            try:
                put(store, "space", b"key", bytes(10_000_000))
            except Transient:
                assert tries < 10
        assert tries > 1


def test_a_full_disk_is_transient_and_loses_nothing(tmp_path):
    together(write_until_full, [(tmp_path,)])


def write_until_full(path, report):
    with closing(LmdbOnline(path)) as store:
        numbers = iter(range(1000))
        with pytest.raises(Transient, match="cannot be written now"), full_disk(400_000):
            put_all(store, numbers)
        failed = next(numbers) - 1
        put(store, "space", b"last", b"1")
        with store.read() as reader:
            assert len(list(reader.scan("space"))) == failed + 1


def put_all(store, numbers):
    for number in numbers:
        put(store, "space", b"%d" % number, bytes(9_000), durable=number % 2 == 0)


@pytest.mark.parametrize("key", [b"", b"k" * 512])
def test_keys_outside_the_bounds_are_refused(tmp_path, key):
    with closing(LmdbOnline(tmp_path)) as store:
        with pytest.raises(UsageError, match="1 to 511"):
            put(store, "space", key, b"value")
        put(store, "space", b"k" * 511, b"value")
        assert stored(store, "space", b"k" * 511) == b"value"


def test_a_write_inside_a_write_of_the_same_thread_is_refused(tmp_path):
    with closing(LmdbOnline(tmp_path)) as store, store.write() as writer:
        writer.put("space", b"key", b"outer")
        with pytest.raises(UsageError, match="inside another"), store.write():
            pass
    with closing(LmdbOnline(tmp_path)) as store:
        assert stored(store, "space", b"key") == b"outer"


def test_entries_can_be_removed_while_scanning(tmp_path):
    with closing(LmdbOnline(tmp_path)) as store:
        with store.write() as writer:
            for number in range(1000):
                writer.put("space", b"%04d" % number, bytes(number % 5000))
        with store.write() as writer:
            for key, _ in writer.scan("space"):
                if int(key) % 3:
                    writer.delete("space", key)
        with store.read() as reader:
            assert [int(key) for key, _ in reader.scan("space")] == list(range(0, 1000, 3))
