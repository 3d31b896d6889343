"""Clocks, and the one that processes share."""

import subprocess
import sys
import time
from pathlib import Path

from skyloom.kernel.clock import DataClock, ManualClock, SystemClock

READER = """
import sys
from pathlib import Path
from skyloom.kernel.clock import DataClock
clock = DataClock(Path(sys.argv[1]))
for line in sys.stdin:
    if line.strip():
        clock.advance_to(int(line))
    print(clock.now_ms(), flush=True)
"""


def test_system_clock_tells_milliseconds_since_1970() -> None:
    before = time.time_ns() // 1_000_000
    assert before <= SystemClock().now_ms() <= time.time_ns() // 1_000_000


def test_a_data_clock_tells_the_machines_time_until_it_is_moved(tmp_path: Path) -> None:
    clock = DataClock(tmp_path / "deep" / "clock")
    assert clock.now_ms() > 1_600_000_000_000
    clock.advance_to(7)
    assert clock.now_ms() == 7
    clock.advance_to(5)
    assert clock.now_ms() == 7
    assert DataClock(tmp_path / "deep" / "clock").now_ms() == 7


def test_processes_share_a_data_clock(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    mine = DataClock(path)
    mine.advance_to(1_000)
    other = subprocess.Popen(
        [sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    try:
        seen = []
        for moved in (None, 2_000, None):
            other.stdin.write("\n")
            other.stdin.flush()
            seen.append(int(other.stdout.readline()))
            if moved:
                mine.advance_to(moved)
        other.stdin.write("3000\n")
        other.stdin.flush()
        seen.append(int(other.stdout.readline()))
    finally:
        other.stdin.close()
        other.wait(timeout=20)
        other.stdout.close()
    assert seen == [1_000, 1_000, 2_000, 3_000]
    assert mine.now_ms() == 3_000


def test_manual_clock_only_goes_forward() -> None:
    clock = ManualClock(3)
    clock.advance_to(2)
    assert clock.now_ms() == 3
