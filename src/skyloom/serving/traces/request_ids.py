"""Ids of requests, as callers give them."""

import re

HEADER = "x-request-id"

_SANE = re.compile(r"[!-~]{1,128}")


def sane(said: str) -> str:
    """The id that a caller gave its request; nothing when it is none: 1 to 128 visible characters of ASCII are one.

    >>> sane("7b1e-42"), sane("two words"), sane("x" * 129)
    ('7b1e-42', '', '')
    """
    return said if _SANE.fullmatch(said) else ""
