"""A narrowed lake: fewer events are read, and no value changes."""

from typing import Any

import msgspec

from skyloom.features.offline.dataset import inputs_of, served
from skyloom.ingest.receipts import receipts_table
from skyloom.kernel.records.definitions import AggregateDef, FeatureGroupDef
from skyloom.kernel.units import DAY, HOUR
from skyloom.platform import Platform
from skyloom.runtime.narrow import narrowed, reach_of
from skyloom.runtime.state import applied

MODEL = "churn"


def test_fewer_events_give_the_same_inputs(platform: Platform, answer: Any):
    receipts = answer(slice(300, 340))
    project = applied(platform.metadata).project
    model = project.models[MODEL]
    requests = served(receipts_table(receipts), project.sources[model.requests])
    lake = narrowed(platform.lake, model, project, receipts)
    read, whole = lake.read("events/visits"), platform.lake.read("events/visits")
    assert 0 < len(read) < len(whole) / 5
    assert sum(batch.num_rows for batch in lake.scan("events/visits")) == len(read)
    assert len(lake.read("events/renewals")) == len(platform.lake.read("events/renewals"))
    asked = (model, project, requests)
    assert inputs_of(*asked, lake, platform.online) == inputs_of(*asked, platform.lake, platform.online)
    assert (lake.tables(), lake.version("events/visits")) == (platform.lake.tables(), platform.lake.version("events/visits"))


def test_requests_without_an_entity_read_what_is_recent(platform: Platform, answer: Any):
    [receipt, *_] = answer(slice(-1, None))
    nobody = msgspec.structs.replace(receipt, request={**receipt.request, "customer_id": None})
    project = applied(platform.metadata).project
    rows = narrowed(platform.lake, project.models[MODEL], project, [nobody]).read("events/visits").to_pylist()
    assert rows
    assert min(row["at"].timestamp() * 1000 for row in rows) >= receipt.at_ms - 29 * 86_400_000


def test_the_reach_of_a_group_is_that_of_its_longest_window():
    aggregates = (
        AggregateDef("a", "count", None, 2 * DAY, HOUR),
        AggregateDef("b", "count", None, DAY, HOUR, offset_ms=3 * DAY),
    )
    assert reach_of(FeatureGroupDef("g", "s", ("k",), aggregates, {}, 0)) == 4 * DAY + HOUR
    assert reach_of(FeatureGroupDef("t", "s", ("k",), (), {}, 0, attributes=("x",))) is None
