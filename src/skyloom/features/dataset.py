"""Training sets: every request with its inputs as they were known at its moment, and its label once it is mature.

Requests come from two places. Those that were *served* carry the offsets that they saw (``as_served``): their features
are recomputed from exactly these events. Those that lie in the source's own table see what was visible at their time
(``as_available``; imported history, which has no arrival times, by event time and declared delay).
"""

from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.features.columns import milliseconds
from skyloom.features.pit import Asked, Progress, by_offset, by_time, join
from skyloom.features.spaces import progress_space, unpack
from skyloom.ingest.codec import event_schema
from skyloom.ingest.receipts import RECEIPTS, predictions_topic
from skyloom.ingest.sink import events_topic
from skyloom.kernel.columns import ARROW_TYPES, arrow_schema, evaluate_columns
from skyloom.kernel.ids import content_id
from skyloom.kernel.records.definitions import InputDef, ModelDef, ProjectDef, SourceDef
from skyloom.kernel.records.registry import DataVersion
from skyloom.ports.lake import Lake
from skyloom.ports.online import OnlineStore

pc: Any = _compute
_MOMENT = pa.timestamp("ms", tz="UTC")
_LABEL_MATURITY = 0.995
"""A request is mature when it is older than this quantile of the delays with which labels came."""


class Dataset(NamedTuple):
    """``table``: ``key``, ``t``, the inputs by name, ``label`` (float64), one row a mature, labelled request, by time.

    ``requests`` counts all, ``unlabelled`` the mature ones whose label never came, ``immature`` the ones still waiting.
    """

    table: pa.Table
    requests: int
    unlabelled: int
    immature: int
    version: DataVersion | None


class Requests(NamedTuple):
    """Requests with what each saw: ``rows`` in the source's columns, ``t`` [m] ms, and for served ones the offsets."""

    rows: pa.Table
    t: npt.NDArray[np.int64]
    as_of: list[dict[str, int]] | None


def build(model: ModelDef, project: ProjectDef, lake: Lake, online: OnlineStore, *, now_ms: int) -> Dataset:
    """The training set of a model from everything in the lake, stored as a version of the table ``training/<model>``."""
    parts = [part for part in (_served(model, project, lake), _listed(model, project, lake)) if len(part.rows)]
    source = project.sources[model.requests]
    if not parts:
        empty = inputs_of(model, project, Requests(arrow_schema(source.schema).empty_table(), _none(), None), lake, online)
        return Dataset(_finish(empty, [], np.zeros(0)), 0, 0, 0, None)
    keys = pa.concat_arrays([part.rows.column(source.schema.key).combine_chunks() for part in parts])
    first = _first(keys)
    table = pa.concat_tables([inputs_of(model, project, part, lake, online) for part in parts]).filter(first)
    label, delay = _labels(model, project, lake, table)
    known = ~np.isnan(label)
    mature = milliseconds(table.column("t")) <= now_ms - _maturity(model, delay[known])
    kept = _finish(table, ["t", "key"], label, known & mature)
    version = _store(model, project, lake, kept)
    unlabelled, immature = int((mature & ~known).sum()), int((~mature).sum())
    return Dataset(kept, len(table), unlabelled, immature, version)


def inputs_of(model: ModelDef, project: ProjectDef, requests: Requests, lake: Lake, online: OnlineStore) -> pa.Table:
    """``key``, ``t`` and every input of the model for each request, from the lake alone."""
    schema = project.sources[model.requests].schema
    columns: dict[str, Any] = {
        "key": requests.rows.column(schema.key),
        "t": pa.chunked_array([pa.array(requests.t).cast(_MOMENT)]),
    }
    groups = {(i.group, i.entity or ()) for i in model.inputs if i.group is not None}
    windowed = {pair: _windowed(*pair, project, requests, lake, online) for pair in groups}
    for wanted in model.inputs:
        if wanted.expression is not None:
            value = evaluate_columns(wanted.expression, requests.rows)
            columns[wanted.name] = value.cast(ARROW_TYPES[wanted.type])
        else:
            columns[wanted.name] = _feature(wanted, project, windowed[str(wanted.group), wanted.entity or ()])
    for gate in model.loop.gates:
        if gate.column is not None and gate.column not in columns:
            columns[gate.column] = requests.rows.column(gate.column)  # slices may be by what is no input
    return pa.table(columns)


def _feature(wanted: InputDef, project: ProjectDef, values: npt.NDArray[np.float64]) -> pa.Array:
    aggregates = [a.name for a in project.groups[str(wanted.group)].aggregates]
    column = values[:, aggregates.index(str(wanted.aggregate))]
    return pa.array(column, pa.float64(), mask=np.isnan(column))


def _windowed(
    name: str, entity: tuple[str, ...], project: ProjectDef, requests: Requests, lake: Lake, online: OnlineStore
) -> npt.NDArray[np.float64]:
    group = project.groups[name]
    source = project.sources[group.source]
    events = read_events(lake, source)
    if requests.as_of is None:
        order, asked = by_time(events, source, progress(online, source.name)), requests.t
    else:
        order = by_offset(events)
        asked = np.array([seen.get(source.name, 0) for seen in requests.as_of], np.int64)
    return join(group, source, events, order, Asked([requests.rows.column(column) for column in entity], requests.t, asked))


def read_events(lake: Lake, source: SourceDef) -> pa.Table:
    """The first copies of a source's events; none when nothing came in yet."""
    if lake.version(events_topic(source.name)) is None:
        return event_schema(source.schema).empty_table()
    return lake.read(events_topic(source.name))


def progress(online: OnlineStore, source: str) -> Progress:
    """The progress log of a source's worker."""
    with online.read() as view:
        entries = [(unpack(value), unpack(key)) for key, value in view.scan(progress_space(source))]
    table = np.array(entries, np.int64).reshape(-1, 2)
    return Progress(table[:, 0].copy(), table[:, 1].copy())


def served(receipts: pa.Table, source: SourceDef) -> Requests:
    """The requests of receipts (rows of `RECEIPTS`), with the offsets that each saw."""
    rows = [msgspec.json.decode(cell) for cell in receipts.column("request").to_pylist()]
    schema = arrow_schema(source.schema)
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
    as_of = [msgspec.json.decode(cell) for cell in receipts.column("as_of").to_pylist()]
    return Requests(pa.table(columns, schema), milliseconds(receipts.column("at_ms")), as_of)


def _served(model: ModelDef, project: ProjectDef, lake: Lake) -> Requests:
    table = predictions_topic(model.name)
    receipts = RECEIPTS.empty_table() if lake.version(table) is None else lake.read(table, where=[("arm", "!=", "shadow")])
    return served(receipts, project.sources[model.requests])


def _listed(model: ModelDef, project: ProjectDef, lake: Lake) -> Requests:
    source = project.sources[model.requests]
    rows = read_events(lake, source).select(list(source.schema.names))
    return Requests(rows, milliseconds(rows.column(source.schema.time)), None)


def _first(keys: pa.Array) -> pa.Array:
    """Where each key stands for the first time."""
    codes = keys.dictionary_encode().indices.to_numpy()
    keep = np.zeros(len(codes), np.bool_)
    keep[np.unique(codes, return_index=True)[1]] = True
    return pa.array(keep)


def _labels(
    model: ModelDef, project: ProjectDef, lake: Lake, requests: pa.Table
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The label of each request (NaN: none within its bound) and the delay with which it came, in ms."""
    source = project.sources[model.label.source]
    events = read_events(lake, source)
    t = milliseconds(requests.column("t"))
    if len(events) == 0:
        return np.full(len(t), np.nan), np.full(len(t), np.nan)
    value = evaluate_columns(model.label.value, events).cast(pa.float64()).to_numpy()
    at = pc.index_in(requests.column("key"), value_set=events.column(model.label.on)).to_numpy()
    found = ~np.isnan(at.astype(float))
    row = np.where(found, at, 0).astype(np.int64)
    delay = np.where(found, milliseconds(events.column(source.schema.time))[row] - t, np.nan)
    within = found & (delay <= model.label.within_ms)
    return np.where(within, value[row], np.nan), np.where(within, delay, np.nan)


def _maturity(model: ModelDef, delays: npt.NDArray[np.float64]) -> int:
    if len(delays) == 0:
        return model.label.within_ms
    return min(model.label.within_ms, int(np.quantile(delays, _LABEL_MATURITY)))


def _finish(
    table: pa.Table, order: list[str], label: npt.NDArray[np.float64], keep: npt.NDArray[np.bool_] | None = None
) -> pa.Table:
    table = table.append_column("label", pa.array(label, pa.float64()))
    if keep is not None:
        table = table.filter(pa.array(keep))
    return table.sort_by([(name, "ascending") for name in order]) if order else table


def _store(model: ModelDef, project: ProjectDef, lake: Lake, table: pa.Table) -> DataVersion:
    names = {model.requests, model.label.source, *(project.groups[i.group].source for i in model.inputs if i.group)}
    topics = [*(events_topic(name) for name in sorted(names)), predictions_topic(model.name)]
    sources = {topic: version for topic in topics if (version := lake.version(topic)) is not None}
    name = f"training/{model.name}"
    version = lake.overwrite(name, table)
    return DataVersion(name, version, content_id([content_id(model), sources]), sources)


def _none() -> npt.NDArray[np.int64]:
    return np.zeros(0, np.int64)
