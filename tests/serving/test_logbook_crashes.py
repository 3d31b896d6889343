"""Processes that die with receipts in their segments, damaged files: what was kept arrives once, the rest is said."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skyloom.kernel.clock import ManualClock
from skyloom.kernel.errors import Transient
from skyloom.kernel.records.prediction import Receipt
from skyloom.serving.logbook import Logbook, Policy, Room
from skyloom.serving.logbook.frames import Damage, Frame, framed, frames
from skyloom.serving.logbook.segment import Segment
from skyloom.serving.metrics import Metrics
from skyloom.stores.log.lmdb import LmdbLog
from skyloom.testing.faults import ended_by_itself, killed_after, preload

TOPIC = "predictions/m"
POLICY = Policy("m", b"m", refuse=False, share=10_000, columns={}, inputs={})

preload("skyloom.serving.logbook", "skyloom.stores.log.lmdb", "skyloom.serving.metrics")


def receipt(id: str) -> Receipt:
    return Receipt(id, "m", 1, "r", "champion", "u", "k", 0, 0, (1.5, "text"), {}, {}, 0.5, 1.0)


class Around:
    """A log that cannot be written while ``down``; its ``dies``-th append is the process's last deed, ``kept`` or not."""

    def __init__(self, log: LmdbLog, *, down: bool = False, dies: int = -1, kept: bool = True) -> None:
        self._log, self.down, self._left, self._kept = log, down, dies, kept

    def append(self, topic: str, batches: Any, partition: int = 0) -> list[int]:
        if self.down:
            raise Transient("the log is down")
        self._left -= 1
        if self._left != 0:
            return self._log.append(topic, batches, partition)
        if self._kept:
            self._log.append(topic, batches, partition)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


def make(folder: Path, **faults: Any) -> tuple[Logbook, Metrics, Around]:
    metrics, log = Metrics(), Around(LmdbLog(folder / "log", map_bytes=1 << 26), **faults)
    room = Room(segment=20_000)
    return Logbook(log, ManualClock(0), metrics, folder / "segments", secret=b"s", room=room), metrics, log  # type: ignore[arg-type]


def write(folder: Path, name: str, count: int, faults: dict[str, Any], report: Callable[[Any], None]) -> None:
    """Keep receipts, and report each once it is kept."""
    logbook, _, _ = make(folder, **faults)
    logbook.start()
    for number in range(count):
        assert logbook.add(POLICY, [receipt(f"{name}-{number}")])
        report(f"{name}-{number}")
    report("all")
    signal.pause()


def write_and_see(folder: Path, name: str, count: int, report: Callable[[Any], None]) -> None:
    """Keep receipts, half of them when some of the others are in the log, and report each once it is kept."""
    logbook, metrics, _ = make(folder)
    logbook.start()
    for number in range(count):
        if number == count // 2:
            until(lambda: sample(metrics, "skyloom_logbook_written_total"))
        assert logbook.add(POLICY, [receipt(f"{name}-{number}")])
        report(f"{name}-{number}")
    report("all")
    signal.pause()


def logged(folder: Path) -> list[str]:
    log, offset, ids = LmdbLog(folder / "log", map_bytes=1 << 26), 0, list[str]()
    while batches := log.read(TOPIC, offset):
        for batch in batches:
            ids += [each.id for each in msgspec.msgpack.decode(batch.payload, type=list[Receipt])]
        offset = batches[-1].end
    log.close()
    return ids


def finish(folder: Path) -> Metrics:
    """The next process takes over what was left."""
    logbook, metrics, _ = make(folder)
    logbook.start()
    until(lambda: sample(metrics, "skyloom_logbook_queue") == 0 and left(folder) == 1)
    assert logbook.close(60.0)
    return metrics


def left(folder: Path) -> int:
    return len(list((folder / "segments").glob("w_*")))


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_killed_at_any_moment_again_and_again_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    chosen = random.Random(7)
    kept: list[str] = []
    for turn in range(8):
        name, reports = f"t{turn}", chosen.randrange(1, 3_000)
        kept += killed_after(reports, write, tmp_path, name, 3_000, {})
    finish(tmp_path)
    kept = [id for id in kept if id != "all"]
    counts = Counter(logged(tmp_path))
    assert [id for id in kept if counts[id] != 1] == []
    assert set(counts.values()) == {1}
    for turn in range(8):
        mine = [int(id.partition("-")[2]) for id in logged(tmp_path) if id.startswith(f"t{turn}-")]
        assert mine == list(range(len(mine))), "order is kept"


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("dies", [1, 2, 3])
def test_killed_beside_an_append_it_is_appended_once(tmp_path: Path, dies: int, kept: bool) -> None:
    heard = write_and_die(tmp_path, {"dies": dies, "kept": kept})
    finish(tmp_path)
    counts = Counter(logged(tmp_path))
    assert [id for id in heard if counts[id] != 1] == []
    assert set(counts.values()) == {1}


def write_and_die(folder: Path, faults: dict[str, Any]) -> list[str]:
    """The process ends itself beside an append."""
    heard: list[str] = ended_by_itself(write, folder, "x", 50_000, faults)
    return [id for id in heard if id != "all"]


def test_after_a_crash_of_the_machine_the_mark_may_be_gone(tmp_path: Path) -> None:
    heard = killed_after(2_001, write_and_see, tmp_path, "x", 2_000)
    assert heard[-1] == "all"
    assert logged(tmp_path), "some are in the log already"
    (mark,) = (tmp_path / "segments").glob("w_*/mark")
    mark.write_bytes(bytes(mark.stat().st_size))
    finish(tmp_path)
    assert logged(tmp_path) == [f"x-{i}" for i in range(2_000)]


def test_a_flipped_byte_costs_one_receipt_which_is_set_aside(tmp_path: Path) -> None:
    ids = abandoned(tmp_path, 60)
    path = sorted((tmp_path / "segments").glob("w_*/*.segment"))[0]
    content = bytearray(path.read_bytes())
    content[content.index(b"x-3\xa5model") + 40] ^= 1
    path.write_bytes(content)
    metrics = finish(tmp_path)
    assert logged(tmp_path) == [id for id in ids if id != "x-3"]
    assert sample(metrics, "skyloom_logbook_damaged_total", kind="damaged") == 1
    (aside,) = (tmp_path / "segments" / "damaged").iterdir()
    assert b"x-3" in aside.read_bytes()
    assert aside.stat().st_mode & 0o077 == 0


def test_a_torn_end_is_cut_and_said(tmp_path: Path) -> None:
    ids = abandoned(tmp_path, 30)
    path = sorted((tmp_path / "segments").glob("w_*/*.segment"))[0]
    content = path.read_bytes()
    end = len(content.rstrip(b"\0"))
    path.write_bytes(content[: end - 9] + bytes(len(content) - end + 9))
    metrics = finish(tmp_path)
    assert logged(tmp_path) == ids[:-1]
    assert sample(metrics, "skyloom_logbook_damaged_total", kind="torn") == 1
    assert len(list((tmp_path / "segments" / "damaged").iterdir())) == 1


def test_a_page_that_never_reached_the_disk_costs_its_receipts_alone(tmp_path: Path) -> None:
    ids = abandoned(tmp_path, 60)
    path = sorted((tmp_path / "segments").glob("w_*/*.segment"))[0]
    content = path.read_bytes()
    path.write_bytes(content[:4_096] + bytes(4_096) + content[8_192:])
    metrics = finish(tmp_path)
    there = logged(tmp_path)
    assert there == [id for id in ids if id in set(there)]
    assert 0 < len(ids) - len(there) < 4_096 // 150
    assert sample(metrics, "skyloom_logbook_damaged_total", kind="damaged") == 1


def abandoned(folder: Path, count: int) -> list[str]:
    """Receipts that a killed process has kept, and brought nowhere."""
    heard = killed_after(count + 1, write, folder, "x", count, {"down": True})
    assert heard[-1] == "all"
    return heard[:-1]


def test_bytes_of_a_client_that_look_like_a_frame_are_none(tmp_path: Path) -> None:
    forged = framed(b"m", 1, 0, b"forged", 0)
    whole = framed(b"m", 1, 0, b"before" + forged + b"after", 77)
    found = list(frames(b"\1" + whole[1:], 0, len(whole), 77))
    assert found == [Damage(0, len(whole), torn=True)]
    assert [each.payload for each in frames(whole, 0, len(whole), 77) if isinstance(each, Frame)] == [
        b"before" + forged + b"after"
    ]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def test_a_large_frame_that_is_written_in_part_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = Segment.make(tmp_path, 1, 1 << 20)
    large = bytes(range(256)) * 400
    assert segment.write(b"m", 1, 7, memoryview(large))
    begun = segment.written
    whole = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda handle, parts, at: whole(handle, [b"".join(parts)[:50_000]], at))
    assert not segment.write(b"m", 2, 7, memoryview(large))
    monkeypatch.setattr(os, "pwritev", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    assert not segment.write(b"m", 3, 7, memoryview(large))
    assert segment.written == begun
    monkeypatch.undo()
    assert segment.write(b"m", 4, 7, b"small")
    assert segment.write(b"m", 5, 7, large)
    segment.close()
    (path,) = Segment.paths(tmp_path)
    again = Segment.open(path)
    assert again is not None
    found = [(each.rows, each.payload) for each in again.waiting() if isinstance(each, Frame)]
    again.close()
    assert found == [(1, large), (4, b"small"), (5, large)]


def test_a_segment_is_read_as_far_as_it_was_written_to(tmp_path: Path) -> None:
    """Where frames lie with room between that was never touched, and where nothing was ever written."""
    segment = Segment.make(tmp_path, 1, 8 << 20)
    untouched = Segment.make(tmp_path, 2, 8 << 20)
    assert segment.write(b"late", 1, 7, b"first")
    assert segment.write(b"late", 1, 7, bytes(100_000))
    written = segment.written
    segment.close()
    untouched.close()
    first, second = [Segment.open(path) for path in Segment.paths(tmp_path)]
    assert first is not None
    assert second is not None
    assert written <= first.written <= first.size
    assert [each.end for each in first.waiting()][-1] == written
    assert list(second.waiting()) == []
    first.close()
    second.close()
