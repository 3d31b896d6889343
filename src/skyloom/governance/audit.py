"""The audit log, to be read by people."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from skyloom.ports.metadata import Change, Metadata


class AuditLine(msgspec.Struct, frozen=True):
    """One change: when (ISO 8601, UTC), who, what was done, and to what."""

    number: int
    at: str
    actor: str
    action: str
    subject: str
    link: str

    def __str__(self) -> str:
        return f"{self.number:>6}  {self.at}  {self.actor}  {self.action}  {self.subject}"


class AuditVerdict(msgspec.Struct, frozen=True):
    """What checking the chain said: ``broken_at`` is the number of the first line that does not hold.

    ``head`` is the chain's last link: whoever keeps it elsewhere also sees a log that was cut off or written anew.
    """

    lines: int
    broken_at: int | None
    head: str


def audit_lines(metadata: Metadata, kind: str | None = None, id: str | None = None) -> list[AuditLine]:
    """The changes, oldest first, of everything or of one kind or record."""
    return [_line(change) for change in metadata.changes(kind, id)]


def verify_audit(metadata: Metadata) -> AuditVerdict:
    """Check the whole chain."""
    changes: Sequence[Change] = metadata.changes()
    return AuditVerdict(len(changes), metadata.verify(), changes[-1].link if changes else "")


def _line(change: Change) -> AuditLine:
    at = datetime.fromtimestamp(change.at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    subject = f"{change.kind} {change.id}" + (" (deleted)" if change.body is None else f" (version {change.version})")
    return AuditLine(change.number, at, _shown(change.actor), _shown(change.action), _shown(subject), change.link)


def _shown(text: str) -> str:
    """One line, whatever is in it: a name with a line break must not look like a line of the log.

    >>> _shown("eve\\n  42 admin")
    'eve\\\\n  42 admin'
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
