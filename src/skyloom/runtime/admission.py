"""Whether a training may begin: one at a time for each model, and within its loop's budget."""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from skyloom.cost import admit, estimate, month_of, spent
from skyloom.kernel.errors import Refused
from skyloom.kernel.money import Money
from skyloom.kernel.records.definitions import ModelDef
from skyloom.platform import Platform
from skyloom.registry import runs as run_book

_TRIES = 10


@contextmanager
def training_place(platform: Platform, model: str) -> Generator[None]:
    """The one place of a model's trainings, for as long as the block runs (the lock is the kernel's: it dies with us).

    Raises `Refused` while somebody else trains the model.
    """
    path = _lock_file(platform, model)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _acquired(descriptor):
            raise Refused(f"{model} is being trained already", tried=str(path), fix="skyloom runs")
        yield
    finally:
        os.close(descriptor)


def _acquired(descriptor: int) -> bool:
    """Lock, if nobody else has; whoever only asks (`is_training`) holds the lock for a moment."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return True
    return False


def is_training(platform: Platform, model: str) -> bool:
    """Whether a model is being trained now, by whatever process."""
    with suppress(FileNotFoundError):
        descriptor = os.open(_lock_file(platform, model), os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def close_abandoned(platform: Platform, model: str, *, actor: str) -> None:
    """Record the runs that a killed process left unfinished as failed. To be called in the model's `training_place`."""
    for run in run_book.list_runs(platform.metadata, model):
        if run.status == "running":
            ended = "its process ended before it did"
            run_book.fail(platform.metadata, run, ended, platform.clock.now_ms(), actor=actor)


def budget_refusal(platform: Platform, model: ModelDef) -> str | None:
    """Why the model's budget of this month allows no training, or ``None`` when it does (or there is none)."""
    if model.loop.budget_micros is None:
        return None
    price, runs = Money.of(platform.profile.price_per_core_hour), run_book.list_runs(platform.metadata, model.name)
    month = month_of(platform.clock.now_ms())
    return admit(Money(model.loop.budget_micros), spent(runs, model.name, month, price), estimate(runs, model.name, price))


def _lock_file(platform: Platform, model: str) -> Path:
    return platform.state / "training" / f"{model}.lock"
