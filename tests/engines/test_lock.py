import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skyloom.engines.local import hold_project, project_holder
from skyloom.kernel.errors import Refused

HOLD = """
import sys, signal
from pathlib import Path
from skyloom.engines.local import hold_project, project_holder
with hold_project(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


def holder(directory: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_second_holder_is_refused_until_the_first_has_gone(tmp_path: Path, number: int):
    process = holder(tmp_path)
    with pytest.raises(Refused, match=rf"skyloom up already runs here, as process {process.pid}\b"), hold_project(tmp_path):
        pass
    process.send_signal(number)
    process.communicate()
    with hold_project(tmp_path):
        pass


def test_the_lock_ends_with_the_block_and_stands_for_one_directory(tmp_path: Path):
    with hold_project(tmp_path / "a"), hold_project(tmp_path / "b"):
        pass
    with hold_project(tmp_path / "a"):
        pass


def test_children_do_not_inherit_the_lock(tmp_path: Path):
    with hold_project(tmp_path):
        child = subprocess.Popen(["sleep", "600"], close_fds=False)
    try:
        with hold_project(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_holder_that_left_no_name_still_refuses(tmp_path: Path):
    process = holder(tmp_path)
    (tmp_path / ".skyloom" / "up.lock").write_bytes(b"")
    with pytest.raises(Refused, match="left no name"), hold_project(tmp_path):
        pass
    process.kill()
    process.communicate()


def test_asking_who_holds_it_neither_takes_nor_keeps_it(tmp_path: Path):
    assert project_holder(tmp_path) is None
    process = holder(tmp_path)
    found = project_holder(tmp_path)
    assert found
    assert found.pid == process.pid
    process.kill()
    process.communicate()
    assert project_holder(tmp_path) is None


def test_one_who_asks_does_not_stop_one_who_starts(tmp_path: Path):
    """A shared lock for a moment is what asking does; starting tries again until it is gone."""
    with hold_project(tmp_path):
        pass
    code = (
        "import fcntl, sys, signal; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_SH); print(flush=True); "
        "signal.sigtimedwait([], 0.1)"
    )
    path = tmp_path / ".skyloom" / "up.lock"
    # The name in the file is that of a holder that has gone.
    path.write_text(path.read_text().replace(str(os.getpid()), str(2**22 + 1)))
    asking = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    assert asking.stdout
    asking.stdout.readline()
    with hold_project(tmp_path):
        pass
    asking.communicate()
