"""The tiles of one entity while they are worked on, and packed into the bytes that a store keeps.

A tile is a row of int64: its start (epoch milliseconds), then its slots. A slot of kind MIN or MAX holds the bits of a
float64, seen through a float64 view of the same memory. Sums are scaled integers, so every order of adding gives the
same bits; one that grew beyond 62 bits stays BEYOND in its tile, and to read it is an OVERFLOW. A slot from OLDEST on is
the handle of a state of any size (`skyloom.features.algebra.wide`, `skyloom.features.algebra.sketches`).

A blob is an entity's tiles packed (int64, little-endian): version, levels, slots, end offset, then per level the number of
tiles and the floor, then the tiles of each level, sorted by start, then the states of any size. In a packed tile the slot
of such a state holds how many words it has, 0 for the empty one; the words themselves follow behind all tiles, in the order
of levels, tiles and slots. `skyloom.features.algebra.layout` reads a blob in plain Python.

The floor is the end of the newest tile that was let go: a window that reaches below it cannot be answered. Tiles and floor
depend on which events were folded, not on their order or batches.

Compiled functions that run for each event or tile are given few arrays: each one costs as much as some of the work.
"""

from typing import Any, NamedTuple

import numpy as np

from skyloom.features.algebra.compiled import jit
from skyloom.features.algebra.program import HOP, KEEP, KIND, LEVELS, MAX, MIN, OLDEST, ROWS_AT, SLOTS, WIDE
from skyloom.features.algebra.wide import EMPTY, HEAD, NO_ROOM, room_for

VERSION = 2
HEADER = 4
OK, TOO_OLD, OVERFLOW, FULL, UNREADABLE, NULLS = range(6)
NO_FLOOR = -(2**62)


class Tiles(NamedTuple):
    """The tiles of one entity: ``bits`` [words] int64 and ``floats``, the float64 view of the same memory; per level [L]
    the word where its oldest tile begins (``first`` [L + 1]; the others follow, up to that of the next level), the number
    of tiles (``count``) and the ``floor``; the arena of the states of any size (``heap``, of which ``used[0]`` words are
    taken)."""

    bits: Any
    floats: Any
    first: Any
    count: Any
    floor: Any
    heap: Any
    used: Any


@jit
def empty_tiles(levels: int, capacity: int, slots: int, room: int) -> Any:
    """Room for ``capacity`` tiles a level, and for ``room`` words of wide states."""
    words = capacity * (1 + slots)
    bits = np.empty(levels * words, np.int64)
    first, count, floor = np.arange(levels + 1) * words, np.zeros(levels, np.int64), np.full(levels, NO_FLOOR, np.int64)
    return Tiles(bits, bits.view(np.float64), first, count, floor, np.empty(room, np.int64), np.zeros(1, np.int64))


@jit
def row(program: Any, kind: int, index: int, words: int) -> int:
    """The word of a packed program where a row begins; rows of that kind have so many ``words``."""
    return program[ROWS_AT + kind] + index * words


@jit
def slot_row(program: Any, s: int) -> int:
    """The word where slot ``s`` is described."""
    return row(program, SLOTS, s, 4)


@jit
def wide_slot(program: Any, x: int) -> int:
    """The ``x``-th slot with a state of any size."""
    return program[row(program, WIDE, x, 1)]


@jit
def hop_of(program: Any, level: int) -> int:
    """The hop of a level, in ms."""
    return program[row(program, LEVELS, level, 2) + HOP]


@jit
def identity(bits: Any, floats: Any, at: int, program: Any) -> None:
    """Let the slots from word ``at`` on be what merging leaves unchanged."""
    for s in range(program[SLOTS]):
        kind = program[slot_row(program, s) + KIND]
        if kind == MIN:
            floats[at + s] = np.inf
        elif kind == MAX:
            floats[at + s] = -np.inf
        elif kind >= OLDEST:
            bits[at + s] = EMPTY
        else:
            bits[at + s] = 0


@jit
def place(tiles: Any, level: int, start: int, program: Any) -> int:
    """The word of the tile that starts at ``start``, made when it is missing; -1 when there is no room."""
    bits, first, width = tiles.bits, tiles.first[level], 1 + program[SLOTS]
    end = first + tiles.count[level] * width
    at = end
    while at > first and bits[at - width] > start:
        at -= width
    if at > first and bits[at - width] == start:
        return at - width
    if end == tiles.first[level + 1]:
        return -1
    for i in range(end - 1, at - 1, -1):
        bits[i + width] = bits[i]
    tiles.count[level] += 1
    bits[at] = start
    identity(bits, tiles.floats, at + 1, program)
    return at


@jit
def is_readable(program: Any, blob: Any) -> bool:
    """Whether a blob is empty, or has the layout that this kernel writes for the program."""
    if len(blob) == 0:
        return True
    return blob[0] == VERSION and blob[1] == program[LEVELS] and blob[2] == program[SLOTS]


@jit
def longest(blob: Any, levels: int) -> int:
    """The number of tiles of the level that has the most."""
    most = 0
    if len(blob) > 0:
        for level in range(levels):
            most = max(most, blob[HEADER + 2 * level])
    return most


@jit
def unpack(blob: Any, tiles: Any, program: Any) -> int:
    """Take a blob apart; FULL when the arena is too small for its wide states."""
    levels, width = program[LEVELS], 1 + program[SLOTS]
    at = HEADER + 2 * levels
    for level in range(levels):
        words, first = blob[HEADER + 2 * level] * width, tiles.first[level]
        tiles.count[level] = blob[HEADER + 2 * level]
        tiles.floor[level] = blob[HEADER + 2 * level + 1]
        tiles.bits[first : first + words] = blob[at : at + words]
        at += words
    return OK if program[WIDE] == 0 else _unpack_wide(blob, at, tiles, program)


@jit
def laid_out(blob: Any, program: Any) -> Any:
    """The tiles of a blob without wide states where they lie in it: nothing is copied, and nothing may be written."""
    levels, width = program[LEVELS], 1 + program[SLOTS]
    words = np.zeros(3 * levels + 2, np.int64)
    first, count, floor = words[: levels + 1], words[levels + 1 : 2 * levels + 1], words[2 * levels + 1 : 3 * levels + 1]
    first[0], floor[:] = HEADER + 2 * levels, NO_FLOOR
    for level in range(levels):
        if len(blob) > 0:
            count[level], floor[level] = blob[HEADER + 2 * level], blob[HEADER + 2 * level + 1]
        first[level + 1] = first[level] + count[level] * width
    return Tiles(blob, blob.view(np.float64), first, count, floor, words[:0], words[3 * levels + 1 :])


@jit
def _unpack_wide(blob: Any, behind: int, tiles: Any, program: Any) -> int:
    """Take the wide states apart, which begin at ``behind``."""
    width = 1 + program[SLOTS]
    for level in range(program[LEVELS]):
        begin = tiles.first[level] + 1
        for at in range(begin, begin + tiles.count[level] * width, width):
            for x in range(program[WIDE]):
                s = wide_slot(program, x)
                words = tiles.bits[at + s]
                handle = room_for(tiles.heap, tiles.used, EMPTY, words) if words > 0 else EMPTY
                tiles.bits[at + s] = handle
                if handle == NO_ROOM:
                    return FULL
                if words > 0:
                    tiles.heap[handle + 1] = words
                    tiles.heap[handle + HEAD : handle + HEAD + words] = blob[behind : behind + words]
                    behind += words
    return OK


@jit
def pack(tiles: Any, program: Any, end: int) -> Any:
    """The blob of an entity whose events before offset ``end`` are in its tiles, without those that need not be kept."""
    levels, width = program[LEVELS], 1 + program[SLOTS]
    begin = np.zeros(levels, np.int64)
    size = HEADER + 2 * levels
    for level in range(levels):
        gone = _let_go(tiles, program, level)
        begin[level] = tiles.first[level] + gone * width
        size += (tiles.count[level] - gone) * width
    blob = np.empty(size + _wide_words(tiles, program, begin), np.int64)
    blob[0], blob[1], blob[2], blob[3] = VERSION, levels, width - 1, end
    at, behind = HEADER + 2 * levels, size
    for level in range(levels):
        stop = tiles.first[level] + tiles.count[level] * width
        count = (stop - begin[level]) // width
        blob[HEADER + 2 * level] = count
        blob[HEADER + 2 * level + 1] = tiles.floor[level]
        blob[at : at + count * width] = tiles.bits[begin[level] : stop]
        if program[WIDE] > 0:
            behind = _pack_wide(tiles, program, blob, at, count, behind)
        at += count * width
    return blob


@jit
def _wide_words(tiles: Any, program: Any, begin: Any) -> int:
    """The words of all wide states of the tiles that are kept."""
    words, width = 0, 1 + program[SLOTS]
    for level in range(len(begin) if program[WIDE] > 0 else 0):
        for at in range(begin[level] + 1, tiles.first[level] + tiles.count[level] * width, width):
            for x in range(program[WIDE]):
                s = wide_slot(program, x)
                handle = tiles.bits[at + s]
                words += tiles.heap[handle + 1] if handle != EMPTY else 0
    return words


@jit
def _pack_wide(tiles: Any, program: Any, blob: Any, at: int, count: int, behind: int) -> int:
    """Write the wide states of ``count`` tiles, packed from ``at`` on, to ``behind``, and their lengths in place of their
    handles; where the next ones belong."""
    width = 1 + program[SLOTS]
    for i in range(count):
        for x in range(program[WIDE]):
            slot = at + i * width + 1 + wide_slot(program, x)
            handle = blob[slot]
            words = tiles.heap[handle + 1] if handle != EMPTY else 0
            blob[slot] = words
            if words > 0:
                blob[behind : behind + words] = tiles.heap[handle + HEAD : handle + HEAD + words]
                behind += words
    return behind


@jit
def _kept_from(tiles: Any, program: Any, level: int) -> int:
    """The start of the oldest tile that a level keeps beside its newest one."""
    count, hop = tiles.count[level], hop_of(program, level)
    if count == 0:
        return NO_FLOOR
    newest = tiles.first[level] + (count - 1) * (1 + program[SLOTS])
    low = tiles.bits[newest] - program[row(program, LEVELS, level, 2) + KEEP] - hop
    return low - low % hop


@jit
def is_late(tiles: Any, program: Any, ts: int) -> bool:
    """Whether an event is older than all that every level keeps."""
    kept = 0
    for level in range(program[LEVELS]):
        kept += ts >= _kept_from(tiles, program, level)
    return kept == 0


@jit
def _let_go(tiles: Any, program: Any, level: int) -> int:
    """How many of the oldest tiles of a level need not be kept; raises the floor by them."""
    low, gone, width = _kept_from(tiles, program, level), 0, 1 + program[SLOTS]
    at = tiles.first[level]
    while gone < tiles.count[level] and tiles.bits[at + gone * width] < low:
        gone += 1
    if gone > 0:
        tiles.floor[level] = tiles.bits[at + (gone - 1) * width] + hop_of(program, level)
    return gone
