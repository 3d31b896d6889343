"""From key to foreign key: rows of tables, and windows of what they point at, as requests were to see them."""

from typing import Any

import msgspec
import pytest
from tests.features import oracle
from tests.features.histories import GROUPS
from tests.features.test_dataset import CALLS, MODEL, NOW, PROJECT, World, receipt, visible, world

from skyloom.features.offline.dataset import build, definition_digest
from skyloom.ingest.receipts import receipts_table
from skyloom.kernel.expr import col
from skyloom.kernel.records.definitions import MODES, FeatureGroupDef, InputDef, LookupDef, ModelDef, ProjectDef
from skyloom.kernel.records.prediction import predictions_topic
from skyloom.kernel.schema import Type

__all__ = ["world"]

PEOPLE = FeatureGroupDef("people", "landings", ("who",), (), {}, 0, attributes=("x", "who", "at", "n", "desk"))
DESKS = FeatureGroupDef("desks", "calls", ("desk",), (), {}, 0, attributes=("who", "ok"))
RECENT = msgspec.structs.replace(GROUPS[1], name="recent", source="calls")
MODEL_OF_ROWS: ModelDef = msgspec.structs.replace(
    MODEL,
    lookups=(LookupDef("people", "people", ("person",)), LookupDef("their_desk", "desks", ("people.desk",))),
    inputs=(
        InputDef("x", Type.FLOAT, expression=col("people.x").expression),
        InputDef("ok", Type.BOOL, expression=col("their_desk.ok").expression),
        InputDef("next", Type.STRING, expression=col("their_desk.who").expression),
        *(
            InputDef(a.name, Type.FLOAT, group="recent", aggregate=a.name, entity=("people.desk",))
            for a in RECENT.aggregates
        ),
    ),
)
PROJECT_OF_ROWS: ProjectDef = msgspec.structs.replace(
    PROJECT, groups={"people": PEOPLE, "desks": DESKS, "recent": RECENT}, models={"bad": MODEL_OF_ROWS}
)


def row_of(world: World, mode: str, ask: dict[str, Any], table: FeatureGroupDef, key: Any, place: str) -> dict[str, Any]:
    source = PROJECT.sources[table.source]
    offsets = world.as_of.get(ask["ask"])
    seen = world._replace(as_of={ask["ask"]: {source.name: offsets[place]}} if offsets else {})
    events = [event for event in visible(seen, mode, ask, source) if key is not None and event.row[table.by[0]] == key]
    if not events:
        return dict.fromkeys(table.attributes)
    return max(events, key=lambda event: (event.effective, event.offset)).row


def expected(world: World, mode: str) -> list[dict[str, Any]]:
    chosen = [ask for ask in world.asks if mode != "as_served" or ask["ask"] in world.as_of]
    rows = []
    for ask in sorted(chosen, key=lambda ask: (ask["at"], ask["ask"])):
        person = row_of(world, mode, ask, PEOPLE, ask["person"], "landings@people")
        desk = row_of(world, mode, ask, DESKS, person["desk"], "calls@their_desk")
        values = oracle.features(RECENT, visible(world, mode, ask, CALLS), (person["desk"],), ask["at"])
        windows = {a.name: value for a, value in zip(RECENT.aggregates, values, strict=True)}
        label = float(world.asks.index(ask) % 3 == 0)
        rows.append({"key": ask["ask"], "x": person["x"], "ok": desk["ok"], "next": desk["who"], **windows, "label": label})
    return rows


@pytest.mark.parametrize("mode", MODES)
def test_rows_of_tables_and_what_they_point_at_are_as_requests_saw_them(world: World, mode: str) -> None:
    for index, seen in enumerate(world.as_of.values()):  # three reads of one request may have seen three moments
        seen |= {"landings@people": (seen["landings"] * 7 + index) % 151, "calls@their_desk": (seen["calls"] * 3) % 151}
    receipts = [receipt(ask, world.as_of[ask["ask"]]) for ask in world.asks if ask["ask"] in world.as_of]
    world.lake.overwrite(predictions_topic("bad"), receipts_table(receipts))
    made = build(MODEL_OF_ROWS, PROJECT_OF_ROWS, world.lake, world.online, now_ms=NOW, mode=mode)
    assert made.table.drop_columns(["t"]).to_pylist() == expected(world, mode)
    assert made.version is not None
    assert set(made.version.sources) == {f"events/{name}" for name in ("asks", "calls", "ends", "landings")} | {
        "predictions/bad"
    }


def test_the_digest_names_lookups() -> None:
    other = msgspec.structs.replace(MODEL_OF_ROWS, lookups=MODEL_OF_ROWS.lookups[:1])
    assert definition_digest(other, PROJECT_OF_ROWS, MODES[0]) != definition_digest(MODEL_OF_ROWS, PROJECT_OF_ROWS, MODES[0])
    assert MODEL_OF_ROWS.groups == ("people", "desks", "recent")
