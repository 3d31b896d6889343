"""Clocks of time zones: how far they are ahead of UTC, and when that changes. Every backend reads them here."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from skyloom.kernel.units import DAY

FIRST = -2_208_988_800_000
"""1900-01-01T00:00:00Z: parts of earlier moments are null."""
END = 7_258_118_400_000
"""2200-01-01T00:00:00Z: parts of this moment and of later ones are null."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """The time zone of that name; `KeyError`, `ValueError` or `OSError` when there is none."""
    return ZoneInfo(name)


def utc_offset(moment_ms: int, tz: str) -> int:
    """How far the clocks of the time zone ``tz`` are ahead of UTC at a moment, in milliseconds.

    >>> utc_offset(0, "America/New_York") / 3_600_000
    -5.0
    """
    moment = (_EPOCH + timedelta(milliseconds=moment_ms)).astimezone(zone(tz))
    return (moment.utcoffset() or timedelta()) // timedelta(milliseconds=1)


@lru_cache(maxsize=16)
def changes(tz: str) -> tuple[tuple[int, int], ...]:
    """When the clocks of ``tz`` change between `FIRST` and `END`: (moment, offset from then on), in milliseconds, in order.

    The first pair is `FIRST` itself. Clocks are looked at once a day and changes found by halving: no zone changes its
    clocks and changes them back within a day.

    >>> changes("UTC")
    ((-2208988800000, 0),)
    """
    found = [(FIRST, utc_offset(FIRST, tz))]
    for begin in range(FIRST, END, DAY):
        end = min(begin + DAY, END - 1)
        while utc_offset(end, tz) != found[-1][1]:
            at = _first_change(begin, end, tz)
            found.append((at, utc_offset(at, tz)))
            begin = at  # noqa: PLW2901  # a second change may follow on the same day
    return tuple(found)


def _first_change(low: int, high: int, tz: str) -> int:
    before = utc_offset(low, tz)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if utc_offset(middle, tz) == before else (low, middle)
    return high
