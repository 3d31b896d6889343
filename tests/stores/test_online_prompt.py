"""The online store for who may not wait: a real Redis, stopped and killed."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from tests.services.redis import RedisServer

from skyloom.kernel.errors import Transient, UsageError
from skyloom.stores.online.prompt import PromptOnline
from skyloom.stores.online.redis import RedisOnline
from skyloom.testing.conformance.online import OnlineConformance, put, stored

PATIENCE_S = 30.0


class TestPromptOnline(OnlineConformance):
    """Other processes than this one write to the store itself, which is tried with them."""

    test_processes_add_up: Any = None
    test_nothing_committed_is_lost_or_torn_by_a_kill: Any = None

    @pytest.fixture
    def open_online(self, redis_server: RedisServer) -> Callable[[], PromptOnline]:
        redis_server.flush()
        return partial(in_redis, redis_server.url)


def in_redis(url: str) -> PromptOnline:
    return PromptOnline(RedisOnline(f"{url}?socket_timeout=20", prompt=True))


class Counted:
    """A store that counts who asks it, by thread."""

    def __init__(self, store: RedisOnline) -> None:
        self._store, self.asked_here = store, 0
        self._here = threading.get_ident()

    def read(self) -> Any:
        self.asked_here += threading.get_ident() == self._here
        return self._store.read()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def server(new_redis: Callable[..., RedisServer]) -> Iterator[RedisServer]:
    made = new_redis(persistent=True)
    yield made
    os.kill(made.pid, signal.SIGCONT)


def again(ask: Callable[[], Any]) -> Any:
    """Ask until there is an answer."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except Transient:
            assert time.monotonic() < deadline


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_server_that_does_not_answer_is_asked_once_and_then_in_the_background(
    server: RedisServer, how: signal.Signals
) -> None:
    counted: Any = Counted(RedisOnline(server.url, prompt=True))
    with closing(PromptOnline(counted)) as online:
        put(RedisOnline(server.url), "space", b"key", b"1")
        assert again(partial(stored, online, "space", b"key")) == b"1"
        asked = counted.asked_here
        os.kill(server.pid, how)
        for _ in range(1_000):
            with pytest.raises(Transient, match="does not answer now"):
                stored(online, "space", b"key")
        assert counted.asked_here == asked + 1
        if how is signal.SIGSTOP:
            os.kill(server.pid, signal.SIGCONT)
        else:
            server.stop(kill=True)
            server.start()
        assert again(partial(stored, online, "space", b"key")) == b"1"


def test_a_server_that_is_not_there_yet_is_found_when_it_comes(server: RedisServer) -> None:
    server.stop(kill=True)
    with closing(PromptOnline(RedisOnline(server.url, prompt=True))) as online:
        with pytest.raises(Transient):
            stored(online, "space", b"key")
        server.start()
        assert again(partial(stored, online, "space", b"key")) is None


def test_a_restart_between_two_reads_is_not_noticed(server: RedisServer) -> None:
    with closing(in_redis(server.url)) as online:
        assert stored(online, "space", b"key") is None
        server.stop()
        server.start()
        assert stored(online, "space", b"key") is None


def test_the_url_says_how_long_to_wait_if_it_says_so(server: RedisServer) -> None:
    with closing(in_redis(server.url)) as online:
        assert stored(online, "space", b"key") is None
        os.kill(server.pid, signal.SIGSTOP)
        woken = threading.Timer(0.6, os.kill, (server.pid, signal.SIGCONT))
        woken.start()
        assert stored(online, "space", b"key") is None
        woken.join()


def test_a_closed_one_asks_nobody_any_more(server: RedisServer) -> None:
    online = PromptOnline(RedisOnline(server.url, prompt=True))
    server.stop(kill=True)
    with pytest.raises(Transient):
        stored(online, "space", b"key")
    online.close()
    for thread in threading.enumerate():
        if thread.name == "online store":
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
    server.start()
    with pytest.raises((Transient, UsageError)):
        stored(online, "space", b"key")
