"""Requests traced: spans under the caller's, at a collector, and what becomes of requests when there is none."""

import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from collector import Collector, attributes
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families
from serving_world import Arm, ServerProcess, World, mint, until

from skyloom.serving.services import Watching
from skyloom.serving.traces.context import CUSTOM_ATTRIBUTES, caller_of
from skyloom.serving.traces.ids import is_recorded, new_trace_id
from skyloom.serving.traces.watch import Watch

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOLD = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def serve(world: World, launch: Callable[..., ServerProcess]) -> Callable[..., ServerProcess]:
    """Starts a server of one good model, watched as said."""
    key, stored = mint(["admin"])
    world.publish(world.release({"late": (Arm(1, world.package(0.25), 10_000, "champion"),)}, (stored,)))
    return lambda **watching: launch(world, key, watching=watching)


def meters(server: ServerProcess) -> dict[tuple[str, tuple[str, ...]], float]:
    text = server.ask("GET", "/metrics")[1]
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in plain_families(text)
        for sample in family.samples
    }


def test_one_request_is_one_trace_under_the_callers_span(
    serve: Callable[..., ServerProcess], collector: Collector, world: World, flight: dict[str, Any]
):
    server = serve(traces=collector.url)
    headers = {"traceparent": TOLD, "tracestate": "congo=t61rcWkgMzE,rojo=1", "X-Request-Id": "r-1"}
    status, answer = server.ask("POST", "/predict/late", flight, headers)
    assert status == 200
    spans = {span.name: span for span in until(lambda: collector.spans)}
    assert set(spans) == {"POST /predict/{model}", "lookup", "model", "log"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
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
    assert attributes(spans["model"]) == {
        "skyloom.model": "late",
        "skyloom.version": 1,
        "skyloom.arm": "champion",
        "skyloom.rows": 1,
    }
    assert attributes(spans["log"])["skyloom.receipt"] == answer["id"]
    assert collector.resource["service.name"] == "skyloom-serving"
    assert collector.headers[0]["path"] == "/v1/traces"
    until(lambda: meters(server)[("skyloom_spans_exported_total", ())] == 4)
    assert server.end() == 0


def test_work_on_threads_belongs_to_its_request(
    serve: Callable[..., ServerProcess], collector: Collector, flight: dict[str, Any]
):
    server = serve(traces=collector.url)
    rows = [{**flight, "flight_id": f"f{n}"} for n in range(40)]
    assert server.ask("POST", "/predict/late", {"instances": rows}, {"traceparent": TOLD})[0] == 200
    spans = until(lambda: collector.spans)
    assert sorted(span.name for span in spans) == ["POST /predict/{model}", "log", "lookup", "model"]
    assert {attributes(span).get("skyloom.rows", 40) for span in spans} == {40}
    assert {span.trace_id.hex() for span in spans} == {TRACE}


def test_what_is_recorded(serve: Callable[..., ServerProcess], collector: Collector, flight: dict[str, Any]):
    """Without a valid context the share decides (here: all); a caller that records nothing is obeyed."""
    server = serve(traces=collector.url, trace_share=1.0)
    for told in (f"00-{TRACE}-{PARENT}-00", TOLD.upper(), f"00-{TRACE}-{'0' * 16}-01", ""):
        headers = {"traceparent": told, "tracestate": "congo=1"} if told else {}
        assert server.ask("POST", "/predict/late", flight, headers)[0] == 200
    assert server.ask("GET", "/nowhere", None, {"traceparent": TOLD})[0] == 404
    assert server.end() == 0  # what is left is sent before the end
    whole = [span for span in collector.spans if span.kind == span.SPAN_KIND_SERVER]
    assert [(span.name, span.trace_state) for span in whole] == [("POST /predict/{model}", "")] * 3 + [("GET unknown", "")]
    assert [span.parent_span_id.hex() for span in whole] == ["", "", "", PARENT]
    assert len({span.trace_id for span in whole}) == 4
    assert {span.status.code for span in whole} == {0}


def test_a_version_that_breaks_is_an_error_of_its_span(
    world: World, launch: Callable[..., ServerProcess], collector: Collector, flight: dict[str, Any]
):
    key, stored = mint(["admin"])
    arm = Arm(1, world.package(0.25, "raises"), 10_000, "champion")
    world.publish(world.release({"late": (arm,)}, (stored,)))
    server = launch(world, key, watching={"traces": collector.url})
    assert server.ask("POST", "/predict/late", flight, {"traceparent": TOLD})[0] == 500
    spans = {span.name: span for span in until(lambda: collector.spans)}
    assert spans["model"].status.code == spans["model"].status.STATUS_CODE_ERROR
    assert "Gather" in spans["model"].status.message
    whole = spans["POST /predict/{model}"]
    assert (whole.status.code, attributes(whole)["error.type"]) == (2, "500")


@pytest.mark.parametrize("how", ["gone", "silent", "refusing"])
def test_requests_go_on_without_a_collector(how: str, serve: Callable[..., ServerProcess], flight: dict[str, Any]):
    made = Collector(silent=how == "silent", status=400 if how == "refusing" else 200)
    if how == "gone":
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    else:
        url = made.url
    try:
        server = serve(traces=url, trace_share=1.0)
        statuses = {server.ask("POST", "/predict/late", flight)[0] for _ in range(60)}
        if how != "gone":
            assert made.asked.wait(20)
        statuses |= {server.ask("POST", "/predict/late", flight)[0] for _ in range(60)}
        assert statuses == {200}
        if how == "refusing":
            until(lambda: meters(server)[("skyloom_spans_dropped_total", ("collector",))] >= 4)
            assert until(server.said).count("takes no spans") == 1
        assert server.end() == 0
    finally:
        made.close()


def test_a_full_queue_drops_and_counts(flight: dict[str, Any]):
    from skyloom.serving.metrics import Metrics
    from skyloom.serving.traces import Exporter, over_http

    class Request:
        method, path, scheme = "GET", "/x", "http"

    metrics = Metrics()
    exporter = Exporter("http://127.0.0.1:9", metrics, waiting=2)  # not started: nobody takes anything
    watch = Watch(Watching("http://127.0.0.1:9", 1.0), exporter)
    for _ in range(5):
        watch.end(watch.begin({}), over_http(Request(), "/x", 200), 0.0)
    assert metrics.spans_dropped.labels("queue")._value.get() == 3


def test_exemplars_name_traces_that_are_recorded(serve: Callable[..., ServerProcess], collector: Collector, flight: Any):
    server = serve(traces=collector.url, trace_share=0.0)
    assert server.ask("POST", "/predict/late", flight)[0] == 200  # not recorded
    assert server.ask("POST", "/predict/late", flight, {"traceparent": TOLD})[0] == 200
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    status, headers, body = server.whole("GET", "/metrics", b"", {"Accept": accept})
    assert (status, headers["content-type"]) == (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    found = {
        sample.name: sample.exemplar
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.exemplar
    }
    assert set(found) == {"skyloom_request_seconds_bucket", "skyloom_scoring_seconds_bucket"}
    assert {each.labels["trace_id"] for each in found.values()} == {TRACE}
    _, headers, body = server.whole("GET", "/metrics", b"", {})
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert TRACE.encode() not in body


def test_ids_of_requests(serve: Callable[..., ServerProcess], flight: dict[str, Any]):
    server = serve(request_ids=True)
    for said, known in (("7b1e-42", True), ("two words", False), ("x" * 129, False), ("", False)):
        status, headers, _ = server.whole("GET", "/health/live", b"", {"X-Request-Id": said} if said else {})
        assert status == 200
        assert (headers["x-request-id"] == said) is known
        assert known or re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
    assert "x-request-id" in server.whole("GET", "/nowhere", b"", {})[1]


def test_nothing_is_answered_where_nothing_is_on(served: tuple[World, ServerProcess]):
    _, server = served
    assert "x-request-id" not in server.whole("GET", "/health/live", b"", {"X-Request-Id": "r-1"})[1]


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
