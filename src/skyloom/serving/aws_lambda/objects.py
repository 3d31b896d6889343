"""Objects of S3, read and written with boto3 (``pip install 'skyloom[aws]'``)."""

import importlib
import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from skyloom.kernel.errors import MissingExtra, Transient
from skyloom.serving.aws_lambda.records import ObjectName
from skyloom.serving.formats import media as formats
from skyloom.serving.wire import Problem

_CONNECT_S, _READ_S = 3, 20
_TYPES = {
    ".csv": formats.CSV,
    ".json": formats.JSON,
    ".jsonl": formats.LINES,
    ".ndjson": formats.LINES,
    ".parquet": formats.PARQUET,
    ".arrow": formats.ARROW_FILE,
    ".arrows": formats.ARROW_STREAM,
}
"""The end of a key -> the format of the object. Others are what the object itself says."""


class Content(NamedTuple):
    """What an object holds, its media type, and how it is packed."""

    body: bytes
    content_type: str
    encoding: str


class Buckets:
    """Reads and writes objects. Safe for threads; connects when it is first used.

    ``AWS_ENDPOINT_URL_S3`` and ``AWS_ENDPOINT_URL`` of ``environ`` name another server than Amazon's; the credentials are
    those that boto3 finds.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or None
        self._connecting = threading.Lock()

    def read(self, name: ObjectName, longest: int) -> Content:
        """What an object holds. Raises `Problem`: 413 when it has more than ``longest`` bytes, 404 when there is none, 403
        when it must not be read; `Transient` when S3 does not answer."""
        named = {"VersionId": name.version} if name.version else {}
        found = self._asked("get_object", name, Bucket=name.bucket, Key=name.key, **named)
        if found["ContentLength"] > longest:
            found["Body"].close()
            raise Problem(413, f"{_shown(name)} has more than {longest:,} bytes; skyloom score takes any number")
        try:
            body = found["Body"].read()
        except Exception as error:  # boto3's errors have no type before it is loaded
            raise Transient(f"{_shown(name)} broke off: {error}") from error
        path = PurePosixPath(name.key)
        packed = path.suffix == ".gz"
        suffix = path.with_suffix("").suffix if packed else path.suffix
        encoding = "gzip" if packed else found.get("ContentEncoding", "")
        return Content(body, _TYPES.get(suffix.lower()) or found.get("ContentType", ""), encoding)

    def write(self, name: ObjectName, body: bytes, content_type: str) -> None:
        """Write an object, over whatever was there. Raises as `read`."""
        self._asked("put_object", name, Bucket=name.bucket, Key=name.key, Body=body, ContentType=content_type)

    def _asked(self, operation: str, name: ObjectName, **words: Any) -> Any:
        with self._connecting:
            client = self._client
        try:
            return getattr(client, operation)(**words)
        except Exception as error:
            status = _status(error)
            if status is None or status >= 500 or status == 429:
                raise Transient(f"{_shown(name)} cannot be reached: {error}") from error
            raise Problem(403 if status in (400, 401) else status, f"{_shown(name)}: {error}") from error

    @cached_property
    def _client(self) -> Any:
        try:
            boto3: Any = importlib.import_module("boto3")
        except ModuleNotFoundError as error:
            raise MissingExtra("boto3", "aws") from error
        config: Any = importlib.import_module("botocore.config")
        retries = {"mode": "standard", "total_max_attempts": 3}
        patience = config.Config(connect_timeout=_CONNECT_S, read_timeout=_READ_S, retries=retries)
        return boto3.client("s3", endpoint_url=self._endpoint, config=patience)


def _status(error: Exception) -> int | None:
    """The HTTP status that S3 answered with; ``None`` when it did not answer."""
    response: Any = getattr(error, "response", None)
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None


def _shown(name: ObjectName) -> str:
    return f"s3://{name.bucket}/{name.key}"
