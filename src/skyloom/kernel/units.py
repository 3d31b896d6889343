"""Durations as people write them, in milliseconds as machines count them."""

import re

from skyloom.kernel.errors import DeclarationError

MILLISECOND = 1
SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LONGEST = 10_000 * 365 * DAY
"""No duration is longer: several of them, and a moment, add up within 64 bits."""

_UNITS = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w)")


def parse_duration(text: str) -> int:
    """Milliseconds of a duration such as ``"5ms"``, ``"30s"``, ``"15m"``, ``"36h"``, ``"7d"`` or ``"1h30m"``.

    Raises `DeclarationError` when it is no text, no duration, zero, or longer than 10,000 years.

    >>> parse_duration("1h30m")
    5400000
    """
    parts = _DURATION.findall(text) if isinstance(text, str) else []  # pyright: ignore[reportUnnecessaryIsInstance]
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise DeclarationError(f"{text!r} is not a duration", fix='write it as "30s", "15m", "36h" or "7d"')
    total = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if total == 0:
        raise DeclarationError(f"a duration of {text!r} is empty", fix='give at least "1ms"')
    if total > LONGEST:
        raise DeclarationError(f"a duration of {text!r} is longer than 10,000 years", fix='shorten it, as in "3650d"')
    return total


def format_duration(milliseconds: int) -> str:
    """The text, largest units first, that `parse_duration` reads back as the same length (above zero).

    >>> format_duration(5400000), format_duration(7 * DAY)
    ('1h30m', '7d')
    """
    rest, parts = milliseconds, []
    for unit, length in (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", MILLISECOND)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0ms"
