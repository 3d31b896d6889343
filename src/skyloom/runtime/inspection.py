"""What a model's champion learned from, beside what it meets now."""

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from skyloom.features.algebra.columns import milliseconds
from skyloom.kernel.columns import ARROW_TYPES
from skyloom.kernel.records.definitions import ModelDef
from skyloom.kernel.records.hidden import hidden_inputs
from skyloom.kernel.records.prediction import predictions_topic
from skyloom.kernel.records.registry import Version
from skyloom.monitoring.drift import MIN_ROWS, ColumnDrift, compare, same_weekday, widened
from skyloom.monitoring.profile import Bins, Profile, bins_of, profile
from skyloom.platform import Platform
from skyloom.registry.champion import champion_of
from skyloom.registry.runs import get_run
from skyloom.registry.versions import get_version
from skyloom.runtime.definitions import definition_of
from skyloom.runtime.state import model_of

DAY_MS = 86_400_000
RECENT = 20_000
"""The newest requests that are looked at."""

MISSING_JUMP = 0.2
"""A column that is missing this much more often than in the training set is broken, not drifting."""


def input_drift(platform: Platform, model: str) -> list[ColumnDrift]:
    """The champion's inputs in the newest day of requests (widened to 500 rows) against its training set.

    The reference is the same weekday of the training set's last twelve weeks, where such days have 500 rows, and the set
    as a whole otherwise. Inputs that receipts do not keep are left out. Empty when nothing serves or nothing was asked yet.
    """
    version = _champion(platform, model)
    if version is None:
        return []
    kept = definition_of(platform, version).model
    trained, asked = _training_set(platform, version), recent_inputs(platform, kept)
    if trained is None or not len(asked):
        return []
    known = model_of(platform, model)
    hidden = {*hidden_inputs(msgspec.structs.replace(kept, logbook=known.logbook)), *hidden_inputs(kept)}
    bins = bins_of(trained.select([wanted.name for wanted in kept.inputs if wanted.name not in hidden]))
    current = _daily(asked, bins)
    reference = [each for each in same_weekday(_daily(trained, bins), current[-1][0]) if each.rows >= MIN_ROWS]
    reference = reference or [profile(trained, bins)]
    return compare(widened([each for _, each in current]), reference, bins)


def data_faults(platform: Platform, model: str) -> list[str]:
    """Why the present data must not be learned from: columns that have gone missing since the champion was trained."""
    return [
        f"the share of missing values of {each.column} has moved by {each.distance:.0%} since the training"
        for each in input_drift(platform, model)
        if each.aspect == "missing" and each.drifted and each.distance >= MISSING_JUMP
    ]


def recent_inputs(platform: Platform, model: ModelDef) -> pa.Table:
    """``t`` and the inputs of the newest answers to users, by time; shadow copies left out."""
    schema = pa.schema([("t", pa.timestamp("ms", tz="UTC")), *((i.name, ARROW_TYPES[i.type]) for i in model.inputs)])
    table = predictions_topic(model.name)
    if platform.lake.version(table) is None:
        return schema.empty_table()
    rows = platform.lake.read(table, columns=["at_ms", "inputs"], where=[("arm", "!=", "shadow")])
    rows = rows.take(np.argsort(milliseconds(rows.column("at_ms")), kind="stable")[-RECENT:])
    values = [msgspec.json.decode(cell) for cell in rows.column("inputs").to_pylist()]
    fit = [place for place, each in enumerate(values) if len(each) == len(model.inputs)]
    cells: Any = zip(*(values[place] for place in fit), strict=True) if fit else ([] for _ in model.inputs)
    columns = [pa.array(list(column), ARROW_TYPES[i.type]) for column, i in zip(cells, model.inputs, strict=True)]
    return pa.table([rows.column("at_ms").take(fit).cast(schema.field("t").type), *columns], schema)


def _daily(table: pa.Table, bins: dict[str, Bins]) -> list[tuple[int, Profile]]:
    """The profile of each day (UTC) that has rows: (its start in ms, profile), oldest first."""
    days = milliseconds(table.column("t")) // DAY_MS
    return [(int(day) * DAY_MS, profile(table.filter(pa.array(days == day)), bins)) for day in np.unique(days)]


def _training_set(platform: Platform, version: Version) -> pa.Table | None:
    data = get_run(platform.metadata, version.run).data
    return None if data is None else platform.lake.read(data.table, version=data.version)


def _champion(platform: Platform, model: str) -> Version | None:
    champion = champion_of(platform.metadata, model)
    return None if champion is None else get_version(platform.metadata, model, champion.version)
