"""A PostgreSQL of our own: on a free port, in its own folder, asking for a password; gone with that folder."""

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.services.process import Missing, Process, free_port

if TYPE_CHECKING:
    import psycopg

ENABLE = "sudo apt-get install -y postgresql"
USER = "skyloom"
_TRIES = 5
_INSTALLED = Path("/usr/lib/postgresql")

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "40",
    "autovacuum": "off",
    "max_parallel_workers": "0",
    "timezone": "Europe/Berlin",
}
"""Sparing, and with a time zone that is not UTC, so that whoever takes one for the other is found out."""


class PostgresqlServer:
    """A running server with one user, ``skyloom``, whose ``password`` needs encoding in a URL unless one is given.

    The server refuses to run as root: then it runs as ``postgres``, or as ``nobody``. Raises `Missing` where it cannot run.
    """

    def __init__(self, folder: Path, *, port: int | None = None, password: str = "p@ss/w:rd?#é%41") -> None:
        self._programs = programs()
        self._as = _other_user()
        self.password = password
        self._data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "postgresql.log"
        self._initialise(folder)
        for _ in range(1 if port else _TRIES):
            self.port = port or free_port()
            if self._begin():
                return
        raise AssertionError(f"PostgreSQL does not start:\n{self._process.said()}")

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Start again after a stop, with what it holds."""
        if not self._begin():
            raise AssertionError(f"PostgreSQL does not start again:\n{self._process.said()}")

    def stop(self, *, kill: bool = False) -> None:
        """End it in order, whoever is connected, or at once, as a crash does.

        `SIGKILL` would leave its shared memory behind; `SIGQUIT` leaves the same work to the next start.
        """
        self._process.end(by=signal.SIGQUIT if kill else signal.SIGINT)

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        """A connection in which each statement is a transaction."""
        import psycopg

        told = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": self.password, "dbname": database}
        return psycopg.connect(**told, autocommit=True)  # type: ignore[arg-type]

    def new_database(self, name: str | None = None) -> str:
        """The name of a database that holds nothing."""
        name = name or f"db_{uuid4().hex[:12]}"
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return name

    def drop_database(self, name: str) -> None:
        """Without it, whoever is connected."""
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())

    def _initialise(self, folder: Path) -> None:
        secret = folder / "password"
        secret.write_text(self.password)
        if self._as:
            user = pwd.getpwnam(self._as)
            folder.parent.chmod(0o711)
            for path in (folder, secret):
                os.chown(path, user.pw_uid, user.pw_gid)
        words = ["-D", str(self._data), "-U", USER, "--pwfile", str(secret), "-A", "scram-sha-256"]
        alike = ["-E", "UTF8", "--no-locale", "--no-sync"]
        made = subprocess.run(
            self._command("initdb", *words, *alike), capture_output=True, text=True, check=False, cwd=folder
        )
        assert made.returncode == 0, made.stdout + made.stderr

    def _begin(self) -> bool:
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self._process = Process(self._command("postgres", "-D", str(self._data), "-p", str(self.port), *settings), self._log)
        return self._process.wait_until(self._ready)

    def _ready(self) -> bool:
        """Whether ours is: it writes its pid, and how far it is, into its own folder."""
        try:
            lines = (self._data / "postmaster.pid").read_text().split()
        except OSError:
            return False
        return lines[:1] == [str(self.pid)] and lines[-1] == "ready"

    def _command(self, name: str, *words: str) -> list[str]:
        # The signal that ends it with its parent is set last: to become another user takes it back.
        become = ["--reuid", self._as, "--regid", self._as_group, "--clear-groups"] if self._as else []
        bound = ["setpriv", *become, "--pdeathsig", "KILL"] if become else []
        return [*bound, str(self._programs / name), *words]

    @property
    def _as_group(self) -> str:
        return str(pwd.getpwnam(self._as or "").pw_gid)


def programs() -> Path:
    """The folder of ``initdb`` and ``postgres``: of those on the path, or else of the newest that Debian keeps."""
    found = shutil.which("initdb")
    if found and (Path(found).resolve().parent / "postgres").exists():
        return Path(found).resolve().parent
    versions = [place for place in _INSTALLED.glob("*/bin") if (place / "initdb").exists()]
    if not versions:
        raise Missing(f"PostgreSQL is not installed: {ENABLE}")
    return max(versions, key=lambda place: [int(part) for part in place.parent.name.split(".") if part.isdigit()])


def _other_user() -> str | None:
    """Who it runs as, if not as ourselves."""
    if os.geteuid() != 0:
        return None
    if shutil.which("setpriv") is None:
        raise Missing("PostgreSQL does not run as root, and setpriv is not installed: sudo apt-get install -y util-linux")
    known = {user.pw_name for user in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return name
    raise Missing(f"PostgreSQL does not run as root, and there is no user postgres or nobody: {ENABLE}")
