"""The Huffman code of HPACK (RFC 7541, appendix B), read four bits at a time."""

from functools import cache
from typing import NamedTuple

_LENGTHS = (
    *(13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28),
    *(28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12),
    *(10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6),
    *(5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22),
    *(22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20),
    *(22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23),
    *(26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28),
    *(27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28),
    *(27, 27, 27, 27, 27, 26, 30),
)
"""Bits of each byte's code, and of the end's. The code is canonical: shorter codes first, then by value."""

_END = 256
_PADDING = 7


class _Machine(NamedTuple):
    """``steps[state * 16 + four bits]`` is the next state and the bytes that are whole with it; ``None`` where the code of
    the end stands, which no text may hold. A text may end in ``final`` states: behind fewer than eight ones."""

    steps: list[tuple[int, bytes] | None]
    final: frozenset[int]


def unhuffed(data: bytes) -> bytes | None:
    """What the code says; ``None`` for what is none.

    >>> unhuffed(bytes.fromhex("f1e3c2e5f23a6ba0ab90f4ff"))
    b'www.example.com'
    """
    machine, state = _machine(), 0
    steps, done = machine.steps, list[bytes]()
    for byte in data:
        for nibble in (byte >> 4, byte & 15):
            step = steps[state * 16 + nibble]
            if step is None:
                return None
            state, whole = step
            if whole:
                done.append(whole)
    return b"".join(done) if state in machine.final else None


@cache
def _machine() -> _Machine:
    nodes = _tree()
    steps = [_walk(nodes, state, nibble) for state in range(len(nodes)) for nibble in range(16)]
    final, node = {0}, 0
    for _ in range(_PADDING):
        node = nodes[node][1]
        final.add(node)
    return _Machine(steps, frozenset(final))


def _tree() -> list[list[int]]:
    """Nodes, each with what follows a 0 and a 1: another node, or ``-1 - byte``."""
    nodes = [[0, 0]]
    code = before = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(_LENGTHS)):
        code <<= length - before
        before, at = length, 0
        for bit in range(length - 1, 0, -1):
            side = code >> bit & 1
            if not nodes[at][side]:
                nodes[at][side] = len(nodes)
                nodes.append([0, 0])
            at = nodes[at][side]
        nodes[at][code & 1] = -1 - symbol
        code += 1
    return nodes


def _walk(nodes: list[list[int]], state: int, nibble: int) -> tuple[int, bytes] | None:
    whole = b""
    for bit in (8, 4, 2, 1):
        state = nodes[state][1 if nibble & bit else 0]
        if state < 0:
            if -1 - state == _END:
                return None
            whole, state = bytes([-1 - state]), 0
    return state, whole
