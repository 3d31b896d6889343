"""Groups built from the lake, part by part, beside the stream."""

from collections.abc import Callable

from skyloom.features.building import Building, buildings
from skyloom.features.fold import SourceFold
from skyloom.ports.lake import Lake
from skyloom.ports.online import OnlineStore
from skyloom.runtime.worker.slices import Slices


class Builder:
    """Builds what is being built of one source: each step reads a range of offsets from the lake and folds it, in one
    transaction with the position of the building. ``sunk(wanted)`` tells before which offset the lake holds everything.
    """

    def __init__(self, lake: Lake, online: OnlineStore, fold: SourceFold, sunk: Callable[[int], int]) -> None:
        self._online, self._fold, self._sunk = online, fold, sunk
        self._slices = Slices(lake, fold.source)
        self._groups = [group for group, _ in fold.groups]

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
        rows, stop = self._slices.read(begin, min(building.state.barrier, self._sunk(begin)))
        with self._online.write(durable=False) as writer:
            self._fold.advance(writer, building, rows, stop)
        return max(1, len(rows))
