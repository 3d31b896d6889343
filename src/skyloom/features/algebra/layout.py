"""Packed tiles read in plain Python, without the compiled kernel: for tools, for tests, for whoever finds them in a store.

The layout is told in `skyloom.features.algebra.kernel`; that of each state in `skyloom.features.algebra.wide` and
`skyloom.features.algebra.sketches`.
"""

import struct
from typing import NamedTuple

from skyloom.features.algebra.program import (
    BUCKETS,
    GREATEST,
    HASHES,
    KIND,
    MAX,
    MIN,
    OLDEST,
    PRESENT,
    ROWS,
    SQUARE_HIGH,
    SQUARE_LOW,
    SUM,
    Program,
)
from skyloom.kernel.errors import DataError

LAYOUT = 2
_HEADER = 4
_NO_FLOOR = -(2**62)
_REST = 2**63 - 1

State = int | float | list[tuple[int, int, float]] | set[int] | bytes | dict[int, int] | None


class Tile(NamedTuple):
    """One tile: its start (ms since 1970), and its states in the order of the program's slots.

    Counts and scaled sums are ``int``, extremes ``float`` (infinite where there is no value), a sum of squares stands whole
    in its lower slot, ``None`` in the upper one; lists are (time, offset, value), the best first; a distinct count is a set
    of hashes or 4,096 registers; quantiles are numbers of values by bucket (see `skyloom.features.algebra.codes.buckets`).
    """

    start: int
    states: tuple[State, ...]


class Level(NamedTuple):
    """The tiles of one hop, and the moment below which some were let go (``None``: none was)."""

    floor: int | None
    tiles: tuple[Tile, ...]


class Blob(NamedTuple):
    """What is stored of an entity: the offset up to which its events are in, and its levels, the shortest hop first."""

    end: int
    levels: tuple[Level, ...]


def read_layout(blob: bytes, program: Program) -> Blob:
    """An entity's tiles. Raises `DataError` when they have another layout, or were packed for other slots."""
    words = struct.unpack(f"<{len(blob) // 8}q", blob[: len(blob) // 8 * 8])
    kinds = program.tables.slots[:, KIND].tolist()
    wanted = (LAYOUT, len(program.tables.levels), len(kinds))
    if len(words) < _HEADER or words[:3] != wanted:
        raise DataError(
            f"these tiles have the layout {words[:3]} and not {wanted} (version, levels, slots)",
            fix="build the group again: skyloom features backfill GROUP",
        )
    counts = [words[_HEADER + 2 * level] for level in range(wanted[1])]
    width, at = 1 + len(kinds), _HEADER + 2 * wanted[1]
    behind = at + width * sum(counts)
    levels: list[Level] = []
    for level, count in enumerate(counts):
        tiles: list[Tile] = []
        for begin in range(at, at + width * count, width):
            tile, behind = _tile(words, begin, behind, kinds)
            tiles.append(tile)
        at += width * count
        floor = words[_HEADER + 2 * level + 1]
        levels.append(Level(None if floor == _NO_FLOOR else floor, tuple(tiles)))
    return Blob(words[3], tuple(levels))


def _tile(words: tuple[int, ...], begin: int, behind: int, kinds: list[int]) -> tuple[Tile, int]:
    """The tile at ``begin``, with the wide states from ``behind`` on; where those of the next one are."""
    states: list[State] = []
    for at, kind in enumerate(kinds, begin + 1):
        length = words[at] if kind >= OLDEST else 0
        states.append(_state(kind, words[at : at + 2], words[behind : behind + length]))
        behind += length
    return Tile(words[begin], tuple(states)), behind


def _state(kind: int, fixed: tuple[int, ...], wide: tuple[int, ...]) -> State:
    if kind in (ROWS, PRESENT, SUM):
        return fixed[0]
    if kind in (MIN, MAX):
        return _float(fixed[0])
    if kind in (SQUARE_LOW, SQUARE_HIGH):
        return fixed[0] + (fixed[1] << 62) if kind == SQUARE_LOW else None
    if kind == HASHES:
        return struct.pack(f"<{len(wide) - 1}q", *wide[1:]) if wide[:1] == (-1,) else set(wide[1:])
    if kind == BUCKETS:
        return dict(zip(wide[::2], wide[1::2], strict=True))
    entries = zip(wide[::3], wide[1::3], wide[2::3], strict=True)
    if kind == GREATEST:
        return [(ts, offset, _ordered(code)) for code, ts, offset in entries]
    return [(ts, offset, _ordered(code)) for ts, offset, code in entries]


def _float(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<q", bits))[0]


def _ordered(code: int) -> float:
    return _float(code if code >= 0 else code ^ _REST)


def other_layout() -> DataError:
    """What is said of tiles that another version of the kernel wrote."""
    return DataError(
        f"tiles of another layout than version {LAYOUT} are in the online store",
        tried="reading them as this version of Skyloom packs tiles",
        fix="build the group again: skyloom features backfill GROUP",
    )
