"""Redis and Kafka for a person, until Ctrl-C: ``python -m tests.services``; ``prepare`` brings what Kafka's tests need."""

# ruff: noqa: T201

import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.services.kafka import KafkaServer, jars, java
from tests.services.process import Missing
from tests.services.redis import RedisServer

REDIS_PORT, KAFKA_PORT = 6379, 9092


def prepare() -> None:
    """Bring Kafka's jars."""
    java()
    print(f"Kafka's jars are in {jars()}")


def run() -> None:
    """Start both on their usual ports, in a folder that is gone afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skyloom-services-")))
        print("starting Redis and Kafka ...", flush=True)
        redis = RedisServer(folder / "redis", port=REDIS_PORT)
        stack.callback(redis.stop)
        kafka = KafkaServer(folder / "kafka", port=KAFKA_PORT)
        stack.callback(kafka.stop)
        print(f'online = "{redis.url}"\nlog = "kafka://{kafka.servers}"')
        print("Both are ready, and empty. In skyloom.toml they are named as above. Ctrl-C ends them.", flush=True)
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
