"""Objects of S3, where S3 does not do what one wants."""

import socket
import sys
from typing import Any

import pytest
from lambda_world import CREDENTIALS, buckets

from skyloom.kernel.errors import DeclarationError, MissingExtra, Transient
from skyloom.serving.aws_lambda.objects import Buckets
from skyloom.serving.aws_lambda.records import ObjectName
from skyloom.serving.contracts.aws_lambda import OUTPUT, AwsLambda
from skyloom.serving.wire import Problem

NAME = ObjectName("in", "a.csv")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def test_an_object_that_is_not_there_is_a_fault_of_the_event() -> None:
    with buckets() as stored, pytest.raises(Problem, match=r"s3://in/a\.csv") as found:
        Buckets({"AWS_ENDPOINT_URL_S3": stored.url}).read(NAME, 10)
    assert found.value.status == 404


def test_what_cannot_be_reached_may_be_tried_again() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(Transient, match="cannot be reached"):
            Buckets({"AWS_ENDPOINT_URL": url}).read(NAME, 10)


def test_the_type_is_that_of_the_name_or_of_the_object() -> None:
    with buckets() as stored:
        for key in ("a.CSV", "a.jsonl.gz", "a.bin"):
            stored.objects["in", key] = b"x"
        stored.types["in", "a.bin"] = "application/json"
        opened = Buckets({"AWS_ENDPOINT_URL_S3": stored.url})
        found: dict[str, Any] = {key: opened.read(ObjectName("in", key), 1)[1:] for _, key in list(stored.objects)}
    assert found == {
        "a.CSV": ("text/csv", ""),
        "a.jsonl.gz": ("application/x-ndjson", "gzip"),
        "a.bin": ("application/json", ""),
    }


def test_without_boto3_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtra, match="boto3 is not installed"):
        Buckets({}).read(NAME, 10)


@pytest.mark.parametrize("url", ["bucket", "s3://bucket", "https://x/y", "s3:///key"])
def test_a_place_for_predictions_is_a_bucket_and_a_prefix(url: str) -> None:
    unused: Any = None
    with pytest.raises(DeclarationError, match=OUTPUT):
        AwsLambda(unused, {OUTPUT: url})
