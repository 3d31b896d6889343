"""Rounds: two or more servers asked in turn, so that whatever else this machine does meets all alike."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from bench.serving.load import CONNECTIONS, Load, Wire, drive
from bench.serving.servers import Server

ROUNDS, SECONDS = 4, 0.8


class Target(NamedTuple):
    """Where a load goes: the server, its port, and what makes a fresh connection's protocol (of the connection with that
    number)."""

    server: Server
    port: int
    wire: Callable[[int], Wire]
    connections: int = CONNECTIONS


def in_turn(targets: Mapping[str, Target], rounds: int = ROUNDS, seconds: float = SECONDS) -> dict[str, list[Load]]:
    """Every target's rounds. A round of all is one after the other; the next begins with another one."""
    done: dict[str, list[Load]] = {name: [] for name in targets}
    names = list(targets)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            done[name].append(_round(targets[name], seconds))
    return done


def _round(target: Target, seconds: float) -> Load:
    wires = [target.wire(at) for at in range(target.connections)]
    return drive(target.port, wires, seconds, lambda: target.server.worked_s)


def middle(loads: Sequence[Load]) -> Load:
    """The median of rounds, each value by itself."""
    return Load(*(median(values) for values in zip(*loads, strict=True)))


def ratio(ours: Sequence[Load], theirs: Sequence[Load]) -> float:
    """Our rate over theirs, the median over rounds of one and the other right after it."""
    return median(mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True))


def work(ours: Sequence[Load], theirs: Sequence[Load]) -> float:
    """Their processor time for a request over ours: what the rates' ratio is on a machine that does nothing else."""
    return median(other.worked / mine.worked for mine, other in zip(ours, theirs, strict=True))


def tail(ours: Sequence[Load], theirs: Sequence[Load]) -> float:
    """Our p99 over theirs, likewise."""
    return median(mine.p99 / other.p99 for mine, other in zip(ours, theirs, strict=True))
