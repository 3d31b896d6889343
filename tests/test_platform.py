"""Profiles become adapters, connected when they are first used."""

from contextlib import closing

import pytest

from skyloom.kernel.errors import DeclarationError
from skyloom.platform import open_platform
from skyloom.stores.online.lmdb import LmdbOnline
from skyloom.stores.online.redis import RedisOnline


def declare(path, text):
    (path / "skyloom.toml").write_text(f"[local]\n{text}\n")
    return open_platform(path)


def test_without_a_url_a_store_is_the_embedded_one(tmp_path):
    with closing(declare(tmp_path, "").online) as online:
        assert isinstance(online, LmdbOnline)


@pytest.mark.parametrize("url", ["redis://cache:6379/0?prefix=flights", "valkeys://cache", "unix:///run/redis.sock"])
def test_a_redis_is_named_by_its_url_and_not_asked_before_it_is_used(tmp_path, url):
    with closing(declare(tmp_path, f'online = "{url}"').online) as online:
        assert isinstance(online, RedisOnline)


@pytest.mark.parametrize("store", ["online", "objects", "metadata"])
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
