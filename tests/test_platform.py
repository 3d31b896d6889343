"""Profiles become adapters, connected when they are first used."""

from contextlib import closing
from uuid import uuid4

import pytest

from skyloom.kernel.errors import DeclarationError, UsageError
from skyloom.platform import open_platform
from skyloom.ports.log import NewBatch
from skyloom.stores.log.kafka import KafkaLog
from skyloom.stores.online.lmdb import LmdbOnline
from skyloom.stores.online.redis import RedisOnline


def declare(path, text):
    (path / "skyloom.toml").write_text(f"[local]\n{text}\n")
    return open_platform(path)


def test_without_a_url_a_store_is_the_embedded_one(tmp_path):
    with closing(declare(tmp_path, "").online) as online:
        assert isinstance(online, LmdbOnline)


def test_the_embedded_log_parts_events_as_the_profile_says(tmp_path):
    with closing(declare(tmp_path, "partitions = 3").log) as log:
        assert (log.partitions("events/arrivals"), log.partitions("quarantine/arrivals")) == (3, 1)
        log.append("events/arrivals", [NewBatch(2, 1_000, False, b"rows")], partition=2)
    with closing(declare(tmp_path, "partitions = 5").log) as log:
        assert (log.partitions("events/arrivals"), log.partitions("events/departures")) == (3, 5)


@pytest.mark.parametrize("url", ["redis://cache:6379/0?prefix=flights", "valkeys://cache", "unix:///run/redis.sock"])
def test_a_redis_is_named_by_its_url_and_not_asked_before_it_is_used(tmp_path, url):
    with closing(declare(tmp_path, f'online = "{url}"').online) as online:
        assert isinstance(online, RedisOnline)


def test_a_password_of_a_redis_is_named_and_taken_from_the_environment(tmp_path, monkeypatch):
    platform = declare(tmp_path, 'online = "redis://:${CACHE_PASSWORD}@cache:6379/0"')
    with pytest.raises(UsageError, match="CACHE_PASSWORD is not set"):
        _ = platform.online
    monkeypatch.setenv("CACHE_PASSWORD", "p@ss")
    with closing(platform.online) as online:
        assert isinstance(online, RedisOnline)


@pytest.mark.parametrize("store", ["online", "log", "objects", "metadata"])
def test_a_scheme_without_an_adapter_is_told(tmp_path, store):
    with pytest.raises(DeclarationError, match=f"no adapter for {store}"):
        declare(tmp_path, f'{store} = "ftp://somewhere"')


def test_a_redis_serves_a_project(tmp_path, redis_server):
    redis_server.flush()
    with closing(declare(tmp_path, f'online = "{redis_server.url}"').online) as online:
        with online.write() as writer:
            writer.put("positions", b"p", b"1")
        with online.read() as reader:
            assert reader.get("positions", b"p") == b"1"


def test_a_kafka_is_named_by_its_url_and_not_asked_before_it_is_used(tmp_path):
    with closing(declare(tmp_path, 'log = "kafka://one:9092,two:9092/shop?replication=3"').log) as log:
        assert isinstance(log, KafkaLog)
    with pytest.raises(DeclarationError, match="replication"):
        _ = declare(tmp_path, 'log = "kafka://one:9092?replication=none"').log


@pytest.mark.xdist_group("kafka")
def test_a_kafka_holds_the_log_of_a_project(tmp_path, kafka_broker):
    url = f"kafka://{kafka_broker.servers}/t{uuid4().hex}"
    with closing(declare(tmp_path, f'log = "{url}"\npartitions = 2').log) as log:
        log.append("events/arrivals", [NewBatch(2, 1_000, False, b"rows")], partition=1)
    with closing(open_platform(tmp_path).log) as log:
        assert log.partitions("events/arrivals") == 2
        assert [batch.payload for batch in log.read("events/arrivals", 0, partition=1)] == [b"rows"]
