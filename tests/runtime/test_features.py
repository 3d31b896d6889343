"""What `skyloom features` tells, against what is known to be so."""

import json
from typing import Any

import msgspec
import pytest
from tests.runtime.logged import log_receipts

from skyloom.cli.main import main
from skyloom.features.spaces import POSITIONS, group_position, tiles_space
from skyloom.kernel.entity import entity_key
from skyloom.kernel.errors import NotFound, UsageError
from skyloom.platform import Platform
from skyloom.runtime.features import lineages, standings
from skyloom.runtime.features_preview import moment_of, preview
from skyloom.runtime.monitoring import observe
from skyloom.runtime.receipts import recompute
from skyloom.runtime.state import applied

MODEL = "churn"


def test_a_group_is_built_or_building(platform: Platform):
    [group] = standings(platform)
    assert (group.name, group.source, group.entity, group.state) == ("activity", "visits", ("customer_id",), "built")
    assert (group.windows, group.hops, group.behind) == (("7d", "28d"), ("1h", "1d"), 0)
    with platform.online.write() as writer:
        writer.delete(POSITIONS, group_position(applied(platform.metadata).project.groups["activity"]))
    [group] = standings(platform)
    assert (group.state, group.behind) == ("building", platform.log.end("events/visits"))


def test_a_feature_is_found_by_its_name_in_x_or_with_a_point(platform: Platform):
    [one] = lineages(platform, "activity_minutes_28d")
    assert lineages(platform, "activity.minutes_28d") == [one]
    assert (one.aggregate.kind, one.aggregate.column, one.models) == ("mean", "minutes", (MODEL,))
    assert len(lineages(platform, "activity")) == 3
    with pytest.raises(NotFound) as told:
        lineages(platform, "activity_minuts_28d")
    assert "activity_minutes_28d" in told.value.fix


def test_a_preview_has_the_values_of_a_training_set(platform: Platform, answer: Any):
    [receipt, *_] = answer(slice(-1, None))
    told = preview(platform, "activity", receipt.request["customer_id"], _iso(receipt.at_ms))
    project = applied(platform.metadata).project
    [again] = recompute(platform, project.models[MODEL], project, [receipt])
    assert told.rows == ((receipt.request["customer_id"], *again[3:]),)
    assert told.columns == ("customer_id", "visits_7d", "visits_28d", "minutes_28d")


def test_a_preview_takes_the_entities_of_the_newest_events(platform: Platform):
    told = preview(platform, "activity_visits_28d", most=4)
    events = sorted(platform.lake.read("events/visits").to_pylist(), key=lambda row: row["at"], reverse=True)
    newest = list(dict.fromkeys(row["customer_id"] for row in events))[:4]
    assert [row[0] for row in told.rows] == newest
    assert all(row[1] >= 1 for row in told.rows)
    assert told.at_ms == int(events[0]["at"].timestamp() * 1000) + 1
    assert moment_of("2025-06-01") == moment_of("2025-06-01T02:00+02:00")
    with pytest.raises(NotFound, match="c_nobody"):
        preview(platform, "activity", "c_nobody")
    with pytest.raises(UsageError):
        preview(platform, "activity", at="noon")
    with pytest.raises(NotFound, match="no events of visits"):
        preview(platform, "activity", at="1999-01-01")


def test_check_exits_1_with_an_incident_that_monitor_shows(
    platform: Platform, answer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    receipts = answer(slice(0, 30))
    monkeypatch.chdir(platform.directory)
    assert main(["features", "check"]) == 0
    assert observe(platform).incidents == ()
    wrong = msgspec.structs.replace(receipts[0], id="p_wrong", inputs=(*receipts[0].inputs[:-1], 1e6), logged_ms=2**41)
    log_receipts(platform, MODEL, [wrong])
    capsys.readouterr()
    assert main(["features", "check", MODEL, "--sample", "5", "--json"]) == 1
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert told["skew"][MODEL]["predictions"] == 5
    assert [each["receipts"] for each in told["new"]] == [["p_wrong"]]
    assert json.loads(said.err)["error"] == "1 served values are not those of the lake"
    assert main(["features", "check", "--json"]) == 1
    again = json.loads(capsys.readouterr().out)
    assert (again["new"], len(again["incidents"])) == ([], 1)
    [incident] = observe(platform).incidents
    assert main(["monitor"]) == 0
    assert incident.id in capsys.readouterr().out
    assert main(["features", "check", "chrun"]) == 1


def test_a_backfill_mends_the_tiles(platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    group = applied(platform.metadata).project.groups["activity"]
    with platform.online.write() as writer:
        right = dict(writer.scan(tiles_space(group)))
        first, second = list(right)[:2]
        writer.put(tiles_space(group), first, right[second])
        writer.put(tiles_space(group), entity_key("nobody"), right[first])
    monkeypatch.chdir(platform.directory)
    assert main(["features", "backfill", "activity_visits_7d", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["group"], told["done"], told["position"]) == ("activity", True, platform.log.end("events/visits"))
    with platform.online.read() as view:
        assert dict(view.scan(tiles_space(group))) == right
    assert standings(platform)[0].state == "built"
    assert main(["features", "backfill", "activty"]) == 1
    assert "did you mean activity" in capsys.readouterr().err


def test_every_command_speaks_to_people_and_to_programs(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(platform.directory)
    for words in ([], ["list"], ["show", "activity"], ["preview", "activity"], ["lag"]):
        assert main(["features", *words]) == 0
        assert "activity" in capsys.readouterr().out
        assert main(["features", *words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)
    assert main(["features", "show", "activty"]) == 1
    assert "did you mean activity" in capsys.readouterr().err
    assert main(["features", "preview"]) == 2


def _iso(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
