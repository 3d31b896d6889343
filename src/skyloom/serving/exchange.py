"""Bodies of any format in, answers in the caller's out: what contracts share that are not particular about theirs."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from skyloom.ingest.rows import Value
from skyloom.serving.answering import Answering
from skyloom.serving.compression import packed, unpack
from skyloom.serving.formats import media as formats
from skyloom.serving.formats.asked import Asked
from skyloom.serving.formats.media import Media, kind_of, media_of, wanted
from skyloom.serving.formats.pieces import STREAM, Pieces, pieces_of
from skyloom.serving.formats.reading import read
from skyloom.serving.formats.writing import Shape, outputs_for, written
from skyloom.serving.loaded import LoadedRoute
from skyloom.serving.predict import Prediction
from skyloom.serving.router import route_for
from skyloom.serving.wire import Call, Problem, Reply

_log = logging.getLogger("skyloom.serving")

_T = TypeVar("_T")

_ROW = 64  # bytes of a row's answer, about
_PIECE = 1_024
"""Rows that go out together where answers are streamed."""
_PATIENCE_S, _REST_S = 10.0, 0.1
_LIGHT = 16_384
"""Bodies of JSON up to so many bytes are read on the event loop itself; tables never are."""


class Exchange:
    """Reads, predicts and writes for the contracts of others. To be used from the event loop.

    ``model`` answers where a request names none; ``longest`` is how many bytes a body may have once it is unpacked.
    """

    def __init__(self, answering: Answering, executor: Executor, model: str | None, longest: int) -> None:
        self._answering, self._executor, self._model, self.longest = answering, executor, model, longest

    def route(self, call: Call) -> LoadedRoute:
        """The model that a call names in its path, or the one that answers where none is named."""
        release, parameters = call.release, call.parameters
        model, version = parameters.get("model", self._model), parameters.get("version")
        if version is None and model is not None and (route := release.routes.get(model)) is not None:
            return route
        return route_for(release, model, version)

    async def exchange(self, call: Call, shape: Shape, default: str = formats.JSON, longest: int = 0) -> Reply:
        """A body of rows, answered in the format that the caller accepts, by ``default`` in JSON of a ``shape``."""
        route = self.route(call)
        media = wanted(call.headers.get("accept", ""), Media(default))
        asked = await self.read(call, route, longest)
        outputs = outputs_for(media, asked.outputs)
        if media.parameters.get(STREAM) == "true":
            return await self.stream(call, route, asked.rows, media, outputs)
        found = await self.predict(call, route, asked.rows)
        return await self.write(call, found, media, outputs, shape)

    async def read(self, call: Call, route: LoadedRoute, longest: int = 0) -> Asked:
        """The rows of a call's body. Raises `Problem` for what is no rows of the model's schema, and with 503 for a heavy
        body while too many requests are under way."""
        media = media_of(call.content_type)
        kind = kind_of(media)
        encoding = call.headers.get("content-encoding", "")
        size = len(call.body) if kind == formats.JSON and not encoding else _LIGHT + 1

        def unpacked() -> Asked:
            body = unpack(call.body, encoding, longest or self.longest)
            return read(kind, media, route.rows, route.source, body)

        with self.room(call, route):
            return await self.done(size, unpacked)

    def room(self, call: Call, route: LoadedRoute) -> AbstractContextManager[None]:
        """A place for a call while its body is read; as `Answering.room`."""
        return self._answering.room(route, len(call.body))

    async def predict(self, call: Call, route: LoadedRoute, rows: Sequence[tuple[Value, ...]]) -> list[Prediction]:
        """The answers to rows; as `Answering.predict`."""
        return await self._answering.predict(call.release, route, rows)

    async def stream(
        self, call: Call, route: LoadedRoute, rows: Sequence[tuple[Value, ...]], media: Media, outputs: Sequence[str]
    ) -> Reply:
        """The answers to rows in a format, going out while later rows are scored: what breaks before the first are out is
        told by the status, what breaks later by how the answer ends (`formats.pieces`). It is never packed."""
        pieces = pieces_of(media, outputs)
        first = await self._piece(call, route, rows[:_PIECE], pieces)
        return Reply(200, first, pieces.content_type, more=self._more(call, route, rows[_PIECE:], pieces))

    async def _piece(self, call: Call, route: LoadedRoute, rows: Sequence[tuple[Value, ...]], pieces: Pieces) -> bytes:
        found = await self.predict(call, route, rows)
        return await self.done(len(found) * _ROW, pieces.piece, found)

    async def _more(
        self, call: Call, route: LoadedRoute, rows: Sequence[tuple[Value, ...]], pieces: Pieces
    ) -> AsyncIterator[bytes]:
        try:
            for at in range(0, len(rows), _PIECE):
                yield await self._in_turn(call, route, rows[at : at + _PIECE], pieces)
        except Problem as problem:
            yield pieces.broken(problem.why)
        except Exception:  # noqa: BLE001  # the edge of a request, whose status is out already
            _log.exception("an answer for %s could not be finished", route.model.name)
            yield pieces.broken("this server failed to answer; its log says why")
        else:
            yield pieces.last()

    async def _in_turn(self, call: Call, route: LoadedRoute, rows: Sequence[tuple[Value, ...]], pieces: Pieces) -> bytes:
        """The next rows: an answer that has begun waits where others would be refused."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return await self._piece(call, route, rows, pieces)
            except Problem as problem:
                if problem.status != 503 or time.monotonic() >= until:
                    raise
                await asyncio.sleep(min(problem.retry_s, _REST_S))

    async def write(
        self, call: Call, found: Sequence[Prediction], media: Media, outputs: Sequence[str], shape: Shape
    ) -> Reply:
        """Predictions in a format, packed when the caller accepts that."""
        size = len(found) * _ROW if media.type == formats.JSON else _LIGHT + 1
        accepted = call.headers.get("accept-encoding", "")
        return await self.done(size, lambda: packed(written(found, media, outputs, shape), accepted))

    async def done(self, size: int, function: Callable[..., _T], *arguments: Any) -> _T:
        """What a function answers; on a thread when ``size`` (bytes) is no little, so that others are not held up."""
        if size <= _LIGHT:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
