"""Every error that Skyloom raises on purpose.

    SkyloomError
    ├── UsageError            the command or call was put wrongly                     exit 2
    ├── DeclarationError      the project file says something that cannot be          exit 1
    ├── DataError             rows, files or requests break their contract
    ├── TrainingError         the user's training function failed
    ├── PackageError          a model cannot become a safe, equal package
    ├── Refused               a gate, a policy or a key said no
    ├── NotFound              nothing of that name or id is stored
    ├── Conflict              somebody else changed it first: read again, decide again
    ├── Damaged               what is stored is broken; nothing is written over it
    ├── MissingExtra          an optional dependency is not installed
    └── Transient             the same call may work in a moment: the only kind worth a retry

Whether a retry makes sense is a type, never a string to parse.
"""


class SkyloomError(Exception):
    """What went wrong, what was tried and what to type next.

    >>> str(SkyloomError("no table data/x.parquet", tried="data/x.parquet", fix="skyloom ingest x FILE"))
    'no table data/x.parquet\\n  tried: data/x.parquet\\n  next:  skyloom ingest x FILE'
    """

    exit_code = 1

    def __init__(self, what: str, *, tried: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.tried = tried
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.tried:
            lines.append(f"  tried: {self.tried}")
        if self.fix:
            lines.append(f"  next:  {self.fix}")
        return "\n".join(lines)


class UsageError(SkyloomError):
    """The command or call was put wrongly."""

    exit_code = 2


class DeclarationError(SkyloomError):
    """The project file says something that cannot be."""


class DataError(SkyloomError):
    """Rows, files or requests break their contract."""


class TrainingError(SkyloomError):
    """The user's training function failed, or its data cannot teach anything."""


class PackageError(SkyloomError):
    """A model cannot become a safe package that answers as the original does."""


class Refused(SkyloomError):
    """A gate, a policy or a key said no."""


class NotFound(SkyloomError):
    """Nothing of that name or id is stored."""


class Conflict(SkyloomError):
    """Somebody else changed it first: read again and decide again."""


class Damaged(SkyloomError):
    """What is stored is broken: nothing is written over it, and nothing that came for it is let go."""


class MissingExtra(SkyloomError):
    """An optional dependency is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(
            f"{module} is not installed",
            tried=f"import {module}",
            fix=f"pip install 'skyloom[{extra}]'",
        )


class Transient(SkyloomError):
    """The same call may work in a moment: the only kind of error worth a retry."""
