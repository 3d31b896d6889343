"""What is kept of predictions: a sample that is the same everywhere, and no more of a request than was declared."""

from typing import Any

import msgspec
import numpy as np
from serving_world import NOW, Arm, LogbookDef, World, mint, model_def, until

from skyloom.serving.bulk import _kept, _Rows  # pyright: ignore[reportPrivateUsage]
from skyloom.serving.logbook import policy_of

FLIGHT = {"flight_id": "f", "scheduled": NOW, "carrier": "UA", "distance": 10.0, "seats": 5, "charter": False}


def test_a_sample_is_a_share_of_the_keys_and_always_the_same():
    policies = [policy_of(model_def("late", logbook=LogbookDef(sample=share))) for share in (0.1, 0.5, 1.0)]
    keys = [f"key-{number}" for number in range(20_000)]
    kept = [{key for key in keys if policy.keeps(key)} for policy in policies]
    assert kept[0] < kept[1] < kept[2] == set(keys)
    assert abs(len(kept[0]) - 2_000) < 200
    assert abs(len(kept[1]) - 10_000) < 400
    other = policy_of(model_def("other", logbook=LogbookDef(sample=0.1)))
    assert {key for key in keys if other.keeps(key)} == kept[0], "models that answer the same requests keep the same ones"


def test_champions_and_shadows_keep_receipts_of_the_same_requests_and_nothing_that_is_redacted(world: World, launch: Any):
    world.logbook = LogbookDef(sample=0.5, redact=("distance",), hashed=("carrier",))
    key, stored = mint(["admin"])
    arms = (Arm(1, world.package(0.25), 10_000, "champion"), Arm(2, world.package(0.5), 0, "shadow"))
    world.publish(world.release({"late": arms}, (stored,)))
    server = launch(world, key)
    ids = [f"f{number}" for number in range(40)]
    for number, id in enumerate(ids):
        status, answer = server.ask("POST", "/predict", {**FLIGHT, "flight_id": id, "distance": float(number)})
        assert status == 200
        assert abs(answer["score"] - (0.25 + number / 1_000)) < 1e-6, "the model is given everything"
    policy = policy_of(model_def("late", logbook=world.logbook))
    expected = {id for id in ids if policy.keeps(id)}
    assert 5 < len(expected) < 35
    until(lambda: len(world.receipts()) == 2 * len(expected))
    assert server.end() == 0
    by_arm = {arm: {each.key for each in world.receipts() if each.arm == arm} for arm in ("champion", "shadow")}
    assert by_arm == {"champion": expected, "shadow": expected}
    hashes = {each.request["hash(carrier)"] for each in world.receipts()}
    assert len(hashes) == 1
    assert "UA" not in hashes
    for each in world.receipts():
        assert set(each.request) == {"flight_id", "scheduled", "seats", "charter", "redacted(distance)", "hash(carrier)"}
        assert each.inputs[0] in hashes
        assert each.inputs[1] is None
        assert each.inputs[3] is None, "a feature that was looked up by what is redacted"


def test_new_keys_are_kept_by_chance_in_the_share_that_is_declared():
    drawn = [policy_of(model_def("late", logbook=LogbookDef(sample=share))).drawn(200_000) for share in (0.0001, 0.1, 0.9)]
    for places, expected in zip(drawn, (20, 20_000, 180_000), strict=True):
        assert abs(len(places) - expected) < 6 * expected**0.5  # six standard deviations, or more
        assert np.array_equal(np.unique(places), places)
        assert len(places) < 1_000 or 95_000 < places.mean() < 105_000
    again = policy_of(model_def("late", logbook=LogbookDef(sample=0.1))).drawn(200_000)
    assert not np.array_equal(again, drawn[1])


def test_of_rows_none_of_which_is_kept_there_are_no_receipts():
    policy = policy_of(model_def("late", logbook=LogbookDef(sample=0.0001)))
    units = [unit for unit in map(str, range(50)) if not policy.keeps(unit)]
    rows = _Rows([], {"flight_id": units}, units, units)
    assert _kept(rows, np.zeros(len(units)), policy, b"secret") is None


def test_rows_by_column_are_kept_as_single_rows_are():
    model = model_def("late", logbook=LogbookDef(sample=0.5, redact=("distance",), hashed=("carrier",)))
    policy = policy_of(msgspec.structs.replace(model, inputs=model.inputs[:2]))
    count = 200
    units = [f"f{number}" for number in range(count)]
    request = {"flight_id": units, "carrier": ["UA", None] * (count // 2), "distance": np.arange(count, dtype=np.float64)}
    rows = _Rows(["carrier", "distance"], request, units, [f"p{number}" for number in range(count)])
    kept = _kept(rows, np.arange(count, dtype=np.float64), policy, b"secret")
    assert kept is not None
    expected = [number for number in range(count) if policy.keeps(units[number])]
    assert (kept.ids, kept.scores.tolist()) == ([f"p{number}" for number in expected], expected)
    assert list(kept.request) == ["flight_id", "redacted(distance)", "hash(carrier)"]
    assert kept.inputs[1] == [None] * len(expected)
    assert kept.inputs[0] == kept.request["hash(carrier)"]
    assert [value is None for value in kept.inputs[0]] == [number % 2 == 1 for number in expected]
