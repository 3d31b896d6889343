import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skyloom.engines.local import SubprocessCompute
from skyloom.kernel.errors import NotFound
from skyloom.ports.compute import Job, JobResult

FORKS = "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True);"


def run(code: str, lines: list[str] | None = None, **options: object) -> JobResult:
    job = Job("t", (sys.executable, "-c", code), **options)  # pyright: ignore[reportArgumentType]
    return SubprocessCompute().run(job, None if lines is None else lines.append)


def gone(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 30)[0])
    finally:
        os.close(descriptor)


def test_both_streams_are_heard_line_by_line():
    lines: list[str] = []
    result = run(
        "import sys; print('one'); sys.stdout.flush(); print('two ä', file=sys.stderr); print('end', end='')", lines
    )
    assert (result.exit_code, result.output, lines) == (0, "one\ntwo ä\nend", ["one", "two ä", "end"])


def test_exit_code_environment_and_directory(tmp_path: Path):
    code = "import os; print(os.environ['X'], os.getcwd()); raise SystemExit(7)"
    result = run(code, environment={"X": "y"}, directory=str(tmp_path))
    assert (result.exit_code, result.output) == (7, f"y {tmp_path}\n")


def test_cpu_seconds_count_the_job_and_its_children():
    burn = "import time; e = time.process_time() + .2\nwhile time.process_time() < e: pass"
    result = run(f"import subprocess, sys; subprocess.run([sys.executable, '-c', '''{burn}'''])")
    assert 0.2 <= result.cpu_seconds <= 5
    assert run("import signal; signal.sigtimedwait([], 0.3)").cpu_seconds < result.cpu_seconds


def test_the_timeout_ends_the_job_and_what_it_started():
    result = run(FORKS + "p.wait()", timeout_s=1.5)
    pid, note = result.output.splitlines()
    assert (result.exit_code, note) == (-signal.SIGKILL, "[ended: the timeout of 1.5 s has passed]")
    assert gone(int(pid))


def test_what_a_finished_job_left_running_is_ended():
    result = run(FORKS)
    assert result.exit_code == 0
    assert gone(int(result.output))


def test_a_listener_that_raises_ends_the_job():
    pids: list[int] = []

    def listen(line: str) -> None:
        pids.append(int(line))
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        SubprocessCompute().run(Job("t", (sys.executable, "-c", FORKS + "p.wait()")), listen)
    assert gone(pids[0])


def test_an_interrupted_caller_leaves_nothing_behind():
    job = FORKS + "p.wait()"
    caller = f"""
import sys
from skyloom.engines.local import SubprocessCompute
from skyloom.ports.compute import Job
try:
    SubprocessCompute().run(Job("t", (sys.executable, "-c", {job!r})), lambda line: print(line, flush=True))
except KeyboardInterrupt:
    print("interrupted")
"""
    process = subprocess.Popen([sys.executable, "-c", caller], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    pid = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == "interrupted\n"
    process.wait()
    process.stdout.close()
    assert gone(pid)


def test_a_long_output_keeps_its_end():
    result = run("print('x' * 1_000_000); print('the end')")
    assert result.output.endswith("x\nthe end\n")
    assert len(result.output) <= 256 * 1024


def test_a_program_that_is_not_there():
    with pytest.raises(NotFound, match="job ghost cannot be started"):
        SubprocessCompute().run(Job("ghost", ("/no/such/program",)))
