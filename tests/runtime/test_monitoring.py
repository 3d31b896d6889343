"""What `skyloom monitor` tells, against what is known to be so."""

import json
from typing import Any

import pytest
from tests.runtime.logged import log_receipts

from skyloom.cli.main import main
from skyloom.kernel.errors import NotFound
from skyloom.platform import Platform
from skyloom.runtime.ingesting import ingest
from skyloom.runtime.monitoring import Health, observe

MODEL = "churn"


def health(platform: Platform, **options: Any) -> Health:
    [found] = observe(platform, MODEL, **options).models
    return found


def test_before_the_first_prediction(platform: Platform):
    report = observe(platform)
    [found] = report.models
    assert (found.champion, found.predictions.served, found.coverage) == (1, 0, None)
    assert (found.quality, found.estimate, found.drift, found.cohorts) == (None, None, (), ())
    assert report.quarantine == {}
    assert set(report.lag) == {"events/renewals", "events/visits", "events/decisions", "predictions/churn"}
    assert all((lag.unfolded, lag.unsunk) == (0, 0) for lag in report.lag.values())
    assert found.spent.endswith("USD")
    assert found.budget == "1,000.00 USD"


def test_quality_and_coverage_are_those_of_the_answers(platform: Platform, answer: Any):
    answered = answer(slice(0, 800))
    answer(slice(800, 1000), labels=False)
    found = health(platform)
    assert (found.predictions.served, found.predictions.labelled) == (1000, 800)
    assert sum(cohort.predictions for cohort in found.cohorts) == 1000
    assert len({cohort.start_ms for cohort in found.cohorts}) <= 12
    assert found.quality is not None
    assert found.quality.rows == 800
    assert found.quality.now == pytest.approx(_auc(platform, answered))
    assert found.promise is not None
    assert found.quality.promised == found.promise.metrics["roc_auc"]


def _auc(platform: Platform, answered: list[Any]) -> float:
    from sklearn.metrics import roc_auc_score

    events = platform.lake.read("events/decisions")
    known = dict(zip(events.column("renewal_id").to_pylist(), events.column("cancelled").to_pylist(), strict=True))
    return roc_auc_score([known[receipt.key] for receipt in answered], [receipt.score for receipt in answered])


def test_skew_is_found_in_what_was_not_served_as_logged(platform: Platform, answer: Any):
    import msgspec

    receipts = answer(slice(0, 20))
    assert health(platform).skew.differences == ()
    wrong = msgspec.structs.replace(receipts[0], id="p_wrong", inputs=(*receipts[0].inputs[:-1], 1e6), logged_ms=2**41)
    log_receipts(platform, MODEL, [wrong])
    skew = health(platform, all_skew=True).skew
    assert (skew.predictions, [each.receipt for each in skew.differences]) == (21, ["p_wrong"])
    assert observe(platform).lag["predictions/churn"].unsunk == 0


def test_drift_names_the_column_that_moved_most(platform: Platform, answer: Any):
    answer(slice(-700, None))  # customers of the last months: they have been there for longer than those learned from
    [first, *_] = health(platform).drift
    assert (first.column, first.aspect, first.drifted) == ("months", "values", True)
    assert first.distance > first.limit
    assert first.rule


def test_rejected_rows_are_counted_by_reason(platform: Platform):
    file = platform.directory / "more.csv"
    file.write_text("visit_id,at,customer_id,minutes,asked_support\na,1969-01-01T00:00:00Z,c1,1.0,true\n")
    ingest(platform, "visits", file)
    assert observe(platform).quarantine == {"visits": {"at: before 1970": 1}}


def test_the_command(platform: Platform, answer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    answer(slice(0, 600))
    monkeypatch.chdir(platform.directory)
    assert main(["monitor"]) == 0
    told = capsys.readouterr().out
    for word in ("600 came", "no drop is shown: roc_auc", "0 different; 200 predictions", "holdout", "top movers"):
        assert word in told
    assert main(["monitor", MODEL, "--skew", "--json"]) == 0
    [told_model] = json.loads(capsys.readouterr().out)["models"]
    assert told_model["skew"]["predictions"] == 600
    with pytest.raises(NotFound):
        observe(platform, "chrun")
