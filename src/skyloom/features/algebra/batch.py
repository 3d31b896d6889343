"""Many entities folded in one call: the kernel's `fold_blob` for each, without a way through Python in between."""

from typing import Any, NamedTuple

import numpy as np

from skyloom.features.algebra.columns import EventColumns
from skyloom.features.algebra.compiled import jit
from skyloom.features.algebra.kernel import fold_blob
from skyloom.features.algebra.layout import other_layout
from skyloom.features.algebra.program import Int64s, Program
from skyloom.features.algebra.tiles import HEADER, VERSION

_END = 3
"""Where a blob tells its end offset."""


class Packed(NamedTuple):
    """Blobs of ``m`` entities, one after the other: ``content`` and the ``edges`` [m + 1] (bytes) between them."""

    content: bytes
    edges: list[int]

    def blob(self, entity: int) -> bytes:
        """The tiles of one entity."""
        return self.content[self.edges[entity] : self.edges[entity + 1]]


def fold_packed(
    program: Program, stored: list[bytes | None], events: EventColumns, firsts: Int64s, ends: Int64s, late: Int64s
) -> Packed:
    """The blobs of ``m`` entities after folding their events.

    ``stored`` [m] are their blobs until now (``None``: a new entity); ``events`` are sorted by entity, those of entity ``e``
    are ``firsts[e] .. firsts[e + 1] - 1``; ``ends`` [m] are the offsets after the last of them. ``late[0]`` counts events
    older than everything kept. Raises `DataError` when a blob has another layout than this kernel's.
    """
    blobs = [b"" if blob is None else blob for blob in stored]
    edges = np.zeros(len(blobs) + 1, np.int64)
    np.cumsum([len(blob) // 8 for blob in blobs], out=edges[1:])
    joined = np.frombuffer(b"".join(blobs), np.int64)
    _check_layout(program, joined, edges)
    packed, cuts = fold_many(program.packed, joined, edges, events, firsts, ends, late)
    return Packed(packed.tobytes(), (cuts * 8).tolist())


def _check_layout(program: Program, joined: Int64s, edges: Int64s) -> None:
    begins = edges[:-1][np.diff(edges) >= HEADER]
    wanted = (VERSION, len(program.tables.levels), len(program.tables.slots))
    if any((joined[begins + word] != value).any() for word, value in enumerate(wanted)):
        raise other_layout()


@jit
def fold_many(program: Any, stored: Any, edges: Any, events: Any, firsts: Any, ends: Any, late: Any) -> Any:
    """(blobs one after the other, edges [m + 1] between them)."""
    count = len(ends)
    out, cuts = np.empty(len(stored) + 64 * count, np.int64), np.zeros(count + 1, np.int64)
    for e in range(count):
        end = ends[e]
        if edges[e + 1] > edges[e]:
            end = max(end, stored[edges[e] + _END])  # history is folded behind the stream where a group is built
        blob = fold_blob(program, stored[edges[e] : edges[e + 1]], events, firsts[e], firsts[e + 1], end, late)
        begin = cuts[e]
        if begin + len(blob) > len(out):
            grown = np.empty(2 * (begin + len(blob)), np.int64)
            grown[:begin] = out[:begin]
            out = grown
        out[begin : begin + len(blob)] = blob
        cuts[e + 1] = begin + len(blob)
    return out[: cuts[count]], cuts
