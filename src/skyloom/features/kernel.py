"""The one kernel: lift, merge and finish, run alike by training sets, the stream worker and served requests.

Written in Python, compiled by Numba; the tests run the same functions uncompiled beside it and compare.

A tile is a row of int64: its start (epoch milliseconds), then its slots. A slot of kind MIN or MAX holds the bits of a
float64, seen through a float64 view of the same memory. Sums are scaled integers, so every order of adding gives the
same bits.

A blob is an entity's tiles packed (int64, little-endian): version, levels, slots, end offset, then per level the number
of tiles and the floor, then the tiles of each level, sorted by start. The floor is the end of the newest tile that was
let go: a window that reaches below it cannot be answered. Tiles and floor depend on which events were folded, not on
their order or batches.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import config, njit

from skyloom.features.program import FINISH_COUNT, FINISH_MEAN, FINISH_SUM, MAX, MIN, PRESENT, ROWS, SUM
from skyloom.kernel.ids import digest

VERSION = 1
HEADER = 4
OK, TOO_OLD, OVERFLOW, FULL = range(4)
NO_FLOOR = -(2**62)
LIMIT = 2**62


class Tiles(NamedTuple):
    """The tiles of one entity while they are worked on: ``bits`` [levels, capacity, 1 + slots] int64 and ``floats``, the
    float64 view of the same memory; per level the number of tiles (``count``) and the ``floor``."""

    bits: Any
    floats: Any
    count: Any
    floor: Any


def _cache_folder() -> str:
    """Compiled code belongs to exactly these sources: Numba alone would also load what an older kernel left behind."""
    here = Path(__file__).parent
    sources = b"".join((here / name).read_bytes() for name in ("kernel.py", "program.py", "columns.py", "pit.py"))
    return str(here / "__pycache__" / f"kernel-{digest(sources)[:12]}")


def _jit(function: Any) -> Any:
    before, config.CACHE_DIR = config.CACHE_DIR, _FOLDER  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return njit(cache=True, nogil=True)(function)
    finally:
        config.CACHE_DIR = before  # pyright: ignore[reportAttributeAccessIssue]


_FOLDER = _cache_folder()


@_jit
def empty_tiles(levels: int, capacity: int, slots: int) -> Any:
    """Room for ``capacity`` tiles a level."""
    bits = np.empty((levels, capacity, 1 + slots), np.int64)
    return Tiles(bits, bits.view(np.float64), np.zeros(levels, np.int64), np.full(levels, NO_FLOOR, np.int64))


@_jit
def _identity(bits: Any, floats: Any, slot_kind: Any) -> None:
    """Let slots be what merging leaves unchanged."""
    for s in range(len(slot_kind)):
        if slot_kind[s] == MIN:
            floats[s] = np.inf
        elif slot_kind[s] == MAX:
            floats[s] = -np.inf
        else:
            bits[s] = 0


@_jit
def _place(tiles: Any, level: int, start: int, slot_kind: Any) -> int:
    """The index of the tile that starts at ``start``, made when it is missing; -1 when there is no room."""
    bits, count = tiles.bits[level], tiles.count
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
    _identity(bits[at, 1:], tiles.floats[level, at, 1:], slot_kind)
    return at


@_jit
def _lift(bits: Any, floats: Any, program: Any, events: Any, i: int) -> int:
    """Merge event ``i`` into the slots of a tile."""
    for s in range(len(program.slot_kind)):
        kind, c = program.slot_kind[s], program.slot_column[s]
        if kind == ROWS:
            bits[s] += 1
        elif events.valid[c, i]:
            if kind == PRESENT:
                bits[s] += 1
            elif kind == SUM:
                bits[s] += events.scaled[c, i]
                if bits[s] >= LIMIT or bits[s] <= -LIMIT:
                    return OVERFLOW
            elif kind == MIN:
                floats[s] = min(floats[s], events.values[c, i])
            else:
                floats[s] = max(floats[s], events.values[c, i])
    return OK


@_jit
def _fold(tiles: Any, program: Any, events: Any, i: int) -> int:
    """Fold event ``i`` into its tile of every level that has not let this tile go."""
    for level in range(len(program.level_hop)):
        start = events.ts[i] - events.ts[i] % program.level_hop[level]
        if start < tiles.floor[level]:
            continue
        at = _place(tiles, level, start, program.slot_kind)
        if at < 0:
            return FULL
        status = _lift(tiles.bits[level, at, 1:], tiles.floats[level, at, 1:], program, events, i)
        if status != OK:
            return status
    return OK


@_jit
def _merge(total: Any, total_f: Any, bits: Any, floats: Any, slot_kind: Any) -> int:
    """Merge the slots of one tile into a total."""
    for s in range(len(slot_kind)):
        if slot_kind[s] == MIN:
            total_f[s] = min(total_f[s], floats[s])
        elif slot_kind[s] == MAX:
            total_f[s] = max(total_f[s], floats[s])
        else:
            total[s] += bits[s]
            if total[s] >= LIMIT or total[s] <= -LIMIT:
                return OVERFLOW
    return OK


@_jit
def _finish(total: Any, total_f: Any, program: Any, o: int) -> float:
    """Feature ``o`` from merged slots; NaN is null. With n values and p digits, the exact integer sum is made a float64 and
    divided by 10^p (a mean: by n 10^p): rounded once, and once more only where one of the two is beyond 2^53."""
    finish, value = program.output_finish[o], program.output_value[o]
    present = total[program.output_present[o]]
    if finish == FINISH_COUNT:
        return float(total[value])
    if present == 0:
        return np.nan
    if finish == FINISH_SUM:
        return total[value] / program.output_scale[o]
    if finish == FINISH_MEAN:
        return total[value] / (present * program.output_scale[o])
    return total_f[value]


@_jit
def _read(tiles: Any, program: Any, t: int, out: Any) -> int:
    """All features at ``t``: the windows of a level are one walk from the newest tile back, the shortest window first."""
    slots = len(program.slot_kind)
    total = np.zeros(slots, np.int64)
    total_f = total.view(np.float64)
    level, at = -1, 0
    for w in range(len(program.window_level)):
        if program.window_level[w] != level:
            level = program.window_level[w]
            at = tiles.count[level]
            _identity(total, total_f, program.slot_kind)
        low = t - program.window_length[w]
        low -= low % program.level_hop[level]
        if low < tiles.floor[level]:
            return TOO_OLD
        while at > 0 and tiles.bits[level, at - 1, 0] >= low:
            at -= 1
            bits, floats = tiles.bits[level, at, 1:], tiles.floats[level, at, 1:]
            status = _merge(total, total_f, bits, floats, program.slot_kind)
            if status != OK:
                return status
        for o in range(len(program.output_window)):
            if program.output_window[o] == w:
                out[o] = _finish(total, total_f, program, o)
    return OK


@_jit
def sweep(program: Any, events: Any, entity: Any, order: Any, asked: Any, out: Any, capacity: int) -> int:
    """The point-in-time join of one group.

    ``entity`` [n] and ``order`` [n] belong to the events; events and ``asked`` (entity, t, order: [m]) are sorted by
    entity, then by order. Request ``j`` sees the events of its entity whose order is below ``asked.order[j]``.
    ``out`` [m, outputs] is filled. FULL: ``capacity`` tiles are too few, call again with more.
    """
    tiles = empty_tiles(len(program.level_hop), capacity, len(program.slot_kind))
    i, n = 0, len(entity)
    for j in range(len(asked.entity)):
        mine = asked.entity[j]
        if j == 0 or asked.entity[j - 1] != mine:
            tiles.count[:] = 0
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


@_jit
def _unpack(blob: Any, tiles: Any) -> None:
    levels, width = tiles.bits.shape[0], tiles.bits.shape[2]
    at = HEADER + 2 * levels
    for level in range(levels):
        count = blob[HEADER + 2 * level]
        tiles.count[level] = count
        tiles.floor[level] = blob[HEADER + 2 * level + 1]
        tiles.bits[level, :count] = blob[at : at + count * width].reshape(count, width)
        at += count * width


@_jit
def _longest(blob: Any, levels: int) -> int:
    most = 0
    if len(blob) > 0:
        for level in range(levels):
            most = max(most, blob[HEADER + 2 * level])
    return most


@_jit
def read_blob(program: Any, blob: Any, t: int, out: Any) -> int:
    """All features of one entity at ``t`` from its packed tiles; an empty blob is an entity without events."""
    levels = len(program.level_hop)
    tiles = empty_tiles(levels, max(1, _longest(blob, levels)), len(program.slot_kind))
    if len(blob) > 0:
        _unpack(blob, tiles)
    return _read(tiles, program, t, out)


@_jit
def fold_blob(program: Any, blob: Any, events: Any, begin: int, stop: int, end: int, late: Any) -> Any:
    """The packed tiles of one entity after folding its events ``begin .. stop - 1``.

    ``blob`` is empty for a new entity; ``end`` is the offset after the last of them; ``late[0]`` counts events older than
    everything kept. An overflow gives an empty array. Tiles older than the newest by more than the level keeps are let
    go, and the floor remembers it.
    """
    levels, slots = len(program.level_hop), len(program.slot_kind)
    tiles = empty_tiles(levels, _longest(blob, levels) + stop - begin, slots)
    if len(blob) > 0:
        _unpack(blob, tiles)
    for i in range(begin, stop):
        late[0] += _is_late(tiles, program, events.ts[i])
        if _fold(tiles, program, events, i) != OK:
            return np.empty(0, np.int64)
    return _pack(tiles, program, end)


@_jit
def _pack(tiles: Any, program: Any, end: int) -> Any:
    levels, width = tiles.bits.shape[0], tiles.bits.shape[2]
    first = np.zeros(levels, np.int64)
    size = HEADER + 2 * levels
    for level in range(levels):
        first[level] = _let_go(tiles, program, level)
        size += (tiles.count[level] - first[level]) * width
    blob = np.empty(size, np.int64)
    blob[0], blob[1], blob[2], blob[3] = VERSION, levels, width - 1, end
    at = HEADER + 2 * levels
    for level in range(levels):
        count = tiles.count[level] - first[level]
        blob[HEADER + 2 * level] = count
        blob[HEADER + 2 * level + 1] = tiles.floor[level]
        blob[at : at + count * width] = tiles.bits[level, first[level] : tiles.count[level]].copy().reshape(count * width)
        at += count * width
    return blob


@_jit
def _kept_from(tiles: Any, program: Any, level: int) -> int:
    """The start of the oldest tile that a level keeps beside its newest one."""
    count, hop = tiles.count[level], program.level_hop[level]
    if count == 0:
        return NO_FLOOR
    low = tiles.bits[level, count - 1, 0] - program.level_keep[level] - hop
    return low - low % hop


@_jit
def _is_late(tiles: Any, program: Any, ts: int) -> bool:
    """Whether an event is older than all that every level keeps."""
    kept = 0
    for level in range(len(program.level_hop)):
        kept += ts >= _kept_from(tiles, program, level)
    return kept == 0


@_jit
def _let_go(tiles: Any, program: Any, level: int) -> int:
    """How many of the oldest tiles of a level need not be kept; raises the floor by them."""
    low, first = _kept_from(tiles, program, level), 0
    while first < tiles.count[level] and tiles.bits[level, first, 0] < low:
        first += 1
    if first > 0:
        tiles.floor[level] = tiles.bits[level, first - 1, 0] + program.level_hop[level]
    return first
