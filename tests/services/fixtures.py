"""The real servers, as fixtures: one of each for all the tests of a process, or one of its own for a test."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.services.process import REQUIRED, Missing
from tests.services.redis import RedisServer


def unavailable(missing: Missing) -> None:
    """Skip what needs the service, aloud; fail where every service has to be there."""
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(str(missing), pytrace=False)
    pytest.skip(f"service: {missing}")


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
            unavailable(missing)
            raise
        self.callback(server.stop, kill=True)
        return server
