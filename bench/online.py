"""Online features on LMDB: reading one request's, folding a stream's."""

import tempfile
import time
from pathlib import Path

import numpy as np

from bench.figure import Figure, middle, quantile
from bench.made_up import RECENT, SCHEMA, SOURCE, START, events, group

READS, FOLDED, BATCH, RUNS = 20_000, 200_000, 1_000, 3


def read() -> list[Figure]:
    """`OnlineFeatures.read` of one entity with 21 features over about 83 tiles."""
    from skyloom.features.fold import SourceFold
    from skyloom.features.lookup import OnlineFeatures
    from skyloom.features.spaces import entity_key, tiles_space
    from skyloom.kernel.units import DAY, HOUR, MINUTE
    from skyloom.stores.online.lmdb import LmdbOnline

    hours = {window * HOUR: 5 * MINUTE for window in (1, 2, 3, 6)}
    wide = group(hours | {days * DAY: DAY for days in (2, 4, 7)})
    table = events(400_000, 20, 10 * DAY)
    with tempfile.TemporaryDirectory() as folder:
        store = LmdbOnline(Path(folder))
        with store.write(durable=False) as writer:
            SourceFold(SOURCE, [wide]).fold(writer, table, len(table), START)
        with store.read() as view:
            blob = np.frombuffer(view.get(tiles_space(wide), entity_key("7")) or b"", np.int64)
        tiles = int(blob[4 : 4 + 2 * blob[1] : 2].sum())
        features, at = OnlineFeatures(store, {"recent": wide}), START + 10 * DAY
        times = [_timed(features, str(index % 20), at) for index in range(READS)]
        store.close()
    name = f"feature read, {len(wide.aggregates)} features over {tiles} tiles"
    return [
        Figure(f"{name}, p50", quantile(times, 0.5) * 1e6, "us", 10.0, "python -m bench read"),
        Figure(f"{name}, p99", quantile(times, 0.99) * 1e6, "us", 100.0),
    ]


def _timed(features, entity: str, at: int) -> float:
    begun = time.perf_counter()
    features.read([("recent", (entity,))], at)
    return time.perf_counter() - begun


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
