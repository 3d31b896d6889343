"""Receipts that leave columns out: no fault where they are compared, no row where they would teach something wrong."""

from typing import Any

import msgspec
import pytest
from tests.runtime.logged import log_receipts

from skyloom.features.offline.dataset import build
from skyloom.kernel.errors import Refused
from skyloom.kernel.records.definitions import LogbookDef, ModelDef
from skyloom.kernel.records.hidden import hidden_inputs
from skyloom.kernel.records.prediction import Receipt
from skyloom.platform import Platform
from skyloom.runtime.applying import apply
from skyloom.runtime.consistency import Watch
from skyloom.runtime.control import reconcile
from skyloom.runtime.inspection import input_drift
from skyloom.runtime.ownership import settle
from skyloom.runtime.receipts import provenance, replay
from skyloom.runtime.skew import check_skew
from skyloom.runtime.state import applied, model_of
from skyloom.serving.logbook import policy_of

MODEL = "churn"
FEATURES = ["visits_7d", "visits_28d", "minutes_28d"]


def leaving_out(platform: Platform, **logbook: Any) -> ModelDef:
    return msgspec.structs.replace(model_of(platform, MODEL), logbook=LogbookDef(**logbook))


def log_redacted(platform: Platform, receipts: list[Receipt], model: ModelDef) -> list[Receipt]:
    redacted = [policy_of(model).redacted(msgspec.structs.replace(r, id=f"{r.id}_redacted"), b"secret") for r in receipts]
    log_receipts(platform, MODEL, redacted)
    settle(platform, applied(platform.metadata).project)
    return redacted


def test_what_follows_from_a_column_is_left_out_with_it(platform: Platform, answer: Any):
    names = [each.name for each in model_of(platform, MODEL).inputs]
    assert list(hidden_inputs(leaving_out(platform, redact=("plan",)))) == ["plan"]
    hidden = hidden_inputs(leaving_out(platform, hashed=("customer_id",)))
    assert set(hidden) == set(names) - {"plan", "price", "months"}
    assert set(hidden.values()) == {""}, "a number has no hash"
    assert hidden_inputs(leaving_out(platform, hashed=("plan",))) == {"plan": "plan"}
    receipts = answer(slice(0, 3))
    for receipt in receipts:
        redacted = policy_of(leaving_out(platform, redact=("price",), hashed=("plan",))).redacted(receipt, b"secret")
        assert set(redacted.request) == {"renewal_id", "due", "customer_id", "months", "hash(plan)", "redacted(price)"}
        assert redacted.inputs[:2] == (redacted.request["hash(plan)"], None)
        assert redacted.inputs[2:] == receipt.inputs[2:]
        assert str(receipt.request["plan"]) not in repr(redacted)


def test_redacted_receipts_are_no_incident_and_are_told(platform: Platform, answer: Any):
    receipts = answer(slice(0, 8))
    redacted = log_redacted(platform, receipts[:5], leaving_out(platform, redact=("customer_id",)))
    skew = check_skew(platform, MODEL)
    assert (skew.predictions, skew.differences, skew.redacted) == (8, (), 5)
    assert Watch(platform).look() == []
    with pytest.raises(Refused, match="does not keep customer_id") as refused:
        replay(platform, redacted[0].id)
    assert refused.value.fix
    assert provenance(platform, redacted[0].id).inputs["price"] == receipts[0].inputs[1]


def test_redacted_requests_teach_nothing(platform: Platform, answer: Any):
    project = applied(platform.metadata).project
    receipts = answer(slice(0, 8))
    log_redacted(platform, receipts[:5], leaving_out(platform, redact=("price",)))
    log_redacted(platform, receipts[5:], leaving_out(platform, hashed=("plan",)))
    found = build(
        project.models[MODEL], project, platform.lake, platform.online, now_ms=platform.clock.now_ms(), mode="as_served"
    )
    assert found.requests == 8


def test_inputs_that_are_left_out_do_not_drift(platform: Platform, answer: Any):
    answer(slice(0, 8))
    everything = {each.column for each in input_drift(platform, MODEL)}
    declare(platform, 'sky.Logbook(redact=["customer_id"], sample=0.5)')
    assert everything - {each.column for each in input_drift(platform, MODEL)} == set(
        hidden_inputs(model_of(platform, MODEL))
    )


def test_what_is_kept_is_what_is_declared_now(platform: Platform):
    reconcile(platform, actor="tester")
    declare(platform, 'sky.Logbook(redact=["price"], when_full="refuse")')
    assert reconcile(platform, actor="tester")
    from skyloom.delivery.release import current

    released = current(platform.objects, platform.verifier)
    assert released is not None
    assert released[1].routes[MODEL].model.logbook == LogbookDef(redact=("price",), when_full="refuse")


def test_what_is_promised_is_what_is_declared_now(platform: Platform):
    reconcile(platform, actor="tester")
    declare(platform, 'None, max_latency="75ms"')
    assert reconcile(platform, actor="tester")
    from skyloom.delivery.release import current

    released = current(platform.objects, platform.verifier)
    assert released is not None
    assert released[1].routes[MODEL].model.max_latency_ms == 75


def declare(platform: Platform, logbook: str) -> None:
    """Apply the project with another logbook."""
    file = platform.directory / "churn.py"
    file.write_text(file.read_text().replace("label=cancels", f"label=cancels, logbook={logbook}"))
    apply(platform)
