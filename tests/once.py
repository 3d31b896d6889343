"""Folders that are expensive to make: made once for all processes of a run, and copied."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Made = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Made:
    """The folder of a name, filled by the first process that asks for it. It is not to be changed."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def made(name: str, fill: Callable[[Path], None]) -> Path:
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (shared / name).exists():
                shutil.rmtree(shared / f"{name}-unfinished", ignore_errors=True)
                fill(shared / f"{name}-unfinished")
                (shared / f"{name}-unfinished").rename(shared / name)
        return shared / name

    return made
