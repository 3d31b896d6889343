"""Requests traced: spans under the caller's, at a collector, and what becomes of requests when there is none."""

import http.client
import os
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import grpc
import pytest
from collector import Collector, attributes
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families
from serving_world import Arm, ServerProcess, World, mint, until

from skyloom.kernel.errors import MissingExtra
from skyloom.serving.grpc.proto import read_protocol
from skyloom.serving.metrics import Metrics
from skyloom.serving.services import Watching
from skyloom.serving.traces.context import CUSTOM_ATTRIBUTES, caller_of
from skyloom.serving.traces.exporter import Exporter
from skyloom.serving.traces.ids import is_recorded, new_trace_id
from skyloom.serving.traces.watch import Watch, over_http

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOLD = f"00-{TRACE}-{PARENT}-01"


class Traced:
    """A server that traces, and its collector."""

    def __init__(self, world: World, collector: Collector, server: ServerProcess) -> None:
        self.world, self.collector, self.server = world, collector, server

    def spans(self, trace: str, count: int = 4) -> list[Any]:
        """The spans of a trace, once there are as many."""
        until(lambda: len(self._spans(trace)) >= count)
        return self._spans(trace)

    def _spans(self, trace: str) -> list[Any]:
        return [span for span in self.collector.spans if span.trace_id.hex() == trace]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    world, collector = World(tmp_path_factory.mktemp("traced")), Collector()
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    watching = {"traces": collector.url, "trace_share": 1.0}
    server = ServerProcess(world.folder, key, grpc=True, watching=watching)
    yield Traced(world, collector, server)
    server.end(9)
    server.errors.close()
    collector.close()


@pytest.fixture
def told() -> str:
    """A caller's context: every test has a trace of its own."""
    return f"00-{new_trace_id()}-{PARENT}-01"


def meters(server: ServerProcess) -> dict[tuple[str, tuple[str, ...]], float]:
    text = server.ask("GET", "/metrics")[1]
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in plain_families(text)
        for sample in family.samples
    }


def trace_of(told: str) -> str:
    return told.split("-")[1]


def test_one_request_is_one_trace_under_the_callers_span(traced: Traced, told: str, flight: dict[str, Any]):
    headers = {"traceparent": told, "tracestate": "congo=t61rcWkgMzE,rojo=1", "X-Request-Id": "r-1"}
    before = meters(traced.server)["skyloom_spans_exported_total", ()]
    status, answer = traced.server.ask("POST", "/predict/late", flight, headers)
    assert status == 200
    spans = {span.name: span for span in traced.spans(trace_of(told))}
    assert set(spans) == {"POST /predict/{model}", "lookup", "model", "log"}
    assert {span.trace_state for span in spans.values()} == {"congo=t61rcWkgMzE,rojo=1"}
    whole = spans["POST /predict/{model}"]
    assert (whole.parent_span_id.hex(), whole.kind) == (PARENT, whole.SPAN_KIND_SERVER)
    assert attributes(whole) == {
        "http.request.method": "POST",
        "http.route": "/predict/{model}",
        "http.response.status_code": 200,
        "url.path": "/predict/late",
        "url.scheme": "http",
        "skyloom.request_id": "r-1",
    }
    inside = [spans[name] for name in ("lookup", "model", "log")]
    assert {span.parent_span_id for span in inside} == {whole.span_id}
    assert len({span.span_id for span in spans.values()}) == 4
    moments = [whole.start_time_unix_nano, *(m for s in inside for m in (s.start_time_unix_nano, s.end_time_unix_nano))]
    assert moments == sorted(moments)
    assert moments[-1] <= whole.end_time_unix_nano
    scored = {"skyloom.model": "late", "skyloom.version": 1, "skyloom.arm": "champion", "skyloom.rows": 1}
    assert attributes(spans["model"]) == scored
    assert attributes(spans["log"])["skyloom.receipt"] == answer["id"]
    assert traced.collector.resource["service.name"] == "skyloom-serving"
    assert traced.collector.headers[0]["path"] == "/v1/traces"
    until(lambda: meters(traced.server)["skyloom_spans_exported_total", ()] >= before + 4)


def test_work_on_threads_belongs_to_its_request(traced: Traced, told: str, flight: dict[str, Any]):
    rows = [{**flight, "flight_id": f"f{n}"} for n in range(40)]
    assert traced.server.ask("POST", "/predict/late", {"instances": rows}, {"traceparent": told})[0] == 200
    spans = traced.spans(trace_of(told))
    assert sorted(span.name for span in spans) == ["POST /predict/{model}", "log", "lookup", "model"]
    assert {attributes(span).get("skyloom.rows", 40) for span in spans} == {40}


def test_calls_of_grpc_are_traced_too(traced: Traced, told: str):
    protocol = read_protocol((files("skyloom.serving.grpc") / "inference.proto").read_text("utf-8"))
    method = next(each for each in protocol.methods if each.name == "ModelMetadata")
    with grpc.insecure_channel(f"127.0.0.1:{traced.server.grpc_port}") as channel:
        ask = channel.unary_unary(
            f"/{protocol.service}/ModelMetadata", lambda message: message.SerializeToString(), method.response.FromString
        )
        metadata = (("authorization", f"Bearer {traced.server.key}"), ("traceparent", told))
        assert ask(method.request(name="late"), metadata=metadata, timeout=20).name == "late"
    [span] = traced.spans(trace_of(told), 1)
    assert (span.name, span.parent_span_id.hex()) == (f"{protocol.service}/ModelMetadata", PARENT)
    told_of = attributes(span)
    assert told_of.pop("skyloom.request_id") == trace_of(told)
    assert told_of == {"rpc.system.name": "grpc", "rpc.method": span.name, "rpc.response.status_code": "OK"}


def test_what_is_recorded(traced: Traced, told: str, flight: dict[str, Any]):
    """Without a valid context the share decides (here: all); a caller that records nothing is obeyed."""
    seen, silent = len(traced.collector.spans), f"{told[:-2]}00"
    for each in (silent, told.upper(), f"00-{'1' * 32}-{'0' * 16}-01", ""):
        headers = {"traceparent": each, "tracestate": "congo=1"} if each else {}
        assert traced.server.ask("GET", "/openapi.json", None, headers)[0] == 200
    assert traced.server.ask("GET", "/nowhere", None, {"traceparent": told})[0] == 404
    [last] = traced.spans(trace_of(told), 1)  # they are sent in order
    assert (last.name, last.parent_span_id.hex(), last.status.code) == ("GET", PARENT, 0)
    fresh = [span for span in traced.collector.spans[seen:] if span.name == "GET /openapi.json"]
    assert [(span.trace_state, span.parent_span_id) for span in fresh] == [("", b"")] * 3
    assert len({span.trace_id for span in fresh} | {last.trace_id}) == 4


def test_exemplars_name_traces_that_are_recorded(traced: Traced, told: str, flight: dict[str, Any]):
    silent = f"00-{new_trace_id()}-{PARENT}-00"
    for each in (told, silent):
        assert traced.server.ask("POST", "/predict/late", flight, {"traceparent": each})[0] == 200
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    status, headers, body = traced.server.whole("GET", "/metrics", b"", {"Accept": accept})
    assert (status, headers["content-type"]) == (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    found = {
        (sample.name, sample.exemplar.labels["trace_id"])
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.exemplar
    }
    for name in ("skyloom_request_seconds_bucket", "skyloom_scoring_seconds_bucket"):
        assert (name, trace_of(told)) in found
    assert trace_of(silent) not in {trace for _, trace in found}
    _, headers, body = traced.server.whole("GET", "/metrics", b"", {})
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert trace_of(told).encode() not in body


def asked(server: ServerProcess, lines: list[tuple[str, bytes]]) -> tuple[int, str]:
    """Status and request id of an answer to headers that are sent as they are, line by line."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.putrequest("GET", "/health/live")
        for name, value in lines:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers["x-request-id"]
    finally:
        connection.close()


def test_contexts_in_several_lines(traced: Traced, told: str):
    """A state may come in several lines; a context in two is none."""
    twice = f"00-{'2' * 32}-{PARENT}-01".encode()
    states = [("tracestate", b"congo=1,rojo=2"), ("tracestate", b"blue=3")]
    assert asked(traced.server, [("traceparent", told.encode()), *states]) == (200, trace_of(told))
    status, fresh = asked(traced.server, [("traceparent", twice), ("traceparent", twice), *states])
    assert (status, fresh != "2" * 32) == (200, True)
    assert [span.trace_state for span in traced.spans(trace_of(told), 1)] == ["congo=1,rojo=2,blue=3"]
    assert [(span.trace_state, span.parent_span_id) for span in traced.spans(fresh, 1)] == [("", b"")]


@pytest.mark.parametrize("value", [b"\xff\xfe", "\u00e9".encode(), b"a\tb", b" ", b"x" * 5_000])
def test_headers_that_are_nonsense_are_passed_over(traced: Traced, value: bytes):
    status, known = asked(traced.server, [(name, value) for name in ("traceparent", "tracestate", "x-request-id")])
    assert status == 200
    assert re.fullmatch("[0-9a-f]{32}", known)


def test_a_version_that_breaks_is_an_error_of_its_span(
    world: World, launch: Callable[..., ServerProcess], told: str, flight: dict[str, Any]
):
    collector = Collector()
    key, stored = mint(["admin"])
    arm = Arm(1, world.package(0.25, "raises"), 10_000, "champion")
    world.publish(world.release({"late": (arm,)}, (stored,)))
    server = launch(world, key, watching={"traces": collector.url})
    assert server.ask("POST", "/predict/late", flight, {"traceparent": told})[0] == 500
    assert server.end() == 0
    collector.close()
    spans = {span.name: span for span in collector.spans}  # what is left is sent before the end
    assert spans["model"].status.code == spans["model"].status.STATUS_CODE_ERROR
    assert "Gather" in spans["model"].status.message
    whole = spans["POST /predict/{model}"]
    assert (whole.status.code, attributes(whole)["error.type"]) == (2, "500")


@pytest.mark.parametrize("silent", [False, True])
def test_requests_go_on_without_a_collector(
    silent: bool, world: World, launch: Callable[..., ServerProcess], flight: dict[str, Any]
):
    """One that is gone, and one that takes connections and answers nothing."""
    made = Collector(silent=silent)
    if not silent:
        made.close()
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    server = launch(world, key, watching={"traces": made.url, "trace_share": 1.0})
    statuses = {server.ask("POST", "/predict/late", flight)[0] for _ in range(60)}
    assert not silent or made.asked.wait(20)
    statuses |= {server.ask("POST", "/predict/late", flight)[0] for _ in range(60)}
    assert statuses == {200}
    assert server.end() == 0
    if silent:
        made.close()


def trace(metrics: Metrics, exporter: Exporter, count: int) -> None:
    class Request:
        method, path, scheme = "GET", "/x", "http"

    watch = Watch(Watching("http://127.0.0.1:9", 1.0), exporter)
    for _ in range(count):
        watch.end(watch.begin({}), 0.0, over_http, Request(), "/x", 200)


def dropped(metrics: Metrics, reason: str) -> float | None:
    return metrics.registry.get_sample_value("skyloom_spans_dropped_total", {"reason": reason})


def test_a_full_queue_drops_and_counts():
    metrics = Metrics()
    trace(metrics, Exporter("http://127.0.0.1:9", metrics, waiting=2), 5)  # it is not started: nobody takes anything
    assert dropped(metrics, "queue") == 3


def test_what_a_collector_refuses_is_dropped_counted_and_told_once(caplog: pytest.LogCaptureFixture):
    metrics, collector = Metrics(), Collector(status=400)
    exporter = Exporter(collector.url, metrics)
    exporter.start()
    trace(metrics, exporter, 1)
    until(lambda: dropped(metrics, "collector") == 1)
    trace(metrics, exporter, 3)
    exporter.close(15.0)
    collector.close()
    assert dropped(metrics, "collector") == 4
    assert metrics.registry.get_sample_value("skyloom_spans_exported_total") == 0
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [f"{collector.url} takes no spans"]


def test_the_extra_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("skyloom.serving.traces.exporter.MODULES", ("opentelemetry_that_is_not_there.sdk",))
    with pytest.raises(MissingExtra, match="not installed") as raised:
        Exporter("http://127.0.0.1:9", Metrics())
    assert raised.value.fix == "pip install 'skyloom[otel]'"


def test_nothing_is_answered_where_nothing_is_on(served: tuple[World, ServerProcess]):
    _, server = served
    assert "x-request-id" not in server.whole("GET", "/health/live", b"", {"X-Request-Id": "r-1"})[1]


def test_a_method_that_nobody_knows_is_kept_out_of_names():
    class Request:
        method, path, scheme = "BREW", "/pot", "http"

    told = over_http(Request(), "unknown", 404)
    assert told.name == "HTTP"
    assert told.attributes == {
        "http.request.method": "_OTHER",
        "http.request.method_original": "BREW",
        "http.response.status_code": 404,
        "url.path": "/pot",
        "url.scheme": "http",
    }


HEX = "0123456789abcdef"


@given(st.text(HEX, min_size=32, max_size=32), st.text(HEX, min_size=16, max_size=16), st.integers(0, 255))
def test_a_context_is_read_as_it_was_written(trace: str, span: str, flags: int):
    read = caller_of({"traceparent": f"00-{trace}-{span}-{flags:02x}"})
    if not int(trace, 16) or not int(span, 16):
        assert read is None
    else:
        assert read == (trace, span, flags % 2 == 1, "")


@given(st.text(max_size=80) | st.from_regex(r"[0-9a-fA-F]{2}-[0-9a-fA-F]{31,33}-[0-9a-fA-F]{16}-[0-9a-f]{2}.?"), st.text())
def test_whatever_a_caller_says_is_read_or_ignored(told: str, state: str):
    for headers in ({"traceparent": told, "tracestate": state}, {CUSTOM_ATTRIBUTES: f"traceparent={told};{state}"}):
        read = caller_of(headers)
        assert read is None or re.fullmatch("[0-9a-f]{32} [0-9a-f]{16}", f"{read.trace_id} {read.span_id}")


VALID = {
    TOLD: True,
    f"cc-{TRACE}-{PARENT}-01": True,
    f"cc-{TRACE}-{PARENT}-01-what-comes": True,
    f"cc-{TRACE}-{PARENT}-01.what": False,
    f"00-{TRACE}-{PARENT}-01-more": False,
    f"ff-{TRACE}-{PARENT}-01": False,
    f"00-{TRACE.upper()}-{PARENT}-01": False,
    f"00-{TRACE}-{PARENT}-1": False,
    f"00-{TRACE}-{PARENT}": False,
    f"00-{TRACE[:-1]}-{PARENT}-01": False,
    f"00-{'0' * 32}-{PARENT}-01": False,
}


@pytest.mark.parametrize(("told", "valid"), VALID.items())
def test_which_contexts_are_valid(told: str, valid: bool):
    assert (caller_of({"traceparent": told}) is not None) is valid


STATES = {
    "a=1,b=2": "a=1,b=2",
    " a=1 , ,b=2 ": "a=1,b=2",
    "fw529a3039@dt=x": "fw529a3039@dt=x",
    "a=1,a=2": "",
    "A=1": "",
    "a": "",
    "a=1=2": "",
    ",".join(f"k{n}=1" for n in range(32)): ",".join(f"k{n}=1" for n in range(32)),
    ",".join(f"k{n}=1" for n in range(33)): "",
}


@pytest.mark.parametrize(("told", "kept"), STATES.items())
def test_the_state_of_a_trace_is_kept_whole_or_not_at_all(told: str, kept: str):
    read = caller_of({"traceparent": TOLD, "tracestate": told})
    assert read is not None
    assert read.state == kept


def test_a_context_inside_sagemakers_custom_attributes():
    read = caller_of({CUSTOM_ATTRIBUTES: f"tenant=7;traceparent={TOLD};tracestate=congo=1,rojo=2"})
    assert read == (TRACE, PARENT, True, "congo=1,rojo=2")


@given(st.floats(0, 1))
def test_a_larger_share_records_what_a_smaller_one_does(share: float):
    traces = [new_trace_id() for _ in range(20)]
    assert all(is_recorded(each, 1.0) and not is_recorded(each, 0.0) for each in traces)
    assert all(is_recorded(each, min(share * 1.5, 1.0)) for each in traces if is_recorded(each, share))


def test_the_share_is_about_what_was_asked_for():
    assert 800 < sum(is_recorded(new_trace_id(), 0.1) for _ in range(10_000)) < 1_200


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
def test_meters_of_one_process_among_others_say_whose_they_are(accept: str):
    metrics, alone = Metrics(among_others=True), Metrics()
    for each in (metrics, alone):
        each.requests.labels("/x", "200").inc()
        each.seconds.labels("/x").observe(0.1, {"trace_id": TRACE})
    told = metrics.exposed(accept)[0].decode()
    process = f'process="{os.getpid()}"'
    assert all(process in line for line in told.splitlines() if not line.startswith("#"))
    bare = told.replace(f"{process},", "").replace(f",{process}", "").replace(f"{{{process}}}", "")
    named = [re.split(r"[ #]", line)[0] for line in bare.splitlines() if not line.startswith("#")]
    text = alone.exposed(accept)[0].decode()
    assert named == [re.split(r"[ #]", line)[0] for line in text.splitlines() if not line.startswith("#")]
    assert (TRACE in told) is bool(accept)
