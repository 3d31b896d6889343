"""``POST /events/{source}``: events in, one object or a list of them."""

from skyloom.kernel.ids import nearest
from skyloom.kernel.records.definitions import SourceDef
from skyloom.serving.body import decode
from skyloom.serving.ingestion import Ingestion
from skyloom.serving.loaded import LoadedRelease
from skyloom.serving.table import Endpoint
from skyloom.serving.wire import Call, Problem, Reply, reply


class Events:
    """Answers 202 when rows were taken (they are on the disk), with those that were not and why; 400 when none was."""

    def __init__(self, ingestion: Ingestion) -> None:
        self._ingestion = ingestion

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("POST", "/events/{source}", "ingest", self.take)]

    async def take(self, call: Call) -> Reply:
        source = _source(call.release, call.parameters["source"])
        body: object = decode(call.body)
        rows: list[object] = body if isinstance(body, list) else [body]
        done = await self._ingestion.take(source, rows)
        refused = bool(rows) and not done.accepted
        answer: dict[str, object] = {"accepted": done.accepted, "first_offset": done.first_offset, "rejected": done.rejected}
        if refused:
            answer["error"] = f"none of the {len(rows)} events was taken: {done.rejected[0].reason}"
        return reply(answer, 400 if refused else 202)


def _source(release: LoadedRelease, name: str) -> SourceDef:
    """The source of that name, if events of it may be sent; else `Problem` with 404."""
    source = release.release.sources.get(name)
    if source is not None and source.stream is not None:
        return source
    streamed = [each.name for each in release.release.sources.values() if each.stream is not None]
    near = nearest(name, streamed) or streamed
    raise Problem(404, f"there is no stream {name}; " + (f"did you mean {' or '.join(near)}?" if near else "there is none"))
