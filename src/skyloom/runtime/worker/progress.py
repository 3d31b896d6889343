"""The progress log of a partition, in the lake as well: what was available to training sets outlives the online store."""

import numpy as np
import pyarrow as pa

from skyloom.features.spaces import pack, progress_space, unpack
from skyloom.ingest.sink import TableSink
from skyloom.ports.lake import Lake
from skyloom.ports.online import OnlineReader, OnlineStore

_APP = "progress"
_SCHEMA = pa.schema([pa.field("offset", pa.int64(), nullable=False), pa.field("at_ms", pa.int64(), nullable=False)])
_AT_ONCE = 10_000


class ProgressTable:
    """The lake's table ``progress/PLACE``: from ``at_ms`` on everything below ``offset`` was folded."""

    def __init__(self, lake: Lake, place: str) -> None:
        self._lake, self._table, self._space = lake, f"progress/{place}", progress_space(place)
        self._sink = TableSink(lake, self._table, _APP)

    @property
    def end(self) -> int:
        """The offset of the last entry in the lake; 0 without any."""
        return self._sink.position

    def flush(self, view: OnlineReader) -> None:
        """Bring the entries that are not in the lake into it."""
        entries = [(unpack(key), unpack(value)) for key, value in view.scan(self._space, start=pack(self.end + 1))]
        if entries:
            offsets, moments = zip(*entries, strict=True)
            self._sink.offer(pa.table([offsets, moments], _SCHEMA), offsets[-1])
            self._sink.flush()

    def restore(self, online: OnlineStore, offset: int) -> None:
        """Give a store that stands at ``offset`` the entries beyond it, as they were before the store lost them."""
        if offset >= self.end:
            return
        rows = self._lake.read(self._table, where=[("offset", ">", offset)]).sort_by("offset")
        stored = np.stack([rows.column(name).to_numpy() for name in _SCHEMA.names], axis=1)
        for at in range(0, len(stored), _AT_ONCE):
            pairs = [(pack(end), pack(moment)) for end, moment in stored[at : at + _AT_ONCE].tolist()]
            with online.write(durable=False) as writer:
                writer.put_many(self._space, pairs)
