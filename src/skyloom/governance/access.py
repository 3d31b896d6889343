"""API keys: ``sky_<prefix>_<secret><checksum>``, of which only the prefix and the SHA-256 are ever stored.

The prefix (8 characters) names a key in lists and logs. The secret (43 characters of 62, 256 bits) is random, so a plain
SHA-256 protects it. The checksum (6 characters: the CRC-32 of what stands before it) tells a mistyped key from an unknown
one without asking anybody.
"""

import hmac
import math
import re
import secrets
import zlib
from collections.abc import Iterable, Sequence

from skyloom.kernel.errors import Refused, UsageError
from skyloom.kernel.ids import digest, nearest
from skyloom.kernel.records.release import KeyDigest

SCOPES = ("predict", "ingest", "read", "pin", "admin")
"""What a key may be allowed to do; ``pin``: choose the version that answers; ``admin`` includes all."""

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PREFIX_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(r"sky_([0-9a-z]{8})_[0-9A-Za-z]{43}([0-9A-Za-z]{6})", re.ASCII)
_CHECKSUM_LENGTH = 6
_NOBODY = "0" * 64


class Unauthenticated(Refused):
    """It is not known who asks (HTTP 401)."""


class Forbidden(Refused):
    """It is known who asks, and that key may not do this (HTTP 403)."""


def mint(scopes: Iterable[str], per_second: float = 0.0, per_day: int = 0) -> tuple[str, KeyDigest]:
    """A new key, to be shown once, and what is stored of it. Raises `UsageError` for no or an unknown scope, and for a rate
    that is none.

    >>> key, stored = mint(["predict"])
    >>> len(key), stored.scopes, key.startswith(f"sky_{stored.prefix}_")
    (62, ('predict',), True)
    """
    wanted = tuple(sorted(set(scopes)))
    if not wanted:
        raise UsageError("a key needs a scope", fix=f"give one or more of {', '.join(SCOPES)}")
    for scope in wanted:
        if scope not in SCOPES:
            near = nearest(scope, list(SCOPES)) or SCOPES
            raise UsageError(f"there is no scope {scope!r}", fix=f"one of {', '.join(near)}")
    if not (0 <= per_second < math.inf and per_day >= 0):
        raise UsageError(f"{per_second:g} a second and {per_day} a day are no rates", fix="give 0 (no limit) or more")
    prefix = "".join(secrets.choice(_PREFIX_LETTERS) for _ in range(8))
    body = f"sky_{prefix}_" + "".join(secrets.choice(_LETTERS) for _ in range(43))
    key = body + _checksum(body)
    return key, KeyDigest(prefix, digest(key.encode()), wanted, per_second, per_day)


def check(presented: str | None, keys: Sequence[KeyDigest], scope: str) -> KeyDigest:
    """The stored key that ``presented`` is, if it may do ``scope``.

    Raises `Unauthenticated` (no key, no form of a key, mistyped, unknown) or `Forbidden` (another scope).
    """
    return Keyring(keys).check(presented, scope)


class Keyring:
    """The keys of one moment, ready to check many requests. Safe for threads.

    Keys are found by their public prefix and compared in constant time; one that was right is remembered, so that
    its next check costs a look-up.
    """

    def __init__(self, keys: Sequence[KeyDigest]) -> None:
        self._by_prefix = {key.prefix: key for key in keys}
        self._right: dict[str, KeyDigest] = {}

    def check(self, presented: str | None, scope: str) -> KeyDigest:
        """As the function `check`."""
        key = self._right.get(presented) if presented else None
        if key is None:
            key = self._authenticate(presented)
        if scope not in key.scopes and "admin" not in key.scopes:
            raise Forbidden(
                f"key sky_{key.prefix} may not {scope}: its scopes are {', '.join(key.scopes)}",
                fix=f"skyloom keys create --scope {scope}",
            )
        return key

    def _authenticate(self, presented: str | None) -> KeyDigest:
        if not presented:
            raise Unauthenticated("no key was given", fix="send it as the header 'Authorization: Bearer sky_...'")
        form = _FORM.fullmatch(presented)
        if form is None:
            raise Unauthenticated("that is no key of Skyloom", fix="a key looks like sky_<8>_<49 letters and digits>")
        if _checksum(presented[:-_CHECKSUM_LENGTH]) != form[2]:
            raise Unauthenticated(
                f"key sky_{form[1]} is mistyped: its checksum does not hold", fix="copy the whole key again"
            )
        key = self._by_prefix.get(form[1])
        if not hmac.compare_digest(digest(presented.encode()), key.sha256 if key else _NOBODY) or key is None:
            raise Unauthenticated(f"there is no such key (sky_{form[1]}), or it was revoked", fix="skyloom keys create")
        self._right[presented] = key
        return key


def _checksum(body: str) -> str:
    number, characters = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, index = divmod(number, len(_LETTERS))
        characters = _LETTERS[index] + characters
    return characters
