"""The process of a Lambda function: the parts of a serving process, asked by the runtime API instead of a socket."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

from skyloom.kernel.errors import SkyloomError, Transient, UsageError
from skyloom.serving.aws_lambda.loop import Loop
from skyloom.serving.aws_lambda.runtime import Fault, RuntimeApi
from skyloom.serving.logs import log_to_stderr
from skyloom.serving.loop import run
from skyloom.serving.services import Services
from skyloom.serving.worker import Worker

RUNTIME_API = "AWS_LAMBDA_RUNTIME_API"
"""The variable of the environment with the address of the runtime API; where it is set, this process is a function."""

_CONTRACT = "aws-lambda"
_AT_ONCE = "AWS_LAMBDA_MAX_CONCURRENCY"
_SETTLE_S = 2.0
"""How long receipts may hold up the next invocation, while the log does not take them."""

_log = logging.getLogger("skyloom.serving")


def is_function(environ: Mapping[str, str]) -> bool:
    """Whether this process runs in Lambda, and not behind its Web Adapter.

    >>> is_function({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"})
    True
    """
    return bool(environ.get(RUNTIME_API)) and not environ.get("AWS_LWA_PORT")


def serve_function(services: Services) -> NoReturn:
    """Answer invocations until the sandbox ends, then end the process: 0, or 1 when it could not begin or lost something.

    Raises `UsageError` where there is no runtime API.
    """
    log_to_stderr(services.watching.logs)
    contracts = tuple(dict.fromkeys((*services.contracts, _CONTRACT)))
    clean = run(Function(replace(services, contracts=contracts)).run())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if clean else 1)


class Function(Worker):
    """The parts of one process of a function."""

    async def run(self) -> bool:
        """Answer until a signal or the end of the runtime API; whether everything went well."""
        environ = self._services.environ
        address = environ.get(RUNTIME_API, "")
        if not address:
            raise UsageError(f"{RUNTIME_API} is not set", fix="start it in AWS Lambda, or serve without --lambda")
        if not await self._begun(RuntimeApi(address)):
            return False
        at_once = environ.get(_AT_ONCE, "")
        count = max(int(at_once), 1) if at_once.isdecimal() else 1
        loops = [asyncio.create_task(self._loop(address).run()) for _ in range(count)]
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        ending = asyncio.create_task(ended.wait())
        await asyncio.wait({*loops, ending}, return_when=asyncio.FIRST_COMPLETED)
        return await self._finished(loops)

    async def _begun(self, api: RuntimeApi) -> bool:
        """Load the release; if that fails, Lambda is told so, and starts another process."""
        self._logbook.start()
        self._start_traces()
        self._shadow.start()
        await asyncio.to_thread(self._obedience.look)
        if self._obedience.now is not None:
            self._obedience.start(self._services.on_ready)
            return True
        fault = Fault("there is no release that can be served; the log of this function says why", "Skyloom.NoRelease")
        _log.error(fault.error_message)
        try:
            await asyncio.to_thread(api.fail_init, fault)
        except SkyloomError as error:
            _log.error("%s", error.what)
        return False

    def _loop(self, address: str) -> Loop:
        take = self._table.find("POST", "/events").endpoint.handle
        return Loop(RuntimeApi(address), self._app, take, self._obedience, self._settle)

    def _settle(self, left_s: float) -> None:
        """Let receipts reach the log before the sandbox may be frozen."""
        if not self._logbook.settle(min(left_s, _SETTLE_S)):
            _log.error("receipts wait on the disk of this sandbox: the log does not take them")

    async def _finished(self, loops: list["asyncio.Task[None]"]) -> bool:
        """Whether nothing was lost."""
        clean = True
        for each in loops:
            if each.done() and (error := each.exception()) is not None:
                clean = clean and isinstance(error, Transient)
                _log.error("the runtime API has ended: %s", error)
        self._obedience.close()
        await self._end_traces(self._services.limits.drain_seconds)
        return await asyncio.to_thread(self._logbook.close, self._services.limits.drain_seconds) and clean
