"""`skyloom up`: every process of a profile, supervised."""

import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec

import msgspec

from skyloom.engines.local import ChildEvent, ChildSpec, Supervisor, hold_project, project_holder
from skyloom.governance.access import SCOPES
from skyloom.governance.keys import active_keys, create_key
from skyloom.governance.private import read_private, write_private
from skyloom.kernel.errors import MissingExtra, NotFound, Refused
from skyloom.platform import Platform
from skyloom.runtime.addresses import host_and_port, proven, reached_at, url_of
from skyloom.runtime.control import reconcile
from skyloom.runtime.logbook import logbook_secret
from skyloom.runtime.state import actor, applied
from skyloom.serving.certificates import Pair
from skyloom.serving.pace import pace_of
from skyloom.spec.profile import Address, Workers

KEY_FILE = "api.key"
_SPARE_S = 1.5

_log = logging.getLogger("skyloom.up")


class Running(msgspec.Struct, frozen=True):
    """Where a running project answers, as it stands in ``.skyloom/up.json``."""

    pid: int
    profile: str
    serving: str
    api: str
    grpc: str = ""
    """Address and port, where there is any."""


def up(platform: Platform, profile: str, on_ready: Callable[[Running], None]) -> int:
    """Run everything of a profile until SIGTERM or SIGINT. Raises `Refused` when it runs already.

    The supervisor holds the listening sockets: a server that dies is started again behind a socket that never closed.
    """
    applied(platform.metadata)
    pair = proven(platform.directory, platform.profile.serving.tls)
    with ExitStack() as stack:
        stack.enter_context(hold_project(platform.directory))
        key_of(platform)
        _ = platform.signer
        logbook_secret(platform)
        reconcile(platform, actor="up")
        serving = stack.enter_context(_listen(platform.profile.serving))
        api = stack.enter_context(_listen(platform.profile.api))
        grpc = _grpc_port(platform, stack)
        running = Running(
            os.getpid(),
            profile,
            _url(serving, pair),
            _url(api, proven(platform.directory, platform.profile.api.tls)),
            reached_at(platform.profile.serving.address, grpc, pair) if grpc else "",
        )
        (platform.state / "up.json").write_bytes(msgspec.json.encode(running))
        children = _children(platform, profile, serving, api, grpc)
        nursery = ChildSpec("nursery", (sys.executable, "-m", "skyloom.runtime.nursery"), children[0].environment)
        return Supervisor(children, _note, lambda: on_ready(running), grace_s=_grace_s(), nursery=nursery).run()


def key_of(platform: Platform) -> str:
    """The key that this machine's command line uses; minted on first use into the private folder (mode 0600)."""
    try:
        key = read_private(platform.private, KEY_FILE).decode()
    except NotFound:
        key = ""
    known = {stored.prefix for stored in active_keys(platform.metadata)}
    if key.split("_")[1:2] and key.split("_")[1] in known:
        return key
    key, _ = create_key(platform.metadata, SCOPES, actor=actor(), now_ms=platform.clock.now_ms())
    write_private(platform.private, KEY_FILE, key.encode())
    return key


def running(platform: Platform) -> Running | None:
    """Where the project runs now, or ``None``."""
    holder = project_holder(platform.directory)
    if holder is None:
        return None
    try:
        found = msgspec.json.decode((platform.state / "up.json").read_bytes(), type=Running)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if found.pid == holder.pid else None


def _children(
    platform: Platform, profile: str, serving: socket.socket, api: socket.socket, grpc: int | None
) -> list[ChildSpec]:
    place = (str(platform.directory), profile)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    environment = {**threads, "MALLOC_ARENA_MAX": "2"}

    def child(name: str, module: str, *sockets: socket.socket) -> ChildSpec:
        words = (sys.executable, "-m", f"skyloom.{module}", *place, *(str(each.fileno()) for each in sockets))
        return ChildSpec(name, words, environment, tuple(each.fileno() for each in sockets), forked=True)

    def worker(number: int) -> ChildSpec:
        words = (sys.executable, "-m", "skyloom.runtime.work", *place, str(number))
        name = "work" if platform.profile.stream.workers == 1 else f"work-{number}"
        return ChildSpec(name, words, environment, forked=True)

    def server(number: int) -> ChildSpec:
        made = msgspec.structs.replace(child(f"serving-{number}", "runtime.serve", serving), at_once=True)
        return made if grpc is None else msgspec.structs.replace(made, command=(*made.command, str(grpc)))

    servers = [server(number) for number in range(1, platform.profile.serving.workers + 1)]
    workers = [worker(number) for number in range(1, platform.profile.stream.workers + 1)]
    return [*servers, *workers, child("schedule", "runtime.schedule"), child("api", "api.main", api)]


def _grace_s() -> float:
    """How long children have to end: serving's lame duck, its drain, and a little."""
    pace = pace_of(os.environ)
    return pace.lame_duck_s + pace.drain_s + _SPARE_S


def _listen(where: Address | Workers) -> socket.socket:
    listening = socket.socket(_family(where.address))
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((where.address, where.port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise Refused(
            f"port {where.port} cannot be had: {error.strerror}",
            tried=host_and_port(where.address, where.port),
            fix="end what listens there, or set serving.port and api.port in skyloom.toml (0 picks a free one)",
        ) from error
    return listening


def _grpc_port(platform: Platform, stack: ExitStack) -> int | None:
    """The port for gRPC, if one is wanted, kept for this project until the end: its servers listen on it, each for itself,
    and while one is started again nobody else can. Raises `MissingExtra`, and `Refused` when it cannot be had."""
    address, port = platform.profile.serving.address, platform.profile.serving.grpc_port
    if port is None:
        return None
    if find_spec("google") is None or find_spec("google.protobuf") is None:
        raise MissingExtra("protobuf", "grpc")
    kept = stack.enter_context(socket.socket(_family(address)))
    try:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind((address, port))
    except OSError as error:
        raise Refused(
            f"port {port} cannot be had: {error.strerror}",
            tried=host_and_port(address, port),
            fix="end what listens there, or set serving.grpc_port in skyloom.toml (0 picks a free one)",
        ) from error
    return int(kept.getsockname()[1])


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _url(listening: socket.socket, pair: Pair | None) -> str:
    address, port = listening.getsockname()[:2]
    return url_of(address, port, pair)


def _note(event: ChildEvent) -> None:
    level = logging.WARNING if event.kind in ("died", "failing") else logging.INFO
    _log.log(level, "%s %s (process %s) %s", event.child, event.kind, event.pid, event.detail)
