"""Answers that go out piece by piece, while later rows are still scored: lines of JSON, CSV, Arrow's stream."""

import io
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from skyloom.serving.formats import media as formats
from skyloom.serving.formats.media import Media
from skyloom.serving.formats.writing import columns_of, csv_lines, json_lines
from skyloom.serving.predict import Prediction
from skyloom.serving.wire import Problem

STREAM = "stream"
"""The parameter of a media type that asks for it: ``Accept: application/x-ndjson; stream=true``."""


class Pieces(Protocol):
    """Writes an answer of one format. What it gives must go out in order."""

    @property
    def content_type(self) -> str: ...

    def piece(self, found: Sequence[Prediction]) -> bytes:
        """The next rows."""
        ...

    def last(self) -> bytes:
        """What ends an answer that is whole."""
        ...

    def broken(self, why: str) -> bytes:
        """What ends one that is not, so that nobody takes it for whole."""
        ...


def pieces_of(media: Media, outputs: Sequence[str]) -> Pieces:
    """What writes an answer of that format. Raises `Problem` with 406 for a format that is not streamed."""
    if media.type == formats.LINES:
        return _Lines(outputs)
    if media.type == formats.CSV:
        return _Csv(outputs, media.parameters.get("header") == "present")
    if media.type == formats.ARROW_STREAM:
        return _Arrow(outputs)
    streamed = ", ".join((formats.LINES, formats.CSV, formats.ARROW_STREAM))
    raise Problem(406, f"answers are streamed as {streamed}, not as {media.type}")


class _Lines:
    """A last line that holds ``error`` says that rows are missing."""

    content_type = formats.LINES

    def __init__(self, outputs: Sequence[str]) -> None:
        self._outputs = outputs

    def piece(self, found: Sequence[Prediction]) -> bytes:
        return json_lines(found, self._outputs)

    def last(self) -> bytes:
        return b""

    def broken(self, why: str) -> bytes:
        return msgspec.json.encode({"error": why}) + b"\n"


class _Csv:
    """A last line that begins with ``error:`` says that rows are missing."""

    content_type = f"{formats.CSV}; charset=utf-8"

    def __init__(self, outputs: Sequence[str], header: bool) -> None:
        self._outputs, self._header = outputs, header

    def piece(self, found: Sequence[Prediction]) -> bytes:
        header, self._header = self._header, False
        return csv_lines(found, self._outputs, header)

    def last(self) -> bytes:
        return b""

    def broken(self, why: str) -> bytes:
        return ('"error: ' + " ".join(why.split()).replace('"', "'") + '"\n').encode()


class _Arrow:
    """A batch for each piece. One that is not whole ends with a message longer than what is left: readers refuse that."""

    content_type = formats.ARROW_STREAM
    _BREAK = b"\xff\xff\xff\xff\xf0\xff\xff\x7f"

    def __init__(self, outputs: Sequence[str]) -> None:
        self._outputs = outputs
        self._sink, self._at = io.BytesIO(), 0
        self._writer: Any = None

    def piece(self, found: Sequence[Prediction]) -> bytes:
        from skyloom.serving.formats.written_tables import stream_writer, table_of

        table = table_of(columns_of(found, self._outputs))
        if self._writer is None:
            self._writer = stream_writer(self._sink, table.schema)
        self._writer.write_table(table)
        return self._taken()

    def last(self) -> bytes:
        self._writer.close()
        return self._taken()

    def broken(self, why: str) -> bytes:
        return self._BREAK

    def _taken(self) -> bytes:
        with self._sink.getbuffer() as whole:
            fresh = bytes(whole[self._at :])
        self._at += len(fresh)
        return fresh
