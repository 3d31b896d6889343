"""`skyloom features` beside a running project, and the watch over what it serves."""

import urllib.request
from collections.abc import Callable
from typing import Any

from tests.journeys.journey import Project, Up, now_ms, until
from tests.journeys.traffic import Traffic

from skyloom.features.spaces import tiles_space
from skyloom.kernel.entity import entity_key
from skyloom.runtime.consistency import SAMPLE
from skyloom.runtime.state import applied


def test_what_is_served_is_watched(trained: Project, launch: Callable[..., Up]) -> None:
    up = launch(trained)
    traffic = Traffic(up, "watched")
    until(lambda: len(traffic.answered) > 2 * SAMPLE and len(traffic.reported) > 2 * SAMPLE)
    traffic.stop()
    until(lambda: watch_of(trained)["predictions"] >= SAMPLE, "nothing is compared")
    until(lambda: not any(lag["unfolded"] for lag in trained.json("features", "lag")["topics"].values()))
    [group] = trained.json("features")
    assert (group["name"], group["entity"], group["state"], group["behind"]) == ("recent", ["shop"], "built", 0)
    [first, *_] = trained.json("features", "show", "recent")
    assert (first["name"], first["models"], first["served"]) == ("recent_delay_1d", ["late"], {"late": [1]})
    values = trained.json("features", "preview", "recent", "--entity", "shop1")["rows"]
    assert [row[0] for row in values] == ["shop1"]
    checked = trained.json("features", "check")
    assert checked["skew"]["late"]["predictions"] >= len(traffic.answered)
    assert (watch_of(trained)["unequal"], up.api.ask("GET", "/api/incidents")) == (0, (200, []))
    until(lambda: seen_by(watch_of(trained)) >= len(traffic.answered), "the watch stays behind")  # a round takes a sample

    give_one_shop_the_tiles_of_another(trained)
    broken = {ask(up, f"broken-{number}")["id"] for number in range(5)}
    found = until(lambda: up.api.ask("GET", "/api/incidents")[1], "no incident")
    assert set(found[0]["receipts"]) <= broken
    assert found[0]["found_by"] == "consistency"
    assert found[0]["id"] in {incident["id"] for incident in trained.json("monitor")["incidents"]}
    assert "served values of late are not those of the lake" in up.said()
    said = trained.run("features", "check")
    assert (said.code, "are not those of the lake" in said.err) == (1, True), said
    assert 'skyloom_incidents{model="late"} 1.0' in scraped(up)
    assert up.end() == 0


def watch_of(project: Project) -> Any:
    [watch] = project.json("features", "lag")["watched"]
    return watch


def seen_by(watch: Any) -> int:
    return watch["predictions"] + watch["passed"] + watch["failed"]


def scraped(up: Up) -> str:
    """What Prometheus would read."""
    asked = urllib.request.Request(f"{up.api.url}/metrics", headers={"Authorization": f"Bearer {up.key}"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return answer.read().decode()


def ask(up: Up, id: str) -> Any:
    status, answer = up.serving.post("/predict/late", {"order_id": id, "placed": now_ms(), "shop": "shop1", "amount": 9.0})
    assert status == 200, answer
    return answer


def give_one_shop_the_tiles_of_another(project: Project) -> None:
    platform = project.platform
    group = applied(platform.metadata).project.groups["recent"]
    with platform.online.write() as writer:
        wrong = writer.get(tiles_space(group), entity_key("shop2"))
        assert wrong is not None
        writer.put(tiles_space(group), entity_key("shop1"), wrong)
