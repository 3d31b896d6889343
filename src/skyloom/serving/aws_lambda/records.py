"""What the queues, streams, buckets and buses of AWS put into their events.

Source: the Lambda developer guide, "Using Lambda with Amazon SQS", "... Kinesis", "... Amazon S3", and the EventBridge and
S3 user guides.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote_plus

import msgspec

from skyloom.serving.wire import Problem

_T = TypeVar("_T")

SQS, KINESIS, S3 = "aws:sqs", "aws:kinesis", "aws:s3"
BRIDGE, NOTHING, ROWS = "EventBridge", "nothing", "rows"


class Attribute(msgspec.Struct, frozen=True, rename="camel"):
    """An attribute of a message."""

    string_value: str | None = None


class Message(msgspec.Struct, frozen=True, rename="camel"):
    """A message of SQS."""

    message_id: str
    body: str
    message_attributes: dict[str, Attribute] = {}

    @property
    def content_type(self) -> str:
        """What its attribute ``content-type`` says (in any case), else nothing."""
        found = [each.string_value for name, each in self.message_attributes.items() if name.lower() == "content-type"]
        return (found[0] if found else None) or ""


class _Data(msgspec.Struct, frozen=True, rename="camel"):
    sequence_number: str
    data: str


class StreamRecord(msgspec.Struct, frozen=True):
    """A record of Kinesis."""

    kinesis: _Data

    @property
    def number(self) -> str:
        """Its sequence number."""
        return self.kinesis.sequence_number

    def body(self) -> bytes:
        """Its data; `Problem` with 400 when they are no base64."""
        try:
            return base64.b64decode(self.kinesis.data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Problem(400, f"the data of {self.number} are no base64: {error}") from error


class ObjectName(NamedTuple):
    """An object of S3."""

    bucket: str
    key: str
    version: str | None = None


class _Bucket(msgspec.Struct, frozen=True):
    name: str


class _Object(msgspec.Struct, frozen=True, rename={"version_id": "versionId", "bus_version": "version-id"}):
    key: str
    version_id: str | None = None
    bus_version: str | None = None


class _Place(msgspec.Struct, frozen=True):
    bucket: _Bucket
    object: _Object


class _ObjectRecord(msgspec.Struct, frozen=True, rename="camel"):
    event_name: str
    s3: _Place


class BusEvent(msgspec.Struct, frozen=True, rename={"kind": "detail-type"}):
    """An event of EventBridge."""

    source: str
    kind: str
    detail: Any


def kind_of(event: object) -> str:
    """Where an event comes from: one of the names above. What is nobody's is rows, sent by who invokes the function.

    Raises `Problem` with 400 for records of something else.

    >>> kind_of({"Service": "Amazon S3", "Event": "s3:TestEvent"})
    'nothing'
    """
    if not isinstance(event, dict):
        return ROWS
    if event.get("Event") == "s3:TestEvent":
        return NOTHING
    records = event.get("Records")
    if isinstance(records, list):
        sources = {_source(each) for each in records}
        if not sources:
            return NOTHING
        if len(sources) > 1 or not sources <= {SQS, KINESIS, S3}:
            raise Problem(400, f"records come from {SQS}, {KINESIS} or {S3}, not from {', '.join(sorted(sources))}")
        return sources.pop()
    return BRIDGE if "detail-type" in event and "detail" in event else ROWS


def converted(value: object, kind: type[_T] | Any) -> _T:
    """A part of an event; `Problem` with 400 that names what is missing."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Problem(400, f"the event cannot be read: {error}") from error


def created(records: object) -> Sequence[ObjectName]:
    """The objects that records of S3 say were made. Their keys are encoded as forms are."""
    found: list[_ObjectRecord] = converted(records, list[_ObjectRecord])
    return [
        ObjectName(each.s3.bucket.name, unquote_plus(each.s3.object.key), each.s3.object.version_id)
        for each in found
        if each.event_name.removeprefix("s3:").startswith("ObjectCreated")
    ]


def created_on_bus(event: BusEvent) -> ObjectName | None:
    """The object that S3 says, by EventBridge, was made: its key is as it is."""
    if event.source != "aws.s3" or event.kind != "Object Created":
        return None
    place: _Place = converted(event.detail, _Place)
    return ObjectName(place.bucket.name, place.object.key, place.object.bus_version)


def _source(record: object) -> str:
    if not isinstance(record, dict):
        raise Problem(400, "Records: expected objects")
    return str(record.get("eventSource"))
