"""The first copies of a partition as they lie in the lake, read in bounded slices."""

import pyarrow as pa

from skyloom.ingest.codec import event_schema
from skyloom.ingest.partitions import SourcePart
from skyloom.ingest.sink import events_topic
from skyloom.ports.lake import Lake

ROWS = 20_000
"""Events of the lake that one step folds, about."""

_NARROWEST, _WIDEST = 1_000, 2**40


class Slices:
    """Ranges of offsets of one partition: how many are read at once follows what was found, since offsets leave gaps."""

    def __init__(self, lake: Lake, part: SourcePart) -> None:
        self._lake, self._part = lake, part
        self._width = ROWS

    def read(self, begin: int, stop: int) -> tuple[pa.Table, int]:
        """The first copies from offset ``begin`` on, not beyond ``stop``, by offset; and the offset up to which they are."""
        stop = max(begin, min(stop, begin + self._width))
        table, where = events_topic(self._part.source.name), [("_offset", ">=", begin), ("_offset", "<", stop)]
        if self._lake.version(table) is None:
            rows = event_schema(self._part.source.schema).empty_table()
        else:
            rows = self._lake.read(table, where=list[tuple[str, str, object]](where)).sort_by("_offset")
            if self._part.partitions > 1:
                rows = rows.filter(pa.array(self._part.holds(rows.column("_offset").to_numpy())))
        if len(rows) < ROWS // 4:
            self._width = min(self._width * 4, _WIDEST)
        elif len(rows) > ROWS * 2:
            self._width = max(self._width // 2, _NARROWEST)
        return rows, stop
