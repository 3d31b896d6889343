"""Training sets beside peers: the same features of the same labels, each peer in a process of its own, answers compared."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from bench.environments import python_of
from bench.figure import Figure, middle

EVENTS, LABELS, KEYS, DAYS, TURNS = 5_000_000, 500_000, 50_000, 60, 3
FEAST_EVENTS, FEAST_LABELS, FEAST_KEYS = 170_000, 17_000, 1_700
_ROOT = Path(__file__).resolve().parent.parent


class Ran(NamedTuple):
    """One contender: its median in seconds, that of its processor time (of all cores together), the memory it took at most,
    and its answer."""

    seconds: float
    worked: float
    mb: float
    answer: pa.Table


def training() -> list[Figure]:
    """5M events x 500k labels of 50k skewed entities, four aggregates over 7 days by the hour.

    Contenders take turns on the same cores. Where others work beside them, processor time tells more than the clock.
    """
    figures: list[Figure] = []
    for kind, text in (("text", True), ("whole numbers", False)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _make(folder, EVENTS, LABELS, KEYS, text=text)
            ran = _in_turn(folder, python_of("polars"))
            frames = _run(folder, "duckdb_frames", sys.executable, 1)
        ours, prefix, all_four = ran["skyloom_join"], ran["polars_prefix"], ran["polars_whole"]
        _require_equal(ours.answer, frames.answer, ["n", "mean", "low", "high"], "DuckDB")
        _require_equal(ours.answer, all_four.answer, ["n", "mean", "low", "high"], "Polars")
        _require_equal(ours.answer, prefix.answer, ["n", "mean"], "Polars")
        figures += [
            Figure(f"training set 5M x 500k, entities {kind}", ours.seconds, "s", 5.0, "make bench-features"),
            Figure("  its processor time", ours.worked, "s"),
            Figure("  its process, at most", ours.mb, "MB", 3_000),
            *_beside(ours, frames, "DuckDB, range frames", 5.0),
            *_beside(ours, all_four, "Polars, hours rolled and joined", 5.0),
            *_beside(ours, prefix, "Polars, join_asof of running sums (2 of the 4)", None),
        ]
    return figures


def _in_turn(folder: Path, polars: str) -> dict[str, Ran]:
    """Ours and Polars' two ways, each ``TURNS`` times, one after the other."""
    contenders = {"skyloom_join": sys.executable, "polars_whole": polars, "polars_prefix": polars}
    turns = [{name: _run(folder, name, python, 2) for name, python in contenders.items()} for _ in range(TURNS)]
    return {name: _middle([turn[name] for turn in turns]) for name in contenders}


def _middle(ran: list[Ran]) -> Ran:
    seconds, worked = middle([each.seconds for each in ran]), middle([each.worked for each in ran])
    return Ran(seconds, worked, max(each.mb for each in ran), ran[-1].answer)


def _beside(ours: Ran, theirs: Ran, name: str, goal: float | None) -> list[Figure]:
    """A peer, and how often our time goes into its."""
    return [
        Figure(f"  {name}", theirs.seconds, "s"),
        Figure("    its process, at most", theirs.mb, "MB"),
        Figure("    times ours", theirs.seconds / ours.seconds, "x", goal, at_least=True),
        Figure("    times ours, in processor time", theirs.worked / ours.worked, "x"),
    ]


def whole() -> list[Figure]:
    """The same training set from the lake to a version of its table, in memory and set aside on the disk."""
    with tempfile.TemporaryDirectory() as name:
        words = [sys.executable, "-m", "bench.whole", name]
        done = subprocess.run(words, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the training set could not be built: {done.stderr[-500:]}")
    figures = json.loads(done.stdout)
    return [
        Figure("the same, from the lake to a Delta version", figures["held"], "s", None, "python -m bench whole"),
        Figure("  with its events set aside on the disk", figures["parted"], "s"),
        Figure("  its process, at most", figures["mb"], "MB", 3_000),
    ]


def feast() -> list[Figure]:
    """17k labels: Feast looks up the newest value, without windows; ours joins four windows as well."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make(folder, FEAST_EVENTS, FEAST_LABELS, FEAST_KEYS, text=False)
        ours = _run(folder, "skyloom_join", sys.executable, 5)
        theirs = _run(folder, "feast_lookup", python_of("feast"), 1)
    # within 7 days there is a newest value where there is any; only our windows begin at a whole hour
    found = theirs.answer.filter(theirs.answer.column("x").is_valid()).column("rid").to_numpy()
    differ = (ours.answer.column("n").to_numpy() > 0) != np.isin(np.arange(FEAST_LABELS), found)
    if differ.mean() > 0.01:
        raise AssertionError(f"Feast finds another {differ.sum()} of {FEAST_LABELS} labels without a value")
    return [
        Figure("17k labels x 170k events, four windows", ours.seconds, "s", None, "python -m bench feast"),
        Figure("  Feast, newest value alone", theirs.seconds, "s"),
        Figure("  Feast / ours", theirs.seconds / ours.seconds, "x"),
        Figure("  memory of Feast", theirs.mb, "MB"),
    ]


def history() -> list[Figure]:
    """As much happens each day, over 1 to 1,000 days: time for each event should stay."""
    from bench.training_data import GROUP, SOURCE, events, labels
    from skyloom.features.offline.pit import Asked, by_event, join
    from skyloom.kernel.units import DAY

    figures: list[Figure] = []
    for days in (1, 10, 100, 1_000):
        table, asked = events(5_000 * days, 5_000, days * DAY), labels(500 * days, 5_000, days * DAY)
        t = asked.column("t").to_numpy()
        times: list[float] = []
        for _ in range(5):
            begun = time.perf_counter()
            join(GROUP, SOURCE, table, by_event(table, SOURCE), Asked([asked.column("k")], t, t))
            times.append(time.perf_counter() - begun)
        each = middle(times) / len(table) * 1e6
        figures.append(
            Figure(f"training set of {days:,} days, 5,000 events a day", each, "us/event", None, "python -m bench history")
        )
    return figures


def _make(folder: Path, events: int, labels: int, keys: int, *, text: bool) -> None:
    from bench import training_data as data
    from skyloom.kernel.units import DAY

    kind = pa.string() if text else pa.int64()
    for name, table in (
        ("events", data.events(events, keys, DAYS * DAY)),
        ("labels", data.labels(labels, keys, DAYS * DAY)),
    ):
        entities = table.column("k").cast(kind)
        data.write(folder, table.set_column(table.column_names.index("k"), "k", entities), name)


def _run(folder: Path, name: str, python: str, runs: int) -> Ran:
    program = str(_ROOT / "bench" / "contenders" / f"{name}.py")
    words = [python, "-W", "ignore", program, str(folder), str(runs)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        raise RuntimeError(f"{name} ended with exit code {done.returncode}: {done.stderr[-500:]}")
    told: Any = json.loads(done.stdout.splitlines()[-1])
    answer = pa.ipc.open_file(str(folder / f"{name}.arrow")).read_all()
    return Ran(middle(told["seconds"]), middle(told["worked"]), told["mb"], answer)


def _require_equal(ours: pa.Table, theirs: pa.Table, columns: list[str], who: str) -> None:
    """Every value, bit for bit; nulls where nulls are."""
    for name in columns:
        pair = [table.column(name).cast(pa.float64()).combine_chunks() for table in (ours, theirs)]
        one, other = (np.nan_to_num(column.to_numpy(zero_copy_only=False), nan=np.inf) for column in pair)
        if not np.array_equal(one, other):
            raise AssertionError(f"{who} has other values of {name} for {int((one != other).sum()):,} labels")
