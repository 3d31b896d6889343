"""`skyloom doctor` tells which stores of a profile answer, and what starts those that do not."""

from typing import Any

import pytest
from tests.services.process import free_port
from tests.services.redis import RedisServer

from skyloom.cli.doctor_stores import Reached, reach
from skyloom.spec.profile import Profile


def test_embedded_stores_need_no_look() -> None:
    assert reach(Profile()) == []


def test_a_redis_that_answers_and_one_that_does_not(redis_server: RedisServer) -> None:
    assert reach(Profile(online=redis_server.url)) == [Reached("online", redis_server.url)]
    port = free_port()
    [found] = reach(Profile(online=f"redis://:secret@127.0.0.1:{port}/0"))
    assert found.place == f"redis://127.0.0.1:{port}/0"
    assert f"127.0.0.1:{port}/0 does not answer now" in found.trouble
    assert found.fix == f"redis-server --port {port} --maxmemory-policy noeviction"
    assert "secret" not in repr(found)


@pytest.mark.xdist_group("kafka")
def test_a_kafka_that_answers_and_one_that_does_not(kafka_broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"kafka://{kafka_broker.servers}/shop"
    assert reach(Profile(log=f"{url}?replication=1")) == [Reached("log", url)]
    monkeypatch.setattr("skyloom.cli.doctor_stores._PATIENCE_S", 0.2)
    port = free_port()
    [found] = reach(Profile(log=f"kafka://127.0.0.1:{port}/shop"))
    assert found.trouble
    assert found.fix.startswith(f"docker run -d -p {port}:9092 apache/kafka")


def test_variables_of_an_address_are_those_of_the_environment(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = redis_server.url.removesuffix("/0")
    monkeypatch.setenv("CACHE_DATABASE", "0")
    assert reach(Profile(online=f"{url}/${{CACHE_DATABASE}}"))[0].trouble == ""
    monkeypatch.delenv("CACHE_DATABASE")
    [found] = reach(Profile(online=f"{url}/${{CACHE_DATABASE}}"))
    assert (found.trouble, found.fix) == ("the variable CACHE_DATABASE is not set", "export CACHE_DATABASE=...")


def test_what_can_never_answer_says_why() -> None:
    [found] = reach(Profile(log="kafka://127.0.0.1:9092/shop?partitons=2"))
    assert "it has no setting 'partitons'" in found.trouble
    assert found.fix == "write kafka://HOST:9092/PREFIX?replication=3"
