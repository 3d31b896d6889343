"""Redis, Kafka and PostgreSQL until Ctrl-C: ``python -m tests.services``; ``prepare`` brings Kafka's jars and promtool."""

# ruff: noqa: T201

import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.services.kafka import KafkaServer, jars, java
from tests.services.postgresql import USER, PostgresqlServer
from tests.services.process import Missing, free_port
from tests.services.prometheus import brought_promtool
from tests.services.redis import RedisServer

REDIS_PORT, KAFKA_PORT, POSTGRESQL_PORT = 6379, 9092, 5432


def prepare() -> None:
    """Bring the program that knows Prometheus' rules, and Kafka's jars: whichever can be, even if the other cannot."""
    missing: list[str] = []
    for what, bring in (("promtool is", brought_promtool), ("Kafka's jars are in", _brought_jars)):
        try:
            print(what, bring())
        except Missing as error:
            missing.append(str(error))
    if missing:
        raise Missing("\n".join(missing))


def _brought_jars() -> Path:
    java()
    return jars()


def run() -> None:
    """Start all on their usual ports, or on others where somebody listens there, in a folder that is gone afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skyloom-services-")))
        print("starting Redis, Kafka and PostgreSQL ...", flush=True)
        redis = RedisServer(folder / "redis", port=free_port(REDIS_PORT))
        stack.callback(redis.stop)
        kafka = KafkaServer(folder / "kafka", port=free_port(KAFKA_PORT))
        stack.callback(kafka.stop)
        postgresql = PostgresqlServer(folder / "postgresql", port=free_port(POSTGRESQL_PORT), password=USER)
        stack.callback(postgresql.stop)
        database = postgresql.new_database(USER)
        print(f'In skyloom.toml:\n  online = "{redis.url}"\n  log = "kafka://{kafka.servers}"')
        print(f'A table:\n  sky.sql("postgresql://{USER}:${{PGPASSWORD}}@{postgresql.address}/{database}", ...)')
        print(f"  export PGPASSWORD={postgresql.password}\nAll are ready, and empty. Ctrl-C ends them.", flush=True)
        while True:
            signal.pause()


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        prepare() if sys.argv[1:] == ["prepare"] else run()
    except Missing as missing:
        print(missing, file=sys.stderr)
        if shutil.which("docker"):
            print("or, with Docker: docker compose up", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    except AssertionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
