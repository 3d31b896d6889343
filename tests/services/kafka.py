"""A Kafka broker of our own: one node in KRaft mode, its jars from Maven Central; or librdkafka's mock cluster instead."""

import fcntl
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.services.process import Missing, Process, free_port

VERSION = "4.1.2"
ENABLE = "sudo apt-get install -y maven default-jre-headless (with Maven Central within reach)"
_TRIES = 5

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>skyloom</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""

SETTINGS = """process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=BROKER://127.0.0.1:{port}
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
"""


class KafkaServer:
    """A running broker at ``servers``. Raises `Missing` without Java 17 or the jars."""

    real = True

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self._java = java()
        self._jars = jars()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        for _ in range(1 if port else _TRIES):
            self._port = port or free_port()
            self._format()
            if self._begin():
                self.ready_s = time.monotonic() - begun
                return
            shutil.rmtree(folder / "data")
        raise AssertionError(f"Kafka does not start:\n{self._process.said()}")

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def __str__(self) -> str:
        return f"a real broker, Kafka {VERSION} in KRaft mode, ready after {self.ready_s:.1f} s"

    def start(self) -> None:
        """Start again after a stop, with what it holds."""
        if not self._begin():
            raise AssertionError(f"Kafka does not start again:\n{self._process.said()}")

    def stop(self, *, kill: bool = False) -> None:
        """End it in order, or by `SIGKILL`."""
        self._process.end(kill=kill)

    def _format(self) -> None:
        settings = SETTINGS.format(port=self._port, controller=free_port(), data=self.folder / "data")
        (self.folder / "server.properties").write_text(settings)
        words = ["format", "--standalone", "-t", uuid4().hex[:22], "-c", str(self.folder / "server.properties")]
        done = subprocess.run(
            [*self._command("kafka.tools.StorageTool"), *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _begin(self) -> bool:
        words = [*self._command("kafka.Kafka"), str(self.folder / "server.properties")]
        self._process = Process(words, self.folder / "kafka.log")
        return self._process.wait_until(lambda: bool(brokers(self.servers)))

    def _command(self, main: str) -> list[str]:
        sparing = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        logging = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [self._java, *sparing, logging, "-cp", f"{self._jars}/*", main]


class MockKafka:
    """A cluster inside librdkafka: it keeps and gives messages, and knows neither the making of topics nor deleting."""

    real = False

    def __init__(self) -> None:
        from confluent_kafka import Producer

        self._holder = Producer({"bootstrap.servers": "nowhere", "test.mock.num.brokers": 1})
        [broker] = self._holder.list_topics(timeout=10).brokers.values()
        self.servers = f"{broker.host}:{broker.port}"

    def __str__(self) -> str:
        return "librdkafka's mock cluster, since no broker can run here"

    def make(self, *topics: str) -> None:
        """A mock makes a topic when a producer asks for it."""
        for topic in topics:
            self._holder.list_topics(topic, timeout=10)


def brokers(servers: str) -> dict[int, Any]:
    """The brokers that answer there."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    quiet = {"log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 50}
    try:
        return dict(AdminClient({"bootstrap.servers": servers, **quiet}).list_topics(timeout=1.0).brokers)
    except KafkaException:
        return {}


def java() -> str:
    """The program. Raises `Missing` when it is older than 17."""
    program = shutil.which("java")
    if program is None:
        raise Missing(f"Java is not installed: {ENABLE}")
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < 17:
        raise Missing(f"Kafka needs Java 17, which this is not: {said.splitlines()[:1]}: {ENABLE}")
    return program


def jars() -> Path:
    """The folder of the broker's jars, filled by Maven when it is not there. Raises `Missing` when it cannot be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skyloom" / f"kafka-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / "jars").exists():
            _download(cache)
    return cache / "jars"


def _download(cache: Path) -> None:
    program = shutil.which("mvn")
    if program is None:
        raise Missing(f"Maven is not installed, which brings Kafka's jars: {ENABLE}")
    (cache / "pom.xml").write_text(POM)
    shutil.rmtree(cache / "unfinished", ignore_errors=True)
    words = ["-B", "-q", "-f", str(cache / "pom.xml"), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    try:
        subprocess.run(
            [program, *words, f"-DoutputDirectory={cache / 'unfinished'}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=240,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise Missing(f"Maven Central did not give Kafka's jars ({error}): {ENABLE}") from error
    (cache / "unfinished").rename(cache / "jars")
