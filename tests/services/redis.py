"""A Redis server of our own: on a free port, in its own folder, without persistence unless asked for."""

import shutil
import socket
from pathlib import Path

from tests.services.process import Missing, Process, free_port

ENABLE = "sudo apt-get install -y redis-server"
_TRIES = 5


class RedisServer:
    """A running server. ``url`` reaches it by TCP, ``unix_url`` by a socket; both stay the same after a restart.

    Raises `Missing` where no ``redis-server`` (or ``valkey-server``) is installed.
    """

    def __init__(self, folder: Path, *, persistent: bool = False, port: int | None = None) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise Missing(f"redis-server is not installed: {ENABLE}")
        self._program = program
        self._persistent = persistent
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(1 if port else _TRIES):
            self.port = port or free_port()
            if self._begin():
                return
        raise AssertionError(f"redis-server does not start:\n{self._process.said()}")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self._socket}?db=0"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Start again after a stop, with what was persisted, if anything."""
        if not self._begin():
            raise AssertionError(f"redis-server does not start again:\n{self._process.said()}")

    def stop(self, *, kill: bool = False) -> None:
        """End it in order, or by `SIGKILL`."""
        self._process.end(kill=kill)

    def restart_empty(self) -> None:
        """What an operator sees when a server without persistence died: the same address, and nothing in it."""
        self.stop(kill=True)
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.start()

    def flush(self) -> None:
        """Forget everything, without a restart."""
        if _ask(self.port, b"FLUSHALL") != b"+OK":
            raise AssertionError("FLUSHALL was refused")

    @property
    def _socket(self) -> Path:
        return self.folder / "s"

    def _begin(self) -> bool:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self._socket),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if self._persistent else "no",
            "appendfsync": "always",
            "databases": "16",
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self._process = Process([self._program, *words], self.folder / "redis.log")
        # Somebody else's server may answer on the port: ours says its pid.
        return self._process.wait_until(lambda: f"process_id:{self.pid}\r".encode() in _ask(self.port, b"INFO server"))


def _ask(port: int, command: bytes) -> bytes:
    """What the server says to a command without spaces in its arguments; nothing where no server is, or none yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60.0) as connection:
            connection.sendall(command + b"\r\nQUIT\r\n")
            heard = b"".join(iter(lambda: connection.recv(65_536), b""))
    except OSError:
        return b""
    return heard.removesuffix(b"+OK\r\n").strip()
