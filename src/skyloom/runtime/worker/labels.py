"""What a label source says about requests."""

import pyarrow as pa

from skyloom.features.algebra.columns import milliseconds
from skyloom.kernel.columns import evaluate_columns
from skyloom.kernel.records.definitions import ModelDef, SourceDef


def label_rows(model: ModelDef, source: SourceDef, events: pa.Table) -> list[tuple[str, float, int]]:
    """(request key, label, time in ms) of events of a model's label source; without those that say nothing."""
    if len(events) == 0:
        return []
    values = evaluate_columns(model.label.value, events).cast(pa.float64()).to_pylist()
    keys = events.column(model.label.on).to_pylist()
    times = milliseconds(events.column(source.schema.time)).tolist()
    rows = zip(keys, values, times, strict=True)
    return [(str(key), value, at) for key, value, at in rows if value is not None and key is not None]
