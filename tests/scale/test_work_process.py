"""The process that `skyloom up` runs for the stream work, under a profile of Kafka and Redis, as a user has it."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.services.redis import RedisServer

from skyloom.cli.new import create
from skyloom.features.online.lookup import OnlineFeatures
from skyloom.ingest.rows import encode_rows
from skyloom.ingest.sink import events_topic
from skyloom.platform import Platform, open_platform
from skyloom.ports.log import NewBatch
from skyloom.runtime.applying import apply
from skyloom.runtime.ingesting import ingest
from skyloom.runtime.ownership import settle
from skyloom.runtime.state import applied

pytestmark = pytest.mark.xdist_group("kafka")

PATIENCE_S = 60.0


@pytest.fixture
def server(new_redis: Callable[..., RedisServer]) -> RedisServer:
    return new_redis()


@pytest.fixture
def platform(kafka_broker: Any, server: RedisServer, tmp_path: Path) -> Iterator[Platform]:
    directory, name = tmp_path / "churn", f"t{uuid4().hex}"
    create(directory, "churn")
    visits = pq.read_table(directory / "data" / "visits.parquet").slice(0, 2_000)
    pq.write_table(visits, directory / "data" / "visits.parquet")
    with (directory / "skyloom.toml").open("a") as file:
        file.write(f'\n[scale]\nlog = "kafka://{kafka_broker.servers}/{name}"\nonline = "{server.url}"\n')
    opened = open_platform(directory, "scale")
    apply(opened)
    ingest(opened, "visits")
    yield opened
    opened.log.close()
    opened.online.close()


def begin(platform: Platform) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "skyloom.runtime.work", str(platform.directory), "scale"])


def visit(platform: Platform, key: str) -> None:
    now = platform.clock.now_ms()
    rows = [(key, now, "c0001", 7.5, False)]
    platform.log.append(events_topic("visits"), [NewBatch(1, now, False, encode_rows(rows))])


def visits_of(platform: Platform, entity: str) -> Any:
    groups = applied(platform.metadata).project.groups
    return OnlineFeatures(platform.online, groups).read([("activity", (entity,))], platform.clock.now_ms()).values[0]


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def in_lake(platform: Platform) -> pa.Table:
    return platform.lake.read(events_topic("visits"), columns=["visit_id"])


def test_it_answers_outlives_an_emptied_redis_and_sinks_what_waits_when_it_is_ended(
    platform: Platform, server: RedisServer
) -> None:
    process = begin(platform)
    try:
        visit(platform, "live-1")
        until(lambda: visits_of(platform, "c0001")[0] == 1)
        settle(platform, applied(platform.metadata).project)
        assert "live-1" in in_lake(platform).column("visit_id").to_pylist()
        before = visits_of(platform, "c0001")
        server.restart_empty()
        until(lambda: visits_of(platform, "c0001") == before)
        visit(platform, "live-2")
        until(lambda: visits_of(platform, "c0001")[0] == 2)
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert "live-2" in in_lake(platform).column("visit_id").to_pylist()
