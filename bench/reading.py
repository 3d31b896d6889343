"""One request's features read from an online store: again within the hop, in every hop anew, and as history grows."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.figure import Figure, quantile
from bench.made_up import SOURCE, START, events, group

READS, ENTITIES = 20_000, 20
HISTORY = (1, 10, 100, 1_000)
"""Days of events in the store."""


def wide() -> Any:
    """21 features: three of each of seven windows."""
    from skyloom.kernel.units import DAY, HOUR, MINUTE

    return group({window * HOUR: 5 * MINUTE for window in (1, 2, 3, 6)} | {days * DAY: DAY for days in (2, 4, 7)})


def fill(store: Any, days: int) -> int:
    """Fold a history whose last day is dense, so that every window is full; the moment after it."""
    from skyloom.features.online.fold import SourceFold
    from skyloom.kernel.units import DAY

    past = events(400 * (days - 1), ENTITIES, max(1, (days - 1) * DAY))
    last = events(40_000, ENTITIES, DAY, start=START + (days - 1) * DAY, first=len(past))
    folding = SourceFold(SOURCE, [wide()])
    whole = pa.concat_tables([past, last])
    for begin in range(0, len(whole), 50_000):
        with store.write(durable=False) as writer:
            part = whole.slice(begin, 50_000)
            folding.fold(writer, part, int(part.column("_offset")[-1].as_py()) + 1, START)
    return START + days * DAY


def read() -> list[Figure]:
    """`OnlineFeatures.read` of one entity on LMDB, with the median's growth from a day of history to a thousand."""
    from skyloom.kernel.units import MINUTE
    from skyloom.stores.online.lmdb import LmdbOnline

    figures: list[Figure] = []
    for days in HISTORY:
        with tempfile.TemporaryDirectory() as folder, closing(LmdbOnline(Path(folder))) as store:
            at = fill(store, days)
            anew = list(_times(store, at, 5 * MINUTE))
            if days == 10:
                name = f"feature read, 21 features over {_tiles(store)} tiles"
                again = list(_times(store, at, 0))
                figures += _figures(f"{name}, p50", f"{name}, p99", anew, (10.0, 100.0), "us", "python -m bench read")
                figures += _figures(f"{name}, again within the hop, p50", "... p99", again, (10.0, 100.0), "us")
            figures.append(Figure(f"the same after {days} days of history, p50", quantile(anew, 0.5) * 1e6, "us"))
    return sorted(figures, key=lambda figure: figure.name.startswith("the same"))


def read_redis() -> list[Figure]:
    """The same on a Redis of this machine, by TCP and by its socket."""
    from tests.services.redis import RedisServer

    from skyloom.kernel.units import MINUTE
    from skyloom.stores.online.redis import RedisOnline

    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder) / "data")
        try:
            with closing(RedisOnline(server.url)) as store:
                at = fill(store, 10)
            for name, url in (("TCP", server.url), ("socket", server.unix_url)):
                with closing(RedisOnline(url)) as store:
                    times = list(_times(store, at, 5 * MINUTE, 5_000))
                figures += _figures(
                    f"feature read on Redis by {name}, p50",
                    "... p99",
                    times,
                    (None, 1.0),
                    "ms",
                    "python -m bench read-redis",
                )
        finally:
            server.stop(kill=True)
    return figures


def _times(store: Any, at: int, step_ms: int, count: int = READS) -> Iterator[float]:
    """Seconds of single reads of one entity after the other; with a step no read is in the hop of the one before it."""
    from skyloom.features.online.lookup import OnlineFeatures

    features = OnlineFeatures(store, {"recent": wide()})
    for index in range(-500, count):
        wanted, moment = [("recent", (str(index % ENTITIES),))], at + index // ENTITIES % 2 * step_ms
        begun = time.perf_counter()
        features.read(wanted, moment)
        if index >= 0:
            yield time.perf_counter() - begun


def _tiles(store: Any) -> int:
    from skyloom.features.algebra.layout import read_layout
    from skyloom.features.algebra.program import compile_group
    from skyloom.features.spaces import tiles_space
    from skyloom.kernel.entity import entity_key

    with store.read() as view:
        blob = view.get(tiles_space(wide()), entity_key("7")) or b""
    return sum(len(level.tiles) for level in read_layout(blob, compile_group(wide())).levels)


def _figures(
    p50: str, p99: str, times: list[float], goals: tuple[float | None, float], unit: str, command: str = ""
) -> list[Figure]:
    scale = {"us": 1e6, "ms": 1e3}[unit]
    return [
        Figure(p50, quantile(times, 0.5) * scale, unit, goals[0], command),
        Figure(p99, quantile(times, 0.99) * scale, unit, goals[1]),
    ]
