"""What all contenders do alike: read, be timed, write. Needs pyarrow alone."""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa


def contend(name: str, prepare: Callable[[pa.Table, pa.Table], Any], work: Callable[[Any], pa.Table]) -> None:
    """``prepare`` events and labels (not timed), then ``work`` as often as is asked for."""
    folder, runs = Path(sys.argv[1]), int(sys.argv[2])
    prepared = prepare(_read(folder / "events.arrow"), _read(folder / "labels.arrow"))
    seconds: list[float] = []
    worked: list[float] = []
    for _ in range(runs):
        begun, before = time.perf_counter(), time.process_time()
        answer = work(prepared)
        worked.append(time.process_time() - before)
        seconds.append(time.perf_counter() - begun)
    with pa.ipc.new_file(str(folder / f"{name}.arrow"), answer.schema) as writer:
        writer.write_table(answer)
    mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "worked": worked, "mb": mb}))


def _read(path: Path) -> pa.Table:
    return pa.ipc.open_file(str(path)).read_all()
