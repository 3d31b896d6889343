"""Projects for journeys."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.journeys import shop
from tests.journeys.journey import Project, Up
from tests.once import Made


@pytest.fixture(scope="session")
def trained_shop(made_once: Made) -> Path:
    """The shop, applied, ingested, trained: late v1 is its champion. Not to be changed: see ``trained``."""

    def fill(directory: Path) -> None:
        shop.create(directory)
        for words in (["apply"], ["ingest", "orders"], ["ingest", "deliveries"], ["train", "late"]):
            Project(directory).json(*words)

    return made_once("shop", fill)


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
