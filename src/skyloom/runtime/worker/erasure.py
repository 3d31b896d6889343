"""Events that were asked to be forgotten: who asks writes a tombstone, and the worker keeps them out from then on."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.ingest.partitions import parts_of
from skyloom.ingest.sink import events_topic
from skyloom.kernel.columns import ARROW_TYPES
from skyloom.kernel.errors import DataError, NotFound
from skyloom.kernel.ids import nearest, new_id
from skyloom.kernel.records.definitions import SourceDef
from skyloom.kernel.schema import Type
from skyloom.platform import Platform
from skyloom.ports.log import Log, NewBatch
from skyloom.runtime.state import applied, write

pc: Any = _compute
TOPIC = "erasures"
KIND = "erasure"


class Erasure(msgspec.Struct, frozen=True):
    """Every event of ``source`` below the position ``upto`` of its partition whose ``column`` is one of ``values`` is to be
    forgotten."""

    id: str
    source: str
    column: str
    values: tuple[str | int | bool, ...]
    upto: tuple[int, ...]
    actor: str
    at_ms: int


def erase(platform: Platform, source: str, column: str, values: Sequence[str | int | bool], *, actor: str) -> Erasure:
    """Ask for events to be forgotten: those of a subject by a column that names it, one event by its key.

    Audited, then written into the log topic ``erasures``; the worker takes it from there (`settle` waits for it). What
    comes in later with the same values is kept. Raises `NotFound` for a source or column that is not there, and
    `DataError` for values that are not of the column's type.
    """
    project = applied(platform.metadata).project
    if source not in project.sources:
        raise NotFound(
            f"there is no source {source!r}", tried=", ".join(project.sources), fix=_near(source, project.sources)
        )
    _check(project.sources[source], column, values)
    log, topic = platform.log, events_topic(source)
    parts = parts_of(project.sources[source], log.partitions(topic))
    upto = tuple(part.position(log.end(topic, part.partition)) for part in parts)
    asked = Erasure(new_id("erasure"), source, column, tuple(values), upto, actor, platform.clock.now_ms())
    with platform.metadata.transaction(actor) as transaction:
        write(transaction, KIND, asked.id, asked, action="erase events")
    platform.log.append(TOPIC, [NewBatch(1, asked.at_ms, False, msgspec.msgpack.encode(asked))])
    return asked


def asked_before(log: Log, offset: int) -> list[Erasure]:
    """The erasures below an offset of their topic."""
    found: list[Erasure] = []
    at = 0
    while at < offset:
        batches = [batch for batch in log.read(TOPIC, at) if batch.first < offset]
        if not batches:
            break
        found += [msgspec.msgpack.decode(batch.payload, type=Erasure) for batch in batches]
        at = batches[-1].end
    return found


def forgotten(events: pa.Table, erasures: Sequence[Erasure]) -> npt.NDArray[np.bool_]:
    """Which events are to be forgotten, shape [n]."""
    hit = np.zeros(len(events), np.bool_)
    for erasure in erasures:
        column = events.column(erasure.column)
        named = pc.is_in(column, value_set=pa.array(erasure.values, column.type)).to_numpy()
        offsets = events.column("_offset").to_numpy()
        hit |= named & (offsets < np.array(erasure.upto)[offsets % len(erasure.upto)])
    return hit


def _check(source: SourceDef, column: str, values: Sequence[object]) -> None:
    if column not in source.schema.names:
        raise NotFound(f"{source.name} has no column {column!r}", fix=_near(column, source.schema.names))
    wanted = source.schema[column].type
    python = {Type.STRING: str, Type.INT: int, Type.BOOL: bool}.get(wanted)
    wrong = [value for value in values if python is None or type(value) is not python]
    if wrong or not values:
        raise DataError(
            f"{source.name}.{column} is {ARROW_TYPES[wanted]}: it cannot name what is to be erased by {wrong or 'nothing'}",
            fix="name a subject by values of a column of texts or whole numbers, or an event by its key",
        )


def _near(name: str, names: Any) -> str:
    near = nearest(name, list(names)) or sorted(names)
    return f"did you mean {' or '.join(near)}?"
