"""The stream worker: the log folded into features, joined with labels, and sunk into the lake."""

from skyloom.runtime.worker.erasure import Erasure, erase
from skyloom.runtime.worker.fence import Fenced, release, take
from skyloom.runtime.worker.horizon import horizon_of
from skyloom.runtime.worker.identity import require_same_log
from skyloom.runtime.worker.labels import label_rows
from skyloom.runtime.worker.lag import Lag
from skyloom.runtime.worker.rebuilding import Progress, progress_of, rebuild
from skyloom.runtime.worker.shards import Member, shards_of, source_parts
from skyloom.runtime.worker.worker import Worker

__all__ = [
    "Erasure",
    "Fenced",
    "Lag",
    "Member",
    "Progress",
    "Worker",
    "erase",
    "horizon_of",
    "label_rows",
    "progress_of",
    "rebuild",
    "release",
    "require_same_log",
    "shards_of",
    "source_parts",
    "take",
]
