"""What a serving process is given: ports, and the few limits it keeps."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from skyloom.kernel.clock import Clock
from skyloom.kernel.contracts import DEFAULT
from skyloom.package import Allowance
from skyloom.ports import Log, Objects, OnlineStore, Verifier
from skyloom.serving.certificates import CertificateFiles
from skyloom.serving.logbook import Room


class Listen(msgspec.Struct, frozen=True):
    """Where to listen: a port (0 picks one), or a listening socket inherited as a file descriptor, which survives us."""

    address: str = "127.0.0.1"
    port: int = 0
    descriptor: int | None = None


class Limits(msgspec.Struct, frozen=True):
    """How much of anything one process takes."""

    body_bytes: int = 1_000_000
    tensor_bytes: int = 16 * 2**20
    """The longest body of tensors, unpacked, and the longest message of gRPC."""
    head_seconds: float = 10.0
    """How long a client may take to send the head of a request."""
    body_seconds: float = 10.0
    """How long a client may take to send its body."""
    patience_seconds: float = 0.05
    """How long a queue of predictions may be before more of them are refused."""
    logbook: Room = Room()
    """Receipts waiting to be logged."""
    shadow: int = 1_000
    """Requests waiting to be scored by shadow versions."""
    scoring_seconds: float = 60.0
    """How long a model may take for a request; then its process is ended as if it had crashed."""
    lame_duck_seconds: float = 0.5
    """How long a process that ends goes on answering, not ready any more, so that clients and balancers go elsewhere."""
    drain_seconds: float = 6.0
    """How long, after that, requests and the logbook may take to finish."""
    linger_seconds: float = 300.0
    """How long connections go on that were made with a certificate that has been replaced since."""
    look_seconds: float = 1.0
    """How often certificates are looked at: a change that has held still from one look to the next is taken."""
    trial: Allowance = Allowance()
    """What a package may need to be loaded."""


class Watching(msgspec.Struct, frozen=True):
    """What is watched of requests beside counting them. ``traces`` is a collector of OTLP over HTTP, which gets
    ``trace_share`` of the requests that come without a trace, and those whose callers record theirs. ``request_ids`` are
    answered back; they are known anyway where there is anything else to be told with them. Of requests that take
    ``log_requests_over`` seconds there is a line in the log (0: of all). ``among_others`` says that other processes listen
    on the same socket: meters then say whose they are."""

    traces: str | None = None
    trace_share: float = 0.0
    request_ids: bool = False
    logs: str = "json"
    log_requests_over: float | None = None
    among_others: bool = False

    @property
    def is_on(self) -> bool:
        """Whether a request has to be known by an id."""
        return self.traces is not None or self.request_ids or self.log_requests_over is not None


@dataclass(frozen=True)
class Services:
    """The ports that serving works with. ``on_listen`` is told the port once the socket listens, ``on_ready`` is called
    when the first release is served (both by the main thread). ``grpc`` is where to listen for gRPC, if anywhere, and
    ``on_grpc`` is told its port. ``contracts`` are those that are spoken; ``model`` answers where a request names none;
    ``trust_platform`` says that a cloud in front has authenticated callers; ``environ`` is what that cloud says. ``logbook``
    is a folder for receipts on their way into the log; ``secret`` keys the hashes that stand for redacted
    values; ``served`` is a folder for the copy of the release, for how processes stand with it, and for what crashed.
    ``tls`` are the certificates to speak TLS with, over HTTP and gRPC; without them neither does."""

    objects: Objects
    verifier: Verifier
    log: Log
    online: OnlineStore
    clock: Clock
    logbook: Path
    served: Path
    listen: Listen = field(default_factory=Listen)
    limits: Limits = field(default_factory=Limits)
    on_listen: Callable[[int], None] = lambda port: None
    on_ready: Callable[[], None] = lambda: None
    contracts: Sequence[str] = DEFAULT
    model: str | None = None
    trust_platform: bool = False
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    secret: bytes = field(default_factory=lambda: os.urandom(32))
    grpc: Listen | None = None
    on_grpc: Callable[[int], None] = lambda port: None
    tls: CertificateFiles | None = None
    watching: Watching = field(default_factory=Watching)
