"""``skyloom up`` and ``skyloom serve``: everything, or the data plane alone."""

from typing import TYPE_CHECKING, Annotated

import typer

from skyloom.cli.options import JsonOption, ProfileOption
from skyloom.cli.output import Out

if TYPE_CHECKING:
    from skyloom.runtime.up import Running


def up(profile: ProfileOption = "local", json: JsonOption = False) -> int:
    """Run everything of a profile until Ctrl-C: workers, serving, judge, API. It holds the terminal."""
    import logging

    from skyloom.platform import open_platform
    from skyloom.runtime.up import up as run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    out, platform = Out(json=json), open_platform(profile=profile)

    def on_ready(running: "Running") -> None:
        out.fields(
            {
                "serving": f"{running.serving}/predict/MODEL",
                "events": f"{running.serving}/events/SOURCE",
                **({"grpc": running.grpc} if running.grpc else {}),
                "api": f"{running.api}/api",
                "key": f"in {platform.private}/api.key",
            }
        )
        out.line("ready; Ctrl-C ends it")
        out.document(running)

    return run(platform, profile, on_ready)


def serve(
    port: Annotated[
        int | None,
        typer.Option("--port", help="Where to listen; by default what the platform says, or serving.port. 0 picks one."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="The address to listen on; by default serving.address. 0.0.0.0 in a container."),
    ] = None,
    function: Annotated[
        bool,
        typer.Option("--lambda", help="Answer AWS Lambda's runtime API; by itself where AWS_LAMBDA_RUNTIME_API is set."),
    ] = False,
    profile: ProfileOption = "local",
    json: JsonOption = False,
) -> None:
    """Serve the present release, and nothing else: no control plane is needed."""
    import os
    import tempfile
    from dataclasses import replace
    from pathlib import Path

    from skyloom.engines.local import notify_ready, tie_to_parent
    from skyloom.platform import open_platform
    from skyloom.runtime.addresses import host_and_port
    from skyloom.runtime.serve import services_of
    from skyloom.serving.aws_lambda.function import is_function, serve_function
    from skyloom.serving.platforms import listen_on
    from skyloom.serving.services import Listen
    from skyloom.serving.worker import serve as run
    from skyloom.spec.address import check_address

    tie_to_parent()
    out, platform = Out(json=json), open_platform(profile=profile)
    serving = platform.profile.serving
    usual = Listen(address or serving.address, serving.port if port is None else port)
    listen = usual if port is not None else listen_on(serving.contracts, os.environ, usual)
    check_address("serving", listen.address, serving.tls, trust_platform=serving.trust_platform)
    services = services_of(platform, listen)

    def on_listen(chosen: int) -> None:
        where = f"{'https' if services.tls else 'http'}://{host_and_port(listen.address, chosen)}"
        out.line(f"listening on {where}; Ctrl-C ends it")
        out.document({"serving": where})

    def on_grpc(chosen: int) -> None:
        out.line(f"and on {host_and_port(listen.address, chosen)} for gRPC")

    if function or is_function(os.environ):
        writable = Path(tempfile.gettempdir())
        serve_function(replace(services, logbook=writable / "skyloom-logbook"))
    run(replace(services, on_listen=on_listen, on_grpc=on_grpc, on_ready=notify_ready))
