"""``python -m bench.serving.bare MODEL SECONDS``: ONNX Runtime called on arrays of 1,000 x 30, on the servers' core;
``python -m bench.serving.bare MODEL --parquet FILE``: called on the batches of a file. Prints its figures as JSON."""

import json
import os
import sys
import time
from typing import Any

import numpy as np
import onnxruntime

from bench.serving.made import MANY, numbers
from bench.serving.servers import SERVER_CORE

_ROWS, _ARRAYS, _BATCH = 1_000, 20, 65_536


def session_of(path: str) -> Any:
    """The model on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def arrays(path: str, seconds: float) -> dict[str, float]:
    """Calls a second, and the processor time of one in seconds."""
    session = session_of(path)
    given = [numbers(_ROWS, MANY, seed) for seed in range(_ARRAYS)]
    _call(session, given[0])
    begun, before, calls = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begun < seconds:
        _call(session, given[calls % _ARRAYS])
        calls += 1
    return {"rate": calls / (time.perf_counter() - begun), "worked": (time.process_time() - before) / calls}


def batches(path: str, file: str) -> dict[str, float]:
    """Rows a second over the batches of a Parquet file, which are in memory, and the processor time of a row."""
    import pyarrow.parquet as pq

    session = session_of(path)
    names = [each.name for each in session.get_inputs()]
    held = list(pq.ParquetFile(file).iter_batches(_BATCH))
    begun, before, rows = time.perf_counter(), time.process_time(), 0
    for batch in held:
        feed = {name: batch.column(name).to_numpy().astype(np.float32).reshape(-1, 1) for name in names}
        rows += len(session.run(["score"], feed)[0])
    return {"rate": rows / (time.perf_counter() - begun), "worked": (time.process_time() - before) / rows}


def _call(session: Any, array: Any) -> Any:
    return session.run(["score"], {f"x{at}": array[:, at : at + 1] for at in range(MANY)})


if __name__ == "__main__":
    os.sched_setaffinity(0, {SERVER_CORE})
    batched = sys.argv[2] == "--parquet"
    print(json.dumps(batches(sys.argv[1], sys.argv[3]) if batched else arrays(sys.argv[1], float(sys.argv[2]))))
