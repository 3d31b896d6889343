"""The online store in Redis, on a real server."""

import os
import signal
import sys
from contextlib import closing
from functools import partial

import pytest
import redis

from skyloom.kernel.errors import Conflict, DataError, DeclarationError, Transient, UsageError
from skyloom.stores.online.redis import RedisOnline
from skyloom.stores.online.redis_scripts import COMMIT
from skyloom.testing.conformance.online import OnlineConformance, put, stored
from skyloom.testing.faults import killed_after, together


class TestRedisOnline(OnlineConformance):
    @pytest.fixture
    def open_online(self, redis_server):
        redis_server.flush()
        return partial(RedisOnline, redis_server.url)


@pytest.fixture
def url(redis_server):
    redis_server.flush()
    return redis_server.url


def test_an_entity_lies_in_one_hash_with_a_field_for_each_group(url):
    with closing(RedisOnline(url + "?prefix=flights")) as store, redis.Redis.from_url(url) as client:
        with store.write() as writer:
            writer.put("tiles/a@1", b"sUA", b"one")
            writer.put("tiles/b@1", b"sUA", b"two")
            writer.put("positions", b"p", b"3")
        assert client.hgetall("{flights:p012}:e:sUA") == {b"tiles/a@1": b"one", b"tiles/b@1": b"two"}
        assert all(key.startswith(b"{flights:") for key in client.scan_iter())


def test_a_socket_reaches_the_same_store(redis_server, url):
    with closing(RedisOnline(url)) as one, closing(RedisOnline(redis_server.unix_url)) as other:
        put(one, "space", b"key", b"1")
        assert stored(other, "space", b"key") == b"1"


def test_stores_of_two_prefixes_do_not_meet(url):
    with closing(RedisOnline(url + "?prefix=a")) as one, closing(RedisOnline(url + "?prefix=b")) as other:
        put(one, "tiles/g", b"key", b"1")
        assert stored(other, "tiles/g", b"key") is None
        other.drop("tiles/g")
        assert stored(one, "tiles/g", b"key") == b"1"


@pytest.mark.parametrize("space", ["outcomes/m", "tiles/m", "seen/m"])
def test_a_long_scan_is_read_in_parts_and_in_order(url, space):
    with closing(RedisOnline(url)) as store:
        keys = [b"%05d" % number for number in range(1_700)]
        with store.write() as writer:
            writer.put_many(space, [(key, key) for key in reversed(keys)])
        with store.write() as writer:
            seen = []
            for key, value in writer.scan(space):
                assert key == value
                seen.append(key)
                if int(key) % 3:
                    writer.delete(space, key)
            assert seen == keys
            writer.put(space, b"00001", b"new")
            assert [key for key, _ in writer.scan(space, b"0000")] == [
                b"00000",
                b"00001",
                b"00003",
                b"00006",
                b"00009",
            ]
        with store.read() as reader:
            assert [int(key) for key, _ in reader.scan(space, b"", b"00002")] == list(range(3, 1_700, 3))


def test_who_lost_its_turn_is_refused_and_has_written_nothing(url):
    with closing(RedisOnline(url, lease_ms=1)) as zombie, closing(RedisOnline(url)) as other:
        put(other, "positions", b"p", b"1")
        with pytest.raises(Conflict, match="somebody else has written"):
            write_while(zombie, lambda: put(other, "positions", b"p", b"2"))  # its lease is over: it is the other's turn
        assert stored(other, "positions", b"p") == b"2"
        assert stored(other, "tiles/g", b"key") is None
        put(zombie, "positions", b"p", b"3")
        assert stored(other, "positions", b"p") == b"3"


def write_while(store, something_happens):
    with store.write() as writer:
        assert writer.get("positions", b"p") == b"1"
        something_happens()
        writer.put("positions", b"p", b"zombie")
        writer.put("tiles/g", b"key", b"zombie")


def test_without_the_fence_the_same_zombie_would_write(url, monkeypatch):
    fence = "if found ~= ARGV[2] then return 0 end\n"
    assert fence in COMMIT
    monkeypatch.setattr("skyloom.stores.online.redis_turn.COMMIT", COMMIT.replace(fence, ""))
    with closing(RedisOnline(url, lease_ms=1)) as zombie, closing(RedisOnline(url)) as other:
        put(other, "positions", b"p", b"1")
        write_while(zombie, lambda: put(other, "positions", b"p", b"2"))
        assert stored(other, "positions", b"p") == b"zombie"


def test_of_two_processes_that_own_one_partition_the_one_that_stood_still_loses(url):
    """A real zombie: stopped by the kernel in the middle of a transaction, continued after another has taken over."""
    process, heard = start_zombie(url)
    try:
        os.kill(process, signal.SIGSTOP)
        with closing(RedisOnline(url)) as store:
            put(store, "positions", b"p", b"10")
        os.kill(process, signal.SIGCONT)
        assert heard() == "Conflict"
        with closing(RedisOnline(url)) as store:
            assert stored(store, "positions", b"p") == b"10"
            assert stored(store, "tiles/g", b"key") == b"first"
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def start_zombie(url):
    """A process that has read and is about to write, its lease soon over: its pid, and what it says in the end."""
    read, write = os.pipe()
    ready, begun = os.pipe()
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, __file__, url, str(write), str(begun)],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, write, write), (os.POSIX_SPAWN_DUP2, begun, begun)],
    )
    os.close(write)
    os.close(begun)
    assert os.read(ready, 5) == b"begun"
    os.close(ready)

    def heard():
        with os.fdopen(read) as pipe:
            return pipe.read()

    return process, heard


def be_a_zombie(url, report, begun):
    """Runs in that process."""
    store = RedisOnline(url, lease_ms=1)
    put(store, "tiles/g", b"key", b"first")
    with store.write() as writer:
        writer.put("positions", b"p", b"1")
    try:
        with store.write() as writer:
            position = int(writer.get("positions", b"p"))
            os.write(begun, b"begun")
            while stored(store, "positions", b"p") == b"1":
                pass  # stopped somewhere in here, until somebody else has written
            writer.put("positions", b"p", b"%d" % (position + 1))
            writer.put("tiles/g", b"key", b"again")
    except Conflict:
        os.write(report, b"Conflict")


def test_a_writer_that_was_killed_in_its_turn_keeps_nobody_waiting(url):
    killed_after(1, stand_still, url)
    with closing(RedisOnline(url)) as store, store.write() as writer:  # long before the lease of an hour
        assert writer.get("space", b"key") is None
        writer.put("space", b"key", b"1")


def stand_still(url, report):
    """Runs in a process: begins to write and never ends."""
    with RedisOnline(url, lease_ms=3_600_000).write() as writer:
        writer.put("space", b"key", b"never")
        report("begun")
        signal.pause()


def test_processes_that_lose_their_turns_all_the_time_still_add_up(url):
    together(count_against_others, [(url,)] * 3)
    with closing(RedisOnline(url)) as store:
        assert stored(store, "space", b"count") == stored(store, "tiles/g", b"count") == b"60"


def count_against_others(url, report):
    """Runs in a process: without turns worth the name, only the fence is left."""
    with closing(RedisOnline(url, lease_ms=1)) as store:
        done = 0
        while done < 20:
            try:
                with store.write() as writer:
                    count = int(writer.get("space", b"count") or b"0") + 1
                    writer.put("space", b"count", b"%d" % count)
                    writer.put("tiles/g", b"count", b"%d" % count)
                done += 1
            except Conflict:
                continue


def test_a_server_that_restarts_empty_is_empty_of_positions_too_and_refuses_who_began_before(new_redis):
    server = new_redis()
    with closing(RedisOnline(server.url)) as store:
        put(store, "positions", b"p", b"1")
        with pytest.raises(Conflict, match="emptied"):
            write_while(store, server.restart_empty)
        with store.read() as reader:
            assert reader.fetch([("positions", b"p"), ("tiles/g", b"key")]) == [None, None]
        put(store, "positions", b"p", b"2")
        assert stored(store, "positions", b"p") == b"2"


def test_what_a_server_persists_comes_back_whole(new_redis):
    server = new_redis(persistent=True)
    with closing(RedisOnline(server.url)) as store:
        with store.write() as writer:
            writer.put("tiles/g", b"key", b"1")
            writer.put("positions", b"p", b"1")
        server.stop(kill=True)
        server.start()
        with store.write() as writer:
            assert writer.fetch([("tiles/g", b"key"), ("positions", b"p")]) == [b"1", b"1"]
            writer.put("positions", b"p", b"2")
        assert stored(store, "positions", b"p") == b"2"


def test_a_server_that_is_away_is_transient(new_redis):
    server = new_redis()
    with closing(RedisOnline(server.url)) as store:
        put(store, "space", b"key", b"1")
        server.stop(kill=True)
        with pytest.raises(Transient, match="does not answer"):
            stored(store, "space", b"key")
        with pytest.raises(Transient, match="does not answer"):
            put(store, "space", b"key", b"2")


def test_a_full_server_is_transient_and_keeps_what_it_had(new_redis):
    server = new_redis()
    with closing(RedisOnline(server.url)) as store, redis.Redis.from_url(server.url) as client:
        put(store, "space", b"key", b"1")
        client.config_set("maxmemory", 1)
        with pytest.raises(Transient):
            put(store, "space", b"key", b"2")
        client.config_set("maxmemory", 0)
        assert stored(store, "space", b"key") == b"1"
        put(store, "space", b"key", b"3")
        assert stored(store, "space", b"key") == b"3"


def test_a_server_that_would_throw_values_away_is_refused(new_redis):
    server = new_redis()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 100_000_000)
        client.config_set("maxmemory-policy", "allkeys-lru")
        with closing(RedisOnline(server.url)) as store, pytest.raises(DeclarationError, match="allkeys-lru"):
            put(store, "space", b"key", b"1")


def test_a_password_is_asked_for_and_never_shown(new_redis):
    server = new_redis()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "geheim")
    address = server.url.replace("//", "//:falsch@")
    with closing(RedisOnline(address)) as store, pytest.raises(DeclarationError, match="does not let us in") as raised:
        stored(store, "space", b"key")
    assert "falsch" not in str(raised.value)
    with closing(RedisOnline(server.url.replace("//", "//:geheim@"))) as store:
        put(store, "space", b"key", b"1")


def test_a_key_of_another_program_is_an_error_that_says_so(url):
    with closing(RedisOnline(url)) as store, redis.Redis.from_url(url) as client:
        client.set("{skyloom:meta}:s:space", "a string")
        with pytest.raises(DataError, match="cannot be used"):
            stored(store, "space", b"key")


def test_entities_are_kept_as_long_as_their_longest_group_asks_for(url):
    hour = 3_600_000
    with closing(RedisOnline(url, expire=True)) as store, redis.Redis.from_url(url) as client:
        for space, keep in (("tiles/a", hour), ("tiles/b", 7 * hour), ("tiles/a", hour)):
            with store.write() as writer:
                writer.put_many(space, [(b"key", b"1")], keep_ms=keep)
        (key,) = client.keys("*:e:key")
        assert 6 * hour < client.pttl(key) <= 7 * hour
        put(store, "tiles/c", b"key", b"1")
        assert client.pttl(key) == -1
        with store.write() as writer:
            writer.put_many("tiles/a", [(b"key", b"1")], keep_ms=hour)
        assert client.pttl(key) == -1
        assert {client.pttl(key) for key in client.scan_iter("*meta*")} == {-1}


def test_a_scan_passes_over_who_was_forgotten(url):
    with closing(RedisOnline(url)) as store, redis.Redis.from_url(url) as client:
        with store.write() as writer:
            writer.put_many("tiles/a", [(b"one", b"1"), (b"two", b"2")])
        client.delete(*client.scan_iter("*:e:one"))
        with store.read() as reader:
            assert list(reader.scan("tiles/a")) == [(b"two", b"2")]


def test_without_expiry_everything_is_kept(url):
    with closing(RedisOnline(url)) as store, redis.Redis.from_url(url) as client:
        with store.write() as writer:
            writer.put_many("tiles/a", [(b"key", b"1")], keep_ms=1)
        assert client.pttl(client.keys("*:e:key")[0]) == -1


@pytest.mark.parametrize("key", [b"", b"k" * 512])
def test_keys_outside_the_bounds_are_refused(url, key):
    with closing(RedisOnline(url)) as store, pytest.raises(UsageError, match="1 to 511"):
        put(store, "space", key, b"value")


def test_a_write_inside_a_write_of_the_same_thread_is_refused(url):
    with closing(RedisOnline(url)) as store:
        with store.write() as writer:
            writer.put("space", b"key", b"outer")
            with pytest.raises(UsageError, match="inside another"), store.write():
                pass
        assert stored(store, "space", b"key") == b"outer"


@pytest.mark.parametrize(("address", "match"), [("http://a", "no scheme"), ("redis://a?prefix=a b", "prefix")])
def test_an_address_that_cannot_be_is_told(address, match):
    with pytest.raises(DeclarationError, match=match):
        RedisOnline(address)


def test_a_closed_store_says_so(url):
    store = RedisOnline(url)
    put(store, "space", b"key", b"1")
    store.close()
    with pytest.raises(UsageError, match="was closed"):
        store.read()


if __name__ == "__main__":
    be_a_zombie(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
