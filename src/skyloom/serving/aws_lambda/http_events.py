"""Requests of HTTP that come to Lambda as events, and their answers.

Source: the Lambda and API Gateway developer guides: payload format 1.0 (REST APIs), 2.0 (HTTP APIs, function URLs), and the
events of Application Load Balancers.
"""

import base64
import binascii
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import msgspec

from skyloom.serving.formats.media import media_of
from skyloom.serving.inside import Answered, Asked
from skyloom.serving.wire import Problem

LONGEST_ANSWER = 6 * 2**20
"""Bytes of the answer to a synchronous invocation."""

_TEXTS = frozenset({"application/json", "application/x-ndjson", "application/xml"})


class _Http(msgspec.Struct, frozen=True):
    method: str
    path: str = ""


class _Context(msgspec.Struct, frozen=True):
    """``http`` is there in format 2.0, ``elb`` in those of a load balancer."""

    http: _Http | None = None
    elb: dict[str, Any] | None = None
    stage: str = "$default"


class HttpEvent(msgspec.Struct, frozen=True, rename="camel"):
    """All of them at once: what is not in a format is empty."""

    request_context: _Context
    http_method: str = ""
    path: str = ""
    raw_path: str = ""
    headers: dict[str, str | None] | None = None
    multi_value_headers: dict[str, list[str]] | None = None
    body: str | None = None
    is_base64_encoded: bool = False

    @property
    def is_v2(self) -> bool:
        """Whether this is payload format 2.0."""
        return self.request_context.http is not None


def is_http(event: object) -> bool:
    """Whether an event is a request of HTTP.

    >>> is_http({"requestContext": {}, "httpMethod": "GET"}), is_http({"Records": []})
    (True, False)
    """
    if not isinstance(event, dict) or not isinstance(event.get("requestContext"), dict):
        return False
    return "httpMethod" in event or "http" in event["requestContext"]


def request_of(event: Any) -> tuple[HttpEvent, Asked]:
    """The event and its request. Raises `Problem` with 400 for an event of another shape."""
    try:
        found = msgspec.convert(event, HttpEvent)
    except msgspec.ValidationError as error:
        raise Problem(400, f"this is no request of HTTP: {error}") from error
    http = found.request_context.http
    method = http.method if http else found.http_method
    path = _without_stage(found.raw_path or (http.path if http else ""), found) if http else found.path
    return found, Asked(method.upper(), unquote(path) or "/", _headers(found), _body(found))


def answer_of(event: HttpEvent, answered: Answered) -> dict[str, Any]:
    """The answer in the format of the event."""
    body, packed = _written(answered)
    told: dict[str, Any] = {"statusCode": answered.status, "body": body, "isBase64Encoded": packed}
    if event.request_context.elb is not None:
        told["statusDescription"] = f"{answered.status} {_phrase(answered.status)}"
    if event.multi_value_headers is not None and not event.is_v2:
        told["multiValueHeaders"] = {name: [value] for name, value in answered.headers}
        if event.request_context.elb is not None:
            return told  # a balancer that sends lists takes nothing but lists
    told["headers"] = dict(answered.headers)
    return told


def _without_stage(path: str, event: HttpEvent) -> str:
    """The path behind the stage of an HTTP API, which stands in front of it unless it is the one by default."""
    stage = event.request_context.stage
    if stage == "$default" or not path.startswith(f"/{stage}"):
        return path
    rest = path.removeprefix(f"/{stage}")
    return rest if not rest or rest.startswith("/") else path


def _headers(event: HttpEvent) -> dict[str, str]:
    single = {name.lower(): value for name, value in (event.headers or {}).items() if value is not None}
    many = {name.lower(): ", ".join(values) for name, values in (event.multi_value_headers or {}).items()}
    return {**many, **single}


def _body(event: HttpEvent) -> bytes:
    text = event.body or ""
    try:
        return base64.b64decode(text, validate=True) if event.is_base64_encoded else text.encode()
    except (binascii.Error, ValueError) as error:
        raise Problem(400, f"body: {error}") from error


def _written(answered: Answered) -> tuple[str, bool]:
    """The body as text where it is one, else in base64, and whether it is."""
    headers = dict(answered.headers)
    kind = media_of(headers.get("content-type", "")).type
    if "content-encoding" not in headers and (kind in _TEXTS or kind.startswith("text/") or kind.endswith("+json")):
        return answered.body.decode(), False
    return base64.b64encode(answered.body).decode(), bool(answered.body)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
