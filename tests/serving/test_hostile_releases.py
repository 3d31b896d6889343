"""Releases of hostile packages, signed by a key that is trusted: the server that is told to obey them serves on."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from serving_world import INPUTS, NOW, Arm, World, mint, model_def, until

from skyloom.kernel.ids import content_id
from skyloom.package import Golden, Input, Signature, save

sys.path.insert(0, str(Path(__file__).parents[1] / "package"))

from hostile import hostile_files

KINDS = ("pickle", "torch", "external_data", "other_format_inside", "deeply_nested", "gigantic_constant", "endless_loop")
FLIGHT = {"flight_id": "f1", "scheduled": NOW, "carrier": "UA", "distance": 0.0, "seats": 5, "charter": False}


def test_hostile_releases_are_refused_and_the_old_one_serves_on(
    tmp_path: Path, launch: Any, note: Callable[[str], None]
) -> None:
    world, canary = World(tmp_path, windowed=False), tmp_path / "canary"
    key, stored = mint(["admin"])
    good = world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))[:12]
    server = launch(world, key, limits={"trial": {"seconds": 1.5, "megabytes": 512}})
    process = server.process.pid
    hostile = [each for each in hostile_files(200, canary) if each.kind in KINDS]
    tried = {each.kind: each for each in hostile}
    assert set(tried) == set(KINDS)
    for count, each in enumerate(tried.values(), 1):
        world.publish(world.release({"late": (Arm(2, saved(world, each.model), 10_000, "champion"),)}, (stored,)))
        until(lambda count=count: server.said().count("a release is refused") == count, 60.0)
        status, answer = server.ask("POST", "/predict/late", FLIGHT)
        assert (status, answer["release"], answer["score"]) == (200, good, 0.25), each.kind
    assert not canary.exists()
    assert (server.process.pid, server.process.poll()) == (process, None)
    assert sorted(path.name for path in tmp_path.rglob("canary*")) == []
    note(f"{len(KINDS)} signed releases of hostile packages: 0 code executions, 0 crashes of the server")


def saved(world: World, model: bytes) -> str:
    signature = Signature(tuple(Input(each.name, each.type) for each in INPUTS[:-1]), "binary")
    files = {
        "model.onnx": model,
        "signature.json": msgspec.json.encode(signature),
        "card.json": b"{}",
        "golden.json": msgspec.json.encode(Golden((("UA", 0.0, 5),), (0.25,))),
    }
    definition = content_id(model_def("late", world.inputs))
    return save(world.objects, files, model="late", run="r", definition=definition, groups={}, threshold=0.5)
