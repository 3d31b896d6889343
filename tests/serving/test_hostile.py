"""Hostile requests over raw sockets, on every route of every contract: none breaks the server, and none costs it memory."""

import contextlib
import os
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_requests import Attack, Attacks
from serving_world import PATIENCE_S, Arm, ServerProcess, World, mint

from skyloom.kernel.contracts import CONTRACTS

COUNT = int(os.environ.get("SKYLOOM_HOSTILE_REQUESTS", "20000"))
SEED = int(os.environ.get("SKYLOOM_HOSTILE_REQUESTS_SEED", "7"))
WARM = 0.2
"""The share of requests after which memory is at rest: everything that is loaded when it is first used has been."""
GROWTH = 24 * 2**20
FINE = frozenset({501, 503})


class Wire:
    """One client. Requests whose end can be told share a connection, as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kept: socket.socket | None = None

    def send(self, attack: Attack) -> list[int]:
        """The statuses that come back."""
        return self._framed(attack) if attack.framed else self._unframed(attack)

    def _framed(self, attack: Attack) -> list[int]:
        for fresh in (False, True):
            connection = self._connection(fresh)
            with contextlib.suppress(ConnectionError):  # it may answer before it has read everything
                connection.sendall(attack.raw)
            try:
                status, keep = _answer(connection, attack.raw.startswith(b"HEAD "))
            except ConnectionError:
                status, keep = 0, False
            if not keep:
                self.close()
            if status:
                return [status]
        return []

    def _unframed(self, attack: Attack) -> list[int]:
        """Statuses up to the end of the connection: nothing more is sent on it."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S) as connection:
            received = b""
            with contextlib.suppress(ConnectionError):
                connection.sendall(attack.raw)
            with contextlib.suppress(OSError):  # not connected any more: a server may cut off who sends on
                connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while part := connection.recv(65_536):
                    received += part
        return [int(part[2:5]) for part in received.split(b"HTTP/1.")[1:] if part[2:5].isdigit()]

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _connection(self, fresh: bool) -> socket.socket:
        if fresh:
            self.close()
        if self._kept is None:
            self._kept = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
        return self._kept


def _answer(connection: socket.socket, bodiless: bool) -> tuple[int, bool]:
    """The status of one answer, read to its end, and whether the connection goes on. 0: none came."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65_536)
        if not part:
            return 0, False
        received += part
        if received.startswith(b"HTTP/1.1 100"):
            received = received.partition(b"\r\n\r\n")[2]
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0)
    while len(body) < length and not bodiless:
        part = connection.recv(65_536)
        if not part:
            return 0, False
        body += part
    return int(lines[0][9:12]), b"connection: close" not in lines


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    world = World(tmp_path_factory.mktemp("hostile"), windowed=False)
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25, "total"), 10_000, "champion"),)}, (stored,)))
    limits = {"body_seconds": 0.5, "tensor_bytes": 1_000_000}
    server = ServerProcess(world.folder, key, contracts=list(CONTRACTS), model="late", limits=limits)
    yield server
    server.end(9)
    server.errors.close()


def anonymous_bytes(server: ServerProcess) -> int:
    """Memory of the process that is no file's."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) * 1024


@pytest.mark.timeout(1_200)
def test_no_request_breaks_the_server_or_costs_it_memory(server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    attacks, wire = iter(Attacks(SEED, server.key)), Wire(server.port)
    seen: Counter[int] = Counter()
    unanswered, at_rest = 0, 0
    for number in range(COUNT):
        attack = next(attacks)
        statuses = wire.send(attack)
        bad = [
            status for status in statuses if status >= 500 and status not in FINE and not (status == 504 and attack.timed)
        ]
        assert not bad, (number, attack.kind, statuses, attack.raw[:2_000], server.said()[-2_000:])
        assert statuses or not attack.framed, (number, attack.kind, "no answer", attack.raw[:2_000], server.said()[-2_000:])
        seen.update(statuses)
        unanswered += not statuses
        if number == int(COUNT * WARM):
            at_rest = anonymous_bytes(server)
    wire.close()
    grown = anonymous_bytes(server) - at_rest
    assert server.process.poll() is None
    assert "could not be answered" not in server.said()
    assert server.ask("GET", "/health/ready")[0] == 200
    with capsys.disabled():
        told = f"{dict(sorted(seen.items()))}, {unanswered} cut off; memory {grown / 2**20:+.1f} MiB"
        sys.stdout.write(f"\n{COUNT:,} hostile requests: {told}\n")
    assert grown < GROWTH
    assert len(seen) > 8, "the generator reaches many parts"


def test_bodies_that_stop_half_way_are_told_so_all_at_once(server: ServerProcess) -> None:
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\nContent-Length: 500\r\n\r\n{{".encode()
    )
    waiting = [socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) for _ in range(200)]
    for connection in waiting:
        connection.sendall(head)
    assert server.ask("GET", "/health/ready")[0] == 200
    for connection in waiting:
        with connection:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 408")


def test_a_body_in_crumbs_is_refused_before_it_costs_much(server: ServerProcess) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\nTransfer-Encoding: chunked\r\n\r\n"
    crumbs = head.encode() + b"1\r\n \r\n" * 5_000 + b"0\r\n\r\n"
    assert Wire(server.port).send(Attack("crumbs", crumbs, framed=False))[0] == 400
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        connection.sendall(crumbs)
        assert b"pieces of fewer than 32 bytes" in connection.recv(65_536)
    slices = head.encode() + (b"400\r\n" + b" " * 1_024 + b"\r\n") * 900 + b"0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        connection.sendall(slices)
        assert b"not valid JSON" in connection.recv(65_536), "many large pieces are a body like others"


@pytest.mark.parametrize(
    ("framing", "statuses"),
    [
        ("Content-Length: 2\r\nContent-Length: 3", {400}),
        ("Content-Length: 2, 2", {400}),
        ("Transfer-Encoding: xchunked", {400}),
        ("Transfer-Encoding: chunked, gzip", {400}),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", {400}),
        ("Transfer-Encoding : chunked", {400}),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", {400, 401, 404, 422}),
    ],
)
def test_nothing_is_smuggled_behind_an_ambiguous_end(server: ServerProcess, framing: str, statuses: set[int]) -> None:
    hidden = b"0\r\n\r\nGET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    raw = f"POST /predict HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode() + hidden
    found = Wire(server.port).send(Attack("smuggled", raw, framed=False))
    assert len(found) == 1, "what hides behind the body is no second request"
    assert found[0] in statuses
