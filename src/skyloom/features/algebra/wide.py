"""States without a fixed size: kept in an arena of int64 beside the tiles, found by a handle in the tile's slot.

At a handle stand the room that the state has, how many words of it are used, then these words. A handle of -1 is the
empty state. A state that grows out of its room moves; the arena is thrown away after each call. What a state holds is
described where it is worked on: `skyloom.features.algebra.sketches`, and here for lists.

A list holds the k best entries, the best first, each of three words that are compared one after the other. For the oldest
and the newest values these are time, offset and value, for the greatest ones value, time and offset; an event stands in a
list at most once, as its offset is its own. Values stand as the whole numbers that `skyloom.features.algebra.codes.ordered`
makes of them.
"""

from typing import Any

import numpy as np

from skyloom.features.algebra.compiled import jit

EMPTY = -1
NO_ROOM = -2
HEAD = 2
ENTRY = 3


@jit
def room_for(heap: Any, used: Any, handle: int, words: int) -> int:
    """The handle of the state once it has room for ``words``: its own, a new one, or NO_ROOM in the arena."""
    if handle >= 0 and heap[handle] >= words:
        return handle
    room = words if handle < 0 else max(words, 2 * heap[handle])
    begin = used[0]
    if begin + HEAD + room > len(heap):
        return NO_ROOM
    used[0] = begin + HEAD + room
    heap[begin], heap[begin + 1] = room, 0
    if handle >= 0:
        length = heap[handle + 1]
        heap[begin + 1] = length
        heap[begin + HEAD : begin + HEAD + length] = heap[handle + HEAD : handle + HEAD + length]
    return begin


@jit
def put_entry(heap: Any, used: Any, handle: int, most: int, falling: bool, a: int, b: int, c: int) -> int:
    """Put an entry into a list of at most ``most``; the handle, or NO_ROOM. ``falling``: the greatest are best."""
    count = 0 if handle < 0 else heap[handle + 1] // ENTRY
    at = count
    while at > 0 and _is_better(heap, handle + HEAD + ENTRY * (at - 1), falling, a, b, c):
        at -= 1
    if at == most:
        return handle
    kept = min(count + 1, most)
    handle = room_for(heap, used, handle, ENTRY * kept)
    if handle < 0:
        return handle
    base = handle + HEAD
    for i in range(ENTRY * kept - 1, ENTRY * at + ENTRY - 1, -1):
        heap[base + i] = heap[base + i - ENTRY]
    at = base + ENTRY * at
    heap[at], heap[at + 1], heap[at + 2] = a, b, c
    heap[handle + 1] = ENTRY * kept
    return handle


@jit
def _is_better(heap: Any, at: int, falling: bool, a: int, b: int, c: int) -> bool:
    """Whether an entry belongs before the one that stands at ``at``."""
    if heap[at] != a:
        return (a > heap[at]) == falling
    if heap[at + 1] != b:
        return (b > heap[at + 1]) == falling
    return c != heap[at + 2] and (c > heap[at + 2]) == falling


@jit
def merge_entries(heap: Any, used: Any, handle: int, most: int, falling: bool, other: int) -> int:
    """Put every entry of another list into a list."""
    for at in range(other + HEAD, other + HEAD + heap[other + 1], ENTRY):
        handle = put_entry(heap, used, handle, most, falling, heap[at], heap[at + 1], heap[at + 2])
        if handle == NO_ROOM:
            return handle
    return handle


@jit
def float_of(code: int) -> float:
    """The float64 that `skyloom.features.algebra.codes.ordered` made a whole number of."""
    bits = np.empty(1, np.int64)
    bits[0] = code if code >= 0 else code ^ 0x7FFFFFFFFFFFFFFF
    return bits.view(np.float64)[0]
