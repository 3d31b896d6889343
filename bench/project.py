"""The flights project, trained as a user would, for the measures that need one. Made once."""

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from bench.processes import SKYLOOM, seconds

MODEL, PROFILE = "late_arrival", "demo"


@lru_cache(maxsize=1)
def scratch() -> Path:
    """A folder that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="skyloom-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@lru_cache(maxsize=1)
def trained() -> Path:
    """The folder of a project whose model has its first version, with the clock at the first of April 2013."""
    from skyloom.examples.flights.prepare import midnight
    from skyloom.kernel.clock import DataClock
    from skyloom.platform import STATE
    from skyloom.runtime.demo.story import FIRST_DAY

    folder = scratch() / "flights"
    seconds(SKYLOOM, "new", str(folder), "--example", "flights")
    DataClock(folder / STATE / "clock").advance_to(round(midnight(FIRST_DAY).timestamp() * 1000))
    for words in (("apply",), ("ingest", "departures"), ("ingest", "arrivals"), ("train", MODEL)):
        seconds(SKYLOOM, *words, "--profile", PROFILE, cwd=folder)
    return folder
