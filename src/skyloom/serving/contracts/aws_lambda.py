"""AWS Lambda: events of SQS, Kinesis, S3 and EventBridge, and rows sent by who invokes the function.

They come by the runtime API (`skyloom.serving.aws_lambda`), or as ``POST /events`` from the Lambda Web Adapter. Nobody reads
the answer to most of them: the predictions are in the log, as all are, and those of objects where ``SKYLOOM_LAMBDA_OUTPUT``
(``s3://BUCKET/PREFIX``) says.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from skyloom.kernel.errors import DeclarationError, SkyloomError, Transient
from skyloom.serving.aws_lambda import records
from skyloom.serving.aws_lambda.objects import Buckets
from skyloom.serving.aws_lambda.records import BusEvent, Message, ObjectName, StreamRecord
from skyloom.serving.body import decode
from skyloom.serving.exchange import Exchange
from skyloom.serving.formats import media as formats
from skyloom.serving.formats.asked import Asked
from skyloom.serving.formats.media import Media
from skyloom.serving.formats.writing import OUTPUTS, SCORE, checked, values_of
from skyloom.serving.loaded import LoadedRoute
from skyloom.serving.predict import Prediction
from skyloom.serving.table import Endpoint
from skyloom.serving.wire import Call, Problem, Reply, reply

OUTPUT = "SKYLOOM_LAMBDA_OUTPUT"
LONGEST = 6 * 2**20
"""Bytes of an event, and of an object that one names."""


class AwsLambda:
    """Answers events; who sends them has been authenticated by AWS."""

    def __init__(self, exchange: Exchange, environ: Mapping[str, str]) -> None:
        self._exchange = exchange
        self._buckets = Buckets(environ)
        self._output = _location(environ.get(OUTPUT, ""))

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("POST", "/events", "predict", self.take, longest=LONGEST)]

    async def take(self, call: Call) -> Reply:
        """Raises `Problem` and `SkyloomError` for an event that failed as a whole: whoever sent it sends it again."""
        event: Any = await self._exchange.done(len(call.body), decode, call.body)
        route = self._exchange.route(call)
        kind = records.kind_of(event)
        if kind == records.NOTHING:
            return reply({})
        if kind == records.SQS:
            return reply(_failures(await self._messages(call, route, records.converted(event["Records"], list[Message]))))
        if kind == records.KINESIS:
            stream: list[StreamRecord] = records.converted(event["Records"], list[StreamRecord])
            return reply(_failures(await self._stream(call, route, stream)))
        if kind == records.S3:
            return reply(await self._objects(call, route, records.created(event["Records"])))
        if kind == records.BRIDGE:
            return reply(await self._bus(call, route, records.converted(event, BusEvent)))
        return reply(await self._rows(call._replace(content_type=formats.JSON), route))

    async def _messages(self, call: Call, route: LoadedRoute, messages: Sequence[Message]) -> list[str]:
        """The ids of those that failed; all others are answered for."""
        read: list[tuple[str, Asked]] = []
        failed: list[str] = []
        for each in messages:
            try:
                sent = call._replace(body=each.body.encode(), content_type=each.content_type or formats.JSON)
                read.append((each.message_id, await self._exchange.read(sent, route, LONGEST)))
            except (Problem, UnicodeEncodeError):
                failed.append(each.message_id)
        answered = await self._each(call, route, [asked for _, asked in read])
        return failed + [name for (name, _), good in zip(read, answered, strict=True) if not good]

    async def _stream(self, call: Call, route: LoadedRoute, found: Sequence[StreamRecord]) -> list[str]:
        """The first that failed: Lambda goes on from there, so that nothing behind it is predicted now."""
        read: list[Asked] = []
        for each in found:
            try:
                sent = call._replace(body=each.body(), content_type=formats.JSON)
                read.append(await self._exchange.read(sent, route, LONGEST))
            except Problem:
                break
        answered = await self._each(call, route, read, stop=True)
        good = answered.index(False) if False in answered else len(answered)
        return [] if good == len(found) else [found[good].number]

    async def _each(self, call: Call, route: LoadedRoute, asked: Sequence[Asked], *, stop: bool = False) -> list[bool]:
        """For each body whether it was predicted: together, and where that fails one by one (up to the first that fails,
        with ``stop``), so that a bad one takes no other with it."""
        try:
            await self._exchange.predict(call, route, [row for each in asked for row in each.rows])
            return [True] * len(asked)
        except (Problem, SkyloomError) as error:
            if len(asked) == 1 or _heals(error):
                return [False] * len(asked)
        done: list[bool] = []
        for each in asked:
            done += await self._each(call, route, [each])
            if stop and not done[-1]:
                break
        return done

    async def _objects(self, call: Call, route: LoadedRoute, names: Sequence[ObjectName]) -> dict[str, Any]:
        return {"objects": [done for name in names if (done := await self._object(call, route, name)) is not None]}

    async def _object(self, call: Call, route: LoadedRoute, name: ObjectName) -> dict[str, Any] | None:
        """What became of an object; nothing of one that was written by this contract."""
        output = self._output
        if output is not None and name.bucket == output.bucket and name.key.startswith(output.key):
            return None
        content = await asyncio.to_thread(self._buckets.read, name, LONGEST)
        headers = {"content-encoding": content.encoding} if content.encoding else {}
        sent = call._replace(body=content.body, content_type=content.content_type, headers=headers)
        try:
            asked = await self._exchange.read(sent, route, LONGEST)
            found = await self._exchange.predict(call, route, asked.rows)
        except Problem as problem:
            raise Problem(problem.status, f"s3://{name.bucket}/{name.key}: {problem.why}") from problem
        told: dict[str, Any] = {"bucket": name.bucket, "key": name.key, "rows": len(found)}
        if output is None:
            return {**told, "predictions": _values(asked, found)}
        target = ObjectName(output.bucket, f"{output.key}{name.key}.jsonl")
        lines = await self._exchange.write(call, found, Media(formats.LINES), OUTPUTS, list)
        await asyncio.to_thread(self._buckets.write, target, lines.body, formats.LINES)
        return {**told, "output": f"s3://{target.bucket}/{target.key}"}

    async def _bus(self, call: Call, route: LoadedRoute, event: BusEvent) -> dict[str, Any]:
        name = records.created_on_bus(event)
        if name is not None:
            return await self._objects(call, route, [name])
        return await self._rows(call._replace(body=msgspec.json.encode(event.detail), content_type=formats.JSON), route)

    async def _rows(self, call: Call, route: LoadedRoute) -> dict[str, Any]:
        asked = await self._exchange.read(call, route, LONGEST)
        return {"predictions": _values(asked, await self._exchange.predict(call, route, asked.rows))}


def _values(asked: Asked, found: Sequence[Prediction]) -> list[Any]:
    return values_of(found, SCORE if asked.outputs is None else checked(asked.outputs))


def _failures(names: Sequence[str]) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": name} for name in names]}


def _heals(error: Problem | SkyloomError) -> bool:
    """Whether a request failed for reasons of the server: one by one it would fail as well."""
    return error.status in (429, 503, 504) if isinstance(error, Problem) else isinstance(error, Transient)


def _location(url: str) -> ObjectName | None:
    """The bucket, and what the keys begin with. Raises `DeclarationError` for what is no location.

    >>> _location("s3://bucket/predictions")
    ObjectName(bucket='bucket', key='predictions/', version=None)
    """
    if not url:
        return None
    parts = urlsplit(url)
    key = parts.path.strip("/")
    if parts.scheme != "s3" or not parts.netloc or not key:
        raise DeclarationError(f"{OUTPUT}={url} is no place for predictions", fix=f"say {OUTPUT}=s3://BUCKET/PREFIX")
    return ObjectName(parts.netloc, f"{key}/")
