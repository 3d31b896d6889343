"""Real processes: a supervisor in one of its own, whose events are read as JSON lines."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

DRIVER = """
import sys, msgspec
from skyloom.engines.local import ChildSpec, Supervisor, supervisor

supervisor.GRACE_S = 1.0  # the test of a child that does not end waits for it

def tell(event):
    print(msgspec.json.encode(event).decode(), flush=True)

children = msgspec.json.decode(sys.argv[1], type=list[ChildSpec])
raise SystemExit(Supervisor(children, on_event=tell, on_ready=lambda: print('"all ready"', flush=True)).run())
"""
HEAD = "import os, signal, sys, time; from skyloom.engines.local import notify_ready, tie_to_parent; tie_to_parent();"
GOOD = HEAD + "notify_ready(); signal.pause()"
STUBBORN = HEAD + "signal.signal(signal.SIGTERM, signal.SIG_IGN); notify_ready(); [signal.pause() for _ in iter(int, 1)]"
BROKEN = "raise SystemExit(3)"


class Running:
    """A supervisor at work."""

    def __init__(self, children: dict[str, str], **passed: int) -> None:
        specs = [
            {"name": name, "command": [sys.executable, "-c", code], "pass_fds": list(passed.values())}
            for name, code in children.items()
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps(specs)],
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=tuple(passed.values()),
        )
        self.pids: set[int] = set()

    def event(self):
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the supervisor ended"
        event = json.loads(line)
        if isinstance(event, dict) and event["pid"]:
            self.pids.add(event["pid"])
        return event

    def until(self, kind: str, child: str | None = None):
        while True:
            event = self.event()
            if event == kind or (isinstance(event, dict) and event["kind"] == kind and child in (None, event["child"])):
                return event

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.process.communicate()
        return self.process.returncode


@contextlib.contextmanager
def supervised(children: dict[str, str], **passed: int) -> Iterator[Running]:
    running = Running(children, **passed)
    try:
        yield running
    finally:
        if running.process.stdout and not running.process.stdout.closed:
            running.end()


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_child_and_exits_0(number: int):
    with supervised({"a": GOOD, "b": GOOD}) as running:
        running.until("all ready")
        assert running.end(number) == 0
        assert len(running.pids) == 2
        assert not any(lives(pid) for pid in running.pids)


def test_a_child_that_ignores_the_signal_is_killed():
    with supervised({"stubborn": STUBBORN}) as running:
        running.until("all ready")
        running.process.send_signal(signal.SIGTERM)
        assert running.until("stopped")["detail"] == "killed by signal 9"
        running.process.communicate()
        assert running.process.returncode == 0


def test_a_killed_child_is_started_again_and_the_others_live_on():
    with supervised({"a": GOOD, "b": GOOD}) as running:
        first = running.until("started", "a")["pid"]
        other = running.until("started", "b")["pid"]
        running.until("all ready")
        os.kill(first, signal.SIGKILL)
        assert running.until("died") == {"kind": "died", "child": "a", "pid": first, "detail": "killed by signal 9"}
        assert running.until("started", "a")["pid"] != first
        running.until("ready", "a")
        assert lives(other)


def test_a_child_that_keeps_dying_is_reported_as_failing():
    with supervised({"broken": BROKEN, "good": GOOD}) as running:
        assert running.until("failing")["detail"] == "ended with exit code 3"
        assert running.end() == 0


def test_a_program_that_is_not_there_is_reported_and_does_not_end_the_supervisor():
    specs = json.dumps([{"name": "ghost", "command": ["/no/such/program"]}])
    process = subprocess.Popen([sys.executable, "-c", DRIVER, specs], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert "cannot be started" in json.loads(process.stdout.readline())["detail"]
    process.terminate()
    process.communicate()
    assert process.returncode == 0


def test_children_die_with_a_killed_supervisor():
    with supervised({"a": GOOD, "stubborn": STUBBORN}) as running:
        running.until("all ready")
        watched = [os.pidfd_open(pid) for pid in running.pids]
        running.process.kill()
        for descriptor in watched:
            assert select.select([descriptor], [], [], 30)[0], "a child outlived its supervisor"
            os.close(descriptor)


def test_a_child_of_a_parent_that_is_gone_ends_at_once():
    code = HEAD + "print('still here')"
    environment = {**os.environ, "SKYLOOM_PARENT_PID": "1"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, b"")


def test_what_a_dead_child_had_started_is_ended_too():
    orphan = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); os._exit(1)"
    with supervised({"parent": HEAD + orphan}) as running:
        assert running.process.stdout
        pid = None
        while pid is None:
            event = json.loads(running.process.stdout.readline())
            pid = event if isinstance(event, int) else None
        watched = os.pidfd_open(pid)
        assert select.select([watched], [], [], 30)[0]
        os.close(watched)


def test_a_child_serves_on_an_inherited_socket():
    with socket.create_server(("127.0.0.1", 0)) as server:
        fd = server.fileno()
        code = HEAD + (
            f"import socket; s = socket.socket(fileno={fd}); notify_ready();\n"
            "while True:\n c, _ = s.accept(); c.sendall(str(os.getpid()).encode()); c.close()"
        )
        with supervised({"server": code}, server=fd) as running:
            running.until("all ready")
            first = _ask(server)
            os.kill(first, signal.SIGKILL)
            running.until("died")
            assert _ask(server) != first  # the connection waits in the backlog of the socket that never closed


def _ask(server: socket.socket) -> int:
    with socket.create_connection(server.getsockname(), timeout=30) as connection:
        return int(connection.recv(100))
