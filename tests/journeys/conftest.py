"""Projects for journeys. What is expensive to make is made once for all test processes, and copied."""

import fcntl
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.journeys import shop
from tests.journeys.journey import Project, Up


@pytest.fixture(scope="session")
def trained_shop(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The shop, applied, ingested, trained: late v1 is its champion. Not to be changed: see ``trained``."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    directory = shared / "shop"
    with (shared / "shop.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            shutil.rmtree(shared / "shop-unfinished", ignore_errors=True)
            shop.create(shared / "shop-unfinished")
            project = Project(shared / "shop-unfinished")
            for words in (["apply"], ["ingest", "orders"], ["ingest", "deliveries"], ["train", "late"]):
                project.json(*words)
            (shared / "shop-unfinished").rename(directory)
    return directory


@pytest.fixture
def trained(trained_shop: Path, tmp_path: Path) -> Project:
    """A project with a champion, to do with as one likes."""
    shutil.copytree(trained_shop, tmp_path / "shop")
    return Project(tmp_path / "shop")


@pytest.fixture
def declared(tmp_path: Path) -> Project:
    """A project with nothing recorded."""
    shop.create(tmp_path / "shop")
    return Project(tmp_path / "shop")


@pytest.fixture
def launch() -> Iterator[Callable[..., Up]]:
    """Starts ``skyloom up``; whatever the test leaves is killed."""
    started: list[Up] = []

    def start(project: Project, **options: Any) -> Up:
        started.append(Up(project, **options))
        return started[-1]

    yield start
    for up in started:
        up.end(signal.SIGKILL)
