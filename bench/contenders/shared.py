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
    for _ in range(runs):
        begun = time.perf_counter()
        answer = work(prepared)
        seconds.append(time.perf_counter() - begun)
    with pa.ipc.new_file(str(folder / f"{name}.arrow"), answer.schema) as writer:
        writer.write_table(answer)
    print(json.dumps({"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def _read(path: Path) -> pa.Table:
    return pa.ipc.open_file(str(path)).read_all()
