"""``python -m bench [NAME ...]``: measures, and prints each figure beside its goal. A goal that is missed is no failure."""

import os
import sys
import time
from collections.abc import Callable

from bench import batching, demo, join, life, memory, online, overload, predictions, reading, startup, training, up
from bench.figure import HEAD, Figure, row
from bench.serving import report

MEASURES: dict[str, Callable[[], list[Figure]]] = {
    "import": startup.import_skyloom,
    "help": startup.help_text,
    "up": up.up,
    "life": life.life,
    "demo": demo.demo,
    "predict": predictions.predict,
    "overload": overload.overload,
    "batching": batching.batching,
    "read": reading.read,
    "read-redis": reading.read_redis,
    "fold": online.fold,
    "fold-kafka": online.fold_kafka,
    "memory": memory.memory,
    "join": join.join,
    "training": training.training,
    "whole": training.whole,
    "feast": training.feast,
    "history": training.history,
    "serving": report.serving,
    "serving-peers": report.peers,
}
TRAINING = ("training", "whole", "feast", "history")
FEATURES = (*TRAINING, "read", "read-redis", "fold", "fold-kafka", "memory")
"""What ``features`` stands for: training sets beside peers in environments of their own, the online store, the worker."""
LONG = (*TRAINING, "batching", "serving", "serving-peers")
"""What runs only when it is named."""


def main(names: list[str]) -> int:
    """Run some measures by name, or all but those of `LONG`; 2 for an unknown name, 1 when one could not be run."""
    names = [each for name in names for each in (FEATURES if name == "features" else (name,))]
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        print(f"no measure {', '.join(unknown)}; there are: {', '.join(MEASURES)}", file=sys.stderr)
        return 2
    begun, failed = time.perf_counter(), 0
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n\n{HEAD}")
    for name in names or [each for each in MEASURES if each not in LONG]:
        try:
            figures = MEASURES[name]()
        except Exception as error:
            failed += 1
            print(f"{name}: could not be measured: {type(error).__name__}: {error}", flush=True)
            continue
        for figure in figures:
            print(row(figure), flush=True)
    print(f"\nmeasured in {time.perf_counter() - begun:.0f} s, load now {os.getloadavg()[0]:.1f}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
