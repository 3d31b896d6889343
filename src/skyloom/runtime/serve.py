"""The process that serves: ``python -m skyloom.runtime.serve DIRECTORY PROFILE [SOCKET [GRPC_PORT]]``."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from skyloom.engines.local import notify_ready, tie_to_parent
from skyloom.features.online.warm import without_blas
from skyloom.platform import Platform, open_platform
from skyloom.runtime.addresses import certificate_files
from skyloom.runtime.later import LaterObjects
from skyloom.runtime.logbook import logbook_secret
from skyloom.runtime.releases import served_folder
from skyloom.serving.logbook import Room
from skyloom.serving.pace import pace_of
from skyloom.serving.services import Limits, Listen, Services, Watching
from skyloom.serving.worker import serve


def services_of(platform: Platform, listen: Listen, grpc_port: int | None = None) -> Services:
    """The ports that serving needs, and no others. ``grpc_port`` goes before the profile's; its address is that of HTTP."""
    serving, pace = platform.profile.serving, pace_of(os.environ)
    wanted = serving.grpc_port if grpc_port is None else grpc_port
    return Services(
        objects=LaterObjects(lambda: platform.objects),
        verifier=platform.verifier,
        log=platform.log,
        online=platform.prompt_online,
        clock=platform.clock,
        logbook=platform.state / "logbook",
        served=served_folder(platform),
        secret=logbook_secret(platform),
        limits=Limits(
            logbook=Room(waiting=int(serving.logbook_gigabytes * 1e9 / serving.workers)),
            lame_duck_seconds=pace.lame_duck_s,
            drain_seconds=pace.drain_s,
        ),
        listen=listen,
        on_ready=notify_ready,
        grpc=None if wanted is None else Listen(listen.address, wanted),
        contracts=serving.contracts,
        model=serving.model,
        trust_platform=serving.trust_platform,
        environ=os.environ,
        tls=certificate_files(platform.directory, serving.tls),
        watching=Watching(
            traces=serving.traces,
            trace_share=serving.trace_share,
            request_ids=serving.request_ids,
            logs=serving.logs,
            log_requests_over=serving.log_requests_over,
            among_others=serving.workers > 1,
        ),
    )


def main() -> NoReturn:
    """Entry point of the process."""
    tie_to_parent()
    platform = open_platform(Path(sys.argv[1]), sys.argv[2])
    descriptor = int(sys.argv[3]) if len(sys.argv) > 3 else None
    grpc_port = int(sys.argv[4]) if len(sys.argv) > 4 else None
    serving = platform.profile.serving
    with without_blas():
        serve(services_of(platform, Listen(serving.address, serving.port, descriptor), grpc_port))


if __name__ == "__main__":
    main()
