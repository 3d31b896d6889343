"""Compute: where a job runs."""

from collections.abc import Callable
from typing import Protocol

import msgspec


class Job(msgspec.Struct, frozen=True):
    """A command to run to its end."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}
    directory: str | None = None
    timeout_s: float | None = None


class JobResult(msgspec.Struct, frozen=True):
    """How a job ended. ``cpu_seconds`` counts user and system time of the job and its children."""

    exit_code: int
    output: str
    cpu_seconds: float


class Compute(Protocol):
    """Promises: a job that was started is ended when its timeout passes or the caller is interrupted; none is left
    behind. Raises `Transient` when no machine can be had now."""

    def run(self, job: Job, on_line: Callable[[str], None] | None = None) -> JobResult: ...
