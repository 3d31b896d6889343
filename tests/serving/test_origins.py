"""A page that a browser shows cannot drive a server of this machine: it has no key, and is lent none."""

import http.client
import itertools
from contextlib import closing
from typing import Any

import msgspec
import pytest
from serving_world import NOW, ServerProcess, World

HOSTS = ("127.0.0.1", "localhost", "evil.example", "rebound.evil.example:8080", "[::1]")
ORIGINS = ("", "null", "https://evil.example", "http://localhost:3000", "file://")
CONTENT_TYPES = ("application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
EVENT = {"flight_id": "e1", "landed": NOW, "carrier": "UA", "delay": 1.0}


def headers(host: str, origin: str, content_type: str) -> dict[str, str]:
    """As browsers send them from a page of ``origin``, with the cookies that they may have."""
    said = {"Host": host, "Content-Type": content_type, "Cookie": "session=sky_ABCDEF", "Sec-Fetch-Site": "cross-site"}
    return {**said, "Origin": origin} if origin else said


@pytest.mark.parametrize(
    ("path", "body"), [("/events/landings", [EVENT]), ("/predict/late", EVENT), ("/v2/models/late/infer", {"inputs": []})]
)
def test_nothing_changes_from_any_host_origin_and_content_type(
    served: tuple[World, ServerProcess], path: str, body: Any
) -> None:
    world, server = served
    topics = ("events/landings", "quarantine/landings", "predictions/late")
    before = [world.log.end(topic) for topic in topics]
    content, asked = msgspec.json.encode(body), 0
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        for host, origin, content_type in itertools.product(HOSTS, ORIGINS, CONTENT_TYPES):
            for method, sent in (("POST", content), ("OPTIONS", None)):
                connection.request(method, path, sent, headers(host, origin, content_type))
                answer = connection.getresponse()
                answer.read()
                assert answer.status == (401 if method == "POST" else 405)
                assert not [name for name, _ in answer.getheaders() if name.lower().startswith("access-control")]
                asked += method == "POST"
    assert asked == 100
    assert [world.log.end(topic) for topic in topics] == before
