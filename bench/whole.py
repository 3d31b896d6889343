"""``python -m bench.whole FOLDER``: a training set built from the lake, in a process whose memory is its own."""

import json
import resource
import sys
import time
from pathlib import Path

import pyarrow as pa

from bench.training import DAYS, EVENTS, KEYS, LABELS
from bench.training_data import GROUP, SOURCE, events, labels
from skyloom.features.offline.dataset import build
from skyloom.features.offline.history import MEMORY
from skyloom.ingest.codec import event_schema
from skyloom.ingest.sink import events_topic
from skyloom.kernel.expr import col
from skyloom.kernel.records.definitions import InputDef, LabelDef, LoopDef, ModelDef, ProjectDef, SourceDef
from skyloom.kernel.schema import Field, Schema, Type
from skyloom.kernel.units import DAY
from skyloom.stores.lake.delta import DeltaLake
from skyloom.stores.online.lmdb import LmdbOnline

ASKS = SourceDef(
    "asks",
    Schema((Field("rid", Type.INT), Field("t", Type.TIMESTAMP), Field("k", Type.INT), Field("bad", Type.BOOL)), "rid", "t"),
)
INPUTS = tuple(InputDef(a.name, Type.FLOAT, group="recent", aggregate=a.name, entity=("k",)) for a in GROUP.aggregates)
MODEL = ModelDef(
    "bad", "asks", INPUTS, LabelDef("asks", "rid", col("bad").expression, DAY), "f", "", {}, ("auc",), "binary", LoopDef()
)
PROJECT = ProjectDef("bench", {"events": SOURCE, "asks": ASKS}, {"recent": GROUP}, {"bad": MODEL})


def _fill(lake: DeltaLake) -> None:
    """The events and the requests, which are their own labels."""
    table = events(EVENTS, KEYS, DAYS * DAY)
    lake.append(events_topic("events"), table.select(event_schema(SOURCE.schema).names))
    asked = labels(LABELS, KEYS, DAYS * DAY)
    t = asked.column("t").cast(pa.timestamp("ms", tz="UTC"))
    true = pa.array([True]).take(pa.array([0] * LABELS))
    columns = [asked.column("rid"), t, asked.column("k"), true, asked.column("rid"), t, true]
    lake.append(events_topic("asks"), pa.table(columns, event_schema(ASKS.schema)))


def main(folder: Path) -> None:
    """Build twice in memory (the second is timed), and once from the disk; print what was measured."""
    lake, online = DeltaLake(folder / "lake"), LmdbOnline(folder / "online")
    _fill(lake)
    figures: dict[str, float] = {}
    for name, memory in (("first", MEMORY), ("held", MEMORY), ("parted", 2**20)):
        begun = time.perf_counter()
        made = build(MODEL, PROJECT, lake, online, now_ms=2**42, memory=memory)
        figures[name] = time.perf_counter() - begun
        assert len(made.table) == LABELS
    online.close()
    figures["mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
