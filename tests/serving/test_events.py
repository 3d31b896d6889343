"""Events over real HTTP, in each of the forms that they may come in."""

import json
from typing import Any

import pyarrow as pa
import pytest
from serving_world import LANDINGS, NOW, ServerProcess, World

from skyloom.ingest.codec import decode

Served = tuple[World, ServerProcess]
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
LINES = {"content-type": "application/x-ndjson; charset=utf-8"}


def rows(prefix: str, count: int = 3) -> list[dict[str, Any]]:
    return [{"flight_id": f"{prefix}{n}", "landed": NOW, "carrier": "UA", "delay": n / 2} for n in range(count)]


def arrow(some: list[dict[str, Any]], **columns: pa.Array) -> bytes:
    table = pa.Table.from_pylist(some)
    table = table.set_column(1, "landed", table.column("landed").cast(pa.timestamp("ms", tz="UTC")))
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def lines(some: list[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in some)


def appended(world: World, since: int) -> list[dict[str, Any]]:
    batches = world.log.read("events/landings", since)
    return decode(batches, LANDINGS.schema).select(["flight_id", "carrier", "delay"]).to_pylist()


def test_every_form_brings_the_same_rows(served: Served) -> None:
    world, server = served
    found = []
    for body, headers in ((rows("same"), {}), (lines(rows("same")), LINES), (arrow(rows("same")), ARROW)):
        before = world.log.end("events/landings")
        status, answer = server.ask("POST", "/events/landings", body, headers)
        assert (status, answer) == (202, {"accepted": 3, "first_offset": before, "rejected": [], "rejected_rows": 0})
        found.append(appended(world, before))
    assert found[0] == found[1] == found[2]


def test_bad_rows_are_told_and_kept_in_every_form(served: Served) -> None:
    world, server = served
    bad = [*rows("bad", 2), {"flight_id": "", "landed": NOW, "carrier": "UA", "delay": 1.0}]
    told = [{"index": 2, "reason": "flight_id: empty"}]
    for body, headers in ((bad, {}), (lines(bad), LINES), (arrow(bad), ARROW)):
        before = world.log.end("quarantine/landings")
        status, answer = server.ask("POST", "/events/landings", body, headers)
        assert (status, answer["accepted"], answer["rejected"], answer["rejected_rows"]) == (202, 2, told, 1)
        assert world.log.end("quarantine/landings") == before + 1


def test_a_line_that_is_no_json_is_a_bad_row(served: Served) -> None:
    _, server = served
    status, answer = server.ask("POST", "/events/landings", lines(rows("line", 2)) + b'\n\n{"flight_id": \n', LINES)
    assert (status, answer["accepted"], answer["rejected"][0]["index"]) == (202, 2, 2)
    assert answer["rejected"][0]["reason"].startswith("not valid JSON")


def test_of_many_rejections_the_first_are_told(served: Served) -> None:
    _, server = served
    status, answer = server.ask("POST", "/events/landings", [1] * 300)
    assert (status, answer["accepted"], len(answer["rejected"]), answer["rejected_rows"]) == (400, 0, 100, 300)
    assert answer["error"] == "none of the 300 events was taken: expected an object, got int"


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (arrow(rows("no"), delay=pa.array(["1", "2", "3"])), ARROW, 400, "delay is string, but landings declares float"),
        (arrow([{k: v for k, v in row.items() if k != "delay"} for row in rows("no")]), ARROW, 400, "lacks delay"),
        (arrow([{**row, "other": 1} for row in rows("no")]), ARROW, 400, "other: unknown column"),
        (arrow(rows("no"))[:-60], ARROW, 400, "the body is no Arrow stream"),
        (b"[1]", ARROW, 400, "the body is no Arrow stream"),
        (arrow(rows("no")), {}, 400, "not valid JSON"),
        (b"x", {"content-type": "application/vnd.apache.parquet"}, 415, "not as application/vnd.apache.parquet"),
        (b"[" + b"1," * 65_536 + b"1]", {}, 400, "more than 65,536 rows"),
        (b"1\n" * 65_537, LINES, 400, "more than 65,536 rows"),
        (b"1\r" * 65_537, LINES, 400, "more than 65,536 rows"),
        (b" " * 1_000_001, ARROW, 413, "longer than 1,000,000 bytes"),
    ],
)
def test_bodies_that_are_refused_leave_nothing(
    served: Served, body: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    world, server = served
    before = world.log.end("events/landings"), world.log.end("quarantine/landings")
    answered, answer = server.ask("POST", "/events/landings", body, headers)
    assert (answered, said in answer["error"]) == (status, True), answer
    assert (world.log.end("events/landings"), world.log.end("quarantine/landings")) == before
