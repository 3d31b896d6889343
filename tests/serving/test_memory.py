"""Predictions and release swaps for as long as one likes: the memory and the open files of a server stay what they were."""

import http.client
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numeric_world import NOW, NumericWorld, summing_model
from serving_world import PATIENCE_S, Arm, ServerProcess, ask, mint, until

SWAPS = int(os.environ.get("SKYLOOM_SWAPS", "50")) // 2
"""Swaps, with 2,000 predictions for each; ``make soak`` takes many more."""
ROWS, REQUESTS = 500, 4
MOST_GROWTH = 1.05


def test_memory_and_open_files_stay_flat_over_predictions_and_swaps(
    tmp_path: Path, launch: Any, note: Callable[[str], None]
) -> None:
    """The first third warms up: caches fill, the allocator takes what it will go on using."""
    world = NumericWorld(tmp_path)
    key, stored = mint(["admin"])
    packages = world.sums(), world.sums(variant(summing_model(4)))
    world.publish_arms((Arm(1, packages[0], 10_000, "champion"),), (stored,))
    server = launch(world, key)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    warm_up, predictions = SWAPS // 3 + 5, 0
    before = (0, 0)
    for swap in range(warm_up + SWAPS):
        if swap == warm_up:
            before, predictions = used(server), 0
        version = swap % 2 + 1
        release = world.publish_arms((Arm(version, packages[version - 1], 10_000, "champion"),), (stored,))
        until(lambda version=version, release=release: predict(connection, key, 1) == (version, release[:12]))
        for _ in range(REQUESTS):
            predict(connection, key, ROWS)
            predictions += ROWS
    connection.close()
    (rest, files), (begun, begun_files) = used(server), before
    note(
        f"{predictions:,} predictions and {SWAPS} swaps after a warm-up: memory {begun / 2**20:.1f} -> "
        f"{rest / 2**20:.1f} MiB ({100 * (rest / begun - 1):+.1f}%), open files {begun_files} -> {files}"
    )
    assert rest <= begun * MOST_GROWTH
    assert files <= begun_files + 2


def predict(connection: http.client.HTTPConnection, key: str, count: int) -> tuple[int, str]:
    rows = [{"id": f"r{row}", "at": NOW, "x0": 1.0 * row, "x1": 2.0, "x2": True, "x3": row} for row in range(count)]
    headers = {"Authorization": f"Bearer {key}"}
    status, answer = ask(connection, "POST", "/predict/sums", {"instances": rows}, headers)
    assert status == 200, answer
    first = answer["predictions"][0]
    return first["version"], first["release"]


def used(server: ServerProcess) -> tuple[int, int]:
    """Bytes of memory of its own (what it maps of files is the system's to take back), and open files."""
    folder = Path(f"/proc/{server.process.pid}")
    lines = (folder / "status").read_text().splitlines()
    own = next(line for line in lines if line.startswith("RssAnon"))
    return int(own.split()[1]) * 1024, len(list((folder / "fd").iterdir()))


def variant(model: bytes) -> bytes:
    """The same model, in a file of another digest."""
    import onnx

    made = onnx.load_from_string(model)
    made.doc_string = "another"
    return made.SerializeToString()
