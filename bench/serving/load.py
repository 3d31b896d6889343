"""The load generator: some connections, each with one request under way, driven by one loop that costs little."""

import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from bench.figure import quantile

CONNECTIONS = 16
WARM_SHARE = 0.25
_PATIENCE_S = 15.0


class Wire(Protocol):
    """One connection's part of a protocol, which knows when an answer is whole. Raises `RuntimeError` for an answer that is
    no success."""

    def opening(self) -> bytes:
        """What is sent first, before any request."""
        ...

    def request(self) -> bytes:
        """The bytes of the next request."""
        ...

    def feed(self, data: bytes) -> tuple[bool, bytes]:
        """Take what came: whether the answer is whole, and what the protocol wants said in between."""
        ...


class Load(NamedTuple):
    """What one round gave: requests a second, p50 and p99 in seconds, the seconds of a core that the server worked for a
    request, and the share of its own core that the client took."""

    rate: float
    p50: float
    p99: float
    worked: float
    client: float


def drive(port: int, wires: Sequence[Wire], seconds: float, worked: Callable[[], float]) -> Load:
    """Ask for ``seconds`` (longer where no answer came), as fast as answers come; the first quarter warms up and does not
    count. ``worked`` tells the
    seconds that the server has worked so far.

    Raises `RuntimeError` for an answer that is no success, a connection that was closed, or a server that is silent.
    """
    poll = select.epoll()
    sockets = {each.fileno(): (each, wire) for wire in wires for each in [_connected(port, wire)]}
    begun: dict[int, float] = {}
    times: list[float] = []
    clock = time.perf_counter
    try:
        for number, (each, wire) in sockets.items():
            poll.register(number, select.EPOLLIN)
            begun[number] = clock()
            each.sendall(wire.request())
        starting, before, own = clock(), worked(), time.process_time()
        counted_from, end, answered = starting + seconds * WARM_SHARE, starting + seconds, 0
        while True:
            ready = poll.poll(_PATIENCE_S)
            if not ready:
                raise RuntimeError(f"no answer for {_PATIENCE_S:g} s")
            for number, _ in ready:
                each, wire = sockets[number]
                data = each.recv(262_144)
                if not data:
                    raise RuntimeError("the server closed a connection")
                whole, say = wire.feed(data)
                if say:
                    each.sendall(say)
                if whole:
                    now, answered = clock(), answered + 1
                    if begun[number] >= counted_from:
                        times.append(now - begun[number])
                    each.sendall(wire.request())
                    begun[number] = clock()
            if clock() >= end and (times or clock() >= end + _PATIENCE_S):
                break
        ended = clock()
        each_worked, share = (worked() - before) / max(answered, 1), (time.process_time() - own) / (ended - starting)
    finally:
        poll.close()
        for each, _ in sockets.values():
            each.close()
    if not times:
        raise RuntimeError(f"no answer within {seconds:g} s")
    return Load(len(times) / (ended - counted_from), quantile(times, 0.5), quantile(times, 0.99), each_worked, share)


def ask(port: int, wire: Wire) -> bytes:
    """One request, and all the bytes of its answer."""
    read = b""
    with _connected(port, wire) as each:
        each.sendall(wire.request())
        while True:
            data = each.recv(262_144)
            if not data:
                raise RuntimeError("the server closed the connection")
            read += data
            whole, say = wire.feed(data)
            if say:
                each.sendall(say)
            if whole:
                return read


def _connected(port: int, wire: Wire) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.sendall(wire.opening())
    return made
