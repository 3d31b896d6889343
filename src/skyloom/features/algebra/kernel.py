"""The one kernel: lift, merge and finish, run alike by training sets, the stream worker and served requests.

Written in Python, compiled by Numba; the tests run the same functions uncompiled beside it and compare. What it works on is
described in `skyloom.features.algebra.tiles`.
"""

from typing import Any

import numpy as np

from skyloom.features.algebra.compiled import jit
from skyloom.features.algebra.exact import BEYOND, LIMIT, add_bounded, add_limbs, add_square_bounded, variance
from skyloom.features.algebra.program import (
    BUCKETS,
    BY_WINDOW,
    COLUMN,
    COUNT,
    DIGITS,
    FACTORS,
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
    KIND,
    LANE,
    LENGTH,
    LEVEL,
    LEVELS,
    MAX,
    MIN,
    OFFSET,
    OLDEST,
    OUTPUTS,
    PLACE,
    PRESENT,
    ROWS,
    SCALE,
    SHARE,
    SIZE,
    SLOTS,
    SQUARE,
    SQUARE_LOW,
    SUM,
    VALUE,
    WIDE,
    WINDOW,
    WINDOWS,
)
from skyloom.features.algebra.sketches import cardinality, merge_buckets, merge_sets, put_bucket, put_hash, value_at
from skyloom.features.algebra.tiles import (
    FULL,
    NULLS,
    OK,
    OVERFLOW,
    TOO_OLD,
    UNREADABLE,
    empty_tiles,
    hop_of,
    identity,
    is_late,
    is_readable,
    laid_out,
    longest,
    pack,
    place,
    row,
    slot_row,
    unpack,
    wide_slot,
)
from skyloom.features.algebra.wide import EMPTY, ENTRY, HEAD, NO_ROOM, float_of, merge_entries, put_entry

_ROOM = 64
"""Words of the arena that a wide slot is given for each tile or event to begin with."""


@jit
def _lift(bits: Any, floats: Any, at: int, program: Any, events: Any, i: int) -> None:
    """Merge event ``i`` into the slots of a tile, which begin at word ``at``, but for the wide ones. ``events``: which of
    them lanes take, scaled integers, and values."""
    valid, scaled, values = events
    for s in range(program[SLOTS]):
        described, slot = slot_row(program, s), at + s
        kind, c = program[described + KIND], program[described + COLUMN]
        if kind == ROWS:
            bits[slot] += 1
        elif valid[program[described + LANE], i]:
            if kind == PRESENT:
                bits[slot] += 1
            elif kind == SUM:
                bits[slot] = add_bounded(bits[slot], scaled[c, i])
            elif kind == MIN:
                floats[slot] = min(floats[slot], values[c, i])
            elif kind == MAX:
                floats[slot] = max(floats[slot], values[c, i])
            elif kind == SQUARE_LOW:
                add_square_bounded(bits, slot, scaled[c, i])


@jit
def _lift_wide(tiles: Any, at: int, program: Any, events: Any, i: int) -> int:
    """Merge event ``i`` into the wide slots of a tile, whose slots begin at word ``at``."""
    for x in range(program[WIDE]):
        s = wide_slot(program, x)
        if events.valid[program[slot_row(program, s) + LANE], i]:
            handle = _put(tiles, program, tiles.bits[at + s], s, events, i)
            if handle == NO_ROOM:
                return FULL
            tiles.bits[at + s] = handle
    return OK


@jit
def _put(tiles: Any, program: Any, handle: int, s: int, events: Any, i: int) -> int:
    """Merge event ``i`` into a wide state; its handle, or NO_ROOM."""
    described = slot_row(program, s)
    kind, size, code = program[described + KIND], program[described + SIZE], events.codes[program[described + COLUMN], i]
    if kind == HASHES:
        return put_hash(tiles.heap, tiles.used, handle, size, code)
    if kind == BUCKETS:
        return put_bucket(tiles.heap, tiles.used, handle, code, 1)
    ts, offset = events.ts[i], events.offset[i]
    if kind == GREATEST:
        return put_entry(tiles.heap, tiles.used, handle, size, True, code, ts, offset)
    return put_entry(tiles.heap, tiles.used, handle, size, kind != OLDEST, ts, offset, code)


@jit
def _fold(tiles: Any, program: Any, events: Any, begin: int, stop: int) -> int:
    """Fold the events ``begin .. stop - 1``, each into its tile of every level that has not let this tile go."""
    width = 1 + program[SLOTS]
    columns, bits = (events.valid, events.scaled, events.values), tiles.bits
    for i in range(begin, stop):
        ts = events.ts[i]
        for level in range(program[LEVELS]):
            hop, count, end = hop_of(program, level), tiles.count[level], tiles.first[level + 1]
            at = tiles.first[level] + (count - 1) * width
            if count == 0 or not 0 <= ts - bits[at] < hop:  # mostly it goes into the newest tile, or into one behind it
                start = ts - ts % hop
                if start < tiles.floor[level]:
                    continue
                if (count == 0 or bits[at] < start) and at + width < end:
                    at += width
                    bits[at] = start
                    identity(bits, tiles.floats, at + 1, program)
                    tiles.count[level] = count + 1
                else:
                    at = place(tiles, level, start, program)
                    if at < 0:
                        return FULL
            _lift(bits, tiles.floats, at + 1, program, columns, i)
            if program[WIDE] > 0 and _lift_wide(tiles, at + 1, program, events, i) != OK:
                return FULL
    return OK


@jit
def _merge(total: Any, total_f: Any, bits: Any, floats: Any, begin: int, stop: int, program: Any) -> int:
    """Merge the tiles that stand from word ``begin`` to ``stop`` into a total, but for the wide slots: slot by slot, since
    then what to do is asked once and not for each tile."""
    width = 1 + program[SLOTS]
    for s in range(program[SLOTS]):
        kind, at = program[slot_row(program, s) + KIND], begin + 1 + s
        if kind == MIN:
            least = total_f[s]
            for value in floats[at:stop:width]:
                least = min(least, value)
            total_f[s] = least
        elif kind == MAX:
            most = total_f[s]
            for value in floats[at:stop:width]:
                most = max(most, value)
            total_f[s] = most
        elif kind <= PRESENT:
            counted = total[s]
            for count in bits[at:stop:width]:
                counted += count
            total[s] = counted
        elif kind == SUM:
            reached = total[s]
            for summed in bits[at:stop:width]:
                if summed == BEYOND:
                    return OVERFLOW
                reached += summed
                if reached >= LIMIT or reached <= -LIMIT:
                    return OVERFLOW
            total[s] = reached
        elif kind == SQUARE_LOW:
            while at < stop:
                add_limbs(total, s, bits[at], bits[at + 1])
                if total[s + 1] >= LIMIT:
                    return OVERFLOW
                at += width
    return OK


@jit
def _merge_wide(tiles: Any, program: Any, total: Any, begin: int, stop: int) -> int:
    """Merge the wide slots of the tiles that stand from word ``begin`` to ``stop`` into a total."""
    for x in range(program[WIDE]):
        s = wide_slot(program, x)
        for at in range(begin + 1 + s, stop, 1 + program[SLOTS]):
            if tiles.bits[at] != EMPTY:
                total[s] = _merged(tiles, program, total[s], s, tiles.bits[at])
                if total[s] == NO_ROOM:
                    return FULL
    return OK


@jit
def _merged(tiles: Any, program: Any, handle: int, s: int, other: int) -> int:
    """Merge another wide state into one; its handle, or NO_ROOM."""
    kind, size = program[slot_row(program, s) + KIND], program[slot_row(program, s) + SIZE]
    if kind == HASHES:
        return merge_sets(tiles.heap, tiles.used, handle, size, other)
    if kind == BUCKETS:
        return merge_buckets(tiles.heap, tiles.used, handle, other)
    return merge_entries(tiles.heap, tiles.used, handle, size, kind != OLDEST, other)


@jit
def _finish(total: Any, finish: int, slot: int, present: int, scale: float) -> float:
    """A count, a sum or a mean from merged slots; NaN is null. With n values and p digits, the exact integer sum is made a
    float64 and divided by 10^p (a mean: by n 10^p): rounded once, and once more only where one of the two is beyond 2^53."""
    if finish == FINISH_COUNT:
        return float(total[slot])
    if total[present] == 0:
        return np.nan
    return total[slot] / scale if finish == FINISH_SUM else total[slot] / (total[present] * scale)


@jit
def _finish_spread(total: Any, program: Any, o: int) -> float:
    """A variance or a standard deviation from merged slots; the output is described from word ``o`` on."""
    slot, square, present = program[o + VALUE], program[o + SQUARE], total[program[o + COUNT]]
    if present < 2:
        return np.nan
    spread = variance(present, total[slot], total[square], total[square + 1], program[o + DIGITS])
    return np.sqrt(spread) if program[o + FINISH] == FINISH_STDDEV else spread


@jit
def _finish_wide(heap: Any, handle: int, program: Any, o: int, q: float) -> float:
    """A feature from a wide state, a quantile at ``q``; the output is described from word ``o`` on."""
    finish = program[o + FINISH]
    if finish == FINISH_SET:
        return cardinality(heap, handle)
    if handle == EMPTY:
        return np.nan
    slot, entry = slot_row(program, program[o + VALUE]), program[o + PLACE]
    if finish == FINISH_ENTRY:
        if ENTRY * entry >= heap[handle + 1]:
            return np.nan
        value = 0 if program[slot + KIND] == GREATEST else ENTRY - 1
        return float_of(heap[handle + HEAD + ENTRY * entry + value])
    return value_at(heap, handle, q, program[slot + SIZE])


@jit
def _finish_window(heap: Any, total: Any, total_f: Any, program: Any, w: int, begin: int, out: Any) -> int:
    """The features of window ``w`` from its merged slots: by window they begin with the ``begin``-th. Gives where
    those of the next window begin."""
    floats = program.view(np.float64)
    for nth in range(begin, program[OUTPUTS]):
        index = program[row(program, BY_WINDOW, nth, 1)]
        o, factors = row(program, OUTPUTS, index, 7), row(program, FACTORS, index, 2)
        if program[o + WINDOW] != w:
            return nth
        finish, slot, present = program[o + FINISH], program[o + VALUE], program[o + COUNT]
        if finish <= FINISH_MEAN:
            out[index] = _finish(total, finish, slot, present, floats[factors + SCALE])
        elif finish == FINISH_EXTREME:
            out[index] = total_f[slot] if total[present] > 0 else np.nan
        elif finish < FINISH_ENTRY:
            out[index] = _finish_spread(total, program, o)
        else:
            out[index] = _finish_wide(heap, total[slot], program, o, floats[factors + SHARE])
    return program[OUTPUTS]


@jit
def _read(tiles: Any, total: Any, program: Any, t: int, out: Any) -> int:
    """All features at ``t``: the windows of a level with one offset are one walk from the newest tile back, the shortest
    window first. Without an offset, what is visible decides where they end; with one, the last multiple of the hop that is
    not after ``t - offset``. ``total`` is room for the slots of one tile."""
    bits, width, total_f = tiles.bits, 1 + program[SLOTS], total.view(np.float64)
    level, offset, at, used, done = -1, 0, 0, tiles.used[0], 0
    for w in range(program[WINDOWS]):
        window = row(program, WINDOWS, w, 3)
        if program[window + LEVEL] != level or program[window + OFFSET] != offset:
            level, offset = program[window + LEVEL], program[window + OFFSET]
            at = _end_of(tiles, program, level, offset, t)
            identity(total, total_f, 0, program)
        low = t - offset - program[window + LENGTH]
        low -= low % hop_of(program, level)
        if low < tiles.floor[level]:
            return TOO_OLD
        stop, first = at, tiles.first[level]
        while at > first and bits[at - width] >= low:
            at -= width
        status = _merge(total, total_f, bits, tiles.floats, at, stop, program)
        if status == OK and program[WIDE] > 0:
            status = _merge_wide(tiles, program, total, at, stop)
        if status != OK:
            return status
        done = _finish_window(tiles.heap, total, total_f, program, w, done, out)
    tiles.used[0] = used
    return OK


@jit
def _end_of(tiles: Any, program: Any, level: int, offset: int, t: int) -> int:
    """The word behind the tiles of a level that begin before the end of the windows of that offset."""
    width = 1 + program[SLOTS]
    at = tiles.first[level] + tiles.count[level] * width
    if offset > 0:
        high = t - offset
        high -= high % hop_of(program, level)
        while at > tiles.first[level] and tiles.bits[at - width] >= high:
            at -= width
    return at


@jit
def sweep(program: Any, events: Any, entity: Any, order: Any, asked: Any, out: Any, capacity: int) -> int:
    """The point-in-time join of one group.

    ``entity`` [n] and ``order`` [n] belong to the events; events and ``asked`` (entity, t, order: [m]) are sorted by
    entity, then by order. Request ``j`` sees the events of its entity whose order is below ``asked.order[j]``.
    ``out`` [m, outputs] is filled. FULL: ``capacity`` tiles are too few, call again with more.
    """
    room = _ROOM * (1 + capacity) * program[WIDE]
    tiles = empty_tiles(program[LEVELS], capacity, program[SLOTS], room)
    total = np.empty(program[SLOTS], np.int64)
    i, n = 0, len(entity)
    for j in range(len(asked.entity)):
        mine = asked.entity[j]
        if j == 0 or asked.entity[j - 1] != mine:
            tiles.count[:] = 0
            tiles.used[0] = 0
            while i < n and entity[i] < mine:
                i += 1
        begin = i
        while i < n and entity[i] == mine and order[i] < asked.order[j]:
            i += 1
        status = _fold(tiles, program, events, begin, i)
        if status == OK:
            status = _read(tiles, total, program, asked.t[j], out[j])
        if status != OK:
            return status
    return OK


@jit
def read_blob(program: Any, blob: Any, t: int, out: Any) -> int:
    """All features of one entity at ``t`` from its packed tiles; an empty blob is an entity without events. UNREADABLE: it
    has another layout."""
    if not is_readable(program, blob):
        return UNREADABLE
    total = np.empty(program[SLOTS], np.int64)
    if program[WIDE] == 0:
        return _read(laid_out(blob, program), total, program, t, out)
    levels = program[LEVELS]
    capacity, room = max(1, longest(blob, levels)), (_ROOM + 2 * len(blob)) * program[WIDE]
    while True:
        tiles = empty_tiles(levels, capacity, program[SLOTS], room)
        status = unpack(blob, tiles, program) if len(blob) > 0 else OK
        if status == OK:
            status = _read(tiles, total, program, t, out)
        if status != FULL:
            return status
        room *= 4


@jit
def read_packed(program: Any, blob: Any, t: int, out: Any) -> int:
    """`read_blob` of the bytes of a blob; NULLS where it is OK and some feature is null."""
    status = read_blob(program, np.frombuffer(blob, np.int64), t, out)
    if status == OK:
        for value in out:
            if np.isnan(value):
                return NULLS
    return status


@jit
def fold_blob(program: Any, blob: Any, events: Any, begin: int, stop: int, end: int, late: Any) -> Any:
    """The packed tiles of one entity after folding its events ``begin .. stop - 1``.

    ``blob`` is empty for a new entity, and else `is_readable`; ``end`` is the offset after the last of them; ``late[0]``
    counts events older than everything kept. Tiles older than the newest by more than the level keeps are let go, and the
    floor remembers it.
    """
    levels, slots = program[LEVELS], program[SLOTS]
    capacity = longest(blob, levels) + stop - begin
    room = (_ROOM * (stop - begin) + 2 * len(blob)) * program[WIDE]
    before = late[0]
    while True:
        late[0] = before
        tiles = empty_tiles(levels, capacity, slots, room)
        status = unpack(blob, tiles, program) if len(blob) > 0 else OK
        i = begin
        while status == OK and i < stop:
            late[0] += is_late(tiles, program, events.ts[i])
            status = _fold(tiles, program, events, i, i + 1)
            i += 1
        if status == OK:
            return pack(tiles, program, end)
        room *= 4
