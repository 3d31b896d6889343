"""The champion of a model: the version that answers, and all that ever did, by whom and why."""

import msgspec

from skyloom.kernel.errors import Conflict, NotFound, Refused
from skyloom.kernel.records.registry import Version
from skyloom.ports import Document, Metadata
from skyloom.registry.versions import KIND as VERSION
from skyloom.registry.versions import decode_version, version_id

KIND = "alias"


class Champion(msgspec.Struct, frozen=True):
    """Version ``version`` became champion at ``at_ms``: who did it, and why."""

    model: str
    version: int
    at_ms: int
    actor: str
    reason: str


def crown(metadata: Metadata, champion: Champion, *, instead_of: int | None) -> Champion:
    """Make a version the champion, if ``instead_of`` (``None``: no version) is the champion now.

    Raises `Refused` when the version may not serve, `NotFound` when there is no such version and `Conflict` when
    another one is the champion.
    """
    model, number = champion.model, champion.version
    with metadata.transaction(champion.actor) as transaction:
        version = decode_version(transaction.get(VERSION, version_id(model, number)), model, number)
        _check_may_serve(version)
        document = transaction.get(KIND, _id(model))
        now = _decode(document).version if document else None
        if now != instead_of:
            raise Conflict(
                f"the champion of {model} is {_named(now)}, not {_named(instead_of)}", fix=f"skyloom models {model}"
            )
        body, before = msgspec.json.encode(champion), document.version if document else 0
        transaction.put(KIND, _id(model), body, action="champion.set", expect=before)
    return champion


def champion_of(metadata: Metadata, model: str) -> Champion | None:
    """The champion now, or ``None`` before the first."""
    document = metadata.get(KIND, _id(model))
    return _decode(document) if document else None


def champions(metadata: Metadata, model: str) -> list[Champion]:
    """Every champion that the model had, oldest first: read from the audit log, so none can be left out."""
    bodies = [change.body for change in metadata.changes(KIND, _id(model))]
    return [msgspec.json.decode(body, type=Champion) for body in bodies if body is not None]


def predecessor(metadata: Metadata, model: str) -> Champion:
    """What a rollback goes back to: the champion before this one, those that were rolled back left out; `NotFound`."""
    standing: list[Champion] = []
    for champion in champions(metadata, model):
        place = next((at for at, each in enumerate(standing) if each.version == champion.version), len(standing))
        standing[place:] = [champion]
    if len(standing) < 2:
        raise NotFound(f"{model} had no champion before this one", fix=f"skyloom models {model}")
    return standing[-2]


def _check_may_serve(version: Version) -> None:
    if version.may_serve:
        return
    failed = [f"{gate.gate}: {gate.reason}" for gate in version.gates if not gate.passed]
    raise Refused(
        f"{version.model} v{version.number} may not serve: it has not passed its gates",
        tried="; ".join(failed) or "no gate was judged",
        fix="train a better one, or let a person override its gates by name and with a reason",
    )


def _id(model: str) -> str:
    return f"{model}/champion"


def _decode(document: Document) -> Champion:
    return msgspec.json.decode(document.body, type=Champion)


def _named(version: int | None) -> str:
    return "nobody" if version is None else f"v{version}"
