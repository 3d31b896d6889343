"""The process that serves: ``python -m skyloom.runtime.serve DIRECTORY PROFILE [SOCKET]``."""

import sys
from pathlib import Path
from typing import NoReturn

from skyloom.engines.local import notify_ready, tie_to_parent
from skyloom.platform import Platform, open_platform
from skyloom.serving.services import Listen, Services
from skyloom.serving.worker import serve


def services_of(platform: Platform, listen: Listen) -> Services:
    """The ports that serving needs, and no others."""
    return Services(
        objects=platform.objects,
        verifier=platform.verifier,
        log=platform.log,
        online=platform.online,
        clock=platform.clock,
        listen=listen,
        on_ready=notify_ready,
    )


def main() -> NoReturn:
    """Entry point of the process."""
    tie_to_parent()
    platform = open_platform(Path(sys.argv[1]), sys.argv[2])
    descriptor = int(sys.argv[3]) if len(sys.argv) > 3 else None
    serve(services_of(platform, Listen(port=platform.profile.serving.port, descriptor=descriptor)))


if __name__ == "__main__":
    main()
