"""The release that serving obeys: swapped whole under load, and never one that cannot be trusted."""

import http.client
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from serving_world import NOW, PATIENCE_S, Arm, ServerProcess, World, ask, mint, until

from skyloom.delivery.release import POINTER
from skyloom.kernel.ids import canonical_json
from skyloom.kernel.records.release import SignedRelease
from skyloom.kernel.sticky import bucket_of
from skyloom.stores.keys.local import LocalSigner

SWAPS = int(os.environ.get("SKYLOOM_SWAPS", "50"))
"""Releases that are swapped under load; ``make soak`` takes many more."""

Running = tuple[World, ServerProcess, Any]

FLIGHT = {"flight_id": "f1", "scheduled": NOW, "carrier": "UA", "distance": 0.0, "seats": 5, "charter": False}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that every test here gives its own releases."""
    world = World(tmp_path_factory.mktemp("running"), windowed=False)
    key, stored = mint(["admin"])
    world.publish(world.release({"late": champion(1, world.package(0.01))}, (stored,)))
    server = ServerProcess(world.folder, key, limits={"shadow": 5})
    yield world, server, stored
    assert server.end() == 0
    server.errors.close()


def champion(version: int, package: str) -> tuple[Arm, ...]:
    return (Arm(version, package, 10_000, "champion"),)


def obeyed(server: ServerProcess) -> str:
    return server.ask("POST", "/predict/late", FLIGHT)[1]["release"]


def refusals(server: ServerProcess) -> float:
    lines = server.ask("GET", "/metrics")[1].splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("skyloom_release_refused_total"))


class Load:
    """Clients that ask without a pause, over connections that they keep, and keep every answer."""

    def __init__(self, server: ServerProcess, clients: int = 3) -> None:
        self._server, self._stop = server, threading.Event()
        self.answers: list[tuple[int, Any]] = []
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in range(clients)]

    def _run(self, client: int) -> None:
        number = 0
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {self._server.key}"}
        while not self._stop.is_set():
            rows = [{**FLIGHT, "flight_id": f"c{client}-{number}-{i}"} for i in range(3)]
            number += 1
            self.answers.append(ask(connection, "POST", "/predict/late", {"instances": rows}, headers))
        connection.close()

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_swaps_under_load_fail_nothing_and_mix_nothing(running: Running, note: Callable[[str], None]) -> None:
    """Version, release and score of each answer belong together, and its receipt says the same."""
    world, server, stored = running
    packages = {version: world.package(version / 100) for version in range(1, 5)}
    published = {obeyed(server): 1}
    with Load(server) as load:
        for swap in range(SWAPS):
            version = swap % 4 + 1
            release = world.publish(world.release({"late": champion(version, packages[version])}, (stored,)))[:12]
            published[release] = version
            until(lambda release=release: obeyed(server) == release)
    failed = [answer for status, answer in load.answers if status != 200]
    rows = [tuple(answer["predictions"]) for status, answer in load.answers if status == 200]
    mixed = [
        answer
        for answer in rows
        if len({each["release"] for each in answer}) > 1 or any(not belongs(each, published) for each in answer)
    ]
    served = {each["release"] for answer in rows for each in answer}
    note(
        f"{SWAPS} release swaps under load: {len(load.answers):,} answers from {len(served)} releases, "
        f"{len(failed)} failed, {len(mixed)} mixed"
    )
    assert (failed, mixed) == ([], [])
    assert len(load.answers) > SWAPS
    assert len(served) > SWAPS // 3
    versions = {each["id"]: each["version"] for answer in rows for each in answer}
    logged = until(lambda: (found := {e.id: e.version for e in world.receipts()}).keys() >= versions.keys() and found)
    assert all(logged[each] == version for each, version in versions.items())


def belongs(answer: dict[str, Any], published: dict[str, int]) -> bool:
    version = published[answer["release"]]
    return answer["version"] == version and answer["score"] == float(np.float32(version / 100))


def test_a_request_under_way_is_finished_by_the_release_that_began_it(running: Running) -> None:
    """However long it takes: it is made longer until a swap falls into it."""
    world, server, stored = running
    slow, quick = world.package(0.03, "lags"), world.package(0.04)
    for distance in (50.0, 200.0, 800.0, 3_200.0):  # so many thousand turns of a loop, for each of 17 rows: asked aside
        first = world.publish(world.release({"late": champion(3, slow)}, (stored,)))
        until(lambda first=first: obeyed(server) == first[:12])
        rows = {"instances": [{**FLIGHT, "distance": distance}] * 17}
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(server.ask, "POST", "/predict/late", rows)
            until(lambda asked=asked: under_way(server) > 0 or asked.done())
            second = world.publish(world.release({"late": champion(4, quick)}, (stored,)))
            until(lambda second=second: obeyed(server) == second[:12])
            straddled = not asked.done()
            status, answer = asked.result()
        assert status == 200, answer
        if straddled:
            break
    assert straddled
    assert {(each["release"], each["version"]) for each in answer["predictions"]} == {(first[:12], 3)}


def under_way(server: ServerProcess) -> float:
    lines = server.ask("GET", "/metrics")[1].splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith('skyloom_under_way{model="late",where="threads"}')
    )


def test_a_release_that_cannot_be_trusted_is_refused_and_the_old_one_serves_on(running: Running, tmp_path: Path) -> None:
    world, server, stored = running
    good = world.package(0.01)
    first = world.publish(world.release({"late": champion(1, good)}, (stored,)))
    until(lambda: obeyed(server) == first[:12])
    content = canonical_json(world.release({"late": champion(2, good)}, (stored,)))
    stranger = LocalSigner(tmp_path / "other" / "stranger.key")
    damaged = world.package(0.77)
    _flip_a_byte(world, damaged)

    def signed(content: bytes, by: LocalSigner) -> str:
        return world.objects.put(canonical_json(SignedRelease(content, by.sign(content), by.key_id)))

    forged = SignedRelease(content, stranger.sign(content), world.signer.key_id)
    candidates = {
        "a stranger's signature": signed(content, stranger),
        "a stranger's signature under our name": world.objects.put(canonical_json(forged)),
        "changed after signing": world.objects.put(
            canonical_json(
                SignedRelease(
                    content.replace(b'"share":10000', b'"share":20000'), world.signer.sign(content), world.signer.key_id
                )
            )
        ),
        "no release": signed(b"{}", world.signer),
        "no object": "0" * 64,
        "no digest": "../../keys",
        "golden rows answered otherwise": _sign(world, stored, world.package(0.5, golden_off=0.25)),
        "a package that is not there": _sign(world, stored, "f" * 64),
        "a package whose bytes changed": _sign(world, stored, damaged),
        "shares that do not add up": signed(
            canonical_json(world.release({"late": (Arm(2, good, 9_999, "champion"),)}, (stored,))), world.signer
        ),
    }
    for number, (why, release_id) in enumerate(candidates.items(), 1):
        world.objects.move(POINTER, release_id.encode(), expect=world.objects.pointer(POINTER))
        until(lambda number=number: refusals(server) >= number)
        status, answer = server.ask("POST", "/predict/late", FLIGHT)
        assert (status, answer["release"], answer["version"]) == (200, first[:12], 1), why
    assert server.said().count("a release is refused") >= len(candidates)
    last = world.publish(world.release({"late": champion(3, good)}, (stored,)))
    until(lambda: obeyed(server) == last[:12])


def _sign(world: World, stored: Any, package: str) -> str:
    content = canonical_json(world.release({"late": champion(2, package)}, (stored,)))
    return world.objects.put(canonical_json(SignedRelease(content, world.signer.sign(content), world.signer.key_id)))


def _flip_a_byte(world: World, package: str) -> None:
    """Change the model's bytes in the store behind its back."""
    manifest = msgspec.json.decode(world.objects.get(package))
    digest = manifest["files"]["model.onnx"]
    (path,) = [each for each in (world.folder / "objects").rglob("*") if each.name.endswith(digest[2:]) and each.is_file()]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def test_units_stick_to_their_arm_and_a_ramp_only_adds(running: Running) -> None:
    world, server, stored = running
    old, new = world.package(0.01), world.package(0.02)
    units = [f"unit-{i}" for i in range(200)]

    def ramp(share: int) -> set[str]:
        arms = (Arm(1, old, 10_000 - share, "champion"), Arm(2, new, share, "canary"))
        release = world.publish(world.release({"late": arms}, (stored,), salt="ramp"))
        until(lambda: obeyed(server) == release[:12])
        rows = [{**FLIGHT, "flight_id": unit} for unit in units]
        answers = server.ask("POST", "/predict/late", {"instances": rows})[1]["predictions"]
        assert all(each["score"] == float(np.float32(each["version"] / 100)) for each in answers)
        return {unit for unit, each in zip(units, answers, strict=True) if each["version"] == 2}

    canaries = [ramp(share) for share in (500, 2_500, 5_000)]
    assert canaries == [{u for u in units if bucket_of("ramp", u) < share} for share in (500, 2_500, 5_000)]
    assert canaries[0] < canaries[1] < canaries[2]


def test_a_server_without_a_release_says_so_and_is_not_ready(tmp_path: Path, launch: Any) -> None:
    world = World(tmp_path, windowed=False)
    key, stored = mint(["admin"])
    server = launch(world, key, ready=False)
    assert server.ask("GET", "/health/live") == (200, {"live": True})
    assert server.ask("GET", "/health/ready")[0] == 503
    assert server.ask("POST", "/predict", FLIGHT)[0] == 503
    world.publish(world.release({"late": champion(1, world.package(0.01))}, (stored,)))
    server.wait_ready()
    assert server.ask("GET", "/health/ready") == (200, {"ready": True})
    assert server.ask("POST", "/predict", FLIGHT)[0] == 200


def test_a_primary_that_raises_is_a_500_with_a_receipt(running: Running) -> None:
    world, server, stored = running
    release = world.publish(world.release({"late": champion(1, world.package(0.01, "raises"))}, (stored,)))
    until(lambda: obeyed(server) == release[:12])
    assert server.ask("POST", "/predict/late", FLIGHT)[0] == 200
    status, answer = server.ask("POST", "/predict/late", {**FLIGHT, "distance": 50.0})
    assert (status, "late v1 could not answer" in answer["error"]) == (500, True)
    assert server.ask("GET", "/health/ready")[0] == 200
    receipt = until(lambda: [each for each in world.receipts() if each.error])[0]
    assert receipt.id in answer["error"]


def test_shadows_that_hang_or_break_are_nobody_elses_trouble(running: Running) -> None:
    world, server, stored = running
    good, bad, hung = world.package(0.01), world.package(0.02, "raises"), world.package(0.03, "hangs")
    shadows = (Arm(2, bad, 0, "shadow"), Arm(3, hung, 0, "shadow"))
    release = world.publish(world.release({"late": (*champion(1, good), *shadows)}, (stored,)))
    until(lambda: obeyed(server) == release[:12])
    one = server.ask("POST", "/predict/late", {**FLIGHT, "flight_id": "first", "distance": 0.5})[1]
    shadow = until(lambda: [each for each in world.receipts() if each.unit == "first" and each.arm == "shadow"])[0]
    (mine,) = [each for each in world.receipts() if each.id == one["id"]]
    assert (shadow.version, shadow.inputs, shadow.at_ms, shadow.error) == (2, mine.inputs, mine.at_ms, None)
    assert shadow.id != mine.id
    answers = [server.ask("POST", "/predict/late", {**FLIGHT, "flight_id": f"s{i}", "distance": 5_000.0}) for i in range(20)]
    assert {status for status, _ in answers} == {200}
    broken = until(lambda: [each for each in world.receipts() if each.arm == "shadow" and each.error])
    assert (broken[0].version, broken[0].score) == (2, None)
    metrics = server.ask("GET", "/metrics")[1]
    dropped = next(
        float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("skyloom_shadow_dropped_total")
    )
    assert dropped >= 2 * (20 - 5 - 2)
    units = {f"s{i}" for i in range(20)}
    assert until(lambda: {each.unit for each in world.receipts() if each.arm == "champion"} >= units)
