"""The OpenAPI document of a server: its routes, with the schemas of the models that it serves now.

Source: the OpenAPI Specification 3.1.0.
"""

from collections.abc import Callable, Sequence
from typing import Any

from skyloom.kernel.schema import Field, Schema, Type
from skyloom.serving.body import LAST_MOMENT_MS
from skyloom.serving.formats.media import JSON, KINDS
from skyloom.serving.loaded import LoadedRelease
from skyloom.serving.table import OPEN, Endpoint
from skyloom.serving.wire import Call, Reply, reply

PATH = "/openapi.json"

_Schema = dict[str, Any]
_ERROR: _Schema = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_REFUSALS = {
    400: "what was sent is wrong, and how",
    401: "a key is needed",
    403: "the key does not open this route",
    404: "there is no such model, version or source",
    406: "answers do not come in the format asked for",
    408: "the body did not arrive in time",
    409: "it is there already",
    413: "the body, or what it unpacks to, is too long",
    415: "bodies of this type are not read",
    422: "the row is older than the features reach back",
    429: "too many requests: see Retry-After",
    500: "the model broke: its receipt says how",
    503: "nothing is served, or too much is under way: see Retry-After",
    504: "the deadline of the request has passed",
}
_WHOLE = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_TYPES: dict[Type, _Schema] = {
    Type.STRING: {"type": "string", "maxLength": 65_536},
    Type.FLOAT: {"type": "number"},
    Type.INT: _WHOLE,
    Type.BOOL: {"type": "boolean"},
    Type.TIMESTAMP: {
        "anyOf": [{"type": "integer", "minimum": 0, "maximum": LAST_MOMENT_MS}, {"type": "string", "format": "date-time"}]
    },
}
_SILENT = ("/ping", "/health", "/version", "/metrics")
"""Routes whose answers are no JSON, or empty."""


class OpenApi:
    """Describes ``endpoints``."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("GET", PATH, "read", self.document)]

    async def document(self, call: Call) -> Reply:
        return reply(document_of(call.release, self._endpoints))


def document_of(release: LoadedRelease, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The document, as JSON has it."""
    models = {name: _row(route.rows.schema) for name, route in sorted(release.routes.items())}
    streams = {name: _row(each.schema) for name, each in release.release.sources.items() if each.stream is not None}
    versions = {str(arm.arm.version) for route in release.routes.values() for arm in route.arms}
    words = {**dict.fromkeys(("model", "name", "function"), sorted(models)), "source": sorted(streams)}
    words["version"] = sorted(versions)
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, words)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Skyloom", "version": str(release.release.number), "summary": f"release {release.short}"},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR, "Row": _any(models), "Event": _any(streams)},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint, words: dict[str, list[str]]) -> dict[str, Any]:
    named = [word.partition("}")[0][1:] for word in endpoint.path.split("/") if word.startswith("{")]
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method} {endpoint.path}",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": _word(words.get(name, []))} for name in named
        ],
        "responses": _responses(endpoint),
        "security": [] if endpoint.policy == OPEN else [{"key": []}],
    }
    if endpoint.method == "POST" and endpoint.path not in _SILENT:
        media, schema = _body(endpoint.path)
        operation["requestBody"] = {"required": True, "content": {each: {"schema": schema} for each in media}}
    return operation


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    bare = endpoint.path in _SILENT
    status = "202" if endpoint.path == "/events/{source}" else "200"
    refusals = _REFUSALS if endpoint.method == "POST" else {each: _REFUSALS[each] for each in (400, 401, 403, 404, 503, 504)}
    return {
        status: {"description": "the answer"} if bare else {"description": "the answer", "content": _answers(endpoint)},
        **{
            str(each): {"description": why}
            if bare
            else {"description": why, "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}}
            for each, why in refusals.items()
        },
    }


def _answers(endpoint: Endpoint) -> dict[str, Any]:
    takes_rows = endpoint.method == "POST" and _special(endpoint.path) is None
    if endpoint.path.endswith("/infer"):
        return {JSON: {"schema": {"type": "object"}}, "application/octet-stream": {}}
    if endpoint.path in ("/", "/cloudevents/{model}") and endpoint.method == "POST":
        types = ("application/cloudevents+json; charset=utf-8", "application/cloudevents-batch+json; charset=utf-8")
        return {JSON: {"schema": {}}, **{each: {} for each in types}}
    return {JSON: {"schema": {}}} | ({each: {} for each in KINDS if each and each != JSON} if takes_rows else {})


def _body(path: str) -> tuple[list[str], _Schema]:
    """The media types of a route's bodies, and their schema as JSON."""
    special = _special(path)
    if special is not None:
        media, schema = special
        return media, schema()
    row = {"$ref": "#/components/schemas/Row"}
    many = {"type": "array", "items": row}
    envelope = {**_listed("instances"), "additionalProperties": False}
    return [JSON], {"anyOf": [row, many, envelope]}


def _special(path: str) -> tuple[list[str], Callable[[], _Schema]] | None:
    """The bodies of a route that takes other things than rows in any format."""
    if path == "/events/{source}":
        event = {"$ref": "#/components/schemas/Event"}
        return [JSON], lambda: {"anyOf": [event, {"type": "array", "items": event}]}
    if path.endswith("/infer"):
        return [JSON], _tensors
    if path.endswith((":predict", ":classify", ":regress")) and path.startswith("/v1/models/"):
        return [JSON], lambda: _listed("instances" if path.endswith(":predict") else "examples")
    if path in ("/", "/cloudevents/{model}"):
        return ["application/cloudevents+json"], _event
    if path == "/{function}":
        return [JSON], lambda: {"type": "object", "required": ["Data"], "properties": {"Data": {"type": "object"}}}
    if path in ("/events", "/models") or path.startswith("/v2/repository/"):
        return [JSON], lambda: {"type": "object"}
    return None


def _listed(name: str) -> _Schema:
    rows = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}
    return {"type": "object", "required": [name], "properties": {name: rows}}


def _event() -> _Schema:
    texts = {name: {"type": "string", "minLength": 1} for name in ("id", "source", "type")}
    properties = {**texts, "specversion": {"const": "1.0"}, "data": {"$ref": "#/components/schemas/Row"}}
    return {"type": "object", "required": [*texts, "specversion", "data"], "properties": properties}


def _tensors() -> _Schema:
    kinds = [
        "BOOL",
        "BYTES",
        "FP16",
        "FP32",
        "FP64",
        *(f"{sign}INT{size}" for sign in ("", "U") for size in (8, 16, 32, 64)),
    ]
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 2},
            "datatype": {"enum": kinds},
            "data": {"type": "array"},
        },
    }
    return {"type": "object", "required": ["inputs"], "properties": {"inputs": {"type": "array", "items": tensor}}}


def _row(schema: Schema) -> _Schema:
    return {
        "type": "object",
        "required": [field.name for field in schema.fields if not field.nullable],
        "properties": {field.name: _column(field) for field in schema.fields},
        "additionalProperties": False,
    }


def _column(field: Field) -> _Schema:
    return {"anyOf": [_TYPES[field.type], {"type": "null"}]} if field.nullable else _TYPES[field.type]


def _any(schemas: dict[str, _Schema]) -> _Schema:
    """Any of the schemas, each under the name of its model or source."""
    return {"anyOf": [{**schema, "title": name} for name, schema in schemas.items()] or [{}]}


def _word(known: list[str]) -> _Schema:
    return {"type": "string", "enum": known} if known else {"type": "string", "minLength": 1}
