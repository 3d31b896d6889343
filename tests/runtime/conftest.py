"""A small real project (the churn example, trained once), its own copy for each test, and answers of its champion."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.once import Made
from tests.runtime.logged import log_receipts

from skyloom.cli.new import create
from skyloom.delivery.release import current
from skyloom.ingest.sink import events_topic
from skyloom.kernel.clock import DataClock
from skyloom.kernel.records.prediction import Receipt
from skyloom.package import load
from skyloom.platform import Platform, open_platform
from skyloom.registry.versions import get_version
from skyloom.runtime.applying import apply
from skyloom.runtime.definitions import definition_of
from skyloom.runtime.ingesting import ingest
from skyloom.runtime.ownership import settle
from skyloom.runtime.receipts import recompute
from skyloom.runtime.state import applied
from skyloom.runtime.training import Request, train_model

MODEL = "churn"
NOW_MS = 1_769_904_000_000  # 2026-02-01: every label of the example has come


@pytest.fixture(scope="session")
def trained_project(made_once: Made) -> Path:
    """The project with its champion. Not to be changed: see ``platform``."""
    return made_once("churn", _train)


def _train(directory: Path) -> None:
    create(directory, "churn")
    file = directory / "skyloom.toml"
    file.write_text(file.read_text().replace("[local]", '[local]\nclock = "data"\nprice_per_core_hour = 3600.0\n'))
    project = directory / "churn.py"
    text = project.read_text().replace("sky.when_drift()]", "sky.when_performance_drops(), sky.when_drift()]")
    project.write_text(text.replace("retrain=[", 'budget=sky.usd(1_000, per="month"),\n    retrain=['))
    platform = open_platform(directory)
    clock_of(platform).advance_to(NOW_MS)
    apply(platform)
    for source in ("renewals", "visits", "decisions"):
        ingest(platform, source)
    train_model(platform, MODEL, Request({}), actor="tester")


@pytest.fixture
def platform(trained_project: Path, tmp_path: Path) -> Platform:
    directory = tmp_path / "churn"
    shutil.copytree(trained_project, directory)
    return open_platform(directory)


def clock_of(platform: Platform) -> DataClock:
    assert isinstance(platform.clock, DataClock)
    return platform.clock


Answer = Callable[..., list[Receipt]]


@pytest.fixture
def answer(platform: Platform) -> Answer:
    """Log answers of a version to the example's own requests, as serving would have, and let the worker join them."""

    def log(
        rows: slice = slice(None), *, version: int = 1, arm: str = "champion", labels: bool = True, score: Any = None
    ) -> list[Receipt]:
        requests = pq.read_table(platform.directory / "data" / "renewals.parquet").to_pylist()[rows]
        kept = definition_of(platform, get_version(platform.metadata, MODEL, version))
        scorer = load(platform.objects, get_version(platform.metadata, MODEL, version).package).scorer
        released = current(platform.objects, platform.verifier)
        seen = {"visits": platform.log.end(events_topic("visits"))}
        asked = [
            Receipt(
                id=f"p_{version}_{arm}_{request['renewal_id']}",
                model=MODEL,
                version=version,
                release=released[0] if released else "none",
                arm=arm,
                unit=request["renewal_id"],
                key=request["renewal_id"] if labels else f"nothing-{request['renewal_id']}",
                at_ms=int(request["due"].timestamp() * 1000),
                logged_ms=platform.clock.now_ms(),
                inputs=(),
                as_of=seen,
                request={**request, "due": int(request["due"].timestamp() * 1000)},
                score=None,
                latency_ms=1.0,
            )
            for request in requests
        ]
        inputs = recompute(platform, kept.model, kept.project, asked)
        scores = scorer.score_rows(inputs)
        receipts = [
            _with(receipt, values, each if score is None else score(each))
            for receipt, values, each in zip(asked, inputs, scores, strict=True)
        ]
        log_receipts(platform, MODEL, receipts)
        settle(platform, applied(platform.metadata).project)
        return receipts

    return log


def _with(receipt: Receipt, inputs: Any, score: float) -> Receipt:
    import msgspec

    return msgspec.structs.replace(receipt, inputs=inputs, score=score)
