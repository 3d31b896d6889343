"""A project's recorded state, as documents of its metadata."""

import getpass
import subprocess
from pathlib import Path
from typing import TypeVar

import msgspec

from skyloom.kernel.errors import NotFound
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import ModelDef, ProjectDef
from skyloom.platform import Platform
from skyloom.ports.metadata import Metadata, Transaction

PROJECT, CURRENT = "project", "current"

Record = TypeVar("Record", bound=msgspec.Struct)


class Applied(msgspec.Struct, frozen=True):
    """A project as it was applied: its definitions, their digest, and the git commit that they were read from."""

    project: ProjectDef
    digest: str
    commit: str | None
    at_ms: int


def applied(metadata: Metadata) -> Applied:
    """What was applied last. Raises `NotFound` when nothing was."""
    found = read(metadata, PROJECT, CURRENT, Applied)
    if found is None:
        raise NotFound("nothing was applied here yet", tried="the project's recorded state", fix="skyloom apply")
    return found


def read(view: Metadata | Transaction, kind: str, id: str, record: type[Record]) -> Record | None:
    """A document as a record, or ``None``."""
    document = view.get(kind, id)
    return None if document is None else msgspec.json.decode(document.body, type=record)


def write(transaction: Transaction, kind: str, id: str, record: msgspec.Struct, *, action: str) -> None:
    """Store a record as a document."""
    transaction.put(kind, id, msgspec.json.encode(record), action=action)


def model_of(platform: Platform, name: str) -> ModelDef:
    """The applied definition of a model. Raises `NotFound` with the nearest names."""
    models = applied(platform.metadata).project.models
    if name not in models:
        near = nearest(name, list(models)) or list(models)
        fix = f"did you mean {' or '.join(near)}?" if near else "declare a model and type: skyloom apply"
        raise NotFound(f"there is no model {name!r}", tried=", ".join(models), fix=fix)
    return models[name]


def actor() -> str:
    """Who acts: the name of the user of this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def git_commit(directory: Path) -> str | None:
    """The commit that ``directory`` is at, with ``+`` when files differ from it; ``None`` outside of git."""
    head = _git(directory, "rev-parse", "HEAD")
    if head is None:
        return None
    return head + ("+" if _git(directory, "status", "--porcelain", "--", ".") else "")


def _git(directory: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=directory, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
