"""The memory of the worker: log, online store and lake are real, the entities many."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.figure import Figure

ENTITIES, BATCH, EVENTS = (10_000, 1_000_000), 10_000, 1_000_000


def memory() -> list[Figure]:
    """The most memory that is the worker's own (files mapped into it left out) while it works through a million events."""
    figures: list[Figure] = []
    for entities in ENTITIES:
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), entities)
            peak, took = _peak(Path(folder))
        name = f"worker, {EVENTS:,} events of {entities:,} entities"
        figures.append(Figure(f"{name}, own memory", peak, "MB", None, "python -m bench memory"))
        figures.append(Figure(f"{name}, to the lake", EVENTS / took, "events/s"))
    return figures


def fill(folder: Path, entities: int) -> None:
    """A log of events, each of an entity chosen so that all of them occur."""
    from bench.made_up import SOURCE, START
    from skyloom.ingest.rows import encode_rows
    from skyloom.ports.log import NewBatch

    log = stores(folder).log
    for begin in range(0, EVENTS, BATCH):
        rows = [(f"e{at}", START + at * 100, f"u{at * 7919 % entities}", at % 97 / 4) for at in range(begin, begin + BATCH)]
        log.append(f"events/{SOURCE.name}", [NewBatch(BATCH, rows[-1][1], False, encode_rows(rows))])
    log.close()


def stores(folder: Path) -> Any:
    """What the worker needs of a platform."""
    from bench.made_up import START
    from skyloom.stores.lake.delta import DeltaLake
    from skyloom.stores.log.lmdb import LmdbLog
    from skyloom.stores.online.lmdb import LmdbOnline

    clock = SimpleNamespace(now_ms=lambda: START + EVENTS * 100)
    return SimpleNamespace(
        log=LmdbLog(folder / "log"),
        online=LmdbOnline(folder / "online", map_bytes=1 << 32),
        lake=DeltaLake(folder / "lake"),
        clock=clock,
    )


def _peak(folder: Path) -> tuple[float, float]:
    """The greatest own memory (MB) of a worker that drains the log, and how long it worked (s)."""
    process = subprocess.Popen([sys.executable, "-m", "bench.memory", str(folder)], stdout=subprocess.PIPE, text=True)
    most = 0.0
    while process.poll() is None:
        most = max(most, _own_mb(process.pid))
        time.sleep(0.05)
    told = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"the worker ended with exit code {process.returncode}")
    return most, float(told)


def _own_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def drain(folder: Path) -> float:
    """Work through the log; how long it took (s), without starting."""
    from bench.made_up import RECENT, SOURCE
    from skyloom.features.warm import warm
    from skyloom.kernel.records.definitions import ProjectDef
    from skyloom.runtime.worker import Worker

    warm()
    worker = Worker(stores(folder), ProjectDef("bench", {SOURCE.name: SOURCE}, {RECENT.name: RECENT}, {}))
    begun = time.perf_counter()
    worker.drain()
    return time.perf_counter() - begun


if __name__ == "__main__":
    print(drain(Path(sys.argv[1])))
