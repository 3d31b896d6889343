"""A stream folded into online features, on LMDB."""

import tempfile
import time
from pathlib import Path

from bench.figure import Figure, middle
from bench.made_up import RECENT, SCHEMA, SOURCE, START, events

FOLDED, BATCH, RUNS = 200_000, 1_000, 3


def fold() -> list[Figure]:
    """Batches of a stream, as they lie in the log: decoded, first copies told from repeated ones, folded, committed."""
    rates = [_fold_once() for _ in range(RUNS)]
    return [
        Figure("stream fold, decode and dedupe included", middle(rates), "events/s", 300_000, "python -m bench fold", True)
    ]


def _fold_once() -> float:
    from skyloom.features.fold import SourceFold
    from skyloom.ingest.codec import decode
    from skyloom.kernel.units import DAY
    from skyloom.ports.log import LogBatch
    from skyloom.stores.online.lmdb import LmdbOnline

    batches = _batches(LogBatch, 10 * DAY)
    with tempfile.TemporaryDirectory() as folder:
        store, folding = LmdbOnline(Path(folder)), SourceFold(SOURCE, [RECENT])
        begun = time.perf_counter()
        for at in range(0, len(batches), 50):
            part = batches[at : at + 50]
            with store.write(durable=False) as writer:
                folding.fold(writer, decode(part, SCHEMA), part[-1].end, START)
        took = time.perf_counter() - begun
        store.close()
    return FOLDED / took


def _batches(batch_type, span_ms: int) -> list:
    from skyloom.ingest.rows import encode_rows

    table = events(FOLDED, 500, span_ms)
    columns = [table.column(name) for name in SCHEMA.names]
    columns[1] = columns[1].cast("int64")
    rows = list(zip(*(column.to_pylist() for column in columns), strict=True))
    return [
        batch_type(at, BATCH, rows[at + BATCH - 1][1], False, encode_rows(rows[at : at + BATCH]))
        for at in range(0, FOLDED, BATCH)
    ]
