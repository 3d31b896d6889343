"""The server that other tests rely on."""

from collections.abc import Callable

import redis
from tests.services.redis import RedisServer


def test_it_answers_at_both_addresses(redis_server: RedisServer) -> None:
    redis_server.flush()
    with redis.Redis.from_url(redis_server.url) as by_tcp, redis.Redis.from_url(redis_server.unix_url) as by_socket:
        by_tcp.set("key", "value")
        assert by_socket.get("key") == b"value"
        redis_server.flush()
        assert by_socket.get("key") is None


def test_a_restart_forgets_everything(new_redis: Callable[..., RedisServer]) -> None:
    server = new_redis()
    with redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        before = server.pid
        server.restart_empty()
        assert client.get("key") is None
        assert server.pid != before


def test_what_was_persisted_survives_a_kill(new_redis: Callable[..., RedisServer]) -> None:
    server = new_redis(persistent=True)
    with redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        server.stop(kill=True)
        server.start()
        assert client.get("key") == b"value"
