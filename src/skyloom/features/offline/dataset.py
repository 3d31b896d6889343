"""Training sets: every request with its inputs as they were known at its moment, and its label once it is mature.

Requests come from two places: those that were *served* carry the offsets that they saw, the others lie in the source's
own table. What they see is a mode:

- ``as_available``, the default: a served request sees exactly the events that it saw, another one what was visible at its
  time by the worker's progress log; imported history, which has no arrival times, by event time and declared delay;
- ``as_served``: served requests only, each with exactly the events that it saw;
- ``as_event``: every request sees all that had happened a declared delay before it, however late it came in. What came late
  was not there to be served: use it where history has no truthful arrival times.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.features.algebra.columns import milliseconds
from skyloom.features.entities import NOBODY
from skyloom.features.offline.asof import AsOf
from skyloom.features.offline.history import MEMORY, Requests, Wanted, features_of, known_mode, rules_of
from skyloom.features.offline.pit import Asked
from skyloom.features.tables import rows_of
from skyloom.ingest.codec import EVENT_COLUMNS, event_schema
from skyloom.ingest.receipts import RECEIPTS
from skyloom.ingest.sink import events_topic
from skyloom.kernel.columns import ARROW_TYPES, arrow_schema, evaluate_columns
from skyloom.kernel.expr import columns_of
from skyloom.kernel.ids import content_id
from skyloom.kernel.records.definitions import MODES, FeatureRef, ModelDef, ProjectDef, SourceDef
from skyloom.kernel.records.hidden import is_redacted
from skyloom.kernel.records.prediction import predictions_topic
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


def build(
    model: ModelDef,
    project: ProjectDef,
    lake: Lake,
    online: OnlineStore,
    *,
    now_ms: int,
    mode: str | None = None,
    memory: int = MEMORY,
) -> Dataset:
    """The training set of a model from everything in the lake, stored as a version of the table ``training/<model>``.

    ``mode`` is one of `MODES`, the model's own when not given. Tables are read in the versions that they have now. More
    than ``memory`` bytes of a source's events are set aside on the disk; rows, their order and their values are the same.
    """
    mode = known_mode(mode or model.history)
    lake = AsOf(lake, {topic: lake.version(topic) for topic in _tables(model, project)})
    parts = [part for part in _requests(model, project, lake, mode) if len(part.rows)]
    source = project.sources[model.requests]
    if not parts:
        nothing = Requests(arrow_schema(source.schema).empty_table(), _none(), None)
        empty = inputs_of(model, project, nothing, lake, online, mode=mode)
        return Dataset(_finish(empty, [], np.zeros(0)), 0, 0, 0, None)
    keys = pa.concat_arrays([part.rows.column(source.schema.key).combine_chunks() for part in parts])
    first = _first(keys)
    joined = [inputs_of(model, project, part, lake, online, mode=mode, memory=memory) for part in parts]
    table = pa.concat_tables(joined).filter(first)
    label, delay = _labels(model, project, lake, table)
    known = ~np.isnan(label)
    mature = milliseconds(table.column("t")) <= now_ms - _maturity(model, delay[known])
    kept = _finish(table, ["t", "key"], label, known & mature)
    version = _store(model, project, lake, kept, mode)
    unlabelled, immature = int((mature & ~known).sum()), int((~mature).sum())
    return Dataset(kept, len(table), unlabelled, immature, version)


def inputs_of(
    model: ModelDef,
    project: ProjectDef,
    requests: Requests,
    lake: Lake,
    online: OnlineStore,
    *,
    mode: str = MODES[0],
    memory: int = MEMORY,
) -> pa.Table:
    """``key``, ``t`` and every input of the model for each request, from the lake alone."""
    schema = project.sources[model.requests].schema
    columns: dict[str, Any] = {
        "key": requests.rows.column(schema.key),
        "t": pa.chunked_array([pa.array(requests.t).cast(_MOMENT)]),
    }
    looking = Looking(lake, online, mode, memory)
    requests = _with_lookups(model, project, requests, looking)
    windowed = _windowed(model, project, requests, looking)
    for wanted in model.inputs:
        found = {ref.column: _feature(ref, project, windowed[ref.group, ref.entity]) for ref in wanted.features}
        if wanted.expression is None:
            (columns[wanted.name],) = found.values()
            continue
        rows = requests.rows
        for name, column in found.items():
            rows = rows.append_column(name, pa.chunked_array([column]))
        columns[wanted.name] = evaluate_columns(wanted.expression, rows).cast(ARROW_TYPES[wanted.type])
    for gate in model.loop.gates:
        if gate.column is not None and gate.column not in columns:
            columns[gate.column] = requests.rows.column(gate.column)  # slices may be by what is no input
    return pa.table(columns)


def _feature(wanted: FeatureRef, project: ProjectDef, values: npt.NDArray[np.float64]) -> pa.Array:
    aggregates = [a.name for a in project.groups[wanted.group].aggregates]
    column = values[:, aggregates.index(wanted.aggregate)]
    return pa.array(column, pa.float64(), mask=np.isnan(column))


class Looking(NamedTuple):
    """Where and how features are looked up."""

    lake: Lake
    online: OnlineStore
    mode: str
    memory: int


def _with_lookups(model: ModelDef, project: ProjectDef, requests: Requests, looking: Looking) -> Requests:
    """The requests with the columns that they are given from entity tables, one lookup after the other."""
    for lookup in model.lookups:
        table = project.groups[lookup.group]
        source = project.sources[table.source]
        rules = rules_of(looking.mode, source, requests, looking.online, lookup.name)
        needed = [*table.by, *table.attributes, source.schema.time, *(field.name for field in EVENT_COLUMNS)]
        events = read_events(looking.lake, source, list(dict.fromkeys(needed)))
        newest = np.full(len(requests.t), NOBODY, np.int64)
        for mine, rule in rules:
            some = pa.array(mine)
            asked = Asked([requests.rows.column(name).take(some) for name in lookup.entity], requests.t[mine], rule.asked)
            newest[mine] = rows_of(table, source, events, rule.order(events), asked)
        chosen = pa.array(newest, mask=newest == NOBODY)
        rows = requests.rows
        for name, column in ((name, events.column(name).take(chosen)) for name in table.attributes):
            rows = rows.append_column(f"{lookup.name}.{name}", column)
        requests = requests._replace(rows=rows)
    return requests


def _windowed(
    model: ModelDef, project: ProjectDef, requests: Requests, looking: Looking
) -> dict[tuple[str, tuple[str, ...]], npt.NDArray[np.float64]]:
    """The features of each (group, entity columns) that the model asks for; the events of each source are read once."""
    pairs = dict.fromkeys((ref.group, ref.entity) for i in model.inputs for ref in i.features)
    by_source: dict[str, list[Wanted]] = {}
    for group, entity in pairs:
        by_source.setdefault(project.groups[group].source, []).append(Wanted(project.groups[group], entity))
    found: dict[tuple[str, tuple[str, ...]], npt.NDArray[np.float64]] = {}
    for name, wanted in by_source.items():
        source = project.sources[name]
        rules = rules_of(looking.mode, source, requests, looking.online)
        values = features_of(source, wanted, requests, rules, looking.lake, memory=looking.memory)
        found |= {(each.group.name, each.entity): value for each, value in zip(wanted, values, strict=True)}
    return found


def read_events(lake: Lake, source: SourceDef, columns: Sequence[str] | None = None) -> pa.Table:
    """The first copies of a source's events, all their columns or some; none when nothing came in yet."""
    if lake.version(events_topic(source.name)) is None:
        empty = event_schema(source.schema).empty_table()
        return empty if columns is None else empty.select(list(columns))
    return lake.read(events_topic(source.name), columns=columns)


def served(receipts: pa.Table, source: SourceDef) -> Requests:
    """The requests of receipts (rows of `RECEIPTS`), with the offsets that each saw."""
    return _as_asked(receipts, _asked(receipts), source)


def _asked(receipts: pa.Table) -> list[dict[str, Any]]:
    return [msgspec.json.decode(cell) for cell in receipts.column("request").to_pylist()]


def _as_asked(receipts: pa.Table, rows: list[dict[str, Any]], source: SourceDef) -> Requests:
    schema = arrow_schema(source.schema)
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
    as_of = [msgspec.json.decode(cell) for cell in receipts.column("as_of").to_pylist()]
    return Requests(pa.table(columns, schema), milliseconds(receipts.column("at_ms")), as_of)


def _requests(model: ModelDef, project: ProjectDef, lake: Lake, mode: str) -> list[Requests]:
    """What was served, the first answer to a key first, and unless ``as_served`` what lies in the source's table."""
    found = [_served(model, project, lake)]
    return found if mode == "as_served" else [*found, _listed(model, project, lake)]


def _served(model: ModelDef, project: ProjectDef, lake: Lake) -> Requests:
    table = predictions_topic(model.name)
    receipts = RECEIPTS.empty_table() if lake.version(table) is None else lake.read(table, where=[("arm", "!=", "shadow")])
    in_order = receipts.sort_by([("at_ms", "ascending"), ("id", "ascending")])
    source, rows = project.sources[model.requests], _asked(in_order)
    whole = [place for place, row in enumerate(rows) if not is_redacted(row, source.schema.names)]
    if len(whole) < len(rows):  # nobody knows what these were asked with
        in_order, rows = in_order.take(whole), [rows[place] for place in whole]
    return _as_asked(in_order, rows, source)


def _listed(model: ModelDef, project: ProjectDef, lake: Lake) -> Requests:
    source = project.sources[model.requests]
    rows = read_events(lake, source, source.schema.names)
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
    """The label of each request (NaN: none within its bound) and the delay with which it came, in ms. The first to come in
    counts, as it does where predictions are judged."""
    source = project.sources[model.label.source]
    needed = {source.schema.time, model.label.on, *columns_of(model.label.value), "_appended", "_offset"}
    events = read_events(lake, source, sorted(needed)).sort_by([("_appended", "ascending"), ("_offset", "ascending")])
    t = milliseconds(requests.column("t"))
    labels = evaluate_columns(model.label.value, events).cast(pa.float64())
    events, labels = events.filter(pc.is_valid(labels)), labels.drop_null()  # others say nothing
    value = labels.to_numpy()
    at = pc.index_in(requests.column("key"), value_set=events.column(model.label.on)).to_numpy()
    found = ~np.isnan(at.astype(float))
    if not found.any():
        return np.full(len(t), np.nan), np.full(len(t), np.nan)
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


def _tables(model: ModelDef, project: ProjectDef) -> list[str]:
    """The tables of the lake that a training set is made from."""
    names = {model.requests, model.label.source, *(project.groups[name].source for name in model.groups)}
    return [*(events_topic(name) for name in sorted(names)), predictions_topic(model.name)]


def definition_digest(model: ModelDef, project: ProjectDef, mode: str) -> str:
    """Names what a training set means: equal for equal requests, inputs, label, features and mode, whatever else changes."""
    groups = {name: project.groups[name] for name in model.groups}
    names = sorted({model.requests, model.label.source, *(group.source for group in groups.values())})
    sources = {name: project.sources[name] for name in names}
    return content_id([model.requests, model.lookups, model.inputs, model.label, groups, sources, mode])


def _store(model: ModelDef, project: ProjectDef, lake: AsOf, table: pa.Table, mode: str) -> DataVersion:
    sources = {topic: version for topic in _tables(model, project) if (version := lake.version(topic)) is not None}
    name, definition = f"training/{model.name}", definition_digest(model, project, mode)
    digest = content_id([definition, sources])
    version = lake.overwrite(name, table, note={"definition": definition, "digest": digest, "mode": mode})
    return DataVersion(name, version, digest, sources, mode, definition)


def _none() -> npt.NDArray[np.int64]:
    return np.zeros(0, np.int64)
