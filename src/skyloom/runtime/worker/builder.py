"""Groups built from the lake, part by part, beside the stream."""

from collections.abc import Callable

from skyloom.features.building import Building, buildings
from skyloom.features.fold import SourceFold
from skyloom.ingest.codec import event_schema
from skyloom.ingest.sink import events_topic
from skyloom.ports.lake import Lake
from skyloom.ports.online import OnlineStore

ROWS = 20_000
"""Events of the lake that one step folds, about."""

_NARROWEST, _WIDEST = 1_000, 2**40


class Builder:
    """Builds what is being built of one source: each step reads a range of offsets from the lake and folds it, in one
    transaction with the position of the building. ``sunk(wanted)`` tells before which offset the lake holds everything.
    """

    def __init__(self, lake: Lake, online: OnlineStore, fold: SourceFold, sunk: Callable[[int], int]) -> None:
        self._lake, self._online, self._fold, self._sunk = lake, online, fold, sunk
        self._groups = [group for group, _ in fold.groups]
        self._width = ROWS

    def step(self) -> int:
        """The next part of the first building; 0 when nothing is being built, else how many rows were folded, at least 1."""
        with self._online.read() as view:
            building = next(iter(buildings(view, self._groups).values()), None)
        if building is None:
            return 0
        if building.left <= 0:
            building.take_over(self._online)
            return 1
        return self._fold_part(building)

    def _fold_part(self, building: Building) -> int:
        begin = building.state.position
        stop = min(building.state.barrier, begin + self._width, self._sunk(begin))
        source = self._fold.source
        table, where = events_topic(source.name), [("_offset", ">=", begin), ("_offset", "<", stop)]
        if self._lake.version(table) is None:
            rows = event_schema(source.schema).empty_table()
        else:
            rows = self._lake.read(table, where=list[tuple[str, str, object]](where)).sort_by("_offset")
        with self._online.write(durable=False) as writer:
            self._fold.advance(writer, building, rows, stop)
        self._adapt(len(rows))
        return max(1, len(rows))

    def _adapt(self, rows: int) -> None:
        """Offsets need not be dense: what is read at once follows what was found."""
        if rows < ROWS // 4:
            self._width = min(self._width * 4, _WIDEST)
        elif rows > ROWS * 2:
            self._width = max(self._width // 2, _NARROWEST)
