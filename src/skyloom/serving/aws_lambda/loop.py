"""Invocations, one after the other: asked for, answered, and asked for again."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from skyloom.kernel.errors import SkyloomError, Transient
from skyloom.serving.app import App
from skyloom.serving.aws_lambda.http_events import LONGEST_ANSWER, answer_of, is_http, request_of
from skyloom.serving.aws_lambda.runtime import Fault, Invocation, RuntimeApi
from skyloom.serving.body import decode
from skyloom.serving.deadlines import begin
from skyloom.serving.inside import Answered, ask
from skyloom.serving.obey import Obedience
from skyloom.serving.wire import Call, Handler, Problem, problem

_log = logging.getLogger("skyloom.serving")

_MARGIN_S = 0.2
"""How long before Lambda kills an invocation we give it up, so that its answer still says why."""

_FASTEST_S = 0.01
_HTTP_TYPES = {429: "TooManyRequests", 503: "Unavailable", 504: "DeadlineExceeded"}


class Loop:
    """Answers what one connection to the runtime API brings. ``take`` answers events that are no requests of HTTP, and
    ``settle`` is called (on a thread) with the seconds that are left, after an answer and before the next invocation is
    asked for: between the two the sandbox may be frozen, or gone."""

    def __init__(
        self, api: RuntimeApi, app: App, take: Handler, obedience: Obedience, settle: Callable[[float], object]
    ) -> None:
        self._api, self._app, self._take, self._obedience, self._settle = api, app, take, obedience, settle
        self._executor = ThreadPoolExecutor(1, "runtime-api")  # its own: nobody waits for a call that hangs when all ends

    async def run(self) -> None:
        """Answer until the runtime API ends, which raises `Transient`."""
        loop = asyncio.get_running_loop()
        invocation = await loop.run_in_executor(self._executor, self._api.next)
        while True:
            answer = await self._outcome(invocation)
            invocation = await loop.run_in_executor(self._executor, self._on, invocation, answer)

    def _on(self, invocation: Invocation, answer: "bytes | Fault") -> Invocation:
        """Bring an answer out, settle, and wait for the next invocation."""
        self._tell(invocation, answer)
        self._settle(_left_s(invocation))
        return self._api.next()

    def _tell(self, invocation: Invocation, answer: "bytes | Fault") -> None:
        """An answer that Lambda does not take becomes an error, so that nobody waits for it."""
        if isinstance(answer, bytes):
            if self._api.respond(invocation, answer):
                return
            answer = Fault(f"the answer, of {len(answer):,} bytes, was refused", "ResponseRefused")
        self._api.fail(invocation, answer)

    async def _outcome(self, invocation: Invocation) -> "bytes | Fault":
        left_s = _left_s(invocation)
        begin(left_s)
        try:
            event: Any = decode(invocation.event)
        except Problem as error:
            return Fault(error.why, "BadRequest")
        if is_http(event):
            return await self._request(event, left_s)
        return await self._event(invocation, left_s)

    async def _request(self, event: Any, left_s: float) -> "bytes | Fault":
        """A request of HTTP is always answered: what goes wrong is its status."""
        try:
            found, asked = request_of(event)
        except Problem as error:
            return Fault(error.why, "BadRequest")
        try:
            async with asyncio.timeout(left_s):
                answered = await ask(self._app, asked)
        except TimeoutError:
            answered = _explained(504, "the deadline of the request has passed; it was not answered")
        answer = msgspec.json.encode(answer_of(found, answered))
        if len(answer) > LONGEST_ANSWER:
            too_long = _explained(413, f"the answer is longer than {LONGEST_ANSWER:,} bytes: ask for fewer rows")
            answer = msgspec.json.encode(answer_of(found, too_long))
        return answer

    async def _event(self, invocation: Invocation, left_s: float) -> "bytes | Fault":
        """An event succeeds, or fails as a whole: who sent it tries again, or sets it aside."""
        try:
            async with asyncio.timeout(left_s):
                done = await self._take(Call({}, invocation.event, self._obedience.now))
        except TimeoutError:
            return Fault("the deadline of the invocation has passed", "DeadlineExceeded")
        except Problem as error:
            return Fault(error.why, _HTTP_TYPES.get(error.status, "BadRequest" if error.status < 500 else "ModelError"))
        except SkyloomError as error:
            return Fault(error.what, "Unavailable" if isinstance(error, Transient) else type(error).__name__)
        except Exception as error:  # noqa: BLE001  # the edge of an invocation: whatever it met, the next one comes
            _log.exception("invocation %s could not be answered", invocation.id)
            return Fault("this function failed to answer; its log says why", type(error).__name__)
        return done.body


def _left_s(invocation: Invocation) -> float:
    return max(invocation.deadline_ms / 1_000 - time.time() - _MARGIN_S, _FASTEST_S)


def _explained(status: int, why: str) -> Answered:
    told = problem(status, why)
    return Answered(told.status, [("content-type", told.content_type)], told.body)
