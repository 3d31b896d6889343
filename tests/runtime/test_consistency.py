"""Consistency, watched: a corrupt tile or receipt becomes an incident, and a sound run has none."""

import logging
from typing import Any

import msgspec
import pytest
from tests.runtime.logged import log_receipts

from skyloom.features.online.lookup import OnlineFeatures
from skyloom.features.spaces import tiles_space
from skyloom.ingest.rows import encode_rows
from skyloom.kernel.entity import entity_key
from skyloom.kernel.records.prediction import Receipt, predictions_topic
from skyloom.monitoring.incidents import incidents
from skyloom.platform import Platform, open_platform
from skyloom.ports.log import NewBatch
from skyloom.runtime.consistency import SAMPLE, Watch, sample_of
from skyloom.runtime.ownership import settle
from skyloom.runtime.skew import check_skew
from skyloom.runtime.state import applied
from skyloom.runtime.watched import watched
from skyloom.runtime.worker import erase

MODEL = "churn"


def test_a_sound_run_has_no_incident_and_no_round_repeats_another(platform: Platform, answer: Any):
    assert Watch(platform).look() == []
    assert watched(platform, MODEL).at_ms is None
    receipts = answer(slice(0, 50))
    assert Watch(platform).look() == []
    first = watched(platform, MODEL)
    assert (first.predictions, first.passed, first.unequal, first.failed) == (SAMPLE, 50 - SAMPLE, 0, 0)
    assert first.values == SAMPLE * len(receipts[0].inputs)
    assert first.position == platform.log.end(predictions_topic(MODEL))
    assert Watch(open_platform(platform.directory)).look() == []  # another process: it goes on where the first one stood
    assert watched(platform, MODEL) == first
    assert incidents(platform.metadata) == []


def test_a_corrupt_receipt_is_an_incident_once(
    platform: Platform, answer: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    right = answer(slice(0, 5))
    wrong = msgspec.structs.replace(right[0], id="p_wrong", inputs=(*right[0].inputs[:-1], 1e6))
    _log(platform, [wrong])
    with caplog.at_level(logging.ERROR):
        [found] = Watch(platform).look()
    assert (found.model, found.found_by, found.receipts, found.values) == (MODEL, "consistency", ("p_wrong",), 1)
    assert (found.differences[0].served, found.differences[0].recomputed) == (1e6, right[0].inputs[-1])
    assert "p_wrong" in caplog.text
    [change] = platform.metadata.changes("incident")
    assert (change.actor, change.action, change.id) == ("consistency", "incident.found", f"{MODEL}/{found.id}")
    (platform.state / "consistency" / f"{MODEL}.json").unlink()  # killed before it noted how far it was
    assert Watch(platform).look() == []
    assert incidents(platform.metadata, MODEL) == [found]
    assert watched(platform, MODEL).unequal == 1


def test_a_corrupt_tile_is_an_incident(platform: Platform, answer: Any):
    template = answer(slice(-40, None))
    assert Watch(platform).look() == []
    served = [_from_tiles(platform, receipt) for receipt in template]
    assert [each.inputs for each in served] == [each.inputs for each in template]
    victim = next(each for each in template if any(each.inputs[-3:]))
    _corrupt(platform, str(victim.request["customer_id"]))
    broken = _from_tiles(platform, victim)
    assert broken.inputs != victim.inputs
    _log(platform, [broken])
    [found] = Watch(platform).look()
    assert found.receipts == (broken.id,)


def test_a_prediction_waits_until_the_lake_holds_what_it_saw(platform: Platform, answer: Any):
    receipts = answer(slice(0, 3))
    seen = {source: offset + 1 for source, offset in receipts[0].as_of.items()}
    assert Watch(platform).look() == []
    _log(platform, [msgspec.structs.replace(receipts[0], id="p_early", as_of=seen)])
    before = watched(platform, MODEL)
    assert Watch(platform).look() == []
    assert watched(platform, MODEL) == before


def test_a_prediction_after_nothing_but_copies_is_compared_too(platform: Platform, answer: Any):
    """The lake keeps no position for rows that it does not take: what counts is that none is left to take."""
    [receipt, *_] = answer(slice(0, 1))
    Watch(platform).look()
    row = platform.lake.read("events/visits").slice(0, 1).to_pylist()[0]
    row["at"] = int(row["at"].timestamp() * 1000)
    values = [row[name] for name in applied(platform.metadata).project.sources["visits"].schema.names]
    platform.log.append("events/visits", [NewBatch(1, platform.clock.now_ms(), False, encode_rows([values]))])
    _log(platform, [msgspec.structs.replace(receipt, id="p_after", as_of={"visits": platform.log.end("events/visits")})])
    assert Watch(platform).look() == []
    assert watched(platform, MODEL).predictions == 2


def test_values_that_were_served_before_an_erasure_are_no_fault(platform: Platform, answer: Any):
    receipts = answer(slice(-40, None))
    victim = next(each for each in receipts if any(each.inputs[-3:]))
    erase(platform, "visits", "customer_id", [str(victim.request["customer_id"])], actor="tester")
    _log(platform, [])
    assert Watch(platform).look() == []
    skew = check_skew(platform, MODEL)
    assert (skew.differences, skew.erased > 0) == ((), True)


def test_what_cannot_be_computed_again_does_not_stop_the_watch(platform: Platform, answer: Any):
    receipts = answer(slice(0, 6))
    Watch(platform).look()
    gone = msgspec.structs.replace(receipts[0], id="p_gone", version=9)
    damaged = msgspec.structs.replace(receipts[1], id="p_damaged", request={"plan": "basic"})
    wrong = msgspec.structs.replace(receipts[2], id="p_wrong", inputs=receipts[2].inputs[:-1])
    _log(platform, [gone, damaged, wrong, msgspec.structs.replace(receipts[3], id="p_right")])
    before = watched(platform, MODEL)
    [found] = Watch(platform).look()
    assert found.receipts == ("p_wrong",)
    now = watched(platform, MODEL)
    assert (now.failed, now.predictions - before.predictions, now.unequal) == (2, 2, 1)
    assert now.position == platform.log.end(predictions_topic(MODEL))


def test_the_sample_is_the_same_when_taken_again(answer: Any):
    receipts = answer(slice(0, 60))
    assert sample_of(receipts, 10) == sample_of(receipts[::-1], 10)
    assert len({receipt.id for receipt in sample_of(receipts, 10)}) == 10


def _log(platform: Platform, receipts: list[Receipt]) -> None:
    if receipts:
        log_receipts(platform, MODEL, receipts)
    settle(platform, applied(platform.metadata).project)


def _from_tiles(platform: Platform, receipt: Receipt) -> Receipt:
    """The same prediction with its windowed features as serving reads them: from the tiles of the online store."""
    project = applied(platform.metadata).project
    model = project.models[MODEL]
    values = dict(zip((wanted.name for wanted in model.inputs), receipt.inputs, strict=True))
    for name, group in project.groups.items():
        entity = tuple(receipt.request[column] for column in group.by)
        read = OnlineFeatures(platform.online, {name: group}).read([(name, entity)], receipt.at_ms)  # pyright: ignore
        assert read.as_of == receipt.as_of
        for aggregate, value in zip(group.aggregates, read.values[0], strict=True):
            if f"{name}_{aggregate.name}" in values:
                values[f"{name}_{aggregate.name}"] = value
    return msgspec.structs.replace(receipt, id=f"{receipt.id}_tiles", inputs=tuple(values.values()))


def _corrupt(platform: Platform, customer: str) -> None:
    """Let a customer have the tiles of another one."""
    [group] = applied(platform.metadata).project.groups.values()
    with platform.online.write() as writer:
        others = (key for key, _ in writer.scan(tiles_space(group)) if key != entity_key(customer))
        wrong = writer.get(tiles_space(group), next(others))
        assert wrong is not None
        writer.put(tiles_space(group), entity_key(customer), wrong)
