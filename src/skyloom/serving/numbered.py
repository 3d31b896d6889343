"""Ids of the rows of one request: of the form of `new_id`, all alike but for the number of the row at their end."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import overload

import numpy as np
from numpy.typing import NDArray

from skyloom.kernel.ids import new_id

_TAIL, _LETTERS = 5, np.frombuffer(b"0123456789abcdefghjkmnpqrstvwxyz", np.uint8)


class Numbered(Sequence[str]):
    """``count`` ids (at most 2^25), in order; texts of them are made when they are asked for.

    >>> first, second = Numbered("p", 2)
    >>> (len(first), first[:-5] == second[:-5], first[-5:], second[-5:])
    (28, True, '00000', '00001')
    """

    def __init__(self, prefix: str, count: int) -> None:
        self._shared, self._count = new_id(prefix)[:-_TAIL], count
        self._size = 1 << max(count - 1, 1).bit_length()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return list(self)[index]
        return self._shared + _tails(self._size)[range(self._count)[index]]

    def __iter__(self) -> Iterator[str]:
        shared = self._shared
        return iter([shared + tail for tail in _tails(self._size)[: self._count]])

    def octets(self) -> NDArray[np.bytes_]:
        """All of them as ASCII: bytes of one width [count]."""
        known = len(self._shared)
        block = np.empty((self._count, known + _TAIL), np.uint8)
        block[:, :known] = np.frombuffer(self._shared.encode(), np.uint8)
        block[:, known:] = _tail_octets(self._size)[: self._count]
        return block.reshape(-1).view(f"S{known + _TAIL}")


@lru_cache(maxsize=26)
def _tail_octets(count: int) -> NDArray[np.uint8]:
    """The last characters of so many ids [count, 5]."""
    shifts = np.arange(5 * (_TAIL - 1), -1, -5)
    return _LETTERS[(np.arange(count)[:, None] >> shifts) & 31]


@lru_cache(maxsize=17)
def _tails(count: int) -> list[str]:
    tails = _tail_octets(count).tobytes().decode()
    return [tails[at : at + _TAIL] for at in range(0, count * _TAIL, _TAIL)]
