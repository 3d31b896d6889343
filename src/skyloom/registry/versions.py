"""Versions of a model: numbered from 1 without a gap, one for a run at most."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from skyloom.kernel.errors import NotFound, UsageError
from skyloom.kernel.records.registry import Override, Version
from skyloom.ports import Document, Metadata
from skyloom.ports.metadata import Transaction

KIND = "version"


class _Documents(Protocol):
    def list(self, kind: str, prefix: str = "") -> Sequence[Document]: ...


def register(transaction: Transaction, version: Version) -> Version:
    """Record a version under the next number of its model, whatever number it has; the version as recorded.

    A run has one version: registering again (after a crash) gives the one that is there.
    """
    before = _versions(transaction, version.model)
    for each in before:
        if each.run == version.run:
            return each
    numbered = msgspec.structs.replace(version, number=before[-1].number + 1 if before else 1)
    body = msgspec.json.encode(numbered)
    transaction.put(KIND, version_id(version.model, numbered.number), body, action="version.register", expect=0)
    return numbered


def override(metadata: Metadata, model: str, number: int, by: Override, *, actor: str) -> Version:
    """Let a version serve that its gates refused, by name and on the record. `UsageError` without a name and a reason."""
    if not by.by.strip() or not by.reason.strip():
        raise UsageError("an override needs a person and a reason", fix='--override-by NAME --reason "..."')
    with metadata.transaction(actor) as transaction:
        document = transaction.get(KIND, version_id(model, number))
        version = decode_version(document, model, number)
        changed = msgspec.structs.replace(version, override=by)
        transaction.put(KIND, version_id(model, number), msgspec.json.encode(changed), action="version.override")
    return changed


def get_version(metadata: Metadata, model: str, number: int) -> Version:
    """That version of the model; `NotFound`."""
    return decode_version(metadata.get(KIND, version_id(model, number)), model, number)


def list_versions(metadata: Metadata, model: str) -> list[Version]:
    """All versions of a model, in order of their numbers."""
    return _versions(metadata, model)


def version_id(model: str, number: int) -> str:
    """The document of a version; ids sort as the numbers do.

    >>> version_id("late_arrival", 7)
    'late_arrival/000007'
    """
    return f"{model}/{number:06d}"


def decode_version(document: Document | None, model: str, number: int) -> Version:
    """The version in a document; `NotFound` when there is none."""
    if document is None:
        raise NotFound(f"{model} has no version {number}", fix=f"skyloom models {model}")
    return msgspec.json.decode(document.body, type=Version)


def _versions(documents: _Documents, model: str) -> list[Version]:
    found = documents.list(KIND, f"{model}/")
    return sorted((msgspec.json.decode(each.body, type=Version) for each in found), key=lambda version: version.number)
