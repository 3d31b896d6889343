"""The edge of the process: every error becomes words on stderr and an exit code."""

import sys
from collections.abc import Callable

from skyloom.kernel.errors import SkyloomError

INTERRUPTED = 130
CUT_OFF = 141
"""Whoever read our output has gone, as in ``skyloom runs | head``: what a shell says of SIGPIPE."""


def guarded(run: Callable[[], int], *, as_json: bool) -> int:
    """Run a command; its exit code, or that of what it raised, once that has been reported."""
    try:
        return run()
    except SkyloomError as error:
        _report(error.what, error.tried, error.fix, as_json)
        return error.exit_code
    except KeyboardInterrupt:
        _report("interrupted", "", "", as_json)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  the edge of the process
        if isinstance(error, BrokenPipeError) and _reader_gone():
            return CUT_OFF
        _report_bug(error, as_json)
        return 1


def _reader_gone() -> bool:
    """Whether it is our output that nobody reads any more, and not a connection of ours that broke."""
    import select

    output = select.poll()
    output.register(1, 0)
    return any(happened & (select.POLLERR | select.POLLHUP) for _, happened in output.poll(0))


def _report(what: str, tried: str, fix: str, as_json: bool) -> None:
    if as_json:
        import json

        text = json.dumps({"error": what, "tried": tried, "next": fix})
    else:
        text = f"error: {SkyloomError(what, tried=tried, fix=fix)}"
    print(text, file=sys.stderr)


def _report_bug(error: Exception, as_json: bool) -> None:
    import traceback

    trace = "".join(traceback.format_exception(error))
    what = f"{type(error).__name__}: {' '.join(str(error).split())} (this is a bug in skyloom)"
    _report(what, trace if as_json else "", "report it, with the traceback", as_json)
    if not as_json:
        print(f"\n{trace}", file=sys.stderr, end="")
