"""A stream folded into online features on LMDB: from the embedded log, from Kafka, and as history grows."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.figure import Figure, middle
from bench.made_up import RECENT, SCHEMA, SOURCE, START, events

FOLDED, BATCH, SLICE, RUNS = 200_000, 1_000, 50_000, 3
DAYS = 10
HISTORY = (1, 10, 100, 1_000)
"""Days over which as many events as always are spread before those that are measured."""


def fold() -> list[Figure]:
    """Slices of a stream from the log on the disk: read, decoded, first copies told from repeated ones, folded."""
    from skyloom.stores.log.lmdb import LmdbLog

    with tempfile.TemporaryDirectory() as folder, closing(LmdbLog(Path(folder))) as log:
        rate = _median_rate(log)
    name = "stream fold from LMDB, decode and dedupe included"
    return [Figure(name, rate, "events/s", 300_000, "python -m bench fold", True), *_grown()]


def fold_kafka() -> list[Figure]:
    """The same from a broker of its own on this machine. Raises `Missing`, telling why, where there is no Java."""
    from tests.services.kafka import KafkaServer

    from skyloom.stores.log.kafka import KafkaLog
    from skyloom.stores.log.kafka_settings import kafka_settings

    with tempfile.TemporaryDirectory(prefix="kafka-") as folder:
        server = KafkaServer(Path(folder))
        try:
            with closing(KafkaLog(kafka_settings(f"kafka://{server.servers}"))) as log:
                rate = _median_rate(log)
        finally:
            server.stop(kill=True)
    return [Figure("stream fold from Kafka to LMDB", rate, "events/s", 150_000, "python -m bench fold-kafka", True)]


def _median_rate(log: Any) -> float:
    """Events a second of one process, the log's own threads beside it."""
    topic = f"events/{SOURCE.name}"
    log.append(topic, list(_batches(0, FOLDED, START, DAYS)))
    return middle([_fold(log, topic, 0)[1] for _ in range(RUNS)])


def _fold(log: Any, topic: str, measured_from: int) -> tuple[int, float]:
    """Fold a whole topic into a new store: how many events from ``measured_from`` on, and how many of them a second."""
    from skyloom.features.online.fold import SourceFold
    from skyloom.ingest.codec import decode
    from skyloom.stores.online.lmdb import LmdbOnline

    folded, took = 0, 0.0
    with tempfile.TemporaryDirectory() as folder, closing(LmdbOnline(Path(folder))) as store:
        folding, offset, seen = SourceFold(SOURCE, [RECENT]), 0, 0
        while True:
            begun = time.perf_counter()
            part = log.read(topic, offset, SLICE)
            if not part:
                return folded, folded / took
            offset = part[-1].end
            with store.write(durable=False) as writer:
                folding.fold(writer, decode(part, SCHEMA), offset, START)
            rows = sum(batch.count for batch in part)
            if seen >= measured_from:
                folded, took = folded + rows, took + time.perf_counter() - begun
            seen += rows


def _grown() -> list[Figure]:
    """The last 100,000 events, of one day, after as many that were spread over a growing number of days before it."""
    from skyloom.kernel.units import DAY
    from skyloom.stores.log.lmdb import LmdbLog

    figures: list[Figure] = []
    for days in HISTORY:
        with tempfile.TemporaryDirectory() as folder, closing(LmdbLog(Path(folder))) as log:
            topic, half = f"events/{SOURCE.name}", FOLDED // 2
            log.append(topic, list(_batches(0, half, START, days)))
            log.append(topic, list(_batches(half, half, START + days * DAY, 1)))
            folded, rate = _fold(log, topic, half)
        assert folded == half
        figures.append(Figure(f"  after {days:,} days of history", rate, "events/s"))
    return figures


def _batches(first: int, count: int, start: int, days: int) -> Iterator[Any]:
    from skyloom.ingest.rows import encode_rows
    from skyloom.kernel.units import DAY
    from skyloom.ports.log import NewBatch

    table = events(count, 500, days * DAY, start=start, first=first)
    columns = [table.column(name) for name in SCHEMA.names]
    columns[1] = columns[1].cast("int64")
    rows = list(zip(*(column.to_pylist() for column in columns), strict=True))
    for at in range(0, count, BATCH):
        yield NewBatch(BATCH, rows[at + BATCH - 1][1], False, encode_rows(rows[at : at + BATCH]))
