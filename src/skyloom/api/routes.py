"""What the API answers."""

from typing import Any

import msgspec
from starlette.responses import Response

from skyloom.api.app import OPEN, Route
from skyloom.api.meters import meters
from skyloom.governance.audit import audit_lines
from skyloom.kernel.errors import NotFound
from skyloom.monitoring.incidents import incidents
from skyloom.platform import Platform
from skyloom.registry.champion import champion_of, champions
from skyloom.registry.runs import get_run, list_runs
from skyloom.registry.versions import get_version, list_versions
from skyloom.runtime.control import promote, require_rollout, rollback
from skyloom.runtime.served import released
from skyloom.runtime.state import applied


class Promote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a promotion. ``override`` lets a version pass that its gates refused: on your word, recorded."""

    version: int
    reason: str
    override: bool = False


class RollBack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a rollback."""

    reason: str


class Answers:
    """The handlers, over one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def health(self) -> Response:
        """Alive."""
        return Response("", 200)

    def project(self) -> Any:
        """What is applied."""
        return applied(self._platform.metadata)

    def release(self) -> Any:
        """What serving obeys."""
        found = released(self._platform)
        if found is None:
            raise NotFound("nothing was released yet", fix="skyloom up")
        return found

    def models(self) -> Any:
        """Every model with its versions and its champion."""
        metadata = self._platform.metadata
        names = applied(metadata).project.models
        return [
            {"model": name, "champion": champion_of(metadata, name), "versions": list_versions(metadata, name)}
            for name in names
        ]

    def version(self, model: str, number: str) -> Any:
        """One version with its run, its card and the audit of its champions."""
        found = get_version(self._platform.metadata, model, _number(number))
        package: Any = msgspec.json.decode(self._platform.objects.get(found.package))
        card = msgspec.Raw(self._platform.objects.get(package["files"]["card.json"]))
        return {"version": found, "run": get_run(self._platform.metadata, found.run), "package": package, "card": card}

    def history(self, model: str) -> Any:
        """Every champion a model had."""
        return champions(self._platform.metadata, model)

    def runs(self) -> Any:
        """All training runs."""
        return list_runs(self._platform.metadata)

    def rollout(self, model: str) -> Any:
        """The last rollout of a model, with its evidence."""
        return require_rollout(self._platform, model)

    def receipt(self, id: str) -> Any:
        """What a prediction was made of."""
        from skyloom.runtime.receipts import provenance

        return provenance(self._platform, id)

    def replay(self, id: str) -> Any:
        """A prediction computed again."""
        from skyloom.runtime.receipts import replay

        return replay(self._platform, id)

    def promote(self, model: str, body: Promote, actor: str) -> Any:
        """Make a version the champion."""
        promote(self._platform, model, body.version, actor=actor, reason=body.reason, override_gates=body.override)
        return champion_of(self._platform.metadata, model)

    def rollback(self, model: str, body: RollBack, actor: str) -> Any:
        """End a rollout, or go back to the champion before."""
        return {"serves": rollback(self._platform, model, actor=actor, reason=body.reason)}

    def incidents(self) -> Any:
        """Every time that served values were not those of the lake, oldest first."""
        return incidents(self._platform.metadata)

    def metrics(self) -> Response:
        """Meters in the Prometheus text format."""
        return Response(meters(self._platform), media_type="text/plain; version=0.0.4; charset=utf-8")

    def audit(self) -> Any:
        """Every change, oldest first."""
        return audit_lines(self._platform.metadata)


def routes(platform: Platform) -> list[Route]:
    """Every route of the API."""
    answers = Answers(platform)
    return [
        Route("GET", "/health", OPEN, answers.health),
        Route("GET", "/api/project", "read", answers.project),
        Route("GET", "/api/release", "read", answers.release),
        Route("GET", "/api/models", "read", answers.models),
        Route("GET", "/api/models/{model}/versions/{number}", "read", answers.version),
        Route("GET", "/api/models/{model}/champions", "read", answers.history),
        Route("POST", "/api/models/{model}/promote", "admin", answers.promote, Promote),
        Route("POST", "/api/models/{model}/rollback", "admin", answers.rollback, RollBack),
        Route("GET", "/api/runs", "read", answers.runs),
        Route("GET", "/api/rollouts/{model}", "read", answers.rollout),
        Route("GET", "/api/receipts/{id}", "read", answers.receipt),
        Route("POST", "/api/receipts/{id}/replay", "read", answers.replay),
        Route("GET", "/api/incidents", "read", answers.incidents),
        Route("GET", "/metrics", "read", answers.metrics),
        Route("GET", "/api/audit", "admin", answers.audit),
    ]


def _number(text: str) -> int:
    if not text.isdecimal():
        raise NotFound(f"{text!r} is no version", fix="versions are numbers: 1, 2, 3")
    return int(text)
