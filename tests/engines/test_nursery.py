"""Children forked from a nursery: a supervisor in a process of its own, whose events are read as JSON lines."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="platform: subreapers are Linux's")

DRIVER = """
import sys, msgspec
from skyloom.engines.local import ChildSpec, Supervisor

def tell(event):
    sys.stdout.write(msgspec.json.encode(event).decode() + "\\n")
    sys.stdout.flush()

children, nursery = msgspec.json.decode(sys.argv[1], type=tuple[list[ChildSpec], ChildSpec])
raise SystemExit(Supervisor(children, on_event=tell, nursery=nursery).run())
"""
NEST = """
import sys, threading
from importlib import import_module
from skyloom.engines.local import attended, raise_children, tie_to_parent

control = attended()
tie_to_parent()
import kid
kid.prepared = True
if "crowded" in sys.argv:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
birth = raise_children(control)
if birth is not None:
    sys.argv = list(birth.words[2:])
    import_module(birth.words[2]).main()
"""
KID = """
import json, os, signal, socket, subprocess, sys
from pathlib import Path
from skyloom.engines.local import notify_ready, tie_to_parent

prepared = False

def say(what):
    sys.stdout.write(json.dumps(what) + "\\n")
    sys.stdout.flush()

def main():
    tie_to_parent()
    words = Path("/proc/self/cmdline").read_text().rstrip(chr(0)).split(chr(0))
    say({"kind": "kid", "pid": os.getpid(), "forked": prepared, "words": words[1:], "here": os.getcwd(),
                      "given": os.environ.get("GIVEN"), "parent": os.getppid()})
    if sys.argv[1] == "fails":
        sys.exit(3)
    if sys.argv[1] == "leaves" and not Path("left").exists():  # once: a second one would wait for the gate for ever
        os.spawnlp(os.P_NOWAIT, "setsid", "setsid", "sh", "-c", "echo $$ > left; read line < gate")
    if sys.argv[1] == "serves":
        listening = socket.socket(fileno=int(sys.argv[2]))
        notify_ready()
        while True:
            connection, _ = listening.accept()
            connection.sendall(str(os.getpid()).encode())
            connection.close()
    notify_ready()
    signal.pause()

if __name__ == "__main__":
    main()
"""


class Running:
    """A supervisor with a nursery at work, in a folder."""

    def __init__(self, folder: Path, children: dict[str, tuple[str, ...]], crowded: bool, passed: tuple[int, ...]) -> None:
        (folder / "nest.py").write_text(NEST)
        (folder / "kid.py").write_text(KID)
        specs = [
            {
                "name": name,
                "command": [sys.executable, "-m", "kid", *words],
                "pass_fds": passed,
                "environment": {"GIVEN": name},
                "directory": str(folder),
                "forked": True,
                "at_once": True,
            }
            for name, words in children.items()
        ]
        nest = [sys.executable, str(folder / "nest.py"), *(["crowded"] if crowded else [])]
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps([specs, {"name": "nest", "command": nest}])],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            pass_fds=passed,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])},
        )

    def until(self, kind: str, child: str = "") -> dict[str, Any]:
        assert self.process.stdout
        for line in self.process.stdout:
            event = json.loads(line)
            if event["kind"] == kind and child in ("", event.get("child")):
                return event
        raise AssertionError("the supervisor ended")

    def nest(self) -> int:
        """The nursery's number: the one child of the supervisor that is none of the children."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])


@contextlib.contextmanager
def supervised(
    folder: Path, children: dict[str, tuple[str, ...]], *, crowded: bool = False, passed: tuple[int, ...] = ()
) -> Iterator[Running]:
    running = Running(folder, children, crowded, passed)
    try:
        yield running
    finally:
        running.process.send_signal(signal.SIGTERM)
        running.process.communicate()
        assert running.process.returncode == 0


def gone(pidfd: int) -> bool:
    try:
        return bool(select.select([pidfd], [], [], 30)[0])
    finally:
        os.close(pidfd)


def test_a_forked_child_is_what_its_command_says_and_its_parent_is_the_supervisor(tmp_path: Path) -> None:
    with supervised(tmp_path, {"a": ("waits", "x y", "é")}) as running:
        kid = running.until("kid")
        assert (kid["forked"], kid["given"], kid["here"]) == (True, "a", str(tmp_path))
        assert kid["words"] == ["-m", "kid", "waits", "x y", "é"]
        assert kid["parent"] == running.process.pid
        assert running.until("ready")["pid"] == kid["pid"]


def test_a_killed_one_is_forked_again_behind_its_socket(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.fileno()
        with supervised(tmp_path, {"a": ("serves", str(number))}, passed=(number,)) as running:
            running.until("ready")
            first = ask(server)
            os.kill(first, signal.SIGKILL)
            assert running.until("died")["detail"] == "killed by signal 9"
            assert ask(server) != first  # the connection waits in the backlog of the socket that never closed
            assert running.until("kid")["forked"]


def test_how_it_ended_is_known(tmp_path: Path) -> None:
    with supervised(tmp_path, {"a": ("fails",)}) as running:
        assert running.until("died")["detail"] == "ended with exit code 3"


def test_without_its_nursery_a_child_lives_on_and_the_next_is_started_by_its_command(tmp_path: Path) -> None:
    with supervised(tmp_path, {"a": ("waits",)}) as running:
        first = running.until("ready")["pid"]
        nest = running.nest()
        ended = os.pidfd_open(nest)
        os.kill(nest, signal.SIGKILL)
        assert gone(ended)
        os.kill(first, signal.SIGKILL)
        running.until("died")
        assert not running.until("kid")["forked"]
        running.until("ready")


def test_a_nursery_that_does_not_answer_is_done_without(tmp_path: Path) -> None:
    with supervised(tmp_path, {"a": ("waits",)}) as running:
        first = running.until("ready")["pid"]
        nest = os.pidfd_open(running.nest())
        signal.pidfd_send_signal(nest, signal.SIGSTOP)
        os.kill(first, signal.SIGKILL)
        running.until("died")
        assert not running.until("kid")["forked"]
        assert gone(nest)


def test_a_nursery_with_threads_forks_nobody(tmp_path: Path) -> None:
    with supervised(tmp_path, {"a": ("waits",)}, crowded=True) as running:
        assert not running.until("kid")["forked"]
        running.until("ready")


def test_children_and_nursery_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    running = Running(tmp_path, {"a": ("waits",)}, False, ())
    child = os.pidfd_open(running.until("ready")["pid"])
    nest = os.pidfd_open(running.nest())
    running.process.kill()
    running.process.communicate()
    assert gone(child)
    assert gone(nest)


def test_what_a_child_left_in_a_session_of_its_own_is_reaped_when_it_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with supervised(tmp_path, {"a": ("leaves",)}) as running:
        pid = running.until("ready")["pid"]
        with (tmp_path / "gate").open("w") as gate:  # opens when the other end does
            left = int((tmp_path / "left").read_text())
            os.kill(pid, signal.SIGKILL)
            running.until("ready")
            ended = os.pidfd_open(left)
            gate.write("go\n")
        assert gone(ended)
        running.process.send_signal(signal.SIGTERM)
        running.until("stopped")


def ask(server: socket.socket) -> int:
    with socket.create_connection(server.getsockname(), timeout=30) as connection:
        return int(connection.recv(100))
