"""The one kernel: lift, merge and finish, run alike by training sets, the stream worker and served requests.

Written in Python, compiled by Numba; the tests run the same functions uncompiled beside it and compare.

A tile is a row of int64: its start (epoch milliseconds), then its slots. A slot of kind MIN or MAX holds the bits of a
float64, seen through a float64 view of the same memory. Sums are scaled integers, so every order of adding gives the
same bits. A slot from OLDEST on is the handle of a state of any size (`skyloom.features.wide`, `skyloom.features.sketches`).

A blob is an entity's tiles packed (int64, little-endian): version, levels, slots, end offset, then per level the number of
tiles and the floor, then the tiles of each level, sorted by start, then the states of any size. In a packed tile the slot
of such a state holds how many words it has, 0 for the empty one; the words themselves follow behind all tiles, in the order
of levels, tiles and slots. `skyloom.features.layout` reads a blob in plain Python.

The floor is the end of the newest tile that was let go: a window that reaches below it cannot be answered. Tiles and floor
depend on which events were folded, not on their order or batches.
"""

from typing import Any, NamedTuple

import numpy as np

from skyloom.features.compiled import jit
from skyloom.features.exact import LIMIT, add_limbs, add_square, variance
from skyloom.features.program import (
    BUCKETS,
    COLUMN,
    COUNT,
    DIGITS,
    FINISH,
    FINISH_COUNT,
    FINISH_ENTRY,
    FINISH_EXTREME,
    FINISH_MEAN,
    FINISH_SET,
    FINISH_STDDEV,
    FINISH_SUM,
    GREATEST,
    HASHES,
    HOP,
    KEEP,
    KIND,
    LANE,
    LENGTH,
    LEVEL,
    MAX,
    MIN,
    OFFSET,
    OLDEST,
    PLACE,
    PRESENT,
    ROWS,
    SCALE,
    SHARE,
    SIZE,
    SQUARE,
    SQUARE_LOW,
    SUM,
    VALUE,
    WINDOW,
)
from skyloom.features.sketches import cardinality, merge_buckets, merge_sets, put_bucket, put_hash, value_at
from skyloom.features.wide import EMPTY, ENTRY, HEAD, NO_ROOM, float_of, merge_entries, put_entry, room_for

VERSION = 2
HEADER = 4
OK, TOO_OLD, OVERFLOW, FULL, UNREADABLE = range(5)
NO_FLOOR = -(2**62)
_ROOM = 64
"""Words of the arena that a wide slot is given for each tile or event to begin with."""


class Tiles(NamedTuple):
    """The tiles of one entity while they are worked on: ``bits`` [levels, capacity, 1 + slots] int64 and ``floats``, the
    float64 view of the same memory; per level the number of tiles (``count``) and the ``floor``; the arena of the states of
    any size (``heap``, of which ``used[0]`` words are taken)."""

    bits: Any
    floats: Any
    count: Any
    floor: Any
    heap: Any
    used: Any


@jit
def empty_tiles(levels: int, capacity: int, slots: int, room: int) -> Any:
    """Room for ``capacity`` tiles a level, and for ``room`` words of wide states."""
    bits = np.empty((levels, capacity, 1 + slots), np.int64)
    count, floor = np.zeros(levels, np.int64), np.full(levels, NO_FLOOR, np.int64)
    return Tiles(bits, bits.view(np.float64), count, floor, np.empty(room, np.int64), np.zeros(1, np.int64))


@jit
def _identity(bits: Any, floats: Any, slots: Any) -> None:
    """Let slots be what merging leaves unchanged."""
    for s in range(len(slots)):
        if slots[s, KIND] == MIN:
            floats[s] = np.inf
        elif slots[s, KIND] == MAX:
            floats[s] = -np.inf
        elif slots[s, KIND] >= OLDEST:
            bits[s] = EMPTY
        else:
            bits[s] = 0


@jit
def _place(bits: Any, floats: Any, count: Any, level: int, start: int, slots: Any) -> int:
    """The index of a level's tile that starts at ``start``, made when it is missing; -1 when there is no room."""
    at = count[level]
    while at > 0 and bits[at - 1, 0] > start:
        at -= 1
    if at > 0 and bits[at - 1, 0] == start:
        return at - 1
    if count[level] == bits.shape[0]:
        return -1
    for i in range(count[level], at, -1):
        bits[i] = bits[i - 1]
    count[level] += 1
    bits[at, 0] = start
    _identity(bits[at, 1:], floats[at, 1:], slots)
    return at


@jit
def _lift(bits: Any, floats: Any, slots: Any, values: Any, scaled: Any, valid: Any, i: int) -> int:
    """Merge event ``i`` into the slots of a tile, but for the wide ones."""
    for s in range(len(slots)):
        kind, c = slots[s, KIND], slots[s, COLUMN]
        if kind == ROWS:
            bits[s] += 1
        elif valid[slots[s, LANE], i]:
            if kind == PRESENT:
                bits[s] += 1
            elif kind == SUM:
                bits[s] += scaled[c, i]
                if bits[s] >= LIMIT or bits[s] <= -LIMIT:
                    return OVERFLOW
            elif kind == MIN:
                floats[s] = min(floats[s], values[c, i])
            elif kind == MAX:
                floats[s] = max(floats[s], values[c, i])
            elif kind == SQUARE_LOW:
                add_square(bits, s, scaled[c, i])
                if bits[s + 1] >= LIMIT:
                    return OVERFLOW
    return OK


@jit
def _lift_wide(tiles: Any, bits: Any, program: Any, events: Any, i: int) -> int:
    """Merge event ``i`` into the wide slots of a tile."""
    for s in program.wide:
        if events.valid[program.slots[s, LANE], i]:
            bits[s] = _put(tiles, program, bits[s], s, events, i)
            if bits[s] == NO_ROOM:
                return FULL
    return OK


@jit
def _put(tiles: Any, program: Any, handle: int, s: int, events: Any, i: int) -> int:
    """Merge event ``i`` into a wide state; its handle, or NO_ROOM."""
    kind, size, code = program.slots[s, KIND], program.slots[s, SIZE], events.codes[program.slots[s, COLUMN], i]
    if kind == HASHES:
        return put_hash(tiles.heap, tiles.used, handle, size, code)
    if kind == BUCKETS:
        return put_bucket(tiles.heap, tiles.used, handle, code, 1)
    ts, offset = events.ts[i], events.offset[i]
    if kind == GREATEST:
        return put_entry(tiles.heap, tiles.used, handle, size, True, code, ts, offset)
    return put_entry(tiles.heap, tiles.used, handle, size, kind != OLDEST, ts, offset, code)


@jit
def _merge_wide(tiles: Any, program: Any, handle: int, s: int, other: int) -> int:
    """Merge another wide state into one; its handle, or NO_ROOM."""
    kind, size = program.slots[s, KIND], program.slots[s, SIZE]
    if kind == HASHES:
        return merge_sets(tiles.heap, tiles.used, handle, size, other)
    if kind == BUCKETS:
        return merge_buckets(tiles.heap, tiles.used, handle, other)
    return merge_entries(tiles.heap, tiles.used, handle, size, kind != OLDEST, other)


@jit
def _fold(tiles: Any, program: Any, events: Any, i: int) -> int:
    """Fold event ``i`` into its tile of every level that has not let this tile go."""
    for level in range(len(program.levels)):
        start = events.ts[i] - events.ts[i] % program.levels[level, HOP]
        if start < tiles.floor[level]:
            continue
        at = _place(tiles.bits[level], tiles.floats[level], tiles.count, level, start, program.slots)
        if at < 0:
            return FULL
        bits, floats = tiles.bits[level, at, 1:], tiles.floats[level, at, 1:]
        status = _lift(bits, floats, program.slots, events.values, events.scaled, events.valid, i)
        if status == OK and len(program.wide) > 0:
            status = _lift_wide(tiles, bits, program, events, i)
        if status != OK:
            return status
    return OK


@jit
def _merge(total: Any, total_f: Any, bits: Any, floats: Any, slots: Any) -> int:
    """Merge the slots of one tile into a total, but for the wide ones. It is given few arrays: it runs for each tile."""
    for s in range(len(slots)):
        kind = slots[s, KIND]
        if kind == MIN:
            total_f[s] = min(total_f[s], floats[s])
        elif kind == MAX:
            total_f[s] = max(total_f[s], floats[s])
        elif kind < SQUARE_LOW:
            total[s] += bits[s]
            if total[s] >= LIMIT or total[s] <= -LIMIT:
                return OVERFLOW
        elif kind == SQUARE_LOW:
            add_limbs(total, s, bits[s], bits[s + 1])
            if total[s + 1] >= LIMIT:
                return OVERFLOW
    return OK


@jit
def _merge_all_wide(tiles: Any, program: Any, total: Any, bits: Any) -> int:
    """Merge the wide slots of one tile into a total."""
    for s in program.wide:
        if bits[s] != EMPTY:
            total[s] = _merge_wide(tiles, program, total[s], s, bits[s])
            if total[s] == NO_ROOM:
                return FULL
    return OK


@jit
def _finish(total: Any, total_f: Any, outputs: Any, scale: float, o: int) -> float:
    """Feature ``o`` from merged slots that are not wide; NaN is null. With n values and p digits, the exact integer sum is
    made a float64 and divided by 10^p (a mean: by n 10^p): rounded once, and once more only where one of the two is beyond
    2^53."""
    finish, value = outputs[o, FINISH], outputs[o, VALUE]
    if finish == FINISH_COUNT:
        return float(total[value])
    present = total[outputs[o, COUNT]]
    if present == 0:
        return np.nan
    if finish == FINISH_SUM:
        return total[value] / scale
    if finish == FINISH_MEAN:
        return total[value] / (present * scale)
    if finish == FINISH_EXTREME:
        return total_f[value]
    if present < 2:
        return np.nan
    square = outputs[o, SQUARE]
    spread = variance(present, total[value], total[square], total[square + 1], outputs[o, DIGITS])
    return np.sqrt(spread) if finish == FINISH_STDDEV else spread


@jit
def _finish_wide(tiles: Any, handle: int, program: Any, o: int) -> float:
    """Feature ``o`` from a wide state."""
    finish, heap = program.outputs[o, FINISH], tiles.heap
    if finish == FINISH_SET:
        return cardinality(heap, handle)
    if handle == EMPTY:
        return np.nan
    slot, entry = program.outputs[o, VALUE], program.outputs[o, PLACE]
    if finish == FINISH_ENTRY:
        if ENTRY * entry >= heap[handle + 1]:
            return np.nan
        value = 0 if program.slots[slot, KIND] == GREATEST else ENTRY - 1
        return float_of(heap[handle + HEAD + ENTRY * entry + value])
    return value_at(heap, handle, program.factors[o, SHARE], program.slots[slot, SIZE])


@jit
def _read(tiles: Any, program: Any, t: int, out: Any) -> int:
    """All features at ``t``: the windows of a level with one offset are one walk from the newest tile back, the shortest
    window first. Without an offset, what is visible decides where they end; with one, the last multiple of the hop that is
    not after ``t - offset``."""
    slots = len(program.slots)
    total = np.zeros(slots, np.int64)
    total_f = total.view(np.float64)
    level, offset, at, used = -1, 0, 0, tiles.used[0]
    for w in range(len(program.windows)):
        if program.windows[w, LEVEL] != level or program.windows[w, OFFSET] != offset:
            level, offset = program.windows[w, LEVEL], program.windows[w, OFFSET]
            at = tiles.count[level]
            if offset > 0:
                at = _end_of(tiles.bits[level], at, t - offset, program.levels[level, HOP])
            _identity(total, total_f, program.slots)
        low = t - offset - program.windows[w, LENGTH]
        low -= low % program.levels[level, HOP]
        if low < tiles.floor[level]:
            return TOO_OLD
        while at > 0 and tiles.bits[level, at - 1, 0] >= low:
            at -= 1
            bits, floats = tiles.bits[level, at, 1:], tiles.floats[level, at, 1:]
            status = _merge(total, total_f, bits, floats, program.slots)
            if status == OK and len(program.wide) > 0:
                status = _merge_all_wide(tiles, program, total, bits)
            if status != OK:
                return status
        for o in range(len(program.outputs)):
            if program.outputs[o, WINDOW] != w:
                continue
            if program.outputs[o, FINISH] < FINISH_ENTRY:
                out[o] = _finish(total, total_f, program.outputs, program.factors[o, SCALE], o)
            else:
                out[o] = _finish_wide(tiles, total[program.outputs[o, VALUE]], program, o)
    tiles.used[0] = used
    return OK


@jit
def _end_of(bits: Any, count: int, t: int, hop: int) -> int:
    """How many of a level's tiles begin before the last multiple of the hop that is not after ``t``."""
    high = t - t % hop
    while count > 0 and bits[count - 1, 0] >= high:
        count -= 1
    return count


@jit
def sweep(program: Any, events: Any, entity: Any, order: Any, asked: Any, out: Any, capacity: int) -> int:
    """The point-in-time join of one group.

    ``entity`` [n] and ``order`` [n] belong to the events; events and ``asked`` (entity, t, order: [m]) are sorted by
    entity, then by order. Request ``j`` sees the events of its entity whose order is below ``asked.order[j]``.
    ``out`` [m, outputs] is filled. FULL: ``capacity`` tiles are too few, call again with more.
    """
    room = _ROOM * (1 + capacity) * len(program.wide)
    tiles = empty_tiles(len(program.levels), capacity, len(program.slots), room)
    i, n = 0, len(entity)
    for j in range(len(asked.entity)):
        mine = asked.entity[j]
        if j == 0 or asked.entity[j - 1] != mine:
            tiles.count[:] = 0
            tiles.used[0] = 0
            while i < n and entity[i] < mine:
                i += 1
        while i < n and entity[i] == mine and order[i] < asked.order[j]:
            status = _fold(tiles, program, events, i)
            if status != OK:
                return status
            i += 1
        status = _read(tiles, program, asked.t[j], out[j])
        if status != OK:
            return status
    return OK


@jit
def _unpack(blob: Any, tiles: Any, program: Any) -> int:
    """Take a blob apart; FULL when the arena is too small for its wide states."""
    levels, width = tiles.bits.shape[0], tiles.bits.shape[2]
    at = HEADER + 2 * levels
    for level in range(levels):
        count = blob[HEADER + 2 * level]
        tiles.count[level] = count
        tiles.floor[level] = blob[HEADER + 2 * level + 1]
        tiles.bits[level, :count] = blob[at : at + count * width].reshape(count, width)
        at += count * width
    for level in range(levels if len(program.wide) > 0 else 0):
        for i in range(tiles.count[level]):
            for s in program.wide:
                words = tiles.bits[level, i, 1 + s]
                handle = room_for(tiles.heap, tiles.used, EMPTY, words) if words > 0 else EMPTY
                tiles.bits[level, i, 1 + s] = handle
                if handle == NO_ROOM:
                    return FULL
                if words > 0:
                    tiles.heap[handle + 1] = words
                    tiles.heap[handle + HEAD : handle + HEAD + words] = blob[at : at + words]
                    at += words
    return OK


@jit
def is_readable(program: Any, blob: Any) -> bool:
    """Whether a blob is empty, or has the layout that this kernel writes for the program."""
    if len(blob) == 0:
        return True
    return blob[0] == VERSION and blob[1] == len(program.levels) and blob[2] == len(program.slots)


@jit
def _longest(blob: Any, levels: int) -> int:
    most = 0
    if len(blob) > 0:
        for level in range(levels):
            most = max(most, blob[HEADER + 2 * level])
    return most


@jit
def read_blob(program: Any, blob: Any, t: int, out: Any) -> int:
    """All features of one entity at ``t`` from its packed tiles; an empty blob is an entity without events. UNREADABLE: it
    has another layout."""
    if not is_readable(program, blob):
        return UNREADABLE
    levels = len(program.levels)
    capacity, room = max(1, _longest(blob, levels)), (_ROOM + 2 * len(blob)) * len(program.wide)
    while True:
        tiles = empty_tiles(levels, capacity, len(program.slots), room)
        status = _unpack(blob, tiles, program) if len(blob) > 0 else OK
        if status == OK:
            status = _read(tiles, program, t, out)
        if status != FULL:
            return status
        room *= 4


@jit
def fold_blob(program: Any, blob: Any, events: Any, begin: int, stop: int, end: int, late: Any) -> Any:
    """The packed tiles of one entity after folding its events ``begin .. stop - 1``.

    ``blob`` is empty for a new entity, and else `is_readable`; ``end`` is the offset after the last of them; ``late[0]``
    counts events older than everything kept. An overflow gives an empty array. Tiles older than the newest by more than the
    level keeps are let go, and the floor remembers it.
    """
    levels, slots = len(program.levels), len(program.slots)
    capacity = _longest(blob, levels) + stop - begin
    room = (_ROOM * (stop - begin) + 2 * len(blob)) * len(program.wide)
    before = late[0]
    while True:
        late[0] = before
        tiles = empty_tiles(levels, capacity, slots, room)
        status = _unpack(blob, tiles, program) if len(blob) > 0 else OK
        i = begin
        while status == OK and i < stop:
            late[0] += _is_late(tiles, program, events.ts[i])
            status = _fold(tiles, program, events, i)
            i += 1
        if status == OK:
            return _pack(tiles, program, end)
        if status != FULL:
            return np.empty(0, np.int64)
        room *= 4


@jit
def _pack(tiles: Any, program: Any, end: int) -> Any:
    levels, width = tiles.bits.shape[0], tiles.bits.shape[2]
    first = np.zeros(levels, np.int64)
    size = HEADER + 2 * levels
    for level in range(levels):
        first[level] = _let_go(tiles, program, level)
        size += (tiles.count[level] - first[level]) * width
    blob = np.empty(size + _wide_words(tiles, program, first), np.int64)
    blob[0], blob[1], blob[2], blob[3] = VERSION, levels, width - 1, end
    at, behind = HEADER + 2 * levels, size
    for level in range(levels):
        count = tiles.count[level] - first[level]
        blob[HEADER + 2 * level] = count
        blob[HEADER + 2 * level + 1] = tiles.floor[level]
        blob[at : at + count * width] = tiles.bits[level, first[level] : tiles.count[level]].copy().reshape(count * width)
        if len(program.wide) > 0:
            behind = _pack_wide(tiles, program, blob, at, count, behind)
        at += count * width
    return blob


@jit
def _wide_words(tiles: Any, program: Any, first: Any) -> int:
    """The words of all wide states of the tiles that are kept."""
    words = 0
    for level in range(len(first) if len(program.wide) > 0 else 0):
        for i in range(first[level], tiles.count[level]):
            for s in program.wide:
                handle = tiles.bits[level, i, 1 + s]
                words += tiles.heap[handle + 1] if handle != EMPTY else 0
    return words


@jit
def _pack_wide(tiles: Any, program: Any, blob: Any, at: int, count: int, behind: int) -> int:
    """Write the wide states of ``count`` tiles, packed from ``at`` on, to ``behind``, and their lengths in place of their
    handles; where the next ones belong."""
    width = tiles.bits.shape[2]
    for i in range(count):
        for s in program.wide:
            slot = at + i * width + 1 + s
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
    count, hop = tiles.count[level], program.levels[level, HOP]
    if count == 0:
        return NO_FLOOR
    low = tiles.bits[level, count - 1, 0] - program.levels[level, KEEP] - hop
    return low - low % hop


@jit
def _is_late(tiles: Any, program: Any, ts: int) -> bool:
    """Whether an event is older than all that every level keeps."""
    kept = 0
    for level in range(len(program.levels)):
        kept += ts >= _kept_from(tiles, program, level)
    return kept == 0


@jit
def _let_go(tiles: Any, program: Any, level: int) -> int:
    """How many of the oldest tiles of a level need not be kept; raises the floor by them."""
    low, first = _kept_from(tiles, program, level), 0
    while first < tiles.count[level] and tiles.bits[level, first, 0] < low:
        first += 1
    if first > 0:
        tiles.floor[level] = tiles.bits[level, first - 1, 0] + program.levels[level, HOP]
    return first
