"""The measured project: its data, made by rule, its models, and the requests that servers are asked."""

import shutil
import subprocess
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.processes import SKYLOOM, seconds
from bench.project import scratch

MODELS = ("linear", "forest", "wide", "wide_unlogged", "unlogged", "looked_up")
NUMBERS, MANY, CUSTOMERS, ROWS, VISITS, BODIES = 10, 30, 1_000, 4_000, 20_000, 2_000
_HOUR, _DAY = 3_600_000, 86_400_000
_MOMENT = pa.timestamp("ms", tz="UTC")


class Project(NamedTuple):
    """A project whose models are trained; ``now_ms`` is when its data ends. ``alone`` is the same with `linear` alone."""

    folder: Path
    alone: Path
    now_ms: int
    key: str
    """Opens its server."""

    def estimator(self, model: str) -> Path:
        """What the training function returned."""
        return self.folder / f"{model}.joblib"

    def onnx(self, model: str) -> Path:
        """The ONNX file that is served: float inputs x0, x1 ... of shape [n, 1], the output ``score`` [n]."""
        from skyloom.package import load
        from skyloom.platform import open_platform
        from skyloom.registry.versions import get_version

        path = self.folder / f"{model}.onnx"
        if not path.exists():
            platform = open_platform(self.folder, "local")
            package = load(platform.objects, get_version(platform.metadata, model, 1).package)
            path.write_bytes(platform.objects.get(package.manifest.files["model.onnx"]))
        return path


@lru_cache(maxsize=1)
def made() -> Project:
    """Made and trained once a run."""
    folder = scratch() / "asked"
    shutil.copytree(Path(__file__).parent / "asked", folder)
    now_ms = int(time.time() * 1_000) // 60_000 * 60_000
    _write_data(folder / "data", now_ms)
    seconds(SKYLOOM, "apply", cwd=folder, timeout=240)
    key = _key(folder)  # before the trainings, whose releases hold it
    for source in ("rows", "wides", "visiteds", "visits", "outcomes"):
        seconds(SKYLOOM, "ingest", source, cwd=folder, timeout=240)
    alone = folder.with_name("alone")
    for model in MODELS:
        seconds(SKYLOOM, "train", model, cwd=folder, timeout=240)
        if model == "linear":
            shutil.copytree(folder, alone)
    return Project(folder, alone, now_ms, key)


def _key(folder: Path) -> str:
    words = [SKYLOOM, "keys", "create", "--scope", "predict", "--scope", "read", "--json"]
    done = subprocess.run(words, cwd=folder, capture_output=True, check=True, timeout=60)
    return msgspec.json.decode(done.stdout)["key"]


def numbers(count: int, width: int, seed: int = 7) -> NDArray[np.float32]:
    """Rows that models are asked: float32 [count, width], which JSON of a few digits says exactly enough."""
    return np.random.default_rng(seed).normal(size=(count, width)).round(3).astype(np.float32)


def bodies(project: Project, model: str) -> list[bytes]:
    """One-row requests in Skyloom's own contract: key, time, numbers, and a customer where features are looked up."""
    made: list[bytes] = []
    for at, row in enumerate(_plain(numbers(BODIES, NUMBERS))):
        body: dict[str, Any] = {"id": f"asked-{at}", "at": project.now_ms, **row}
        if model == "looked_up":
            body["customer"] = f"c{at % CUSTOMERS}"
        made.append(msgspec.json.encode(body))
    return made


def requests_file(path: Path, count: int, now_ms: int) -> Path:
    """A Parquet file of so many requests of ten numbers."""
    values = numbers(count, NUMBERS)
    columns: dict[str, Any] = {
        "id": [f"batch-{at}" for at in range(count)],
        "at": pa.array(np.full(count, now_ms), _MOMENT),
        **{f"x{at}": values[:, at].astype(np.float64) for at in range(NUMBERS)},
    }
    _write(path, columns)
    return path


def rows() -> list[dict[str, float]]:
    """The same rows as objects of x0 to x9 alone: what peers are asked."""
    return _plain(numbers(BODIES, NUMBERS))


def _plain(values: NDArray[np.float32]) -> list[dict[str, float]]:
    return [{f"x{at}": round(float(value), 3) for at, value in enumerate(row)} for row in values]


def _write_data(folder: Path, now_ms: int) -> None:
    folder.mkdir()
    random = np.random.default_rng(3)
    asked = now_ms - 10 * _DAY + np.sort(random.integers(0, 8 * _DAY, ROWS))
    values = random.normal(size=(ROWS, MANY))
    y = values[:, :NUMBERS] @ np.arange(1.0, NUMBERS + 1) / 10 + np.abs(values[:, 0]) + random.normal(0, 0.1, ROWS)
    ids = {name: [f"{name}-{at}" for at in range(ROWS)] for name in ("rows", "wides", "visiteds")}
    for name, width in (("rows", NUMBERS), ("wides", MANY), ("visiteds", NUMBERS)):
        columns: dict[str, Any] = {"id": ids[name], "at": pa.array(asked, _MOMENT)}
        if name == "visiteds":
            columns["customer"] = [f"c{each}" for each in random.integers(0, CUSTOMERS, ROWS)]
        _write(folder / f"{name}.parquet", {**columns, **{f"x{at}": values[:, at] for at in range(width)}})
    known = pa.array(np.tile(asked + _HOUR, 3), _MOMENT)
    _write(
        folder / "outcomes.parquet", {"id": [each for of in ids.values() for each in of], "at": known, "y": np.tile(y, 3)}
    )
    moments = np.sort(now_ms - 9 * _DAY + random.integers(0, 9 * _DAY, VISITS))
    _write(
        folder / "visits.parquet",
        {
            "visit": [f"v{at}" for at in range(VISITS)],
            "at": pa.array(moments, _MOMENT),
            "customer": [f"c{each}" for each in random.integers(0, CUSTOMERS, VISITS)],
            "minutes": random.integers(1, 60, VISITS).astype(float),
        },
    )


def _write(path: Path, columns: dict[str, Any]) -> None:
    pq.write_table(pa.table(columns), path, row_group_size=65_536)
