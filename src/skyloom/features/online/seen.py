"""The keys of events that came in: which rows are first copies, which repeat one, which are older than all that is kept.

A source with a *horizon* H remembers for as long as it can matter. Its *watermark* is the greatest effective time of its
streamed rows so far. A streamed row whose effective time is more than H behind the watermark of the rows before it is
*dead*: it is in no feature, in the stream and in training sets alike, since the lake keeps it apart. A key is remembered
until its first copy is that old. So a duplicate that comes after the horizon is dead as well, never counted twice;
one that comes with another, newer time is a new event. Imported history is never dead: what of it is older than the
horizon repeats an event of the lake that has its key and its time. Each of this is decided row by row, whatever the
batches. A partition of a source is judged by itself: all copies of an event have one key, and so lie in one partition.

Keys lie in *generations*, spaces of the online store that are opened in turn and dropped whole: a step's work does not
grow with what is remembered.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as _compute

from skyloom.features.algebra.program import Int64s
from skyloom.features.spaces import POSITIONS, memory_position, seen_space
from skyloom.ingest.partitions import SourcePart
from skyloom.kernel.entity import entity_key
from skyloom.ports.online import OnlineReader, OnlineStore, OnlineWriter

pc: Any = _compute

FRESH, REPEATED, DEAD, ERASED = range(4)
"""What a row is: a first copy; another copy; older than the horizon; asked to be forgotten."""

NEVER = -(2**62)
Verdicts = npt.NDArray[np.uint8]
Known = Callable[[pa.Table], npt.NDArray[np.bool_]]
"""Which of some imported rows are in the lake, by key and time."""

_VALUE = struct.Struct(">Qq")
_LONGEST = 499


class _Generation(msgspec.Struct, array_like=True):
    """Keys that were remembered together: the watermark when it was opened, the newest time in it, and the offset after its
    last key."""

    number: int
    opened: int = NEVER
    newest: int = NEVER
    end: int = 0
    dropped: bool = False


class _Memory(msgspec.Struct, array_like=True):
    """What a source remembers: its watermark, and the generations of its keys, oldest first."""

    watermark: int = NEVER
    generations: list[_Generation] = msgspec.field(default_factory=lambda: [_Generation(0)])

    def alive(self) -> list[_Generation]:
        return [generation for generation in self.generations if not generation.dropped]


class _Rows(NamedTuple):
    """The rows that are no dead ones: their index, key, effective time, and the time behind which keys are forgotten."""

    at: npt.NDArray[np.intp]
    keys: list[bytes]
    ts: Int64s
    cutoff: Int64s
    imported: npt.NDArray[np.bool_]


class SeenKeys:
    """The memory of one partition of a source. ``horizon_ms`` is ``None`` for a source that never forgets."""

    def __init__(self, part: SourcePart, horizon_ms: int | None = None) -> None:
        self._source, self._place, self._horizon = part.source, part.place, horizon_ms

    def judge(self, writer: OnlineWriter, events: pa.Table, ts: Int64s, known: Known | None = None) -> Verdicts:
        """What each row is (`FRESH`, `REPEATED`, `DEAD`), shape [n] uint8; remembers the keys of fresh ones.

        ``ts`` [n] are effective times (ms). Rows stand in the order of their offsets.
        """
        verdicts = np.zeros(len(events), np.uint8)
        if len(events) == 0:
            return verdicts
        memory = _load(writer, self._place)
        imported = events.column("_imported").to_numpy()
        marks, cutoff = self._marks(memory, imported, ts)
        verdicts[~imported & (ts < cutoff)] = DEAD
        index = np.flatnonzero(verdicts == FRESH)
        mine = events.column(self._source.schema.key).take(pa.array(index))
        rows = _Rows(index, key_bytes(mine), ts[index], cutoff[index], imported[index])
        verdicts[index[self._repeats(writer, memory, rows, events, known)]] = REPEATED
        memory.watermark = int(marks[-1])
        self._remember(writer, memory, rows, verdicts[index] == FRESH, events.column("_offset").to_numpy()[index])
        self._turn(memory)
        writer.put(POSITIONS, memory_position(self._place), msgspec.msgpack.encode(memory))
        return verdicts

    def remember(self, writer: OnlineWriter, events: pa.Table, ts: Int64s) -> None:
        """Remember rows that are known to be first copies, as `judge` does of those that it finds to be."""
        if len(events) == 0:
            return
        memory = _load(writer, self._place)
        imported = events.column("_imported").to_numpy()
        marks, cutoff = self._marks(memory, imported, ts)
        keys = key_bytes(events.column(self._source.schema.key))
        rows = _Rows(np.arange(len(events)), keys, ts, cutoff, imported)
        memory.watermark = int(marks[-1])
        self._remember(writer, memory, rows, np.ones(len(events), np.bool_), events.column("_offset").to_numpy())
        self._turn(memory)
        writer.put(POSITIONS, memory_position(self._place), msgspec.msgpack.encode(memory))

    def _marks(self, memory: _Memory, imported: npt.NDArray[np.bool_], ts: Int64s) -> tuple[Int64s, Int64s]:
        """The watermark before each row and after the last one, [n + 1]; the time behind which each is dead, [n]."""
        marks = np.maximum.accumulate(np.append(memory.watermark, np.where(imported, NEVER, ts)))
        return marks, marks[:-1] - self._horizon if self._horizon is not None else np.full(len(ts), NEVER)

    def forget(self, store: OnlineStore, sunk: int) -> None:
        """Drop the generations that are wholly behind the horizon and, as all before offset ``sunk``, in the lake."""
        name = self._place
        if self._horizon is None:
            return
        with store.read() as view:
            if not self._over(_load(view, name), sunk):
                return
        with store.write(durable=False) as writer:
            memory = _load(writer, name)
            over = self._over(memory, sunk)
            for generation in over:
                generation.dropped = True
            writer.put(POSITIONS, memory_position(name), msgspec.msgpack.encode(memory))
        for generation in over:
            store.drop(seen_space(name, generation.number))
        with store.write(durable=False) as writer:
            memory = _load(writer, name)
            memory.generations = memory.alive()
            writer.put(POSITIONS, memory_position(name), msgspec.msgpack.encode(memory))

    def _over(self, memory: _Memory, sunk: int) -> list[_Generation]:
        """The generations to be dropped; the current one never is."""
        return [generation for generation in memory.generations[:-1] if self._is_over(memory, generation, sunk)]

    def _is_over(self, memory: _Memory, generation: _Generation, sunk: int) -> bool:
        old = generation.newest < memory.watermark - (self._horizon or 0)
        return generation.dropped or (old and generation.end <= sunk)

    def _repeats(
        self, writer: OnlineWriter, memory: _Memory, rows: _Rows, events: pa.Table, known: Known | None
    ) -> npt.NDArray[np.bool_]:
        """Which rows have a key that is remembered or stood before among them, or (imported, old) are there already."""
        repeated = np.zeros(len(rows.keys), np.bool_)
        held = self._held(writer, memory, rows.keys)
        old = rows.imported & (rows.ts < rows.cutoff)
        if known is not None and old.any():
            repeated[old] = known(events.take(pa.array(rows.at[old])))
        if not held and len(set(rows.keys)) == len(rows.keys):
            return repeated
        for at, key in enumerate(rows.keys):
            stood = held.get(key)
            if stood is not None and (stood >= rows.cutoff[at] or (old[at] and stood == rows.ts[at])):
                repeated[at] = True
            elif not repeated[at]:
                held[key] = int(rows.ts[at])
        return repeated

    def _held(self, writer: OnlineWriter, memory: _Memory, keys: list[bytes]) -> dict[bytes, int]:
        """The effective time of each key that is remembered; the newest where one is remembered twice."""
        held: dict[bytes, int] = {}
        for generation in memory.alive():
            found = writer.get_many(seen_space(self._place, generation.number), keys)
            if any(found):
                held.update((key, _VALUE.unpack(value)[1]) for key, value in zip(keys, found, strict=True) if value)
        return held

    def _remember(
        self, writer: OnlineWriter, memory: _Memory, rows: _Rows, fresh: npt.NDArray[np.bool_], offsets: Int64s
    ) -> None:
        if not fresh.any():
            return
        values = np.stack([offsets[fresh], rows.ts[fresh]], axis=1).astype(">i8").tobytes()
        keys = [rows.keys[at] for at in np.flatnonzero(fresh).tolist()]
        pairs = {key: values[16 * at : 16 * at + 16] for at, key in enumerate(keys)}
        current = memory.generations[-1]
        writer.put_many(seen_space(self._place, current.number), [(key, pairs[key]) for key in sorted(pairs)])
        current.newest = max(current.newest, int(rows.ts[fresh].max()))
        current.end = int(offsets[fresh][-1]) + 1

    def _turn(self, memory: _Memory) -> None:
        """Open the next generation when the current one spans the horizon."""
        current = memory.generations[-1]
        if self._horizon is None or memory.watermark == NEVER:
            return
        if current.opened == NEVER:
            current.opened = memory.watermark
        elif memory.watermark - current.opened >= self._horizon:
            memory.generations.append(_Generation(current.number + 1, memory.watermark))


def key_bytes(column: pa.ChunkedArray) -> list[bytes]:
    """`entity_key` of each value of a column."""
    short = pa.types.is_string(column.type) and not pc.any(pc.greater(pc.binary_length(column), _LONGEST)).as_py()
    if short:
        return [b"s" + text for text in column.cast(pa.binary()).to_pylist()]
    return [entity_key(value) for value in column.to_pylist()]


def _load(view: OnlineReader | OnlineWriter, place: str) -> _Memory:
    stored = view.get(POSITIONS, memory_position(place))
    return _Memory() if stored is None else msgspec.msgpack.decode(stored, type=_Memory)
