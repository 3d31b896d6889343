"""The runtime API of AWS Lambda, as a process in the sandbox asks it.

Source: the Lambda developer guide, "Using the Lambda runtime API for custom runtimes" (version 2018-06-01).
"""

import http.client
from typing import NamedTuple

import msgspec

from skyloom.kernel.errors import Transient

_ROOT = "/2018-06-01/runtime"
_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
_INVOCATION = "Lambda-Runtime-Invocation-Id"
_JSON = {"Content-Type": "application/json"}


class Invocation(NamedTuple):
    """One invocation: its id, its event (JSON), and until when it must be answered (ms since 1970). ``copy`` tells it from
    others with its id, where the platform runs several at a time."""

    id: str
    event: bytes
    deadline_ms: int
    trace: str = ""
    copy: str = ""


class Fault(msgspec.Struct, frozen=True, rename="camel"):
    """What went wrong, in Lambda's words."""

    error_message: str
    error_type: str
    stack_trace: tuple[str, ...] = ()


class RuntimeApi:
    """One connection to the runtime API at ``address`` (``HOST:PORT``). Not safe for threads: each has its own.

    Every method raises `Transient` when the API does not answer, or not as it should: the sandbox is at its end then.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection = http.client.HTTPConnection(address)  # no timeout: the next invocation may be hours away

    def next(self) -> Invocation:
        """Wait for an invocation."""
        status, headers, body = self._ask("GET", f"{_ROOT}/invocation/next")
        if status != http.client.OK:
            raise Transient(f"the runtime API at {self._address} gave no invocation: {status} {body[:200]!r}")
        return Invocation(
            headers.get("Lambda-Runtime-Aws-Request-Id", ""),
            body,
            int(headers.get("Lambda-Runtime-Deadline-Ms") or 0),
            headers.get("Lambda-Runtime-Trace-Id", ""),
            headers.get(_INVOCATION, ""),
        )

    def respond(self, invocation: Invocation, answer: bytes) -> bool:
        """Answer an invocation, in JSON. ``False``: Lambda refused the answer, as it does one that is too long or late."""
        headers = {**_JSON, **_copied(invocation)}
        return self._post(f"{_ROOT}/invocation/{invocation.id}/response", answer, headers)

    def fail(self, invocation: Invocation, fault: Fault) -> None:
        """Say that an invocation failed: whoever sent the event may send it again."""
        headers = {**_JSON, _ERROR_TYPE: fault.error_type, **_copied(invocation)}
        self._post(f"{_ROOT}/invocation/{invocation.id}/error", msgspec.json.encode(fault), headers)

    def fail_init(self, fault: Fault) -> None:
        """Say that this process cannot begin to work."""
        self._post(f"{_ROOT}/init/error", msgspec.json.encode(fault), {**_JSON, _ERROR_TYPE: fault.error_type})

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> bool:
        status, _, answer = self._ask("POST", path, body, headers)
        if status >= http.client.INTERNAL_SERVER_ERROR:
            raise Transient(f"the runtime API at {self._address} failed: {status} {answer[:200]!r}")
        return status == http.client.ACCEPTED

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        try:
            self._connection.request(method, path, body, headers or {})
            answer = self._connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Transient(f"the runtime API at {self._address} does not answer: {error}") from error


def _copied(invocation: Invocation) -> dict[str, str]:
    return {_INVOCATION: invocation.copy} if invocation.copy else {}
