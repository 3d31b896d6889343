"""One row as JSON: Skyloom beside every peer, two servers up at a time."""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.project import scratch
from bench.serving import contenders, made
from bench.serving.contenders import Started
from bench.serving.http_wire import Http, body_of, posts
from bench.serving.load import Load, ask
from bench.serving.rounds import Target, in_turn, middle, ratio, tail, work
from bench.serving.servers import Server, served

SPACING = 61
"""Connections begin so many bodies apart."""


class Ours(NamedTuple):
    """Skyloom, which runs."""

    started: Started
    server: Server


class Compared(NamedTuple):
    """One peer with one model: the medians of both; our rate over its, its processor time for a request over ours, and our
    p99 over its."""

    peer: str
    kind: str
    model: str
    ours: Load
    theirs: Load
    rate: float
    work: float
    p99: float
    mb: float


class Missing(NamedTuple):
    """A peer that could not be measured, and why."""

    peer: str
    kind: str
    why: str


@contextmanager
def running(name: str, started: Started, path: str, patience_s: float = 90.0) -> Generator[Server]:
    """A server that answers at ``path`` when the block begins."""
    log = scratch() / f"{name.replace(' ', '-')}-{started.port}.log"
    probe = posts(path, started.bodies[:1] or [b"{}"], headers_of(started))

    def answers() -> bytes:
        return ask(started.port, Http(probe))

    environment, cwd = started.environment, started.cwd
    with served(name, started.words, started.port, answers, environment=environment, cwd=cwd, log=log,
                patience_s=patience_s) as server:  # fmt: skip
        yield server


def target(server: Server, started: Started, path: str, bodies: Sequence[bytes], connections: int = 16) -> Target:
    """Where the load of these bodies goes."""
    requests = posts(path, bodies, headers_of(started))
    return Target(server, started.port, lambda at: Http(requests, at * SPACING % len(requests)), connections)


def headers_of(started: Started) -> Mapping[str, str]:
    """What opens the server: a key, for ours."""
    return {"Authorization": f"Bearer {started.key}"} if started.key else {}


def scores(started: Started, path: str, count: int = 20) -> list[float]:
    """The scores of the first bodies, asked one by one."""
    found: list[float] = []
    for request in posts(path, started.bodies[:count], headers_of(started)):
        answer: Any = msgspec.json.decode(body_of(ask(started.port, Http([request]))))
        found += started.scores(answer)
    return found


def compare(project: made.Project, ours: Ours, peer: str, kind: str) -> list[Compared | Missing]:
    """A peer, started and ended; its answers must be ours, but for rounding."""
    folder = Path(scratch()) / f"{peer.replace(' ', '-')}-{kind}"
    folder.mkdir()
    done: list[Compared | Missing] = []
    try:
        for started in contenders.PEERS[peer](project, kind, folder):
            with running(peer, started, started.path(started.models[0])) as server:
                done += (_measured(ours, started, server, peer, kind, model) for model in started.models)
    except (RuntimeError, OSError, ValueError, KeyError, TypeError) as error:
        done.append(Missing(peer, kind, f"{type(error).__name__}: {str(error)[-500:]}"))
    return done


def _measured(us: Ours, theirs: Started, server: Server, peer: str, kind: str, model: str) -> Compared:
    ours, path = us.started, us.started.path(model)
    mine, others = scores(ours, path), scores(theirs, theirs.path(model))
    if not all(math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-4) for one, other in zip(mine, others, strict=True)):
        raise RuntimeError(f"{peer} with {kind} answers otherwise: {others[:3]} instead of {mine[:3]}")
    found = in_turn(
        {
            "ours": target(us.server, ours, path, ours.bodies),
            "theirs": target(server, theirs, theirs.path(model), theirs.bodies),
        }
    )
    left, right = found["ours"], found["theirs"]
    ratios = ratio(left, right), work(left, right), tail(left, right)
    return Compared(peer, kind, model, middle(left), middle(right), *ratios, server.mb)
