"""Groups built from the lake, part by part, beside the stream."""

from collections.abc import Callable

from skyloom.features.online.building import Building, buildings, complete
from skyloom.features.online.fold import SourceFold
from skyloom.ports.lake import Lake
from skyloom.ports.online import OnlineStore
from skyloom.runtime.worker.slices import Slices


class Builder:
    """Builds what is being built from one partition: each step reads a range of offsets from the lake and folds it, in one
    transaction with the position of the building. ``sunk(wanted)`` tells before which offset the lake holds everything.
    The builder of partition 0 takes a group over when every partition has come to its barrier.
    """

    def __init__(self, lake: Lake, online: OnlineStore, fold: SourceFold, sunk: Callable[[int], int]) -> None:
        self._online, self._fold, self._sunk = online, fold, sunk
        self._slices = Slices(lake, fold.part)
        self._groups = [group for group, _ in fold.groups]

    def step(self) -> int:
        """The next part of a building; 0 when nothing is to be done, else how many rows were folded, at least 1."""
        part = self._fold.part
        with self._online.read() as view:
            found = list(buildings(view, self._groups, part.partition).values())
            unfinished = next((building for building in found if building.left > 0), None)
            whole = [each for each in found if part.partition == 0 and each.left <= 0] if unfinished is None else []
            ready = next((each for each in whole if complete(view, each.group, part.partitions)), None)
        if unfinished is not None:
            return self._fold_part(unfinished)
        if ready is not None:
            ready.take_over(self._online, part.partitions)
            return 1
        return 0

    def _fold_part(self, building: Building) -> int:
        begin = building.state.position
        rows, stop = self._slices.read(begin, min(building.state.barrier, self._sunk(begin)))
        with self._online.write(durable=False) as writer:
            self._fold.advance(writer, building, rows, stop)
        return max(1, len(rows))
