"""A worker that is killed at any moment, and the one that goes on: the store ends up as if nothing had happened."""

import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.features.histories import GROUPS, ORIGIN, History
from tests.features.oracle import Happened
from tests.features.replay import ask, play

from skyloom.features.spaces import tiles_space
from skyloom.stores.online.lmdb import LmdbOnline

WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from skyloom.stores.online.lmdb import LmdbOnline
from tests.features.test_crash import go_on
go_on(LmdbOnline(Path(sys.argv[1])), lambda end: print(end, flush=True))
sys.stdin.read()
"""
ROOT = Path(__file__).parents[2]
BATCHES = 120


def history() -> History:
    """Many small batches, with late and repeated events, the same each time."""
    chance, batches = random.Random(7), list[list[Happened]]()
    for offset in range(0, 10 * BATCHES, 10):
        now = ORIGIN + 60_000 * offset
        batches.append([_event(chance, offset + index, now) for index in range(10)])
    return History(batches, [ORIGIN + 600_000 * BATCHES])


def _event(chance: random.Random, offset: int, now: int) -> Happened:
    key, at = chance.randrange(400), now - chance.choice([0, 0, 1_000, 3_600_000, -90_000])
    row = {"id": f"k{key}", "at": at, "who": chance.choice(["UA", ""]), "desk": 7, "x": 0.1 * key, "n": key, "ok": None}
    return Happened(offset, now, False, at, row)


def go_on(store: LmdbOnline, on_commit: Any = lambda end: None) -> None:
    """Fold what is not folded yet, batch after batch."""
    from tests.features.histories import SCHEMA, SOURCE, log_batch

    from skyloom.features.online.fold import SourceFold
    from skyloom.ingest.codec import decode

    folding = SourceFold(SOURCE, GROUPS)
    with store.read() as view:
        done = folding.position(view)
    for batch in history().batches:
        end = batch[-1].offset + 1
        if end > done:
            with store.write(durable=False) as writer:
                folding.fold(writer, decode([log_batch(batch)], SCHEMA), end, batch[0].appended)
            on_commit(end)


def contents(store: Any) -> Any:
    names = ["seen/landings", "progress/landings", "positions", *(tiles_space(group) for group in GROUPS)]
    with store.read() as view:
        return {name: list(view.scan(name)) for name in names}


def _kill_after(commits: int, path: Path) -> int:
    """Let a worker run, kill it when it has told of so many commits; the last one that it told of."""
    command = [sys.executable, "-c", WORKER, str(path), str(ROOT)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        told = [int(worker.stdout.readline()) for _ in range(commits)]
        worker.send_signal(signal.SIGKILL)
        assert worker.wait(timeout=60) == -signal.SIGKILL
    finally:
        worker.kill()
        worker.stdin.close()
        worker.stdout.close()
    return told[-1]


def test_a_killed_worker_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "online"
    path.mkdir()
    told = _kill_after(7, path)
    store = LmdbOnline(path)
    try:
        with store.read() as view:
            position = int.from_bytes(view.get("positions", b"source/landings") or b"", "big")
        assert position >= told
        go_on(store)
        whole = play(history(), list(range(BATCHES)), live=True)
        assert contents(store) == contents(whole.store)
        assert ask(store, history().questions) == ask(whole.store, history().questions)
    finally:
        store.close()
