"""``python -m bench [NAME ...]``: measures, and prints each figure beside its goal. A goal that is missed is no failure."""

import os
import sys
import time
from collections.abc import Callable

from bench import demo, join, online, predictions, startup, up
from bench.figure import HEAD, Figure, row

MEASURES: dict[str, Callable[[], list[Figure]]] = {
    "import": startup.import_skyloom,
    "help": startup.help_text,
    "up": up.up,
    "demo": demo.demo,
    "predict": predictions.predict,
    "read": online.read,
    "fold": online.fold,
    "join": join.join,
}


def main(names: list[str]) -> int:
    """Run some measures by name, or all; 2 for a name that is not there, 1 when one could not be run."""
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        print(f"no measure {', '.join(unknown)}; there are: {', '.join(MEASURES)}", file=sys.stderr)
        return 2
    begun, failed = time.perf_counter(), 0
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n\n{HEAD}")
    for name in names or MEASURES:
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
