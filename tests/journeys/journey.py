"""A project as a user has it: a directory, the installed command, and HTTP."""

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from tests.journeys.installed import COMMAND, Said, installed

from skyloom.platform import Platform, open_platform

PATIENCE_S = 120.0

_T = TypeVar("_T")


def until(found: Callable[[], _T], why: str = "") -> _T:
    """What ``found`` gives soon after that is something; fails after two minutes."""
    deadline, rest = time.monotonic() + PATIENCE_S, 0.01
    while True:
        if result := found():
            return result
        assert time.monotonic() < deadline, f"waited for two minutes: {why or found}"
        time.sleep(rest)
        rest = min(2 * rest, 0.2)


class Refusal(NamedTuple):
    """An error as ``--json`` tells it."""

    error: str
    tried: str
    next: str


def command(*words: str, largest_file: int | None) -> list[str]:
    """The installed command, under a limit of the length of files, rounded down to the shell's blocks of 512 bytes."""
    if largest_file is None:
        return [COMMAND, *words]
    return ["sh", "-c", f'ulimit -f {largest_file // 512}; exec "$@"', "sh", COMMAND, *words]


class Project:
    """The project in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def platform(self) -> Platform:
        return open_platform(self.directory)

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def run(self, *words: str, largest_file: int | None = None) -> Said:
        """Run ``skyloom WORDS`` here. No file that it writes may become longer than ``largest_file`` bytes."""
        if largest_file is None:
            return installed().run(words, self.directory)
        done = subprocess.run(
            command(*words, largest_file=largest_file),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def json(self, *words: str) -> Any:
        """The one document that a command prints with ``--json``; it has to succeed, silently otherwise."""
        said = self.run(*words, "--json")
        assert (said.code, said.err) == (0, ""), said
        return json.loads(said.out)

    def refused(self, *words: str, code: int = 1, largest_file: int | None = None) -> Refusal:
        """The error of a command that has to fail, on purpose, with exit code ``code``; it prints nothing else."""
        said = self.run(*words, "--json", largest_file=largest_file)
        assert (said.code, said.out) == (code, ""), said
        told = json.loads(said.err)
        assert "bug" not in told["error"], told
        assert "Traceback" not in told["tried"], told
        return Refusal(told["error"], told["tried"], told["next"])

    def lake(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table of the lake; none when it is not there."""
        lake = self.platform.lake
        return [] if lake.version(table) is None else lake.read(table).to_pylist()


class Up:
    """A running ``skyloom up``."""

    def __init__(self, project: Project, *, largest_file: int | None = None) -> None:
        self.project = project
        self._log = project.directory / "up.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command("up", "--json", largest_file=largest_file),
                cwd=project.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        lines: list[bytes] = []
        for line in self.process.stdout:
            lines.append(line)
            if line == b"}\n":
                break
        assert lines, self.said()
        told = json.loads(b"".join(lines))
        self.pid: int = told["pid"]
        self.serving = Client(told["serving"], self.key)
        self.api = Client(told["api"], self.key)

    @property
    def key(self) -> str:
        return (self.project.directory / ".skyloom" / "private" / "api.key").read_text()

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def children(self) -> dict[str, int]:
        """Process ids by module: ``runtime.serve``, ``runtime.work``, ``runtime.schedule``, ``api.main``; of several workers
        the second is ``runtime.work/2``."""
        found: dict[str, int] = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            for pid in (task / "children").read_text().split():
                words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                if b"-m" in words:
                    name = words[words.index(b"-m") + 1].decode().removeprefix("skyloom.")
                    number = words[-1].decode() if name == "runtime.work" else "1"
                    found[name if number == "1" else f"{name}/{number}"] = int(pid)
        return found

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code, once nothing is left of all the processes."""
        pids = [self.pid, *self.children().values()] if self.process.poll() is None else []
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        until(lambda: not any(map(alive, pids)), "processes outlive skyloom up")
        return code


class Client:
    """Requests with a key, each over a connection of its own."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url, self._key = url, key

    def without_key(self) -> "Client":
        return Client(self.url, None)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and decoded answer. ``body`` is sent as it is when it is bytes, else as JSON. Raises `OSError`."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE_S)
        try:
            sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            headers = {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text else None

    def post(self, path: str, body: object) -> tuple[int, Any]:
        return self.ask("POST", path, body)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def mode(path: Path) -> int:
    return os.stat(path).st_mode & 0o777
