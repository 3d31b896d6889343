"""The real servers, as fixtures: one of each for all the tests of a process, or one of its own for a test."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
from tests.services.kafka import ENABLE as ENABLE_KAFKA
from tests.services.kafka import KafkaServer, MockKafka
from tests.services.postgresql import PostgresqlServer
from tests.services.process import REQUIRED, Missing
from tests.services.prometheus import promtool_path
from tests.services.redis import RedisServer

NOTES: pytest.StashKey[list[str]] = pytest.StashKey()
"""What the report says at its end about the servers of this process."""


def unavailable(why: str) -> NoReturn:
    """Skip what needs the service, aloud; fail where every service has to be there."""
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(why, pytrace=False)
    pytest.skip(f"service: {why}")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis that the tests of a process share, one after the other: use names of your own, or `flush` first."""
    with new_redis_servers() as start:
        yield start()


@pytest.fixture
def new_redis() -> Iterator[Callable[..., RedisServer]]:
    """Starts servers to be stopped, killed and restarted by one test: ``new_redis(persistent=True)``."""
    with new_redis_servers() as start:
        yield start


class new_redis_servers(ExitStack):
    """A context whose calls start servers, all ended with it. In short folders: a socket's path has 107 bytes at most."""

    def __enter__(self) -> Callable[..., RedisServer]:
        super().__enter__()
        return self._start

    def _start(self, *, persistent: bool = False) -> RedisServer:
        folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="redis-", ignore_cleanup_errors=True)))
        try:
            server = RedisServer(folder / "data", persistent=persistent)
        except Missing as missing:
            unavailable(str(missing))
        self.callback(server.stop, kill=True)
        return server


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A PostgreSQL that the tests of a process share: make databases of your own, and start it again if you stop it."""
    # Its user, who may be another than we are, cannot go into the folders that pytest makes.
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as folder:
        try:
            server = PostgresqlServer(Path(folder) / "server")
        except Missing as missing:
            unavailable(str(missing))
        yield server
        server.stop(kill=True)


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' program that checks and tests rules, and looks at metrics."""
    try:
        return promtool_path()
    except Missing as missing:
        unavailable(str(missing))


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer | MockKafka]:
    """A broker that the tests of a process share: use topics of your own, and the mark ``xdist_group("kafka")``.

    Without Java or its jars it is librdkafka's mock cluster: see ``kafka_broker`` for what that cannot do.
    """
    try:
        server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    except Missing as missing:
        if os.environ.get(REQUIRED) == "required":
            pytest.fail(str(missing), pytrace=False)
        mock = MockKafka()
        _note(request, f"{mock} ({missing})")
        yield mock
        return
    _note(request, str(server))
    yield server
    server.stop()


@pytest.fixture
def kafka_broker(kafka: KafkaServer | MockKafka) -> KafkaServer:
    """A real broker: it makes topics, deletes messages and lists groups, which the mock does not."""
    if isinstance(kafka, MockKafka):
        unavailable(f"only librdkafka's mock of Kafka runs here: {ENABLE_KAFKA}")
    return kafka


@pytest.fixture
def new_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], KafkaServer]]:
    """Starts brokers to be stopped, killed and restarted by one test."""
    with ExitStack() as stack:

        def start() -> KafkaServer:
            try:
                server = KafkaServer(tmp_path_factory.mktemp("kafka"))
            except Missing as missing:
                unavailable(str(missing))
            stack.callback(server.stop, kill=True)
            return server

        yield start


def _note(request: pytest.FixtureRequest, note: str) -> None:
    request.config.stash.setdefault(NOTES, []).append(f"Kafka in these tests: {note}")
