"""``POST /events/{source}``: events in, one or many, as JSON, as lines of JSON, or as an Arrow stream."""

from functools import partial

from skyloom.ingest.gateway import Judge, Judged, judge_lines, judge_objects
from skyloom.ingest.limits import MAX_REQUEST_ROWS, too_many
from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import SourceDef
from skyloom.serving.body import decode
from skyloom.serving.ingestion import Ingestion
from skyloom.serving.loaded import LoadedRelease
from skyloom.serving.table import Endpoint
from skyloom.serving.wire import Call, Problem, Reply, reply

ARROW = "application/vnd.apache.arrow.stream"
LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")

TOLD = 100
"""Rejections that one answer tells; all of them are in quarantine."""


class Events:
    """Answers 202 when rows were taken (they are on the disk), with those that were not and why; 400 when none was.

    Sending a request again is safe: an event is known by its key, and its first copy stays.
    """

    def __init__(self, ingestion: Ingestion) -> None:
        self._ingestion = ingestion

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("POST", "/events/{source}", "ingest", self.take)]

    async def take(self, call: Call) -> Reply:
        source = _source(call.release, call.parameters["source"])
        done = await self._ingestion.take(source, _judge(call.content_type, call.body))
        rejected = len(done.rejected)
        answer: dict[str, object] = {
            "accepted": done.accepted,
            "first_offset": done.first_offset,
            "rejected": done.rejected[:TOLD],
            "rejected_rows": rejected,
        }
        refused = rejected > 0 and not done.accepted
        if refused:
            answer["error"] = f"none of the {rejected} events was taken: {done.rejected[0].reason}"
        return reply(answer, 400 if refused else 202)


def _judge(content_type: str, body: bytes) -> Judge:
    """How a body of that media type is read: what names none of the others is JSON."""
    media = content_type.split(";", maxsplit=1)[0].strip().lower()
    if media == ARROW:
        return partial(_judge_arrow, body)
    if media in LINES:
        return partial(judge_lines, body)
    if media.startswith("application/vnd.apache."):
        raise Problem(415, f"events come as JSON, as lines of JSON ({LINES[0]}) or as {ARROW}, not as {media}")
    value: object = decode(body)
    rows: list[object] = value if isinstance(value, list) else [value]
    if len(rows) > MAX_REQUEST_ROWS:
        raise too_many()
    return partial(judge_objects, rows)


def _judge_arrow(body: bytes, source: SourceDef, now_ms: int, partitions: int) -> Judged:
    from skyloom.ingest.arrow import judge_stream  # who takes no Arrow does not pay for it

    return judge_stream(body, source, now_ms, partitions)


def _source(release: LoadedRelease, name: str) -> SourceDef:
    """The source of that name, if events of it may be sent; else `Problem` with 404."""
    source = release.release.sources.get(name)
    if source is not None and source.stream is not None:
        return source
    streamed = [each.name for each in release.release.sources.values() if each.stream is not None]
    near = nearest(name, streamed) or streamed
    raise Problem(404, f"there is no stream {name}; " + (f"did you mean {' or '.join(near)}?" if near else "there is none"))
