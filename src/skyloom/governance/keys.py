"""The keys of a project, in its metadata: created, listed, revoked, each on the record."""

from collections.abc import Iterable

import msgspec

from skyloom.governance.access import mint
from skyloom.kernel.errors import NotFound
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.release import KeyDigest
from skyloom.ports.metadata import Metadata

KIND = "key"


class KeyRecord(msgspec.Struct, frozen=True):
    """A key as a project remembers it; a revoked one is kept. Times in milliseconds since 1970 (UTC)."""

    digest: KeyDigest
    created_ms: int
    created_by: str
    revoked_ms: int | None = None


def create_key(
    metadata: Metadata, scopes: Iterable[str], *, actor: str, now_ms: int, per_second: float = 0.0, per_day: int = 0
) -> tuple[str, KeyRecord]:
    """Mint a key and record it; the key itself is returned here and never again. Raises `UsageError` as `mint` does."""
    key, stored = mint(scopes, per_second, per_day)
    record = KeyRecord(stored, now_ms, actor)
    with metadata.transaction(actor) as transaction:
        transaction.put(KIND, stored.prefix, msgspec.json.encode(record), action="create key", expect=0)
    return key, record


def list_keys(metadata: Metadata) -> list[KeyRecord]:
    """All keys, revoked ones too, oldest first."""
    records = [msgspec.json.decode(document.body, type=KeyRecord) for document in metadata.list(KIND)]
    return sorted(records, key=lambda record: (record.created_ms, record.digest.prefix))


def active_keys(metadata: Metadata) -> tuple[KeyDigest, ...]:
    """What a server needs to check requests: the digests of all keys that are not revoked."""
    return tuple(record.digest for record in list_keys(metadata) if record.revoked_ms is None)


def revoke_key(metadata: Metadata, prefix: str, *, actor: str, now_ms: int) -> KeyRecord:
    """Revoke the key with that prefix (``sky_`` before it is allowed); revoking it again changes nothing.

    Raises `NotFound` for a key that is not there.
    """
    prefix = prefix.removeprefix("sky_")
    with metadata.transaction(actor) as transaction:
        document = transaction.get(KIND, prefix)
        if document is None:
            known = [other.id for other in transaction.list(KIND)]
            near = ", ".join(nearest(prefix, known))
            raise NotFound(f"there is no key sky_{prefix}", tried=near and f"nearest: {near}", fix="skyloom keys list")
        record = msgspec.json.decode(document.body, type=KeyRecord)
        if record.revoked_ms is None:
            record = msgspec.structs.replace(record, revoked_ms=now_ms)
            body = msgspec.json.encode(record)
            transaction.put(KIND, prefix, body, action="revoke key", expect=document.version)
    return record
