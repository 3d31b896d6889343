"""Ends and accidents of a serving process: SIGTERM under load, SIGKILL, a full disk, features that move on."""

import http.client
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from serving_world import GROUP, LANDINGS, NOW, PATIENCE_S, Arm, LogbookDef, World, ask, mint, until

from skyloom.features.online.fold import SourceFold
from skyloom.ingest.codec import decode
from skyloom.kernel.errors import UsageError
from skyloom.serving.listener import listening
from skyloom.serving.services import Listen

DAY = 86_400_000
FLIGHT = {"flight_id": "f1", "scheduled": NOW, "carrier": "UA", "distance": 0.0, "seats": 5, "charter": False}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Without windowed features a server starts sooner; only one test here needs them."""
    return World(tmp_path, windowed=False)


@pytest.fixture
def key(world: World) -> str:
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    return key


class Clients:
    """Clients on connections that they keep, for as long as the server does; every failure is kept too."""

    def __init__(self, port: int, key: str, count: int = 4) -> None:
        self._port, self._headers = port, {"Authorization": f"Bearer {key}"}
        self._stop = threading.Event()
        self.ids: list[str] = []
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def _run(self) -> None:
        connection = self._connect()
        while not self._stop.is_set():
            try:
                status, answer = ask(connection, "POST", "/predict/late", FLIGHT, self._headers)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                connection = self._connect()
                continue
            if status == 200:
                self.ids.append(answer["id"])
            else:
                self.failures.append(f"{status} {answer}")
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def shared() -> Any:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        yield listener


def test_sigterm_under_load_and_restarts_on_an_inherited_socket_fail_nothing(
    world: World, key: str, launch: Any, shared: socket.socket
) -> None:
    first = launch(world, key, inherit=shared)
    with Clients(shared.getsockname()[1], key) as clients:

        def more() -> None:
            seen = len(clients.ids)
            until(lambda: len(clients.ids) > seen + 100)

        more()
        successor = launch(world, key, inherit=shared)
        assert first.end(signal.SIGTERM) == 0, first.said()
        more()
        assert successor.end(signal.SIGTERM) == 0, successor.said()
        last = launch(world, key, inherit=shared)  # whoever came meanwhile has waited
        more()
    assert clients.failures == []
    assert last.end() == 0
    assert sorted(each.id for each in world.receipts()) == sorted(clients.ids)


def test_not_ready_first_then_gone(world: World, key: str, launch: Any) -> None:
    server = launch(world, key, limits={"lame_duck_seconds": 2.0})
    with socket.create_connection(("127.0.0.1", server.port)):  # who is connected and silent delays nothing
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.ask("GET", "/health/ready")[0] == 503)
        assert server.ask("GET", "/health/live")[0] == 200
        assert server.ask("POST", "/predict", FLIGHT)[0] == 200
        assert server.end() == 0, server.said()
    assert len(world.receipts()) == 1


def test_killed_under_load_it_keeps_every_answer_and_every_acknowledged_event(world: World, key: str, launch: Any) -> None:
    server = launch(world, key)
    sent: list[str] = []

    def send(sender: int) -> None:
        for i in range(10_000):
            row = {"flight_id": f"{sender}-{i}", "landed": NOW, "carrier": "UA", "delay": 0.0}
            try:
                assert server.ask("POST", "/events/landings", row)[0] == 202
            except (OSError, http.client.HTTPException):
                return
            sent.append(f"{sender}-{i}")

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(2)]
    with Clients(server.port, key, count=2) as clients:
        for sender in senders:
            sender.start()
        until(lambda: len(clients.ids) > 200 and len(sent) > 40)
        server.end(signal.SIGKILL)
        for sender in senders:
            sender.join()
    world.log.truncate("events/landings", 0)  # a commit that the kill met half way is whole or gone from the next writer on
    events = decode(world.log.read("events/landings", 0), LANDINGS.schema).column("flight_id").to_pylist()
    assert set(sent) <= set(events)
    assert len(set(events)) == len(events)
    server = launch(world, key)
    _, answer = server.ask("POST", "/predict", FLIGHT)
    ids = until(lambda: set(clients.ids) | {answer["id"]} <= (found := {each.id for each in world.receipts()}) and found)
    assert server.end() == 0
    assert len(world.receipts()) == len(ids), "a receipt is there twice"
    assert list((world.folder / "logbook").iterdir()) == []


def test_a_full_disk_stops_no_prediction_and_loses_no_receipt_in_silence(world: World, key: str, launch: Any) -> None:
    server = launch(world, key, limits={"drain_seconds": 0.5})
    full = world.folder / "disk-full"
    full.touch()
    ids = [server.ask("POST", "/predict", {**FLIGHT, "flight_id": f"d{i}"})[1]["id"] for i in range(30)]
    event = {"flight_id": "e", "landed": NOW, "carrier": "UA", "delay": 0.0}
    assert server.ask("POST", "/events/landings", event)[0] == 503
    until(lambda: "cannot be written" in server.said())
    assert world.receipts() == []
    full.unlink()
    until(lambda: [each.id for each in world.receipts()] == ids)
    assert server.ask("POST", "/events/landings", event)[0] == 202
    full.touch()
    assert server.ask("POST", "/predict", FLIGHT)[0] == 200
    assert server.end() == 1
    assert "1 receipts could not be logged" in server.said()


def test_without_room_for_receipts_it_refuses_if_told_to(world: World, launch: Any) -> None:
    world.logbook = LogbookDef(when_full="refuse")
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    server = launch(world, key, limits={"logbook": {"waiting": 2_000}})
    (world.folder / "disk-full").touch()
    statuses = [server.ask("POST", "/predict", FLIGHT)[0] for _ in range(12)]
    assert statuses == sorted(statuses), "it never answers again before the log is back"
    assert set(statuses) == {200, 503}
    (world.folder / "disk-full").unlink()
    until(lambda: server.ask("POST", "/predict", FLIGHT)[0] == 200)
    assert server.end() == 0
    assert len(world.receipts()) >= 6


def test_served_features_are_those_that_were_folded(tmp_path: Path, launch: Any) -> None:
    world = World(tmp_path)
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    server = launch(world, key)
    moments = [NOW - 70 * DAY, *(NOW - i * 60_000 for i in range(5))]
    rows = [{"flight_id": f"l{i}", "landed": at, "carrier": "UA", "delay": 1.0} for i, at in enumerate(moments)]
    assert server.ask("POST", "/events/landings", rows)[1]["accepted"] == 6
    assert server.ask("POST", "/predict", {**FLIGHT, "flight_id": "before"})[0] in (200, 503)
    fold(world)
    status, answer = server.ask("POST", "/predict", {**FLIGHT, "flight_id": "after"})
    assert status == 200, answer
    receipt = until(lambda: [each for each in world.receipts() if each.unit == "after"])[0]
    assert (receipt.inputs[-1], receipt.as_of) == (5.0, {"landings": 6})
    status, answer = server.ask("POST", "/predict", {**FLIGHT, "scheduled": NOW - 70 * DAY})
    assert (status, "older than what recent still keeps online" in answer["error"]) == (422, True), answer


def fold(world: World) -> None:
    batches = world.log.read("events/landings", 0)
    with world.online.write() as writer:
        SourceFold(LANDINGS, [GROUP]).fold(writer, decode(batches, LANDINGS.schema), batches[-1].end, NOW)


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="cannot be listened on"):
            listening(Listen(port=taken.getsockname()[1]))
